"""What the web side wants of the worker: it looks on, and asks for runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from sync.app import Cartwire
from sync.clock import Clock
from sync.run import Order
from sync.troubles import Troubles


class Facts(Protocol):
    """How a sync is doing; None for never."""

    @property
    def good_at(self) -> datetime | None:
        """When a run last came to its end."""

    @property
    def next_at(self) -> datetime | None:
        """When the next one begins at the latest."""


class Runner(Protocol):
    """The worker. Its configuration may be replaced: ask for it each time."""

    @property
    def cartwire(self) -> Cartwire: ...

    @property
    def facts(self) -> Mapping[str, Facts]:
        """How each sync is doing."""

    @property
    def troubles(self) -> Troubles:
        """What does not go as it should."""

    @property
    def clock(self) -> Clock: ...

    async def wait(self, until: datetime) -> None:
        """Sleep until a moment, by the worker's clock."""

    def poke(self, sync: str, order: Order) -> None:
        """Run a sync soon, when its turn comes; orders that wait together become one run."""


def parts_of(runner: Runner, sync: str) -> list[str]:
    """Name a sync, its stores and its ESP: what can be in trouble."""
    known = runner.cartwire.syncs[sync]
    return [sync, known.job.target.esp, *(source.name for source in known.sources)]
