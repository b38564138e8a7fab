"""The main job through real connectors and both simulators."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from state import runs
from state.errors import Away, StateError
from sync.app import opened
from sync.forget import forget_person
from sync.preview import foresee
from sync.run import Order, run_sync
from tests.postgresql import Server
from tests.sync.conftest import World

NOW = datetime(2026, 2, 1, tzinfo=UTC)


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


async def test_a_state_store_in_postgresql_serves_as_a_file_does(world: World, server: Server) -> None:
    file = world.folder / "cartwire.yaml"
    await world.backfill()
    expected = world.contacts
    world.empty_audience()
    text = file.read_text("utf-8")
    file.write_text(text.replace("currency: EUR", f"currency: EUR\ndatabase: {server.make()}"), "utf-8")
    world.reread()

    report = await world.backfill()
    assert (report.exit_code, world.contacts) == (0, expected)
    assert (await world.run()).writes == 0
    world.shop.state.add_order(email="person1@example.com", total="7.50")
    async with world.open() as cartwire:
        ahead = await foresee(cartwire, cartwire.syncs["crm"], file=None, at=None, offline=True)
    assert list(ahead.fields) == []
    assert (await world.run()).exit_code == 0
    assert float(world.contacts["person1@example.com"][0]["SPENT"]) == 57.5
    async with world.open() as cartwire:
        await forget_person(cartwire, "person1@example.com", NOW)
    assert (await world.run()).writes == 0


async def test_a_worker_waits_for_a_server_that_comes_up_later(
    world: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.app.ASK_AGAIN", 0.01)
    address = make_url(server.make())
    with TemporaryDirectory() as folder, capture_logs() as logs:
        later = Path(folder, "later")
        moved = address.update_query_dict({"host": str(later)}).render_as_string(hide_password=False)
        file = world.folder / "cartwire.yaml"
        file.write_text(
            file.read_text("utf-8").replace("currency: EUR", f"currency: EUR\ndatabase: {moved}"), "utf-8"
        )
        world.reread()

        with pytest.raises(Away, match=r"cartwire\.yaml: database: store\d+: .*No such file"):
            await opened(world.plant, 0.0)
        waiting = asyncio.create_task(opened(world.plant, 60.0))
        while len(logs) < 1:  # noqa: ASYNC110 - a log tells nobody that it grew
            await asyncio.sleep(0.01)
        await asyncio.to_thread(later.symlink_to, str(address.query["host"]))
        async with await waiting as cartwire:
            assert await cartwire.db.read(runs.list_runs) == []

    assert [entry["event"] for entry in logs] == ["state_store_awaited"]


@pytest.mark.sqlite
async def test_a_full_disk_stops_a_run_cleanly_and_the_next_one_goes_on(world: World) -> None:
    for number in range(31, 631):
        world.shop.state.add_order(email=f"buyer{number}@example.com", total="1.00")

    for pages in (40, 60, 80):
        async with world.open() as cartwire:
            await cartwire.db.run(
                lambda connection, most=pages: connection.execute(text(f"PRAGMA max_page_count={most}"))
            )
            with pytest.raises(StateError, match="the disk is full; free some space and start again"):
                await run_sync(cartwire.syncs["crm"], cartwire.db, world.folder, Order())
    report = await world.run()

    assert report.exit_code == 0
    assert len(world.contacts) == 607
    assert sum(float(fields["SPENT"]) for fields, _, _ in world.contacts.values()) == 900
    assert (await world.run()).writes == 0
