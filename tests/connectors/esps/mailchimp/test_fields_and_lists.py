import asyncio
from datetime import date

import pytest

from connectors.base import Blame, Contact, Field, FieldType, Member, Refusal
from connectors.errors import Refused
from connectors.esps.mailchimp import memberships
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.esps.mailchimp.memberships import _Added, _Changed
from connectors.esps.mailchimp.simulated.audience import Problem
from connectors.esps.mailchimp.simulated.values import MergeField
from connectors.esps.mailchimp.simulator import SETTINGS
from connectors.esps.mailchimp.traits import MAX_FIELDS
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.specs import Recorder

ADA, BOB = Member(1, "ada@example.com"), Member(2, "bob@example.com")


def text(name: str) -> Field:
    return Field(name, FieldType.TEXT, name.title())


def members(simulation: Simulation, name: str) -> set[str]:
    return {email for email, contact in simulation.state.contacts.items() if name in contact.tags}


async def test_missing_fields_are_created_with_their_type(esp: Mailchimp, simulation: Simulation) -> None:
    wanted = [
        Field("ORDERS", FieldType.NUMBER, "Orders"),
        Field("LASTORD", FieldType.DATE, "Last order"),
        text("TIER"),
    ]

    assert await esp.prepare(wanted, []) == {}
    assert await esp.prepare(wanted, []) == {}

    made = [simulation.state.merge_fields[field.name] for field in wanted]
    assert [(each.name, each.type, each.required, each.public) for each in made] == [
        ("Orders", "number", False, False),
        ("Last order", "date", False, False),
        ("Tier", "text", False, False),
    ]
    assert simulation.counts() == {"GET": 2, "POST": 3}


async def test_more_than_ten_fields_are_seen(esp: Mailchimp, simulation: Simulation) -> None:
    many = [text(f"F{number}") for number in range(20)]

    await esp.prepare(many, [])

    assert await esp.prepare(many, []) == {}


async def test_a_field_of_another_type_is_named_and_the_rest_prepared(
    esp: Mailchimp, simulation: Simulation
) -> None:
    refused = await esp.prepare(
        [
            Field("LNAME", FieldType.NUMBER, "x"),
            Field("ADDRESS", FieldType.TEXT, "x"),
            text("PHONE"),
            text("TIER"),
        ],
        [],
    )

    assert refused == {
        "LNAME": "is a text field in Mailchimp, which takes no number",
        "ADDRESS": "is a address field in Mailchimp, which takes no text",
    }
    assert "TIER" in simulation.state.merge_fields


BORN = Field("BIRTHDAY", FieldType.DATE, "Birthday")


@pytest.mark.parametrize("count", [1, 60])  # one by one, and as a batch
@pytest.mark.parametrize(
    ("born", "kept"), [(date(1992, 2, 29), "02/29"), (date(815, 12, 1), "12/01"), (None, "")]
)
async def test_a_date_goes_into_the_audience_s_own_birthday_field_as_month_and_day(
    esp: Mailchimp, simulation: Simulation, count: int, born: date | None, kept: str
) -> None:
    assert (await esp.look([BORN], [])).unfit == {}
    assert await esp.prepare([BORN], []) == {}

    refusals = await esp.push([Contact(n, f"{n}@example.com", {"BIRTHDAY": born}) for n in range(count)])

    assert refusals == []
    assert [each.fields.get("BIRTHDAY") or "" for each in simulation.state.contacts.values()] == [
        kept
    ] * count


async def test_a_birthday_is_read_back_as_it_was_accepted_and_a_date_beside_it_with_its_year(
    esp: Mailchimp,
) -> None:
    whole = Field("BIRTHDATE", FieldType.DATE, "Date of birth")
    values = {"BIRTHDAY": date(1992, 2, 29), "BIRTHDATE": date(1992, 2, 29)}
    await esp.prepare([BORN, whole], [])
    await esp.push([Contact(1, ADA.email, values)])

    fresh = Mailchimp(Mailchimp.Settings(**SETTINGS))
    (held,) = [held async for page in fresh.contacts([BORN, whole], []) for held in page]
    expected = {field.name: fresh.as_held(field, values[field.name]) for field in (BORN, whole)}
    await fresh.aclose()

    assert held.fields == expected == {"BIRTHDAY": "02/29", "BIRTHDATE": "1992-02-29"}


async def test_an_audience_that_is_full_says_so_for_each_field(
    esp: Mailchimp, simulation: Simulation
) -> None:
    simulation.state.max_merge_fields = 6

    refused = await esp.prepare([text("A"), text("B"), text("C")], [])

    assert list(refused) == ["B", "C"]
    assert "maximum number of merge fields" in refused["B"]


async def test_looking_foretells_which_fields_have_no_room(esp: Mailchimp) -> None:
    wanted = [text(f"F{number}") for number in range(MAX_FIELDS)]

    seen = await esp.look(wanted, [])
    refused = await esp.prepare(wanted, [])

    assert (len(seen.fields), len(seen.unfit)) == (25, 5)
    assert seen.unfit.keys() == refused.keys()


async def test_a_reserved_tag_is_named(esp: Mailchimp) -> None:
    assert await esp.prepare([text("EMAIL")], []) == {"EMAIL": 'Bad Request: "EMAIL" is a reserved tag.'}


async def test_a_tag_that_mailchimp_changes_is_named(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add_merge_field = lambda _: MergeField(99, "MMERGE7", "Tier", "text")

    refused = await esp.prepare([text("TIER")], [])

    assert refused == {"TIER": "Mailchimp keeps this tag for itself and made MMERGE7 of it"}


async def test_a_creation_whose_answer_got_lost_is_no_refusal(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.fail(Fault(Kind.DROP), when=lambda _, path: path.endswith("merge-fields"))
    simulation.fail(
        Fault(Kind.AFTER), when=lambda method, path: method == "POST" and path.endswith("merge-fields")
    )
    simulation.fail(
        Fault(Kind.AFTER), when=lambda method, path: method == "POST" and path.endswith("segments")
    )

    assert await esp.prepare([text("TIER")], ["Customers"]) == {}


async def test_lists_are_made_once_whatever_their_case(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add_segment("loyal customers")

    assert await esp.prepare([], ["Loyal Customers", "Churned", "CHURNED "]) == {}

    assert [tag.name for tag in simulation.state.segments.values()] == ["loyal customers", "Churned"]


async def test_hundreds_of_lists_are_seen(esp: Mailchimp, simulation: Simulation) -> None:
    names = [f"List {number}" for number in range(1200)]
    for name in names:
        simulation.state.add_segment(name)

    assert await esp.prepare([], names) == {}
    assert simulation.counts() == {"GET": 2}


async def test_a_list_that_cannot_be_made_is_named(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add_segment("Taken", "saved")

    refused = await esp.prepare([], ["Taken", "Free"])

    assert refused == {"Taken": "Bad Request: Sorry, that tag already exists."}


async def test_members_join_and_leave(esp: Mailchimp, simulation: Simulation) -> None:
    for member in (ADA, BOB):
        simulation.state.add(member.email, "transactional")
    await esp.prepare([], ["Customers"])

    await esp.change_list("Customers", [ADA, BOB], [])
    await esp.change_list("customers", [], [BOB])
    await esp.change_list("Customers", [ADA], [BOB])

    assert members(simulation, "Customers") == {ADA.email}


async def test_who_is_not_in_the_audience_cannot_join_but_is_out(
    esp: Mailchimp, simulation: Simulation
) -> None:
    simulation.state.add(ADA.email)
    nobody, gone = Member(3, "Nobody@example.com"), Member(4, "gone@example.com")

    (refusal,) = await esp.change_list("Customers", [ADA, nobody], [gone])

    assert (refusal.profile, refusal.blame, refusal.name) == (3, Blame.MEMBERSHIP, "Customers")
    assert refusal.reason == "Email addresses do not exist in this list"
    assert members(simulation, "Customers") == {ADA.email}


def crowd(simulation: Simulation, count: int) -> list[Member]:
    people = [Member(number, f"person-{number}@example.com") for number in range(count)]
    for person in people:
        simulation.state.add(person.email, "transactional")
    return people


@pytest.mark.parametrize("count", [1, 50])
async def test_whom_mailchimp_ignores_did_not_join(
    esp: Mailchimp, simulation: Simulation, count: int
) -> None:
    simulation.state.ignores_strangers = True
    people = crowd(simulation, 60)
    strangers = [Member(100 + number, f"Nobody-{number}@example.com") for number in range(count)]
    await esp.change_list("Fans", people[:30], [])

    refusals = await esp.change_list("Fans", [*people, *strangers], [Member(7, "gone@example.com")])

    assert refusals == [
        Refusal(stranger.profile, Blame.MEMBERSHIP, "not in the audience", "Fans") for stranger in strangers
    ]
    assert members(simulation, "Fans") == {person.email for person in people}


async def test_a_change_whose_answer_was_lost_is_looked_up_in_the_list(
    esp: Mailchimp, simulation: Simulation
) -> None:
    people = crowd(simulation, 500)
    await esp.prepare([], ["Fans"])
    before = simulation.counts()
    simulation.fail(Fault(Kind.AFTER), when=lambda method, path: method == "POST" and "/segments/" in path)

    assert await esp.change_list("Fans", people, []) == []

    assert simulation.counts() - before == {"POST": 2, "GET": 1}


async def test_a_few_are_looked_up_one_by_one_whatever_tags_they_have(
    esp: Mailchimp, simulation: Simulation
) -> None:
    people = crowd(simulation, 2)
    simulation.state.change_tags(people[0].email, [{"name": f"t{n}", "status": "active"} for n in range(55)])
    await esp.change_list("fans", people, [])
    before = simulation.counts()

    assert await esp.change_list("Fans", people, []) == []

    assert simulation.counts() - before == {"POST": 1, "GET": 3}


async def test_who_is_known_but_was_left_out_is_told(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.ignores_strangers = True
    simulation.state.add(ADA.email)
    simulation.state.archive(ADA.email)

    (refusal,) = await esp.change_list("Fans", [ADA], [])

    assert refusal.reason == "Mailchimp did not put them into the list, and does not say why"


@pytest.mark.parametrize(("count", "refused", "lookups"), [(10, 1, 11), (40, 0, 1)])
async def test_a_list_that_is_too_long_to_be_read_costs_few_requests(  # noqa: PLR0917 - a case each
    esp: Mailchimp,
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    refused: int,
    lookups: int,
) -> None:
    monkeypatch.setattr(memberships, "LONGEST", 5)
    monkeypatch.setattr(memberships, "LOOKUPS", 20)
    simulation.state.ignores_strangers = True
    people = crowd(simulation, count)
    await esp.change_list("Fans", people, [])
    before = simulation.counts()

    refusals = await esp.change_list("Fans", [*people[1:], Member(99, "nobody@example.com")], [])

    assert len(refusals) == refused
    assert simulation.counts() - before == {"POST": 1, "GET": lookups}


async def test_a_list_of_many_pages_is_read_to_the_end(esp: Mailchimp, simulation: Simulation) -> None:
    people = crowd(simulation, 1300)
    for some in (people[:500], people[500:1000], people[1000:]):
        await esp.change_list("Fans", some, [])
    before = simulation.counts()

    assert await esp.change_list("Fans", people[900:], []) == []

    assert simulation.counts() - before == {"POST": 1, "GET": 2}


async def test_five_hundred_join_and_as_many_leave_in_one_call(
    esp: Mailchimp, simulation: Simulation
) -> None:
    people = [Member(number, f"person-{number}@example.com") for number in range(1000)]
    for person in people:
        simulation.state.add(person.email)
    await esp.change_list("Customers", people[500:], [])
    before = simulation.counts()

    assert await esp.change_list("Customers", people[:500], people[500:]) == []

    assert simulation.counts() - before == {"POST": 1}
    assert members(simulation, "Customers") == {person.email for person in people[:500]}


async def test_a_list_that_was_deleted_is_made_again_once(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.add(ADA.email)
    await esp.prepare([], ["Customers"])
    simulation.state.delete_list("Customers")

    assert await esp.change_list("Customers", [ADA], []) == []

    assert members(simulation, "Customers") == {ADA.email}


async def test_changes_at_one_time_make_a_list_once(esp: Mailchimp, simulation: Simulation) -> None:
    for member in (ADA, BOB):
        simulation.state.add(member.email)

    await asyncio.gather(esp.change_list("Fans", [ADA], []), esp.change_list("fans", [BOB], []))

    made = [seen for seen in simulation.requests if (seen.method, seen.path[-8:]) == ("POST", "segments")]
    assert len(made) == 1
    assert members(simulation, "Fans") == {ADA.email, BOB.email}


@pytest.mark.parametrize(("lists_as", "word"), [("tags", "tag"), ("segments", "segment")])
async def test_a_list_that_cannot_be_made_is_called_as_the_owner_calls_it(
    esp: Mailchimp, simulation: Simulation, lists_as: str, word: str
) -> None:
    simulation.state.add_segment("Taken", "saved")
    named = Mailchimp(Mailchimp.Settings(**SETTINGS, lists_as=lists_as))

    with pytest.raises(Refused, match=f"the {word} 'Taken' cannot be made: Bad Request"):
        await named.change_list("Taken", [ADA], [])
    await named.aclose()


async def test_a_history_of_lists_and_fields_asks_in_full_pages(esp: Mailchimp, recorder: Recorder) -> None:
    await esp.prepare([text("TIER")], ["Customers"])

    asked = [dict(sent.query) for sent in recorder.sent if sent.method == "GET"]
    assert {query["count"] for query in asked} == {"1000"}
    assert asked[1]["type"] == "static"


async def test_no_reason_is_still_a_reason(esp: Mailchimp, simulation: Simulation) -> None:
    def refuse(_: object) -> None:
        raise Problem(400, "", "")

    simulation.state.add_merge_field = refuse

    assert await esp.prepare([text("TIER")], []) == {"TIER": "refused without a reason"}


@pytest.mark.parametrize(("count", "untold"), [(None, []), (2, []), (1, ["bob@example.com"])])
def test_an_answer_without_a_count_says_of_nobody_that_they_were_left_out(
    count: int | None, untold: list[str]
) -> None:
    changed = _Changed(total_added=count, members_added=[_Added("Ada@example.com")])

    assert changed.untold(["ada@example.com", "bob@example.com"]) == untold
