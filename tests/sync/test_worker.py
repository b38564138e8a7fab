"""The worker keeps syncs on their schedules, whatever happens to one of them."""

import asyncio
from datetime import datetime

import pytest

from config.errors import ConfigError
from connectors.simulation import Fault
from state import runs
from sync.worker import work
from tests.sync.conftest import World


class Enough(Exception):
    """Ends a worker's endless day."""


class Clock:
    """Waits for nothing, remembers until when, and ends the day after `ticks`."""

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.waited: list[datetime] = []

    async def __call__(self, moment: datetime) -> None:
        self.waited.append(moment)
        if len(self.waited) >= self.ticks:
            raise Enough


async def test_the_worker_runs_at_once_and_then_on_schedule(world: World) -> None:
    world.configure(extra="    schedule: every 5 minutes\n")
    clock = Clock(3)

    async with world.open() as cartwire:
        with pytest.raises(Enough):
            await work(cartwire, clock)
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert len(world.contacts) == 7
    assert [(run.kind, run.outcome) for run in done] == [("scheduled", "done")] * 3
    assert clock.waited == sorted(clock.waited)


async def test_a_run_that_fails_is_tried_again_at_the_next_tick(world: World) -> None:
    world.configure(extra="    schedule: every 5 minutes\n")
    world.shop.fail(Fault(status=503), times=7)

    async with world.open() as cartwire:
        with pytest.raises(Enough):
            await work(cartwire, Clock(2))
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert [run.outcome for run in done] == ["done", "failed"]
    assert len(world.contacts) == 7


async def test_a_worker_without_a_schedule_says_what_to_write(world: World) -> None:
    async with world.open() as cartwire:
        with pytest.raises(ConfigError, match="no sync has a schedule"):
            await work(cartwire, Clock(1))


async def test_when_one_sync_cannot_be_followed_any_more_none_is(world: World) -> None:
    more = "    schedule: every 5 minutes\n  second:\n    stores: [shop]\n    esp: news\n    mapping: mappings/crm.yaml\n"
    world.configure(extra=f"{more}    schedule: every 5 minutes\n")

    async def wait(_moment: datetime) -> None:
        raise Enough

    async with world.open() as cartwire:
        with pytest.raises(Enough):
            await work(cartwire, wait)

        assert asyncio.all_tasks() == {asyncio.current_task()}
