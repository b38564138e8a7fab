"""Stage 1: from a store to facts. Rows and cursor land in one transaction (P2).

A kill anywhere repeats a few pages at most, which changes nothing (P1).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from connectors.base import Page, Resource, Store, Window
from connectors.errors import Refused
from connectors.facts import Order
from state import cursors
from state.cursors import OpenWindow, Progress
from state.db import Database
from sync.job import Pulse, Stopped, Tick, in_group

log = structlog.get_logger()

WINDOWS_AT_ONCE = 4
ROWS_TOGETHER = range(200, 1_601)
"""Rows of history that one transaction stores: a twentieth of what is stored already, within these bounds."""
PART = 20
LONGEST_WAIT = 1.0
"""Seconds since the last transaction after which a page waits for no others."""
OPTIONAL = frozenset({Resource.PRODUCTS, Resource.CHECKOUTS})
"""What a key need not be allowed to read."""
TELLING = frozenset({Resource.ORDERS, Resource.CHECKOUTS})
"""What says of an open checkout whether it is one still."""


@dataclass(slots=True)
class Pulled:
    """What came of a store: pages and rows read (orders among them), new or changed, unreadable, missing.

    `refused` says which resources the store did not let us read, and why.
    """

    pages: int = 0
    rows: int = 0
    orders: int = 0
    changed: int = 0
    bad: int = 0
    missing: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, page: Page) -> None:
        """Count a page that was stored."""
        self.pages += 1
        self.rows += len(page.facts)
        self.orders += sum(isinstance(fact, Order) for fact in page.facts)
        self.bad += len(page.bad)


@dataclass(frozen=True, slots=True)
class Source:
    """A store under its owner's name; `host` is the machine that it stands on, as far as its address tells."""

    name: str
    store: Store
    host: str | None = None


@dataclass(frozen=True)
class Reading:
    """One store in one run: what is read, where it is kept, and who is told of progress.

    `tick(done, expected)` is called with rows after every page of history.
    """

    source: Source
    db: Database
    now: datetime
    tick: Tick = lambda _done, _expected: None
    pulled: Pulled = field(default_factory=Pulled)
    pulse: Pulse = field(default_factory=Pulse)

    def stored(self, pages: Sequence[Page]) -> None:
        """Count pages that are stored. Raises Stopped when no further one is to be asked for."""
        for page in pages:
            self.pulled.add(page)
            self.pulse.beat()
        self.pulse.go_on()


async def pull_changes(reading: Reading, wanted: Collection[Resource] = tuple(Resource)) -> Pulled:
    """Read what changed since the last time, resource by resource; needs a history begun before."""
    for resource in reading.source.store.resources:
        if resource in wanted:
            with _can_do_without(reading, resource):
                await _read_changes(reading, resource)
    return reading.pulled


async def _read_changes(reading: Reading, resource: Resource) -> None:
    name, store, db = reading.source.name, reading.source.store, reading.db
    position = await db.read(cursors.find_cursor, name, resource)
    if position is None:
        return
    async for page in store.changes(resource, position.since, position.cursor):
        reading.pulled.changed += await db.run(cursors.save_changes, name, resource, page, reading.now)
        log.info("page_pulled", store=name, resource=resource.value, rows=len(page.facts))
        reading.stored([page])


@contextmanager
def _can_do_without(reading: Reading, resource: Resource) -> Iterator[None]:
    """Let a store refuse what only makes profiles richer: what rests on it stays unknown (P12)."""
    try:
        yield
    except Refused as error:
        if resource not in OPTIONAL or error.is_page:
            raise
        log.warning("resource_refused", store=reading.source.name, resource=resource.value, reason=str(error))
        reading.pulled.refused[resource.value] = str(error)


async def pull_history(reading: Reading, since: datetime | None) -> Pulled:
    """Read the whole history in windows, going on where a killed backfill stopped; then what changed since.

    `since` limits a history that is begun anew, not one that goes on.
    """
    name, store, db = reading.source.name, reading.source.store, reading.db
    if not await db.read(cursors.has_open_backfill, name):
        await pull_changes(reading)  # else what is news would be taken for history (P10)
        windows: list[Window] = []
        for resource in store.resources:
            with _can_do_without(reading, resource):
                windows += await store.plan_backfill(resource, since)
        await db.run(cursors.start_backfill, name, windows, reading.now)
    for resource in store.resources:
        with _can_do_without(reading, resource):
            while opened := await db.read(cursors.open_windows, name, resource):
                await _read_windows(reading, opened)
        await db.run(cursors.close_refused, name, resource, reading.now)
    await pull_changes(reading)
    reading.pulled.missing = (await db.read(cursors.backfill_progress, [name])).missing
    return reading.pulled


async def _read_windows(reading: Reading, windows: Sequence[OpenWindow]) -> None:
    """Read a few windows at once; one in which rows moved stays open, to be read again with care."""
    slots = asyncio.Semaphore(WINDOWS_AT_ONCE)
    saving = Saving(reading)

    async def read(opened: OpenWindow) -> None:
        async with slots:
            await _read_window(reading, opened, saving)

    try:
        await in_group([read(opened) for opened in windows])
    except Exception:
        with suppress(Unsaved, Stopped):  # the trouble that it came from is what counts
            await saving.flush()
        raise


async def _read_window(reading: Reading, opened: OpenWindow, saving: "Saving") -> None:
    name, resource = reading.source.name, opened.window.resource
    pages = reading.source.store.backfill(opened.window, opened.cursor, careful=opened.careful)
    async for page in _ahead(pages):
        log.info("page_pulled", store=name, resource=resource.value, rows=len(page.facts))
        await saving.add(opened, page)
    await saving.flush()
    if not await reading.db.run(cursors.close_window, name, opened, reading.now):
        log.warning("window_moved", store=name, resource=resource.value)


async def _ahead(pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
    """Ask for the next page while one is being stored, and for no more than that."""
    following = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await following) is not None:
            following = asyncio.ensure_future(anext(pages, None))
            yield page
    finally:
        following.cancel()


class Unsaved(Exception):
    """Pages before these could not be stored: neither are these, or their window would have a hole."""


class Saving:
    """Stores pages of several windows, a few in one transaction, while the next ones are being read.

    A transaction writes each leaf of an index once, however many rows of it are new: many rows together take
    a third less than few. A kill costs what waits, so that is a small part of all. What comes slowly is stored
    as it comes.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._waiting: list[tuple[OpenWindow, Page]] = []
        self._turn = asyncio.Lock()
        self._saved_at = time.monotonic()
        self._enough = ROWS_TOGETHER[0]
        self._is_whole = True

    async def add(self, opened: OpenWindow, page: Page) -> None:
        """Take a page; store it with those that wait once they are enough, or the last ones are a while ago."""
        self._waiting.append((opened, page))
        rows = sum(len(page.facts) for _, page in self._waiting)
        if rows >= self._enough or time.monotonic() - self._saved_at > LONGEST_WAIT:
            await self.flush()

    async def flush(self) -> None:
        """Store what waits, and tell of it.

        Raises Stopped when no further page is to be asked for, Unsaved after it has failed, or was called off.
        """
        async with self._turn:
            if not self._is_whole:
                raise Unsaved
            pages, self._waiting = self._waiting, []
            if pages:
                self._is_whole = False
                progress = await self._save(pages)
                self._is_whole = True
                self._tell(progress, [page for _, page in pages])

    async def _save(self, pages: Sequence[tuple[OpenWindow, Page]]) -> Progress:
        reading = self._reading
        changed, progress = await reading.db.run(
            cursors.save_window_pages, reading.source.name, pages, reading.now
        )
        reading.pulled.changed += changed
        self._saved_at = time.monotonic()
        self._enough = min(max(ROWS_TOGETHER[0], progress.done // PART), ROWS_TOGETHER[-1])
        return progress

    def _tell(self, progress: Progress, pages: Sequence[Page]) -> None:
        self._reading.tick(progress.done, progress.expected)
        self._reading.stored(pages)
