"""What runs have done is summed up once, also when nobody asked for long."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from state import runs
from state.db import Database
from sync.web import ledger as ledgers
from sync.web.ledger import Ledger

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
async def db() -> AsyncIterator[Database]:
    made = Database("sqlite://")
    yield made
    made.close()


def begin(connection: Connection, count: int) -> list[int]:
    return [runs.start_run(connection, "crm", "sync", NOW) for _ in range(count)]


def end(connection: Connection, numbers: Sequence[int]) -> None:
    for number in numbers:
        runs.end_run(connection, number, "done", {"stores": {"shop": {"rows": 2}}}, NOW)


async def test_every_run_counts_once_when_it_has_ended_however_many_there_are(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "AT_ONCE", 3)
    await db.run(end, await db.run(begin, 1))
    ledger = Ledger()
    await ledger.begin(db)
    numbers = await db.run(begin, 10)

    await ledger.catch_up(db)
    nothing = dict(ledger.runs)
    await db.run(end, numbers[::2])
    await ledger.catch_up(db)
    await db.run(end, numbers[1::2])
    for _ in range(2):
        await ledger.catch_up(db)

    assert (nothing, ledger.runs, ledger.pulled) == ({}, {("crm", "sync", "done"): 10}, {"shop": 20})
