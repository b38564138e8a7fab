"""How a PostgreSQL state store is opened and copied; it keeps itself in shape."""

import itertools
import os
import socket
import sqlite3
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, Table, create_engine, event, insert, select
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError
from sqlalchemy.pool import StaticPool

from state import sqlite
from state.bookkeeping import metadata
from state.errors import Away, StateError

WRITERS = 0x63617274
"""The key of the advisory lock that writers pass on: "cart"."""
PATIENCE = 30
"""Seconds to wait for another process's writing."""
STILL = 60
"""Seconds without a statement after which the server ends a transaction: whoever stood still keeps nobody out."""
IDLE = "idle_in_transaction_session_timeout"
# Each transaction brings its settings, as poolers hand out sessions by the transaction; all are one round trip.
AS_ALWAYS = f"""
    SET LOCAL DateStyle TO ISO;
    SELECT set_config('{IDLE}', '{STILL}s', true)
        WHERE current_setting('{IDLE}')::interval NOT BETWEEN '1 us' AND '{STILL} s'
"""
"""The driver reads no other dates. Who sets a shorter limit keeps it; 0 is none."""
# Who waited for the lock must see what the one before wrote: whatever the role prefers, READ COMMITTED. That it may
# write is not said: providers let databases only be read when their disk is full.
ALONE = f"""
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    {AS_ALWAYS};
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
    SET LOCAL lock_timeout = '{PATIENCE}s';
    SELECT pg_advisory_xact_lock({WRITERS})
"""
AS_OF_ONE_MOMENT = f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; {AS_ALWAYS}"
HOLDER = """
    SELECT pid, application_name, host(client_addr) AS host, to_char(xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') AS since
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %s
        AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LOST_AFTER = {
    "tcp_keepalives_idle": 30,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""The server's own, where they are stricter than what it has: it finds out as soon as we do that a host is gone."""
STRICTER = """
    SELECT set_config(name, %s, false) FROM pg_settings
    WHERE name = %s AND setting::bigint NOT BETWEEN 1 AND %s
"""
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
    "client_encoding": "UTF8",
}
GO_ON = "nothing is lost, the next run goes on there"
ADVICE = {
    "25006": f"the database may only be read now: the server is a standby, or somebody set it so; {GO_ON}",
    "25P03": f"stood still for more than {STILL} seconds while it wrote, so the server let others go on; {GO_ON}",
    "53100": f"the server's disk is full; free some space there, {GO_ON}",
    "3F000": "no schema to make tables in; let the role's `search_path` name one in which it has USAGE and CREATE",
}
"""What to do about an error, by its code: the server's words may be of any language."""
LOCK_TIMEOUT = "55P03"
NOT_ALLOWED = "42501"
RIGHTS = (
    "make the role the owner of the database and of its tables, or grant it USAGE and CREATE on their schema"
)
REFUSED = "password authentication failed"
AWAY = (
    "connection refused",
    "timeout expired",
    "starting up",
    "shutting down",
    "in recovery mode",
    "not yet accepting connections",
    "closed the connection",
    "no such file",
    "failed to resolve",
    "could not translate",
    "unreachable",
    "no route to host",
)
"""What is said of a server that is not there, or not yet."""


def prepare(engine: Engine) -> None:
    """Let one process write at a time, as with SQLite: no transaction fails half-way, or sees half of another."""
    event.listen(engine, "connect", _begin_session)
    event.listen(engine, "begin", _Beginning())
    event.listen(engine, "handle_error", _quote_no_values)
    event.listen(engine, "handle_error", _end_session)


def settings() -> dict[str, Any]:
    """Say how to connect, and as whom: others see it where we keep them waiting."""
    return {**SETTINGS, "application_name": f"cartwire, process {os.getpid()} on {socket.gethostname()}"}


def told(engine: Engine, name: str, error: DatabaseError) -> StateError:
    """Say what went wrong with a state store, and what to do."""
    code, said = getattr(error.orig, "sqlstate", None), str(error.orig).partition("\n")[0]
    if code == LOCK_TIMEOUT:
        return StateError(f"{name}: another process keeps the state store busy{_holder(engine)}")
    if code == NOT_ALLOWED:
        return StateError(f"{name}: {said}; {RIGHTS}")
    if code is None and REFUSED in said:
        return StateError(
            f"{name}: {said}; `${{NAME}}` stands for the password as it is, not percent-encoded"
        )
    if code is None and any(sign in said.lower() for sign in AWAY):
        return Away(f"{name}: {said}")
    return StateError(f"{name}: {ADVICE.get(code or '', said)}")


def _holder(engine: Engine) -> str:
    """Name the session that holds the writers' lock, by what anybody may see of it."""
    row = None
    with suppress(DatabaseError), engine.execution_options(reading=True).connect() as connection:
        row = connection.exec_driver_sql(HOLDER, (WRITERS,)).first()
    if row is None:
        return "; stop it, or try again"
    known = (row.application_name, row.host and f"from {row.host}", row.since and f"since {row.since} UTC")
    held = " ".join(filter(None, known))
    return f": {held}; stop it, or end its session on the server: SELECT pg_terminate_backend({row.pid})"


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


def _end_session(context: ExceptionContext) -> None:
    """Go on in new sessions after an error that is not about a row: one begun in bad times would keep their settings."""
    if not isinstance(context.sqlalchemy_exception, IntegrityError | DataError):
        context.is_disconnect = True


def _begin_session(connection: Any, _record: object) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING or not connection.execute(KNOWS_LETTERS).fetchone()[0]:
        connection.close()
        wanted = f"CREATE DATABASE … ENCODING '{ENCODING}' LOCALE 'C.UTF-8' TEMPLATE template0"
        raise StateError(
            f"cartwire.yaml: database: does not know all letters, or changes them by one language's rules; make one by {wanted}"
        )
    for name, most in LOST_AFTER.items():
        connection.execute(STRICTER, (str(most), name, most))
    connection.commit()
