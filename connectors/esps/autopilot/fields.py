"""How a field is named and written in Autopilot. Decides, sends nothing.

A custom field is made by its first write, whose key says the type: `float--Total--Spent`. It is read back
as {"name": "Total Spent", "fieldType": "float"}. The same name under another type would be another field.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from connectors.base import Field, FieldType, Value
from connectors.writing import as_text

STANDARD = frozenset(
    {
        "Company",
        "Fax",
        "FirstName",
        "Industry",
        "LastName",
        "LeadSource",
        "LinkedIn",
        "MailingCity",
        "MailingCountry",
        "MailingPostalCode",
        "MailingState",
        "MailingStreet",
        "MobilePhone",
        "NumberOfEmployees",
        "Phone",
        "Salutation",
        "Status",
        "Title",
        "Twitter",
        "Website",
    }
)
"""Fields of every contact that may be written: texts, all of them."""
PRESET = {
    "FNAME": "FirstName",
    "LNAME": "LastName",
    "COMPANY": "Company",
    "MOBILE": "MobilePhone",
    "ZIPCODE": "MailingPostalCode",
    "CITY": "MailingCity",
    "COUNTRY": "MailingCountry",
    "SOURCE": "LeadSource",
}
"""Names of the shipped preset that Autopilot has a field of its own for."""
NAME_PATTERN = r"[^\s-]+(?:(?: |--?)[^\s-]+)*"
NAME_RULE = "words with single spaces, hyphens or `--` between them"
CLEARED = ""
"""Clears a text for sure. Of other types the vendor's text says nothing and the recorded API knows no null,
so they are cleared with this too, and with null where that is refused."""
FITTING: Mapping[FieldType, tuple[str, ...]] = {
    FieldType.TEXT: ("string",),
    FieldType.NUMBER: ("float", "integer"),
    FieldType.DATE: ("date",),
    FieldType.BOOLEAN: ("boolean",),
}
"""Types of Autopilot that take our values; the first is what a new field gets."""

_KEY = re.compile(r"(string|integer|float|boolean|date)--(.+)")


class Unfit(ValueError):
    """A value that a field's type cannot hold; the text quotes no value."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a field is written: a standard field's name, or the key of a custom one with its type."""

    key: str
    type: str | None = None

    def written(self, value: Value) -> Any:
        """Write a value as this field takes it. Raises Unfit."""
        return CLEARED if value is None else _WRITERS[self.type or "string"](value)


class Fields:
    """The fields that a mapping uses, over those that the account has (`rows` of the API)."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._there: defaultdict[str, list[str]] = defaultdict(list)
        self._slots: dict[str, Slot] = {}
        for row in rows:
            self._there[str(row["name"]).casefold()].append(str(row["fieldType"]))

    def declare(self, field: Field) -> str | None:
        """Settle where a field is written; return why it cannot be."""
        slot, unfit = self._settled(field)
        name = next((name for name, other in self._slots.items() if _is_same(other, slot)), field.name)
        if name != field.name:
            return f"is the same field in Autopilot as {name}"
        self._slots[field.name] = slot
        return unfit

    def _settled(self, field: Field) -> tuple[Slot, str | None]:
        standard = _standard(field.name)
        if standard:
            unfit = f"is a text field in Autopilot, which takes no {field.type}"
            return Slot(standard), None if field.type is FieldType.TEXT else unfit
        given, label = _label(field.name)
        there = self._there.get(label.casefold(), [])
        wanted = (given,) if given else FITTING[field.type]
        chosen = next((type_ for type_ in wanted if type_ in there), wanted[0])
        return Slot(_key(chosen, label), chosen), _unfit(field, chosen, there)

    def lacks(self, field: Field) -> bool:
        """Tell whether the account has no such field as yet."""
        return not _standard(field.name) and _label(field.name)[1].casefold() not in self._there

    def slot(self, name: str, value: Value) -> Slot | None:
        """Find where to write a field; None for clearing one that Autopilot does not have."""
        if name not in self._slots:
            if value is None:
                return self._undeclared(name)
            return self._settled(Field(name, _type_of(value), name))[0]
        return self._slots[name]

    def read(self, field: Field, row: Mapping[str, Any]) -> str:
        """Find a field's value in a contact; empty where it has none."""
        slot = self._slot_of(field)
        if slot.type is None:
            return as_text(row.get(slot.key))
        _, label = _label(slot.key)
        for custom in row.get("custom_fields") or ():
            if custom.get("kind") == label and custom.get("fieldType") == slot.type:
                return _as_read(slot.type, custom.get("value"))
        return ""

    def as_read(self, field: Field, value: Value) -> str:
        """Write a value as `read` finds it again."""
        slot = self._slot_of(field)
        try:
            return _as_read(slot.type, slot.written(value))
        except Unfit:
            return as_text(value)

    def _slot_of(self, field: Field) -> Slot:
        return self._slots.get(field.name) or self._settled(field)[0]

    def _undeclared(self, name: str) -> Slot | None:
        standard = _standard(name)
        given, label = _label(name)
        types = self._there.get(label.casefold(), [])
        chosen = given or next(iter(types), None)
        if standard:
            return Slot(standard)
        return Slot(_key(chosen, label), chosen) if chosen else None


def _unfit(field: Field, chosen: str, there: Sequence[str]) -> str | None:
    """Say why a custom field takes no such values; `there` are the types under which Autopilot has it."""
    if chosen not in FITTING[field.type]:
        return f"`{chosen}--…` takes no {field.type}"
    if there and chosen not in there:
        return f"is a {' and a '.join(there)} field in Autopilot, which takes no {field.type}"
    return None


def _is_same(one: Slot, other: Slot) -> bool:
    """Compare as Autopilot does, which tells no two cases apart."""
    return one.key.casefold() == other.key.casefold()


def _standard(name: str) -> str | None:
    return name if name in STANDARD else PRESET.get(name)


def _label(name: str) -> tuple[str | None, str]:
    """Read a name as written by the owner: "Lead Source", or in full "string--Lead--Source"."""
    match = _KEY.fullmatch(name)
    given, rest = (match[1], match[2]) if match else (None, name)
    return given, rest.replace("--", " ")


def _key(type_: str, label: str) -> str:
    return f"{type_}--{label.replace(' ', '--')}"


def _type_of(value: Value) -> FieldType:
    if isinstance(value, bool):
        return FieldType.BOOLEAN
    if isinstance(value, int | Decimal):
        return FieldType.NUMBER
    return FieldType.DATE if isinstance(value, date) else FieldType.TEXT


def _as_read(type_: str | None, value: Any) -> str:
    return as_text(value)[:10] if type_ == "date" else as_text(value)


def _text(value: Value) -> str:
    """Write as text; half a surrogate pair, which is no text at all, is left out."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return value.isoformat()
    return str(value).encode("utf-8", "ignore").decode()


def _number(value: Value) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Unfit("the value is no number")
    return Decimal(value)


def _whole(value: Value) -> Decimal:
    number = _number(value)
    if number != number.to_integral_value():
        raise Unfit("is an integer field in Autopilot; the value has decimals")
    return Decimal(int(number))


def _date(value: Value) -> str:
    """Write noon in UTC, as the vendor's samples do: the same day nearly everywhere."""
    if isinstance(value, datetime):
        value = value.date()
    if not isinstance(value, date):
        raise Unfit("the value is no date")
    return f"{value.isoformat()}T12:00:00.000Z"


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Unfit("the value is neither true nor false")
    return value


_WRITERS: Mapping[str, Callable[[Value], Any]] = {
    "string": _text,
    "float": _number,
    "integer": _whole,
    "date": _date,
    "boolean": _truth,
}
