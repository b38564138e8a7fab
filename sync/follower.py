"""One sync in the worker: it waits for the next reason to run, runs, and knows how it is doing.

Reasons are a tick of the schedule, somebody who pokes, a pause that has ended, and time itself, when it moves
somebody from one list to another.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from state.db import Database
from state.errors import Busy, StateError
from sync.app import Cartwire
from sync.clock import Clock
from sync.generations import Generations
from sync.job import Pulse
from sync.report import Outcome, Report
from sync.run import Order, Sync, lacks_history, run_sync
from sync.schedule import next_tick
from sync.troubles import Troubles
from sync.turns import is_due, next_turn

log = structlog.get_logger()

TOGETHER = timedelta(seconds=10)
"""Who is moved by time within it is taken together."""
LOOK_AGAIN = timedelta(seconds=60)
"""Other processes read stores too: what time will do next is worked out anew."""
POSTPONED = timedelta(seconds=15)
BROKEN = timedelta(minutes=1)
LONGEST = timedelta(minutes=15)
SPREAD = timedelta(seconds=15)
"""Syncs that are due at the same moment start that far apart at most."""
OWN = frozenset({"scheduled", "retry", "due"})
"""Kinds of runs whose reason stays until they are done."""
GOOD = frozenset({Outcome.DONE, Outcome.DEAD_LETTERS, Outcome.INCOMPLETE, Outcome.HELD})


@dataclass
class Facts:
    """How a sync is doing, for whoever wants to see it; moments in UTC, None for never.

    `good_at` is when a run that read the stores last came to its end (any run, where there is no schedule),
    `next_at` when the next one begins at the latest.
    """

    last_at: datetime | None = None
    last_outcome: str | None = None
    good_at: datetime | None = None
    next_at: datetime | None = None
    running_since: datetime | None = None
    runs: dict[str, int] = field(default_factory=dict)


class Follower:
    """Follows one sync for as long as the configuration has it. `share` (0 to 1) is its place in SPREAD."""

    def __init__(
        self,
        name: str,
        generations: Generations,
        troubles: Troubles,
        clock: Clock,
        *,
        share: float,
        look_again: timedelta = LOOK_AGAIN,
    ) -> None:
        self.name = name
        self.facts = Facts()
        self.pulse = Pulse()
        self.gone = False
        self._generations = generations
        self._troubles = troubles
        self._clock = clock
        self._offset = SPREAD * share
        self._look_again = look_again
        self._woken = asyncio.Event()
        self._poked: dict[str, Order] = {}
        self._ticked: datetime | None = None
        self._paused: datetime | None = None
        self._broken = 0
        self._look_at = clock.now()
        self._seen = clock.now()
        self._last = generations.now

    @property
    def sync(self) -> Sync:
        return self._cartwire.syncs[self.name]

    @property
    def names(self) -> list[str]:
        """The stores and the ESP that this sync works with."""
        return [*(source.name for source in self.sync.sources), self.sync.job.target.esp]

    @property
    def schedule(self) -> str | None:
        return self._cartwire.plant.settings.syncs[self.name].schedule

    @property
    def _cartwire(self) -> Cartwire:
        """The configuration in use; when it has just dropped the sync, the last that had it."""
        if self.name in self._generations.now.syncs:
            self._last = self._generations.now
        return self._last

    def poke(self, order: Order) -> None:
        """Run soon, whatever the schedule says; of orders of one kind that wait together the last counts."""
        self._poked[order.kind] = order
        self._woken.set()

    def leave(self) -> None:
        """End for good after the run under way: the configuration has dropped the sync."""
        self.gone = True
        self._woken.set()

    def stop(self) -> None:
        """End after the page or the batch in hand."""
        self.pulse.stopping = True
        self._woken.set()

    async def follow(self) -> None:
        """Run whenever there is a reason, until told to stop or until the configuration drops the sync."""
        with structlog.contextvars.bound_contextvars(sync=self.name):
            while not self.pulse.stopping and not self.gone:
                order = await self._next_order()
                if order is not None and not self.gone:
                    await self.run(order)

    async def run(self, order: Order) -> None:
        """Run once; whatever goes wrong is logged, and tried again after a pause."""
        began = self.facts.running_since = self._clock.now()
        try:
            async with self._generations.using() as cartwire:
                sync = cartwire.syncs[self.name]
                report = await run_sync(sync, cartwire.db, cartwire.folder, order, self._clock.now)
                await self._troubles.learn(sync, report, self._clock.now())
        except Busy as busy:
            log.info("run_postponed", reason=str(busy))
            self._again(order, POSTPONED)
        except Exception as error:  # noqa: BLE001 - the top of a job: one sync's fault stops no other
            # Not `log.exception`: a traceback may hold what a store sent.
            log.error("run_failed", kind=type(error).__name__, reason=str(error)[:200])  # noqa: TRY400
            self._note(Outcome.FAILED)
            self._broken += 1
            self._again(order, min(BROKEN * 2 ** min(self._broken - 1, 10), LONGEST))
        else:
            self._ended(order, report, began)
        finally:
            self.facts.running_since = None
            self._look_at = self._clock.now()

    def _ended(self, order: Order, report: Report, began: datetime) -> None:
        self._paused, self._broken = None, 0
        if order.pull:
            self._ticked = began
        self._note(report.outcome)
        # Webhooks are hints: as long as they come through, nobody would see that the schedule does not.
        if report.outcome in GOOD and (order.pull or self.schedule is None):
            self.facts.good_at = self.facts.last_at

    def _note(self, outcome: Outcome) -> None:
        facts = self.facts
        facts.last_at, facts.last_outcome = self._clock.now(), outcome.value
        facts.runs[outcome.value] = facts.runs.get(outcome.value, 0) + 1

    def _again(self, order: Order, pause: timedelta) -> None:
        """Come back to an order after a pause; what was poked meanwhile is newer."""
        self._paused = self._clock.now() + pause
        if order.kind not in OWN:
            self._poked.setdefault(order.kind, order)

    async def _next_order(self) -> Order | None:
        """Wait for the next reason to run; None when something else has to be looked at first."""
        self._woken.clear()
        now = self._clock.now()
        if now < self._seen:  # the clock was set back: nothing that was worked out holds
            self._look_at, self._paused = now, None
            self.facts.good_at = self.facts.good_at and min(self.facts.good_at, now)
            if self._seen - now > BROKEN:  # by less it is kept in step, and pauses are of this time
                await self._troubles.try_now(now)
        self._seen = now
        if self._paused and now < self._paused <= now + LONGEST:
            self.facts.next_at = self._paused
        elif order := await self._wanted(now):
            return order
        else:
            self.facts.next_at = min(filter(None, (self._next_at(now), self._look_at)))
        await self._clock.wait(self.facts.next_at, self._woken)
        return None

    async def _wanted(self, now: datetime) -> Order | None:
        resting = self._troubles.resting(self.names, now)
        if self._poked:
            return self._ordered(self._poked.pop(next(iter(self._poked))), resting)
        if (tick := self._tick(now)) and tick <= now:
            if self._has_store(resting):
                return self._ordered(Order(kind="scheduled"), resting)
            self._ticked = now
        if (retry := self._troubles.next_try(self.names)) and retry <= now:
            return self._ordered(Order(kind="retry"), resting)
        if self._look_at <= now:
            self._look_at = now + self._look_again
            if self.sync.job.target.esp not in resting and await self._look(now):
                return self._ordered(Order(kind="due", pull=False), resting)
        return None

    def _has_store(self, resting: dict[str, str]) -> bool:
        """Tell whether there is a store to read: with none, a tick is a run for nothing."""
        return any(source.name not in resting for source in self.sync.sources)

    def _ordered(self, order: Order, resting: dict[str, str]) -> Order:
        return replace(order, resting=resting, pulse=self.pulse)

    def _next_at(self, now: datetime) -> datetime | None:
        """Find when the schedule or the end of a pause is next a reason to run."""
        return min(filter(None, (self._tick(now), self._troubles.next_try(self.names))), default=None)

    def _tick(self, now: datetime) -> datetime | None:
        """Find when the schedule is next due; a tick that was missed is due now, and only once."""
        if self.schedule is None:
            return None
        if self._ticked is None:
            return now
        self._ticked = min(self._ticked, now)
        due = next_tick(self.schedule, self._ticked, self.sync.job.timezone)
        return due + self._offset if due else None

    async def _look(self, now: datetime) -> bool:
        """Tell whether time has moved anybody; if not, work out when to look again."""
        job, db = self.sync.job, self._generations.now.db
        try:
            if await self._lacks_history(db):
                return False
            if await is_due(job, db, now):
                return True
            turn = await next_turn(job, db, now, self._look_again)
        except StateError as error:
            log.warning("turn_not_found", reason=str(error))
            return False
        if turn is not None:
            self._look_at = max(turn, now) + TOGETHER
        return False

    async def _lacks_history(self, db: Database) -> bool:
        """Tell whether a run would move nobody: until all of a history is there, nothing of it is pushed."""
        return any([await lacks_history(source, db) for source in self.sync.sources])
