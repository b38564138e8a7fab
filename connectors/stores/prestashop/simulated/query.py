"""How the simulator understands a question: filters, order, limit and fields, as the webservice and MySQL do.

- A filter in brackets is one value, a list `[a|b]`, or a range `[a,b]` with both ends in it; a range holds
  digits, dots, colons, dashes and spaces alone, else it is one value, which nothing has.
- `>[…]`, `<[…]`, `![…]`, `[…]%`, `%[…]`, `%[…]%`. A moment that is none is less than every moment.
- Dates can be asked for with `date=1` alone. Rows that are filtered and not sorted come in no order.
"""

import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from connectors.stores.prestashop.simulated.rows import Shelf
from connectors.stores.prestashop.simulated.shop import Row, SimulatedShop, moment_key

DATES = frozenset({"date_add", "date_upd"})
KEPT_SORTED = DATES | {"newsletter_date_add"}
FILTER = re.compile(r"(?P<head>.*)\[(?P<inner>.*)\](?P<tail>.*)", re.DOTALL)
RANGE = re.compile(r"([\d.:\-\s]+),([\d.:\-\s]+)")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?")
BY_ID = [("id", True)]
HIGHEST = 0xFFFFFFFF
"""No id is above."""

Wanted = Mapping[str, Sequence[str] | None]
"""Fields to show; with names behind it, something that hangs on the row."""


class Trouble(Exception):
    """One of the webservice's own refusals."""

    def __init__(self, status: int, *errors: tuple[int, str]) -> None:
        super().__init__(errors)
        self.status = status
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition: `compare` over the text of a value; `values` where it asks for equality."""

    name: str
    compare: Callable[[str], bool]
    values: Sequence[str] | None = None
    above: str | None = None


class Query:
    """A question about one resource."""

    def __init__(self, shop: SimulatedShop, shelf: Shelf, params: Mapping[str, str]) -> None:
        self._shop = shop
        self._shelf = shelf
        self._params = params
        self._of_date = params.get("date") not in {None, "", "0"}
        self._ids = shop.ids(shelf.path, shelf.ids)
        self.wanted = self._display()

    def ids(self) -> list[int]:
        """Find the rows asked for, in the order asked for, from the page asked for."""
        filters = [self._filter(name, value) for name, value in self._filters()]
        order = self._order()
        look = self._where_to_look(filters, order)
        rest = [one for one in filters if one is not look.done]
        holding = (number for number in look.ids if all(self._holds(one, number) for one in rest))
        offset, count = self._page()
        found = holding if look.in_order else self._sorted(list(holding), order, filters)
        return list(islice(found, offset, None if count is None else offset + count))

    def row(self, number: int, *, full: bool = False) -> Row:
        """Write a row with the fields asked for; what hangs on it is left out when there is none."""
        wanted = self.wanted
        names = (
            self._shelf.fields
            if full or wanted is None
            else [name for name in self._shelf.fields if name in wanted]
        )
        row = {name: self.value(number, name) for name in names}
        linked = {}
        for name, held in self._shelf.linked.items():
            if full or wanted is None or name in wanted:
                only = (wanted or {}).get(name) or held.fields
                changed = self._shop.changed(self._shelf.path, number) or {}
                rows = changed.get(name, held.rows(number))
                linked[name] = [{key: one[key] for key in held.fields if key in only} for one in rows]
        linked = {name: rows for name, rows in linked.items() if rows}
        return row | ({"associations": linked} if linked else {})

    def value(self, number: int, name: str) -> Any:
        changed = self._shop.changed(self._shelf.path, number)
        return changed[name] if changed and name in changed else self._shelf.fields[name](number)

    # --- what was asked --------------------------------------------------------------------------------

    def _display(self) -> Wanted | None:
        """Read `display`: None for all fields. Raises Trouble for a field that there is not."""
        asked = self._params.get("display", "full")
        if asked in {"full", "minimum"}:
            return None
        match = re.fullmatch(r"\[(.*)\]", asked)
        if not match:
            raise Trouble(400, (36, "The 'display' syntax is wrong."))
        wanted: dict[str, Sequence[str] | None] = {}
        for part in re.findall(r"[^,\[\]]+(?:\[[^\]]*\])?", match[1]):
            name, _, inner = part.strip().partition("[")
            wanted[name] = inner.rstrip("]").split(",") if inner else None
            self._refuse_unknown(name, wanted[name])
        return wanted

    def _refuse_unknown(self, name: str, inner: Sequence[str] | None) -> None:
        linked = self._shelf.linked.get(name)
        known = (
            linked is not None and all(one in linked.fields for one in inner or ())
            if inner
            else name in self._shelf.fields
        )
        if not known:
            listed = ", ".join(self._shelf.fields)
            message = f'Unable to display this field "{name}". However, these are available: {listed}'
            raise Trouble(400, (35, message))

    def _filters(self) -> list[tuple[str, str]]:
        found = ((re.fullmatch(r"filter\[(\w+)\]", name), value) for name, value in self._params.items())
        return [(match[1], value) for match, value in found if match]

    def _available(self) -> list[str]:
        """List the fields that can be asked for here and now."""
        hidden = self._shelf.languages | (frozenset() if self._of_date else DATES)
        return [name for name in self._shelf.fields if name not in hidden]

    def _filter(self, name: str, value: str) -> Filter:
        available = self._available()
        if name not in available:
            listed = '", "'.join(available)
            message = (
                f'This filter does not exist. Did you mean: "{available[0]}"? The full list is: "{listed}"'
            )
            raise Trouble(400, (32, message))
        if not value:
            raise Trouble(400, (33, f'The filter "{name}" is malformed.'))
        if name in self._shelf.unfilterable:
            message = (
                f'The field "{name}" is dynamic. It is not possible to filter GET query with this field.'
            )
            raise Trouble(400, (34, message))
        return read_filter(name, value)

    def _order(self) -> list[tuple[str, bool]]:
        """Read `sort` as (field, whether rising)."""
        asked = self._params.get("sort")
        if asked is None:
            return []
        order = []
        for part in asked.strip("[]").split(","):
            name, _, direction = part.rpartition("_")
            if direction.upper() not in {"ASC", "DESC"}:
                raise Trouble(400, (37, 'The "sort" value has to be formed as this example: "field_ASC"'))
            if name not in {*self._available(), *self._shelf.languages}:
                listed = ", ".join(self._available())
                message = f"Unable to filter by this field. However, these are available: {listed}, for i18n fields:"
                raise Trouble(400, (38, message))
            order.append((name, direction.upper() == "ASC"))
        return order

    # --- finding it ------------------------------------------------------------------------------------

    def _where_to_look(self, filters: Sequence[Filter], order: Sequence[tuple[str, bool]]) -> "Look":
        """Find which ids to look at, so that a page of a large shop does not cost a look at all of it."""
        for one in filters:
            if one.values is not None and one.name == "id":
                return Look(self._known(set(one.values)), order == BY_ID, one)
            if one.values is not None and one.name in self._shelf.found_by:
                find = self._shelf.found_by[one.name]
                ids = sorted({number for value in one.values for number in find(value)})
                return Look(ids, order == BY_ID, one)
        if order and order[0][0] in KEPT_SORTED and all(rising for _, rising in order):
            return self._by_moment(order[0][0], filters)
        above = next((one for one in filters if one.name == "id" and (one.above or "").isdigit()), None)
        start = bisect_right(self._ids, int(above.above or 0)) if above else 0
        ids_above = (self._ids[place] for place in range(start, len(self._ids)))
        return Look(ids_above, order == BY_ID or not (order or filters), above)

    def _known(self, wanted: set[str]) -> list[int]:
        ids = self._ids
        numbers = sorted(int(one) for one in wanted if one.isdigit())
        places = ((number, bisect_left(ids, number)) for number in numbers)
        return [number for number, place in places if place < len(ids) and ids[place] == number]

    def _by_moment(self, name: str, filters: Sequence[Filter]) -> "Look":
        def make() -> Iterable[int]:
            return (moment_key(self.value(number, name), number) for number in self._ids)

        entries = self._shop.by_time(self._shelf.path, name, make)
        above = next((one for one in filters if one.name == name and MOMENT.fullmatch(one.above or "")), None)
        start = bisect_right(entries, moment_key(above.above or "", HIGHEST)) if above else 0
        ids = (entries[place] & HIGHEST for place in range(start, len(entries)))
        return Look(ids, in_order=True, done=above)

    def _holds(self, one: Filter, number: int) -> bool:
        value = self.value(number, one.name)
        return one.compare(str(value))

    def _sorted(
        self, ids: list[int], order: Sequence[tuple[str, bool]], filters: Sequence[Filter]
    ) -> list[int]:
        if not order and filters:
            return sorted(ids, key=lambda number: zlib.crc32(str(number).encode()))
        for name, rising in reversed(order):
            ids = sorted(ids, key=lambda number: self.value(number, name), reverse=not rising)
        return ids

    def _page(self) -> tuple[int, int | None]:
        """Read `limit` as PHP's `(int)` does: nonsense is 0, and so is what comes."""
        if "limit" not in self._params:
            return 0, None
        parts = [_php_int(part) for part in self._params["limit"].split(",")]
        return (0, parts[0]) if len(parts) == 1 else (parts[0], parts[1])


@dataclass(frozen=True, slots=True)
class Look:
    """Ids to look at, whether they are in the order asked for, and the filter that is done with."""

    ids: Iterable[int]
    in_order: bool
    done: Filter | None


def read_filter(name: str, value: str) -> Filter:
    """Read one filter as `getSQLRetrieveFilter` does."""
    match = FILTER.fullmatch(value)
    if not match:
        return _equal(name, [value])
    head, inner, tail = match["head"], match["inner"], match["tail"]
    if "%" in {head, tail}:
        like = (".*" if head == "%" else "") + re.escape(inner.lower()) + (".*" if tail == "%" else "")
        return Filter(name, lambda text: bool(re.fullmatch(like, text.lower(), re.DOTALL)))
    if head in COMPARED:
        return COMPARED[head](name, inner)
    between = RANGE.fullmatch(inner)
    if "|" in inner or not between:
        return _equal(name, inner.split("|"))
    low, high = sorted(between.groups())
    return Filter(name, lambda text: _bound(low, text) <= _key(text) <= _bound(high, text))


def _above(name: str, inner: str) -> Filter:
    return Filter(name, lambda text: _key(text) > _bound(inner, text), above=inner)


def _below(name: str, inner: str) -> Filter:
    return Filter(name, lambda text: _key(text) < _bound(inner, text))


def _not(name: str, inner: str) -> Filter:
    unwanted = {one.lower() for one in inner.split("|")}
    return Filter(name, lambda text: text.lower() not in unwanted)


COMPARED: Mapping[str, Callable[[str, str], Filter]] = {">": _above, "<": _below, "!": _not}


def _equal(name: str, values: Sequence[str]) -> Filter:
    wanted = {value.lower() for value in values}
    return Filter(name, lambda text: text.lower() in wanted, values=list(values))


def _key(text: str) -> tuple[int, float, str]:
    """Compare numbers as numbers and the rest as text."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text.lower()


def _bound(text: str, value: str) -> tuple[int, float, str]:
    """Read the other side; beside a moment, what is no moment is the least there is."""
    if MOMENT.fullmatch(value):
        day = text if " " in text else f"{text} 00:00:00"
        return (1, 0.0, day) if MOMENT.fullmatch(text) else (0, 0.0, "")
    return _key(text)


def _php_int(text: str) -> int:
    match = re.match(r"\s*\d+", text)
    return int(match[0]) if match else 0
