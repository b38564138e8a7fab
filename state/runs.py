"""What happened: runs, dead letters, and one run at a time for each sync."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock
import msgspec
from sqlalchemy import Connection, Select, bindparam, delete, exists, func, select, update

from connectors.errors import BadRecord
from state.bookkeeping import DeadLetterRow, RunRow
from state.dialect import chunks
from state.errors import Busy, StateError
from state.tables import table

LETTERS, RUNS = table(DeadLetterRow), table(RunRow)
STOPPED = "stopped"
"""The outcome of a run that was told to stop: as one that was killed, it has more to do."""
# Built once: putting a statement together takes longer than running it.
START = RUNS.insert().returning(RUNS.c.id)
END = (
    update(RUNS)
    .where(RUNS.c.id == bindparam("run"))
    .values(
        ended_at=bindparam("at", type_=RUNS.c.ended_at.type),
        outcome=bindparam("how", type_=RUNS.c.outcome.type),
        report=bindparam("said", type_=RUNS.c.report.type),
    )
)
LAST_ENDED = select(func.max(RUNS.c.id)).where(
    RUNS.c.sync == bindparam("sync"), RUNS.c.ended_at.is_not(None), RUNS.c.outcome != STOPPED
)
BROKE_OFF = select(func.min(RUNS.c.started_at)).where(
    RUNS.c.sync == bindparam("sync"),
    RUNS.c.kind == bindparam("kind"),
    RUNS.c.id > func.coalesce(LAST_ENDED.scalar_subquery(), 0),
)
HAS_LETTERS = select(exists().where(LETTERS.c.scope == bindparam("scope")))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not go through. `scope` is the store's or the sync's name."""

    scope: str
    record: str
    reason: str
    first_at: datetime
    last_at: datetime
    times: int


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a sync; `outcome` is None while it runs, or when it was killed."""

    id: int
    sync: str
    kind: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    report: dict[str, Any]


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Let one process of this folder do `name` at a time; the system frees the lock of one that was killed.

    Raises Busy when another process holds it.
    """
    held = lock(folder, name)
    try:
        held.acquire(blocking=False)
    except filelock.Timeout as error:
        raise Busy(f"{name}: another process is at it") from error
    except OSError as error:
        raise StateError(f"{folder}: cannot be written; check its owner and its mount") from error
    try:
        yield
    finally:
        held.release()


def lock(folder: Path, name: str) -> filelock.BaseFileLock:
    """Make the lock of what one process of a folder may do at a time."""
    return filelock.FileLock(folder / f".{name}.lock")


def start_run(connection: Connection, sync: str, kind: str, now: datetime) -> int:
    new = {"sync": sync, "kind": kind, "started_at": now, "report": "{}"}
    return int(connection.scalars(START, new).one())


def end_run(connection: Connection, run: int, outcome: str, report: dict[str, Any], now: datetime) -> None:
    text = msgspec.json.encode(report).decode()
    connection.execute(END, {"run": run, "at": now, "how": outcome, "said": text})


def list_runs(connection: Connection, sync: str | None = None, *, most: int = 20) -> list[Run]:
    """Return the last runs, the newest first: by number, since a clock may have been ahead for a while."""
    query: Select[Any] = select(RUNS).order_by(RUNS.c.id.desc()).limit(most)
    if sync is not None:
        query = query.where(RUNS.c.sync == sync)
    return [_run(row) for row in connection.execute(query)]


def runs_since(connection: Connection, after: int, among: Sequence[int], most: int) -> list[Run]:
    """Return the next runs behind one, and those of `among`, by number."""
    query = select(RUNS).where((RUNS.c.id > after) | RUNS.c.id.in_(among)).order_by(RUNS.c.id).limit(most)
    return [_run(row) for row in connection.execute(query)]


def broke_off(connection: Connection, sync: str, kind: str) -> datetime | None:
    """Return when the first run of this kind began that was killed or stopped, and that none came after which ended."""
    found: datetime | None = connection.scalar(BROKE_OFF, {"sync": sync, "kind": kind})
    return found


def last_end(connection: Connection, sync: str, outcomes: Iterable[str]) -> datetime | None:
    """Return when a run with one of these outcomes last ended."""
    mine = (RUNS.c.sync == sync, RUNS.c.outcome.in_(list(outcomes)))
    found: datetime | None = connection.scalar(
        select(RUNS.c.ended_at).where(*mine).order_by(RUNS.c.id.desc()).limit(1)
    )
    return found


def _run(row: Any) -> Run:
    report = msgspec.json.decode(row.report)
    return Run(row.id, row.sync, row.kind, row.started_at, row.ended_at, row.outcome, report)


def bury(connection: Connection, scope: str, bad: Sequence[BadRecord], now: datetime) -> None:
    """Keep records that could not go through; one that comes again counts up."""
    for letter in bad:
        mine = (LETTERS.c.scope == scope, LETTERS.c.record == letter.record)
        again = connection.execute(
            update(LETTERS)
            .where(*mine)
            .values(reason=letter.reason, last_at=now, times=LETTERS.c.times + 1)
            .returning(LETTERS.c.record)
        ).first()
        if again is None:
            row = {"scope": scope, "record": letter.record, "reason": letter.reason, "times": 1}
            connection.execute(LETTERS.insert().values(**row, first_at=now, last_at=now))


def unbury(connection: Connection, scope: str, records: Iterable[str]) -> None:
    """Drop the dead letters of records that went through."""
    if connection.scalar(HAS_LETTERS, {"scope": scope}):
        for part in chunks(records):
            connection.execute(delete(LETTERS).where(LETTERS.c.scope == scope, LETTERS.c.record.in_(part)))


def drop_dead_letters(connection: Connection, scope: str, kind: str) -> None:
    """Drop the dead letters whose record begins with `kind`."""
    mine = (LETTERS.c.scope == scope, LETTERS.c.record.startswith(kind, autoescape=True))
    connection.execute(delete(LETTERS).where(*mine))


def age(connection: Connection, letters: Iterable[DeadLetter], by: timedelta) -> None:
    """Let dead letters have come as long before their first time."""
    for each in letters:
        mine = (LETTERS.c.scope == each.scope, LETTERS.c.record == each.record)
        connection.execute(update(LETTERS).where(*mine).values(last_at=each.first_at - by))


def list_dead_letters(connection: Connection, scopes: Sequence[str], kind: str = "") -> list[DeadLetter]:
    """Return the dead letters whose record begins with `kind`."""
    mine = (LETTERS.c.scope.in_(scopes), LETTERS.c.record.startswith(kind, autoescape=True))
    rows = connection.execute(
        select(LETTERS).where(*mine if kind else mine[:1]).order_by(LETTERS.c.scope, LETTERS.c.record)
    )
    return [
        DeadLetter(row.scope, row.record, row.reason, row.first_at, row.last_at, row.times) for row in rows
    ]


def list_refused(connection: Connection, scope: str, reason: str) -> list[str]:
    """Return the records of the dead letters whose reason begins with `reason`."""
    mine = (LETTERS.c.scope == scope, LETTERS.c.reason.startswith(reason, autoescape=True))
    return list(connection.scalars(select(LETTERS.c.record).where(*mine)))


def count_dead_letters(connection: Connection, scopes: Sequence[str], kind: str = "") -> int:
    """Count the dead letters whose record begins with `kind`."""
    return int(connection.scalar(_counting(kind), {"scopes": scopes}) or 0)


@lru_cache(maxsize=8)
def _counting(kind: str) -> Select[Any]:
    theirs = LETTERS.c.scope.in_(bindparam("scopes", expanding=True))
    of_kind = LETTERS.c.record.startswith(kind, autoescape=True)
    counted: Select[Any] = select(func.count()).select_from(LETTERS)
    return counted.where(theirs, of_kind)
