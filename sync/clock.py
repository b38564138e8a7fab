"""The worker's clock: what time it is, and waiting, which a test does in no time."""

import asyncio
import time
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from sync.job import utc_now

STEP = 30.0
JUMP = 5.0
"""Seconds by which the clock may differ from the time that has passed before it counts as set."""


class Clock(Protocol):
    def now(self) -> datetime: ...

    async def wait(self, until: datetime, woken: asyncio.Event) -> None:
        """Return at `until`, as soon as `woken` is set, or when the clock was set meanwhile."""


class SystemClock:
    """The machine's clock. One that is set, or that stood still while a laptop slept, ends a wait."""

    def now(self) -> datetime:
        return utc_now()

    async def wait(self, until: datetime, woken: asyncio.Event) -> None:
        """Sleep in short steps, so that a clock that is set is noticed."""
        offset = self.now().timestamp() - time.monotonic()
        while not woken.is_set() and (left := (until - self.now()).total_seconds()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, STEP)):
                    await woken.wait()
            if abs(self.now().timestamp() - time.monotonic() - offset) > JUMP:
                return
