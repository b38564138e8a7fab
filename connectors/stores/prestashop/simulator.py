"""A PrestaShop webservice, as 8.1 was recorded and as its source says: read only, over made-up rows.

XML unless JSON is asked for; the key as the user's name or as `ws_key`; rights by resource and method, with
the codes 25 and 26; `date=1`; local wall clock; no order unless one is given; `[]` for nothing; single rows in
JSON without what is 0 or empty; an index that fails in JSON; ids alone without `display`.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

from connectors.simulation import HistoricOrder, Receive, Scope, Send, Simulation
from connectors.stores.prestashop.simulated import output
from connectors.stores.prestashop.simulated.query import Query, Trouble
from connectors.stores.prestashop.simulated.rows import LANGUAGES, Shelf, shelves
from connectors.stores.prestashop.simulated.shop import SimulatedShop

KEY = "0123456789abcdef0123456789abcdef"
SETTINGS: Mapping[str, Any] = {"url": "https://shop.example", "key": KEY}
ALONE: dict[str, Any] = {}

VERSION = "8.1.2"
REALM = (
    'Basic realm="Welcome to PrestaShop Webservice, please enter the authentication key as the login. '
    'No password required."'
)
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD")
ELSEWHERE = (
    "carriers",
    "cart_rules",
    "combinations",
    "employees",
    "groups",
    "guests",
    "manufacturers",
    "messages",
    "order_details",
    "order_histories",
    "order_invoices",
    "order_payments",
    "shops",
    "states",
    "stores",
    "suppliers",
    "taxes",
    "zones",
)
"""Resources that the webservice knows and this key may not use."""
JSON, XML, HTML = "application/json", "text/xml;charset=utf-8", "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Site:
    """How a shop is hosted, and which version it is.

    `drops_authorization`: that header never arrives. `json`: "works", "blank" (nothing comes) or "ignored" (XML
    comes). `as_text`: every value in JSON is text. `most`: rows that a plugin allows per answer. `moved_to`: the
    address to which the shop sends everybody.
    """

    drops_authorization: bool = False
    json: str = "works"
    as_text: bool = False
    most: int | None = None
    moved_to: str | None = None


def simulator(
    history: Iterable[HistoricOrder],
    *,
    timezone: str = "Europe/Paris",
    clock: Callable[[], datetime] | None = None,
    **site: Any,
) -> Simulation:
    """Open a shop with these orders. `clock` is the shop's; `site` are fields of Site."""
    shop = SimulatedShop(history, timezone, clock)
    return Simulation(_Server(shop, Site(**site)), shop)


@dataclass(frozen=True, slots=True)
class Call:
    """A request, as the webservice sees it."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    base: str


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str]


class _Server:
    def __init__(self, shop: SimulatedShop, site: Site) -> None:
        self._shop = shop
        self._site = site
        self._shelves = shelves(shop)
        shop.rights |= {path: {"GET", "HEAD"} for path in self._shelves}

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        call = self._call(scope)
        try:
            reply = self._answer(call)
        except Trouble as trouble:
            reply = self._refusal(call, trouble)
        await self._send(send, reply, empty=call.method == "HEAD")

    async def _send(self, send: Send, reply: Reply, *, empty: bool) -> None:
        body = b"" if empty or not reply.body else self._shop.junk + reply.body
        told = {"x-powered-by": "PrestaShop Webservice", "content-length": str(len(body)), **reply.headers}
        if reply.kind:
            told["content-type"] = reply.kind
        if self._shop.clock:  # else the server in front of us writes its own
            told["date"] = format_datetime(self._shop.now().astimezone(UTC), usegmt=True)
        raw = [(name.encode(), value.encode()) for name, value in told.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    def _call(self, scope: Scope) -> Call:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._site.drops_authorization:
            headers.pop("authorization", None)
        params = dict(parse_qsl(scope.get("query_string", b"").decode(), keep_blank_values=True))
        host = headers.get("host", "localhost")
        base = f"{scope.get('scheme', 'http')}://{host}/api"
        return Call(scope["method"], scope["path"], params, headers, base)

    def _answer(self, call: Call) -> Reply:
        """Do as the dispatcher does: the domain, the switch, the key, the resource, the method, the rows."""
        if self._site.moved_to:
            target = f"{self._site.moved_to}{call.path}"
            return Reply(302, HTML, b"", {"location": target})
        front, _, rest = call.path.strip("/").partition("/")
        if front != "api":
            return Reply(404, HTML, b"<html><body>This page is not available</body></html>", {})
        if self._shop.disabled:
            message = (
                "The PrestaShop webservice is disabled. Please activate it in the PrestaShop Back Office"
            )
            raise Trouble(503, (22, message))
        key = self._key(call)
        if key is None:
            return Reply(401, HTML, b"401 Unauthorized", {"www-authenticate": REALM})
        _check_key(key)
        path, _, number = rest.partition("/")
        if not path:
            return self._index(call)
        self._check_right(path, call.method)
        return self._single(call, path, number) if number else self._list(call, path)

    def _key(self, call: Call) -> str | None:
        kind, _, encoded = call.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return call.params.get("ws_key")
        try:
            return base64.b64decode(encoded).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return None

    def _check_right(self, path: str, method: str) -> None:
        known = sorted({*self._shelves, *ELSEWHERE})
        if path not in known:
            listed = '", "'.join(known)
            message = f'Resource of type "{path}" does not exists. Did you mean: "zones"? The full list is: "{listed}"'
            raise Trouble(400, (27, message))
        allowed = self._shop.rights.get(path)
        if not allowed:
            message = f'Resource of type "{path}" is not allowed with this authentication key'
            raise Trouble(401, (26, message))
        if method not in METHODS:
            raise Trouble(405, (23, f"Method {method} is not valid"))
        if method not in allowed:
            message = f"Method {method} is not allowed for the resource {path} with this authentication key"
            raise Trouble(405, (25, message))

    # --- answers ---------------------------------------------------------------------------------------

    def _index(self, call: Call) -> Reply:
        if _asks_json(call):  # an uncaught error of this version
            return Reply(500, HTML, b"", {})
        return self._reply(200, XML, output.index_xml(self._shop.rights, call.base))

    def _list(self, call: Call, path: str) -> Reply:
        shelf = self._shelves[path]
        query = Query(self._shop, shelf, call.params)
        ids = query.ids()[: self._site.most]
        if "display" not in call.params:
            return self._in_form(
                call, lambda: output.ids_json(shelf, ids), lambda: output.ids_xml(shelf, ids, call.base)
            )
        self._stumble(path, ids)
        rows = [query.row(number) for number in ids]
        return self._rows(call, shelf, rows)

    def _single(self, call: Call, path: str, text: str) -> Reply:
        shelf = self._shelves[path]
        number = int(text) if text.isdigit() else 0
        if number not in self._shop.ids(path, shelf.ids):
            return Reply(404, "", b"", {"psws-version": VERSION})
        self._stumble(path, [number])
        query = Query(self._shop, shelf, call.params)
        if "display" in call.params:
            return self._rows(call, shelf, [query.row(number)])
        row, languages = query.row(number, full=True), _languages(call)
        return self._in_form(
            call,
            lambda: output.row_json(shelf, row, languages),
            lambda: output.row_xml(shelf, row, languages, call.base),
        )

    def _rows(self, call: Call, shelf: Shelf, rows: list[dict[str, Any]]) -> Reply:
        languages, as_text = _languages(call), self._site.as_text
        return self._in_form(
            call,
            lambda: output.rows_json(shelf, rows, languages, as_text=as_text),
            lambda: output.rows_xml(shelf, rows, languages, call.base),
        )

    def _in_form(self, call: Call, in_json: Callable[[], bytes], in_xml: Callable[[], bytes]) -> Reply:
        if not _asks_json(call) or self._site.json == "ignored":
            return self._reply(200, XML, in_xml())
        return self._reply(200, JSON, b"" if self._site.json == "blank" else in_json())

    def _stumble(self, path: str, ids: Iterable[int]) -> None:
        if any((path, number) in self._shop.broken for number in ids):
            raise Trouble(500, (5, "[PHP Notice #8] Undefined index: price (modules/x/x.php, line 1)"))

    def _refusal(self, call: Call, trouble: Trouble) -> Reply:
        in_json = _asks_json(call) and self._site.json != "ignored"
        write = output.errors_json if in_json else output.errors_xml
        known = trouble.status != 401 or trouble.errors[0][0] == 26
        headers = {} if known else {"www-authenticate": REALM, "psws-version": "0"}
        return self._reply(trouble.status, JSON if in_json else XML, write(trouble.errors), headers)

    def _reply(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        told = {
            "psws-version": VERSION,
            "access-time": str(int(self._shop.now().timestamp())),
            "execution-time": "0.004",
            "content-sha1": hashlib.sha1(body, usedforsecurity=False).hexdigest(),
        }
        return Reply(status, kind, body, {**told, **(headers or {})})


def _check_key(key: str) -> None:
    if not key:
        raise Trouble(401, (17, "Authentication key is empty"))
    if len(key) != 32:
        raise Trouble(401, (18, "Invalid authentication key format"))
    if key != KEY:
        errors = (20, "Authentification key is not active"), (21, "No permission for this authentication key")
        raise Trouble(401, *errors)


def _asks_json(call: Call) -> bool:
    asked = call.params.get("output_format") or call.params.get("io_format")
    return (asked or call.headers.get("output-format", "")).upper() == "JSON"


def _languages(call: Call) -> list[int]:
    asked = call.params.get("language")
    if asked is None:
        return list(LANGUAGES)
    found = [int(one) for one in asked.strip("[]").replace(",", "|").split("|") if one.isdigit()]
    known = [one for one in found if one in LANGUAGES]
    if not known:
        raise Trouble(400, (81, "language is not available"))
    return known
