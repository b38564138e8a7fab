"""Numbers over the whole base, and rules that rest on them."""

import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.mappings.base import NOW, Base, compiled
from tests.state.makers import ADA, BOB, EVE, SCOPE, at, customer, order, profile_id, refresh, save

amounts = st.lists(st.none() | st.integers(0, 50), min_size=1, max_size=30)
OVERALL_FIELDS = {
    "AVERAGE": "overall_avg(orders_count)",
    "MEDIAN": "overall_median(orders_count)",
    "TOP": "top_percent(orders_count)",
}
OVERALL = compiled(
    fields=OVERALL_FIELDS,
    lists={
        "at most": "top_percent(orders_count) <= 25",
        "below": "top_percent(orders_count) < 25",
        "above": "top_percent(orders_count) > 25",
        "at least": "25 <= top_percent(orders_count)",
        "outside": "not top_percent(orders_count) <= 25",
        "everybody": "top_percent(orders_count) <= 100",
        "nobody": "top_percent(orders_count) > 100",
    },
)


def filled(counts) -> Base:
    base = Base()
    for place, count in enumerate(counts):
        base.add(f"{place}@example.com", orders_count=count)
    base.add("other@example.com", sync="other", orders_count=1_000_000)
    return base


def share(count: int, known: list[int]) -> float:
    """Compute the smallest top share, in tenths of a percent, that holds `count`."""
    best = sum(other > count for other in known) + 1
    return math.ceil(best * 1000 / len(known)) / 10


@given(amounts)
def test_figures_are_those_of_everybody_who_is_known(counts) -> None:
    base = filled(counts)
    known = [count for count in counts if count is not None]
    base.refresh(OVERALL)

    people = base.run(OVERALL)
    base.close()

    for count, person in zip(counts, people, strict=True):
        if known:
            assert float(person.fields["AVERAGE"]) == pytest.approx(mean(known), abs=1e-6)
            assert float(person.fields["MEDIAN"]) == median(known)
        else:
            assert person.fields["AVERAGE"] is person.fields["MEDIAN"] is None
        top = None if count is None else share(count, known)
        assert (top if top is None else float(person.fields["TOP"])) == top
        expected = (
            [None] * 7 if top is None else [top <= 25, top < 25, top > 25, top >= 25, top > 25, True, False]
        )
        assert list(person.lists.values()) == expected


def test_P1_a_base_that_grew_has_the_figures_of_one_that_is_read_anew(connection: Connection) -> None:
    mapping = compiled(fields={"F": "quintile(orders_count)", **OVERALL_FIELDS})
    save(
        connection,
        customer(5, ADA),
        order(1, ADA, customer_id="5"),
        order(2, BOB),
        order(3, BOB),
        order(4, EVE),
    )
    refresh(connection)
    save(connection, customer(5, BOB, updated_at=at(1)))
    refresh(connection)
    refresh(connection, replace(SCOPE, sync="anew"))

    grown, anew = (
        [connection.execute(figure.at(NOW), {"sync": sync}).all() for figure in mapping.figures]
        for sync in (SCOPE.sync, "anew")
    )

    assert profile_id(connection, ADA)  # the address that was left stays as a contact
    assert list(map(sorted, grown)) == list(map(sorted, anew))


def test_without_figures_the_answer_is_unknown(base: Base) -> None:
    base.add(orders_count=5)

    (person,) = base.run(OVERALL)

    assert set(person.fields.values()) == {None}
    assert set(person.lists.values()) == {None}


def test_who_came_after_the_figures_is_ranked_among_them(base: Base) -> None:
    for count in range(1, 11):
        base.add(f"{count}@example.com", orders_count=count)
    base.refresh(OVERALL)
    base.add("first@example.com", orders_count=99)
    base.add("last@example.com", orders_count=0)

    *_, first, last = base.run(OVERALL)

    assert (first.fields["TOP"], first.lists["at most"]) == (10, True)
    assert (last.fields["TOP"], last.lists["at most"], last.lists["everybody"]) == (100, False, True)


def test_an_average_of_money_is_money(base: Base) -> None:
    base.add("a@example.com", total_spent=100_00)
    base.add("b@example.com", total_spent=50_01)
    mapping = compiled(
        fields={"AVG": "overall_avg(total_spent)"},
        lists={
            "Above": "total_spent > overall_avg(total_spent)",
            "Far above": "total_spent >= overall_avg(total_spent) + 25",
        },
    )
    base.refresh(mapping)

    one, two = base.run(mapping)

    assert one.fields["AVG"] == two.fields["AVG"] == Decimal("75.01")
    assert [one.lists, two.lists] == [
        {"Above": True, "Far above": False},
        {"Above": False, "Far above": False},
    ]


def test_a_figure_of_the_clock_is_worked_out_for_it(base: Base) -> None:
    base.add("a@example.com", first_order_at=NOW.now - timedelta(days=10), orders_count=1)
    base.add("b@example.com", first_order_at=NOW.now - timedelta(days=20), orders_count=1)
    mapping = compiled(fields={"AVG": "overall_avg(days_since(first_order_at))"}, lists={"X": "true"})
    base.refresh(mapping)

    assert {person.fields["AVG"] for person in base.run(mapping)} == {15}


def test_equal_figures_are_kept_once() -> None:
    mapping = compiled(
        lists={
            "A": "orders_count > overall_avg( orders_count )",
            "B": "orders_count > 2 * OVERALL_AVG(Orders_Count)",
            "C": "orders_count > overall_median(orders_count)",
            "D": "top_percent(orders_count) < 5 and top_percent(orders_count + 1) < 5",
        }
    )

    assert sorted(figure.kind for figure in mapping.figures) == [
        "average",
        "median",
        "percentiles",
        "percentiles",
    ]
    assert len({figure.key for figure in mapping.figures}) == 4
