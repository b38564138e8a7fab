"""What simulators share: a log of requests, faults on demand, and historic orders to serve.

A store's `simulator.py` offers `simulator(history, *, plain_http=False) -> Simulation`, an ESP's
`simulator() -> Simulation`; both offer `SETTINGS`: what an owner would write to reach it, but `base_url`.
"""

import csv
import gzip
import hashlib
import io
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Post = Callable[[str, Mapping[str, str], bytes], Awaitable[int]]
"""Sends a webhook: address, headers, body; returns the status, 0 for no answer."""


class Kind(StrEnum):
    ANSWER = "answer"  # instead of doing anything, answer `status`
    AFTER = "after"  # do it, then answer `status`
    DROP = "drop"  # do it, then lose the connection before the answer
    TRUNCATE = "truncate"  # do it, then break off in the middle of the body


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong; `headers` and `body` dress an answered `status`."""

    kind: Kind = Kind.ANSWER
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: bytes = b"<html><body>Sorry</body></html>"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came in, and what was answered (0 when the connection was lost)."""

    method: str
    path: str
    query: str
    status: int


class Lost(Exception):
    """Raised through the ASGI server so that the client sees its connection break."""


class Simulation:
    """A simulator's app behind a log and a source of faults; itself an ASGI app.

    `chances` are probabilities of faults for every request ({Fault(status=429): 0.03}), drawn from
    `seed`. `state` is the simulated system, for tests to look at and to change.
    """

    def __init__(
        self, app: App, state: Any, *, chances: Mapping[Fault, float] | None = None, seed: int = 1
    ) -> None:
        self.state = state
        self.requests: list[Seen] = []
        self.chances = dict(chances or {})
        self._app = app
        self._random = random.Random(seed)  # noqa: S311 - reproducible faults, nothing secret
        self._planned: list[tuple[Fault, Callable[[str, str], bool]]] = []

    def fail(
        self, fault: Fault, *, times: int = 1, when: Callable[[str, str], bool] = lambda _method, _path: True
    ) -> None:
        """Let the next `times` requests for which `when(method, path)` holds go wrong."""
        self._planned += [(fault, when)] * times

    def counts(self) -> Counter[str]:
        """Count the requests seen so far, by method."""
        return Counter(seen.method for seen in self.requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = self._draw(scope["method"], scope["path"])
        exchange = _Exchange(send, fault)
        try:
            if fault and fault.kind is Kind.ANSWER:
                await exchange.answer(fault)
            else:
                await self._app(scope, receive, exchange.send)
                await exchange.finish()
        finally:
            query = scope.get("query_string", b"").decode()
            self.requests.append(Seen(scope["method"], scope["path"], query, exchange.status))

    def _draw(self, method: str, path: str) -> Fault | None:
        for position, (fault, when) in enumerate(self._planned):
            if when(method, path):
                del self._planned[position]
                return fault
        for fault, chance in self.chances.items():
            if self._random.random() < chance:
                return fault
        return None


class _Exchange:
    """Passes an answer on, or holds it back when a fault shall come instead."""

    def __init__(self, send: Send, fault: Fault | None) -> None:
        self._send = send
        self._fault = fault
        self._start: Message = {}
        self._body = b""
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._start = message
        elif self._fault is not None:
            self._body += message.get("body", b"")
        if self._fault is None:
            await self._send(message)

    async def finish(self) -> None:
        """Play the fault that was to come after the work."""
        if self._fault is None:
            return
        if self._fault.kind is Kind.AFTER:
            await self.answer(self._fault)
            return
        self.status = 0
        if self._fault.kind is Kind.TRUNCATE:
            await self._send(self._start)
            half = self._body[: len(self._body) // 2]
            await self._send({"type": "http.response.body", "body": half, "more_body": True})
        raise Lost

    async def answer(self, fault: Fault) -> None:
        self.status = fault.status
        headers = {"content-type": "text/html", **fault.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": fault.status, "headers": raw})
        await self._send({"type": "http.response.body", "body": fault.body})


@dataclass(frozen=True, slots=True)
class HistoricOrder:
    """One order of the past, as any shop could have taken it: one line, tax included.

    `account` is the customer's number where they have one, None for a guest. `status` is paid, pending,
    cancelled or refunded; `refunded` what came back, as text in major units.
    """

    id: int
    email: str
    first_name: str
    last_name: str
    account: int | None
    created_at: datetime
    total: str
    currency: str
    status: str
    category: str
    quantity: int
    refunded: str = "0.00"


def made_up_order(number: int, at: datetime, **known: Any) -> HistoricOrder:
    """Make an order for a store to take at a moment; `known` are the fields of HistoricOrder that matter."""
    usual: dict[str, Any] = {
        "id": number,
        "email": f"buyer-{number}@example.com",
        "first_name": "Zoë",
        "last_name": "Öztürk",
        "account": None,
        "created_at": at,
        "total": "29.35",
        "currency": "EUR",
        "status": "paid",
        "category": "Tea & Co",
        "quantity": 1,
    }
    return HistoricOrder(**(usual | known))


CDNOW_HEADER = ["customer_id", "date", "number_of_cds", "dollar_value"]
GENRES = ("Rock", "Pop", "Jazz", "Classical", "Country", "Soundtracks", "R&B", "World")
FIRST_NAMES = (
    "Ada",
    "Björn",
    "Chloé",
    "Deniz",
    "Eoin",
    "Fatma",
    "Gül",
    "Hana",
    "İpek",
    "João",
    "Kemal",
    "Zoë",
)
LAST_NAMES = (
    "Açıkgöz",
    "Bianchi",
    "Costa",
    "Dvořák",
    "Eriksen",
    "Fournier",
    "Garcia",
    "Horváth",
    "Ito",
    "Öztürk",
)


def read_history(path: Path) -> Iterator[HistoricOrder]:
    """Read historic orders from a CSV file, .gz or not: the CDNOW form, or HistoricOrder's own fields.

    CDNOW has neither names nor addresses, so each customer gets made-up ones at example.com, and every
    fourth an account. Raises ValueError for another header.
    """
    opener = gzip.open if path.suffix == ".gz" else Path.open
    with opener(path, mode="rt", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        header = list(rows.fieldnames or [])
        if header == CDNOW_HEADER:
            yield from (_cdnow_order(number, row) for number, row in enumerate(rows, start=1))
        elif {"id", "email", "created_at", "total"} <= set(header):
            yield from (_plain_order(number, row) for number, row in enumerate(rows, start=1))
        else:
            raise ValueError(
                f"{path.name}: unknown header; want {','.join(CDNOW_HEADER)} or id,email,created_at,total,…"
            )


def _cdnow_order(number: int, row: Mapping[str, str]) -> HistoricOrder:
    """Make an order of a CDNOW line; the time of day, which the data lack, spreads by the line's number."""
    customer = int(row["customer_id"])
    midnight = datetime.fromisoformat(row["date"]).replace(tzinfo=UTC)
    return HistoricOrder(
        id=number,
        email=sys.intern(f"customer-{customer:05}@example.com"),
        first_name=FIRST_NAMES[customer % len(FIRST_NAMES)],
        last_name=LAST_NAMES[customer % len(LAST_NAMES)],
        account=customer if customer % 4 == 0 else None,
        created_at=midnight + timedelta(seconds=number * 7919 % 86400),
        total=sys.intern(row["dollar_value"]),
        currency="USD",
        status="paid",
        category=GENRES[hashlib.sha256(f"{customer}/{number % 3}".encode()).digest()[0] % len(GENRES)],
        quantity=int(row["number_of_cds"]),
    )


def _plain_order(number: int, row: Mapping[str, str]) -> HistoricOrder:
    created = datetime.fromisoformat(row["created_at"])
    return HistoricOrder(
        id=int(row["id"] or number),
        email=row["email"],
        first_name=row.get("first_name") or "",
        last_name=row.get("last_name") or "",
        account=int(row["account"]) if row.get("account") else None,
        created_at=created.replace(tzinfo=UTC) if created.tzinfo is None else created.astimezone(UTC),
        total=row["total"],
        currency=row.get("currency") or "EUR",
        status=row.get("status") or "paid",
        category=row.get("category") or "",
        quantity=int(row.get("quantity") or 1),
        refunded=row.get("refunded") or "0.00",
    )


def write_history(orders: Iterable[HistoricOrder]) -> str:
    """Write orders in the form that `read_history` reads."""
    out = io.StringIO()
    names = list(HistoricOrder.__dataclass_fields__)
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for order in orders:
        row = {name: getattr(order, name) for name in names}
        writer.writerow(row | {"created_at": order.created_at.isoformat(), "account": order.account or ""})
    return out.getvalue()
