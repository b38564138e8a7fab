from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import respx

from connectors import http
from connectors.simulation import Lost
from connectors.stores.prestashop.connector import PrestaShop
from connectors.stores.prestashop.simulator import SETTINGS

Connect = Callable[..., PrestaShop]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make every pause instant; the list says how long they would have been."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(http, "_sleep", sleep)
    return made


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        yield router


@pytest.fixture
async def connect(router: respx.MockRouter) -> AsyncIterator[Connect]:
    """Open connectors to an ASGI app that stands behind every address."""
    opened: list[PrestaShop] = []

    def to(app: Any, **settings: Any) -> PrestaShop:
        router.route().mock(side_effect=edge(app))
        opened.append(PrestaShop(PrestaShop.Settings(**(SETTINGS | settings))))
        return opened[-1]

    yield to
    for connector in opened:
        await connector.aclose()


def edge(app: Any) -> Callable[[httpx.Request], Any]:
    handle = respx.ASGIHandler(app)

    async def answer(request: httpx.Request) -> httpx.Response:
        try:
            return await handle(request)
        except Lost as lost:
            raise httpx.RemoteProtocolError("lost", request=request) from lost

    return answer
