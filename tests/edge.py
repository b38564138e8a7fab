"""A simulator behind respx: the connector's real requests, without a socket.

Leaner than httpx's own ASGI transport, which looks in vain for trio at every request: the suites make some
tens of thousands of them.
"""

from collections.abc import Callable
from typing import Any

import httpx

from connectors.simulation import App, Lost, Message


def edge(app: App) -> Callable[[httpx.Request], Any]:
    """Answer requests with an ASGI app; a connection that it loses breaks off for the client too."""

    async def answer(request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        status, headers, parts = 0, [], []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
            else:
                parts.append(message.get("body", b""))

        try:
            await app(_scope(request), receive, send)
        except Lost as lost:
            raise httpx.RemoteProtocolError("lost", request=request) from lost
        return httpx.Response(status, headers=headers, content=b"".join(parts))

    return answer


def _scope(request: httpx.Request) -> dict[str, Any]:
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "server": (url.host, url.port),
        "client": ("127.0.0.1", 123),
        "root_path": "",
    }
