"""The daily cleaning: by the settings of the day, and a bad day is no reason to stop."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from sqlalchemy import Connection, text

from state import inbox, runs
from state.inbox import Received
from sync.upkeep import DAY, tidy, tidy_daily
from tests.sync.commands import cartwire as command
from tests.sync.conftest import World

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def old_runs(connection: Connection) -> None:
    for days in (300, 200, 100, 50, 1):
        runs.end_run(
            connection, runs.start_run(connection, "crm", "sync", NOW - timedelta(days=days)), "done", {}, NOW
        )


async def test_a_day_that_fails_is_followed_by_one_that_does_not(world: World) -> None:
    waited: list[datetime] = []
    async with world.open() as cartwire:
        await cartwire.db.run(old_runs)
        await cartwire.db.run(lambda connection: connection.execute(text("ALTER TABLE runs RENAME TO away")))

        async def wait(until: datetime) -> None:
            waited.append(until)
            if len(waited) == 2:
                raise asyncio.CancelledError
            await cartwire.db.run(
                lambda connection: connection.execute(text("ALTER TABLE away RENAME TO runs"))
            )

        with structlog.testing.capture_logs() as logs, pytest.raises(asyncio.CancelledError):
            await tidy_daily(lambda: cartwire, lambda: NOW, wait)

        assert len(await cartwire.db.read(runs.list_runs)) == 2
    assert [log["event"] for log in logs] == ["house_not_kept", "house_kept"]
    assert logs[1]["runs"] == 3
    assert waited == [NOW + DAY, NOW + DAY]


async def test_webhooks_that_nobody_will_read_are_kept_no_longer_than_the_others(world: World) -> None:
    told = [
        Received(store, f"{days}", "order.created", b"{}", NOW - timedelta(days=days))
        for store in ("shop", "gone")
        for days in (1, 9)
    ]
    async with world.open() as cartwire:
        await cartwire.db.run(inbox.receive, told)

        await tidy(cartwire, NOW)

        left = {each.store: each.count for each in await cartwire.db.read(inbox.depths)}
    assert left == {"shop": 2, "gone": 1}


def test_tidy_and_restore_are_commands(world: World) -> None:
    folder = world.folder
    for arguments in (
        ["tidy"],
        ["backup", str(folder / "copy.db")],
        ["restore", "--verify", str(folder / "copy.db")],
    ):
        result = command(folder, *arguments)
        assert result.returncode == 0, result.stderr

    restored = command(folder, "restore", str(folder / "copy.db"))
    missing = command(folder, "restore", str(folder / "nothing.db"))

    assert "whole, schema" in result.stdout
    assert "kept the state store from before as" in restored.stdout
    assert (missing.returncode, "there is no such file" in missing.stderr) == (2, True)


def test_a_copy_is_not_looked_at_for_a_postgresql(world: World) -> None:
    file = world.folder / "cartwire.yaml"
    command(world.folder, "tidy")
    command(world.folder, "backup", str(world.folder / "copy.db"))
    file.write_text(file.read_text() + "database: postgresql+psycopg://me@db/cartwire\n")

    theirs = command(world.folder, "restore", "--verify", str(world.folder / "copy.db"))
    file.unlink()
    nobodys = command(world.folder, "restore", "--verify", str(world.folder / "copy.db"))

    assert theirs.returncode == 2
    assert "restore is for copies of SQLite state stores; use pg_restore for PostgreSQL" in theirs.stderr
    assert nobodys.returncode == 0
