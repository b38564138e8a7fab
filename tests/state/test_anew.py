"""P3, P4 and P10 where what was sent landed on a contact that had nothing else of ours: it is sent whole, once."""

import pytest
from sqlalchemy import Connection, select

from connectors.base import Blame, Subscribe
from connectors.facts import Consent
from state import settling
from state.bookkeeping import TouchedRow
from state.offering import Desired
from state.outbox import ACCEPTED, MEMBERSHIPS
from state.tables import table
from tests.state.makers import ADA, BOB, START, at, order, profile_id, refresh, save
from tests.state.test_outbox import (
    TARGET,
    contacts,
    land,
    letters,
    offer,
    refusal,
    take_lists,
    want,
)

TOUCHED = table(TouchedRow)
BOTH = {"Customers": True, "Welcome": True}
KEPT = frozenset({"Welcome"})


@pytest.fixture(autouse=True)
def _people(connection: Connection) -> None:
    save(connection, order(1), order(2, BOB))
    refresh(connection)


def wanted(connection: Connection, orders: int, email: str = ADA) -> Desired:
    fields = {"ORDERS": orders, "CITY": "Paris", "PHONE": None}
    return want(connection, email, profile=profile_id(connection), fields=fields, lists=BOTH)


def take_anew(connection: Connection, *others: Blame) -> int:
    """Let the ESP take what waits, and say that there was nothing of ours."""
    said = [refusal(connection, blame) for blame in (Blame.ANEW, *others)]
    return settling.settle_contacts(connection, TARGET, contacts(connection), said, START, kept=KEPT)


def lists(connection: Connection) -> set[str]:
    return set(connection.scalars(select(MEMBERSHIPS.c.list)))


def accepted_word(connection: Connection) -> str | None:
    found: str | None = connection.scalar(select(ACCEPTED.c.subscribe))
    return found


def test_P3_a_contact_that_was_made_anew_is_offered_whole_once(connection: Connection) -> None:
    land(connection, wanted(connection, 1))
    offer(connection, wanted(connection, 2))

    landed = take_anew(connection)
    remembered, touched = lists(connection), refresh(connection)
    again = offer(connection, wanted(connection, 2))
    (job,) = contacts(connection)
    land(connection, wanted(connection, 2))
    last = offer(connection, wanted(connection, 2))

    assert (landed, touched, letters(connection)) == (1, 1, [])
    assert remembered == {"Welcome"}  # P10: nobody begins a journey again
    assert (again.contacts, again.created, again.joins) == (1, 0, {"Customers": 1})
    assert (job.contact.fields, job.contact.known) == ({"ORDERS": 2, "CITY": "Paris"}, True)
    assert (last.contacts, last.joins) == (0, {})


def test_P3_an_address_that_was_anothers_is_offered_whole_and_renames_nobody(connection: Connection) -> None:
    land(connection, wanted(connection, 1))
    offer(connection, wanted(connection, 1, BOB))

    take_anew(connection)
    offer(connection, wanted(connection, 1, BOB))

    (job,) = contacts(connection)
    assert (job.contact.email, job.contact.was, job.contact.known) == (BOB, None, True)
    assert job.contact.fields == {"ORDERS": 1, "CITY": "Paris"}


def test_P3_an_esp_that_says_so_each_time_is_written_to_twice(connection: Connection) -> None:
    land(connection, wanted(connection, 1))
    refresh(connection)

    offered = []
    for _ in range(4):
        offered.append(offer(connection, wanted(connection, 2)).contacts)
        take_anew(connection)
        take_lists(connection)

    assert offered == [1, 1, 0, 0]
    assert (refresh(connection), refresh(connection)) == (1, 0)


def test_P3_whose_writing_was_whole_and_who_was_in_no_list_is_left_alone(connection: Connection) -> None:
    plain = want(connection, lists={})
    land(connection, plain)
    offer(connection, want(connection, fields={"ORDERS": 2}, lists={}))

    take_anew(connection)

    assert refresh(connection) == 0
    assert offer(connection, want(connection, fields={"ORDERS": 2}, lists={})).contacts == 0


def test_P5_what_is_refused_of_a_contact_that_was_made_anew_is_not_offered_again(
    connection: Connection,
) -> None:
    land(connection, wanted(connection, 1))
    offer(connection, wanted(connection, 2))
    said = [refusal(connection, Blame.ANEW), refusal(connection, Blame.FIELD, "ORDERS")]
    settling.settle_contacts(connection, TARGET, contacts(connection), said, START)

    offer(connection, wanted(connection, 2))

    assert [job.contact.fields for job in contacts(connection)] == [{"CITY": "Paris"}]
    assert letters(connection) == [f"profile {profile_id(connection)} field ORDERS"]


@pytest.mark.parametrize("blame", [Blame.CONTACT, Blame.BROKEN, Blame.LATER])
def test_P5_what_did_not_land_forgets_nothing(connection: Connection, blame: Blame) -> None:
    land(connection, wanted(connection, 1))
    offer(connection, wanted(connection, 2))

    take_anew(connection, blame)

    assert (lists(connection), refresh(connection)) == ({"Customers", "Welcome"}, 0)
    assert connection.scalars(select(ACCEPTED.c.fields)).one() != "{}"


def test_P4_who_was_subscribed_and_made_anew_is_known_and_told_when_they_take_it_back(
    connection: Connection,
) -> None:
    """Known, they are not subscribed by a connector; and a no still goes to whoever has that address."""
    save(connection, order(3, consent=Consent(given=True, at=START)))
    refresh(connection)
    land(connection, wanted(connection, 1))
    offer(connection, wanted(connection, 2))
    take_anew(connection)
    offer(connection, wanted(connection, 2))
    (again,) = contacts(connection)
    land(connection, wanted(connection, 2))

    save(connection, order(4, consent=Consent(given=False, at=at(9))))
    refresh(connection)
    offer(connection, wanted(connection, 2))

    assert (again.contact.known, accepted_word(connection)) == (True, Subscribe.YES)
    assert [job.contact.subscribe for job in contacts(connection)] == [Subscribe.STOP]


def test_P2_what_they_are_about_to_leave_is_left_though_a_run_ends_before_it(connection: Connection) -> None:
    land(connection, wanted(connection, 1))
    leaving = want(
        connection, ADA, profile=profile_id(connection), fields={"ORDERS": 2}, lists={"Customers": False}
    )
    offer(connection, leaving)

    take_anew(connection)
    again = offer(connection, leaving)  # the run was killed: the next one compares anew

    assert again.leaves == {"Customers": 1}
