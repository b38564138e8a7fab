"""Forgetting: no trace in the files, no way back in, and nobody else's numbers change."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from connectors.base import Blame, Refusal
from connectors.errors import BadRecord
from connectors.facts import Consent, Customer, Order, Person, Refund, Source
from state import consents, facts, offering, outbox, privacy, runs, settling, sqlite
from state.bookkeeping import TouchedRow
from state.db import Database
from state.errors import StateError
from state.offering import Desired
from state.outbox import Target
from state.tables import CustomerRow, OrderRow, table
from tests.state.makers import (
    ADA,
    BOB,
    EVE,
    PROFILES,
    START,
    at,
    checkout,
    columns,
    customer,
    eur,
    opt_out,
    order,
    product,
    profile,
    profile_id,
    refresh,
    save,
)

TARGET = Target("crm", "news", "from_store")
ORDERS, CUSTOMERS, TOUCHED = table(OrderRow), table(CustomerRow), table(TouchedRow)
SECRET = "zzada@secret.example"
OLD = "zzold@secret.example"
WHO = Person("Zzada", "Zzlovelace", "Zzengines", "06 99 99 99 99", "75099", "Zzville", "FR")
TRACES = (
    b"zzada",
    b"zzold",
    b"zzlovelace",
    b"zzengines",
    b"06 99 99",
    b"+33699",
    b"75099",
    b"zzville",
    b"zzvip",
)


def forget(connection: Connection, email: str = ADA) -> dict[str, int]:
    return privacy.forget(connection, email, START)


def lives(connection: Connection) -> None:
    """Let somebody leave as many traces as they can, under two addresses."""
    given = Consent(given=True, at=at(0))
    account: dict[str, Any] = {
        "person": WHO,
        "birthday": date(1815, 12, 10),
        "tags": ["zzvip"],
        "consent": given,
    }
    made: dict[str, Any] = {"person": WHO, "consent": given, "source": Source("x", "y", f"email={SECRET}")}
    save(connection, customer(5, OLD, **account), order(1, OLD, customer_id="5", **made))
    refresh(connection)
    push(connection, OLD)
    save(connection, customer(5, SECRET, updated_at=at(1), **account), order(2, SECRET, **made))
    save(connection, checkout(9, SECRET, url=f"https://shop.example/?email={SECRET}"), order(3, BOB))
    refresh(connection)
    push(connection, SECRET)
    opt_out(connection, SECRET, when=at(1))
    refresh(connection)
    offer(connection, SECRET, orders=9)


def offer(connection: Connection, email: str, orders: int) -> None:
    fields = {"ORDERS": orders, "NAME": "Zzada", "PHONE": "+33699999999"}
    wanted = Desired(profile_id(connection, email), email, fields, {"Fans": True})
    offering.offer(connection, TARGET, [wanted], START)


def push(connection: Connection, email: str) -> None:
    """Write their contact, of which one field is refused."""
    offer(connection, email, 1)
    refusal = Refusal(profile_id(connection, email), Blame.FIELD, "no", "PHONE")
    settling.settle_contacts(
        connection, TARGET, outbox.contact_jobs(connection, "crm", 0, 9), [refusal], START
    )


def everything(folder: Path) -> bytes:
    """Read the very bytes of the state store and of its log."""
    return b"".join(file.read_bytes() for file in folder.glob("state.db*")).lower()


def traces(folder: Path) -> set[bytes]:
    return {trace for trace in TRACES if trace in everything(folder)}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


# --- the files -----------------------------------------------------------------------------------------


@pytest.mark.sqlite
async def test_forgetting_leaves_no_trace_in_the_files(store: Database, tmp_path: Path) -> None:
    await store.run(lives)
    assert traces(tmp_path) >= {b"zzada", b"zzold", b"06 99 99", b"+33699", b"zzvip"}

    cleaned = await store.run(forget, SECRET)

    assert cleaned == {"orders": 2, "checkouts": 1, "profiles": 1}
    assert traces(tmp_path) == set()
    assert list(await store.read(columns)) == [BOB]


async def test_forgetting_leaves_no_trace_in_pages_that_were_split(store: Database, tmp_path: Path) -> None:
    """Rows that moved to another page leave a shadow behind that deleting does not find."""
    chance = random.Random(5)  # with this one, a SQLite 3.40 that only zeroes what it deletes leaves one
    numbers = chance.sample(range(1500), 1500)
    for start in range(0, 1500, 100):
        part = numbers[start : start + 100]
        people = [Person("N" * chance.randint(0, 60)) for _ in part]
        rows = [
            order(number, f"q{number:05}@example.com", person=who)
            for number, who in zip(part, people, strict=True)
        ]
        await store.run(save, *rows)
    await store.run(refresh)
    gone = [f"q{number:05}@example.com" for number in chance.sample(numbers, 150)]

    def forget_them(connection: Connection) -> None:
        for email in gone:
            forget(connection, email)

    await store.run(forget_them)

    content = everything(tmp_path)
    assert [email for email in gone if email[:7].encode() in content] == []
    assert len(await store.read(columns)) == 1350


@contextmanager
def somebody_reading(folder: Path) -> Iterator[None]:
    """Let another process read the state store: its log cannot be emptied."""
    with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM orders").fetchone()
        yield


@pytest.mark.sqlite
@pytest.mark.usefixtures("impatient")
async def test_a_log_that_another_process_reads_is_said_to_hold_traces_and_cleaned_the_next_time(
    store: Database, tmp_path: Path
) -> None:
    await store.run(lives)
    with somebody_reading(tmp_path), pytest.raises(StateError, match="another process reads the state store"):
        await store.run(forget, SECRET)

    await store.run(forget, SECRET)
    assert traces(tmp_path) == set()


@pytest.mark.sqlite
@pytest.mark.usefixtures("impatient")
async def test_traces_that_a_kill_or_a_reader_left_go_with_the_next_cleaning(
    store: Database, tmp_path: Path
) -> None:
    """As after a webhook that asks for it: there nobody is who would forget again."""
    await store.run(lives)
    with somebody_reading(tmp_path):
        with pytest.raises(StateError, match="another process reads the state store"):
            await store.run(forget, SECRET)
        with pytest.raises(StateError, match="still hold"):
            await store.tend()
    left = traces(tmp_path)

    await store.tend()

    assert left
    assert traces(tmp_path) == set()
    with closing(sqlite3.connect(tmp_path / "state.db")) as reader:
        assert reader.execute("PRAGMA user_version").fetchone() == (0,)


@pytest.mark.sqlite
@pytest.mark.usefixtures("impatient")
async def test_a_file_that_cannot_be_written_anew_is_said_to_hold_traces(
    store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.run(lives)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None, check_same_thread=False)
    rewrite = sqlite.rewrite

    def while_somebody_writes(engine: Engine) -> None:
        other.execute("BEGIN IMMEDIATE")
        rewrite(engine)

    monkeypatch.setattr(sqlite, "rewrite", while_somebody_writes)

    with closing(other), pytest.raises(StateError, match="still holds traces"):
        await store.run(forget, SECRET)


@pytest.mark.sqlite
async def test_the_file_is_written_anew_for_who_was_forgotten_and_for_nobody_else(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten: list[Engine] = []
    monkeypatch.setattr(sqlite, "rewrite", rewritten.append)
    await store.run(lives)

    def forget_in_vain(connection: Connection) -> None:
        forget(connection, SECRET)
        raise KeyError

    with pytest.raises(KeyError):
        await store.run(forget_in_vain)
    await store.run(facts.next_revision)
    assert rewritten == []

    await store.run(forget, SECRET)
    await store.run(facts.next_revision)
    assert len(rewritten) == 1


# --- the person ----------------------------------------------------------------------------------------


@pytest.fixture
def known(connection: Connection) -> Connection:
    """Know three people, one of whom will be forgotten."""
    refunds = [Refund("a", "1", eur(100))]
    save(connection, customer(5), order(1, customer_id="5", refunds=refunds), order(2, BOB), order(3, EVE))
    refresh(connection)
    return connection


def test_orders_of_a_forgotten_person_stay_as_amounts_of_nobody(known: Connection) -> None:
    forget(known)

    row = known.execute(select(ORDERS).where(ORDERS.c.id == "1")).one()
    assert (row.total_minor, row.person, row.email, row.customer_id) == (1000, None, None, None)
    assert facts.count_created(known, "shop", "orders", None, None) == 3


def test_everybody_else_keeps_their_numbers(known: Connection) -> None:
    before = columns(known)

    forget(known)
    refresh(known)

    before.pop(ADA)
    assert columns(known) == before


def test_forgetting_twice_or_a_stranger_is_harmless(known: Connection) -> None:
    forget(known)

    assert forget(known) == {"orders": 0, "checkouts": 0, "profiles": 0}
    assert forget(known, "nobody@example.com") == {"orders": 0, "checkouts": 0, "profiles": 0}
    assert set(columns(known)) == {BOB, EVE}


def again(minute: int) -> list[Any]:
    """Send the forgotten person again, as a store would that still has them."""
    moment = at(minute)
    return [
        customer(5, updated_at=moment, person=WHO, tags=["zzvip"]),
        order(1, customer_id="5", updated_at=moment, person=WHO),
        order(7, updated_at=moment, person=WHO),
        order(8, "other@example.com", customer_id="5", updated_at=moment, person=WHO),
        checkout(4, updated_at=moment, url=ADA),
        checkout(6, "other@example.com", customer_id="5", updated_at=moment),
        Refund("late", "1", eur(5)),
        product(1, "Tea", updated_at=moment),
    ]


@pytest.mark.parametrize("minute", [0, 5])
def test_a_forgotten_person_is_not_pulled_in_again(known: Connection, minute: int) -> None:
    forget(known)

    save(known, *again(minute))
    refresh(known)

    assert set(columns(known)) == {BOB, EVE}
    stored = [*known.execute(select(ORDERS)), *known.execute(select(CUSTOMERS))]
    assert not {ADA, "other@example.com"} & {row.email for row in stored}
    assert "Zzada" not in {row.first_name for row in stored}
    assert ADA not in known.scalars(select(TOUCHED.c.email)).all()


def test_a_forgotten_account_stays_forgotten_under_its_next_address(known: Connection) -> None:
    forget(known)

    save(known, customer(5, "next@example.com", updated_at=at(5), person=WHO))
    refresh(known)

    assert set(columns(known)) == {BOB, EVE}


def test_another_account_with_the_same_number_in_another_store_is_somebody_else(known: Connection) -> None:
    forget(known)

    save(known, customer(5, "twin@example.com"), store="outlet")

    assert profile(known, "twin@example.com")["customer_ids"] == "outlet:5"


def test_an_account_keeps_the_order_that_only_bears_a_forgotten_address(connection: Connection) -> None:
    gift = order(1, BOB, customer_id="5", person=Person("Bob"))
    save(connection, customer(5), gift, order(2, BOB))
    refresh(connection)

    forget(connection, BOB)
    save(connection, order(3, BOB, customer_id="5", person=Person("Bob")))

    found = profile(connection)
    assert (found["orders_count"], found["total_spent"], found["first_name"]) == (2, 2000, None)
    assert BOB not in connection.scalars(select(ORDERS.c.email)).all()


def test_an_old_address_that_somebody_else_has_now_is_theirs(connection: Connection) -> None:
    save(connection, customer(5, OLD))
    save(connection, customer(5, ADA, updated_at=at(1)), customer(6, OLD))
    refresh(connection)

    forget(connection)

    assert profile(connection, OLD)["customer_ids"] == "shop:6"


def test_a_rename_that_no_run_has_seen_hides_nobody(connection: Connection) -> None:
    save(connection, customer(5, OLD, person=WHO))
    refresh(connection)
    save(connection, customer(5, ADA, updated_at=at(1), person=WHO))

    forget(connection)
    refresh(connection)

    assert connection.execute(select(PROFILES)).all() == []


@pytest.mark.parametrize("is_used", [True, False])
def test_a_no_that_stayed_behind_at_an_old_address_goes_with_its_person(
    connection: Connection,
    is_used: bool,  # noqa: FBT001 - pytest passes by name
) -> None:
    """But not where somebody has that address: an older yes of theirs would count again (P4)."""
    no, yes = Consent(given=False, at=at(2)), Consent(given=True, at=at(0))
    save(connection, order(1, ADA, customer_id="7", consent=no), order(12, EVE, consent=no))
    if is_used:
        save(connection, order(9, ADA, consent=yes))
    save(connection, customer(7, BOB))
    left = set(connection.scalars(select(consents.CONSENTS.c.email)))

    privacy.forget(connection, BOB, at(9))

    now = set(connection.scalars(select(consents.CONSENTS.c.email)))
    assert (left, now) == ({ADA, BOB, EVE}, {ADA, EVE} if is_used else {EVE})
    if is_used:
        assert profile(connection)["accepts_marketing"] is False


def test_a_no_that_stayed_behind_goes_with_the_address(connection: Connection) -> None:
    no = Consent(given=False, at=at(0))
    save(connection, order(1, ADA, customer_id="7", consent=no))
    save(connection, customer(7, BOB))

    privacy.forget(connection, ADA, at(9))

    assert set(connection.scalars(select(consents.CONSENTS.c.email))) == {BOB}


def test_dead_letters_of_the_person_go_those_of_others_stay(known: Connection) -> None:
    number = profile_id(known)
    theirs = [
        f"profile {number}",
        f"profile {number} field PHONE",
        f"profile {number} list Fans",
        "order shop/1",
    ]
    others = [f"profile {number}0", f"profile {number}1 field PHONE", "order shop/2", "name PHONE"]
    runs.bury(known, "crm", [BadRecord(record, "no") for record in (*theirs, *others)], START)
    runs.bury(known, "shop", [BadRecord("customer 5", "no"), BadRecord("customer 50", "no")], START)

    forget(known)

    left = [letter.record for letter in runs.list_dead_letters(known, ["crm", "shop"])]
    assert left == [*sorted(others), "customer 50"]


def test_the_esps_opt_out_of_a_forgotten_person_is_not_kept(known: Connection) -> None:
    forget(known)

    opt_out(known, ADA, BOB, when=at(1))

    assert known.scalars(select(consents.CONSENTS.c.email)).all() == [BOB]
    assert ADA not in known.scalars(select(TOUCHED.c.email)).all()


def test_a_push_that_was_under_way_keeps_nothing_of_a_person_forgotten_meanwhile(known: Connection) -> None:
    for email in (ADA, BOB):
        wanted = Desired(profile_id(known, email), email, {"ORDERS": 1}, {"Fans": True})
        offering.offer(known, TARGET, [wanted], START)
    sent = outbox.contact_jobs(known, "crm", 0, 9)
    settling.settle_contacts(known, TARGET, sent, [], START)
    joining = outbox.membership_jobs(known, "crm", "Fans", 0, 9, joins=True)
    refusals = [Refusal(job.contact.profile, Blame.CONTACT, "no") for job in sent]
    forget(known)

    settling.settle_contacts(known, TARGET, sent, refusals[:1], START)
    settling.settle_memberships(known, "crm", joining, [], START)

    accepted = known.execute(select(outbox.ACCEPTED)).all()
    assert [row.email for row in accepted] == [BOB]
    assert outbox.list_sizes(known, "crm") == {"Fans": 1}
    assert runs.list_dead_letters(known, ["crm"]) == []


def test_P2_what_is_stored_after_forgetting_the_last_who_was_touched_is_not_lost(
    connection: Connection,
) -> None:
    save(connection, order(1, BOB))
    save(connection, order(2))
    refresh(connection)
    forget(connection)

    save(connection, order(3, BOB))

    assert profile(connection, BOB)["orders_count"] == 2


def test_only_keyed_hashes_stay(known: Connection) -> None:
    forget(known)
    forget(known, BOB)

    hashes = set(known.scalars(select(privacy.FORGOTTEN.c.hash)))

    assert len(hashes) == 3
    assert all(len(each) == 128 and "@" not in each for each in hashes)


def test_facts_of_everybody_else_pass_untouched(known: Connection) -> None:
    rows: list[Order | Customer] = [order(9, BOB), customer(9, EVE), order(10, None)]
    assert privacy.without_forgotten(known, "shop", rows) == rows

    forget(known)

    assert privacy.without_forgotten(known, "shop", rows) == rows


@pytest.mark.sqlite
async def test_forgetting_in_memory_works_too() -> None:
    store = Database("sqlite://")
    await asyncio.gather(store.run(save, order(1)), store.run(save, order(2, BOB)))

    assert (await store.run(forget))["orders"] == 1
    assert await store.read(lambda connection: connection.scalars(select(ORDERS.c.email)).all()) == [
        None,
        BOB,
    ]
    store.close()
