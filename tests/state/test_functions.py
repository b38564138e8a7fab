"""The calendar, and the functions that SQLite is given."""

import math
import operator
import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import functions
from state.functions import (
    DAY,
    EARLIEST,
    LATEST,
    days_before,
    days_between,
    from_wall,
    hours_before,
    is_anniversary,
    months_before,
    next_anniversary,
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


def changes(zone: ZoneInfo) -> list[datetime]:
    """Find the months in which clocks were changed since 1900, and in each the moment, to the minute."""
    months = [datetime(year, month, 1, tzinfo=UTC) for year in range(1900, 2100) for month in range(1, 13)]
    pairs = ((one, other) for one, other in pairwise(months) if offset(one, zone) != offset(other, zone))
    return [_change(one, other, zone) for one, other in pairs]


def offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _change(early: datetime, late: datetime, zone: ZoneInfo) -> datetime:
    while late - early > timedelta(minutes=1):
        middle = early + (late - early) / 2
        early, late = (middle, late) if offset(middle, zone) == offset(early, zone) else (early, middle)
    return late


CHANGES = {zone.key: changes(zone) for zone in ZONES}
SPANS = st.timedeltas(timedelta(days=-3), timedelta(days=3))
ANY = st.datetimes(datetime(1900, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@st.composite
def stays(draw: st.DrawFn) -> tuple[ZoneInfo, list[tuple[datetime, datetime]]]:
    """Draw a zone and pairs of moments, many of them near a change of its clocks, or near one another."""
    zone = draw(zones)
    near = [st.builds(operator.add, st.sampled_from(CHANGES[zone.key]), SPANS)] if CHANGES[zone.key] else []
    moment = st.one_of(ANY, *near)
    together = moment.flatmap(lambda one: st.tuples(st.just(one), SPANS.map(lambda span: one + span)))
    return zone, draw(st.lists(st.tuples(moment, moment) | together, min_size=10, max_size=20))


@given(stays())
def test_sqlite_counts_days_as_the_calendar_does(
    drawn: tuple[ZoneInfo, list[tuple[datetime, datetime]]],
) -> None:
    zone, pairs = drawn
    count = functions.SQLITE_FUNCTIONS["cartwire_days_between"][1]

    found = [count(stored(moment), stored(now), zone.key) for moment, now in pairs]

    assert found == [days_between(moment, now, zone) for moment, now in pairs]


@given(stays())
def test_sqlite_dates_a_moment_as_the_calendar_does(
    drawn: tuple[ZoneInfo, list[tuple[datetime, datetime]]],
) -> None:
    zone, pairs = drawn
    date_of = functions.SQLITE_FUNCTIONS["cartwire_local_date"][1]

    found = [date_of(stored(moment), zone.key) for moment, _ in pairs]

    assert found == [moment.astimezone(zone).date().isoformat() for moment, _ in pairs]


@pytest.mark.parametrize("zone", ["Pacific/Apia", "America/Juneau", "Asia/Manila"])
def test_days_are_counted_over_one_that_was_skipped_or_came_twice(zone: str) -> None:
    count = functions.SQLITE_FUNCTIONS["cartwire_days_between"][1]
    middles = [datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(1867, 10, 18, tzinfo=UTC)]
    hours = [middle + timedelta(hours=n) for middle in middles for n in range(-75, 75, 6)]

    for moment in hours:
        found = [count(stored(moment), stored(now), zone) for now in hours]

        assert found == [days_between(moment, now, ZoneInfo(zone)) for now in hours]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_sqlite_stops_at_the_ends_of_the_calendar(zone: str) -> None:
    count = functions.SQLITE_FUNCTIONS["cartwire_days_between"][1]
    date_of = functions.SQLITE_FUNCTIONS["cartwire_local_date"][1]
    hours = [EARLIEST + timedelta(hours=n) for n in range(-48, 96, 7)]
    hours += [LATEST - timedelta(hours=n) for n in range(-66, 96, 7)]

    for moment in hours:
        within = min(max(moment, EARLIEST), LATEST)

        assert date_of(stored(moment), zone) == within.astimezone(ZoneInfo(zone)).date().isoformat()
        found = [count(stored(moment), stored(now), zone) for now in hours]
        assert found == [days_between(moment, now, ZoneInfo(zone)) for now in hours]


days = st.dates(date(1899, 12, 1), date(2101, 1, 31)) | st.builds(
    date, st.integers(1900, 2100), st.just(2), st.integers(27, 28)
)
leap_days = st.integers(476, 524).map(lambda n: date(4 * n, 2, 29))


@given(st.lists(days | leap_days, min_size=10, max_size=20), days | leap_days)
def test_sqlite_finds_the_anniversaries_of_the_calendar(born: list[date], today: date) -> None:
    is_one = functions.SQLITE_FUNCTIONS["cartwire_is_anniversary"][1]
    following = functions.SQLITE_FUNCTIONS["cartwire_next_anniversary"][1]
    born += [day.replace(year=today.year - 1, day=min(day.day, 28)) for day in (today, today - DAY)]

    assert [is_one(f"{day}", f"{today}") for day in born] == [is_anniversary(day, today) for day in born]
    found = [following(f"{day}", f"{today}") for day in born]
    assert found == [next_anniversary(day, today).isoformat() for day in born]


halves = st.builds(lambda n, digits: (n + 0.5) / 10**digits, st.integers(-(10**6), 10**6), st.integers(0, 9))
ratios = st.builds(operator.truediv, st.integers(-(10**6), 10**6), st.integers(1, 10**4))
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(1 - 2**63, 2**63 - 1), halves, ratios
)


@given(st.lists(numbers, min_size=10, max_size=20), st.integers(-12, 12))
def test_sqlite_rounds_the_decimals_that_a_number_is_read_with(several: list[float], digits: int) -> None:
    round_ = functions.SQLITE_FUNCTIONS["cartwire_round"][1]
    several += [math.nextafter(number, 0) for number in several]

    found = [round_(number, digits) for number in several]

    wanted = [rounded(number, digits) for number in several]
    assert list(zip(found, map(type, found), strict=True)) == list(
        zip(wanted, map(type, wanted), strict=True)
    )


def rounded(number: float, digits: int) -> float:
    """Write a double with fifteen digits, as PostgreSQL reads it, and round these; halves away from zero."""
    written = Decimal(number) if isinstance(number, int) else Decimal(f"{number:.15g}")
    exact = written.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, Context(prec=700))
    whole = exact == exact.to_integral_value() and abs(exact) < 2**63
    return int(exact) if whole else float(exact)


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
        ("cartwire_days_between('2026-05-01 12:00:00.000000', null, 'UTC')", None),
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
