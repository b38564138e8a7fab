"""Orders that are only here: what a store deletes for good vanishes without a word, so `audit --repair` asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from connectors.base import Counting, Resource, Window
from connectors.writing import parts
from state import audits
from state.db import Database
from state.facts import name_of
from sync.pull import Source

PART = 100
"""Orders that are asked for at once, and up to which a window is not cut any further."""
FEW, SHARE = 20, 10
"""So many orders can be gone for good, or one of so many; of more it is likelier that we do not see them."""
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Gone:
    """What came of asking for orders that are only here: those that count no more, and those in doubt.

    More were not to be seen than the store's own count lacks, or so many that it is likelier another store.
    """

    dropped: int = 0
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """Orders of a window: stored here, and counted by the store."""

    window: Window
    stored: int
    counted: int

    @property
    def surplus(self) -> int:
        return self.stored - self.counted


async def drop_gone(db: Database, source: Source, months: Sequence[Counted]) -> Gone:
    """Ask for the orders that a store's own counts lack, month by month; count no more what is gone."""
    store = source.store
    missing = [month for month in months if month.surplus > 0]
    surplus, stored = sum(month.surplus for month in missing), sum(month.stored for month in months)
    if not isinstance(store, Counting) or not missing:
        return Gone()
    if surplus > max(FEW, stored // SHARE):
        return Gone(hidden=surplus)
    found = [await _drop(db, source, store, month) for month in missing]
    return Gone(sum(each.dropped for each in found), sum(each.hidden for each in found))


async def _drop(db: Database, source: Source, store: Counting, month: Counted) -> Gone:
    """Count no more what is gone of a month, unless that is more than the store's count lacks."""
    gone: list[str] = []
    for part in parts(await _suspects(db, source, store, month), PART):
        page = await source.store.reread(part)
        there = {*map(name_of, page.facts), *(letter.record for letter in page.bad)}
        gone += [record for record in part if record not in there]
    if len(gone) > month.surplus:
        return Gone(hidden=len(gone))
    if gone:
        await db.run(audits.drop_orders, source.name, gone)
    return Gone(dropped=len(gone))


async def _suspects(db: Database, source: Source, store: Counting, month: Counted) -> list[str]:
    """Name the orders of those parts of a month that hold more here than there: half by half, down to a few."""
    waiting, found = [(month.window, month.counted)], list[str]()
    while waiting:
        window, counted = waiting.pop()
        records = await db.read(audits.orders_within, source.name, window)
        if len(records) <= counted:
            continue
        halves = _halves(window)
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
