"""How a field is named and written in Ortto. Decides, sends nothing.

A field's id is type:namespace:name, the namespace empty for built-in fields (`str::first`) and `cm` for
custom ones, whose name is their display name in kebab-case (`int:cm:orders-count`). One id that Ortto does
not know refuses the whole person, so only ids that it told us are sent.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connectors.base import Field, FieldType, Value
from connectors.writing import as_text

TEXT_LENGTH = 500
"""Characters that a `text` field holds; longer text is cut. A `large_text` field takes it whole."""
PRESET = {"FNAME": "str::first", "LNAME": "str::last", "MOBILE": "phn::phone", "ZIPCODE": "str::postal"}
"""Names of the shipped preset that Ortto has a field of its own for. City and country are none of them:
Ortto's are places that it looks up by their English names."""
NEW_TYPES = {
    FieldType.TEXT: "text",
    FieldType.NUMBER: "decimal",
    FieldType.DATE: "date",
    FieldType.BOOLEAN: "bool",
}
FITTING = {
    FieldType.TEXT: frozenset({"text", "large_text", "link", "single_select", "phone", "geo"}),
    FieldType.NUMBER: frozenset({"decimal", "currency", "price", "integer"}),
    FieldType.DATE: frozenset({"date", "time"}),
    FieldType.BOOLEAN: frozenset({"bool"}),
}
"""Display types of an existing field that can take our values; Ortto judges each value."""
RESERVED = frozenset({"str::email", "str::person_id", "bol::p", "bol::sp", "str::u-ctx", "str::s-ctx"})
"""Identity and permission: no mapping writes them."""
THOUSAND = 1000
LARGEST = 2**63 - 1
"""What a 64-bit integer holds, less the one that rounding may add."""
_ID = re.compile(r"[a-z0-9]{3}:\w*:.+")

CUT = frozenset({"text", "link", "single_select", "geo"})
"""Types of fields whose text is cut."""


class Unfit(ValueError):
    """A value that a field's type cannot hold; the text quotes no value."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A field of Ortto: where a value goes, and how it is written."""

    id: str
    type: str

    def written(self, value: Value) -> Any:
        """Write a value as this field takes it; null clears. Raises Unfit."""
        return None if value is None else _WRITERS[self.type](value)

    def read(self, value: Any) -> str:
        """Write what Ortto gives back, or was sent, as text; empty for nothing."""
        return "" if value is None else _READERS.get(self.type, as_text)(value)

    def as_read(self, value: Value) -> str:
        """Write a value as `read` finds it again."""
        try:
            return self.read(self.written(value))
        except Unfit:
            return as_text(value)


class Fields:
    """Custom fields as Ortto lists them (`rows`), and built-in ones (`schema`, by id)."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Mapping[str, Any]]) -> None:
        self._slots: dict[str, Slot] = {}
        self._custom: dict[str, Slot] = {}
        for row in rows:
            self.add(str(row["id"]), str(row.get("name") or ""), str(row["display_type"]))
        self._built_in = {
            id_: Slot(id_, str(field.get("display_type")))
            for id_, field in schema.items()
            if not field.get("read_only") and id_ not in RESERVED
        }

    def add(self, id_: str, name: str, display_type: str) -> None:
        """Keep a custom field under its id, its display name and its name in kebab-case."""
        slot = Slot(id_, display_type)
        for alias in (id_, name.casefold(), kebab(id_.split(":", 2)[-1])):
            self._custom.setdefault(alias, slot)

    def find(self, name: str) -> Slot | None:
        """Look a field up by the name that the owner gave it."""
        built_in = self._built_in.get(PRESET.get(name, name))
        return built_in or self._custom.get(name) or self._custom.get(name.casefold()) or self._by_kebab(name)

    def _by_kebab(self, name: str) -> Slot | None:
        return self._custom.get(kebab(name)) if kebab(name) else None

    def settle(self, field: Field) -> str | None:
        """Bind a field's name to what Ortto has; return why it cannot be used."""
        slot = self.find(field.name)
        if slot is None:
            return f"is no field that Ortto lets us write: {field.name}"
        if slot.type not in FITTING[field.type]:
            return f"is a {slot.type} field in Ortto, which takes no {field.type}"
        taken = next((name for name, other in self._slots.items() if other.id == slot.id), field.name)
        if taken != field.name:
            return f"is the same field in Ortto as {taken}"
        self._slots[field.name] = slot
        return None

    def slot(self, name: str) -> Slot | None:
        return self._slots.get(name) or self.find(name)

    def fits(self, name: str, text: str) -> bool:
        """Tell whether a field takes the whole of a text."""
        slot = self.slot(name)
        return len(text) <= TEXT_LENGTH or slot is None or slot.type not in CUT


def is_id(name: str) -> bool:
    """Tell whether the owner named a field by its id, so that none is made for it."""
    return _ID.fullmatch(name) is not None or name in PRESET


def kebab(name: str) -> str:
    """Write a name as it stands in a field's id."""
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-")


def _plain(value: Value) -> str:
    """Write as text; half a surrogate pair, which is no text at all, is left out."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value.isoformat() if isinstance(value, date) else str(value)
    return text.encode("utf-8", "ignore").decode()


def _text(value: Value) -> str:
    return _plain(value)[:TEXT_LENGTH]


def _phone(value: Value) -> dict[str, Any]:
    """Write a number in E.164 form, which begins with the country's code."""
    digits = re.sub(r"\D", "", _plain(value))
    if not digits:
        raise Unfit("the value is no phone number")
    return {"phone": digits, "parse_with_country_code": True}


def _place(value: Value) -> dict[str, str]:
    return {"name": _text(value)}


def _number(value: Value) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Unfit("the value is no number")
    return Decimal(value)


def _thousandths(value: Value) -> int:
    """Write a decimal as Ortto keeps it: an integer, times 1,000, half a thousandth rounded away from zero."""
    scaled = _number(value) * THOUSAND
    _check_range(scaled)
    return int(scaled.quantize(Decimal(1), ROUND_HALF_UP))


def _whole(value: Value) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise Unfit("is an integer field in Ortto; the value has decimals")
    _check_range(number)
    return int(number)


def _check_range(number: Decimal) -> None:
    if abs(number) >= LARGEST:
        raise Unfit("the value is too large for Ortto")


def _date(value: Value) -> dict[str, Any]:
    day = _day(value)
    return {"year": day.year, "month": day.month, "day": day.day, "timezone": "UTC"}


def _time(value: Value) -> str:
    return f"{_day(value).isoformat()}T12:00:00Z"


def _day(value: Value) -> date:
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, date):
        raise Unfit("the value is no date")
    return value


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Unfit("the value is neither true nor false")
    return value


_WRITERS: Mapping[str, Callable[[Value], Any]] = {
    "text": _text,
    "link": _text,
    "single_select": _text,
    "large_text": _plain,
    "phone": _phone,
    "geo": _place,
    "decimal": _thousandths,
    "currency": _thousandths,
    "price": _thousandths,
    "integer": _whole,
    "date": _date,
    "time": _time,
    "bool": _truth,
}


def _number_read(value: Any) -> str:
    return as_text(Decimal(str(value)) / THOUSAND)


def _date_read(value: Any) -> str:
    return f"{value['year']:04}-{value['month']:02}-{value['day']:02}" if value.get("year") else ""


def _phone_read(value: Any) -> str:
    """Read the digits: of country and number apart, as Ortto gives them, or of all together, as it takes them."""
    parts = (value.get("c"), value.get("n"), value.get("phone")) if isinstance(value, Mapping) else (value,)
    return "".join(filter(str.isdigit, "".join(str(part) for part in parts if part)))


_READERS: Mapping[str, Callable[[Any], str]] = {
    "decimal": _number_read,
    "currency": _number_read,
    "price": _number_read,
    "date": _date_read,
    "time": lambda value: str(value)[:10],
    "phone": _phone_read,
    "geo": lambda value: as_text(value.get("name") if isinstance(value, Mapping) else value),
}
