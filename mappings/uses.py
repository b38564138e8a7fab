"""What an expression speaks of, for `checklist`: which columns, and whether two say the same."""

import functools

from sqlglot import exp

from mappings.expressions import parse
from mappings.terms import Term

_parse = functools.lru_cache(maxsize=1000)(parse)


@functools.cache
def names_of(expression: str) -> frozenset[str]:
    """Return every name that stands in an expression: columns, and names of the owner's own."""
    return frozenset(column.name.lower() for column in _parse(expression).find_all(exp.Column))


def is_same(one: str, other: str) -> bool:
    """Tell whether two expressions are the same, however they are spaced and bracketed."""
    return bool(_parse(one).unnest() == _parse(other).unnest())


def is_used(part: tuple[str, Term], rule: tuple[str, Term]) -> bool:
    """Tell whether a rule looks at all that another expression rests on, or holds it whole.

    Each is an expression with its term.
    """
    basis = part[1].needs.columns
    if basis:
        return basis <= rule[1].needs.columns
    whole = _parse(part[0])
    return any(node == whole for node in _parse(rule[0]).walk())
