"""What the stages share: the sync that they work for."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from mappings.clock import Clock
from mappings.compile import CompiledMapping
from state.ledger import CHECKOUT
from state.outbox import Target
from state.scope import Scope

CHECKOUT_COLUMNS = frozenset(CHECKOUT)

Tick = Callable[[int, int], None]
"""Told how far a stage has come: done, and expected in all."""


class Ticks(Protocol):
    """Who is told how a run goes on: `pulled` after every page, `pushed` after every batch."""

    def pulled(self, store: str, done: int, expected: int) -> None: ...

    def pushed(self, done: int, expected: int) -> None: ...


class Silent:
    """Nobody is told."""

    def pulled(self, store: str, done: int, expected: int) -> None:
        """Say nothing."""

    def pushed(self, done: int, expected: int) -> None:
        """Say nothing."""


class Stopped(Exception):
    """A run was told to stop, and has: nothing is lost, the next one goes on there."""


@dataclass
class Pulse:
    """Between a run and who ordered it: `beats` counts pages and batches, `stopping` asks for an early end."""

    stopping: bool = False
    beats: int = 0

    def beat(self) -> None:
        """Count a page or a batch that is done with."""
        self.beats += 1

    def go_on(self) -> None:
        """Raise Stopped when it is time to end."""
        if self.stopping:
            raise Stopped


@dataclass(frozen=True)
class Job:
    """A sync, as the stages see it; `refresh` is its slower clock, where the owner set one."""

    target: Target
    scope: Scope
    mapping: CompiledMapping
    timezone: ZoneInfo
    refresh: str | None = None

    @property
    def sync(self) -> str:
        return self.target.sync

    @property
    def digest(self) -> str:
        """Tell apart what values rest on besides the facts: the mapping, and where days begin."""
        return f"{self.mapping.digest} {self.timezone.key}"

    @property
    def journeys(self) -> frozenset[str]:
        """Name the lists that start an automation for whoever enters."""
        return frozenset(each.name for each in self.mapping.lists if each.journey)

    @property
    def on_checkouts(self) -> frozenset[str]:
        """Name the lists whose rules rest on an open checkout: whoever pays belongs there no longer."""
        return frozenset(
            each.name for each in self.mapping.lists if each.term.needs.columns & CHECKOUT_COLUMNS
        )

    def urgency(self, name: str) -> tuple[bool, bool]:
        """Sort lists by how much it matters that people leave them soon, the most urgent first."""
        return (name not in self.on_checkouts, name not in self.journeys)

    def clock(self, now: datetime) -> Clock:
        return Clock(now, self.timezone)


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


async def in_group(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run jobs together; the first error stops the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Find the error that a group of tasks stumbled over first."""
    first = errors.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
