"""From what a database answers to what is pushed."""

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connectors.base import FieldType, Value
from mappings.clock import Clock
from state.functions import EXACT
from state.tables import Kind

DECIMALS = Decimal("0.000001")
Reader = Callable[[Any, Clock, int], Value]


def number(value: Any) -> int | Decimal | None:
    """Read a number of either database: whole ones as int, others with at most six decimals.

    What SQLite calls infinite is unknown.
    """
    if isinstance(value, int):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    rounded = exact.quantize(DECIMALS, ROUND_HALF_UP, EXACT)
    return int(rounded) if rounded == rounded.to_integral_value() else rounded.normalize(EXACT)


def amount(value: Any, digits: int) -> Decimal | None:
    """Read minor units as an amount with the decimals of its currency, half a minor unit rounded up.

    Zero has no sign, whichever side it was rounded from.
    """
    minor = number(value)
    if minor is None:
        return None
    whole = int(Decimal(minor).quantize(Decimal(1), ROUND_HALF_UP, EXACT))
    return Decimal(whole).scaleb(-digits, EXACT)


def _number(value: Any, _: Clock, __: int) -> Value:
    return number(value)


def _number_text(value: Any, _: Clock, __: int) -> Value:
    read = number(value)
    return None if read is None else f"{Decimal(read):f}"


def _money(value: Any, _: Clock, digits: int) -> Value:
    return amount(value, digits)


def _money_text(value: Any, _: Clock, digits: int) -> Value:
    read = amount(value, digits)
    return None if read is None else format(read, "f")


def _text(value: Any, _: Clock, __: int) -> Value:
    return str(value)


def _date(value: datetime, clock: Clock, _: int) -> Value:
    return value.astimezone(clock.timezone).date()


def _moment_text(value: datetime, clock: Clock, _: int) -> Value:
    return value.astimezone(clock.timezone).isoformat(timespec="seconds")


def _boolean(value: Any, _: Clock, __: int) -> Value:
    return bool(value)


def _boolean_text(value: Any, _: Clock, __: int) -> Value:
    return "yes" if value else "no"


def _day(value: date, _: Clock, __: int) -> Value:
    return value


def _day_text(value: date, _: Clock, __: int) -> Value:
    return value.isoformat()


READERS: Mapping[tuple[Kind, FieldType], Reader] = {
    (Kind.TEXT, FieldType.TEXT): _text,
    (Kind.NUMBER, FieldType.NUMBER): _number,
    (Kind.NUMBER, FieldType.TEXT): _number_text,
    (Kind.MONEY, FieldType.NUMBER): _money,
    (Kind.MONEY, FieldType.TEXT): _money_text,
    (Kind.MOMENT, FieldType.DATE): _date,
    (Kind.MOMENT, FieldType.TEXT): _moment_text,
    (Kind.DATE, FieldType.DATE): _day,
    (Kind.DATE, FieldType.TEXT): _day_text,
    (Kind.BOOLEAN, FieldType.BOOLEAN): _boolean,
    (Kind.BOOLEAN, FieldType.TEXT): _boolean_text,
}
"""What each kind can be pushed as; the first of a kind is what it is pushed as when nobody says."""


def natural_type(kind: Kind) -> FieldType:
    return next(type_ for known, type_ in READERS if known is kind)


def shown(kind: Kind, value: Any, clock: Clock, digits: int) -> Value:
    """Read a column for people: moments with their time, in the clock's zone."""
    if value is None:
        return None
    return READERS[kind, FieldType.TEXT if kind is Kind.MOMENT else natural_type(kind)](value, clock, digits)
