"""The HTTP edge of store tests: connectors are opened to simulators, and no pause takes time."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import respx

from connectors import http
from tests.connectors.stores.shops import Clock
from tests.edge import edge


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[float]:
    """Make every pause instant, but for the shop's clock; the list says how long they would have been."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)
        clock.pass_by(seconds)

    monkeypatch.setattr(http, "_sleep", sleep)
    return made


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        yield router


@asynccontextmanager
async def connecting(
    router: respx.MockRouter, make: Any, usual: Mapping[str, Any]
) -> AsyncIterator[Callable[..., Any]]:
    """Open connectors to an ASGI app that stands behind every address; `with_` replaces the usual settings."""
    opened: list[Any] = []

    def to(app: Any, *, with_: Mapping[str, Any] = usual, **settings: Any) -> Any:
        router.route().mock(side_effect=edge(app))
        opened.append(make(make.Settings(**{**with_, **settings})))
        return opened[-1]

    yield to
    for connector in opened:
        await connector.aclose()
