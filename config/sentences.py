"""pydantic's verdicts as sentences for owners. No sentence quotes the value: it may be a secret."""

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config.errors import Wrong, suggestion
from config.yaml import Place

Checked = TypeVar("Checked", bound=BaseModel)

SENTENCES: Mapping[str, tuple[str, str | None]] = {
    "string_type": ("must be text", None),
    "int_type": ("must be a whole number", None),
    "int_parsing": ("must be a whole number", None),
    "int_from_float": ("must be a whole number", None),
    "float_type": ("must be a number", None),
    "float_parsing": ("must be a number", None),
    "decimal_type": ("must be a number", None),
    "decimal_parsing": ("must be a number", "with a point, without spaces: `0.92`"),
    "finite_number": ("must be a number", None),
    "bool_type": ("must be `true` or `false`", None),
    "bool_parsing": ("must be `true` or `false`", None),
    "list_type": ("must be a list", "`[one, two]`, or a line `- one` for each"),
    "tuple_type": ("must be a list", "`[one, two]`, or a line `- one` for each"),
    "set_type": ("must be a list", "`[one, two]`, or a line `- one` for each"),
    "dict_type": ("must be keys and values", "`key: value` lines, indented"),
    "model_type": ("must be keys and values", "`key: value` lines, indented"),
    "model_attributes_type": ("must be keys and values", "`key: value` lines, indented"),
    "too_short": ("is empty", "name at least one"),
    "string_too_short": ("is too short", None),
    "string_too_long": ("is too long", None),
    "greater_than": ("must be more than {gt}", None),
    "greater_than_equal": ("must be {ge} or more", None),
    "less_than": ("must be less than {lt}", None),
    "less_than_equal": ("must be {le} or less", None),
    "string_pattern_mismatch": ("does not have the right form", None),
    "url_parsing": ("is not a web address", "a web address such as `https://shop.example`"),
    "url_scheme": ("is not a web address", "a web address such as `https://shop.example`"),
    "date_from_datetime_parsing": ("must be a date", "such as 2024-12-31"),
    "date_parsing": ("must be a date", "such as 2024-12-31"),
    "datetime_from_date_parsing": ("must be a moment", "such as 2024-12-31T12:00:00Z"),
    "datetime_parsing": ("must be a moment", "such as 2024-12-31T12:00:00Z"),
}
"""pydantic's error type -> what is wrong, and what instead where the field's description does not say it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A verdict on one value, at its place below what was checked."""

    place: Place
    what: str
    instead: str | None


def check(
    model: type[Checked], written: Mapping[str, Any], context: Mapping[str, Any]
) -> tuple[Checked | None, list[Fault]]:
    """Check `written` against a model; return the instance, or None and at most one fault for each place."""
    faults = {fault.place: fault for fault in _unknown_keys(model, written)}
    instance = None
    try:
        instance = model.model_validate(written, context=dict(context))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            fault = _fault(details, model, written)
            faults.setdefault(fault.place, fault)
    return (None if faults else instance), list(faults.values())


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by the names that an owner writes."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _unknown_keys(model: type[BaseModel], written: Mapping[str, Any]) -> Iterator[Fault]:
    """Find them whatever the model says about extra keys: pydantic ignores them by default."""
    known = fields_of(model)
    for key in written:
        if key not in known:
            yield Fault((key,), "unknown key", suggestion(key, _offered(model)))


def _offered(model: type[BaseModel]) -> Iterator[str]:
    """Name the keys that an owner may write; what is excluded is ours."""
    return (name for name, info in fields_of(model).items() if not info.exclude)


def _fault(details: ErrorDetails, model: type[BaseModel], written: Mapping[str, Any]) -> Fault:
    place = _place(details, written)
    wrong = details.get("ctx", {}).get("error")
    if isinstance(wrong, Wrong):
        return Fault(place, wrong.what, wrong.instead)
    if isinstance(wrong, ValueError):  # a connector's own validator
        return Fault(place, str(wrong), None)
    what, instead = _sentence(details, model, place)
    return Fault(place, what, instead or _description(model, place))


def _sentence(details: ErrorDetails, model: type[BaseModel], place: Place) -> tuple[str, str | None]:
    kind = details["type"]
    if kind == "missing":
        return "is missing", None
    if kind == "extra_forbidden":
        parent = _model_at(model, place[:-1])
        return "unknown key", suggestion(str(place[-1]), _offered(parent) if parent else ())
    if kind in {"literal_error", "enum"}:
        return _choice(details)
    if details["input"] is None:
        return "is empty", None
    if kind == "string_type" and isinstance(details["input"], bool):
        return "must be text", 'put it in quotes: "…"'
    what, instead = SENTENCES.get(kind, ("does not have the right form", None))
    return what.format_map(details.get("ctx", {})), instead


def _choice(details: ErrorDetails) -> tuple[str, str]:
    choices = re.findall(r"'([^']*)'", details.get("ctx", {}).get("expected", ""))
    near = suggestion(str(details["input"]), choices)
    return f"must be one of {', '.join(f'`{choice}`' for choice in choices)}", near if "`" in near else ""


def _place(details: ErrorDetails, written: Any) -> Place:
    """Return the error's place without what pydantic adds for keys, unions and validators."""
    place: Place = ()
    for part in details["loc"]:
        inside = isinstance(written, Mapping) and part in written
        if inside or (isinstance(written, list) and isinstance(part, int) and part < len(written)):
            written = written[part]
            place = (*place, part)
    return (*place, details["loc"][-1]) if details["type"] == "missing" else place


def _description(model: type[BaseModel], place: Place) -> str | None:
    """Return what the field is for, as its declaration says."""
    parent = _model_at(model, place[:-1])
    info = fields_of(parent).get(str(place[-1])) if parent and place else None
    text = info.description if info else None
    if not text:
        return None
    acronym = text[:2].isupper()
    return (text if acronym else text[0].lower() + text[1:]).rstrip(".")


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Walk down the declarations; through dicts and lists, which have one kind of content."""
    current: type[BaseModel] | None = model
    for part in place:
        info = fields_of(current).get(str(part)) if current else None
        if info is not None:
            current = next(_models(info.annotation), None)
    return current


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
