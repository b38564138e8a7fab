"""P10 and journeys that begin with a call: only for transitions, and at most once for each."""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import respx

from connectors.esps.autopilot import simulator as autopilot
from connectors.simulation import Fault, Kind
from connectors.stores.woocommerce import simulator as woocommerce
from state import evaluation, runs, settling
from sync.app import Cartwire
from sync.explain import explain_person
from sync.journeys import STARTS
from sync.letters import retry_all
from sync.plant import read_plant
from sync.report import Report
from sync.run import Order, run_sync
from tests.edge import edge
from tests.faults import Killed, kill_at
from tests.sync.conftest import FIRST, HISTORY, SHOP, order

CONFIGURATION = f"""
timezone: Europe/Paris
currency: EUR
stores:
  shop: {{type: woocommerce, url: http://shop.example, key: "%s", secret: "%s", base_url: "{SHOP}"}}
esps:
  news: {{type: autopilot, api_key: "{autopilot.SETTINGS["api_key"]}", base_url: "http://autopilot.test"}}
syncs:
  crm: {{stores: [shop], esp: news, mapping: mappings/crm.yaml}}
"""
MAPPING = """
fields: {ORDERS: orders_count}
lists:
  Welcome: {when: orders_count >= 1, trigger: "0003"}
  Customers: orders_count >= 1
"""
NEW = "later@example.com"
LAST, STRIDE = 14, int(os.environ.get("CRASH_STRIDE", "7"))
"""Steps at the end of a run in which the journeys are started; every seventh is tried, or as the variable says."""


class World:
    """A shop with a past, an Autopilot with a trigger, and Cartwire between them."""

    def __init__(self, folder: Path, router: respx.MockRouter) -> None:
        self.folder = folder
        self.shop, self.news = woocommerce.simulator(HISTORY[:3]), autopilot.simulator()
        self.news.state.triggers["0003"] = "Welcome"
        router.route(host="shop.test").mock(side_effect=edge(self.shop))
        router.route(host="autopilot.test").mock(side_effect=edge(self.news))
        (folder / "mappings").mkdir()
        self.write(MAPPING)
        self.configure()

    def configure(self, more: str = "") -> None:
        keys = tuple(woocommerce.SETTINGS[name] for name in ("key", "secret"))
        (self.folder / "cartwire.yaml").write_text(CONFIGURATION % keys + more)

    def write(self, mapping: str) -> None:
        (self.folder / "mappings" / "crm.yaml").write_text(mapping)

    async def run(self, *, retry: bool = False, **wanted: bool) -> Report:
        async with Cartwire(read_plant(self.folder, {})) as cartwire:
            if retry:
                await cartwire.db.run(settling.retry, "crm")
            return await run_sync(cartwire.syncs["crm"], cartwire.db, self.folder, Order(**wanted))

    async def letters(self) -> list[str]:
        async with Cartwire(read_plant(self.folder, {})) as cartwire:
            return [each.reason for each in await cartwire.db.read(runs.list_dead_letters, ["crm"])]

    def buy(self, email: str = NEW) -> None:
        self.shop.state.add_order(email=email, total="5.00")

    @property
    def started(self) -> list[str]:
        return [self.news.state.people[person].email for _, person in self.news.state.started]


@pytest.fixture
def world(
    tmp_path: Path, router: respx.MockRouter, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setattr("connectors.esps.autopilot.connector.PER_SECOND", 1e6)
    return World(tmp_path, router)


async def test_P10_a_trigger_is_called_for_who_enters_after_go_live_and_not_for_history(world: World) -> None:
    await world.run(history=True)
    world.buy()

    await world.run()
    await world.run()

    assert world.started == [NEW]
    assert sorted(world.news.state.lists.values()) == ["Customers"]


async def test_P10_a_trigger_that_is_new_in_the_mapping_is_not_called_for_who_belongs_already(
    world: World,
) -> None:
    world.write(MAPPING.replace('  Welcome: {when: orders_count >= 1, trigger: "0003"}\n', ""))
    await world.run(history=True)
    world.write(MAPPING)

    await world.run()
    world.buy()
    await world.run()

    assert world.started == [NEW]


async def test_who_leaves_and_enters_again_starts_the_journey_again(world: World) -> None:
    await world.run(history=True)
    world.buy()
    await world.run()
    world.shop.state.trash(4)
    await world.run()
    world.buy()

    await world.run()

    assert world.started == [NEW, NEW]


async def test_P10_a_journey_that_never_begins_again_does_not_for_who_leaves_and_enters(world: World) -> None:
    world.write(MAPPING.replace('"0003"}', '"0003", reenter: never}'))
    await world.run(history=True)
    world.buy()
    world.buy("once@example.com")
    await world.run()
    world.shop.state.trash(4)
    await world.run()
    world.buy()

    await world.run()

    assert sorted(world.started) == [NEW, "once@example.com"]


async def test_P10_only_the_journey_whose_rule_changed_is_quiet_and_only_once(world: World) -> None:
    other = '  Second: {when: orders_count >= 2, trigger: "0003"}\n'
    world.write(MAPPING + other)
    await world.run(history=True)
    world.write(MAPPING.replace(">= 1, trigger", ">= 0, trigger") + other)
    world.buy(HISTORY[0].email)

    await world.run()
    world.buy()
    await world.run()

    assert world.started == [HISTORY[0].email, NEW]


async def test_P10_another_store_brings_history_and_the_first_ones_news_are_no_part_of_it(
    world: World, router: respx.MockRouter
) -> None:
    await world.run(history=True)
    outlet = woocommerce.simulator([order(number, f"outlet{number}@example.com") for number in (1, 2)])
    router.route(host="outlet.test").mock(side_effect=edge(outlet))
    world.buy()
    text = (world.folder / "cartwire.yaml").read_text()
    store = text.splitlines()[4]
    text = text.replace(store, f"{store}\n{store.replace('shop:', 'outlet:').replace('shop.', 'outlet.')}")
    (world.folder / "cartwire.yaml").write_text(text.replace("[shop]", "[shop, outlet]"))

    await world.run()

    assert (world.started, len(world.news.state.people)) == ([NEW], 6)


async def test_P10_a_held_history_stays_quiet_and_an_order_after_it_is_no_history(world: World) -> None:
    text = (world.folder / "cartwire.yaml").read_text()
    limited = text.replace("crm.yaml}", "crm.yaml, limits: {new_contacts: 1}}")
    (world.folder / "cartwire.yaml").write_text(limited)
    held = await world.run(history=True)
    world.buy()

    await world.run(approved=True)

    assert (held.outcome, world.started) == ("held", [NEW])


async def test_P10_who_had_opted_out_before_the_first_push_is_history(world: World) -> None:
    world.write(MAPPING.replace("orders_count >= 1, trigger", "accepts_marketing is false, trigger"))
    world.news.state.add(HISTORY[0].email)
    world.news.state.unsubscribe(HISTORY[0].email)

    await world.run(history=True)
    await world.run()

    async with Cartwire(read_plant(world.folder, {})) as cartwire:
        (found,) = await explain_person(cartwire, HISTORY[0].email, datetime.now(UTC))
    assert world.started == []
    assert found.lists["Welcome"].startswith("inside the rule, and was when the journey went live")


@pytest.mark.parametrize("retries", [True, False])
async def test_P10_an_old_order_that_is_mended_later_is_history_still(
    world: World,
    retries: bool,  # noqa: FBT001 - pytest passes by name
) -> None:
    world.shop.state.update_order(1, row={"billing": None})
    await world.run(history=True)
    world.shop.state.update_order(1, row={"billing": {"email": "late@example.com"}})
    async with Cartwire(read_plant(world.folder, {})) as cartwire:
        if retries:
            await retry_all(cartwire)
    await world.run()

    assert (world.started, len(world.news.state.people)) == ([], 3)


async def test_a_lost_answer_starts_no_journey_twice_and_is_a_dead_letter(world: World) -> None:
    await world.run(history=True)
    world.buy()
    world.news.fail(Fault(Kind.DROP), when=lambda _method, path: "/trigger/" in path)

    report = await world.run()
    await world.run()

    assert (report.exit_code, world.started) == (1, [NEW])
    assert "nobody knows whether the journey began" in (await world.letters())[0]


async def test_the_owner_may_have_a_doubtful_journey_started_again(world: World) -> None:
    await world.run(history=True)
    world.buy()
    world.news.fail(Fault(status=400), when=lambda _method, path: "/trigger/" in path)
    await world.run()

    report = await world.run(retry=True)

    assert (report.exit_code, world.started, await world.letters()) == (0, [NEW], [])


async def test_an_ESP_that_is_down_leaves_nobody_in_doubt(world: World) -> None:
    await world.run(history=True)
    world.buy()
    await world.run()
    world.buy("next@example.com")
    down = ["/trigger"]
    world.news.fail(Fault(status=503), times=40, when=lambda _, path: any(part in path for part in down))

    failed = await world.run()
    down.clear()
    await world.run()

    assert failed.exit_code == 3
    assert (world.started, await world.letters()) == ([NEW, "next@example.com"], [])


async def test_a_trigger_that_is_not_there_is_named_once_with_those_that_are(world: World) -> None:
    world.write(MAPPING.replace("0003", "0004"))
    await world.run(history=True)
    world.buy()

    report = await world.run()

    assert (report.exit_code, world.started) == (1, [])
    assert await world.letters() == ["Autopilot has no such trigger; it has 0003 (Welcome)"]


async def test_P2_who_entered_while_a_trigger_was_gone_begins_when_it_is_back(world: World) -> None:
    await world.run(history=True)
    world.news.state.triggers.clear()
    world.buy()
    gone = await world.run()
    world.news.state.triggers["0003"] = "Welcome"
    world.buy("next@example.com")

    await world.run()
    await world.run()

    assert gone.exit_code == 1
    assert (sorted(world.started), await world.letters()) == ([NEW, "next@example.com"], [])


@pytest.mark.parametrize("fault", [Fault(status=401), Fault(status=403), Fault(status=429)], ids=str)
async def test_P2_whom_autopilot_surely_did_not_start_wait_for_the_next_run(
    world: World, fault: Fault
) -> None:
    await world.run(history=True)
    people = [f"buyer{number}@example.com" for number in range(STARTS + 5)]
    for email in people:
        world.buy(email)
    shut = ["/trigger/"]
    world.news.fail(fault, times=1000, when=lambda _method, path: any(part in path for part in shut))

    failed = await world.run()
    waiting = await world.letters()
    shut.clear()
    mended = await world.run()

    assert (failed.exit_code, failed.pushed.refused, waiting) == (3, 0, [])
    assert "left for the next run" in failed.errors[0]
    assert (mended.exit_code, sorted(world.started)) == (0, sorted(people))


@pytest.mark.crash
async def test_P10_what_a_killed_backfill_found_is_history_in_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders that only a backfill finds: they are older than what has been read of changes.

    It is killed in its second half, with its windows laid down.
    """
    await world.run(history=True)
    with monkeypatch.context() as patches:
        whole = kill_at(10**9, patches)
        await world.run(history=True)
    for step in range(whole.steps // 2, whole.steps, whole.steps // 5):
        world.shop.state.add_order(email=f"missed{step}@example.com", total="5.00", created_at=FIRST)
        with monkeypatch.context() as patches, contextlib.suppress(Killed):
            kill_at(step, patches)
            await world.run(history=True)

        await world.run()

        assert f"missed{step}@example.com" in {each.email for each in world.news.state.people.values()}
    assert world.started == []


@pytest.mark.crash
@pytest.mark.parametrize("brought", ["by the history", "by a rate"])
async def test_P10_what_a_killed_run_had_computed_is_history_under_another_rate_too(
    world: World, monkeypatch: pytest.MonkeyPatch, brought: str
) -> None:
    """It was killed before it could compare anybody."""
    world.write(MAPPING.replace("when: orders_count >= 1", "when: total_spent >= 5"))
    world.shop.state.add_order(email=NEW, total="50.00", currency="USD")
    await world.run(history=True)
    world.configure("rates: {USD: 0.9}")
    if brought == "by the history":
        await world.run()
        world.shop.state.add_order(email="missed@example.com", total="5.00", created_at=FIRST)
    with monkeypatch.context() as patches, contextlib.suppress(Killed):
        patches.setattr(evaluation, "compare", _die)
        await world.run(history=brought == "by the history")
    world.configure("rates: {USD: 0.8}")

    await world.run()

    assert (world.started, len(world.news.state.people)) == ([], 5 if "history" in brought else 4)


def _die(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.crash
async def test_a_kill_while_journeys_are_started_starts_none_twice_and_forgets_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was not started for certain is a dead letter."""
    await world.run(history=True)
    world.buy()
    with monkeypatch.context() as patches:
        whole = kill_at(10**9, patches)
        await world.run()
    bought = {NEW}

    for step in range(whole.steps - LAST, whole.steps, STRIDE):
        bought.add(f"buyer{step}@example.com")
        world.buy(f"buyer{step}@example.com")
        with monkeypatch.context() as patches, contextlib.suppress(Killed):
            kill_at(step, patches)
            await world.run()
        await world.run()

        assert len(set(world.started)) == len(world.started)
        assert len(bought - set(world.started)) <= len(await world.letters()) <= LAST / STRIDE
