from collections.abc import Sequence
from datetime import timedelta

import pytest

from connectors.base import OptOut
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.esps.mailchimp.simulated.audience import Member, subscriber_hash
from connectors.simulation import Simulation
from tests.connectors.esps.mailchimp.conftest import NOW
from tests.connectors.esps.specs import Recorder


async def everybody(esp: Mailchimp, since_hours_ago: float | None = None) -> list[OptOut]:
    since = None if since_hours_ago is None else NOW - timedelta(hours=since_hours_ago)
    return [opt_out async for page in esp.opt_outs(since) for opt_out in page]


def leave(simulation: Simulation, emails: Sequence[str], minutes: float = 0) -> None:
    """Let people unsubscribe, each so many minutes after the one before, the last one now."""
    for number, email in enumerate(emails, start=1 - len(emails)):
        simulation.state.add(email)
        simulation.state.unsubscribe(email)
        simulation.state.find(email).changed = NOW + timedelta(minutes=minutes * number)


async def test_everybody_who_may_not_be_mailed_is_told_with_the_reason(
    esp: Mailchimp, simulation: Simulation
) -> None:
    for name in ("in", "out", "bounced", "archived"):
        simulation.state.add(f"{name}@example.com")
    simulation.state.unsubscribe("out@example.com")
    simulation.state.clean("bounced@example.com")
    simulation.state.archive("archived@example.com")

    assert await everybody(esp) == [
        OptOut("out@example.com", "unsubscribed", NOW, NOW),
        OptOut("bounced@example.com", "cleaned", NOW, NOW),
        OptOut("archived@example.com", "archived", NOW, NOW),
    ]


async def test_nobody_is_nobody(esp: Mailchimp, simulation: Simulation) -> None:
    assert await everybody(esp) == []
    assert simulation.counts() == {"GET": 3}


async def test_only_what_changed_lately_is_read_with_an_hour_of_overlap(
    esp: Mailchimp, simulation: Simulation, recorder: Recorder
) -> None:
    leave(simulation, ["d@example.com", "c@example.com", "b@example.com", "a@example.com"], minutes=60)

    opt_outs = await everybody(esp, since_hours_ago=1)

    assert {each.email for each in opt_outs} == {"a@example.com", "b@example.com"}
    assert dict(recorder.sent[0].query)["since_last_changed"] == "2026-11-04T06:15:30+00:00"


@pytest.mark.parametrize("minutes", [0, 0.001, 0.5, 10])
@pytest.mark.parametrize("count", [999, 1000, 1001, 3500])
async def test_thousands_are_read_however_close_they_changed(
    esp: Mailchimp, simulation: Simulation, count: int, minutes: float
) -> None:
    people = [f"person-{number}@example.com" for number in range(count)]
    leave(simulation, people, minutes)

    opt_outs = await everybody(esp)

    assert {each.email for each in opt_outs} == set(people)
    assert len(opt_outs) < 1.25 * count + 100


@pytest.mark.parametrize("minutes", [0, 1])
async def test_nobody_is_skipped_while_others_change(
    esp: Mailchimp, simulation: Simulation, minutes: float
) -> None:
    people = [f"person-{number}@example.com" for number in range(3000)]
    leave(simulation, people, minutes)

    seen = set()
    async for page in esp.opt_outs(None):
        seen |= {each.email for each in page}
        for email in people[:50]:
            simulation.state.find(email).changed = NOW + timedelta(minutes=1)
        del people[:50]

    assert len(seen) == 3000


async def test_a_server_that_knows_no_order_is_read_by_offset(esp: Mailchimp, simulation: Simulation) -> None:
    people = [f"person-{number}@example.com" for number in range(2500)]
    leave(simulation, people, minutes=1)
    plain = simulation.state.listed
    simulation.state.listed = lambda *asked: _Unsorted(plain(*asked))

    assert {each.email for each in await everybody(esp)} == set(people)


class _Unsorted(list[Member]):
    def sort(self, **_: object) -> None:
        """Take an order that has nothing to do with time."""
        super().sort(key=lambda member: subscriber_hash(member.email))
