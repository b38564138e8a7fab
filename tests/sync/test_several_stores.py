"""A sync of several stores reads them side by side: slow ones are waited for together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from connectors.simulation import Fault, Simulation
from sync.job import Pulse
from sync.pull import Source
from sync.report import Outcome
from sync.run import _side_by_side
from tests.edge import edge
from tests.sync.conftest import World, order

OUTLET = [order(number, f"outlet{number}@example.com") for number in range(3)]

Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]


def answer_once_all_are_asked(world: World, **shops: Simulation) -> None:
    """Let no shop answer before each of them has been asked for something."""
    asked = {name: asyncio.Event() for name in shops}

    def waiting(name: str, answer: Answer) -> Answer:
        async def respond(request: httpx.Request) -> httpx.Response:
            asked[name].set()
            async with asyncio.timeout(20):
                await asyncio.gather(*(event.wait() for event in asked.values()))
            return await answer(request)

        return respond

    for name, shop in shops.items():
        world.router.route(host=f"{name}.test").mock(side_effect=waiting(name, edge(shop)))


async def test_stores_are_waited_for_together(world: World) -> None:
    outlet = world.add_store("outlet", OUTLET)
    answer_once_all_are_asked(world, shop=world.shop, outlet=outlet)

    report = await world.run()

    assert report.exit_code == 0
    assert {name: pulled.orders > 0 for name, pulled in report.stores.items()} == {
        "shop": True,
        "outlet": True,
    }
    assert {"outlet0@example.com", "outlet2@example.com"} < set(world.contacts)


async def test_no_more_stores_than_a_few_are_read_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.run.STORES_AT_ONCE", 1)
    outlet = world.add_store("outlet", OUTLET)
    asked: list[str] = []
    for name, shop in (("shop", world.shop), ("outlet", outlet)):
        world.router.route(host=f"{name}.test").mock(side_effect=noting(asked, name, edge(shop)))

    await world.run()

    assert asked == sorted(asked, reverse=True)  # all of the shop's, then all of the outlet's
    assert set(asked) == {"shop", "outlet"}


def noting(asked: list[str], name: str, answer: Answer) -> Answer:
    async def respond(request: httpx.Request) -> httpx.Response:
        asked.append(name)
        return await answer(request)

    return respond


async def test_stores_on_one_host_are_read_one_after_the_other() -> None:
    stores: Any = [None] * 4
    sources = [
        Source("fr", stores[0], "weak.example"),
        Source("de", stores[1], "weak.example"),
        Source("es", stores[2], "other.example"),
        Source("file", stores[3]),
    ]
    under_way: set[str | None] = set()
    met: list[set[str | None]] = []

    async def work(source: Source) -> None:
        assert source.host is None or source.host not in under_way
        under_way.add(source.host)
        await asyncio.sleep(0)
        met.append(set(under_way))
        under_way.discard(source.host)

    await _side_by_side(sources, work)

    assert len(met) == 4
    assert {"weak.example", "other.example", None} in met


async def test_the_host_of_a_store_is_that_which_is_dialled(world: World) -> None:
    world.add_store("outlet", OUTLET)

    async with world.open() as cartwire:
        hosts = {source.name: source.host for source in cartwire.syncs["crm"].sources}

    assert hosts == {"shop": "shop.test", "outlet": "outlet.test"}


async def test_the_trouble_of_one_store_stops_no_other_and_nothing_is_pushed_of_half_a_history(
    world: World,
) -> None:
    outlet = world.add_store("outlet", OUTLET)
    outlet.chances = {Fault(status=401): 1.0}

    report = await world.run()
    outlet.chances = {}
    later = await world.run()

    assert list(report.failures) == ["outlet"]
    assert report.stores["shop"].orders > 0
    assert report.pushed.contacts == 0
    assert later.exit_code == 0
    assert "outlet0@example.com" in world.contacts


async def test_a_store_that_rests_is_left_alone_and_the_run_says_so(world: World) -> None:
    outlet = world.add_store("outlet", OUTLET)
    await world.run()
    outlet.requests.clear()

    report = await world.run(resting={"outlet": "it refuses us"})

    assert (report.resting, report.outcome) == ({"outlet": "it refuses us"}, Outcome.INCOMPLETE)
    assert (list(report.stores), outlet.requests) == (["shop"], [])


@dataclass
class StopAfter:
    """Asks for an end once so many pages have been stored, of whatever store."""

    pulse: Pulse
    pages: int
    seen: list[str] = field(default_factory=list)

    def pulled(self, store: str, _done: int, _expected: int) -> None:
        self.seen.append(store)
        self.pulse.stopping = len(self.seen) >= self.pages

    def pushed(self, _done: int, _expected: int) -> None:
        """Nothing is pushed in a run that was stopped before."""


@pytest.mark.parametrize("pages", [1, 2, 3])
async def test_P1_P2_a_stop_while_two_histories_are_read_loses_nothing(world: World, pages: int) -> None:
    world.add_store("outlet", OUTLET)
    pulse = Pulse()

    stopped = await world.run(pulse=pulse, ticks=StopAfter(pulse, pages))
    whole = await world.run()
    contacts = world.contacts
    again = await world.backfill()

    assert (stopped.stopped, stopped.pushed.contacts) == (True, 0)
    assert whole.exit_code == again.exit_code == 0
    assert "outlet0@example.com" in contacts
    assert (world.contacts, again.pushed.contacts) == (contacts, 0)
