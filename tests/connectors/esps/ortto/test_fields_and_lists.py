import pytest

from connectors.base import Blame, Field, FieldType, Member
from connectors.errors import RemoteFault
from connectors.esps.ortto.connector import Ortto
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.ortto.conftest import merges
from tests.connectors.esps.specs import Recorder

ADA, BOB = Member(1, "ada@example.com"), Member(2, "bob@example.com")


def text(name: str) -> Field:
    return Field(name, FieldType.TEXT, name.title())


def members(simulation: Simulation, name: str) -> set[str]:
    return {email for email, contact in simulation.state.contacts.items() if name in contact.tags}


def crowd(simulation: Simulation, count: int) -> list[Member]:
    people = [Member(number, f"person-{number}@example.com") for number in range(count)]
    for person in people:
        simulation.state.add(person.email)
    return people


def creation(_method: str, path: str) -> bool:
    return path.endswith("create")


async def test_missing_fields_are_created_once_with_their_type(esp: Ortto, simulation: Simulation) -> None:
    wanted = [
        Field("ORDERS", FieldType.NUMBER, "Orders"),
        Field("Last order", FieldType.DATE, "x"),
        Field("B2B", FieldType.BOOLEAN, "x"),
        text("TIER"),
        text("FNAME"),
    ]

    assert await esp.prepare(wanted, ["Customers"]) == {}
    assert await esp.prepare(wanted, ["Customers"]) == {}

    assert [(field.id, field.display_type) for field in simulation.state.custom_fields] == [
        ("int:cm:orders", "decimal"),
        ("dtz:cm:last-order", "date"),
        ("bol:cm:b2b", "bool"),
        ("str:cm:tier", "text"),
    ]
    assert simulation.counts() == {"POST": 8}


async def test_a_field_is_found_by_its_name_in_any_form(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add_field("Orders Count", "integer")

    for name in ("Orders Count", "orders count", "ORDERS_COUNT", "int:cm:orders-count"):
        assert await esp.prepare([Field(name, FieldType.NUMBER, "x")], []) == {}

    assert len(simulation.state.custom_fields) == 1


async def test_what_cannot_be_written_is_named(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add_field("Tier", "decimal")

    refused = await esp.prepare(
        [
            text("TIER"),
            Field("FNAME", FieldType.NUMBER, "x"),
            text("str:cm:nowhere"),
            text("tme::sa"),
            text("bol::p"),
            text("A B"),
            text("a-b"),
            text("🫖"),
        ],
        ["Fans", " "],
    )

    assert refused == {
        "TIER": "is a decimal field in Ortto, which takes no text",
        "FNAME": "is a text field in Ortto, which takes no number",
        "str:cm:nowhere": "is no field that Ortto lets us write: str:cm:nowhere",
        "tme::sa": "is no field that Ortto lets us write: tme::sa",
        "bol::p": "is no field that Ortto lets us write: bol::p",
        "a-b": "is the same field in Ortto as A B",
        "🫖": "invalid custom field",
        " ": "a tag needs a name",
    }


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.AFTER])
async def test_a_field_whose_creation_got_lost_is_not_made_twice(
    esp: Ortto, simulation: Simulation, kind: Kind
) -> None:
    simulation.fail(Fault(kind), when=creation)

    assert await esp.prepare([text("TIER")], []) == {}

    assert [field.id for field in simulation.state.custom_fields] == ["str:cm:tier"]


async def test_a_creation_that_never_arrived_is_raised(esp: Ortto, simulation: Simulation) -> None:
    simulation.fail(Fault(status=500), when=creation)

    with pytest.raises(RemoteFault):
        await esp.prepare([text("TIER")], [])


async def test_members_join_and_leave(esp: Ortto, simulation: Simulation) -> None:
    for member in (ADA, BOB):
        simulation.state.add(member.email, "unsubscribed")

    await esp.change_list("Customers", [ADA, BOB], [])
    await esp.change_list("Customers", [], [BOB])
    refusals = await esp.change_list("Customers", [ADA], [BOB])

    assert refusals == []
    assert members(simulation, "Customers") == {ADA.email}
    assert {contact.status for contact in simulation.state.contacts.values()} == {"unsubscribed"}


async def test_who_is_not_there_cannot_join_but_is_out(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA.email)
    nobody, gone = Member(3, "nobody@example.com"), Member(4, "gone@example.com")

    (refusal,) = await esp.change_list("Customers", [ADA, nobody], [gone])

    assert (refusal.profile, refusal.blame, refusal.name) == (3, Blame.MEMBERSHIP, "Customers")
    assert set(simulation.state.contacts) == {ADA.email}


async def test_a_member_that_is_refused_stops_no_other(esp: Ortto, simulation: Simulation) -> None:
    people = crowd(simulation, 10)
    simulation.state.spoil = lambda body: "no" if body["fields"]["str::email"] == people[4].email else None

    (refusal,) = await esp.change_list("Customers", people, [])

    assert (refusal.profile, refusal.blame, refusal.reason) == (4, Blame.MEMBERSHIP, "no")
    assert len(members(simulation, "Customers")) == 9


async def test_a_thousand_join_and_leave_a_hundred_at_a_time(
    esp: Ortto, simulation: Simulation, recorder: Recorder
) -> None:
    people = crowd(simulation, 1000)

    for start in range(0, 1000, 100):
        assert await esp.change_list("Customers", people[start : start + 100], []) == []
    everybody = members(simulation, "Customers")
    assert await esp.change_list("Customers", people[:100], people[100:200]) == []

    assert len(everybody) == 1000
    assert len(members(simulation, "Customers")) == 900
    assert len(merges(recorder)) == 12


async def test_a_list_change_whose_answer_got_lost_is_repeated(esp: Ortto, simulation: Simulation) -> None:
    people = crowd(simulation, 5)
    simulation.fail(Fault(Kind.DROP), when=lambda _, path: path.endswith("merge"))

    assert await esp.change_list("Customers", people, []) == []

    assert len(members(simulation, "Customers")) == 5
