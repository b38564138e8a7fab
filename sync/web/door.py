"""`POST /webhooks/{store}`: is it theirs, keep it, answer, and only then let a run look at it.

Who is not known learns nothing: an unknown store, one without a secret and a wrong signature get the same
answer after the same work. What a delivery says is read later, by the run.
"""

import asyncio
import enum
import time
from collections import Counter
from collections.abc import AsyncIterable, Callable, Mapping
from datetime import datetime

import structlog

from connectors.base import Delivery, Webhooks
from connectors.webhooks import is_greeting, is_signed
from state.errors import StateError
from state.inbox import Received
from sync.run import Order
from sync.web.intake import Intake
from sync.web.runner import Runner

log = structlog.get_logger()

LARGEST = 1_000_000
"""Bytes of a body; the largest orders have some hundred thousand."""
AT_ONCE, SMALL = 32_000_000, 100_000
"""Bytes of all bodies under way; beyond that only small ones get in: who sends thousands, unsigned, fills no memory."""
PATIENCE = 10.0
"""Seconds for a body to arrive."""
RATE, BURST = 200.0, 2_000
"""Deliveries of one store that are kept: in a second, and in a rush."""
FORGED_RATE, FORGED_BURST = 20.0, 200
"""The same for what is refused, all together: nobody's guessing keeps a store out."""
TOGETHER = 0.5
"""Seconds from a delivery to the run: shops send several for each order."""
WEBHOOK = "webhook"
"""The kind of the runs that follow."""


class Outcome(enum.Enum):
    """What became of a delivery, and how that is answered."""

    ACCEPTED = (200, "kept")
    GREETED = (200, "nothing to keep")
    REFUSED = (401, "unknown store, or a signature that does not match")
    TOO_SLOW = (408, "the body did not arrive in time")
    TOO_LARGE = (413, f"the body is larger than {LARGEST} bytes")
    TOO_MANY = (429, "too many deliveries, try again later")
    NOT_KEPT = (503, "it cannot be kept now, try again later")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def words(self) -> str:
        return self.value[1]


class Bucket:
    """Lets `burst` through at once, and `rate` in each second after."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self) -> bool:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Door:
    """Takes deliveries in. `counts` are by store and outcome; a store that is not ours has no name there."""

    def __init__(self, runner: Runner, now: Callable[[], datetime]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._runner = runner
        self._now = now
        self._intake = Intake()
        self._held = 0
        self._kept: dict[str, Bucket] = {}
        self._forged = Bucket(FORGED_RATE, FORGED_BURST)
        self._ringing: dict[str, asyncio.TimerHandle] = {}

    async def take(self, store: str, headers: Mapping[str, str], body: AsyncIterable[bytes]) -> Outcome:
        """Take a delivery in; header names are in lower case."""
        outcome = await self._take(store, headers, body)
        known = store if store in self._runner.cartwire.stores and outcome is not Outcome.REFUSED else ""
        self.counts[known, outcome.name.lower()] += 1
        return outcome

    def ring(self, store: str) -> None:
        """Have every sync that reads a store look at what came, soon and once for all that comes until then."""
        if store not in self._ringing:
            self._ringing[store] = asyncio.get_running_loop().call_later(TOGETHER, self._poke, store)

    def close(self) -> None:
        for handle in self._ringing.values():
            handle.cancel()

    async def _take(self, store: str, headers: Mapping[str, str], body: AsyncIterable[bytes]) -> Outcome:
        read = bytearray()
        try:
            refusal = await self._read(headers, body, read)
            return refusal or await self._judge(store, headers, bytes(read))
        finally:
            self._held -= len(read)

    async def _judge(self, store: str, headers: Mapping[str, str], read: bytes) -> Outcome:
        if is_greeting(read):
            return Outcome.GREETED if self._forged.take() else Outcome.TOO_MANY
        delivery = self._verified(store, headers, read)
        if delivery is None:
            return Outcome.REFUSED if self._forged.take() else Outcome.TOO_MANY
        if not self._kept.setdefault(store, Bucket(RATE, BURST)).take():
            return Outcome.TOO_MANY
        return await self._keep(Received(store, delivery.id, delivery.topic, read, self._now()))

    async def _read(
        self, headers: Mapping[str, str], body: AsyncIterable[bytes], read: bytearray
    ) -> Outcome | None:
        """Read a body to its end, unless it is too large or too slow, or too much is under way."""
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > LARGEST:
            return Outcome.TOO_LARGE
        try:
            async with asyncio.timeout(PATIENCE):
                async for part in body:
                    read += part
                    self._held += len(part)
                    if len(read) > LARGEST:
                        return Outcome.TOO_LARGE
                    if self._held > AT_ONCE and len(read) > SMALL:
                        return Outcome.TOO_MANY
        except TimeoutError:
            return Outcome.TOO_SLOW
        return None

    def _verified(self, store: str, headers: Mapping[str, str], body: bytes) -> Delivery | None:
        cartwire = self._runner.cartwire
        connector = cartwire.stores[store] if store in cartwire.read_stores else None
        if isinstance(connector, Webhooks):
            return connector.verify(headers, body, self._now())
        is_signed([], body, [""])  # so that it takes as long
        return None

    async def _keep(self, received: Received) -> Outcome:
        try:
            await self._intake.keep(self._runner.cartwire.db, received)
        except StateError as error:
            log.error("webhook_not_kept", store=received.store, reason=str(error))  # noqa: TRY400 - it says all
            return Outcome.NOT_KEPT
        self.ring(received.store)
        return Outcome.ACCEPTED

    def _poke(self, store: str) -> None:
        self._ringing.pop(store, None)
        for name, sync in self._runner.cartwire.syncs.items():
            if any(source.name == store for source in sync.sources):
                self._runner.poke(name, Order(kind=WEBHOOK, pull=False))
