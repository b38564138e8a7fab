"""What a mapping asks of an e-mail platform, held against what the platform can express.

Refused when the configuration is read, not contact by contact; content rules stay the vendor's own. What only
a value can show (a long text) is for the connector.
"""

import re
from collections.abc import Iterator

from sqlglot import exp

from connectors.base import Field, FieldType, ListKind, Traits
from mappings.compile import CompiledField, CompiledMapping
from mappings.errors import MappingProblem
from mappings.syntax import parse

FILLINGS = {
    FieldType.TEXT: "''",
    FieldType.NUMBER: "0",
    FieldType.DATE: "'1970-01-01'",
    FieldType.BOOLEAN: "false",
}
"""What could stand for a value that is unknown."""
NEVER_UNKNOWN = (exp.Literal, exp.Boolean, exp.Is)


def check_traits(compiled: CompiledMapping, traits: Traits, esp: str) -> list[MappingProblem]:
    """List what the ESP (`esp` is its name in the configuration) cannot take of this mapping."""
    return [
        *_too_many(compiled, traits, esp),
        *_fields(compiled, traits, esp),
        *_values(compiled, traits, esp),
        *_lists(compiled, traits, esp),
    ]


def _too_many(compiled: CompiledMapping, traits: Traits, esp: str) -> Iterator[MappingProblem]:
    counted = {
        "fields": (traits.max_fields, [each.name for each in compiled.fields]),
        "lists": (traits.max_lists, [each.name for each in compiled.lists if each.trigger is None]),
    }
    for section, (most, names) in counted.items():
        own = [name for name in names if section == "lists" or name not in traits.builtin_fields]
        if most is not None and len(own) > most:
            over = len(own) - most
            what = f"{len(own)} {section}; {esp} takes {most}"
            instead = f"leave {over} out (`NAME: null`), the last being {', '.join(own[-over:])}"
            yield MappingProblem((section,), what, instead)


def _fields(compiled: CompiledMapping, traits: Traits, esp: str) -> Iterator[MappingProblem]:
    for each in compiled.fields:
        builtin = each.name in traits.builtin_fields
        if not builtin and not re.fullmatch(traits.name_pattern, each.name):
            what = f"{esp} does not take this name: {traits.name_rule}"
            yield MappingProblem(("fields", each.name), what, _better_name(each.name, compiled, traits))
        if each.type not in traits.field_types:
            yield MappingProblem(("fields", each.name), *_type_problem(each, traits, esp))


def _type_problem(field: Field, traits: Traits, esp: str) -> tuple[str, str | None]:
    """Say that a type is missing; every type can be written as text."""
    instead = "add `type: text`" if FieldType.TEXT in traits.field_types else None
    return f"{esp} has no fields of type {field.type}", instead


def _better_name(name: str, compiled: CompiledMapping, traits: Traits) -> str | None:
    """Find a name that fits: upper case, plain letters, as long as the platform takes."""
    plain = re.sub(r"\W+", "_", name.upper(), flags=re.ASCII).strip("_")
    taken = {each.name for each in compiled.fields}
    shorter = (plain[:length].rstrip("_") for length in range(len(plain), 0, -1))
    fits = (each for each in shorter if each not in taken and re.fullmatch(traits.name_pattern, each))
    better = next(fits, None)
    return f"`{better}` would do" if better else None


# --- values --------------------------------------------------------------------------------------------


def _values(compiled: CompiledMapping, traits: Traits, esp: str) -> Iterator[MappingProblem]:
    for each in compiled.compiled_fields:
        node = parse(each.expression)
        if not traits.can_clear and _may_be_unknown(node):
            filling = FILLINGS[each.field.type]
            what = f"{esp} cannot clear a value, and this one can become unknown"
            yield MappingProblem(("fields", each.name), what, f"give it one: `coalesce(…, {filling})`")
        yield from _too_long(each, node, traits, esp)


def _may_be_unknown(node: exp.Expr) -> bool:
    """Tell whether an expression can be null; in doubt it can."""
    if isinstance(node, NEVER_UNKNOWN):
        return False
    if isinstance(node, exp.Column):
        return node.name != "email"
    if isinstance(node, exp.Case):
        results = [branch.args["true"] for branch in node.args["ifs"]]
        default = node.args.get("default")
        return default is None or any(_may_be_unknown(result) for result in (*results, default))
    if isinstance(node, exp.Anonymous):
        unknown = [_may_be_unknown(argument) for argument in node.expressions]
        return all(unknown) if node.name.lower() == "coalesce" else True
    parts = [part for part in node.iter_expressions() if not isinstance(part, exp.Identifier)]
    return not parts or any(_may_be_unknown(part) for part in parts)


def _too_long(field: CompiledField, node: exp.Expr, traits: Traits, esp: str) -> Iterator[MappingProblem]:
    """Find texts that stand in the mapping and would be cut in every contact."""
    if field.field.type is not FieldType.TEXT:
        return
    texts = [text.name for text in node.find_all(exp.Literal) if text.is_string]
    longest = max(texts, key=len, default="")
    for most, length, unit in (
        (traits.text_length, len(longest), "characters"),
        (traits.text_bytes, max((len(text.encode()) for text in texts), default=0), "bytes"),
    ):
        if most is not None and length > most:
            what = f"{esp} holds texts of at most {most} {unit}, one here has {length}"
            yield MappingProblem(("fields", field.name), what, "shorten it")


# --- lists ---------------------------------------------------------------------------------------------


def _lists(compiled: CompiledMapping, traits: Traits, esp: str) -> Iterator[MappingProblem]:
    longest = traits.list_name_length
    for each in compiled.lists:
        kind = ListKind.MEMBERS if each.trigger is None else ListKind.TRIGGER
        if kind not in traits.list_kinds:
            yield MappingProblem(("lists", each.name, *WANTED[kind]), *_kind_problem(kind, esp))
        if kind is ListKind.MEMBERS and longest is not None and len(each.name) > longest:
            what = f"{esp} takes list names of at most {longest} characters, this has {len(each.name)}"
            yield MappingProblem(("lists", each.name), what, f"`{each.name[:longest].strip()}` would do")


WANTED = {ListKind.TRIGGER: ("trigger",), ListKind.MEMBERS: ()}
"""The setting of a list that asks for a kind."""


def _kind_problem(kind: ListKind, esp: str) -> tuple[str, str]:
    if kind is ListKind.TRIGGER:
        return (
            f"{esp} has no triggers that Cartwire could call",
            "leave `trigger` out, and let its automation begin when somebody enters this list",
        )
    return f"{esp} keeps no lists", "name a `trigger` that is called for whoever enters"
