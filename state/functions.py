"""What SQLite lacks, as Python functions: with them it gives the answers that PostgreSQL gives.

The calendar stands here too, because a rule's days are counted in SQL and in Python alike. Days are those
of the wall clock: a day ago is the same time on the day before. A time that the clocks skipped moves
forward by what they skipped, a time that came twice is the later one, as PostgreSQL has it.
"""

import calendar
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

Number = int | float

EARLIEST = datetime(1, 1, 3, tzinfo=UTC)  # two days from the ends, so that every zone can show them
LATEST = datetime(9999, 12, 29, tzinfo=UTC)
FIRST_WALL, LAST_WALL = EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None)
DAY = timedelta(days=1)
INT64 = 2**63
EXACT = Context(prec=700)  # wide enough for any double, written out
SURE, CLOSE = 10**9, 10**-4
"""Below SURE, fifteen digits and what a double lacks differ by far less than CLOSE."""
MONTHS, LEAP_DAY = 12, "-02-29"
DAYS_KEPT = 20_000
"""So many days' answers are remembered: people are many, the days on which they bought are not."""


# --- the calendar --------------------------------------------------------------------------------------


def days_before(now: datetime, days: int, zone: ZoneInfo) -> datetime:
    """Return the same local time `days` ago; never later than now for zero days.

    Counts that lead out of the calendar stop at its ends, after every moment that a store can hold.
    """
    wall = _wall(now, zone)
    try:
        moment = from_wall(wall - timedelta(days=days), zone)
    except OverflowError:
        moment = EARLIEST if days > 0 else LATEST
    return min(moment, now) if days >= 0 else moment


def months_before(now: datetime, months: int, zone: ZoneInfo) -> datetime:
    """Return the same local time and day `months` calendar months ago, or that month's last day."""
    wall = _wall(now, zone)
    year, month = divmod(wall.year * MONTHS + wall.month - 1 - months, MONTHS)
    if not EARLIEST.year < year < LATEST.year:
        return EARLIEST if months > 0 else LATEST
    day = min(wall.day, calendar.monthrange(year, month + 1)[1])
    moment = from_wall(wall.replace(year=year, month=month + 1, day=day), zone)
    return min(moment, now) if months >= 0 else moment


def hours_before(now: datetime, hours: int) -> datetime:
    """Return the moment exactly `hours` ago, whatever the clocks did since."""
    try:
        return min(max(now - timedelta(hours=hours), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if hours > 0 else LATEST


def days_between(moment: datetime, now: datetime, zone: ZoneInfo) -> int:
    """Count whole days: the largest n for which `moment` is not after `days_before(now, n)`."""
    days = (_wall(now, zone) - _wall(moment, zone)) // DAY + 1
    while min(moment, LATEST) > days_before(now, days, zone):
        days -= 1
    return days


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def months_between(moment: datetime, now: datetime, zone: ZoneInfo) -> int:
    """Count whole months: the largest n for which `moment` is not after `months_before(now, n)`."""
    then, today = _wall(moment, zone), _wall(now, zone)
    months = (today.year - then.year) * MONTHS + today.month - then.month
    return months if moment <= months_before(now, months, zone) else months - 1


def years_on(day: date, years: int) -> date:
    """Go on by whole years; 29 February becomes the 28th where the year has none."""
    year = min(day.year + years, LATEST.year)
    return day.replace(year=year, day=min(day.day, calendar.monthrange(year, day.month)[1]))


def is_anniversary(day: date, today: date) -> bool:
    """Tell whether `today` is the same day of a later year."""
    return today.year > day.year and years_on(day, today.year - day.year) == today


def next_anniversary(day: date, today: date) -> date:
    """Find the first anniversary that is not past; today's counts, the day itself is none."""
    years = max(today.year - day.year, 1)
    there = years_on(day, years)
    return there if there >= today else years_on(day, years + 1)


def from_wall(wall: datetime, zone: ZoneInfo) -> datetime:
    """Find the moment at which the clocks of `zone` show `wall` (naive), in UTC.

    Of a skipped time `fold=0` is the later reading, of one that came twice `fold=1` is.
    """
    first = min(max(wall, FIRST_WALL), LAST_WALL).replace(tzinfo=zone, fold=0)
    later = first.replace(fold=1)
    reading = first if later.utcoffset() == first.utcoffset() else max(first, later, key=_in_utc)
    return min(max(_in_utc(reading), EARLIEST), LATEST)


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return min(max(moment, EARLIEST), LATEST).astimezone(zone).replace(tzinfo=None, fold=0)


# --- SQLite --------------------------------------------------------------------------------------------


def _stored(text: str) -> datetime:
    """Read a moment as SQLAlchemy stores it: UTC, without saying so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@lru_cache(maxsize=DAYS_KEPT)
def _steady_offset(day: str, zone: str) -> timedelta | None:
    """Tell how far the clocks are ahead on a day of UTC; None if they change on it or on a day beside it.

    No zone ever changed twice within three days, so that a look at both ends is enough.
    """
    start = _stored(day)
    if not EARLIEST + DAY <= start <= LATEST - 2 * DAY:
        return None
    before, after = (_offset(end, ZoneInfo(zone)) for end in (start - DAY, start + 2 * DAY))
    return before if before == after else None


def _sql_wall(moment: str, zone: str) -> datetime:
    ahead = _steady_offset(moment[:10], zone)
    return _wall(_stored(moment), ZoneInfo(zone)) if ahead is None else datetime.fromisoformat(moment) + ahead


def _sql_days_between(moment: str | None, now: str | None, zone: str) -> int | None:
    """Count as `days_between` does; where the clocks stand still, days are all equally long."""
    if moment is None or now is None:
        return None
    ahead = _steady_offset(moment[:10], zone)
    if ahead is not None:
        days = (_sql_wall(now, zone) - datetime.fromisoformat(moment) - ahead).days
        if days < 0 or moment <= now:
            return days
    return days_between(_stored(moment), _stored(now), ZoneInfo(zone))


def _sql_hours_between(moment: str | None, now: str) -> int | None:
    return None if moment is None else (_stored(now) - _stored(moment)) // timedelta(hours=1)


def _sql_months_between(moment: str | None, now: str, zone: str) -> int | None:
    return None if moment is None else months_between(_stored(moment), _stored(now), ZoneInfo(zone))


def _sql_local_date(moment: str | None, zone: str) -> str | None:
    return None if moment is None else _sql_wall(moment, zone).date().isoformat()


def _sql_is_anniversary(day: str | None, today: str) -> bool | None:
    if day is None:
        return None
    if day[4:] != LEAP_DAY:
        return day[4:] == today[4:] and day < today
    return is_anniversary(date.fromisoformat(day), date.fromisoformat(today))


@lru_cache(maxsize=DAYS_KEPT)
def _sql_next_anniversary(day: str | None, today: str) -> str | None:
    if day is None:
        return None
    return next_anniversary(date.fromisoformat(day), date.fromisoformat(today)).isoformat()


def _sql_local_second(moment: str | None, zone: str) -> int | None:
    if moment is None:
        return None
    wall = _wall(_stored(moment), ZoneInfo(zone))
    return (wall.hour * 60 + wall.minute) * 60 + wall.second


def _decimal(number: Number) -> Decimal:
    """Read a double by the 15 digits that it holds for sure, as PostgreSQL does: 0.1 * 3 is 0.3."""
    return Decimal(number) if isinstance(number, int) else Decimal(format(number, ".15g"))


def _plain(number: Decimal) -> Number:
    whole = number == number.to_integral_value() and abs(number) < INT64
    return int(number) if whole else float(number)


def _sql_round(number: Number | None, digits: int) -> Number | None:
    """Round by the decimals that a number is read with; doubles that are no close call round themselves."""
    if number is None or not math.isfinite(number):
        return None
    if digits >= 0:
        if isinstance(number, int):
            return number
        scale: int = 10**digits
        scaled = abs(number) * scale
        if scaled < SURE and abs(scaled % 1 - 0.5) > CLOSE:
            units = int(scaled + 0.5) if number > 0 else -int(scaled + 0.5)
            return units / scale if units % scale else units // scale
    return _plain(_decimal(number).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, EXACT))


def _sql_floor(number: Number | None, step: int) -> Number | None:
    """Return the next multiple of `step` below."""
    return _to_step(number, step, ROUND_FLOOR)


def _sql_ceil(number: Number | None, step: int) -> Number | None:
    return _to_step(number, step, ROUND_CEILING)


def _to_step(number: Number | None, step: int, rounding: str) -> Number | None:
    if number is None or not math.isfinite(number):
        return None
    steps = EXACT.divide(_decimal(number), Decimal(step)).quantize(Decimal(1), rounding, EXACT)
    return _plain(steps * step)


def _sql_mod(number: Number | None, divisor: Number | None) -> Number | None:
    """Return the rest of a division, with the sign of `number`; null for a division by zero."""
    if number is None or not divisor or not math.isfinite(number):
        return None
    if isinstance(number, int) and isinstance(divisor, int):
        rest = abs(number) % abs(divisor)
        return -rest if number < 0 else rest
    return float(EXACT.remainder(_decimal(number), _decimal(divisor)))


def lower(text: str) -> str:
    """Lower letter by letter, as PostgreSQL does, so that a text keeps its length: İ becomes i."""
    return "".join(letter.lower()[0] for letter in text)


def upper(text: str) -> str:
    """Raise letter by letter; a letter that would become two stays: ß."""
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in text)


def _sql_lower(text: str | None) -> str | None:
    return None if text is None else lower(text)


def _sql_upper(text: str | None) -> str | None:
    return None if text is None else upper(text)


SQLITE_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "cartwire_days_between": (3, _sql_days_between),
    "cartwire_hours_between": (2, _sql_hours_between),
    "cartwire_months_between": (3, _sql_months_between),
    "cartwire_local_date": (2, _sql_local_date),
    "cartwire_is_anniversary": (2, _sql_is_anniversary),
    "cartwire_next_anniversary": (2, _sql_next_anniversary),
    "cartwire_local_second": (2, _sql_local_second),
    "cartwire_round": (2, _sql_round),
    "cartwire_floor": (2, _sql_floor),
    "cartwire_ceil": (2, _sql_ceil),
    "cartwire_mod": (2, _sql_mod),
    "cartwire_lower": (1, _sql_lower),
    "cartwire_upper": (1, _sql_upper),
}
"""Name -> number of arguments, function."""


def register(connection: Any) -> None:
    """Give an sqlite3 connection (the driver's) every function; harmless when repeated."""
    for name, (arguments, function) in SQLITE_FUNCTIONS.items():
        connection.create_function(name, arguments, function, deterministic=True)
