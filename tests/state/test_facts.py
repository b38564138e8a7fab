"""Pages to rows: what is new, what is the same, and whom it concerns."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from connectors.base import Page, Resource
from connectors.facts import Consent, Fact, Line, Money, Product, Refund, Source, Standing
from state import facts
from state.tables import CheckoutRow, ConsentRow, CustomerRow, OrderLineRow, OrderRow, TouchedRow, table
from tests.state.makers import (
    ADA,
    BOB,
    EVE,
    NOW,
    START,
    at,
    checkout,
    columns,
    customer,
    eur,
    order,
    product,
    profile,
    profile_id,
    refresh,
    save,
)

TOUCHED, LINES, CONSENTS = table(TouchedRow), table(OrderLineRow), table(ConsentRow)


def touched(session: Session) -> dict[str, int]:
    return {row.email: row.revision for row in session.execute(select(TOUCHED))}


@pytest.mark.parametrize(
    "fact",
    [
        order(1, lines=[Line("1", "Tea", 2, eur(5))], refunds=[Refund("a", "1", eur(1))]),
        customer(1),
        checkout(1, url="https://shop.example/cart", total=eur(5)),
        product(1, "Tea"),
        Refund("a", "1", eur(1), at(0)),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_P1_an_equal_copy_changes_nothing_and_touches_nobody(session: Session, fact: Fact) -> None:
    save(session, order(1), customer(1), fact)
    before = touched(session)

    changed = save(session, fact, fact)

    assert changed == 0
    assert touched(session) == before


@pytest.mark.parametrize("make", [order, customer, checkout], ids=lambda make: make.__name__)
def test_P1_an_older_copy_never_overwrites_a_newer_one(session: Session, make: Callable[..., Any]) -> None:
    newer, older = make(1, BOB, updated_at=at(5)), make(1, ADA, updated_at=at(4))
    save(session, newer)

    assert save(session, older) == 0
    assert save(session, older, newer, older) == 0
    assert set(touched(session)) == {BOB}


@pytest.mark.parametrize("make", [order, customer, checkout], ids=lambda make: make.__name__)
def test_P1_of_two_versions_on_one_page_the_newer_is_stored(
    session: Session, make: Callable[..., Any]
) -> None:
    save(session, make(1, BOB, updated_at=at(5)), make(1, ADA, updated_at=at(4)))

    assert set(touched(session)) == {BOB}


@pytest.mark.parametrize("make", [order, customer, checkout], ids=lambda make: make.__name__)
def test_of_two_different_copies_with_one_date_the_last_to_come_stays(
    session: Session, make: Callable[..., Any]
) -> None:
    save(session, make(1, ADA))

    assert save(session, make(1, BOB)) == 1
    assert set(touched(session)) == {ADA, BOB}


def test_the_lines_of_an_order_are_those_of_its_newest_version(session: Session) -> None:
    lines = [Line("1", "Tea", 1, eur(1)), Line(None, "Gift", 2, eur(2))]
    save(session, order(1, lines=lines))
    save(session, order(1, updated_at=at(1), lines=lines[1:]))

    found = session.execute(select(LINES.c.position, LINES.c.title, LINES.c.quantity)).all()

    assert [tuple(row) for row in found] == [(0, "Gift", 2)]


def test_refunds_that_vanish_from_an_order_count_no_more(session: Session) -> None:
    save(session, order(1, refunds=[Refund("a", "1", eur(300))]))
    save(session, order(1, updated_at=at(1), refunds=[]))

    assert profile(session)["total_spent"] == 1000


def test_refunds_apart_stay_when_their_order_comes_again(session: Session) -> None:
    save(session, order(1), Refund("a", "1", eur(300)))
    save(session, order(1, updated_at=at(1)))

    assert profile(session)["total_spent"] == 700


def test_a_refund_touches_the_person_of_its_order(session: Session) -> None:
    save(session, order(1), order(2, EVE))
    before = touched(session)

    assert save(session, Refund("a", "1", eur(300))) == 1
    assert [email for email, revision in touched(session).items() if revision > before[EVE]] == [ADA]


def test_an_order_that_moves_to_another_address_touches_both(session: Session) -> None:
    save(session, order(1))
    save(session, order(1, BOB, updated_at=at(1)))

    assert touched(session) == {ADA: 2, BOB: 2}


def read_history(session: Session, *rows: Fact) -> None:
    facts.save_page(session, "shop", Page(rows, ""), START, history=True)


def test_history_marks_nobody_again_who_waits_for_every_sync(session: Session) -> None:
    read_history(session, order(1))
    read_history(session, order(2), order(3, BOB))
    waiting = touched(session)
    refresh(session)
    read_history(session, order(4))

    assert waiting[ADA] < waiting[BOB] < touched(session)[ADA]
    assert touched(session)[BOB] == waiting[BOB]
    assert refresh(session) == 1
    assert profile(session)["orders_count"] == 3


def test_history_that_tells_of_a_new_address_renames_whoever_waits(session: Session) -> None:
    save(session, customer(1))
    refresh(session)
    before = profile_id(session)
    read_history(session, order(1, customer_id="1"), order(2, EVE))
    read_history(session, customer(1, EVE, updated_at=at(1)))
    refresh(session, chunk=1)

    assert profile_id(session, EVE) == before


def test_a_deleted_order_is_kept_but_counts_nowhere(session: Session) -> None:
    save(session, order(1), order(2))
    save(session, gone=["2", "999"])

    assert profile(session)["orders_count"] == 1
    assert facts.count_created(session, "shop", "orders", None, None) == 1


def test_a_deleted_order_touches_its_person_once(session: Session) -> None:
    save(session, order(1))
    save(session, gone=["1"])
    before = touched(session)

    save(session, gone=["1"])

    assert touched(session) == before


def test_an_order_that_comes_back_from_the_trash_counts_again(session: Session) -> None:
    save(session, order(1))
    save(session, gone=["1"])
    save(session, order(1, updated_at=NOW + timedelta(seconds=1)))

    assert profile(session)["orders_count"] == 1


def test_P1_a_copy_from_before_an_order_was_gone_does_not_bring_it_back(session: Session) -> None:
    save(session, gone=["1"])
    save(session, order(1), order(2))
    save(session, gone=["2"])
    save(session, order(2, updated_at=at(1)))

    refresh(session)
    assert columns(session) == {}


def test_a_checkout_and_an_account_that_are_gone_leave_nobody_behind(session: Session) -> None:
    save(session, customer(5), checkout(1))
    refresh(session)
    page = Page([], "", gone=["customer 5", "checkout 1", "checkout 2", "product 7"])

    facts.save_page(session, "shop", page, NOW)
    save(session, customer(5), checkout(1), checkout(2))

    closed = session.scalars(select(table(CheckoutRow).c.completed_at)).all()
    refresh(session)
    assert (closed, columns(session)) == ([NOW, NOW], {})


def test_what_was_told_replaces_only_what_is_older(session: Session) -> None:
    asked, told = order(1, total=1000), order(1, total=900)
    save(session, asked)

    doubts: set[str] = set()
    facts.save_page(session, "shop", Page([told, order(2)], ""), NOW, doubts=doubts)
    same = profile(session)["total_spent"]
    save(session, told)

    assert (same, profile(session)["total_spent"], doubts) == (2000, 1900, {"order 1"})


def test_stores_keep_their_ids_apart(session: Session) -> None:
    save(session, order(1), store="shop")
    save(session, order(1), store="outlet")
    save(session, gone=["1"], store="outlet")

    assert profile(session)["orders_count"] == 1


def test_a_page_longer_than_one_question_to_the_database_is_stored_whole(session: Session) -> None:
    rows = [order(number, f"p{number}@example.com") for number in range(1100)]

    assert save(session, *rows) == 1100
    assert save(session, *rows) == 0
    assert session.scalar(select(func.count()).select_from(table(OrderRow))) == 1100


def test_everything_that_a_store_tells_is_kept(session: Session) -> None:
    consent = Consent(given=True, at=at(3), level="confirmed_opt_in")
    full = order(
        1, discount=Money(5, "EUR"), paid_at=at(2), source=Source("google", "cpc", "x=1"), consent=consent
    )
    save(session, full, customer(2, BOB, tags=["vip", "b2b"], guest=True), checkout(3, EVE, total=eur(9)))

    kept = session.execute(select(table(OrderRow))).one()
    account = session.execute(select(table(CustomerRow))).one()
    begun = session.execute(select(table(CheckoutRow))).one()
    word = session.execute(select(CONSENTS)).one()

    assert (kept.discount_minor, kept.paid_at, kept.source_medium) == (5, at(2), "cpc")
    assert (account.tags, account.guest) == ("vip, b2b", True)
    assert (begun.total_minor, begun.currency) == (9, "EUR")
    assert (word.record, word.email, word.at, word.level) == ("order 1", ADA, at(3), "confirmed_opt_in")


def test_a_record_that_holds_no_word_any_more_loses_it(session: Session) -> None:
    given = Consent(given=True, at=at(0))
    save(session, order(1, consent=given), customer(2, BOB, consent=given))
    save(session, order(1, updated_at=at(1)), customer(2, BOB, updated_at=at(1)))

    assert session.execute(select(CONSENTS)).all() == []


def test_windows_are_counted_from_their_first_moment_to_before_their_last(session: Session) -> None:
    save(session, *(order(number, created_at=at(number)) for number in range(10)))
    save(session, customer(1), checkout(1))

    assert facts.count_created(session, "shop", "orders", at(2), at(5)) == 3
    assert facts.count_created(session, "shop", "orders", at(2), None) == 8
    assert facts.count_created(session, "shop", "customers", None, at(5)) == 1
    assert facts.count_created(session, "shop", Resource.CHECKOUTS.value, None, None) == 1
    assert facts.count_created(session, "shop", Resource.PRODUCTS.value, None, None) == 0


def test_test_orders_make_no_person(session: Session) -> None:
    save(session, order(1, standing=Standing.TEST), order(2, BOB))

    profile(session, BOB)

    with pytest.raises(KeyError):
        profile(session)


def test_texts_in_any_writing_come_back_as_they_were(session: Session) -> None:
    title = "Çay \u2028 🎈 \x00 'quoted' \"twice\" \\"
    save(
        session, replace(order(1), lines=[Line(None, title, 1, eur(1))]), Product("1", title, (title,), at(0))
    )

    assert session.scalar(select(LINES.c.title)) == title
