"""A mapping that changes while contacts, lists and dead letters of the old one are there."""

from pathlib import Path

import pytest
import respx

from connectors.esps.autopilot import simulator as autopilot
from connectors.simulation import Simulation
from connectors.stores.woocommerce import simulator as woocommerce
from state import runs
from sync.app import Cartwire
from sync.plant import read_plant
from sync.run import Order, run_sync
from tests.edge import edge
from tests.sync.conftest import HISTORY, MAPPING, World
from tests.sync.test_journeys import CONFIGURATION

PEOPLE = {f"person{number}@example.com" for number in range(7)}


def tagged(world: World, name: str) -> set[str]:
    return {email for email, (_, lists, _) in world.contacts.items() if name in lists}


def values(world: World, name: str) -> set[object]:
    return {contact.fields.get(name) for contact in world.news.state.contacts.values()}


async def changed(world: World, old: str, new: str) -> None:
    """Fill everything under the usual mapping, then run under one with `new` in the place of `old`."""
    assert old in MAPPING
    await world.backfill()
    world.configure(mapping=MAPPING.replace(old, new))
    await world.run()


async def test_a_renamed_field_is_written_to_everybody_and_the_old_one_stays(world: World) -> None:
    await changed(world, "  ORDERS:", "  BUYS:")

    assert world.reports[-1].pushed.contacts == len(PEOPLE)
    assert values(world, "BUYS") == values(world, "ORDERS") == {4, 5}


async def test_a_removed_field_is_left_alone(world: World) -> None:
    await changed(world, "  ORDERS: orders_count\n", "")

    assert world.reports[-1].writes == 0
    assert values(world, "ORDERS") == {4, 5}


async def test_a_field_that_comes_back_unchanged_costs_nothing(world: World) -> None:
    await changed(world, "  ORDERS: orders_count\n", "")
    world.configure()

    report = await world.run()

    assert report.writes == 0


async def test_a_number_that_becomes_a_text_is_refused_by_name_where_the_ESP_holds_numbers(
    world: World,
) -> None:
    await changed(world, "ORDERS: orders_count", "ORDERS: {value: orders_count, type: text}")
    async with world.open() as cartwire:
        letters = await cartwire.db.read(runs.list_dead_letters, ["crm"])

    assert values(world, "ORDERS") == {4, 5}
    assert [each.record for each in letters] == ["name ORDERS"]
    assert {contact[0]["SPENT"] for contact in world.contacts.values()} == {40, 50}


async def test_dead_letters_of_a_name_go_with_the_name(world: World) -> None:
    await changed(world, "ORDERS: orders_count", "ORDERS: {value: orders_count, type: text}")
    world.configure(mapping=MAPPING.replace("  ORDERS: orders_count\n", ""))

    report = await world.run()

    assert (report.dead_letters, report.exit_code) == (0, 0)


async def test_a_renamed_list_is_a_new_one_and_the_old_one_keeps_who_is_in_it(world: World) -> None:
    await changed(world, "  Customers:", "  Buyers:")

    assert tagged(world, "Buyers") == tagged(world, "Customers") == PEOPLE


async def test_a_removed_list_is_left_alone_and_set_right_when_it_comes_back(world: World) -> None:
    loyal = "  Loyal: orders_count >= 2\n"
    await changed(world, loyal, "")
    before = tagged(world, "Loyal"), world.reports[-1].writes
    world.configure(mapping=MAPPING.replace(loyal, "  Loyal: orders_count >= 5\n"))

    await world.run()

    assert before == (PEOPLE, 0)
    assert tagged(world, "Loyal") == {"person1@example.com", "person2@example.com"}


async def test_a_list_is_emptied_by_a_rule_that_is_false(world: World) -> None:
    await changed(world, "Loyal: orders_count >= 2", "Loyal: false")

    assert tagged(world, "Loyal") == set()


async def test_a_changed_threshold_moves_those_between_the_two(world: World) -> None:
    await changed(world, "orders_count >= 2", "orders_count >= 5")

    assert tagged(world, "Loyal") == {"person1@example.com", "person2@example.com"}
    assert tagged(world, "Customers") == PEOPLE


async def test_changes_that_were_laid_down_for_a_removed_list_are_not_sent(world: World) -> None:
    await world.backfill()
    world.configure(
        mapping=MAPPING.replace("orders_count >= 2", "false"), extra="    limits: {list_changes: 0}\n"
    )
    held = await world.run()
    world.configure(mapping=MAPPING.replace("  Loyal: orders_count >= 2\n", ""))

    report = await world.run()

    assert (held.exit_code, report.writes) == (1, 0)
    assert tagged(world, "Loyal") == PEOPLE


# --- journeys ------------------------------------------------------------------------------------------

TRIGGERS = """
parameters: {some: 1}
formulas: {buyer: orders_count >= some}
fields: {ORDERS: orders_count}
lists:
  Welcome: {when: buyer and orders_count < 100, trigger: "0003"}
  Customers: orders_count >= 1
"""
NEW = "later@example.com"


class Journeys:
    """A shop with three buyers, and an Autopilot with two triggers."""

    def __init__(self, folder: Path, router: respx.MockRouter) -> None:
        self.folder = folder
        self.shop, self.news = woocommerce.simulator(HISTORY[:3]), autopilot.simulator()
        self.news.state.triggers |= {"0003": "Welcome", "0004": "Other"}
        for host, simulation in (("shop.test", self.shop), ("autopilot.test", self.news)):
            self.serve(router, host, simulation)
        (folder / "mappings").mkdir()
        keys = tuple(woocommerce.SETTINGS[name] for name in ("key", "secret"))
        (folder / "cartwire.yaml").write_text(CONFIGURATION % keys)

    def serve(self, router: respx.MockRouter, host: str, simulation: Simulation) -> None:
        router.route(host=host).mock(side_effect=edge(simulation))

    async def run(self, mapping: str, *, history: bool = False) -> None:
        (self.folder / "mappings" / "crm.yaml").write_text(mapping)
        async with Cartwire(read_plant(self.folder, {})) as cartwire:
            await run_sync(cartwire.syncs["crm"], cartwire.db, self.folder, Order(history=history))

    @property
    def started(self) -> list[str]:
        return [self.news.state.people[person].email for _, person in self.news.state.started]


@pytest.fixture
def journeys(
    tmp_path: Path, router: respx.MockRouter, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> Journeys:
    monkeypatch.setattr("connectors.esps.autopilot.connector.PER_SECOND", 1e6)
    return Journeys(tmp_path, router)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("  Welcome:", "  Hello:"), ("", "")),
        (('when: buyer and orders_count < 100, trigger: "0003"', "when: orders_count >= 1"), ("", "")),
        (("some: 1", "some: 5"), ("", "")),
        (("buyer: orders_count >= some", "buyer: orders_count >= 5"), ("", "")),
        (('trigger: "0003"', 'trigger: "0004"'), ("", "")),
        (("orders_count < 100", "orders_count < 1"), ("", "")),
        (('  Welcome: {when: buyer and orders_count < 100, trigger: "0003"}\n', ""), ("", "")),
        (("", ""), ('  Welcome: {when: buyer and orders_count < 100, trigger: "0003"}\n', "")),
        (("", ""), ("ORDERS: orders_count", "ORDERS: {value: orders_count, type: text}")),
    ],
    ids=[
        "renamed",
        "a list before",
        "a parameter",
        "a formula",
        "another trigger",
        "its rule",
        "new",
        "removed, and back",
        "a field, and back",
    ],
)
async def test_P10_nobody_begins_a_journey_because_the_mapping_changed(
    journeys: Journeys, before: tuple[str, str], after: tuple[str, str]
) -> None:
    await journeys.run(TRIGGERS.replace(*before) if before[0] else TRIGGERS, history=True)
    if after[0]:
        await journeys.run(TRIGGERS.replace(*after))
    await journeys.run(TRIGGERS)
    quiet = list(journeys.started)

    journeys.shop.state.add_order(email=NEW, total="5.00")
    await journeys.run(TRIGGERS)

    assert quiet == []
    assert journeys.started == [NEW]


async def test_who_enters_while_something_else_in_the_mapping_changes_begins_the_journey(
    journeys: Journeys,
) -> None:
    await journeys.run(TRIGGERS, history=True)
    journeys.shop.state.add_order(email=NEW, total="5.00")

    await journeys.run(TRIGGERS.replace("  Customers: orders_count >= 1\n", "  Loyal: orders_count >= 2\n"))

    assert journeys.started == [NEW]


@pytest.mark.parametrize(
    ("first", "before", "after"),
    [
        ("orders_count >= 99", "orders_count >= 1", "{when: orders_count >= 1, journey: true}"),
        (*["{when: orders_count >= 6, journey: true}"] * 2, "{when: orders_count >= 1, journey: true}"),
    ],
)
async def test_P10_who_waits_for_a_list_begins_no_journey_that_it_becomes(
    world: World, first: str, before: str, after: str
) -> None:
    """The owner saw the held run, and wrote the rule anew."""
    tight = "    limits: {new_contacts: 200, list_changes: 1, list_share: 100%}\n"
    other = MAPPING + "  Hi: {when: orders_count >= 99, journey: true}\n"
    world.configure(mapping=other + f"  Hello: {first}\n")
    await world.backfill()
    await world.run()
    for number in range(21):
        world.shop.state.add_order(email=f"person{number % 7}@example.com", total="5.00")
    world.configure(mapping=other + f"  Hello: {before}\n", extra=tight)
    held = await world.run()
    world.configure(mapping=other + f"  Hello: {after}\n")
    await world.run()

    assert held.held
    assert not [email for email, (_, lists, _) in world.contacts.items() if "Hello" in lists]
