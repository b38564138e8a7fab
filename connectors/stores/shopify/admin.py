"""How we talk to the Admin API: one POST a question, with a token, within the budget of points.

- `THROTTLED` comes as a 200. We seldom meet it: the budget is read from each answer, and who would overdraw it
  waits first. Who shares the app's bucket with us can still empty it: then we wait for what the answer says.
- A renamed shop redirects. The question is asked again there, if the host is still one of Shopify's.
- A shop serves the oldest version it still knows when ours is gone: the header says which.
- A filter that the shop does not know is dropped, and everything comes: only a warning in the answer tells.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from connectors import http
from connectors.errors import Refused, RemoteFault, Throttled
from connectors.http import Answer, Api
from connectors.stores.shopify.budget import Budget
from connectors.stores.shopify.refusals import MOVED, TooExpensive, code_of, error_in, moved_to
from connectors.stores.shopify.tokens import Tokens

log = structlog.get_logger()

PATIENCE = 600.0
"""Seconds that one question waits for points in all. Who is throttled longer gets the next run."""
LEAST_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Reply:
    """What a question brought: `data`, what it reserved of the budget, and the shop's clock."""

    data: Mapping[str, Any]
    cost: float
    sent_at: datetime


class Admin:
    """One shop's Admin API. `lag` is how far our clock is ahead of the shop's, None before any answer."""

    def __init__(self, api: Api, tokens: Tokens, version: str, *, may_move: bool) -> None:
        self.lag: timedelta | None = None
        self._api = api
        self._tokens = tokens
        self._version = version
        self._path = f"/admin/api/{version}/graphql.json"
        self._may_move = may_move
        self._budget = Budget()
        self._turn = asyncio.Lock()
        self._warned: set[str] = set()

    async def ask(self, query: str, variables: Mapping[str, Any] | None = None, *, key: str = "") -> Reply:
        """Ask until there is an answer without errors. `key` tells apart questions that cost differently.

        Raises TooExpensive, Denied, Refused, Throttled, RemoteFault or Unreachable; never half an answer.
        """
        known_as = f"{key}{query}"
        waited = 0.0
        while True:
            waited += await self._take_turn(known_as)
            answer = await self._send({"query": query, "variables": dict(variables or {})})
            body = self._body(answer)
            cost = (body.get("extensions") or {}).get("cost") or {}
            self._budget.learn(known_as, cost, time.monotonic())
            if not _is_throttled(body):
                return self._reply(body, answer, self._budget.cost_of(known_as))
            if self._budget.never_suffices(known_as):
                raise TooExpensive("the shop's budget never holds enough points for this query")
            if waited > PATIENCE:
                raise Throttled("Shopify: the budget of points is empty, and stays so", LEAST_PAUSE)
            log.debug("budget_empty", waited=round(waited, 1))
            await http.wait(LEAST_PAUSE)
            waited += LEAST_PAUSE

    async def _take_turn(self, known_as: str) -> float:
        """Wait until the points suffice, and take them; return how long that was."""
        async with self._turn:
            pause = self._budget.pause(known_as, time.monotonic())
            if pause:
                await http.wait(pause)
            self._budget.reserve(known_as, time.monotonic())
            return pause

    async def _send(self, body: Mapping[str, Any]) -> Answer:
        """Send once, again with a fresh token after a 401, again where the shop has moved to."""
        token = await self._tokens.current()
        try:
            return await self._post(body, token)
        except Refused as refused:
            if refused.status == 401 and (fresh := await self._tokens.after(token)):
                return await self._post(body, fresh)
            host = moved_to(refused.headers) if refused.status in MOVED and self._may_move else None
            if host is None:
                raise
            log.warning("shop_moved", host=host, hint="correct `shop`")
            self._path = f"https://{host}/admin/api/{self._version}/graphql.json"
            return await self._post(body, token)

    async def _post(self, body: Mapping[str, Any], token: str) -> Answer:
        return await self._api.send("POST", self._path, body, headers={"x-shopify-access-token": token})

    def _body(self, answer: Answer) -> Mapping[str, Any]:
        self._note_version(answer)
        if answer.sent_at:
            self.lag = datetime.now(UTC) - answer.sent_at
        if not isinstance(answer.json, dict):
            raise RemoteFault("Shopify answered JSON that is no object")
        return answer.json

    def _reply(self, body: Mapping[str, Any], answer: Answer, cost: float) -> Reply:
        """Take the data, or raise what stands there instead: a page with errors is never a whole one."""
        self._note_ignored_filters(body)
        error = error_in(body["errors"]) if body.get("errors") else None
        if error:
            raise type(error)(self._api.redact(str(error)))
        data = body.get("data")
        if not isinstance(data, dict):
            raise RemoteFault("Shopify answered without data")
        return Reply(data, cost, answer.sent_at or datetime.now(UTC))

    def _note_version(self, answer: Answer) -> None:
        served = answer.headers.get("x-shopify-api-version", self._version)
        if served != self._version and served not in self._warned:
            self._warned.add(served)
            log.warning("version_differs", asked=self._version, served=served, hint="set `api_version`")

    def _note_ignored_filters(self, body: Mapping[str, Any]) -> None:
        for search in (body.get("extensions") or {}).get("search") or ():
            for warning in search.get("warnings") or ():
                log.error("filter_ignored", field=str(warning.get("field")), code=str(warning.get("code")))


def _is_throttled(body: Mapping[str, Any]) -> bool:
    errors = body.get("errors")
    return isinstance(errors, list) and any(code_of(error) == "THROTTLED" for error in errors)
