import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors.base import Blame, Contact, Field, FieldType, Member, Refusal, Subscribe, Value
from connectors.errors import RemoteFault, Throttled, Unreachable
from connectors.esps.brevo.connector import Brevo
from connectors.esps.brevo.simulated.contacts import Problem, invalid
from connectors.esps.brevo.writes import MARK, attribute_value, stands
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.harness import anew
from tests.connectors.esps.specs import Recorder

ADA = "ada@example.com"
BOB = "bob@example.com"
FIELDS = [
    Field("ORDERS", FieldType.NUMBER, "Orders"),
    Field("LASTORD", FieldType.DATE, "Last order"),
    Field("TIER", FieldType.TEXT, "Tier"),
    Field("VIP", FieldType.BOOLEAN, "VIP"),
]
ALONE, MANY = 3, 110
either_way = pytest.mark.parametrize("count", [ALONE, MANY])


def people(count: int, subscribe: Subscribe = Subscribe.NO, **fields: Value) -> list[Contact]:
    return [
        Contact(number, f"person-{number}@example.com", fields, subscribe) for number in range(1, count + 1)
    ]


def known(contacts: list[Contact], **fields: Value) -> list[Contact]:
    return [Contact(each.profile, each.email, fields, known=True) for each in contacts]


def bodies(recorder: Recorder, method: str, path: str = "") -> list[Mapping[str, Any]]:
    return [
        json.loads(sent.body) for sent in recorder.sent if sent.method == method and sent.path.endswith(path)
    ]


def fields_of(simulation: Simulation, email: str) -> dict[str, Any]:
    found = simulation.state.contact(email).fields
    return {name: value for name, value in found.items() if name != MARK}


@either_way
async def test_create_then_update_then_clear(esp: Brevo, simulation: Simulation, count: int) -> None:
    await esp.prepare(FIELDS, [])
    new = people(count, ORDERS=3, LASTORD=date(2026, 11, 2), TIER="gold", VIP=True)

    assert await esp.push(new) == []
    assert fields_of(simulation, new[-1].email) == {
        "ORDERS": 3,
        "LASTORD": "2026-11-02",
        "TIER": "gold",
        "VIP": True,
    }

    assert await esp.push(known(new, ORDERS=4, TIER=None, VIP=False)) == []
    assert [fields_of(simulation, each.email) for each in new] == [
        {"ORDERS": 4, "LASTORD": "2026-11-02", "VIP": False}
    ] * count


@either_way
async def test_a_repeated_push_changes_nothing(esp: Brevo, simulation: Simulation, count: int) -> None:
    await esp.prepare(FIELDS, [])
    contacts = [*people(count, ORDERS=1), Contact(9999, ADA, {"ORDERS": 2}, Subscribe.YES)]
    await esp.push(contacts)
    before = simulation.state.contacts

    assert await esp.push(contacts) == []

    assert simulation.state.contacts == before


async def test_many_new_contacts_are_two_imports_and_nothing_else_is_written(
    esp: Brevo, recorder: Recorder, simulation: Simulation
) -> None:
    await esp.prepare(FIELDS, [])
    recorder.sent.clear()

    await esp.push([*people(1200, ORDERS=1), Contact(9999, ADA, {"ORDERS": 2}, Subscribe.YES)])

    writes = [sent.path for sent in recorder.sent if sent.method != "GET"]
    assert sorted(set(writes)) == ["/v3/contacts/folders", "/v3/contacts/import", "/v3/contacts/lists"]
    assert writes.count("/v3/contacts/import") == 2
    assert simulation.state.contact(ADA).fields == {"ORDERS": 2}


async def test_many_known_contacts_are_updated_a_hundred_at_a_time(esp: Brevo, recorder: Recorder) -> None:
    await esp.prepare(FIELDS, [])
    new = people(250)
    await esp.push(new)
    recorder.sent.clear()

    await esp.push(known(new, ORDERS=1))

    assert [len(body["contacts"]) for body in bodies(recorder, "POST", "/batch")] == [100, 100, 50]
    assert len(recorder.sent) == 3


@either_way
async def test_who_is_there_already_is_updated_and_keeps_everything_else(
    esp: Brevo, simulation: Simulation, count: int
) -> None:
    await esp.prepare(FIELDS, [])
    contacts = people(count, ORDERS=5)
    simulation.state.add(contacts[0].email, FIRSTNAME="Ada")
    simulation.state.add(contacts[1].email, blocked=True)

    assert await esp.push(contacts) == []

    first, second, third = (simulation.state.contact(each.email) for each in contacts[:3])
    assert (first.blocked, first.fields) == (False, {"FIRSTNAME": "Ada", "ORDERS": 5})
    assert (second.blocked, second.fields) == (True, {"ORDERS": 5})
    assert (third.blocked, third.fields) == (True, {"ORDERS": 5, MARK: "no consent"})


async def test_a_known_contact_that_was_deleted_in_brevo_is_made_again(
    esp: Brevo, simulation: Simulation
) -> None:
    await esp.prepare(FIELDS, [])
    new = people(150)
    await esp.push(new)
    for each in (new[0], new[70], new[-1]):
        simulation.state.delete(simulation.state.existing(each.email))

    assert anew(await esp.push(known(new, ORDERS=2))) == {new[0].profile, new[70].profile, new[-1].profile}

    assert {contact.fields["ORDERS"] for contact in simulation.state.contacts.values()} == {2}
    assert len(simulation.state.contacts) == 150
    assert simulation.state.contact(new[0].email).blocked


async def test_a_lost_answer_to_making_a_known_contact_again_costs_nothing(
    esp: Brevo, simulation: Simulation
) -> None:
    await esp.prepare(FIELDS, [])
    simulation.fail(Fault(Kind.DROP), when=lambda method, path: (method, path[-9:]) == ("POST", "/contacts"))

    assert anew(await esp.push([Contact(1, ADA, {"ORDERS": 2}, Subscribe.YES, known=True)])) == {1}

    assert fields_of(simulation, ADA) == {"ORDERS": 2}
    assert simulation.state.contact(ADA).blocked


@pytest.mark.parametrize("subscribe", [Subscribe.YES, Subscribe.NO, Subscribe.STOP])
@pytest.mark.parametrize("was", [None, BOB])
async def test_P4_whom_somebody_deleted_in_brevo_does_not_come_back_mailable(
    esp: Brevo, simulation: Simulation, subscribe: Subscribe, was: str | None
) -> None:
    assert anew(await esp.push([Contact(1, ADA, {"FIRSTNAME": "A"}, subscribe, known=True, was=was)])) == {1}

    assert simulation.state.contact(ADA).blocked
    assert simulation.state.contact(ADA).fields["FIRSTNAME"] == "A"


async def test_P4_many_whom_somebody_deleted_in_brevo_do_not_come_back_mailable(
    esp: Brevo, simulation: Simulation
) -> None:
    deleted = [replace(each, known=True) for each in people(MANY, Subscribe.YES, FIRSTNAME="A")]

    assert anew(await esp.push(deleted)) == {each.profile for each in deleted}

    assert len(simulation.state.contacts) == MANY
    assert all(each.blocked for each in simulation.state.contacts.values())


@pytest.mark.parametrize("known_before", [False, True])
@either_way
async def test_the_first_a_middle_and_the_last_may_be_bad(
    *, esp: Brevo, simulation: Simulation, count: int, known_before: bool
) -> None:
    await esp.prepare(FIELDS, [])
    contacts = people(count, ORDERS=1)
    bad = [contacts[place] for place in (0, count // 2, -1)]
    if known_before:
        await esp.push(people(count))
        contacts = known(contacts, ORDERS=1)
    emails = {each.email for each in bad}
    simulation.state.objection = lambda body: invalid("No.") if body["email"] in emails else None

    refusals = await esp.push(contacts)

    assert sorted(refusals, key=lambda each: each.profile) == [
        Refusal(each.profile, Blame.CONTACT, "invalid_parameter: No.") for each in bad
    ]
    landed = [simulation.state.contact(each.email) for each in contacts if each.email not in emails]
    assert [contact.fields["ORDERS"] for contact in landed] == [1] * (count - 3)


@either_way
async def test_a_bad_address_is_blocked_for_good(esp: Brevo, simulation: Simulation, count: int) -> None:
    contacts = [*people(count), Contact(500, "no address", {})]

    (refusal,) = await esp.push(contacts)

    assert (refusal.profile, refusal.blame) == (500, Blame.BLOCKED)
    assert len(simulation.state.contacts) == count


@either_way
async def test_a_refused_phone_number_costs_no_contact(
    esp: Brevo, simulation: Simulation, count: int
) -> None:
    await esp.prepare(FIELDS, [])
    simulation.state.add(BOB, SMS="+33612345678")
    contacts = [
        *people(count),
        Contact(501, ADA, {"SMS": "+33612345678", "ORDERS": 2}),
        Contact(502, "eve@example.com", {"SMS": "call me", "ORDERS": 3}, Subscribe.YES),
    ]

    refusals = await esp.push(contacts)

    assert {(each.profile, each.blame, each.name) for each in refusals} == {
        (501, Blame.FIELD, "SMS"),
        (502, Blame.FIELD, "SMS"),
    }
    assert not any("call me" in each.reason or "336" in each.reason for each in refusals)
    assert fields_of(simulation, ADA) == {"ORDERS": 2}
    assert fields_of(simulation, "eve@example.com") == {"ORDERS": 3}


async def test_a_duplicate_phone_without_metadata_costs_no_contact(
    esp: Brevo, simulation: Simulation
) -> None:
    text = "This sms number or email address is already associated with another user."
    simulation.state.objection = lambda body: (
        invalid(text) if "SMS" in (body.get("attributes") or {}) else None
    )

    refusals = await esp.push([Contact(1, ADA, {"SMS": "+33612345678", "FIRSTNAME": "Ada"})])

    assert [(each.blame, each.name) for each in refusals] == [(Blame.FIELD, "SMS")]
    assert fields_of(simulation, ADA) == {"FIRSTNAME": "Ada"}


async def test_a_field_that_brevo_names_is_left_out(esp: Brevo, simulation: Simulation) -> None:
    await esp.prepare(FIELDS, [])
    await esp.push(people(5))
    simulation.state.objection = lambda body: (
        invalid("Value of attribute TIER (platinum) is not allowed")
        if (body.get("attributes") or {}).get("TIER") == "platinum"
        else None
    )
    contacts = known(people(5), TIER="gold", ORDERS=1)
    contacts[2] = Contact(3, contacts[2].email, {"TIER": "platinum", "ORDERS": 1}, known=True)

    refusals = await esp.push(contacts)

    reason = "invalid_parameter: Value of attribute TIER (…) is not allowed"
    assert refusals == [Refusal(3, Blame.FIELD, reason, "TIER")]
    assert fields_of(simulation, contacts[2].email) == {"ORDERS": 1}
    assert fields_of(simulation, contacts[3].email) == {"TIER": "gold", "ORDERS": 1}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, ""),
        (True, True),
        (3, 3),
        (Decimal("187.40"), Decimal("187.40")),
        (date(1961, 4, 12), "1961-04-12"),
        (datetime(2026, 11, 2, 23, 59, tzinfo=UTC), "2026-11-02"),
        ("Tea\nand 🫖\tİstanbul", "Tea\nand 🫖\tİstanbul"),
        ("ş" * 1000, "ş" * 255),
        ("a\ud800b", "ab"),
    ],
)
def test_a_value_is_written_as_an_attribute_takes_it(value: Value, sent: object) -> None:
    assert attribute_value(value) == sent


@either_way
async def test_odd_values_and_addresses_arrive(esp: Brevo, simulation: Simulation, count: int) -> None:
    await esp.prepare(FIELDS, [])
    odd = "o'neil+tea/x?y=1%41@exämple.com"
    fields: Mapping[str, Value] = {
        "TIER": "=1+1\r\n«Açıkgöz» 🫖",
        "LASTORD": date(1961, 4, 12),
        "ORDERS": Decimal("-0.05"),
    }
    contacts = [*people(count), Contact(700, odd, fields)]

    assert await esp.push(contacts) == []
    assert await esp.push([Contact(700, odd, {"VIP": True}, known=True)]) == []

    assert fields_of(simulation, odd) == {
        "TIER": "=1+1\r\n«Açıkgöz» 🫖",
        "LASTORD": "1961-04-12",
        "ORDERS": -0.05,
        "VIP": True,
    }


async def test_numbers_that_are_read_back_compare_whatever_their_form() -> None:
    write = type("Write", (), {"birth_attributes": lambda self: {"A": Decimal("10.00"), "B": False}})()

    assert stands(write, {"A": 10, "B": False})
    assert not stands(write, {"A": 10, "B": 0})
    assert not stands(write, {"A": Decimal("10.01"), "B": False})


# Renames


async def test_a_changed_address_is_a_rename(esp: Brevo, simulation: Simulation) -> None:
    await esp.push([Contact(1, ADA, {"FIRSTNAME": "Ada"}, Subscribe.YES)])
    number = simulation.state.existing(ADA).number

    assert await esp.push([Contact(1, BOB, {"LASTNAME": "L"}, known=True, was=ADA)]) == []

    assert simulation.state.existing(BOB).number == number
    assert list(simulation.state.contacts) == [BOB]
    assert fields_of(simulation, BOB) == {"FIRSTNAME": "Ada", "LASTNAME": "L"}


@pytest.mark.parametrize("keeps_block", [True, False])
async def test_a_rename_of_a_blocked_contact_leaves_it_blocked(
    *, esp: Brevo, simulation: Simulation, keeps_block: bool
) -> None:
    simulation.state.add(ADA, blocked=True)
    simulation.state.keeps_block = keeps_block

    assert await esp.push([Contact(1, BOB, {}, Subscribe.YES, known=True, was=ADA)]) == []

    assert simulation.state.contact(BOB).blocked


@pytest.mark.parametrize("mark", [None, "no consent"])
async def test_a_block_that_a_rename_lifted_in_a_push_that_broke_off_is_set_by_the_next(
    esp: Brevo, simulation: Simulation, mark: str | None
) -> None:
    await esp.prepare([], [])
    simulation.state.add(ADA, blocked=True, **({MARK: mark} if mark else {}))
    simulation.state.keeps_block = False
    rename = Contact(1, BOB, {"FIRSTNAME": "B"}, Subscribe.YES, known=True, was=ADA)
    simulation.fail(Fault(status=503), times=50, when=lambda *_: simulation.state.find(BOB) is not None)
    with pytest.raises(RemoteFault):
        await esp.push([rename])
    assert not simulation.state.contact(BOB).blocked
    simulation._planned.clear()

    heard = [opt_out.email async for page in esp.opt_outs(None) for opt_out in page]
    assert anew(await esp.push([rename])) == {1}

    assert heard == ([] if mark else [BOB])
    assert simulation.state.contact(BOB).blocked
    assert simulation.state.contact(BOB).fields.get(MARK) == mark


async def test_a_rename_after_which_brevo_never_blocks_is_refused_each_time(
    esp: Brevo, simulation: Simulation
) -> None:
    simulation.state.add(ADA, blocked=True)
    simulation.state.keeps_block, simulation.state.deaf = False, True

    for fields in ({}, {"FIRSTNAME": "B"}):
        (refusal,) = await esp.push([Contact(1, BOB, fields, known=True, was=ADA)])
        assert (refusal.profile, refusal.blame) == (1, Blame.CONTACT)


async def test_the_block_is_sent_along_with_a_new_address(
    esp: Brevo, simulation: Simulation, recorder: Recorder
) -> None:
    simulation.state.add(ADA, blocked=True)
    simulation.state.add("eve@example.com")

    await esp.push(
        [
            Contact(1, BOB, {}, known=True, was=ADA),
            Contact(2, "zoe@example.com", {}, known=True, was="eve@example.com"),
        ]
    )

    sent = bodies(recorder, "PUT")
    blocked = {"attributes": {"EMAIL": BOB, MARK: "moving"}, "emailBlacklisted": True}
    free = {"attributes": {"EMAIL": "zoe@example.com"}}
    assert [body for body in (blocked, free, {"attributes": {MARK: ""}}) if body not in sent] == []
    assert len(sent) == 3


@pytest.mark.parametrize("kind", [Kind.AFTER, Kind.DROP])
async def test_a_rename_whose_answer_is_lost_leaves_the_contact_blocked(
    esp: Brevo, simulation: Simulation, kind: Kind
) -> None:
    simulation.state.add(ADA, blocked=True)
    simulation.state.keeps_block = False
    simulation.fail(Fault(kind), when=lambda method, _: method == "PUT")

    assert await esp.push([Contact(1, BOB, {"FIRSTNAME": "B"}, Subscribe.YES, known=True, was=ADA)]) == []

    assert simulation.state.contact(BOB).blocked
    assert list(simulation.state.contacts) == [BOB]
    assert fields_of(simulation, BOB) == {"FIRSTNAME": "B"}


async def test_a_rename_to_an_address_that_has_its_own_contact_retires_the_old_one(
    esp: Brevo, simulation: Simulation
) -> None:
    simulation.state.add(ADA)
    simulation.state.add(BOB, blocked=True, FIRSTNAME="Bob")

    assert anew(await esp.push([Contact(1, BOB, {"LASTNAME": "B"}, Subscribe.YES, known=True, was=ADA)])) == {
        1
    }

    assert list(simulation.state.contacts) == [BOB]
    assert simulation.state.contact(BOB).blocked
    assert fields_of(simulation, BOB) == {"FIRSTNAME": "Bob", "LASTNAME": "B"}


@pytest.mark.parametrize("status", [400, 405])
@pytest.mark.parametrize("deaf", [False, True])
async def test_an_old_contact_that_may_not_be_deleted_is_blocked_or_its_person_is_refused(
    *, esp: Brevo, simulation: Simulation, status: int, deaf: bool
) -> None:
    for email in (ADA, BOB, "eve@example.com"):
        simulation.state.add(email)
    simulation.fail(Fault(status=status), times=5, when=lambda method, _: method == "DELETE")
    simulation.state.deaf = deaf

    refusals = await esp.push(
        [
            Contact(1, BOB, {}, known=True, was=ADA),
            Contact(2, "eve@example.com", {"FIRSTNAME": "E"}, known=True),
        ]
    )

    assert [(each.profile, each.blame) for each in refusals] == (
        [(1, Blame.CONTACT)] if deaf else [(1, Blame.ANEW)]
    )
    blocked = {email: each.blocked for email, each in simulation.state.contacts.items()}
    assert blocked == {ADA: not deaf, BOB: False, "eve@example.com": False}
    assert fields_of(simulation, "eve@example.com") == {"FIRSTNAME": "E"}


async def test_a_rename_of_somebody_who_is_gone_writes_the_new_address(
    esp: Brevo, simulation: Simulation
) -> None:
    assert anew(await esp.push([Contact(1, BOB, {"FIRSTNAME": "B"}, known=True, was=ADA)])) == {1}

    assert simulation.state.contact(BOB).blocked
    assert fields_of(simulation, BOB) == {"FIRSTNAME": "B"}


async def test_a_chain_and_a_ring_of_renames_lose_nobody(esp: Brevo, simulation: Simulation) -> None:
    for name in "abcde":
        simulation.state.add(f"{name}@example.com", FIRSTNAME=name)
    renames = [("a", "b"), ("b", "x"), ("d", "e"), ("e", "d")]
    contacts = [
        Contact(
            number,
            f"{new}@example.com",
            {"LASTNAME": f"was {old}"},
            known=True,
            was=f"{old}@example.com",
        )
        for number, (old, new) in enumerate(renames, start=1)
    ]

    for doubted in ({3, 4}, {1, 2, 3, 4}):  # the second time as after a crash
        refusals = await esp.push([*contacts, Contact(9, "a@example.com", {"FIRSTNAME": "new"})])
        assert anew(refusals) == doubted

    names = {
        email[0]: (each.fields["FIRSTNAME"], each.fields.get("LASTNAME"))
        for email, each in simulation.state.contacts.items()
    }
    assert names == {
        "a": ("new", None),
        "b": ("a", "was a"),
        "c": ("c", None),
        "x": ("b", "was b"),
        "d": ("d", "was e"),
        "e": ("e", "was d"),
    }


async def test_a_chain_that_ends_at_a_contact_of_its_own_mixes_nobody(
    esp: Brevo, simulation: Simulation
) -> None:
    for name in "abx":
        simulation.state.add(f"{name}@example.com", FIRSTNAME=name)
    chain = [
        Contact(1, "b@example.com", {"LASTNAME": "1"}, known=True, was="a@example.com"),
        Contact(2, "x@example.com", {"LASTNAME": "2"}, known=True, was="b@example.com"),
    ]

    for doubted in ({2}, {1, 2}):
        assert anew(await esp.push(chain)) == doubted

    found = {email[0]: each.fields for email, each in simulation.state.contacts.items()}
    assert found == {"b": {"FIRSTNAME": "a", "LASTNAME": "1"}, "x": {"FIRSTNAME": "x", "LASTNAME": "2"}}


async def test_a_rename_with_a_phone_that_is_taken_keeps_the_contact(
    esp: Brevo, simulation: Simulation
) -> None:
    simulation.state.add("eve@example.com", SMS="33612345678")
    simulation.state.add(ADA, blocked=True)

    refusals = await esp.push([Contact(1, BOB, {"SMS": "+33612345678"}, known=True, was=ADA)])

    assert [(each.blame, each.name) for each in refusals] == [(Blame.FIELD, "SMS")]
    assert simulation.state.contact(BOB).blocked
    assert simulation.state.contact(ADA) is None


# Trouble


@either_way
@pytest.mark.parametrize("kind", [Kind.ANSWER, Kind.AFTER, Kind.DROP, Kind.TRUNCATE])
async def test_trouble_on_the_way_changes_no_result(
    esp: Brevo, simulation: Simulation, count: int, kind: Kind
) -> None:
    await esp.prepare(FIELDS, [])
    contacts = people(count, ORDERS=1)
    simulation.fail(Fault(kind, status=503), times=4)

    assert await esp.push(contacts) == []
    simulation.fail(Fault(kind, status=503), times=3)
    assert await esp.push(known(contacts, ORDERS=2)) == []

    found = simulation.state.contacts.values()
    assert [(each.fields["ORDERS"], each.blocked) for each in found] == [(2, True)] * count


async def test_a_lost_answer_to_the_creation_of_a_list_makes_no_second_list(
    esp: Brevo, simulation: Simulation
) -> None:
    for kind in (Kind.AFTER, Kind.DROP):
        simulation.fail(Fault(kind), when=lambda method, _: method == "POST")
        simulation.fail(Fault(kind), when=lambda method, path: method == "POST" and path.endswith("lists"))

        assert await esp.prepare([], ["Fans", f"More {kind}"]) == {}

    names = [each.name for each in simulation.state.lists.values()]
    assert sorted(names) == ["Fans", "More after", "More drop"]
    assert list(simulation.state.folders.values()) == ["Your first folder", "Cartwire"]


async def test_a_429_is_waited_for_as_the_headers_say(
    esp: Brevo, simulation: Simulation, pauses: list[float]
) -> None:
    headers = {"x-sib-ratelimit-limit": "10", "x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": "7"}
    simulation.fail(Fault(status=429, headers=headers))
    simulation.fail(Fault(status=429, headers={"retry-after": "11"}))
    simulation.fail(Fault(status=429))

    assert await esp.push([Contact(1, ADA, {})]) == []

    assert 7.0 in pauses
    assert 11.0 in pauses
    assert simulation.state.contact(ADA)


async def test_a_429_for_longer_than_we_wait_ends_the_run(esp: Brevo, simulation: Simulation) -> None:
    simulation.fail(Fault(status=429, headers={"x-sib-ratelimit-reset": "3000"}))

    with pytest.raises(Throttled) as throttled:
        await esp.push([Contact(1, ADA, {})])

    assert throttled.value.retry_after == 3000


async def test_an_answer_that_says_that_nothing_is_left_slows_us_down(
    esp: Brevo, simulation: Simulation, pauses: list[float]
) -> None:
    simulation.state.mend = lambda _method, _path, reply: type(reply)(
        reply.status,
        reply.document,
        {"x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": "1"},
    )

    await esp.push(people(3))

    assert any(0 < pause <= 1 for pause in pauses)


async def test_a_request_that_brevo_still_works_on_is_sent_again(esp: Brevo, simulation: Simulation) -> None:
    body = b'{"code": "duplicate_request", "message": "Contact in process"}'
    simulation.fail(Fault(status=400, body=body), times=2)
    simulation.fail(Fault(status=425))

    assert await esp.push([Contact(1, ADA, {})]) == []


async def test_a_contact_at_which_brevo_breaks_stops_no_other(esp: Brevo, simulation: Simulation) -> None:
    await esp.prepare(FIELDS, [])
    await esp.push(people(8))
    broken = "person-5@example.com"
    simulation.state.objection = lambda body: (
        Problem(500, "internal", "Oops") if body["email"] == broken else None
    )

    refusals = await esp.push(known(people(8), ORDERS=1))

    assert [(each.profile, each.blame) for each in refusals] == [(5, Blame.BROKEN)]
    assert sum("ORDERS" in each.fields for each in simulation.state.contacts.values()) == 7


async def test_a_brevo_that_is_down_is_not_asked_about_every_contact(
    esp: Brevo, simulation: Simulation
) -> None:
    await esp.push(people(8))
    simulation.chances = {Fault(status=503): 1.0}
    before = len(simulation.requests)

    with pytest.raises(RemoteFault):
        await esp.push(known(people(8), FIRSTNAME="A"))

    assert len(simulation.requests) - before <= 4 * 7


async def test_no_connection_is_said_without_the_key(esp: Brevo, simulation: Simulation) -> None:
    simulation.chances = {Fault(Kind.DROP): 1.0}

    with pytest.raises(Unreachable) as error:
        await esp.push([Contact(1, ADA, {})])

    assert "xkeysib" not in str(error.value)
    assert ADA not in str(error.value)


# Imports


@pytest.mark.parametrize("fate", ["failed", "lost", "stuck"])
async def test_contacts_land_whatever_becomes_of_the_import(
    esp: Brevo, simulation: Simulation, fate: str
) -> None:
    await esp.prepare(FIELDS, [])
    simulation.state.processes.fate = fate

    assert await esp.push(people(MANY, ORDERS=1)) == []

    found = simulation.state.contacts.values()
    assert [(each.fields["ORDERS"], each.blocked) for each in found] == [(1, True)] * MANY


async def test_an_import_that_comes_late_changes_nobody(esp: Brevo, simulation: Simulation) -> None:
    simulation.state.processes.fate = "stuck"
    await esp.push([*people(MANY), *[Contact(900, ADA, {"FIRSTNAME": "Ada"}, Subscribe.YES)]])
    simulation.state.block(ADA)
    await esp.push([Contact(900, ADA, {"FIRSTNAME": "A."}, known=True)])
    before = {email: (each.blocked, each.fields) for email, each in simulation.state.contacts.items()}

    simulation.state.processes.fate = "completed"
    for number in simulation.state.processes.found:
        for _ in range(3):
            simulation.state.processes.look(number)

    assert {email: (each.blocked, each.fields) for email, each in simulation.state.contacts.items()} == before


async def test_looking_at_an_import_does_not_use_up_the_hour(
    esp: Brevo, simulation: Simulation, recorder: Recorder
) -> None:
    simulation.state.processes.fate = "stuck"

    await esp.push(people(MANY))

    looks = [sent for sent in recorder.sent if "/processes/" in sent.path]
    assert len(looks) < 40


async def test_an_hour_that_is_used_up_does_not_stop_the_contacts(esp: Brevo, simulation: Simulation) -> None:
    headers = {"x-sib-ratelimit-reset": "3000"}
    simulation.fail(
        Fault(status=429, headers=headers), times=99, when=lambda _, path: path.startswith("/v3/processes")
    )

    assert await esp.push(people(MANY, FIRSTNAME="P")) == []

    assert len(simulation.state.contacts) == MANY


async def test_an_import_is_cut_at_the_size_that_brevo_takes(
    esp: Brevo, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.esps.brevo.imports.LARGEST", 5_000)

    await esp.push(people(MANY, FIRSTNAME="Ü" * 100))

    imports = [sent for sent in recorder.sent if sent.path.endswith("/import")]
    assert len(imports) > 4
    assert all(len(sent.body) < 5_500 for sent in imports)


async def test_new_contacts_whom_an_import_did_not_block_are_blocked(
    esp: Brevo, simulation: Simulation
) -> None:
    take = simulation.state.processes._take
    simulation.state.processes._take = lambda row, body: take(row, {**body, "emailBlacklist": False})

    assert await esp.push(people(MANY)) == []

    assert all(each.blocked for each in simulation.state.contacts.values())


@pytest.mark.parametrize("count", [ALONE, MANY])
async def test_new_contacts_whom_brevo_cannot_be_made_to_block_are_deleted_again(
    esp: Brevo, simulation: Simulation, count: int
) -> None:
    simulation.state.add(ADA)
    simulation.state.deaf = True
    contacts = [*people(count), Contact(900, ADA, {"FIRSTNAME": "A"})]

    with pytest.raises(RemoteFault, match="does not block"):
        await esp.push(contacts)

    assert set(simulation.state.contacts) == {ADA}
    assert [page async for page in esp.opt_outs(None)] == []

    simulation.state.deaf = False
    assert await esp.push(contacts) == []
    assert {email for email, each in simulation.state.contacts.items() if not each.blocked} == {ADA}


@pytest.mark.parametrize("breaks_off", [False, True])
async def test_a_new_contact_whose_creation_was_answered_by_a_503_is_looked_at_too(
    *, esp: Brevo, simulation: Simulation, breaks_off: bool
) -> None:
    create = simulation.state.create
    simulation.state.create = lambda body: create({**body, "emailBlacklisted": False})
    simulation.fail(
        Fault(Kind.AFTER, 503),
        times=50 if breaks_off else 1,
        when=lambda method, path: method == "POST" and path.endswith("/contacts"),
    )
    simulation.state.add(BOB)
    contacts = [Contact(1, ADA, {"FIRSTNAME": "A"}), Contact(2, BOB, {"FIRSTNAME": "B"})]
    if breaks_off:
        with pytest.raises(RemoteFault):
            await esp.push(contacts)
        simulation._planned.clear()

    assert await esp.push(contacts) == []

    assert {email: each.blocked for email, each in simulation.state.contacts.items()} == {
        ADA: True,
        BOB: False,
    }


async def test_whom_brevo_neither_blocks_nor_deletes_is_told_so(esp: Brevo, simulation: Simulation) -> None:
    simulation.state.deaf = True
    simulation.state.registered.add(ADA)

    with pytest.raises(RemoteFault, match="nor delete all of them"):
        await esp.push([*people(ALONE), Contact(900, ADA, {})])

    assert set(simulation.state.contacts) == {ADA}


async def test_single_new_contacts_are_looked_at_together_and_blocked_where_brevo_forgot_it(
    esp: Brevo, simulation: Simulation, recorder: Recorder
) -> None:
    create = simulation.state.create
    simulation.state.create = lambda body: create({**body, "emailBlacklisted": False})
    contacts = [*people(ALONE), Contact(900, ADA, {"FIRSTNAME": "A"}, Subscribe.STOP)]

    assert await esp.push(contacts) == []

    assert all(each.blocked for each in simulation.state.contacts.values())
    readings = [sent for sent in recorder.sent if (sent.method, sent.path) == ("GET", "/v3/contacts")]
    assert len(readings) == 1


async def test_a_thousand_members_join_and_leave(esp: Brevo, simulation: Simulation) -> None:
    contacts = people(1000)
    await esp.push(contacts)
    await esp.prepare([], ["Fans"])
    members = [Member(each.profile, each.email) for each in contacts]

    for start in range(0, 1000, 150):
        assert await esp.change_list("Fans", members[start : start + 150], []) == []

    assert len(simulation.state.list_named("Fans").members) == 1000
    for start in range(0, 1000, 150):
        assert await esp.change_list("Fans", [], members[start : start + 150]) == []
    assert simulation.state.list_named("Fans").members == set()
