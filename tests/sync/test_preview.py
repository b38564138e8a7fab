"""`plan` and `checklist` show an owner what would happen and what there is, and do nothing."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigError
from connectors.simulation import Fault
from state.showing import Sample
from sync.checklist import Line, checklist_of, show_checklist
from sync.compare import Comparison
from sync.outlook import show_preview
from sync.preview import Preview, Unknown, foresee
from tests.sync.conftest import MAPPING, World

NOW = datetime(2026, 2, 1, tzinfo=UTC)
HELD = "    limits: {new_contacts: 0}\n"
OTHER = """
fields:
  FNAME: first_name
  ORDERS: {value: orders_count, type: text}
  SPENT: case when orders_count = 5 then 0 else total_spent end
  CITY: city
lists:
  Customers: orders_count >= 1
  Loyal: orders_count >= 5
  Spenders: total_spent >= 45
"""


async def ahead(world: World, *, mapping: str | None = None, **wanted: Any) -> Preview:
    """Show what a run would do, as `cartwire plan` does."""
    file = None
    if mapping is not None:
        file = Path("mappings/other.yaml")
        (world.folder / file).write_text(mapping)
    async with world.open() as cartwire:
        asked = {"file": file, "at": NOW, "offline": False} | wanted
        return await foresee(cartwire, cartwire.syncs["crm"], **asked)


async def compared(world: World, mapping: str = OTHER) -> Comparison:
    found = (await ahead(world, mapping=mapping)).comparison
    assert found is not None
    return found


async def checklist(world: World) -> list[Line]:
    async with world.open() as cartwire:
        return await checklist_of(cartwire, ["crm"], NOW)


def line(lines: list[Line], kind: str, name: str) -> Line:
    (found,) = [each for each in lines if (each.kind, each.name) == (kind, name)]
    return found


async def test_a_plan_says_from_what_to_what_each_field_changes(world: World) -> None:
    await world.backfill()
    text = MAPPING.replace("SPENT: total_spent", "SPENT: case when orders_count = 5 then total_spent end")
    world.configure(mapping=text.replace("ORDERS: orders_count", "ORDERS: orders_count + 1"))

    orders, spent = sorted((await ahead(world)).fields, key=lambda each: each.name)

    assert (orders.count, orders.sets, orders.changes, orders.clears) == (7, 0, 7, 0)
    assert {(each.before, each.after) for each in orders.samples} <= {
        (count, count + 1) for count in range(4, 7)
    }
    assert (spent.count, spent.sets, spent.changes, spent.clears) == (5, 0, 0, 5)
    assert {(each.before, each.after) for each in spent.samples} == {(Decimal("40.00"), None)}


async def test_a_plan_says_who_enters_and_who_leaves(world: World) -> None:
    await world.backfill()
    world.configure(mapping=MAPPING.replace("orders_count >= 2", "orders_count >= 5"))

    found = await ahead(world)

    assert [(each.name, each.joins, each.count, len(each.sample)) for each in found.lists] == [
        ("Loyal", False, 5, 3)
    ]
    assert (found.contacts, found.created, found.writes) == (0, 0, 1)


async def test_a_plan_names_what_the_ESP_would_have_to_make_and_makes_nothing(world: World) -> None:
    world.configure(extra=HELD)
    await world.backfill()

    found = await ahead(world)

    assert list(found.missing.fields) == ["ORDERS", "SPENT", "LASTORD"]
    assert list(found.missing.lists) == ["Customers", "Loyal"]
    assert {seen.method for seen in world.news.requests} == {"GET"}
    assert found.held == ["7 new contacts, limits.new_contacts is 0"]


async def test_a_plan_says_that_the_ESP_could_not_be_asked(world: World) -> None:
    world.configure(extra=HELD)
    await world.backfill()
    world.news.fail(Fault(status=503), times=100)

    asked = await ahead(world)
    world.forget_requests()
    offline = await ahead(world, offline=True)

    assert "503" in (asked.unasked or "")
    assert (offline.unasked, world.news.requests) == ("not asked, offline", [])


async def test_P12_a_plan_counts_what_is_unknown(world: World) -> None:
    world.configure(mapping=MAPPING + "  Subscribers: accepts_marketing\n", extra=HELD)
    world.shop.state.set_order_meta(1, "mailchimp_woocommerce_is_subscribed", "1")
    await world.backfill()

    found = await ahead(world)

    assert (found.profiles, found.unknown) == (7, [Unknown("lists", "Subscribers", 6)])


async def test_a_plan_before_the_history_is_read_says_so(world: World) -> None:
    assert (await ahead(world)).unread == ["shop"]


async def test_a_plan_as_of_another_moment_moves_the_lists_and_stores_nothing(world: World) -> None:
    world.configure(mapping=MAPPING + "  Quiet: last_order_at < days_ago(400)\n")
    await world.backfill()

    later = await ahead(world, at=datetime.fromisoformat("2027-12-24"))
    now = await ahead(world)

    assert later.at.isoformat() == "2027-12-24T00:00:00+01:00"
    assert [(each.name, each.joins, each.count) for each in later.lists] == [("Quiet", True, 7)]
    assert now.lists == []


async def test_another_mapping_is_compared_field_by_field(world: World) -> None:
    await world.backfill()

    found = {each.name: each for each in (await compared(world)).fields}

    assert {name: (each.what, each.count, each.type) for name, each in found.items()} == {
        "ORDERS": ("changed", 7, "number -> text"),
        "SPENT": ("changed", 2, None),
        "LASTORD": ("gone", 7, None),
        "CITY": ("new", 7, None),
    }
    assert found["SPENT"].samples[0] == Sample("person1@example.com", Decimal("50.00"), Decimal("0.00"))


async def test_another_mapping_is_compared_list_by_list(world: World) -> None:
    await world.backfill()

    found = {each.name: (each.what, each.enters, each.leaves) for each in (await compared(world)).lists}

    assert found == {"Loyal": ("changed", 0, 5), "Spenders": ("new", 2, 0)}


async def test_comparing_plans_the_switch_and_leaves_no_trace(world: World) -> None:
    await world.backfill()

    switched = await ahead(world, mapping=OTHER)

    assert [(each.name, each.joins, each.count) for each in switched.lists] == [
        ("Loyal", False, 5),
        ("Spenders", True, 2),
    ]
    assert (await ahead(world)).contacts == 0
    assert (await world.run()).writes == 0


async def test_a_mapping_compared_with_itself_differs_in_nothing(world: World) -> None:
    await world.backfill()

    found = await compared(world, MAPPING)

    assert (found.profiles, found.fields, found.lists) == (7, [], [])


async def test_P12_what_another_mapping_does_not_know_adds_and_removes_nobody(world: World) -> None:
    await world.backfill()

    found = await compared(world, MAPPING.replace("orders_count >= 2", "accepts_marketing"))

    assert found.lists == []


async def test_P7_a_mapping_that_is_wrong_is_refused_before_it_is_compared(world: World) -> None:
    with pytest.raises(ConfigError, match="unknown column `order_count`"):
        await ahead(world, mapping="fields: {ORDERS: order_count}\n")
    with pytest.raises(ConfigError, match="no fields of type boolean"):
        await ahead(world, mapping="fields: {A: true}\n")
    with pytest.raises(ConfigError, match="does not exist"):
        await ahead(world, file=Path("mappings/none.yaml"))


async def test_a_plan_reads_well_and_as_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.configure(extra=HELD)
    await world.backfill()
    found = await ahead(world, mapping=OTHER)

    show_preview(found, json=False)
    text = capsys.readouterr().out
    show_preview(found, json=True)
    plain = json.loads(capsys.readouterr().out)

    assert "7 contacts to write (7 of them new)" in text
    assert "fields that would be made at the ESP: ORDERS, SPENT, CITY" in text
    assert "would be held: 7 new contacts, limits.new_contacts is 0" in text
    assert "stays at the ESP" in text
    assert [each["name"] for each in plain["comparison"]["lists"]] == ["Loyal", "Spenders"]


async def test_the_checklist_says_what_is_pushed_how_filled_and_what_uses_it(world: World) -> None:
    await world.backfill()

    lines = await checklist(world)

    orders = line(lines, "column", "orders_count")
    assert (orders.pushed_as, orders.filled, orders.used_by) == (["ORDERS"], 100, ["Customers", "Loyal"])
    assert line(lines, "column", "city").pushed_as == []
    assert (line(lines, "field", "ORDERS").used_by, line(lines, "field", "SPENT").used_by) == (
        ["Customers", "Loyal"],
        [],
    )
    loyal = line(lines, "list", "Loyal")
    assert (loyal.members, loyal.filled, loyal.pushed_as) == (7, 100, ["Loyal"])


async def test_the_checklist_knows_the_preset_by_its_rules_and_shows_what_is_left_out(world: World) -> None:
    await world.backfill()

    lines = await checklist(world)

    assert line(lines, "list", "Customers").in_preset
    assert [each for each in lines if each.name == "Loyal Customers"] == []  # pushed, as Loyal
    churned = line(lines, "list", "Churned Customers")
    assert (churned.pushed_as, churned.in_preset, churned.members) == ([], True, 0)


async def test_a_checklist_of_nobody_is_filled_with_nothing(world: World) -> None:
    assert {each.filled for each in await checklist(world)} == {None}


async def test_the_checklist_comes_as_a_table_csv_and_json(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.backfill()
    lines = await checklist(world)

    printed = []
    for json_, as_csv in ((False, False), (False, True), (True, False)):
        show_checklist(lines, json=json_, as_csv=as_csv)
        printed.append(capsys.readouterr().out)

    table, sheet, plain = printed
    rows = list(csv.DictReader(io.StringIO(sheet)))
    assert "crm: catalogue" in table
    assert len(rows) == len(json.loads(plain)) == len(lines)
    assert next(row for row in rows if row["name"] == "ORDERS")["used_by"] == "Customers; Loyal"
