"""Beside the reading: the ESP makes the fields and lists that a first push will need, so that both sides are waited for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from connectors.base import Esp
from connectors.errors import ConnectorError
from state import evaluation, names
from state.db import Database
from sync.job import Job, Ticks
from sync.names import prepare

Ready = Callable[[], Awaitable[Mapping[str, str] | None]]


class Preparing:
    """Passes on how a run goes on, and has the ESP make what it lacks from the first page of history on."""

    def __init__(self, job: Job, esp: Esp, ticks: Ticks, *, may_begin: bool) -> None:
        self._job = job
        self._esp = esp
        self._ticks = ticks
        self._may_begin = may_begin
        self._task: asyncio.Task[dict[str, str]] | None = None

    def pulled(self, store: str, done: int, expected: int) -> None:
        self._ticks.pulled(store, done, expected)
        if self._may_begin and self._task is None:
            self._task = asyncio.create_task(prepare(self._job, self._esp))

    def pushed(self, done: int, expected: int) -> None:
        self._ticks.pushed(done, expected)

    async def ready(self) -> Mapping[str, str] | None:
        """Wait for what `prepare` returns; None where it was not begun, or failed, which may be hours ago."""
        with suppress(ConnectorError):
            return await self._task if self._task else None
        return None

    async def end(self) -> None:
        """Leave nothing under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def preparing(
    job: Job, esp: Esp, db: Database, ticks: Ticks, *, may_write: bool
) -> AsyncIterator[Preparing]:
    """Begin early in a sync's first run, if it may write whatever the plan turns out to be (P11)."""
    is_first = (await db.read(evaluation.sync_state, job.sync)).evaluated_at is None
    is_first &= not await db.read(names.has_accepted, job.target)  # what others had there may be gone
    making = Preparing(job, esp, ticks, may_begin=is_first and may_write)
    try:
        yield making
    finally:
        await making.end()
