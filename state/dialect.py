"""The one place that knows two databases apart: upserts, and how SQLite is opened."""

import importlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Compiled,
    Connection,
    Dialect,
    Engine,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    event,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine
from sqlmodel.sql.sqltypes import UTCDateTime

from state import functions
from state.errors import StateError

_encode = msgspec.json.Encoder().encode
Gathered = TypeVar("Gathered", dict[str, str], list[str])

PARAMETERS = 500
"""How many values one IN list holds; both databases take many more."""
BLOCKS = (64, 16, 4)
"""Rows that one statement inserts; the widest table makes 4,500 values of them, SQLite takes 32,766."""
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


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    *,
    index: Sequence[str] | None = None,
    newer: str | None = None,
) -> None:
    """Insert rows, all with the same columns; update those that are there by their key.

    With `newer`, a row replaces another only if its value in that column is not smaller. `index` names
    the unique columns where they are not the primary key.
    """
    if not rows:
        return
    upsertion = _upsertion(connection.dialect, table, tuple(rows[0]), tuple(index or ()), newer)
    parameters = [upsertion.parameters(row) for row in rows]
    start = 0
    for size, text in upsertion.blocks:
        while len(parameters) - start >= size:
            together = tuple(chain.from_iterable(parameters[start : start + size]))
            connection.exec_driver_sql(text, together)
            start += size
    if start < len(parameters):
        connection.exec_driver_sql(upsertion.text, parameters[start:])


def upsert_from(
    connection: Connection, table: Table, rows: Select[Any], parameters: Mapping[str, Any]
) -> None:
    """Insert the rows of a SELECT whose columns are labelled as the table's; update those that are there."""
    connection.execute(_upsertion_from(connection.dialect, table, rows), parameters)


@lru_cache(maxsize=32)
def _upsertion_from(dialect: Dialect, table: Table, rows: Select[Any]) -> Any:
    names = [column.name for column in rows.selected_columns]
    insert = _insert(dialect, table).from_select(names, rows)
    keys = [column.name for column in table.primary_key]
    changed = {name: insert.excluded[name] for name in names if name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)


def insert_new(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], index: Sequence[str]
) -> None:
    """Insert rows whose `index` is not there yet, and leave the others alone."""
    insert = _insert(connection.dialect, table)
    if rows:
        connection.execute(insert.on_conflict_do_nothing(index_elements=index), list(rows))


@dataclass(frozen=True)
class _Upsertion:
    """A compiled upsert. Going past SQLAlchemy's own binding row by row makes it twice as fast.

    `blocks` are the same for many rows at once, the most first; none where that gains nothing.
    """

    text: str
    blocks: tuple[tuple[int, str], ...]
    names: tuple[str, ...]
    take: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]
    positional: bool

    def parameters(self, row: Mapping[str, Any]) -> Any:
        """Turn a row into what the driver takes."""
        values = list(self.take(row))
        for position, convert in self.converters:
            values[position] = convert(values[position])
        return tuple(values) if self.positional else dict(zip(self.names, values, strict=True))


def _insert(dialect: Dialect, table: Table) -> Any:
    """Begin an INSERT that can upsert; the database that is not in use, with all its drivers, stays unloaded."""
    return importlib.import_module(f"sqlalchemy.dialects.{dialect.name}").insert(table)


@lru_cache(maxsize=128)
def _upsertion(
    dialect: Dialect, table: Table, names: tuple[str, ...], index: tuple[str, ...], newer: str | None
) -> _Upsertion:
    insert = _insert(dialect, table)
    keys = index or tuple(column.name for column in table.primary_key)
    changed = {name: insert.excluded[name] for name in names if name not in keys}
    guard: ColumnElement[bool] | None = insert.excluded[newer] >= table.c[newer] if newer else None
    statement = insert.on_conflict_do_update(index_elements=keys, set_=changed, where=guard)
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    order = tuple(compiled.positiontup or names)
    binders = ((position, _binder(table.c[name].type, dialect)) for position, name in enumerate(order))
    converters = tuple((position, binder) for position, binder in binders if binder)
    take = itemgetter(*order)
    return _Upsertion(str(compiled), _blocks(compiled), order, take, converters, compiled.positional)


def _blocks(compiled: Compiled) -> tuple[tuple[int, str], ...]:
    """Write a statement for many rows: between two rows SQLite's driver would give the CPU to other threads."""
    text, row = str(compiled), f"({', '.join('?' * len(compiled.params))})"
    return tuple((size, text.replace(row, ", ".join([row] * size), 1)) for size in BLOCKS if row in text)


def _binder(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if dialect.name == "sqlite" and isinstance(kind, UTCDateTime):
        return _moment_text
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _moment_text(moment: datetime | str | None) -> str | None:
    """Write a moment as SQLAlchemy does for SQLite, eight times as fast; one `as_stored` is written already.

    Raises ValueError for a naive one.
    """
    if moment is None or isinstance(moment, str):
        return moment
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    text = _encode(moment if moment.tzinfo is UTC else moment.astimezone(UTC)).decode()
    return f"{text[1:11]} {text[12:20]}.{text[21:-2] or '000000'}"


def as_stored(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Take a moment as the database holds it: to be compared with its like, and written back.

    Reading one, and writing it again, costs more than all else that is done with it.
    """
    return type_coerce(moment, NullType())


def chunks(values: Iterable[Any]) -> Iterable[list[Any]]:
    """Cut values into lists that fit an IN."""
    rest = list(values)
    return (rest[start : start + PARAMETERS] for start in range(0, len(rest), PARAMETERS))


def json_list(values: Iterable[str] | Iterable[int]) -> str:
    """Write values as one parameter, for `among`."""
    return _encode(list(values)).decode()


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Tell whether a text or a whole number is in the JSON list that is bound under `name`.

    As an IN of so many parameters, but one statement for any number of them, which is compiled once.
    """
    values = numbers_listed if isinstance(column.type, Integer) else texts_listed
    return column.op("IN", is_comparison=True)(values(bindparam(name, type_=Text())))


class texts_listed(FunctionElement[str]):  # noqa: N801 - written where SQL writes a function
    """The texts of a JSON list, as a subquery."""

    type = Text()
    inherit_cache = True


class numbers_listed(FunctionElement[int]):  # noqa: N801 - written where SQL writes a function
    """The whole numbers of a JSON list, as a subquery."""

    type = BigInteger()
    inherit_cache = True


@compiles(texts_listed, "sqlite")
@compiles(numbers_listed, "sqlite")
def _listed_sqlite(element: FunctionElement[Any], compiler: SQLCompiler, **settings: Any) -> str:
    values = compiler.process(element.clauses, **settings)
    return f"(SELECT value FROM json_each({values}))"  # noqa: S608 - the place of a parameter


@compiles(texts_listed, "postgresql")
@compiles(numbers_listed, "postgresql")
def _listed_postgresql(element: FunctionElement[Any], compiler: SQLCompiler, **settings: Any) -> str:
    values = f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **settings)} AS JSONB))"
    return f"(SELECT CAST({values} AS {compiler.dialect.type_compiler_instance.process(element.type)}))"


class _Gathered(FunctionElement[str]):
    """All rows as one JSON document, see `gathered`; the function that makes it, by database."""

    type = Text()
    inherit_cache = True
    sqlite = postgresql = ""


class pairs_gathered(_Gathered):  # noqa: N801 - written where SQL writes a function
    """All rows of two texts as one JSON object."""

    inherit_cache = True
    sqlite, postgresql = "json_group_object", "json_object_agg"


class texts_gathered(_Gathered):  # noqa: N801 - written where SQL writes a function
    """All rows of a text as one JSON list."""

    inherit_cache = True
    sqlite, postgresql = "json_group_array", "json_agg"


@compiles(pairs_gathered, "sqlite")
@compiles(texts_gathered, "sqlite")
def _gathered_sqlite(element: _Gathered, compiler: SQLCompiler, **settings: Any) -> str:
    return f"{element.sqlite}({compiler.process(element.clauses, **settings)})"


@compiles(pairs_gathered, "postgresql")
@compiles(texts_gathered, "postgresql")
def _gathered_postgresql(element: _Gathered, compiler: SQLCompiler, **settings: Any) -> str:
    return f"CAST({element.postgresql}({compiler.process(element.clauses, **settings)}) AS TEXT)"


def gathered(text: str | None, kind: type[Gathered]) -> Gathered:
    """Read what `pairs_gathered` (a dict) or `texts_gathered` (a list) found.

    Between two rows SQLite's driver lets other threads have the CPU; this is one row, however many there are.
    """
    return msgspec.json.decode(text, type=kind) if text else kind()


class local_hour(FunctionElement[int]):  # noqa: N801 - written where SQL writes a function
    """The hour (0..23) that the clocks of a zone show at a moment: local_hour(moment, zone)."""

    type = Integer()
    inherit_cache = True


@compiles(local_hour, "sqlite")
def _local_hour_sqlite(element: local_hour, compiler: SQLCompiler, **settings: Any) -> str:
    return f"cartwire_local_hour({compiler.process(element.clauses, **settings)})"


@compiles(local_hour, "postgresql")
def _local_hour_postgresql(element: local_hour, compiler: SQLCompiler, **settings: Any) -> str:
    moment, zone = (compiler.process(clause, **settings) for clause in element.clauses)
    return f"CAST(extract(hour FROM {moment} AT TIME ZONE {zone}) AS INTEGER)"


def prepare(engine: Engine) -> None:
    """Open SQLite for one writer that loses nothing; PostgreSQL needs no preparation."""
    if engine.dialect.name != "sqlite":
        return
    # Python's driver looks for a way to adapt each None and each bool, in vain: half of what binding a row takes.
    sqlite3.register_adapter(type(None), {}.get)  # type: ignore[arg-type]
    sqlite3.register_adapter(bool, int)
    event.listen(engine, "connect", _open_sqlite)
    event.listen(engine, "begin", begin)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction: commit at its end, and then leave no trace where that was asked for."""
    with engine.connect() as connection:
        try:
            with connection.begin():
                yield connection
            if connection.info.get(REWRITES):
                _rewrite(engine)
        finally:
            connection.info.pop(REWRITES, None)


def leave_no_trace(connection: Connection) -> None:
    """Once this transaction is committed, let nothing that it deleted stay in the files.

    SQLite: secure_delete is not enough, it leaves what moved from one page to another; VACUUM writes the
    file anew, and the log is emptied. PostgreSQL overwrites in its own time. Raises StateError when
    another process reads meanwhile. A mark in the file says that this is still to be done, also after a kill:
    `tend` makes up for it.
    """
    if connection.dialect.name == "sqlite" and not connection.info.get(REWRITES):
        connection.info[REWRITES] = True
        connection.exec_driver_sql(f"PRAGMA user_version = {TRACES}")


def tend(engine: Engine) -> bool:
    """Keep SQLite's statistics new and its log short; False when somebody reads the log just now.

    The log grows while anybody reads, and only an empty one shrinks. Where somebody was forgotten and traces
    are left, they go first. Raises StateError when they stay.
    """
    if engine.dialect.name != "sqlite":
        return True
    _sweep(engine, age=HALF_MADE)
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        (traces,) = cursor.execute("PRAGMA user_version").fetchone()
        if traces == TRACES:
            _rewrite(engine)
        cursor.execute("PRAGMA optimize")
        cursor.execute(f"PRAGMA busy_timeout={TENDING}")
        is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={PATIENCE}")
        cursor.close()
    finally:
        connection.close()
    return not is_busy


def copied(engine: Engine) -> sqlite3.Connection:
    """Copy an SQLite store as it is now. The copy's file has no name: it ends with the connection, or the process.

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
        _set_up(copy, COPY_PRAGMAS)
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


def _rewrite(engine: Engine) -> None:
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


def _open_sqlite(connection: Any, _record: Any) -> None:
    _set_up(connection, PRAGMAS)


def _set_up(connection: Any, pragmas: Iterable[str]) -> None:
    connection.isolation_level = None
    for pragma in (*pragmas, f"busy_timeout={PATIENCE}", "cache_size=-4000"):
        connection.execute(f"PRAGMA {pragma}")
    functions.register(connection)


def begin(connection: Connection) -> None:
    """Take the write lock at once, so that no transaction fails half-way for want of it."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
