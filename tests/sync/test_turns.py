"""When time moves somebody is found ahead, also where clocks are set and months are of different length."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mappings.clock import Bound, Clock
from sync.turns import midnight, turn
from tests.mappings.base import NOW, SYNC, Base, compiled

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
HORIZON = timedelta(days=3)
ZONES = [
    ZoneInfo(name) for name in ("Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
]
BOUNDS = [
    Bound("days", 1),
    Bound("days", 45),
    Bound("days", 364),
    Bound("months", 1),
    Bound("months", 6),
    Bound("hours", 5),
]
STARTS = [
    datetime(2028, *day, tzinfo=UTC)
    for day in [
        (2, 28),
        (2, 29),
        (3, 11),
        (3, 25),
        (3, 28),
        (3, 30),
        (4, 1),
        (8, 31),
        (10, 28),
        (11, 4),
        (12, 31),
    ]
]


@given(
    st.sampled_from(STARTS),
    st.integers(0, 48 * 60),
    st.integers(-4 * 24 * 60, 4 * 24 * 60),
    st.sampled_from(ZONES),
    st.sampled_from(BOUNDS),
)
@example(STARTS[8], 24 * 60 + 20, 100, ZONES[0], BOUNDS[0])
@example(STARTS[8], 12 * 60, 12 * 60 + 45, ZONES[0], BOUNDS[2])  # clocks are set back on both days
def test_nobody_turns_before_the_moment_that_was_found(
    start: datetime, minutes: int, ahead: int, zone: ZoneInfo, bound: Bound
) -> None:
    now = start + timedelta(minutes=minutes)
    moment = bound.at(Clock(now, zone)) + timedelta(minutes=ahead, seconds=1)

    def reached(at: datetime) -> bool:
        return bound.at(Clock(at, zone)) >= moment

    def at(now: datetime) -> datetime:
        return bound.at(Clock(now, zone))

    found = turn(at, moment if at(now) < moment else None, now, HORIZON, zone)

    quiet = found - 2 * SECOND if found else now + HORIZON
    while (now := now + timedelta(minutes=7)) < quiet:
        assert reached(now) == reached(start + timedelta(minutes=minutes))


def test_a_bound_at_the_end_of_the_calendar_is_never_looked_at() -> None:
    far = Bound("days", 10**7)

    assert turn(lambda now: far.at(Clock(now, ZONES[0])), None, NOW.now, HORIZON, ZONES[0]) is None


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("Europe/Paris", (2028, 3, 26, 12), (2028, 3, 26, 22)),
        ("Europe/Paris", (2028, 10, 29, 12), (2028, 10, 29, 23)),
        ("Asia/Kolkata", (2028, 5, 1, 12), (2028, 5, 1, 18, 30)),
        ("America/Santiago", (2028, 9, 2, 12), (2028, 9, 3, 4)),  # 00:00 does not exist that day
        ("America/Havana", (2028, 11, 4, 12), (2028, 11, 5, 4)),  # 00:00 comes twice that day
    ],
)
def test_the_next_day_begins_where_the_zone_says(
    zone: str, now: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    clock = Clock(datetime(*now, tzinfo=UTC), ZoneInfo(zone))  # type: ignore[arg-type]

    assert midnight(clock) == datetime(*expected, tzinfo=UTC)  # type: ignore[arg-type]


def test_P6_what_comes_next_is_one_seek_for_each_comparison() -> None:
    base = Base()
    near = base.add("near@example.com", last_order_at=NOW.now - timedelta(days=29))
    base.add("far@example.com", last_order_at=NOW.now - timedelta(days=2))
    base.add("other@example.com", sync="other", last_order_at=NOW.now - timedelta(days=30, hours=-1))
    mapping = compiled(lists={"Quiet": "days_since(last_order_at) > 30", "Date": "signup_at > '2026-01-01'"})
    ((bound, query),) = mapping.ahead(SYNC, NOW)

    moment = base.connection.scalar(query)
    text = query.compile(base.engine, compile_kwargs={"render_postcompile": True})
    parameters = tuple(str(text.params[name]) for name in text.positiontup or ())
    plan = base.connection.exec_driver_sql(f"explain query plan {text}", parameters).all()
    base.close()

    assert near
    assert moment == NOW.now - timedelta(days=29)
    assert bound(NOW) < moment
    assert [row.detail for row in plan] == [
        "SEARCH profiles USING COVERING INDEX profiles_last_order_at (sync=? AND last_order_at>?)"
    ]
