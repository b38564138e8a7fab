"""P3, P5: whose fields and lists are gone at the ESP, or were refused, is found and compared anew, a few at a time."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, select

from connectors.base import Blame
from state import names, offering, outbox, settling
from state.bookkeeping import TouchedRow
from state.outbox import ACCEPTED, MEMBERSHIPS
from state.tables import table
from tests.state.makers import ADA, BOB, SCOPE, START, order, profile_id, refresh, save
from tests.state.test_outbox import ALWAYS, TARGET, land, offer, refusal, take, take_lists, want

TOUCHED = table(TouchedRow)
VIP = replace(SCOPE, sync="vip")


@pytest.fixture(autouse=True)
def _people(connection: Connection) -> None:
    save(connection, order(1), order(2, BOB))
    refresh(connection)


def test_only_who_had_the_field_or_list_is_compared_anew(connection: Connection) -> None:
    land(connection, want(connection, fields={"ORDERS": 1, "CITY": "Paris"}), want(connection, BOB))
    refresh(connection)

    found = names.forget_lost(connection, TARGET, ["CITY"], [])

    assert (found, names.forget_lost(connection, TARGET, ["CITY"], [])) == (1, 0)
    assert refresh(connection) == 1
    again = offer(connection, want(connection, fields={"ORDERS": 1, "CITY": "Paris"}), want(connection, BOB))
    assert (again.fields, again.joins) == ({"CITY": 1}, {})


def test_names_that_differ_in_case_or_stand_in_a_value_are_others(connection: Connection) -> None:
    fields = {"city": 'said "CITY":"Rome"', "TOWN": "CITY"}
    land(connection, want(connection, fields=fields))
    before = connection.scalars(select(ACCEPTED.c.fields)).all()

    assert names.forget_lost(connection, TARGET, ["CITY"], []) == 0
    assert connection.scalars(select(ACCEPTED.c.fields)).all() == before


def test_what_another_sync_brought_to_the_same_ESP_is_gone_as_well(connection: Connection) -> None:
    refresh(connection, VIP)
    vip = replace(TARGET, sync="vip")
    theirs = want(connection, profile=profile_id(connection, ADA, VIP))
    offering.offer(connection, vip, [theirs], START)
    settling.settle_contacts(connection, vip, outbox.contact_jobs(connection, "vip", 0, 9), [], START)
    jobs = outbox.membership_jobs(connection, "vip", "Customers", 0, 9, joins=True)
    settling.settle_memberships(connection, "vip", jobs, [], START)
    alone = names.forget_lost(connection, TARGET, [], ["Customers"])
    beside = replace(TARGET, neighbours=frozenset({"vip"}))

    assert (alone, names.forget_lost(connection, beside, [], ["Customers"])) == (0, 1)


def test_more_people_than_one_transaction_takes_come_in_turns(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "FEW", 1)
    land(connection, want(connection), want(connection, BOB))

    found = [names.forget_lost(connection, TARGET, ["ORDERS"], ["Customers"]) for _ in range(3)]

    assert sum(found) == 2
    assert (connection.scalars(select(MEMBERSHIPS.c.profile)).all(), found[-1]) == ([], 0)


def test_a_field_that_was_refused_is_offered_again_and_no_other(connection: Connection) -> None:
    wanted = want(connection, fields={"ORDERS": 1, "CITY": "Paris", "TOWN": "Paris"})
    offer(connection, wanted)
    take(connection, refusal(connection, Blame.ABSENT, "CITY"), refusal(connection, Blame.FIELD, "TOWN"))
    refresh(connection)

    assert names.offer_again(connection, "crm", "CITY") == 1

    assert (refresh(connection), offer(connection, wanted).fields) == (1, {"CITY": 1})


@pytest.mark.parametrize("doubtful", [True, False])
def test_P10_a_journey_that_may_have_begun_is_not_offered_again(
    connection: Connection,
    doubtful: bool,  # noqa: FBT001 - a case
) -> None:
    offer(connection, want(connection))
    take(connection)
    said = replace(refusal(connection, Blame.ABSENT, "Customers"), doubtful=doubtful)
    take_lists(connection, said)

    found = names.offer_again(connection, "crm", "Customers")

    assert found == (0 if doubtful else 1)
    assert offer(connection, want(connection), journeys=ALWAYS).joins == (
        {} if doubtful else {"Customers": 1}
    )


def test_a_leaving_that_was_refused_is_offered_again(connection: Connection) -> None:
    land(connection, want(connection))
    gone = want(connection, lists={"Customers": False})
    offer(connection, gone)
    take_lists(connection, refusal(connection, Blame.MEMBERSHIP, "Customers"))

    assert names.offer_again(connection, "crm", "Customers") == 1
    assert offer(connection, gone).leaves == {"Customers": 1}


def test_who_is_to_leave_a_list_that_seems_gone_leaves_it(connection: Connection) -> None:
    """A listing may have been wrong: where it was not, the leaving does no harm."""
    land(connection, want(connection))
    gone = want(connection, lists={"Customers": False})
    offer(connection, gone)

    assert names.forget_lost(connection, TARGET, [], ["Customers"]) == 0
    assert offer(connection, gone).leaves == {"Customers": 1}


def test_P10_who_is_compared_anew_for_what_is_gone_has_no_news(connection: Connection) -> None:
    land(connection, want(connection))
    before = connection.execute(select(TOUCHED.c.revision, TOUCHED.c.news)).all()

    names.forget_lost(connection, TARGET, ["ORDERS"], [])

    after = connection.execute(select(TOUCHED.c.revision, TOUCHED.c.news)).all()
    assert max(before) < max(after)
    assert {row.news for row in before} == {row.news for row in after}


def test_more_people_than_one_transaction_takes_who_could_not_leave_are_offered_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "FEW", 1)
    land(connection, want(connection), want(connection, BOB))
    gone = [want(connection, email, lists={"Customers": False}) for email in (ADA, BOB)]
    offer(connection, *gone)
    refused = [refusal(connection, Blame.MEMBERSHIP, "Customers", email) for email in (ADA, BOB)]
    take_lists(connection, *refused)

    while names.offer_again(connection, "crm", "Customers"):
        pass

    assert offer(connection, *gone).leaves == {"Customers": 2}
