"""What a rule may call. A function is registered here or it does not exist.

Its annotations say what it takes; the first line of its docstring is what the docs and the schema say.
LANGUAGE counts the versions of what functions mean.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects import sqlite

from mappings.catalogue import PROFILES
from mappings.clock import NOW, Bound
from mappings.operators import (
    FIFTHS,
    FIGURES,
    arithmetic,
    choice,
    compare,
    figure_exists,
    figure_rows,
    reaches_fifth,
)
from mappings.portable import TYPES, Portable
from mappings.signatures import (
    FUNCTIONS,
    Amount,
    Anything,
    Day,
    Function,
    Moment,
    Number,
    Rankable,
    Text,
    function,
)
from mappings.terms import (
    NULL,
    Needs,
    Overall,
    Scale,
    Term,
    Wrong,
    bound_term,
    clock_parameters,
    meet,
    needs_of,
    number_term,
    text_term,
)
from state import ledger
from state.tables import Kind

__all__ = ["FUNCTIONS", "LANGUAGE", "function_table"]

LANGUAGE = 3
"""Raise it when a function begins to give other results: every profile is then evaluated anew."""

DIGITS = 9
TODAY = Needs(bounds=frozenset({NOW}), clocked=True)


def function_table() -> str:
    """Write the functions as a table for `docs/mapping.md`."""
    rows = (
        f"| `{known.usage}` | {known.description} |" for known in sorted(FUNCTIONS.values(), key=_by_name)
    )
    return "\n".join(("| function | what it gives |", "| --- | --- |", *rows))


def _by_name(known: Function) -> str:
    return known.name


def _whole(term: Term, called: str) -> int:
    """Read a literal whole number. Raises Wrong for what is only known in the database."""
    if term.number is None or term.number != term.number.to_integral_value():
        raise Wrong(f"{called}() takes a whole number that is written out, not {term.said}")
    return int(term.number)


def _call(name: str, kind: Kind, *terms: Term) -> Term:
    return Term(kind, Portable(name, *(term.sql for term in terms), kind=kind), needs_of(terms))


# --- time ----------------------------------------------------------------------------------------------


@function
def now() -> Term:
    """Take the moment of the run."""
    return bound_term(NOW)


@function
def days_ago(days: Number) -> Term:
    """Go back that many days, to the same local time."""
    return bound_term(Bound("days", _whole(days, "days_ago")))


@function
def months_ago(months: Number) -> Term:
    """Go back that many months, to the same day and local time, or to that month's last day."""
    return bound_term(Bound("months", _whole(months, "months_ago")))


@function
def hours_ago(hours: Number) -> Term:
    """Go back exactly that many hours."""
    return bound_term(Bound("hours", _whole(hours, "hours_ago")))


@function
def days_since(moment: Moment) -> Term:
    """Count the whole days from a moment to now: `days_since(x) >= n` is `x <= days_ago(n)`."""
    moment_now, zone = clock_parameters()
    sql = Portable("days_between", moment.sql, moment_now, zone, kind=Kind.NUMBER)
    return Term(Kind.NUMBER, sql, _by_the_clock(moment), age=("days", moment))


@function
def hours_since(moment: Moment) -> Term:
    """Count the whole hours from a moment to now: `hours_since(x) >= n` is `x <= hours_ago(n)`."""
    moment_now, _ = clock_parameters()
    sql = Portable("hours_between", moment.sql, moment_now, kind=Kind.NUMBER)
    return Term(Kind.NUMBER, sql, _by_the_clock(moment), age=("hours", moment))


@function
def months_since(moment: Moment) -> Term:
    """Count the whole months from a moment to now: `months_since(x) >= n` is `x <= months_ago(n)`."""
    moment_now, zone = clock_parameters()
    sql = Portable("months_between", moment.sql, moment_now, zone, kind=Kind.NUMBER)
    return Term(Kind.NUMBER, sql, _by_the_clock(moment), age=("months", moment))


@function
def days_between(first: Moment, last: Moment) -> Term:
    """Count the whole days from one moment to another, by the clock on the wall, rounded down."""
    _, zone = clock_parameters()
    sql = Portable("days_between", first.sql, last.sql, zone, kind=Kind.NUMBER)
    return Term(Kind.NUMBER, sql, needs_of((first, last)))


@function
def today() -> Term:
    """Take the day of the run, in the sync's timezone."""
    moment_now, zone = clock_parameters()
    return Term(Kind.DATE, Portable("local_date", moment_now, zone, kind=Kind.DATE), TODAY)


@function
def date_of(moment: Moment) -> Term:
    """Take the day of a moment, in the sync's timezone."""
    _, zone = clock_parameters()
    return Term(Kind.DATE, Portable("local_date", moment.sql, zone, kind=Kind.DATE), moment.needs)


@function
def is_anniversary(day: Day) -> Term:
    """Tell whether today is the same day in a later year; 29 February counts as the 28th where there is none."""
    return _of_today("is_anniversary", Kind.BOOLEAN, day)


@function
def next_anniversary(day: Day) -> Term:
    """Find the next day that is the same in a later year, today included."""
    return _of_today("next_anniversary", Kind.DATE, day)


def _of_today(name: str, kind: Kind, day: Term) -> Term:
    date = date_of(day) if day.kind is Kind.MOMENT else day
    sql = Portable(name, date.sql, today().sql, kind=kind)
    return Term(kind, sql, date.needs | TODAY)


def _by_the_clock(term: Term) -> Needs:
    return replace(term.needs, bounds=term.needs.bounds | {NOW}, clocked=True)


# --- windows -------------------------------------------------------------------------------------------

ABSENT = Term(None, null())
"""Stands for an argument that was not given."""


@function
def orders_in(scale: Scale, days: Number = ABSENT, months: Number = ABSENT, hours: Number = ABSENT) -> Term:
    """Count the counted orders of the last so many days (or months, or hours): `orders_in(days => 90)`."""
    return _window("orders", Kind.NUMBER, scale, days=days, months=months, hours=hours)


@function
def spent_in(scale: Scale, days: Number = ABSENT, months: Number = ABSENT, hours: Number = ABSENT) -> Term:
    """Add up the counted orders of the last so many days (or months, or hours), net of refunds."""
    return _window("spent", Kind.MONEY, scale, days=days, months=months, hours=hours)


@function
def items_in(scale: Scale, days: Number = ABSENT, months: Number = ABSENT, hours: Number = ABSENT) -> Term:
    """Count the pieces in the counted orders of the last so many days (or months, or hours)."""
    return _window("items", Kind.NUMBER, scale, days=days, months=months, hours=hours)


@function
def basket_in(scale: Scale, days: Number = ABSENT, months: Number = ABSENT, hours: Number = ABSENT) -> Term:
    """Take the average basket of the last so many days (or months, or hours); unknown without orders."""
    spent = spent_in(scale, days, months, hours)
    digits = number_term(Decimal(scale.digits))
    return round_(scale, arithmetic("divide", spent, orders_in(scale, days, months, hours), scale), digits)


def _window(figure: str, kind: Kind, scale: Scale, **lengths: Term) -> Term:
    """Look at the orders since a moment that the clock decides; they leave the window as it moves."""
    given = [(unit, term) for unit, term in lengths.items() if term is not ABSENT]
    if len(given) != 1:
        raise Wrong("a window has one length", f"write {figure}_in(days => 90)")
    (unit, term), *_ = given
    bound = Bound(unit, _whole(term, f"{figure}_in"))
    if int(bound.amount) < 1:
        raise Wrong(f"a window of {bound.amount} {unit} is empty", f"write {figure}_in(days => 90)")
    if scale.scope is None:
        return Term(kind, cast(null(), TYPES[kind]), Needs(columns=frozenset({"orders_count"})))
    since = bound_term(bound)
    sql = ledger.window(scale.scope, figure, PROFILES.c.email, since.sql)
    columns = frozenset({"orders_count"})  # what `explain` shows beside it
    return Term(
        kind, sql, Needs(columns=columns, bounds=frozenset({bound}), windows=frozenset({bound}), size=10)
    )


# --- numbers -------------------------------------------------------------------------------------------


NO_DIGITS = number_term(Decimal(0))


@function
def round_(scale: Scale, amount: Amount, digits: Number = NO_DIGITS) -> Term:
    """Round to that many digits after the point, else to a whole number; halves go away from zero."""
    places = _whole(digits, "round")
    if abs(places) > DIGITS:
        raise Wrong(f"round() takes digits from -{DIGITS} to {DIGITS}")
    assert amount.kind  # noqa: S101 - checked by its annotation
    kept = places - scale.digits if amount.kind is Kind.MONEY else places
    sql = Portable("round", amount.sql, literal(kept), kind=amount.kind)
    return Term(amount.kind, sql, amount.needs)


@function
def floor(scale: Scale, amount: Amount) -> Term:
    """Round down to a whole number, or to a whole amount of money."""
    return _to_whole("floor", amount, scale)


@function
def ceil(scale: Scale, amount: Amount) -> Term:
    """Round up to a whole number, or to a whole amount of money."""
    return _to_whole("ceil", amount, scale)


def _to_whole(name: str, amount: Term, scale: Scale) -> Term:
    assert amount.kind  # noqa: S101 - checked by its annotation
    step = literal(scale.factor if amount.kind is Kind.MONEY else 1)
    return Term(amount.kind, Portable(name, amount.sql, step, kind=amount.kind), amount.needs)


@function
def abs_(amount: Amount) -> Term:
    """Drop the sign."""
    return _call("abs", amount.kind or Kind.NUMBER, amount)


# --- texts ---------------------------------------------------------------------------------------------


@function
def lower(text: Text) -> Term:
    """Write in lower-case letters."""
    return _call("lower", Kind.TEXT, text)


@function
def upper(text: Text) -> Term:
    """Write in upper-case letters."""
    return _call("upper", Kind.TEXT, text)


@function
def length(text: Text) -> Term:
    """Count the characters."""
    return _call("length", Kind.NUMBER, text)


@function
def concat(scale: Scale, *texts: Text) -> Term:
    """Join texts, leaving out those that are unknown."""
    empty = text_term("")
    return _call("join", Kind.TEXT, *(coalesce(scale, text, empty) for text in texts))


# --- unknowns and choices ------------------------------------------------------------------------------


@function
def coalesce(scale: Scale, *values: Anything) -> Term:
    """Take the first value that is known."""
    kind, terms = meet(values, scale, "choose between")
    if len(terms) == 1:
        return terms[0]
    needs, still = needs_of(terms), terms[-1].needs.absent
    needs = replace(needs, absent=still, replaced=needs.replaced | (needs.absent - still))
    return Term(kind, func.coalesce(*(term.sql for term in terms)), needs)


@function
def nullif(scale: Scale, value: Anything, other: Anything) -> Term:
    """Take the first value, but unknown if it equals the other."""
    return choice([(compare("=", value, other, scale), NULL)], value, scale)


@function
def least(scale: Scale, *values: Anything) -> Term:
    """Take the smallest value; unknown if one of them is unknown."""
    return _extreme("least", values, scale)


@function
def greatest(scale: Scale, *values: Anything) -> Term:
    """Take the largest value; unknown if one of them is unknown."""
    return _extreme("greatest", values, scale)


def _extreme(name: str, values: Sequence[Term], scale: Scale) -> Term:
    kind, terms = meet(values, scale, "compare")
    if kind in {None, Kind.BOOLEAN} or any(term.kind is None for term in terms):
        raise Wrong(f"{name}() takes numbers, moments or texts")
    assert kind  # noqa: S101 - has just been checked
    if len(terms) == 1:
        return terms[0]
    plain = [Portable("bytewise", t.sql, kind=kind) if kind is Kind.TEXT else t.sql for t in terms]
    return Term(kind, Portable(name, *plain, kind=kind), needs_of(terms))


# --- the whole base ------------------------------------------------------------------------------------


@function
def overall_avg(amount: Amount) -> Term:
    """Take the average over all profiles of which it is known."""
    return _overall("average", amount)


@function
def overall_median(amount: Amount) -> Term:
    """Take the median over all profiles of which it is known."""
    return _overall("median", amount)


def _overall(kind: str, amount: Term) -> Term:
    figure = _figure(kind, amount)
    value = select(FIGURES.c.value).where(*figure_rows(figure.key), FIGURES.c.rank == 0).scalar_subquery()
    sql = Portable("exact", value, kind=amount.kind or Kind.NUMBER)
    return Term(amount.kind, sql, Needs(figures=frozenset({figure})))


@function
def top_percent(amount: Amount) -> Term:
    """Tell in which top share of all profiles a value is, in percent, rounded up to tenths: `<= 10` is the best tenth, `< 0.1` nobody, and the best of 50 has 2."""
    figure = _figure("percentiles", amount)
    value = Portable("double", amount.sql, kind=Kind.NUMBER)
    below = select(FIGURES.c.rank).where(*figure_rows(figure.key), FIGURES.c.value <= value)
    rank = below.order_by(FIGURES.c.value.desc()).limit(literal_column("1")).scalar_subquery()
    # Whoever is below everybody that was counted is in the last share.
    last = case((figure_exists(figure.key), literal_column("1000")), else_=null())
    permille = case((amount.sql.is_not(null()), func.coalesce(rank, last)), else_=null())
    sql = Portable("divide", permille, literal(10), kind=Kind.NUMBER)
    needs = replace(amount.needs, figures=amount.needs.figures | {figure})
    return Term(Kind.NUMBER, sql, needs, share=(figure, amount))


@function
def quintile(value: Rankable) -> Term:
    """Tell in which fifth of all profiles a value is, 5 being the largest; equal values share the lower."""
    figure = _figure("fifths", _measure(value))
    best: list[tuple[ColumnElement[bool], Any]] = [
        (reaches_fifth(figure, fifth), literal_column(str(fifth))) for fifth in range(FIFTHS, 1, -1)
    ]
    unknown = or_(value.sql.is_(null()), not_(figure_exists(figure.key)))
    score = case((unknown, null()), *best, else_=literal_column("1"))
    needs = replace(value.needs, figures=value.needs.figures | {figure}, size=value.needs.size + FIFTHS - 1)
    return Term(Kind.NUMBER, type_coerce(score, TYPES[Kind.NUMBER]), needs, fifth=(figure, value))


def _measure(value: Term) -> Term:
    """Write a moment as a number that grows with it."""
    if value.kind is not Kind.MOMENT:
        return value
    return replace(value, kind=Kind.NUMBER, sql=Portable("instant", value.sql, kind=Kind.NUMBER))


def _figure(kind: str, amount: Term) -> Overall:
    """Name the figure by what it computes, so that two rules that want the same share it."""
    if amount.needs.figures:
        raise Wrong("a number over the whole base cannot be computed from another")
    if not amount.needs.named:
        raise Wrong(f"this needs a column, not {amount.said}")
    compiled = select(amount.sql).select_from(PROFILES).compile(dialect=sqlite.dialect())
    identity = repr((LANGUAGE, kind, str(compiled), sorted(compiled.params.items(), key=str)))
    return Overall(hashlib.sha256(identity.encode()).hexdigest()[:16], kind, amount)
