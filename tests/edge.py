"""A simulator behind respx: the connector's real requests, without a socket."""

from collections.abc import Callable
from typing import Any

import httpx
import respx

from connectors.simulation import Lost


def edge(app: Any) -> Callable[[httpx.Request], Any]:
    """Answer requests with an ASGI app; a connection that it loses breaks off for the client too."""
    handle = respx.ASGIHandler(app)

    async def answer(request: httpx.Request) -> httpx.Response:
        try:
            return await handle(request)
        except Lost as lost:
            raise httpx.RemoteProtocolError("lost", request=request) from lost

    return answer
