"""Shops for tests: their history, their clock, and somebody who changes things while we read."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import Page, Resource
from connectors.facts import Fact
from connectors.simulation import HistoricOrder, Receive, Scope, Send, Simulation
from connectors.stores.shopify.connector import Shopify

OPENING = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def order(number: int, at: datetime | None = None, **known: Any) -> HistoricOrder:
    """Make one order; every third has an account."""
    usual: dict[str, Any] = {
        "id": number,
        "email": f"buyer-{number % 40}@example.com",
        "first_name": "Gül",
        "last_name": "Öztürk 🎁",
        "account": 100 + number % 40 if number % 40 % 3 == 0 else None,
        "created_at": at or OPENING + timedelta(hours=number),
        "total": f"{10 + number % 7}.90",
        "currency": "EUR",
        "status": "paid",
        "category": ("Tea", "R&B", "Gifts")[number % 3],
        "quantity": 1 + number % 2,
    }
    return HistoricOrder(**(usual | known))


def orders(count: int, *, at: datetime | None = None, every: timedelta = timedelta()) -> list[HistoricOrder]:
    return [order(number, at and at + every * number) for number in range(1, count + 1)]


class Clock:
    """A shop's clock that stands still until it is moved, or until somebody pauses."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Meddler:
    """Do something to the shop before the n-th request that it gets is answered."""

    def __init__(self, simulation: Simulation, deeds: Callable[[int], None]) -> None:
        self._simulation = simulation
        self._deeds = deeds
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._requests += 1
        self._deeds(self._requests)
        await self._simulation(scope, receive, send)


async def everything(pages: AsyncIterator[Page]) -> list[Page]:
    return [page async for page in pages]


def facts_of(pages: Iterable[Page]) -> list[Fact]:
    return [fact for page in pages for fact in page.facts]


def ids_of(pages: Iterable[Page]) -> list[str]:
    return [fact.id for fact in facts_of(pages)]


async def history_of(
    store: Shopify,
    resource: Resource = Resource.ORDERS,
    since: datetime | None = None,
    *,
    careful: bool = False,
) -> list[Page]:
    windows = await store.plan_backfill(resource, since)
    return [
        page for window in windows for page in await everything(store.backfill(window, None, careful=careful))
    ]


async def changed(
    store: Shopify, cursor: str | None = None, resource: Resource = Resource.ORDERS, since: datetime = NOON
) -> list[Page]:
    return await everything(store.changes(resource, since, cursor))


async def killed_anywhere(
    start: Callable[[str | None], AsyncGenerator[Page, None]],
) -> tuple[list[Page], int]:
    """Read page by page, killed after each and begun again from its cursor; return pages and lives."""
    cursor: str | None = None
    pages: list[Page] = []
    for lives in range(1, 1000):
        reading = start(cursor)
        page = await anext(reading, None)
        await reading.aclose()
        if page is None:
            return pages, lives
        pages.append(page)
        is_last = page.cursor == cursor or json.loads(page.cursor).keys() == {"began"}
        cursor = page.cursor
        if is_last:
            return pages, lives
    raise AssertionError("reading never came to an end")
