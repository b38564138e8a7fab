"""Rules that look at the clock: what they say, and whom the passing of time moves."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.clock import Bound, Clock
from tests.mappings.base import NOW, PARIS, SYNC, Base, compiled

ZONES = [ZoneInfo(name) for name in ("Europe/Paris", "America/New_York", "Asia/Kolkata")]
zones = st.sampled_from(ZONES)
START = datetime(2026, 3, 20, tzinfo=UTC)

# Around the changes of clocks in 2026: 8 and 29 March, 25 October and 1 November.
moments = st.one_of(
    st.builds(
        lambda day, minutes: datetime(2026, *day, tzinfo=UTC) + timedelta(minutes=minutes),
        st.sampled_from([(3, 7), (3, 28), (10, 24), (10, 31)]),
        st.integers(0, 3 * 24 * 60),
    ),
    st.integers(0, 400 * 24 * 60).map(lambda minutes: START - timedelta(minutes=minutes)),
)
SIGNS = ("<", "<=", ">", ">=", "=", "<>")


@given(moments, moments, zones, st.integers(-2, 300), st.sampled_from(["days", "hours"]))
def test_an_age_reaches_n_when_its_moment_is_n_ago(
    moment: datetime, now: datetime, zone: ZoneInfo, n: int, unit: str
) -> None:
    base = Base()
    base.add(last_order_at=moment)
    age = f"{unit}_since(last_order_at)"
    mapping = compiled(
        fields={"AGE": age, "N": str(n)},
        lists={
            **{sign: f"{age} {sign} {n}" for sign in SIGNS},
            "plain": f"last_order_at <= {unit}_ago({n})",
            "turned": f"{n} <= {age}",
            "counted": f"{age} + 0 >= {n}",
        },
    )

    (only,) = base.run(mapping, Clock(now, zone))
    base.close()

    counted = only.fields["AGE"]
    expected = [counted < n, counted <= n, counted > n, counted >= n, counted == n, counted != n]
    assert [only.lists[sign] for sign in SIGNS] == expected
    assert only.lists["plain"] is only.lists["turned"] is only.lists["counted"] is (counted >= n)


RULES = [
    "days_since(last_order_at) > 30",
    "30 >= days_since(last_order_at)",
    "days_since(last_order_at) = 30",
    "days_since(last_order_at) in (29, 31)",
    "days_since(last_order_at) between 20 and 40",
    "hours_since(last_order_at) < 700",
    "last_order_at < months_ago(1)",
    "last_order_at not between days_ago(40) and months_ago(1)",
    "not (last_order_at >= hours_ago(700) or signup_at < days_ago(30))",
    "coalesce(last_order_at, signup_at) <= days_ago(30)",
    "case when orders_count = 1 then signup_at else last_order_at end > days_ago(31)",
    "days_since(least(last_order_at, signup_at)) >= 30",
    "last_order_at > '2026-02-01' and signup_at <= now()",
    "days_since(case when last_order_at < days_ago(10) then signup_at end) > 30",
]
MAPPING = compiled(lists={rule: rule for rule in RULES})
TRACKED = compiled(lists={rule: rule for rule in RULES[:-1]})


@given(
    st.lists(st.tuples(st.none() | moments, st.none() | moments, st.integers(1, 2)), min_size=1, max_size=20),
    st.integers(0, 60 * 24 * 60),
    st.integers(0, 60 * 24 * 60),
    zones,
)
def test_everybody_whom_time_moves_is_found(people, minutes: int, span: int, zone: ZoneInfo) -> None:
    base = Base()
    for place, (last_order_at, signup_at, orders) in enumerate(people):
        base.add(
            f"{place}@example.com", last_order_at=last_order_at, signup_at=signup_at, orders_count=orders
        )
    before = Clock(START + timedelta(minutes=minutes), zone)
    after = Clock(before.now + timedelta(minutes=span), zone)

    old, new = base.run(TRACKED, before), base.run(TRACKED, after)
    moved = base.moved(TRACKED, before, after)
    base.close()

    changed = {one.profile for one, other in zip(old, new, strict=True) if one.lists != other.lists}
    assert changed <= moved


def test_only_those_near_the_limit_are_moved(base: Base) -> None:
    near = base.add("near@example.com", last_order_at=NOW.now - timedelta(days=30, minutes=-5))
    base.add("far@example.com", last_order_at=NOW.now - timedelta(days=20))
    base.add("never@example.com")
    base.add("other@example.com", sync="other", last_order_at=NOW.now - timedelta(days=30, minutes=-5))
    mapping = compiled(lists={"Quiet": "last_order_at <= days_ago(30)"})

    moved = base.moved(mapping, NOW, Clock(NOW.now + timedelta(minutes=10), PARIS))

    assert moved == {near}


def test_nobody_is_moved_when_nothing_looks_at_the_clock_or_no_time_passed() -> None:
    later = Clock(NOW.now + timedelta(days=1), PARIS)

    assert (
        compiled(lists={"A": "orders_count > 1", "B": "last_order_at > '2026-01-01'"}).moved(SYNC, NOW, later)
        is None
    )
    assert MAPPING.moved(SYNC, NOW, NOW) is None


def test_who_is_moved_is_found_by_an_index(base: Base) -> None:
    mapping = compiled(lists={"A": "days_since(last_order_at) > 30 or signup_at > days_ago(3)"})
    query = mapping.moved(SYNC, NOW, Clock(NOW.now + timedelta(days=1), PARIS))
    assert query is not None
    text = query.compile(base.engine, compile_kwargs={"literal_binds": False})

    plan = base.connection.exec_driver_sql(
        f"explain query plan {text}", tuple(str(text.params[name]) for name in text.positiontup)
    ).all()

    details = " ".join(row.detail for row in plan)
    assert "profiles_last_order_at (sync=? AND last_order_at>? AND last_order_at<?)" in details
    assert "profiles_signup_at (sync=? AND signup_at>? AND signup_at<?)" in details
    assert "SCAN profiles" not in details


@pytest.mark.parametrize(
    ("expression", "daily"),
    [
        ("days_since(last_order_at) > 3", False),
        ("last_order_at > '2026-01-01'", False),
        ("coalesce(last_order_at, signup_at) > days_ago(3)", False),
        ("orders_count > overall_avg(purchase_frequency)", False),
        ("days_since(last_order_at) > orders_count", True),
        ("days_since(last_order_at) + 1 > 3", True),
        ("last_order_at > least(days_ago(3), '2026-01-01')", True),
        ("coalesce(last_order_at, '2026-01-01') > days_ago(3)", True),
        ("coalesce(last_order_at, now()) > days_ago(3)", True),
        ("now() > '2026-01-01'", True),
        ("purchase_frequency > 3", True),
        (RULES[-1], True),
    ],
)
def test_what_no_limit_in_time_tells_is_evaluated_daily(expression: str, *, daily: bool) -> None:
    assert compiled(lists={"X": expression}).daily is daily


def test_a_field_that_counts_days_is_evaluated_daily() -> None:
    assert compiled(fields={"AGE": "days_since(last_order_at)"}).daily
    assert compiled(fields={"TODAY": "now()"}).daily
    assert not compiled(fields={"LAST": "last_order_at"}).daily


def test_moving_names_the_column_and_the_limit() -> None:
    (moving,) = compiled(lists={"X": "90 < days_since(last_order_at)"}).moving

    assert moving.column == "last_order_at"
    assert moving.bound(Clock(datetime(2026, 5, 1, 12, tzinfo=UTC), PARIS)) == datetime(
        2026, 1, 30, 13, tzinfo=UTC
    )


def test_dates_are_those_of_the_zone(base: Base) -> None:
    base.add(last_order_at=datetime(2026, 1, 31, 23, 30, tzinfo=UTC))
    new_york = Clock(NOW.now, ZONES[1])

    assert [str(base.value("last_order_at", clock=clock)) for clock in (NOW, new_york)] == [
        "2026-02-01",
        "2026-01-31",
    ]
    assert [base.truth("last_order_at >= '2026-02-01'", clock) for clock in (NOW, new_york)] == [True, False]


DAY = "'2026-03-29'"
"""The night before it has an hour less in Paris: this day has 23."""
BESIDE = {
    "the evening before": (datetime(2026, 3, 28, 22, 59, 59, tzinfo=UTC), -1),
    "its first moment": (datetime(2026, 3, 28, 23, tzinfo=UTC), 0),
    "its last second": (datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC), 0),
    "the next midnight": (datetime(2026, 3, 29, 22, tzinfo=UTC), 1),
}
"""A moment, and whether it is before that day in Paris (-1), within (0) or after it (1)."""


@pytest.mark.parametrize("when", BESIDE)
def test_a_day_without_a_time_is_the_whole_day(base: Base, when: str) -> None:
    moment, order = BESIDE[when]
    base.add(last_order_at=moment)

    rules = {
        f"last_order_at = {DAY}": order == 0,
        f"last_order_at in ({DAY}, '2020-01-01')": order == 0,
        f"last_order_at <> {DAY}": order != 0,
        f"last_order_at < {DAY}": order < 0,
        f"last_order_at <= {DAY}": order <= 0,
        f"last_order_at > {DAY}": order > 0,
        f"last_order_at >= {DAY}": order >= 0,
        f"{DAY} >= last_order_at": order <= 0,
        f"{DAY} in (last_order_at)": order == 0,
        f"last_order_at between '2026-03-01' and {DAY}": order <= 0,
        f"nullif(last_order_at, {DAY}) is null": order == 0,
        "last_order_at <= '2026-03-29 00:00'": moment <= BESIDE["its first moment"][0],
    }
    assert {rule: base.truth(rule) for rule in rules} == rules


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Auckland"])
def test_the_last_day_that_can_be_written_is_one(base: Base, zone: str) -> None:
    base.add(last_order_at=NOW.now)
    clock = Clock(NOW.now, ZoneInfo(zone))

    rules = {
        "last_order_at <= '9999-12-31'": True,
        "last_order_at > '9999-12-31'": False,
        "last_order_at = '9999-12-31'": False,
        "last_order_at <> '9999-12-31'": True,
        "last_order_at between '2020-01-01' and '9999-12-31'": True,
        "last_order_at < '0001-01-01'": False,
    }
    assert {rule: base.truth(rule, clock) for rule in rules} == rules


@given(moments, moments, zones, st.sampled_from([Bound("days", 30), Bound("months", 1), Bound("hours", 5)]))
def test_the_moment_at_which_a_limit_is_reached_can_be_told(
    moment: datetime, now: datetime, zone: ZoneInfo, bound: Bound
) -> None:
    turns = bound.reaches(moment, Clock(now, zone))

    if turns is None:
        assert bound.at(Clock(now, zone)) >= moment
    else:
        assert bound.at(Clock(turns, zone)) >= moment
        assert bound.at(Clock(turns - timedelta(seconds=1), zone)) < moment


def test_a_date_is_never_reached() -> None:
    assert Bound("date", "2026-01-01T00:00:00").reaches(NOW.now + timedelta(days=900), NOW) is None
