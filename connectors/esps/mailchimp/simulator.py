"""A Mailchimp with one account and one audience: the Marketing API 3.0 as far as contacts and tags go.

It refuses as Mailchimp refuses: another data centre's key, an eleventh connection, people who opted out
themselves. Batches are background jobs, whose results lie at an address that refuses credentials.
"""

import asyncio
import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import parse_qsl, unquote

import msgspec

from connectors.esps.mailchimp.simulated.audience import Problem, not_found, utc_now
from connectors.esps.mailchimp.simulated.batches import Reply
from connectors.esps.mailchimp.simulated.calls import Account, Call, parsed
from connectors.esps.mailchimp.simulated.documents import problem_reply
from connectors.simulation import Fault, Receive, Scope, Send, Simulation

SETTINGS = {"api_key": "0123456789abcdef0123456789abcdef-us21", "audience": "a1b2c3d4e5"}
ALONE = {"batch_seconds": 0.0}
"""For a simulator that stands by itself: nobody wants to wait for its batches."""
CONNECTIONS = 10
JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json; charset=utf-8"
RESULTS = "/batch-results/"

_encode = msgspec.json.Encoder().encode


class SimulatedMailchimp(Account):
    """The account behind HTTP; what `Simulation.state` is.

    `latency` is how long each answer takes, in seconds; `busiest` the most connections at one time.
    """

    def __init__(
        self, *, batch_seconds: float | None, latency: float, clock: Callable[[], datetime], seed: int
    ) -> None:
        super().__init__(SETTINGS["audience"], clock=clock, batch_seconds=batch_seconds, seed=seed)
        self.api_key = SETTINGS["api_key"]
        self.latency = latency
        self.busy = 0
        self.busiest = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        body = await _read(receive)
        if scope["path"].startswith(RESULTS):
            await self._send_archive(scope["path"], headers, send)
            return
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await asyncio.sleep(self.latency)
            status, document = self._answer(scope, headers, body)
        finally:
            self.busy -= 1
        kind = JSON if status < 300 else PROBLEM
        await _send_body(send, status, kind, b"" if document is None else _encode(document))

    def _answer(self, scope: Scope, headers: Mapping[str, str], body: bytes) -> Reply:
        query = dict(parse_qsl(scope.get("query_string", b"").decode(), keep_blank_values=True))
        path = unquote(scope.get("raw_path", b"").decode().partition("?")[0]) or scope["path"]
        try:
            self._admit(headers)
            if not re.match(r"/3\.0(/|$)", path):
                raise not_found()
            host = f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}"
            return self.call(
                scope["method"], path.removeprefix("/3.0") or "/", Call(query, parsed(body), host)
            )
        except Problem as problem:
            return problem_reply(problem)

    def _admit(self, headers: Mapping[str, str]) -> None:
        """Check the key, its data centre and the number of connections."""
        if self.busy > CONNECTIONS:
            raise Problem(
                429, "Too Many Requests", "You have exceeded the limit of 10 simultaneous connections."
            )
        key = _key(headers.get("authorization", ""))
        if not key:
            raise Problem(401, "API Key Missing", "Your request did not include an API key.")
        own, _, centre = self.api_key.rpartition("-")
        called = re.match(r"(\w+)\.api\.mailchimp\.com", headers.get("host", ""))
        if key != self.api_key and key.rpartition("-")[0] != own:
            detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
            raise Problem(401, "API Key Invalid", detail)
        if key != self.api_key or (called and called[1] != centre):
            detail = f"The API key provided is linked to datacenter '{centre}'"
            raise Problem(403, "Forbidden", detail)

    async def _send_archive(self, path: str, headers: Mapping[str, str], send: Send) -> None:
        """Answer like the storage service where results lie: not with Mailchimp's own errors."""
        archive = self.batches.results(path.removeprefix(RESULTS))
        if "authorization" in headers:
            text = b"<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>"
            await _send_body(send, 400, "application/xml", text)
        elif archive is None:
            text = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            await _send_body(send, 403, "application/xml", text)
        else:
            await _send_body(send, 200, "application/x-gzip", archive)


def _key(authorization: str) -> str:
    """Read the API key out of Basic (any user name) or Bearer credentials; empty when there is none."""
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return text.strip()
    try:
        return base64.b64decode(text).decode().partition(":")[2]
    except ValueError:
        return ""


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send_body(send: Send, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers[status == 204 :]})
    await send({"type": "http.response.body", "body": body})


def simulator(
    *,
    batch_seconds: float | None = None,
    latency: float = 0.0,
    clock: Callable[[], datetime] = utc_now,
    chances: Mapping[Fault, float] | None = None,
    seed: int = 1,
) -> Simulation:
    """Make an empty audience.

    A batch goes one of its five stages further with each look at it, or, with `batch_seconds`, is finished
    so long after it was sent (0: at the first look). `latency` is how long each answer takes, in seconds.
    """
    state = SimulatedMailchimp(batch_seconds=batch_seconds, latency=latency, clock=clock, seed=seed)
    return Simulation(state, state, chances=chances, seed=seed)
