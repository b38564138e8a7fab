"""The long-lived process: every sync on its schedule, until it is told to stop.

Each sync is followed by a task of its own: it never runs twice at once, a missed tick runs once, and one
that is in trouble delays no other. Beside them a task watches the files of the owner, one watches for syncs
that get nowhere, and others may be handed in (`Side`), such as a web server. A stop lets the page or the batch
in hand come to its end; the next start goes on there.
"""

import asyncio
import hashlib
import random
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from config.errors import ConfigError, Problem
from config.settings import MAIN_FILE
from state import runs
from state.errors import LeaseLost, StateError
from sync.alerts import Alerts, check_alerts, urls_of
from sync.app import Cartwire
from sync.clock import Clock, SystemClock
from sync.follower import GOOD, LOOK_AGAIN, Facts, Follower
from sync.generations import Generations
from sync.job import first_error
from sync.leases import one_worker
from sync.plant import Plant, read_plant
from sync.reload import stamp
from sync.run import Order
from sync.troubles import Kind, Tell, Troubles
from sync.watchdog import Watch

log = structlog.get_logger()

GRACE = 7.0
"""Seconds that a stop gives the batches in hand; containers are killed after ten."""
FAREWELL = 2.0
"""Seconds that a stop gives alerts that are under way."""
READ_FILES = timedelta(seconds=1)
WATCH = timedelta(seconds=60)

Hide = Callable[[Iterable[str]], None]
"""Sets logging up anew, with these secrets cut out."""
Side = Callable[["Worker"], Awaitable[None]]
"""Work beside the syncs. It is cancelled at a stop; an error of its own ends the worker."""


class Worker:
    """All that goes on in `cartwire run`.

    `cartwire` is the configuration in use, which changes: ask for it each time. `facts` and `troubles` say
    how the syncs are doing.
    """

    def __init__(
        self,
        cartwire: Cartwire,
        clock: Clock | None = None,
        *,
        hide: Hide = lambda _secrets: None,
        tell: Tell | None = None,
        spread: float = 0.0,
        look_again: timedelta = LOOK_AGAIN,
    ) -> None:
        self.clock = clock or SystemClock()
        self.alerts = Alerts(urls_of(cartwire.plant))
        self.troubles = Troubles(cartwire.db, tell or self.alerts.tell)
        self.followers: dict[str, Follower] = {}
        self.is_lost = False
        self._generations = Generations(cartwire)
        self._hide = hide
        self._secrets = set(cartwire.plant.loaded.secrets)
        self._spread = spread
        self._look_again = look_again
        self._watches: dict[str, Watch] = {}
        self._stop = asyncio.Event()
        self._never = asyncio.Event()
        self._following: set[asyncio.Task[None]] = set()

    @property
    def cartwire(self) -> Cartwire:
        return self._generations.now

    @property
    def facts(self) -> Mapping[str, Facts]:
        """How each sync is doing."""
        return {name: follower.facts for name, follower in self.followers.items()}

    def poke(self, sync: str, order: Order) -> None:
        """Run a sync soon. What is to be done stands in the state store: orders of one kind may become one run."""
        if sync in self.followers:
            self.followers[sync].poke(order)

    async def wait(self, moment: datetime) -> None:
        """Sleep until a moment."""
        await self.clock.wait(moment, self._never)

    def stop(self) -> None:
        """End soon; asked twice, at once."""
        for task in self._following if self._stop.is_set() else ():
            task.cancel()
        for follower in self.followers.values():
            follower.stop()
        self._stop.set()

    def lose(self) -> None:
        """End because another worker has taken over."""
        self.is_lost = True
        self.stop()

    async def work(self, sides: Sequence[Side] = ()) -> None:
        """Follow every sync, and do what else there is, until `stop`."""
        await self.troubles.load()
        await self.troubles.keep_only(_names(self.cartwire))
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._follow_syncs()
                jobs = [self._watch_files(), self._watch_syncs(), *(side(self) for side in sides)]
                beside = [group.create_task(_run(job)) for job in jobs]
                group.create_task(self._end(beside))
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        finally:
            await self.alerts.aclose(FAREWELL)
            await self._generations.aclose()

    async def adopt(self, plant: Plant) -> None:
        """Go on with another configuration: runs under way end with the old one, all syncs run at once.

        Raises ConfigError, and changes nothing, when it cannot be used by a worker that runs.
        """
        self._refuse_another_store(plant)
        await _check(plant)
        self._secrets |= plant.loaded.secrets  # runs of before may still fail, and say why
        self._hide(self._secrets)
        new = Cartwire(plant, self.cartwire.db)
        self._leave_syncs(self.followers.keys() - new.syncs.keys())  # before they look for themselves in it
        await self._generations.replace(new)
        self.alerts.urls = urls_of(plant)
        await self.troubles.keep_only(_names(new))
        await self.troubles.try_now(self.clock.now())
        for follower in self.followers.values():
            follower.poke(Order(kind="reload"))
        await self._follow_syncs()
        log.info("configuration_taken", syncs=sorted(self.followers))

    def _leave_syncs(self, names: Iterable[str]) -> None:
        for name in names:
            self.followers.pop(name).leave()
            self._watches.pop(name, None)

    async def _follow_syncs(self) -> None:
        """Begin to follow syncs that are new."""
        for name in self.cartwire.syncs.keys() - self.followers.keys():
            follower = Follower(
                name,
                self._generations,
                self.troubles,
                self.clock,
                share=(self._spread + _share(name)) % 1,
                look_again=self._look_again,
            )
            follower.facts.good_at = await self._last_good(name)
            self.followers[name] = follower
            task = self._group.create_task(follower.follow())
            self._following.add(task)
            task.add_done_callback(self._following.discard)

    async def _last_good(self, sync: str) -> datetime | None:
        """Look up when a run last came to its end; by a clock that was ahead, that is now."""
        try:
            found = await self.cartwire.db.read(runs.last_end, sync, GOOD)
            return found and min(found, self.clock.now())
        except StateError as error:
            log.warning("last_run_not_found", sync=sync, reason=str(error))
            return None

    async def _end(self, beside: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the stop, then for what is in hand, and end the rest."""
        await self._stop.wait()
        for task in beside:
            task.cancel()
        if self._following:
            _, late = await asyncio.wait(self._following, timeout=GRACE)
            for task in late:
                task.cancel()
        log.info("worker_stopped")

    async def _watch_files(self) -> None:
        """Take over what the owner changes; what is wrong is said once, and the old one goes on (P7)."""
        seen = settled = stamp(self.cartwire.plant)
        while True:
            await self.clock.wait(self.clock.now() + READ_FILES, self._never)
            now = stamp(self.cartwire.plant)
            if now == seen != settled:
                before = self.cartwire.plant
                await self.reread()
                read = stamp(self.cartwire.plant)
                still = stamp(before) == now  # asked last: what changes from here on is seen at the next look
                now = settled = read if still else now
            seen = now

    async def reread(self) -> None:
        """Read the configuration anew and go on with it, or say why not."""
        folder = self.cartwire.folder
        try:
            await self.adopt(await asyncio.to_thread(read_plant, folder))
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
            log.error("configuration_refused", problems=problems, instead="the one before goes on")  # noqa: TRY400
        except Exception as error:  # noqa: BLE001 - the top of a job: what cannot be read stops no sync
            log.error("configuration_refused", kind=type(error).__name__, instead="the one before goes on")  # noqa: TRY400

    def _refuse_another_store(self, plant: Plant) -> None:
        if plant.settings.database_url != self.cartwire.plant.settings.database_url:
            what = "a worker that runs keeps its state store"
            document = plant.loaded.documents[MAIN_FILE]
            raise ConfigError([document.problem(("database",), what, "start `cartwire run` anew")])

    async def _watch_syncs(self) -> None:
        """Say when a sync gets nowhere, and when it goes on."""
        began = self.clock.now()
        while True:
            await self.clock.wait(self.clock.now() + WATCH, self._never)
            for follower in list(self.followers.values()):
                if not follower.gone:
                    await self._watch(follower, self._watches.setdefault(follower.name, Watch(began)))

    async def _watch(self, follower: Follower, watch: Watch) -> None:
        """Tell of a sync that gets nowhere, unless the reason is a store or an ESP that one is told of anyway."""
        now, facts = self.clock.now(), follower.facts
        watch.see(follower.pulse.beats, facts.good_at, now)
        zone = follower.sync.job.timezone
        reason = watch.stalled(facts.running_since, follower.schedule, zone, now)
        if reason and not any(each.retry_at for each in self.troubles.of(follower.names)):
            await self.troubles.begin(follower.name, Kind.STALLED, reason, now)
        elif not reason:
            await self.troubles.end(follower.name, Kind.STALLED)


async def work(
    cartwire: Cartwire, clock: Clock | None = None, *, sides: Sequence[Side] = (), hide: Hide = lambda _: None
) -> None:
    """Keep every sync that has a schedule on it, at once and then on time, until SIGTERM or SIGINT.

    Raises ConfigError when no sync has a schedule, or an alert cannot be sent; Busy when another worker
    keeps this state store, LeaseLost when one has taken over.
    """
    await _check(cartwire.plant)
    worker = Worker(cartwire, clock, hide=hide, spread=random.random())  # noqa: S311 - spreads load, keeps no secret
    async with one_worker(cartwire.db, cartwire.folder, worker.lose):
        with _signals(worker.stop):
            await worker.work(sides)
    if worker.is_lost:
        raise LeaseLost("another `cartwire run` has taken over this state store")


async def _check(plant: Plant) -> None:
    """Hold a configuration to what a worker needs. Raises ConfigError."""
    if not any(sync.schedule for sync in plant.settings.syncs.values()):
        instead = "write `schedule: every 5 minutes` below a sync"
        raise ConfigError([Problem(MAIN_FILE, None, "syncs", "no sync has a schedule", instead)])
    await check_alerts(plant)


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _names(cartwire: Cartwire) -> Iterable[str]:
    """Name all that can be in trouble."""
    return {*cartwire.stores, *cartwire.esps, *cartwire.syncs}


async def _run(job: Awaitable[None]) -> None:
    await job


def _share(name: str) -> float:
    """Give a sync its place between 0 and 1, always the same."""
    return hashlib.sha256(name.encode()).digest()[0] / 256
