"""The parameters of a list, read and refused as WordPress does."""

import bisect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil

from connectors.stores.woocommerce.simulated_rows import Row
from connectors.stores.woocommerce.simulated_shop import SimulatedShop
from connectors.stores.woocommerce.simulated_trouble import Trouble

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")

Span = tuple[float, float]
ALWAYS: Span = (float("-inf"), float("inf"))


class Asked:
    """The parameters of a list, checked as WordPress checks them."""

    def __init__(self, params: Mapping[str, str], shop: SimulatedShop) -> None:
        self._params = params
        self._shop = shop
        self._size = self.number("per_page", 1, 10)
        if self._size > 100:
            message = "per_page must be between 1 (inclusive) and 100 (inclusive)"
            raise _invalid("per_page", message, "rest_out_of_bounds")
        self._page = self.number("page", 1, 1)

    def number(self, name: str, least: int, usual: int) -> int:
        text = self._params.get(name, str(usual))
        if not text.lstrip("-").isdigit():
            raise _invalid(name, f"{name} is not of type integer.", "rest_invalid_type")
        if int(text) < least:
            raise _invalid(name, f"{name} must be greater than or equal to {least}", "rest_out_of_bounds")
        return int(text)

    def name(self, name: str, known: Sequence[str], usual: str) -> str:
        return self._checked(name, self._params.get(name, usual), known, name)

    def names(self, name: str, known: Sequence[str], usual: str) -> list[str]:
        """Read a list: with commas, or as `name[]` or `name[0]`."""
        plain = self._params.get(name)
        parts = (
            plain.split(",") if plain else [v for k, v in self._params.items() if k.startswith(f"{name}[")]
        )
        return [
            self._checked(name, part.strip(), known, f"{name}[{position}]")
            for position, part in enumerate(parts or [usual])
        ]

    def ascending(self, usual: str) -> bool:
        return self.name("order", ("asc", "desc"), usual) == "asc"

    def span(self, after: str, before: str) -> Span:
        """Read the bounds, both left out, as seconds."""
        low, high = self._moment(after), self._moment(before)
        return (ALWAYS[0] if low is None else low, ALWAYS[1] if high is None else high)

    def chosen(self, ids: list[int]) -> list[int]:
        """Keep those of `include`, leave out those of `exclude`."""
        if include := self._ids("include"):
            ids = [number for number in ids if number in include]
        exclude = self._ids("exclude")
        return [number for number in ids if number not in exclude] if exclude else ids

    def page(self, ids: Sequence[int]) -> Sequence[int]:
        start = self.number("offset", 0, 0) or (self._page - 1) * self._size
        return ids[start : start + self._size]

    def pages(self, total: int) -> int:
        return ceil(total / self._size)

    def trimmed(self, write: Callable[[int, Iterable[str] | None], Row], ids: Iterable[int]) -> list[Row]:
        """Write rows with the fields of `_fields` alone, `billing.email` among them."""
        asked = [name.strip() for name in self._params.get("_fields", "").split(",") if name.strip()]
        if not asked:
            return [write(number, None) for number in ids]
        inner: dict[str, list[str]] = {}
        for name in asked:
            outer, _, rest = name.partition(".")
            inner.setdefault(outer, []).extend([rest] if rest else [])
        names = list(inner)
        rows = [write(number, names) for number in ids]
        parts = {name: kept for name, kept in inner.items() if kept and name not in asked}
        return [_parts(row, parts) for row in rows] if parts else rows

    def _ids(self, name: str) -> set[int]:
        return {int(part) for part in self._params.get(name, "").split(",") if part.strip().isdigit()}

    def _moment(self, name: str) -> float | None:
        """Turn a time into the shop's clock if it has a zone; read what then stands there, zone or not."""
        text = self._params.get(name)
        if text is None:
            return None
        if not DATE_TIME.fullmatch(text):
            raise _invalid(name, "Invalid date.", "rest_invalid_date")
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(self._shop.zone).replace(tzinfo=None)
        gmt = self._params.get("dates_are_gmt", "") in {"true", "1"}
        return moment.replace(tzinfo=UTC if gmt else self._shop.zone).timestamp()

    @staticmethod
    def _checked(name: str, value: str, known: Sequence[str], shown: str) -> str:
        if value not in known:
            listed = f"{', '.join(known[:-1])}, and {known[-1]}"
            raise _invalid(name, f"{shown} is not one of {listed}.", "rest_not_in_enum")
        return value


def cut(ids: list[int], span: Span, key: Callable[[int], tuple[int, int]]) -> list[int]:
    """Cut out of sorted ids what lies between the bounds."""
    if span == ALWAYS:
        return ids
    low = bisect.bisect_right(ids, (span[0], float("inf")), key=key)
    high = bisect.bisect_left(ids, (span[1], float("-inf")), key=key)
    return ids[low:high]


def _parts(row: Row, parts: Mapping[str, Sequence[str]]) -> Row:
    return {
        name: {key: value[key] for key in parts[name] if key in value}
        if name in parts and isinstance(value, dict)
        else value
        for name, value in row.items()
    }


def _invalid(name: str, message: str, code: str) -> Trouble:
    details = {name: {"code": code, "message": message, "data": None}}
    said = f"Invalid parameter(s): {name}"
    return Trouble(400, "rest_invalid_param", said, params={name: message}, details=details)
