"""A WooCommerce shop to read from, as a real one answered (10.5.2, orders in tables of their own).

It serves lists and single rows of orders, refunds, customers and products; nothing can be written but webhooks.
What happens in the shop is told to `Simulation.state` (see `simulated_shop`). Then the webhooks wait until
`deliver` is called (see `simulated_hooks`).

- Keys: where WordPress sees TLS, HTTP Basic or the query; over plain HTTP OAuth 1.0a only. Who shows none
  that count is a stranger, who may see nothing (401 `woocommerce_rest_cannot_view`).
- A time with a zone is turned into the shop's clock first, whatever `dates_are_gmt` says; then it is off.
- A page beyond the last is empty, and says that there are 0 orders in all (the real number with `posts`).
- Customers ignore `modified_after`, and list only the role `customer` unless asked for `all`.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from connectors.simulation import HistoricOrder, Post, Receive, Scope, Send, Simulation
from connectors.stores.woocommerce.simulated_query import ALWAYS, Asked, cut
from connectors.stores.woocommerce.simulated_rows import Row, customer_row, order_row, product_row, refund_row
from connectors.stores.woocommerce.simulated_shop import SimulatedShop
from connectors.stores.woocommerce.simulated_trouble import NoPage, Trouble

KEY = "ck_" + "7" * 40
SECRET = "cs_" + "3" * 40
SETTINGS = {"url": "http://shop.example", "key": KEY, "secret": SECRET}
"""What an owner would write to reach it, but `base_url`."""

ROOT = re.compile(r"^(?P<index>/index\.php)?/wp-json(?P<route>/.*)?$")
NONCE_LIFE = 15 * 60
"""Seconds a timestamp may be off, and a nonce is remembered."""
OAUTH = ("consumer_key", "timestamp", "nonce", "signature", "signature_method")
HASHES = {"HMAC-SHA1": hashlib.sha1, "HMAC-SHA256": hashlib.sha256}
ORDER_STATUSES = (
    "any",
    "trash",
    "auto-draft",
    "pending",
    "processing",
    "on-hold",
    "completed",
    "cancelled",
    "refunded",
    "failed",
    "checkout-draft",
)
POST_ORDERS = ("date", "id", "include", "title", "slug", "modified")
USER_ORDERS = ("id", "include", "name", "registered_date")


@dataclass(frozen=True, slots=True)
class Site:
    """How a shop is hosted.

    `plain_http` False: TLS ends before WordPress, which knows it. `trusts_proxy`: `X-Forwarded-Proto` is
    believed. `drops_authorization`: that header never arrives. `pretty` False: only `/index.php/wp-json/`
    routes. `posts`: orders are kept as in older shops. `counts` False: a cache drops the counts. `home` is
    the address that signatures are made for, None for whatever was dialled. `statuses` are plugins' own.
    """

    plain_http: bool = True
    trusts_proxy: bool = False
    drops_authorization: bool = False
    pretty: bool = True
    posts: bool = False
    counts: bool = True
    home: str | None = None
    statuses: Sequence[str] = ()
    permission: str = "read"


def simulator(
    history: Iterable[HistoricOrder],
    *,
    timezone: str = "Europe/Paris",
    clock: Callable[[], datetime] | None = None,
    **site: Any,
) -> Simulation:
    """Open a shop with these orders. `site` are fields of Site.

    `clock` is the shop's. With one, answers carry its `Date`: a server in front must then write none of
    its own (uvicorn: `date_header=False`).
    """
    shop = SimulatedShop(history, timezone, clock)
    return Simulation(_Server(shop, Site(**site)), shop)


async def deliver(simulation: Simulation, post: Post) -> int:
    """Send the webhooks that wait, with rows as they are now; return how many were taken."""
    shop: SimulatedShop = simulation.state
    writers: Mapping[str, Callable[[int], Row]] = {
        "order": partial(order_row, shop),
        "customer": partial(customer_row, shop),
        "product": partial(product_row, shop),
    }
    return await shop.webhooks.deliver(post, lambda resource, number: writers[resource](number))


@dataclass(slots=True)
class Call:
    """A request, as WordPress sees it."""

    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str]
    secure: bool
    address: str
    body: bytes = b""


class _Server:
    def __init__(self, shop: SimulatedShop, site: Site) -> None:
        self._shop = shop
        self._site = site
        self._nonces: dict[str, float] = {}
        self._lists: Mapping[str, Callable[[Call], tuple[list[Row], int, int]]] = {
            "orders": self._orders,
            "customers": self._customers,
            "products": self._products,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._call(scope)
        call.body = await _body(receive) if call.method != "GET" else b""
        try:
            status, headers, body = self._answer(call)
        except Trouble as trouble:
            status, headers, body = trouble.status, {}, trouble.body
        await self._send(send, status, headers, body)

    async def _send(self, send: Send, status: int, headers: Mapping[str, str], body: Any) -> None:
        kind, content = "application/json; charset=UTF-8", self._shop.junk
        if isinstance(body, bytes):
            kind, content = "text/html; charset=UTF-8", body
        else:
            content += msgspec.json.encode(body)
        told = {
            "content-type": kind,
            "content-length": str(len(content)),
            "x-robots-tag": "noindex",
            **headers,
        }
        if self._shop.clock:  # else the server in front of us writes its own
            told["date"] = format_datetime(self._shop.now().astimezone(UTC), usegmt=True)
        raw = [(name.encode(), value.encode()) for name, value in told.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    def _call(self, scope: Scope) -> Call:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._site.drops_authorization:
            headers.pop("authorization", None)
        forwarded = self._site.trusts_proxy and headers.get("x-forwarded-proto") == "https"
        scheme = scope.get("scheme", "http")
        params = dict(parse_qsl(scope.get("query_string", b"").decode(), keep_blank_values=True))
        return Call(
            method=scope["method"],
            path=scope["path"],
            params=params,
            headers=headers,
            secure=scheme == "https" or forwarded or not self._site.plain_http,
            address=self._site.home or f"{scheme}://{headers.get('host', 'localhost')}",
        )

    def _answer(self, call: Call) -> tuple[int, dict[str, str], Any]:
        """Do as WordPress does: find the route, know the caller, check the parameters, then the right."""
        match = ROOT.match(call.path)
        if not match or not (match["index"] or self._site.pretty):
            raise NoPage
        known = self._authenticate(call)
        route = (match["route"] or "").strip("/")
        if route == "":
            return 200, {}, {"name": "Shop", "url": call.address, "namespaces": ["wc/v3"]}
        if route == "wc/v3":
            return 200, {}, {"namespace": route, "routes": [f"/{route}/{name}" for name in self._lists]}
        parts = route.removeprefix("wc/v3").strip("/").split("/")
        if route.startswith("wc/v3") and parts[0] == "webhooks":
            self._allow("webhooks", known=known)
            status, body = self._shop.webhooks.answer(call.method, parts[1:], call.params, call.body)
            return status, {}, body
        if not route.startswith("wc/v3") or parts[0] not in self._lists or call.method != "GET":
            raise Trouble(404, "rest_no_route", "No route was found matching the URL and request method.")
        if len(parts) > 1:
            self._allow(parts[0], known=known)
            return 200, {}, self._single(parts)
        rows, total, pages = self._lists[parts[0]](call)
        self._allow(parts[0], known=known)
        return 200, self._counts(call, parts[0], rows, total, pages), rows

    def _allow(self, resource: str, *, known: bool) -> None:
        if not known or resource in self._shop.forbidden:
            status = 403 if known else 401
            raise Trouble(status, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")

    # --- keys ------------------------------------------------------------------------------------------

    def _authenticate(self, call: Call) -> bool:
        """Tell whether the caller is known; raise what WooCommerce says of a wrong secret or signature."""
        known = (call.secure and self._by_password(call)) or self._by_signature(call)
        if known and "read" not in self._site.permission:
            raise _wrong_key("The API key provided does not have read permissions.")
        if known and call.method != "GET" and "write" not in self._site.permission:
            raise _wrong_key("The API key provided does not have write permissions.")
        return known

    def _by_password(self, call: Call) -> bool:
        key, secret = call.params.get("consumer_key"), call.params.get("consumer_secret")
        if not key or not secret:
            key, secret = _basic(call.headers.get("authorization", ""))
        if key != KEY:
            return False
        if not hmac.compare_digest((secret or "").encode(), SECRET.encode()):
            raise _wrong_key("Consumer secret is invalid.")
        return True

    def _by_signature(self, call: Call) -> bool:
        told = {name: call.params.get(f"oauth_{name}", "") for name in OAUTH}
        if not any(told.values()):
            return False
        if missing := [f"oauth_{name}" for name, value in told.items() if not value]:
            message = f"Missing OAuth parameters {', '.join(missing)}"
            raise Trouble(401, "woocommerce_rest_authentication_missing_parameter", message)
        if told["consumer_key"] != KEY:
            raise _wrong_key("Consumer key is invalid.")
        if told["signature_method"] not in HASHES:
            raise _wrong_key("Invalid signature - signature method is invalid.")
        if not hmac.compare_digest(_signature(call), told["signature"].replace(" ", "+")):
            raise _wrong_key("Invalid signature - provided signature does not match.")
        self._use_up(told["nonce"], told["timestamp"])
        return True

    def _use_up(self, nonce: str, timestamp: str) -> None:
        now = time.time()
        if not timestamp.isdigit() or abs(now - int(timestamp)) > NONCE_LIFE:
            raise _wrong_key("Invalid timestamp.")
        while self._nonces and next(iter(self._nonces.values())) <= now - NONCE_LIFE:
            self._nonces.pop(next(iter(self._nonces)))
        if nonce in self._nonces:
            raise _wrong_key("Invalid nonce - nonce has already been used.")
        self._nonces[nonce] = now

    # --- lists -----------------------------------------------------------------------------------------

    def _orders(self, call: Call) -> tuple[list[Row], int, int]:
        asked = Asked(call.params, self._shop)
        statuses = asked.names("status", (*ORDER_STATUSES, *self._site.statuses), "any")
        by = asked.name("orderby", POST_ORDERS, "date")
        created, modified = asked.span("after", "before"), asked.span("modified_after", "modified_before")
        ids = self._of_statuses(statuses, by if by in {"date", "modified"} else "id")
        spans = {"date": created, "modified": modified}
        if by in spans:
            ids = cut(ids, spans.pop(by), self._shop.key(by))
        times = {"date": self._shop.created, "modified": self._shop.modified}
        for name, span in spans.items():
            if span != ALWAYS:
                ids = [number for number in ids if span[0] < times[name](number) < span[1]]
        ids = asked.chosen(ids)
        if "customer" in call.params:
            buyer = asked.number("customer", 0, 0)
            ids = [number for number in ids if (self._shop.orders[number].account or 0) == buyer]
        page = asked.page(ids if asked.ascending("desc") else ids[::-1])
        seen = [number for number in page if number not in self._shop.hidden]
        return asked.trimmed(partial(order_row, self._shop), seen), len(ids), asked.pages(len(ids))

    def _of_statuses(self, statuses: Sequence[str], by: str) -> list[int]:
        if list(statuses) in (["any"], ["trash"]):
            return self._shop.sorted_ids("live" if "any" in statuses else "trash", by)
        both = [*self._shop.sorted_ids("live", by), *self._shop.sorted_ids("trash", by)]
        wanted = set(statuses)
        found = [
            number
            for number in both
            if (status := self._shop.status(number)) in wanted or ("any" in wanted and status != "trash")
        ]
        return sorted(found, key=self._shop.key(by))

    def _customers(self, call: Call) -> tuple[list[Row], int, int]:
        asked, accounts = Asked(call.params, self._shop), self._shop.accounts
        by = asked.name("orderby", USER_ORDERS, "name")
        role, email = call.params.get("role", "customer"), call.params.get("email", "").lower()
        ids = [
            number
            for number, account in accounts.items()
            if role in {"all", account.role} and email in {"", account.email.lower()}
        ]
        keys: Mapping[str, Callable[[int], Any]] = {
            "name": lambda number: f"customer{number}",
            "registered_date": lambda number: (accounts[number].created, number),
        }
        ids = asked.chosen(sorted(ids, key=keys.get(by)))
        page = asked.page(ids if asked.ascending("asc") else ids[::-1])
        return asked.trimmed(partial(customer_row, self._shop), page), len(ids), asked.pages(len(ids))

    def _products(self, call: Call) -> tuple[list[Row], int, int]:
        asked, products = Asked(call.params, self._shop), self._shop.products
        by = asked.name("orderby", POST_ORDERS, "date")
        created, modified = asked.span("after", "before"), asked.span("modified_after", "modified_before")
        ids = [
            number
            for number, goods in products.items()
            if created[0] < goods.created < created[1] and modified[0] < goods.modified < modified[1]
        ]
        keys: Mapping[str, Callable[[int], Any]] = {
            "date": lambda number: (products[number].created, number),
            "modified": lambda number: (products[number].modified, number),
        }
        ids = asked.chosen(sorted(ids, key=keys.get(by)))
        page = asked.page(ids if asked.ascending("desc") else ids[::-1])
        return asked.trimmed(partial(product_row, self._shop), page), len(ids), asked.pages(len(ids))

    def _counts(
        self, call: Call, resource: str, rows: Sequence[Row], total: int, pages: int
    ) -> dict[str, str]:
        """Count as the real one does: nothing at all, on a page of orders beyond the last."""
        page = int(call.params.get("page", 1))
        if page > pages and resource == "orders" and not self._site.posts:
            total = pages = 0
        links = [(min(page - 1, pages), "prev")] if page > 1 else []
        links += [(page + 1, "next")] if page < pages else []
        defaults = {"status[0]": "any", "dp": "2", "context": "view"} if resource == "orders" and rows else {}
        base = f"{call.address}{call.path}?"
        shown = [
            f'<{base}{urlencode({**call.params, **defaults, "page": number})}>; rel="{rel}"'
            for number, rel in links
        ]
        counts = {"x-wp-total": str(total), "x-wp-totalpages": str(pages)} if self._site.counts else {}
        api = f'<{call.address}/wp-json/>; rel="https://api.w.org/"'
        return counts | {"link": ", ".join(shown) or api, "allow": "GET, POST"}

    def _single(self, parts: Sequence[str]) -> Any:
        """Answer for one row: orders, trashed ones too, their refunds, customers, products."""
        resource, number = parts[0], int(parts[1]) if parts[1].isdigit() else -1
        shop = self._shop
        if parts[1:] and not parts[1].isdigit():
            raise Trouble(404, "rest_no_route", "No route was found matching the URL and request method.")
        if parts[2:] == ["refunds"] and resource == "orders":
            refunds = shop.refunds_of(number) if number in shop.orders else []
            return [refund_row(refund) for refund in refunds]
        held: Mapping[str, tuple[Mapping[int, Any], Callable[[int], Row], str]] = {
            "orders": (shop.orders, partial(order_row, shop), "woocommerce_rest_shop_order_invalid_id"),
            "customers": (shop.accounts, partial(customer_row, shop), "wc_user_invalid_id"),
            "products": (shop.products, partial(product_row, shop), "woocommerce_rest_product_invalid_id"),
        }
        rows, write, code = held[resource]
        if number not in rows:
            message = "Invalid user ID." if resource == "customers" else "Invalid ID."
            raise Trouble(404, code, message)
        return write(number)


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _signature(call: Call) -> str:
    """Sign the request as the shop does: over its own address, whatever was dialled."""
    told = {name: value for name, value in call.params.items() if name != "oauth_signature"}
    joined = "%26".join(
        quote(f"{quote(name, safe='~')}={quote(told[name], safe='~')}", safe="~") for name in sorted(told)
    )
    text = f"{call.method}&{quote(call.address + call.path, safe='~')}&{joined}"
    digest = hmac.digest(f"{SECRET}&".encode(), text.encode(), HASHES[told["oauth_signature_method"]])
    return base64.b64encode(digest).decode()


def _basic(header: str) -> tuple[str, str]:
    kind, _, encoded = header.partition(" ")
    try:
        key, _, secret = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (key, secret) if kind.lower() == "basic" else ("", "")


def _wrong_key(message: str) -> Trouble:
    return Trouble(401, "woocommerce_rest_authentication_error", message)
