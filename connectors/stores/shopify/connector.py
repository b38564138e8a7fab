"""Shopify: https://shopify.dev/docs/api/admin-graphql, the GraphQL Admin API.

The way of the data: asked here, page by page in `pages` or by one job in `bulk`, sent by `admin`, read in
`payloads` (and `webhooks`). Pitfalls, and what is done:

- A history is one bulk operation a resource. When Shopify refuses it, or its file is not whole twice, it is
  read page by page, by id. So it is when rows were missing (`careful`): an id never moves.
- Changes are walked by `updatedAt` from a moment on, without an upper bound: a clock that is off then hides
  nothing, and what changes while we page comes again at the end. The next reading starts where this one
  began, by the shop's clock, less ten minutes: the search index lags behind, and some children do not move
  their order's time at once.
- Times in filters are quoted, in UTC, and compared with `>=` only: unquoted the time of day is ignored, and
  `>` changed its meaning in 2026-10.
- Customers are filtered by whole days, of which zone is not said: we ask from a day before, and drop the rest.
  Abandoned checkouts cannot be sorted by change. Both are walked by id, so that a killed reading goes on where
  it was; what changes behind our back meanwhile is found by the next one.
- Without `read_all_orders` only 60 days of orders are there; nothing else in an answer says so.
- What is deleted just vanishes: only a webhook tells.
See also `admin`, `budget`, `tokens`, `pages`, `bulk`, `payloads`, `webhooks`.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog

from connectors.base import Delivery, News, Page, Resource, Subscription, Window
from connectors.errors import BadRecord
from connectors.facts import Fact
from connectors.http import Api
from connectors.paging import Row, read_rows
from connectors.stores.shopify import webhooks
from connectors.stores.shopify.admin import Admin
from connectors.stores.shopify.bulk import BadFile, Bulk, Job, NoBulk
from connectors.stores.shopify.operations import COUNT_ORDERS, KINDS, PAGES, PROBES, SHOP, bulk_query
from connectors.stores.shopify.pages import BY_CHANGE, BY_ID, Pages
from connectors.stores.shopify.payloads import (
    Terms,
    read_checkout,
    read_customer,
    read_order,
    read_product,
    text_of,
)
from connectors.stores.shopify.places import (
    AfterId,
    InFile,
    Reading,
    changed_before,
    read_place,
    write_place,
)
from connectors.stores.shopify.refusals import Denied, explain, is_fault
from connectors.stores.shopify.settings import ShopifySettings
from connectors.stores.shopify.tokens import Daily, Lasting, Tokens
from connectors.webhooks import plain

log = structlog.get_logger()

VISIBLE = timedelta(days=60)
"""How far back orders are seen without `read_all_orders`."""

JOBS = 2
"""Bulk operations that are tried for one history."""
IN_BULK = frozenset({Resource.ORDERS, Resource.CUSTOMERS, Resource.PRODUCTS})
"""Abandoned checkouts are kept for three months only: a few pages."""

NAMES: Mapping[Resource, str] = {
    Resource.PRODUCTS: "product",
    Resource.CUSTOMERS: "customer",
    Resource.ORDERS: "order",
    Resource.CHECKOUTS: "checkout",
}
RESOURCES = {name: resource for resource, name in NAMES.items()}

SCOPES: Mapping[str, str] = {
    "read_orders": "orders and abandoned checkouts cannot be read",
    "read_customers": "customers and what they agreed to cannot be read",
    "read_products": "products and their categories cannot be read",
    "read_all_orders": "only the orders of the last 60 days are visible",
}
"""What is missing without each right."""
BY_DAY = {Resource.CUSTOMERS: timedelta(days=1)}
"""How much earlier to ask where a filter takes whole days, in a zone that is not said."""
WALKED_BY_ID = frozenset({Resource.CUSTOMERS, Resource.CHECKOUTS})


class Shopify:
    Settings = ShopifySettings

    resources: Sequence[Resource] = tuple(NAMES)
    topics = webhooks.SUBSCRIBED

    def __init__(self, settings: ShopifySettings) -> None:
        secrets = [_plain(settings.token), _plain(settings.client_secret), *plain(settings.webhook_secret)]
        self._api = Api(settings.root, secrets=secrets, transient=is_fault, explain=explain)
        self._signed_with = [secret.encode() for secret in secrets[1:] if secret]
        self._admin = Admin(
            self._api, _tokens(settings, self._api), settings.api_version, may_move=not settings.base_url
        )
        self._hooks = webhooks.Hooks(self._admin)
        self._pages = Pages(self._admin)
        self._bulk = Bulk(self._admin, self._api, settings.api_version)
        terms = Terms(frozenset(settings.paid_statuses), settings.categories)
        self._terms = terms
        self._readers: Mapping[Resource, Callable[[Row], Fact]] = {
            Resource.ORDERS: partial(read_order, terms=terms),
            Resource.CUSTOMERS: read_customer,
            Resource.PRODUCTS: partial(read_product, terms=terms),
            Resource.CHECKOUTS: read_checkout,
        }

    @property
    def tally(self) -> Counter[str]:
        return self._api.tally

    async def aclose(self) -> None:
        await self._api.aclose()

    async def check(self) -> Sequence[str]:
        granted = await self._granted()
        missing = [f"`{scope}` is missing: {loss}" for scope, loss in SCOPES.items() if scope not in granted]
        for resource in NAMES:
            if f"read_{_right(resource)}" in granted:
                missing += await self._try(resource)
        return missing

    async def plan_backfill(self, resource: Resource, since: datetime | None) -> Sequence[Window]:
        """Plan one window: a history is read by one job. Orders since `since`, everything else whole.

        Orders may name any customer and product.
        """
        start = since if resource is Resource.ORDERS else None
        if resource is Resource.ORDERS and "read_all_orders" not in await self._granted():
            log.warning("history_cut_short", days=VISIBLE.days, hint="grant `read_all_orders`")
        reply = await self._admin.ask(PROBES[resource], {"query": _created_since(start)})
        return [Window(resource, start)] if reply.data[KINDS[resource].root]["nodes"] else []

    async def backfill(
        self, window: Window, cursor: str | None, *, careful: bool = False
    ) -> AsyncIterator[Page]:
        place = read_place(cursor)
        if window.resource in IN_BULK and not careful and not isinstance(place, AfterId):
            try:
                async for page in self._by_job(window, place):
                    yield page
            except NoBulk as error:
                log.warning("bulk_given_up", resource=window.resource.value, reason=str(error))
                place = None
            else:
                return
        after = place.id if isinstance(place, AfterId) else None
        async for page in self._by_id(window, after):
            yield page

    async def changes(self, resource: Resource, since: datetime, cursor: str | None) -> AsyncIterator[Page]:
        if cursor is None:
            since -= await self._lag()  # `since` is by our clock, cursors are by the shop's
        async for page in self._changed(resource, Reading.after(since, cursor)):
            yield page

    async def reread(self, records: Sequence[str]) -> Page:
        facts: list[Fact] = []
        bad: list[BadRecord] = []
        for resource, ids in _wanted(records).items():
            page = self._page(resource, await self._pages.by_ids(resource, ids), "")
            facts += page.facts
            bad += page.bad
        return Page(facts, "", bad)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Delivery | None:  # noqa: ARG002 - when it was sent is not signed
        return webhooks.verify(self._signed_with, headers, body)

    def read_webhook(self, topic: str, body: bytes) -> News:
        return webhooks.read_body(topic, body, self._terms)

    async def subscriptions(self) -> Sequence[Subscription]:
        return await self._hooks.list()

    async def subscribe(self, topic: str, url: str) -> None:
        await self._hooks.make(topic, url)

    async def revive(self, subscription: Subscription) -> None:
        """Have nothing to do: Shopify gives a webhook up by deleting it."""

    async def unsubscribe(self, subscription: Subscription) -> None:
        await self._hooks.remove(subscription)

    async def _granted(self) -> set[str]:
        """Return the scopes that we have; who may write may read."""
        reply = await self._admin.ask(SHOP)
        handles = {scope["handle"] for scope in reply.data["currentAppInstallation"]["accessScopes"]}
        return handles | {handle.replace("write_", "read_", 1) for handle in handles}

    async def _try(self, resource: Resource) -> list[str]:
        """Read one row in full: personal data needs an approval of its own, which no scope shows."""
        asked = {"first": 1, "after": None, "query": None, "sort": "ID"}
        try:
            await self._admin.ask(PAGES[resource], asked, key="1 ")
        except Denied as error:
            return [f"{resource} cannot be read: {error}"]
        return []

    async def _lag(self) -> timedelta:
        """Say how far our clock is ahead of the shop's; asks the shop when it never said."""
        if self._admin.lag is None:
            await self._admin.ask(SHOP)
        return self._admin.lag or timedelta()

    async def _by_job(self, window: Window, place: InFile | None) -> AsyncIterator[Page]:
        """Read a window by a bulk operation: the one that `place` names, or a new one."""
        attempt = place.attempt if place else 1
        while True:
            try:
                if place is None:
                    place = InFile(await self._start(window), attempt=attempt)
                    yield Page([], write_place(place))  # a kill from here on finds the job again
                async for page in self._from_file(window, place):
                    yield page
            except BadFile as error:
                if attempt >= JOBS:
                    raise
                log.warning("bulk_repeated", resource=window.resource.value, reason=str(error))
                place, attempt = None, attempt + 1
            else:
                return

    async def _start(self, window: Window) -> str:
        return await self._bulk.start(bulk_query(KINDS[window.resource], _created_since(window.start)))

    async def _from_file(self, window: Window, place: InFile) -> AsyncIterator[Page]:
        job = await self._bulk.finished(place.job)
        if job.status != "COMPLETED":
            raise _failure(job)
        if job.url is None:
            if job.rows:
                raise BadFile("the bulk operation found rows and gives no file")
            return
        total = job.rows if window.start is None else None
        async for batch in self._bulk.read(job, place, KINDS[window.resource].children):
            yield self._page(window.resource, batch.rows, write_place(batch.place), total)

    async def _by_id(self, window: Window, after: int | None) -> AsyncIterator[Page]:
        """Read a window page by page; only its first page says how many rows there are."""
        resource, created = window.resource, _created_since(window.start)
        counts = resource is Resource.ORDERS and window.start is None and after is None
        total = await self._count() if counts else None
        filters = [created] if created else []
        async for step in self._pages.walk(resource, BY_ID, filters, None if after is None else str(after)):
            place = AfterId(int(step.place)) if step.place else AfterId(after or 0)
            yield self._page(resource, step.rows, write_place(place), total)
            total = None

    async def count_orders(self, windows: Sequence[Window]) -> Sequence[int | None]:
        """Ask for each window's count; 10 points of the budget each. What we may not see nobody counted."""
        sees_all = "read_all_orders" in await self._granted()
        horizon = datetime.now(UTC) - VISIBLE
        return [
            await self._count(_placed_within(window))
            if sees_all or (window.start and window.start >= horizon)
            else None
            for window in windows
        ]

    async def _count(self, search: str | None = None) -> int | None:
        count = (await self._admin.ask(COUNT_ORDERS, {"query": search})).data["ordersCount"]
        return int(count["count"]) if count and count["precision"] == "EXACT" else None

    async def _changed(self, resource: Resource, reading: Reading) -> AsyncIterator[Page]:
        since = text_of(reading.start - BY_DAY.get(resource, timedelta()))
        by_id = resource in WALKED_BY_ID
        sort, filters = (BY_ID, [f"updated_at:>='{since}'"]) if by_id else (BY_CHANGE, [])
        at = reading.at if by_id else reading.at or since
        async for step in self._pages.walk(resource, sort, filters, at):
            reading = replace(reading, began=reading.began or step.sent_at, at=step.place)
            rows = [row for row in step.rows if not changed_before(row, reading.start)]
            yield self._page(resource, rows, reading.caught_up() if step.is_last else reading.text())

    def _page(self, resource: Resource, rows: Sequence[Any], cursor: str, total: int | None = None) -> Page:
        facts, bad = read_rows(rows, self._readers[resource], NAMES[resource])
        return Page(facts, cursor, [_short(letter) for letter in bad], total=total)


def _tokens(settings: ShopifySettings, api: Api) -> Tokens:
    if settings.token:
        return Lasting(_plain(settings.token))
    return Daily(api, settings.client_id or "", _plain(settings.client_secret))


def _plain(secret: Any) -> str:
    return secret.get_secret_value() if secret else ""


def _right(resource: Resource) -> str:
    return "orders" if resource is Resource.CHECKOUTS else resource.value


def _placed_within(window: Window) -> str | None:
    """Write the search for orders of a window, by the time that is their `created_at` for us; None for all."""
    starts = [f"processed_at:>='{text_of(window.start)}'"] if window.start else []
    ends = [f"processed_at:<'{text_of(window.end)}'"] if window.end else []
    return " AND ".join([*starts, *ends]) or None


def _created_since(start: datetime | None) -> str | None:
    return f"created_at:>='{text_of(start)}'" if start else None


def _failure(job: Job) -> NoBulk:
    """Say what became of a job. Where access was denied, another would fare no better."""
    kind = NoBulk if job.error == "ACCESS_DENIED" else BadFile
    return kind(f"the bulk operation is {job.status.lower()}: {(job.error or 'no reason given').lower()}")


def _wanted(records: Sequence[str]) -> dict[Resource, list[str]]:
    """Sort names of records ("order 727") by what they are; those without a number cannot be asked for."""
    wanted: dict[Resource, list[str]] = {}
    for record in records:
        name, _, number = record.partition(" ")
        if name in RESOURCES and number.isdigit():
            wanted.setdefault(RESOURCES[name], []).append(number)
    return wanted


def _short(letter: BadRecord) -> BadRecord:
    """Name a record by its number, as everything else does; the row has it in gid://shopify/Order/727."""
    name, _, gid = letter.record.partition(" ")
    return BadRecord(f"{name} {gid.rpartition('/')[2]}", letter.reason)
