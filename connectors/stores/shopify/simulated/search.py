"""The search syntax of `query:` arguments, as far as filters by time and id go.

- Unquoted, a time counts by its day. `updated_at` of customers counts by its day in any case.
- An unknown field is ignored, and a warning says so. A comparison with nothing is an internal error.
"""

import bisect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLError

from connectors.stores.shopify.simulated.shop import SimulatedShop, seconds_of

TERM = re.compile(r"""(\w+):\s*(>=|<=|>|<)?\s*(?:'([^']*)'|"([^"]*)"|([^\s()]*))(?:\s+AND\s+|\s+|$)""")
MOMENTS = {"updated_at": "updated", "created_at": "created", "processed_at": "created"}
DAY = 86_400
VISIBLE_DAYS = 60
"""What is seen of orders without `read_all_orders`."""
TESTS: dict[str, Callable[[int, int], bool]] = {
    "": lambda a, b: a == b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


@dataclass(frozen=True, slots=True)
class Filter:
    """`by` is what is compared ("id" or a moment); `by_day` takes a day for one moment."""

    by: str
    test: str
    value: int
    by_day: bool = False

    def holds(self, value: int) -> bool:
        return TESTS[self.test](self.value if self._is_that_day(value) else value, self.value)

    def _is_that_day(self, value: int) -> bool:
        return self.by_day and self.value <= value < self.value + DAY


@dataclass(slots=True)
class Search:
    """A parsed query: its filters, and the warnings that go with the answer."""

    filters: list[Filter]
    warnings: list[dict[str, str]]


def parse_search(query: str | None, root: str, midnight: int = 0) -> Search:
    """Parse a query; days begin `midnight` seconds after those of UTC."""
    search = Search([], [])
    for name, test, single, double, bare in TERM.findall(query or ""):
        value = single or double or bare
        if not value:
            raise GraphQLError(
                "Internal error. Looks like something went wrong on our end.",
                extensions={"code": "INTERNAL_SERVER_ERROR"},
            )
        if name in MOMENTS:
            by_day = bool(bare) or (root == "customers" and name == "updated_at")
            at = int(datetime.fromisoformat(value).astimezone(UTC).timestamp())
            search.filters.append(
                Filter(MOMENTS[name], test, at - at % DAY + midnight if by_day else at, by_day)
            )
        elif name == "id":
            search.filters.append(Filter("id", test, int(value)))
        else:
            search.warnings.append(
                {"field": name, "message": f"Invalid search field: {name}", "code": "invalid_field"}
            )
    return search


def found(shop: SimulatedShop, root: str, sort: str, filters: Sequence[Filter]) -> Sequence[int]:
    """List ids in order of `sort`, those for which every filter holds."""
    shelf = shop.shelves[root]
    ids: Sequence[int] = shelf.sorted_by(sort)
    for each in filters:
        key = shelf.key(each.by)
        if each.by == sort and each.test == ">=":
            ids = ids[bisect.bisect_left(ids, (each.value, -1), key=key) :]
        else:
            ids = [number for number in ids if each.holds(key(number)[0])]
    return ids


def after(
    shop: SimulatedShop, root: str, sort: str, ids: Sequence[int], place: Sequence[Any]
) -> Sequence[int]:
    """Go on behind a cursor's place, wherever its row is by now."""
    key = shop.shelves[root].key(sort)
    return ids[bisect.bisect_right(ids, (int(place[0]), int(place[1])), key=key) :]


def horizon(shop: SimulatedShop, root: str) -> list[Filter]:
    """Say how far back one may see."""
    if root != "orders" or "read_all_orders" in shop.scopes:
        return []
    return [Filter("created", ">=", _horizon(shop))]


def is_visible(shop: SimulatedShop, root: str, number: int) -> bool:
    """Tell whether a row may be seen by its id."""
    return not horizon(shop, root) or shop.created(number) >= _horizon(shop)


def _horizon(shop: SimulatedShop) -> int:
    return seconds_of(shop.now()) - VISIBLE_DAYS * DAY
