"""A term: a checked part of an expression, with its type, its SQL, and what it rests on.

Money is in minor units in SQL and in major units in what owners write: a number that meets money is scaled.
A NULL literal has no kind and goes with every other. Time is tracked as it flows upward, so that `compile`
knows when a value can change although no fact did.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import BindParameter, bindparam, false, literal, null, true
from sqlalchemy.sql.elements import ColumnElement

from mappings.catalogue import PROFILES
from mappings.clock import NOW, ZONE, Bound
from mappings.portable import MOMENT, TYPES, Portable, number_type
from state.scope import Scope
from state.tables import Kind

LARGEST = Decimal(10) ** 15
SMALLEST = Decimal(10) ** -9
MAX_LENGTH = 2_000
"""Characters of an expression, or of a text that is a parameter."""
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).replace(tzinfo=None)  # on any wall
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?")
COMPARED = re.compile(r"[<>]")
AMOUNTS = (Kind.NUMBER, Kind.MONEY)


class Wrong(Exception):
    """A part of an expression that cannot stand; `offset` is filled in where it is known."""

    def __init__(self, what: str, instead: str | None = None, offset: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.instead = instead
        self.offset = offset


class WrongElsewhere(Wrong):
    """What an expression names is wrong itself, and is told where it was written."""


@dataclass(frozen=True, slots=True)
class Overall:
    """A number over the whole base, `kind` of `value`. `key` names its rows in the table `figures`."""

    key: str
    kind: str  # average, median, percentiles
    value: "Term" = field(compare=False)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a value rests on.

    `moving` are comparisons of a column with the clock: the value changes when the bound passes the
    column's moment; `windows` begin at bounds, and orders leave them as the bound passes. `absent` are columns
    that nothing fills, `replaced` those of them for which `coalesce` puts another value. `clocked` says that it
    also changes in ways that nobody tracks. `size` counts the parts of the SQL, in which an operand can stand twice.
    """

    columns: frozenset[str] = frozenset()
    bounds: frozenset[Bound] = frozenset()
    moving: frozenset[tuple[str, Bound]] = frozenset()
    figures: frozenset[Overall] = frozenset()
    windows: frozenset[Bound] = frozenset()
    absent: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    clocked: bool = False
    size: int = 1

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.columns | other.columns,
            self.bounds | other.bounds,
            self.moving | other.moving,
            self.figures | other.figures,
            self.windows | other.windows,
            self.absent | other.absent,
            self.replaced | other.replaced,
            self.clocked or other.clocked,
            self.size + other.size,
        )

    @property
    def named(self) -> frozenset[str]:
        """All columns that the value speaks of, filled or not."""
        return self.columns | self.absent | self.replaced

    @property
    def moments(self) -> frozenset[str]:
        return frozenset(name for name in self.columns if PROFILES.c[name].info["kind"] is Kind.MOMENT)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of an expression. `kind` is None for NULL; `text` is how the owner wrote it.

    What a comparison can make use of is kept beside the SQL: the value of a literal (`number`, `string`),
    the bound of a moment that only the clock decides, the moment whose age in days or hours this is
    (`age`), the figure whose share or fifth this is and the value it is taken of (`share`, `fifth`), and the
    `words` that a text can be, where they are known.
    """

    kind: Kind | None
    sql: ColumnElement[Any]
    needs: Needs = Needs()
    text: str = ""
    number: Decimal | None = None
    string: str | None = None
    bound: Bound | None = None
    age: "tuple[str, Term] | None" = None
    share: "tuple[Overall, Term] | None" = None
    fifth: "tuple[Overall, Term] | None" = None
    words: frozenset[str] | None = None

    @property
    def said(self) -> str:
        """Say what this is, for a message: `last_order_at` (moment)."""
        return f"`{self.text}` ({self.kind})" if self.kind else "null"


def needs_of(terms: Iterable[Term]) -> Needs:
    total = Needs(size=1)
    for term in terms:
        total |= term.needs
    return total


# --- literals ------------------------------------------------------------------------------------------


def number_term(number: Decimal, kind: Kind = Kind.NUMBER) -> Term:
    """Make a number that is known now. Raises Wrong where databases would no longer agree about it."""
    if not number.is_finite() or abs(number) > LARGEST or 0 < abs(number) < SMALLEST:
        raise Wrong("this number is too large or too small", "numbers go from 0.000000001 to 10^15")
    sql: BindParameter[Any] = literal(int(number) if _whole(number) else number, number_type(number))
    return Term(kind, sql, number=number)


def text_term(text: str) -> Term:
    return Term(Kind.TEXT, literal(text, TYPES[Kind.TEXT]), string=text)


def boolean_term(value: bool) -> Term:  # noqa: FBT001 - the literal itself
    return Term(Kind.BOOLEAN, true() if value else false())


NULL = Term(None, null(), text="null")


def bound_term(bound: Bound) -> Term:
    """Make a moment that the clock decides, by a parameter that is bound when the clock is known."""
    needs = Needs(bounds=frozenset({bound}), clocked=bound.moves)
    return Term(Kind.MOMENT, bindparam(bound.name, type_=MOMENT), needs, bound=bound)


def clock_parameters() -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Make the parameters for now and for the zone."""
    return bindparam(NOW.name, type_=MOMENT), bindparam(ZONE, type_=TYPES[Kind.TEXT])


def _whole(number: Decimal) -> bool:
    return number == number.to_integral_value()


# --- the owner's own names -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that an owner sets once and uses in several rules."""

    value: Decimal | bool | str

    @property
    def term(self) -> Term:
        if isinstance(self.value, bool):
            return boolean_term(self.value)
        if not isinstance(self.value, str):
            return number_term(self.value)
        if len(self.value) > MAX_LENGTH or CONTROL.search(self.value):
            raise Wrong(f"no text of at most {MAX_LENGTH} characters that can be written")
        return text_term(self.value)


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression that has a name: it stands wherever the name is written."""

    expression: str


# --- meeting -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """What an expression is read against.

    `digits` stand after the point of the sync's currency. `scope` says whose orders count. `names` are the
    owner's own: a parameter stands for its value, a formula for its expression.
    """

    digits: int
    scope: Scope | None = None
    names: Mapping[str, "Parameter | Formula"] = field(default_factory=dict)

    @property
    def factor(self) -> int:
        return int(10**self.digits)

    def to_money(self, term: Term) -> Term:
        """Read a number as an amount of money: 100 is 100.00 EUR, 10000 minor units."""
        if term.number is not None:
            minor = term.number * self.factor
            sql: ColumnElement[Any] = literal(int(minor) if _whole(minor) else minor, number_type(minor))
            return replace(term, kind=Kind.MONEY, sql=sql, number=None)
        scaled = Portable("multiply", term.sql, literal(self.factor), kind=Kind.MONEY)
        return replace(term, kind=Kind.MONEY, sql=scaled, age=None, share=None, fifth=None)


def day_of(term: Term) -> Term:
    """Read a text literal as a day. Raises Wrong for one that is none."""
    try:
        day = date.fromisoformat(term.string or "") if DAY.fullmatch(term.string or "") else None
    except ValueError:  # the form of a date, but no such day
        day = None
    if day is None:
        raise Wrong(f"`{term.text}` is not a date", "write '2026-01-31'")
    return Term(Kind.DATE, literal(day, TYPES[Kind.DATE]), text=term.text)


def is_day(term: Term) -> bool:
    """Tell whether this is a day that is written out, without a time."""
    return DAY.fullmatch(term.string or "") is not None


def moment_of(term: Term, later: int = 0) -> Term:
    """Read a text literal as a local date or time, `later` days after it. Raises Wrong for one that is none."""
    if term.string is None:
        return term
    try:
        written = datetime.fromisoformat(term.string) if LOCAL_TIME.fullmatch(term.string) else None
    except ValueError:  # the form of a date, but no such day
        written = None
    if written is None:
        what = f"`{term.text}` is not a date"
        raise Wrong(what, "write '2026-01-31' or '2026-01-31 14:30' (local time)")
    moment = min(written, LAST - timedelta(later)) + timedelta(later)
    return replace(bound_term(Bound("date", moment.isoformat())), text=term.text)


def meet(terms: Sequence[Term], scale: Scale, what: str) -> tuple[Kind | None, Sequence[Term]]:
    """Bring terms to one kind: numbers become money beside money, date texts become moments beside moments.

    Raises Wrong, with the two sides that do not go together, when there is no such kind.
    """
    kinds = {term.kind for term in terms if term.kind}
    if kinds == set(AMOUNTS):
        terms = [scale.to_money(term) if term.kind is Kind.NUMBER else term for term in terms]
        return Kind.MONEY, terms
    if kinds == {Kind.TEXT, Kind.MOMENT} and all(t.string is not None for t in terms if t.kind is Kind.TEXT):
        return Kind.MOMENT, [moment_of(term) for term in terms]
    if kinds == {Kind.TEXT, Kind.DATE} and all(t.string is not None for t in terms if t.kind is Kind.TEXT):
        return Kind.DATE, [day_of(term) if term.kind is Kind.TEXT else term for term in terms]
    if len(kinds) > 1:
        first = next(term for term in terms if term.kind)
        other = next(term for term in terms if term.kind not in {None, first.kind})
        link = "and" if what.endswith("between") else "with"
        raise Wrong(f"cannot {what} {first.said} {link} {other.said}", _remedy(first, other))
    return next(iter(kinds), None), terms


def _remedy(first: Term, other: Term) -> str | None:
    """Say what would go together, where that can be guessed."""
    return next(_remedies(first, other), None)


def _remedies(first: Term, other: Term) -> Iterator[str]:
    for term, beside in ((first, other), (other, first)):
        if term.kind is Kind.BOOLEAN:
            yield from _beside_a_truth(term, beside)
        if term.kind is Kind.NUMBER and DAY.fullmatch(term.text):
            yield f"write '{term.text}' for a date"
        if term.string is not None and beside.kind in AMOUNTS:
            yield "write numbers without quotes"
        if term.kind is Kind.DATE and beside.kind is Kind.MOMENT:
            yield f"did you mean `date_of({beside.text})`?"
        if term.number is not None and beside.text in {"now()", "today()"}:
            yield f"did you mean `days_ago({term.text})`?"
        if term.kind in AMOUNTS and beside.kind is Kind.MOMENT:
            yield f"did you mean `days_since({beside.text})`?"
        if term.kind is Kind.NUMBER and beside.kind is Kind.TEXT and term.number is not None:
            yield f"write '{term.number:f}' for a text"


def _beside_a_truth(truth: Term, beside: Term) -> Iterator[str]:
    if "||" in truth.text:
        yield "|| joins texts; rules are joined by `or`"
    if beside.number is not None and COMPARED.search(truth.text):
        yield "compare one at a time: `x >= 10 and x <= 20`, or `x between 10 and 20`"
    if beside.string is not None or beside.number is not None:
        yield "write true or false"
