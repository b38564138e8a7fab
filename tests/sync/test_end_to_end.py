"""The main job through real connectors and both simulators."""

from tests.sync.conftest import World


async def test_a_backfill_brings_every_person_with_their_totals(world: World) -> None:
    report = await world.backfill()

    assert report.exit_code == 0
    assert len(world.contacts) == 7
    fields, lists, status = world.contacts["person1@example.com"]
    assert (fields["ORDERS"], float(fields["SPENT"])) == (5, 50.0)
    assert lists == {"Customers", "Loyal"}
    assert status == "transactional"


async def test_P3_a_second_run_without_changes_writes_nothing(world: World) -> None:
    await world.backfill()
    world.forget_requests()

    report = await world.run()

    assert report.writes == 0
    assert world.news.requests == []
    assert len(world.shop.requests) <= 6


async def test_changes_at_the_shop_reach_the_contact(world: World) -> None:
    await world.backfill()
    world.shop.state.add_order(email="person1@example.com", total="7.50")
    world.shop.state.refund(7, "10.00")

    report = await world.run()

    assert report.exit_code == 0
    assert float(world.contacts["person1@example.com"][0]["SPENT"]) == 57.5
    assert world.contacts["person0@example.com"][0]["ORDERS"] == 3
