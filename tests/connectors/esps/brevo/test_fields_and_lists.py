import json

import pytest

from connectors.base import Blame, Contact, Field, FieldType, Member, Refusal
from connectors.errors import Refused, Retryable
from connectors.esps.brevo.account import CREATIONS
from connectors.esps.brevo.connector import Brevo
from connectors.esps.brevo.simulated.contacts import Problem
from connectors.esps.brevo.simulated.values import Attribute
from connectors.esps.brevo.traits import TRAITS
from connectors.esps.brevo.writes import MARK
from connectors.simulation import Fault, Simulation
from tests.connectors.esps.brevo.test_push import ADA, BOB, bodies, people
from tests.connectors.esps.specs import Recorder

FANS = "Fans & «Amis» 🫖"


def members(count: int, start: int = 1) -> list[Member]:
    return [Member(number, f"person-{number}@example.com") for number in range(start, start + count)]


def in_list(simulation: Simulation, name: str) -> set[str]:
    return {email for email, each in simulation.state.contacts.items() if name in each.lists}


# Fields


async def test_fields_are_made_with_their_types_and_once(
    esp: Brevo, simulation: Simulation, recorder: Recorder
) -> None:
    fields = [Field(kind.name, kind, "Title") for kind in FieldType]

    assert await esp.prepare(fields, []) == {}
    assert await esp.prepare(fields, []) == {}

    made = {name: each.type for name, each in simulation.state.attributes.items()}
    assert {kind.name: made[kind.name] for kind in FieldType} == {
        "TEXT": "text",
        "NUMBER": "float",
        "DATE": "date",
        "BOOLEAN": "boolean",
    }
    assert len(bodies(recorder, "POST")) == len(FieldType) + 1  # and our mark


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (Attribute("ORDERS", "normal", "text"), "is a text attribute in Brevo, which takes no number"),
        (
            Attribute("ORDERS", "category", "category", (1, 2)),
            "is a category attribute in Brevo, which we cannot write",
        ),
        (Attribute("ORDERS", "global", "global"), "is a global attribute in Brevo, which we cannot write"),
    ],
)
async def test_an_attribute_of_another_kind_is_said_once(
    esp: Brevo, simulation: Simulation, there: Attribute, reason: str
) -> None:
    simulation.state.attributes["ORDERS"] = there

    refused = await esp.prepare([Field("ORDERS", FieldType.NUMBER, "Orders")], [])

    assert refused == {"ORDERS": reason}


async def test_a_field_that_brevo_does_not_make_is_said_with_its_reason(
    esp: Brevo, simulation: Simulation
) -> None:
    fields = [Field("BAD-Ü", FieldType.TEXT, "Bad"), Field("GOOD", FieldType.TEXT, "Good")]

    assert await esp.prepare(fields, []) == {"BAD-Ü": "invalid_parameter: Attribute name is invalid"}
    assert "GOOD" in simulation.state.attributes


async def test_phone_attributes_are_always_there(esp: Brevo, recorder: Recorder) -> None:
    assert await esp.prepare([Field("SMS", FieldType.TEXT, "Phone")], []) == {}

    assert [sent.path for sent in recorder.sent if sent.method == "POST"] == [
        f"/v3/contacts/attributes/normal/{MARK}"
    ]


@pytest.mark.parametrize("name", ["EMAIL", "EXT_ID", "lower", "A B", ""])
def test_names_that_would_do_harm_are_refused_by_the_traits(name: str) -> None:
    import re  # noqa: PLC0415 - used here only

    assert not re.fullmatch(TRAITS.name_pattern, name)
    assert re.fullmatch(TRAITS.name_pattern, "EMAILS")


# Lists


async def test_lists_are_made_in_the_folder_and_found_again(esp: Brevo, simulation: Simulation) -> None:
    assert await esp.prepare([], [FANS, "More"]) == {}
    assert await esp.prepare([], ["More", FANS]) == {}

    found = [(each.name, simulation.state.folders[each.folder]) for each in simulation.state.lists.values()]
    assert found == [(FANS, "Cartwire"), ("More", "Cartwire")]


async def test_of_lists_with_one_name_ours_counts(esp: Brevo, simulation: Simulation) -> None:
    state = simulation.state
    elsewhere = state.new_list("Fans", 1)
    moved = state.new_list("Moved", 1)
    ours = state.new_list("Fans", state.new_folder("Cartwire"))
    state.add(ADA)

    await esp.change_list("Fans", [Member(1, ADA)], [])
    await esp.change_list("Moved", [Member(1, ADA)], [])

    assert [len(state.lists[number].members) for number in (elsewhere, ours, moved)] == [0, 1, 1]
    assert len(state.lists) == 3


async def test_more_lists_than_a_page_holds_are_all_seen(esp: Brevo, simulation: Simulation) -> None:
    names = [f"List {number}" for number in range(120)]
    await esp.prepare([], names)

    assert await esp.prepare([], names) == {}

    assert len(simulation.state.lists) == 120


async def test_a_list_that_brevo_does_not_make_is_said(esp: Brevo, simulation: Simulation) -> None:
    def refuse(name: str, _: int) -> int:
        raise Problem(400, "invalid_parameter", f"List name {name} is not allowed")

    simulation.state.new_list = refuse

    assert list(await esp.prepare([], ["Fans"])) == ["Fans"]
    with pytest.raises(Refused, match="Fans"):
        await esp.change_list("Fans", [Member(1, ADA)], [])


async def test_join_and_leave_one_by_one(esp: Brevo, simulation: Simulation) -> None:
    await esp.push(people(3))
    await esp.prepare([], [FANS])
    first, second, third = members(3)

    assert await esp.change_list(FANS, [first, second], []) == []
    assert await esp.change_list(FANS, [third], [first]) == []

    assert in_list(simulation, FANS) == {second.email, third.email}


async def test_a_repeated_change_is_no_refusal(esp: Brevo, simulation: Simulation) -> None:
    await esp.push(people(60))
    await esp.prepare([], [FANS])
    for _ in range(2):
        assert await esp.change_list(FANS, members(50), members(10, start=51)) == []

    assert len(in_list(simulation, FANS)) == 50


async def test_some_are_members_already_and_some_are_unknown(esp: Brevo, simulation: Simulation) -> None:
    await esp.push(people(60))
    await esp.prepare([], [FANS])
    await esp.change_list(FANS, members(30), [])
    unknown = [Member(900, ADA), Member(901, BOB)]

    refusals = await esp.change_list(FANS, [unknown[0], *members(40), unknown[1]], [])

    reason = "Brevo does not have this contact"
    assert refusals == [Refusal(each.profile, Blame.MEMBERSHIP, reason, FANS) for each in unknown]
    assert len(in_list(simulation, FANS)) == 40


@pytest.mark.parametrize("verb", ["add", "remove"])
async def test_one_address_that_spoils_the_call_keeps_nobody_out(
    esp: Brevo, simulation: Simulation, verb: str
) -> None:
    await esp.push(people(40))
    await esp.prepare([], [FANS])
    change = simulation.state.change_list
    spoiling = "person-7@example.com"

    def spoilt(each: object, emails: list[str], *, joins: bool) -> object:
        if spoiling in emails and joins is (verb == "add"):
            raise Problem(400, "invalid_parameter", "Invalid email address")
        return change(each, emails, joins=joins)

    simulation.state.change_list = spoilt
    if verb == "remove":
        await esp.change_list(FANS, members(40), [])

    refusals = await esp.change_list(
        FANS, members(40) if verb == "add" else [], members(40) if verb == "remove" else []
    )

    if verb == "add":
        assert [each.profile for each in refusals] == [7]
        assert len(in_list(simulation, FANS)) == 39
    else:
        assert in_list(simulation, FANS) == {spoiling}


async def test_who_left_a_list_does_not_come_back(esp: Brevo, simulation: Simulation) -> None:
    await esp.push(people(60))
    await esp.prepare([], [FANS])
    await esp.change_list(FANS, members(60), [])
    simulation.state.leave("person-5@example.com", FANS)
    await esp.prepare([], [FANS])

    few = await esp.change_list(FANS, members(3, start=4), [])
    many = await esp.change_list(FANS, members(60), [])

    refusal = Refusal(5, Blame.MEMBERSHIP, "left this list in Brevo", FANS)
    assert few == [refusal]
    assert many == [refusal]
    assert len(in_list(simulation, FANS)) == 59


async def test_a_list_that_somebody_deleted_is_made_again(esp: Brevo, simulation: Simulation) -> None:
    await esp.push(people(2))
    await esp.prepare([], [FANS])
    simulation.state.lists.clear()

    assert await esp.change_list(FANS, members(1), members(1, start=2)) == []

    assert in_list(simulation, FANS) == {"person-1@example.com"}


async def test_joins_of_a_new_list_take_one_request(esp: Brevo, recorder: Recorder) -> None:
    await esp.push(people(150))
    await esp.prepare([], [FANS])
    recorder.sent.clear()

    await esp.change_list(FANS, members(150), [])

    (sent,) = recorder.sent
    assert len(json.loads(sent.body)["emails"]) == 150


async def test_an_empty_change_asks_nothing_of_the_members(esp: Brevo, recorder: Recorder) -> None:
    await esp.prepare([], [FANS])
    recorder.sent.clear()

    assert await esp.change_list(FANS, [], []) == []

    assert recorder.sent == []


async def test_a_contact_in_upper_case_is_the_same(esp: Brevo, simulation: Simulation) -> None:
    simulation.state.add("Ada@Example.com")

    assert await esp.push([Contact(1, ADA, {"FIRSTNAME": "A"})]) == []
    assert await esp.change_list(FANS, [Member(1, ADA)], []) == []

    assert in_list(simulation, FANS) == {"Ada@Example.com"}


async def test_a_list_that_brevo_breaks_at_ends_the_run_and_is_made_by_the_next(
    esp: Brevo, simulation: Simulation
) -> None:
    await esp.prepare([], [])

    def is_creation(method: str, path: str) -> bool:
        return method == "POST" and path == "/v3/contacts/lists"

    simulation.fail(Fault(status=503), times=CREATIONS, when=is_creation)

    with pytest.raises(Retryable):
        await esp.prepare([], [FANS])

    assert await esp.prepare([], [FANS]) == {}
    assert [each.name for each in simulation.state.lists.values()].count(FANS) == 1
