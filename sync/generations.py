"""The configuration in use, and the ones before it that a run still works with.

A run ends with the connectors it began with; they are closed when the last run of theirs has ended. The state
store stays open over all of them.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sync.app import Cartwire


class Generations:
    """`now` is what new runs begin with. The first generation is closed by whoever opened it."""

    def __init__(self, first: Cartwire) -> None:
        self.now = first
        self._first = first
        self._users: Counter[Cartwire] = Counter()

    @asynccontextmanager
    async def using(self) -> AsyncIterator[Cartwire]:
        """Keep the generation of now open."""
        mine = self.now
        self._users[mine] += 1
        try:
            yield mine
        finally:
            self._users[mine] -= 1
            await self._close_unused(mine)

    async def replace(self, new: Cartwire) -> None:
        """Let new runs begin with another configuration."""
        old, self.now = self.now, new
        await self._close_unused(old)

    async def aclose(self) -> None:
        """Close the last generation."""
        if self.now is not self._first:
            await self.now.aclose()

    async def _close_unused(self, generation: Cartwire) -> None:
        if generation not in {self.now, self._first} and not self._users[generation]:
            await generation.aclose()
