"""Page by page: keyset paging by a moment or by an id, as large as the shop lets a page be.

- A page may hold 250 rows. When that is too expensive or takes too long, pages get smaller, and grow again.
- Cursors lead on within one question; every so often we ask anew from the last row, since no connection is
  promised to go on for ever (25,000 rows, say the limits).
- An order's first lines come with it; of orders with more, all lines are asked for at once.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from connectors.base import Resource
from connectors.errors import RemoteFault, Unreachable
from connectors.stores.shopify.admin import Admin, Reply
from connectors.stores.shopify.operations import BY_IDS, KINDS, MORE_LINES, ORDER_LINES, PAGES
from connectors.stores.shopify.places import highest_id, newest_change
from connectors.stores.shopify.refusals import TooExpensive

log = structlog.get_logger()

LARGEST = 250
SMALLEST = 25
CHEAP = 500.0
"""Points: below it a page may be twice as large, one query may cost 1,000."""
PAGES_AT_A_STRETCH = 40
ORDERS_WITH_ALL_LINES = 10


@dataclass(frozen=True, slots=True)
class Sort:
    """What rows are sorted by: how to ask for those from a place on, and which place a page has reached."""

    key: str
    filter: Callable[[str], str]
    reached: Callable[[Sequence[Any]], str | None]


BY_CHANGE = Sort("UPDATED_AT", lambda at: f"updated_at:>='{at}'", newest_change)
BY_ID = Sort("ID", lambda last: f"id:>={int(last) + 1}", highest_id)


@dataclass(frozen=True, slots=True)
class Step:
    """One page: its rows, the place it reached, whether it is the last."""

    rows: Sequence[Any]
    place: str | None
    is_last: bool
    sent_at: datetime


@dataclass(slots=True)
class Pages:
    """Asks for pages of a shop. `sizes` are rows per page that the shop took last."""

    admin: Admin
    sizes: dict[str, int] = field(default_factory=dict)

    async def walk(
        self, resource: Resource, sort: Sort, filters: Sequence[str], place: str | None
    ) -> AsyncIterator[Step]:
        """Read page after page from `place` on; `filters` narrow all of them."""
        start, after, count = place, None, 0
        while True:
            narrowed = [*filters, *([sort.filter(start)] if start is not None else [])]
            reply = await self._page(resource, sort.key, " AND ".join(narrowed) or None, after)
            page = reply.data[KINDS[resource].root]
            is_last = not page["pageInfo"]["hasNextPage"]
            rows = await self.with_all_lines(resource, page["nodes"])
            place = sort.reached(rows) or place
            yield Step(rows, place, is_last, reply.sent_at)
            if is_last:
                return
            count, after = count + 1, page["pageInfo"]["endCursor"]
            if count % PAGES_AT_A_STRETCH == 0 and place != start:
                start, after = place, None

    async def by_ids(self, resource: Resource, ids: Sequence[str]) -> list[Any]:
        """Read single rows; those that are gone are left out."""
        rows: list[Any] = []
        left = [f"gid://shopify/{KINDS[resource].type}/{number}" for number in ids]
        while left:
            asked = partial(_first_of, left)
            reply, size = await self._sized(BY_IDS[resource], asked, f"{resource} by id")
            rows += [row for row in reply.data["nodes"] if row]
            left = left[size:]
        return await self.with_all_lines(resource, rows)

    async def with_all_lines(self, resource: Resource, rows: Sequence[Any]) -> list[Any]:
        """Complete the orders whose lines did not all come with them."""
        short = [row["id"] for row in rows if resource is Resource.ORDERS and _has_more(row)]
        lines: dict[str, Any] = {}
        for first in range(0, len(short), ORDERS_WITH_ALL_LINES):
            ids = short[first : first + ORDERS_WITH_ALL_LINES]
            reply = await self.admin.ask(ORDER_LINES, {"ids": ids}, key=f"{len(ids)} ")
            for order in reply.data["nodes"]:
                if order:
                    lines[order["id"]] = await self._to_the_end(order)
        return [
            row | {"lineItems": {"nodes": lines[row["id"]]}} if _has_more(row) and row["id"] in lines else row
            for row in rows
        ]

    async def _to_the_end(self, order: Mapping[str, Any]) -> list[Any]:
        """Read on after 250 lines."""
        nodes, page = list(order["lineItems"]["nodes"]), order["lineItems"]["pageInfo"]
        while page["hasNextPage"]:
            reply = await self.admin.ask(MORE_LINES, {"id": order["id"], "after": page["endCursor"]})
            more = (reply.data["order"] or order)["lineItems"]
            nodes += more["nodes"]
            page = more["pageInfo"] if reply.data["order"] else {"hasNextPage": False}
        return nodes

    async def _page(self, resource: Resource, sort: str, search: str | None, after: str | None) -> Reply:
        asked = {"after": after, "query": search, "sort": sort}
        reply, _ = await self._sized(PAGES[resource], lambda size: asked | {"first": size}, resource.value)
        return reply

    async def _sized(
        self, query: str, variables: Callable[[int], Mapping[str, Any]], known_as: str
    ) -> tuple[Reply, int]:
        """Ask for as much as the shop gives: half as much when that is too expensive, less when it fails."""
        may_shrink = True
        while True:
            size = self.sizes.get(known_as, LARGEST)
            try:
                reply = await self.admin.ask(query, variables(size), key=f"{size} ")
            except TooExpensive:
                if size == 1:
                    raise
                self._resize(known_as, size // 2)
            except (RemoteFault, Unreachable) as error:
                never_sent = isinstance(error, Unreachable) and not error.sent
                if never_sent or not may_shrink or size <= SMALLEST:
                    raise
                may_shrink = False
                self._resize(known_as, SMALLEST)
            else:
                if size < LARGEST and reply.cost < CHEAP:
                    self.sizes[known_as] = min(LARGEST, size * 2)
                return reply, size

    def _resize(self, known_as: str, size: int) -> None:
        log.debug("page_shrunk", rows=size)
        self.sizes[known_as] = size


def _first_of(ids: Sequence[str], size: int) -> Mapping[str, Any]:
    return {"ids": ids[:size]}


def _has_more(row: Any) -> bool:
    lines = row.get("lineItems") if isinstance(row, Mapping) else None
    return bool(lines and lines["pageInfo"]["hasNextPage"])
