"""P3, P5, P10, P12: only changes are laid down, one refusal stops nothing, unknown is not false."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from connectors.base import Blame, Contact, Member, Refusal, Subscribe, Value
from connectors.errors import BadRecord
from connectors.facts import Consent
from mappings.reentry import EVER, NOT_YET
from state import evaluation, offering, outbox, profiles, runs, settling
from state.bookkeeping import SyncRow
from state.codes import decode, decode_contact, digest, encode, encode_contact
from state.offering import Desired, Journeys, Offer
from state.outbox import ContactJob, MembershipJob, Pending, Target
from state.showing import Entries, FieldChange, Sample, entries, field_changes, list_samples
from state.tables import ProfileRow, table
from tests.state.makers import ADA, BOB, EVE, START, at, opt_out, order, profile_id, refresh, save

PROFILES = table(ProfileRow)
TARGET = Target("crm", "news", "from_store")
ALWAYS = {"Welcome": NOT_YET}
NEVER = {"Welcome": EVER}


def want(connection: Connection, email: str = ADA, **changes: Any) -> Desired:
    """Say what is wanted of a profile: by default one order, and a place in Customers."""
    known: dict[str, Any] = {
        "profile": profile_id(connection, email),
        "email": email,
        "fields": {"ORDERS": 1},
        "lists": {"Customers": True},
    }
    return Desired(**known | changes)


def offer(
    connection: Connection,
    *wanted: Desired,
    target: Target = TARGET,
    journeys: Journeys = ALWAYS,
    now: datetime = START,
) -> Offer:
    return offering.offer(connection, target, wanted, now, journeys=journeys)


def contacts(connection: Connection) -> list[ContactJob]:
    return outbox.contact_jobs(connection, "crm", 0, 100)


def members(connection: Connection, name: str = "Customers", *, joins: bool = True) -> list[MembershipJob]:
    return outbox.membership_jobs(connection, "crm", name, 0, 100, joins=joins)


def take(connection: Connection, *refusals: Refusal) -> int:
    """Let the ESP take all contacts that wait, but what is refused."""
    return settling.settle_contacts(connection, TARGET, contacts(connection), refusals, START)


def take_lists(
    connection: Connection,
    *refusals: Refusal,
    name: str = "Customers",
    now: datetime = START,
    journeys: Journeys = ALWAYS,
) -> int:
    jobs = [*members(connection, name), *members(connection, name, joins=False)]
    return settling.settle_memberships(connection, "crm", jobs, refusals, now, journeys=journeys)


def land(
    connection: Connection, *wanted: Desired, journeys: Journeys = ALWAYS, now: datetime = START
) -> Offer:
    """Offer and let everything land; return what was offered."""
    found = offer(connection, *wanted, journeys=journeys, now=now)
    take(connection)
    for name in outbox.pending(connection, "crm").lists:
        take_lists(connection, name=name, now=now, journeys=journeys)
    return found


def refusal(connection: Connection, blame: Blame, name: str | None = None, email: str = ADA) -> Refusal:
    return Refusal(profile_id(connection, email), blame, "the vendor's reason", name)


def letters(connection: Connection) -> list[str]:
    return [letter.record for letter in runs.list_dead_letters(connection, ["crm"])]


def waiting(connection: Connection) -> Pending:
    return outbox.pending(connection, "crm")


@pytest.fixture(autouse=True)
def _people(connection: Connection) -> None:
    """Know two people."""
    save(connection, order(1), order(2, BOB))
    refresh(connection)


# --- P3: only changes ----------------------------------------------------------------------------------


def test_P3_a_new_profile_is_offered_whole(connection: Connection) -> None:
    found = offer(connection, want(connection), want(connection, BOB, lists={}))

    assert found == Offer(2, 2, {"Customers": 1}, {}, {"ORDERS": 2})
    assert [job.contact for job in contacts(connection)] == [
        Contact(profile_id(connection), ADA, {"ORDERS": 1}),
        Contact(profile_id(connection, BOB), BOB, {"ORDERS": 1}),
    ]


def test_P3_offering_nothing_lays_nothing_down(connection: Connection) -> None:
    assert offer(connection) == Offer()


def test_P3_a_second_offer_of_what_landed_lays_nothing_down(connection: Connection) -> None:
    land(connection, want(connection))

    assert offer(connection, want(connection)) == Offer()
    assert waiting(connection) == Pending(0, 0, {})


def test_P3_a_second_offer_of_what_still_waits_lays_the_same_down_once(connection: Connection) -> None:
    offer(connection, want(connection))
    first = contacts(connection)

    offer(connection, want(connection))

    again = contacts(connection)
    assert [job.contact for job in again] == [job.contact for job in first]
    assert again[0].stamp != first[0].stamp
    assert waiting(connection) == Pending(1, 1, {"Customers": 1})


def test_P3_only_the_field_that_changed_is_written(connection: Connection) -> None:
    land(connection, want(connection, fields={"ORDERS": 1, "NAME": "Ada"}))

    found = offer(connection, want(connection, fields={"ORDERS": 2, "NAME": "Ada"}))

    assert (found.contacts, found.created, found.fields) == (1, 0, {"ORDERS": 1})
    assert contacts(connection)[0].contact == Contact(profile_id(connection), ADA, {"ORDERS": 2}, known=True)


def test_P3_a_change_that_is_taken_back_before_it_was_pushed_is_not_written(connection: Connection) -> None:
    land(connection, want(connection))
    offer(connection, want(connection, fields={"ORDERS": 2}, lists={"Customers": False}))

    offer(connection, want(connection))

    assert waiting(connection) == Pending(0, 0, {})


def test_P3_a_profile_without_fields_and_lists_is_still_created_once(connection: Connection) -> None:
    land(connection, want(connection, fields={}, lists={}))

    assert offer(connection, want(connection, fields={}, lists={})).contacts == 0


def test_P3_another_address_is_a_rename(connection: Connection) -> None:
    land(connection, want(connection))

    offer(connection, replace(want(connection), email="new@example.com"))

    assert contacts(connection)[0].contact == Contact(
        profile_id(connection), "new@example.com", {}, known=True, was=ADA
    )
    take(connection)
    assert offer(connection, replace(want(connection), email="new@example.com")).contacts == 0


def test_a_value_that_became_unknown_is_cleared_one_that_always_was_is_not_sent(
    connection: Connection,
) -> None:
    land(connection, want(connection, fields={"NAME": "Ada", "CITY": None}))

    offer(connection, want(connection, fields={"NAME": None, "CITY": None}))

    assert contacts(connection)[0].contact.fields == {"NAME": None}
    take(connection)
    assert offer(connection, want(connection, fields={"NAME": None})).contacts == 0


def test_jobs_are_handed_out_in_portions_after_a_profile(connection: Connection) -> None:
    offer(connection, want(connection), want(connection, BOB))

    (first,) = outbox.contact_jobs(connection, "crm", 0, 1)
    (second,) = outbox.contact_jobs(connection, "crm", first.contact.profile, 1)

    assert (first.contact.email, second.contact.email) == (ADA, BOB)
    assert outbox.contact_jobs(connection, "crm", second.contact.profile, 1) == []
    assert outbox.contact_jobs(connection, "other", 0, 1) == []


def test_a_portion_holds_no_more_people_to_ask_than_wanted_and_all_of_the_others(
    connection: Connection,
) -> None:
    emails = [f"p{number}@example.com" for number in range(10, 16)]
    save(
        connection,
        *(order(n, email, consent=Consent(given=n != 1, at=START)) for n, email in enumerate(emails)),
    )
    refresh(connection)
    wanted = [want(connection, email) for email in emails]
    offer(connection, *wanted, target=replace(TARGET, consent="double_opt_in"))

    first = outbox.contact_jobs(connection, "crm", 0, 100, asked=2)
    second = outbox.contact_jobs(connection, "crm", first[-1].contact.profile, 100, asked=3)

    assert [len(first), len(second)] == [3, 3]
    assert [job.contact.email for job in (*first, *second)] == emails


def test_P3_a_newer_writing_survives_the_settling_of_an_older_one(connection: Connection) -> None:
    offer(connection, want(connection))
    old = contacts(connection)
    offer(connection, want(connection, fields={"ORDERS": 2}))

    settling.settle_contacts(connection, TARGET, old, [], START)

    assert [job.contact.fields for job in contacts(connection)] == [{"ORDERS": 2}]


def test_P3_a_newer_list_change_survives_the_settling_of_an_older_one(connection: Connection) -> None:
    offer(connection, want(connection))
    take(connection)
    old = members(connection)
    offer(connection, want(connection))

    settling.settle_memberships(connection, "crm", old, [], START)

    assert len(members(connection)) == 1


def test_many_profiles_are_compared_and_settled_at_once(connection: Connection) -> None:
    save(connection, *(order(number, f"p{number}@example.com") for number in range(10, 1010)))
    refresh(connection)
    wanted = [want(connection, f"p{number}@example.com") for number in range(10, 1010)]

    offer(connection, *wanted)
    landed = settling.settle_contacts(
        connection, TARGET, outbox.contact_jobs(connection, "crm", 0, 2000), [], START
    )

    assert landed == 1000
    assert offer(connection, *wanted).contacts == 0


# --- lists ---------------------------------------------------------------------------------------------


def test_list_changes_wait_until_their_contact_has_landed(connection: Connection) -> None:
    offer(connection, want(connection))

    assert members(connection) == []
    take(connection)
    assert [(job.member, job.joins) for job in members(connection)] == [
        (Member(profile_id(connection), ADA), True)
    ]


def test_who_leaves_waits_for_no_writing_of_their_contact_but_for_a_new_address(
    connection: Connection,
) -> None:
    land(connection, want(connection), want(connection, BOB))
    gone = {"Customers": False}
    connection.execute(update(PROFILES).where(PROFILES.c.email == BOB).values(email="bob@new.example"))
    moved = want(connection, "bob@new.example", lists=gone)

    offer(connection, want(connection, fields={"ORDERS": 2}, lists=gone), moved)

    assert [job.member.email for job in members(connection, joins=False)] == [ADA]
    take(connection)
    assert [job.member.email for job in members(connection, joins=False)] == [ADA, "bob@new.example"]


def test_who_joined_leaves_when_the_rule_says_so(connection: Connection) -> None:
    land(connection, want(connection))

    found = offer(connection, want(connection, lists={"Customers": False}))

    assert (found.leaves, found.joins) == ({"Customers": 1}, {})
    assert [job.member.email for job in members(connection, joins=False)] == [ADA]
    take_lists(connection)
    assert offer(connection, want(connection, lists={"Customers": False})) == Offer()
    assert outbox.list_sizes(connection, "crm") == {}


@pytest.mark.parametrize("inside", [True, False])
def test_P12_an_unknown_list_neither_adds_nor_removes(connection: Connection, inside: bool) -> None:  # noqa: FBT001 - a case
    land(connection, want(connection, lists={"Fans": inside}))

    found = offer(connection, want(connection, lists={"Fans": None}))

    assert (found.joins, found.leaves) == ({}, {})
    assert outbox.list_sizes(connection, "crm") == ({"Fans": 1} if inside else {})


def test_P10_history_enters_a_journey_without_telling_the_esp(connection: Connection) -> None:
    quiet = want(connection, lists={"Customers": True, "Welcome": True}, quiet=frozenset({"Welcome"}))

    found = offer(connection, quiet)

    assert found.joins == {"Customers": 1}
    assert outbox.list_sizes(connection, "crm") == {"Welcome": 1}
    assert offer(connection, want(connection, lists={"Welcome": True})).joins == {}


def test_P10_after_go_live_a_transition_starts_the_journey(connection: Connection) -> None:
    land(connection, want(connection, lists={"Welcome": False}, quiet=frozenset({"Welcome"})))

    assert offer(connection, want(connection, lists={"Welcome": True})).joins == {"Welcome": 1}


def test_P10_who_entered_quietly_leaves_like_everybody(connection: Connection) -> None:
    land(connection, want(connection, lists={"Welcome": True}, quiet=frozenset({"Welcome"})))

    found = offer(connection, want(connection, lists={"Welcome": False}, quiet=frozenset({"Welcome"})))

    assert found.leaves == {"Welcome": 1}


def welcome(connection: Connection, *, inside: bool, quiet: bool = False) -> Desired:
    lists = {"Welcome": inside}
    return want(connection, lists=lists, quiet=frozenset(lists) if quiet else frozenset())


@pytest.mark.parametrize("quiet", [True, False])
def test_P10_who_was_in_a_journey_before_does_not_begin_it_again_when_that_is_never(
    connection: Connection,
    quiet: bool,  # noqa: FBT001 - a case
) -> None:
    land(connection, welcome(connection, inside=True, quiet=quiet))
    land(connection, welcome(connection, inside=False))

    again = land(connection, welcome(connection, inside=True), journeys=NEVER, now=at(1))
    later = offer(connection, welcome(connection, inside=True), journeys=ALWAYS, now=at(2))
    left = land(connection, welcome(connection, inside=False), journeys=NEVER, now=at(3))
    anew = offer(connection, welcome(connection, inside=True), journeys=ALWAYS, now=at(4))

    assert (again.joins, later.joins) == ({}, {})
    assert (left.leaves, anew.joins) == ({"Welcome": 1}, {"Welcome": 1})


def test_P10_an_entry_bars_another_for_as_long_as_the_journey_says(connection: Connection) -> None:
    land(connection, welcome(connection, inside=True), now=at(5))
    land(connection, welcome(connection, inside=False), now=at(6))

    barred = offer(connection, welcome(connection, inside=True), journeys={"Welcome": at(4)}, now=at(7))
    land(connection, welcome(connection, inside=False), now=at(8))
    free = offer(connection, welcome(connection, inside=True), journeys={"Welcome": at(5)}, now=at(9))

    assert (barred.joins, free.joins) == ({}, {"Welcome": 1})


def test_P10_who_is_inside_a_list_that_becomes_a_journey_counts_as_entered(connection: Connection) -> None:
    land(connection, welcome(connection, inside=True), journeys={})
    land(connection, welcome(connection, inside=True, quiet=True), now=at(1))
    land(connection, welcome(connection, inside=False), now=at(2))

    assert offer(connection, welcome(connection, inside=True), journeys=NEVER).joins == {}


def test_P10_who_was_about_to_leave_such_a_list_and_stays_by_history_counts_as_entered(
    connection: Connection,
) -> None:
    land(connection, welcome(connection, inside=True), journeys={})
    offer(connection, welcome(connection, inside=False))
    land(connection, welcome(connection, inside=True, quiet=True), now=at(1))
    land(connection, welcome(connection, inside=False), now=at(2))

    assert offer(connection, welcome(connection, inside=True), journeys=NEVER).joins == {}


@pytest.mark.parametrize("inside", [True, False])
def test_a_journey_that_becomes_a_plain_list_is_filled_with_whom_nobody_told_of(
    connection: Connection,
    inside: bool,  # noqa: FBT001 - a case
) -> None:
    land(connection, welcome(connection, inside=True, quiet=True))

    found = land(connection, welcome(connection, inside=inside), journeys={})

    assert (found.joins, found.leaves) == ({"Welcome": 1} if inside else {}, {})
    assert outbox.list_sizes(connection, "crm") == ({"Welcome": 1} if inside else {})


@pytest.mark.parametrize(("doubtful", "joins"), [(True, {}), (False, {"Welcome": 1})])
def test_P10_a_journey_that_may_have_begun_counts_as_entered(
    connection: Connection,
    doubtful: bool,  # noqa: FBT001 - a case
    joins: dict[str, int],
) -> None:
    offer(connection, welcome(connection, inside=True))
    take(connection)
    refused = replace(refusal(connection, Blame.MEMBERSHIP, "Welcome"), doubtful=doubtful)
    take_lists(connection, refused, name="Welcome")
    land(connection, welcome(connection, inside=False))

    assert offer(connection, welcome(connection, inside=True), journeys=NEVER).joins == joins


def test_P2_nobody_is_renamed_from_an_address_at_which_somebody_elses_contact_landed(
    connection: Connection,
) -> None:
    """The rename came through before a kill, and then a newcomer to the old address."""
    land(connection, want(connection, lists={}))
    mine = profile_id(connection)
    connection.execute(update(PROFILES).where(PROFILES.c.id == mine).values(email=EVE))
    offer(connection, want(connection, EVE, lists={}))
    before = [job.contact.was for job in contacts(connection)]
    connection.execute(update(PROFILES).where(PROFILES.c.email == BOB).values(email=ADA))
    newcomer = want(connection, ADA, lists={})
    offer(connection, newcomer)
    (theirs,) = [job for job in contacts(connection) if job.contact.profile != mine]
    settling.settle_contacts(connection, TARGET, [theirs], [], START)

    (job,) = contacts(connection)

    assert (before, job.contact.email, job.contact.was) == ([ADA], EVE, None)
    assert (job.contact.known, job.moved) == (True, True)


def test_P5_a_refused_change_that_nobody_wants_any_more_is_no_dead_letter(connection: Connection) -> None:
    offer(connection, welcome(connection, inside=True))
    take(connection)
    take_lists(connection, refusal(connection, Blame.MEMBERSHIP, "Welcome"), name="Welcome")
    standing = letters(connection)

    land(connection, welcome(connection, inside=False))

    assert (standing, letters(connection)) == ([f"profile {profile_id(connection)} list Welcome"], [])


def test_P10_another_audience_does_not_make_a_journey_new(connection: Connection) -> None:
    outbox.settle_in(connection, replace(TARGET, place="audience a"))
    land(connection, welcome(connection, inside=True))
    outbox.settle_in(connection, replace(TARGET, place="audience b"))

    assert offer(connection, welcome(connection, inside=True), journeys=NEVER).joins == {}


# --- P5: refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("blame", [Blame.FIELD, Blame.ABSENT])
def test_P5_a_refused_field_is_left_out_and_not_offered_again_until_its_value_changes(
    connection: Connection, blame: Blame
) -> None:
    offer(connection, want(connection, fields={"ORDERS": 1, "PHONE": "12"}))

    landed = take(connection, refusal(connection, blame, "PHONE"))

    assert landed == 1
    assert offer(connection, want(connection, fields={"ORDERS": 1, "PHONE": "12"})).contacts == 0
    changed = offer(connection, want(connection, fields={"ORDERS": 1, "PHONE": "+33612345678"}))
    assert changed.fields == {"PHONE": 1}


def test_P5_a_refused_field_is_one_dead_letter_until_it_lands(connection: Connection) -> None:
    offer(connection, want(connection, fields={"ORDERS": 1, "PHONE": "12"}))
    take(connection, refusal(connection, Blame.FIELD, "PHONE"))

    assert letters(connection) == [f"profile {profile_id(connection)} field PHONE"]

    land(connection, want(connection, fields={"ORDERS": 1, "PHONE": "+33612345678"}))

    assert letters(connection) == []


def test_P5_a_field_that_the_esp_does_not_have_is_no_dead_letter_of_each_contact(
    connection: Connection,
) -> None:
    offer(connection, want(connection))
    take(connection, refusal(connection, Blame.ABSENT, "ORDERS"))

    assert letters(connection) == []


def test_P5_a_refused_value_that_goes_back_to_the_accepted_one_is_not_written(connection: Connection) -> None:
    land(connection, want(connection, fields={"PHONE": "+33612345678"}))
    offer(connection, want(connection, fields={"PHONE": "12"}))
    take(connection, refusal(connection, Blame.FIELD, "PHONE"))

    assert offer(connection, want(connection, fields={"PHONE": "+33612345678"})).contacts == 0


@pytest.mark.parametrize("email", [ADA, "moved@example.com"])
def test_P5_whose_contact_is_refused_leaves_lists_all_the_same_but_joins_none(
    connection: Connection, email: str
) -> None:
    land(connection, want(connection))
    profile = profile_id(connection)
    connection.execute(update(PROFILES).where(PROFILES.c.id == profile).values(email=email))
    worse = want(connection, email, fields={"ORDERS": -1})
    offer(connection, worse)
    take(connection, Refusal(profile, Blame.CONTACT, "the vendor's reason"))

    found = offer(connection, replace(worse, lists={"Customers": False, "Fans": True}))

    assert (found.contacts, found.joins, found.leaves) == (0, {}, {"Customers": 1})
    assert [job.member.email for job in members(connection, joins=False)] == [ADA]


def test_P5_who_never_landed_has_nothing_to_leave(connection: Connection) -> None:
    quiet = want(connection, lists={"Welcome": True}, quiet=frozenset({"Welcome"}))
    offer(connection, quiet)
    take(connection, refusal(connection, Blame.CONTACT))

    found = offer(connection, replace(quiet, lists={"Welcome": False}))

    assert (found, waiting(connection)) == (Offer(), Pending(0, 0, {}))


def test_P5_a_refused_contact_is_offered_again_when_its_content_changes(connection: Connection) -> None:
    offer(connection, want(connection), want(connection, BOB))

    assert take(connection, refusal(connection, Blame.CONTACT)) == 1

    assert letters(connection) == [f"profile {profile_id(connection)}"]
    assert waiting(connection) == Pending(0, 0, {"Customers": 1})
    assert offer(connection, want(connection)) == Offer()
    assert offer(connection, want(connection, fields={"ORDERS": 2})) == Offer(
        1, 1, {"Customers": 1}, {}, {"ORDERS": 1}
    )
    take(connection)
    assert letters(connection) == []


def test_P5_a_refused_change_keeps_what_was_accepted_before(connection: Connection) -> None:
    land(connection, want(connection))
    offer(connection, want(connection, fields={"ORDERS": 2}))
    take(connection, refusal(connection, Blame.CONTACT))

    assert offer(connection, want(connection)).contacts == 0
    assert offer(connection, want(connection, fields={"ORDERS": 3})).created == 0


def test_P5_a_blocked_address_is_never_offered_again_a_changed_one_begins_anew(
    connection: Connection,
) -> None:
    land(connection, want(connection, fields={"ORDERS": 1, "NAME": "Ada"}))
    offer(connection, want(connection, fields={"ORDERS": 2, "NAME": "Ada"}))
    assert take(connection, refusal(connection, Blame.BLOCKED)) == 0

    assert offer(connection, want(connection, fields={"ORDERS": 3})) == Offer()

    changed = replace(want(connection), email="new@example.com")
    assert offer(connection, changed) == Offer(1, 1, {"Customers": 1}, {}, {"ORDERS": 1})
    assert contacts(connection)[0].contact == Contact(
        profile_id(connection), "new@example.com", {"ORDERS": 1}
    )


def test_P4_a_new_address_that_is_blocked_leaves_the_old_contact_known(connection: Connection) -> None:
    """Else nobody could rename it or unsubscribe it any more."""
    land(connection, want(connection))
    typo = replace(want(connection), email="ada@gmil.com")
    offer(connection, typo)
    take(connection, refusal(connection, Blame.BLOCKED))

    again = offer(connection, typo)
    mended = offer(connection, replace(typo, email="new@example.com", lists={"Customers": False}))

    assert (again, mended.leaves) == (Offer(), {"Customers": 1})
    assert contacts(connection)[0].contact == Contact(
        profile_id(connection), "new@example.com", {}, known=True, was=ADA
    )


def test_the_owner_may_have_a_contact_at_which_the_esp_broke_tried_at_once(connection: Connection) -> None:
    offer(connection, want(connection))
    take(connection, refusal(connection, Blame.BROKEN))
    (later,) = settling.broken_contacts(connection, "crm").values()

    settling.retry(connection, "crm")

    (due,) = settling.broken_contacts(connection, "crm").values()
    assert due < START < later


def test_P5_a_blocked_address_stays_blocked_although_another_one_was_refused_since(
    connection: Connection,
) -> None:
    offer(connection, want(connection))
    take(connection, refusal(connection, Blame.BLOCKED))
    changed = replace(want(connection), email="new@example.com")
    offer(connection, changed)
    take(connection, refusal(connection, Blame.CONTACT))

    assert offer(connection, changed) == Offer()
    assert offer(connection, want(connection)) == Offer()


def test_P5_lists_wait_for_nobody_who_is_blocked(connection: Connection) -> None:
    offer(connection, want(connection), want(connection, BOB))
    take(connection, refusal(connection, Blame.BLOCKED))

    assert [job.member.email for job in members(connection)] == [BOB]


def test_P5_a_refused_entry_is_not_offered_again_until_the_rule_changes_its_mind(
    connection: Connection,
) -> None:
    offer(connection, want(connection))
    take(connection)

    assert take_lists(connection, refusal(connection, Blame.MEMBERSHIP, "Customers")) == 0

    assert letters(connection) == [f"profile {profile_id(connection)} list Customers"]
    assert outbox.list_sizes(connection, "crm") == {}
    assert offer(connection, want(connection)) == Offer()
    assert offer(connection, want(connection, lists={"Customers": False})) == Offer()
    assert offer(connection, want(connection)).joins == {"Customers": 1}
    take_lists(connection)
    assert letters(connection) == []


def test_P5_a_refused_exit_leaves_the_member_where_they_are(connection: Connection) -> None:
    land(connection, want(connection))
    offer(connection, want(connection, lists={"Customers": False}))
    take_lists(connection, refusal(connection, Blame.MEMBERSHIP, "Customers"))

    assert outbox.list_sizes(connection, "crm") == {"Customers": 1}
    assert offer(connection, want(connection, lists={"Customers": False})) == Offer()
    assert offer(connection, want(connection)) == Offer()
    assert offer(connection, want(connection, lists={"Customers": False})).leaves == {"Customers": 1}


def test_P5_nobody_is_in_a_list_that_the_esp_does_not_have(connection: Connection) -> None:
    land(connection, want(connection))
    offer(connection, want(connection, lists={"Customers": False}))
    take_lists(connection, refusal(connection, Blame.ABSENT, "Customers"))

    assert outbox.list_sizes(connection, "crm") == {}
    assert letters(connection) == []


def test_P5_a_retry_offers_everything_refused_again_but_blocked_addresses(connection: Connection) -> None:
    offer(connection, want(connection, fields={"ORDERS": 1, "PHONE": "12"}), want(connection, BOB))
    take(connection, refusal(connection, Blame.FIELD, "PHONE"), refusal(connection, Blame.BLOCKED, email=BOB))
    take_lists(connection, refusal(connection, Blame.MEMBERSHIP, "Customers"))

    retried = settling.retry(connection, "crm")

    assert list(retried) == letters(connection)
    assert list(retried.values()) == [1, 1, 1]
    assert refresh(connection) == 1
    found = offer(connection, want(connection, fields={"ORDERS": 1, "PHONE": "12"}), want(connection, BOB))
    assert found == Offer(1, 0, {"Customers": 1}, {}, {"PHONE": 1})


def test_P5_a_letter_stays_until_it_landed_and_counts_up_when_it_is_refused_again(
    connection: Connection,
) -> None:
    wanted = want(connection, fields={"ORDERS": 1, "PHONE": "12"})
    offer(connection, wanted)
    take(connection, refusal(connection, Blame.FIELD, "PHONE"))
    for times in (1, 2):
        retried = settling.retry(connection, "crm")
        offer(connection, wanted)
        take(connection, refusal(connection, Blame.FIELD, "PHONE"))
        settling.drop_landed(connection, "crm", retried)
        (letter,) = runs.list_dead_letters(connection, ["crm"])
        assert (letter.times, letter.first_at) == (times + 1, START)

    retried = settling.retry(connection, "crm")
    offer(connection, wanted)
    take(connection)
    settling.drop_landed(connection, "crm", retried)

    assert letters(connection) == []


def test_P5_a_retry_offers_what_the_esp_did_not_have_although_it_was_no_letter(
    connection: Connection,
) -> None:
    offer(connection, want(connection))
    take(connection, refusal(connection, Blame.ABSENT, "ORDERS"))

    settling.retry(connection, "crm")

    assert refresh(connection) == 1
    assert offer(connection, want(connection)).fields == {"ORDERS": 1}


def test_P5_a_retry_offers_refused_contacts_and_exits(connection: Connection) -> None:
    land(connection, want(connection))
    offer(connection, want(connection, fields={"ORDERS": 2}, lists={"Customers": True}))
    take(connection, refusal(connection, Blame.CONTACT))
    land(connection, want(connection, BOB))
    offer(connection, want(connection, BOB, lists={"Customers": False}))
    take_lists(connection, refusal(connection, Blame.MEMBERSHIP, "Customers", BOB))

    settling.retry(connection, "crm")

    assert refresh(connection) == 2
    assert offer(connection, want(connection, fields={"ORDERS": 2})).contacts == 1
    assert offer(connection, want(connection, BOB, lists={"Customers": False})).leaves == {"Customers": 1}


def test_a_retry_leaves_orders_without_a_rate_where_they_are(connection: Connection) -> None:
    runs.bury(connection, "crm", [BadRecord("order shop/7", "no rate")], START)
    runs.bury(connection, "crm", [BadRecord("name PHONE", "no such field")], START)

    retried = settling.retry(connection, "crm")
    settling.drop_landed(connection, "crm", retried)

    assert retried == {"name PHONE": 1}
    assert letters(connection) == ["order shop/7"]


def test_two_refusals_of_one_contact_are_both_kept(connection: Connection) -> None:
    offer(connection, want(connection, fields={"A": 1, "B": 2, "C": 3}))
    take(connection, refusal(connection, Blame.FIELD, "A"), refusal(connection, Blame.FIELD, "B"))

    assert len(letters(connection)) == 2
    assert offer(connection, want(connection, fields={"A": 1, "B": 2, "C": 4})).fields == {"C": 1}


# --- another place -------------------------------------------------------------------------------------


def test_a_sync_that_writes_to_another_audience_offers_everything_again_quietly(
    connection: Connection,
) -> None:
    syncs = table(SyncRow)
    land(connection, want(connection))
    assert not outbox.settle_in(connection, Target("crm", "news", "from_store", "audience a"))
    connection.execute(syncs.update().values(go_live_at=START, evaluated_at=START, opt_outs_at=START))

    assert outbox.settle_in(connection, Target("crm", "news", "from_store", "audience b"))

    row = connection.execute(select(syncs)).one()
    assert (row.go_live_at, row.evaluated_at, row.opt_outs_at) == (None, None, None)
    assert offer(connection, want(connection)).created == 1
    assert not outbox.settle_in(connection, Target("crm", "news", "from_store", "audience b"))


# --- what is shown -------------------------------------------------------------------------------------


def test_what_waits_can_be_shown_before_it_is_written(connection: Connection) -> None:
    land(connection, want(connection, fields={"ORDERS": 1, "NAME": "Ada"}))
    offer(
        connection,
        want(connection, fields={"ORDERS": 2, "NAME": None}, lists={"Customers": False}),
        want(connection, BOB, lists={"Customers": True, "Fans": True}),
    )

    assert waiting(connection) == Pending(2, 1, {"Customers": 2, "Fans": 1})
    assert field_changes(connection, "crm", 9) == [
        FieldChange("ORDERS", 2, sets=1, changes=1, samples=[Sample(ADA, 1, 2), Sample(BOB, None, 1)]),
        FieldChange("NAME", 1, clears=1, samples=[Sample(ADA, "Ada", None)]),
    ]
    assert entries(connection, "crm") == {"Customers": Entries(1, 1), "Fans": Entries(1, 0)}
    assert list_samples(connection, "crm", "Customers", joins=False, most=9) == [ADA]


def test_another_value_is_a_better_sample_than_a_first_one(connection: Connection) -> None:
    land(connection, want(connection, BOB, fields={"ORDERS": 1}))
    offer(connection, want(connection, fields={"ORDERS": 5}), want(connection, BOB, fields={"ORDERS": 2}))

    (change,) = field_changes(connection, "crm", 1)

    assert (change.count, change.samples) == (2, [Sample(BOB, 1, 2)])


# --- values as text ------------------------------------------------------------------------------------

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@given(values)
def test_P3_a_value_written_as_text_comes_back_exactly(value: Value) -> None:
    found = decode(encode(value))

    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)
    assert isinstance(found, str) == isinstance(value, str)


@given(values, values)
def test_P3_two_kinds_of_value_never_look_alike(one: Value, other: Value) -> None:
    if encode(one) == encode(other):
        assert (one == other, isinstance(one, bool)) == (True, isinstance(other, bool))


def test_numbers_and_texts_that_look_alike_are_apart() -> None:
    codes = [encode(value) for value in (1, True, "1", "n:1", Decimal("1.0"), date(2026, 1, 1), "", None)]

    assert len(set(codes)) == 8


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values), st.sampled_from(Subscribe))
def test_a_contact_survives_the_outbox(fields: Mapping[str, Value], subscribe: Subscribe) -> None:
    contact = Contact(7, ADA, fields, subscribe, known=True, was=BOB)
    codes = {name: encode(value) for name, value in fields.items()}

    assert decode_contact(encode_contact(contact, codes), "") == contact
    assert digest(contact) != digest(replace(contact, known=False))


# --- opt-outs from the ESP -----------------------------------------------------------------------------


def test_P4_an_opt_out_that_the_esp_tells_of_makes_its_person_dirty_once(connection: Connection) -> None:
    opt_out(connection, ADA, when=at(1), reason="cleaned")

    assert refresh(connection) == 1

    opt_out(connection, ADA, when=at(9))

    assert refresh(connection) == 0


def test_P4_a_contact_that_landed_but_had_opted_out_is_remembered(connection: Connection) -> None:
    offer(connection, want(connection))

    assert take(connection, refusal(connection, Blame.OPTED_OUT)) == 1

    refresh(connection)
    row = connection.execute(select(profiles.PROFILES).where(profiles.PROFILES.c.email == ADA)).one()
    assert (row.accepts_marketing, row.consent_origin) == (False, "esp:news")
    assert letters(connection) == []


def test_a_contact_that_is_left_for_later_stays_in_the_outbox_as_it_is(connection: Connection) -> None:
    offer(connection, want(connection), want(connection, BOB))
    (left,) = [job for job in contacts(connection) if job.contact.email == ADA]

    assert take(connection, refusal(connection, Blame.LATER)) == 1

    assert contacts(connection) == [left]
    assert waiting(connection).lists == {"Customers": 2}
    assert letters(connection) == []


def test_a_contact_at_which_the_esp_broke_is_a_dead_letter_until_the_next_run_lands_it(
    connection: Connection,
) -> None:
    offer(connection, want(connection))
    take(connection)
    save(connection, order(2, consent=Consent(given=False, at=at(1))))
    refresh(connection)
    connection.execute(update(settling.ACCEPTED).values(subscribe=Subscribe.YES))
    offer(connection, want(connection), want(connection, BOB))
    (stop,) = [job for job in contacts(connection) if job.contact.subscribe is Subscribe.STOP]

    assert take(connection, refusal(connection, Blame.BROKEN)) == 1

    assert contacts(connection) == [stop]
    assert letters(connection) == [f"profile {stop.contact.profile} broken"]
    offer(connection, want(connection))  # compared anew, it is as urgent as it was
    assert [job.contact.subscribe for job in contacts(connection)] == [Subscribe.STOP]
    assert take(connection) == 1
    assert (contacts(connection), letters(connection)) == ([], [])


def test_a_sync_that_never_ran_knows_nothing(connection: Connection) -> None:
    assert evaluation.sync_state(connection, "other") == evaluation.SyncState(
        0, 0, None, None, None, None, None
    )
