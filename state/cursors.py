"""How far each store has been read: cursors of what changed, windows of the history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, false, func, select, update

from connectors.base import Page, Resource, Window
from state import facts, runs
from state.bookkeeping import CursorRow, WindowRow
from state.dialect import upsert
from state.tables import table

CURSORS, WINDOWS = table(CursorRow), table(WindowRow)
# Built once: putting a statement together takes longer than running it.
FIND_CURSOR = select(CURSORS.c.since, CURSORS.c.cursor).where(
    CURSORS.c.store == bindparam("store"), CURSORS.c.resource == bindparam("resource")
)
OPEN_WINDOWS = (
    select(WINDOWS)
    .where(
        WINDOWS.c.store == bindparam("store"),
        WINDOWS.c.resource == bindparam("resource"),
        WINDOWS.c.done_at.is_(None),
    )
    .order_by(WINDOWS.c.position)
)
FOLLOWED = (
    update(CURSORS)
    .where(CURSORS.c.store == bindparam("the_store"), CURSORS.c.resource == bindparam("the_resource"))
    .values(
        cursor=bindparam("the_cursor", type_=CURSORS.c.cursor.type),
        read_at=bindparam("now", type_=CURSORS.c.read_at.type),
    )
)
COUNT_OPEN = (
    select(func.count())
    .select_from(WINDOWS)
    .where(WINDOWS.c.store == bindparam("store"), WINDOWS.c.done_at.is_(None))
)
THIS = (
    WINDOWS.c.store == bindparam("the_store"),
    WINDOWS.c.resource == bindparam("the_resource"),
    WINDOWS.c.position == bindparam("the_position"),
)
FIND_WINDOW = select(WINDOWS).where(*THIS)
DONE = bindparam("now", type_=WINDOWS.c.done_at.type)
CLOSE = update(WINDOWS).where(*THIS).values(done_at=DONE, missing=bindparam("lacks"))
CLOSE_ALL = update(WINDOWS).where(*THIS[:2], WINDOWS.c.done_at.is_(None)).values(done_at=DONE)
OPEN_ANEW = (
    update(WINDOWS).where(*THIS).values(careful=True, cursor=None, rows=0, bad=0, moved=False, expected=None)
)
TOTAL = bindparam("total", type_=WINDOWS.c.expected.type)
PAGE_READ = (
    update(WINDOWS)
    .where(*THIS)
    .values(
        cursor=bindparam("the_cursor"),
        rows=WINDOWS.c.rows + bindparam("facts"),
        bad=WINDOWS.c.bad + bindparam("unreadable"),
        expected=func.coalesce(TOTAL, WINDOWS.c.expected),
        moved=WINDOWS.c.moved | func.coalesce(WINDOWS.c.expected != TOTAL, false()),
    )
)
"""A window moved when the store counts other rows in it than a page ago."""
PROGRESS = select(
    func.coalesce(func.sum(WINDOWS.c.rows), 0),
    func.coalesce(func.sum(WINDOWS.c.expected), 0),
    func.coalesce(func.sum(WINDOWS.c.missing), 0),
    func.count().filter(WINDOWS.c.done_at.is_(None)),
).where(WINDOWS.c.store.in_(bindparam("stores", expanding=True)))


@dataclass(frozen=True, slots=True)
class Position:
    """Where to read on: from `since` the first time, then from `cursor`."""

    since: datetime
    cursor: str | None


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """A window that is not read to its end yet."""

    position: int
    window: Window
    cursor: str | None
    careful: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Rows read and expected over all windows of a backfill; `missing` are those that never came."""

    done: int
    expected: int
    missing: int
    open: int


def find_cursor(connection: Connection, store: str, resource: Resource) -> Position | None:
    """Return where to read on, None when the history was never read."""
    row = connection.execute(FIND_CURSOR, {"store": store, "resource": resource.value}).first()
    return Position(row.since, row.cursor) if row else None


def read_until(connection: Connection, stores: Sequence[str]) -> dict[str, datetime]:
    """Return since when each store is known: its resource that was read least lately."""
    rows = connection.execute(
        select(CURSORS.c.store, func.min(CURSORS.c.read_at))
        .where(CURSORS.c.store.in_(stores), CURSORS.c.read_at.is_not(None))
        .group_by(CURSORS.c.store)
    )
    return {row[0]: row[1] for row in rows}


def start_cursor(connection: Connection, store: str, resource: Resource, since: datetime) -> None:
    """Begin to follow changes from `since`; an earlier beginning stays."""
    if find_cursor(connection, store, resource) is None:
        row = {"store": store, "resource": resource.value, "since": since, "cursor": None, "read_at": None}
        upsert(connection, CURSORS, [row])


def save_changes(connection: Connection, store: str, resource: Resource, page: Page, now: datetime) -> int:
    """Store a page of changes and the cursor behind it in one transaction (P2); return rows changed.

    What could not be read when the history was read, and can be now, is history (P10).
    """
    old = old_letters(connection, store)
    late = [fact for fact in page.facts if facts.name_of(fact) in old] if old else []
    changed = save_facts(connection, store, Page(late, ""), now, history=True) if late else 0
    changed += save_facts(connection, store, page, now)
    named = {"the_store": store, "the_resource": resource.value}
    connection.execute(FOLLOWED, {**named, "the_cursor": page.cursor, "now": now})
    return changed


def start_backfill(
    connection: Connection, store: str, windows: Sequence[Window], started_at: datetime
) -> None:
    """Lay down a backfill's windows, and follow changes from before it began."""
    connection.execute(delete(WINDOWS).where(WINDOWS.c.store == store))
    rows = [
        {
            "store": store,
            "resource": window.resource.value,
            "position": position,
            "starts_at": window.start,
            "ends_at": window.end,
        }
        for position, window in enumerate(windows)
    ]
    if rows:
        connection.execute(WINDOWS.insert(), rows)
    connection.execute(delete(CURSORS).where(CURSORS.c.store == store))
    for resource in Resource:
        start_cursor(connection, store, resource, started_at)


def has_open_backfill(connection: Connection, store: str) -> bool:
    return bool(connection.scalar(COUNT_OPEN, {"store": store}))


def history_was_read(connection: Connection, store: str, since: datetime) -> bool:
    """Tell whether the end of a backfill was reached at `since` or later, and none was begun after it."""
    read_at = connection.scalar(select(func.max(WINDOWS.c.done_at)).where(WINDOWS.c.store == store))
    return read_at is not None and read_at >= since and not has_open_backfill(connection, store)


def open_windows(connection: Connection, store: str, resource: Resource) -> list[OpenWindow]:
    rows = connection.execute(OPEN_WINDOWS, {"store": store, "resource": resource.value})
    return [
        OpenWindow(
            row.position, Window(resource, row.starts_at, row.ends_at), row.cursor, careful=row.careful
        )
        for row in rows
    ]


def save_window_pages(
    connection: Connection, store: str, pages: Sequence[tuple[OpenWindow, Page]], now: datetime
) -> tuple[int, Progress]:
    """Store pages of history and the cursors behind them in one transaction (P2).

    Return how many rows changed, and how far the store's whole backfill has come.
    """
    together = Page(
        [fact for _, page in pages for fact in page.facts],
        "",
        [bad for _, page in pages for bad in page.bad],
        [gone for _, page in pages for gone in page.gone],
    )
    changed = save_facts(connection, store, together, now, history=True)
    connection.execute(PAGE_READ, [_page_read(store, *page) for page in pages])
    return changed, backfill_progress(connection, [store])


def _page_read(store: str, opened: OpenWindow, page: Page) -> dict[str, Any]:
    return {
        **_named(store, opened),
        "the_cursor": page.cursor,
        "facts": len(page.facts),
        "unreadable": len(page.bad),
        "total": page.total,
    }


def close_window(connection: Connection, store: str, opened: OpenWindow, now: datetime) -> bool:
    """Finish a window if what is stored is what the store says it has; else open it anew, carefully.

    Return False when it must be read again. After a careful reading it is closed in any case, and what
    is missing is kept for the report.
    """
    this = _named(store, opened)
    row = connection.execute(FIND_WINDOW, this).one()
    missing = 0
    if row.expected is not None and row.resource in facts.COUNTED:
        stored = facts.count_created(connection, store, row.resource, row.starts_at, row.ends_at)
        missing = max(0, row.expected - stored - row.bad)
    if (missing or row.moved) and not row.careful:
        connection.execute(OPEN_ANEW, this)
        return False
    connection.execute(CLOSE, {**this, "now": now, "lacks": missing})
    return True


def close_refused(connection: Connection, store: str, resource: Resource, now: datetime) -> None:
    """Close the windows that are still open: the store does not let us read them."""
    connection.execute(CLOSE_ALL, {"the_store": store, "the_resource": resource.value, "now": now})


def old_letters(connection: Connection, store: str) -> set[str]:
    """Return the records that could not be read when the history was read: they are history still (P10)."""
    upto = connection.scalar(select(func.max(WINDOWS.c.done_at)).where(WINDOWS.c.store == store))
    letters = runs.list_dead_letters(connection, [store]) if upto is not None else ()
    return {letter.record for letter in letters if letter.first_at <= upto}


def save_reread(
    connection: Connection, store: str, records: Sequence[str], page: Page, now: datetime, *, history: bool
) -> None:
    """Store records that were read again; those that the store no longer has need no dead letter."""
    runs.unbury(connection, store, records)
    save_facts(connection, store, page, now, history=history)


def backfill_progress(connection: Connection, stores: Sequence[str]) -> Progress:
    row = connection.execute(PROGRESS, {"stores": stores}).one()
    return Progress(*(int(value) for value in row))


def save_facts(
    connection: Connection,
    store: str,
    page: Page,
    now: datetime,
    *,
    history: bool = False,
    doubts: set[str] | None = None,
) -> int:
    """Store facts, bury what could not be read, and drop the dead letters of what now could."""
    changed = facts.save_page(connection, store, page, now, history=history, doubts=doubts)
    runs.bury(connection, store, page.bad, now)
    runs.unbury(connection, store, map(facts.name_of, page.facts))
    return changed


def _named(store: str, opened: OpenWindow) -> dict[str, Any]:
    return {
        "the_store": store,
        "the_resource": opened.window.resource.value,
        "the_position": opened.position,
    }
