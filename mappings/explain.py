"""One rule, taken apart for `explain`: what each part of it says of a profile, and from which values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import type_coerce
from sqlglot import Token, TokenType

from connectors.base import Value
from mappings.catalogue import PROFILES
from mappings.clock import Clock
from mappings.expressions import CLOSING, OPENING, Translator, tokens_of
from mappings.portable import TYPES
from mappings.terms import Scale, Term
from mappings.values import Reader, shown
from state.tables import Kind


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a rule as the owner wrote it, and what it comes to; `columns` are the values it looks at."""

    text: str
    value: Value
    columns: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Explained:
    """A field ("fields") or list ("lists") of one profile.

    `joined` says how the parts make the whole ("and", "or"); a single part needs no joining. `changes_at` is when
    time alone changes it next, as far as that can be told.
    """

    kind: str
    name: str
    expression: str
    value: Value
    joined: str | None
    parts: Sequence[Part]
    changes_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rule:
    """What to select for one field or list. `alias` leads the labels of its columns."""

    alias: str
    kind: str
    name: str
    expression: str
    term: Term
    reader: Reader

    def parts(self, scale: Scale) -> Sequence[tuple[str, Term]]:
        """Take the rule apart at its outermost `or`, else at its outermost `and`; none if it has neither."""
        joined, texts = split(self.expression)
        terms = ((text, Translator(text, scale).translate()) for text in texts if joined)
        return [(text, term) for text, term in terms if term] or [(self.expression, self.term)]

    def columns(self, scale: Scale) -> Sequence[Any]:
        """List the whole, each part, and each stored column, under their labels."""
        parts = [_labelled(term, f"{self.alias}_{i}") for i, (_, term) in enumerate(self.parts(scale))]
        used = (PROFILES.c[name].label(f"{self.alias}_{name}") for name in sorted(self.term.needs.columns))
        return [_labelled(self.term, self.alias), *parts, *used]


def _labelled(term: Term, label: str) -> Any:
    return type_coerce(term.sql, TYPES[term.kind or Kind.TEXT]).label(label)


def split(expression: str) -> tuple[str | None, Sequence[str]]:
    """Cut an expression at `or`, else at `and`, outside of brackets, CASE and BETWEEN."""
    places: dict[TokenType, list[Token]] = {TokenType.OR: [], TokenType.AND: []}
    depth = ranges = 0
    for token in tokens_of(expression):
        depth += (token.token_type in OPENING) - (token.token_type in CLOSING)
        if depth == 0 and token.token_type is TokenType.BETWEEN:
            ranges += 1
        elif depth == 0 and token.token_type is TokenType.AND and ranges:
            ranges -= 1
        elif depth == 0 and token.token_type in places:
            places[token.token_type].append(token)
    for kind, word in ((TokenType.OR, "or"), (TokenType.AND, "and")):
        if cuts := places[kind]:
            starts = [0, *(cut.end + 1 for cut in cuts)]
            ends = [*(cut.start for cut in cuts), len(expression)]
            return word, [expression[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return None, [expression]


def explain(rule: Rule, row: Mapping[Any, Any], clock: Clock, scale: Scale) -> Explained:
    """Read what was selected for one rule."""
    digits = scale.digits
    values = {
        name: shown(PROFILES.c[name].info["kind"], row[f"{rule.alias}_{name}"], clock, digits)
        for name in sorted(rule.term.needs.columns)
    }
    parts = [
        Part(
            text,
            shown(term.kind or Kind.TEXT, row[f"{rule.alias}_{i}"], clock, digits),
            {name: values[name] for name in sorted(term.needs.columns)},
        )
        for i, (text, term) in enumerate(rule.parts(scale))
    ]
    whole = row[rule.alias]
    value = None if whole is None else rule.reader(whole, clock, digits)
    joined, _ = split(rule.expression)
    due = _changes_at(rule, row, clock)
    return Explained(rule.kind, rule.name, rule.expression, value, joined, parts, due)


def _changes_at(rule: Rule, row: Mapping[Any, Any], clock: Clock) -> datetime | None:
    """Find when the first of the rule's comparisons with the clock turns for this profile."""
    moments = ((row[f"{rule.alias}_{column}"], bound) for column, bound in rule.term.needs.moving)
    turns = (bound.reaches(moment, clock) for moment, bound in moments if moment is not None)
    return min((turn for turn in turns if turn), default=None)
