import asyncio
import re

import pytest

from connectors.base import Blame, Contact, Field, FieldType, Member, Subscribe
from connectors.errors import Refused
from connectors.esps.autopilot import people as people_module
from connectors.esps.autopilot.connector import Autopilot
from connectors.esps.autopilot.simulated.account import bad_request
from connectors.simulation import Fault, Kind, Simulation

ADA, BOB = Member(1, "ada@example.com"), Member(2, "bob@example.com")


def members(simulation: Simulation, name: str) -> set[str]:
    return {email for email, contact in simulation.state.contacts.items() if name in contact.tags}


def crowd(simulation: Simulation, count: int) -> list[Member]:
    people = [Member(number, f"person-{number}@example.com") for number in range(count)]
    for person in people:
        simulation.state.add(person.email)
    return people


def to_lists(method: str, path: str) -> bool:
    return (method, path) == ("POST", "/v1/list")


async def test_fields_of_another_type_are_named(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add("x@example.com", custom={"string--Orders--Count": "3", "integer--Visits": 1})

    refused = await esp.prepare(
        [
            Field("Orders Count", FieldType.NUMBER, "x"),
            Field("Visits", FieldType.NUMBER, "x"),
            Field("LastName", FieldType.NUMBER, "x"),
            Field("integer--Tier", FieldType.TEXT, "x"),
            Field("integer--Points", FieldType.NUMBER, "x"),
            Field("New", FieldType.BOOLEAN, "x"),
        ],
        [],
    )

    assert refused == {
        "Orders Count": "is a string field in Autopilot, which takes no number",
        "LastName": "is a text field in Autopilot, which takes no number",
        "integer--Tier": "`integer--…` takes no text",
    }


async def test_of_two_names_for_one_field_the_second_is_refused(
    esp: Autopilot, simulation: Simulation
) -> None:
    fields = [
        Field("FNAME", FieldType.TEXT, "x"),
        Field("FirstName", FieldType.TEXT, "x"),
        Field("Lead Score", FieldType.NUMBER, "x"),
        Field("float--Lead--Score", FieldType.NUMBER, "x"),
        Field("lead score", FieldType.NUMBER, "x"),
        Field("string--Lead--Score", FieldType.TEXT, "x"),
    ]
    same = {
        "FirstName": "is the same field in Autopilot as FNAME",
        "float--Lead--Score": "is the same field in Autopilot as Lead Score",
        "lead score": "is the same field in Autopilot as Lead Score",
    }

    assert await esp.prepare(fields, []) == same
    assert (await esp.look(fields, [])).unfit == same

    await esp.push([Contact(1, ADA.email, {"FNAME": "Ada", "Lead Score": 3}, Subscribe.YES)])
    (held,) = [each async for page in esp.contacts(fields, []) for each in page]
    assert (held.fields["FNAME"], held.fields["Lead Score"]) == ("Ada", "3")


async def test_a_field_named_in_full_is_written_as_named(esp: Autopilot, simulation: Simulation) -> None:
    await esp.prepare([Field("integer--Orders--Count", FieldType.NUMBER, "x")], [])

    await esp.push(
        [Contact(1, ADA.email, {"integer--Orders--Count": 3, "string--Lead--Source": "x"}, Subscribe.YES)]
    )

    assert list(simulation.state.custom_fields) == [("integer", "Orders Count"), ("string", "Lead Source")]


@pytest.mark.parametrize("name", ["Orders", "Orders Count", "string--Lead--Source", "Çok-iyi Ürün", "A_1"])
def test_names_that_come_back_as_they_went_are_taken(name: str) -> None:
    assert re.fullmatch(Autopilot.traits.name_pattern, name)


@pytest.mark.parametrize("name", ["", " a", "a ", "a  b", "a---b", "-a", "a - b", "a\nb"])
def test_names_that_would_come_back_changed_are_not(name: str) -> None:
    assert not re.fullmatch(Autopilot.traits.name_pattern, name)


async def test_lists_are_made_once_whatever_their_case(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add_list("loyal customers")

    assert await esp.prepare([], ["Loyal Customers", "Churned", "CHURNED "]) == {}
    assert await esp.prepare([], ["Churned"]) == {}

    assert list(simulation.state.lists.values()) == ["loyal customers", "Churned"]


async def test_a_list_that_cannot_be_made_is_named(esp: Autopilot, simulation: Simulation) -> None:
    def refuse(name: str) -> str:
        raise bad_request(f"No list {name}.")

    simulation.state.add_list = refuse

    assert await esp.prepare([], ["Fans"]) == {"Fans": "the list 'Fans' cannot be made: No list Fans."}
    with pytest.raises(Refused, match="the list 'Fans' cannot be made"):
        await esp.change_list("Fans", [ADA], [])


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.AFTER])
async def test_a_list_whose_creation_got_lost_is_not_made_twice(
    esp: Autopilot, simulation: Simulation, kind: Kind
) -> None:
    simulation.fail(Fault(kind), when=to_lists)

    assert await esp.prepare([], ["Fans"]) == {}

    assert simulation.counts()["POST"] == 1


async def test_a_list_that_another_made_just_now_is_found(esp: Autopilot, simulation: Simulation) -> None:
    simulation.fail(Fault(Kind.AFTER, status=409, body=b'{"error": "Conflict"}'), when=to_lists)

    assert await esp.prepare([], ["Fans"]) == {}


async def test_changes_at_one_time_make_a_list_once(esp: Autopilot, simulation: Simulation) -> None:
    crowd(simulation, 2)
    for member in (ADA, BOB):
        simulation.state.add(member.email)

    await asyncio.gather(esp.change_list("Fans", [ADA], []), esp.change_list("fans", [BOB], []))

    assert len(simulation.state.lists) == 1
    assert members(simulation, "Fans") == {ADA.email, BOB.email}


async def test_members_join_and_leave(esp: Autopilot, simulation: Simulation) -> None:
    for member in (ADA, BOB):
        simulation.state.add(member.email, "unsubscribed")

    await esp.change_list("Customers", [ADA, BOB], [])
    await esp.change_list("customers", [], [BOB])
    refusals = await esp.change_list("Customers", [ADA], [BOB])

    assert refusals == []
    assert members(simulation, "Customers") == {ADA.email}


async def test_who_is_not_there_cannot_join_but_is_out(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add(ADA.email)
    nobody, gone, odd = Member(3, "nobody@example.com"), Member(4, "gone@example.com"), Member(5, "odd")

    refusals = await esp.change_list("Customers", [ADA, nobody], [gone, odd])

    assert [(each.profile, each.blame, each.name, each.reason) for each in refusals] == [
        (3, Blame.MEMBERSHIP, "Customers", "Contact could not be found."),
        (5, Blame.MEMBERSHIP, "Customers", "Invalid contact_id_or_email value provided."),
    ]
    assert set(simulation.state.contacts) == {ADA.email}


async def test_a_thousand_join_in_ten_writes_and_leave_one_by_one(
    esp: Autopilot, simulation: Simulation
) -> None:
    people = crowd(simulation, 1000)
    await esp.prepare([], ["Customers"])
    before = simulation.counts()

    joined = await esp.change_list("Customers", people, [])
    joining = simulation.counts() - before
    everybody = members(simulation, "Customers")
    left = await esp.change_list("Customers", [], people[:500])

    assert (joined, left) == ([], [])
    assert joining == {"GET": 11, "POST": 10}
    assert len(everybody) == 1000
    assert members(simulation, "Customers") == {person.email for person in people[500:]}
    assert {each.status for each in simulation.state.contacts.values()} == {"subscribed"}


async def test_whom_we_wrote_to_just_now_is_not_looked_for_before_they_join(
    esp: Autopilot, simulation: Simulation
) -> None:
    await esp.prepare([], ["Customers", "Fans", "Loyal"])
    people = [Member(number, f"person-{number}@example.com") for number in range(1000)]
    await esp.push([Contact(each.profile, each.email, {}, Subscribe.YES) for each in people])
    before = simulation.counts()

    for name in ("Customers", "Fans", "Loyal"):
        assert await esp.change_list(name, people, []) == []
    joining = simulation.counts() - before
    await esp.prepare([], ["Customers"])
    prepared = simulation.counts()
    await esp.change_list("Customers", people, [])

    assert joining == {"GET": 3, "POST": 30}
    assert len(members(simulation, "Loyal")) == 1000
    assert (simulation.counts() - prepared)["GET"] == 10 + 1


async def test_of_more_people_than_are_remembered_the_first_are_looked_for(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_module, "MOST_MET", 150)
    people = [Member(number, f"person-{number}@example.com") for number in range(200)]
    await esp.push([Contact(each.profile, each.email, {}, Subscribe.YES) for each in people])
    before = simulation.counts()

    assert await esp.change_list("Customers", people, []) == []

    assert simulation.counts() - before == {"GET": 1 + 50 + 1, "POST": 1 + 2}
    assert len(members(simulation, "Customers")) == 200


async def test_many_join_one_by_one_where_a_bulk_write_puts_nobody_into_a_list(
    esp: Autopilot, simulation: Simulation
) -> None:
    people = crowd(simulation, 120)
    upsert = simulation.state.upsert
    simulation.state.upsert = lambda body: upsert(
        {name: value for name, value in body.items() if name != "_autopilot_list"}
    )

    assert await esp.change_list("Customers", people, []) == []
    first = simulation.counts()
    assert await esp.change_list("Fans", people, []) == []

    assert (len(members(simulation, "Customers")), len(members(simulation, "Fans"))) == (120, 120)
    assert (simulation.counts() - first)["POST"] == 121


async def test_of_many_only_those_who_are_there_join(esp: Autopilot, simulation: Simulation) -> None:
    people = crowd(simulation, 150)
    simulation.state.delete(people[0].email)
    simulation.state.delete(people[149].email)
    simulation.state.objection = lambda body: "No." if body["Email"] == people[5].email else None

    refusals = await esp.change_list("Customers", people, [])

    assert {refusal.profile for refusal in refusals} == {0, 149}
    assert len(members(simulation, "Customers")) == 148
    assert len(simulation.state.contacts) == 148


async def test_nobody_of_many_is_there(esp: Autopilot, simulation: Simulation) -> None:
    people = [Member(number, f"person-{number}@example.com") for number in range(60)]

    refusals = await esp.change_list("Customers", people, [])

    assert len(refusals) == 60
    assert simulation.state.contacts == {}


@pytest.mark.parametrize("count", [3, 120])
async def test_a_list_that_was_deleted_is_made_again(
    esp: Autopilot, simulation: Simulation, count: int
) -> None:
    people = crowd(simulation, count)
    await esp.prepare([], ["Customers"])
    simulation.state.delete_list("Customers")

    assert await esp.change_list("Customers", people, []) == []

    assert len(members(simulation, "Customers")) == count
    assert len(simulation.state.lists) == 1
