"""P4: nobody is subscribed without proof, an opt-out anywhere sticks, the newest word wins."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import Connection

from connectors.base import Blame, Refusal, Subscribe
from connectors.facts import Consent
from state import consents, evaluation, offering, outbox, settling
from state.db import Database
from state.offering import Desired
from state.outbox import Target
from state.scope import Scope
from tests.state.makers import (
    ADA,
    BOB,
    EVE,
    SCOPE,
    START,
    at,
    customer,
    opt_out,
    order,
    profile_id,
    refresh,
    save,
)

LEE = "lee@example.com"
SETTINGS = {"from_store": Subscribe.YES, "double_opt_in": Subscribe.ASK, "never_subscribe": Subscribe.NO}
moments = st.integers(0, 6).map(at)
words = st.none() | st.builds(Consent, given=st.booleans(), at=moments)


class People(RuleBasedStateMachine):
    """One person, their words in two stores and at the ESP, and runs in between."""

    database: ClassVar[Database]
    setting: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.connection = self.database._engine.connect()
        self.target = Target("crm", "news", self.setting)
        self.words: dict[str, Consent] = {}
        self.clock = START
        self.writing = 0
        self.subscribed = self.refused = False
        save(self.connection, order("first"))

    def tick(self) -> datetime:
        self.clock += timedelta(minutes=1)
        return self.clock

    def note(self, record: str, word: Consent | None) -> None:
        """Silence takes a yes away, and never a no."""
        if word:
            self.words[record] = word
        elif record in self.words and self.words[record].given:
            del self.words[record]

    @rule(number=st.integers(1, 2), store=st.sampled_from(["shop", "outlet"]), word=words)
    def an_order_says(self, number: int, store: str, word: Consent | None) -> None:
        save(self.connection, order(number, consent=word, updated_at=self.tick()), store=store)
        self.note(f"{store} order {number}", word)

    @rule(store=st.sampled_from(["shop", "outlet"]), word=words)
    def an_account_says(self, store: str, word: Consent | None) -> None:
        save(self.connection, customer(1, consent=word, updated_at=self.tick()), store=store)
        self.note(f"{store} account", word)

    @rule(moment=moments)
    def the_esp_says(self, moment: datetime) -> None:
        word = Consent(given=False, at=moment)
        opt_out(self.connection, ADA, when=moment)
        self.words.setdefault("esp", word)

    @rule(changed=st.booleans())
    def a_run_lands(self, changed: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        job = self.offered(changed=changed)
        if job:
            self.settle([])
            self.subscribed, self.refused = self.after(job.contact.subscribe), False
        if self.newest() and not self.newest_is_given() and "esp" not in self.newest():
            assert self.refused or not self.subscribed

    @rule()
    def a_run_is_refused(self) -> None:
        if self.offered(changed=True):
            self.settle([Refusal(profile_id(self.connection), Blame.CONTACT, "no")])
            self.refused = True

    def offered(self, *, changed: bool) -> outbox.ContactJob | None:
        """Compare; return the job that was laid down, after a look at what it says of subscribing."""
        refresh(self.connection)
        self.writing += changed
        wanted = Desired(profile_id(self.connection), ADA, {"RUNS": self.writing}, {})
        offering.offer(self.connection, self.target, [wanted], START)
        jobs = outbox.contact_jobs(self.connection, "crm", 0, 9)
        for job in jobs:
            self.judge(job.contact.subscribe)
        return jobs[0] if jobs else None

    def judge(self, subscribe: Subscribe) -> None:
        if subscribe in {Subscribe.YES, Subscribe.ASK}:
            assert self.newest_is_given()
            assert subscribe is SETTINGS[self.setting]
        if subscribe is Subscribe.STOP:
            assert self.subscribed
            assert self.newest()
            assert not self.newest_is_given()

    def settle(self, refusals: list[Refusal]) -> None:
        jobs = outbox.contact_jobs(self.connection, "crm", 0, 9)
        settling.settle_contacts(self.connection, self.target, jobs, refusals, START)

    def after(self, subscribe: Subscribe) -> bool:
        """Tell whether we have subscribed them, after one more writing."""
        if subscribe is Subscribe.STOP:
            return False
        return self.subscribed or subscribe is not Subscribe.NO

    def newest(self) -> dict[str, Consent]:
        latest = max((word.at for word in self.words.values()), default=START)
        return {record: word for record, word in self.words.items() if word.at == latest}

    def newest_is_given(self) -> bool:
        return bool(self.newest()) and all(word.given for word in self.newest().values())

    def teardown(self) -> None:
        self.connection.close()


@pytest.mark.parametrize("setting", SETTINGS)
def test_P4_nobody_is_subscribed_without_proof_whatever_is_said_when_and_where(
    database: Database, setting: str
) -> None:
    machine = type("Machine", (People,), {"database": database, "setting": setting})

    half = settings(max_examples=settings().max_examples // 2, stateful_step_count=15)
    run_state_machine_as_test(machine, settings=half)  # type: ignore[no-untyped-call]


# --- in single steps -----------------------------------------------------------------------------------

GIVEN, TAKEN_BACK = Consent(given=True, at=at(1)), Consent(given=False, at=at(2))


def said(
    connection: Connection,
    fields: int,
    setting: str = "from_store",
    *,
    email: str = ADA,
    scope: Scope = SCOPE,
) -> Subscribe | None:
    """Run once and let it land; return what was said of subscribing, None when nothing was written."""
    target = Target("crm", "news", setting)
    refresh(connection, scope)
    wanted = Desired(profile_id(connection, email), email, {"RUNS": fields}, {})
    offering.offer(connection, target, [wanted], START)
    jobs = outbox.contact_jobs(connection, "crm", 0, 9)
    settling.settle_contacts(connection, target, jobs, [], START)
    return jobs[0].contact.subscribe if jobs else None


@pytest.mark.parametrize(("setting", "subscribe"), SETTINGS.items())
def test_P4_a_proof_subscribes_as_the_owner_set_it(
    connection: Connection, setting: str, subscribe: Subscribe
) -> None:
    save(connection, order(1, consent=GIVEN))

    assert said(connection, 1, setting) is subscribe


def test_P4_silence_is_no_proof(connection: Connection) -> None:
    save(connection, order(1))

    assert said(connection, 1) is Subscribe.NO


def test_P4_of_a_proof_and_a_refusal_in_one_moment_the_refusal_counts(connection: Connection) -> None:
    save(connection, order(1, consent=GIVEN), order(2, consent=Consent(given=False, at=GIVEN.at)))

    assert said(connection, 1) is Subscribe.NO


def test_P4_a_withdrawal_unsubscribes_once_although_no_field_changed(connection: Connection) -> None:
    save(connection, customer(1, consent=GIVEN))
    assert said(connection, 1) is Subscribe.YES
    save(connection, customer(1, consent=TAKEN_BACK, updated_at=at(2)))

    assert [said(connection, 1), said(connection, 1), said(connection, 2)] == [
        Subscribe.STOP,
        None,
        Subscribe.NO,
    ]


def test_P4_a_withdrawal_unsubscribes_although_silence_lay_between(connection: Connection) -> None:
    save(connection, customer(1, consent=GIVEN))
    said(connection, 1)
    save(connection, customer(1, updated_at=at(2)))
    assert said(connection, 2) is Subscribe.NO

    save(connection, customer(1, consent=TAKEN_BACK, updated_at=at(3)))

    assert said(connection, 2) is Subscribe.STOP


def test_P4_an_opt_out_at_the_esp_is_not_told_to_the_esp(connection: Connection) -> None:
    save(connection, customer(1, consent=GIVEN))
    said(connection, 1)
    opt_out(connection, ADA, when=TAKEN_BACK.at)

    assert [said(connection, 1), said(connection, 2)] == [None, Subscribe.NO]


def test_P4_an_opt_out_at_another_esp_sticks_here_too(connection: Connection) -> None:
    save(connection, customer(1, consent=GIVEN))
    save(connection, customer(2, BOB, consent=GIVEN))
    assert said(connection, 1, email=BOB) is Subscribe.YES

    opt_out(connection, ADA, BOB, when=TAKEN_BACK.at, esp="former")

    assert said(connection, 1) is Subscribe.NO
    assert said(connection, 2, email=BOB) is Subscribe.STOP


def test_P4_a_yes_in_a_store_that_the_sync_does_not_read_is_none_a_no_is_one(connection: Connection) -> None:
    """It may have left the sync, or belong to another one into the same ESP; strangers are of other brands."""
    strangers = replace(SCOPE, strangers=("corner",))
    save(connection, order(1))
    save(connection, order(9, consent=GIVEN), store="corner")
    assert said(connection, 1) is Subscribe.NO
    save(connection, customer(1, consent=GIVEN))
    assert said(connection, 2) is Subscribe.YES

    save(connection, order(9, consent=TAKEN_BACK, updated_at=at(50)), store="corner")

    assert said(connection, 3) is Subscribe.STOP
    assert said(connection, 4, scope=strangers) is Subscribe.YES


def test_P4_an_opt_out_goes_with_the_account_and_stays_with_who_remains(connection: Connection) -> None:
    save(connection, customer(1, consent=GIVEN), order(1))
    assert said(connection, 1) is Subscribe.YES
    opt_out(connection, ADA, when=TAKEN_BACK.at)

    save(connection, customer(1, EVE, consent=GIVEN, updated_at=at(60)))

    assert said(connection, 1, email=EVE) is Subscribe.NO
    assert said(connection, 2) is Subscribe.NO


def test_P4_whose_opted_out_account_goes_to_an_address_that_we_subscribed_is_unsubscribed_there(
    connection: Connection,
) -> None:
    """The ESP knows of the opt-out at the old address only."""
    save(connection, customer(1), customer(2, BOB, consent=GIVEN))
    assert [said(connection, 1), said(connection, 1, email=BOB)] == [Subscribe.NO, Subscribe.YES]
    opt_out(connection, ADA, when=TAKEN_BACK.at)

    save(connection, customer(1, BOB, updated_at=at(60)))
    save(connection, customer(1, EVE, updated_at=at(70)))

    assert said(connection, 2, email=BOB) is Subscribe.STOP
    assert said(connection, 2, email=EVE) is Subscribe.NO


@pytest.mark.parametrize("stays", [True, False])
def test_P4_an_opt_out_that_is_heard_after_the_account_has_moved_goes_with_it(
    connection: Connection, *, stays: bool
) -> None:
    """What the ESP is asked comes after what the store is asked, up to a day later."""
    save(connection, customer(1, consent=GIVEN), *([order(1)] if stays else []))
    assert said(connection, 1) is Subscribe.YES
    save(connection, customer(1, BOB, consent=GIVEN, updated_at=at(60)))
    save(connection, customer(1, EVE, consent=GIVEN, updated_at=at(70)))

    opt_out(connection, ADA, when=TAKEN_BACK.at)

    assert said(connection, 2, email=EVE) is (Subscribe.NO if stays else Subscribe.STOP)


def test_P4_an_opt_out_that_is_heard_once_the_move_was_computed_goes_with_the_account(
    connection: Connection,
) -> None:
    save(connection, customer(1, consent=GIVEN))
    assert said(connection, 1) is Subscribe.YES
    save(connection, customer(1, EVE, consent=GIVEN, updated_at=at(60)))
    refresh(connection)

    opt_out(connection, ADA, when=TAKEN_BACK.at)

    assert said(connection, 2, email=EVE) is Subscribe.STOP


def test_P4_an_opt_out_follows_whoever_left_the_address_first_although_another_account_took_the_same_way(
    connection: Connection,
) -> None:
    save(connection, customer(1, consent=GIVEN))
    said(connection, 1)
    for number, email, minute in ((1, BOB, 60), (1, EVE, 70), (2, ADA, 80), (2, BOB, 90)):
        save(connection, customer(number, email, consent=GIVEN, updated_at=at(minute)))

    opt_out(connection, ADA, when=TAKEN_BACK.at)

    assert said(connection, 2, email=EVE) is Subscribe.NO


def test_P4_of_two_accounts_that_exchanged_their_addresses_the_opt_out_goes_with_its_own(
    connection: Connection,
) -> None:
    save(connection, customer(1, consent=GIVEN), customer(2, BOB, consent=GIVEN))
    assert [said(connection, 1), said(connection, 1, email=BOB)] == [Subscribe.YES, Subscribe.YES]
    save(
        connection,
        customer(1, BOB, consent=GIVEN, updated_at=at(60)),
        customer(2, ADA, consent=GIVEN, updated_at=at(60)),
    )

    opt_out(connection, ADA, when=TAKEN_BACK.at)

    assert said(connection, 2, email=BOB) is Subscribe.STOP
    assert said(connection, 2) is Subscribe.NO


def test_an_opt_out_of_who_came_to_an_address_later_follows_nobody_who_had_left_it(
    connection: Connection,
) -> None:
    save(connection, customer(1, BOB, consent=GIVEN), customer(2, consent=GIVEN))
    said(connection, 1)
    save(connection, customer(1, EVE, consent=GIVEN, updated_at=at(60)))
    said(connection, 1, email=EVE)
    save(connection, customer(2, BOB, consent=GIVEN, updated_at=at(70)))

    opt_out(connection, ADA, when=TAKEN_BACK.at)

    assert said(connection, 2, email=EVE) is Subscribe.YES


def test_an_opt_out_at_an_address_that_was_left_before_the_last_hearing_is_of_who_has_it_now(
    connection: Connection,
) -> None:
    save(connection, customer(1, BOB, consent=GIVEN))
    said(connection, 1, email=BOB)
    save(connection, customer(1, EVE, consent=GIVEN, updated_at=at(60)))
    for sync in ("crm", "other"):  # of one ESP: what one has heard, both have
        refresh(connection, replace(SCOPE, sync=sync))
    evaluation.mark_heard(connection, "other")

    opt_out(connection, BOB, when=at(70), neighbours=["other"])

    assert said(connection, 2, email=EVE) is Subscribe.YES


def test_P4_what_another_ESP_was_told_says_nothing_of_this_one(connection: Connection) -> None:
    """Also where the owner's words do not tell two accounts apart, as with Brevo."""
    save(connection, customer(1, BOB, consent=GIVEN))
    said(connection, 1, email=BOB)
    save(connection, customer(1, EVE, consent=GIVEN, updated_at=at(60)))
    refresh(connection, replace(SCOPE, sync="other"))
    for sync in ("crm", "other"):
        outbox.settle_in(connection, Target(sync, "news", "from_store", "('brevo', [])"))
    evaluation.mark_heard(connection, "other")

    opt_out(connection, BOB, when=at(70))

    assert said(connection, 2, email=EVE) is Subscribe.STOP


def test_P4_two_who_came_to_one_address_after_each_other_both_take_their_opt_outs_along(
    connection: Connection,
) -> None:
    save(connection, customer(1, consent=GIVEN), customer(2, BOB, consent=GIVEN))
    said(connection, 1)
    for number, email, minute in ((1, EVE, 60), (1, LEE, 70), (2, EVE, 80)):
        save(connection, customer(number, email, consent=GIVEN, updated_at=at(minute)))

    opt_out(connection, ADA, BOB, when=TAKEN_BACK.at)

    assert {said(connection, 2, email=email) for email in (LEE, EVE)} == {Subscribe.NO}


def test_P4_who_agreed_at_the_esp_since_and_opts_out_once_more_has_said_so_anew(
    connection: Connection,
) -> None:
    opt_out(connection, ADA, when=at(0))
    save(connection, customer(1, consent=Consent(given=True, at=at(5))))
    assert said(connection, 1) is Subscribe.YES

    opt_out(connection, ADA, when=at(9), agreed_at=at(9))
    assert said(connection, 2) is Subscribe.YES  # it dates whatever is written

    opt_out(connection, ADA, when=at(9), agreed_at=at(7))
    assert said(connection, 3) is Subscribe.NO


def test_P4_no_yes_at_the_esp_goes_with_an_account_to_an_address_that_never_gave_it(
    connection: Connection,
) -> None:
    save(connection, customer(1), order(1))
    consents.save_words(connection, "esp:news", [(f"contact {ADA}", ADA, GIVEN)], 1)

    save(connection, customer(1, EVE, updated_at=at(60)))

    assert said(connection, 1, email=EVE) is Subscribe.NO


def test_P4_whose_account_went_to_another_person_s_address_is_mailed_no_more(connection: Connection) -> None:
    save(connection, customer(1, consent=GIVEN), customer(2, BOB))
    assert said(connection, 1) is Subscribe.YES
    assert said(connection, 1, email=BOB) is Subscribe.NO

    save(connection, customer(1, BOB, consent=GIVEN, updated_at=at(60)))

    assert said(connection, 1) is Subscribe.STOP
    assert said(connection, 2) is Subscribe.NO


def test_who_has_no_facts_any_more_keeps_the_subscription(connection: Connection) -> None:
    """As when a store is taken out of a sync: that is no word of theirs."""
    save(connection, order(1, consent=GIVEN))
    assert said(connection, 1) is Subscribe.YES

    save(connection, gone=["1"])

    assert said(connection, 2) is Subscribe.NO


def test_P4_a_newer_proof_wins_over_an_older_opt_out(connection: Connection) -> None:
    opt_out(connection, ADA, when=at(0))
    save(connection, customer(1, consent=GIVEN))

    assert said(connection, 1) is Subscribe.YES
