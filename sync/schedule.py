"""When: the owner's words for a schedule. Only a clock.

APScheduler counts out the days and hours of a calendar whose clocks are never changed, and each wall time becomes
a moment here: its own arithmetic skips a day that has no midnight, and comes twice to an hour that comes twice.
"""

import re
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

EVERY = re.compile(r"every (\d+) (minute|hour)s?")
DAILY = re.compile(r"daily at (\d{1,2}):(\d{2})")


def next_tick(text: str, after: datetime, timezone: ZoneInfo) -> datetime | None:
    """Find when a schedule first comes round after a moment; None when it never does again.

    A time that clocks jump over comes at the jump. Of a time that comes twice the first counts, unless the
    schedule is for any hour.
    """
    words = " ".join(text.split())
    if found := EVERY.fullmatch(words):
        return after + timedelta(**{f"{found[2]}s": int(found[1])})
    found = DAILY.fullmatch(words)
    line = f"{found[2]} {found[1]} * * *" if found else words
    cron = CronTrigger.from_crontab(line, timezone=UTC)
    folds = (0, 1) if line.split()[1].startswith("*") else (0,)
    return min(filter(None, (_next(cron, after, timezone, fold) for fold in folds)), default=None)


def _next(cron: CronTrigger, after: datetime, zone: ZoneInfo, fold: int) -> datetime | None:
    """Find the next moment; of times that come twice the first for a `fold` of 0, the second for 1."""
    local = after.astimezone(zone)
    ahead = local.replace(fold=1).astimezone(UTC) - after  # where this hour comes again
    wall: datetime | None = _wall(after, zone) - ahead
    while wall := cron.get_next_fire_time(wall, wall):
        moment = _moment(wall, zone, fold)
        if moment > after:
            return moment
    return None


def _moment(wall: datetime, zone: ZoneInfo, fold: int) -> datetime:
    """Find when clocks show a time, or jump over it."""
    moment = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if _wall(moment, zone) == wall:
        return moment
    early, late = (wall.replace(tzinfo=zone, fold=side).astimezone(UTC) for side in (1, 0))
    seconds = range(int((late - early).total_seconds()))
    return early + timedelta(
        seconds=bisect_left(seconds, wall, key=lambda gone: _wall(early + timedelta(seconds=gone), zone))
    )


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=UTC)


def struck(text: str, since: datetime, now: datetime, timezone: ZoneInfo) -> bool:
    """Tell whether a schedule has come round after `since` and up to `now`; how often does not matter."""
    due = next_tick(text, since, timezone)
    return bool(due is not None and due <= now)
