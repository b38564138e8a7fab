"""P4: nobody is subscribed without proof, whatever happens in whatever order."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Contact, Subscribe
from connectors.esps.mailchimp import Mailchimp, delivery
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
    if email == step.email and before.get(email) in {None, "archived"}:
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
