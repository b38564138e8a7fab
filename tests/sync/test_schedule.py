"""Schedules are meant by the clock on the wall, also on the days on which clocks are changed."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.checks import _time_zones
from sync.schedule import next_tick, struck
from sync.watchdog import SLACK, Watch

DAY, NOT_LATE, LONGEST_JUMP = timedelta(days=1), timedelta(), timedelta(hours=2)


def ticks(text: str, zone: str, start: datetime, days: int) -> list[datetime]:
    """List a schedule's moments over some days, in the zone's own time."""
    found, moment, end = [], start, start + timedelta(days=days)
    while (tick := next_tick(text, moment, ZoneInfo(zone))) and tick < end:
        assert tick > moment
        found.append(tick.astimezone(ZoneInfo(zone)))
        moment = tick
    return found


def shown(found: list[datetime]) -> list[str]:
    return [f"{moment:%d %H:%M%z}" for moment in found]


@pytest.mark.parametrize(
    ("text", "zone", "start", "expected"),
    [
        ("daily at 00:00", "Africa/Cairo", (2026, 4, 23), ["24 01:00+0300", "25 00:00+0300"]),
        ("daily at 00:30", "Africa/Cairo", (2026, 4, 23), ["24 01:00+0300", "25 00:30+0300"]),
        ("0 0 * * *", "America/Havana", (2026, 3, 7, 12), ["08 01:00-0400", "09 00:00-0400"]),
        ("0 0 * * fri", "Africa/Cairo", (2026, 4, 23), ["24 01:00+0300"]),
        ("daily at 02:30", "Europe/Paris", (2026, 3, 28, 12), ["29 03:00+0200", "30 02:30+0200"]),
        ("daily at 02:30", "Europe/Paris", (2026, 10, 24, 12), ["25 02:30+0200", "26 02:30+0100"]),
        ("daily at 00:30", "America/Havana", (2026, 10, 31, 12), ["01 00:30-0400", "02 00:30-0500"]),
        ("30 1-3 * * sun", "Europe/Paris", (2026, 10, 24, 12), [
            "25 01:30+0200", "25 02:30+0200", "25 03:30+0100"]),
        ("30 */2 25 10 *", "Europe/Paris", (2026, 10, 24, 22), [
            "25 00:30+0200", "25 02:30+0200", "25 02:30+0100", "25 04:30+0100"]),
    ],
)  # fmt: skip
def test_a_time_that_is_skipped_or_comes_twice_counts_once(
    text: str, zone: str, start: tuple[int, int, int], expected: list[str]
) -> None:
    found = ticks(text, zone, datetime(*start, tzinfo=UTC), 2)

    assert shown(found)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("text", "minutes"), [("*/10 * * * *", 10), ("0 * * * *", 60), ("every 20 minutes", 20)]
)
@pytest.mark.parametrize("day", [date(2026, 3, 28), date(2026, 10, 24)])
def test_what_is_for_any_hour_makes_no_pause_when_clocks_change(text: str, minutes: int, day: date) -> None:
    found = ticks(text, "Europe/Paris", datetime(day.year, day.month, day.day, 20, tzinfo=UTC), 1)

    assert {later.timestamp() - one.timestamp() for one, later in pairwise(found)} == {60 * minutes}


@given(st.sampled_from(sorted(_time_zones())), st.dates(date(2024, 1, 1), date(2036, 1, 1)), st.times())
@example("Asia/Beirut", date(2026, 1, 1), time(0))
@example("America/Santiago", date(2026, 1, 1), time(0, 30))
@example("Australia/Lord_Howe", date(2026, 1, 1), time(1, 45))
@example("America/Nuuk", date(2026, 1, 1), time(23, 30))  # its clocks jump to midnight
def test_daily_comes_once_for_every_day(zone: str, day: date, at: time) -> None:
    noon = datetime.combine(day, time(12), ZoneInfo(zone))

    found = ticks(f"daily at {at:%H:%M}", zone, noon, 366)

    minute = at.replace(second=0, microsecond=0)
    meant = datetime.combine(day, minute) + DAY * (minute <= time(12))
    late = [moment.replace(tzinfo=None) - meant - number * DAY for number, moment in enumerate(found)]
    assert 364 <= len(found) <= 367
    assert all(NOT_LATE <= each <= LONGEST_JUMP for each in late)
    assert sum(each > NOT_LATE for each in late) <= 3


def test_a_day_without_midnight_is_no_reason_for_the_watchdog() -> None:
    cairo = ZoneInfo("Africa/Cairo")
    ended = datetime(2026, 4, 22, 22, 1, tzinfo=UTC)  # the run of the 23rd
    watch = Watch(ended)

    second = datetime(2026, 4, 24, 21, tzinfo=UTC)
    quiet, loud = (
        watch.stalled(None, "daily at 00:00", cairo, second + SLACK + timedelta(minutes=minute))
        for minute in (0, 1)
    )

    assert quiet is None
    assert loud
    assert struck("daily at 00:00", ended, datetime(2026, 4, 23, 22, tzinfo=UTC), cairo)
