"""P4: nobody is subscribed without proof, whatever happens in whatever order."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Blame, Contact, Member, Subscribe
from connectors.errors import Refused
from connectors.esps.brevo import delivery
from connectors.esps.brevo.connector import Brevo
from connectors.esps.brevo.simulated.contacts import Problem, SimulatedContact, SimulatedContacts
from connectors.esps.brevo.traits import TRAITS
from connectors.esps.brevo.writes import MARK
from connectors.simulation import Simulation
from tests.connectors.esps.brevo.test_push import ADA, ALONE, BOB, MANY, bodies, people
from tests.connectors.esps.specs import Recorder

EMAILS = (ADA, BOB, "eve@example.com")
DOINGS = ("sign up", "opt out", "come back", "leave the list", "confirm", "delete")

pushes = st.lists(
    st.builds(
        Contact,
        profile=st.integers(1, 3),
        email=st.sampled_from(EMAILS),
        fields=st.dictionaries(
            st.sampled_from(["FIRSTNAME", "SMS"]), st.sampled_from(["+33612345678", None])
        ),
        subscribe=st.sampled_from(Subscribe),
        known=st.booleans(),
        was=st.none() | st.sampled_from(EMAILS),
    ),
    min_size=1,
    max_size=3,
    unique_by=(lambda contact: contact.email, lambda contact: contact.profile),
)
joins = st.sampled_from(EMAILS)
doings = st.tuples(st.sampled_from(DOINGS), st.sampled_from(EMAILS))
"""What people and the owner do between our pushes."""


def mailable(contacts: Mapping[str, SimulatedContact]) -> set[str]:
    return {email for email, contact in contacts.items() if not contact.blocked}


def allowed(step: Sequence[Contact], before: Mapping[str, SimulatedContact]) -> set[str]:
    """Who may be mailable after a push: who was, under a new address too, and who is new with proof."""
    moved = {contact.email for contact in step if contact.was in mailable(before)}
    freed = {contact.was for contact in step if contact.was != contact.email}
    proven = {
        contact.email
        for contact in step
        if contact.subscribe is Subscribe.YES
        and not contact.known
        and contact.was is None
        and (contact.email not in before or contact.email in freed)
    }
    return mailable(before) | moved | proven


def let(state: SimulatedContacts, doing: str, email: str) -> None:
    """Let somebody do something; nothing happens where it makes no sense."""
    there = state.find(email)
    if doing == "sign up" and there is None:
        state.add(email)
    elif doing == "confirm" and there is None and email in state.pending:
        with suppress(Problem):  # the number that they were asked with can be somebody else's by now
            state.confirm(email)
    elif there is not None and doing in {"opt out", "come back"}:
        state.block(email, blocked=doing == "opt out")
    elif there is not None and doing == "leave the list" and state.lists:
        state.leave(email, "Fans")
    elif there is not None and doing == "delete":
        state.delete(there)


@pytest.mark.parametrize("single_creations", [100, 0])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(pushes | joins | doings, min_size=2, max_size=10), keeps_block=st.booleans())
async def test_P4_no_sequence_of_pushes_lifts_a_block(
    *,
    steps: Sequence[Sequence[Contact] | str | tuple[str, str]],
    single_creations: int,
    keeps_block: bool,
    asking: Brevo,
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SINGLE_CREATIONS", single_creations)
    state = simulation.state
    for stored in list(state.stored.values()):
        state.delete(stored)
    state.pending.clear()
    state.keeps_block = keeps_block
    await asking.prepare([], ["Fans"])
    for step in steps:
        before = state.contacts
        left = {each.email for each in state.stored.values() if each.left}
        if isinstance(step, tuple):
            let(state, *step)
            continue
        if isinstance(step, str):
            await asking.prepare([], ["Fans"])
            await asking.change_list("Fans", [Member(1, step)], [])
            assert left <= {each.email for each in state.stored.values() if each.left}
        else:
            await asking.push(step)

        after = mailable(state.contacts)
        assert after <= (mailable(before) if isinstance(step, str) else allowed(step, before))


@pytest.mark.parametrize("count", [ALONE, MANY])
@pytest.mark.parametrize(
    ("subscribe", "blocked", "mark"),
    [
        (Subscribe.YES, False, None),
        (Subscribe.NO, True, "no consent"),
        (Subscribe.STOP, True, None),
    ],
)
async def test_a_new_contact_can_be_mailed_only_with_proof(
    *, esp: Brevo, simulation: Simulation, subscribe: Subscribe, blocked: bool, mark: str | None, count: int
) -> None:
    assert await esp.push(people(count, subscribe)) == []

    found = simulation.state.contacts.values()
    assert [(each.blocked, each.sms_blocked, each.fields.get(MARK)) for each in found] == [
        (blocked, True, mark)
    ] * count


async def test_who_is_there_keeps_what_they_chose(esp: Brevo, simulation: Simulation) -> None:
    for subscribe in (Subscribe.YES, Subscribe.NO):
        for chosen in (True, False):
            simulation.state.add(f"{subscribe}-{chosen}@example.com", blocked=chosen)

    await esp.push(
        [
            Contact(number, email, {"FIRSTNAME": "A"}, Subscribe(email.split("-")[0]))
            for number, email in enumerate(list(simulation.state.contacts), start=1)
        ]
    )

    found = simulation.state.contacts
    assert {email: each.blocked for email, each in found.items()} == {
        email: "True" in email for email in found
    }
    assert not any(each.sms_blocked for each in found.values())


@pytest.mark.parametrize("known", [True, False])
async def test_stop_blocks(*, esp: Brevo, simulation: Simulation, known: bool) -> None:
    simulation.state.add(ADA)

    assert await esp.push([Contact(1, ADA, {"FIRSTNAME": "A"}, Subscribe.STOP, known=known)]) == []

    assert simulation.state.contact(ADA).blocked
    assert simulation.state.contact(ADA).fields == {"FIRSTNAME": "A"}


async def test_a_block_that_brevo_forgets_at_first_is_set_again(esp: Brevo, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    write = simulation.state._write
    forgotten = iter([True, True])

    def forgetful(contact: object, body: Mapping[str, object]) -> None:
        write(contact, {**body, "emailBlacklisted": not next(forgotten, False)})

    simulation.state._write = forgetful

    assert await esp.push([Contact(1, ADA, {}, Subscribe.STOP, known=True)]) == []

    assert simulation.state.contact(ADA).blocked


async def test_a_block_that_brevo_never_sets_is_a_refusal(esp: Brevo, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    write = simulation.state._write
    simulation.state._write = lambda contact, body: write(contact, {**body, "emailBlacklisted": False})

    (refusal,) = await esp.push([Contact(1, ADA, {}, Subscribe.STOP, known=True)])

    assert (refusal.profile, refusal.blame) == (1, Blame.CONTACT)


async def test_false_is_never_sent(esp: Brevo, recorder: Recorder, simulation: Simulation) -> None:
    simulation.state.add(BOB)
    for number, subscribe in enumerate([Subscribe.YES, Subscribe.NO, Subscribe.STOP]):
        await esp.push([Contact(1, f"a{number}@example.com", {"FIRSTNAME": "A"}, subscribe)])
        await esp.push([Contact(2, BOB, {"FIRSTNAME": "A"}, subscribe, known=True)])
    await esp.push(people(MANY, Subscribe.YES, FIRSTNAME="A"))
    await esp.push(people(MANY, Subscribe.NO, FIRSTNAME="A"))

    sent = [body for method in ("POST", "PUT") for body in bodies(recorder, method)]
    assert not any('lacklisted": false' in str(body).replace("'", '"').lower() for body in sent)
    updates = bodies(recorder, "PUT") + [
        item for body in bodies(recorder, "POST", "batch") for item in body["contacts"]
    ]
    assert not any("smsBlacklisted" in body for body in updates)
    for body in bodies(recorder, "POST", "import"):
        assert body["updateExistingContacts"] is False


# Double opt-in


async def test_people_are_asked_and_are_contacts_only_when_they_confirm(
    asking: Brevo, simulation: Simulation
) -> None:
    assert await asking.push([Contact(1, ADA, {"FIRSTNAME": "Ada"}, Subscribe.ASK)]) == []
    assert simulation.state.contacts == {}
    assert simulation.state.pending[ADA]["templateId"] == 3

    simulation.state.confirm(ADA)

    assert not simulation.state.contact(ADA).blocked
    assert simulation.state.contact(ADA).fields == {"FIRSTNAME": "Ada"}
    assert await asking.push([Contact(1, ADA, {"LASTNAME": "L"}, Subscribe.ASK, known=True)]) == []
    assert simulation.state.contact(ADA).fields == {"FIRSTNAME": "Ada", "LASTNAME": "L"}


@pytest.mark.parametrize("count", [ALONE, MANY])
async def test_nobody_is_asked_whom_brevo_has(
    asking: Brevo, simulation: Simulation, recorder: Recorder, count: int
) -> None:
    contacts = people(count, Subscribe.ASK, FIRSTNAME="A")
    for each in contacts[:-2]:
        simulation.state.add(each.email, blocked=True)

    assert await asking.push(contacts) == []

    assert len(bodies(recorder, "POST", "doubleOptinConfirmation")) == 2
    assert all(each.blocked for each in simulation.state.contacts.values())


async def test_who_has_not_confirmed_is_asked_once(
    asking: Brevo, simulation: Simulation, recorder: Recorder
) -> None:
    await asking.push([Contact(1, ADA, {"FIRSTNAME": "Ada"}, Subscribe.ASK)])

    refusals = await asking.push([Contact(1, ADA, {"LASTNAME": "L"}, Subscribe.ASK, known=True)])

    assert [(each.profile, each.blame) for each in refusals] == [(1, Blame.CONTACT)]
    assert len(bodies(recorder, "POST", "doubleOptinConfirmation")) == 1


async def test_asking_without_a_template_stops_the_sync_before_it_writes(
    esp: Brevo, recorder: Recorder
) -> None:
    with pytest.raises(Refused, match="confirmation_template"):
        await esp.push([Contact(1, BOB, {}), Contact(2, ADA, {}, Subscribe.ASK)])

    assert recorder.sent == []
    assert not esp.traits.can_ask
    assert TRAITS.can_ask
