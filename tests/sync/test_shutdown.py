"""A worker in a process of its own: it is stopped, killed and started again, and loses nothing."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.simulation import Fault
from tests.sync.commands import Running, cartwire
from tests.sync.conftest import World

EVERYBODY = {f"person{number}@example.com": 5 if number in {1, 2} else 4 for number in range(7)}


def wait(condition: Callable[[], object], running: Running) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, running.stderr
        time.sleep(0.02)


def requests(world: World) -> int:
    return len(world.shop.requests) + len(world.news.requests)


def events(running: Running, name: str) -> list[dict[str, object]]:
    lines = [
        json.loads(line)
        for line in running.stderr.splitlines()
        if line.startswith("{") and line.endswith("}")
    ]
    return [line for line in lines if line["event"] == name]


def orders_of(world: World) -> dict[str, object]:
    return {email: each[0]["ORDERS"] for email, each in world.contacts.items()}


@pytest.fixture
def scheduled(servers: World) -> World:
    file = servers.folder / "cartwire.yaml"
    file.write_text(file.read_text() + "    schedule: every 5 minutes\n")
    return servers


@pytest.mark.crash
@pytest.mark.parametrize("seen", [2, 14])
def test_P2_a_worker_that_is_stopped_goes_on_at_the_next_start(scheduled: World, seen: int) -> None:
    first = Running(scheduled.folder, "run")
    wait(lambda: requests(scheduled) >= seen, first)
    first.send(signal.SIGTERM)
    stopped = first.end(10.0)

    second = Running(scheduled.folder, "run")
    wait(lambda: events(second, "run_ended"), second)
    second.send(signal.SIGTERM)
    ended = second.end(10.0)

    assert (stopped.returncode, ended.returncode) == (0, 0)
    assert "Traceback" not in stopped.stderr + ended.stderr
    assert orders_of(scheduled) == EVERYBODY


@pytest.mark.crash
def test_P2_a_worker_that_is_killed_is_followed_by_the_next_at_once(scheduled: World) -> None:
    first = Running(scheduled.folder, "run", die_after=25)
    killed = first.end()

    second = Running(scheduled.folder, "run")
    wait(lambda: events(second, "run_ended"), second)
    second.send(signal.SIGTERM)

    assert killed.returncode == -signal.SIGKILL
    assert second.end(10.0).returncode == 0
    assert orders_of(scheduled) == EVERYBODY


@pytest.mark.parametrize(
    ("number", "in_background"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)],
    ids=["SIGINT", "SIGTERM", "SIGTERM in a script's background"],
)
def test_a_command_that_is_stopped_says_so_and_goes_on_the_next_time(
    servers: World, number: signal.Signals, *, in_background: bool
) -> None:
    is_busy = threading.Event()
    is_busy.set()
    busy = Fault(status=503, headers={"retry-after": "60"})
    servers.news.fail(busy, times=1000, when=lambda *_: is_busy.is_set())
    running = Running(servers.folder, "backfill", "crm", in_background=in_background)
    wait(lambda: servers.news.requests, running)

    running.send(number)
    stopped = running.end(20.0)
    is_busy.clear()

    assert stopped.returncode == 130
    assert stopped.stderr.endswith("stopped; the same command goes on where it was\n")
    assert "Traceback" not in stopped.stderr
    assert cartwire(servers.folder, "backfill", "crm").returncode == 0
    assert orders_of(servers) == EVERYBODY


STOPPED_EARLY = """
import signal, sys
from sync.cli import main

when, sys.argv[1:] = sys.argv[1], ["--dir", sys.argv[2], "run"]

def stop(event, details):
    global when
    if when and f"{event} {details and details[0]}".startswith(when):
        when = None
        signal.raise_signal(signal.SIGTERM)

sys.addaudithook(stop)
main()
"""


@pytest.mark.parametrize("when", ["import sync.worker", "import uvicorn", "sqlite3.connect"])
def test_a_worker_that_is_stopped_before_it_stands_ends_as_one_that_stood(
    scheduled: World, when: str
) -> None:
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED_EARLY, when, scheduled.folder],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert "Traceback" not in stopped.stderr


def test_a_worker_that_waits_for_its_server_is_stopped_at_once(scheduled: World) -> None:
    file = scheduled.folder / "cartwire.yaml"
    file.write_text(file.read_text() + "database: postgresql+psycopg://me@127.0.0.1:1/cartwire\n")
    running = Running(scheduled.folder, "run")
    wait(lambda: events(running, "state_store_awaited"), running)

    running.send(signal.SIGTERM)
    stopped = running.end(10.0)

    assert stopped.returncode == 0
    assert "cartwire.yaml: database: cartwire: connection failed" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_a_worker_notices_what_the_owner_writes(scheduled: World) -> None:
    running = Running(scheduled.folder, "run")
    wait(lambda: events(running, "run_ended"), running)
    mapping = scheduled.folder / "mappings" / "crm.yaml"
    good = mapping.read_text()

    replace(mapping, good.replace("orders_count >= 2", "order_count >= 2"))
    wait(lambda: events(running, "configuration_refused"), running)
    replace(mapping, good.replace("Loyal: orders_count >= 2", "Fans: orders_count >= 5"))
    wait(lambda: events(running, "configuration_taken"), running)
    wait(lambda: len(events(running, "run_ended")) == 2, running)
    (refused,) = events(running, "configuration_refused")
    running.send(signal.SIGTERM)

    assert running.end(10.0).returncode == 0
    assert "unknown column `order_count` (character 1); did you mean `orders_count`?" in str(
        refused["problems"]
    )
    fans = {email for email, (_, lists, _) in scheduled.contacts.items() if "Fans" in lists}
    assert fans == {"person1@example.com", "person2@example.com"}


def replace(file: Path, text: str) -> None:
    """Write as editors do: beside it, then in its place."""
    other = file.with_suffix(".tmp")
    other.write_text(text, encoding="utf-8")
    other.replace(file)
