"""What comes to the door: theirs or not, once or ten times, too large, too often, when nothing can be kept."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from state import inbox
from state.errors import StateError
from sync.app import Cartwire
from sync.run import Order
from sync.web import door as doors
from sync.web.app import web_app
from sync.web.door import Bucket, Door
from sync.web.ledger import Ledger
from tests.sync.conftest import World
from tests.sync.web.conftest import SECRET, configure

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WHSEC = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = json.dumps({"id": 7}).encode()

OTHERS = f"""  modules:
    type: prestashop
    url: https://musee.example
    key: {"K" * 32}
    webhook_secret: {WHSEC}
  idle:
    type: woocommerce
    url: https://idle.example
    key: ck_2
    secret: cs_2
    webhook_secret: {SECRET}
  deaf:
    type: woocommerce
    url: https://deaf.example
    key: ck_1
    secret: cs_1
"""


class Still:
    """A worker that only remembers what it is asked for."""

    def __init__(self, cartwire: Cartwire) -> None:
        self.cartwire = cartwire
        self.poked: list[tuple[str, Order]] = []
        self.facts: dict[str, Any] = {}
        self.troubles: Any = SimpleNamespace(of=lambda _names: [])

    def poke(self, sync: str, order: Order) -> None:
        self.poked.append((sync, order))


class Site:
    """The HTTP surface of a worker that stands still."""

    def __init__(self, runner: Still, now: Callable[[], datetime] = lambda: NOW) -> None:
        self.runner = runner
        self.door = Door(runner, now)
        transport = httpx.ASGITransport(web_app(runner, self.door, Ledger(), now))
        self.client = httpx.AsyncClient(transport=transport, base_url="https://cartwire.example")

    async def post(
        self, store: str, body: Any = BODY, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return await self.client.post(f"/webhooks/{store}", content=body, headers=headers or signed(body))

    async def kept(self) -> int:
        return sum(each.count for each in await self.runner.cartwire.db.read(inbox.depths))


def signed(body: bytes, secret: str = SECRET, topic: str = "order.deleted") -> dict[str, str]:
    signature = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
    return {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Signature": signature, "X-WC-Webhook-Delivery-ID": "d"}


def standard(body: bytes, secret: str = WHSEC, message: str = "msg_1", at: datetime = NOW) -> dict[str, str]:
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message, at, body.decode()),
    }


@pytest.fixture
async def site(world: World) -> AsyncIterator[Site]:
    configure(world)
    file = world.folder / "cartwire.yaml"
    text = file.read_text().replace("esps:\n", f"{OTHERS}esps:\n")
    file.write_text(text.replace("stores: [shop]", "stores: [shop, modules, deaf]"))
    world.reread()
    async with world.open() as cartwire:
        made = Site(Still(cartwire))
        async with made.client:
            yield made
        made.door.close()


async def test_a_delivery_is_kept_before_it_is_answered_and_once_however_often_it_comes(site: Site) -> None:
    answers = [await site.post("shop") for _ in range(10)]

    assert [answer.status_code for answer in answers] == [200] * 10
    assert await site.kept() == 1
    assert site.door.counts == {("shop", "accepted"): 10}


async def test_an_unknown_store_a_deaf_one_an_idle_one_and_a_wrong_signature_are_answered_alike(
    site: Site,
) -> None:
    forged = signed(BODY, "another")
    answers = [
        await site.post("shop", headers=forged),
        await site.post("shop", headers={"x-nothing": "1"}),
        await site.post("nobody", headers=signed(BODY)),
        await site.post("deaf", headers=signed(BODY, "")),
        await site.post("modules", headers=signed(BODY)),
        await site.post("idle"),
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
    assert await site.kept() == 0
    assert site.door.counts == {("", "refused"): 6}


async def test_the_ping_is_greeted_at_any_address(site: Site) -> None:
    answers = [await site.post(store, b"webhook_id=12", {"x": "y"}) for store in ("shop", "nobody")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert await site.kept() == 0


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "streamed"])
async def test_a_body_beyond_the_limit_is_refused(
    site: Site, *, announced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "LARGEST", 1000)
    body = b"x" * 1001

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    answer = await site.post("shop", body if announced else parts(), signed(body))

    assert answer.status_code == 413


async def test_pings_are_no_way_around_the_limit_for_what_is_not_signed(site: Site) -> None:
    site.door._forged = Bucket(0.0, 1)

    answers = [(await site.post("shop", b"webhook_id=12", {"x": "y"})).status_code for _ in range(2)]

    assert answers == [200, 429]


async def test_P2_whoever_comes_while_the_disk_is_busy_is_kept_though_it_takes_several_turns(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.web.intake.AT_ONCE", 3)
    bodies = [json.dumps({"id": number}).encode() for number in range(20)]

    async with asyncio.timeout(20):
        answers = await asyncio.gather(*[site.post("shop", body) for body in bodies])

    assert {answer.status_code for answer in answers} == {200}
    assert await site.kept() == 20


async def test_a_body_that_never_ends_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "PATIENCE", 0.01)

    async def parts() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    outcome = await site.door.take("shop", {}, parts())

    assert outcome.status == 408


async def test_many_large_bodies_at_once_are_told_to_wait_and_small_ones_get_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "AT_ONCE", 1000)
    monkeypatch.setattr(doors, "SMALL", 100)
    half, end = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 990
        half.set()
        await end.wait()

    large = b"x" * 300
    first = asyncio.ensure_future(site.door.take("shop", {}, slow()))
    await half.wait()
    refused = await site.post("shop", large)
    small = await site.post("shop")
    end.set()
    await first
    later = await site.post("shop", large)

    assert [answer.status_code for answer in (refused, small, later)] == [429, 200, 200]
    assert first.result().status == 401


async def test_a_rush_is_kept_and_what_goes_beyond_is_told_to_wait(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "RATE", 0.0)
    monkeypatch.setattr(doors, "BURST", 3)
    bodies = [json.dumps({"id": number}).encode() for number in range(5)]

    answers = [await site.post("shop", body) for body in bodies]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "5"
    assert await site.kept() == 3


async def test_guessing_is_slowed_down_and_keeps_no_store_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.door._forged = Bucket(0.0, 2)

    guesses = [(await site.post(store, headers={"x": "y"})).status_code for store in ("shop", "nobody") * 2]

    assert guesses == [401, 401, 429, 429]
    assert (await site.post("shop")).status_code == 200


def test_a_bucket_fills_again_by_its_rate() -> None:
    now = [0.0]
    bucket = Bucket(2.0, 3, lambda: now[0])

    first = [bucket.take() for _ in range(4)]
    now[0] += 1.0
    later = [bucket.take() for _ in range(3)]
    now[0] += 100.0

    assert (first, later) == ([True, True, True, False], [True, True, False])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


async def test_what_cannot_be_kept_is_not_accepted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise StateError("state.db: the disk is full")

    with monkeypatch.context() as patches:
        patches.setattr(site.runner.cartwire.db, "run", full)
        failed = await site.post("shop")
    again = await site.post("shop")

    assert (failed.status_code, again.status_code) == (503, 200)
    assert await site.kept() == 1


async def test_a_hint_in_the_standard_form_is_kept(site: Site) -> None:
    body = json.dumps({"resource": "orders", "id": "42"}).encode()

    answers = [await site.post("modules", body, standard(body)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert await site.kept() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(int(NOW.timestamp()) - 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v2,AAAA"},
        {"webhook-signature": ""},
    ],
    ids=str,
)
async def test_a_hint_that_was_changed_on_its_way_is_refused(site: Site, change: dict[str, str]) -> None:
    body = b'{"resource": "orders", "id": "42"}'

    assert (await site.post("modules", body, standard(body) | change)).status_code == 401


@pytest.mark.parametrize("stamp", ["999999999999", "253402300800", "0", "-1", "1e9", "9" * 400, "١٢٣"])
async def test_a_signed_hint_of_no_time_that_could_be_now_is_refused(site: Site, stamp: str) -> None:
    body = b'{"resource": "orders", "id": "42"}'
    key = base64.b64decode(WHSEC.removeprefix("whsec_"))
    signature = hmac.digest(key, b".".join([b"msg_1", stamp.encode(), body]), hashlib.sha256)
    headers = {
        b"webhook-id": b"msg_1",
        b"webhook-timestamp": stamp.encode(),
        b"webhook-signature": b"v1," + base64.b64encode(signature),
    }

    answer = await site.client.post("/webhooks/modules", content=body, headers=headers)

    assert answer.status_code == 401


@pytest.mark.parametrize("seconds", [-301, 301])
async def test_a_hint_that_is_replayed_later_is_refused(site: Site, seconds: int) -> None:
    body = b'{"resource": "orders", "id": "42"}'
    at = datetime.fromtimestamp(NOW.timestamp() + seconds, UTC)

    assert (await site.post("modules", body, standard(body, at=at))).status_code == 401
