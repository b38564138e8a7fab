"""Clocks that pass as fast as the worker does its work."""

import asyncio
from collections.abc import Callable
from datetime import datetime

Look = Callable[[datetime], None]


class Enough(Exception):
    """Ends a worker's endless day."""


class OneWaits:
    """The clock of a single follower: it waits for nothing, until `end`.

    `look` is called whenever the follower has nothing to do, and may make it have something.
    """

    def __init__(self, start: datetime, end: datetime, look: Look = lambda _now: None) -> None:
        self.moment = start
        self.end = end
        self.look = look
        self.waited: list[datetime] = []

    def now(self) -> datetime:
        return self.moment

    async def wait(self, until: datetime, woken: asyncio.Event) -> None:
        self.waited.append(until)
        before = self.moment
        self.look(before)
        if woken.is_set() or self.moment != before:
            return
        if until > self.end:
            raise Enough
        self.moment = max(until, self.moment)
