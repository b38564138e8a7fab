"""A consistent copy of the state store while the worker runs, and the way back.

A restored copy forgets again whoever was forgotten since it was made, and has the requests that nobody makes again.
"""

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from connectors.base import REQUEST
from state import privacy, redaction
from state.db import Database, is_older_or_same
from state.errors import StateError
from state.presence import Absence
from state.sqlite import make_private

LOGS = ("-wal", "-shm")
COUNTED = ("orders", "customers", "profiles", "accepted", "consents", "dead_letters", "forgotten")


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy of the state store holds: the revision of its schema, and rows by table."""

    schema: str
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Restored:
    """`aside` is where the state store from before is kept, None when there was none.

    `forgotten_again` are people erased since the copy was made, None where the store could not say whom.
    """

    copy: Copy
    aside: Path | None
    forgotten_again: int | None


def backup(url: str, file: Path) -> None:
    """Copy an SQLite state store into a new file, page by page, with what is committed now.

    Raises StateError when the file exists, or the store is not an SQLite file (PostgreSQL has pg_dump).
    """
    source = make_url(url)
    if source.get_backend_name() != "sqlite" or not source.database:
        raise StateError("backup copies SQLite state stores; use pg_dump for PostgreSQL")
    if not Path(source.database).is_file():
        raise StateError(f"{source.database}: there is no state store yet; run a sync first")
    if file.exists():
        raise StateError(f"{file}: exists already; name a new file")
    try:
        make_private(file)
        _copy(Path(source.database), file)
    except (sqlite3.Error, OSError) as error:
        file.unlink(missing_ok=True)
        raise StateError(f"{file}: the copy failed ({error}); check space and rights there") from error


def _copy(source: Path, file: Path) -> None:
    """Copy in one step: writers go on meanwhile, and none of them makes us begin again."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as original,
        closing(sqlite3.connect(file)) as copy,
    ):
        original.backup(copy)
        problem = copy.execute("PRAGMA quick_check").fetchone()[0]
    if problem != "ok":
        raise sqlite3.DatabaseError("the copy is damaged, and so may be the state store")


def refuse_server(url: str) -> None:
    """Raise StateError where the state store is no SQLite file: what belongs to it is no copy of one."""
    source = make_url(url)
    if source.get_backend_name() != "sqlite" or not source.database:
        raise StateError("restore is for copies of SQLite state stores; use pg_restore for PostgreSQL")


def verify(file: Path) -> Copy:
    """Look through a copy. Raises StateError when it is damaged, no state store, or a newer Cartwire's."""
    if not file.is_file():
        raise StateError(f"{file}: there is no such file")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as copy:
            problem = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError("its pages do not fit together")
            schema = str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])
            found = {row[0] for row in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            rows = {
                name: int(copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608 - our own names
                for name in COUNTED
                if name in found
            }
    except (sqlite3.Error, TypeError) as error:
        raise StateError(f"{file}: no copy of a state store, or a damaged one ({error})") from error
    if not is_older_or_same(schema):
        raise StateError(f"{file}: written by a newer Cartwire (schema {schema}); update Cartwire first")
    return Copy(schema, rows)


def restore(url: str, file: Path, now: datetime) -> Restored:
    """Put a copy in the place of the state store, which is kept aside; a kill leaves the one or the other.

    Raises StateError when the copy is no good, or anybody has the state store open.
    """
    refuse_server(url)
    store = Path(str(make_url(url).database)).resolve()  # a link stays one, and leads to what is new
    copy = verify(file)
    try:
        with Absence(store):
            fresh = store.with_name(f".{store.name}.restoring")
            try:
                forgotten = _prepare(file, fresh, store, now)
                return Restored(copy, _replace(store, fresh, now), forgotten)
            finally:
                _drop(fresh)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{store}: the copy could not be put there ({error})") from error


def _prepare(file: Path, fresh: Path, store: Path, now: datetime) -> int | None:
    """Copy, bring it to the newest schema, forget in it whoever was forgotten since, and take over what is asked for."""
    _drop(fresh)
    shutil.copyfile(file, fresh)
    fresh.chmod(0o600)
    memory = _forgotten_in(store)
    copied = Database(f"sqlite:///{fresh}")
    try:
        again = asyncio.run(copied.run(redaction.forget_again, memory, now)) if memory else None
    finally:
        copied.close()
    _take_over_requests(store, fresh)
    fresh.with_name(f".{fresh.name}.open").unlink(missing_ok=True)
    with fresh.open("rb") as written:
        os.fsync(written.fileno())
    return again if store.exists() else 0


def _drop(fresh: Path) -> None:
    """Remove what a restore works on, and what a killed one left: its log would be read into any other file."""
    for end in LOGS:
        fresh.with_name(fresh.name + end).unlink(missing_ok=True)
    fresh.unlink(missing_ok=True)


def _forgotten_in(store: Path) -> privacy.Memory | None:
    """Read whom a state store has forgotten; None where it is too damaged to say, or is not there."""
    if not store.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as old:
            key = old.execute("SELECT value FROM secrets WHERE name = ?", (privacy.KEY,)).fetchone()
            hashes = [row[0] for row in old.execute("SELECT hash FROM forgotten")]
    except sqlite3.Error:
        return None
    return privacy.Memory(key[0] if key else None, frozenset(hashes))


def _take_over_requests(store: Path, fresh: Path) -> None:
    """Copy what the store acknowledged and has not done, and what waits for the owner: nobody asks for it again."""
    deliveries, letters = _requests_in(store)
    with closing(sqlite3.connect(fresh)) as copy, copy:
        copy.executemany(
            "INSERT OR IGNORE INTO inbox (store, delivery, topic, body, received_at) VALUES (?, ?, ?, ?, ?)",
            deliveries,
        )
        copy.executemany(
            "INSERT OR REPLACE INTO dead_letters (scope, record, reason, first_at, last_at, times)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            letters,
        )


def _requests_in(store: Path) -> tuple[Sequence[Any], Sequence[Any]]:
    """Read what is asked of the owner by a store that is not too damaged to say."""
    if not store.exists():
        return (), ()
    begun, before = f"{REQUEST} %", json.dumps(privacy.ASKED_BEFORE)
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as old:
            deliveries = old.execute(
                "SELECT store, delivery, topic, body, received_at FROM inbox WHERE done_at IS NULL"
                " AND (topic LIKE ? OR topic IN (SELECT value FROM json_each(?)))",
                (begun, before),
            ).fetchall()
            letters = old.execute(
                "SELECT scope, record, reason, first_at, last_at, times FROM dead_letters WHERE record LIKE ?",
                (begun,),
            ).fetchall()
    except sqlite3.Error:
        return (), ()
    return deliveries, letters


def _replace(store: Path, fresh: Path, now: datetime) -> Path | None:
    """Put the new file in place in one step; a log of the old one must not be there then."""
    if not store.exists():
        fresh.replace(store)
        return None
    aside = store.with_name(f"{store.name}.before-{now:%Y%m%dT%H%M%S}")
    with suppress(sqlite3.Error), closing(sqlite3.connect(store)) as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for end in LOGS:
        with suppress(FileNotFoundError):
            store.with_name(store.name + end).rename(aside.with_name(aside.name + end))
    os.link(store, aside)
    fresh.replace(store)
    folder = os.open(store.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return aside
