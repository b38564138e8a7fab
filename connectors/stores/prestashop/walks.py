"""Walking over rows so that none escapes, and where a walk stands, as text.

- By id: ids neither change nor come again, so each page begins behind the last id of the one before.
- By time: a page begins at the second of the last row met, behind as many rows as were met in that second
  but one. When that one does not come first, rows have moved away: the second is read from its beginning.
- A page that is short may be so because a plugin allows no more: the end is a page on which nothing is new.
- A row that changes while we walk moves behind us, or stays for the next reading, which begins before this one
  did: by the shop's own clock, less an overlap for slow transactions.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from connectors.errors import BadRecord
from connectors.paging import Row
from connectors.stores.prestashop.clock import before
from connectors.stores.prestashop.webservice import Ask, Listing

OVERLAP = timedelta(minutes=15)

Rows = Callable[[Ask], Awaitable[Listing]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk by time goes on: at the second `at`, behind `offset` rows, of which `anchor` comes next."""

    at: str
    offset: int = 0
    anchor: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A page of a walk: what is new on it, and where to go on; `place` is None behind the last."""

    rows: Sequence[Row]
    bad: Sequence[BadRecord]
    sent_at: datetime
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a reading of changes has come: in which of its walks, and where there.

    `start` is where each walk begins, `began` the shop's clock when the first question was answered: the
    next reading starts there, less the overlap. `round` is how far the slow round over all rows has come.
    """

    start: datetime
    began: datetime | None = None
    walk: int = 0
    place: Place | None = None
    round: str = "0"

    @classmethod
    def after(cls, since: datetime, cursor: str | None) -> "Reading":
        """Go on from a cursor, or begin at `since`."""
        told: Mapping[str, Any] = json.loads(cursor) if cursor else {}
        if "walk" in told:
            place = Place(**told["place"]) if told["place"] else None
            start, began = (datetime.fromisoformat(told[name]) for name in ("start", "began"))
            return cls(start, began, told["walk"], place, told["round"])
        began_before = datetime.fromisoformat(told["began"]) if told else since
        return cls(began_before - OVERLAP, round=told.get("round", "0"))

    def at(self, step: Step) -> "Reading":
        """Stand behind a step; behind a walk's last, before the next walk."""
        walk = self.walk if step.place else self.walk + 1
        return replace(self, began=self.began or step.sent_at, walk=walk, place=step.place)

    def text(self) -> str:
        """Write where this reading stands."""
        place = asdict(self.place) if self.place else None
        told = {"walk": self.walk, "place": place, "start": self.start.isoformat(), "round": self.round}
        return json.dumps(told | {"began": (self.began or self.start).isoformat()})

    def caught_up(self) -> str:
        """Write from where the next reading begins, as this one is done."""
        return json.dumps({"began": (self.began or self.start).isoformat(), "round": self.round})


@dataclass(slots=True)
class _Met:
    """Which rows were met in the second where a walk stands."""

    at: str
    ids: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)


async def by_time(rows: Rows, ask: Ask, name: str, place: Place) -> AsyncIterator[Step]:
    """Walk over what has `name` at `place` or later, oldest first; the last step has no place."""
    met = _Met(place.at, {place.anchor} if place.anchor else set())
    while True:
        listing = await rows(_later(ask, name, place))
        if place.offset and (not listing.ids or listing.ids[0] != place.anchor):
            place = replace(place, offset=0, anchor=None)
            continue
        new = [row for row in listing.rows if row.get(name) != met.at or _id(row) not in met.ids]
        bad = [record for record in listing.bad if record.record not in met.bad]
        met.bad |= {record.record for record in bad}
        if not new and len(listing.ids) <= 1:  # nothing, or the last row that was met
            yield Step(new, bad, listing.sent_at)
            return
        place = _behind(listing, name, place, met)
        yield Step(new, bad, listing.sent_at, place)


def _behind(listing: Listing, name: str, place: Place, met: _Met) -> Place:
    """Stand behind these rows, and remember which were met in the second of the last that can be shown."""
    at = str(listing.rows[-1].get(name)) if listing.rows else place.at
    same = [_id(row) for row in listing.rows if row.get(name) == at]
    if at == met.at:
        met.ids.update(same)
        return Place(at, place.offset + len(listing.ids) - 1, listing.ids[-1])
    met.at, met.ids = at, set(same)
    return Place(at, len(listing.ids) - listing.ids.index(same[0]) - 1, listing.ids[-1])


def _later(ask: Ask, name: str, place: Place) -> Ask:
    where = {**ask.where, name: f">[{before(place.at)}]"}
    return replace(ask, where=where, sort=f"{name}_ASC,id_ASC", offset=place.offset, of_date=True)


async def by_id(rows: Rows, ask: Ask, last: str) -> AsyncIterator[tuple[Listing, str]]:
    """Walk over all ids above `last`, with the id behind which to go on; ends with the first empty page."""
    while True:
        listing = await rows(replace(ask, where={**ask.where, "id": f">[{last}]"}, sort="id_ASC"))
        if not listing.ids:
            return
        last = str(max(map(int, listing.ids)))
        yield listing, last


def _id(row: Row) -> str:
    return str(row["id"])
