"""`dead-letters --retry`: what is said and kept when it does not work out."""

import pytest

from connectors.errors import BadRecord
from connectors.simulation import Fault
from state import runs
from state.errors import StateError
from sync.letters import Retried, letters_of, mark_done, retry_all, show_retried
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


# --- what waits for the owner -------------------------------------------------------------------------------

ASKED, GONE, ODD = (
    "request customers/data_request of customer 42",
    "request shop/redact",
    "webhook orders/updated",
)


async def ask_owner(world: World) -> None:
    async with world.open() as cartwire:
        letters = [BadRecord(record, "do it") for record in (ASKED, GONE, ODD, "order 999")]
        await cartwire.db.run(runs.bury, "shop", letters, NOW)
        await cartwire.db.run(runs.bury, "crm", [BadRecord("order shop/1", "no rate")], NOW)


async def test_P2_what_only_the_owner_can_do_stays_when_all_is_retried(world: World) -> None:
    await world.backfill()
    await ask_owner(world)

    done, left = await retried(world)

    assert (done.exit_code, [each for each in left if not each.startswith("order ")]) == (
        0,
        [ASKED, GONE, ODD],
    )
    assert "order 999" not in left


async def test_what_is_done_goes_by_its_exact_record(world: World) -> None:
    await ask_owner(world)

    async with world.open() as cartwire:
        await mark_done(cartwire, [ASKED, ODD])
        left = [letter.record for letter in await letters_of(cartwire)]

    assert left == ["order shop/1", "order 999", GONE]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("order 999", "'order 999' is neither a request to you nor a webhook that cannot be read"),
        ("order shop/1", "neither a request"),
        ("request customers/data_request", "there is no dead letter 'request customers/data_request'"),
    ],
)
async def test_what_is_no_request_is_refused_and_then_nothing_goes(
    world: World, record: str, said: str
) -> None:
    await ask_owner(world)

    async with world.open() as cartwire:
        with pytest.raises(StateError, match=said):
            await mark_done(cartwire, [ASKED, record])
        assert len(await letters_of(cartwire)) == 5


async def test_what_two_stores_ask_is_told_apart_by_the_store(world: World) -> None:
    world.add_store("outlet", [])
    await ask_owner(world)
    async with world.open() as cartwire:
        await cartwire.db.run(runs.bury, "outlet", [BadRecord(GONE, "do it")], NOW)

        with pytest.raises(StateError, match=f'2 have a dead letter .*: "outlet {GONE}"'):
            await mark_done(cartwire, [GONE])
        await mark_done(cartwire, [f"outlet {GONE}"])
        left = [(letter.scope, letter.record) for letter in await letters_of(cartwire)]

    assert [each for each in left if each[1] == GONE] == [("shop", GONE)]
