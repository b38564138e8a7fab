"""A consistent copy of the state store while the worker runs."""

import sqlite3
from contextlib import closing
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
        _copy(Path(source.database), file)
    except sqlite3.Error as error:
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
