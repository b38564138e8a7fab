"""Alerts reach the owner, or fail in the log; a run never waits for them."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import structlog

from config.errors import ConfigError
from sync.alerts import Alerts, check_alerts, urls_of
from tests.sync.conftest import World


class Hook(BaseHTTPRequestHandler):
    got: list[dict[str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_an_alert_reaches_those_who_can_be_reached_and_names_nobody_in_the_log(
    hook: HTTPServer,
) -> None:
    good = f"json://127.0.0.1:{hook.server_port}/hook"
    alerts = Alerts([good, "json://user:pass@127.0.0.1:1/refused"])

    with structlog.testing.capture_logs() as logged:
        await alerts.tell("Cartwire: shop", "shop refuses us since noon")
        await alerts.aclose(60.0)

    (got,) = hook.got  # type: ignore[attr-defined]
    assert (got["title"], got["message"]) == ("Cartwire: shop", "shop refuses us since noon")
    assert logged == [{"event": "alert_not_sent", "addresses": [2], "log_level": "warning"}]


async def test_a_messenger_that_hangs_is_ended_and_the_alert_counts_as_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 300\n")
    hanging.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(hanging))
    monkeypatch.setattr("sync.alerts.LIMIT", 0.05)
    alerts = Alerts(["json://127.0.0.1:1/x"])

    with structlog.testing.capture_logs() as logged:
        await alerts.tell("a", "b")
        await alerts.aclose(20.0)

    assert logged == [{"event": "alert_not_sent", "addresses": [1], "log_level": "warning"}]


async def test_without_addresses_nothing_is_started() -> None:
    alerts = Alerts([])

    await alerts.tell("a", "b")

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_service_that_nobody_knows_is_refused_by_its_place_when_the_worker_starts(
    world: World,
) -> None:
    world.configure()
    file = world.folder / "cartwire.yaml"
    file.write_text(f"alerts:\n  - json://127.0.0.1:1/x\n  - nosuch://secret\n{file.read_text()}")
    world.reread()

    with pytest.raises(ConfigError) as caught:
        await check_alerts(world.plant)

    (problem,) = caught.value.problems
    assert str(problem).startswith("cartwire.yaml:3: alerts")
    assert "secret" not in str(problem)
    assert urls_of(world.plant)[1] in world.plant.loaded.secrets
