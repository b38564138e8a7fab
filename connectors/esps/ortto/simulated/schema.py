"""The fields of a simulated Ortto: what each takes, and what Ortto says of the rest."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class SchemaField:
    id: str
    name: str
    display_type: str
    read_only: bool = False


class Invalid(Exception):
    """What is wrong with one person of a merge: {"status", "error"}."""

    def __init__(self, error: str, status: str = "invalid") -> None:
        super().__init__(error)
        self.status = status
        self.error = error


BUILT_IN = {
    field.id: field
    for field in (
        SchemaField("str::email", "Email", "email"),
        SchemaField("str::first", "First name", "text"),
        SchemaField("str::last", "Last name", "text"),
        SchemaField("str::name", "Name", "text"),
        SchemaField("str::postal", "Postal code", "text"),
        SchemaField("str::ei", "External ID", "text"),
        SchemaField("phn::phone", "Phone number", "phone"),
        SchemaField("geo::city", "City", "geo"),
        SchemaField("geo::country", "Country", "geo"),
        SchemaField("dtz::b", "Birthday", "date"),
        SchemaField("bol::gdpr", "GDPR", "bool"),
        SchemaField("bol::p", "Email permission", "bool"),
        SchemaField("bol::sp", "SMS permission", "bool"),
        SchemaField("str::s-ctx", "Email subscribe context", "text"),
        SchemaField("str::u-ctx", "Email unsubscribe context", "text"),
        SchemaField("a", "Archived", "time", read_only=True),
        SchemaField("c", "Created", "time", read_only=True),
        SchemaField("e", "Edited", "time", read_only=True),
        SchemaField("s", "Email subscribe date", "time", read_only=True),
        SchemaField("u", "Email unsubscribe date", "time", read_only=True),
        SchemaField("bol::hb", "Hard bounced", "bool", read_only=True),
        SchemaField("tme::sa", "Suppressed at", "time", read_only=True),
        SchemaField("tme::ua", "Unsuppressed at", "time", read_only=True),
        SchemaField("u4s::t", "Tag", "tags", read_only=True),
    )
}
PREFIXES = {
    "text": "str",
    "email": "str",
    "link": "str",
    "large_text": "txt",
    "integer": "int",
    "decimal": "int",
    "currency": "int",
    "price": "int",
    "date": "dtz",
    "time": "tme",
    "bool": "bol",
    "phone": "phn",
}
LONGEST_TEXT = 500


def kebab(name: str) -> str:
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-")


def check_value(field: SchemaField, value: Any) -> Any:
    """Return what is kept. Raises Invalid."""
    if value is None:
        return None
    try:
        return _CHECKS[field.display_type](value)
    except (ValueError, TypeError, KeyError):
        raise Invalid(f"failed to validate field {field.id} in schema: wrong type") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError
    return value


def _large_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -LARGEST <= value < LARGEST:
        raise ValueError
    return value


def _date(value: Any) -> dict[str, Any]:
    date(value["year"], value["month"], value["day"])
    return {name: value[name] for name in ("year", "month", "day", "timezone")}


def _time(value: Any) -> str:
    datetime.fromisoformat(value)
    return str(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _phone(value: Any) -> dict[str, Any]:
    number = value["phone"] if "phone" in value else value["c"] + value["n"]
    if not re.fullmatch(r"\d{6,15}", number):
        raise ValueError
    return dict(value)


def _geo(value: Any) -> dict[str, Any]:
    return {"name": _text(value["name"])}


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "text": _text,
    "email": _text,
    "link": _text,
    "large_text": _large_text,
    "integer": _whole,
    "decimal": _whole,
    "currency": _whole,
    "price": _whole,
    "date": _date,
    "time": _time,
    "bool": _truth,
    "phone": _phone,
    "geo": _geo,
}
