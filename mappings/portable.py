"""SQL that means the same on SQLite and on PostgreSQL.

Each construct is a pair of templates; arguments are compiled, never pasted, and literals are parameters.
Numbers that are not whole are doubles in SQLite and NUMERIC in PostgreSQL, where INTEGER would overflow.
Where SQLite has no such function, `state.functions` gives it one.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Date, Dialect, Float, Numeric, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator, TypeEngine

from state.tables import Kind, ProfileRow, table

INT64 = 2**63

# PostgreSQL resolves a local time that is skipped or comes twice as `state.functions` does; the days that
# the wall clock shows between two moments can therefore be wrong by one only, which the CASE mends.
DAYS_BETWEEN = """(SELECT b.g + CASE
 WHEN b.m <= LEAST((b.nl - make_interval(days => b.g + 1)) AT TIME ZONE b.z, CASE WHEN b.g >= -1 THEN b.n END) THEN 1
 WHEN b.m <= LEAST((b.nl - make_interval(days => b.g)) AT TIME ZONE b.z, CASE WHEN b.g >= 0 THEN b.n END) THEN 0
 ELSE -1 END
 FROM (SELECT a.m, a.n, a.z, a.nl,
 CAST(floor(extract(epoch FROM a.nl - (a.m AT TIME ZONE a.z)) / 86400) AS INTEGER) AS g
 FROM (SELECT {0} AS m, {1} AS n, CAST({2} AS TEXT) AS z, ({1} AT TIME ZONE {2}) AS nl) AS a) AS b)"""

# LEAST and GREATEST of PostgreSQL pass over nulls; here one unknown makes the answer unknown (P12).
OF_ALL = "(SELECT CASE WHEN count(*) = count(v) THEN {}(v) END FROM unnest(ARRAY[{{all}}]) AS v)"

# A day k years on; make_interval takes 29 February to the 28th where the year has none, as we do.
YEARS_ON = "CAST({{0}} + make_interval(years => {}) AS DATE)"
YEARS = "CAST(extract(year FROM {1}) - extract(year FROM {0}) AS INTEGER)"
IS_ANNIVERSARY = f"({YEARS} > 0 AND {YEARS_ON.format(YEARS)} = {{1}})"
NEXT_ANNIVERSARY = (
    f"CASE WHEN {YEARS_ON.format(f'GREATEST({YEARS}, 1)')} >= {{1}} THEN {YEARS_ON.format(f'GREATEST({YEARS}, 1)')}"
    f" ELSE {YEARS_ON.format(f'{YEARS} + 1')} END"
)
MONTHS = (
    "CAST((extract(year FROM {1} AT TIME ZONE {2}) - extract(year FROM {0} AT TIME ZONE {2})) * 12"
    " + extract(month FROM {1} AT TIME ZONE {2}) - extract(month FROM {0} AT TIME ZONE {2}) AS INTEGER)"
)
MONTHS_BETWEEN = (
    f"({MONTHS} - CASE WHEN {{0}} <= (({{1}} AT TIME ZONE {{2}}) - make_interval(months => {MONTHS}))"
    " AT TIME ZONE {2} THEN 0 ELSE 1 END)"
)

TEMPLATES = {  # name: (SQLite, PostgreSQL)
    "not": ("(NOT ({0}))", "(NOT ({0}))"),  # SQLAlchemy leaves the brackets of `(NOT a) IS NULL` away
    "is true": ("(({0}) IS 1)", "(({0}) IS TRUE)"),
    "is false": ("(({0}) IS 0)", "(({0}) IS FALSE)"),
    "add": ("({0} + {1})", "(CAST({0} AS NUMERIC) + {1})"),
    "subtract": ("({0} - {1})", "(CAST({0} AS NUMERIC) - {1})"),
    "multiply": ("({0} * {1})", "(CAST({0} AS NUMERIC) * {1})"),
    "divide": ("(CAST({0} AS REAL) / {1})", "(CAST({0} AS NUMERIC) / NULLIF({1}, 0))"),
    "modulo": ("cartwire_mod({0}, {1})", "mod(CAST({0} AS NUMERIC), NULLIF(CAST({1} AS NUMERIC), 0))"),
    "negate": ("(- {0})", "(- CAST({0} AS NUMERIC))"),
    "round": ("cartwire_round({0}, {1})", "round(CAST({0} AS NUMERIC), {1})"),
    "floor": ("cartwire_floor({0}, {1})", "(floor(CAST({0} AS NUMERIC) / {1}) * {1})"),
    "ceil": ("cartwire_ceil({0}, {1})", "(ceil(CAST({0} AS NUMERIC) / {1}) * {1})"),
    "abs": ("abs(CAST({0} AS REAL))", "abs(CAST({0} AS NUMERIC))"),
    "exact": ("{0}", "CAST({0} AS NUMERIC)"),
    "settled": ("round({0}, 6)", "round(CAST({0} AS NUMERIC), 6)"),  # as many decimals as are pushed
    "unindexed": ("+{0}", "{0}"),  # SQLite: a plus before a column keeps its index out of the plan
    "double": ("CAST({0} AS REAL)", "CAST({0} AS DOUBLE PRECISION)"),
    "least": ("min({all})", OF_ALL.format("min")),
    "greatest": ("max({all})", OF_ALL.format("max")),
    "lower": ("cartwire_lower({0})", 'lower({0} COLLATE "default")'),
    "upper": ("cartwire_upper({0})", 'upper({0} COLLATE "default")'),
    "length": ("length({0})", "length({0})"),
    "join": ("({chain})", "({chain})"),
    "bytewise": ("{0}", '({0} COLLATE "C")'),
    "like": ("({0} GLOB {2})", "({0} LIKE {1})"),
    "ilike": ("(cartwire_lower({0}) GLOB {2})", '({0} COLLATE "default" ILIKE {1})'),
    "days_between": ("cartwire_days_between({0}, {1}, {2})", DAYS_BETWEEN),
    "months_between": ("cartwire_months_between({0}, {1}, {2})", MONTHS_BETWEEN),
    "local_date": ("cartwire_local_date({0}, {1})", "CAST(({0} AT TIME ZONE {1}) AS DATE)"),
    "is_anniversary": ("cartwire_is_anniversary({0}, {1})", IS_ANNIVERSARY),
    "next_anniversary": ("cartwire_next_anniversary({0}, {1})", NEXT_ANNIVERSARY),
    "instant": ("julianday({0})", "CAST(extract(epoch FROM {0}) AS DOUBLE PRECISION)"),
    "hours_between": (
        "cartwire_hours_between({0}, {1})",
        "CAST(floor(extract(epoch FROM {1} - {0}) / 3600) AS INTEGER)",
    ),
}


class Exact(TypeDecorator[Any]):
    """A number that may have decimals: REAL in SQLite, NUMERIC in PostgreSQL; comes back as it is stored."""

    impl = Float
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Numeric() if dialect.name == "postgresql" else Float())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return Decimal(value) if dialect.name == "postgresql" else float(value)


MOMENT = table(ProfileRow).c.signup_at.type
TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.TEXT: String(),
    Kind.NUMBER: Exact(),
    Kind.MONEY: Exact(),
    Kind.MOMENT: MOMENT,
    Kind.BOOLEAN: Boolean(),
    Kind.DATE: Date(),
}


def number_type(number: Decimal) -> TypeEngine[Any]:
    """Pick the type to bind a number with: whole ones stay exact on both databases."""
    whole = number == number.to_integral_value() and abs(number) < INT64
    return BigInteger() if whole else TYPES[Kind.NUMBER]


class Portable(FunctionElement[Any]):
    """A construct of TEMPLATES, applied to arguments."""

    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own way to say what tells two apart
        *FunctionElement._traverse_internals,  # noqa: SLF001 - as above
        ("name", InternalTraversal.dp_string),
        ("type", InternalTraversal.dp_type),
    ]

    def __init__(self, name: str, *arguments: Any, kind: Kind) -> None:
        self.name = name
        super().__init__(*arguments)
        self.type = TYPES[kind]


def of_sync(sync: Any) -> ColumnElement[bool]:
    """Ask for the profiles of a sync, not by its index: by it SQLite jumps from row to row of a large base."""
    its_sync: ColumnElement[Any] = Portable("unindexed", table(ProfileRow).c.sync, kind=Kind.TEXT)
    same: ColumnElement[bool] = its_sync == sync
    return same


def _fill(template: str, element: Portable, compiler: SQLCompiler, **options: Any) -> str:
    arguments = [compiler.process(argument, **options) for argument in element.clauses]
    return template.format(*arguments, all=", ".join(arguments), chain=" || ".join(arguments))


@compiles(Portable)
def _compile(element: Portable, compiler: SQLCompiler, **options: Any) -> str:
    return _fill(TEMPLATES[element.name][0], element, compiler, **options)


@compiles(Portable, "postgresql")
def _compile_postgresql(element: Portable, compiler: SQLCompiler, **options: Any) -> str:
    return _fill(TEMPLATES[element.name][1], element, compiler, **options)
