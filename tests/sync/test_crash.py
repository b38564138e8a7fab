"""P2: a kill at any step, then a restart, ends in the state that an undisturbed run reaches."""

import contextlib
import os
import signal
from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from connectors.stores.woocommerce import simulator as woocommerce
from state import inbox
from state.inbox import Received
from sync.job import utc_now
from tests.faults import Killed, kill_at
from tests.sync.commands import cartwire
from tests.sync.conftest import FIRST, World
from tests.sync.web.conftest import hook

pytestmark = pytest.mark.sqlite

STRIDE = int(os.environ.get("CRASH_STRIDE", "11"))
"""Every eleventh step is tried, with CRASH_STRIDE=1 each of them."""
PARTS = 4
"""A backfill's steps are shared out, so that no worker is left with all of them at the end."""


def fresh(world: World) -> None:
    """Empty the audience and the state store."""
    for file in world.folder.glob("state.db*"):
        file.unlink()
    world.empty_audience()


@pytest.mark.crash
@pytest.mark.parametrize("part", range(PARTS))
async def test_P2_a_kill_at_any_step_of_a_backfill_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    await world.backfill()
    undisturbed = world.contacts

    for step in count(1 + part * STRIDE, PARTS * STRIDE):
        fresh(world)
        with monkeypatch.context() as patches:
            life = kill_at(step, patches)
            with contextlib.suppress(Killed):
                await world.backfill()
        await world.run()

        assert world.contacts == undisturbed, f"killed at step {step}"
        if not life.killed:
            break

    assert step > 40


@pytest.mark.crash
async def test_P2_a_whole_backfill_does_not_go_on_with_a_limited_one_that_was_killed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old orders that were never seen to change: only a whole backfill finds them. Killed once all was read."""
    limited: dict[str, Any] = {"kind": "backfill", "history": True, "since": FIRST + timedelta(minutes=20)}
    await world.backfill()
    with monkeypatch.context() as patches:
        whole = kill_at(10**9, patches)
        await world.run(**limited)

    for step in range(whole.steps - 10, whole.steps, 4):
        world.shop.state.add_order(email=f"missed{step}@example.com", created_at=FIRST)
        with monkeypatch.context() as patches, contextlib.suppress(Killed):
            kill_at(step, patches)
            await world.run(**limited)
        await world.backfill()

        assert f"missed{step}@example.com" in world.contacts, f"killed at step {step}"


@pytest.mark.crash
async def test_P2_a_kill_at_any_step_of_an_incremental_run_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.backfill()
    for number, step in enumerate(count(2, STRIDE), start=1):
        world.shop.state.add_order(email="person1@example.com", total="1.00")
        world.shop.state.add_order(email=f"new{step}@example.com", total="1.00")
        with monkeypatch.context() as patches:
            life = kill_at(step, patches)
            with contextlib.suppress(Killed):
                await world.run()
        await world.run()

        assert world.contacts["person1@example.com"][0]["ORDERS"] == 5 + number
        assert world.contacts[f"new{step}@example.com"][1] == {"Customers"}
        if not life.killed:
            break

    assert step > 20


async def keep_deliveries(world: World) -> None:
    """Keep what the shop sends, as the worker's door does before it answers."""
    async with world.open() as opened:
        store: Any = opened.stores["shop"]

        async def keep(_url: str, headers: Mapping[str, str], body: bytes) -> int:
            told = store.verify(headers, body, utc_now())
            received = Received("shop", told.id, told.topic, body, utc_now())
            await opened.db.run(inbox.receive, [received])
            return 200

        assert await woocommerce.deliver(world.shop, keep) > 0


@pytest.mark.crash
async def test_P2_a_kill_at_any_step_of_a_run_for_webhooks_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No schedule comes to help: what the inbox held must be there after a run for it alone."""
    hook(world)
    await world.backfill()
    for number, step in enumerate(count(1, STRIDE), start=1):
        world.shop.state.add_order(email="person1@example.com", total="1.00")
        world.shop.state.add_order(email=f"new{step}@example.com", total="1.00")
        gone = world.shop.state.add_order(email=f"new{step}@example.com", total="5.00")
        world.shop.state.trash(gone)
        await keep_deliveries(world)
        with monkeypatch.context() as patches:
            life = kill_at(step, patches)
            with contextlib.suppress(Killed):
                await world.run(kind="webhook", pull=False)
        report = await world.run(kind="webhook", pull=False)

        assert world.contacts["person1@example.com"][0]["ORDERS"] == 5 + number, f"killed at step {step}"
        assert world.contacts[f"new{step}@example.com"][0]["ORDERS"] == 1, f"killed at step {step}"
        assert report.exit_code == 0
        if not life.killed:
            break

    assert step > 20


@pytest.mark.crash
@pytest.mark.parametrize("after", [4, 13] if STRIDE == 1 else [13])
def test_P2_a_real_process_killed_in_an_incremental_run_goes_on(servers: World, after: int) -> None:
    cartwire(servers.folder, "backfill", "crm")
    for email in ("person1@example.com", "new@example.com"):
        servers.shop.state.add_order(email=email, total="1.00")

    first = cartwire(servers.folder, "sync", "crm", die_after=after)
    again = cartwire(servers.folder, "sync", "crm")

    assert (first.returncode, again.returncode) == (-signal.SIGKILL, 0), again.stderr
    assert servers.contacts["person1@example.com"][0]["ORDERS"] == 6
    assert servers.contacts["new@example.com"][1] == {"Customers"}


@pytest.mark.crash
@pytest.mark.parametrize("after", [3, 7, 12, 18, 25, 33] if STRIDE == 1 else [9, 33])
def test_P2_a_real_process_killed_by_the_system_goes_on(servers: World, after: int) -> None:
    first = cartwire(servers.folder, "backfill", "crm", die_after=after)
    again = cartwire(servers.folder, "backfill", "crm")

    assert first.returncode == -signal.SIGKILL
    assert again.returncode == 0, again.stderr
    assert {email: each[0]["ORDERS"] for email, each in servers.contacts.items()} == {
        f"person{number}@example.com": 5 if number in {1, 2} else 4 for number in range(7)
    }
    assert servers.contacts["person1@example.com"][1] == {"Customers", "Loyal"}
