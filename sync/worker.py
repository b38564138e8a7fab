"""The long-lived process: every sync on its schedule, until it is told to stop.

Each sync is followed by a task of its own: it never runs twice at once, a missed tick runs once, and one
that is in trouble delays no other. A stop cuts a run where it is; the next start goes on there.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from config.errors import ConfigError, Problem
from sync.app import Cartwire
from sync.job import in_group
from sync.run import Order, Sync, run_sync, utc_now
from sync.schedule import trigger

log = structlog.get_logger()

Wait = Callable[[datetime], Awaitable[None]]


async def work(cartwire: Cartwire, wait: Wait | None = None) -> None:
    """Run every sync that has a schedule, at once and then on time, until SIGTERM or SIGINT.

    `wait` sleeps until a moment. Raises ConfigError when no sync has a schedule.
    """
    settings = cartwire.plant.settings
    scheduled = {name: sync.schedule for name, sync in settings.syncs.items() if sync.schedule}
    if not scheduled:
        instead = "write `schedule: every 5 minutes` below a sync"
        raise ConfigError([Problem("cartwire.yaml", None, "syncs", "no sync has a schedule", instead)])
    jobs = [
        _follow(cartwire, cartwire.syncs[name], text, wait or _sleep_until)
        for name, text in scheduled.items()
    ]
    following = asyncio.ensure_future(in_group(jobs))
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop, following.cancel)
    try:
        await following
    except asyncio.CancelledError:
        log.info("worker_stopped")
    finally:
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(stop)


async def _follow(cartwire: Cartwire, sync: Sync, schedule: str, wait: Wait) -> None:
    clock = trigger(schedule, sync.job.timezone)
    while True:
        began = utc_now()
        await _run_once(cartwire, sync)
        due = clock.get_next_fire_time(began, utc_now())
        if due is None:
            return
        log.info("run_scheduled", sync=sync.name, at=due.astimezone(UTC).isoformat(timespec="seconds"))
        await wait(due)


async def _run_once(cartwire: Cartwire, sync: Sync) -> None:
    """Run a sync; whatever goes wrong is logged, and the next tick tries again."""
    try:
        await run_sync(sync, cartwire.db, cartwire.folder, Order(kind="scheduled"))
    except Exception as error:  # noqa: BLE001 - the top of a job: one sync's fault stops no other
        # Not `log.exception`: a traceback may hold what a store sent.
        log.error("run_failed", sync=sync.name, kind=type(error).__name__, reason=str(error)[:200])  # noqa: TRY400


async def _sleep_until(moment: datetime) -> None:
    """Sleep in short steps, so that a clock that is set meanwhile is noticed."""
    while (left := (moment - utc_now()).total_seconds()) > 0:  # noqa: ASYNC110 - no event tells of a set clock
        await asyncio.sleep(min(left, 30.0))
