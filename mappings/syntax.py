"""An owner's text as a tree: cut into words, and parsed by sqlglot with a dialect that knows no function.

What cannot be read is told in our words, with its place and what may have been meant.
"""

import re
from collections.abc import Sequence

from sqlglot import Token, TokenType, exp, parser
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError

from mappings.terms import CONTROL, MAX_LENGTH, Wrong

MAX_DEPTH = 20  # brackets: sqlglot spends some 25 frames on each, Python has 1,000

QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*\"""")
CURLY = re.compile("[\u2018\u2019\u201c\u201d\u00ab\u00bb]")
QUOTE = re.compile(r"""['"]""")
COMMENT = re.compile(r"--|/\*")

MISTAKES = {
    r"=>(?!.*\))": "write >=",
    r"=<|≤": "write <=",
    r"≥": "write >=",
    r"≠": "write <>",
    r"&&": "rules are joined by `and`",
    r"\bcontains\b": "write like '%…%'",
    r"\d{1,2}[./]\d{1,2}[./]\d{4}": "write '2026-01-31' for a date",
    r"\d\s*([€$£%]|EUR\b|USD\b|GBP\b)|[€$£]\s*\d": "write the number alone: 10",
    r"\d[, ']\d{3}\b": "write a plain number: 1000",
    r"\d,\d{1,2}\b": "write a decimal point: 1.5",
    r"\d\s+(hour|day|week|month|year)s?\b": "write a plain number: days_ago(30)",
    r"\bcase\b(?!.*\bend\b)": "a `case` ends with `end`",
}
"""What stands in an expression that cannot be read: what its owner will have meant."""

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
        raise _unclosed(text) from None
    if not tokens or any(token.comments for token in tokens):
        raise Wrong("a rule has no comments", "write YAML comments (#) above it", _first(COMMENT, text))
    for token in tokens:
        if token.token_type in REFUSED_TOKENS:
            instead = meant(text) or REFUSED_TOKENS[token.token_type]
            raise Wrong(f"`{token.text}` cannot stand here", instead, token.start)
    _check_nesting(tokens)
    return tokens


def _unclosed(text: str) -> Wrong:
    """Say what is wrong with quotation marks that do not come in pairs."""
    instead = "a quote inside a text is written twice"
    if CURLY.search(text):
        instead = "quotation marks are straight: 'FR'"
    elif re.search(r"\d'\d{3}\b", text):
        instead = "write a plain number: 1000"
    return Wrong("a quotation mark is not closed", instead, _first(QUOTE, text))


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
    return Wrong(what, meant(text), next(places, 0))


def meant(text: str) -> str | None:
    """Say what an owner will have meant who wrote what cannot be read; None when nothing looks familiar."""
    plain = QUOTED.sub(" ", text)
    return next((what for sign, what in MISTAKES.items() if re.search(sign, plain, re.IGNORECASE)), None)
