"""Journeys that begin with a call: once for each, and what became of a lost call is not guessed."""

import pytest

from connectors.base import Blame, Contact, Journeys, Member, Subscribe
from connectors.errors import Retryable
from connectors.esps.autopilot.connector import Autopilot
from connectors.simulation import Fault, Kind, Simulation

ADA, BOB = Member(1, "ada+1@example.com"), Member(2, "bob@example.com")
WELCOME = "0003"


@pytest.fixture(autouse=True)
async def _people(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.triggers[WELCOME] = "Welcome"
    await esp.push([Contact(each.profile, each.email, {}, Subscribe.YES) for each in (ADA, BOB)])


def started(simulation: Simulation) -> list[str]:
    return [simulation.state.people[person].email for _, person in simulation.state.started]


def test_it_says_that_it_can(esp: Autopilot) -> None:
    assert isinstance(esp, Journeys)


async def test_a_journey_is_started_for_each(esp: Autopilot, simulation: Simulation) -> None:
    assert await esp.start(WELCOME, [ADA, BOB]) == []

    assert sorted(started(simulation)) == [ADA.email, BOB.email]


async def test_triggers_that_are_not_there_are_named_with_those_that_are(esp: Autopilot) -> None:
    assert await esp.find_triggers([WELCOME, "0004"]) == {
        "0004": "Autopilot has no such trigger; it has 0003 (Welcome)"
    }


@pytest.mark.parametrize("fault", [Fault(Kind.DROP), Fault(Kind.AFTER, 500), Fault(Kind.TRUNCATE)], ids=str)
async def test_a_call_whose_answer_is_lost_is_not_made_again(
    esp: Autopilot, simulation: Simulation, fault: Fault
) -> None:
    simulation.fail(fault, when=lambda _method, path: "/trigger/" in path and "ada" in path)

    (refusal,) = await esp.start(WELCOME, [ADA, BOB])

    assert (refusal.profile, refusal.blame) == (1, Blame.MEMBERSHIP)
    assert "nobody knows whether the journey began" in refusal.reason
    assert "@" not in refusal.reason
    assert sorted(started(simulation)) == [ADA.email, BOB.email]


async def test_a_429_did_nothing_and_is_tried_again(esp: Autopilot, simulation: Simulation) -> None:
    simulation.fail(Fault(status=429), times=2, when=lambda _method, path: "/trigger/" in path)

    assert await esp.start(WELCOME, [ADA]) == []

    assert started(simulation) == [ADA.email]


async def test_somebody_who_is_not_there_stops_no_other(esp: Autopilot, simulation: Simulation) -> None:
    (refusal,) = await esp.start(WELCOME, [Member(9, "ghost@example.com"), ADA])

    assert (refusal.profile, refusal.reason) == (9, "the journey did not begin: Contact could not be found.")
    assert started(simulation) == [ADA.email]


async def test_an_Autopilot_that_is_down_is_noticed_before_anybody_is_in_doubt(
    esp: Autopilot, simulation: Simulation
) -> None:
    simulation.fail(Fault(status=503), times=100)

    with pytest.raises(Retryable):
        await esp.find_triggers([WELCOME])
