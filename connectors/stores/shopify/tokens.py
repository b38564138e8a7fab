"""The token that each request shows: one that lasts, or one a day for a client id and its secret.

An app of the Dev Dashboard gets tokens that last 24 hours and cannot be renewed: one asks for another.
https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/client-credentials-grant
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlencode

from connectors.errors import RemoteFault
from connectors.http import Api

FRESH = 0.8
"""Share of a token's life after which we ask for the next."""
PATH = "/admin/oauth/access_token"


class Tokens(Protocol):
    async def current(self) -> str:
        """Return the token to show."""

    async def after(self, refused: str) -> str | None:
        """Return another token than the refused one, None when there can be none."""


class Lasting:
    """A token that was made by hand and has no end."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def current(self) -> str:
        return self._token

    async def after(self, refused: str) -> str | None:
        return None if refused == self._token else self._token


class Daily:
    """Tokens for a client id and its secret; whoever comes while one is fetched waits for that one."""

    def __init__(
        self, api: Api, client_id: str, client_secret: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._grant = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._stale_at = 0.0

    async def current(self) -> str:
        async with self._lock:
            if not self._token or self._clock() >= self._stale_at:
                await self._fetch()
            return self._token

    async def after(self, refused: str) -> str | None:
        async with self._lock:
            if self._token == refused:
                await self._fetch()
            return self._token

    async def _fetch(self) -> None:
        answer = await self._api.send(
            "POST",
            PATH,
            content=urlencode(self._grant).encode(),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        try:
            token, life = str(answer.json["access_token"]), float(answer.json.get("expires_in") or 86399)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RemoteFault("Shopify answered the request for a token without one") from error
        self._api.keep_secret(token)
        self._token, self._stale_at = token, self._clock() + life * FRESH
