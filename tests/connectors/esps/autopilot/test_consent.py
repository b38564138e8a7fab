"""P4: nobody is subscribed without proof, whatever happens in whatever order."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Contact, Member, Subscribe
from connectors.errors import Refused
from connectors.esps.autopilot import lists, people
from connectors.esps.autopilot.connector import Autopilot
from connectors.esps.autopilot.simulated.account import Account
from connectors.simulation import Fault, Simulation
from tests.connectors.esps.autopilot.conftest import bodies
from tests.connectors.esps.harness import anew
from tests.connectors.esps.specs import Recorder

ADA, BOB = "ada@example.com", "bob@example.com"
EMAILS = (ADA, BOB, "eve@example.com")
DOINGS = ("add", "unsubscribe", "bounce", "delete")

pushes = st.builds(
    Contact,
    profile=st.just(1),
    email=st.sampled_from(EMAILS),
    fields=st.dictionaries(st.sampled_from(["FNAME", "ORDERS"]), st.sampled_from(["x", 3, None])),
    subscribe=st.sampled_from(Subscribe),
    known=st.booleans(),
    was=st.none() | st.sampled_from(EMAILS),
)
doings = st.tuples(st.sampled_from(DOINGS), st.sampled_from(EMAILS))
joins = st.sampled_from(EMAILS).map(lambda email: Member(1, email))


def may_be_mailed(state: Account) -> dict[str, bool]:
    return {email: contact.status == "subscribed" for email, contact in state.contacts.items()}


def allowed(step: Contact | Member, email: str, before: Mapping[str, bool]) -> bool:
    """Tell whether `email` may be mailable after this step, given who was before it."""
    if before.get(email):
        return True
    if not isinstance(step, Contact) or email != step.email:
        return False
    return before.get(step.was or "", False) or (email not in before and step.subscribe is Subscribe.YES)


def let(state: Account, doing: str, email: str) -> None:
    """Let somebody sign up, leave or be deleted; nothing happens where it makes no sense."""
    if (doing == "add") != (state.contact(email) is None):
        return
    getattr(state, doing)(email)


@pytest.mark.parametrize("lookups", [50, 0])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(pushes | doings | joins, min_size=2, max_size=12))
async def test_P4_no_sequence_of_pushes_raises_a_status(
    steps: Sequence[Contact | Member | tuple[str, str]],
    lookups: int,
    esp: Autopilot,
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (people, lists):
        monkeypatch.setattr(module, "LOOKUPS", lookups)
    for email in list(simulation.state.contacts):
        simulation.state.delete(email)
    for step in steps:
        before = may_be_mailed(simulation.state)
        if isinstance(step, tuple):
            let(simulation.state, *step)
            continue
        if isinstance(step, Contact):
            await esp.push([step])
        else:
            await esp.change_list("Customers", [step], [])

        for email, mailable in may_be_mailed(simulation.state).items():
            assert not mailable or allowed(step, email, before)


async def test_unsubscribed_is_never_sent_as_false(esp: Autopilot, recorder: Recorder) -> None:
    for subscribe in Subscribe:
        await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, subscribe)])

    sent = [body["unsubscribed"] for body in bodies(recorder, "/v1/contacts") if "unsubscribed" in body]
    assert sent == [True, True]


async def test_who_is_deleted_between_our_writing_and_their_joining_does_not_come_back_mailable(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKUPS", 0)
    await esp.push([Contact(1, ADA, {}, Subscribe.YES), Contact(2, BOB, {}, Subscribe.YES)])
    simulation.state.delete(ADA)

    refusals = await esp.change_list("Customers", [Member(1, ADA), Member(2, BOB)], [])

    assert may_be_mailed(simulation.state) == {ADA: False, BOB: True}
    assert [(each.profile, each.reason) for each in refusals] == [
        (1, "Autopilot has no such contact any more")
    ]
    assert {email for email, contact in simulation.state.contacts.items() if contact.tags} == {BOB}


async def test_whose_address_changed_there_meanwhile_gets_no_second_contact_that_is_mailed(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKUPS", 0)
    await esp.push([Contact(1, ADA, {}, Subscribe.YES), Contact(2, BOB, {}, Subscribe.YES)])
    simulation.state.upsert({"Email": ADA, "_NewEmail": "ada@new.example", "unsubscribed": True})

    await esp.change_list("Customers", [Member(1, ADA), Member(2, BOB)], [])

    assert may_be_mailed(simulation.state) == {ADA: False, BOB: True, "ada@new.example": False}


async def test_who_has_a_second_contact_is_not_taken_for_somebody_who_came_back(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKUPS", 0)
    await esp.push([Contact(1, ADA, {}, Subscribe.YES)])
    simulation.state.double(ADA)

    await esp.change_list("Customers", [Member(1, ADA)], [])

    assert may_be_mailed(simulation.state) == {ADA: True}


async def test_who_was_erased_is_not_believed_to_be_there(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKUPS", 0)
    await esp.push([Contact(1, ADA, {}, Subscribe.YES)])
    await esp.erase(ADA)

    refusals = await esp.change_list("Customers", [Member(1, ADA)], [])

    assert [refusal.reason for refusal in refusals] == ["Autopilot has no such contact"]
    assert simulation.state.contacts == {}


async def test_an_erasure_that_autopilot_refuses_is_raised_without_the_address(
    esp: Autopilot, simulation: Simulation
) -> None:
    simulation.state.add(ADA)
    simulation.fail(Fault(status=400, body=ADA.encode()), when=lambda method, _: method == "DELETE")

    with pytest.raises(Refused, match="does not delete this contact") as raised:
        await esp.erase(ADA)

    assert "@" not in str(raised.value)


@pytest.mark.parametrize("lookups", [50, 0])
async def test_who_is_deleted_while_we_write_does_not_come_back_mailable(
    esp: Autopilot, simulation: Simulation, lookups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (people, lists):
        monkeypatch.setattr(module, "LOOKUPS", lookups)
    simulation.state.add(ADA)
    deletions = iter([True])

    def delete(_: object) -> None:
        if next(deletions, False):
            simulation.state.delete(ADA)

    simulation.state.objection = delete

    assert anew(await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, known=True)])) == {1}

    assert simulation.state.contact(ADA).status == "unsubscribed"


async def test_who_is_deleted_while_we_rename_does_not_come_back_mailable(
    esp: Autopilot, simulation: Simulation
) -> None:
    simulation.state.add(BOB)
    deletions = iter([True])

    def delete(_: object) -> None:
        if next(deletions, False):
            simulation.state.delete(BOB)

    simulation.state.objection = delete

    assert anew(await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, known=True, was=BOB)])) == {1}

    assert simulation.state.contact(ADA).status == "unsubscribed"


async def test_who_is_deleted_while_we_join_does_not_come_back_mailable(
    esp: Autopilot, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKUPS", 0)
    simulation.state.add(ADA)
    await esp.prepare([], ["Customers"])
    deletions = iter([True])

    def delete(_: object) -> None:
        if next(deletions, False):
            simulation.state.delete(ADA)

    simulation.state.objection = delete

    await esp.change_list("Customers", [Member(1, ADA)], [])

    assert simulation.state.contact(ADA).status == "unsubscribed"
