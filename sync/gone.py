"""Orders that are only here: what a store deletes for good vanishes without a word, so `audit --repair` asks for it."""

from datetime import UTC, datetime, timedelta

import structlog

from connectors.base import Counting, Page, Resource, Window
from connectors.writing import parts
from state import audits, cursors
from state.db import Database
from state.facts import name_of
from sync.pull import Source

log = structlog.get_logger()

PART = 100
"""Orders that are asked for at once, and up to which a window is not cut any further."""
SECOND = timedelta(seconds=1)


async def drop_gone(db: Database, source: Source, window: Window, counted: int, unread: int) -> int:
    """Take those of a window's orders as deleted that the store, asked, has no more; return how many.

    `counted` is how many it says that it has there, `unread` how many of these may be dead letters here. Were more
    gone than that, it would be no deletion: our right to see them has. Then nothing is dropped.
    """
    if not isinstance(source.store, Counting):
        return 0
    records = await _suspects(db, source, source.store, window, counted)
    gone: list[str] = []
    for part in parts(records, PART):
        page = await source.store.reread(part)
        there = {*map(name_of, page.facts), *(letter.record for letter in page.bad)}
        gone += [record for record in part if record not in there]
    stored, _ = await db.read(audits.count_orders, source.name, window)
    if len(gone) > stored - counted + unread:
        log.warning("orders_hidden", store=source.name, hidden=len(gone), missing=stored - counted)
        return 0
    if gone:
        await db.run(
            cursors.save_facts, source.name, Page([], "", gone=gone), datetime.now(UTC), history=True
        )
    return len(gone)


async def _suspects(db: Database, source: Source, store: Counting, window: Window, counted: int) -> list[str]:
    """Name the orders of those parts of a window that hold more here than there: half by half, down to a few."""
    waiting, found = [(window, counted)], []
    while waiting:
        within, there = waiting.pop()
        records = await db.read(audits.orders_within, source.name, within)
        if len(records) <= there:
            continue
        halves = _halves(within)
        if len(records) <= PART or not halves:
            found += records
            continue
        counts = await store.count_orders(halves)
        waiting += [
            (half, len(records) if count is None else count)
            for half, count in zip(halves, counts, strict=True)
        ]
    return found


def _halves(window: Window) -> list[Window]:
    """Cut a window in two at a full second; none for what is too short."""
    start, end = window.start, window.end
    if start is None or end is None or end - start < 2 * SECOND:
        return []
    middle = (start + (end - start) / 2).replace(microsecond=0)
    return [Window(Resource.ORDERS, start, middle), Window(Resource.ORDERS, middle, end)]
