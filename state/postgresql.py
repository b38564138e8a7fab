"""How a PostgreSQL state store is opened and copied; it keeps itself in shape."""

import itertools
import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, Table, create_engine, event, insert, select
from sqlalchemy.pool import StaticPool

from state import sqlite
from state.bookkeeping import metadata
from state.errors import StateError

WRITERS = 0x63617274
"""The key of the advisory lock that writers pass on: "cart"."""
PATIENCE = 30
"""Seconds to wait for another process's writing."""
ALONE = f"SET LOCAL lock_timeout = '{PATIENCE}s'; SELECT pg_advisory_xact_lock({WRITERS})"
AS_OF_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
TURNS = 20
"""Writing transactions after which tables that grew are looked at."""
GROWN = (
    "SELECT relname FROM pg_stat_user_tables WHERE schemaname = current_schema()"
    " AND n_mod_since_analyze > 1000 + n_live_tup / 4"
)
TEXTS = (
    "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()"
    " AND data_type IN ('character varying', 'text') AND collation_name IS NULL"
)
ENCODING = "UTF8"
KNOWS_LETTERS = (
    "SELECT lower('\u00c7') = '\u00e7' AND lower('I') = 'i' AND upper('i') = 'I' AND upper('\u00df') = '\u00df'"
    " AND char_length(lower('\u0130')) = 1"
)
"""By the rules of all languages: Turkish ones make another letter of I, ICU's make two of some."""
DATES = "SET DateStyle TO ISO"
"""Whatever the role or the database prefers: the driver reads no other."""
ROWS = 5_000
"""Rows that are copied at a time."""
SETTINGS = {
    # A plan that was made while a table was empty would be kept for it when it is full.
    "prepare_threshold": None,
    # libpq's: a host that is gone without a word is found out in a minute, not in hours.
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "cartwire",
}


def prepare(engine: Engine) -> None:
    """Let one process write at a time, as with SQLite: no transaction fails half-way, or sees half of another."""
    event.listen(engine, "connect", _begin_session)
    event.listen(engine, "begin", _Beginning())
    event.listen(engine, "handle_error", _quote_no_values)


class _Beginning:
    """Begins transactions: a writer waits for others; what only reads waits for nobody, and sees one moment."""

    def __init__(self) -> None:
        self._turns = itertools.count(1)

    def __call__(self, connection: Connection) -> None:
        if connection.get_execution_options().get("reading", False):
            connection.exec_driver_sql(AS_OF_ONE_MOMENT)
            return
        connection.exec_driver_sql(ALONE)
        if next(self._turns) % TURNS == 0:
            _learn(connection)


def _learn(connection: Connection) -> None:
    """Learn the sizes of what grew: a history is there long before autovacuum looks, and is planned as if empty."""
    for (name,) in connection.exec_driver_sql(GROWN).all():
        connection.exec_driver_sql(f'ANALYZE "{name}"')


def sort_by_letters(connection: Connection) -> None:
    """Take the server's language out of every column of text: what comes first by name would depend on it."""
    for name, column, kind in connection.exec_driver_sql(TEXTS).all():
        connection.exec_driver_sql(f'ALTER TABLE "{name}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')


def copied(engine: Engine) -> sqlite3.Connection:
    """Copy a state store as it is now into an SQLite file without a name, in the system's temporary folder.

    Writers go on meanwhile. Raises sqlite3.Error where there is no room.
    """
    copy = sqlite3.connect("", check_same_thread=False)
    try:
        sqlite.set_up(copy, sqlite.COPY_PRAGMAS)
        target = create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool, hide_parameters=True)
        with engine.execution_options(reading=True).connect() as store, target.begin() as filled:
            metadata.create_all(filled)
            for table in metadata.sorted_tables:
                _copy_rows(store, filled, table)
    except BaseException:
        copy.close()
        raise
    return copy


def _copy_rows(store: Connection, copy: Connection, table: Table) -> None:
    rows = store.execute(select(table), execution_options={"yield_per": ROWS})
    for part in rows.mappings().partitions():
        copy.execute(insert(table), [dict(row) for row in part])


def _quote_no_values(context: ExceptionContext) -> None:
    """Keep the first line of an error: those after it quote the row (P8)."""
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            error.args = (str(error.args[0]).partition("\n")[0], *error.args[1:])


def _begin_session(connection: Any, _record: object) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING or not connection.execute(KNOWS_LETTERS).fetchone()[0]:
        connection.close()
        wanted = f"CREATE DATABASE … ENCODING '{ENCODING}' LOCALE 'C.UTF-8' TEMPLATE template0"
        raise StateError(
            f"its database does not know all letters, or changes them by one language's rules; make one by {wanted}"
        )
    connection.execute(DATES)
    connection.commit()
