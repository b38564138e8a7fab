"""The HTTP edge of connector tests: every request of the process goes to one simulator."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import respx

from connectors.simulation import App, Lost


@contextmanager
def answered_by(app: App) -> Iterator[respx.MockRouter]:
    """Let `app` answer every request; a connection that it loses breaks for the client too."""
    handle = respx.ASGIHandler(app)

    async def edge(request: httpx.Request) -> httpx.Response:
        try:
            return await handle(request)
        except Lost as lost:
            raise httpx.RemoteProtocolError("lost", request=request) from lost

    with respx.mock(assert_all_called=False) as router:
        router.route().mock(side_effect=edge)
        yield router
