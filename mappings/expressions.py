"""From an owner's text to a checked term. What is not on a list here cannot be written.

The text is parsed by sqlglot, with a dialect that knows no function: every call arrives as a name and
arguments, and the name is looked up in our own registry. Each kind of node that a rule may hold stands in
NODES with the parts it may have; everything else (subqueries, windows, casts, placeholders) is refused with its
place. The result is built from the nodes by SQLAlchemy; the text itself goes nowhere.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy import cast, null
from sqlglot import Token, TokenType, exp, parser
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError

from mappings import operators
from mappings.catalogue import PROFILES, catalogue
from mappings.errors import did_you_mean
from mappings.functions import FUNCTIONS
from mappings.portable import TYPES
from mappings.terms import (
    CONTROL,
    MAX_LENGTH,
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

MAX_DEPTH = 20  # brackets: sqlglot spends some 25 frames on each, Python has 1,000
MAX_SIZE = 2_000
MAX_WRITTEN = 60
CHAINED, NESTED, MAX_WEIGHT = 3, 7, 84

QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*\"""")
CURLY = re.compile("[\u2018\u2019\u201c\u201d\u00ab\u00bb]")
QUOTE = re.compile(r"""['"]""")
COMMENT = re.compile(r"--|/\*")

MISTAKES = {
    r"=>(?!.*\))": "write >=",
    r"=<": "write <=",
    r"&&": "rules are joined by `and`",
    r"\bcontains\b": "write like '%…%'",
    r"\d[, ]\d{3}\b|\d\s*[€$£%]": "write a plain number: 1000",
    r"\d,\d{1,2}\b": "write a decimal point: 1.5",
    r"\d\s+(hour|day|week|month|year)s?\b": "write a plain number: days_ago(30)",
    r"\bcase\b(?!.*\bend\b)": "a `case` ends with `end`",
}
"""What stands in an expression that cannot be read: what its owner will have meant."""

GROUPED = re.compile(r"\d{1,3}\.000")
"""Half of Europe writes a thousand so."""

REFUSED_TOKENS = {
    TokenType.SEMICOLON: "a rule is one expression",
    TokenType.PLACEHOLDER: "a rule has no placeholders",
    TokenType.PARAMETER: "a text stands in single quotes",
    TokenType.COLON: "a rule has no placeholders",
    TokenType.DCOLON: "a rule has no casts",
    TokenType.DOT: "a column stands without a table",
    TokenType.ARROW: "a rule has no JSON",
    TokenType.DARROW: "a rule has no JSON",
    TokenType.HASH_ARROW: "a rule has no JSON",
    TokenType.DHASH_ARROW: "a rule has no JSON",
    TokenType.L_BRACE: "a rule has no braces",
    TokenType.L_BRACKET: "a rule has no lists in square brackets",
    TokenType.SELECT: "a rule has no subqueries",
    TokenType.WITH: "a rule has no subqueries",
    TokenType.OVER: "a rule has no windows",
}
OPENING = {TokenType.L_PAREN, TokenType.CASE}
CLOSING = {TokenType.R_PAREN, TokenType.END}
PREFIXES = {TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE}


class Cartwire(Dialect):
    """SQL expressions without a single function."""

    class Parser(parser.Parser):
        FUNCTIONS = {}  # noqa: RUF012 - sqlglot's own way to define a dialect
        FUNCTION_PARSERS = {}  # noqa: RUF012 - as above
        NO_PAREN_FUNCTIONS = {}  # noqa: RUF012 - as above
        NO_PAREN_FUNCTION_PARSERS = {  # noqa: RUF012 - as above
            "CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]
        }


def tokens_of(text: str) -> Sequence[Token]:
    """Cut an expression into tokens; refuse what is too long, hidden, or nested too deeply to be parsed.

    Raises Wrong with the place.
    """
    if not text.strip():
        raise Wrong("nothing stands here", "write an expression", 0)
    if len(text) > MAX_LENGTH:
        raise Wrong(f"longer than {MAX_LENGTH} characters", "split the rule into several lists", MAX_LENGTH)
    if hidden := CONTROL.search(text):
        raise Wrong("there is a control character here", "delete it", hidden.start())
    try:
        tokens = Cartwire().tokenize(text)
    except TokenError:
        place = _first(QUOTE, text)
        raise Wrong(
            "a quotation mark is not closed", "a quote inside a text is written twice", place
        ) from None
    if not tokens or any(token.comments for token in tokens):
        raise Wrong("a rule has no comments", "write YAML comments (#) above it", _first(COMMENT, text))
    for token in tokens:
        if token.token_type in REFUSED_TOKENS:
            raise Wrong(f"`{token.text}` cannot stand here", REFUSED_TOKENS[token.token_type], token.start)
    _check_nesting(tokens)
    return tokens


def _first(sign: re.Pattern[str], text: str) -> int:
    """Find where a sign first stands outside of quotation marks."""
    found = sign.search(QUOTED.sub(lambda quoted: " " * len(quoted[0]), text))
    return found.start() if found else 0


def _check_nesting(tokens: Sequence[Token]) -> None:
    depth, prefixes = 0, 0
    for token in tokens:
        depth += (token.token_type in OPENING) - (token.token_type in CLOSING)
        prefixes = prefixes + 1 if token.token_type in PREFIXES else 0
        if depth + prefixes > MAX_DEPTH:
            raise Wrong("nested too deeply", f"{MAX_DEPTH} levels are the limit", token.start)


def parse(text: str) -> exp.Expr:
    """Parse one expression. Raises Wrong with the place where it cannot be read."""
    tokens = tokens_of(text)
    try:
        trees = Cartwire().parser().parse_into(exp.Condition, list(tokens), text)
    except ParseError as error:
        raise _unreadable(error, tokens, text) from None
    except RecursionError:
        raise Wrong("nested too deeply", f"{MAX_DEPTH} levels are the limit", 0) from None
    if not trees or trees[0] is None:  # a word such as ELSE alone
        raise Wrong("no expression begins here", "write an expression", tokens[0].start)
    return trees[0]


def is_name(word: str) -> bool:
    """Tell whether a word, standing alone, is a name: `case` and `true` are none."""
    try:
        return isinstance(parse(word), exp.Column)
    except Wrong:
        return False


def _unreadable(error: ParseError, tokens: Sequence[Token], text: str) -> Wrong:
    """Say in our words what sqlglot did not understand, and what may have been meant."""
    first = error.errors[0]
    said, word = first["description"] or "", first["highlight"] or ""
    places = (t.start for t in tokens if (t.line, t.col) == (first["line"], first["col"]))
    if said.startswith("Required keyword"):
        what = f"something is missing beside `{word}`"
    elif said.startswith("Expecting"):
        what = f"expected `{said.removeprefix('Expecting').strip()}`, found `{word}`"
    else:
        what = f"did not expect `{word}` here"
    plain = QUOTED.sub(" ", text)
    meant = (instead for sign, instead in MISTAKES.items() if re.search(sign, plain, re.IGNORECASE))
    return Wrong(what, next(meant, None), next(places, 0))


# --- the tree ------------------------------------------------------------------------------------------


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
    known = did_you_mean(name, [*catalogue(), *scale.names])
    listed = f"docs/mapping.md lists the columns; a text is written '{name}'"
    return Wrong(f"unknown column `{name}`", known or listed)


def _call(translator: Translator, node: exp.Anonymous, terms: Sequence[Term]) -> Term:
    name = str(node.this)
    known = FUNCTIONS.get(name.lower())
    if known is None:
        near = did_you_mean(name, FUNCTIONS)
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
