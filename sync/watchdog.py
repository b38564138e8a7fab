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
    """What was seen of a sync, and when it last did something: a run that ended, a page, or a batch."""

    moved_at: datetime
    beats: int = 0

    def see(self, beats: int, good_at: datetime | None, now: datetime) -> None:
        """Take note of what the sync has done since the last look."""
        if beats != self.beats:
            self.beats, self.moved_at = beats, now
        if good_at and good_at > self.moved_at:
            self.moved_at = good_at

    def stalled(
        self, running_since: datetime | None, schedule: str | None, zone: ZoneInfo, now: datetime
    ) -> str | None:
        """Say in what way a sync gets nowhere, None when it goes on."""
        if running_since:
            silent = now - max(self.moved_at, running_since)
            minutes = int(silent / timedelta(minutes=1))
            return (
                f"its run has neither read nor written anything for {minutes} minutes"
                if silent >= SILENT
                else None
            )
        tick = schedule and next_tick(schedule, self.moved_at, zone)
        second = schedule and tick and next_tick(schedule, tick, zone)
        if not second or now <= second + SLACK:
            return None
        return f"no run came to its end in twice the time of its schedule, `{schedule}`"
