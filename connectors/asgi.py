"""What simulators share of HTTP: a request read whole, an answer sent, requests counted by the second."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from connectors.simulation import Receive, Scope, Send

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; `segments` is its path below the API's root, cut at slashes and then unquoted."""

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body, empty for none. Raises msgspec.DecodeError."""
        return msgspec.json.decode(self.body) if self.body else {}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `document` None sends no body, bytes are sent as they are."""

    status: int
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


async def read_request(scope: Scope, receive: Receive) -> Asked:
    raw = scope.get("raw_path", b"").decode().partition("?")[0] or scope["path"]
    query = parse_qsl(scope.get("query_string", b"").decode(), keep_blank_values=True)
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    segments = tuple(unquote(part) for part in raw.strip("/").split("/"))
    return Asked(scope["method"], segments, dict(query), headers, body)


async def send_reply(send: Send, reply: Reply) -> None:
    body = reply.document if isinstance(reply.document, bytes) else _encode(reply.document)
    body = b"" if reply.document is None else body
    headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    if reply.status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    if body and "content-type" not in reply.headers:
        headers.append((b"content-type", b"application/json; charset=utf-8"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Window:
    """Counts within the last `seconds` by `clock`: what vendors limit."""

    def __init__(self, clock: Callable[[], datetime], seconds: float) -> None:
        self._clock = clock
        self._length = timedelta(seconds=seconds)
        self._moments: deque[datetime] = deque()

    def count(self) -> int:
        now = self._clock()
        while self._moments and now - self._moments[0] >= self._length:
            self._moments.popleft()
        return len(self._moments)

    def add(self) -> None:
        self._moments.append(self._clock())


def utc_now() -> datetime:
    return datetime.now(UTC)
