"""Shops for tests: their history, their clock, somebody who changes things while we read, and how to read."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import Page, Resource, Store
from connectors.facts import Fact
from connectors.simulation import HistoricOrder, Receive, Scope, Send, Simulation

OPENING = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def order(number: int, at: datetime | None = None, **known: Any) -> HistoricOrder:
    """Make one order; every third buyer has an account."""
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
    """A shop's clock that stands still until it is moved."""

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


def ids_of(pages: Iterable[Page], kind: type[Any] = object) -> list[str]:
    """List the ids of all facts, or of those of a kind, in the order in which they came."""
    return [fact.id for fact in facts_of(pages) if isinstance(fact, kind)]


async def history_of(
    store: Store,
    resource: Resource = Resource.ORDERS,
    since: datetime | None = None,
    *,
    careful: bool = False,
) -> list[Page]:
    windows = await store.plan_backfill(resource, since)
    return [
        page for window in windows for page in await everything(store.backfill(window, None, careful=careful))
    ]


async def changes_of(
    store: Store, resource: Resource = Resource.ORDERS, cursor: str | None = None, since: datetime = NOON
) -> list[Page]:
    return await everything(store.changes(resource, since, cursor))


def queries(simulation: Simulation, path: str) -> Sequence[str]:
    """List the queries of the requests for a path."""
    return [seen.query for seen in simulation.requests if seen.path.endswith(path)]
