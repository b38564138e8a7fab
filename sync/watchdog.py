"""When a sync gets nowhere: a run that neither reads nor writes, or ticks that bring no run to its end. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sync.schedule import next_tick

SILENT = timedelta(hours=1)
"""How long a run may go without a page or a batch: a vendor's background job may take its time."""
SLACK = timedelta(minutes=5)


@dataclass
class Watch:
    """What was seen of a sync: when a run last came to its end, and when it last did something at all.

    Both begin with the worker. A clock that was ahead and is right again makes neither younger than now.
    """

    ended_at: datetime
    moved_at: datetime | None = None
    beats: int = 0

    def see(self, beats: int, good_at: datetime | None, now: datetime) -> None:
        """Take note of what the sync has done since the last look: pages and batches are beats."""
        if beats != self.beats:
            self.beats, self.moved_at = beats, now
        known = good_at if good_at and good_at <= now else self.ended_at
        self.ended_at = min(max(self.ended_at, known), now)
        self.moved_at = min(self.moved_at or now, now)

    def stalled(
        self, running_since: datetime | None, schedule: str | None, zone: ZoneInfo, now: datetime
    ) -> str | None:
        """Say in what way a sync gets nowhere, None when it goes on."""
        if running_since:
            seen = (self.moved_at, running_since)
            silent = now - max((each for each in seen if each and each <= now), default=now)
            minutes = int(silent / timedelta(minutes=1))
            return (
                f"its run has neither read nor written anything for {minutes} minutes"
                if silent >= SILENT
                else None
            )
        tick = schedule and next_tick(schedule, self.ended_at, zone)
        second = schedule and tick and next_tick(schedule, tick, zone)
        if not second or now <= second + SLACK:
            return None
        return f"no run came to its end in twice the time of its schedule, `{schedule}`"
