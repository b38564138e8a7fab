"""P4: nobody is subscribed without proof, whatever happens in whatever order."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Blame, Contact, Subscribe
from connectors.esps.mailchimp import archive, delivery
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.esps.mailchimp.simulated.audience import SimulatedAudience, subscriber_hash
from connectors.simulation import Simulation

EMAILS = ("ada@example.com", "bob@example.com", "eve@example.com")
RANK = {"subscribed": 2, "pending": 1}
DOINGS = ("add", "unsubscribe", "clean", "archive", "forget")

pushes = st.builds(
    Contact,
    profile=st.just(1),
    email=st.sampled_from(EMAILS),
    fields=st.dictionaries(st.sampled_from(["FNAME", "ADDRESS"]), st.sampled_from(["x", None])),
    subscribe=st.sampled_from(Subscribe),
    known=st.booleans(),
    was=st.none() | st.sampled_from(EMAILS),
)
doings = st.tuples(st.sampled_from(DOINGS), st.sampled_from(EMAILS))
"""What people and the owner do between our pushes."""


def most(step: Contact, email: str, before: Mapping[str, str]) -> int:
    """How far `email` may be subscribed after this push, given everybody's status before it."""
    known = [before.get(email), before.get(step.was or "") if email == step.email else None]
    ranks = [RANK.get(status or "", 0) for status in known]
    if email == step.email and email not in before:
        ranks.append({Subscribe.YES: 2, Subscribe.ASK: 1}.get(step.subscribe, 0))
    return max(ranks)


def let(state: SimulatedAudience, doing: str, email: str) -> None:
    """Let somebody sign up, or leave in one of the ways; nothing happens where it makes no sense."""
    if doing == "forget":
        state.forget(email)
    elif doing == "add" and not state.contact(email) and subscriber_hash(email) not in state.forgotten:
        state.add(email)
    elif doing != "add" and state.contact(email):
        getattr(state, doing)(email)


@pytest.mark.parametrize("single_writes", [50, 0])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(pushes | doings, min_size=2, max_size=12))
async def test_P4_no_sequence_of_pushes_raises_a_status(
    steps: Sequence[Contact | tuple[str, str]],
    single_writes: int,
    esp: Mailchimp,
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SINGLE_WRITES", single_writes)
    simulation.state.members.clear()
    simulation.state.forgotten.clear()
    for step in steps:
        before = {email: contact.status for email, contact in simulation.state.contacts.items()}
        if isinstance(step, Contact):
            await esp.push([step])
        else:
            let(simulation.state, *step)
            continue

        for email, contact in simulation.state.contacts.items():
            assert RANK.get(contact.status, 0) <= most(step, email, before)


@pytest.mark.parametrize("lookups", [50, 1], ids=["looked up", "read from the archive"])
async def test_P4_who_was_archived_comes_back_unmailable_and_counts_as_opted_out(
    esp: Mailchimp, simulation: Simulation, lookups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LOOKUPS", lookups)
    for email in EMAILS[:2]:
        simulation.state.add(email, "unsubscribed")
        simulation.state.archive(email)
    contacts = [Contact(n, email, {"FNAME": "x"}, Subscribe.YES) for n, email in enumerate(EMAILS)]

    refusals = await esp.push(contacts)

    assert [(each.profile, each.blame) for each in refusals] == [(0, Blame.OPTED_OUT), (1, Blame.OPTED_OUT)]
    statuses = [simulation.state.contact(email).status for email in EMAILS]
    assert statuses == ["transactional", "transactional", "subscribed"]


async def test_P4_whom_we_knew_and_who_was_deleted_comes_back_unmailable(
    esp: Mailchimp, simulation: Simulation
) -> None:
    await esp.push([Contact(1, EMAILS[0], {"FNAME": "x"}, Subscribe.YES, known=True)])

    assert simulation.state.contact(EMAILS[0]).status == "transactional"


async def test_the_archive_is_read_on_from_where_it_was_left(
    esp: Mailchimp, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LOOKUPS", 0)
    simulation.state.add("old@example.com")
    simulation.state.archive("old@example.com")
    await esp.push([Contact(1, EMAILS[0], {}, Subscribe.YES)])
    simulation.requests.clear()

    await esp.push([Contact(2, EMAILS[1], {}, Subscribe.YES)])

    asked = [seen.query for seen in simulation.requests if "status=archived" in seen.query]
    assert len(asked) == 1
    assert "since_last_changed=" in asked[0]
