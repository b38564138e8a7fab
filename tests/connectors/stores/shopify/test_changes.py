"""What changed since the last reading: nothing may be left out, whatever moves meanwhile."""

import json
from datetime import UTC, datetime

import pytest

from connectors.base import Page, Resource
from connectors.errors import Refused
from connectors.facts import Customer, Order
from connectors.simulation import Simulation
from connectors.stores.shopify import pages as paging
from connectors.stores.shopify.simulator import simulator
from tests.connectors.stores.shopify.conftest import Connect
from tests.connectors.stores.shopify.shops import changed, killed_anywhere
from tests.connectors.stores.shops import NOON, Clock, Meddler, facts_of, ids_of, order, orders

FULL = 20


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a full page be 20 rows: what is to be seen does not depend on it."""
    monkeypatch.setattr(paging, "LARGEST", FULL)


def found(pages: list[Page]) -> dict[str, Order]:
    return {fact.id: fact for fact in facts_of(pages) if isinstance(fact, Order)}


def cursor_at(moment: datetime) -> str:
    return json.dumps({"began": moment.strftime("%Y-%m-%dT%H:%M:%SZ")})


def touch(simulation: Simulation, *numbers: int) -> None:
    for number in numbers:
        simulation.state.update_order(number)


async def test_when_nothing_changed_one_request_says_so(connect: Connect, clock: Clock) -> None:
    store = connect(simulator(orders(100), clock=clock))

    for resource in store.resources:
        (page,) = await changed(store, cursor_at(NOON), resource)
        assert (page.facts, page.bad) == ([], [])

    assert store.tally["POST"] == len(store.resources)


async def test_a_cursor_is_when_the_reading_began_by_the_shop_s_clock(connect: Connect, clock: Clock) -> None:
    simulation = simulator(orders(60), clock=clock)
    touch(simulation, *range(1, 50))
    store = connect(Meddler(simulation, lambda _: clock.pass_by(60)))

    *_, last = await changed(store, cursor_at(NOON))

    assert json.loads(last.cursor) == {"began": "2026-11-20T12:01:00Z"}


async def test_a_change_comes_once_and_again_only_within_the_overlap(connect: Connect, clock: Clock) -> None:
    simulation = simulator(orders(50), clock=clock)
    store = connect(simulation)
    (first,) = await changed(store, cursor_at(NOON))
    clock.pass_by(30)
    simulation.state.refund(7, "5.00")

    (second,) = await changed(store, first.cursor)
    (third,) = await changed(store, second.cursor)
    clock.pass_by(3600)
    (fourth,) = await changed(store, third.cursor)
    (fifth,) = await changed(store, fourth.cursor)

    assert [ids_of([page]) for page in (first, second, third, fourth, fifth)] == [[], ["7"], ["7"], ["7"], []]


async def test_a_question_is_asked_anew_before_it_gets_too_long(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGES_AT_A_STRETCH", 2)
    simulation = simulator(orders(FULL * 5), clock=clock)
    for number in range(1, FULL * 5 + 1):
        clock.pass_by(1)
        touch(simulation, number)
    store = connect(simulation)

    pages = await changed(store, cursor_at(NOON))

    assert set(map(int, ids_of(pages))) == set(range(1, FULL * 5 + 1))
    assert len(pages) < 10


async def test_asking_anew_gets_through_a_second_with_more_rows_than_a_stretch(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGES_AT_A_STRETCH", 2)
    simulation = simulator(orders(FULL * 5), clock=clock)
    touch(simulation, *range(1, FULL * 5 + 1))
    store = connect(simulation)

    pages = await changed(store, cursor_at(NOON))

    assert set(map(int, ids_of(pages))) == set(range(1, FULL * 5 + 1))


async def test_a_change_that_the_search_sees_late_is_found_by_the_next_reading(
    connect: Connect, clock: Clock
) -> None:
    simulation = simulator(orders(3), clock=clock, index_lag=30.0)
    store = connect(simulation)
    touch(simulation, 2)
    new = simulation.state.add_order()

    (early,) = await changed(store, cursor_at(NOON))
    clock.pass_by(31)
    (late,) = await changed(store, early.cursor)

    assert (ids_of([early]), ids_of([late])) == ([], ["2", str(new)])


async def test_customers_are_asked_for_by_days_and_sorted_out_by_seconds(
    connect: Connect, clock: Clock
) -> None:
    simulation = simulator(orders(40), clock=clock)
    simulation.state.update_customer(103, tags=("vip",))
    clock.pass_by(3 * 3600)
    simulation.state.change_email(106, "new@example.com")
    simulation.state.set_consent(109, "SUBSCRIBED", "CONFIRMED_OPT_IN")
    store = connect(simulation)

    pages = await changed(store, cursor_at(clock.now), Resource.CUSTOMERS)

    read = {each.id: each for each in facts_of(pages) if isinstance(each, Customer)}
    assert set(read) == {"106", "109"}
    assert read["106"].email == "new@example.com"
    consent = read["109"].consent
    assert consent is not None
    assert (consent.given, consent.at, consent.level) == (True, clock.now, "confirmed_opt_in")


async def test_customers_are_found_wherever_the_shop_s_days_begin(connect: Connect) -> None:
    """In Samoa it is still yesterday: a filter by the day of UTC would begin eleven hours late."""
    clock = Clock(datetime(2026, 11, 20, 6, tzinfo=UTC))
    simulation = simulator(orders(40), clock=clock)
    simulation.state.midnight = 11 * 3600
    simulation.state.update_customer(103)

    pages = await changed(connect(simulation), cursor_at(clock.now), Resource.CUSTOMERS)

    assert ids_of(pages) == ["103"]


async def test_customers_changed_around_midnight_are_found(connect: Connect) -> None:
    clock = Clock(datetime(2026, 11, 20, 23, 59, 50, tzinfo=UTC))
    simulation = simulator(orders(40), clock=clock)
    simulation.state.update_customer(103)
    clock.pass_by(20)
    simulation.state.update_customer(106)

    pages = await changed(connect(simulation), cursor_at(clock.now), Resource.CUSTOMERS)

    assert ids_of(pages) == ["103", "106"]


async def test_a_killed_reading_of_customers_loses_nobody(connect: Connect, clock: Clock) -> None:
    simulation = simulator(
        [order(number, email=f"b{number}@example.com") for number in range(1, 71)], clock=clock
    )
    for buyer in list(simulation.state.buyers):
        clock.pass_by(1)
        simulation.state.update_customer(buyer)
    everybody = {str(buyer) for buyer in simulation.state.buyers}
    store = connect(simulation)

    pages, _ = await killed_anywhere(lambda cursor: store.changes(Resource.CUSTOMERS, NOON, cursor))

    assert set(ids_of(pages)) == everybody


async def test_a_killed_reading_of_checkouts_loses_none(connect: Connect, clock: Clock) -> None:
    simulation = simulator([], clock=clock)
    numbers = [simulation.state.abandon_checkout() for _ in range(FULL * 3)]
    store = connect(simulation)

    pages, _ = await killed_anywhere(lambda cursor: store.changes(Resource.CHECKOUTS, NOON, cursor))

    assert set(ids_of(pages)) == {str(number) for number in numbers}


@pytest.mark.parametrize(
    ("resource", "right"), [(Resource.ORDERS, "read_orders"), (Resource.CHECKOUTS, "read_orders")]
)
async def test_what_may_not_be_read_is_refused_with_the_right_that_is_missing(
    connect: Connect, resource: Resource, right: str
) -> None:
    simulation = simulator(orders(3))
    simulation.state.scopes.remove(right)
    store = connect(simulation)

    with pytest.raises(Refused, match=right):
        await store.plan_backfill(resource, None)
    with pytest.raises(Refused, match=right):
        await changed(store, cursor_at(NOON), resource)


async def test_who_may_read_orders_but_not_checkouts_is_told(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.denied = {"abandonedCheckouts"}

    (said,) = await connect(simulation).check()

    assert said.startswith("checkouts cannot be read: Shopify denies access")


async def test_records_are_read_again_in_one_request_a_kind(connect: Connect, clock: Clock) -> None:
    simulation = simulator(orders(30), clock=clock)
    checkout = simulation.state.abandon_checkout(buyer=103)
    simulation.state.delete(5)
    store = connect(simulation)
    named = [f"order {number}" for number in range(1, 11)]
    others = [
        "customer 103",
        "product 11",
        f"checkout {checkout}",
        "order without an id",
        "refund 3",
        "customer 999",
    ]

    page = await store.reread([*named, *others])

    assert {type(fact).__name__: 0 for fact in page.facts}.keys() == {
        "Order",
        "Customer",
        "Product",
        "Checkout",
    }
    assert len(page.facts) == 9 + 3
    assert store.tally["POST"] == 4


async def test_reading_nothing_again_asks_nothing(connect: Connect) -> None:
    store = connect(simulator(orders(3)))

    page = await store.reread([])

    assert (page.facts, store.tally["POST"]) == ([], 0)
