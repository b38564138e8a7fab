"""Fields and lists are made while the first history is being read, where nothing could hold the writing."""

import httpx
import pytest
import respx

from connectors.simulation import Fault
from tests.edge import edge
from tests.sync.conftest import World


def posts(world: World) -> int:
    return sum(seen.method == "POST" for seen in world.news.requests)


@pytest.fixture
def made_so_far(world: World, router: respx.MockRouter) -> list[int]:
    """Note what the audience had been told to make whenever the shop was asked for something."""
    made: list[int] = []
    shop = edge(world.shop)

    async def answer(request: httpx.Request) -> httpx.Response:
        made.append(posts(world))
        return await shop(request)

    router.routes.clear()
    router.route(host="shop.test").mock(side_effect=answer)
    router.route(host="news.test").mock(side_effect=edge(world.news))
    return made


async def test_both_sides_are_waited_for_together(world: World, made_so_far: list[int]) -> None:
    report = await world.backfill()

    assert report.exit_code == 0
    assert made_so_far[0] == 0 < made_so_far[-1]
    assert set(world.news.state.merge_fields) >= {"ORDERS", "SPENT", "LASTORD"}


async def test_P11_where_limits_may_hold_the_run_nothing_is_made_before(
    world: World, made_so_far: list[int]
) -> None:
    world.configure(extra="    limits: {new_contacts: 3}\n")

    held = await world.backfill()

    assert (held.outcome.value, set(made_so_far), posts(world)) == ("held", {0}, 0)


async def test_later_runs_ask_for_nothing_that_they_do_not_need(world: World) -> None:
    await world.backfill()
    world.forget_requests()

    await world.run()
    await world.backfill()

    assert [seen for seen in world.news.requests if "merge-fields" in seen.path] == []


async def test_what_could_not_be_made_then_is_made_before_the_push(world: World, pauses: list[float]) -> None:
    world.news.fail(Fault(status=403), when=lambda _, path: path.endswith("/merge-fields"))

    report = await world.backfill()

    assert report.exit_code == 0
    assert len(world.contacts) == 7


async def test_a_history_that_cannot_be_read_ends_the_making_with_the_run(world: World) -> None:
    world.shop.chances = {Fault(status=401): 1.0}

    report = await world.backfill()

    assert list(report.failures) == ["shop"]
    assert world.contacts == {}
