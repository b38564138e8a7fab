"""One rule, taken apart for `explain`: what each part of it says of a profile, and from which values.

Every part is asked of the database like the whole, so that what is shown is what the rule itself sees.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, type_coerce

from connectors.base import Value
from mappings.catalogue import catalogue
from mappings.clock import Bound, Clock
from mappings.expressions import Translator
from mappings.operators import membership
from mappings.parts import Node
from mappings.portable import TYPES
from mappings.terms import Needs, Scale, Term, Wrong
from mappings.values import Reader, shown
from state.functions import from_wall
from state.tables import Kind

AT_ONCE = 500
"""Values in one SELECT; SQLite gives 2,000, PostgreSQL 1,664."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a rule as the owner wrote it, and what it comes to; `joined` as in `Node`.

    `values` are what a part without parts looks at: columns, parameters and calls.
    """

    text: str
    value: Value
    joined: str | None = None
    parts: Sequence["Part"] = ()
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What can change a value although no fact does; `at` is None where nobody can tell when."""

    at: datetime | None
    by: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A field ("fields") or list ("lists") of one profile: its value, and the tree of its parts.

    `changes` come in order; facts can change everything at any time. `absent` are columns that nothing
    fills as yet, and what would fill them.
    """

    kind: str
    name: str
    expression: str
    value: Value
    rule: Part
    changes: Sequence[Change]
    absent: Mapping[str, str]

    @property
    def changes_at(self) -> datetime | None:
        return self.changes[0].at if self.changes else None


@dataclass(frozen=True, slots=True)
class Rule:
    """What is to be explained of one field or list."""

    kind: str
    name: str
    expression: str
    term: Term
    reader: Reader
    tree: Node


class Questions:
    """Everything that the database is asked about one profile: each text once, whoever uses it."""

    def __init__(self, rules: Sequence[Rule], scale: Scale) -> None:
        self.rules = rules
        self.scale = scale
        self.terms: dict[str, Term] = {}
        self._made: dict[str, Term | Wrong] = {}
        for rule in rules:
            self.terms[_whole(rule)] = rule.term
            for node in rule.tree.walk():
                self._ask(node)
            for column in sorted(rule.term.needs.columns):
                self._translate(column)

    @property
    def bounds(self) -> frozenset[Bound]:
        """Everything that the clock must answer."""
        return frozenset(bound for term in self.terms.values() for bound in term.needs.bounds)

    def columns(self) -> Iterator[Sequence[ColumnElement[Any]]]:
        """Yield what to select, in portions that a database takes. Their labels are q0, q1 and so on."""
        labelled = [
            type_coerce(term.sql, TYPES[term.kind or Kind.TEXT]).label(f"q{place}")
            for place, term in enumerate(self.terms.values())
            if term.bound is None
        ]
        for start in range(0, max(len(labelled), 1), AT_ONCE):
            yield labelled[start : start + AT_ONCE]

    def answers(self, rows: Iterable[Mapping[Any, Any]], clock: Clock) -> "Answers":
        """Read what was selected; what the clock alone decides was not asked."""
        found = {label: value for row in rows for label, value in row.items()}
        values = {
            text: term.bound.at(clock) if term.bound else found[f"q{place}"]
            for place, (text, term) in enumerate(self.terms.items())
        }
        return Answers(self.terms, values, clock, self.scale.digits)

    def _ask(self, node: Node) -> None:
        if node.member is not None:
            self.terms[node.text] = membership(node.member)
        elif node.joined not in BRANCHES:
            self._translate(node.text)
        for name in node.names:
            self._translate(name)

    def _translate(self, text: str) -> None:
        """Ask for an expression; what only we put together (a rule with its `until`) is none."""
        term = None if text in self.terms else Translator(text, self.scale, self._made).translate()
        if term is not None:
            self.terms[text] = term


BRANCHES = {"when", "else"}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the database said of one profile, by text."""

    terms: Mapping[str, Term]
    values: Mapping[str, Any]
    clock: Clock
    digits: int

    def shown(self, text: str) -> Value:
        return shown(self.terms[text].kind or Kind.TEXT, self.values[text], self.clock, self.digits)

    def part(self, node: Node) -> Part:
        parts = tuple(self.part(each) for each in node.parts)
        return Part(node.text, self._value(node, parts), node.joined, parts, self._looked_at(node))

    def _value(self, node: Node, parts: Sequence[Part]) -> Value:
        if node.joined in BRANCHES:
            return parts[-1].value
        if node.text in self.terms:
            return self.shown(node.text)
        return joined(node.joined, [part.value for part in parts])

    def _looked_at(self, node: Node) -> dict[str, Value]:
        """Return the values of a leaf as they are written, and the stored columns behind them."""
        if node.parts or node.text not in self.terms:
            return {}
        columns = sorted(self.terms[node.text].needs.columns - {node.text})
        names = [name for name in (*node.names, *columns) if name in self.terms]
        own = [node.text] if node.text in self.terms[node.text].needs.columns else []
        return {name: self.shown(name) for name in dict.fromkeys((*own, *names))}


def joined(word: str | None, values: Sequence[Value]) -> bool | None:
    """Join truths, of which some may be unknown, as SQL does."""
    decisive = word == "or"
    if any(value is decisive for value in values):
        return decisive
    return None if None in values else not decisive


def _whole(rule: Rule) -> str:
    """Name the value of a rule; no expression begins with such a bracket."""
    return f"[{rule.kind}] {rule.name}"


def explain(questions: Questions, answers: Answers, placed: Sequence[datetime]) -> Sequence[Explained]:
    """Lay out what was answered; `placed` are the moments of the profile's orders."""
    return [_explain(rule, answers, placed) for rule in questions.rules]


def _explain(rule: Rule, answers: Answers, placed: Sequence[datetime]) -> Explained:
    whole = answers.values[_whole(rule)]
    value = None if whole is None else rule.reader(whole, answers.clock, answers.digits)
    absent = {name: str(catalogue()[name].provider) for name in sorted(rule.term.needs.absent)}
    return Explained(
        rule.kind,
        rule.name,
        rule.expression,
        value,
        answers.part(rule.tree),
        sorted(_changes(rule.term.needs, answers, placed), key=_when),
        absent,
    )


# --- what changes a value although no fact does --------------------------------------------------------


def _when(change: Change) -> tuple[bool, datetime]:
    return (change.at is None, change.at or datetime.max.replace(tzinfo=UTC))


def _changes(needs: Needs, answers: Answers, placed: Sequence[datetime]) -> Iterator[Change]:
    clock = answers.clock
    for column, bound in needs.moving:
        moment = answers.values[column]
        turn = bound.reaches(moment, clock) if moment is not None else None
        if turn:
            yield Change(turn, f"{column} is {_said(bound)}")
    for bound in needs.windows:
        turns = (bound.reaches(moment, clock) for moment in placed)
        turn = min((each for each in turns if each), default=None)
        if turn:
            yield Change(turn, f"an order is {_said(bound)}")
    if needs.clocked:
        yield Change(_midnight(clock), "days are counted anew")
    if needs.figures:
        yield Change(None, "numbers over the whole base are worked out anew")


def _said(bound: Bound) -> str:
    amount = int(bound.amount)
    return f"{amount} {bound.unit} ago" if amount else "reached"


def _midnight(clock: Clock) -> datetime:
    day = clock.now.astimezone(clock.timezone).date() + timedelta(days=1)
    return from_wall(datetime.combine(day, time()), clock.timezone)
