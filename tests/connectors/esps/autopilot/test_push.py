import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors.base import Blame, Contact, Field, FieldType, Subscribe, Value
from connectors.errors import RemoteFault, Throttled, Unreachable
from connectors.esps.autopilot import people
from connectors.esps.autopilot.connector import Autopilot
from connectors.esps.autopilot.people import People, Row
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.autopilot.conftest import bodies
from tests.connectors.esps.harness import anew
from tests.connectors.esps.specs import Recorder

ADA, BOB = "ada@example.com", "bob@example.com"
FIELDS = [
    Field("Orders Count", FieldType.NUMBER, "Orders"),
    Field("LASTORD", FieldType.DATE, "Last order"),
    Field("TIER", FieldType.TEXT, "Tier"),
    Field("Is B2B", FieldType.BOOLEAN, "Business"),
]
MARK = {"Created Without Consent": True}
bulk_answers = pytest.mark.parametrize("bulk", ["by contact", "whole"])


def persons(count: int, **fields: Value) -> list[Contact]:
    """Make contacts with proof of consent."""
    return [
        Contact(number, f"person-{number}@example.com", fields, Subscribe.YES)
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("subscribe", "status", "mark"),
    [
        (Subscribe.YES, "subscribed", {}),
        (Subscribe.NO, "unsubscribed", MARK),
        (Subscribe.ASK, "unsubscribed", MARK),
        (Subscribe.STOP, "unsubscribed", {}),
    ],
)
async def test_a_new_contact_gets_the_status_that_the_proofs_allow(
    esp: Autopilot, simulation: Simulation, subscribe: Subscribe, status: str, mark: dict[str, Any]
) -> None:
    refusals = await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, subscribe)])

    assert refusals == []
    assert simulation.state.contact(ADA).status == status
    assert simulation.state.contact(ADA).fields == {"FirstName": "Ada"} | mark


@pytest.mark.parametrize("subscribe", [Subscribe.YES, Subscribe.NO])
async def test_a_known_contact_keeps_its_status(
    esp: Autopilot, simulation: Simulation, subscribe: Subscribe
) -> None:
    simulation.state.add(ADA)
    simulation.state.add(BOB)
    simulation.state.unsubscribe(BOB)

    await esp.push(
        [Contact(number, email, {"FNAME": "x"}, subscribe) for number, email in enumerate((ADA, BOB))]
    )

    contacts = simulation.state.contacts.values()
    assert [contact.status for contact in contacts] == ["subscribed", "unsubscribed"]
    assert [contact.fields for contact in contacts] == [{"FirstName": "x"}] * 2


async def test_stop_unsubscribes(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    assert await esp.push([Contact(1, ADA, {}, Subscribe.STOP, known=True)]) == []

    assert simulation.state.contact(ADA).status == "unsubscribed"


async def test_values_are_written_under_typed_keys_and_none_clears(
    esp: Autopilot, simulation: Simulation, recorder: Recorder
) -> None:
    assert await esp.prepare(FIELDS, []) == {}
    values: dict[str, Value] = {
        "Orders Count": Decimal("3.50"),
        "LASTORD": date(1955, 6, 1),
        "TIER": "çay 🫖\nand İ",
        "Is B2B": False,
        "LNAME": "Lovelace",
    }

    await esp.push([Contact(1, ADA, values, Subscribe.YES)])
    written = simulation.state.contact(ADA).fields
    await esp.push([Contact(1, ADA, dict.fromkeys(values), Subscribe.YES, known=True)])

    assert bodies(recorder, "/v1/contacts")[0]["custom"] == {
        "float--Orders--Count": 3.5,
        "date--LASTORD": "1955-06-01T12:00:00.000Z",
        "string--TIER": "çay 🫖\nand İ",
        "boolean--Is--B2B": False,
    }
    assert written["Orders Count"] == 3.5
    assert written["LastName"] == "Lovelace"
    assert simulation.state.contact(ADA).fields == {}


async def test_a_clearing_that_is_refused_is_tried_with_null(
    esp: Autopilot, simulation: Simulation, lenient: list[str]
) -> None:
    lenient.append("None is not valid")
    simulation.state.only_null_clears = True
    await esp.prepare(FIELDS, [])
    await esp.push([Contact(1, ADA, {"Orders Count": 3, "TIER": "gold"}, Subscribe.YES)])

    assert await esp.push([Contact(1, ADA, {"Orders Count": None, "TIER": None}, Subscribe.YES)]) == []

    assert simulation.state.contact(ADA).fields == {}


async def test_a_field_that_nobody_declared_is_typed_by_its_value(
    esp: Autopilot, simulation: Simulation
) -> None:
    values = {"A": "x", "B": 3, "C": date(2026, 1, 2), "D": True, "E": datetime(2026, 1, 2, 23, tzinfo=UTC)}
    await esp.push([Contact(1, ADA, {**values, "Never There": None}, Subscribe.YES)])

    assert list(simulation.state.custom_fields) == [
        ("string", "A"),
        ("float", "B"),
        ("date", "C"),
        ("boolean", "D"),
        ("date", "E"),
    ]


async def test_clearing_an_undeclared_field_uses_the_type_that_it_has(
    esp: Autopilot, simulation: Simulation
) -> None:
    simulation.state.add(ADA, custom={"integer--Orders": 3}, FirstName="Ada")

    await esp.push([Contact(1, ADA, {"Orders": None, "FNAME": None}, known=True)])

    assert simulation.state.contact(ADA).fields == {}


async def test_very_long_text_arrives_whole_and_half_a_character_does_not(
    esp: Autopilot, simulation: Simulation
) -> None:
    await esp.push([Contact(1, ADA, {"TIER": "İ🫖" * 50_000 + "\ud800"}, Subscribe.YES)])

    assert simulation.state.contact(ADA).fields == {"TIER": "İ🫖" * 50_000}


async def test_an_integer_field_takes_whole_numbers_only(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add(BOB, custom={"integer--Orders--Count": 1})
    await esp.prepare(FIELDS, [])

    (refusal,) = await esp.push(
        [
            Contact(1, ADA, {"Orders Count": Decimal("3.0")}, Subscribe.YES),
            Contact(2, BOB, {"Orders Count": Decimal("3.5"), "TIER": "gold"}, Subscribe.YES),
        ]
    )

    assert (refusal.profile, refusal.blame, refusal.name) == (2, Blame.FIELD, "Orders Count")
    assert simulation.state.contact(ADA).fields == {"Orders Count": 3}
    assert simulation.state.contact(BOB).fields == {"Orders Count": 1, "TIER": "gold"}


@pytest.mark.parametrize(
    ("type_", "value"), [(FieldType.DATE, "soon"), (FieldType.BOOLEAN, "x"), (FieldType.NUMBER, "many")]
)
async def test_a_value_of_another_type_is_left_out(
    esp: Autopilot, simulation: Simulation, type_: FieldType, value: str
) -> None:
    await esp.prepare([Field("ODD", type_, "Odd")], [])

    (refusal,) = await esp.push([Contact(1, ADA, {"ODD": value, "FNAME": "Ada"}, Subscribe.YES)])

    assert (refusal.blame, refusal.name) == (Blame.FIELD, "ODD")
    assert simulation.state.contact(ADA).fields == {"FirstName": "Ada"}


@bulk_answers
async def test_a_field_that_is_refused_is_left_out(esp: Autopilot, simulation: Simulation, bulk: str) -> None:
    simulation.state.whole_batches = bulk == "whole"
    simulation.state.objection = lambda body: (
        f"We do not like Adelaide of {body['Email']}." if body.get("FirstName") == "Adelaide" else None
    )
    odd = Contact(0, ADA, {"FNAME": "Adelaide", "LNAME": "King", "TIER": "gold"}, Subscribe.YES)

    (refusal,) = await esp.push([*persons(9, FNAME="Ada"), odd])

    assert (refusal.profile, refusal.blame, refusal.name) == (0, Blame.FIELD, "FNAME")
    assert refusal.reason == "We do not like … of (address)"
    assert simulation.state.contact(ADA).fields == {"LastName": "King", "TIER": "gold"}
    assert len(simulation.state.contacts) == 10


@bulk_answers
@pytest.mark.parametrize("subscribe", [Subscribe.YES, Subscribe.NO])
async def test_bad_contacts_at_both_ends_and_in_the_middle_stop_no_other(
    esp: Autopilot, simulation: Simulation, bulk: str, subscribe: Subscribe
) -> None:
    simulation.state.whole_batches = bulk == "whole"
    bad = {1, 50, 100}
    contacts = [
        Contact(number, f"no address {number}" if number in bad else f"p{number}@example.com", {}, subscribe)
        for number in range(1, 101)
    ]

    refusals = await esp.push(contacts)

    assert {(refusal.profile, refusal.blame, refusal.reason) for refusal in refusals} == {
        (number, Blame.CONTACT, "Email is invalid.") for number in bad
    }
    assert len(simulation.state.contacts) == 97


async def test_a_thousand_contacts_take_ten_writes(esp: Autopilot, simulation: Simulation) -> None:
    contacts = [Contact(number, f"person-{number}@example.com", {"FNAME": "x"}) for number in range(1000)]

    assert await esp.push(contacts) == []

    assert simulation.counts() == {"GET": 2, "POST": 10}
    assert {contact.status for contact in simulation.state.contacts.values()} == {"unsubscribed"}


async def test_whether_people_are_there_is_asked_in_the_way_that_takes_fewer_requests(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(450):
        simulation.state.add(f"person-{number}@example.com")
    some = [Contact(number, f"person-{number}@example.com", {"FNAME": "x"}) for number in range(60)]
    await esp.push(some)
    reading_all = simulation.counts()["GET"]
    monkeypatch.setattr(people, "LOOKUPS", 2)

    await esp.push(some[:3])

    assert reading_all == 6
    assert simulation.counts()["GET"] - reading_all <= 4
    assert {contact.status for contact in simulation.state.contacts.values()} == {"subscribed"}


@pytest.mark.parametrize("lookups", [50, 0])
async def test_who_was_deleted_there_comes_back_unmailable_though_the_store_has_a_proof(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch, lookups: int
) -> None:
    monkeypatch.setattr(people, "LOOKUPS", lookups)
    simulation.state.add(BOB)

    await esp.push(
        [Contact(1, ADA, {}, Subscribe.YES, known=True), Contact(2, BOB, {}, Subscribe.YES, known=True)]
    )

    assert simulation.state.contact(ADA).status == "unsubscribed"
    assert simulation.state.contact(BOB).status == "subscribed"


@pytest.mark.parametrize("total", [150, None])
async def test_a_row_that_came_twice_or_a_missing_total_makes_nobody_absent(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    monkeypatch.setattr(people, "LOOKUPS", 0)
    for number in range(150):
        simulation.state.add(f"person-{number}@example.com")
    rows = [row async for page, _ in People(esp._api).pages() for row in page]

    async def shifted(_: People) -> AsyncIterator[tuple[Sequence[Row], int | None]]:
        yield rows[:100], 150
        yield (rows[99:149] if total else rows[100:149]), total

    async def without_total(_: People) -> AsyncIterator[tuple[Sequence[Row], int | None]]:
        yield rows[:149], None

    monkeypatch.setattr(People, "pages", shifted if total else without_total)

    await esp.push([Contact(n, f"person-{n}@example.com", {"FNAME": "x"}) for n in range(150)])

    assert {contact.status for contact in simulation.state.contacts.values()} == {"subscribed"}


async def test_a_page_that_slipped_by_unsubscribes_nobody(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "LOOKUPS", 0)
    for number in range(150):
        simulation.state.add(f"person-{number}@example.com")
    page = simulation.state.page
    simulation.state.page = lambda *known: (page(*known)[0][1:], page(*known)[1])

    await esp.push([Contact(n, f"person-{n}@example.com", {"FNAME": "x"}) for n in range(150)])

    assert {contact.status for contact in simulation.state.contacts.values()} == {"subscribed"}


async def test_a_rename_keeps_the_contact(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add(ADA, FirstName="Ada")
    await esp.prepare([], ["Customers"])
    (list_id,) = simulation.state.lists
    simulation.state.members[list_id].add(simulation.state.find(ADA)[0].id)
    before = simulation.state.find(ADA)[0].id

    refusals = await esp.push([Contact(1, BOB, {"LNAME": "King"}, known=True, was=ADA)])

    after = simulation.state.contact(BOB)
    assert refusals == []
    assert list(simulation.state.contacts) == [BOB]
    assert (after.status, after.fields, after.tags) == (
        "subscribed",
        {"FirstName": "Ada", "LastName": "King"},
        {"Customers"},
    )
    assert simulation.state.find(BOB)[0].id == before


async def test_a_rename_of_somebody_who_is_gone_creates_them_unmailable(
    esp: Autopilot, simulation: Simulation
) -> None:
    assert anew(await esp.push([Contact(1, ADA, {}, Subscribe.YES, was=BOB)])) == {1}

    assert simulation.state.contact(ADA).status == "unsubscribed"
    assert simulation.state.contact(BOB) is None


async def test_a_rename_to_an_address_that_is_there_updates_it_and_retires_the_old(
    esp: Autopilot, simulation: Simulation
) -> None:
    simulation.state.add(ADA)
    simulation.state.add(BOB)
    simulation.state.unsubscribe(BOB)

    assert anew(await esp.push([Contact(1, BOB, {"FNAME": "Ada"}, Subscribe.YES, known=True, was=ADA)])) == {
        1
    }

    contacts = simulation.state.contacts
    assert contacts[BOB].fields == {"FirstName": "Ada"}
    assert [contacts[email].status for email in (ADA, BOB)] == ["unsubscribed", "unsubscribed"]


async def test_a_rename_that_is_refused_leaves_the_old_contact(
    esp: Autopilot, simulation: Simulation
) -> None:
    simulation.state.add(ADA)
    simulation.state.objection = lambda body: "No." if "_NewEmail" in body else None

    (refusal,) = await esp.push([Contact(1, BOB, {"FNAME": "x"}, Subscribe.YES, known=True, was=ADA)])

    assert (refusal.blame, refusal.reason) == (Blame.CONTACT, "No.")
    assert list(simulation.state.contacts) == [ADA]


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.AFTER, Kind.TRUNCATE])
async def test_a_rename_whose_answer_got_lost_is_done_once(
    esp: Autopilot, simulation: Simulation, kind: Kind
) -> None:
    simulation.state.add(ADA, FirstName="Ada")
    simulation.fail(Fault(kind), when=lambda method, path: (method, path) == ("POST", "/v1/contact"))

    assert await esp.push([Contact(1, BOB, {"LNAME": "King"}, known=True, was=ADA)]) == []

    assert list(simulation.state.contacts) == [BOB]
    assert simulation.state.contact(BOB).fields == {"FirstName": "Ada", "LastName": "King"}


async def test_a_rename_that_never_arrived_is_raised(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    simulation.fail(Fault(status=500), when=lambda method, _: method == "POST")

    with pytest.raises(RemoteFault):
        await esp.push([Contact(1, BOB, {}, known=True, was=ADA)])


async def test_addresses_that_move_on_in_a_row_lose_nobody(esp: Autopilot, simulation: Simulation) -> None:
    for name in ("a", "b", "c"):
        simulation.state.add(f"{name}@example.com", FirstName=name)
    moves = [("a", "b"), ("b", "c"), ("c", "d")]

    refusals = await esp.push(
        [
            *(
                Contact(number, f"{new}@example.com", {}, known=True, was=f"{old}@example.com")
                for number, (old, new) in enumerate(moves)
            ),
            Contact(9, "a@example.com", {"FNAME": "new"}),
        ]
    )

    assert refusals == []
    names = {each.email[0]: each.fields["FirstName"] for each in simulation.state.contacts.values()}
    assert names == {"a": "new", "b": "a", "c": "b", "d": "c"}


async def test_addresses_that_were_exchanged_lose_nobody(esp: Autopilot, simulation: Simulation) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)

    await esp.push(
        [
            Contact(1, BOB, {"FNAME": "Ada"}, known=True, was=ADA),
            Contact(2, ADA, {"FNAME": "Bob"}, known=True, was=BOB),
        ]
    )

    contacts = simulation.state.contacts
    assert {email: each.fields["FirstName"] for email, each in contacts.items()} == {ADA: "Bob", BOB: "Ada"}
    assert {each.status for each in contacts.values()} == {"subscribed"}


async def test_a_new_case_of_the_address_is_no_rename(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    assert await esp.push([Contact(1, "Ada@Example.com", {"FNAME": "x"}, known=True, was=ADA)]) == []

    assert [each.fields for each in simulation.state.contacts.values()] == [{"FirstName": "x"}]


async def test_an_odd_address_is_quoted_in_paths(esp: Autopilot, simulation: Simulation) -> None:
    odd = "a/b?c#d%+é@example.com"
    simulation.state.add(odd)

    assert await esp.push([Contact(1, odd, {"FNAME": "x"}, known=True)]) == []

    assert simulation.state.contact(odd).status == "subscribed"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=500), RemoteFault),
        (Fault(Kind.AFTER, status=502), RemoteFault),
        (Fault(status=429), Throttled),
        (Fault(status=429, headers={"retry-after": "7"}), Throttled),
        (Fault(Kind.DROP), Unreachable),
        (Fault(Kind.TRUNCATE), Unreachable),
    ],
)
async def test_a_fault_is_tried_again_and_an_outage_is_raised(
    esp: Autopilot, simulation: Simulation, fault: Fault, error: type[Exception]
) -> None:
    simulation.fail(fault, times=4)
    refusals = await esp.push([Contact(n, f"person-{n}@example.com", {"FNAME": "x"}) for n in range(60)])
    simulation.fail(fault, times=1000)

    assert refusals == []
    assert len(simulation.state.contacts) == 60
    assert {each.status for each in simulation.state.contacts.values()} == {"unsubscribed"}
    with pytest.raises(error):
        await esp.push([Contact(1, ADA, {})])


async def test_a_429_names_the_rate_that_is_kept_from_then_on(
    esp: Autopilot, simulation: Simulation, pauses: list[float]
) -> None:
    message = "You have exceeded your request rate of 500 r/s."
    body = json.dumps({"error": "Too Many Requests", "message": message}).encode()
    simulation.fail(Fault(status=429, body=body))

    await esp.push([Contact(1, ADA, {}, Subscribe.YES)])

    assert 1.0 in pauses
    assert esp._api._rate is not None
    assert esp._api._rate.time_period == pytest.approx(1 / 500)


async def test_a_push_that_is_repeated_changes_nothing(esp: Autopilot, simulation: Simulation) -> None:
    contacts = [Contact(1, ADA, {"FNAME": "Ada"}), Contact(2, BOB, {}, Subscribe.YES)]
    await esp.push(contacts)
    before = simulation.state.contacts

    await esp.push(contacts)

    assert simulation.state.contacts == before


async def test_nothing_to_push_asks_nothing(esp: Autopilot, simulation: Simulation) -> None:
    assert await esp.push([]) == []
    assert simulation.counts() == {}
