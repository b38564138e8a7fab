import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors.base import Blame, Contact, Field, FieldType, Refusal, Subscribe, Value
from connectors.errors import RemoteFault, Throttled, Unreachable
from connectors.esps.ortto.connector import Ortto
from connectors.esps.ortto.delivery import LOOKS
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.harness import anew
from tests.connectors.esps.ortto.conftest import merges
from tests.connectors.esps.specs import Recorder

ADA, BOB = "ada@example.com", "bob@example.com"
FIELDS = [
    Field("Orders Count", FieldType.NUMBER, "Orders"),
    Field("LASTORD", FieldType.DATE, "Last order"),
    Field("TIER", FieldType.TEXT, "Tier"),
    Field("Is B2B", FieldType.BOOLEAN, "Business"),
]
either_way = pytest.mark.parametrize("count", [2, 60])
answers = pytest.mark.parametrize("answer", ["by person", "whole"])


def persons(count: int, **fields: Value) -> list[Contact]:
    return [Contact(number, f"person-{number}@example.com", fields) for number in range(1, count + 1)]


def reasons(refusals: list[Refusal]) -> set[tuple[int, Blame, str | None]]:
    return {(refusal.profile, refusal.blame, refusal.name) for refusal in refusals}


@pytest.mark.parametrize(
    ("subscribe", "status"),
    [
        (Subscribe.YES, "subscribed"),
        (Subscribe.NO, "unsubscribed"),
        (Subscribe.ASK, "unsubscribed"),
        (Subscribe.STOP, "unsubscribed"),
    ],
)
@either_way
async def test_a_new_contact_gets_the_permission_that_the_proofs_allow(
    esp: Ortto, simulation: Simulation, subscribe: Subscribe, status: str, count: int
) -> None:
    contacts = [Contact(n, f"{n}@example.com", {"FNAME": "Ada"}, subscribe) for n in range(count)]

    assert await esp.push(contacts) == []

    assert {contact.status for contact in simulation.state.contacts.values()} == {status}
    assert [contact.fields for contact in simulation.state.contacts.values()] == [
        {"str::first": "Ada"}
    ] * count


@pytest.mark.parametrize("subscribe", [Subscribe.YES, Subscribe.NO])
async def test_a_known_contact_keeps_its_permission(
    esp: Ortto, simulation: Simulation, subscribe: Subscribe
) -> None:
    simulation.state.add(ADA)
    simulation.state.add(BOB)
    simulation.state.unsubscribe(BOB)

    await esp.push([Contact(n, email, {"FNAME": "x"}, subscribe) for n, email in enumerate((ADA, BOB))])

    contacts = simulation.state.contacts.values()
    assert [contact.status for contact in contacts] == ["subscribed", "unsubscribed"]
    assert [contact.fields for contact in contacts] == [{"str::first": "x"}] * 2


async def test_stop_unsubscribes_and_says_why(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    assert await esp.push([Contact(1, ADA, {}, Subscribe.STOP, known=True)]) == []

    assert simulation.state.contact(ADA).status == "unsubscribed"
    assert simulation.state.person(ADA).context == "Consent was taken back at the store"


async def test_values_are_written_as_ortto_keeps_them_and_none_clears(
    esp: Ortto, simulation: Simulation
) -> None:
    assert await esp.prepare(FIELDS, []) == {}
    values: dict[str, Value] = {
        "Orders Count": Decimal("187.4005"),
        "LASTORD": date(1955, 6, 1),
        "TIER": "çay 🫖\nand İ",
        "Is B2B": False,
        "LNAME": "Lovelace",
        "MOBILE": "+33 6 12 34 56 78",
        "ZIPCODE": "69001",
    }

    await esp.push([Contact(1, ADA, values)])
    written = simulation.state.contact(ADA).fields
    await esp.push([Contact(1, ADA, dict.fromkeys(values), known=True)])

    assert written == {
        "int:cm:orders-count": 187401,
        "dtz:cm:lastord": {"year": 1955, "month": 6, "day": 1, "timezone": "UTC"},
        "str:cm:tier": "çay 🫖\nand İ",
        "bol:cm:is-b2b": False,
        "str::last": "Lovelace",
        "phn::phone": {"phone": "33612345678", "parse_with_country_code": True},
        "str::postal": "69001",
    }
    assert simulation.state.contact(ADA).fields == {}


async def test_P5_a_text_without_a_digit_is_no_phone_number(esp: Ortto, simulation: Simulation) -> None:
    await esp.prepare(FIELDS, [])

    (refusal,) = await esp.push([Contact(1, ADA, {"MOBILE": "Paris", "LNAME": "Lovelace"})])

    assert (refusal.blame, refusal.name, refusal.reason) == (
        Blame.FIELD,
        "MOBILE",
        "the value is no phone number",
    )
    assert simulation.state.contact(ADA).fields == {"str::last": "Lovelace"}


async def test_a_text_is_cut_at_what_its_field_holds(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add_field("Notes", "large_text")
    await esp.prepare([*FIELDS, Field("Notes", FieldType.TEXT, "Notes")], [])
    long = "İ🫖\n" * 5000

    assert await esp.push([Contact(1, ADA, {"TIER": long + "\ud800", "Notes": long + "\ud800"})]) == []

    assert simulation.state.contact(ADA).fields == {"str:cm:tier": long[:500], "txt:cm:notes": long}


@pytest.mark.parametrize(
    ("display_type", "type_", "value", "kept"),
    [
        ("integer", FieldType.NUMBER, Decimal("3.00"), 3),
        ("integer", FieldType.NUMBER, Decimal("3.5"), None),
        ("integer", FieldType.NUMBER, 10**40, None),
        ("decimal", FieldType.NUMBER, 10**16, None),
        ("decimal", FieldType.NUMBER, Decimal("-2.0005"), -2001),
        ("currency", FieldType.NUMBER, 3, 3000),
        ("decimal", FieldType.NUMBER, "many", None),
        ("decimal", FieldType.NUMBER, True, None),
        ("date", FieldType.DATE, "soon", None),
        ("date", FieldType.DATE, datetime(2026, 1, 2, 23, tzinfo=UTC), {"year": 2026, "month": 1, "day": 2}),
        ("time", FieldType.DATE, date(2026, 1, 2), "2026-01-02T12:00:00Z"),
        ("bool", FieldType.BOOLEAN, "x", None),
        ("text", FieldType.TEXT, True, "yes"),
        ("text", FieldType.TEXT, date(2026, 1, 2), "2026-01-02"),
    ],
)
async def test_a_value_goes_into_a_field_that_is_there_or_is_refused(
    esp: Ortto, simulation: Simulation, *, display_type: str, type_: FieldType, value: Value, kept: Any
) -> None:
    field = simulation.state.add_field("Odd", display_type)
    assert await esp.prepare([Field("Odd", type_, "Odd")], []) == {}

    refusals = await esp.push([Contact(1, ADA, {"Odd": value, "FNAME": "Ada"})])

    landed = simulation.state.contact(ADA).fields
    assert landed["str::first"] == "Ada"
    if isinstance(kept, dict):
        kept |= {"timezone": "UTC"}
    assert landed.get(field.id) == kept
    assert reasons(refusals) == ({(1, Blame.FIELD, "Odd")} if kept is None else set())


async def test_a_place_is_written_as_an_object(esp: Ortto, simulation: Simulation) -> None:
    assert await esp.prepare([Field("geo::city", FieldType.TEXT, "City")], []) == {}

    await esp.push([Contact(1, ADA, {"geo::city": "Lyon"})])

    assert simulation.state.contact(ADA).fields == {"geo::city": {"name": "Lyon"}}


async def test_a_field_that_nobody_prepared_is_left_out(esp: Ortto, simulation: Simulation) -> None:
    (refusal,) = await esp.push([Contact(1, ADA, {"TIER": "gold", "FNAME": "Ada"})])

    assert (refusal.blame, refusal.name) == (Blame.FIELD, "TIER")
    assert simulation.state.contact(ADA).fields == {"str::first": "Ada"}


@answers
@either_way
async def test_a_field_that_is_refused_by_its_id_is_left_out(
    esp: Ortto, simulation: Simulation, answer: str, count: int
) -> None:
    simulation.state.whole_batches = answer == "whole"
    await esp.prepare(FIELDS, [])

    refusals = await esp.push([*persons(count, FNAME="x"), Contact(0, ADA, {"MOBILE": "12", "TIER": "gold"})])

    (refusal,) = refusals
    assert (refusal.profile, refusal.blame, refusal.name) == (0, Blame.FIELD, "MOBILE")
    assert refusal.reason == "failed to validate field phn::phone in schema: wrong type"
    assert simulation.state.contact(ADA).fields == {"str:cm:tier": "gold"}
    assert len(simulation.state.contacts) == count + 1


@answers
async def test_a_field_that_is_refused_without_being_named_is_found(
    esp: Ortto, simulation: Simulation, answer: str
) -> None:
    simulation.state.whole_batches = answer == "whole"
    simulation.state.spoil = lambda body: (
        "Adelaide is no name" if body["fields"].get("str::first") == "Adelaide" else None
    )
    odd = Contact(0, ADA, {"FNAME": "Adelaide", "LNAME": "King", "ZIPCODE": "1"})

    (refusal,) = await esp.push([*persons(9, FNAME="Ada"), odd])

    assert (refusal.profile, refusal.blame, refusal.name) == (0, Blame.FIELD, "FNAME")
    assert refusal.reason == "… is no name"
    assert simulation.state.contact(ADA).fields == {"str::last": "King", "str::postal": "1"}


async def test_a_field_that_was_deleted_meanwhile_costs_one_bad_request(
    esp: Ortto, simulation: Simulation
) -> None:
    await esp.prepare(FIELDS, [])
    del simulation.state.schema["str:cm:tier"]
    for contact in persons(50):
        simulation.state.add(contact.email)
    before = simulation.counts()

    refusals = await esp.push(persons(50, TIER="gold", FNAME="x"))

    assert reasons(refusals) == {(number, Blame.FIELD, "TIER") for number in range(1, 51)}
    assert [seen.status for seen in simulation.requests[-2:]] == [400, 200]
    assert simulation.counts() - before == {"POST": 3}


@answers
async def test_bad_contacts_at_both_ends_and_in_the_middle_stop_no_other(
    esp: Ortto, simulation: Simulation, answer: str
) -> None:
    simulation.state.whole_batches = answer == "whole"
    bad = {1: "no address", 50: "odd@@example.com", 100: ""}
    contacts = [Contact(n, bad.get(n, f"p{n}@example.com"), {"FNAME": "x"}) for n in range(1, 101)]

    refusals = await esp.push(contacts)

    assert reasons(refusals) == {(number, Blame.CONTACT, None) for number in bad}
    assert len(simulation.state.contacts) == 97


@answers
async def test_known_contacts_that_are_refused_stop_no_other(
    esp: Ortto, simulation: Simulation, answer: str
) -> None:
    simulation.state.whole_batches = answer == "whole"
    for contact in persons(100):
        simulation.state.add(contact.email)
    bad = {f"person-{number}@example.com" for number in (1, 50, 100)}
    simulation.state.spoil = lambda body: "no" if body["fields"]["str::email"] in bad else None

    refusals = await esp.push(persons(100, FNAME="x"))

    assert reasons(refusals) == {(number, Blame.CONTACT, None) for number in (1, 50, 100)}
    changed = [contact for contact in simulation.state.contacts.values() if contact.fields]
    assert len(changed) == 97


@either_way
async def test_a_suppressed_address_is_blocked(esp: Ortto, simulation: Simulation, count: int) -> None:
    simulation.state.suppress(ADA)

    (refusal,) = await esp.push([*persons(count), Contact(0, ADA, {}, Subscribe.YES)])

    assert (refusal.profile, refusal.blame, refusal.reason) == (0, Blame.BLOCKED, "Email is suppressed")
    assert simulation.state.contact(ADA) is None


async def test_a_suppressed_person_who_is_there_is_written(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    simulation.state.bounce(ADA)

    assert await esp.push([Contact(1, ADA, {"FNAME": "Ada"})]) == []

    assert simulation.state.contact(ADA).fields == {"str::first": "Ada"}


async def test_an_archived_person_stays_archived_and_as_they_were(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.permission_by_default = True
    simulation.state.add(ADA, "unsubscribed")
    simulation.state.hide(ADA)

    assert await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, Subscribe.YES)]) == []

    assert simulation.state.contact(ADA).status == "archived"
    assert not simulation.state.person(ADA).permitted


@pytest.mark.parametrize("count", [1, 5])
async def test_known_people_who_turn_out_to_be_archived_are_not_made_anew(
    esp: Ortto, simulation: Simulation, count: int
) -> None:
    known = [replace(each, known=True) for each in persons(count, FNAME="Ada")]
    for each in known:
        simulation.state.add(each.email)
        simulation.state.hide(each.email)

    assert await esp.push(known) == []

    assert {each.status for each in simulation.state.contacts.values()} == {"archived"}


async def test_a_hundred_new_contacts_take_two_writes(
    esp: Ortto, simulation: Simulation, recorder: Recorder
) -> None:
    await esp.prepare([], [])
    before = simulation.counts()

    assert await esp.push(persons(100, FNAME="x")) == []

    assert [
        (merge["async"], merge["merge_strategy"], len(merge["people"])) for merge in merges(recorder)
    ] == [
        (True, 3, 100),
        (False, 2, 100),
    ]
    assert (simulation.counts() - before)["POST"] <= 6
    assert len(simulation.state.contacts) == 100


async def test_a_hundred_known_contacts_take_one_write(esp: Ortto, simulation: Simulation) -> None:
    await esp.push(persons(100))
    before = simulation.counts()

    assert await esp.push(persons(100, FNAME="x")) == []

    assert simulation.counts() - before == {"POST": 2}


async def test_a_slow_queue_is_waited_for(
    esp: Ortto, simulation: Simulation, pauses: list[float], recorder: Recorder
) -> None:
    simulation.state.queue_seconds = sum(LOOKS) - 0.5

    assert await esp.push(persons(50, FNAME="x")) == []

    assert pauses == list(LOOKS)
    assert len(merges(recorder)) == 2


async def test_a_queue_that_is_too_slow_is_left_behind(
    esp: Ortto, simulation: Simulation, pauses: list[float]
) -> None:
    simulation.state.queue_seconds = 3600

    assert await esp.push(persons(10, FNAME="x")) == []
    before = simulation.state.contacts
    pauses.append(7200)
    await esp.check()

    assert len(before) == 10
    assert simulation.state.contacts == before


async def test_merges_that_ortto_loses_are_made_up_for(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.lose_queued = True

    assert await esp.push(persons(10, FNAME="x")) == []

    assert {contact.status for contact in simulation.state.contacts.values()} == {"unsubscribed"}
    assert len(simulation.state.contacts) == 10


async def test_an_asynchronous_merge_that_is_refused_goes_one_by_one(
    esp: Ortto, simulation: Simulation
) -> None:
    body = json.dumps({"code": 400, "error": "No valid contacts provided"}).encode()
    simulation.fail(
        Fault(status=400, headers={"content-type": "application/json"}, body=body),
        when=lambda _, path: path.endswith("merge"),
    )

    assert await esp.push(persons(5)) == []

    assert len(simulation.state.contacts) == 5


async def test_a_refusal_in_plain_words_is_not_sent_again(esp: Ortto, simulation: Simulation) -> None:
    simulation.fail(
        Fault(status=400, headers={"content-type": "text/plain"}, body=b"bad request"),
        times=50,
        when=lambda _, path: path.endswith("merge"),
    )

    (refusal,) = await esp.push(persons(1))

    assert (refusal.blame, refusal.reason) == (Blame.CONTACT, "refused without a reason")
    assert [seen.status for seen in simulation.requests].count(400) == 1


async def test_many_bad_people_do_not_shut_us_out(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.spoil = lambda _: "no"

    refusals = await esp.push(persons(40))

    assert reasons(refusals) == {(number, Blame.CONTACT, None) for number in range(1, 41)}
    assert simulation.state.blocked == 0


async def test_a_rename_keeps_the_person(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA, **{"str::first": "Ada"})
    await esp.change_list("Customers", [], [])
    before = simulation.state.person(ADA)
    before.tags = frozenset({"Customers"})

    assert await esp.push([Contact(1, BOB, {"LNAME": "King"}, known=True, was=ADA)]) == []

    after = simulation.state.contact(BOB)
    assert list(simulation.state.contacts) == [BOB]
    assert (after.status, after.fields, after.tags) == (
        "subscribed",
        {"str::first": "Ada", "str::last": "King"},
        {"Customers"},
    )
    assert simulation.state.person(BOB) is before


async def test_a_rename_of_somebody_who_is_gone_creates_them_without_permission(
    esp: Ortto, simulation: Simulation
) -> None:
    assert anew(await esp.push([Contact(1, ADA, {}, Subscribe.YES, was=BOB)])) == {1}

    assert simulation.state.contact(ADA).status == "unsubscribed"
    assert simulation.state.contact(BOB) is None


async def test_a_rename_to_an_address_that_is_there_updates_it_and_archives_the_old(
    esp: Ortto, simulation: Simulation
) -> None:
    simulation.state.add(ADA)
    simulation.state.add(BOB)
    simulation.state.unsubscribe(BOB)

    assert anew(await esp.push([Contact(1, BOB, {"FNAME": "Ada"}, Subscribe.YES, known=True, was=ADA)])) == {
        1
    }

    contacts = simulation.state.contacts
    assert contacts[BOB].fields == {"str::first": "Ada"}
    assert [contacts[email].status for email in (ADA, BOB)] == ["archived", "unsubscribed"]


async def test_a_rename_that_is_refused_leaves_the_old_person(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    (refusal,) = await esp.push(
        [Contact(1, "no address", {"FNAME": "x"}, Subscribe.YES, known=True, was=ADA)]
    )

    assert refusal.blame == Blame.CONTACT
    assert list(simulation.state.contacts) == [ADA]


async def test_an_opted_out_person_is_renamed_opted_out(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.permission_by_default = True
    simulation.state.add(ADA)
    simulation.state.unsubscribe(ADA)

    await esp.push([Contact(1, BOB, {}, Subscribe.YES, known=True, was=ADA)])

    assert simulation.state.contact(BOB).status == "unsubscribed"
    assert simulation.state.person(BOB).context == "Unsubscribed via link"


async def test_addresses_that_move_on_in_a_row_lose_nobody(esp: Ortto, simulation: Simulation) -> None:
    for name in ("a", "b", "c"):
        simulation.state.add(f"{name}@example.com", **{"str::first": name})
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
    names = {each.email[0]: each.fields["str::first"] for each in simulation.state.contacts.values()}
    assert names == {"a": "new", "b": "a", "c": "b", "d": "c"}


async def test_addresses_that_were_exchanged_lose_nobody(esp: Ortto, simulation: Simulation) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)

    await esp.push(
        [
            Contact(1, BOB, {"FNAME": "Ada"}, known=True, was=ADA),
            Contact(2, ADA, {"FNAME": "Bob"}, known=True, was=BOB),
        ]
    )

    contacts = simulation.state.contacts
    assert {email: each.fields["str::first"] for email, each in contacts.items()} == {ADA: "Bob", BOB: "Ada"}


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
@either_way
async def test_a_fault_is_tried_again_and_an_outage_is_raised(
    esp: Ortto, simulation: Simulation, fault: Fault, error: type[Exception], count: int
) -> None:
    simulation.fail(fault, times=4)
    refusals = await esp.push(persons(count, FNAME="x"))
    simulation.fail(fault, times=1000)

    assert refusals == []
    assert len(simulation.state.contacts) == count
    assert {each.status for each in simulation.state.contacts.values()} == {"unsubscribed"}
    with pytest.raises(error):
        await esp.push([Contact(1, ADA, {})])


@pytest.mark.parametrize(
    ("document", "waited"), [({"code": "rate-limit", "try-in-seconds": 9}, True), ({}, False)]
)
async def test_a_429_says_in_its_body_how_long_to_wait(
    esp: Ortto, simulation: Simulation, pauses: list[float], document: Mapping[str, Any], *, waited: bool
) -> None:
    simulation.fail(Fault(status=429, body=json.dumps(document).encode()))

    await esp.push([Contact(1, ADA, {})])

    assert (9.0 in pauses) == waited


async def test_a_push_that_is_repeated_changes_nothing(esp: Ortto, simulation: Simulation) -> None:
    contacts = [*persons(5, FNAME="Ada"), Contact(9, BOB, {}, Subscribe.YES)]
    await esp.push(contacts)
    before = simulation.state.contacts

    await esp.push(contacts)

    assert simulation.state.contacts == before


async def test_nothing_to_push_asks_nothing(esp: Ortto, simulation: Simulation) -> None:
    assert await esp.push([]) == []
    assert simulation.counts() == {}
