"""What an attribute of each type takes. The rest is dropped without a word, as Brevo does it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

PHONE = re.compile(r"(\+|00)?[1-9]\d{5,14}")
NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Attribute:
    """`choices` are the numbers of a category, or the options of a multiple choice."""

    name: str
    category: str
    type: str
    choices: tuple[Any, ...] = ()


class Dropped(Exception):
    """The value is not of the attribute's type."""


def read_value(kind: Attribute, value: Any) -> Any:
    """Read a sent value as it is kept, None for nothing. Raises Dropped."""
    return None if value == "" else _READERS[kind.type](value, kind)


def _text(value: Any, _: Attribute) -> str:
    if not isinstance(value, str):
        raise Dropped
    return value


def _number(value: Any, _: Attribute) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Dropped
    return value


def _boolean(value: Any, _: Attribute) -> bool:
    if not isinstance(value, bool):
        raise Dropped
    return value


def _date(value: Any, _: Attribute) -> str:
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
            raise Dropped
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise Dropped from error


def _choice(value: Any, kind: Attribute) -> Any:
    if value not in kind.choices:
        raise Dropped
    return value


def _choices(value: Any, kind: Attribute) -> list[str]:
    if not isinstance(value, list) or not set(value) <= set(kind.choices):
        raise Dropped
    return value


_READERS: Mapping[str, Callable[[Any, Attribute], Any]] = {
    "text": _text,
    "user": _text,
    "float": _number,
    "boolean": _boolean,
    "date": _date,
    "category": _choice,
    "multiple-choice": _choices,
}
TYPES = frozenset(_READERS)


def phone_digits(value: object) -> str | None:
    """Read a phone number in any of the forms that Brevo takes; None when it is none."""
    text = re.sub(r"[\s().-]", "", str(value))
    return text.removeprefix("+").removeprefix("00") if PHONE.fullmatch(text) else None
