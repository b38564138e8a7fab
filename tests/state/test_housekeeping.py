"""Months of use: the record of runs is cut, the log beside the file stays short, and a crash is noticed."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from state import runs
from state.db import Database
from state.errors import StateError
from state.housekeeping import keep_house
from tests.state.makers import START, customer, save

pytestmark = pytest.mark.sqlite

ROOT = Path(__file__).parents[2]
DAY = timedelta(days=1)
WRITER = """
import asyncio, sys
from state.db import Database
from tests.state.makers import customer, save

opened = Database(sys.argv[1])
asyncio.run(opened.run(save, *(customer(number, f"p{number}@example.com") for number in range(500))))
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


def history(connection: Connection, sync: str, days: int) -> None:
    """Let a sync have run every day."""
    for day in range(days):
        number = runs.start_run(connection, sync, "sync", START + day * DAY)
        runs.end_run(connection, number, "done", {}, START + day * DAY)


async def test_old_runs_are_dropped_but_for_the_last_of_each_sync(store: Database) -> None:
    await store.run(history, "crm", 120)
    await store.run(history, "paused", 3)

    dropped = await keep_house(store, 90 * DAY, 7 * DAY, START + 119 * DAY)

    assert dropped == 29 + 2
    assert len(await store.read(runs.list_runs, "crm", most=999)) == 91
    assert [run.started_at for run in await store.read(runs.list_runs, "paused")] == [START + 2 * DAY]
    assert await keep_house(store, 90 * DAY, 7 * DAY, START + 119 * DAY) == 0


async def test_the_log_is_emptied_unless_somebody_reads_it(store: Database, tmp_path: Path) -> None:
    log = tmp_path / "state.db-wal"
    with closing(sqlite3.connect(tmp_path / "state.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM customers").fetchone()
        await store.run(save, *(customer(number, f"p{number}@example.com") for number in range(500)))

        assert not await store.tend()
        assert log.stat().st_size > 100_000

    assert await store.tend()
    assert log.stat().st_size == 0


def killed_while_writing(tmp_path: Path) -> Path:
    """Kill a process that has the store open, behind a commit."""
    file = tmp_path / "state.db"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, f"sqlite:///{file}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert file.with_name("state.db-wal").stat().st_size > 0
    return file


def spoil(file: Path) -> None:
    """Damage a page that nothing reads while the store is opened."""
    content = bytearray(file.read_bytes())
    size = 4096
    for page in range(len(content) // size):
        if b"p250@example.com" in content[page * size : (page + 1) * size]:
            content[page * size : page * size + 200] = b"\xff" * 200
    file.write_bytes(content)


def test_after_a_crash_a_whole_store_is_opened_and_a_damaged_one_refused(tmp_path: Path) -> None:
    file = killed_while_writing(tmp_path)
    Database(f"sqlite:///{file}").close()
    assert not file.with_name("state.db-wal").exists()

    second = tmp_path / "second"
    second.mkdir()
    file = killed_while_writing(second)
    log = file.with_name("state.db-wal").read_bytes()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(file)
    file.with_name("state.db-wal").write_bytes(log[:32])  # the crash's mark: a log without a whole frame

    with pytest.raises(StateError, match="damaged; restore a backup: cartwire restore FILE"):
        Database(f"sqlite:///{file}")


async def test_who_comes_while_others_work_takes_their_log_for_no_crash(
    store: Database, tmp_path: Path
) -> None:
    await store.run(save, *(customer(number, f"p{number}@example.com") for number in range(500)))
    await store.tend()
    await store.run(history, "crm", 1)
    spoil(tmp_path / "state.db")

    Database(f"sqlite:///{tmp_path / 'state.db'}").close()  # a look through the file would have found it
