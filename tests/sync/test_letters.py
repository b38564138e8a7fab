"""`dead-letters --retry`: what is said and kept when it does not work out."""

import pytest

from connectors.errors import BadRecord
from connectors.simulation import Fault
from state import runs
from sync.letters import Retried, letters_of, retry_all, show_retried
from tests.sync.conftest import World
from tests.sync.test_forget import NOW


async def bury(world: World) -> None:
    async with world.open() as cartwire:
        await cartwire.db.run(runs.bury, "crm", [BadRecord("name PHONE", "no such field")], NOW)
        await cartwire.db.run(runs.bury, "shop", [BadRecord("order 999", "it has no date")], NOW)


async def retried(world: World) -> tuple[Retried, list[str]]:
    async with world.open() as cartwire:
        done = await retry_all(cartwire)
        return done, [letter.record for letter in await letters_of(cartwire)]


async def test_P5_a_store_that_refuses_keeps_its_letters_and_the_esp_is_tried_all_the_same(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.backfill()
    await bury(world)
    world.shop.fail(Fault(status=401), times=1000)

    done, left = await retried(world)
    show_retried(done)

    assert (done.exit_code, list(done.failed), left) == (3, ["shop"], ["order 999"])
    assert [report.kind for report in done.reports] == ["retry"]
    assert "stores.shop: " in capsys.readouterr().err


async def test_P5_an_esp_that_refuses_keeps_the_letters(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.backfill()
    await bury(world)
    world.shop.state.add_order(email="person1@example.com", total="7.50")
    world.news.fail(Fault(status=401), times=1000)

    done, left = await retried(world)
    show_retried(done)

    assert (done.exit_code, left) == (3, ["name PHONE"])
    assert "syncs.crm: " in capsys.readouterr().err


def test_a_store_that_failed_alone_is_told_by_the_exit_code() -> None:
    assert Retried(failed={"shop": "it is down"}).exit_code == 3


async def test_P5_what_landed_is_no_letter_any_more(world: World) -> None:
    await world.backfill()
    await bury(world)

    done, left = await retried(world)

    assert (done.exit_code, done.failed, left) == (0, {}, [])
