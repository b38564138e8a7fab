"""What Shopify's errors mean. They come in three layers: the status, `errors` in a 200, `userErrors`.

`errors` is a list of objects in a 200, but mere text (or an object) beside another status.
https://shopify.dev/docs/api/admin-graphql#status_and_error_codes
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from connectors.errors import ConnectorError, Refused, RemoteFault
from connectors.http import Answer

MOVED = frozenset({301, 302, 307, 308})

SENTENCES: Mapping[int, str] = {
    401: "the shop does not accept our token: make a new one, or install the app in this shop again",
    402: "the shop is frozen: its owner has to pay Shopify first",
    403: "the shop refuses this app: is it still installed?",
    404: "there is no shop of this name, or it does not know this `api_version`",
    423: "the shop is locked: Shopify thinks that it was misused",
    430: "Shopify takes our requests for an attack: stop for a while, then ask its support",
}

GRANTS: Mapping[str, str] = {
    "application_cannot_be_found": "Shopify does not know this `client_id`",
    "invalid_client": "`client_secret` does not belong to `client_id`: copy both again",
    "shop_not_permitted": "this app may not enter the shop: both must belong to one organization, and the app "
    "must be installed",
}
"""What comes back instead of a token, OAuth-shaped."""

FAULTS = frozenset({"INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT"})
"""Shopify's own trouble, said in a 200."""
FAULT = re.compile(rb'"code"\s*:\s*"(?:INTERNAL_SERVER_ERROR|SERVICE_UNAVAILABLE|TIMEOUT)"')

DISPENSABLE = frozenset({"customerJourneySummary"})
"""Fields without which an order is still worth reading, when a shop denies them."""


class TooExpensive(Refused):
    """A query may cost more than Shopify allows: ask for less at once."""


class Denied(Refused):
    """A right is missing: a 403 that comes in a 200."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=403)


def explain(answer: Answer) -> str | None:
    """Make the owner's sentence out of a refusal."""
    if answer.status in MOVED:
        return f"the shop has moved to {moved_to(answer.headers) or 'another address'}: correct `shop`"
    said = _body(answer.body)
    grant = said.get("error") if isinstance(said.get("error"), str) else None
    if grant:
        return GRANTS.get(grant, f"no token for `client_id`: {said.get('error_description') or grant}")
    if answer.status in SENTENCES:
        return SENTENCES[answer.status]
    return words(said["errors"]) if "errors" in said else None


def moved_to(headers: Mapping[str, str]) -> str | None:
    """Name the host a renamed shop redirects to; None when it is none of Shopify's, which gets no token."""
    host = urlsplit(headers.get("location", "")).hostname
    return host if host and host.endswith(".myshopify.com") else None


def is_fault(answer: Answer) -> bool:
    """Tell a 200 in which Shopify owns up to a fault of its own: worth another try."""
    return answer.status == 200 and b'"errors"' in answer.body and bool(FAULT.search(answer.body))


def error_in(errors: Any) -> ConnectorError | None:
    """Turn the `errors` of a 200 into what is to be raised; None when only dispensable fields were denied."""
    serious = [error for error in _list(errors) if not _is_dispensable(error)]
    if not serious:
        return None
    codes = {code_of(error) for error in serious}
    text = words(serious)
    if codes & FAULTS:
        return RemoteFault(f"Shopify met a fault of its own: {text}")
    if "MAX_COST_EXCEEDED" in codes:
        return TooExpensive(f"Shopify allows no query this expensive: {text}")
    if "ACCESS_DENIED" in codes:
        return Denied(f"Shopify denies access: {text}")
    if "SHOP_INACTIVE" in codes:
        return Refused("the shop is inactive")
    return Refused(f"Shopify does not understand the question, another `api_version` may: {text}")


def code_of(error: Any) -> str:
    extensions = error.get("extensions") if isinstance(error, Mapping) else None
    return str(extensions.get("code") or "") if isinstance(extensions, Mapping) else ""


def words(errors: Any) -> str:
    """Join what an `errors` says, in whichever shape."""
    said = [word for error in _list(errors) for word in _words(error)]
    return "; ".join(dict.fromkeys(word for word in said if word)) or "no reason given"


def _words(error: Any) -> list[str]:
    if not isinstance(error, Mapping):
        return [str(error)]
    return (
        [str(error["message"])]
        if "message" in error
        else [f"{name}: {value}" for name, value in error.items()]
    )


def _is_dispensable(error: Any) -> bool:
    path = error.get("path") if isinstance(error, Mapping) else None
    return code_of(error) == "ACCESS_DENIED" and bool(DISPENSABLE & {str(step) for step in path or ()})


def _list(errors: Any) -> Sequence[Any]:
    return errors if isinstance(errors, list) else [errors]


def _body(body: bytes) -> Mapping[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) else {}
