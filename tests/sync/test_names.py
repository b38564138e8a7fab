"""P2, P3, P5, P10: fields and lists that the ESP lacks by now, or refused and lets us have again, are filled."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.simulation import Fault
from state.runs import DeadLetter
from sync.report import Report
from sync.run import Order, run_sync
from tests.sync.conftest import MAPPING, World, order
from tests.sync.test_promises import letters

NEW = "new@example.com"
REFUSED = Fault(
    status=400,
    headers={"content-type": "application/json"},
    body=b'{"type":"x","title":"Bad Request","status":400,"detail":"too many","instance":"z"}',
)
JOURNEY = MAPPING.replace("  Loyal: orders_count >= 2", "  Loyal: {when: orders_count >= 2, journey: true}")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have people come in several turns."""
    monkeypatch.setattr("state.names.FEW", 3)


def on(world: World, name: str) -> set[str]:
    return {email for email, (_, lists, _) in world.contacts.items() if name in lists}


def filled(world: World, name: str) -> set[str]:
    return {email for email, (fields, _, _) in world.contacts.items() if name in fields}


def lose_field(world: World, name: str) -> None:
    """Delete a merge field, and what everybody has in it, as Mailchimp does."""
    state = world.news.state
    del state.merge_fields[name]
    for member in state.members.values():
        kept = {key: value for key, value in member.fields.items() if key != name}
        member.names, member.packed = tuple(kept), json.dumps(list(kept.values())).encode()


def refuse(world: World, part: str) -> list[bool]:
    """Have the audience refuse to make what stands below `part`, until the list is cleared."""
    refusing = [True]
    world.news.fail(
        REFUSED,
        times=1000,
        when=lambda method, path: bool(refusing) and method == "POST" and path.endswith(part),
    )
    return refusing


def buy(world: World, email: str = NEW) -> None:
    world.shop.state.add_order(email=email, total="5.00")


async def names_of(world: World) -> list[str]:
    return [each.record for each in await letters(world)]


async def test_P3_a_list_that_somebody_deleted_is_made_again_with_everybody_in_it(world: World) -> None:
    await world.backfill()
    everybody = on(world, "Customers")
    world.news.state.delete_list("Customers")
    buy(world)

    report = await world.run()
    again = await world.run()

    assert on(world, "Customers") == everybody | {NEW}
    assert on(world, "Loyal") == everybody
    assert (report.pushed.entries, again.writes) == (len(everybody) + 1, 0)


async def test_P3_a_field_that_somebody_deleted_is_made_again_with_everybodys_value(world: World) -> None:
    await world.backfill()
    everybody = filled(world, "SPENT")
    lose_field(world, "SPENT")
    buy(world)

    report = await world.run()
    again = await world.run()

    assert filled(world, "SPENT") == everybody | {NEW}
    assert (report.pushed.contacts, again.writes) == (len(everybody) + 1, 0)


async def test_P10_a_journeys_list_that_was_deleted_begins_for_nobody_again(world: World) -> None:
    world.configure(JOURNEY)
    await world.backfill()
    buy(world)
    buy(world)
    await world.run()
    entered = on(world, "Loyal")
    world.news.state.delete_list("Loyal")
    buy(world, "other@example.com")

    await world.run()

    assert (entered, on(world, "Loyal")) == ({NEW}, set())


async def test_P11_filling_a_list_again_waits_for_the_owner_beyond_the_limits(world: World) -> None:
    await world.backfill()
    world.news.state.delete_list("Customers")
    world.configure(extra="    limits: {list_changes: 5}\n")
    buy(world)

    held = await world.run()
    before = on(world, "Customers")
    await world.run(approved=True)

    assert (held.exit_code, before) == (1, set())
    assert len(on(world, "Customers")) == 8


async def test_P2_who_had_a_lost_list_is_remembered_when_it_cannot_be_made_yet(world: World) -> None:
    await world.backfill()
    world.news.state.delete_list("Customers")
    refusing = refuse(world, "/segments")
    buy(world)
    refused = await world.run()
    standing = await names_of(world)
    refusing.clear()
    buy(world, "other@example.com")

    await world.run()

    assert (refused.exit_code, standing) == (1, ["name Customers"])
    assert on(world, "Customers") == set(world.contacts)
    assert await names_of(world) == []


@pytest.mark.parametrize(("part", "name"), [("/segments", "Customers"), ("/merge-fields", "SPENT")])
async def test_P5_what_the_ESP_lets_us_have_again_is_given_to_all_who_went_without(
    world: World, part: str, name: str
) -> None:
    refusing = refuse(world, part)
    await world.backfill()
    standing = await names_of(world)
    refusing.clear()
    buy(world)

    report = await world.run()
    again = await world.run()

    assert f"name {name}" in standing
    assert filled(world, "SPENT") == on(world, "Customers") == set(world.contacts)
    assert (await letters(world), report.exit_code, again.writes) == ([], 0, 0)


async def run_at(world: World, now: datetime) -> Report:
    async with world.open() as cartwire:
        return await run_sync(cartwire.syncs["crm"], cartwire.db, world.folder, Order(), lambda: now)


async def test_P5_what_was_refused_is_asked_for_again_within_the_hour_though_nobody_comes(
    world: World,
) -> None:
    refusing = refuse(world, "/segments")
    await world.backfill()
    before: list[DeadLetter] = await letters(world)
    refusing.clear()
    now = datetime.now(UTC)

    early = await run_at(world, now + timedelta(minutes=50))
    nobody = on(world, "Customers")
    await run_at(world, now + timedelta(minutes=70))

    assert (len(before), early.writes, nobody) == (2, 0, set())
    assert on(world, "Customers") == set(world.contacts)


async def test_P11_a_run_that_is_held_asks_for_nothing_again(world: World) -> None:
    refuse(world, "/segments")
    await world.backfill()
    world.configure(extra="    limits: {new_contacts: 0}\n")
    buy(world)
    world.forget_requests()

    held = await run_at(world, datetime.now(UTC) + timedelta(days=1))

    assert (held.exit_code, held.writes) == (1, 0)


async def test_P9_a_first_sync_looks_once_at_what_the_ESP_has(world: World) -> None:
    await world.backfill()
    first = [path for method, path in asked(world) if method == "GET"]
    world.forget_requests()
    buy(world)
    await world.run()
    later = [path for method, path in asked(world) if method == "GET"]

    assert [sum(path.endswith("/merge-fields") for path in each) for each in (first, later)] == [1, 2]


def asked(world: World) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in world.news.requests]


async def test_P5_what_the_ESP_refused_though_people_had_it_is_filled_for_all(world: World) -> None:
    """Somebody replaced the field by one of another type, and deletes that now."""
    await world.backfill()
    lose_field(world, "SPENT")
    fields = world.news.state.merge_fields
    fields["SPENT"] = replace(fields["FNAME"], tag="SPENT")
    buy(world)
    await world.run()
    standing = await names_of(world)
    lose_field(world, "SPENT")
    buy(world, "third@example.com")

    await world.run()

    assert (standing, await names_of(world)) == (["name SPENT"], [])
    assert filled(world, "SPENT") == set(world.contacts)


@pytest.mark.parametrize(
    ("part", "line"),
    [("/merge-fields", "  SPENT: total_spent\n"), ("/segments", "  Customers: orders_count >= 1\n")],
)
async def test_P5_what_was_refused_and_left_the_mapping_is_filled_once_it_is_back(
    world: World, part: str, line: str
) -> None:
    refusing = refuse(world, part)
    await world.backfill()
    world.configure(MAPPING.replace(line, ""))
    await world.run()
    refusing.clear()
    world.configure()

    await world.run()
    await world.run()

    assert filled(world, "SPENT") == on(world, "Customers") == set(world.contacts)


async def test_P3_a_new_sync_to_the_same_audience_hides_no_loss(world: World) -> None:
    await world.backfill()
    world.news.state.delete_list("Customers")
    world.add_store("outlet", [order(number, f"out{number}@example.com") for number in (501, 502)])
    file = world.folder / "cartwire.yaml"
    text = file.read_text(encoding="utf-8").replace("stores: [shop, outlet]", "stores: [shop]")
    vip = "  vip:\n    stores: [outlet]\n    esp: news\n    mapping: mappings/crm.yaml\n    limits: off\n"
    file.write_text(text + vip, encoding="utf-8")
    world.reread()

    async with world.open() as cartwire:
        whole = Order(kind="backfill", history=True)
        await run_sync(cartwire.syncs["vip"], cartwire.db, world.folder, whole)
    await world.run()

    assert on(world, "Customers") == set(world.contacts)
