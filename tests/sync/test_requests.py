"""How many requests a sync makes, and how many bytes it reads: by what there is to do, whatever happens on the way."""

import contextlib
from math import ceil
from pathlib import Path

import pytest
import respx

from connectors.simulation import Fault, Kind
from tests.faults import Killed, kill_at
from tests.sync.conftest import World, make_world, order

ORDERS, PEOPLE = 900, 150
RESOURCES = 4
PAGES = sum(ceil(rows / 100) for rows in (ORDERS, PEOPLE, 1))
LANDMARKS = 3
"""Where orders begin and where they end, and whether there are checkouts; what changed since is asked for at the end."""
BATCHES, FIELDS, LISTS, ENTRIES = 1, 3, 2, 2
TROUBLES = {
    Fault(status=429): 0.03,
    Fault(status=500): 0.03,
    Fault(Kind.DROP): 0.02,
    Fault(Kind.TRUNCATE): 0.02,
}


@pytest.fixture
def large(tmp_path: Path, router: respx.MockRouter, pauses: list[float]) -> World:
    """Make a shop with some pages of orders, each from an account."""
    history = [
        order(number, f"person{number % PEOPLE}@example.com", account=number % PEOPLE + 1)
        for number in range(1, ORDERS + 1)
    ]
    return make_world(tmp_path, router, history)


def fresh(world: World) -> None:
    """Empty the audience and the state store, and begin to count anew."""
    for file in world.folder.glob("state.db*"):
        file.unlink()
    world.empty_audience()
    world.forget_requests()


async def test_a_full_sync_asks_for_each_page_once_and_writes_in_full_batches(large: World) -> None:
    report = await large.backfill()

    assert report.exit_code == 0
    assert len(large.shop.requests) <= PAGES + LANDMARKS + 2 * RESOURCES
    assert report.requests["news"]["POST"] == BATCHES + FIELDS + LISTS + ENTRIES
    assert report.requests["news"]["GET"] <= 4 + 2 + BATCHES * 3


async def test_P6_what_is_read_for_a_hundred_changes_is_twice_what_changed_at_most(large: World) -> None:
    await large.backfill()
    for number in range(1, 101):
        large.shop.state.update_order(number, total="11.00")
    large.forget_requests()
    before = len(large.router.calls)

    report = await large.run()

    answers = [
        (str(call.request.url), len(call.response.content))
        for call in list(large.router.calls)[before:]
        if call.request.url.host == "shop.test"
    ]
    (changed,) = [size for url, size in answers if "status=any" in url]
    assert report.pushed.contacts == 100
    assert sum(size for _, size in answers) <= 2 * changed
    assert len(answers) <= 2 * RESOURCES
    assert len(large.news.requests) <= 10


async def test_each_fault_on_either_side_costs_one_request_more(large: World) -> None:
    await large.backfill()
    clean = len(large.shop.requests) + len(large.news.requests)
    fresh(large)
    large.shop.chances = large.news.chances = TROUBLES

    report = await large.backfill()

    asked = [seen.status for seen in (*large.shop.requests, *large.news.requests)]
    faults = sum(status in {0, 429, 500} for status in asked)
    assert report.exit_code == 0
    assert faults > 0
    assert len(asked) <= 1.05 * clean + faults


@pytest.mark.sqlite
@pytest.mark.crash
async def test_a_sync_that_is_killed_twice_and_begun_again_asks_for_hardly_more(
    large: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        undisturbed = kill_at(0, patches)
        await large.backfill()
    clean, contacts = len(large.shop.requests), large.contacts
    fresh(large)

    for _ in range(2):
        with monkeypatch.context() as patches, contextlib.suppress(Killed):
            kill_at(undisturbed.steps // 3, patches)
            await large.backfill()
    await large.backfill()

    assert large.contacts == contacts
    assert len(large.shop.requests) <= 1.5 * clean


async def test_a_backfill_after_one_that_ended_reads_everything_again(world: World) -> None:
    await world.backfill()
    first = len(world.shop.requests)
    world.forget_requests()

    await world.backfill()

    assert len(world.shop.requests) >= first
