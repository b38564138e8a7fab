"""What grows for ever if nobody looks: the record of runs and of webhooks, and the log beside an SQLite file."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select

from state import inbox
from state.bookkeeping import RunRow
from state.db import Database
from state.tables import table

RUNS = table(RunRow)


async def keep_house(db: Database, runs_kept: timedelta, webhooks_kept: timedelta, now: datetime) -> int:
    """Drop what is older than it is kept for, and shorten the log; return how many runs were dropped.

    Harmless at any time and when repeated. A log that another process reads just now stays until the next time.
    """
    dropped = await db.run(drop_runs, now - runs_kept)
    await db.run(inbox.drop_done, now - webhooks_kept)
    await db.tend()
    return dropped


def drop_runs(connection: Connection, before: datetime) -> int:
    """Drop the runs that began before a moment, but for the last one of each sync; return how many."""
    last = select(func.max(RUNS.c.id)).group_by(RUNS.c.sync)
    old = delete(RUNS).where(RUNS.c.started_at < before, RUNS.c.id.not_in(last))
    return len(connection.execute(old.returning(RUNS.c.id)).all())
