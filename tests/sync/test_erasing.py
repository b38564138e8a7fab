"""A store that wants somebody erased: at the ESPs first, then here, and what fails there is done again."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import respx

from connectors.base import Esp
from connectors.esps.mailchimp import simulator as mailchimp
from connectors.simulation import Fault, Simulation
from connectors.stores.shopify import simulator as shopify
from connectors.webhooks import fingerprint
from state import inbox, privacy, runs
from state.errors import Busy
from state.inbox import Received
from sync import erasing
from sync.app import Cartwire
from sync.plant import read_plant
from sync.report import Report
from sync.run import Order, run_sync
from tests.edge import edge
from tests.sync.conftest import order

WHO, ACCOUNT = "zzcanary@example.com", 700170017001
JSON = {"content-type": "application/json"}
DENIED = Fault(status=403, headers=JSON, body=b"{}")
KEPT = Fault(status=405, headers=JSON, body=b'{"title": "Method Not Allowed", "status": 405}')
REQUEST = f"request customers/redact of customer {ACCOUNT}"
TWO_SYNCS = """
  other: {{stores: [shop], esp: {esp}, mapping: mappings/crm.yaml, limits: off}}
"""
CONFIGURATION = """
timezone: Europe/Paris
currency: EUR
stores:
  shop: {{type: shopify, shop: {shop}, token: {token}, webhook_secret: 0123456789abcdef, base_url: "http://shop.test"}}
esps:
  news: {{type: mailchimp, api_key: {api_key}, audience: {audience}, base_url: "http://news.test"}}
  more: {{type: mailchimp, api_key: {api_key}, audience: {audience}, base_url: "http://more.test"}}
  hooks: {{type: webhook, url: "http://hooks.test/x", secret: 0123456789abcdefg}}
syncs:
  crm: {{stores: [shop], esp: news, mapping: mappings/crm.yaml, limits: off}}
"""


@dataclass
class Place:
    """A Shopify shop, two audiences, and a folder between them."""

    folder: Path
    news: Simulation
    more: Simulation

    def configure(self, extra: str = "") -> None:
        (self.folder / "mappings").mkdir(exist_ok=True)
        mapping = "fields: {FNAME: first_name, ORDERS: orders_count}\nlists: {Customers: orders_count >= 1}\n"
        (self.folder / "mappings" / "crm.yaml").write_text(mapping, encoding="utf-8")
        text = CONFIGURATION.format(**mailchimp.SETTINGS, **shopify.SETTINGS)
        (self.folder / "cartwire.yaml").write_text(text + extra, encoding="utf-8")

    def open(self) -> Cartwire:
        return Cartwire(read_plant(self.folder, {}))

    async def run(self, sync: str = "crm", **wanted: Any) -> Report:
        async with self.open() as cartwire:
            return await run_sync(cartwire.syncs[sync], cartwire.db, self.folder, Order(**wanted))

    async def ask(self, customer: Mapping[str, Any] | None = None) -> None:
        """Let Shopify ask to erase somebody."""
        who = customer or {"id": ACCOUNT, "email": WHO, "phone": None}
        body = {"shop_id": 1, "shop_domain": "x.myshopify.com", "customer": who, "orders_to_redact": [1]}
        await self.tell("request customers/redact", body)

    async def tell(self, topic: str, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        told = Received("shop", fingerprint(topic, content), topic, content, datetime.now(UTC))
        async with self.open() as cartwire:
            await cartwire.db.run(inbox.receive, [told])

    async def left(self) -> tuple[int, list[str]]:
        """Return how many requests wait, and the dead letters."""
        async with self.open() as cartwire:
            depths = await cartwire.db.read(inbox.depths)
            letters = await cartwire.db.read(runs.list_dead_letters, ["shop", "crm", "other"])
            return sum(each.count for each in depths), [letter.record for letter in letters]

    def knows(self) -> bool:
        return any(b"zzcanary" in file.read_bytes() for file in self.folder.glob("state.db*"))


@pytest.fixture
async def place(tmp_path: Path, router: respx.MockRouter, pauses: list[float]) -> Place:
    """Know two people, here and there."""
    history = [order(1, WHO, account=ACCOUNT, first_name="Zzcanary"), order(2, "bob@example.com", account=2)]
    shop = shopify.simulator(history)
    made = Place(tmp_path, mailchimp.simulator(batch_seconds=0), mailchimp.simulator(batch_seconds=0))
    for name, app in (("shop", shop), ("news", made.news), ("more", made.more)):
        router.route(host=f"{name}.test").mock(side_effect=edge(app))
    router.route(host="hooks.test").respond(200)
    made.configure()
    await made.run(history=True)
    assert WHO in made.news.state.contacts
    return made


@pytest.mark.sqlite
async def test_who_is_redacted_is_erased_at_the_esp_and_here_and_nobody_is_brought_back(place: Place) -> None:
    await place.ask()

    report = await place.run()
    again = await place.run(kind="backfill", history=True)

    assert (report.exit_code, again.exit_code) == (0, 0)
    assert list(place.news.state.contacts) == ["bob@example.com"]
    assert await place.left() == (0, [])
    assert not place.knows()


async def test_P2_an_esp_that_fails_leaves_the_request_waiting_and_the_next_run_does_it(place: Place) -> None:
    await place.ask()
    place.news.fail(DENIED, when=lambda _method, path: path.endswith("/delete-permanent"))

    failed = await place.run()
    waiting = await place.left()
    done = await place.run()

    assert (failed.exit_code, list(failed.failures), waiting) == (3, ["news"], (1, []))
    assert (done.exit_code, await place.left()) == (0, (0, []))
    assert list(place.news.state.contacts) == ["bob@example.com"]


async def test_P5_an_esp_that_keeps_one_contact_is_told_to_the_owner_and_stops_nothing(place: Place) -> None:
    await place.ask()
    place.news.fail(KEPT, when=lambda _method, path: path.endswith("/delete-permanent"))

    kept = await place.run()
    waiting = await place.left()
    done = await place.run()

    assert (kept.exit_code, kept.failures, waiting) == (1, {}, (1, [f"{REQUEST} at ESP"]))
    assert (done.exit_code, await place.left()) == (0, (0, []))
    assert WHO not in place.news.state.contacts


async def test_P2_a_kill_after_the_esp_has_erased_loses_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.ask()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "settle_told", killed)
        with pytest.raises(KeyboardInterrupt):
            await place.run()
    waiting = await place.left()
    await place.run()

    assert (waiting, await place.left()) == ((1, []), (0, []))
    assert list(place.news.state.contacts) == ["bob@example.com"]


async def test_an_esp_that_takes_no_deletion_leaves_a_letter_with_the_customer_s_number(place: Place) -> None:
    place.configure(TWO_SYNCS.format(esp="hooks"))
    await place.run("other", history=True)
    await place.ask()

    report = await place.run()

    assert (report.exit_code, await place.left()) == (1, (0, [REQUEST]))
    assert WHO not in place.news.state.contacts
    async with place.open() as cartwire:
        (letter,) = await cartwire.db.read(runs.list_dead_letters, ["shop"])
    assert "esps.hooks takes no deletion" in letter.reason
    assert "@" not in letter.reason


@pytest.mark.parametrize("who", [{"id": ACCOUNT, "email": WHO}, {"email": WHO}])
async def test_what_only_the_owner_can_end_is_not_ended_by_another_request(
    place: Place, who: Mapping[str, Any]
) -> None:
    """Nothing is known of them any more; requests without an account share a record."""
    place.configure(TWO_SYNCS.format(esp="hooks"))
    await place.run("other", history=True)
    await place.ask(who)
    await place.run()
    before = await place.left()

    await place.ask({**who, "email": None, "phone": None})
    await place.run()

    assert len(before[1]) == 1
    assert await place.left() == before


async def test_every_esp_whose_sync_knows_them_erases_and_the_trouble_of_one_rests_no_other(
    place: Place,
) -> None:
    place.configure(TWO_SYNCS.format(esp="more"))
    await place.run("other", history=True)
    await place.ask()
    place.more.fail(DENIED, when=lambda _method, path: path.endswith("/delete-permanent"))

    failed = await place.run()
    waiting = await place.left()
    done = await place.run()

    assert (failed.exit_code, failed.failures, waiting) == (3, {}, (1, []))
    assert done.exit_code == 0
    assert [list(each.state.contacts) for each in (place.news, place.more)] == [["bob@example.com"]] * 2


async def test_it_waits_for_the_end_of_another_sync_s_run_that_could_write_them_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "PATIENCE", 0.0)
    place.configure(TWO_SYNCS.format(esp="more"))
    await place.run("other", history=True)
    await place.ask()

    with runs.alone(place.folder, "other"):
        await place.run()
    waiting = await place.left()
    await place.run()

    assert (waiting, await place.left()) == ((1, []), (0, []))
    assert WHO not in place.more.state.contacts


async def test_an_esp_that_is_down_is_asked_once_however_many_requests_wait(place: Place) -> None:
    place.news.fail(DENIED, times=9, when=lambda _method, path: path.endswith("/delete-permanent"))
    for number in range(3):
        await place.ask({"id": 900 + number, "email": f"p{number}@example.com"})
    place.news.requests.clear()

    await place.run(pull=False)

    asked = [each for each in place.news.requests if each.path.endswith("/delete-permanent")]
    assert (len(asked), await place.left()) == (1, (3, []))


async def test_a_run_of_another_sync_is_waited_for_once_however_many_requests_wait(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []

    @asynccontextmanager
    async def one_run(db: object, folder: object, name: str, seconds: float) -> AsyncIterator[None]:
        patience.append(seconds)
        raise Busy(name)
        yield

    place.configure(TWO_SYNCS.format(esp="more"))
    await place.run("other", history=True)
    for number in range(3):
        await place.ask({"id": 900 + number, "email": f"p{number}@example.com"})
    monkeypatch.setattr(erasing, "one_run", one_run)

    await place.run(pull=False)

    assert (len(patience), await place.left()) == (1, (3, []))


async def test_who_is_told_of_in_the_same_batch_is_erased_at_the_esp_too_before_here(place: Place) -> None:
    """A guest's order is given to the account: only then the guest's address is known to be theirs."""
    guest = "zzguest@example.com"
    row = {
        "id": 700,
        "admin_graphql_api_id": "gid://shopify/Order/700",
        "email": guest,
        "currency": "EUR",
        "total_price": "10.00",
        "financial_status": "paid",
        "created_at": "2026-10-01T10:00:00Z",
        "updated_at": "2026-10-01T10:00:00Z",
    }
    await place.tell("orders/create", row)
    await place.run(pull=False)
    assert guest in place.news.state.contacts
    await place.tell(
        "orders/updated", row | {"customer": {"id": ACCOUNT}, "updated_at": "2026-10-02T10:00:00Z"}
    )
    await place.ask()

    await place.run(pull=False)
    waiting = await place.left()
    await place.run(pull=False)

    assert (waiting[0], await place.left()) == (1, (0, []))
    assert list(place.news.state.contacts) == ["bob@example.com"]


async def test_who_came_to_another_sync_meanwhile_is_erased_there_too_before_here(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first run: it did not know them yet, so that nothing kept it out."""
    place.configure(TWO_SYNCS.format(esp="more"))
    await place.ask()

    async def slow(esps: Mapping[str, Esp], addresses: Iterable[str]) -> erasing.Erased:
        found = await real(esps, addresses)
        await place.run("other", history=True)
        return found

    real = erasing.erase_at
    with monkeypatch.context() as patched:
        patched.setattr(erasing, "erase_at", slow)
        await place.run()
    waiting = await place.left()
    await place.run()

    assert (waiting[0], await place.left()) == (1, (0, []))
    assert [list(each.state.contacts) for each in (place.news, place.more)] == [["bob@example.com"]] * 2


async def test_of_two_runs_that_meet_one_erases_and_neither_is_stuck(place: Place) -> None:
    place.configure(TWO_SYNCS.format(esp="more"))
    await place.run("other", history=True)
    await place.ask()

    async with asyncio.timeout(30):
        await asyncio.gather(place.run(), place.run("other"))

    assert await place.left() == (0, [])
    assert [list(each.state.contacts) for each in (place.news, place.more)] == [["bob@example.com"]] * 2


async def test_P9_an_esp_that_rests_is_left_alone(place: Place) -> None:
    await place.ask()
    place.news.requests.clear()

    await place.run(resting={"news": "it is down"})

    assert (place.news.requests, await place.left()) == ([], (1, []))


async def test_who_has_no_address_is_a_contact_nowhere(place: Place) -> None:
    await place.ask({"id": 5, "email": None, "phone": "+33600000000"})
    place.news.fail(DENIED, when=lambda _method, path: path.endswith("/delete-permanent"))

    report = await place.run()

    assert (report.exit_code, await place.left()) == (0, (0, []))


async def test_whom_nobody_here_knows_any_more_is_erased_where_the_store_is_pushed_to(place: Place) -> None:
    async with place.open() as cartwire:
        await cartwire.db.run(privacy.forget, WHO, datetime.now(UTC))
    await place.ask()

    await place.run()

    assert list(place.news.state.contacts) == ["bob@example.com"]
