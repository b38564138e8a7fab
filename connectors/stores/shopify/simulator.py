"""A Shopify shop to read from: the GraphQL Admin API as far as products, customers, orders and checkouts go.

Operations run on graphql-core over a part of the vendor's schema, so that a field that is not there fails as
at Shopify's. What happens in the shop is told to `Simulation.state` (see `simulated.shop`).

- A token in `X-Shopify-Access-Token`, or one of 24 hours for a client id and its secret; without: 401, and
  `errors` is mere text. Scopes hold; without `read_all_orders` 60 days of orders are there.
- Points are taken before a query runs and refill by the clock; THROTTLED and MAX_COST_EXCEEDED come as 200.
- Webhooks wait until `deliver` is called (see `simulated.hooks`).
- Bulk operations write files that are fetched without a token, in parts if one likes.
- A version that it does not know is served by the one it has, and the header says so.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from connectors.simulation import HistoricOrder, Post, Receive, Scope, Send, Simulation
from connectors.stores.shopify.simulated.cost import Bucket
from connectors.stores.shopify.simulated.engine import Engine
from connectors.stores.shopify.simulated.hooks import Hooks
from connectors.stores.shopify.simulated.jobs import Job, Jobs
from connectors.stores.shopify.simulated.shop import SimulatedShop

TOKEN = "shpat_" + "5" * 32
CLIENT_ID = "c" * 32
CLIENT_SECRET = "shpss_" + "6" * 32
SETTINGS = {"shop": "simulated-shop", "token": TOKEN}
"""What an owner would write to reach it, but `base_url`."""
DAILY = {"shop": "simulated-shop", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
"""The other way to reach it."""
ALONE: Mapping[str, Any] = {"restore": 1000.0, "bucket": 20_000.0}
"""For a simulator that stands by itself: a shop of the Plus plan, whose jobs are done at the first look."""

GRAPHQL = re.compile(r"^/admin/api/([^/]+)/graphql\.json$")
RESULT = re.compile(r"^/bulk-results/(\d+)\.jsonl$")
RANGE = re.compile(r"^bytes=(\d+)-$")
WRONG_TOKEN = "[API] Invalid API key or access token (unrecognized login or wrong password)"  # noqa: S105 - a sentence
EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code></Error>"


@dataclass(frozen=True, slots=True)
class Terms:
    """How the shop is set up.

    `bucket` and `restore` are points, `linear` makes costs grow with every row. `bulk_rate` are rows per second
    by the shop's clock, None for all at once, `bulk_at_once` how many jobs may run. `ranges` False: the storage
    sends files whole. `token_life` is in seconds.
    """

    scopes: Sequence[str] = ("read_orders", "read_all_orders", "read_customers", "read_products")
    versions: Sequence[str] = ("2026-01", "2026-04", "2026-07", "2026-10")
    bucket: float = 2000.0
    restore: float = 100.0
    linear: bool = False
    bulk_rate: float | None = None
    bulk_at_once: int = 5
    ranges: bool = True
    token_life: int = 86_399


def simulator(
    history: Iterable[HistoricOrder],
    *,
    clock: Callable[[], datetime] | None = None,
    index_lag: float = 0.0,
    **terms: Any,
) -> Simulation:
    """Open a shop with these orders. `clock` is the shop's; `terms` are fields of Terms."""
    shop = SimulatedShop(history, clock, index_lag)
    return Simulation(_Server(shop, Terms(**terms)), shop)


async def deliver(simulation: Simulation, post: Post) -> int:
    """Send the webhooks that wait; return how many were taken."""
    hooks: Hooks = simulation.state.hooks
    return await hooks.deliver(post)


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    address: str


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]


class _Server:
    def __init__(self, shop: SimulatedShop, terms: Terms) -> None:
        self._shop = shop
        self._terms = terms
        self._jobs = Jobs(shop, terms.bulk_rate, self._seconds)
        shop.hooks = Hooks(shop, CLIENT_SECRET)
        shop.tell = shop.hooks.happened
        bucket = Bucket(terms.bucket, terms.restore, self._seconds)
        self._engine = Engine(
            shop,
            bucket,
            self._jobs,
            linear=terms.linear,
            most_jobs=terms.bulk_at_once,
        )
        shop.jobs = self._jobs.made
        shop.scopes = set(terms.scopes)

    def _seconds(self) -> float:
        return self._shop.now().timestamp()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = await _call(scope, receive)
        result = RESULT.match(call.path)
        if result and call.method == "GET":
            await self._send_file(call, self._jobs.made.get(int(result[1])), send)
        else:
            await self._send(send, self._answer(call))

    def _answer(self, call: Call) -> Reply:
        moved = self._shop.renamed
        if moved and call.headers.get("host") != moved:
            return Reply(
                301, b"<html>You are being redirected.</html>", {"location": f"https://{moved}{call.path}"}
            )
        graphql = GRAPHQL.match(call.path)
        if call.path == "/admin/oauth/access_token" and call.method == "POST":
            return self._grant(call)
        if not graphql and call.path != "/admin/oauth/access_scopes.json":
            return Reply(404, {"errors": "Not Found"}, {})
        if not self._knows(call.headers.get("x-shopify-access-token", "")):
            return Reply(401, {"errors": WRONG_TOKEN}, {})
        if not graphql:
            return Reply(
                200, {"access_scopes": [{"handle": scope} for scope in sorted(self._shop.scopes)]}, {}
            )
        return self._graphql(call, graphql[1])

    def _graphql(self, call: Call, asked: str) -> Reply:
        served = asked if asked in self._terms.versions else self._terms.versions[0]
        headers = {"x-shopify-api-version": served, "x-request-id": secrets.token_hex(8)}
        try:
            body = msgspec.json.decode(call.body)
            query, variables = str(body["query"]), body.get("variables") or {}
        except (msgspec.DecodeError, KeyError, TypeError):
            return Reply(400, {"errors": {"query": "Required parameter missing or invalid"}}, headers)
        return Reply(200, self._engine.answer(query, variables, call.address), headers)

    # --- tokens ----------------------------------------------------------------------------------------

    def _knows(self, token: str) -> bool:
        return token == TOKEN or self._shop.tokens.get(token, 0.0) > self._seconds()

    def _grant(self, call: Call) -> Reply:
        form = dict(parse_qsl(call.body.decode("utf-8", "replace")))
        if form.get("client_id") != CLIENT_ID:
            return _no_grant("application_cannot_be_found", "Cannot find the application")
        if form.get("client_secret") != CLIENT_SECRET or form.get("grant_type") != "client_credentials":
            return _no_grant("invalid_client", "The client secret is not right")
        token = f"shpat_{secrets.token_hex(16)}"
        self._shop.tokens[token] = self._seconds() + self._terms.token_life
        scope = ",".join(sorted(self._shop.scopes))
        told = {"access_token": token, "scope": scope, "expires_in": self._terms.token_life}
        return Reply(200, told, {})

    # --- sending ---------------------------------------------------------------------------------------

    async def _send(self, send: Send, reply: Reply) -> None:
        as_text = isinstance(reply.body, bytes)
        content = reply.body if as_text else msgspec.json.encode(reply.body)
        headers = {
            "content-type": "text/html" if as_text else "application/json; charset=utf-8",
            "content-length": str(len(content)),
            **self._date(),
            **reply.headers,
        }
        await _start(send, reply.status, headers)
        await send({"type": "http.response.body", "body": content})

    async def _send_file(self, call: Call, job: Job | None, send: Send) -> None:
        """Send a job's file, or the part that is asked for; refuse who shows a token, and old addresses."""
        if job is None or "x-shopify-access-token" in call.headers or job.number in self._shop.expired:
            await self._send(
                send, Reply(400 if job and job.number not in self._shop.expired else 403, EXPIRED, {})
            )
            return
        asked = RANGE.match(call.headers.get("range", ""))
        start = int(asked[1]) if asked and self._terms.ranges else 0
        if start and start >= job.file.size:
            await self._send(send, Reply(416, b"", {"content-range": f"bytes */{job.file.size}"}))
            return
        headers = {"content-type": "application/jsonl", **self._date()}
        if start:
            headers["content-range"] = f"bytes {start}-{job.file.size - 1}/{job.file.size}"
        await _start(send, 206 if start else 200, headers)
        end = job.file.size
        if self._shop.cut_files:
            end = min(end, start + self._shop.cut_files.pop(0))
        for piece in job.file.pieces(start, end):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _date(self) -> Mapping[str, str]:
        """Tell the shop's clock; without one, the server in front of us tells its own."""
        if not self._shop.clock:
            return {}
        return {"date": format_datetime(self._shop.now().astimezone(UTC), usegmt=True)}


async def _call(scope: Scope, receive: Receive) -> Call:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
    address = f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}"
    return Call(scope["method"], scope["path"], headers, body, address)


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


def _no_grant(error: str, description: str) -> Reply:
    return Reply(400, {"error": error, "error_description": description}, {})
