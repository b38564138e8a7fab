"""Deliveries to the disk: those that come while it is busy go in one transaction, so in one flush."""

import asyncio
from contextlib import suppress

from state import inbox
from state.db import Database
from state.inbox import Received

AT_ONCE = 200


class Intake:
    """Keeps deliveries. Who waits for `keep` knows: it is on disk."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Received, asyncio.Future[None]]] = []
        self._turn = asyncio.Lock()

    async def keep(self, db: Database, received: Received) -> None:
        """Keep a delivery, with those that wait beside it. Raises StateError when it cannot be kept."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((received, kept))
        async with self._turn:
            if not kept.done():
                await self._keep_waiting(db)
        await kept

    async def _keep_waiting(self, db: Database) -> None:
        batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
        try:
            await db.run(inbox.receive, [received for received, _ in batch])
        except BaseException as error:
            for _, kept in batch:
                _fail(kept, error)
            raise
        for _, kept in batch:
            if not kept.done():
                kept.set_result(None)


def _fail(kept: "asyncio.Future[None]", error: BaseException) -> None:
    if not kept.done():
        kept.set_exception(error if isinstance(error, Exception) else ConnectionAbortedError())
        with suppress(Exception):
            kept.exception()  # whoever went away meanwhile asks no more
