"""Checkouts that nobody finished, as far as WooCommerce's core shows them: orders that were never paid.

- Core keeps no carts. What it has are drafts of the block checkout, which hold an address as soon as one was
  typed and are purged after a day (from 2026 on there are fewer, as they are made when the order is placed:
  https://github.com/woocommerce/woocommerce/pull/64155), and orders whose payment was not begun (`pending`) or did not work (`failed`).
- An order that ages does not change. So a reading takes what has stood still long enough, by the shop's clock,
  and the next one begins there: as long before the last reading as a checkout takes to count as abandoned.
- Unpaid orders are cancelled by the shop's own timer (*Hold stock*): that is no word of the buyer, and their
  checkout stays open. What became of an order otherwise is seen where orders are read, and closes it there.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import Page, Resource, Window
from connectors.facts import Checkout, Fact
from connectors.paging import read_rows
from connectors.stores.woocommerce.cursors import OVERLAP
from connectors.stores.woocommerce.listing import CREATED, MODIFIED, Params, Place, Shop
from connectors.stores.woocommerce.payloads import OPEN, UNDECIDED, read_checkout

LIFE = timedelta(days=90)
"""How far back checkouts are read: an older one is nobody's reminder any more."""
FIELDS = (
    "id,status,currency,date_created_gmt,date_modified_gmt,date_paid_gmt,total,customer_id,billing,payment_url,"
    "created_via"
)
KIND = "checkout"
BLOCK_CHECKOUT = "store-api"
BY_BUYERS = frozenset({"checkout", BLOCK_CHECKOUT, None})
"""Ways in which buyers make orders; what staff typed in, or a subscription renews, is no checkout that they left."""


@dataclass(frozen=True, slots=True)
class Checkouts:
    """Reads unpaid orders of a shop as checkouts, once they stood still for `after`."""

    shop: Shop
    after: timedelta

    async def plan(self, since: datetime | None) -> Sequence[Window]:
        oldest = datetime.now(UTC) - LIFE
        start = max(since, oldest) if since else oldest
        listing = await self.shop.list(Resource.ORDERS, self._asked(CREATED.between(start, None)), size=1)
        return [Window(Resource.CHECKOUTS, start)] if listing.rows else []

    async def history(self, window: Window, cursor: str | None) -> AsyncIterator[Page]:
        """Read page by page; what is too young yet is left to the first reading of changes."""
        number, is_last = int(cursor or 0), False
        asked = self._asked(CREATED.between(window.start, window.end))
        while not is_last:
            number += 1
            listing = await self.shop.list(Resource.ORDERS, asked, number)
            yield read_page(listing.rows, str(number), self._horizon(listing.sent_at))
            is_last = listing.is_last

    async def changes(self, since: datetime, cursor: str | None) -> AsyncIterator[Page]:
        """Read what came to count as abandoned since the last reading, which `cursor` tells the end of.

        Until the end each page carries the old cursor: there are few, and a reading that broke off begins anew.
        """
        told: Mapping[str, str] = json.loads(cursor) if cursor else {}
        until = datetime.fromisoformat(told["until"]) if told else since - self.after
        here = json.dumps({"until": until.isoformat()})
        horizon: datetime | None = None
        async for step in self.shop.walk(Resource.ORDERS, self._asked({}), MODIFIED, Place(until - OVERLAP)):
            horizon = horizon or max(until, self._horizon(step.sent_at))
            there = json.dumps({"until": horizon.isoformat()})
            yield read_page(step.rows, there if step.is_last else here, horizon)

    async def reread(self, ids: Sequence[str]) -> Page:
        asked = {"status": "any", "include": ",".join(ids), "_fields": FIELDS}
        return read_page((await self.shop.list(Resource.ORDERS, asked)).rows, "", None)

    def _asked(self, params: Params) -> Params:
        return {"status": ",".join(sorted(OPEN)), **params, "_fields": FIELDS}

    def _horizon(self, now: datetime | None) -> datetime:
        """Say until when something must have stood still; `now` is the shop's clock, where it tells it."""
        return (now or datetime.now(UTC)) - self.after


def read_page(rows: Sequence[Any], cursor: str, horizon: datetime | None) -> Page:
    """Read rows as checkouts; those that moved since `horizon` are left out, and those that no buyer made."""
    theirs = [row for row in rows if not isinstance(row, Mapping) or _is_a_buyers(row)]
    facts, bad = read_rows(theirs, read_checkout, KIND)
    return Page([fact for fact in facts if horizon is None or _stood_still(fact, horizon)], cursor, bad)


def _is_a_buyers(row: Mapping[str, Any]) -> bool:
    way = row.get("created_via")
    return not isinstance(way, str | None) or way in BY_BUYERS


def closed(rows: Iterable[Any], after: timedelta) -> list[Fact]:
    """Close the checkouts of orders that may have counted as abandoned before they were decided.

    Those of the block checkout always: nobody promises that a draft keeps its date when it becomes an order.
    """
    decided = [row for row in rows if isinstance(row, Mapping) and row.get("status") not in UNDECIDED]
    return [
        fact
        for row in decided
        for fact in read_rows([row], read_checkout, KIND)[0]
        if row.get("created_via") == BLOCK_CHECKOUT or _took(fact) >= after
    ]


def _took(fact: Fact) -> timedelta:
    """Say how long it took from the beginning of a checkout to its end; nothing while it is open."""
    if not isinstance(fact, Checkout) or fact.completed_at is None:
        return timedelta()
    return fact.completed_at - fact.created_at


def _stood_still(fact: Fact, since: datetime) -> bool:
    return isinstance(fact, Checkout) and fact.updated_at < since
