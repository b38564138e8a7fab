"""Restoring a copy: looked through first, put in place in one step, and the forgotten stay forgotten."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from connectors.errors import BadRecord
from connectors.facts import Consent, Person
from state import inbox, privacy, runs
from state.backup import backup, restore, verify
from state.consents import CONSENTS
from state.db import Database
from state.errors import StateError
from state.inbox import Received, Waiting
from state.runs import DeadLetter
from tests.state.makers import ADA, BOB, EVE, START, at, columns, customer, order, refresh, save

pytestmark = pytest.mark.sqlite

WHO = Person("Zzada", "Zzlovelace", None, "06 99 99 99 99")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture
def copy(url: str, tmp_path: Path) -> Path:
    """Back up a store with Ada and Bob, and give it Eve after that."""
    during(url, lambda connection: save(connection, order(1, ADA, person=WHO), customer(5, BOB)))
    during(url, refresh)
    file = tmp_path / "copy.db"
    backup(url, file)
    during(url, lambda connection: save(connection, order(2, EVE)))
    during(url, refresh)
    return file


def during(url: str, work: Callable[[Connection], object]) -> None:
    """Open the store, do something, close it."""
    opened = Database(url)
    try:
        asyncio.run(opened.run(work))
    finally:
        opened.close()


def people(url: str) -> list[str]:
    found: list[str] = []
    during(url, lambda connection: found.extend(columns(connection)))
    return sorted(found)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    file.write_bytes(content)


def test_a_copy_is_looked_through_and_counted(copy: Path) -> None:
    found = verify(copy)

    assert (found.schema, found.rows["orders"], found.rows["customers"], found.rows["profiles"]) == (
        "0002",
        1,
        1,
        2,
    )
    assert not list(copy.parent.glob("copy.db-*"))


@pytest.mark.parametrize("spoil", [damage, Path.unlink, lambda file: file.write_text("no database")])
def test_what_is_no_whole_copy_is_refused_and_the_store_stays(
    url: str, copy: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(copy)

    with pytest.raises(StateError, match=r"copy\.db"):
        verify(copy)
    with pytest.raises(StateError, match=r"copy\.db"):
        restore(url, copy, START)

    assert people(url) == sorted([ADA, BOB, EVE])


def test_a_copy_of_a_newer_cartwire_is_refused(url: str, copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(StateError, match=r"newer Cartwire \(schema 9999\)"):
        restore(url, copy, START)


def test_a_copy_is_put_in_place_and_the_store_from_before_is_kept(url: str, copy: Path) -> None:
    restored = restore(url, copy, START)

    assert people(url) == sorted([ADA, BOB])
    assert restored.aside
    assert people(f"sqlite:///{restored.aside}") == sorted([ADA, BOB, EVE])
    assert restored.forgotten_again == 0
    assert not [file.name for file in copy.parent.iterdir() if "restoring" in file.name]


def test_it_is_put_where_nothing_was(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "new").mkdir()

    restored = restore(f"sqlite:///{tmp_path / 'new' / 'state.db'}", copy, START)

    assert (restored.aside, restored.forgotten_again) == (None, 0)
    assert people(f"sqlite:///{tmp_path / 'new' / 'state.db'}") == sorted([ADA, BOB])


def test_a_link_to_the_store_stays_one_and_leads_to_the_copy(url: str, copy: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "state.db")
    worker = Database(url)

    with pytest.raises(StateError, match="Cartwire has it open"):
        restore(f"sqlite:///{link}", copy, START)
    worker.close()
    restored = restore(f"sqlite:///{link}", copy, START)

    assert link.is_symlink()
    assert people(url) == sorted([ADA, BOB])
    assert restored.aside
    assert restored.aside.parent == tmp_path


def test_a_store_that_is_open_is_not_replaced(url: str, copy: Path) -> None:
    worker = Database(url)

    with pytest.raises(StateError, match="Cartwire has it open; stop the worker"):
        restore(url, copy, START)

    worker.close()
    assert restore(url, copy, START).aside


def test_whoever_was_forgotten_since_is_forgotten_in_the_copy_too(url: str, copy: Path) -> None:
    during(url, lambda connection: privacy.forget(connection, ADA, START))
    during(url, lambda connection: privacy.forget(connection, EVE, START))

    restored = restore(url, copy, START)

    assert restored.forgotten_again == 1
    assert people(url) == [BOB]
    assert b"zzada" not in Path(url.removeprefix("sqlite:///")).read_bytes().lower()
    during(url, lambda connection: save(connection, order(9, EVE), order(8, ADA)))
    during(url, refresh)
    assert people(url) == [BOB]


def test_who_was_forgotten_by_an_address_that_only_a_no_bears_is_forgotten_in_the_copy_too(
    url: str, tmp_path: Path
) -> None:
    no = Consent(given=False, at=START)
    during(url, lambda connection: save(connection, customer(7, EVE, consent=no)))
    during(
        url, lambda connection: save(connection, customer(7, "b@example.com", updated_at=at(5), consent=no))
    )
    backup(url, tmp_path / "later")
    during(url, lambda connection: privacy.forget(connection, EVE, START))

    restored = restore(url, tmp_path / "later", START)

    assert restored.forgotten_again == 1
    left: set[str | None] = set()
    during(url, lambda connection: left.update(connection.scalars(select(CONSENTS.c.email))))
    assert left == {"b@example.com"}


def test_what_is_asked_for_since_and_not_done_is_in_the_copy_too(url: str, copy: Path) -> None:
    """It was acknowledged: nobody asks again."""
    topics = ("request customers/redact", "shop/redact", "orders/updated")
    told = [Received("shop", topic, topic, b"{}", START) for topic in topics]
    letters = [BadRecord("request shop/redact", "do it"), BadRecord("order 7", "no")]
    during(url, lambda connection: inbox.receive(connection, told))
    during(url, lambda connection: runs.bury(connection, "shop", letters, START))

    restore(url, copy, START)

    waiting: list[Waiting] = []
    left: list[DeadLetter] = []
    during(url, lambda connection: waiting.extend(inbox.waiting(connection, "shop", START, 0, 9)))
    during(url, lambda connection: left.extend(runs.list_dead_letters(connection, ["shop"])))
    assert [(each.topic, each.body, each.tries) for each in waiting] == [
        (topic, b"{}", 0) for topic in topics[:2]
    ]
    assert [(each.record, each.reason, each.first_at) for each in left] == [
        ("request shop/redact", "do it", START)
    ]


def test_a_log_of_the_store_from_before_is_never_read_into_the_copy(url: str, copy: Path) -> None:
    """A process that was killed leaves a log; it goes aside with what it belongs to."""
    store = Path(url.removeprefix("sqlite:///"))
    opened = Database(url)
    with closing(sqlite3.connect(store)) as other:
        other.execute("PRAGMA wal_autocheckpoint=0")
        other.execute("DELETE FROM profiles")
        other.commit()
        log = store.with_name("state.db-wal").read_bytes()
    opened.close()
    damage(store)
    store.with_name("state.db-wal").write_bytes(log)

    restored = restore(url, copy, START)

    assert people(url) == sorted([ADA, BOB])
    assert restored.aside
    assert restored.aside.exists()


def test_what_a_killed_restore_left_is_never_read_into_the_copy(url: str, copy: Path, tmp_path: Path) -> None:
    """A log applies itself to whatever file stands beside it."""
    fresh = tmp_path / ".state.db.restoring"
    opened = Database(f"sqlite:///{fresh}")
    asyncio.run(opened.run(lambda connection: save(connection, order(7, "killed@example.com"))))
    log = fresh.with_name(f"{fresh.name}-wal").read_bytes()
    opened.close()
    fresh.with_name(f"{fresh.name}-wal").write_bytes(log)

    restore(url, copy, START)

    during(url, refresh)
    assert people(url) == sorted([ADA, BOB])


def test_a_damaged_store_can_be_replaced_and_says_that_it_told_nothing(url: str, copy: Path) -> None:
    Path(url.removeprefix("sqlite:///")).write_bytes(b"\xff" * 9000)

    restored = restore(url, copy, START)

    assert restored.forgotten_again is None
    assert people(url) == sorted([ADA, BOB])


def test_postgresql_has_its_own_ways(copy: Path) -> None:
    with pytest.raises(StateError, match="pg_restore"):
        restore("postgresql+psycopg://db/cartwire", copy, START)
