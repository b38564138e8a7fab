import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Blame, Contact, Field, FieldType, Subscribe, Value
from connectors.errors import RemoteFault, Throttled, Unreachable
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.esps.mailchimp.simulated.audience import Problem
from connectors.esps.mailchimp.writes import first_write, merge_value, rename_rounds, subscriber_hash
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.harness import anew
from tests.connectors.esps.specs import Recorder

ADA = "ada@example.com"
BOB = "bob@example.com"
FIELDS = [
    Field("ORDERS", FieldType.NUMBER, "Orders"),
    Field("LASTORD", FieldType.DATE, "Last order"),
    Field("TIER", FieldType.TEXT, "Tier"),
]
ALONE, IN_A_BATCH = 3, 60
either_way = pytest.mark.parametrize("count", [ALONE, IN_A_BATCH])


def people(count: int, **fields: Value) -> list[Contact]:
    return [Contact(number, f"person-{number}@example.com", fields) for number in range(1, count + 1)]


def bodies(recorder: Recorder, method: str) -> list[Mapping[str, Any]]:
    return [json.loads(sent.body) for sent in recorder.sent if sent.method == method]


def with_one(contacts: list[Contact], odd: Contact) -> list[Contact]:
    return [*contacts[1:], odd]


@pytest.mark.parametrize(
    ("subscribe", "status"),
    [
        (Subscribe.YES, "subscribed"),
        (Subscribe.ASK, "pending"),
        (Subscribe.NO, "transactional"),
        (Subscribe.STOP, "transactional"),
    ],
)
async def test_a_new_contact_gets_the_status_that_the_proofs_allow(
    esp: Mailchimp, simulation: Simulation, subscribe: Subscribe, status: str
) -> None:
    refusals = await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, subscribe)])

    assert refusals == []
    assert simulation.state.contact(ADA).status == status
    assert simulation.state.contact(ADA).fields == {"FNAME": "Ada"}


async def test_a_known_contact_keeps_its_status(esp: Mailchimp, simulation: Simulation) -> None:
    statuses = ("subscribed", "unsubscribed", "pending", "transactional", "cleaned")
    for status in statuses:
        simulation.state.add(f"{status}@example.com", status)

    await esp.push(
        [
            Contact(number, f"{status}@example.com", {"FNAME": "Ada"}, Subscribe.YES)
            for number, status in enumerate(statuses)
        ]
    )

    contacts = simulation.state.contacts.values()
    assert [contact.status for contact in contacts] == list(statuses)
    assert {contact.fields["FNAME"] for contact in contacts} == {"Ada"}


async def test_stop_unsubscribes(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add(ADA, "subscribed")

    assert await esp.push([Contact(1, ADA, {}, Subscribe.STOP, known=True)]) == []

    assert simulation.state.contact(ADA).status == "unsubscribed"


async def test_a_status_is_sent_only_to_unsubscribe(esp: Mailchimp, recorder: Recorder) -> None:
    for subscribe in Subscribe:
        await esp.push([Contact(1, ADA, {}, subscribe)])

    sent = {
        subscribe: body.get("status")
        for subscribe, body in zip(Subscribe, bodies(recorder, "PUT"), strict=True)
    }
    assert sent == dict.fromkeys(Subscribe) | {Subscribe.STOP: "unsubscribed"}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (3, 3),
        (Decimal("187.40"), Decimal("187.40")),
        (date(2026, 11, 2), "2026-11-02"),
        (datetime(2026, 11, 2, 23, 59, tzinfo=UTC), "2026-11-02"),
        ("Tea\nand 🫖", "Tea\nand 🫖"),
        ("İ" * 200, "İ" * 127),
        ("🫖" * 100, "🫖" * 63),
        ("a\ud800b", "ab"),
    ],
)
def test_a_value_is_written_as_a_merge_field_takes_it(value: Value, sent: object) -> None:
    assert merge_value(value) == sent


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_text_is_cut_at_255_bytes_on_a_character(text: str) -> None:
    cut = merge_value(text)

    assert text.startswith(cut)
    assert len(cut.encode()) <= 255
    assert cut == text or len(cut.encode()) > 251


async def test_values_arrive_and_none_clears(esp: Mailchimp, simulation: Simulation) -> None:
    await esp.prepare(FIELDS, [])

    await esp.push(
        [Contact(1, ADA, {"ORDERS": Decimal("3.50"), "LASTORD": date(2026, 1, 2), "TIER": "çay 🫖"})]
    )
    await esp.push([Contact(1, ADA, {"TIER": None}, known=True)])

    assert simulation.state.contact(ADA).fields == {"ORDERS": 3.5, "LASTORD": "2026-01-02"}


@pytest.mark.parametrize(("count", "sent"), [(1, b'"FNAME":187.40'), (60, rb"\"FNAME\":187.40")])
async def test_a_decimal_is_a_number_on_the_wire(
    esp: Mailchimp, recorder: Recorder, count: int, sent: bytes
) -> None:
    await esp.push(people(count, FNAME=Decimal("187.40")))

    assert sent in recorder.sent[0].body


async def test_the_key_is_the_hash_of_the_lower_case_address(esp: Mailchimp, simulation: Simulation) -> None:
    await esp.push([Contact(1, "Ada@Example.com", {})])
    await esp.push([Contact(1, ADA, {"FNAME": "Ada"})])

    assert list(simulation.state.contacts) == [ADA]
    assert subscriber_hash("Ada@Example.com") == subscriber_hash(ADA)


@either_way
async def test_a_required_field_stops_no_write(esp: Mailchimp, simulation: Simulation, count: int) -> None:
    simulation.state.merge_fields["LNAME"].required = True

    assert await esp.push(people(count, FNAME="Ada")) == []
    assert len(simulation.state.contacts) == count


@either_way
async def test_a_field_that_is_refused_is_left_out(
    esp: Mailchimp, simulation: Simulation, count: int
) -> None:
    await esp.prepare(FIELDS, [])
    odd = Contact(0, ADA, {"TIER": "gold", "ORDERS": "many", "LASTORD": "soon"})

    refusals = await esp.push(with_one(people(count, TIER="gold", ORDERS=1), odd))

    assert {(each.profile, each.blame, each.name, each.reason) for each in refusals} == {
        (0, Blame.FIELD, "ORDERS", "Please enter a number"),
        (0, Blame.FIELD, "LASTORD", "Please enter a date"),
    }
    assert simulation.state.contact(ADA).fields == {"TIER": "gold"}
    assert len(simulation.state.contacts) == count


@either_way
async def test_fields_that_are_refused_one_after_the_other_all_go(
    esp: Mailchimp, simulation: Simulation, count: int
) -> None:
    def object_to_all(body: Mapping[str, Any]) -> Problem | None:
        name, value = next(iter(body.get("merge_fields", {}).items()), (None, None))
        error = {"field": f"merge_fields.{name}", "message": f"no {value!r} for ada@example.com"}
        return Problem(400, "Invalid Resource", "Your merge fields were invalid.", [error]) if name else None

    simulation.state.objection = object_to_all

    refusals = await esp.push(people(count, FNAME="Adelaide", LNAME="Lovelace"))

    assert len(refusals) == 2 * count
    assert {(each.blame, each.name) for each in refusals} == {(Blame.FIELD, "FNAME"), (Blame.FIELD, "LNAME")}
    assert {each.reason for each in refusals} == {"no '…' for (address)"}
    assert len(simulation.state.contacts) == count


@either_way
@pytest.mark.parametrize("address", ["no address", "ada@gmil.com"])
async def test_an_address_that_cannot_be_is_blocked(
    esp: Mailchimp, simulation: Simulation, count: int, address: str
) -> None:
    (refusal,) = await esp.push(with_one(people(count), Contact(0, address, {"FNAME": "Ada"})))

    assert (refusal.profile, refusal.blame) == (0, Blame.BLOCKED)
    assert "@" not in refusal.reason
    assert len(simulation.state.contacts) == count - 1


@either_way
@pytest.mark.parametrize("subscribe", list(Subscribe))
async def test_a_forgotten_address_is_blocked(
    esp: Mailchimp, simulation: Simulation, count: int, subscribe: Subscribe
) -> None:
    simulation.state.forget(ADA)

    (refusal,) = await esp.push(with_one(people(count), Contact(0, ADA, {}, subscribe)))

    assert (refusal.profile, refusal.blame) == (0, Blame.BLOCKED)
    assert "Forgotten Email Not Subscribed" in refusal.reason


@either_way
async def test_an_address_that_signed_up_too_often_may_come_later(
    esp: Mailchimp, simulation: Simulation, count: int
) -> None:
    simulation.state.too_many_signups.add(ADA)

    (refusal,) = await esp.push(with_one(people(count), Contact(0, ADA, {})))

    assert (refusal.profile, refusal.blame) == (0, Blame.BROKEN)


@either_way
@pytest.mark.parametrize("title", ["Bad Request", "JSON Parse Exception", "A New Title"])
async def test_a_refusal_that_we_do_not_know_is_one_contacts(
    esp: Mailchimp, simulation: Simulation, count: int, title: str
) -> None:
    simulation.state.objection = lambda body: (
        Problem(400, title, "No.") if body["email_address"] == ADA else None
    )

    (refusal,) = await esp.push(with_one(people(count), Contact(0, ADA, {"FNAME": "Ada"})))

    assert (refusal.profile, refusal.blame, refusal.reason) == (0, Blame.CONTACT, f"{title}: No.")


@either_way
async def test_who_opted_out_and_was_archived_lands_without_a_subscription(
    esp: Mailchimp, simulation: Simulation, count: int
) -> None:
    simulation.state.add(ADA)
    simulation.state.unsubscribe(ADA)
    simulation.state.archive(ADA)

    (refusal,) = await esp.push(with_one(people(count), Contact(0, ADA, {"FNAME": "Ada"}, Subscribe.YES)))

    assert (refusal.profile, refusal.blame) == (0, Blame.OPTED_OUT)
    assert simulation.state.contact(ADA).status == "transactional"
    assert simulation.state.contact(ADA).fields == {"FNAME": "Ada"}


async def test_who_is_in_a_compliance_state_whatever_we_say_is_blocked(
    esp: Mailchimp, simulation: Simulation
) -> None:
    simulation.state.objection = lambda _: Problem(400, "Member In Compliance State", "No.")

    (refusal,) = await esp.push([Contact(1, ADA, {}, Subscribe.YES)])

    assert refusal.blame == Blame.BLOCKED


async def test_a_rename_keeps_the_contact(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add(ADA, "subscribed", FNAME="Ada")
    await esp.prepare([], ["Customers"])
    simulation.state.change_tags(ADA, [{"name": "Customers", "status": "active"}])
    before = simulation.state.find(ADA).contact_id

    await esp.push([Contact(1, "lovelace@example.com", {"LNAME": "King"}, known=True, was=ADA)])

    assert list(simulation.state.contacts) == ["lovelace@example.com"]
    after = simulation.state.contact("lovelace@example.com")
    assert (after.status, after.fields, after.tags) == (
        "subscribed",
        {"FNAME": "Ada", "LNAME": "King"},
        {"Customers"},
    )
    assert simulation.state.find("lovelace@example.com").contact_id == before


async def test_a_rename_of_somebody_who_is_gone_creates_them_unmailable(
    esp: Mailchimp, simulation: Simulation
) -> None:
    refusals = await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, Subscribe.YES, was=BOB)])

    assert anew(refusals) == {1}
    assert simulation.state.contact(ADA).status == "transactional"
    assert simulation.state.contact(BOB) is None


async def test_a_rename_to_an_address_that_is_there_updates_it_and_archives_the_old(
    esp: Mailchimp, simulation: Simulation
) -> None:
    simulation.state.add(ADA, "subscribed")
    simulation.state.add(BOB, "unsubscribed")

    refusals = await esp.push([Contact(1, BOB, {"FNAME": "Ada"}, Subscribe.YES, known=True, was=ADA)])

    assert anew(refusals) == {1}
    assert simulation.state.contact(BOB).status == "unsubscribed"
    assert simulation.state.contact(BOB).fields == {"FNAME": "Ada"}
    assert simulation.state.contact(ADA).status == "archived"
    assert esp.tally["retry"] == 0


async def test_a_rename_of_one_who_is_archived_already_archives_nobody(
    esp: Mailchimp, simulation: Simulation
) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)
    simulation.state.archive(ADA)

    assert anew(await esp.push([Contact(1, BOB, {"FNAME": "Ada"}, known=True, was=ADA)])) == {1}

    assert [seen.status for seen in simulation.requests if seen.method == "DELETE"] == [405]
    assert simulation.state.contact(ADA).status == "archived"
    assert simulation.state.contact(BOB).fields == {"FNAME": "Ada"}


@pytest.mark.parametrize("refused", [False, True])
async def test_an_old_record_that_cannot_be_archived_is_unsubscribed_or_its_person_is_refused(
    *, esp: Mailchimp, simulation: Simulation, refused: bool
) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)
    simulation.state.kept.add(ADA)
    if refused:
        simulation.state.objection = lambda body: (
            Problem(400, "A New Title", "No.") if body.get("status") == "unsubscribed" else None
        )

    refusals = await esp.push([Contact(1, BOB, {"FNAME": "Ada"}, known=True, was=ADA)])

    assert [each.blame for each in refusals] == [Blame.CONTACT if refused else Blame.ANEW]
    assert simulation.state.contact(ADA).status == ("subscribed" if refused else "unsubscribed")
    assert simulation.state.contact(BOB).status == "subscribed"


@pytest.mark.parametrize("title", ["Forgotten Email Not Subscribed", "A New Title"])
async def test_the_old_record_stays_when_the_other_takes_nothing(
    esp: Mailchimp, simulation: Simulation, title: str
) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)
    simulation.state.objection = lambda _: Problem(400, title, "No.")

    (refusal,) = await esp.push([Contact(1, BOB, {"FNAME": "Ada"}, known=True, was=ADA)])

    assert refusal.blame in {Blame.BLOCKED, Blame.CONTACT}
    assert simulation.state.contact(ADA).status == "subscribed"


async def test_a_rename_that_does_not_land_retires_nobody(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    simulation.state.forget(BOB)

    (refusal,) = await esp.push([Contact(1, BOB, {"FNAME": "Ada"}, known=True, was=ADA)])

    assert refusal.blame == Blame.BLOCKED
    assert simulation.state.contact(ADA).status == "subscribed"


async def test_a_rename_leaves_out_a_refused_field(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    await esp.prepare(FIELDS, [])

    (refusal,) = await esp.push([Contact(1, BOB, {"ORDERS": "many"}, known=True, was=ADA)])

    assert (refusal.blame, refusal.name) == (Blame.FIELD, "ORDERS")
    assert list(simulation.state.contacts) == [BOB]


async def test_a_new_case_of_the_address_is_no_rename(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    await esp.push([Contact(1, "Ada@example.com", {}, known=True, was=ADA)])

    assert simulation.counts() == {"PUT": 1}


async def test_a_rename_whose_answer_got_lost_is_done_once(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add(ADA, FNAME="Ada")
    simulation.fail(Fault(Kind.DROP), when=lambda method, _: method == "PATCH")

    assert anew(await esp.push([Contact(1, BOB, {"LNAME": "King"}, known=True, was=ADA)])) == {1}

    assert simulation.state.contact(BOB).fields == {"FNAME": "Ada", "LNAME": "King"}
    assert simulation.state.contact(ADA) is None


async def test_addresses_that_move_on_in_a_row_lose_nobody(esp: Mailchimp, simulation: Simulation) -> None:
    for name in ("a", "b", "c"):
        simulation.state.add(f"{name}@example.com", FNAME=name)
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
    names = {contact.email[0]: contact.fields["FNAME"] for contact in simulation.state.contacts.values()}
    assert names == {"a": "new", "b": "a", "c": "b", "d": "c"}


async def test_addresses_that_were_exchanged_lose_nobody(esp: Mailchimp, simulation: Simulation) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)

    await esp.push(
        [
            Contact(1, BOB, {"FNAME": "Ada"}, known=True, was=ADA),
            Contact(2, ADA, {"FNAME": "Bob"}, known=True, was=BOB),
        ]
    )

    assert {each.email: each.fields["FNAME"] for each in simulation.state.contacts.values()} == {
        ADA: "Bob",
        BOB: "Ada",
    }
    assert {each.status for each in simulation.state.contacts.values()} == {"subscribed"}


def test_renames_without_ties_go_together() -> None:
    writes = [
        first_write(Contact(n, f"new-{n}@example.com", {}, was=f"old-{n}@example.com")) for n in range(9)
    ]

    assert rename_rounds(writes) == [writes]
    assert rename_rounds([]) == []


async def test_few_contacts_go_alone_and_many_in_one_batch(esp: Mailchimp, simulation: Simulation) -> None:
    await esp.push(people(50))
    alone = simulation.counts()
    await esp.push(people(51))

    assert alone == {"PUT": 50}
    assert simulation.counts() - alone == {"POST": 1, "GET": 5}


async def test_nothing_to_push_asks_nothing(esp: Mailchimp, simulation: Simulation) -> None:
    assert await esp.push([]) == []
    assert simulation.counts() == {}


async def test_at_most_six_connections_are_open_at_once(esp: Mailchimp, simulation: Simulation) -> None:
    await esp.push(people(50))

    assert simulation.state.busiest == 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=500), RemoteFault),
        (Fault(Kind.AFTER, status=502), RemoteFault),
        (Fault(status=429), Throttled),
        (Fault(Kind.DROP), Unreachable),
        (Fault(Kind.TRUNCATE), Unreachable),
    ],
)
@either_way
async def test_a_fault_is_tried_again_and_an_outage_is_raised(
    esp: Mailchimp, simulation: Simulation, fault: Fault, error: type[Exception], count: int
) -> None:
    simulation.fail(fault, times=4)
    refusals = await esp.push(people(count, FNAME="Ada"))
    simulation.fail(fault, times=1000)

    assert refusals == []
    assert len(simulation.state.contacts) == count
    with pytest.raises(error):
        await esp.push(people(count))


@either_way
async def test_a_contact_at_which_mailchimp_breaks_does_not_stop_the_others(
    esp: Mailchimp, simulation: Simulation, count: int
) -> None:
    key = subscriber_hash(ADA)
    simulation.fail(Fault(status=500), times=1000, when=lambda _, path: path.endswith(key))
    simulation.state.batches.spoil = lambda asked: 500 if asked["path"].endswith(key) else None

    (refusal,) = await esp.push(with_one(people(count), Contact(0, ADA, {})))

    assert (refusal.profile, refusal.blame) == (0, Blame.BROKEN)
    assert refusal.reason == "Mailchimp breaks at this contact: us21.api.mailchimp.com: answered 500"
    assert len(simulation.state.contacts) == count - 1


async def test_an_outage_in_the_middle_is_no_contacts_fault(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.fail(Fault(status=503), times=500, when=lambda _, __: len(simulation.requests) >= 20)

    with pytest.raises(RemoteFault, match="answered 503"):
        await esp.push(people(50))

    assert 20 <= len(simulation.state.contacts) < 50


async def test_a_push_that_is_repeated_changes_nothing(esp: Mailchimp, simulation: Simulation) -> None:
    await esp.push(people(3, FNAME="Ada"))
    before = simulation.state.contacts

    await esp.push(people(3, FNAME="Ada"))

    assert simulation.state.contacts == before
