"""What `explain` says of a person, against what was pushed."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from mappings.clock import Clock
from mappings.compile import CompiledList, compile_mapping
from mappings.model import read_mapping
from state.dossier import Membership
from sync.explain import Explanation, explain_person, show_explanation, stands
from tests.sync.conftest import MAPPING, World

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
PARIS = Clock(NOW, ZoneInfo("Europe/Paris"))
THEN = NOW - timedelta(days=10)
SUBSCRIBED = "mailchimp_woocommerce_is_subscribed"
ADA = "person1@example.com"
JOURNEY = MAPPING + "  Welcome: {when: orders_count >= 1, journey: true, reenter: after 90 days}\n"


def journey(reenter: str | None = None) -> CompiledList:
    spec = {"when": "orders_count >= 1", "journey": True, "reenter": reenter}
    (found,) = compile_mapping(read_mapping({"lists": {"Welcome": spec}}), currency="EUR").lists
    return found


@pytest.mark.parametrize(
    ("reenter", "known", "said"),
    [
        (None, Membership(), "out"),
        (None, Membership(waits="join"), "waits in the outbox to join"),
        (None, Membership(inside=True, at=THEN), "in since 2026-06-20 12:00:00 UTC: the journey was started"),
        (
            None,
            Membership(inside=True, at=THEN, told=False, entered_at=THEN, quiet=True),
            "inside the rule, and was when the journey went live on 2026-06-20 12:00:00 UTC: it was not started",
        ),
        (
            "never",
            Membership(inside=True, at=NOW, told=False, entered_at=THEN),
            (
                "inside the rule since 2026-06-30 12:00:00 UTC, entered before on 2026-06-20 12:00:00 UTC, "
                "re-entry never"
            ),
        ),
        (
            "after 30 days",
            Membership(inside=True, at=NOW, told=False, entered_at=THEN),
            (
                "inside the rule since 2026-06-30 12:00:00 UTC, entered before on 2026-06-20 12:00:00 UTC, "
                "re-entry not before 2026-07-20 12:00:00 UTC"
            ),
        ),
        (
            "after 3 days",
            Membership(inside=True, at=NOW, told=False, entered_at=THEN),
            (
                "inside the rule since 2026-06-30 12:00:00 UTC, entered before on 2026-06-20 12:00:00 UTC; "
                "it may begin again once the rule was false"
            ),
        ),
        (None, Membership(entered_at=THEN), "out; last entered on 2026-06-20 12:00:00 UTC"),
        (None, Membership(at=THEN, refused="full"), "out, refused on 2026-06-20 12:00:00 UTC: full"),
        (None, Membership(inside=True, at=THEN, refused="x"), "in, refused on 2026-06-20 12:00:00 UTC: x"),
        (
            None,
            Membership(at=THEN, refused="lost", doubtful=True),
            "nobody knows whether it began on 2026-06-20 12:00:00 UTC: lost",
        ),
    ],
)
def test_where_somebody_stands_with_a_journey_is_said_in_a_sentence(
    reenter: str | None, known: Membership, said: str
) -> None:
    assert stands(journey(reenter), True, known, PARIS) == said  # noqa: FBT003 - what the rule says


def test_P12_an_unknown_rule_says_that_nothing_changes() -> None:
    assert stands(journey(), None, Membership(), PARIS) == "out; the rule is unknown, so nothing changes"


async def explained(world: World, email: str = ADA) -> Explanation:
    async with world.open() as cartwire:
        (found,) = await explain_person(cartwire, email, datetime.now(UTC))
    return found


async def test_what_explain_says_of_everybody_is_what_the_ESP_accepted(world: World) -> None:
    world.configure(mapping=JOURNEY)
    await world.backfill()
    world.shop.state.add_order(email="later@example.com", total="5.00")
    await world.run()

    for email, (_, lists, _) in world.contacts.items():
        found = await explained(world, email)
        accepted = found.dossier.accepted
        assert accepted is not None
        assert {rule.name: rule.value for rule in found.rules if rule.kind == "fields"} == accepted.fields
        told = {name for name, known in found.dossier.lists.items() if known.inside and known.told}
        assert told == lists
        assert {rule.name for rule in found.rules if rule.kind == "lists" and rule.value} >= lists


async def test_P4_explain_shows_the_trail_and_why_nobody_is_subscribed(world: World) -> None:
    world.shop.state.set_order_meta(1, SUBSCRIBED, "1")
    await world.backfill()
    subscribed = await explained(world)
    world.news.state.unsubscribe(ADA)
    world.shop.state.add_order(email=ADA, total="5.00")
    await world.run()

    opted_out = await explained(world)

    assert subscribed.consent.startswith("handed over as a subscriber; now the newest word is a yes")
    assert "now the newest word is a no, which sticks (contact at news" in opted_out.consent
    assert [(word.origin, word.record, word.given, word.counts) for word in opted_out.dossier.words] == [
        ("shop", "order 1", True, False),
        ("esp:news", "contact", False, True),
    ]


async def test_explain_tells_people_and_scripts_the_same(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.configure(mapping=JOURNEY)
    await world.backfill()
    found = [await explained(world)]

    codes = [show_explanation(each, forgotten=False, json=False) for each in (found, [])]
    people = capsys.readouterr().out
    show_explanation(found, forgotten=False, json=True)

    (plain,) = json.loads(capsys.readouterr().out)
    assert codes == [0, 1]
    assert "list Welcome: true; inside the rule, and was when the journey went live on" in people
    assert "  orders_count >= 2: true  (orders_count = 5)" in people
    assert plain["lists"]["Welcome"] in people
    assert plain["rules"][0]["rule"]["text"] == "first_name"
    assert plain["dossier"]["origins"]["first_name"]["store"] == "shop"
    assert plain["dossier"]["accepted"]["fields"]["ORDERS"] == 5
    assert {"at", "told", "entered_at"} <= plain["dossier"]["lists"]["Welcome"].keys()


async def test_the_orders_that_explain_shows_add_up_to_what_was_pushed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    file = world.folder / "cartwire.yaml"
    file.write_text(file.read_text().replace("currency: EUR", "currency: EUR\nrates: {JPY: 0.0061}"))
    world.reread()
    world.shop.state.add_order(email=ADA, total="1000.00", currency="JPY")
    returned = world.shop.state.add_order(email=ADA, total="10.00")
    world.shop.state.refund(returned, "12.00")
    await world.backfill()

    found = await explained(world)
    show_explanation([found], forgotten=False, json=False)

    accepted, people = found.dossier.accepted, capsys.readouterr().out
    assert accepted is not None
    assert sum(order.worth_minor or 0 for order in found.dossier.orders) == 5610
    assert accepted.fields["SPENT"] == Decimal("56.10")
    assert "1000 JPY" in people
    assert "6.10 EUR" in people
    assert "-2.00" not in people


async def test_a_name_that_a_stranger_made_up_is_shown_and_does_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.configure(mapping=MAPPING.replace("Loyal:", "Buyers [b2b]:"))
    world.shop.state.add_order(email=ADA, total="1.00", first_name="Ada [/b]\x1b]0;mine\x07\nlist VIP: true")
    await world.backfill()

    show_explanation([await explained(world)], forgotten=False, json=False)

    people = capsys.readouterr().out
    assert "Ada [/b]" in people
    assert "list Buyers [b2b]: true" in people
    assert {"\x1b", "\x07"} & {*people} == set()
    assert not any(line.startswith("list VIP") for line in people.splitlines())
