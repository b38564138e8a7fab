"""Pages to rows: what is new, what is the same, and whom it concerns."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, func, select

from connectors.base import Page, Resource
from connectors.facts import Consent, Fact, Line, Money, Product, Refund, Source, Standing
from state import facts
from state.bookkeeping import TouchedRow
from state.tables import CheckoutRow, ConsentRow, CustomerRow, OrderLineRow, OrderRow, table
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


def touched(connection: Connection) -> dict[str, int]:
    return {row.email: row.revision for row in connection.execute(select(TOUCHED))}


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
def test_P1_an_equal_copy_changes_nothing_and_touches_nobody(connection: Connection, fact: Fact) -> None:
    save(connection, order(1), customer(1), fact)
    before = touched(connection)

    changed = save(connection, fact, fact)

    assert changed == 0
    assert touched(connection) == before


@pytest.mark.parametrize("make", [order, customer, checkout], ids=lambda make: make.__name__)
def test_P1_an_older_copy_never_overwrites_a_newer_one(
    connection: Connection, make: Callable[..., Any]
) -> None:
    newer, older = make(1, BOB, updated_at=at(5)), make(1, ADA, updated_at=at(4))
    save(connection, newer)

    assert save(connection, older) == 0
    assert save(connection, older, newer, older) == 0
    assert set(touched(connection)) == {BOB}


@pytest.mark.parametrize("make", [order, customer, checkout], ids=lambda make: make.__name__)
def test_P1_of_two_versions_on_one_page_the_newer_is_stored(
    connection: Connection, make: Callable[..., Any]
) -> None:
    save(connection, make(1, BOB, updated_at=at(5)), make(1, ADA, updated_at=at(4)))

    assert set(touched(connection)) == {BOB}


@pytest.mark.parametrize("make", [order, customer, checkout], ids=lambda make: make.__name__)
def test_of_two_different_copies_with_one_date_the_last_to_come_stays(
    connection: Connection, make: Callable[..., Any]
) -> None:
    save(connection, make(1, ADA))

    assert save(connection, make(1, BOB)) == 1
    assert set(touched(connection)) == {ADA, BOB}


def test_the_lines_of_an_order_are_those_of_its_newest_version(connection: Connection) -> None:
    lines = [Line("1", "Tea", 1, eur(1)), Line(None, "Gift", 2, eur(2))]
    save(connection, order(1, lines=lines))
    save(connection, order(1, updated_at=at(1), lines=lines[1:]))

    found = connection.execute(select(LINES.c.position, LINES.c.title, LINES.c.quantity)).all()

    assert [tuple(row) for row in found] == [(0, "Gift", 2)]


def test_refunds_that_vanish_from_an_order_count_no_more(connection: Connection) -> None:
    save(connection, order(1, refunds=[Refund("a", "1", eur(300))]))
    save(connection, order(1, updated_at=at(1), refunds=[]))

    assert profile(connection)["total_spent"] == 1000


def test_refunds_apart_stay_when_their_order_comes_again(connection: Connection) -> None:
    save(connection, order(1), Refund("a", "1", eur(300)))
    save(connection, order(1, updated_at=at(1)))

    assert profile(connection)["total_spent"] == 700


def test_a_refund_touches_the_person_of_its_order(connection: Connection) -> None:
    save(connection, order(1), order(2, EVE))
    before = touched(connection)

    assert save(connection, Refund("a", "1", eur(300))) == 1
    assert [email for email, revision in touched(connection).items() if revision > before[EVE]] == [ADA]


def test_an_order_that_moves_to_another_address_touches_both(connection: Connection) -> None:
    save(connection, order(1))
    save(connection, order(1, BOB, updated_at=at(1)))

    assert touched(connection) == {ADA: 2, BOB: 2}


def read_history(connection: Connection, *rows: Fact) -> None:
    facts.save_page(connection, "shop", Page(rows, ""), START, history=True)


def test_history_marks_nobody_again_who_waits_for_every_sync(connection: Connection) -> None:
    read_history(connection, order(1))
    read_history(connection, order(2), order(3, BOB))
    waiting = touched(connection)
    refresh(connection)
    read_history(connection, order(4))

    assert waiting[ADA] < waiting[BOB] < touched(connection)[ADA]
    assert touched(connection)[BOB] == waiting[BOB]
    assert refresh(connection) == 1
    assert profile(connection)["orders_count"] == 3


def test_history_that_tells_of_a_new_address_renames_whoever_waits(connection: Connection) -> None:
    save(connection, customer(1))
    refresh(connection)
    before = profile_id(connection)
    read_history(connection, order(1, customer_id="1"), order(2, EVE))
    read_history(connection, customer(1, EVE, updated_at=at(1)))
    refresh(connection, chunk=1)

    assert profile_id(connection, EVE) == before


def test_a_deleted_order_is_kept_but_counts_nowhere(connection: Connection) -> None:
    save(connection, order(1), order(2))
    save(connection, gone=["2", "999"])

    assert profile(connection)["orders_count"] == 1
    assert facts.count_created(connection, "shop", "orders", None, None) == 1


def test_a_deleted_order_touches_its_person_once(connection: Connection) -> None:
    save(connection, order(1))
    save(connection, gone=["1"])
    before = touched(connection)

    save(connection, gone=["1"])

    assert touched(connection) == before


def test_an_order_that_comes_back_from_the_trash_counts_again(connection: Connection) -> None:
    save(connection, order(1))
    save(connection, gone=["1"])
    save(connection, order(1, updated_at=NOW + timedelta(seconds=1)))

    assert profile(connection)["orders_count"] == 1


def test_P1_a_copy_from_before_an_order_was_gone_does_not_bring_it_back(connection: Connection) -> None:
    save(connection, gone=["1"])
    save(connection, order(1), order(2))
    save(connection, gone=["2"])
    save(connection, order(2, updated_at=at(1)))

    refresh(connection)
    assert columns(connection) == {}


def test_a_checkout_and_an_account_that_are_gone_leave_nobody_behind(connection: Connection) -> None:
    save(connection, customer(5), checkout(1))
    refresh(connection)
    page = Page([], "", gone=["customer 5", "checkout 1", "checkout 2", "product 7"])

    facts.save_page(connection, "shop", page, NOW)
    save(connection, customer(5), checkout(1), checkout(2))

    closed = connection.scalars(select(table(CheckoutRow).c.completed_at)).all()
    refresh(connection)
    assert (closed, columns(connection)) == ([NOW, NOW], {})


def test_what_was_told_replaces_only_what_is_older(connection: Connection) -> None:
    asked, told = order(1, total=1000), order(1, total=900)
    save(connection, asked)

    doubts: set[str] = set()
    facts.save_page(connection, "shop", Page([told, order(2)], ""), NOW, doubts=doubts)
    same = profile(connection)["total_spent"]
    save(connection, told)

    assert (same, profile(connection)["total_spent"], doubts) == (2000, 1900, {"order 1"})


def test_stores_keep_their_ids_apart(connection: Connection) -> None:
    save(connection, order(1), store="shop")
    save(connection, order(1), store="outlet")
    save(connection, gone=["1"], store="outlet")

    assert profile(connection)["orders_count"] == 1


def test_a_page_longer_than_one_question_to_the_database_is_stored_whole(connection: Connection) -> None:
    rows = [order(number, f"p{number}@example.com") for number in range(1100)]

    assert save(connection, *rows) == 1100
    assert save(connection, *rows) == 0
    assert connection.scalar(select(func.count()).select_from(table(OrderRow))) == 1100


def test_everything_that_a_store_tells_is_kept(connection: Connection) -> None:
    consent = Consent(given=True, at=at(3), level="confirmed_opt_in")
    full = order(
        1, discount=Money(5, "EUR"), paid_at=at(2), source=Source("google", "cpc", "x=1"), consent=consent
    )
    save(connection, full, customer(2, BOB, tags=["vip", "b2b"], guest=True), checkout(3, EVE, total=eur(9)))

    kept = connection.execute(select(table(OrderRow))).one()
    account = connection.execute(select(table(CustomerRow))).one()
    begun = connection.execute(select(table(CheckoutRow))).one()
    word = connection.execute(select(CONSENTS)).one()

    assert (kept.discount_minor, kept.paid_at, kept.source_medium) == (5, at(2), "cpc")
    assert (account.tags, account.guest) == ("vip, b2b", True)
    assert (begun.total_minor, begun.currency) == (9, "EUR")
    assert (word.record, word.email, word.at, word.level) == ("order 1", ADA, at(3), "confirmed_opt_in")


def words(connection: Connection) -> set[tuple[str, str, bool]]:
    return {(row.record, row.email, row.given) for row in connection.execute(select(CONSENTS))}


def test_P4_silence_takes_a_yes_away_and_never_a_no(connection: Connection) -> None:
    yes, no = Consent(given=True, at=at(0)), Consent(given=False, at=at(0))
    save(connection, order(1, consent=yes), customer(2, BOB, consent=yes))
    save(connection, order(3, consent=no), customer(4, EVE, consent=no))

    save(connection, *(order(n, updated_at=at(1)) for n in (1, 3)))
    save(connection, customer(2, BOB, updated_at=at(1)), customer(4, EVE, updated_at=at(1)))
    facts.save_page(connection, "shop", Page([], "", gone=["customer 4"]), at(2))

    assert words(connection) == {("order 3", ADA, False), ("customer 4", EVE, False)}


def test_P4_a_word_that_lapses_is_a_no_only_after_a_yes_of_the_same_record(connection: Connection) -> None:
    yes, no = Consent(given=True, at=at(0)), Consent(given=False, at=at(0))
    lapsed = Consent(given=False, at=at(5), lapses=True)
    save(connection, customer(1, ADA, consent=yes), customer(2, BOB, consent=no), customer(3, EVE))

    for number, email in enumerate((ADA, BOB, EVE), start=1):
        save(connection, customer(number, email, updated_at=at(5), consent=lapsed))

    assert words(connection) == {("customer 1", ADA, False), ("customer 2", BOB, False)}
    assert set(connection.scalars(select(CONSENTS.c.at))) == {at(0), at(5)}


@pytest.mark.parametrize("silent", [True, False])
def test_P4_a_no_goes_with_its_account_and_stays_where_it_was(
    connection: Connection,
    silent: bool,  # noqa: FBT001 - pytest passes by name
) -> None:
    """A guest order of before said yes at the old address: it does not count again."""
    no = Consent(given=False, at=at(3))
    save(connection, order(1, ADA, consent=Consent(given=True, at=at(0))))
    save(connection, customer(5, ADA, consent=no), order(2, ADA, customer_id="5", consent=no))
    save(connection, customer(5, BOB, updated_at=at(4), consent=None if silent else no))

    assert [profile(connection, email)["accepts_marketing"] for email in (ADA, BOB)] == [False, False]
    save(connection, customer(5, EVE, updated_at=at(5), consent=None if silent else no))
    assert [profile(connection, email)["accepts_marketing"] for email in (ADA, EVE)] == [False, False]
    assert {email for _, email, given in words(connection) if not given} == {ADA, BOB, EVE}


def test_P4_what_an_account_left_behind_goes_when_it_comes_back_with_its_own_word(
    connection: Connection,
) -> None:
    """Its yes may be as old as the first one: stores do not renew the date."""
    yes, no = Consent(given=True, at=at(0)), Consent(given=False, at=at(3))
    save(connection, customer(5, ADA, consent=yes))
    save(connection, customer(5, ADA, updated_at=at(3), consent=no))
    save(connection, customer(5, BOB, updated_at=at(4), consent=no))
    save(connection, customer(5, ADA, updated_at=at(5), consent=yes))

    assert words(connection) == {("customer 5", ADA, True)}


def test_P4_who_says_no_while_the_address_changes_says_it_at_both(connection: Connection) -> None:
    yes, no = Consent(given=True, at=at(0)), Consent(given=False, at=at(4))
    save(connection, order(1, ADA, consent=yes), customer(5, ADA, consent=yes))
    save(connection, customer(5, BOB, updated_at=at(4), consent=no))

    assert [profile(connection, email)["accepts_marketing"] for email in (ADA, BOB)] == [False, False]


def test_P4_an_order_that_loses_its_address_leaves_its_no_there(connection: Connection) -> None:
    save(connection, order(1, consent=Consent(given=True, at=at(0))))
    save(connection, order(2, consent=Consent(given=False, at=at(1))))
    save(connection, order(2, None, updated_at=at(2), consent=Consent(given=False, at=at(1))))

    assert profile(connection)["accepts_marketing"] is False


def test_windows_are_counted_from_their_first_moment_to_before_their_last(connection: Connection) -> None:
    save(connection, *(order(number, created_at=at(number)) for number in range(10)))
    save(connection, customer(1), checkout(1))

    assert facts.count_created(connection, "shop", "orders", at(2), at(5)) == 3
    assert facts.count_created(connection, "shop", "orders", at(2), None) == 8
    assert facts.count_created(connection, "shop", "customers", None, at(5)) == 1
    assert facts.count_created(connection, "shop", Resource.CHECKOUTS.value, None, None) == 1
    assert facts.count_created(connection, "shop", Resource.PRODUCTS.value, None, None) == 0


def test_test_orders_make_no_person(connection: Connection) -> None:
    save(connection, order(1, standing=Standing.TEST), order(2, BOB))

    profile(connection, BOB)

    with pytest.raises(KeyError):
        profile(connection)


def test_texts_in_any_writing_come_back_as_they_were(connection: Connection) -> None:
    title = "Çay \u2028 🎈 'quoted' \"twice\" \\"
    save(
        connection,
        replace(order(1), lines=[Line(None, title, 1, eur(1))]),
        Product("1", title, (title,), at(0)),
    )

    assert connection.scalar(select(LINES.c.title)) == title
