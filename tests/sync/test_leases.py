"""Two never do one thing: a lock for the folder, a lease for those who share the state store only."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from structlog.testing import capture_logs

from state import evaluation, leases, runs
from state.db import Database
from state.errors import Busy, LeaseLost
from state.leases import TERM, Lease
from sync.leases import WORKER, _place, one_run, one_worker
from tests.sync.commands import cartwire
from tests.sync.conftest import World

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE = Lease("crm", "1", "host /data", "process 1 on host")
AGAIN = Lease("crm", "2", "host /data", "process 2 on host")
THERE = Lease("crm", "3", "other /data", "process 3 on other")


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.close()


async def test_another_place_waits_until_a_lease_has_run_out(db: Database) -> None:
    await db.run(leases.take, HERE, NOW)

    with pytest.raises(Busy, match="process 1 on host is at it, last heard of at 12:00:00 UTC"):
        await db.run(leases.take, THERE, NOW + TERM - timedelta(seconds=1))
    await db.run(leases.take, THERE, NOW + TERM)

    with pytest.raises(LeaseLost, match="another process has taken over"):
        await db.run(leases.renew, HERE, NOW + TERM)


def test_a_copy_of_a_machine_or_of_a_folder_is_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cloned machines, or containers with one `hostname:`, have names and paths in common."""
    places = {_place(tmp_path)}
    tmp_path.rename(tmp_path.with_name("before"))
    tmp_path.mkdir()
    places.add(_place(tmp_path))
    monkeypatch.setattr("sync.leases._boot", lambda: "another start")
    places.add(_place(tmp_path))

    assert len(places) == 3


async def test_a_lease_that_is_renewed_does_not_run_out(db: Database) -> None:
    await db.run(leases.take, HERE, NOW)
    await db.run(leases.renew, HERE, NOW + TERM * 2)

    with pytest.raises(Busy):
        await db.run(leases.take, THERE, NOW + TERM * 2)


async def test_the_dead_of_the_same_place_are_followed_at_once(db: Database) -> None:
    await db.run(leases.take, HERE, NOW)

    await db.run(leases.take, AGAIN, NOW)

    assert (await db.read(leases.holder, "crm") or "").startswith("process 2 on host, since 2026-05-01")


async def test_a_lease_of_a_clock_that_was_years_ahead_keeps_nobody_out(db: Database) -> None:
    await db.run(leases.take, HERE, NOW + timedelta(days=900))

    await db.run(leases.take, THERE, NOW)

    assert (await db.read(leases.holder, "crm") or "").startswith(THERE.holder)


async def test_who_gives_back_late_takes_nothing_from_the_next(db: Database) -> None:
    await db.run(leases.take, HERE, NOW)
    await db.run(leases.take, THERE, NOW + TERM)

    await db.run(leases.give_back, HERE)

    await db.run(leases.renew, THERE, NOW + TERM)
    assert (await db.read(leases.holder, "crm") or "").startswith(THERE.holder)


async def test_a_run_that_lost_its_lease_writes_nothing_more(db: Database, tmp_path: Path) -> None:
    async def replaced() -> None:
        async with one_run(db, tmp_path, "crm"):
            await db.run(evaluation.mark_opt_outs, "crm", NOW)
            other = Database(f"sqlite:///{tmp_path}/state.db")
            await asyncio.create_task(
                other.run(leases.take, THERE, datetime.now(UTC) + TERM), context=Context()
            )
            other.close()
            await db.run(runs.start_run, "crm", "sync", NOW)

    with pytest.raises(LeaseLost):
        await replaced()

    assert await db.read(runs.list_runs) == []


async def test_a_worker_renews_its_lease_and_is_told_when_another_has_taken_over(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.leases.BEAT", 0.001)
    lost = asyncio.Event()

    async with asyncio.timeout(20), one_worker(db, tmp_path, lost.set):
        first = await db.read(expiry)
        while await db.read(expiry) <= first:  # noqa: ASYNC110 - a row tells nobody that it changed
            await asyncio.sleep(0.001)
        await db.run(leases.take, replace(THERE, name=WORKER), datetime.now(UTC) + 2 * TERM)
        await lost.wait()

    assert (await db.read(leases.holder, WORKER) or "").startswith("process 3 on other")


def expiry(connection: Connection) -> datetime:
    return connection.scalars(select(leases.LEASES.c.expires_at)).one()


async def test_a_lease_is_given_back_at_the_end_and_after_an_error(db: Database, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        async with one_run(db, tmp_path, "crm"):
            raise LookupError

    assert await db.read(leases.holder, "crm") is None


async def test_a_lease_that_cannot_be_given_back_is_left_to_run_out(db: Database, tmp_path: Path) -> None:
    """A server that is down when the worker is stopped makes no failure of a good end."""
    with capture_logs() as logs:
        async with one_worker(db, tmp_path, lambda: None):
            await db.run(lambda connection: connection.exec_driver_sql("DROP TABLE leases"))

    assert [entry["event"] for entry in logs] == ["lease_not_given_back"]


async def test_a_second_run_is_refused_with_who_is_at_it_or_waits_for_the_end(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.leases.ASK_AGAIN", 0.001)
    first = asyncio.Event()

    async def wait() -> str:
        async with one_run(db, tmp_path, "crm", patience=60.0):
            return "mine" if first.is_set() else "too early"

    async with one_run(db, tmp_path, "crm"):
        with pytest.raises(Busy, match=r"sync crm: another run is under way.*process \d+ on .*, since"):
            async with one_run(db, tmp_path, "crm"):
                pass
        waiting = asyncio.create_task(wait(), context=Context())
        await asyncio.sleep(0)
        first.set()

    assert await waiting == "mine"


@pytest.mark.sqlite
async def test_a_second_worker_on_a_folder_is_refused_and_says_who_is_there(world: World) -> None:
    world.configure(extra="    schedule: every 5 minutes\n")
    async with world.open() as opened, one_worker(opened.db, world.folder, lambda: None):
        second = await asyncio.to_thread(cartwire, world.folder, "run")

    assert second.returncode == 2
    assert "another `cartwire run` keeps this state store: process" in second.stderr
    assert "Traceback" not in second.stderr
