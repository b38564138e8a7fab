"""What a WooCommerce shop's refusals mean, in an owner's words."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from connectors.http import Answer

FIREWALL = frozenset({401, 403, 406, 501})
"""What firewalls and security plugins answer before WordPress is asked (ModSecurity: 406 and 501)."""

_MISMATCH = "`secret` does not belong to `key`: copy both again, or make new ones"
_WRONG_SIGNATURE = (
    "`secret` does not belong to `key`, or `url` is not the shop's own address (WordPress: Settings, "
    "General, Site Address)"
)
WRONG_KEYS = (
    ("consumer key is invalid", "the shop does not know this `key`: copy it again, or make a new one"),
    ("secret is invalid", _MISMATCH),
    ("signature", _WRONG_SIGNATURE),
    ("timestamp", "the clocks of this machine and of the shop differ by more than 15 minutes"),
    (
        "write permission",
        "`key` may only read: give it the permission Read/Write, or make the webhooks in the shop by hand",
    ),
    ("read permission", "`key` may only write: make one with the permission Read"),
)
"""By what the English message holds. Shops in other languages get their own words shown."""

_STRANGER = (
    "the shop did not accept `key` and `secret`, or their user may not read this: copy both again, and let "
    "the key belong to a shop manager"
)
_NO_RIGHT = "the user of `key` may not read this: let the key belong to a shop manager or an administrator"
_JSON = rb'(?P<json>\[\s*[\[\]{"]|\{\s*["}])'
_START, _NEW_LINE = re.compile(_JSON), re.compile(rb"[\n\r>]\s*" + _JSON)


def explain(answer: Answer) -> str | None:
    """Make the owner's sentence out of a refusal; None where the shop's own words are the best."""
    if 300 <= answer.status < 400:
        return f"`url` leads to {_target(answer)}: put the address of the shop itself there"
    said = body_of(answer.body)
    if not said:
        return _web_page(answer.status)
    code, message = str(said.get("code")), str(said.get("message"))
    if answer.status in {401, 403}:
        return _right(answer.status, code, message)
    if answer.status == 404 and code == "rest_no_route":
        return "WordPress answers, but WooCommerce does not: is it switched on under this `url`?"
    if answer.status == 400 and "orderby" in message:
        return "this WooCommerce is too old: it cannot list orders by when they changed; update it"
    return f"{code}: {message}"


def body_of(body: bytes) -> Mapping[str, Any]:
    """Read an error object; empty for anything else, as a web page."""
    try:
        said = msgspec.json.decode(cut_junk(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) and "code" in said else {}


def cut_junk(body: bytes) -> bytes:
    """Cut off what comes before the JSON and behind it: notices of PHP and its plugins, comments of caches.

    A notice can hold brackets of its own ("Cannot use [] for reading"): where a line begins counts first.
    """
    if not body.startswith((b"[", b"{")):
        start = _NEW_LINE.search(body) or _START.search(body)
        body = body[start.start("json") :] if start else body
    if body.endswith((b"]", b"}")):
        return body
    end = max(body.rfind(b"]"), body.rfind(b"}")) + 1
    return body[:end] or body


def _right(status: int, code: str, message: str) -> str:
    for part, sentence in WRONG_KEYS:
        if part in message.lower():
            return sentence
    if code == "woocommerce_rest_cannot_view":
        return _STRANGER if status == 401 else _NO_RIGHT
    return f"the shop refuses `key` or `secret`: {message}"


def _web_page(status: int) -> str | None:
    if status in FIREWALL:
        return "a firewall or a security plugin refuses us before the shop sees `key`: let this machine in"
    if status == 404:
        return "there is no WordPress REST API below this `url`: is it the address of the shop?"
    return None


def _target(answer: Answer) -> str:
    """Name where a redirect leads, without the query: it may hold the keys."""
    target = urlsplit(answer.headers.get("location", ""))
    path = re.split(r"/(?:index\.php|wp-json)\b", target.path)[0]
    return f"{target.scheme}://{target.netloc}{path}" if target.netloc else "another page"
