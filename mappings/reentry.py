"""When a journey may begin again for somebody who was in it before: `reenter`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from mappings.clock import Bound, Clock

PATTERN = r"never|always|after [1-9][0-9]{0,3} (hour|day|month)s?"
EVER = datetime.min.replace(tzinfo=UTC)
NOT_YET = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reentry:
    """Who may begin a journey again: nobody, or who entered it last before `wait`; `text` is the owner's."""

    text: str
    wait: Bound | None

    def bars_since(self, clock: Clock) -> datetime:
        """Return since when an entry stands in the way of another one."""
        if self.text == ALWAYS.text:
            return NOT_YET
        return self.wait.at(clock) if self.wait else EVER

    def opens_at(self, entered: datetime, clock: Clock) -> datetime | None:
        """Return from when on somebody who entered may enter again; None when they may already, or never."""
        return self.wait.reaches(entered, clock) if self.wait else None


ALWAYS = Reentry("always", None)


def read_reentry(text: str) -> Reentry:
    """Read `never`, `always` or `after 90 days`. Raises ValueError for anything else."""
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"`{text}` says no time")
    if not text.startswith("after"):
        return Reentry(text, None)
    _, amount, unit = text.split()
    return Reentry(text, Bound(f"{unit.rstrip('s')}s", int(amount)))
