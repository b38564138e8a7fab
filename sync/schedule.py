"""When: the owner's words for a schedule, told by APScheduler's triggers. Only a clock."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

EVERY = re.compile(r"every (\d+) (minute|hour)s?")
DAILY = re.compile(r"daily at (\d{1,2}):(\d{2})")


def trigger(text: str, timezone: ZoneInfo) -> BaseTrigger:
    """Read `every N minutes|hours`, `daily at HH:MM` or a cron line, as the configuration has checked it."""
    words = " ".join(text.split())
    if found := EVERY.fullmatch(words):
        return IntervalTrigger(**{f"{found[2]}s": int(found[1])}, timezone=timezone)
    if found := DAILY.fullmatch(words):
        return CronTrigger(hour=int(found[1]), minute=int(found[2]), timezone=timezone)
    return CronTrigger.from_crontab(words, timezone=timezone)


def next_tick(text: str, after: datetime, timezone: ZoneInfo) -> datetime | None:
    """Find when a schedule first comes round after a moment; None when it never does again."""
    local = after.astimezone(timezone)
    due: datetime | None = trigger(text, timezone).get_next_fire_time(local, local)
    return due.astimezone(UTC) if due else None


def struck(text: str, since: datetime, now: datetime, timezone: ZoneInfo) -> bool:
    """Tell whether a schedule has come round after `since` and up to `now`; how often does not matter."""
    due = next_tick(text, since, timezone)
    return bool(due is not None and due <= now)
