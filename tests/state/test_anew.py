"""P3, P4 and P10 where what was sent landed on a contact that had nothing else of ours: it is sent whole, once."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, select

from connectors.base import Blame, Subscribe
from connectors.facts import Consent
from state import offering, outbox, settling, syncs
from state.bookkeeping import TouchedRow
from state.offering import Desired
from state.outbox import ACCEPTED, MEMBERSHIPS, Target
from state.tables import table
from tests.state.makers import ADA, BOB, SCOPE, START, at, order, profile_id, refresh, save
from tests.state.test_outbox import (
    ALWAYS,
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
VIP = replace(SCOPE, sync="vip")
"""Another sync of the same stores."""
BESIDE = replace(TARGET, neighbours=frozenset({"vip"}))
"""Both write to the same contacts."""


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


def test_P10_who_was_made_anew_has_no_news(connection: Connection) -> None:
    """Else an old order that comes to light just then would begin a journey."""
    land(connection, wanted(connection, 1))
    offer(connection, wanted(connection, 2))
    before = set(connection.scalars(select(TOUCHED.c.news)))

    take_anew(connection)

    assert (set(connection.scalars(select(TOUCHED.c.news))), refresh(connection)) == (before, 1)


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


def neighbour(connection: Connection) -> tuple[Desired, Desired]:
    """Let another sync have its fields and lists accepted."""
    refresh(connection, VIP)
    syncs.note(connection, "vip", journeys='{"Welcome": ""}')
    theirs, others = (
        Desired(profile_id(connection, email, VIP), email, fields={"TIER": "gold", "NOTE": None}, lists=BOTH)
        for email in (ADA, BOB)
    )
    offering.offer(connection, replace(TARGET, sync="vip"), [theirs, others], START, journeys=ALWAYS)
    jobs = outbox.contact_jobs(connection, "vip", 0, 100)
    settling.settle_contacts(connection, replace(TARGET, sync="vip"), jobs, [], START)
    for name in BOTH:
        entries = outbox.membership_jobs(connection, "vip", name, 0, 100, joins=True)
        settling.settle_memberships(connection, "vip", entries, [], START, journeys=KEPT)
    return theirs, others


def made_anew(connection: Connection, target: Target) -> tuple[int, dict[str, int], int]:
    """Make a contact anew for one sync; return what the next run of another compares, joins and sends."""
    people = neighbour(connection)
    land(connection, wanted(connection, 1))
    offer(connection, wanted(connection, 2))
    jobs, said = contacts(connection), [refusal(connection, Blame.ANEW)]
    settling.settle_contacts(connection, target, jobs, said, START, kept=KEPT)
    touched = refresh(connection, VIP)
    found = offering.offer(connection, replace(TARGET, sync="vip"), people, START, journeys=ALWAYS)
    return touched, found.joins, found.contacts


def test_P3_what_another_sync_brought_to_a_contact_that_was_made_anew_is_offered_again(
    connection: Connection,
) -> None:
    assert made_anew(connection, BESIDE) == (1, {"Customers": 1}, 1)
    (job,) = outbox.contact_jobs(connection, "vip", 0, 100)
    assert (job.contact.fields, job.contact.known, job.contact.was) == ({"TIER": "gold"}, True, None)


def test_P3_what_a_sync_brought_to_another_ESP_is_there_still(connection: Connection) -> None:
    _touched, *offered = made_anew(connection, TARGET)
    assert offered == [{}, 0]


def test_P3_two_syncs_that_hear_it_each_time_come_to_an_end(connection: Connection) -> None:
    made_anew(connection, BESIDE)
    vip, ours = replace(TARGET, sync="vip", neighbours=frozenset({"crm"})), BESIDE
    offered = []
    for _ in range(3):
        for target in (vip, ours):
            jobs = outbox.contact_jobs(connection, target.sync, 0, 100)
            said = [replace(refusal(connection, Blame.ANEW), profile=job.contact.profile) for job in jobs]
            settling.settle_contacts(connection, target, jobs, said, START, kept=KEPT)
            for job in outbox.membership_jobs(connection, target.sync, "Customers", 0, 100, joins=True):
                settling.settle_memberships(connection, target.sync, [job], [], START)
        refresh(connection, VIP)
        refresh(connection)
        theirs = Desired(profile_id(connection, ADA, VIP), ADA, fields={"TIER": "gold"}, lists=BOTH)
        offered.append(
            offering.offer(connection, vip, [theirs], START, journeys=ALWAYS).contacts
            + offer(connection, wanted(connection, 2), target=ours).contacts
        )

    assert offered[-1] == 0
