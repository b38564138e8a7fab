"""What a mapping asks of an e-mail platform, held against what the platform can express.

Refused when the configuration is read, not contact by contact; content rules stay the vendor's own.
"""

import re
from collections.abc import Iterator

from connectors.base import Field, FieldType, Traits
from mappings.compile import CompiledMapping
from mappings.errors import MappingProblem


def check_traits(compiled: CompiledMapping, traits: Traits, esp: str) -> list[MappingProblem]:
    """List what the ESP (`esp` is its name in the configuration) cannot take of this mapping."""
    return [
        *_too_many(compiled, traits, esp),
        *_fields(compiled, traits, esp),
        *_lists(compiled, traits, esp),
    ]


def _too_many(compiled: CompiledMapping, traits: Traits, esp: str) -> Iterator[MappingProblem]:
    own = [each.name for each in compiled.fields if each.name not in traits.builtin_fields]
    if traits.max_fields is not None and len(own) > traits.max_fields:
        over = len(own) - traits.max_fields
        what = f"{len(own)} fields; {esp} takes {traits.max_fields}"
        yield MappingProblem(("fields",), what, f"leave {over} out, the last being {', '.join(own[-over:])}")


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


def _lists(compiled: CompiledMapping, traits: Traits, esp: str) -> Iterator[MappingProblem]:
    longest = traits.list_name_length
    for each in compiled.lists:
        if longest is not None and len(each.name) > longest:
            what = f"{esp} takes list names of at most {longest} characters, this has {len(each.name)}"
            yield MappingProblem(("lists", each.name), what, f"`{each.name[:longest].strip()}` would do")
