"""P4: nobody is subscribed without proof, whatever happens in whatever order."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Blame, Contact, Member, Subscribe
from connectors.esps.ortto import delivery
from connectors.esps.ortto.connector import Ortto
from connectors.esps.ortto.simulated.instance import Instance
from connectors.simulation import Simulation
from tests.connectors.esps.harness import anew
from tests.connectors.esps.ortto.conftest import merges
from tests.connectors.esps.specs import Recorder

ADA = "ada@example.com"
EMAILS = (ADA, "bob@example.com", "eve@example.com")
DOINGS = ("add", "unsubscribe", "bounce", "hide", "delete")

pushes = st.builds(
    Contact,
    profile=st.just(1),
    email=st.sampled_from(EMAILS),
    fields=st.dictionaries(st.sampled_from(["FNAME", "MOBILE"]), st.sampled_from(["33612345678", "x", None])),
    subscribe=st.sampled_from(Subscribe),
    known=st.booleans(),
    was=st.none() | st.sampled_from(EMAILS),
)
doings = st.tuples(st.sampled_from(DOINGS), st.sampled_from(EMAILS))
changes = st.tuples(st.sampled_from(["join", "leave"]), st.sampled_from(EMAILS))


def may_be_mailed(state: Instance) -> dict[str, bool]:
    return {email: contact.status == "subscribed" for email, contact in state.contacts.items()}


def allowed(step: Contact | None, email: str, before: Mapping[str, bool]) -> bool:
    """Tell whether `email` may be mailable after this step, given who was before it."""
    if before.get(email):
        return True
    if step is None or email != step.email:
        return False
    is_new = not step.known and step.was is None and email not in before
    return before.get(step.was or "", False) or (is_new and step.subscribe is Subscribe.YES)


def let(state: Instance, doing: str, email: str) -> None:
    """Let somebody sign up, leave, bounce or be removed; nothing happens where it makes no sense."""
    if (doing == "add") == (state.contact(email) is None):
        getattr(state, doing)(email)


@pytest.mark.parametrize("few", [3, 0])
@pytest.mark.parametrize("permission_by_default", ["for new people", "for everybody"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(pushes | doings | changes, min_size=2, max_size=12))
async def test_P4_no_sequence_of_pushes_raises_a_status(
    esp: Ortto,
    simulation: Simulation,
    *,
    steps: Sequence[Contact | tuple[str, str]],
    few: int,
    permission_by_default: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "FEW", few)
    state = simulation.state
    state.permission_by_default = permission_by_default == "for everybody"
    state.suppressed.clear()
    for email in list(state.contacts):
        state.delete(email)
    for step in steps:
        before = may_be_mailed(state)
        if isinstance(step, Contact):
            await esp.push([step])
        elif step[0] in DOINGS:
            let(state, *step)
            continue
        else:
            member = Member(1, step[1])
            join, leave = ([member], []) if step[0] == "join" else ([], [member])
            await esp.change_list("Customers", join, leave)
        contact = step if isinstance(step, Contact) else None

        for email, mailable in may_be_mailed(state).items():
            assert not mailable or allowed(contact, email, before)


async def test_permission_is_sent_as_true_only_to_create_and_with_proof(
    esp: Ortto, recorder: Recorder
) -> None:
    contacts = [Contact(n, f"{n}@example.com", {"FNAME": "x"}, each) for n, each in enumerate(Subscribe)]
    await esp.push(contacts)
    await esp.push(contacts)

    granting = [
        (merge["merge_strategy"], person["fields"]["str::email"])
        for merge in merges(recorder)
        for person in merge["people"]
        if person["fields"].get("bol::p") is True
    ]
    assert granting == [(3, f"{list(Subscribe).index(Subscribe.YES)}@example.com")]


async def test_whoever_leaves_between_our_reading_and_writing_stays_out(
    esp: Ortto, simulation: Simulation
) -> None:
    simulation.state.add(ADA)
    simulation.state.spoil = lambda _: simulation.state.unsubscribe(ADA)

    await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, Subscribe.YES, known=True)])

    assert simulation.state.contact(ADA).status == "unsubscribed"


async def test_who_signs_up_between_our_reading_and_creating_stays_subscribed(
    esp: Ortto, simulation: Simulation
) -> None:
    def sign_up(_: object) -> None:
        simulation.state.spoil = lambda _: None
        simulation.state.add(ADA)

    simulation.state.spoil = sign_up

    await esp.push([Contact(1, ADA, {"FNAME": "Ada"})])

    assert simulation.state.contact(ADA).status == "subscribed"


@pytest.mark.parametrize("was", [None, "before@example.com"])
@pytest.mark.parametrize("count", [1, 20])
async def test_whom_somebody_deleted_in_ortto_does_not_come_back_mailable(
    esp: Ortto, simulation: Simulation, was: str | None, count: int
) -> None:
    contacts = [
        Contact(n, f"{n}@example.com", {"FNAME": "x"}, Subscribe.YES, known=True, was=was and f"{n}{was}")
        for n in range(count)
    ]

    assert anew(await esp.push(contacts)) == {each.profile for each in contacts}

    found = simulation.state.contacts.values()
    assert [(each.status, each.fields["str::first"]) for each in found] == [("unsubscribed", "x")] * count
    assert [page async for page in esp.opt_outs(None)] == []


@pytest.mark.parametrize("count", [1, 20])
async def test_who_was_archived_and_changes_their_address_takes_the_no_along(
    esp: Ortto, simulation: Simulation, count: int
) -> None:
    olds = [f"old{n}@example.com" for n in range(count)]
    for old in olds:
        simulation.state.add(old)
        simulation.state.hide(old)
    contacts = [
        Contact(n, f"new{n}@example.com", {"FNAME": "x"}, Subscribe.YES, known=True, was=old)
        for n, old in enumerate(olds)
    ]

    assert anew(await esp.push(contacts)) == {each.profile for each in contacts}
    assert anew(await esp.push(contacts)) == {each.profile for each in contacts}

    assert {simulation.state.contact(each.email).status for each in contacts} == {"unsubscribed"}
    told = {opt_out.email async for page in esp.opt_outs(None) for opt_out in page}
    assert told == {*olds, *(each.email for each in contacts)}


async def test_who_is_deleted_while_we_write_does_not_come_back(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    def delete(_: object) -> None:
        simulation.state.spoil = lambda _: None
        simulation.state.delete(ADA)

    simulation.state.spoil = delete

    (refusal,) = await esp.push([Contact(1, ADA, {"FNAME": "Ada"}, known=True)])

    assert refusal.blame is Blame.CONTACT
    assert simulation.state.contact(ADA) is None
