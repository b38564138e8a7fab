"""The daily cleaning that the worker does beside its syncs; `tidy` does it by hand."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from state import inbox
from state.errors import StateError
from state.housekeeping import keep_house
from sync.app import Cartwire
from sync.worker import Worker

log = structlog.get_logger()

DAY = timedelta(days=1)


async def tidy(cartwire: Cartwire, now: datetime) -> int:
    """Clean once; return how many runs were dropped."""
    keep = cartwire.plant.settings.keep
    webhooks = timedelta(days=keep.webhooks)
    await cartwire.db.run(inbox.drop_of_others, cartwire.read_stores, now - webhooks)
    return await keep_house(cartwire.db, timedelta(days=keep.runs), webhooks, now)


async def tidy_beside(worker: Worker) -> None:
    """Clean every day as long as the worker runs."""
    await tidy_daily(lambda: worker.cartwire, worker.clock.now, worker.wait)


async def tidy_daily(
    current: Callable[[], Cartwire],
    now: Callable[[], datetime],
    wait: Callable[[datetime], Awaitable[None]],
) -> None:
    """Clean now and every day, as `current` is configured, until it is cancelled.

    `wait` sleeps until a moment. A cleaning that fails is tried again the next day.
    """
    while True:
        began = now()
        try:
            log.info("house_kept", runs=await tidy(current(), began))
        except StateError as error:
            log.warning("house_not_kept", reason=str(error))
        await wait(began + DAY)
