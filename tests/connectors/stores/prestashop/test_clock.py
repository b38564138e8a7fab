"""The shop's wall clock: zones, the hour that comes twice, the hour that is missing."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.stores.prestashop.clock import LAYOUT, ShopClock, before

PARIS = ShopClock("Europe/Paris")
PUT_BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)
"""When Paris shows 03:00 for the first time and is put back to 02:00."""
ZONES = ("Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Tehran", "UTC")

moments = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given UTC


def wall(moment: datetime, zone: str) -> str:
    return moment.astimezone(ZoneInfo(zone)).strftime(LAYOUT)


@pytest.mark.parametrize("text", [None, "", "0000-00-00", "0000-00-00 00:00:00"])
def test_nothing_and_zero_dates_are_no_moment(text):
    assert PARIS.first(text) is None
    assert PARIS.latest(text, PUT_BACK) is None


def test_summer_and_winter_are_told_apart():
    assert PARIS.first("2026-07-01 12:00:00") == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert PARIS.first("2026-12-01 12:00:00") == datetime(2026, 12, 1, 11, tzinfo=UTC)


def test_an_hour_that_comes_twice_is_the_first_for_what_is_created():
    assert PARIS.first("2026-10-25 02:30:00") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_change_in_the_hour_that_comes_twice_is_the_latest_that_the_clock_allows():
    text = "2026-10-25 02:30:00"
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)

    assert PARIS.latest(text, first) == first
    assert PARIS.latest(text, second - timedelta(seconds=1)) == first
    assert PARIS.latest(text, second) == second
    assert PARIS.latest(text, second + timedelta(days=300)) == second


def test_a_moment_that_never_was_is_read_as_if_the_clock_had_not_moved():
    assert PARIS.first("2026-03-29 02:30:00") == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_a_question_before_the_clock_is_put_back_reaches_behind_what_it_will_show():
    ten_to = PUT_BACK - timedelta(minutes=10)

    assert wall(ten_to, "Europe/Paris") == "2026-10-25 02:50:00"
    assert PARIS.since(ten_to) == "2026-10-25 01:50:00"
    assert PARIS.since(PUT_BACK) == "2026-10-25 02:00:00"
    assert PARIS.since(ten_to - timedelta(days=1)) == "2026-10-24 02:50:00"


@given(moments, st.timedeltas(timedelta(), timedelta(hours=30)), st.sampled_from(ZONES))
def test_no_later_moment_is_shown_earlier_than_what_is_asked_for(moment, later, zone):
    asked = ShopClock(zone).since(moment)

    assert wall(moment + later, zone) >= asked


@given(moments, st.timedeltas(timedelta(), timedelta(hours=3)), st.sampled_from(ZONES))
def test_a_later_change_never_reads_as_older_than_one_that_was_read_before(moment, later, zone):
    clock = ShopClock(zone)
    moment, then = moment.replace(microsecond=0), (moment + later).replace(microsecond=0)

    seen_then = clock.latest(wall(then, zone), then)
    seen_before = clock.latest(wall(moment, zone), moment)

    assert seen_before is not None
    assert seen_then is not None
    assert seen_before == moment
    assert seen_then >= seen_before


def test_the_second_before_crosses_days_and_years():
    assert before("2026-01-01 00:00:00") == "2025-12-31 23:59:59"


def test_what_is_no_moment_is_an_error():
    with pytest.raises(ValueError, match="isoformat"):
        PARIS.first("yesterday")
