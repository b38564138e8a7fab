"""`/healthz`: this process lives and can keep things. `/readyz`: every sync does its work."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from state import inbox
from state.errors import StateError
from sync.schedule import next_tick
from sync.troubles import Kind
from sync.web.runner import Runner, parts_of

PATIENCE = 8.0
"""Seconds for the state store to be written; a large transaction may be before us."""
FRESH = 5.0
"""Seconds for which an answer stands: who asks often costs no more."""
SLACK = timedelta(minutes=5)
"""What a run may take beyond its schedule."""


class Health:
    """Tries the state store, once for all who ask at a time."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._turn = asyncio.Lock()
        self._tried_at = float("-inf")
        self._trouble: str | None = None

    async def trouble(self) -> str | None:
        """Say what is wrong with the state store, None for nothing."""
        async with self._turn:
            if time.monotonic() - self._tried_at > FRESH:
                self._trouble = await self._try()
                self._tried_at = time.monotonic()
            return self._trouble

    async def _try(self) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._runner.cartwire.db.run(inbox.probe)
        except StateError:
            return "the state store cannot be written"
        except TimeoutError:
            return f"the state store was not written within {PATIENCE:.0f} seconds"
        return None


def readiness(runner: Runner, now: datetime) -> Mapping[str, Any]:
    """Say of each sync whether it is where it should be, and in words why not."""
    syncs = {name: _late(runner, name, now) or "good" for name in runner.cartwire.syncs}
    return {"ready": set(syncs.values()) <= {"good"}, "syncs": syncs}


def _late(runner: Runner, sync: str, now: datetime) -> str | None:
    """Tell whether a sync's last good run is older than twice its schedule, or something of it is stopped.

    What was down for some minutes only, and nobody was told of, is not stopped.
    """
    schedule = runner.cartwire.plant.settings.syncs[sync].schedule
    troubles = runner.troubles.of(parts_of(runner, sync))
    stopped = sorted(
        {f"{each.name} is {each.kind}" for each in troubles if each.kind != Kind.DOWN or each.told}
    )
    if stopped:
        return ", ".join(stopped)
    if schedule is None:
        return None
    facts, zone = runner.facts.get(sync), runner.cartwire.syncs[sync].job.timezone
    if facts is None or facts.good_at is None:
        return "no run has come to its end yet"
    first = next_tick(schedule, facts.good_at, zone)
    second = next_tick(schedule, first, zone) if first else None
    return (
        "no run came to its end in twice the time of its schedule"
        if second and now > second + SLACK
        else None
    )
