"""State stores as older versions left them: rows of a lived-in store for every revision of the schema.

`fixtures/REVISION.sql` is written once, when a revision is new, and never again after its release:
`python -m tests.state.versions`. The tables themselves come from the migrations up to that revision.
"""

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from connectors.base import Blame, Page, Refusal, Resource
from connectors.errors import BadRecord
from connectors.facts import Consent
from state import cursors, evaluation, offering, outbox, privacy, runs, settling
from state.audits import Audit, save_audit
from state.db import MIGRATIONS, Database
from state.offering import Desired
from state.outbox import Target
from tests.state.makers import (
    ADA,
    BOB,
    EVE,
    START,
    at,
    checkout,
    customer,
    order,
    product,
    profile_id,
    refresh,
    save,
)

FIXTURES = Path(__file__).parent / "fixtures"
TARGET = Target("crm", "news", "from_store")


def script(url: str = "sqlite://") -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url)
    return config


def revisions() -> list[str]:
    """Name every revision of the schema, the oldest first."""
    return [each.revision for each in ScriptDirectory.from_config(script()).walk_revisions()][::-1]


def make(file: Path, revision: str) -> None:
    """Make a state store as that revision left it, rows and all."""
    config = script()
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    with closing(sqlite3.connect(file)) as store:
        store.executescript((FIXTURES / f"{revision}.sql").read_text("utf-8"))


def lives(connection: Connection) -> None:
    """Leave a row in as many tables as a sync of some weeks does."""
    yes = Consent(given=True, at=at(0))
    cursors.start_cursor(connection, "shop", Resource.ORDERS, START)
    save(connection, product(3), customer(5, ADA, consent=yes), order(1, ADA, customer_id="5"), order(2, BOB))
    save(connection, order(3, EVE), order(4, "gone@example.com"), checkout(9, BOB))
    cursors.save_changes(
        connection,
        "shop",
        Resource.ORDERS,
        Page([], "next", [BadRecord("order 7", "a field cannot be read")]),
        START,
    )
    refresh(connection)
    evaluation.mark_opt_outs(connection, "crm", START)
    evaluation.mark_evaluated(connection, "crm", 1, "digest", START, journeys={"Welcome": "digest"})
    for email in (ADA, BOB):
        _push(connection, email)
    privacy.forget(connection, "gone@example.com", START)
    number = runs.start_run(connection, "crm", "sync", START)
    runs.end_run(connection, number, "done", {"seconds": 1.5}, START + timedelta(seconds=2))
    save_audit(connection, "crm", Audit(START, 0, 0, {"compared": 2}))


def _push(connection: Connection, email: str) -> None:
    """Write a contact, of which one field is refused, and leave them waiting for a list."""
    who = profile_id(connection, email)
    lists = {"Fans": True, "Loyal": True, "Welcome": True}
    wanted = Desired(who, email, {"ORDERS": 1, "PHONE": "+33"}, lists, frozenset({"Welcome"}))
    offering.offer(connection, TARGET, [wanted], START, journeys={"Welcome": START})
    refusal = Refusal(who, Blame.FIELD, "no", "PHONE")
    jobs = outbox.contact_jobs(connection, "crm", 0, 9)
    settling.settle_contacts(connection, TARGET, jobs, [refusal], START)
    joins = outbox.membership_jobs(connection, "crm", "Fans", 0, 9, joins=True)
    settling.settle_memberships(connection, "crm", joins, [], START)


def statements(file: Path) -> Iterator[str]:
    """Write down every row but the schema's own revision, with its columns by name."""
    with closing(sqlite3.connect(file)) as store:
        named = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        for (name,) in store.execute(named).fetchall():
            rows = store.execute(
                f"SELECT * FROM {name} ORDER BY 1, 2" if name != "alembic_version" else "SELECT 1 WHERE 0"
            )
            columns = ", ".join(column[0] for column in rows.description)
            for row in rows:
                values = ", ".join(store.execute("SELECT quote(?)", (value,)).fetchone()[0] for value in row)
                yield f"INSERT INTO {name} ({columns}) VALUES ({values});"


def main() -> None:
    """Write the newest revision's rows, over those that are there."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "state.db")
        store = Database(f"sqlite:///{file}")
        asyncio.run(store.run(lives))
        store.close()
        newest = FIXTURES / f"{revisions()[-1]}.sql"
        newest.write_text("\n".join(statements(file)) + "\n", "utf-8")
    sys.stdout.write(f"wrote {newest.name}\n")


if __name__ == "__main__":
    main()
