"""Pages of several windows on their way into the state store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, select

from connectors.base import Page, Resource, Window
from connectors.errors import RemoteFault
from state import cursors
from state.cursors import OpenWindow
from state.db import Database
from state.errors import StateError
from state.tables import OrderRow, table
from sync import pull
from sync.job import Pulse, Stopped
from sync.pull import Reading, Saving, Source, Unsaved
from tests.state.makers import START, at, order
from tests.sync.conftest import World


def stored_orders(connection: Connection) -> set[str]:
    return set(connection.scalars(select(table(OrderRow).c.id)))


async def opened_windows(db: Database) -> Sequence[OpenWindow]:
    return await db.read(cursors.open_windows, "shop", Resource.ORDERS)


@asynccontextmanager
async def four_windows(world: World) -> AsyncIterator[tuple[Reading, Sequence[OpenWindow]]]:
    windows = [Window(Resource.ORDERS, at(start), at(start + 10)) for start in (0, 10, 20, 30)]
    async with world.open() as cartwire:
        await cartwire.db.run(cursors.start_backfill, "shop", windows, START)
        told: list[tuple[int, int]] = []
        source = Source("shop", cartwire.stores["shop"])
        reading = Reading(source, cartwire.db, START, lambda done, of: told.append((done, of)))
        yield reading, await opened_windows(cartwire.db)
        assert [done for done, _ in told] == sorted({done for done, _ in told})


def disk_full(*_: object) -> None:
    raise StateError("the disk is full")


def page_of(opened: OpenWindow) -> Page:
    return Page([order(opened.position)], f"c{opened.position}", total=1)


async def test_P2_pages_that_wait_together_are_all_stored_each_with_its_cursor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "LONGEST_WAIT", 60)

    async with four_windows(world) as (reading, windows):
        saving = Saving(reading)
        await asyncio.gather(*(saving.add(each, page_of(each)) for each in windows))
        early = await reading.db.read(stored_orders)
        await saving.flush()
        stored, after = await reading.db.read(stored_orders), await opened_windows(reading.db)

    assert early == set()
    assert stored == {"0", "1", "2", "3"}
    assert [each.cursor for each in after] == ["c0", "c1", "c2", "c3"]
    assert (reading.pulled.changed, reading.pulled.pages) == (4, 4)


async def test_pages_that_come_slowly_are_stored_as_they_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "LONGEST_WAIT", -1)

    async with four_windows(world) as (reading, windows):
        await Saving(reading).add(windows[0], page_of(windows[0]))
        stored = await reading.db.read(stored_orders)

    assert stored == {"0"}


async def test_several_pages_of_one_window_leave_the_cursor_of_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "ROWS_TOGETHER", range(4, 5))

    async with four_windows(world) as (reading, (first, *_)):
        saving = Saving(reading)
        for number in range(6):
            await saving.add(first, Page([order(number)], f"c{number}", total=6))
        early, between = await reading.db.read(stored_orders), await opened_windows(reading.db)
        await saving.flush()
        stored, after = await reading.db.read(stored_orders), await opened_windows(reading.db)
        progress = await reading.db.read(cursors.backfill_progress, ["shop"])

    assert (len(early), between[0].cursor) == (4, "c3")
    assert (len(stored), progress.done, after[0].cursor) == (6, 6, "c5")


async def test_the_more_is_stored_the_more_goes_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "ROWS_TOGETHER", range(2, 6))
    monkeypatch.setattr(pull, "PART", 2)
    monkeypatch.setattr(pull, "LONGEST_WAIT", 60)
    save, sizes = cursors.save_window_pages, []

    def noting(connection: Connection, store: str, pages: Sequence[Any], now: Any) -> Any:
        sizes.append(len(pages))
        return save(connection, store, pages, now)

    monkeypatch.setattr(cursors, "save_window_pages", noting)
    async with four_windows(world) as (reading, (first, *_)):
        saving = Saving(reading)
        for number in range(24):
            await saving.add(first, Page([order(number)], f"c{number}", total=24))

    assert sizes == [2, 2, 2, 3, 4, 5, 5]


async def test_P2_no_page_is_stored_behind_one_that_could_not_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with four_windows(world) as (reading, (first, *_)):
        saving = Saving(reading)
        await saving.add(first, Page([order(1)], "c1", total=2))
        with monkeypatch.context() as broken:
            broken.setattr(cursors, "save_window_pages", disk_full)
            with pytest.raises(StateError):
                await saving.flush()
        await saving.add(first, Page([order(2)], "c2", total=2))
        with pytest.raises(Unsaved):
            await saving.flush()
        stored, after = await reading.db.read(stored_orders), await opened_windows(reading.db)

    assert (stored, after[0].cursor) == (set(), None)


async def test_P2_a_history_whose_storing_failed_once_is_whole_after_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(31, 350):
        world.shop.state.add_order(email=f"buyer{number}@example.com", total="1.00")
    monkeypatch.setattr(pull, "ROWS_TOGETHER", range(1, 2))
    save, calls = cursors.save_window_pages, count(1)

    def fails_at_times(*arguments: Any) -> Any:
        return disk_full() if next(calls) in {2, 5} else save(*arguments)

    monkeypatch.setattr(cursors, "save_window_pages", fails_at_times)
    for _ in range(2):
        with pytest.raises(StateError):
            await world.backfill()
    await world.backfill()

    async with world.open() as cartwire:
        assert len(await cartwire.db.read(stored_orders)) == 349


@pytest.mark.parametrize("stopping", [False, True])
async def test_what_waits_is_stored_when_the_store_fails_and_its_error_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, *, stopping: bool
) -> None:
    monkeypatch.setattr(pull, "LONGEST_WAIT", 60)

    async def one_page(window: Window, *_: object, **__: object) -> AsyncIterator[Page]:
        yield Page([order(window.start.minute if window.start else 0)], "c", total=9)
        raise RemoteFault("the shop is down")

    async with four_windows(world) as (reading, windows):
        monkeypatch.setattr(reading.source.store, "backfill", one_page)
        told = Reading(reading.source, reading.db, START, pulse=Pulse(stopping=stopping))
        with pytest.raises(RemoteFault):
            await pull._read_windows(told, windows[:1])
        stored = await reading.db.read(stored_orders)

    assert len(stored) == 1


async def test_what_waits_is_stored_before_a_run_stops(world: World) -> None:
    pulse = Pulse(stopping=True)

    async with four_windows(world) as (reading, windows):
        saving = Saving(Reading(reading.source, reading.db, START, pulse=pulse))
        await saving.add(windows[0], page_of(windows[0]))
        with pytest.raises(Stopped):
            await saving.flush()
        stored = await reading.db.read(stored_orders)

    assert stored == {"0"}
