"""From the names in a mapping to those that a platform takes, and to as many fields as it has room for.

Pure and stable: the same name always becomes the same, whatever else the mapping holds.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.base import Traits
from mappings import model
from mappings.errors import MappingProblem
from mappings.model import FieldSpec, capitals

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SIGNS = 3
"""Length of the sign that tells two names apart which were cut at the same place."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A mapping as a platform can take it.

    `written` leads from its names back to those in the file, by section; `notes` say what an owner may want
    to decide otherwise.
    """

    mapping: model.Mapping
    written: Mapping[tuple[str, str], str]
    notes: tuple[MappingProblem, ...]


def fit(mapping: model.Mapping, traits: Traits, esp: str) -> Fitted:
    """Name fields and lists as `esp` (its name in the configuration) takes names, and choose what has room."""
    fields = {name: (_field_name(name, spec, traits), spec) for name, spec in mapping.field_specs().items()}
    lists = {name: (_list_name(name, traits), spec) for name, spec in mapping.list_specs().items()}
    left = _left_out(fields, traits)
    kept = {name: named for name, named in fields.items() if name not in left}
    notes = [*_short_names("fields", kept, esp), *_short_names("lists", lists, esp)]
    if left:
        notes.append(_left_note(left, traits, esp))
    found = {
        "fields": _unique(kept),
        "lists": _unique(lists),
    }
    written = {(section, new): old for section, names in found.items() for old, new in names.items()}
    renamed = {
        "fields": {found["fields"][name]: spec for name, (_, spec) in kept.items()},
        "lists": {found["lists"][name]: spec for name, (_, spec) in lists.items()},
    }
    return Fitted(mapping.model_copy(update=renamed), written, tuple(notes))


def _field_name(name: str, spec: FieldSpec, traits: Traits) -> str:
    """Choose the first of a field's names that the platform takes; the written one where it takes none."""
    if spec.short in traits.builtin_fields or name in traits.builtin_fields:
        return name if name in traits.builtin_fields else str(spec.short)
    short = [spec.short] if spec.short else []
    names = [name, *short, capitals(name)] if traits.short_names else [name, capitals(name), *short]
    found = (each for each in (*names, *_cut(capitals(name))) if re.fullmatch(traits.name_pattern, each))
    return next(found, name)


def _list_name(name: str, traits: Traits) -> str:
    longest = traits.list_name_length
    if longest is None or len(name) <= longest:
        return name
    return f"{name[: longest - SIGNS - 1].strip()} {_sign(name)}"


def _cut(name: str) -> Iterator[str]:
    """Make a name shorter and shorter; a sign at its end keeps it apart from others that begin alike."""
    for length in range(len(name) - 1, 0, -1):
        yield f"{name[:length].rstrip('_')}{_sign(name)}"


def _sign(name: str) -> str:
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
    return "".join(LETTERS[number // len(LETTERS) ** place % len(LETTERS)] for place in range(SIGNS))


def _unique(named: Mapping[str, tuple[str, Any]]) -> dict[str, str]:
    """Return written name -> the platform's; a name that is taken stays as it is written, to be judged."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name, (new, _) in named.items():
        found[name] = name if new.casefold() in taken else new
        taken.add(found[name].casefold())
    return found


def _left_out(fields: Mapping[str, tuple[str, FieldSpec]], traits: Traits) -> list[str]:
    """Leave out what is not core, all of it, where there are more fields than slots."""
    own = [name for name, (new, _) in fields.items() if new not in traits.builtin_fields]
    if traits.max_fields is None or len(own) <= traits.max_fields:
        return []
    return [name for name in own if fields[name][1].core is False]


def _left_note(left: list[str], traits: Traits, esp: str) -> MappingProblem:
    what = f"{esp} takes {traits.max_fields} fields; left out: {', '.join(left)}"
    instead = "to have one of them, write it below `fields:`, and null beside one that you can do without"
    return MappingProblem(("fields",), what, instead)


def _short_names(section: str, named: Mapping[str, tuple[str, Any]], esp: str) -> Iterator[MappingProblem]:
    """Say which names had to be cut; those that have a short form of their own are no news."""
    for name, (new, spec) in named.items():
        plain = {name, capitals(name), getattr(spec, "short", None)}
        if new not in plain:
            what = f"too long for {esp}, which gets it as `{new}`"
            instead = "give it a `short:` name" if section == "fields" else "shorten it"
            yield MappingProblem((section, name), what, instead)
