"""Runs, dead letters, how far a sync has come, and all that is known of one person."""

from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import Connection, Select, literal, select, union_all

from connectors.base import Blame, Page, Refusal
from connectors.errors import BadRecord
from connectors.facts import Consent, Money, Person, Refund, Source, Standing
from state import evaluation, facts, offering, outbox, runs, settling
from state.dossier import AcceptedContact, Membership, OrderLine, Origin, Word, dossier
from state.evaluation import SyncState
from state.offering import Desired
from state.outbox import Target
from state.runs import Run
from tests.state.makers import (
    ADA,
    BOB,
    NOW,
    PROFILES,
    SCOPE,
    START,
    at,
    checkout,
    customer,
    eur,
    opt_out,
    order,
    profile_id,
    refresh,
    save,
)

TARGET = Target("crm", "news", "from_store")


# --- runs ----------------------------------------------------------------------------------------------


def test_runs_are_listed_the_newest_first(connection: Connection) -> None:
    first = runs.start_run(connection, "crm", "backfill", START)
    runs.end_run(connection, first, "done", {"pushed": 3}, at(1))
    second = runs.start_run(connection, "crm", "sync", at(2))
    other = runs.start_run(connection, "other", "sync", at(3))

    assert runs.list_runs(connection, "crm") == [
        Run(second, "crm", "sync", at(2), None, None, {}),
        Run(first, "crm", "backfill", START, at(1), "done", {"pushed": 3}),
    ]
    assert [run.id for run in runs.list_runs(connection, most=2)] == [other, second]


def test_a_run_of_a_clock_that_was_ahead_is_not_the_last_for_ever(connection: Connection) -> None:
    for moment in (at(900), START):
        number = runs.start_run(connection, "crm", "sync", moment)
        runs.end_run(connection, number, "done", {}, moment)

    assert runs.list_runs(connection, "crm", most=1)[0].started_at == START
    assert runs.last_end(connection, "crm", ["done"]) == START


# --- dead letters --------------------------------------------------------------------------------------


def test_P5_a_record_that_fails_again_counts_up_and_keeps_its_first_date(connection: Connection) -> None:
    runs.bury(connection, "shop", [BadRecord("order 1", "first"), BadRecord("order 2", "x")], START)
    runs.bury(connection, "shop", [BadRecord("order 1", "second")], at(5))

    letter, _ = runs.list_dead_letters(connection, ["shop"])

    assert (letter.reason, letter.times, letter.first_at, letter.last_at) == ("second", 2, START, at(5))


def test_P5_only_the_records_that_went_through_are_dug_out(connection: Connection) -> None:
    bad = [BadRecord(f"order {number}", "no") for number in range(3)]
    runs.bury(connection, "shop", bad, START)
    runs.bury(connection, "outlet", bad, START)

    runs.unbury(connection, "shop", [f"order {number}" for number in (1, 2, *range(10, 1000))])

    assert [letter.record for letter in runs.list_dead_letters(connection, ["shop"])] == ["order 0"]
    assert runs.count_dead_letters(connection, ["outlet"]) == 3


def test_dead_letters_are_counted_by_what_their_record_begins_with(connection: Connection) -> None:
    for record in ("order 1", "order% 1", "orders 1", "profile 1"):
        runs.bury(connection, "crm", [BadRecord(record, "no")], START)

    assert runs.count_dead_letters(connection, ["crm"], "order ") == 1
    assert runs.count_dead_letters(connection, ["crm"], "order%") == 1
    assert runs.count_dead_letters(connection, ["crm", "shop"]) == 4


# --- how far a sync has come ---------------------------------------------------------------------------


@pytest.fixture
def known(connection: Connection) -> Connection:
    """Know two people of one sync."""
    for each in (order(1), order(2, BOB)):
        save(connection, each)
        refresh(connection)
    return connection


def test_a_sync_remembers_how_far_it_has_come(known: Connection) -> None:
    journeys = {"Welcome": "digest of its rule"}
    evaluation.mark_figures(known, "crm", at(2))
    evaluation.mark_opt_outs(known, "crm", at(3))
    evaluation.mark_evaluated(known, "crm", 2, "digest", at(4), journeys=journeys)

    assert evaluation.sync_state(known, "crm") == SyncState(
        2, 2, at(4), "digest", at(2), at(3), at(4), journeys, SCOPE.digest
    )


def test_P10_a_sync_goes_live_once_and_not_before_the_opt_outs_are_known(known: Connection) -> None:
    evaluation.mark_evaluated(known, "crm", 2, "digest", at(1), journeys={})
    before = evaluation.sync_state(known, "crm").go_live_at
    evaluation.mark_opt_outs(known, "crm", at(2))
    for minute in (4, 9):
        evaluation.mark_evaluated(known, "crm", 2, "digest", at(minute), journeys={})

    assert (before, evaluation.sync_state(known, "crm").go_live_at) == (None, at(4))


def test_P6_due_are_those_whose_facts_changed_and_those_whom_time_has_moved(known: Connection) -> None:
    ada, bob = profile_id(known), profile_id(known, BOB)
    moved = select(PROFILES.c.id).where(PROFILES.c.email == ADA)

    assert evaluation.due_profiles(known, "crm", 0, None) == [ada, bob]
    assert evaluation.due_profiles(known, "crm", 1, None) == [bob]
    assert evaluation.due_profiles(known, "crm", 1, moved) == [ada, bob]
    assert evaluation.due_profiles(known, "crm", 2, None) == []


def test_the_whole_base_is_handed_out_in_portions_to_each_sync_its_own(known: Connection) -> None:
    ada, bob = profile_id(known), profile_id(known, BOB)
    other = replace(SCOPE, sync="other")
    refresh(known, other)

    assert evaluation.all_profiles(known, "crm", 0, 1) == [ada]
    assert evaluation.all_profiles(known, "crm", ada, 1) == [bob]
    assert evaluation.all_profiles(known, "crm", bob, 1) == []
    assert evaluation.all_profiles(known, "other", 0, 9) == [
        profile_id(known, ADA, other),
        profile_id(known, BOB, other),
    ]
    assert [row.id for row in evaluation.rows(known, evaluation.these([bob]))] == [bob]
    assert (evaluation.count_profiles(known, "crm"), evaluation.count_profiles(known, "third")) == (2, 0)


def figure(*values: float | None) -> Select[tuple[int, float | None]]:
    ranked = union_all(
        *(
            select(literal(rank).label("rank"), literal(value).label("value"))
            for rank, value in enumerate(values)
        )
    ).subquery()
    return select(ranked.c.rank, ranked.c.value)


def test_a_figure_says_whether_it_changed(known: Connection) -> None:
    assert evaluation.save_figure(known, "crm", "average", figure(1.5)) is True
    assert evaluation.save_figure(known, "crm", "average", figure(1.5)) is False
    assert evaluation.save_figure(known, "crm", "average", figure(1.5, 2.0)) is True
    assert evaluation.save_figure(known, "crm", "average", figure(None, 2.0)) is True
    assert evaluation.save_figure(known, "other", "average", figure(None, 2.0)) is True


def test_a_comparison_reads_the_mappings_rows_and_offers_what_they_want(known: Connection) -> None:
    query = select(PROFILES.c.id, PROFILES.c.email, PROFILES.c.orders_count).where(PROFILES.c.sync == "crm")

    found = evaluation.compare(
        known, TARGET, query, lambda row: Desired(row.id, row.email, {"ORDERS": row.orders_count}, {}), START
    )

    assert (found.contacts, found.fields) == (2, {"ORDERS": 2})


def test_P10_history_is_told_from_news_person_by_person(known: Connection) -> None:
    ada, bob = (profile_id(known, email) for email in (ADA, BOB))
    evaluation.mark_evaluated(known, "crm", 2, "digest", START, journeys={})
    before = evaluation.has_history(known, "crm")
    facts.save_page(known, "shop", Page([order(3), order(4, BOB)], ""), NOW, history=True)
    save(known, order(5, BOB))

    found = [
        evaluation.without_news(known, "crm", [ada, bob], untouched=untouched) for untouched in (False, True)
    ]

    assert (before, evaluation.has_history(known, "crm"), found) == (False, True, [{ada}, {ada}])


def test_P10_what_another_scope_moves_is_history_for_whom_there_is_no_news(known: Connection) -> None:
    ada, bob = (profile_id(known, email) for email in (ADA, BOB))
    evaluation.mark_evaluated(known, "crm", 2, "digest", START, journeys={})
    save(known, order(5, BOB))

    assert evaluation.without_news(known, "crm", [ada, bob], untouched=True) == {ada}
    assert evaluation.without_news(known, "crm", [ada, bob], untouched=False) == set()


# --- all that is known of one person -------------------------------------------------------------------


def test_nobody_has_no_dossier(known: Connection) -> None:
    assert dossier(known, SCOPE, "nobody@example.com") is None


def test_a_dossier_says_of_each_order_whether_it_counts_and_why_not(connection: Connection) -> None:
    standings = [each for each in Standing if each is not Standing.PAID]
    save(connection, *(order(each.value, standing=each, created_at=at(1)) for each in standings))
    save(connection, order(1), order(2, refunds=[Refund("a", "2", eur(1000))]))
    save(connection, order(4, total=Money(5, "GBP"), created_at=at(2)), order(5, total=0))
    refresh(connection)

    found = dossier(connection, SCOPE, ADA)

    assert found is not None
    assert {line.number: line.why_not for line in found.orders} == {
        "N1": None,
        "N2": "refunded in full",
        "N4": "counted, but amounts are unknown: no rate for GBP",
        "N5": None,
        "Nunpaid": "not paid",
        "Ncancelled": "cancelled",
        "Nrefunded": "refunded in full",
        "Ntest": "a test order",
        "Ndeleted": "deleted in the store",
    }
    assert found.orders[1] == OrderLine(
        "shop", "N2", "completed", START, "EUR", 1000, 1000, 0, "refunded in full"
    )
    assert found.accounts == []
    assert found.accepted is None


def test_what_a_dossiers_orders_add_is_what_was_spent(connection: Connection) -> None:
    yen, dollars = Money(1000, "JPY"), Money(1001, "USD")
    save(
        connection,
        order(1, total=yen),
        order(2, total=dollars, refunds=[Refund("a", "2", Money(500, "USD"))]),
    )
    save(
        connection,
        order(3),
        order(4, standing=Standing.UNPAID),
        order(5, refunds=[Refund("b", "5", eur(1200))]),
    )
    rated = replace(SCOPE, rates={"JPY": Decimal("0.0061"), "USD": Decimal("0.5")})
    refresh(connection, rated)

    found = dossier(connection, rated, ADA)

    assert found is not None
    assert [line.worth_minor for line in found.orders] == [610, 251, 1000, 0, 0]
    assert found.columns["total_spent"] == 1861


def test_a_dossiers_order_without_a_rate_adds_nobody_knows_what(connection: Connection) -> None:
    save(connection, order(1, total=Money(5, "GBP")))
    refresh(connection)

    found = dossier(connection, SCOPE, ADA)

    assert found is not None
    assert (found.orders[0].worth_minor, found.columns["total_spent"]) == (None, None)


def test_a_dossier_holds_accounts_words_and_columns(connection: Connection) -> None:
    save(connection, customer(5, consent=Consent(given=True, at=at(1), level="single_opt_in")))
    opt_out(connection, ADA, when=at(2))
    opt_out(connection, ADA, when=at(3), esp="other")
    refresh(connection)

    found = dossier(connection, SCOPE, ADA)

    assert found is not None
    assert found.words == [
        Word("shop", "customer 5", given=True, at=at(1), level="single_opt_in", counts=False),
        Word("esp:news", "contact", given=False, at=at(2), level="unsubscribed", counts=False),
        Word("esp:other", "contact", given=False, at=at(3), level="unsubscribed", counts=True),
    ]
    assert (found.accounts, found.columns["accepts_marketing"]) == (["shop:5"], False)
    assert found.columns["email"] == ADA


def test_a_dossier_says_what_the_esp_took_what_it_refused_and_what_waits(known: Connection) -> None:
    profile = profile_id(known)
    lists = {"Customers": True, "Fans": True, "Welcome": True}
    wanted = Desired(profile, ADA, {"ORDERS": 1, "PHONE": "12"}, lists, frozenset({"Welcome"}))
    offering.offer(known, TARGET, [wanted], START, journeys={"Welcome": START})
    refused = Refusal(profile, Blame.FIELD, "too short", "PHONE")
    settling.settle_contacts(known, TARGET, outbox.contact_jobs(known, "crm", 0, 9), [refused], START)
    jobs = outbox.membership_jobs(known, "crm", "Fans", 0, 9, joins=True)
    settling.settle_memberships(
        known, "crm", jobs, [Refusal(profile, Blame.MEMBERSHIP, "full", "Fans")], at(1)
    )

    found = dossier(known, SCOPE, ADA)

    assert found is not None
    assert found.accepted == AcceptedContact(
        ADA,
        {"ORDERS": 1},
        {"PHONE": "too short"},
        refused_whole=False,
        subscribe="no",
        accepted_at=START,
        blocked=None,
        waiting=True,
    )
    assert found.lists == {
        "Customers": Membership(waits="join"),
        "Fans": Membership(at=at(1), refused="full"),
        "Welcome": Membership(inside=True, at=START, told=False, entered_at=START, quiet=True),
    }
    assert [letter.record for letter in found.letters] == [
        f"profile {profile} field PHONE",
        f"profile {profile} list Fans",
    ]
    jobs = outbox.membership_jobs(known, "crm", "Customers", 0, 9, joins=True)
    settling.settle_memberships(known, "crm", jobs, [], START)
    landed = dossier(known, SCOPE, ADA)
    assert landed is not None
    assert landed.accepted is not None
    assert not landed.accepted.waiting


def test_a_dossier_names_the_record_that_each_fact_came_from(connection: Connection) -> None:
    somebody = Person("Ada", "Lovelace", city="Paris", phone="+33612345678", country="FR")
    source = Source(name="google", evidence="utm_source=google")
    save(
        connection, order(1, person=somebody, source=source), order(2, created_at=at(5), person=Person("Ida"))
    )
    save(connection, customer(7, created_at=at(3), updated_at=at(9)), store="outlet")
    save(connection, checkout(9, created_at=at(4), updated_at=at(20)))
    refresh(connection)

    found = dossier(connection, SCOPE, ADA)

    assert found is not None
    assert found.origins["first_name"] == Origin("shop", "order 2", at(5))
    assert found.origins["phone"] == found.origins["city"] == Origin("shop", "order 1", START)
    assert found.origins["lead_source"] == found.origins["lead_source_evidence"]
    assert found.origins["lead_source"] == Origin("shop", "order 1", START)
    assert found.origins["signup_at"] == Origin("outlet", "customer 7", at(9))
    assert "company" not in found.origins


def test_a_dossier_names_the_checkout_that_is_open(connection: Connection) -> None:
    older, newer = checkout(1), checkout(2, url="https://shop.example/2", updated_at=at(4))
    save(connection, newer, older, order(1, created_at=at(-9)))
    refresh(connection)

    found = dossier(connection, SCOPE, ADA)

    assert found is not None
    assert found.columns["checkout_id"] == "2"
    assert found.origins["checkout_url"] == Origin("shop", "checkout 2", at(4))
