"""P1: how somebody buys, what becomes of their orders, and which checkout they left, at each limit."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from connectors.facts import Fulfilment, Line, Money, Refund, Standing
from state import runs
from tests.state.makers import (
    BOB,
    EVE,
    SCOPE,
    at,
    checkout,
    columns,
    customer,
    eur,
    local,
    order,
    profile,
    save,
)

# --- habits --------------------------------------------------------------------------------------------

NIGHT_CLOCKS = [
    ("21:59:59", 0),
    ("22:00", 1),
    ("23:59:59", 1),
    ("00:00:01", 1),
    ("05:59:59", 1),
    ("06:00", 0),
]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Paris", "2026-03-28"),
        ("Europe/Paris", "2026-03-29"),
        ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"),
        ("Asia/Kolkata", "2026-06-15"),
    ],
    ids=["the day before summer time", "summer time", "New York's", "winter time", "half an hour off"],
)
@pytest.mark.parametrize(("clock", "count"), NIGHT_CLOCKS)
def test_a_night_goes_from_ten_to_six_by_the_clocks_of_the_sync(
    connection: Connection, zone: str, day: str, clock: str, count: int
) -> None:
    save(connection, order(1, created_at=local(day, clock, zone)))

    assert profile(connection, scope=replace(SCOPE, timezone=zone))["night_orders"] == count


@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Kolkata"])
def test_midnight_is_a_date_alone_and_neither_night_nor_day(connection: Connection, zone: str) -> None:
    midnight, night = (local("2026-03-29", clock, zone) for clock in ("00:00", "23:00"))
    save(
        connection,
        order(1, created_at=midnight),
        order(2, created_at=night),
        order(3, EVE, created_at=midnight),
    )

    found = profile(connection, scope=replace(SCOPE, timezone=zone))

    assert (found["night_orders"], found["timed_orders"]) == (1, 1)
    eve = columns(connection)[EVE]
    assert (eve["night_orders"], eve["timed_orders"]) == (None, 0)


def test_another_timezone_counts_the_nights_again(connection: Connection) -> None:
    save(connection, order(1, created_at=local("2026-06-15", "23:30", "Europe/Paris")))
    before = profile(connection, scope=replace(SCOPE, timezone="Europe/Paris"))["night_orders"]

    after = profile(connection, scope=replace(SCOPE, timezone="America/New_York"))["night_orders"]

    assert (before, after) == (1, 0)


@pytest.mark.parametrize(
    ("discounts", "count"),
    [
        ([eur(1)], 1),
        ([eur(0)], 0),
        ([None], None),
        ([None, eur(0)], 0),
        ([None, eur(5), eur(0), eur(7)], 2),
        ([], 0),
    ],
)
def test_discounts_are_unknown_only_where_no_order_tells_of_one(
    connection: Connection, discounts: list[Money | None], count: int | None
) -> None:
    unpaid = order("unpaid", standing=Standing.UNPAID, discount=eur(9))
    save(connection, unpaid, *(order(place, discount=each) for place, each in enumerate(discounts)))

    assert profile(connection)["discounted_orders"] == count


def test_pieces_are_those_of_orders_that_count_and_unknown_where_no_line_is_told(
    connection: Connection,
) -> None:
    three = Line("1", "Thing", 3, eur(900))
    gift = Line(None, "Gift", 1, eur(0))
    weighed = Line("2", "Fuel", 0, eur(100))
    save(connection, order(1, lines=[three, gift, weighed]), order(2, total=0, lines=[gift]), order(3))
    save(connection, order(4, lines=[three], standing=Standing.REFUNDED), order(5, EVE))

    found = profile(connection)

    assert found["items_bought"] == 5
    assert columns(connection)[EVE]["items_bought"] is None


@pytest.mark.parametrize(
    ("changes", "paid", "came_back"),
    [
        ({}, 1, 0),
        ({"refunds": [Refund("a", "1", eur(1))]}, 1, 1),
        ({"refunds": [Refund("a", "1", eur(1)), Refund("b", "1", eur(999))]}, 1, 1),
        ({"refunds": [Refund("a", "1", eur(0))]}, 1, 0),
        ({"standing": Standing.REFUNDED}, 1, 1),
        ({"standing": Standing.CANCELLED, "paid_at": at(0)}, 1, 1),
        ({"standing": Standing.CANCELLED, "refunds": [Refund("a", "1", eur(5))]}, 1, 1),
        ({"standing": Standing.CANCELLED}, 0, 0),
        ({"standing": Standing.UNPAID, "paid_at": at(0)}, 0, 0),
        ({"standing": Standing.TEST, "paid_at": at(0)}, 0, 0),
        ({"standing": Standing.DELETED, "paid_at": at(0)}, 0, 0),
        ({"total": 0}, 1, 0),
    ],
    ids=[
        "kept",
        "refunded in part",
        "refunded in full by parts",
        "refunded of nothing",
        "refunded, says the store",
        "cancelled after it was paid",
        "cancelled with money back",
        "cancelled unpaid",
        "unpaid",
        "test",
        "deleted",
        "free",
    ],
)
def test_refunds_are_measured_against_all_that_was_ever_paid(
    connection: Connection, changes: dict[str, Any], paid: int, came_back: int
) -> None:
    save(connection, customer(1), order(1, **changes))

    found = profile(connection)

    assert (found["paid_orders"], found["refunded_orders"]) == (paid, came_back)


@pytest.mark.parametrize(
    ("parcels", "in_progress", "last"),
    [
        ([Fulfilment.OPEN], True, "open"),
        ([Fulfilment.OPEN, Fulfilment.FULFILLED], True, "fulfilled"),
        ([Fulfilment.FULFILLED, Fulfilment.PARTIAL], True, "partial"),
        ([Fulfilment.FULFILLED, None], False, None),
        ([None], None, None),
        ([], False, None),
    ],
)
def test_an_order_is_in_progress_until_it_is_fulfilled(
    connection: Connection, parcels: list[Fulfilment | None], *, in_progress: bool | None, last: str | None
) -> None:
    back = order("back", standing=Standing.REFUNDED, fulfilment=Fulfilment.OPEN, created_at=at(99))
    sent = [order(place, created_at=at(place), fulfilment=each) for place, each in enumerate(parcels)]
    save(connection, back, *sent)

    found = profile(connection)

    assert (found["order_in_progress"], found["last_fulfilment"]) == (in_progress, last)


# --- checkouts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["shop", "outlet"])
@pytest.mark.parametrize(
    ("changes", "is_over"),
    [
        ({}, True),
        ({"created_at": at(10)}, True),
        ({"created_at": at(9.99)}, False),
        ({"total": 0}, True),
        ({"standing": Standing.UNPAID}, False),
        ({"standing": Standing.REFUNDED}, True),
        ({"refunds": [Refund("a", "1", eur(1000))]}, True),
        ({"standing": Standing.CANCELLED}, False),
        ({"standing": Standing.CANCELLED, "paid_at": at(21)}, True),
        ({"standing": Standing.TEST}, False),
        ({"email": BOB}, False),
    ],
    ids=[
        "paid",
        "begun in the same moment",
        "begun before",
        "free",
        "unpaid",
        "refunded",
        "given back in full",
        "cancelled unpaid",
        "cancelled after it was paid",
        "test",
        "somebody else's",
    ],
)
def test_a_checkout_is_open_until_the_person_pays_for_a_later_order_in_any_store(
    connection: Connection, store: str, changes: dict[str, Any], *, is_over: bool
) -> None:
    begun = checkout(7, url="https://shop.example/7", total=eur(500), created_at=at(10), updated_at=at(15))
    save(connection, begun)
    save(connection, order(1, **({"created_at": at(20)} | changes)), store=store)

    found = profile(connection)

    told = [found[name] for name in ("checkout_id", "checkout_url", "checkout_at", "checkout_total")]
    assert told == ([None] * 4 if is_over else ["7", "https://shop.example/7", at(15), 500])


def test_an_order_in_a_store_outside_the_sync_leaves_a_checkout_open(connection: Connection) -> None:
    save(connection, checkout(7))
    save(connection, order(1, created_at=at(1)), store="outlet")

    assert profile(connection, scope=replace(SCOPE, stores=("shop",)))["checkout_id"] == "7"


def test_the_newest_of_several_open_checkouts_is_told(connection: Connection) -> None:
    older = checkout(1, created_at=at(5), updated_at=at(6), total=eur(100))
    newer = checkout(2, created_at=at(4), updated_at=at(7), total=Money(100, "JPY"))
    done = checkout(3, created_at=at(8), updated_at=at(9), completed_at=at(9))
    save(connection, older, newer, done)

    found = profile(connection)

    assert (found["checkout_id"], found["checkout_at"], found["checkout_total"]) == ("2", at(7), 61)


@pytest.mark.parametrize("total", [None, Money(100, "GBP")], ids=["none", "no rate"])
def test_a_checkout_whose_worth_is_unknown_is_a_checkout(connection: Connection, total: Money | None) -> None:
    save(connection, checkout(1, total=total))

    found = profile(connection)

    assert (found["checkout_id"], found["checkout_total"]) == ("1", None)
    assert runs.list_dead_letters(connection, ["crm"]) == []
