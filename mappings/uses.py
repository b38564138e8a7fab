"""What an expression speaks of, for `checklist`: which columns, and what it has in common with another."""

import functools

from sqlglot import exp

from mappings.syntax import parse
from mappings.terms import Term

_parse = functools.lru_cache(maxsize=1000)(parse)


@functools.cache
def names_of(expression: str) -> frozenset[str]:
    """Return every name that stands in an expression: columns, and names of the owner's own."""
    return frozenset(column.name.lower() for column in _parse(expression).find_all(exp.Column))


def is_used(part: tuple[str, Term], rule: tuple[str, Term]) -> bool:
    """Tell whether a rule looks at all that another expression rests on, or holds it whole.

    Each is an expression with its term.
    """
    basis, seen = (term.needs.named for term in (part[1], rule[1]))
    if basis:
        return basis <= seen
    whole = _parse(part[0])
    return any(node == whole for node in _parse(rule[0]).walk())
