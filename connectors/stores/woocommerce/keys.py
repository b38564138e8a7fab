"""How a WooCommerce shop is shown the key and the secret.

Which manner a shop takes depends on what WordPress sees, not on what we dial:

- HTTP Basic counts only where WordPress sees TLS. Some hosts drop the `Authorization` header on its way
  to PHP: the same keys in the query work there. They end up in the shop's access log, so they come second.
- Over plain HTTP only a one-legged OAuth 1.0a signature counts. A shop behind a proxy that ends TLS without
  telling WordPress is such a shop too, though we dial https; it then reckons with http in the signature.
- The signature covers the shop's own address (its "home URL"), which is not the dialled one behind a proxy.
  https://github.com/woocommerce/woocommerce, class-wc-rest-authentication.php

A shop that does not see our keys answers as to a stranger: 401 `woocommerce_rest_cannot_view`. The last
manner of each list has the best words for a wrong key, as only OAuth reports an unknown one.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from connectors.http import Auth, BasicAuth, Request

STRANGER = b"woocommerce_rest_cannot_view"
MISSIGNED = b"signature"

Manner = Callable[[Request, Any], None]


class Keys(Auth):
    """Show the keys in the first manner that the shop takes, and stay with it.

    `root` is the dialled address, `home` the shop's own, both without a slash at their end. Each
    request, retries included, gets a fresh nonce and timestamp: a shop refuses a nonce that it has seen.
    """

    requires_response_body = True

    def __init__(self, key: str, secret: str, *, root: str, home: str) -> None:
        self._key = key
        self._secret = secret
        self._folder = urlsplit(root).path
        self._manners = self._manners_for(root, _plain(home))

    def auth_flow(self, request: Request) -> Generator[Request, Any, None]:
        plain = request.url
        manners = self._manners
        for manner in manners:
            request.url = plain
            request.headers.pop("authorization", None)
            manner(request, plain)
            response = yield request
            if not _is_unseen(response):
                self._manners = [manner] if response.is_success else self._manners
                return
        self._manners = manners[:1]  # none helped: later requests do not try them all again

    def _manners_for(self, root: str, home: str) -> list[Manner]:
        if root.startswith("https:"):
            return [self._basic, self._in_query, self._signed_for(home)]
        return [self._signed_for(address) for address in dict.fromkeys((root, home))]

    def _basic(self, request: Request, _: Any) -> None:
        next(BasicAuth(self._key, self._secret).auth_flow(request))

    def _in_query(self, request: Request, url: Any) -> None:
        request.url = url.copy_merge_params({"consumer_key": self._key, "consumer_secret": self._secret})

    def _signed_for(self, home: str) -> Manner:
        """Sign for a shop that reckons with `home`, wherever we reach it."""

        def sign(request: Request, url: Any) -> None:
            oauth = {
                "oauth_consumer_key": self._key,
                "oauth_nonce": secrets.token_hex(16),
                "oauth_signature_method": "HMAC-SHA256",
                "oauth_timestamp": str(int(time.time())),
            }
            path, _, query = url.raw_path.decode().partition("?")
            params = {**dict(parse_qsl(query, keep_blank_values=True)), **oauth}
            address = home + path.removeprefix(self._folder)
            oauth["oauth_signature"] = signature(request.method, address, params, self._secret)
            request.url = url.copy_with(query="&".join(filter(None, (query, urlencode(oauth)))).encode())

        return sign


def signature(method: str, address: str, params: dict[str, str], secret: str) -> str:
    """Sign as OAuth 1.0a does with a consumer alone: https://www.rfc-editor.org/rfc/rfc5849#section-3.4."""
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in params.items())
    query = "%26".join(f"{_encoded(name)}%3D{_encoded(value)}" for name, value in pairs)
    text = "&".join((method.upper(), _encoded(address), query))
    return base64.b64encode(hmac.digest(f"{secret}&".encode(), text.encode(), hashlib.sha256)).decode()


@lru_cache(maxsize=256)
def _encoded(text: str) -> str:
    """Encode as the RFC wants it; the longest of what is sent, the fields to tell, is the same every time."""
    return quote(text, safe="~")


def _plain(address: str) -> str:
    return address.replace("https:", "http:", 1)


def _is_unseen(response: Any) -> bool:
    """Tell whether the shop did not see our keys, or reckoned with another address than we did."""
    return response.status_code == 401 and (
        STRANGER in response.content or MISSIGNED in response.content.lower()
    )
