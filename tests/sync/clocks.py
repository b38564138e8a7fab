"""Clocks that pass as fast as the worker does its work."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

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


class AllWait:
    """The clock of a whole worker: when everybody waits, `jump` goes to the next moment that somebody waits for.

    Waits are taken together in grains, so that what looks every second costs no more than what it is for.
    """

    def __init__(self, start: datetime, grain: timedelta = timedelta(seconds=30)) -> None:
        self.moment = start
        self._grain = grain
        self._waiting: dict[asyncio.Future[None], tuple[datetime, asyncio.Event]] = {}
        self._stirred = asyncio.Event()

    def now(self) -> datetime:
        return self.moment

    async def wait(self, until: datetime, woken: asyncio.Event) -> None:
        passed = asyncio.get_running_loop().create_future()
        waking = asyncio.ensure_future(woken.wait())
        self._waiting[passed] = until, woken
        self.stir()
        try:
            await asyncio.wait({passed, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.pop(passed, None)
            waking.cancel()

    def stir(self) -> None:
        """Have `quiet` look again."""
        self._stirred.set()

    async def quiet(self, is_quiet: Callable[[int], bool]) -> None:
        """Return once `is_quiet` holds for the number of those who wait."""
        while not is_quiet(sum(not woken.is_set() for _, woken in self._waiting.values())):
            await self._stirred.wait()
            self._stirred.clear()

    def jump(self, most: datetime) -> None:
        """Go to the next moment that somebody waits for, a grain away at least, and not beyond `most`."""
        first = min((until for until, _ in self._waiting.values()), default=most)
        self.moment = min(max(first, self.moment + self._grain), most)
        for passed, (until, _) in list(self._waiting.items()):
            if until <= self.moment and not passed.done():
                del self._waiting[passed]
                passed.set_result(None)
