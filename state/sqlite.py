"""How an SQLite state store is opened, copied and kept in shape."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from state import functions
from state.errors import StateError

REWRITES = "rewrites the file when it is committed"
TRACES = 1
"""SQLite's `user_version` while a file may hold traces of somebody who was forgotten."""
PATIENCE = 30_000
"""Milliseconds to wait for another process's writing."""
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL")
COPY_PRAGMAS = ("journal_mode=MEMORY", "synchronous=OFF")
COPY = ".copy-"
HALF_MADE = 3600.0
"""Seconds after which nobody is still making a copy."""
TENDING = 1_000
"""Milliseconds to wait for readers before the log is left as it is until tomorrow."""


def prepare(engine: Engine) -> None:
    """Open a file for one writer that loses nothing; make it for its owner's eyes, since it is about people."""
    if engine.url.database not in {None, "", ":memory:"}:
        file = Path(str(engine.url.database))
        # Else a file that is written anew goes through /tmp, which in a container is memory, and small.
        os.environ.setdefault("SQLITE_TMPDIR", str(file.parent.absolute()))
        with suppress(OSError):  # SQLite says better what is wrong
            make_private(file)
    # Python's driver looks for a way to adapt each None and each bool, in vain: half of what binding a row takes.
    sqlite3.register_adapter(type(None), {}.get)  # type: ignore[arg-type]
    sqlite3.register_adapter(bool, int)
    event.listen(engine, "connect", _open)
    event.listen(engine, "begin", begin)


def begin(connection: Connection) -> None:
    """Take the write lock at once, so that no transaction fails half-way for want of it."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def make_private(file: Path) -> None:
    """Make an empty file that its owner alone can read; one that is there stays as it is. Raises OSError."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def leave_no_trace(connection: Connection) -> None:
    """Once this transaction is committed, let nothing that it deleted stay in the files.

    secure_delete is not enough, it leaves what moved from one page to another; VACUUM writes the file anew,
    and the log is emptied. Raises StateError when another process reads meanwhile. A mark in the file says
    that this is still to be done, also after a kill: `tend` makes up for it.
    """
    if not connection.info.get(REWRITES):
        connection.info[REWRITES] = True
        connection.exec_driver_sql(f"PRAGMA user_version = {TRACES}")


def rewrite(engine: Engine) -> None:
    """Write the file anew, without what was deleted. Raises StateError when traces stay."""
    _sweep(engine, age=0)
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("VACUUM")
        is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not is_busy:
            cursor.execute("PRAGMA user_version = 0")
        cursor.close()
    except sqlite3.OperationalError as error:
        raise StateError(f"the file still holds traces ({error}); mend that, and forget again") from error
    finally:
        connection.close()
    if is_busy:
        raise StateError("another process reads the state store: its log still holds traces; forget again")


def tend(engine: Engine) -> bool:
    """Keep statistics new and the log short; False when somebody reads the log just now.

    The log grows while anybody reads, and only an empty one shrinks. Where somebody was forgotten and traces
    are left, they go first. Raises StateError when they stay.
    """
    _sweep(engine, age=HALF_MADE)
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        (traces,) = cursor.execute("PRAGMA user_version").fetchone()
        if traces == TRACES:
            rewrite(engine)
        cursor.execute("PRAGMA optimize")
        cursor.execute(f"PRAGMA busy_timeout={TENDING}")
        is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={PATIENCE}")
        cursor.close()
    finally:
        connection.close()
    return not is_busy


def copied(engine: Engine) -> sqlite3.Connection:
    """Copy a store as it is now. The copy's file has no name: it ends with the connection, or the process.

    Writers go on meanwhile. Raises sqlite3.Error and OSError where there is no room.
    """
    store = engine.url.database
    if store in {None, "", ":memory:"}:
        return _filled(engine, ":memory:")
    descriptor, name = tempfile.mkstemp(prefix=Path(str(store)).name + COPY, dir=Path(str(store)).parent)
    os.close(descriptor)
    try:
        return _filled(engine, name)
    finally:
        Path(name).unlink(missing_ok=True)


def _filled(engine: Engine, file: str) -> sqlite3.Connection:
    copy = sqlite3.connect(file, check_same_thread=False)
    original = engine.raw_connection()
    try:
        original.driver_connection.backup(copy)  # type: ignore[union-attr]
        set_up(copy, COPY_PRAGMAS)
    except BaseException:
        copy.close()
        raise
    finally:
        original.close()
    return copy


def _sweep(engine: Engine, age: float) -> None:
    """Drop copies that a kill left half-made: they hold people."""
    store = Path(str(engine.url.database))
    for file in store.parent.glob(f"{store.name}{COPY}*"):
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime >= age:
                file.unlink()


def _open(connection: Any, _record: Any) -> None:
    set_up(connection, PRAGMAS)


def set_up(connection: Any, pragmas: Iterable[str]) -> None:
    """Give a driver's connection its settings and our functions; SQLAlchemy begins its transactions."""
    connection.isolation_level = None
    for pragma in (*pragmas, f"busy_timeout={PATIENCE}", "cache_size=-4000"):
        connection.execute(f"PRAGMA {pragma}")
    functions.register(connection)
