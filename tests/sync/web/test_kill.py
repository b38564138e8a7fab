"""P2: what was acknowledged is kept, whenever the process is killed."""

import base64
import hashlib
import hmac
import http.client
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from connectors.stores.woocommerce.simulated_rows import order_row
from tests.sync.commands import Running
from tests.sync.conftest import World
from tests.sync.web.conftest import SECRET

SENDERS = 4
FIRST = 1000


@pytest.fixture
def listening(servers: World) -> World:
    """Configure a worker on a free port that knows the shop's secret."""
    file = servers.folder / "cartwire.yaml"
    text = file.read_text().replace(
        "    type: woocommerce\n", f"    type: woocommerce\n    webhook_secret: {SECRET}\n"
    )
    text += "    schedule: every 5 minutes\nweb:\n  listen: 127.0.0.1:0\n"
    file.write_text(text)
    return servers


class Senders:
    """Send one order after another, from several threads, until the worker is gone; `taken` are those it took."""

    def __init__(self, world: World, port: int) -> None:
        self.taken: list[int] = []
        self._row = order_row(world.shop.state, 1)
        self._port = port
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _send(self, offset: int) -> None:
        number = FIRST + offset
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)) as connection:
                while self._post(connection, number) == 200:
                    self.taken.append(number)
                    number += SENDERS
        except (OSError, http.client.HTTPException):
            return

    def _post(self, connection: http.client.HTTPConnection, number: int) -> int:
        body = json.dumps(self._row | {"id": number, "number": str(number)}).encode()
        signature = base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()
        headers = {"x-wc-webhook-topic": "order.created", "x-wc-webhook-signature": signature}
        connection.request("POST", "/webhooks/shop", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def wait(condition: Callable[[], object], running: Running) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, running.stderr
        time.sleep(0.005)


def events(running: Running, name: str) -> list[dict[str, object]]:
    lines = [line for line in running.stderr.splitlines() if line.startswith("{") and line.endswith("}")]
    return [event for event in map(json.loads, lines) if event["event"] == name]


@pytest.mark.crash
@pytest.mark.parametrize("count", [1, 60])
def test_P2_every_webhook_that_was_acknowledged_is_in_the_state_after_a_kill(
    listening: World, count: int
) -> None:
    first = Running(listening.folder, "run")
    wait(lambda: events(first, "run_ended") and events(first, "web_listens"), first)
    senders = Senders(listening, int(str(events(first, "web_listens")[0]["port"])))
    wait(lambda: len(senders.taken) >= count, first)
    first.send(signal.SIGKILL)
    senders.join()
    killed = first.end()

    second = Running(listening.folder, "run")
    wait(lambda: len(events(second, "run_ended")) >= 1, second)
    second.send(signal.SIGTERM)
    ended = second.end(10.0)

    with closing(sqlite3.connect(listening.folder / "state.db")) as store:
        stored = {int(row[0]) for row in store.execute("SELECT id FROM orders")}
        (waiting,) = store.execute("SELECT count(*) FROM inbox WHERE done_at IS NULL").fetchone()
    assert (killed.returncode, ended.returncode) == (-signal.SIGKILL, 0)
    assert len(senders.taken) >= count
    assert set(senders.taken) <= stored
    assert waiting == 0
