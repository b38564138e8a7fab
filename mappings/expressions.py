"""From an owner's text to a checked term. What is not on a list here cannot be written.

Every call arrives as a name and arguments, and the name is looked up in our own registry. Each kind of node that
a rule may hold stands in NODES with the parts it may have; everything else (subqueries, windows, casts,
placeholders) is refused with its place. The result is built from the nodes by SQLAlchemy; the text itself goes
nowhere.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy import cast, null
from sqlglot import exp

from mappings import operators
from mappings.catalogue import PROFILES, catalogue
from mappings.errors import did_you_mean
from mappings.functions import FUNCTIONS
from mappings.portable import TYPES
from mappings.syntax import CURLY, Cartwire, meant, parse
from mappings.terms import (
    NULL,
    Formula,
    Needs,
    Parameter,
    Scale,
    Term,
    Wrong,
    WrongElsewhere,
    boolean_term,
    number_term,
    text_term,
)

MAX_SIZE = 2_000
MAX_WRITTEN = 60
CHAINED, NESTED, MAX_WEIGHT = 3, 7, 84

GROUPED = re.compile(r"\d{1,3}\.000")
"""Half of Europe writes a thousand so."""

ELSEWHERE = {
    "current_date": "write today()",
    "current_timestamp": "write now()",
    "datediff": "write days_between(first, last), or days_since(moment)",
    "if": "write case when … then … else … end",
    "iif": "write case when … then … else … end",
    "isnull": "write `… is null`",
    "ifnull": "write coalesce(value, other)",
    "nvl": "write coalesce(value, other)",
    "year": "compare with days: between '2026-01-01' and '2026-12-31'",
}
"""Names that other dialects know, and what says the same here."""


class Translator:
    """Turns one expression into a term; gathers what is wrong instead of stopping at the first.

    `made` are the formulas that have been translated: each is once, however often its name is written.
    """

    def __init__(self, text: str, scale: Scale, made: "dict[str, Term | Wrong] | None" = None) -> None:
        self.text = text
        self.scale = scale
        self.made: dict[str, Term | Wrong] = {} if made is None else made
        self.problems: list[Wrong] = []

    def translate(self) -> Term | None:
        """Return the term, or None when `problems` says why there is none."""
        try:
            tree = parse(self.text)
            _check_depth(tree, self.scale)
        except Wrong as wrong:
            self.problems.append(wrong)
            return None
        return self.term(tree)

    def term(self, node: exp.Expr) -> Term | None:
        """Translate a node; None when it or a part of it was refused."""
        try:
            parts, make = _known(node)
            terms = [self.term(part) for part in self._children(node, parts)]
            if None in terms:
                return None
            made = make(self, node, [term for term in terms if term])
            return replace(_small(made), text=self._written(node))
        except Wrong as wrong:
            wrong.offset = _start(node) if wrong.offset is None else wrong.offset
            self.problems.append(wrong)
            return None

    def _children(self, node: exp.Expr, parts: Sequence[str]) -> Iterator[exp.Expr]:
        """Walk over the operands, a chain of `and` or `or` as one row however long."""
        if isinstance(node, exp.And | exp.Or):
            yield from node.flatten(unnest=False)
            return
        for part in parts:
            value = node.args.get(part)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, exp.If):
                    yield from (child.this, child.args["true"])
                elif isinstance(child, exp.Expr):
                    yield child

    def _written(self, node: exp.Expr) -> str:
        """Cut out how the owner wrote this part, for a message."""
        spans = [n.meta for n in node.walk() if "start" in n.meta]
        if not spans or isinstance(node, exp.Case):
            return "case … end" if spans else node.sql(dialect=Cartwire)
        start, end = min(span["start"] for span in spans), max(span["end"] for span in spans) + 1
        if isinstance(node, exp.Neg):
            start = max(self.text.rfind("-", 0, start), 0)
        if isinstance(node, exp.Anonymous) and "(" not in self.text[start:end]:
            end = self.text.find("(", end) + 1
        while self.text[start:end].count("(") > self.text[start:end].count(")") and end < len(self.text):
            end += 1
        written = " ".join(self.text[start:end].split())
        return written if len(written) <= MAX_WRITTEN else f"{written[:MAX_WRITTEN]}…"


def _start(node: exp.Expr) -> int:
    """Find where a node begins: operators have no place of their own, their first operand has."""
    own = node.meta.get("start")
    return (
        own
        if own is not None
        else min((n.meta["start"] for n in node.walk() if "start" in n.meta), default=0)
    )


def _small(term: Term) -> Term:
    """Refuse what SQL has to repeat so often that it explodes: `in` over ages, inside of one another."""
    if term.needs.size > MAX_SIZE:
        raise Wrong("too much in one expression", "split the rule into several lists")
    return term


def _check_depth(tree: exp.Expr, scale: Scale) -> None:
    """Refuse a tree that SQLite could not parse: its parser keeps 100 things in mind, and no more."""
    heights: dict[str, int] = {}
    for node, depth in _depths(tree):
        whole = depth + (
            _height(node.name.lower(), scale, heights, ()) if isinstance(node, exp.Column) else 0
        )
        if whole > MAX_WEIGHT:
            raise Wrong("nested too deeply", "split the rule", _start(node))


def _depths(tree: exp.Expr) -> Iterator[tuple[exp.Expr, int]]:
    """Walk over a tree level by level, however long its chains are; yield each node and how deep it is."""
    level: Sequence[tuple[exp.Expr, int]] = [(tree, 0)]
    while level:
        yield from level
        level = [
            (child, depth + _weight(node, child))
            for node, depth in level
            for child in node.iter_expressions()
        ]


def _height(name: str, scale: Scale, heights: dict[str, int], within: Sequence[str]) -> int:
    """Measure what stands behind a name: 0 for a column. Each formula is measured once, whoever uses it."""
    expression = expression_of(name, scale)
    if expression is None:
        return 0
    if name in within:
        raise Wrong(f"`{name}` contains itself", " -> ".join((*within, name)))
    if len(within) > MAX_WEIGHT // NESTED:
        raise Wrong("nested too deeply", "a formula of a formula of a formula … has to end somewhere")
    if name not in heights:
        heights[name] = NESTED + max(
            depth
            + (_height(n.name.lower(), scale, heights, (*within, name)) if isinstance(n, exp.Column) else 0)
            for n, depth in _depths(parse(expression))
        )
    return heights[name]


def expression_of(name: str, scale: Scale) -> str | None:
    """Return the expression that a name stands for: an owner's formula, or a column that is computed."""
    own, column = scale.names.get(name), catalogue().get(name)
    if isinstance(own, Formula):
        return own.expression
    return column.expression if column and own is None else None


def _weight(node: exp.Expr, child: exp.Expr) -> int:
    """Count what a step down costs SQLite's parser: little in a chain such as a + b + c, much elsewhere."""
    if isinstance(node, exp.Paren | exp.If) or (
        isinstance(node, exp.Connector) and type(child) is type(node)
    ):
        return 0
    return CHAINED if isinstance(node, exp.Binary) and child is node.this else NESTED


# --- nodes ---------------------------------------------------------------------------------------------

Make: TypeAlias = Callable[[Translator, Any, Sequence[Term]], Term]


def _literal(_: Translator, node: exp.Literal, __: Sequence[Term]) -> Term:
    if not node.is_string and GROUPED.fullmatch(node.this):
        whole = node.this.replace(".", "")
        raise Wrong(f"`{node.this}` may be {whole}", f"write {whole}, or {node.this.partition('.')[0]}")
    return text_term(node.this) if node.is_string else number_term(Decimal(node.this))


def _column(translator: Translator, node: exp.Column, _: Sequence[Term]) -> Term:
    written, scale = node.name, translator.scale
    column, own = catalogue().get(written.lower()), scale.names.get(written.lower())
    if node.this.args.get("quoted") or not (column or own):
        raise _unknown_column(written, scale, quoted=bool(node.this.args.get("quoted")))
    if isinstance(own, Parameter):
        return _parameter(written, own)
    if expression := expression_of(written.lower(), scale):
        return _formula(translator, written.lower(), expression)
    assert column  # noqa: S101 - a name that is none of the owner's is a column
    if column.provider:
        absent = Needs(absent=frozenset({column.name}))
        return Term(column.kind, cast(null(), TYPES[column.kind]), absent)
    needs = Needs(columns=frozenset({column.name}))
    return Term(column.kind, PROFILES.c[column.name], needs, words=frozenset(column.words) or None)


def _parameter(name: str, parameter: Parameter) -> Term:
    try:
        return parameter.term
    except Wrong as wrong:
        raise WrongElsewhere(f"`{name}` is wrong itself: {wrong.what}", wrong.instead) from wrong


def _formula(translator: Translator, name: str, expression: str) -> Term:
    """Put a formula in the place of its name. Raises WrongElsewhere for one that is wrong, found out once."""
    if name not in translator.made:
        inner = Translator(expression, translator.scale, translator.made)
        term = inner.translate()
        translator.made[name] = replace(term, number=None, string=None) if term else inner.problems[0]
    made = translator.made[name]
    if isinstance(made, Wrong):
        raise WrongElsewhere(f"`{name}` is wrong itself: {made.what}", made.instead)
    return made


LENGTHS = {"days": "days => 90", "weeks": "days => 21", "months": "months => 3", "hours": "hours => 48"}


def _unknown_column(name: str, scale: Scale, *, quoted: bool) -> Wrong:
    if quoted and name.lower() in {*catalogue(), *scale.names}:
        return Wrong(
            f'"{name}" stands in double quotes', f"write {name.lower()} for the column, '{name}' for a text"
        )
    if name.lower() in LENGTHS:
        return Wrong(f"`{name}` is the name of an argument", f"write `{LENGTHS[name.lower()]}`")
    if quoted:
        return Wrong(f'"{name}" in double quotes would be a column', f"write '{name}' for a text")
    if name.lower() in FUNCTIONS:
        return Wrong(f"`{name}` is a function", f"write {FUNCTIONS[name.lower()].usage}")
    if CURLY.search(name):
        return Wrong(f"`{name}` is not in quotation marks that are straight", "write 'FR' for a text")
    known = meant(name) or ELSEWHERE.get(name.lower()) or did_you_mean(name, [*catalogue(), *scale.names])
    listed = f"docs/mapping.md lists the columns; a text is written '{name}'"
    return Wrong(f"unknown column `{name}`", known or listed)


def _call(translator: Translator, node: exp.Anonymous, terms: Sequence[Term]) -> Term:
    name = str(node.this)
    known = FUNCTIONS.get(name.lower())
    if known is None:
        near = ELSEWHERE.get(name.lower()) or did_you_mean(name, FUNCTIONS)
        raise Wrong(f"unknown function `{name}`", near or "docs/mapping.md lists the functions")
    names = [each.this.name.lower() if isinstance(each, exp.Kwarg) else None for each in node.expressions]
    return known.call(terms, translator.scale, names)


def _comparison(sign: str) -> Make:
    return lambda translator, _, terms: operators.compare(sign, terms[0], terms[1], translator.scale)


def _arithmetic(name: str) -> Make:
    return lambda translator, _, terms: operators.arithmetic(name, terms[0], terms[1], translator.scale)


def _pattern(*, any_case: bool) -> Make:
    def make(_: Translator, node: exp.Expr, terms: Sequence[Term]) -> Term:
        matched = operators.like(terms[0], terms[1], any_case=any_case)
        return operators.negation(matched) if node.args.get("negate") else matched

    return make


def _is(_: Translator, node: exp.Is, terms: Sequence[Term]) -> Term:
    if isinstance(node.expression, exp.Null):
        return operators.is_null(terms[0])
    if isinstance(node.expression, exp.Boolean):
        return operators.is_truth(terms[0], wanted=node.expression.this)
    raise Wrong("`is` asks for null, true or false", "compare by =")


def _case(translator: Translator, node: exp.Case, terms: Sequence[Term]) -> Term:
    """Read both forms: `case x when 1 …` compares x with each."""
    subject, rest = (terms[0], list(terms[1:])) if node.this else (None, list(terms))
    otherwise = rest.pop() if node.args.get("default") else NULL
    whens = [(rest[i], rest[i + 1]) for i in range(0, len(rest), 2)]
    if subject:
        whens = [(operators.compare("=", subject, when, translator.scale), then) for when, then in whens]
    return operators.choice(whens, otherwise, translator.scale)


def _same(_: Translator, __: exp.Expr, terms: Sequence[Term]) -> Term:
    return terms[0]


BOTH = ("this", "expression")
NODES: Mapping[type[exp.Expr], tuple[Sequence[str], Make]] = {  # node: parts that are walked, what it makes
    exp.Literal: ((), _literal),
    exp.Boolean: ((), lambda _, node, __: boolean_term(node.this)),
    exp.Null: ((), lambda *_: NULL),
    exp.Column: ((), _column),
    exp.Anonymous: (("expressions",), _call),
    exp.Kwarg: (("expression",), _same),  # `days => 90`: the call takes the name off
    exp.Paren: (("this",), _same),
    exp.And: (BOTH, lambda _, __, terms: operators.all_of(terms)),
    exp.Or: (BOTH, lambda _, __, terms: operators.any_of(terms)),
    exp.Not: (("this",), lambda _, __, terms: operators.negation(terms[0])),
    exp.Neg: (("this",), lambda _, __, terms: operators.negative(terms[0])),
    exp.EQ: (BOTH, _comparison("=")),
    exp.NEQ: (BOTH, _comparison("<>")),
    exp.LT: (BOTH, _comparison("<")),
    exp.LTE: (BOTH, _comparison("<=")),
    exp.GT: (BOTH, _comparison(">")),
    exp.GTE: (BOTH, _comparison(">=")),
    exp.Add: (BOTH, _arithmetic("add")),
    exp.Sub: (BOTH, _arithmetic("subtract")),
    exp.Mul: (BOTH, _arithmetic("multiply")),
    exp.Div: (BOTH, _arithmetic("divide")),
    exp.Mod: (BOTH, _arithmetic("modulo")),
    exp.DPipe: (BOTH, lambda _, __, terms: operators.joined(terms[0], terms[1])),
    exp.Like: (BOTH, _pattern(any_case=False)),
    exp.ILike: (BOTH, _pattern(any_case=True)),
    exp.Is: (BOTH, _is),
    exp.In: (("this", "expressions"), lambda t, _, terms: operators.one_of(terms[0], terms[1:], t.scale)),
    exp.Between: (
        ("this", "low", "high"),
        lambda t, _, terms: operators.between(terms[0], terms[1], terms[2], t.scale),
    ),
    exp.Case: (("this", "ifs", "default"), _case),
}
PLAIN_PARTS = {"this", "is_string", "negate", "safe", "typed"}  # what a node may have beside what is walked

REFUSED_NODES: Mapping[type[exp.Expr], str] = {
    exp.Cast: "a rule has no casts; dates are written as texts: '2026-01-31'",
    exp.Alias: "a rule has no casts and no `as`: a field's `type:` says what it is kept as",
    exp.Subquery: "a rule has no subqueries",
    exp.Exists: "a rule has no subqueries",
    exp.Star: "name the columns",
    exp.Interval: "write days_ago(3), months_ago(3) or hours_ago(3)",
    exp.Tuple: "a list stands after `in` only",
    exp.Concat: "between two texts there is a comma, or ||",
    exp.Window: "a rule has no windows",
}


def _known(node: exp.Expr) -> tuple[Sequence[str], Make]:
    """Find what to do with a node. Raises Wrong for one that no rule may hold, or that has more parts."""
    found = NODES.get(type(node))
    if found is None:
        kind = type(node).__name__.lower()
        raise Wrong(f"a rule cannot hold this ({kind})", REFUSED_NODES.get(type(node)))
    extra = [name for name, value in node.args.items() if value and name not in PLAIN_PARTS | set(found[0])]
    if extra and isinstance(node, exp.In):
        raise Wrong("`in` takes a list", "write in ('FR', 'BE')")
    if extra or not isinstance(node.this, str | bool | exp.Expr | None):
        raise Wrong(f"a rule cannot hold this ({', '.join(extra)})")
    return found
