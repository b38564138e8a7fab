"""A consistent copy of the state store while the worker runs."""

import sqlite3
from pathlib import Path

from sqlalchemy.engine import make_url

from state.errors import StateError


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
        _copy(source.database, file)
    except sqlite3.Error as error:
        file.unlink(missing_ok=True)
        raise StateError(f"{file}: the copy failed ({error}); check space and rights there") from error


def _copy(source: str, file: Path) -> None:
    original, copy = sqlite3.connect(f"file:{source}?mode=ro", uri=True), sqlite3.connect(file)
    try:
        original.backup(copy, pages=1000)
        healthy = copy.execute("PRAGMA quick_check").fetchone()[0]
    finally:
        original.close()
        copy.close()
    if healthy != "ok":
        raise StateError(f"{file}: the copy is damaged, and so may be the state store")
