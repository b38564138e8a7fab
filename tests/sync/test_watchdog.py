"""A sync that gets nowhere is noticed; one that takes its time, or has nothing to do, is left in peace."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sync.watchdog import Watch

ZONE = ZoneInfo("Europe/Paris")
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("schedule", "after", "stalled"),
    [
        ("every 5 minutes", 14 * MINUTE, False),
        ("every 5 minutes", 16 * MINUTE, True),
        ("daily at 03:00", 36 * HOUR, False),
        ("daily at 03:00", 38 * HOUR, True),
        ("0 9 * * mon", 9 * DAY, False),
        ("0 9 * * mon", 11 * DAY, True),
        (None, 900 * DAY, False),
    ],
)
def test_older_than_twice_its_schedule(schedule: str | None, after: timedelta, *, stalled: bool) -> None:
    watch = Watch(START)

    said = watch.stalled(None, schedule, ZONE, START + after)

    assert (said is not None) is stalled
    assert not said or f"`{schedule}`" in said


def test_a_run_that_came_to_its_end_begins_the_count_anew() -> None:
    watch = Watch(START)

    watch.see(0, START + HOUR, START + HOUR)

    assert watch.stalled(None, "every 5 minutes", ZONE, START + HOUR + 10 * MINUTE) is None


def test_runs_that_read_something_and_never_come_to_their_end_are_no_progress() -> None:
    watch = Watch(START)

    for minute in range(17):
        watch.see(minute, None, START + minute * MINUTE)

    assert watch.stalled(None, "every 5 minutes", ZONE, START + 16 * MINUTE)


def test_a_clock_that_was_ahead_for_a_while_does_not_blind_it() -> None:
    watch = Watch(START)
    watch.see(1, START + 900 * DAY, START + 900 * DAY)
    watch.see(1, START + 900 * DAY, START)
    watch.see(1, START + 900 * DAY, START + HOUR)

    late = [
        watch.stalled(began, "every 5 minutes", ZONE, START + HOUR) for began in (None, START + 900 * DAY)
    ]

    assert all(late)


def test_a_run_that_reads_and_writes_may_take_days_but_one_that_does_neither_may_not() -> None:
    watch = Watch(START)
    for hour in range(48):
        watch.see(hour, None, START + hour * HOUR)
        assert watch.stalled(START, "every 5 minutes", ZONE, START + hour * HOUR + 59 * MINUTE) is None

    said = watch.stalled(START, "every 5 minutes", ZONE, START + 48 * HOUR + 5 * MINUTE)

    assert said == "its run has neither read nor written anything for 65 minutes"
