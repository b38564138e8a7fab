"""The clock, which a rule never reads: it is handed in, and decides the moments that rules compare with."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from state.functions import days_before, from_wall, hours_before, months_before


@dataclass(frozen=True, slots=True)
class Clock:
    """One moment (aware, UTC) and the zone whose days and dates count."""

    now: datetime
    timezone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Bound:
    """A moment that the clock alone decides: `amount` units before now, or a date that somebody wrote.

    A date stands still while time passes; it depends on the zone only.
    """

    unit: str  # days, months, hours; date
    amount: int | str

    @property
    def moves(self) -> bool:
        return self.unit != "date"

    @property
    def name(self) -> str:
        """Name the parameter that carries this moment; the same for the same bound."""
        return f"at_{self.unit}_{self.amount}".translate(NAMING)

    def at(self, clock: Clock) -> datetime:
        match self.unit, self.amount:
            case "days", int(days):
                return days_before(clock.now, days, clock.timezone)
            case "months", int(months):
                return months_before(clock.now, months, clock.timezone)
            case "hours", int(hours):
                return hours_before(clock.now, hours)
            case _:
                return from_wall(datetime.fromisoformat(str(self.amount)), clock.timezone)

    def reaches(self, moment: datetime, clock: Clock) -> datetime | None:
        """Find when time will have carried this bound to `moment`, to the second; None when it is past."""
        start = self.at(clock)
        if not self.moves or start >= moment:
            return None
        early, late = clock.now, clock.now + (moment - start) + SLACK
        while late - early > timedelta(seconds=1):
            middle = early + (late - early) / 2
            early, late = (
                (middle, late) if self.at(Clock(middle, clock.timezone)) < moment else (early, middle)
            )
        return late


SLACK = timedelta(days=4)  # months differ by three days, clocks by hours
NAMING = str.maketrans({"-": "m", ":": "", "T": "t", " ": "t"})
NOW = Bound("hours", 0)
ZONE = "zone"


def clock_values(bounds: Iterable[Bound], clock: Clock) -> dict[str, Any]:
    """Compute what to bind to the parameters that stand for the clock."""
    moments = {bound.name: bound.at(clock) for bound in bounds}
    return {NOW.name: clock.now.astimezone(UTC), ZONE: clock.timezone.key, **moments}
