"""The YAML's shape: what stands in a mapping file, checked and put on top of what it extends.

What comes in is plain data; the file's lines and the choice of the file are for whoever reads it.
"""

import re
import unicodedata
from collections.abc import Iterator
from collections.abc import Mapping as AnyMapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mappings.errors import MappingError, MappingProblem, did_you_mean
from mappings.reentry import PATTERN

PRESETS = Path(__file__).parent / "presets"
PREFIX = "preset:"
Spec = TypeVar("Spec", bound=BaseModel)


def as_text(value: object) -> object:
    """Take what YAML sees as a number or a truth for the text it was written as: `true`, `1`."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, str | dict | list) else str(value)


TRUTHS = {"true": True, "false": False}
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
NAME = re.compile(r"[a-z][a-z0-9_]*")
MOST_ENTRIES = 500
"""Of each section: SQLite selects 2,000 columns at most, PostgreSQL 1,664."""
OWN_NAMES = ("parameters", "formulas")
Expression = Annotated[str, BeforeValidator(as_text)]


def _given(value: object) -> object:
    """Refuse nothing where a key stands: what was to come behind `until:` would be missed by nobody."""
    if value is None:
        raise ValueError
    return value


Given = BeforeValidator(_given, json_schema_input_type=str)


class FieldSpec(BaseModel):
    """A field with its settings; a bare expression is short for `{value: …}`."""

    model_config = ConfigDict(extra="forbid")
    value: Expression = Field(description="SQL expression over the profile's columns.")
    type: Literal["text", "number", "date", "boolean"] | None = Field(
        default=None,
        description="What the e-mail platform is to keep it as; taken from the expression if left out.",
    )
    title: str | None = Field(default=None, description="Name for people, where the platform shows one.")
    short: str | None = Field(
        default=None, description="Name to use where the platform takes no name as long as this one."
    )
    core: bool | None = Field(
        default=None,
        description="`false` leaves the field out where the platform has fewer slots than fields.",
    )


class ListSpec(BaseModel):
    """A list with its settings; a bare expression is short for `{when: …}`."""

    model_config = ConfigDict(extra="forbid")
    when: Expression = Field(description="SQL expression that is true for whoever belongs to the list.")
    until: Annotated[Expression | None, Given] = Field(
        default=None,
        description="Whoever is in the list stays until this is true, although `when` no longer is.",
    )
    journey: bool = Field(
        default=False,
        description="Entering the list starts an automation: nobody enters it because of old orders.",
    )
    trigger: Annotated[Expression | None, Given] = Field(
        default=None,
        min_length=1,
        description="Id of the platform's trigger to call for whoever enters, in place of a list. A journey too.",
    )
    reenter: str | None = Field(
        default=None,
        pattern=f"^({PATTERN})$",
        description="When a journey begins again for who left and enters once more: `never`, `always` "
        "(if left out) or `after 90 days` (hours, days or months since they last entered).",
    )

    @property
    def is_journey(self) -> bool:
        return self.journey or self.trigger is not None


class Mapping(BaseModel):
    """What a sync pushes: fields and lists, each an expression over the profile's columns."""

    model_config = ConfigDict(extra="forbid")
    extends: str | None = Field(
        default=None, description="A shipped mapping (`preset:crm`) or another file, which this one adds to."
    )
    parameters: dict[str, bool | Decimal | str] = Field(
        default_factory=dict,
        description="Name -> number, text or truth, which expressions use by that name: thresholds, weights.",
    )
    formulas: dict[str, Expression] = Field(
        default_factory=dict,
        description="Name -> expression, which stands wherever another expression writes the name.",
    )
    fields: dict[str, FieldSpec | Expression | None] = Field(
        default_factory=dict,
        description="Custom field -> expression. `null` leaves an inherited field out.",
    )
    lists: dict[str, ListSpec | Expression | None] = Field(
        default_factory=dict, description="List -> rule. `null` leaves an inherited list out."
    )

    def expressions(self) -> Iterator[str]:
        """Yield every expression: of formulas, fields and lists."""
        yield from self.formulas.values()
        yield from (spec.value for spec in self.field_specs().values())
        for rule in self.list_specs().values():
            yield from (text for text in (rule.when, rule.until) if text is not None)

    def field_specs(self) -> dict[str, FieldSpec]:
        """Return every field in its long form, without those left out."""
        specs = {name: _long(FieldSpec, "value", spec) for name, spec in self.fields.items()}
        return {name: spec for name, spec in specs.items() if spec}

    def list_specs(self) -> dict[str, ListSpec]:
        """Return every list in its long form, without those left out."""
        specs = {name: _long(ListSpec, "when", spec) for name, spec in self.lists.items()}
        return {name: spec for name, spec in specs.items() if spec}


def _long(form: type[Spec], key: str, spec: Spec | str | None) -> Spec | None:
    return form.model_validate({key: spec}) if isinstance(spec, str) else spec


FORMS: AnyMapping[str, tuple[type[BaseModel], str]] = {
    "fields": (FieldSpec, "value"),
    "lists": (ListSpec, "when"),
}
"""Section -> the long form of its entries, and the key that a bare expression stands for."""


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset(name: str) -> object:
    """Return the plain data of a shipped mapping. Raises MappingError for a name that is none."""
    known = preset_names()
    if name not in known:
        near = did_you_mean(name, known) or f"known: {', '.join(known)}"
        raise MappingError([MappingProblem(("extends",), f"unknown preset `{name}`", near)])
    data: object = msgspec.yaml.decode((PRESETS / f"{name}.yaml").read_bytes())
    return data


def read_mapping(raw: object, base: Mapping | None = None) -> Mapping:
    """Read the plain data of a mapping file, on top of the mapping that it extends.

    An entry replaces the inherited one of the same name and keeps its place; null takes it away. Raises
    MappingError with every problem; expressions are judged later, by `compile_mapping`.
    """
    reading = _Reading(base or Mapping())
    mapping = reading.mapping({} if raw is None else raw)
    if reading.problems:
        raise MappingError(reading.problems)
    return mapping


class _Reading:
    """One reading: gathers problems instead of stopping at the first."""

    def __init__(self, base: Mapping) -> None:
        self.base = base
        self.problems: list[MappingProblem] = []

    def mapping(self, raw: object) -> Mapping:
        if not isinstance(raw, dict):
            self._report((), "a mapping file holds `fields:` and `lists:`")
            return Mapping()
        for key in raw:
            if key not in Mapping.model_fields:
                self._report((str(key),), "unknown key", did_you_mean(str(key), Mapping.model_fields))
        extends = raw.get("extends")
        if not isinstance(extends, str | None):
            self._report(("extends",), "names one mapping", f"write `{PREFIX}crm` or the path of a file")
            extends = None
        too_many = [self._has_too_many(section, raw.get(section)) for section in (*OWN_NAMES, *FORMS)]
        if any(too_many):
            return Mapping()
        names = {section: self._names(section, raw.get(section)) for section in OWN_NAMES}
        sections = {name: self._section(name, raw.get(name)) for name in FORMS}
        if not self.problems and not any(sections.values()):
            self._report((), "nothing is mapped", "write fields or lists")
        return Mapping.model_validate({"extends": extends, **names, **sections})

    def _has_too_many(self, section: str, raw: object) -> bool:
        """Refuse more than a database can select at once, before any of it is looked at."""
        entries = {*getattr(self.base, section), *(raw if isinstance(raw, dict) else ())}
        if len(entries) > MOST_ENTRIES:
            self._report((section,), f"{len(entries)} entries", f"{MOST_ENTRIES} are the limit")
        return len(entries) > MOST_ENTRIES

    def _names(self, section: str, raw: object) -> dict[str, Any]:
        """Read parameters or formulas: names as columns have them, each with one value."""
        merged: dict[str, Any] = dict(getattr(self.base, section))
        if not isinstance(raw, dict | None):
            self._report((section,), "holds names with a value each", f"write `name: …` below `{section}:`")
            return merged
        for key, value in (raw or {}).items():
            name = str(key)
            if not NAME.fullmatch(name):
                what = "a name has small letters, digits and _, and begins with a letter"
                self._report((section, name), what)
            elif isinstance(value, dict | list | None):
                self._report((section, name), "is no single value", f"write `{name}: …`")
            else:
                merged[name] = as_text(value) if section == "formulas" else self._parameter(name, value)
        return merged

    def _section(self, section: str, raw: object) -> dict[str, Any]:
        merged: dict[str, Any] = dict(getattr(self.base, section))
        if not isinstance(raw, dict | None):
            self._report(
                (section,), "holds names with an expression each", f"write `NAME: …` below `{section}:`"
            )
            return merged
        for key, value in (raw or {}).items():
            name = str(as_text(key)) if key is not None else ""
            path = (section, name)
            if self._name_is_good(path):
                merged = _renamed(merged, name)
            if name in merged or self._is_new(path, merged):
                merged[name] = self._entry(path, value)
        return {name: entry for name, entry in merged.items() if entry is not None}

    def _name_is_good(self, path: tuple[str, str]) -> bool:
        section, name = path
        if not name or name != name.strip():
            self._report(path, "a name is empty, or begins or ends with a space")
        elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
            self._report((section, name.encode("unicode_escape").decode()), "a name with a control character")
        else:
            return True
        return False

    def _is_new(self, path: tuple[str, str], merged: AnyMapping[str, Any]) -> bool:
        """Tell whether no other name differs by case only: several platforms take both for one."""
        name = path[1]
        same = [known for known in merged if known.casefold() == name.casefold() and known != name]
        if same:
            self._report(path, f"stands here as `{same[0]}` too", "names differ in more than their case")
        return not same

    def _entry(self, path: tuple[str, str], value: object) -> Any:
        section, name = path
        form, key = FORMS[section]
        if value is None:
            if name not in _renamed(getattr(self.base, section), name):
                near = did_you_mean(name, getattr(self.base, section))
                self._report(path, "nothing of this name is inherited", near or "write an expression")
            return None
        if isinstance(value, list):
            self._report(path, "is a list", f"write one expression, or `{{{key}: …}}`")
            return None
        try:
            entry = form.model_validate(value if isinstance(value, dict) else {key: value})
        except ValidationError as error:
            self.problems += [_problem(path, detail, form) for detail in error.errors()]
            return None
        if isinstance(entry, ListSpec) and entry.reenter and not entry.is_journey:
            what = "only a journey begins again"
            self._report((*path, "reenter"), what, "write `journey: true` beside it, or leave it out")
        return entry

    def _parameter(self, name: str, value: Any) -> bool | Decimal | str:
        """Read a parameter; one that replaces another is to be of its kind, or every rule that uses it is wrong."""
        given, former = _parameter(value), self.base.parameters.get(name)
        if isinstance(former, str) and not isinstance(given, str):
            return str(as_text(value))
        if former is not None and type(given) is not type(former):
            kind = "a number" if isinstance(former, Decimal) else "true or false"
            plain = COMMA.fullmatch(str(given))
            instead = f"{plain[1]}.{plain[2]}" if plain else f"{kind}, as the inherited {_written(former)}"
            self._report(("parameters", name), f"`{given}` is not {kind}", f"write {instead}")
        return given

    def _report(self, path: tuple[str, ...], what: str, instead: str | None = None) -> None:
        self.problems.append(MappingProblem(path, what, instead))


def _renamed(entries: AnyMapping[str, Any], name: str) -> dict[str, Any]:
    """Let an entry of which this is another name (its short one, or the way of capitals) take it, in its place."""
    if name in entries:
        return dict(entries)
    return {(name if name in _other_names(known, spec) else known): spec for known, spec in entries.items()}


def _other_names(name: str, spec: Any) -> frozenset[str]:
    short = spec.short if isinstance(spec, FieldSpec) else None
    return frozenset({short, capitals(name)} if short else ())


def capitals(name: str) -> str:
    """Write a name as platforms do that know capitals, digits and _ only: orders-count is ORDERS_COUNT."""
    return re.sub(r"\W+", "_", name.upper(), flags=re.ASCII).strip("_")


COMMA = re.compile(r"(\d+),(\d+)")
COMMAS = 'between braces an expression with a comma stands in quotes: {value: "round(total_spent, 2)"}'


def _written(value: object) -> str:
    """Write a parameter as a file does."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parameter(value: Any) -> bool | Decimal | str:
    """Take numbers exactly as they were written, and as numbers also where a file's reader keeps them as text."""
    written = str(as_text(value))
    if written in TRUTHS:
        return TRUTHS[written]
    return Decimal(written) if NUMBER.fullmatch(written) else written


def _problem(path: tuple[str, ...], detail: AnyMapping[str, Any], form: type[BaseModel]) -> MappingProblem:
    """Say in our words what pydantic found."""
    key = str(detail["loc"][0]) if detail["loc"] else ""
    match detail["type"]:
        case "extra_forbidden" | "invalid_key":
            near = did_you_mean(key, form.model_fields) or f"known: {', '.join(form.model_fields)}"
            near = COMMAS if key.endswith(")") else near
            return MappingProblem((*path, key), "unknown key", near)
        case "missing":
            return MappingProblem(path, f"`{key}` is missing", f"write `{key}: …` with an expression")
        case "bool_parsing" | "bool_type":
            return MappingProblem((*path, key), "is neither true nor false", "write true or false")
        case "literal_error":
            return MappingProblem((*path, key), "unknown type", f"known: {detail['ctx']['expected']}")
        case _:
            described = form.model_fields[key].description
            what = "is empty" if detail["input"] is None else "is not understood"
            return MappingProblem((*path, key), what, f"give: {described}")
