"""Backfills: windows, pages, counts; and reading with care while rows move."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
import respx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Resource, Window
from connectors.facts import Customer, Order
from connectors.http import Answer
from connectors.stores.woocommerce.connector import WooCommerce
from connectors.stores.woocommerce.listing import Shop
from connectors.stores.woocommerce.simulator import SETTINGS, simulator
from tests.connectors.stores.shops import (
    NOON,
    OPENING,
    Clock,
    Meddler,
    everything,
    facts_of,
    history_of,
    ids_of,
    order,
    orders,
    queries,
)
from tests.connectors.stores.woocommerce.conftest import Connect
from tests.edge import edge


async def test_windows_touch_without_gap_and_cost_at_most_two_requests_each(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.stores.woocommerce.connector.ORDERS_PER_WINDOW", 60)
    simulation = simulator(orders(900))
    store = connect(simulation)

    windows = await store.plan_backfill(Resource.ORDERS, None)
    pages = [page for window in windows for page in await everything(store.backfill(window, None))]

    assert len(windows) == 8
    assert windows[0].start == OPENING + timedelta(hours=1)
    assert windows[-1].end == OPENING + timedelta(hours=900, seconds=1)
    assert all(one.end == other.start for one, other in pairwise(windows))
    assert sorted(map(int, ids_of(pages, Order))) == list(range(1, 901))
    assert store.tally["GET"] <= ceil(900 / 100) + 2 * 8 + 2


async def test_windows_hold_as_many_orders_each_however_they_crowd(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.stores.woocommerce.connector.ORDERS_PER_WINDOW", 100)
    rush = [order(number, created_at=NOON + timedelta(seconds=number)) for number in range(1, 701)]
    calm = [order(number, created_at=NOON + timedelta(days=number)) for number in range(701, 801)]
    store = connect(simulator([*rush, *calm]))

    windows = await store.plan_backfill(Resource.ORDERS, None)

    held = [len(ids_of(await everything(store.backfill(each, None)), Order)) for each in windows]
    assert held == [100] * 8


async def test_a_small_shop_is_one_window_and_an_empty_one_none(connect: Connect) -> None:
    small = await connect(simulator(orders(7))).plan_backfill(Resource.ORDERS, None)
    empty = await connect(simulator([])).plan_backfill(Resource.ORDERS, None)

    assert (len(small), empty) == (1, [])


async def test_orders_of_one_single_second_are_one_window(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.stores.woocommerce.connector.ORDERS_PER_WINDOW", 10)
    store = connect(simulator(orders(150, at=NOON)))

    pages = await history_of(store)

    assert len(await store.plan_backfill(Resource.ORDERS, None)) == 1
    assert len(ids_of(pages, Order)) == 150


async def test_moments_are_asked_for_in_utc_without_a_zone_whatever_the_shop_s_clock(
    connect: Connect,
) -> None:
    simulation = simulator(orders(20), timezone="Asia/Kathmandu")
    store = connect(simulation)
    window = Window(Resource.ORDERS, OPENING + timedelta(hours=5), OPENING + timedelta(hours=8))

    pages = await everything(store.backfill(window, None))

    assert ids_of(pages, Order) == ["5", "6", "7"]
    assert "after=2026-01-01T04%3A59%3A59" in queries(simulation, "/orders")[0]
    assert "dates_are_gmt=true" in queries(simulation, "/orders")[0]


async def test_going_on_behind_the_last_page_finds_nothing_and_takes_no_zero_for_a_count(
    connect: Connect,
) -> None:
    store = connect(simulator(orders(150)))
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    *_, last = await everything(store.backfill(window, None))

    rest = await everything(store.backfill(window, last.cursor))

    assert [page.total for page in rest if page.total is not None] == []
    assert facts_of(rest) == []


async def test_rows_that_the_key_may_not_see_do_not_end_the_reading(connect: Connect) -> None:
    simulation = simulator(orders(250))
    simulation.state.hidden |= {5, 120, 121}
    store = connect(simulation)

    pages = await history_of(store)

    assert len(ids_of(pages, Order)) == 247
    assert pages[-1].total == 250


async def test_where_a_cache_drops_the_counts_a_short_page_ends_the_reading(connect: Connect) -> None:
    store = connect(simulator(orders(250), counts=False))

    pages = await history_of(store)

    assert len(ids_of(pages, Order)) == 250
    assert {page.total for page in pages} == {None}


async def test_counts_that_are_less_than_what_came_are_none(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cache leaves them that rewrites headers: a history that seems empty, changes that seem read."""
    really = Shop._get

    async def rewritten(shop: Shop, path: str, params: dict[str, Any]) -> Answer:
        answer = await really(shop, path, params)
        return replace(answer, headers={**answer.headers, "x-wp-total": "0", "x-wp-totalpages": "0"})

    monkeypatch.setattr(Shop, "_get", rewritten)
    store = connect(simulator(orders(250)))

    assert len(ids_of(await history_of(store), Order)) == 250


async def test_an_older_shop_that_keeps_orders_as_posts_is_read_alike(connect: Connect) -> None:
    store = connect(simulator(orders(250), posts=True))

    assert len(ids_of(await history_of(store), Order)) == 250


async def test_trash_is_no_history(connect: Connect) -> None:
    simulation = simulator(orders(5))
    simulation.state.trash(3)
    store = connect(simulation)

    assert ids_of(await history_of(store), Order) == ["1", "2", "4", "5"]


async def test_accounts_of_every_role_are_read_and_staff_lose_their_address(connect: Connect) -> None:
    simulation = simulator(orders(130))
    simulation.state.add_account("whole@example.com", role="wholesale_customer", id=900)
    store = connect(simulation)

    people = {fact.id: fact for fact in facts_of(await history_of(store, Resource.CUSTOMERS))}

    assert isinstance(owner := people["1"], Customer)
    assert (owner.email, owner.tags) == (None, ("administrator",))
    assert isinstance(whole := people["900"], Customer)
    assert (whole.email, whole.tags) == ("whole@example.com", ("wholesale_customer",))
    assert len(people) == len(simulation.state.accounts)


async def test_a_row_that_slid_to_the_next_page_comes_once(connect: Connect) -> None:
    """An order taken out of the trash pushes the last row of each page on to the next."""
    simulation = simulator(orders(250))
    simulation.state.trash(10)
    store = connect(Meddler(simulation, lambda n: simulation.state.restore(10) if n == 4 else None))

    pages = await history_of(store)

    assert sorted(ids_of(pages, Order)) == sorted(set(ids_of(pages, Order)))
    assert [page.total for page in pages] == [249, 250, 250]


async def test_with_care_a_trashed_row_hides_no_other(connect: Connect) -> None:
    simulation = simulator(orders(350))
    store = connect(Meddler(simulation, lambda n: simulation.state.trash(n) if n < 4 else None))
    window = Window(Resource.ORDERS, OPENING, NOON)

    careless = await everything(store.backfill(window, None))
    store = connect(Meddler(simulation, lambda n: simulation.state.trash(10 + n) if n < 4 else None))
    careful = await everything(store.backfill(window, None, careful=True))

    alive = set(map(str, simulation.state.sorted_ids("live", "id")))
    assert not alive <= set(ids_of(careless, Order))
    assert alive <= set(ids_of(careful, Order))


async def test_with_care_totals_stay_the_same_while_nothing_moves(connect: Connect) -> None:
    store = connect(simulator(orders(350)))
    window = Window(Resource.ORDERS, OPENING, NOON)

    pages = await everything(store.backfill(window, None, careful=True))
    resumed = await everything(store.backfill(window, pages[1].cursor, careful=True))

    assert {page.total for page in pages} == {350}
    assert {page.total for page in resumed} == {350}
    assert len(ids_of(pages, Order)) == 350
    assert ids_of(resumed, Order) == ids_of(pages[2:], Order)


async def test_with_care_more_rows_in_one_second_than_fit_a_page_are_all_read(connect: Connect) -> None:
    crowd = [
        order(number, NOON if 40 < number <= 300 else NOON + timedelta(hours=number - 300))
        for number in range(1, 341)
    ]
    simulation = simulator(crowd)
    store = connect(simulation)

    pages = await everything(store.backfill(Window(Resource.ORDERS), None, careful=True))

    assert sorted(map(int, ids_of(pages, Order))) == list(range(1, 341))


async def test_with_care_a_row_that_leaves_a_crowded_second_hides_no_other(connect: Connect) -> None:
    simulation = simulator(orders(350, at=NOON))
    store = connect(Meddler(simulation, lambda n: simulation.state.trash(n) if n in {3, 4} else None))

    pages = await everything(store.backfill(Window(Resource.ORDERS), None, careful=True))

    alive = set(map(str, simulation.state.sorted_ids("live", "id")))
    assert alive <= set(ids_of(pages, Order))
    assert len(ids_of(pages, Order)) == len(set(ids_of(pages, Order)))


async def test_with_care_a_deleted_account_hides_no_other(connect: Connect) -> None:
    simulation = simulator([])
    for number in range(2, 352):
        simulation.state.add_account(f"person-{number}@example.com", id=number)
    store = connect(Meddler(simulation, lambda n: simulation.state.delete_account(n + 1) if n > 1 else None))

    pages = await everything(store.backfill(Window(Resource.CUSTOMERS), None, careful=True))
    resumed = await everything(store.backfill(Window(Resource.CUSTOMERS), pages[2].cursor, careful=True))

    read = ids_of(pages, Customer)
    assert set(map(str, simulation.state.accounts)) <= set(read)
    assert len(read) == len(set(read))
    assert not set(ids_of(resumed, Customer)) & set(ids_of(pages[:2], Customer))


async def test_rows_without_a_time_do_not_stop_a_careful_reading(connect: Connect) -> None:
    simulation = simulator(orders(250))
    for number in range(1, 251):
        simulation.state.update_order(number, row={"date_created_gmt": "soon"})
    store = connect(simulation)

    pages = await everything(store.backfill(Window(Resource.ORDERS), None, careful=True))

    assert len({letter.record for page in pages for letter in page.bad}) == 250


async def test_a_page_that_vanished_is_not_taken_for_a_count_of_nought(connect: Connect) -> None:
    simulation = simulator(orders(201))
    for number in range(1, 202):
        simulation.state.update_order(number, row={"date_created_gmt": "soon"})
    store = connect(Meddler(simulation, lambda n: simulation.state.trash(n) if n == 3 else None))

    pages = await everything(store.backfill(Window(Resource.ORDERS), None, careful=True))

    assert [page.total for page in pages] == [201, 201, None]


deeds = st.dictionaries(
    st.integers(1, 8),
    st.tuples(st.sampled_from(["trash", "touch", "delete"]), st.integers(1, 110)),
    max_size=6,
)


@given(deeds, st.sampled_from([0, 1, 3600]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_care_no_row_that_stays_is_left_out_whatever_else_moves(
    deeds: dict[int, tuple[str, int]], step: int
) -> None:
    simulation = simulator(orders(110, at=OPENING, every=timedelta(seconds=step)), clock=Clock())
    shop = simulation.state

    def meddle(request: int) -> None:
        deed, number = deeds.get(request, ("", 0))
        if number in shop.orders:
            {"trash": shop.trash, "touch": shop.update_order, "delete": shop.delete}[deed](number)

    async def read() -> list[str]:
        with respx.mock as router:
            router.route().mock(side_effect=edge(Meddler(simulation, meddle)))
            store = WooCommerce(WooCommerce.Settings(**SETTINGS))
            pages = await everything(store.backfill(Window(Resource.ORDERS), None, careful=True))
            await store.aclose()
        return ids_of(pages, Order)

    read_ids = asyncio.run(read())

    assert set(map(str, shop.sorted_ids("live", "id"))) <= set(read_ids)
    assert len(read_ids) == len(set(read_ids))
