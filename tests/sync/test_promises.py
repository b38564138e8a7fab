"""The promises that only the whole can keep, through real connectors and both simulators."""

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from sqlalchemy import func, select

from connectors.esps.mailchimp import simulator as mailchimp
from connectors.simulation import Fault, Kind
from state import evaluation, outbox, runs, settling
from state.runs import DeadLetter
from state.tables import ProductRow, ProfileRow, table
from tests.edge import edge
from tests.sync.conftest import MAPPING, World

PROFILES = table(ProfileRow)
SUBSCRIBED = "mailchimp_woocommerce_is_subscribed"
JOURNEY = MAPPING + "  Welcome: {when: orders_count >= 1, journey: true}\n"


async def letters(world: World) -> list[DeadLetter]:
    async with world.open() as cartwire:
        return await cartwire.db.read(runs.list_dead_letters, ["shop", "crm"])


async def accepts(world: World, email: str) -> bool | None:
    """Tell what the newest proof says."""
    query = select(PROFILES.c.accepts_marketing).where(PROFILES.c.email == email)
    async with world.open() as cartwire:
        return await cartwire.db.read(lambda connection: connection.scalar(query))


async def test_P1_a_repeated_backfill_changes_nothing(world: World) -> None:
    await world.backfill()
    before = world.contacts

    report = await world.backfill()

    assert (report.writes, world.contacts) == (0, before)


async def test_P4_only_proof_subscribes(world: World) -> None:
    world.shop.state.set_order_meta(1, SUBSCRIBED, "1")
    world.shop.state.set_order_meta(2, SUBSCRIBED, "0")

    await world.backfill()

    assert world.contacts["person1@example.com"][2] == "subscribed"
    assert world.contacts["person2@example.com"][2] == "transactional"
    assert world.contacts["person3@example.com"][2] == "transactional"


@pytest.mark.parametrize(
    ("consent", "status"), [("double_opt_in", "pending"), ("never_subscribe", "transactional")]
)
async def test_P4_the_sync_may_ask_for_less(world: World, consent: str, status: str) -> None:
    world.configure(extra=f"    consent: {consent}\n")
    world.shop.state.set_order_meta(1, SUBSCRIBED, "1")

    await world.backfill()

    assert world.contacts["person1@example.com"][2] == status


async def test_P4_who_opted_out_at_the_ESP_stays_out(world: World) -> None:
    for number in range(7):
        world.shop.state.set_order_meta(number + 1, SUBSCRIBED, "1")
    world.news.state.add("person1@example.com")
    world.news.state.unsubscribe("person1@example.com")
    world.news.state.add("person2@example.com")
    world.news.state.archive("person2@example.com")
    world.news.state.add("person3@example.com")
    world.news.state.clean("person3@example.com")

    await world.backfill()

    assert world.contacts["person1@example.com"][2] == "unsubscribed"
    assert world.contacts["person2@example.com"][2] != "subscribed"
    assert world.contacts["person3@example.com"][2] == "cleaned"
    assert world.contacts["person4@example.com"][2] == "subscribed"


async def test_P4_opt_outs_that_came_while_the_clock_was_ahead_are_heard(world: World) -> None:
    world.shop.state.set_order_meta(1, SUBSCRIBED, "1")
    await world.backfill()
    async with world.open() as cartwire:
        await cartwire.db.run(evaluation.mark_opt_outs, "crm", datetime.now(UTC) + timedelta(days=30))
    world.news.state.unsubscribe("person1@example.com")

    await world.run()

    assert await accepts(world, "person1@example.com") is False


async def test_P4_opt_outs_are_heard_though_our_clock_is_hours_ahead(world: World) -> None:
    """What the ESP dates is compared with its own clock."""
    behind = timedelta(hours=5)
    world.news = mailchimp.simulator(batch_seconds=0.0, clock=lambda: datetime.now(UTC) - behind)
    app = edge(world.news)

    async def answer(request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await app(request)
        response.headers["date"] = format_datetime(datetime.now(UTC) - behind, usegmt=True)
        return response

    world.router.route(host="news.test").mock(side_effect=answer)
    world.shop.state.set_order_meta(1, SUBSCRIBED, "1")
    await world.backfill()
    world.news.state.unsubscribe("person1@example.com")
    world.shop.state.add_order(email="person2@example.com", total="5.00")

    await world.run()
    again = await world.run()

    assert await accepts(world, "person1@example.com") is False
    assert again.requests["news"] == {}


async def test_P4_who_came_back_at_the_ESP_and_left_once_more_is_not_mailed_for_an_older_proof(
    world: World,
) -> None:
    moment = begun = datetime.now(UTC)
    world.news = mailchimp.simulator(batch_seconds=0.0, clock=lambda: moment)
    world.router.route(host="news.test").mock(side_effect=edge(world.news))
    await world.backfill()
    for days, happens in enumerate(
        [world.news.state.unsubscribe, world.news.state.come_back, world.news.state.unsubscribe]
    ):
        moment = begun + timedelta(days=2 + 2 * days)
        happens("person1@example.com")
        proof = world.shop.state.add_order(
            email="person1@example.com",
            total="5.00",
            created_at=moment + timedelta(days=1 if days < 2 else -1),
        )
        world.shop.state.set_order_meta(proof, SUBSCRIBED, "1")
        await world.run()

    assert await accepts(world, "person1@example.com") is False


async def test_P4_a_proof_taken_back_in_the_store_unsubscribes_once(world: World) -> None:
    number = world.shop.state.add_account("person1@example.com")
    world.shop.state.set_account_meta(number, SUBSCRIBED, "1")
    await world.backfill()
    assert world.contacts["person1@example.com"][2] == "subscribed"
    world.shop.state.set_account_meta(number, SUBSCRIBED, "0")

    await world.run()
    again = await world.run()

    assert world.contacts["person1@example.com"][2] == "unsubscribed"
    assert again.writes == 0


async def test_P5_an_unreadable_order_costs_nobody_else_and_comes_back_when_mended(world: World) -> None:
    world.shop.state.update_order(7, row={"billing": None})

    report = await world.backfill()

    assert report.exit_code == 1
    assert [each.record for each in await letters(world)] == ["order 7"]
    assert world.contacts["person0@example.com"][0]["ORDERS"] == 3
    assert len(world.contacts) == 7

    world.shop.state.update_order(7, row={"billing": {"email": "person0@example.com"}})
    await world.run()

    assert await letters(world) == []
    assert world.contacts["person0@example.com"][0]["ORDERS"] == 4


async def test_P5_a_name_the_ESP_refuses_is_said_once_and_the_rest_lands(world: World) -> None:
    world.configure(mapping=MAPPING.replace("  FNAME:", "  EMAIL: city\n  FNAME:"))

    report = await world.backfill()
    again = await world.run()

    assert [each.record for each in await letters(world)] == ["name EMAIL"]
    assert world.contacts["person0@example.com"][0]["ORDERS"] == 4
    assert (report.exit_code, again.writes) == (1, 0)


async def test_P5_an_address_the_ESP_will_not_have_is_remembered(world: World) -> None:
    world.news.state.add("person1@example.com")
    world.news.state.forget("person1@example.com")

    await world.backfill()
    world.shop.state.add_order(email="person1@example.com", total="5.00")
    again = await world.run()

    assert "person1@example.com" not in world.contacts
    assert len(await letters(world)) == 1
    assert again.writes == 0


async def test_P6_an_incremental_run_looks_at_those_who_changed(world: World) -> None:
    await world.backfill()
    world.shop.state.add_order(email="person1@example.com", total="5.00")
    world.forget_requests()

    report = await world.run()

    assert (report.profiles, report.compared, report.pushed.contacts) == (1, 1, 1)
    assert len(world.shop.requests) <= 6


async def test_P9_a_backfill_makes_no_request_too_many(world: World) -> None:
    for number in range(31, 531):
        world.shop.state.add_order(email=f"buyer{number}@example.com", total="1.00")

    report = await world.backfill()

    pages = [seen for seen in world.shop.requests if "dates_are_gmt" in seen.query and "after=" in seen.query]
    assert len(pages) <= 6 + 8 + 2 + 2  # and twice for checkouts
    assert report.requests["news"]["POST"] <= 1 + 2 + 4 + 4  # a batch, two lists made, a call for each 500


async def test_P10_history_starts_no_journey(world: World) -> None:
    world.configure(mapping=JOURNEY)

    await world.backfill()
    world.shop.state.add_order(email="later@example.com", total="5.00")
    await world.run()

    inside = {email for email, (_, lists, _) in world.contacts.items() if "Welcome" in lists}
    assert inside == {"later@example.com"}


async def test_P11_a_run_beyond_its_limits_writes_nothing_until_it_is_approved(world: World) -> None:
    world.configure(extra="    limits:\n      new_contacts: 5\n")

    held = await world.backfill()
    writes_before = [seen for seen in world.news.requests if seen.method != "GET"]
    approved = await world.run(approved=True)

    assert (held.outcome, held.exit_code) == ("held", 1)
    assert writes_before == []
    assert (approved.exit_code, len(world.contacts)) == (0, 7)


async def test_P12_a_list_over_unknown_data_neither_adds_nor_removes(world: World) -> None:
    await world.backfill()
    world.configure(mapping=MAPPING.replace("orders_count >= 2", "accepts_marketing"))

    await world.run()

    loyal = [email for email, (_, lists, _) in world.contacts.items() if "Loyal" in lists]
    assert len(loyal) == 7


async def test_time_alone_moves_a_list(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.configure(mapping=MAPPING + "  Quiet: last_order_at < days_ago(400)\n")
    await world.backfill()
    assert "Quiet" not in world.contacts["person1@example.com"][1]
    moments = [datetime(2027, 3, 1, tzinfo=UTC)]
    monkeypatch.setattr("sync.run.utc_now", lambda: moments[0])

    report = await world.run()

    assert "Quiet" in world.contacts["person1@example.com"][1]
    assert report.pushed.contacts == 0


async def test_time_alone_moves_what_everybody_is_compared_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "spent_in(days => 30) > overall_avg(spent_in(days => 30))"
    world.configure(mapping=MAPPING + f"  Above: {rule}\n")
    world.shop.state.add_order(
        email="late@example.com", total="10.00", created_at=datetime(2026, 1, 5, 9, tzinfo=UTC)
    )
    moments = [datetime(2026, 1, 10, 9, tzinfo=UTC)]
    monkeypatch.setattr("sync.run.utc_now", lambda: moments[-1])
    await world.backfill()
    before = {email for email, (_, lists, _) in world.contacts.items() if "Above" in lists}
    moments.append(datetime(2026, 2, 2, 9, tzinfo=UTC))

    await world.run()

    after = {email for email, (_, lists, _) in world.contacts.items() if "Above" in lists}
    assert before == {f"person{number}@example.com" for number in range(7)}
    assert after == {"late@example.com"}


async def test_an_account_that_changes_its_address_is_renamed_at_the_ESP(world: World) -> None:
    account = world.shop.state.add_account("old@example.com")
    world.shop.state.add_order(email="old@example.com", account=account, total="5.00")
    await world.backfill()
    world.shop.state.change_account_email(account, "new@example.com")

    await world.run()

    assert "old@example.com" not in world.contacts
    assert world.contacts["new@example.com"][0]["ORDERS"] == 1


async def test_orders_trashed_and_refunded_leave_the_totals(world: World) -> None:
    await world.backfill()
    world.shop.state.trash(8)
    world.shop.state.refund(1, "4.00")

    await world.run()

    fields, lists, _ = world.contacts["person1@example.com"]
    assert (fields["ORDERS"], float(fields["SPENT"])) == (4, 36.0)
    assert lists == {"Customers", "Loyal"}


async def test_a_currency_without_a_rate_makes_totals_unknown_not_wrong(world: World) -> None:
    world.shop.state.add_order(email="person1@example.com", total="5.00", currency="USD")

    await world.backfill()

    assert "SPENT" not in world.contacts["person1@example.com"][0]
    assert world.contacts["person1@example.com"][0]["ORDERS"] == 6
    assert ["rates.USD" in each.reason for each in await letters(world)] == [True]


async def test_a_store_that_is_down_leaves_the_history_unpushed_and_says_so(world: World) -> None:
    world.shop.fail(Fault(status=503), times=1000)

    report = await world.backfill()

    assert (report.exit_code, report.writes) == (3, 0)
    assert "503" in report.errors[0]


async def test_an_ESP_that_is_down_keeps_the_outbox_for_the_next_run(world: World) -> None:
    world.news.fail(Fault(status=503), times=1000)
    failed = await world.backfill()
    async with world.open() as cartwire:
        waiting = await cartwire.db.read(outbox.pending, "crm")
    world.news.fail(Fault(status=503), times=0)
    world.empty_audience()

    report = await world.run()

    assert (failed.exit_code, waiting.contacts) == (3, 7)
    assert (report.exit_code, len(world.contacts)) == (0, 7)


@pytest.mark.parametrize("kind", [Kind.ANSWER, Kind.AFTER, Kind.DROP, Kind.TRUNCATE])
async def test_faults_on_both_sides_change_nothing_in_the_end(world: World, kind: Kind) -> None:
    await world.backfill()
    clean = world.contacts
    world.empty_audience()
    for file in world.folder.glob("state.db*"):
        file.unlink()
    world.shop.chances = world.news.chances = {Fault(kind, 500): 0.3}

    report = await world.backfill()

    assert (report.exit_code, world.contacts) == (0, clean)


async def test_a_rate_set_later_makes_the_totals_known(world: World) -> None:
    world.shop.state.add_order(email="person1@example.com", total="5.00", currency="USD")
    await world.backfill()
    file = world.folder / "cartwire.yaml"
    world.configure()
    file.write_text(file.read_text().replace("currency: EUR", "currency: EUR\nrates: {USD: 0.5}"))
    world.reread()

    report = await world.run()

    assert float(world.contacts["person1@example.com"][0]["SPENT"]) == 52.5
    assert (report.exit_code, await letters(world)) == (0, [])


async def test_another_audience_gets_everybody_from_the_beginning(world: World) -> None:
    await world.backfill()
    file = world.folder / "cartwire.yaml"
    file.write_text(file.read_text().replace("a1b2c3d4e5", "ffffffffff"))
    world.reread()

    report = await world.run()

    assert (report.compared, report.exit_code) == (7, 3)
    assert "`audience`" in report.errors[0]


async def test_a_key_that_may_not_read_products_costs_the_categories_only(world: World) -> None:
    forbidden = b'{"code": "woocommerce_rest_cannot_view", "message": "Sorry", "data": {"status": 403}}'
    fault = Fault(status=403, headers={"content-type": "application/json"}, body=forbidden)
    world.shop.fail(fault, times=100, when=lambda _method, path: path.endswith("/products"))

    report = await world.backfill()

    assert (report.exit_code, len(world.contacts)) == (0, 7)
    assert list(report.stores["shop"].refused) == ["products"]


async def test_P5_a_contact_at_which_the_ESP_breaks_stops_nobody_and_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.backfill()
    ada = "person1@example.com"
    for email in (ada, "person2@example.com"):
        world.shop.state.add_order(email=email, total="5.00")
    key = hashlib.md5(ada.encode(), usedforsecurity=False).hexdigest()
    world.news.fail(
        Fault(status=503), times=10_000, when=lambda method, path: method != "GET" and key in path
    )

    first = await world.run()
    second = await world.run()
    world.shop.state.add_order(email="new@example.com", total="5.00")
    third = await world.run()
    monkeypatch.setattr(settling, "LONGEST_PAUSE", 0)
    fourth = await world.run()
    (letter,) = await letters(world)
    before = world.contacts[ada][0]["ORDERS"]
    world.news._planned.clear()
    fifth = await world.run()

    reports = (first, second, third, fourth, fifth)
    assert [(report.exit_code, report.errors) for report in reports] == [(1, [])] * 4 + [(0, [])]
    assert "Customers" in world.contacts["new@example.com"][1]
    assert (before, world.contacts[ada][0]["ORDERS"]) == (5, 6)
    assert (letter.record.endswith(" broken"), letter.times) == (True, 2)


async def test_a_firewall_that_hides_the_products_for_a_while_costs_no_categories(world: World) -> None:
    """Else their history would count as read, and nobody would ask for it again."""
    page = b"<!DOCTYPE html><html><title>Just a moment...</title></html>"
    fault = Fault(status=403, headers={"content-type": "text/html"}, body=page)
    planned: list[str] = []

    def begins_later(_method: str, path: str) -> bool:
        planned.append(path)
        return path.endswith("/products") and len(planned) > 3

    world.shop.fail(fault, times=1, when=begins_later)

    blocked = await world.backfill()
    opened = await world.backfill()

    async with world.open() as cartwire:
        known = await cartwire.db.read(
            lambda db: db.scalar(select(func.count()).select_from(table(ProductRow)))
        )
    assert (blocked.exit_code, opened.exit_code) == (3, 0)
    assert known


async def test_another_timezone_moves_the_dates(world: World) -> None:
    world.shop.state.add_order(email="night@example.com", created_at=datetime(2026, 5, 1, 23, 30, tzinfo=UTC))
    await world.backfill()
    file = world.folder / "cartwire.yaml"
    before = world.contacts["night@example.com"][0]["LASTORD"]
    file.write_text(file.read_text().replace("Europe/Paris", "America/New_York"))
    world.reread()

    await world.run()

    assert (before, world.contacts["night@example.com"][0]["LASTORD"]) == ("2026-05-02", "2026-05-01")
