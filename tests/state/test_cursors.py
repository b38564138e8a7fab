"""P2: how far a store has been read moves with what was read, and with nothing else."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection

from connectors.base import Page, Resource, Window
from connectors.errors import BadRecord
from connectors.facts import Fact
from state import cursors, facts, runs
from state.cursors import OpenWindow, Position
from state.db import Database
from tests.state.makers import START, at, customer, order, product

ORDERS, CUSTOMERS = Resource.ORDERS, Resource.CUSTOMERS


def page(*rows: Fact, cursor: str = "next", **more: Any) -> Page:
    return Page(rows, cursor, **more)


def begin(connection: Connection, *windows: Window) -> None:
    cursors.start_backfill(connection, "shop", windows or [Window(ORDERS)], START)


def only_window(connection: Connection, resource: Resource = ORDERS) -> OpenWindow:
    (opened,) = cursors.open_windows(connection, "shop", resource)
    return opened


def read(connection: Connection, *pages: Page) -> OpenWindow:
    """Read the open window's pages; return it as it was opened."""
    opened = only_window(connection)
    for each in pages:
        cursors.save_window_pages(connection, "shop", [(opened, each)], START)
    return opened


# --- in one transaction --------------------------------------------------------------------------------


@pytest.fixture
async def store() -> AsyncIterator[Database]:
    database = Database("sqlite://")
    await database.run(cursors.start_backfill, "shop", [Window(ORDERS)], START)
    yield database
    database.close()


def impossible() -> Page:
    """Make a page whose customer is stored before its order cannot be."""
    return page(customer(1), order(2, number=object()))


async def count(database: Database, resource: Resource) -> int:
    return await database.read(facts.count_created, "shop", resource.value, None, None)


async def test_P2_a_page_that_cannot_be_stored_moves_no_cursor(store: Database) -> None:
    await store.run(cursors.save_changes, "shop", ORDERS, page(order(9), cursor="first"), START)

    with pytest.raises(TypeError):
        await store.run(cursors.save_changes, "shop", ORDERS, impossible(), START)

    assert await store.read(cursors.find_cursor, "shop", ORDERS) == Position(START, "first")
    assert (await count(store, ORDERS), await count(store, CUSTOMERS)) == (1, 0)


async def test_P2_a_page_that_cannot_be_stored_moves_no_window(store: Database) -> None:
    (opened,) = await store.read(cursors.open_windows, "shop", ORDERS)
    await store.run(cursors.save_window_pages, "shop", [(opened, page(order(9), cursor="first"))], START)

    with pytest.raises(TypeError):
        await store.run(cursors.save_window_pages, "shop", [(opened, impossible())], START)

    (again,) = await store.read(cursors.open_windows, "shop", ORDERS)
    assert again.cursor == "first"
    assert (await store.read(cursors.backfill_progress, ["shop"])).done == 1
    assert (await count(store, ORDERS), await count(store, CUSTOMERS)) == (1, 0)


# --- following changes ---------------------------------------------------------------------------------


def test_a_store_that_was_never_read_has_no_cursor(connection: Connection) -> None:
    assert cursors.find_cursor(connection, "shop", ORDERS) is None


def test_P2_reading_goes_on_where_the_last_page_ended(connection: Connection) -> None:
    cursors.start_cursor(connection, "shop", ORDERS, START)
    cursors.save_changes(connection, "shop", ORDERS, page(order(1), cursor="a"), at(1))
    cursors.save_changes(connection, "shop", ORDERS, page(cursor="b"), at(2))

    assert cursors.find_cursor(connection, "shop", ORDERS) == Position(START, "b")
    assert cursors.find_cursor(connection, "shop", CUSTOMERS) is None


def test_P2_an_earlier_beginning_stays(connection: Connection) -> None:
    cursors.start_cursor(connection, "shop", ORDERS, START)
    cursors.start_cursor(connection, "shop", ORDERS, at(60))

    assert cursors.find_cursor(connection, "shop", ORDERS) == Position(START, None)


def test_saving_changes_says_how_many_rows_were_new(connection: Connection) -> None:
    cursors.start_cursor(connection, "shop", ORDERS, START)

    first = cursors.save_changes(connection, "shop", ORDERS, page(order(1), order(2)), START)
    again = cursors.save_changes(connection, "shop", ORDERS, page(order(1), order(2)), START)

    assert (first, again) == (2, 0)


def test_an_unreadable_row_is_a_dead_letter_until_it_can_be_read(connection: Connection) -> None:
    cursors.start_cursor(connection, "shop", ORDERS, START)
    bad = [BadRecord("order 1", "`total` is missing")]
    cursors.save_changes(connection, "shop", ORDERS, page(order(2), bad=bad), START)
    cursors.save_changes(connection, "shop", ORDERS, page(bad=bad), at(1))

    (letter,) = runs.list_dead_letters(connection, ["shop"])
    assert (letter.record, letter.times, letter.first_at, letter.last_at) == ("order 1", 2, START, at(1))

    cursors.save_changes(connection, "shop", ORDERS, page(order(1)), at(2))

    assert runs.list_dead_letters(connection, ["shop"]) == []


def test_records_that_were_read_again_or_are_gone_are_no_dead_letters(connection: Connection) -> None:
    bad = [BadRecord(f"order {number}", "unreadable") for number in (1, 2, 3)]
    runs.bury(connection, "shop", bad, START)

    records = ["order 1", "order 2", "order 3"]
    cursors.save_reread(connection, "shop", records, page(order(1), bad=[bad[1]]), START, history=False)

    assert [letter.record for letter in runs.list_dead_letters(connection, ["shop"])] == ["order 2"]
    assert facts.count_created(connection, "shop", "orders", None, None) == 1


# --- the history ---------------------------------------------------------------------------------------


def test_P2_a_backfill_follows_changes_from_before_it_began(connection: Connection) -> None:
    begin(connection)

    assert all(cursors.find_cursor(connection, "shop", each) == Position(START, None) for each in Resource)


def test_a_backfill_of_an_empty_store_has_nothing_open(connection: Connection) -> None:
    cursors.start_backfill(connection, "shop", [], START)

    assert not cursors.has_open_backfill(connection, "shop")
    assert cursors.find_cursor(connection, "shop", ORDERS) is not None


def test_P2_a_new_backfill_forgets_the_windows_and_cursors_of_the_last(connection: Connection) -> None:
    begin(connection)
    read(connection, page(order(1), cursor="a", total=5))
    cursors.save_changes(connection, "shop", ORDERS, page(cursor="b"), START)

    cursors.start_backfill(connection, "shop", [Window(ORDERS, at(0), at(9))], at(60))

    assert only_window(connection) == OpenWindow(0, Window(ORDERS, at(0), at(9)), None, careful=False)
    assert cursors.find_cursor(connection, "shop", ORDERS) == Position(at(60), None)


def test_P2_windows_are_resumed_one_by_one(connection: Connection) -> None:
    begin(connection, Window(ORDERS, None, at(5)), Window(ORDERS, at(5)), Window(CUSTOMERS))
    first, second = cursors.open_windows(connection, "shop", ORDERS)
    cursors.save_window_pages(
        connection, "shop", [(second, page(order(7, created_at=at(7)), cursor="p2", total=2))], START
    )
    cursors.save_window_pages(connection, "shop", [(first, page(order(1), total=1))], START)

    assert cursors.close_window(connection, "shop", first, START)

    (left,) = cursors.open_windows(connection, "shop", ORDERS)
    assert (left.position, left.cursor, left.window) == (1, "p2", Window(ORDERS, at(5)))
    assert cursors.has_open_backfill(connection, "shop")
    assert cursors.backfill_progress(connection, ["shop"]) == cursors.Progress(2, 3, 0, 2)


def test_saving_a_window_page_tells_rows_changed_and_progress(connection: Connection) -> None:
    begin(connection)
    opened = only_window(connection)

    changed, progress = cursors.save_window_pages(
        connection, "shop", [(opened, page(order(1), order(2), total=5))], START
    )

    assert (changed, progress.done, progress.expected, progress.open) == (2, 2, 5, 1)


def test_a_window_closes_when_all_that_the_store_has_is_stored(connection: Connection) -> None:
    begin(connection)
    opened = read(connection, page(order(1), total=2), page(order(2), total=2))

    assert cursors.close_window(connection, "shop", opened, START)
    assert not cursors.has_open_backfill(connection, "shop")
    assert cursors.backfill_progress(connection, ["shop"]).missing == 0


def test_a_window_of_a_store_that_counts_nothing_closes(connection: Connection) -> None:
    begin(connection)
    opened = read(connection, page(order(1)))

    assert cursors.close_window(connection, "shop", opened, START)


def test_a_window_of_what_is_not_counted_here_closes(connection: Connection) -> None:
    begin(connection, Window(Resource.PRODUCTS))
    opened = only_window(connection, Resource.PRODUCTS)
    cursors.save_window_pages(connection, "shop", [(opened, page(product(1), total=99))], START)

    assert cursors.close_window(connection, "shop", opened, START)


def test_unreadable_rows_were_seen_and_are_not_missing(connection: Connection) -> None:
    begin(connection)
    bad = [BadRecord("order 2", "unreadable")]
    opened = read(connection, page(order(1), bad=bad, total=2))

    assert cursors.close_window(connection, "shop", opened, START)


def test_a_window_with_rows_missing_is_read_again_from_its_beginning_with_care(
    connection: Connection,
) -> None:
    begin(connection)
    opened = read(connection, page(order(1), cursor="a", total=3))

    assert not cursors.close_window(connection, "shop", opened, START)

    assert only_window(connection) == OpenWindow(0, Window(ORDERS), None, careful=True)
    assert cursors.backfill_progress(connection, ["shop"]).done == 0


def test_a_window_whose_count_moved_is_read_again_although_nothing_is_missing(connection: Connection) -> None:
    begin(connection)
    opened = read(connection, page(order(1), order(2), total=3), page(order(3), total=2))

    assert not cursors.close_window(connection, "shop", opened, START)
    assert only_window(connection).careful


def test_a_careful_reading_closes_and_says_how_many_rows_never_came(connection: Connection) -> None:
    begin(connection)
    cursors.close_window(connection, "shop", read(connection, page(order(1), total=3)), START)

    opened = read(connection, page(order(1), order(2), total=4), page(total=5))

    assert cursors.close_window(connection, "shop", opened, START)
    assert cursors.backfill_progress(connection, ["shop"]) == cursors.Progress(2, 5, 3, 0)


def test_what_a_careful_reading_finds_is_not_missing(connection: Connection) -> None:
    begin(connection)
    cursors.close_window(connection, "shop", read(connection, page(order(1), total=2)), START)

    opened = read(connection, page(order(1), order(2), total=2))

    assert cursors.close_window(connection, "shop", opened, START)
    assert cursors.backfill_progress(connection, ["shop"]).missing == 0


def test_windows_that_a_store_does_not_let_us_read_are_closed_and_others_stay(connection: Connection) -> None:
    begin(connection, Window(ORDERS, None, at(5)), Window(ORDERS, at(5)), Window(CUSTOMERS))

    cursors.close_refused(connection, "shop", ORDERS, START)

    assert cursors.open_windows(connection, "shop", ORDERS) == []
    assert len(cursors.open_windows(connection, "shop", CUSTOMERS)) == 1


def test_progress_is_summed_over_stores(connection: Connection) -> None:
    for store in ("shop", "outlet"):
        cursors.start_backfill(connection, store, [Window(CUSTOMERS)], START)
        (opened,) = cursors.open_windows(connection, store, CUSTOMERS)
        cursors.save_window_pages(connection, store, [(opened, page(customer(1), total=10))], START)

    assert cursors.backfill_progress(connection, ["shop", "outlet"]) == cursors.Progress(2, 20, 0, 2)
    assert cursors.backfill_progress(connection, ["other"]) == cursors.Progress(0, 0, 0, 0)
