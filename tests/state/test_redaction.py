"""Whom a store names by account and orders is forgotten, whatever address they bear, and stays so."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from connectors.base import Erasure, Page
from connectors.errors import BadRecord
from connectors.facts import Consent, Person
from state import facts, inbox, privacy, runs
from state.backup import backup, restore
from state.consents import CONSENTS
from state.db import Database
from state.inbox import Received
from state.redaction import find_wanted, redact, redact_all
from state.tables import CheckoutRow, CustomerRow, OrderRow, table
from tests.state.makers import (
    ADA,
    BOB,
    NOW,
    PROFILES,
    START,
    at,
    checkout,
    columns,
    customer,
    opt_out,
    order,
    profile,
    refresh,
    save,
)

ORDERS, CUSTOMERS, CHECKOUTS = table(OrderRow), table(CustomerRow), table(CheckoutRow)
WORK = "zzwork@secret.example"
PHONE = "+33698765432"
WHO = Person("Zzada", "Zzlovelace", None, PHONE, "75099", "Zzville", "FR")
ACCOUNT = "7001700170017"
TRACES = (b"zzwork", b"zzada", b"zzlovelace", PHONE.encode(), b"75099", b"zzville")


def stored(connection: Connection) -> list[tuple[str | None, ...]]:
    """Return what the rows of orders, accounts and checkouts say of people."""
    found: list[tuple[str | None, ...]] = []
    for rows in (ORDERS, CUSTOMERS):
        names = ("email", "first_name", "phone", "postal_code")
        found += [tuple(row) for row in connection.execute(select(*(rows.c[name] for name in names)))]
    return found + [tuple(row) for row in connection.execute(select(CHECKOUTS.c.email, CHECKOUTS.c.url))]


def is_blank(connection: Connection) -> bool:
    return not any(value for row in stored(connection) for value in row)


def test_an_account_without_an_address_is_blanked_and_stays_forgotten(connection: Connection) -> None:
    save(connection, customer(ACCOUNT, None, person=WHO))
    save(connection, order(1, None, customer_id=ACCOUNT, person=WHO))
    save(connection, checkout(4, None, customer_id=ACCOUNT, url="https://shop.example/zz"))

    redact(connection, "shop", Erasure(ACCOUNT, phone=PHONE, orders=["1"]), NOW)
    blank = is_blank(connection)
    save(connection, customer(ACCOUNT, WORK, person=WHO, updated_at=at(5)))
    refresh(connection)

    assert blank
    assert is_blank(connection)
    assert columns(connection) == {}


def test_orders_that_are_named_go_with_the_address_that_they_were_placed_with(connection: Connection) -> None:
    """The account was deleted before, so that the order fell to its own address."""
    save(connection, customer(ACCOUNT, ADA, person=WHO))
    save(connection, order(1, WORK, customer_id=ACCOUNT, person=WHO), order(2, BOB))
    refresh(connection)
    facts.save_page(connection, "shop", Page([], "", gone=[f"customer {ACCOUNT}"]), NOW)
    assert profile(connection, WORK)["orders_count"] == 1

    redact(connection, "shop", Erasure(ACCOUNT, ADA, orders=["1"]), NOW)
    refresh(connection)

    assert set(connection.scalars(select(PROFILES.c.email))) == {BOB}
    assert connection.execute(select(ORDERS.c.total_minor).where(ORDERS.c.id == "1")).scalar() == 1000
    assert {row[0] for row in stored(connection)} == {None, BOB}


def test_orders_of_the_account_go_though_none_is_named_and_stay_so_when_it_is_gone(
    connection: Connection,
) -> None:
    save(connection, order(1, WORK, customer_id=ACCOUNT, person=WHO))

    redact(connection, "shop", Erasure(ACCOUNT, ADA), NOW)
    blank = is_blank(connection)
    save(connection, order(1, WORK, updated_at=at(9), person=WHO))

    assert blank
    assert is_blank(connection)


def test_checkouts_of_the_account_stay_blank_when_it_is_gone(connection: Connection) -> None:
    save(connection, checkout(4, WORK, customer_id=ACCOUNT, url="https://shop.example/zz"))

    redact(connection, "shop", Erasure(ACCOUNT, ADA), NOW)
    save(connection, checkout(4, WORK, url="https://shop.example/zz", updated_at=at(9)))
    refresh(connection)

    assert is_blank(connection)
    assert columns(connection) == {}


def test_an_account_that_was_not_read_yet_is_remembered(connection: Connection) -> None:
    redact(connection, "shop", Erasure(ACCOUNT, ADA, orders=["1"]), NOW)

    save(connection, customer(ACCOUNT, "zznew@secret.example", person=WHO, updated_at=at(5)))
    save(connection, order(1, WORK, person=WHO), order(2, WORK, customer_id=ACCOUNT, person=WHO))
    save(connection, customer(ACCOUNT, BOB), store="outlet")
    refresh(connection)

    assert set(columns(connection)) == {BOB}
    assert {row[0] for row in stored(connection)} == {None, BOB}


def test_an_address_that_others_have_too_stays_theirs_without_the_orders(connection: Connection) -> None:
    no = Consent(given=False, at=at(2))
    save(connection, order(1, BOB, customer_id=ACCOUNT, person=WHO, consent=no), order(2, BOB))
    save(connection, order(3, BOB, consent=Consent(given=True, at=at(1))))
    assert profile(connection, BOB)["total_spent"] == 3000

    redact(connection, "shop", Erasure(ACCOUNT, orders=["1"]), NOW)

    found = profile(connection, BOB)
    assert (found["total_spent"], found["orders_count"], found["first_name"]) == (2000, 2, None)
    assert found["accepts_marketing"] is False  # P4: the no outlives its record


def test_a_yes_that_a_redacted_order_held_is_gone_with_it(connection: Connection) -> None:
    yes = Consent(given=True, at=at(2))
    save(connection, order(1, BOB, customer_id=ACCOUNT, consent=yes), order(2, BOB))

    redact(connection, "shop", Erasure(ACCOUNT), NOW)

    assert connection.execute(select(CONSENTS)).all() == []


def test_an_address_of_somebody_who_only_got_a_gift_is_not_theirs(connection: Connection) -> None:
    save(connection, customer(ACCOUNT, ADA), order(1, BOB, customer_id=ACCOUNT))

    traces = find_wanted(connection, "shop", Erasure(ACCOUNT, ADA, orders=["1"]))

    assert traces.addresses == [ADA]


def test_what_an_esp_is_to_erase_are_all_their_addresses(connection: Connection) -> None:
    save(connection, order(1, WORK, customer_id=ACCOUNT), order(2, BOB, customer_id=ACCOUNT), order(3, BOB))
    refresh(connection)

    traces = find_wanted(connection, "shop", Erasure(ACCOUNT, ADA))

    assert (traces.addresses, traces.syncs) == ([ADA, WORK], {"crm"})


def test_P4_a_no_stays_at_an_address_that_their_orders_only_bore(connection: Connection) -> None:
    """An older yes, read late, of another store or of a guest's order, subscribes nobody."""
    save(connection, order(1, WORK, customer_id=ACCOUNT, person=WHO))
    refresh(connection)
    opt_out(connection, WORK, when=at(500))

    redact(connection, "shop", Erasure(ACCOUNT, orders=["1"]), NOW)
    save(connection, order(9, WORK, consent=Consent(given=True, at=at(3))), store="outlet")

    assert profile(connection, WORK)["accepts_marketing"] is False
    assert profile(connection, WORK)["orders_count"] == 1


def test_P4_a_no_of_the_redacted_order_itself_stays_at_the_address_that_it_only_bore(
    connection: Connection,
) -> None:
    no, yes = Consent(given=False, at=at(100)), Consent(given=True, at=at(1))
    save(connection, order(2, WORK, customer_id=ACCOUNT, person=WHO, consent=no))

    redact(connection, "shop", Erasure(ACCOUNT, ADA, orders=["2"]), NOW)
    save(connection, order(1, WORK, consent=yes))

    assert profile(connection, WORK)["accepts_marketing"] is False


def test_P4_a_no_that_the_redacted_order_left_at_an_earlier_address_stays_there(
    connection: Connection,
) -> None:
    no, yes = Consent(given=False, at=at(100)), Consent(given=True, at=at(1))
    save(connection, order(2, BOB, customer_id=ACCOUNT, person=WHO, consent=no))
    save(connection, order(2, WORK, customer_id=ACCOUNT, person=WHO, consent=no, updated_at=at(200)))

    redact(connection, "shop", Erasure(ACCOUNT, ADA, orders=["2"]), NOW)
    save(connection, order(1, BOB, consent=yes))

    assert profile(connection, BOB)["accepts_marketing"] is False


def test_P4_an_address_that_they_only_bore_and_that_refuses_stays_suppressed_at_the_esp(
    connection: Connection,
) -> None:
    save(connection, order(1, WORK, customer_id=ACCOUNT, consent=Consent(given=True, at=at(1))))
    opt_out(connection, WORK, when=at(500))
    refresh(connection)

    assert find_wanted(connection, "shop", Erasure(ACCOUNT, ADA)).addresses == [ADA]
    assert find_wanted(connection, "shop", Erasure(ACCOUNT, WORK)).addresses == [WORK]


@pytest.mark.parametrize(
    ("stored_now", "told"), [(ADA, "zznew@secret.example"), ("zznew@secret.example", ADA)]
)
def test_an_address_that_another_account_of_the_store_has_by_now_is_that_one_s(
    connection: Connection, stored_now: str, told: str
) -> None:
    """The change of address was not read yet, or the request names an old one."""
    bea = "8002800280028"
    save(
        connection, customer(ACCOUNT, stored_now, person=WHO), order(1, ADA, customer_id=ACCOUNT, person=WHO)
    )
    save(connection, customer(bea, ADA, person=Person("Bea"), updated_at=at(5)))
    save(connection, order(2, ADA, customer_id=bea, person=Person("Bea")))
    refresh(connection)

    traces = find_wanted(connection, "shop", Erasure(ACCOUNT, told))
    redact(connection, "shop", Erasure(ACCOUNT, told), NOW)
    refresh(connection)

    found = profile(connection, ADA)
    assert ADA not in traces.addresses
    assert (found["orders_count"], found["first_name"]) == (1, "Bea")
    assert set(columns(connection)) == {ADA}
    assert {row[1] for row in stored(connection)[:4]} == {None, "Bea"}


def test_what_waits_and_names_them_by_phone_or_account_goes(connection: Connection) -> None:
    bodies = [{"customer": {"id": int(ACCOUNT)}}, {"phone": PHONE}, {"customer": {"id": 7}}]
    for number, body in enumerate(bodies):
        told = Received("shop", str(number), "t", json.dumps(body).encode(), START)
        inbox.receive(connection, [told])

    redact(connection, "shop", Erasure(ACCOUNT, phone=PHONE), NOW)

    assert [json.loads(each.body) for each in inbox.waiting(connection, "shop", NOW, 0, 9)] == bodies[2:]


def test_a_number_names_nobody_at_another_store(connection: Connection) -> None:
    told = Received("outlet", "d", "t", json.dumps({"phone": PHONE}).encode(), START)
    inbox.receive(connection, [told])

    redact(connection, "shop", Erasure(ACCOUNT, phone=PHONE), NOW)

    assert len(inbox.waiting(connection, "outlet", NOW, 0, 9)) == 1


def test_what_waits_is_looked_through_once_for_all_requests(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(privacy, "_mentions", lambda body, _: bool(read.append(body)))
    inbox.receive(connection, [Received("shop", "d", "t", b"{}", START)])

    redact_all(connection, "shop", [Erasure(str(number), ADA) for number in range(9)], NOW)

    assert read == [b"{}"]


def test_a_long_run_without_an_address_is_gone_through_once(connection: Connection) -> None:
    """Looked for from each of its characters on, an address would take the time of their square."""
    body = json.dumps({"note": "x" * 1_000_000}).encode()
    inbox.receive(connection, [Received("shop", "d", "t", body, START)])
    begun = time.process_time()

    redact(connection, "shop", Erasure(ACCOUNT, ADA), NOW)

    assert time.process_time() - begun < 5


def test_what_else_is_asked_about_them_waits_until_it_is_read(connection: Connection) -> None:
    """By another store, say: no later reading tells of it. A version before kept it as any delivery."""
    body = json.dumps({"customer": {"id": 8, "email": ADA}}).encode()
    topics = ("request customers/data_request", "customers/redact", "customers/update")
    told = [Received("outlet", topic, topic, body, START) for topic in topics]
    inbox.receive(connection, told)

    privacy.forget(connection, ADA, NOW)
    redact(connection, "shop", Erasure(ACCOUNT, ADA), NOW)

    assert [each.topic for each in inbox.waiting(connection, "outlet", NOW, 0, 9)] == [*topics[:2]]


def test_what_is_asked_waits_for_a_store_that_left_the_configuration(connection: Connection) -> None:
    topics = ("request customers/redact", "customers/update")
    inbox.receive(connection, [Received("shop", topic, topic, b"{}", START) for topic in topics])

    inbox.drop_of_others(connection, ["renamed"], at(5))

    assert [each.topic for each in inbox.waiting(connection, "shop", NOW, 0, 9)] == [topics[0]]


def test_dead_letters_of_their_orders_and_account_go(connection: Connection) -> None:
    save(connection, order(1, None, customer_id=ACCOUNT))
    letters = [BadRecord(f"customer {ACCOUNT}", "no"), BadRecord("customer 1", "no")]
    runs.bury(connection, "shop", letters, START)
    runs.bury(connection, "crm", [BadRecord("order shop/1", "no rate")], START)

    redact(connection, "shop", Erasure(ACCOUNT), NOW)

    left = [letter.record for letter in runs.list_dead_letters(connection, ["crm", "shop"])]
    assert left == ["customer 1"]


def test_only_hashes_of_account_orders_and_address_stay(connection: Connection) -> None:
    redact(connection, "shop", Erasure(ACCOUNT, ADA, orders=["1", "2"]), NOW)
    redact(connection, "shop", Erasure(ACCOUNT, ADA, orders=["1", "2"]), NOW)

    hashes = list(connection.scalars(select(privacy.FORGOTTEN.c.hash)))
    assert len(hashes) == 4
    assert all(len(each) == 128 for each in hashes)


@pytest.mark.sqlite
def test_no_trace_is_left_in_the_files_and_a_copy_that_is_put_back_forgets_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"

    def lives(connection: Connection) -> None:
        save(connection, customer(ACCOUNT, None, person=WHO))
        save(connection, order(1, WORK, customer_id=ACCOUNT, person=WHO))
        save(connection, order(2, WORK, person=WHO), order(3, None, person=WHO))
        refresh(connection)

    def asks(connection: Connection) -> None:
        redact(connection, "shop", Erasure(ACCOUNT, orders=["2", "3"]), NOW)

    def traces() -> set[bytes]:
        content = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*")).lower()
        return {trace for trace in TRACES if trace in content}

    opened = Database(url)
    asyncio.run(opened.run(lives))
    backup(url, tmp_path / "copy.db")
    assert traces() == set(TRACES)
    asyncio.run(opened.run(asks))
    left = traces()
    opened.close()

    restored = restore(url, tmp_path / "copy.db", NOW)
    for kept in tmp_path.glob("state.db.before*"):
        kept.unlink()

    assert (left, traces(), restored.forgotten_again) == (set(), set(), 1)


@pytest.mark.sqlite
def test_a_copy_that_is_put_back_forgets_the_addresses_that_their_orders_bear(tmp_path: Path) -> None:
    """An order of before the account's address was read: once that is forgotten nothing leads to the other."""
    url = f"sqlite:///{tmp_path / 'state.db'}"

    def lives(connection: Connection) -> None:
        save(connection, order(1, WORK, customer_id=ACCOUNT, person=WHO))
        refresh(connection)
        save(connection, customer(ACCOUNT, ADA, person=WHO))
        refresh(connection)

    opened = Database(url)
    asyncio.run(opened.run(lives))
    backup(url, tmp_path / "copy.db")
    asyncio.run(opened.run(redact, "shop", Erasure(ACCOUNT, ADA, orders=["1"]), NOW))
    opened.close()

    restored = restore(url, tmp_path / "copy.db", NOW)
    for kept in tmp_path.glob("state.db.before*"):
        kept.unlink()

    content = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*")).lower()
    assert [trace for trace in TRACES if trace in content] == []
    assert restored.forgotten_again == 1
