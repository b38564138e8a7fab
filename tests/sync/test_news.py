"""Webhooks are hints: whatever becomes of them, one scheduled pull later the state is that of the store."""

import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import pytest
import respx
from hypothesis import strategies as st
from sqlalchemy import select

from connectors.base import Erasure, News, Page
from connectors.errors import Refused, Unreachable
from connectors.simulation import made_up_order
from connectors.stores.woocommerce import simulator as woocommerce
from connectors.stores.woocommerce.connector import WooCommerce
from state import inbox, privacy, runs
from state.bookkeeping import InboxRow, metadata
from state.db import Database
from state.inbox import Received
from state.tables import CustomerRow, OrderLineRow, OrderRow, RefundRow, table
from sync.news import SPLITS, Taken, take_in
from sync.pull import Reading, Source, pull_changes, pull_history
from tests.connectors.stores.shops import Clock
from tests.edge import edge
from tests.state.makers import ADA, at, customer, order

NOW = at(10_000)
SECRET = "hook-secret-0123"
ORDERS, LINES, REFUNDS = table(OrderRow), table(OrderLineRow), table(RefundRow)
INBOX = table(InboxRow)


@dataclass
class Told:
    """A store that tells what a test has it tell, and answers what it is asked."""

    news: dict[bytes, News] = field(default_factory=dict)
    there: dict[str, Any] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    trouble: Exception | None = None
    forbidden: set[str] = field(default_factory=set)

    def verify(self, *_: object) -> None:
        """Believe nobody: deliveries are put into the inbox by hand."""

    def read_webhook(self, _topic: str, body: bytes) -> News:
        if body == b"odd":
            raise RuntimeError("odd")
        return self.news[body]

    async def reread(self, records: list[str]) -> Page:
        self.asked.append(records)
        if self.trouble:
            raise self.trouble
        if self.forbidden & {*records, *(record.partition(" ")[0] for record in records)}:
            raise Refused("shop: 403 this may not be read", status=403)
        return Page([self.there[record] for record in records if record in self.there], "")


@pytest.fixture
async def db() -> AsyncIterator[Database]:
    made = Database("sqlite://")
    yield made
    made.close()


async def tell(db: Database, store: Told, *news: News) -> None:
    for number, each in enumerate(news, start=len(store.news)):
        body = b"%d" % number
        store.news[body] = each
        await db.run(inbox.receive, [Received("shop", f"d{number}", "t", body, NOW)])


async def take(db: Database, store: Any, now: datetime = NOW, **options: Any) -> Taken:
    taken = Taken()
    await take_in(Source("shop", store), db, now, taken, **options)
    return taken


async def waiting(db: Database) -> int:
    return sum(each.count for each in await db.read(inbox.depths))


async def stored(db: Database) -> dict[str, str]:
    """Return order -> standing."""
    rows = await db.read(lambda connection: connection.execute(select(ORDERS.c.id, ORDERS.c.standing)).all())
    return {row.id: row.standing for row in rows}


async def test_what_is_told_is_stored_and_its_body_is_gone(db: Database) -> None:
    store = Told()
    await tell(db, store, News([order(1)]), News(), News([order(2)]))

    taken = await take(db, store)

    rows = await db.read(lambda connection: connection.execute(select(INBOX)).all())
    assert (taken.deliveries, taken.changed) == (3, 2)
    assert await stored(db) == {"1": "paid", "2": "paid"}
    assert {(row.body, row.done_at) for row in rows} == {(b"", NOW)}


async def test_what_is_named_is_asked_for_once(db: Database) -> None:
    store = Told(there={"order 1": order(1), "order 2": order(2)})
    await tell(db, store, *[News(ask=["order 1"])] * 3, News(ask=["order 2"]), News(ask=["order 3"]))

    taken = await take(db, store)

    assert store.asked == [["order 1", "order 2", "order 3"]]
    assert (taken.deliveries, await stored(db)) == (5, {"1": "paid", "2": "paid"})


async def test_what_is_said_to_be_deleted_is_gone_if_the_store_does_not_have_it(db: Database) -> None:
    store = Told(there={"order 1": order(1, updated_at=at(5))})
    await tell(db, store, News([order(1)]), News([order(2)]))
    await take(db, store)
    await tell(db, store, News(deleted=["order 1", "order 2", "order 3"]), News([order(3)]))

    await take(db, store)

    assert await stored(db) == {"1": "paid", "2": "deleted", "3": "deleted"}


async def test_two_tellings_of_one_moment_are_settled_by_asking(db: Database) -> None:
    store = Told(there={"order 1": order(1, total=900)})
    await tell(db, store, News([order(1, total=900)]), News([order(1, total=1000)]))

    await take(db, store)

    total = await db.read(lambda connection: connection.scalar(select(ORDERS.c.total_minor)))
    assert (total, store.asked, await waiting(db)) == (900, [["order 1"]], 0)


async def test_a_store_that_is_down_keeps_waiting_only_what_it_must_be_asked_for(db: Database) -> None:
    store = Told(trouble=Unreachable("shop: no connection"))
    await tell(db, store, News(ask=["order 1"]), News([order(2)]))

    with pytest.raises(Unreachable):
        await take(db, store)
    left = await waiting(db)
    store.trouble, store.there = None, {"order 1": order(1)}
    await take(db, store)

    assert left == 1
    assert (await stored(db), await waiting(db)) == ({"1": "paid", "2": "paid"}, 0)


async def test_a_store_that_rests_is_not_asked(db: Database) -> None:
    store = Told()
    await tell(db, store, News(ask=["order 1"]), News([order(2)]))

    await take(db, store, ask=False)

    assert (store.asked, await waiting(db), await stored(db)) == ([], 1, {"2": "paid"})


async def test_what_the_store_cannot_be_asked_becomes_a_letter_and_stops_nothing(db: Database) -> None:
    store = Told(trouble=Refused("shop: 400 no such customer can be", status=400))
    await tell(db, store, News(ask=["customer 1"]), News([order(2)]))

    await take(db, store)

    letters = await db.read(runs.list_dead_letters, ["shop"])
    assert [(each.record, each.reason) for each in letters] == [
        ("customer 1", "shop: 400 no such customer can be")
    ]
    assert (await waiting(db), await stored(db)) == (0, {"2": "paid"})


async def test_P2_a_key_that_is_revoked_for_an_hour_costs_no_deletion(db: Database) -> None:
    store = Told()
    await tell(db, store, News([order(1)]))
    await take(db, store)
    store.trouble = Refused("shop: 401 the key is not known", status=401)
    await tell(db, store, News(deleted=["order 1"]), News([order(2)]))

    with pytest.raises(Refused):
        await take(db, store)
    left = (await waiting(db), await stored(db), await db.read(runs.list_dead_letters, ["shop"]))
    store.trouble = None
    await take(db, store)

    assert left == (1, {"1": "paid", "2": "paid"}, [])
    assert (await waiting(db), await stored(db)) == (0, {"1": "deleted", "2": "paid"})


QUARTER = timedelta(minutes=15)


async def test_P2_what_is_forbidden_waits_and_is_asked_for_again_less_and_less_often(db: Database) -> None:
    store = Told(there={"order 1": order(1)}, forbidden={"order"})
    await tell(db, store, News(ask=["order 1"]), News([order(2)]))

    for minutes in (0, 5, 15, 40, 45, 100, 105, 160, 165):
        await take(db, store, NOW + timedelta(minutes=minutes))
    asked, left = len(store.asked), await waiting(db)
    store.forbidden = set()
    taken = await take(db, store, NOW + timedelta(minutes=225))

    assert (asked, left) == (5, 1)  # at the beginning, after 15, 45, 105 and 165 minutes
    assert await db.read(runs.list_dead_letters, ["shop"]) == []
    assert (taken.deliveries, await stored(db)) == (1, {"1": "paid", "2": "paid"})


async def test_what_is_forbidden_holds_up_nothing_else(db: Database) -> None:
    records = [f"order {number}" for number in range(1, 91)]
    there = {record: order(number) for number, record in enumerate(records, start=1)}
    store = Told(there=there, forbidden={"order 42", "customer"})
    await tell(db, store, *(News(ask=[record]) for record in [*records, "customer 1", "customer 2"]))

    await take(db, store)

    assert sorted(await stored(db), key=int) == [str(n) for n in range(1, 91) if n != 42]
    assert await waiting(db) == 3
    assert len(store.asked) <= 2 * SPLITS + 1


async def test_P9_a_firewall_is_asked_a_few_times_however_much_waits_and_deletes_nothing(
    db: Database,
) -> None:
    store = Told()
    await tell(db, store, News([order(1)]))
    await take(db, store)
    store.forbidden = {"order"}
    await tell(db, store, *(News(deleted=[f"order {number}"]) for number in range(1, 301)))

    await take(db, store)

    assert len(store.asked) <= 2 * SPLITS + 1
    assert (await waiting(db), await stored(db)) == (300, {"1": "paid"})


async def test_what_is_forbidden_for_good_is_dropped_when_webhooks_are_kept_no_longer(db: Database) -> None:
    store = Told(forbidden={"order 1"})
    await tell(db, store, News(ask=["order 1"]))
    await take(db, store)
    await db.run(inbox.receive, [Received("shop", "unread", "t", b"x", NOW)])

    await db.run(inbox.drop_done, NOW)
    kept = await waiting(db)
    await db.run(inbox.drop_done, NOW + QUARTER)

    left = await db.read(inbox.waiting, "shop", NOW + QUARTER, 0, 10)
    assert (kept, [each.body for each in left]) == (2, [b"x"])


async def test_a_clock_that_was_set_back_puts_nothing_off_for_longer(db: Database) -> None:
    store = Told(there={"order 1": order(1)}, forbidden={"order"})
    await tell(db, store, News(ask=["order 1"]))
    await take(db, store, NOW)
    store.forbidden = set()

    taken = await take(db, store, NOW - timedelta(days=365))

    assert taken.deliveries == 1


async def test_a_delivery_that_breaks_its_reader_becomes_a_letter_and_stops_nothing(db: Database) -> None:
    store = Told()
    await db.run(inbox.receive, [Received("shop", "odd", "t", b"odd", NOW)])
    await tell(db, store, News([order(1)]))

    taken = await take(db, store)

    assert (taken.deliveries, taken.bad, await stored(db)) == (2, 1, {"1": "paid"})


async def test_deliveries_of_a_store_that_no_longer_takes_any_are_dropped(db: Database) -> None:
    await db.run(inbox.receive, [Received("shop", "x", "t", b"{}", NOW)])

    taken = await take(db, object())

    assert (taken.deliveries, await waiting(db)) == (1, 0)


async def test_a_customer_who_is_to_be_erased_is_forgotten_by_address_and_by_account(db: Database) -> None:
    store = Told()
    known = table(CustomerRow)
    person = News([order(1)], erase=[Erasure(None, ADA)])
    by_account = News(erase=[Erasure("5", None)])
    await tell(db, store, News([customer("5", "eve@example.com")]), by_account, person)

    await take(db, store)

    emails = await db.read(lambda connection: connection.scalars(select(known.c.email)).all())
    people = await db.read(lambda connection: connection.scalars(select(ORDERS.c.person)).all())
    assert (emails, people) == ([], [None])


async def test_forgetting_somebody_drops_what_still_waits_about_them(db: Database) -> None:
    escaped = json.dumps({"billing": {"email": "Ada@Example.com"}}).replace("@", "\\u0040").encode()
    for name, body in (
        ("a", escaped),
        ("b", b"email=ada@example.com"),
        ("c", b'{"email": "bob@example.com"}'),
    ):
        await db.run(inbox.receive, [Received("shop", name, "t", body, NOW)])

    await db.run(privacy.forget, ADA, NOW)

    left = await db.read(inbox.waiting, "shop", NOW, 0, 10)
    assert [each.body for each in left] == [b'{"email": "bob@example.com"}']


async def test_a_delivery_that_is_done_is_known_again_until_its_name_is_dropped(db: Database) -> None:
    store = Told()
    await tell(db, store, News([order(1)]))
    await take(db, store)

    await db.run(inbox.receive, [Received("shop", "d0", "t", b"0", NOW)])
    again = await waiting(db)
    await db.run(inbox.drop_done, NOW + timedelta(seconds=1))
    await db.run(inbox.receive, [Received("shop", "d0", "t", b"0", NOW)])

    assert (again, await waiting(db)) == (0, 1)


# --- whatever becomes of deliveries ------------------------------------------------------------------------


class Shop:
    """A simulated shop whose deliveries are collected, to be sent whenever a test likes."""

    def __init__(self) -> None:
        self.clock = Clock(datetime(2026, 3, 1, 9, tzinfo=UTC))
        placed = [datetime(2026, 2, number, tzinfo=UTC) for number in range(1, 5)]
        history = [made_up_order(number, at_, total="10.00") for number, at_ in enumerate(placed, start=1)]
        self.simulation = woocommerce.simulator(history, clock=lambda: self.clock.now)
        self.sent: list[tuple[Mapping[str, str], bytes]] = []
        for topic in ("order.created", "order.updated", "order.deleted", "order.restored"):
            row = {"topic": topic, "delivery_url": "https://x.example", "secret": SECRET}
            self.simulation.state.webhooks.answer("POST", [], {}, json.dumps(row).encode())
        self.simulation.state.webhooks.queue.clear()
        known = woocommerce.SETTINGS | {"base_url": "http://shop.test", "webhook_secret": SECRET}
        self.store = WooCommerce(WooCommerce.Settings(**known))

    async def do(self, deed: str, number: int) -> None:
        """Let something happen, and write the bodies that tell of it."""
        shop = self.simulation.state
        self.clock.now += timedelta(seconds=number % 3)  # some things happen within one second
        number = sorted(shop.orders)[number % len(shop.orders)]
        if deed == "add":
            shop.add_order(email=f"buyer{number}@example.com", total=f"{number}.00")
        elif deed == "pend":
            shop.update_order(number, status="pending")
        elif deed == "pay":
            shop.update_order(number, status="paid")
        elif deed == "refund":
            shop.refund(number, "0.50")
        elif deed == "trash" and shop.status(number) != "trash":
            shop.trash(number)
        elif deed == "restore" and shop.status(number) == "trash":
            shop.restore(number)
        await woocommerce.deliver(self.simulation, self._collect)

    async def _collect(self, _url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.sent.append((headers, body))
        return 200


DEEDS = st.lists(
    st.tuples(st.sampled_from(["add", "pend", "pay", "refund", "trash", "restore"]), st.integers(0, 9)),
    max_size=6,
)


@asynccontextmanager
async def opened(shop: Shop, db: Database) -> AsyncIterator[Reading]:
    """Read a shop into a state store that knows nothing yet."""
    for rows in reversed(metadata.sorted_tables):
        await db.run(lambda connection, rows=rows: connection.execute(rows.delete()))  # type: ignore[misc]
    with respx.mock(assert_all_called=False) as router:
        router.route(host="shop.test").mock(side_effect=edge(shop.simulation))
        yield Reading(Source("shop", shop.store), db, shop.clock.now)


async def everything(db: Database) -> Any:
    """Return all that profiles rest on; what is in the trash counts for nobody."""

    def read(connection: Any) -> Any:
        alive = ORDERS.c.standing != "deleted"
        ids = select(ORDERS.c.id).where(alive)
        orders = select(ORDERS).where(alive).order_by(ORDERS.c.id)
        lines = select(LINES).where(LINES.c.order_id.in_(ids)).order_by(*LINES.primary_key)
        refunds = select(REFUNDS).where(REFUNDS.c.order_id.in_(ids)).order_by(*REFUNDS.primary_key)
        return [tuple(row) for query in (orders, lines, refunds) for row in connection.execute(query)]

    return await db.read(read)


async def receive(reading: Reading, deliveries: list[tuple[Mapping[str, str], bytes]]) -> None:
    store: Any = reading.source.store
    verified = [(store.verify(headers, body, NOW), body) for headers, body in deliveries]
    received = [Received("shop", each.id, each.topic, body, NOW) for each, body in verified]
    await reading.db.run(inbox.receive, received)
    await take_in(reading.source, reading.db, NOW, Taken())


@hypothesis.settings(max_examples=15, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(deeds=DEEDS, chance=st.randoms(use_true_random=False))
async def test_P1_P2_shuffled_repeated_dropped_and_late_webhooks_end_where_a_pull_ends(
    db: Database, deeds: list[tuple[str, int]], chance: random.Random
) -> None:
    shop = Shop()
    async with opened(shop, db) as hinted:
        await pull_history(hinted, None)
        for deed, number in deeds:
            await shop.do(deed, number)
            early = chance.sample(shop.sent, k=chance.randint(0, len(shop.sent)))
            await receive(hinted, early)
        if chance.random() < 0.5:
            await pull_changes(hinted)
        late = chance.sample(shop.sent * 10, k=chance.randint(0, len(shop.sent) * 10))
        await receive(hinted, late)
        await pull_changes(hinted)
        found = await everything(hinted.db)
        await receive(hinted, chance.sample(shop.sent, k=len(shop.sent)))
        later = await everything(hinted.db)
    async with opened(shop, db) as plain:
        await pull_history(plain, None)
        expected = await everything(plain.db)

    assert found == later == expected
