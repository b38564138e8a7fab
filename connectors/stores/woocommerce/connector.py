"""WooCommerce: https://woocommerce.github.io/woocommerce-rest-api-docs/, version 3 of the API.

The way of the data: asked here, signed in `keys`, read in `payloads`. Pitfalls, and what is done:

- Pages shift while orders change. Changes are walked by time: always page 1, from the last row's second.
  A backfill pages by number within closed windows of creation time, which is cheap; when its count does
  not come out, `careful` walks by time too. More rows in one second than fit a page are read by number
  within that second, and again when one of them went away meanwhile.
- Filters by time leave the given second out: we ask from a second before. They take naive UTC beside
  `dates_are_gmt=true`; with a `Z` they would be off by the shop's offset.
- A page beyond the last may say that there are 0 rows in all: such a count is no count. A page can be short
  because the key may not see some of its rows: where the shop counts, the count says when to stop.
- `status=any` leaves the trash out; trashing moves the time of change, so the trash is asked for separately.
  What is deleted for good just vanishes.
- Accounts have no time of change to filter by: we read the newest, those that changed orders name, and a
  page of all in turn.
- There are no carts: unpaid orders that stand still are abandoned checkouts (`checkouts`).
- A refund moves its order's time of change and stands in the order.
- Hosts put PHP notices before the JSON, answer with empty bodies, drop the `Authorization` header, know
  only `/index.php/wp-json/`. See also `keys`, `refusals` and `payloads`.
"""

import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import Any

import structlog

from connectors.base import Delivery, News, Page, Resource, Subscription, Window
from connectors.errors import Refused
from connectors.facts import Fact, Order
from connectors.http import Answer, Api
from connectors.paging import Row, in_order, read_rows
from connectors.stores.woocommerce import webhooks
from connectors.stores.woocommerce.checkouts import KIND as CHECKOUT
from connectors.stores.woocommerce.checkouts import Checkouts, closed
from connectors.stores.woocommerce.cursors import OVERLAP, Reading, read_place, write_place
from connectors.stores.woocommerce.keys import Keys
from connectors.stores.woocommerce.listing import (
    CREATED,
    MODIFIED,
    PAGE_SIZE,
    SECOND,
    SMALL,
    Listing,
    Params,
    Place,
    Shop,
    ids_of,
    unseen,
)
from connectors.stores.woocommerce.payloads import (
    STANDINGS,
    Terms,
    read_customer,
    read_order,
    read_product,
)
from connectors.stores.woocommerce.refusals import cut_junk, explain
from connectors.stores.woocommerce.rows import CustomerRow, OrderRow, ProductRow, fields_of
from connectors.stores.woocommerce.settings import WooCommerceSettings
from connectors.webhooks import plain
from connectors.writing import together

log = structlog.get_logger()

PAGES_AT_ONCE: Mapping[Resource, int] = {Resource.ORDERS: 2, Resource.CUSTOMERS: 4, Resource.PRODUCTS: 4}
"""Of one window. A few windows of orders are read side by side, if there are so many; the rest has one only."""
WINDOWS = 8
ORDERS_PER_WINDOW = 2_500

FIELDS: Mapping[Resource, str] = {
    Resource.ORDERS: fields_of(OrderRow),
    Resource.CUSTOMERS: fields_of(CustomerRow),
    Resource.PRODUCTS: fields_of(ProductRow),
}

LISTED: Mapping[Resource, Params] = {
    Resource.ORDERS: {"status": "any"},
    Resource.CUSTOMERS: {"role": "all"},
    Resource.PRODUCTS: {},
}
"""Whole lists: left alone, customers come without subscribers and whoever else buys."""

BY_ID = {"orderby": "id", "order": "asc"}
NEWEST_FIRST = {"orderby": "registered_date", "order": "desc"}

CHANGES: Mapping[Resource, Sequence[Params]] = {
    Resource.ORDERS: ({"status": "any"}, {"status": "trash"}),
    Resource.PRODUCTS: ({},),
}
"""The walks that together meet every change."""

RIGHTS: Mapping[Resource, Params] = {
    Resource.ORDERS: {"status": "any", **MODIFIED.between(None, None)},
    Resource.CUSTOMERS: {"role": "all"},
    Resource.PRODUCTS: {},
}

KINDS: Mapping[Resource, str] = {
    Resource.ORDERS: "order",
    Resource.CUSTOMERS: "customer",
    Resource.PRODUCTS: "product",
}


class WooCommerce:
    Settings = WooCommerceSettings

    resources: Sequence[Resource] = (
        Resource.PRODUCTS,
        Resource.CUSTOMERS,
        Resource.CHECKOUTS,
        Resource.ORDERS,
    )
    topics = webhooks.SUBSCRIBED

    def __init__(self, settings: WooCommerceSettings) -> None:
        key, secret = settings.key.get_secret_value(), settings.secret.get_secret_value()
        root = settings.base_url or settings.url
        self._webhook_secrets = plain(settings.webhook_secret)
        self._api = Api(
            root,
            auth=Keys(key, secret, root=root, home=settings.url),
            secrets=[key, secret, *self._webhook_secrets],
            clean=cut_junk,
            transient=_is_blank,
            explain=explain,
        )
        self._shop = Shop(self._api)
        self._hooks = webhooks.Hooks(self._shop, self._webhook_secrets)
        self._checkouts = Checkouts(self._shop, timedelta(minutes=settings.abandoned_after))
        self._paid = frozenset(settings.paid_statuses)
        terms = Terms(self._paid, settings.consent_meta_key)
        self._readers: Mapping[Resource, Callable[[Row], Fact]] = {
            Resource.ORDERS: partial(read_order, terms=terms),
            Resource.CUSTOMERS: partial(read_customer, terms=terms),
            Resource.PRODUCTS: read_product,
        }
        self._strange_statuses: set[str] = set()

    @property
    def tally(self) -> Counter[str]:
        return self._api.tally

    async def aclose(self) -> None:
        await self._api.aclose()

    async def check(self) -> Sequence[str]:
        refusals: dict[Resource, Refused] = {}
        for resource, params in RIGHTS.items():
            try:
                await self._shop.list(resource, {**params, "_fields": "id"}, size=1)
            except Refused as error:
                if error.status not in {401, 403}:
                    raise
                refusals[resource] = error
        if len(refusals) == len(RIGHTS):
            raise refusals[Resource.ORDERS]
        return [f"{resource} cannot be read: {error}" for resource, error in refusals.items()]

    async def plan_backfill(self, resource: Resource, since: datetime | None) -> Sequence[Window]:
        """Cut orders by creation. Accounts and products are read whole: orders since then may name any."""
        if resource is Resource.CHECKOUTS:
            return await self._checkouts.plan(since)
        if resource is not Resource.ORDERS:
            return [Window(resource)]
        oldest, count = await self._created(since, "asc")
        if count == 0:
            return []
        newest, _ = await self._created(since, "desc")
        if oldest is None or newest is None:
            return [Window(resource, since)]
        parts = min(WINDOWS, ceil(count / ORDERS_PER_WINDOW))
        cuts = [part * count // parts for part in range(1, parts)]
        between = await together([self._created(since, "asc", cut) for cut in cuts])
        return _windows(oldest, newest + SECOND, [moment for moment, _ in between])

    def backfill(self, window: Window, cursor: str | None, *, careful: bool = False) -> AsyncIterator[Page]:
        if window.resource is Resource.CHECKOUTS:
            return self._checkouts.history(window, cursor)
        if window.resource is not Resource.ORDERS:
            read = self._by_half_pages if careful else self._by_number
            return read(window.resource, LISTED[window.resource] | BY_ID, cursor)
        if careful:
            return self._by_creation(window, cursor)
        span = CREATED.between(window.start, window.end)
        return self._by_number(Resource.ORDERS, LISTED[Resource.ORDERS] | span, cursor)

    async def changes(self, resource: Resource, since: datetime, cursor: str | None) -> AsyncIterator[Page]:
        if cursor is None:
            since -= await self._lag()  # `since` is by our clock, cursors are by the shop's
        async for page in self._changes(resource, since, cursor):
            yield page

    def _changes(self, resource: Resource, since: datetime, cursor: str | None) -> AsyncIterator[Page]:
        if resource is Resource.CHECKOUTS:
            return self._checkouts.changes(since, cursor)
        if resource is Resource.CUSTOMERS:
            return self._changed_customers(since, cursor)
        return self._changed(resource, Reading.after(since, cursor))

    async def _lag(self) -> timedelta:
        """Say how far our clock is ahead of the shop's; asks the shop when it never said."""
        if self._shop.lag is None:
            await self._shop.list(Resource.ORDERS, {"_fields": "id"}, size=1)
        return self._shop.lag or timedelta()

    async def count_orders(self, windows: Sequence[Window]) -> Sequence[int | None]:
        """Ask for one order of each window: the count stands in the answer's header."""
        return await together([self._count(window) for window in windows])

    async def _count(self, window: Window) -> int | None:
        span = CREATED.between(window.start, window.end)
        asked = LISTED[Resource.ORDERS] | span | {"_fields": "id"}
        return (await self._shop.list(Resource.ORDERS, asked, size=1)).total

    async def reread(self, records: Sequence[str]) -> Page:
        """Ask for single records by their ids: orders in the trash too, which were deleted, not lost."""
        pages = [await self._checkouts.reread(ids) for ids in _named(records, CHECKOUT)]
        for resource, kind in KINDS.items():
            for ids in _named(records, kind):
                rows = await self._by_ids(resource, ids)
                pages.append(self._with_closed(self._page(resource, rows, ""), resource, rows))
        facts = [fact for page in pages for fact in page.facts]
        return Page(facts, "", [bad for page in pages for bad in page.bad])

    async def _by_ids(self, resource: Resource, ids: Sequence[str]) -> list[Any]:
        """Look for rows in each list in turn, until all are found."""
        rows: list[Any] = []
        for params in CHANGES.get(resource, (LISTED[resource],)):
            if missing := [number for number in ids if number not in ids_of(rows)]:
                asked = self._asked(resource, {**params, "include": ",".join(missing)})
                rows += (await self._shop.list(resource, asked)).rows
        return rows

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Delivery | None:  # noqa: ARG002 - no delivery says when
        return webhooks.verify(self._webhook_secrets, headers, body)

    def read_webhook(self, topic: str, body: bytes) -> News:
        found = webhooks.read_body(topic, body)
        if isinstance(found, News):
            return found
        resource, row = found
        page = self._with_closed(self._page(resource, [row], ""), resource, [row])
        return News(page.facts, page.bad)

    async def subscriptions(self) -> Sequence[Subscription]:
        return await self._hooks.list()

    async def subscribe(self, topic: str, url: str) -> None:
        await self._hooks.make(topic, url)

    async def revive(self, subscription: Subscription) -> None:
        await self._hooks.revive(subscription)

    async def unsubscribe(self, subscription: Subscription) -> None:
        await self._hooks.remove(subscription)

    async def _created(
        self, since: datetime | None, order: str, offset: int = 0
    ) -> tuple[datetime | None, int]:
        """Ask when the order was created that has `offset` others before it, and how many there are."""
        params = LISTED[Resource.ORDERS] | CREATED.between(since, None)
        fields = {"order": order, "offset": offset, "_fields": f"id,{CREATED.name}"}
        listing = await self._shop.list(Resource.ORDERS, {**params, **fields}, size=1)
        moment = CREATED.moment(listing.rows[0]) if listing.rows else None
        return moment, len(listing.rows) if listing.total is None else listing.total

    async def _by_number(self, resource: Resource, params: Params, cursor: str | None) -> AsyncIterator[Page]:
        """Read page by page; a row that moved to the next page comes once."""
        number = int(cursor or 0) + 1
        before: frozenset[str] = frozenset()
        async for listing in self._numbered(resource, self._asked(resource, params), number):
            if listing.rows or number == 1:
                rows = unseen(listing.rows, before)
                yield self._page(resource, rows, str(number), total=listing.total)
            before, number = ids_of(listing.rows), number + 1

    async def _numbered(self, resource: Resource, asked: Params, number: int) -> AsyncIterator[Listing]:
        """Ask for pages from a number on: once it is known how many there are, a few at once."""
        listing = await self._shop.list(resource, asked, number)
        yield listing
        known = ceil((listing.total or 0) / PAGE_SIZE)
        rest = range(number + 1, known + 1)
        async for listing in in_order(
            partial(self._shop.list, resource, asked), rest, PAGES_AT_ONCE[resource]
        ):
            yield listing
        number = max(number, known)
        while not listing.is_last:
            number += 1
            listing = await self._shop.list(resource, asked, number)
            yield listing

    async def _by_half_pages(
        self, resource: Resource, params: Params, cursor: str | None
    ) -> AsyncIterator[Page]:
        """Read pages that overlap by half: only fifty deletions between two answers could hide a row."""
        told: dict[str, Any] = json.loads(cursor) if cursor else {"offset": 0, "ids": []}
        offset, before, is_last = told["offset"], frozenset(told["ids"]), False
        while not is_last:
            asked = self._asked(resource, params) | {"offset": offset}
            listing = await self._shop.list(resource, asked)
            rows = unseen(listing.rows, before)
            before = ids_of(listing.rows)
            short = len(listing.rows) < PAGE_SIZE
            is_last = short if listing.total is None else offset + PAGE_SIZE >= listing.total
            offset += PAGE_SIZE // 2
            place = json.dumps({"offset": offset, "ids": sorted(before)})
            yield self._page(resource, rows, place, total=listing.total)

    async def _by_creation(self, window: Window, cursor: str | None) -> AsyncIterator[Page]:
        place = read_place(cursor) if cursor else Place(window.start)
        params = self._asked(Resource.ORDERS, LISTED[Resource.ORDERS])
        async for step in self._shop.walk(Resource.ORDERS, params, CREATED, place, window.end):
            if step.rows or step.is_last:
                yield self._page(Resource.ORDERS, step.rows, write_place(step.place), total=step.total)

    async def _changed(self, resource: Resource, reading: Reading) -> AsyncIterator[Page]:
        """Take the walks that together meet every change, from where `reading` stands."""
        walks = CHANGES[resource]
        met: set[str] = set()
        while reading.walk < len(walks):
            params = self._asked(resource, walks[reading.walk])
            async for step in self._shop.walk(resource, params, MODIFIED, reading.place):
                began = reading.began or step.sent_at or datetime.now(UTC)
                reading = replace(reading, began=began, place=step.place)
                if step.is_last:
                    reading = replace(reading, walk=reading.walk + 1, place=Place(reading.start))
                at_end = reading.walk == len(walks)
                page = self._page(resource, step.rows, reading.caught_up() if at_end else reading.text())
                if step.rows or at_end:
                    yield await self._with_accounts(self._with_closed(page, resource, step.rows), met)

    def _with_closed(self, page: Page, resource: Resource, rows: Sequence[Any]) -> Page:
        """Add the ends of checkouts that a page's orders tell."""
        ends = closed(rows, self._checkouts.after) if resource is Resource.ORDERS else []
        return replace(page, facts=[*page.facts, *ends]) if ends else page

    async def _with_accounts(self, page: Page, met: set[str]) -> Page:
        """Add the accounts that a page's orders name, each once a reading."""
        named = {fact.customer_id for fact in page.facts if isinstance(fact, Order) and fact.customer_id}
        new = sorted(named - met)
        met |= named
        if not new:
            return page
        asked = LISTED[Resource.CUSTOMERS] | {"include": ",".join(new)}
        listing = await self._shop.list(Resource.CUSTOMERS, self._asked(Resource.CUSTOMERS, asked))
        accounts = self._page(Resource.CUSTOMERS, listing.rows, page.cursor)
        return replace(page, facts=[*accounts.facts, *page.facts], bad=[*accounts.bad, *page.bad])

    async def _changed_customers(self, since: datetime, cursor: str | None) -> AsyncIterator[Page]:
        """Read the accounts made since the last reading, then one page of all: a slow round.

        A few at first: mostly there is none, and a page would be more than all else that a run reads.
        Until the end each page carries the old cursor: a reading that broke off begins anew.
        """
        told: dict[str, Any] = {"began": since.isoformat(), "scan": 1} | json.loads(cursor or "{}")
        here = json.dumps(told)
        horizon = datetime.fromisoformat(told["began"]) - OVERLAP
        listed = self._asked(Resource.CUSTOMERS, LISTED[Resource.CUSTOMERS])
        listing = await self._shop.list(Resource.CUSTOMERS, listed | NEWEST_FIRST, size=SMALL)
        began = listing.sent_at or datetime.now(UTC)
        yield self._page(Resource.CUSTOMERS, listing.rows, here)
        number, is_last = 0, listing.is_last or not _all_since(listing.rows, horizon)
        while not is_last:
            number += 1
            listing = await self._shop.list(Resource.CUSTOMERS, listed | NEWEST_FIRST, number)
            yield self._page(Resource.CUSTOMERS, listing.rows, here)
            is_last = listing.is_last or not _all_since(listing.rows, horizon)
        listing = await self._shop.list(Resource.CUSTOMERS, listed | BY_ID, told["scan"])
        there = {"began": began.isoformat(), "scan": 1 if listing.is_last else told["scan"] + 1}
        yield self._page(Resource.CUSTOMERS, listing.rows, json.dumps(there))

    def _asked(self, resource: Resource, params: Params) -> dict[str, Any]:
        return {**params, "_fields": FIELDS[resource]}

    def _page(
        self, resource: Resource, rows: Sequence[Any], cursor: str, *, total: int | None = None
    ) -> Page:
        facts, bad = read_rows(rows, self._readers[resource], KINDS[resource])
        self._warn_about_strange_statuses(facts)
        return Page(facts, cursor, bad, total=total)

    def _warn_about_strange_statuses(self, facts: Sequence[Fact]) -> None:
        statuses = {fact.status for fact in facts if isinstance(fact, Order)}
        strange = statuses - STANDINGS.keys() - self._paid - self._strange_statuses
        self._strange_statuses |= strange
        for status in sorted(strange):
            log.warning("status_unknown", status=status, hint="list it in `paid_statuses` if it is paid")


def _named(records: Sequence[str], kind: str) -> list[list[str]]:
    """Pick the ids of a kind out of names of records ("order 727"), as many together as fit a page."""
    ids = sorted({name.removeprefix(f"{kind} ") for name in records if name.startswith(f"{kind} ")})
    ids = [identifier for identifier in ids if identifier.isdigit()]
    return [ids[start : start + PAGE_SIZE] for start in range(0, len(ids), PAGE_SIZE)]


def _windows(start: datetime, end: datetime, cuts: Sequence[datetime | None]) -> list[Window]:
    """Cut [start, end) into parts that hold as many orders each: they are read side by side."""
    within = {moment for moment in cuts if moment and start < moment < end}
    borders = [start, *sorted(within), end]
    return [Window(Resource.ORDERS, a, b) for a, b in itertools.pairwise(borders)]


def _all_since(rows: Sequence[Any], moment: datetime) -> bool:
    created = [CREATED.moment(row) for row in rows]
    return all(at is None or at >= moment for at in created) and bool(rows)


def _is_blank(answer: Answer) -> bool:
    """Tell a 200 without a body: PHP died, and was told to be silent about it."""
    return answer.status == 200 and not answer.body.strip()
