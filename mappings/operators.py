"""Operators: what they take, what they give, and their SQL.

A comparison with the clock is turned around so that the column stands alone on its side and an index can
serve it: `days_since(last_order_at) > 90` is `last_order_at <= days_ago(91)`, always.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.sql.elements import ColumnElement

from mappings.catalogue import PROFILES
from mappings.clock import Bound
from mappings.errors import did_you_mean
from mappings.portable import TYPES, Portable
from mappings.terms import (
    AMOUNTS,
    Overall,
    Scale,
    Term,
    Wrong,
    bound_term,
    is_day,
    meet,
    moment_of,
    needs_of,
    number_term,
)
from state.functions import lower
from state.tables import FigureRow, Kind, MembershipRow, table

FIGURES, MEMBERSHIPS = table(FigureRow), table(MembershipRow)

Comparing = Callable[[Any, Any], ColumnElement[bool]]

COMPARISONS: Mapping[str, Comparing] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "<>": operator.ne,
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}
EQUALITIES = {"=", "<>"}
PERMILLE, FIFTHS = 1000, 5
ORDERED = {Kind.NUMBER, Kind.MONEY, Kind.MOMENT, Kind.DATE, Kind.TEXT}

FOLDED: Mapping[str, Callable[[Decimal, Decimal], Decimal]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
}
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "modulo": "%"}

PRODUCTS = {  # (operator, left, right): what it gives; the rest is refused
    ("multiply", Kind.NUMBER, Kind.NUMBER): Kind.NUMBER,
    ("multiply", Kind.MONEY, Kind.NUMBER): Kind.MONEY,
    ("multiply", Kind.NUMBER, Kind.MONEY): Kind.MONEY,
    ("divide", Kind.NUMBER, Kind.NUMBER): Kind.NUMBER,
    ("divide", Kind.MONEY, Kind.NUMBER): Kind.MONEY,
    ("divide", Kind.MONEY, Kind.MONEY): Kind.NUMBER,
}


# --- arithmetic ----------------------------------------------------------------------------------------


def arithmetic(name: str, left: Term, right: Term, scale: Scale) -> Term:
    """Add, subtract, multiply, divide (never cut to whole numbers) or take the rest.

    A division by zero gives null. Literals are worked out here, in decimals.
    """
    if left.number is not None and right.number is not None and name in FOLDED:
        return number_term(FOLDED[name](left.number, right.number))
    if name in {"multiply", "divide"}:
        kind = PRODUCTS.get((name, left.kind, right.kind))  # type: ignore[arg-type]  # no key has None
        sides: Sequence[Term] = (left, right)
    else:
        kind, sides = meet((left, right), scale, SIGNS[name])
    if kind not in AMOUNTS:
        raise Wrong(f"cannot compute {left.said} {SIGNS[name]} {right.said}", _instead_of(left, right))
    sql = Portable(name, sides[0].sql, sides[1].sql, kind=kind)
    return Term(kind, sql, needs_of(sides))


def _instead_of(left: Term, right: Term) -> str | None:
    if Kind.MOMENT in {left.kind, right.kind}:
        return "days are counted by days_since(…), and go back by days_ago(…)"
    if Kind.TEXT in {left.kind, right.kind}:
        return "texts are joined by ||"
    return None


def negative(term: Term) -> Term:
    if term.number is not None:
        return number_term(-term.number)
    if term.kind not in AMOUNTS:
        raise Wrong(f"cannot negate {term.said}")
    return Term(term.kind, Portable("negate", term.sql, kind=term.kind), term.needs)


def joined(left: Term, right: Term) -> Term:
    """Join two texts; unknown when one of them is."""
    for term in (left, right):
        if term.kind is not Kind.TEXT:
            raise Wrong(f"|| joins texts, not {term.said}")
    return Term(Kind.TEXT, Portable("join", left.sql, right.sql, kind=Kind.TEXT), needs_of((left, right)))


# --- logic ---------------------------------------------------------------------------------------------


def truth(term: Term, where: str) -> Term:
    """Return `term` if it is true or false. Raises Wrong for anything else."""
    if term.kind is not Kind.BOOLEAN:
        raise Wrong(f"{where} needs something true or false, not {term.said}", _question(term))
    return term


def _question(term: Term) -> str | None:
    if term.string is not None or term.number is not None:
        return f"write `COLUMN in ({term.text}, …)` for one of several"
    questions = {Kind.NUMBER: "> 0", Kind.MONEY: "> 0"} | dict.fromkeys(
        (Kind.TEXT, Kind.MOMENT, Kind.DATE), "is not null"
    )
    return f"did you mean `{term.text} {questions[term.kind]}`?" if term.kind in questions else None


def all_of(terms: Sequence[Term]) -> Term:
    return Term(Kind.BOOLEAN, and_(*(truth(term, "and").sql for term in terms)), needs_of(terms))


def any_of(terms: Sequence[Term]) -> Term:
    return Term(Kind.BOOLEAN, or_(*(truth(term, "or").sql for term in terms)), needs_of(terms))


def negation(term: Term) -> Term:
    return Term(Kind.BOOLEAN, Portable("not", truth(term, "not").sql, kind=Kind.BOOLEAN), term.needs)


def is_null(term: Term) -> Term:
    return Term(Kind.BOOLEAN, term.sql.is_(null()), term.needs)


def is_truth(term: Term, *, wanted: bool) -> Term:
    """Ask `is true` or `is false`: the two questions that an unknown answers with no."""
    name = "is true" if wanted else "is false"
    return Term(Kind.BOOLEAN, Portable(name, truth(term, "is").sql, kind=Kind.BOOLEAN), term.needs)


def stays(name: str, enters: Term, leaves: Term) -> Term:
    """Let whoever the ESP has in list `name` stay there until `leaves` is true."""
    return any_of((enters, all_of((membership(name), negation(leaves)))))


def membership(name: str) -> Term:
    """Ask whether the profile is in a list."""
    inside = exists().where(
        MEMBERSHIPS.c.sync == bindparam("sync"),
        MEMBERSHIPS.c.profile == PROFILES.c.id,
        MEMBERSHIPS.c.list == literal(name, TYPES[Kind.TEXT]),
        MEMBERSHIPS.c.inside.is_(true()),
    )
    return Term(Kind.BOOLEAN, inside.correlate(PROFILES))


def choice(whens: Sequence[tuple[Term, Term]], otherwise: Term, scale: Scale) -> Term:
    """Take the result of the first condition that is true, else the last."""
    kind, results = meet([*(result for _, result in whens), otherwise], scale, "choose between")
    conditions = [truth(condition, "when") for condition, _ in whens]
    pairs = [(condition.sql, result.sql) for condition, result in zip(conditions, results, strict=False)]
    sql, needs = case(*pairs, else_=results[-1].sql), needs_of([*conditions, *results])
    return Term(kind, sql, needs, words=_words(results) if kind is Kind.TEXT else None)


def _words(results: Sequence[Term]) -> frozenset[str] | None:
    """Gather what a choice can be; None where any of it is known in the database only."""
    found: set[str] = set()
    for result in results:
        known = {result.string} if result.string is not None else result.words
        if result.kind is not None and known is None:
            return None
        found.update(known or ())
    return frozenset(found) or None


# --- comparison ----------------------------------------------------------------------------------------


def compare(sign: str, left: Term, right: Term, scale: Scale) -> Term:
    """Compare two terms of one kind; unknown when one of them is."""
    if left.kind is None or right.kind is None:
        raise Wrong("a comparison with null is never true", "write `is null` or `is not null`")
    if left.number is not None and right.number is None:
        sign, left, right = MIRRORED[sign], right, left
    if right.number is not None and left.age is not None:
        return _compare_age(sign, left.age, right.number)
    if right.number is not None and left.share is not None and sign not in EQUALITIES:
        return _compare_share(sign, left, right.number)
    if right.number is not None and left.fifth is not None:
        return _compare_fifth(sign, left, right.number)
    return _compare(sign, left, right, scale)


def _compare(sign: str, left: Term, right: Term, scale: Scale) -> Term:
    kind, sides = meet((left, right), scale, "compare")
    if sign not in EQUALITIES and kind not in ORDERED:
        raise Wrong(f"{left.said} has no order", "compare it by = or <>")
    if kind is Kind.MOMENT and is_day(right):
        return _compare_day(sign, sides[0], right)
    if kind is Kind.MOMENT and is_day(left):
        return _compare_day(MIRRORED[sign], sides[1], left)
    if kind is Kind.MOMENT:
        return compare_moments(sign, sides[0], sides[1])
    if kind is Kind.TEXT and sign in EQUALITIES:
        check_words(left, right)
        check_words(right, left)
    operands = [side.sql for side in sides]
    if kind is Kind.TEXT and sign not in EQUALITIES:
        operands = [Portable("bytewise", sql, kind=Kind.TEXT) for sql in operands]
    if kind in AMOUNTS:
        operands = _settled(operands)
    return Term(Kind.BOOLEAN, COMPARISONS[sign](*operands), needs_of(sides))


def check_words(term: Term, word: Term) -> None:
    """Refuse to look for a word that a text never is: nobody would ever be found. Raises Wrong."""
    if term.words and word.string is not None and word.string not in term.words:
        instead = did_you_mean(word.string, term.words) or f"it is {' or '.join(sorted(term.words))}"
        raise Wrong(f"`{term.text}` is never '{word.string}'", instead)


def _settled(operands: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    """Round what was computed: 1.1 times 30.00 is to be 33.00 and no more, which a double cannot hold.

    A column and a number that is written out are whole as they are.
    """
    if all(isinstance(sql, Column | BindParameter) for sql in operands):
        return list(operands)
    return [
        sql if isinstance(sql, Column) else Portable("settled", sql, kind=Kind.NUMBER) for sql in operands
    ]


def compare_moments(sign: str, left: Term, right: Term) -> Term:
    """Compare moments, and note by which columns the passing of time can change the answer."""
    needs = needs_of((left, right))
    sides = ((left, right.bound), (right, left.bound))
    for term, bound in sides:
        if bound and not term.needs.bounds:
            moving = {(name, bound) for name in term.needs.moments}
            needs = replace(needs, moving=needs.moving | moving, clocked=False)
    return Term(Kind.BOOLEAN, COMPARISONS[sign](left.sql, right.sql), needs)


def _compare_day(sign: str, moment: Term, day: Term) -> Term:
    """Compare a moment with a whole day: with its beginning, with the next day's, or with both."""

    def at(comparison: str, days: int = 0) -> Term:
        return compare_moments(comparison, moment, moment_of(day, days))

    match sign:
        case "=":
            return all_of((at(">="), at("<", 1)))
        case "<>":
            return any_of((at("<"), at(">=", 1)))
        case "<=":
            return at("<", 1)
        case ">":
            return at(">=", 1)
    return at(sign)


def _compare_age(sign: str, age: tuple[str, Term], number: Decimal) -> Term:
    """Compare whole days (or hours) since a moment with a number: a comparison of the moment itself.

    age >= n is moment <= ago(n); for a whole age every other comparison follows from that one.
    """
    unit, moment = age
    reached = int(number.to_integral_value(ROUND_CEILING))
    passed = int(number.to_integral_value(ROUND_FLOOR)) + 1

    def at(comparison: str, units: int) -> Term:
        return compare_moments(comparison, moment, bound_term(Bound(unit, units)))

    if sign == "=":
        return all_of((at("<=", reached), at(">", passed)))
    if sign == "<>":
        return any_of((at(">", reached), at("<=", passed)))
    comparison, units = {
        ">=": ("<=", reached),
        ">": ("<=", passed),
        "<": (">", reached),
        "<=": (">", passed),
    }[sign]
    return at(comparison, units)


def _compare_share(sign: str, left: Term, percent: Decimal) -> Term:
    """Compare a top share with a percentage: the value itself with the last one inside that share.

    The subqueries do not depend on the row, so that a database runs them once. Without figures, and for
    a value that is not known, the answer is unknown.
    """
    assert left.share  # noqa: S101 - the caller has looked
    figure, value = left.share
    permille = percent * 10
    if not 0 <= percent <= PERMILLE / 10:
        raise Wrong(f"`{left.text}` goes from 0.1 to 100", "write `<= 10` for the best tenth")
    inside = sign in {"<", "<="}
    inclusive = sign in {"<=", ">"}
    border = literal(float(permille))
    ranks = FIGURES.c.rank <= border if inclusive else FIGURES.c.rank < border
    last = select(func.min(FIGURES.c.value)).where(*figure_rows(figure.key), ranks).scalar_subquery()
    reaches = Portable("double", value.sql, kind=Kind.NUMBER) >= last
    everybody = permille > PERMILLE or (inclusive and permille == PERMILLE)
    within = true() if everybody else func.coalesce(reaches, false())
    known = and_(value.sql.is_not(null()), figure_exists(figure.key))
    return Term(Kind.BOOLEAN, case((known, within if inside else not_(within)), else_=null()), left.needs)


def _compare_fifth(sign: str, left: Term, number: Decimal) -> Term:
    """Compare a fifth with a number: the value itself with the last one inside that fifth.

    score >= n is value >= border; for a whole score every other comparison follows from that one.
    """
    assert left.fifth  # noqa: S101 - the caller has looked
    figure, value = left.fifth
    if not any(COMPARISONS[sign](fifth, number) for fifth in range(1, FIFTHS + 1)):
        raise Wrong(f"`{left.text}` is 1, 2, 3, 4 or 5", "5 is the fifth with the largest")
    reached = reaches_fifth(figure, int(number.to_integral_value(ROUND_CEILING)))
    passed = reaches_fifth(figure, int(number.to_integral_value(ROUND_FLOOR)) + 1)
    answer = {
        ">=": reached,
        ">": passed,
        "<": not_(reached),
        "<=": not_(passed),
        "=": and_(reached, not_(passed)),
        "<>": or_(not_(reached), passed),
    }[sign]
    known = and_(value.sql.is_not(null()), figure_exists(figure.key))
    return Term(Kind.BOOLEAN, case((known, answer), else_=null()), left.needs)


def reaches_fifth(figure: Overall, fifth: int) -> ColumnElement[bool]:
    """Ask whether the value that a figure is about is in this fifth or in a better one.

    The border is the smallest value within these fifths; it does not depend on the row.
    """
    if not 1 < fifth <= FIFTHS:
        return true() if fifth <= 1 else false()
    inside = FIGURES.c.rank <= literal_column(str(FIFTHS + 1 - fifth))
    border = select(func.min(FIGURES.c.value)).where(*figure_rows(figure.key), inside).scalar_subquery()
    return func.coalesce(Portable("double", figure.value.sql, kind=Kind.NUMBER) >= border, false())


def figure_rows(key: str) -> tuple[ColumnElement[bool], ...]:
    """Select the rows of one figure of the sync that is bound."""
    return (FIGURES.c.sync == bindparam("sync"), FIGURES.c.key == key)


def figure_exists(key: str) -> ColumnElement[bool]:
    return exists().where(*figure_rows(key))


def between(term: Term, low: Term, high: Term, scale: Scale) -> Term:
    """Ask for low <= term <= high; both are compared on their own, so that each may be a moving bound."""
    if _is_more(low, high):
        raise Wrong(f"nothing lies between {low.text} and {high.text}", "write the lesser one first")
    return all_of((compare(">=", term, low, scale), compare("<=", term, high, scale)))


def _is_more(one: Term, other: Term) -> bool:
    """Tell whether the first of two is the larger, whatever the profile: numbers, days, so many days ago."""
    if one.number is not None and other.number is not None:
        return one.number > other.number
    if is_day(one) and is_day(other):
        return str(one.string) > str(other.string)
    if one.bound and other.bound and one.bound.moves and one.bound.unit == other.bound.unit:
        return int(one.bound.amount) < int(other.bound.amount)
    return False


def one_of(term: Term, options: Sequence[Term], scale: Scale) -> Term:
    """Ask whether a term equals one of several; unknown when it is not known."""
    kinds = {option.kind for option in options}
    if term.age is not None or Kind.MOMENT in {term.kind, *kinds} or None in kinds:
        return any_of([compare("=", term, option, scale) for option in options])
    kind, sides = meet((term, *options), scale, "compare")
    for option in options:
        check_words(term, option)
    sought, *known = (side.sql for side in sides)
    if kind in AMOUNTS:
        sought, *known = _settled([sought, *known])
    return Term(Kind.BOOLEAN, sought.in_(known), needs_of(sides))


# --- patterns ------------------------------------------------------------------------------------------

GLOB = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}


def like(term: Term, pattern: Term, *, any_case: bool) -> Term:
    """Match a text with a pattern: % is any text, _ any character, a backslash takes the next as it is.

    SQLite's own LIKE ignores the case of ASCII letters and PostgreSQL's does not; GLOB does not either.
    """
    if term.kind is not Kind.TEXT:
        raise Wrong(f"like needs a text, not {term.said}")
    if pattern.string is None:
        raise Wrong(f"like needs a pattern that is written out, not {pattern.said}", "write 'Pa%'")
    name = "ilike" if any_case else "like"
    glob = _glob(lower(pattern.string) if any_case else pattern.string)
    patterns = [literal(text, TYPES[Kind.TEXT]) for text in (pattern.string, glob)]
    return Term(Kind.BOOLEAN, Portable(name, term.sql, *patterns, kind=Kind.BOOLEAN), term.needs)


def _glob(pattern: str) -> str:
    """Rewrite a LIKE pattern for SQLite's GLOB."""
    written, taken = [], False
    for character in pattern:
        if character == "\\" and not taken:
            taken = True
            continue
        plain = GLOB.get(character, character) if character not in "%_" else character
        written.append(plain if taken else GLOB.get(character, character))
        taken = False
    if taken:
        raise Wrong("a pattern cannot end in a single backslash", "write it twice")
    return "".join(written)
