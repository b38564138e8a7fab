"""One migrated state store in memory; each test's writing is undone at its end."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from state import sqlite
from state.db import Database


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """Open a state store once: migrating costs more than most tests."""
    opened = Database("sqlite://")
    yield opened
    opened.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """Begin a transaction that is never committed."""
    with database._engine.connect() as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let state stores that are opened from now on not wait for other processes."""
    monkeypatch.setattr(sqlite, "PATIENCE", 0)
