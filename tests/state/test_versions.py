"""Every version of the state store that was ever released is brought to the newest schema, and goes on."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select

from state import audits, cursors, evaluation, outbox, privacy, runs
from state.audits import Audit
from state.backup import verify
from state.bookkeeping import SyncRow, metadata
from state.db import Database
from state.tables import table
from tests.state.makers import ADA, BOB, EVE, SCOPE, START, columns, order, refresh, save
from tests.state.versions import FIXTURES, make, revisions

HEARD = select(table(SyncRow).c.heard_revision)
pytestmark = pytest.mark.sqlite


def test_every_revision_has_its_rows() -> None:
    stored = sorted(file.stem for file in FIXTURES.glob("*.sql"))

    assert stored == sorted(revisions()), "a new revision: python -m tests.state.versions"


@pytest.mark.parametrize("revision", revisions())
async def test_an_older_state_store_is_migrated_and_goes_on_where_it_was(
    revision: str, tmp_path: Path
) -> None:
    file = tmp_path / "state.db"
    make(file, revision)
    before = verify(file).rows

    store = Database(f"sqlite:///{file}")

    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert sorted(await store.read(columns)) == sorted([ADA, BOB, EVE])
    assert (await store.read(outbox.pending, "crm")).lists == {"Loyal": 2}
    assert await store.read(outbox.list_sizes, "crm") == {"Fans": 2, "Welcome": 2}
    assert (await store.read(evaluation.sync_state, "crm")).revision > 0
    assert len(await store.read(runs.list_dead_letters, ["crm", "shop"])) == 3
    assert [run.outcome for run in await store.read(runs.list_runs)] == ["done"]
    assert await store.run(goes_on) == [ADA, EVE]
    store.close()
    assert verify(file).rows["orders"] == before["orders"] + 1


async def test_P4_an_opt_out_that_was_kept_as_the_esp_writes_it_counts_after_the_migration(
    tmp_path: Path,
) -> None:
    file = tmp_path / "state.db"
    make(file, "0001")
    with closing(sqlite3.connect(file)) as old:
        for address in ("Ada@Example.com", "ADA@example.com"):
            old.execute(
                "INSERT INTO consents (origin, record, email, given, at)"
                " VALUES ('esp:news', ?, ?, 0, '2026-03-01 00:00:00.000000')",
                (f"contact {address}", address),
            )
        old.commit()

    store = Database(f"sqlite:///{file}")
    await store.run(refresh)
    found = await store.read(columns)
    heard = await store.read(lambda connection: connection.scalar(HEARD))
    store.close()

    assert found[ADA]["accepts_marketing"] is False
    assert heard > 0
    with closing(sqlite3.connect(file)) as new:
        kept = new.execute("SELECT record FROM consents WHERE origin = 'esp:news'").fetchall()
    assert kept == [(f"contact {ADA}",)]


def goes_on(connection: Connection) -> list[str]:
    """Sell, aggregate, forget; the one who was forgotten before stays away."""
    save(connection, order(10, "gone@example.com"), order(1, ADA, 2500, updated_at=START + timedelta(days=1)))
    refresh(connection, SCOPE)
    privacy.forget(connection, BOB, START)
    audits.save_audit(connection, "crm", Audit(START, 1, 0, {}))
    assert cursors.find_cursor(connection, "shop", cursors.Resource.ORDERS) is not None
    return sorted(columns(connection))


def test_rows_are_kept_without_anybody_real() -> None:
    for file in FIXTURES.glob("*.sql"):
        quoted = file.read_text("utf-8").split("'")
        addresses = {word for word in quoted if "@" in word and " " not in word}
        assert all(address.endswith("@example.com") for address in addresses)
