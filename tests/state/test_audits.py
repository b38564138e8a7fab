"""What an audit believes that an ESP has, and what a repair makes of it."""

import pytest
from sqlalchemy import Connection, update

from connectors.base import Blame, Subscribe
from connectors.facts import Consent
from state import audits
from state.audits import Drift
from state.outbox import ACCEPTED
from tests.state.makers import ADA, BOB, START, at, order, profile_id, refresh, save
from tests.state.test_outbox import ALWAYS, contacts, land, offer, refusal, take, want

JOURNEYS = frozenset(ALWAYS)


@pytest.fixture(autouse=True)
def _subscriber(connection: Connection) -> None:
    save(connection, order(1, consent=Consent(given=True, at=START)))
    refresh(connection)


def believed(connection: Connection) -> dict[str, audits.Believed]:
    return audits.believed(connection, "crm", "news", [ADA], {})


def repair(connection: Connection, email: str = ADA, **drift: bool) -> None:
    found = Drift(profile_id(connection, email), email, **drift)
    audits.repair(connection, "crm", [found], JOURNEYS, at(1))


def test_P4_who_was_deleted_at_the_ESP_is_written_again_without_a_subscription(
    connection: Connection,
) -> None:
    land(connection, want(connection))

    repair(connection, missing=True)
    again = offer(connection, want(connection))

    assert [job.contact.subscribe for job in contacts(connection)] == [Subscribe.NO]
    assert (again.contacts, again.joins) == (1, {"Customers": 1})


def test_P5_who_was_deleted_there_is_written_again_though_the_last_writing_was_refused(
    connection: Connection,
) -> None:
    save(connection, order(2, BOB))
    refresh(connection)
    land(connection, want(connection, BOB))
    wanted = want(connection, BOB, fields={"ORDERS": 2})
    offer(connection, wanted)
    take(connection, refusal(connection, Blame.CONTACT, email=BOB))

    repair(connection, BOB, missing=True)

    assert offer(connection, wanted).contacts == 1


@pytest.mark.parametrize(
    "unheard", [{"accepted_at": None}, {"blocked": "not here"}], ids=["nothing accepted", "blocked"]
)
def test_whom_the_ESP_never_took_nobody_looks_for(
    connection: Connection, unheard: dict[str, str | None]
) -> None:
    land(connection, want(connection))
    before = set(believed(connection))

    connection.execute(update(ACCEPTED).values(**unheard))

    assert (before, believed(connection)) == ({ADA}, {})
    assert audits.accepted_people(connection, "crm", 0, 10, asked=True) == []


def test_P10_a_journey_that_history_entered_in_silence_is_not_looked_for(connection: Connection) -> None:
    land(
        connection,
        want(connection, lists={"Customers": True, "Welcome": True}, quiet=frozenset({"Welcome"})),
    )

    assert believed(connection)[ADA].lists == {"Customers"}
