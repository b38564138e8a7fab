"""HTTP/1.1 by hand, for servers that cost next to nothing: latency and faults on demand, requests and bytes counted.

`PUT /bench` begins a measurement ({"latency": [0.25, 0.45], "faults": 7, …}); `GET /bench` tells its figures.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Protocol, cast

import msgspec

CONTROL = "/bench"
FAULTS = (("throttled", 0.03), ("broken", 0.03), ("reset", 0.02), ("truncated", 0.02))
ANSWERED = {"throttled": 429, "broken": 500}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    host: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """`headers` are whole lines, each with its end."""

    status: int
    body: bytes
    headers: bytes = b"content-type: application/json\r\n"


class Site(Protocol):
    """Who answers."""

    def __call__(self, request: Request) -> Reply: ...

    def begin(self, wishes: Mapping[str, Any]) -> None:
        """Get ready for a measurement."""

    def told(self) -> dict[str, int]:
        """Tell what only this site knows of it."""


class Server:
    """A site behind latency, faults and counters."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._latency = (0.0, 0.0)
        self._random: random.Random | None = None
        self._delays = random.Random(1)
        self.counts: Counter[str] = Counter()

    async def listen(self) -> str:
        """Take a free port of the loopback; return the address."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def delay(self) -> float:
        return self._delays.uniform(*self._latency)

    def fault(self) -> str | None:
        """Draw what goes wrong with this request."""
        if self._random is None:
            return None
        drawn = self._random.random()
        for name, chance in FAULTS:
            drawn -= chance
            if drawn < 0:
                self.counts[name] += 1
                return name
        return None

    def answer(self, request: Request) -> Reply:
        self.counts["requests"] += 1
        self.counts[request.method] += 1
        reply = self._site(request)
        self.counts["bytes"] += len(reply.body)
        return reply

    def control(self, request: Request) -> Reply:
        if request.method == "PUT":
            self._begin(msgspec.json.decode(request.body))
        return Reply(200, msgspec.json.encode(dict(self.counts) | self._site.told()))

    def _begin(self, wishes: Mapping[str, Any]) -> None:
        low, high = wishes.get("latency", (0.0, 0.0))
        self._latency = (float(low), float(high))
        self._delays = random.Random(1)
        self._random = random.Random(wishes["faults"]) if "faults" in wishes else None
        self.counts.clear()
        self._site.begin(wishes)


class _Connection(asyncio.Protocol):
    """Reads one request after the other; a client that pipelines is not foreseen."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = bytearray()
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < self._needed:
            return
        head_end = self._received.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return
        first, *lines = self._received[: head_end - 4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._needed = head_end + int(headers.get("content-length", 0))
        if len(self._received) < self._needed:
            return
        method, target, _ = first.split(" ")
        request = Request(method, target, headers["host"], bytes(self._received[head_end : self._needed]))
        self._received.clear()
        self._needed = 0
        self._take(request)

    def _take(self, request: Request) -> None:
        if request.target == CONTROL:
            self._write(self._server.control(request))
        elif delay := self._server.delay():
            asyncio.get_running_loop().call_later(delay, self._answer, request)
        else:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        """Answer, or fail as a host does: before the work, or after it."""
        fault = self._server.fault()
        reply = self._server.answer(request)
        if fault in ANSWERED:
            self._write(Reply(ANSWERED[fault], b"Sorry"))
        elif fault == "reset":
            self._transport.abort()
        else:
            self._write(reply, cut=fault == "truncated")

    def _write(self, reply: Reply, *, cut: bool = False) -> None:
        if self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {reply.status} Status\r\ncontent-length: {len(reply.body)}\r\n"
            f"date: {formatdate(usegmt=True)}\r\n"
        )
        self._transport.write(head.encode() + reply.headers + b"\r\n")
        self._transport.write(reply.body[: len(reply.body) // 2] if cut else reply.body)
        if cut:
            self._transport.close()
