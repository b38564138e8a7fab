"""Cuts an expression into its parts, in the owner's own words: where `and`, `or`, `not` and CASE join it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import Token, TokenType

from mappings.catalogue import catalogue
from mappings.expressions import expression_of
from mappings.functions import FUNCTIONS
from mappings.syntax import CLOSING, OPENING, tokens_of
from mappings.terms import Scale

WORDS: Mapping[TokenType, str] = {TokenType.OR: "or", TokenType.AND: "and"}
BRANCHES = {TokenType.WHEN, TokenType.THEN, TokenType.ELSE}


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression.

    `joined` says how its own parts make it: "and", "or", "not"; "case" of "when" (a condition and what it
    gives) and "else"; "formula" where a name stands for another expression; None where it has none. Such a
    leaf looks at `names`: columns, parameters and calls as they are written, or asks whether the profile is a
    `member` of a list.
    """

    text: str
    joined: str | None = None
    parts: Sequence["Node"] = ()
    names: Sequence[str] = ()
    member: str | None = None

    def walk(self) -> Iterator["Node"]:
        yield self
        for part in self.parts:
            yield from part.walk()


def cut_list(name: str, when: str, until: str | None, scale: Scale) -> Node:
    """Cut the rule of a list; with `until`, whoever is inside stays until that is true."""
    enters = cut(when, scale)
    if until is None:
        return enters
    leaves = cut(until, scale)
    stays = Node(f"not ({leaves.text})", "not", [leaves])
    inside = Node(f"in {name} already", member=name)
    stays_inside = Node(f"{inside.text} and {stays.text}", "and", [inside, stays])
    return Node(f"{enters.text} or {stays_inside.text}", "or", [enters, stays_inside])


def cut(text: str, scale: Scale) -> Node:
    """Cut an expression that is known to be right."""
    text, tokens = _bare(text)
    joined, texts = split(text)
    if joined:
        return Node(text, joined, [cut(part, scale) for part in texts])
    first = tokens[0]
    if first.token_type is TokenType.NOT:
        return Node(text, "not", [cut(text[first.end + 1 :].strip(), scale)])
    if first.token_type is TokenType.CASE and _closes(tokens) == len(tokens) - 1:
        return Node(text, "case", _branches(text, tokens, scale))
    behind = expression_of(text.lower(), scale)
    if behind is not None:
        return Node(text, "formula", [cut(behind, scale)])
    return Node(text, names=list(dict.fromkeys(_names(text, tokens, scale))))


def split(expression: str) -> tuple[str | None, Sequence[str]]:
    """Cut an expression at `or`, else at `and`, outside of brackets, CASE and BETWEEN."""
    places: dict[TokenType, list[Token]] = {kind: [] for kind in WORDS}
    depth = ranges = 0
    for token in tokens_of(expression):
        depth += (token.token_type in OPENING) - (token.token_type in CLOSING)
        if depth == 0 and token.token_type is TokenType.BETWEEN:
            ranges += 1
        elif depth == 0 and token.token_type is TokenType.AND and ranges:
            ranges -= 1
        elif depth == 0 and token.token_type in places:
            places[token.token_type].append(token)
    for kind, word in WORDS.items():
        if cuts := places[kind]:
            return word, _between(expression, cuts)
    return None, [expression]


def _between(text: str, cuts: Sequence[Token]) -> Sequence[str]:
    starts = [0, *(token.end + 1 for token in cuts)]
    ends = [*(token.start for token in cuts), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _bare(text: str) -> tuple[str, Sequence[Token]]:
    """Take away brackets around the whole."""
    text = text.strip()
    tokens = tokens_of(text)
    while tokens[0].token_type is TokenType.L_PAREN and _closes(tokens) == len(tokens) - 1:
        text = text[1:-1].strip()
        tokens = tokens_of(text)
    return text, tokens


def _closes(tokens: Sequence[Token], start: int = 0) -> int:
    """Find where what opens at token `start` is closed."""
    depth = 0
    for place, token in enumerate(tokens[start:], start):
        depth += (token.token_type in OPENING) - (token.token_type in CLOSING)
        if depth == 0:
            return place
    return len(tokens) - 1


def _branches(text: str, tokens: Sequence[Token], scale: Scale) -> Sequence[Node]:
    """Cut a CASE: each condition with what it gives, and what it gives otherwise."""
    depth, cuts = 0, []
    for token in tokens:
        if depth == 1 and token.token_type in BRANCHES:
            cuts.append(token)
        depth += (token.token_type in OPENING) - (token.token_type in CLOSING)
    subject, *pieces = _between(text[: tokens[-1].start], cuts)
    subject = subject[len(tokens[0].text) :].strip()
    found, condition = [], ""
    for token, piece in zip(cuts, pieces, strict=True):
        if token.token_type is TokenType.WHEN:
            condition = f"{subject} = {piece}" if subject else piece
        elif token.token_type is TokenType.THEN:
            parts = [cut(condition, scale), cut(piece, scale)]
            found.append(Node(f"when {condition} then {piece}", "when", parts))
        else:
            found.append(Node(f"else {piece}", "else", [cut(piece, scale)]))
    return found


def _names(text: str, tokens: Sequence[Token], scale: Scale) -> Iterator[str]:
    """Find the columns, parameters and calls of a leaf; of calls in one another the outermost."""
    place = 0
    while place < len(tokens):
        token, following = tokens[place], tokens[place + 1 : place + 2]
        name = token.text.lower()
        is_call = bool(following) and following[0].token_type is TokenType.L_PAREN and name in FUNCTIONS
        if is_call:
            end = _closes(tokens, place + 1)
            call = text[token.start : tokens[end].end + 1]
            if call != text:
                yield call
                place = end
        elif _is_name(token, following) and (name in catalogue() or name in scale.names) and name != text:
            yield name
        place += 1


def _is_name(token: Token, following: Sequence[Token]) -> bool:
    """Tell a name from a text in quotes, and from that of a call's argument (`days => 90`)."""
    is_argument = bool(following) and following[0].token_type is TokenType.FARROW
    return token.token_type is not TokenType.STRING and not is_argument
