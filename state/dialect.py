"""The one place that knows two databases apart.

What they write differently stands here; how each is opened and kept in shape, in `sqlite` and `postgresql`.
"""

import importlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ARRAY,
    Compiled,
    Connection,
    Dialect,
    Engine,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    func,
    select,
    type_coerce,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine
from sqlmodel.sql.sqltypes import UTCDateTime

from state import sqlite
from state.errors import StateError

_encode = msgspec.json.Encoder().encode
Gathered = TypeVar("Gathered", dict[str, str], list[str])
Row = Mapping[str, Any]
Names = tuple[str, ...]

PARAMETERS = 500
"""How many values one IN list holds; both databases take many more."""
BLOCKS = (64, 16, 4)
"""Rows that one statement inserts; the widest table makes 4,500 values of them, SQLite takes 32,766."""


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
    keys = tuple(index or (column.name for column in table.primary_key))
    put = _upsert_rows if connection.dialect.name == "sqlite" else _upsert_columns
    put(connection, table, rows, keys, newer)


def _upsert_rows(
    connection: Connection, table: Table, rows: Sequence[Row], keys: Names, newer: str | None
) -> None:
    upsertion = _upsertion(connection.dialect, table, tuple(rows[0]), keys, newer)
    parameters = [upsertion.parameters(row) for row in rows]
    start = 0
    for size, text in upsertion.blocks:
        while len(parameters) - start >= size:
            together = tuple(chain.from_iterable(parameters[start : start + size]))
            connection.exec_driver_sql(text, together)
            start += size
    if start < len(parameters):
        connection.exec_driver_sql(upsertion.text, parameters[start:])


def _upsert_columns(
    connection: Connection, table: Table, rows: Sequence[Row], keys: Names, newer: str | None
) -> None:
    """Send each column as one array: a statement for any number of rows, which is compiled and planned once."""
    names = tuple(rows[0])
    statement = _array_upsertion(connection.dialect, table, names, keys, newer)
    for part in _without_repeats(rows, keys):
        connection.execute(statement, {name: [row[name] for row in part] for name in names})


def _without_repeats(rows: Sequence[Row], keys: Names) -> Iterator[Sequence[Row]]:
    """Cut rows so that no part has two with one key, which PostgreSQL refuses; in their order."""
    key_of = itemgetter(*keys)
    part: dict[Any, Row] = {}
    for row in rows:
        if (key := key_of(row)) in part:
            yield list(part.values())
            part = {}
        part[key] = row
    yield list(part.values())


def upsert_from(
    connection: Connection, table: Table, rows: Select[Any], parameters: Mapping[str, Any]
) -> None:
    """Insert the rows of a SELECT whose columns are labelled as the table's; update those that are there."""
    connection.execute(_upsertion_from(connection.dialect, table, rows), parameters)


@lru_cache(maxsize=32)
def _upsertion_from(dialect: Dialect, table: Table, rows: Select[Any]) -> Any:
    names = tuple(column.name for column in rows.selected_columns)
    keys = tuple(column.name for column in table.primary_key)
    return _on_conflict(_insert(dialect, table).from_select(names, rows), table, names, keys, None)


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

    `blocks` are the same for many rows at once, the most first.
    """

    text: str
    blocks: tuple[tuple[int, str], ...]
    take: Callable[[Row], tuple[Any, ...]]
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]

    def parameters(self, row: Row) -> tuple[Any, ...]:
        """Turn a row into what the driver takes."""
        values = list(self.take(row))
        for position, convert in self.converters:
            values[position] = convert(values[position])
        return tuple(values)


def _insert(dialect: Dialect, table: Table) -> Any:
    """Begin an INSERT that can upsert; the database that is not in use, with all its drivers, stays unloaded."""
    return importlib.import_module(f"sqlalchemy.dialects.{dialect.name}").insert(table)


@lru_cache(maxsize=128)
def _upsertion(dialect: Dialect, table: Table, names: Names, keys: Names, newer: str | None) -> _Upsertion:
    statement = _on_conflict(_insert(dialect, table), table, names, keys, newer)
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    order = tuple(compiled.positiontup or names)
    binders = ((position, _binder(table.c[name].type, dialect)) for position, name in enumerate(order))
    converters = tuple((position, binder) for position, binder in binders if binder)
    return _Upsertion(str(compiled), _blocks(compiled), itemgetter(*order), converters)


@lru_cache(maxsize=128)
def _array_upsertion(dialect: Dialect, table: Table, names: Names, keys: Names, newer: str | None) -> Any:
    arrays = (bindparam(name, type_=ARRAY(table.c[name].type)) for name in names)
    rows = select(func.unnest(*arrays).table_valued(*names).render_derived())
    return _on_conflict(_insert(dialect, table).from_select(names, rows), table, names, keys, newer)


def _on_conflict(insert: Any, table: Table, names: Names, keys: Names, newer: str | None) -> Any:
    changed = {name: insert.excluded[name] for name in names if name not in keys}
    guard: ColumnElement[bool] | None = insert.excluded[newer] >= table.c[newer] if newer else None
    return insert.on_conflict_do_update(index_elements=keys, set_=changed, where=guard)


def _blocks(compiled: Compiled) -> tuple[tuple[int, str], ...]:
    """Write a statement for many rows: between two rows SQLite's driver would give the CPU to other threads."""
    text, row = str(compiled), f"({', '.join('?' * len(compiled.params))})"
    return tuple((size, text.replace(row, ", ".join([row] * size), 1)) for size in BLOCKS)


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
    return among_listed(column, bindparam(name, type_=Text()))


class among_listed(FunctionElement[Any]):  # noqa: N801 - written where SQL writes a function
    """Whether a column is in a JSON list: among_listed(column, list). Of no type, which SQLite would ask for `= 1`."""

    inherit_cache = True


@compiles(among_listed, "sqlite")
def _listed_sqlite(element: among_listed, compiler: SQLCompiler, **settings: Any) -> str:
    column, values = (compiler.process(clause, **settings) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - the place of a parameter


@compiles(among_listed, "postgresql")
def _listed_postgresql(element: among_listed, compiler: SQLCompiler, **settings: Any) -> str:
    # An array is read once, and looked up by an index or a hash; a subquery would be joined row by row.
    column, values = (compiler.process(clause, **settings) for clause in element.clauses)
    kind = "BIGINT" if isinstance(next(iter(element.clauses)).type, Integer) else "TEXT"
    listed = f"ARRAY(SELECT jsonb_array_elements_text(CAST({values} AS JSONB)))"
    return f"({column} = ANY (CAST({listed} AS {kind}[])))"


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


class local_second(FunctionElement[int]):  # noqa: N801 - written where SQL writes a function
    """The second (0..86399) of the day that the clocks of a zone show: local_second(moment, zone)."""

    type = Integer()
    inherit_cache = True


@compiles(local_second, "sqlite")
def _local_second_sqlite(element: local_second, compiler: SQLCompiler, **settings: Any) -> str:
    return f"cartwire_local_second({compiler.process(element.clauses, **settings)})"


@compiles(local_second, "postgresql")
def _local_second_postgresql(element: local_second, compiler: SQLCompiler, **settings: Any) -> str:
    moment, zone = (compiler.process(clause, **settings) for clause in element.clauses)
    return f"CAST(floor(extract(epoch FROM CAST({moment} AT TIME ZONE {zone} AS TIME))) AS INTEGER)"


def prepare(engine: Engine) -> None:
    """Let a database keep what state stores promise: one writer at a time, and nothing lost."""
    _module(engine).prepare(engine)


def server_error(engine: Engine, name: str, error: DatabaseError) -> StateError | None:
    """Say what went wrong with a state store on a server; None for one that is a file."""
    return None if engine.dialect.name == "sqlite" else _module(engine).told(engine, name, error)


def sort_by_letters(connection: Connection) -> None:
    """Let texts be sorted by their letters' numbers, whatever language a server speaks; SQLite does."""
    if connection.dialect.name != "sqlite":
        _module(connection.engine).sort_by_letters(connection)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction: commit at its end, and then leave no trace where that was asked for."""
    with engine.connect() as connection:
        try:
            with connection.begin():
                yield connection
            if connection.info.get(sqlite.REWRITES):
                sqlite.rewrite(engine)
        finally:
            if not connection.invalidated:  # else it would be opened anew for this
                connection.info.pop(sqlite.REWRITES, None)


def leave_no_trace(connection: Connection) -> None:
    """Once this transaction is committed, let nothing that it deleted stay in the files.

    PostgreSQL overwrites in its own time; SQLite does as `sqlite.leave_no_trace` says.
    """
    if connection.dialect.name == "sqlite":
        sqlite.leave_no_trace(connection)


def tend(engine: Engine) -> bool:
    """Do what keeps a database in shape; see `sqlite.tend`. PostgreSQL does it by itself."""
    return engine.dialect.name != "sqlite" or sqlite.tend(engine)


def copied(engine: Engine) -> sqlite3.Connection:
    """Copy a state store as it is now into an SQLite file without a name: it ends with the connection.

    Writers go on meanwhile. Raises sqlite3.Error and OSError where there is no room.
    """
    return _module(engine).copied(engine)  # type: ignore[no-any-return]


def _module(engine: Engine) -> Any:
    return importlib.import_module(f"state.{engine.dialect.name}")
