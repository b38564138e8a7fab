"""The only door to the state store: one thread, one transaction for each call.

Nothing can await inside a transaction, and no two writers meet.
"""

import asyncio
import errno
import functools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from state import dialect, postgresql, sqlite
from state.bookkeeping import metadata
from state.errors import StateError
from state.presence import Presence

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Guard = Callable[[Connection], None]
MIGRATIONS = Path(__file__).parent / "migrations"
_guard: ContextVar[Guard | None] = ContextVar("guard", default=None)


class Database:
    """A state store at an SQLAlchemy URL, brought to the newest schema when it is opened.

    Raises StateError when it cannot be opened, is no state store, or was written by a newer Cartwire; Away when its
    server is not there, or not yet.
    """

    def __init__(self, url: str) -> None:
        self.name = _name(url)
        self._use(_engine(url))
        self._presence = _presence(url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        try:
            self._thread.submit(self._open).result()
        except StateError:
            self.close()
            raise

    async def run(
        self,
        function: Callable[Concatenate[Connection, Arguments], Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result:
        """Call `function(connection, …)` in a transaction; commit when it returns, undo when it raises."""
        return await self._call(
            self._transaction, self._engine, _guard.get(), function, *arguments, **options
        )

    async def read(
        self,
        function: Callable[Concatenate[Connection, Arguments], Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result:
        """As `run`, for functions that only read: they never wait for another process's writing."""
        return await self._call(
            self._transaction, self._reading, _guard.get(), function, *arguments, **options
        )

    @contextmanager
    def guarded(self, guard: Guard) -> Iterator[None]:
        """Call `guard(connection)` first in every transaction of this task and of those it starts.

        What it raises undoes the transaction, and reaches the caller. Guards add up.
        """
        outer = _guard.get()

        def both(connection: Connection) -> None:
            if outer is not None:
                outer(connection)
            guard(connection)

        token = _guard.set(both)
        try:
            yield
        finally:
            _guard.reset(token)

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[None]:
        """Let everything inside see its own writing, and nothing of it stay.

        It works on a copy, so that a worker in another process goes on meanwhile. Raises StateError where there
        is no room for one.
        """
        store = self._engine
        self._use(await self._call(self._scratch))
        try:
            yield
        finally:
            scratch = self._engine
            self._use(store)
            await self._call(scratch.dispose)

    async def tend(self) -> bool:
        """Do what keeps the file in shape; False when the log stays, as another process reads just now."""
        return await self._call(dialect.tend, self._engine)

    def close(self) -> None:
        self._thread.submit(self._engine.dispose).result()
        self._thread.shutdown()
        if self._presence is not None:
            self._presence.close()

    async def _call(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        call = functools.partial(function, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _use(self, engine: Engine) -> None:
        self._engine, self._reading = engine, engine.execution_options(reading=True)

    def _scratch(self) -> Engine:
        try:
            copy = dialect.copied(self._engine)
        except (DatabaseError, sqlite3.Error, OSError) as error:
            raise StateError(
                f"{self.name}: it could not be copied for a try; {_advice(str(error))}"
            ) from error
        scratch = create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool, hide_parameters=True)
        event.listen(scratch, "begin", sqlite.begin)
        return scratch

    def _transaction(
        self,
        engine: Engine,
        guard: Guard | None,
        function: Callable[..., Result],
        *arguments: Any,
        **options: Any,
    ) -> Result:
        try:
            with dialect.transaction(engine) as connection:
                if guard is not None:
                    guard(connection)
                return function(connection, *arguments, **options)
        except DatabaseError as error:
            raise self._error(error) from error

    def _error(self, error: DatabaseError) -> StateError:
        told = dialect.server_error(self._engine, self.name, error)
        return told or StateError(f"{self.name}: {_advice(str(error.orig))}")

    def _check(self) -> None:
        """Look through the file of a process that was stopped in it; a disk that lies shows itself here."""
        with self._engine.connect() as connection:
            found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        if found != "ok":
            raise StateError(f"{self.name}: {DAMAGED}")
        if self._presence is not None:
            self._presence.share()

    def _open(self) -> None:
        try:
            if self._presence is not None and self._presence.after_unclean_stop:
                self._check()
            migrate(self._engine, self.name)
        except DatabaseError as error:
            raise self._error(error) from error


def _name(url: str) -> str:
    """Name a file, or a server's database with the setting that leads to it; never who may use it (P8)."""
    parsed = make_url(url)
    name = parsed.database or "memory"
    return name if parsed.get_backend_name() == "sqlite" else f"cartwire.yaml: database: {name}"


def _presence(url: str) -> Presence | None:
    """Be seen in an SQLite file; other state stores know by themselves who is there."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}
    try:
        return Presence(Path(str(parsed.database))) if is_file else None
    except OSError as error:
        said = TROUBLES.get(error.errno or 0, ADVICE["unable to open"])
        raise StateError(f"{parsed.database}: {said}") from error


def migrate(engine: Engine, name: str) -> None:
    """Bring a store to the newest schema; refuse one that a newer Cartwire has written."""
    with engine.connect() as connection:
        strange = _strange(connection)  # first: who makes a store at this moment makes it whole
        present = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        if present == _schemas()[0]:
            return
        if present is not None and not is_older_or_same(present):
            raise StateError(
                f"{name}: written by a newer Cartwire (schema {present}); update Cartwire, or restore a backup"
            )
        if present is None and strange:
            raise StateError(
                f"{name}: holds tables ({', '.join(strange[:3])}) that are no whole state store;"
                " restore a backup (cartwire restore FILE), or move it away to begin anew"
            )
        scripts = _scripts()
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "head")


def _strange(connection: Connection) -> list[str]:
    """Name the tables that stand in the way of ours; a PostgreSQL database may be shared with others."""
    present = set(inspect(connection).get_table_names())
    connection.rollback()
    return sorted(present if connection.dialect.name == "sqlite" else present & metadata.tables.keys())


def is_older_or_same(schema: str) -> bool:
    """Tell whether this Cartwire knows a revision of the schema."""
    return schema in _schemas()


@functools.cache
def _schemas() -> tuple[str, ...]:
    """List the revisions of the schema, the newest first. Alembic runs each file for it, so ask once."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_scripts()).walk_revisions())


def _scripts() -> Config:
    scripts = Config()
    scripts.set_main_option("script_location", str(MIGRATIONS))
    return scripts


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    options: dict[str, Any] = {"hide_parameters": True}  # an error quotes no row (P8)
    if parsed.get_backend_name() == "sqlite":
        folder = Path(str(parsed.database)).parent
        if parsed.database in {None, "", ":memory:"}:
            options |= {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        elif not folder.is_dir():
            raise StateError(f"{folder}: no such folder for the state store; create it")
    else:
        options |= {"pool_pre_ping": True, "connect_args": postgresql.settings()}
    try:
        engine = create_engine(parsed, **options)
    except ModuleNotFoundError as error:
        raise StateError(f"the state store needs the package `{error.name}`; install it") from error
    dialect.prepare(engine)
    return engine


BUSY = "another process keeps the state store busy; stop it, or try again"
DAMAGED = "the state store is damaged; restore a backup: cartwire restore FILE"
ADVICE = {
    "readonly": "the state store cannot be written; check the owner and the mount of its folder",
    "unable to open": "the state store cannot be opened; check the owner and the mount of its folder",
    "disk is full": "the disk is full; free some space and start again, nothing is lost",
    "not a database": "this file is no state store; restore a backup (cartwire restore FILE), or move it away"
    " to begin anew",
    "malformed": DAMAGED,
    "disk i/o error": "the disk failed; look at its space and its health, then start again, nothing is lost",
    "locked": BUSY,
}

TROUBLES = {errno.ENOSPC: ADVICE["disk is full"], errno.EROFS: ADVICE["readonly"]}


def _advice(problem: str) -> str:
    """Say what to do about a database error, without the statement and its values."""
    said = problem.lower()
    return next((text for sign, text in ADVICE.items() if sign in said), problem.splitlines()[0])
