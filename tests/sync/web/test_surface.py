"""The HTTP surface keeps to its document, whatever comes; health, readiness and metrics tell the truth."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import httpx
import hypothesis
import pytest
import structlog
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from config.errors import ConfigError
from config.model import Web
from connectors.simulation import Fault
from state import audits
from state.audits import Audit
from state.errors import StateError
from state.troubles import Trouble
from sync.app import Cartwire
from sync.plant import read_plant
from sync.web import health as healths
from sync.web.server import serve
from tests.sync.conftest import World
from tests.sync.web.conftest import configure, hooked, until, web_of
from tests.sync.web.test_door import NOW, Site, Still, site

__all__ = ["hooked", "site"]

DOCUMENT = YAML(typ="safe").load(Path(__file__).parents[3] / "docs" / "openapi.yaml")


@pytest.mark.parametrize("path", list(DOCUMENT["paths"]))
async def test_whatever_comes_the_answer_is_one_of_the_document(site: Site, path: str) -> None:
    import schemathesis  # noqa: PLC0415 - it takes seconds
    from schemathesis import checks  # noqa: PLC0415
    from schemathesis.specs.openapi import checks as openapi  # noqa: PLC0415

    site.runner.facts = {"crm": SimpleNamespace(good_at=NOW, next_at=NOW)}
    wanted = [
        checks.not_a_server_error,
        openapi.status_code_conformance,
        openapi.content_type_conformance,
        openapi.response_headers_conformance,
        openapi.response_schema_conformance,
    ]
    document = schemathesis.openapi.from_dict(DOCUMENT)
    (operation,) = (each.ok() for each in document.get_all_operations() if each.ok().path == path)
    loop = asyncio.get_running_loop()

    @hypothesis.settings(max_examples=15, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(operation.as_strategy())
    def ask(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url="https://cartwire.example")
        request = httpx.Request(
            sent["method"],
            sent["url"],
            headers=dict(sent["headers"]),
            json=sent.get("json"),
            content=_body(sent),
        )
        answering = asyncio.run_coroutine_threadsafe(site.client.send(request), loop)
        case.validate_response(answering.result(), checks=wanted)

    await asyncio.to_thread(ask)


def _body(sent: Any) -> bytes | None:
    return None if "json" in sent else str(sent.get("data") or "").encode("utf-8", "replace")


@hypothesis.settings(max_examples=30, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    store=st.sampled_from(["shop", "modules", "deaf", "nobody", "%00", "..%2f", "é"]),
    body=st.binary(max_size=200) | st.text().map(str.encode),
    names=st.lists(
        st.sampled_from(
            [
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "x-wc-webhook-signature",
                "x-wc-webhook-topic",
                "content-length",
                "content-type",
            ]
        ),
        unique=True,
    ),
    values=st.lists(st.binary(max_size=30), min_size=7, max_size=7),
)
async def test_nothing_that_is_not_signed_gets_in(
    site: Site, store: str, body: bytes, names: list[str], values: list[bytes]
) -> None:
    raw = [(name.encode(), value) for name, value in zip(names, values, strict=False)]

    answer = await site.client.post(f"/webhooks/{store}", content=body, headers=raw)

    assert answer.status_code in {401, 404, 413, 429}
    assert await site.kept() == 0


async def test_health_is_good_until_nothing_can_be_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StateError("state.db: the disk is full")

    monkeypatch.setattr(healths, "FRESH", -1.0)
    good = await site.client.get("/healthz")
    with monkeypatch.context() as patches:
        patches.setattr(site.runner.cartwire.db, "run", full)
        bad = await site.client.get("/healthz")

    assert (good.status_code, good.json()) == (200, {"status": "good"})
    assert (bad.status_code, bad.json()) == (503, {"status": "the state store cannot be written"})


async def test_health_that_is_asked_for_often_is_tried_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    async def run(function: object) -> None:
        tried.append(function)

    monkeypatch.setattr(site.runner.cartwire.db, "run", run)
    await asyncio.gather(*(site.client.get("/healthz") for _ in range(10)))

    assert len(tried) == 1


@pytest.mark.parametrize(
    ("facts", "troubles", "said"),
    [
        ({}, [], "no run has come to its end yet"),
        ({"good_at": None}, [], "no run has come to its end yet"),
        ({"good_at": NOW}, [], "good"),
        ({"good_at": NOW - timedelta(hours=9)}, [], "good"),
        (
            {"good_at": NOW - timedelta(days=3)},
            [],
            "no run came to its end in twice the time of its schedule",
        ),
        ({"good_at": NOW}, [Trouble("news", "refused", "401", NOW)], "news is refused"),
        ({"good_at": NOW}, [Trouble("shop", "down", "503", NOW)], "good"),
        ({"good_at": NOW}, [Trouble("shop", "down", "503", NOW, told=True)], "shop is down"),
    ],
)
async def test_readiness_says_of_each_sync_what_is_wrong(
    site: Site, facts: dict[str, Any], troubles: list[Trouble], said: str
) -> None:
    site.runner.facts = {"crm": SimpleNamespace(next_at=None, **facts)} if facts else {}
    site.runner.troubles = SimpleNamespace(of=lambda _names: troubles)

    answer = await site.client.get("/readyz")

    assert answer.json() == {"ready": said == "good", "syncs": {"crm": said}}
    assert answer.status_code == (200 if said == "good" else 503)


async def numbers(client: httpx.AsyncClient) -> dict[str, float]:
    answer = await client.get("/metrics")
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name.startswith("cartwire_")
    }


async def test_metrics_count_what_happened_and_name_nobody(hooked: World) -> None:
    async with web_of(hooked) as web:
        hooked.shop.state.add_order(email="new@example.com", total="12.00")
        await web.deliver()
        await until(lambda: hooked.contacts.get("new@example.com", [0, 0])[1])
        await until(lambda: web.worker.facts["crm"].runs.get("done", 0) >= 2)
        await web.worker.cartwire.db.run(audits.save_audit, "crm", Audit(NOW, 3, 1, {}))
        await web.worker.cartwire.db.run(audits.save_audit, "gone", Audit(NOW, 9, 9, {}))
        found = await numbers(web.client)
        text = (await web.client.get("/metrics")).text

    assert found["cartwire_webhooks_total['accepted', 'shop']"] == 2
    assert found["cartwire_webhooks_read_total['shop']"] == 2
    assert found["cartwire_runs_total['crm', 'done', 'webhook']"] >= 1
    assert found["cartwire_records_pushed_total['contacts', 'crm']"] >= 8
    assert found["cartwire_requests_total['ok', 'shop']"] > 0
    assert found["cartwire_inbox['shop']"] == found["cartwire_outbox['contacts', 'crm']"] == 0
    assert found["cartwire_dead_letters['shop']"] == 0
    assert (found["cartwire_drift['crm', 'people']"], found["cartwire_drift['crm', 'orders']"]) == (3, 1)
    assert "gone" not in text
    assert 0 <= found["cartwire_store_lag_seconds['shop']"] < 60
    assert 0 < found["cartwire_next_run_seconds['crm']"] <= 86_400
    assert "@" not in text
    assert "example" not in text


async def test_requests_are_counted_by_how_they_ended(world: World) -> None:
    configure(world)
    async with world.open() as cartwire:
        shop = cartwire.stores["shop"]
        world.shop.fail(Fault(status=503), times=2)
        world.shop.fail(Fault(status=429), times=1)
        await shop.check()

        assert shop.tally.outcomes == {"failed": 2, "throttled": 1, "ok": 3}  # type: ignore[attr-defined]


@pytest.fixture
async def still(world: World) -> AsyncIterator[Still]:
    configure(world)
    async with world.open() as cartwire:
        made: Any = Still(cartwire)
        made.clock = SimpleNamespace(now=lambda: NOW)
        yield made


async def test_the_server_answers_on_a_socket_until_it_is_cancelled(
    still: Still,
) -> None:
    ports: list[int] = []

    def note(_logger: object, _method: str, event: dict[str, Any]) -> Any:
        ports.extend([event["port"]] if event["event"] == "web_listens" else [])
        return ""

    structlog.configure(processors=[note])
    serving = asyncio.ensure_future(serve(still, Web(listen="127.0.0.1:0")))
    await until(lambda: ports)
    answer = await asyncio.to_thread(urlopen, f"http://127.0.0.1:{ports[0]}/healthz")
    answer.close()

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert answer.status == 200


async def test_an_address_that_is_taken_is_said_unless_nobody_wrote_it(still: Still) -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    web = Web(listen=f"127.0.0.1:{taken.sockets[0].getsockname()[1]}")

    with pytest.raises(ConfigError, match=r"web\.listen: `127\.0\.0\.1:\d+` cannot be listened on"):
        await serve(still, web)
    await serve(still, web, wanted=False)

    taken.close()


async def test_a_sync_without_a_schedule_looks_at_what_was_left_when_the_worker_begins(still: Still) -> None:
    file = still.cartwire.folder / "cartwire.yaml"
    more = "  second:\n    stores: [shop]\n    esp: news\n    mapping: mappings/crm.yaml\n"
    file.write_text(file.read_text() + more)
    async with Cartwire(read_plant(still.cartwire.folder, {})) as cartwire:
        still.cartwire = cartwire
        serving = asyncio.ensure_future(serve(still, Web(listen="127.0.0.1:0")))
        await until(lambda: still.poked)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    assert [(name, order.kind, order.pull) for name, order in still.poked] == [("second", "webhook", False)]
