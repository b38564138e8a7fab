"""The calendar, and the functions that SQLite is given."""

import sqlite3
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import functions
from state.functions import (
    EARLIEST,
    LATEST,
    days_before,
    days_between,
    from_wall,
    hours_before,
    months_before,
)

ZONES = [
    ZoneInfo(name)
    for name in (
        "Europe/Paris",
        "America/New_York",
        "Asia/Kolkata",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "UTC",
    )
]
zones = st.sampled_from(ZONES)
moments = st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
PARIS, NEW_YORK = ZONES[0], ZONES[1]


def stored(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds").removesuffix("+00:00")


def local(text: str, zone: ZoneInfo = PARIS, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "days", "then"),
    [
        (local("2026-03-30 02:30"), 1, local("2026-03-29 03:30")),  # 02:30 was skipped
        (local("2026-10-26 02:30"), 1, local("2026-10-25 02:30", fold=1)),  # 02:30 came twice
        (local("2026-03-30 12:00"), 1, local("2026-03-29 12:00")),
        (local("2026-03-29 12:00"), 1, local("2026-03-28 12:00")),  # 23 hours
        (local("2026-10-25 02:30", fold=0), 0, local("2026-10-25 02:30", fold=0)),
        (local("2026-05-01 12:00"), -1, local("2026-05-02 12:00")),
        (local("2026-05-01 12:00"), 10**9, EARLIEST),
        (local("2026-05-01 12:00"), -(10**9), LATEST),
        (local("2026-05-01 12:00"), 10**12, EARLIEST),
    ],
)
def test_days_go_back_to_the_same_local_time(now: datetime, days: int, then: datetime) -> None:
    assert days_before(now, days, PARIS) == then


@pytest.mark.parametrize(
    ("now", "months", "then"),
    [
        ("2026-05-31 12:00", 3, "2026-02-28 12:00"),
        ("2024-05-31 12:00", 3, "2024-02-29 12:00"),
        ("2026-01-15 12:00", 1, "2025-12-15 12:00"),
        ("2026-12-31 12:00", 13, "2025-11-30 12:00"),
        ("2026-07-01 12:00", 6, "2026-01-01 12:00"),
        ("2026-07-01 12:00", 0, "2026-07-01 12:00"),
        ("2026-12-31 12:00", -2, "2027-02-28 12:00"),
    ],
)
def test_months_end_on_their_last_day(now: str, months: int, then: str) -> None:
    assert months_before(local(now), months, PARIS) == local(then)


def test_no_months_ago_is_now_even_in_an_hour_that_comes_twice() -> None:
    first = local("2026-10-25 02:30", fold=0)

    assert months_before(first, 0, PARIS) == first


def test_months_and_hours_out_of_the_calendar_stop_at_its_ends() -> None:
    now = local("2026-05-01 12:00")

    assert [months_before(now, n, PARIS) for n in (10**9, -(10**9))] == [EARLIEST, LATEST]
    assert [hours_before(now, n) for n in (10**8, -(10**8), 10**15, -(10**15))] == [EARLIEST, LATEST] * 2


@given(moments, moments, zones)
def test_days_between_is_the_largest_number_of_days_that_one_can_go_back(
    moment: datetime, now: datetime, zone: ZoneInfo
) -> None:
    days = days_between(moment, now, zone)

    assert moment <= days_before(now, days, zone)
    assert moment > days_before(now, days + 1, zone)


@given(st.lists(moments, min_size=1, max_size=20), moments, zones)
def test_days_since_counts_as_days_between_whatever_was_asked_before(
    several: list[datetime], now: datetime, zone: ZoneInfo
) -> None:
    count = functions.SQLITE_FUNCTIONS["cartwire_days_since"][1]

    found = [count(stored(moment), stored(now), zone.key) for moment in several]

    assert found == [days_between(moment, now, zone) for moment in several]


@given(moments, st.integers(-400, 4000), zones)
def test_more_days_never_lead_to_a_later_moment(now: datetime, days: int, zone: ZoneInfo) -> None:
    assert days_before(now, days + 1, zone) <= days_before(now, days, zone)
    assert days_before(now, abs(days), zone) <= now


@given(moments, zones)
def test_a_local_time_leads_back_to_its_moment(moment: datetime, zone: ZoneInfo) -> None:
    found = from_wall(moment.astimezone(zone).replace(tzinfo=None), zone)

    assert found - moment in {timedelta(0), timedelta(hours=1), timedelta(minutes=30)}


def test_the_ends_of_the_calendar_can_be_counted_from() -> None:
    assert days_between(LATEST, EARLIEST, NEW_YORK) == (EARLIEST - LATEST).days
    assert days_between(datetime.min.replace(tzinfo=UTC), LATEST, NEW_YORK) == (LATEST - EARLIEST).days


# --- SQLite --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("cartwire_round(2.5, 0)", 3),
        ("cartwire_round(-2.5, 0)", -3),
        ("cartwire_round(2.675, 2)", 2.68),
        ("cartwire_round(0.1 * 3, 9)", 0.3),
        ("cartwire_round(9223372036854775807, 2)", 9223372036854775807),
        ("cartwire_round(9223372036854775807, -2)", 9223372036854775800),
        ("cartwire_round(1e300, 9)", 1e300),
        ("cartwire_round(9e999, 2)", None),
        ("cartwire_round(null, 2)", None),
        ("cartwire_floor(-1.5, 1)", -2),
        ("cartwire_floor(199, 100)", 100),
        ("cartwire_floor(2.9999999999999996, 1)", 3),
        ("cartwire_floor(-9e999, 1)", None),
        ("cartwire_floor(null, 1)", None),
        ("cartwire_ceil(101, 100)", 200),
        ("cartwire_ceil(null, 1)", None),
        ("cartwire_mod(7, -2)", 1),
        ("cartwire_mod(-7, 2)", -1),
        ("cartwire_mod(0.3, 0.1)", 0.0),
        ("cartwire_mod(7, 0)", None),
        ("cartwire_mod(0, 7)", 0),
        ("cartwire_mod(null, 7)", None),
        ("cartwire_mod(7, null)", None),
        ("cartwire_mod(9e999, 7)", None),
        ("cartwire_lower('ÀÉ')", "àé"),
        ("cartwire_lower(null)", None),
        ("cartwire_upper('àé')", "ÀÉ"),
        ("cartwire_upper(null)", None),
        ("cartwire_days_between(null, '2026-05-01 12:00:00.000000', 'UTC')", None),
        ("cartwire_days_between('2026-04-30 12:00:00.000001', '2026-05-01 12:00:00.000000', 'UTC')", 0),
        ("cartwire_days_between('2026-05-01 12:00:00.000001', '2026-05-01 12:00:00.000000', 'UTC')", -1),
        ("cartwire_hours_between('2026-04-30 12:00:00.000000', '2026-05-01 12:00:00.000000')", 24),
        ("cartwire_hours_between('2026-05-01 12:00:00.000001', '2026-05-01 12:00:00.000000')", -1),
        ("cartwire_hours_between(null, '2026-05-01 12:00:00.000000')", None),
    ],
)
def test_sqlite_can_call_them(call: str, answer: object) -> None:
    connection = sqlite3.connect(":memory:")
    functions.register(connection)
    functions.register(connection)

    (found,) = connection.execute(f"select {call}").fetchone()
    connection.close()

    assert (found, type(found)) == (answer, type(answer))
