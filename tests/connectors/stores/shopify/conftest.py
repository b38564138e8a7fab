from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import respx

from connectors import http
from connectors.stores.shopify.connector import Shopify
from connectors.stores.shopify.simulator import SETTINGS
from tests.connectors.stores.shopify.shops import Clock
from tests.edge import edge

Connect = Callable[..., Shopify]


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


@pytest.fixture
async def connect(router: respx.MockRouter) -> AsyncIterator[Connect]:
    """Open connectors to an ASGI app that stands behind every address; `with_` replaces the settings."""
    opened: list[Shopify] = []

    def to(app: Any, *, with_: dict[str, Any] = SETTINGS, **settings: Any) -> Shopify:
        router.route().mock(side_effect=edge(app))
        opened.append(Shopify(Shopify.Settings(**(with_ | settings))))
        return opened[-1]

    yield to
    for connector in opened:
        await connector.aclose()
