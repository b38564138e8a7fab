"""Words that a parameter can hold: those that the mapping compares it with, where it does nothing else with it."""

from collections.abc import Iterable, Iterator, Mapping

from sqlglot import expressions as exp

from mappings.errors import MappingProblem, did_you_mean
from mappings.syntax import parse
from mappings.terms import Wrong

CHOICES = 2
"""From so many words on a parameter is a choice: with one alone, every other word can mean no."""


def wrong_choices(parameters: Mapping[str, object], expressions: Iterable[str]) -> Iterator[MappingProblem]:
    """Find parameters whose word is none of those that expressions compare them with.

    No rule would say so: a comparison with a word that is misspelt is false.
    """
    texts = {name: value for name, value in parameters.items() if isinstance(value, str)}
    written = list(expressions)
    for name, value in texts.items():
        choices = _choices(name, [text for text in written if name in text.lower()])
        if len(choices) >= CHOICES and value not in choices:
            instead = did_you_mean(value, choices) or f"write {' or '.join(f'`{each}`' for each in choices)}"
            yield MappingProblem(("parameters", name), f"`{value}` is none of its choices", instead)


def _choices(name: str, expressions: Iterable[str]) -> list[str]:
    """List the words that `name` is compared with, none where it is used in another way as well."""
    found: dict[str, None] = {}
    for text in expressions:
        for column in _uses(name, text):
            words = _compared_with(column)
            if not words:
                return []
            found |= dict.fromkeys(words)
    return sorted(found)


def _uses(name: str, expression: str) -> Iterator[exp.Column]:
    try:
        tree = parse(expression)
    except Wrong:  # told where it stands
        return
    yield from (column for column in tree.find_all(exp.Column) if column.name.lower() == name)


def _compared_with(column: exp.Column) -> list[str]:
    """List the words of the comparison that a column stands in, none where other words mean something as well."""
    parent, case = column.parent, column.find_ancestor(exp.Case)
    if not isinstance(parent, exp.EQ | exp.In) or parent.find_ancestor(exp.Not):
        return []
    if case is not None and case.args.get("default"):
        return []
    others = [parent.expression] if isinstance(parent, exp.EQ) else parent.expressions
    others = [parent.this if other is column else other for other in others]
    are_words = all(isinstance(other, exp.Literal) and other.is_string for other in others)
    return [other.name for other in others] if are_words else []
