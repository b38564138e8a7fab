"""P5: what was refused of people because the ESP does not have them yet is offered again once it does."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from sqlalchemy import Connection, func, select

from connectors.base import Blame, Contact, Refusal, Subscribe
from connectors.errors import BadRecord
from connectors.facts import Consent
from state import confirmations, runs, settling
from state.bookkeeping import TouchedRow
from state.facts import next_revision
from state.offering import Desired, Offer
from state.outbox import Pending, Target
from state.tables import MembershipRow, table
from tests.state.makers import ADA, BOB, EVE, START, at, customer, order, profile_id, refresh, save
from tests.state.test_outbox import contacts, letters, members, offer, waiting

REASON = "not there"
TARGET = Target("crm", "news", "double_opt_in")
MEMBERSHIPS, TOUCHED = table(MembershipRow), table(TouchedRow)
LISTS = ("Customers", "Welcome")


def want(connection: Connection, email: str = ADA, orders: int = 1) -> Desired:
    return Desired(profile_id(connection, email), email, {"ORDERS": orders}, dict.fromkeys(LISTS, True))


def push(connection: Connection, refused: Mapping[str, str], *, contacts_too: bool = False) -> None:
    """Let the ESP take what waits, but the lists of these addresses, and their contacts too; each for its reason."""
    reasons = {profile_id(connection, email): reason for email, reason in refused.items()}
    bad = [Refusal(each, Blame.CONTACT, reason) for each, reason in reasons.items()] if contacts_too else []
    settling.settle_contacts(connection, TARGET, contacts(connection), bad, START)
    for name in LISTS:
        jobs = members(connection, name)
        lost = [
            Refusal(job.member.profile, Blame.MEMBERSHIP, reasons[job.member.profile], name)
            for job in jobs
            if job.member.profile in reasons
        ]
        settling.settle_memberships(connection, "crm", jobs, lost, START, journeys={"Welcome"})


def ask(connection: Connection, refused: Mapping[str, str]) -> None:
    """Ask both to confirm; of these the lists are refused."""
    offer(connection, want(connection), want(connection, BOB), target=TARGET)
    push(connection, refused)


def confirm(connection: Connection, *emails: str) -> None:
    profiles = {profile_id(connection, email) for email in emails}
    confirmations.offer_again(connection, "crm", profiles, REASON)


def addresses(connection: Connection) -> set[str]:
    return set(confirmations.waiting(connection, "crm", REASON))


@pytest.fixture(autouse=True)
def _people(connection: Connection) -> None:
    yes = Consent(given=True, at=START)
    save(connection, order(1, consent=yes), order(2, BOB, consent=yes))
    refresh(connection)


def test_who_waits_is_known_by_address(connection: Connection) -> None:
    ask(connection, {ADA: f"{REASON}: not clicked yet", BOB: "left this list"})

    assert addresses(connection) == {ADA}
    assert confirmations.waiting(connection, "crm", REASON)[ADA] == {profile_id(connection)}
    assert confirmations.waiting(connection, "other", REASON) == {}


def test_only_contacts_and_lists_wait_for_a_click(connection: Connection) -> None:
    profile = profile_id(connection)
    records = [f"profile {profile} field PHONE", f"profile {profile} broken", "name Fans", "order 7"]
    runs.bury(connection, "crm", [BadRecord(record, REASON) for record in records], START)

    assert addresses(connection) == set()


def test_nobody_waits_where_nothing_was_refused(connection: Connection) -> None:
    ask(connection, {})

    assert addresses(connection) == set()


def test_who_moved_since_waits_under_both_addresses(connection: Connection) -> None:
    new = "eve@new.example"
    save(connection, customer(7, EVE))
    refresh(connection)
    offer(connection, want(connection, EVE), target=TARGET)
    push(connection, {EVE: REASON})
    save(connection, customer(7, new, updated_at=at(9)))
    refresh(connection)

    assert addresses(connection) == {EVE, new}


def test_lists_that_were_refused_are_offered_again_once(connection: Connection) -> None:
    ask(connection, {ADA: REASON, BOB: REASON})
    assert offer(connection, want(connection), target=TARGET).joins == {}

    confirm(connection, ADA)

    found = offer(connection, want(connection), want(connection, BOB), target=TARGET)
    assert (found.contacts, found.joins) == (0, {"Customers": 1, "Welcome": 1})
    assert letters(connection) == [f"profile {profile_id(connection, BOB)} list {name}" for name in LISTS]
    assert addresses(connection) == {BOB}
    push(connection, {})
    assert waiting(connection) == Pending(0, 0, {})


def test_what_was_refused_of_the_contact_is_offered_again_and_subscribes_nobody(
    connection: Connection,
) -> None:
    ask(connection, {})
    offer(connection, want(connection, orders=2), target=TARGET)
    push(connection, {ADA: REASON}, contacts_too=True)
    assert offer(connection, want(connection, orders=2), target=TARGET).contacts == 0

    confirm(connection, ADA)

    offer(connection, want(connection, orders=2), target=TARGET)
    (job,) = contacts(connection)
    assert job.contact == Contact(profile_id(connection), ADA, {"ORDERS": 2}, Subscribe.ASK, known=True)
    assert not job.contact.may_be_asked
    assert letters(connection) == []


def test_what_was_refused_for_another_reason_stays_so(connection: Connection) -> None:
    """Nor is a reason the same that has the words of another somewhere."""
    ask(connection, {ADA: f"left this list, {REASON}", BOB: REASON})
    offer(connection, want(connection, orders=2), target=TARGET)
    push(connection, {ADA: "no address"}, contacts_too=True)
    before = letters(connection)

    confirm(connection, ADA)

    assert letters(connection) == before
    assert offer(connection, want(connection, orders=2), target=TARGET).contacts == 0
    refused = select(func.count()).where(MEMBERSHIPS.c.profile == profile_id(connection))
    assert connection.scalar(refused.where(MEMBERSHIPS.c.refused.is_not(None))) == len(LISTS)


def test_content_that_is_refused_for_another_reason_is_not_offered_with_the_lists(
    connection: Connection,
) -> None:
    ask(connection, {ADA: REASON})
    offer(connection, want(connection, orders=2), target=TARGET)
    push(connection, {ADA: "no address"}, contacts_too=True)

    confirm(connection, ADA)

    assert offer(connection, want(connection, orders=2), target=TARGET) == Offer()
    assert letters(connection) == [f"profile {profile_id(connection)}"]


def test_who_could_not_leave_is_inside_still(connection: Connection) -> None:
    ask(connection, {})
    nowhere = replace(want(connection), lists={"Customers": False})
    offer(connection, nowhere, target=TARGET)
    leaves = members(connection, joins=False)
    refused = Refusal(profile_id(connection), Blame.MEMBERSHIP, REASON, "Customers")
    settling.settle_memberships(connection, "crm", leaves, [refused], START)

    confirm(connection, ADA)

    assert offer(connection, nowhere, target=TARGET) == Offer()
    assert offer(connection, want(connection), target=TARGET).joins == {}


def test_a_reason_is_no_pattern(connection: Connection) -> None:
    ask(connection, {ADA: REASON})

    assert confirmations.waiting(connection, "crm", "not_there") == {}
    assert confirmations.waiting(connection, "crm", "%") == {}


def test_a_dead_letter_about_nothing_touches_somebody_once(connection: Connection) -> None:
    ask(connection, {ADA: REASON})
    settling.retry(connection, "crm")
    assert addresses(connection) == {ADA}

    confirm(connection, ADA)

    assert addresses(connection) == set()
    assert runs.list_dead_letters(connection, ["crm"]) == []


def test_people_who_have_confirmed_are_evaluated_again_as_news(connection: Connection) -> None:
    ask(connection, {ADA: REASON, BOB: REASON})
    revision = next_revision(connection)

    confirm(connection, ADA)

    touched = select(TOUCHED.c.email, TOUCHED.c.revision, TOUCHED.c.news).where(
        TOUCHED.c.revision >= revision
    )
    assert connection.execute(touched).all() == [(ADA, revision, revision)]
