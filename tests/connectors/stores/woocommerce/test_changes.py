"""What changed since the last reading: orders and their accounts, trash, accounts in turn, products."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import respx
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.base import Page, Resource
from connectors.facts import Customer, Order, Product, Standing
from connectors.stores.woocommerce.connector import WooCommerce
from connectors.stores.woocommerce.simulator import SETTINGS, simulator
from tests.connectors.stores.shops import (
    NOON,
    Clock,
    Meddler,
    everything,
    facts_of,
    ids_of,
    order,
    orders,
    queries,
)
from tests.connectors.stores.woocommerce.conftest import Connect
from tests.edge import edge


async def changed(
    store: WooCommerce, cursor: str | None, *, resource: Resource = Resource.ORDERS, since: datetime = NOON
) -> list[Page]:
    """Read from a cursor; without one from the moment `since` of the shop's own clock."""
    return await everything(
        store.changes(resource, since, cursor or json.dumps({"began": since.isoformat()}))
    )


def found(pages: list[Page]) -> dict[str, Order]:
    return {fact.id: fact for fact in facts_of(pages) if isinstance(fact, Order)}


async def test_a_cursor_is_when_the_reading_began_by_the_shop_s_clock(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(250), clock=clock)
    for number in range(1, 221):
        simulation.state.update_order(number)
    store = connect(Meddler(simulation, lambda _: clock.pass_by(60)))

    *_, last = await changed(store, None, since=NOON)

    assert json.loads(last.cursor) == {"began": (NOON + timedelta(seconds=60)).isoformat()}


async def test_without_a_clock_of_the_shop_ours_counts(connect: Connect) -> None:
    store = connect(simulator(orders(3)))
    before = datetime.now(UTC)

    (page,) = await everything(store.changes(Resource.ORDERS, before, None))

    assert before <= datetime.fromisoformat(json.loads(page.cursor)["began"]) <= datetime.now(UTC)


async def test_a_change_is_found_once_and_again_only_within_the_overlap(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(50), clock=clock)
    store = connect(simulation)
    (first,) = await changed(store, None)
    clock.pass_by(30)
    simulation.state.update_order(7)
    clock.pass_by(30)

    second = await changed(store, first.cursor)
    third = await changed(store, second[-1].cursor)
    clock.pass_by(11 * 60)
    fourth = await changed(store, third[-1].cursor)
    fifth = await changed(store, fourth[-1].cursor)

    assert [sorted(found(pages)) for pages in (second, third, fourth, fifth)] == [["7"], ["7"], ["7"], []]


async def test_the_overlap_reaches_ten_minutes_back_and_less_its_first_second_is_left_out(
    connect: Connect,
) -> None:
    simulation = simulator(orders(3), clock=Clock())
    store = connect(simulation)

    await changed(store, None, since=NOON)

    asked = parse_qs(queries(simulation, "/orders")[0])
    assert (asked["modified_after"], asked["dates_are_gmt"]) == (["2026-11-20T11:49:59"], ["true"])
    assert "modified_before" not in asked


async def test_a_trashed_order_is_deleted_and_one_restored_is_back(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(5, at=NOON - timedelta(days=1)), clock=clock)
    store = connect(simulation)
    simulation.state.trash(2)

    trashed = await changed(store, None)
    clock.pass_by(60)
    simulation.state.restore(2)
    restored = await changed(store, trashed[-1].cursor)

    assert found(trashed)["2"].standing is Standing.DELETED
    assert found(restored)["2"].standing is Standing.PAID


async def test_accounts_that_changed_orders_name_come_along_each_once_in_one_request_a_page(
    connect: Connect,
) -> None:
    clock = Clock()
    simulation = simulator(orders(240), clock=clock)
    for number in range(1, 241):
        simulation.state.update_order(number)
        clock.pass_by(1)
    simulation.state.change_account_email(103, "new@example.com")
    store = connect(simulation)

    pages = await changed(store, None)

    people = {fact.id: fact.email for fact in facts_of(pages) if isinstance(fact, Customer)}
    assert people["103"] == "new@example.com"
    assert len(ids_of(pages, Customer)) == len(people) == len(simulation.state.accounts) - 1
    assert len(queries(simulation, "/customers")) == 1
    assert isinstance(pages[0].facts[0], Customer)


async def test_a_reading_that_was_killed_goes_on_and_keeps_its_beginning(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(250), clock=clock)
    for number in range(1, 251):
        simulation.state.update_order(number)
        clock.pass_by(1)
    began = clock.now
    simulation.state.trash(250)
    store = connect(simulation)
    first, second, *_ = await changed(store, None)
    clock.pass_by(3600)

    rest = await changed(store, second.cursor)

    assert set(found([first, second, *rest])) == {str(number) for number in range(1, 251)}
    assert set(found(rest)).isdisjoint(found([first]))
    assert json.loads(rest[-1].cursor) == {"began": began.isoformat()}


async def test_a_reading_that_was_killed_in_the_trash_goes_on_there(connect: Connect) -> None:
    simulation = simulator(orders(20), clock=Clock())
    simulation.state.update_order(1)
    simulation.state.trash(2)
    store = connect(simulation)
    first, *_ = await changed(store, None)
    before = len(simulation.requests)

    rest = await changed(store, first.cursor)

    assert found(rest).keys() == {"2"}
    assert len(simulation.requests) - before == 1


async def test_an_order_deleted_for_good_just_vanishes(connect: Connect) -> None:
    simulation = simulator(orders(5), clock=Clock())
    simulation.state.update_order(2)
    simulation.state.delete(2)
    store = connect(simulation)

    assert found(await changed(store, None)) == {}


async def test_a_status_of_a_plugin_is_warned_about_once(connect: Connect) -> None:
    simulation = simulator(orders(5), clock=Clock(), statuses=["shipped"])
    simulation.state.update_order(1, status="shipped")
    simulation.state.update_order(2, status="shipped")
    store = connect(simulation)

    with structlog.testing.capture_logs() as logs:
        await changed(store, None)
        await changed(store, None)

    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [(entry["event"], entry["status"]) for entry in warnings] == [("status_unknown", "shipped")]


async def test_a_status_that_the_owner_lists_is_paid_and_no_warning(connect: Connect) -> None:
    simulation = simulator(orders(5), clock=Clock(), statuses=["shipped"])
    simulation.state.update_order(1, status="shipped")
    store = connect(simulation, paid_statuses=["processing", "completed", "wc-shipped"])

    with structlog.testing.capture_logs() as logs:
        read = found(await changed(store, None))

    assert read["1"].standing is Standing.PAID
    assert [entry for entry in logs if entry["log_level"] == "warning"] == []


async def test_consent_on_orders_and_accounts_is_read_under_the_owner_s_key(connect: Connect) -> None:
    simulation = simulator([order(3), order(4)], clock=Clock())
    simulation.state.set_order_meta(3, "_newsletter_opt_in", "yes")
    simulation.state.set_order_meta(4, "_newsletter_opt_in", "0")
    simulation.state.set_account_meta(103, "_newsletter_opt_in", "1")
    store = connect(simulation, consent_meta_key="_newsletter_opt_in")

    facts = facts_of(await changed(store, None))

    words = [
        (fact.id, fact.consent.given) for fact in facts if isinstance(fact, Order | Customer) and fact.consent
    ]
    assert sorted(words) == [("103", True), ("3", True), ("4", False)]


async def test_new_accounts_cost_one_request_and_a_page_of_all_in_turn_another(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([], clock=clock)
    for number in range(2, 252):
        simulation.state.add_account(
            f"old-{number}@example.com", id=number, created_at=NOON - timedelta(days=number)
        )
    store = connect(simulation)

    cursor, rounds = None, []
    for _ in range(4):
        simulation.state.add_account("new@example.com")
        pages = await changed(store, cursor, resource=Resource.CUSTOMERS)
        cursor = pages[-1].cursor
        rounds.append((json.loads(cursor)["scan"], len(pages[-1].facts), store.tally["GET"]))
        assert str(max(simulation.state.accounts)) in ids_of(pages, Customer)
        clock.pass_by(3600)

    assert rounds == [(2, 100, 2), (3, 100, 4), (1, 54, 6), (2, 100, 8)]


async def test_many_new_accounts_are_read_page_by_page(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([], clock=clock)
    for number in range(2, 262):
        simulation.state.add_account(f"new-{number}@example.com", id=number)
        clock.pass_by(1)
    store = connect(simulation)

    pages = await changed(store, None, resource=Resource.CUSTOMERS)

    assert {str(number) for number in range(2, 262)} <= set(ids_of(pages, Customer))
    assert {page.cursor for page in pages[:-1]} == {json.dumps({"began": NOON.isoformat(), "scan": 1})}


async def test_changed_products_cost_one_request(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(3), clock=clock)
    store = connect(simulation)

    (none,) = await changed(store, None, resource=Resource.PRODUCTS)
    clock.pass_by(60)
    simulation.state.add_order(category="Mugs")
    (some,) = await changed(store, none.cursor, resource=Resource.PRODUCTS)

    assert (none.facts, store.tally["GET"]) == ([], 2)
    assert [fact.categories for fact in some.facts if isinstance(fact, Product)] == [["Mugs"]]


deeds = st.dictionaries(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.sampled_from(["trash", "touch", "refund", "restore"]), st.integers(1, 130)), max_size=3
    ),
)


@given(deeds, st.sampled_from([0, 1]), st.integers(0, 2))
@example({2: [("trash", 101)], 4: [("restore", 101)]}, 1, 0)  # in neither list when it is asked for
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_order_is_left_out_whatever_moves_while_we_read(
    deeds: dict[int, list[tuple[str, int]]], apart: int, pace: int
) -> None:
    clock = Clock()
    simulation = simulator(orders(130), clock=clock)
    shop = simulation.state
    for number in range(1, 131):
        shop.update_order(number)
        clock.pass_by(apart)

    def meddle(request: int) -> None:
        clock.pass_by(pace)
        for deed, number in deeds.get(request, ()):
            {
                "trash": shop.trash,
                "touch": shop.update_order,
                "refund": lambda number: shop.refund(number, "1.00"),
                "restore": shop.restore,
            }[deed](number)

    async def read() -> tuple[list[Page], list[Page]]:
        with respx.mock as router:
            router.route().mock(side_effect=edge(Meddler(simulation, meddle)))
            store = WooCommerce(WooCommerce.Settings(**SETTINGS))
            first = await changed(store, None)
            second = await changed(store, first[-1].cursor)
            await store.aclose()
        return first, second

    first, second = asyncio.run(read())

    everybody = {str(number) for number in range(1, 131)}
    between = {
        str(number) for each in deeds.values() for deed, number in each if deed in {"trash", "restore"}
    }
    last = found([*first, *second])
    assert (last.keys(), found(first).keys() | between) == (everybody, everybody)
    assert {number: shop.status(int(number)) for number in last} == {
        number: order.status for number, order in last.items()
    }
