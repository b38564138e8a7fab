"""`audit`: what drifted apart is found, counted and, when asked, written again; a status never."""

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connectors.base import Held, Subscribe, Window
from connectors.errors import ConnectorError
from connectors.esps.mailchimp.simulated.audience import subscriber_hash
from connectors.simulation import Fault, HistoricOrder, Simulation
from connectors.stores.woocommerce import simulator as woocommerce
from state import audits, runs
from state.audits import Audit, Believed
from state.errors import StateError
from sync.audit import AuditReport, _is_lower, audit, months_between
from sync.show_audit import show_audit
from sync.status import status_of
from tests.edge import edge
from tests.sync.conftest import FIRST, HISTORY, MAPPING, World, order

NOW = datetime(2026, 2, 1, tzinfo=UTC)
ADA, BOB = "person1@example.com", "person2@example.com"
JOURNEY = """
fields: {FNAME: first_name}
lists:
  Customers: orders_count >= 1
  Hello: {when: orders_count >= 1, journey: true}
"""


async def audited(world: World, *, repair: bool = False) -> AuditReport:
    async with world.open() as cartwire:
        return await audit(cartwire, cartwire.syncs["crm"], NOW, repair=repair)


def orders_of(world: World, email: str) -> Any:
    return world.contacts[email][0]["ORDERS"]


def open_shop(world: World, orders: Sequence[HistoricOrder]) -> Simulation:
    """Put a shop with these orders where the world's was."""
    shop = woocommerce.simulator(orders)
    world.router.route(host="shop.test").mock(side_effect=edge(shop))
    return shop


def change(world: World, email: str, **fields: Any) -> None:
    """Let somebody at the ESP write over fields."""
    world.news.state.patch(email, {"merge_fields": fields}, skip_required=True)


async def test_after_a_run_nothing_has_drifted(world: World) -> None:
    await world.backfill()
    requests = len(world.news.requests)

    report = await audited(world)

    assert (report.exit_code, report.orders, report.esp.drifted) == (0, 0, 0)
    assert (report.esp.compared, report.esp.lower, report.esp.higher) == (7, 0, 0)
    assert {seen.method for seen in world.news.requests[requests:]} == {"GET"}


async def test_P3_a_date_in_the_audience_s_birthday_field_is_written_once_and_drifts_only_when_it_is_another(
    world: World,
) -> None:
    world.configure("fields: {BIRTHDAY: {value: last_order_at, type: date}}\n")
    await world.backfill()
    held = {contact.fields["BIRTHDAY"] for contact in world.news.state.contacts.values()}

    again, plain = await world.run(), await audited(world)
    change(world, ADA, BIRTHDAY="02/29")
    drifted = await audited(world)

    assert (held, again.writes, plain.exit_code, plain.esp.drifted) == ({"01/01"}, 0, 0, 0)
    assert drifted.esp.fields == {"BIRTHDAY": 1}


async def test_it_finds_who_is_missing_and_which_fields_and_lists_differ(world: World) -> None:
    await world.backfill()
    state = world.news.state
    state.delete_permanently(ADA)
    change(world, BOB, ORDERS="99", FNAME="")
    state.change_tags(BOB, [{"name": "Customers", "status": "inactive"}])
    state.change_tags("person3@example.com", [{"name": "Customers", "status": "inactive"}])
    state.add("stranger@example.com")

    report = await audited(world)

    assert (report.exit_code, report.esp.compared, report.esp.drifted, report.esp.missing) == (1, 7, 3, 1)
    assert report.esp.fields == {"ORDERS": 1, "FNAME": 1}
    assert report.esp.lists == {"Customers": 2}
    assert {drift.email for drift in report.esp.samples} == {ADA, BOB, "person3@example.com"}


async def test_a_contact_that_comes_on_two_pages_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.backfill()
    change(world, BOB, ORDERS="99")
    async with world.open() as cartwire:
        sync = cartwire.syncs["crm"]
        contacts = sync.esp.contacts  # type: ignore[attr-defined]

        async def twice(*wanted: Any) -> Any:
            async for page in contacts(*wanted):
                yield page
                yield page

        monkeypatch.setattr(sync.esp, "contacts", twice)
        report = await audit(cartwire, sync, NOW, repair=False)

    assert (report.esp.compared, report.esp.drifted) == (7, 1)


async def test_without_repair_nothing_is_written_again_and_with_it_the_next_run_does(world: World) -> None:
    await world.backfill()
    before = world.contacts
    change(world, ADA, ORDERS="99", FNAME="")
    world.news.state.change_tags(BOB, [{"name": "Customers", "status": "inactive"}])

    await audited(world)
    assert (await world.run()).writes == 0
    await audited(world, repair=True)
    repaired = await world.run()

    assert repaired.writes > 0
    assert world.contacts == before
    assert (await audited(world)).exit_code == 0
    assert (await world.run()).writes == 0


async def test_a_field_that_we_cleared_and_they_filled_is_cleared_again(world: World) -> None:
    world.configure(mapping="fields: {FNAME: first_name, COMPANY: company, CITY: city}")
    number = world.shop.state.add_order(email="keen@example.com", total="5.00")
    world.shop.state.update_order(number, row={"billing": {"email": "keen@example.com", "company": "Old"}})
    await world.backfill()
    world.shop.state.update_order(number, row={"billing": {"email": "keen@example.com"}})
    await world.run()
    assert "COMPANY" not in world.news.state.contacts["keen@example.com"].fields
    change(world, "keen@example.com", COMPANY="Written at the ESP", CITY="Never ours")

    await audited(world, repair=True)
    await world.run()

    assert world.news.state.contacts["keen@example.com"].fields == {"CITY": "Never ours"}


async def test_P4_who_was_deleted_there_comes_back_without_a_subscription(world: World) -> None:
    number = world.shop.state.add_order(email="keen@example.com", total="5.00")
    world.shop.state.set_order_meta(number, "newsletter", "yes")
    text = (world.folder / "cartwire.yaml").read_text("utf-8")
    key = "base_url: http://shop.test"
    (world.folder / "cartwire.yaml").write_text(text.replace(key, f"{key}\n    consent_meta_key: newsletter"))
    world.reread()
    await world.backfill()
    assert world.contacts["keen@example.com"][2] == "subscribed"
    world.news.state.members.clear()

    report = await audited(world, repair=True)
    await world.run()
    again = await world.run()

    assert report.esp.missing == 8
    assert len(world.contacts) == 8
    assert world.contacts["keen@example.com"][0]["ORDERS"] == 1
    assert {status for _, _, status in world.contacts.values()} == {"transactional"}
    assert again.writes == 0


async def test_P4_a_status_is_told_and_left_alone(world: World) -> None:
    await world.backfill()
    member = world.news.state.find(ADA)
    member.status = "subscribed"

    report = await audited(world, repair=True)
    await world.run()

    assert (report.exit_code, report.esp.lower, report.esp.higher) == (0, 0, 1)
    assert world.contacts[ADA][2] == "subscribed"


async def test_P10_a_repair_starts_no_journey_again(world: World) -> None:
    world.configure(mapping=JOURNEY)
    await world.backfill()
    world.shop.state.add_order(email="later@example.com", total="5.00")
    await world.run()
    assert world.contacts["later@example.com"][1] == {"Customers", "Hello"}
    world.news.state.change_tags("later@example.com", [{"name": "Hello", "status": "inactive"}])
    world.news.state.archive("person5@example.com")
    world.news.state.members.pop(subscriber_hash("person6@example.com"))

    await audited(world, repair=True)
    await world.run()

    assert world.contacts["later@example.com"][1] == {"Customers"}
    assert world.contacts["person6@example.com"][1] == {"Customers"}


async def test_orders_are_counted_by_month_in_the_owners_zone(world: World) -> None:
    at = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)  # February in Paris
    shop = woocommerce.simulator([order(1, ADA), order(2, BOB, created_at=at), order(3, BOB, total="7.00")])
    world.router.route(host="shop.test").mock(side_effect=edge(shop))
    await world.backfill()

    (store,) = (await audited(world)).stores

    by_month = {each.month: (each.stored, each.counted, dict(each.sales)) for each in store.months}
    assert by_month["2026-01"] == (2, 2, {"EUR": "17.00"})
    assert by_month["2026-02"] == (1, 1, {"EUR": "10.00"})
    assert store.drift == 0


async def test_orders_that_one_side_lacks_are_drift_and_dead_letters_are_not(world: World) -> None:
    world.shop.state.update_order(5, row={"billing": None})
    await world.backfill()
    assert (await audited(world)).orders == 0

    world.shop.state.delete(7)
    world.shop.state.delete(8)
    report = await audited(world)

    assert (report.exit_code, report.orders) == (1, 1)


async def test_orders_that_a_shop_deleted_for_good_count_no_more_after_a_repair(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing tells of them: the shop is asked for what may be gone, and for no more than that."""
    orders = [
        order(number, f"person{number % 7}@example.com", created_at=FIRST + timedelta(minutes=15 * number))
        for number in range(1, 2_401)
    ]
    shop = open_shop(world, orders)
    await world.backfill()
    for number in (8, 9, 10):
        shop.state.delete(number)
    await world.run()
    show_audit(await audited(world), json=False)
    before, asked = orders_of(world, ADA), shop.counts()["GET"]

    report = await audited(world, repair=True)
    asked = shop.counts()["GET"] - asked
    await world.run()
    show_audit(report, json=False)

    shown = capsys.readouterr().out
    assert "3 orders are not there any more" in shown
    assert "3 orders are gone there, and count here no more" in shown
    assert (before, orders_of(world, ADA), (await audited(world)).orders) == (343, 342, 0)
    assert asked < 30


@pytest.mark.parametrize(
    ("there", "gone", "dropped"), [(30, 20, 20), (30, 21, 0), (240, 24, 24), (240, 25, 0)]
)
async def test_as_many_orders_can_be_gone_as_a_few_or_a_small_share_of_all(
    world: World, there: int, gone: int, dropped: int
) -> None:
    shop = open_shop(world, [order(number, ADA) for number in range(1, there + 1)])
    await world.backfill()
    for number in range(1, gone + 1):
        shop.state.delete(number)

    (found,) = (await audited(world, repair=True)).stores

    assert (found.deleted, found.hidden) == (dropped, gone - dropped)


async def test_more_orders_of_one_second_than_are_asked_for_at_once_are_asked_for_all_the_same(
    world: World,
) -> None:
    shop = open_shop(world, [order(number, ADA, created_at=FIRST) for number in range(1, 121)])
    await world.backfill()
    shop.state.delete(7)
    most = len(shop.requests) + 200
    shop.fail(Fault(status=503), times=100, when=lambda _method, _path: len(shop.requests) > most)

    assert (await audited(world, repair=True)).stores[0].deleted == 1


async def test_nothing_is_asked_of_a_part_of_a_month_that_the_store_does_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = [order(number, ADA, created_at=FIRST + timedelta(hours=6 * number)) for number in range(1, 121)]
    shop = open_shop(world, month)
    await world.backfill()
    for number in (7, 100):
        shop.state.delete(number)
    async with world.open() as cartwire:
        sync = cartwire.syncs["crm"]
        store: Any = sync.sources[0].store
        count_orders = store.count_orders

        async def count_of_the_first_half(windows: Sequence[Window]) -> Sequence[int | None]:
            counts = await count_orders(windows)
            return [counts[0], None] if len(windows) == 2 else counts

        monkeypatch.setattr(store, "count_orders", count_of_the_first_half)
        report = await audit(cartwire, sync, NOW, repair=True)

    assert (report.stores[0].deleted, report.orders) == (1, 2)


async def test_a_right_that_was_lost_deletes_no_orders(world: World) -> None:
    await world.backfill()
    world.shop.state.delete(7)
    world.shop.state.hidden = {1, 2, 3}

    report = await audited(world, repair=True)

    assert (report.stores[0].deleted, report.stores[0].hidden) == (0, 4)
    world.shop.state.hidden = set()
    assert (await audited(world, repair=True)).stores[0].deleted == 1


async def test_orders_that_a_repair_took_for_deleted_come_back_when_they_are_seen_again(world: World) -> None:
    await world.backfill()
    without = woocommerce.simulator(HISTORY[1:])
    world.router.route(host="shop.test").mock(side_effect=edge(without))
    gone = (await audited(world, repair=True)).stores[0].deleted
    world.router.route(host="shop.test").mock(side_effect=edge(world.shop))

    await world.backfill()

    assert (gone, (await audited(world)).orders) == (1, 0)
    assert sum(int(fields["ORDERS"]) for fields, _, _ in world.contacts.values()) == 30


async def test_an_order_that_cannot_be_read_any_more_is_not_taken_for_deleted(world: World) -> None:
    await world.backfill()
    world.shop.state.delete(7)
    world.shop.state.update_order(8, row={"billing": None})

    assert (await audited(world, repair=True)).stores[0].deleted == 1


async def test_P10_who_enters_a_journey_as_an_order_turns_out_to_be_gone_begins_none(world: World) -> None:
    world.configure(mapping=MAPPING + "  Once: {when: orders_count = 4, journey: true}\n")
    await world.backfill()
    world.shop.state.delete(8)  # person1 has five orders

    await audited(world, repair=True)
    await world.run()

    assert (orders_of(world, ADA), "Once" in world.contacts[ADA][1]) == (4, False)


async def test_a_repair_asks_for_the_orders_of_one_store_only(world: World) -> None:
    second = world.add_store("outlet", HISTORY)
    await world.backfill()
    second.state.delete(8)

    stores = {each.store: each for each in (await audited(world, repair=True)).stores}
    after = await audited(world, repair=True)

    assert {name: each.deleted for name, each in stores.items()} == {"shop": 0, "outlet": 1}
    assert (after.orders, [each.deleted for each in after.stores]) == (0, [0, 0])


async def test_another_shop_behind_the_address_deletes_no_orders(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.backfill()
    world.router.route(host="shop.test").mock(side_effect=edge(woocommerce.simulator([])))

    report = await audited(world, repair=True)
    show_audit(report, json=False)

    assert (report.stores[0].deleted, report.stores[0].hidden) == (0, 30)
    assert "--since 2026-01-01" in capsys.readouterr().out


async def test_what_was_found_stays_for_the_status_without_anybodys_address(world: World) -> None:
    await world.backfill()
    change(world, ADA, ORDERS="99")
    async with world.open() as cartwire:
        assert (await status_of(cartwire))[0]["drift"] is None

    await audited(world)

    async with world.open() as cartwire:
        (line,) = await status_of(cartwire)
        kept = (await cartwire.db.read(audits.last_audits))["crm"]
    assert (line["drift"], line["audited_at"]) == (1, NOW)
    assert (kept.people, kept.orders, kept.report["fields"]) == (1, 0, {"ORDERS": 1})
    assert "@" not in json.dumps(dict(kept.report))


async def test_it_runs_alone_and_a_down_esp_is_raised_and_nothing_kept(world: World) -> None:
    await world.backfill()
    with runs.alone(world.folder, "crm"), pytest.raises(StateError, match="another run is under way"):
        await audited(world)
    world.news.fail(Fault(status=503), times=99)

    with pytest.raises(ConnectorError):
        await audited(world)

    async with world.open() as cartwire:
        kept: dict[str, Audit] = await cartwire.db.read(audits.last_audits)
    assert kept == {}


async def test_it_is_shown_to_people_and_to_scripts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    await world.backfill()
    world.news.state.delete_permanently(ADA)
    change(world, BOB, ORDERS="99")
    world.shop.state.delete(7)
    world.shop.state.add_order(email=ADA, total="5.00", created_at=FIRST + timedelta(days=31))
    report = await audited(world)

    show_audit(report, json=False)
    shown = capsys.readouterr().out
    show_audit(report, json=True)
    document = json.loads(capsys.readouterr().out)

    assert "7 compared, 2 drifted, 1 of them missing" in shown
    assert "create again, without a subscription" in shown
    assert "1 orders are not there any more" in shown
    assert "--since 2026-02-01" in shown
    assert (document["people"], document["orders"], document["fields"]) == (2, 2, {"ORDERS": 1})


async def test_a_store_that_was_never_read_is_not_compared(world: World) -> None:
    report = await audited(world)

    assert report.stores[0].skipped == "nothing of it was read yet"
    assert report.exit_code == 0


def test_months_follow_each_other_without_a_hole_over_summer_time() -> None:
    months: list[Window] = months_between(FIRST, FIRST + timedelta(days=400), ZoneInfo("Europe/Paris"))

    assert len(months) == 14
    assert all(one.end == other.start for one, other in itertools.pairwise(months))
    assert months[-1].end == FIRST + timedelta(days=400)


async def test_an_audit_that_compared_nothing_is_not_remembered_as_one_without_drift(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.audit.Audited", type("Nobody", (), {}))
    async with world.open() as cartwire:
        await audit(cartwire, cartwire.syncs["crm"], NOW, repair=False)
        (status,) = await status_of(cartwire)

    assert (status["drift"], status["audited_at"]) == (None, None)


@pytest.mark.parametrize(("agreed", "lower"), [(True, True), (False, False)])
def test_who_never_agreed_is_not_counted_among_those_who_did(*, agreed: bool, lower: bool) -> None:
    ours = Believed(1, ADA, {}, frozenset(), frozenset(), Subscribe.YES.value, agreed=agreed, opted_out=False)

    assert _is_lower(ours, Held(ADA, {}, frozenset(), mailable=False)) is lower
