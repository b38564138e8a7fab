"""What a merge field of each type takes, and what Mailchimp says of the rest."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any


@dataclass(slots=True)
class MergeField:
    number: int
    tag: str
    name: str
    type: str
    required: bool = False
    public: bool = False
    default: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def read_value(kind: MergeField, value: Any) -> Any:
    """Read a sent value as it is kept. Raises ValueError with Mailchimp's message for the field."""
    return _READERS[kind.type](value, kind)


def _text(value: Any, _: MergeField) -> str:
    if isinstance(value, bool | dict | list):
        raise ValueError("Please enter a value")  # noqa: TRY004 - read as a message for one field
    if len(str(value).encode()) > 255:
        raise ValueError("Please limit the text to 255 bytes")
    return str(value)


def _number(value: Any, _: MergeField) -> int | float:
    if isinstance(value, bool | dict | list) or not re.fullmatch(
        r"-?\d{1,18}(\.\d+)?(e[+-]?\d+)?", f"{value}", re.IGNORECASE
    ):
        raise ValueError("Please enter a number")
    return float(value) if "." in f"{value}" or "e" in f"{value}".lower() else int(value)


def _date(value: Any, _: MergeField) -> str:
    """Read YYYY-MM-DD, whose time part is dropped, or the American form."""
    try:
        if match := re.fullmatch(r"(\d\d)/(\d\d)/(\d{4})", str(value)):
            return date(int(match[3]), int(match[1]), int(match[2])).isoformat()
        return datetime.fromisoformat(str(value)).date().isoformat()
    except ValueError:
        raise ValueError("Please enter a date") from None


def _birthday(value: Any, _: MergeField) -> str:
    if not re.fullmatch(r"(0[1-9]|1[0-2])/(0[1-9]|[12]\d|3[01])", str(value)):
        raise ValueError("Please enter a month (01-12) and a day (01-31)")
    return str(value)


def _choice(value: Any, kind: MergeField) -> str:
    if value not in kind.options.get("choices", ()):
        raise ValueError("Value must be one of the choices of this field")
    return str(value)


def _address(value: Any, _: MergeField) -> dict[str, str]:
    if not isinstance(value, dict) or not all(value.get(part) for part in ("addr1", "city", "state", "zip")):
        raise ValueError("Please enter a complete address")
    return {"addr2": "", "country": "US", **value}


def _phone(value: Any, kind: MergeField) -> str:
    if kind.options.get("phone_format") == "US" and not re.fullmatch(
        r"\(?\d{3}\)?[ -]?\d{3}-?\d{4}", str(value)
    ):
        raise ValueError("Please enter a US phone number")
    return _text(value, kind)


def _url(value: Any, kind: MergeField) -> str:
    if not re.match(r"https?://", str(value)):
        raise ValueError("Please enter a valid URL")
    return _text(value, kind)


def _zip(value: Any, _: MergeField) -> str:
    if not re.fullmatch(r"\d{5}", str(value)):
        raise ValueError("Please enter a zip code (5 digits)")
    return str(value)


_READERS: Mapping[str, Callable[[Any, MergeField], Any]] = {
    "text": _text,
    "number": _number,
    "date": _date,
    "birthday": _birthday,
    "radio": _choice,
    "dropdown": _choice,
    "address": _address,
    "phone": _phone,
    "url": _url,
    "imageurl": _url,
    "zip": _zip,
}
TYPES = frozenset(_READERS)
