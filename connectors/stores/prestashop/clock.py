"""Moments of a shop that writes its wall clock and no zone.

- In autumn an hour comes twice. When something was created is read as the first of the two, always, so that
  every reading tells the same. When it changed is read as the later one, unless that lies ahead of the shop's
  own clock: so a change in the second hour is never taken for older than one in the first.
- Questions about what changed since a moment reach back by as much as clocks are put back soon after it.
- In spring an hour is missing; what a careless import wrote there is read as if the clock had not moved.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from connectors.facts import in_utc

SECOND = timedelta(seconds=1)
LONGEST_SHIFT = timedelta(hours=3)
"""More than any zone has put its clocks back at once since 1970, but for changes of date."""
ZERO_DATES = ("0000-00-00", "-0001-11-30")
"""No date at all, as MySQL writes it and as PHP does after counting with it."""
LAYOUT = "%Y-%m-%d %H:%M:%S"


class ShopClock:
    """Reads and writes the wall clock of `zone`."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)

    def first(self, text: str | None) -> datetime | None:
        """Read a moment; of two that it can mean, the earlier. None for nothing and for zero dates.

        Raises ValueError for anything else.
        """
        wall = _wall(text)
        return in_utc(wall, self._zone) if wall else None

    def first_or_none(self, text: str | None) -> datetime | None:
        """Read a moment that a row can do without: what is none costs nothing else of it."""
        with suppress(ValueError):
            return self.first(text)
        return None

    def latest(self, text: str | None, now: datetime) -> datetime | None:
        """Read a moment; of two that it can mean, the later one that is not ahead of `now`."""
        wall = _wall(text)
        if wall is None:
            return None
        later, earlier = in_utc(wall.replace(fold=1), self._zone), in_utc(wall, self._zone)
        return later if earlier < later <= now else earlier

    def since(self, moment: datetime) -> str:
        """Write the earliest that the wall clock can have shown at `moment` or later."""
        here, soon = moment.astimezone(self._zone), (moment + LONGEST_SHIFT).astimezone(self._zone)
        put_back = (here.utcoffset() or timedelta()) - (soon.utcoffset() or timedelta())
        return (here.replace(tzinfo=None) - max(put_back, timedelta())).strftime(LAYOUT)


def before(text: str) -> str:
    """Write the second before a moment: `>[…]` leaves the given one out."""
    return (datetime.fromisoformat(text) - SECOND).strftime(LAYOUT)


def _wall(text: str | None) -> datetime | None:
    if not text or text.startswith(ZERO_DATES):
        return None
    return datetime.fromisoformat(text).replace(tzinfo=None)
