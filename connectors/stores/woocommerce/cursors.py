"""Where a reading stands, as text that a later run goes on from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from connectors.facts import utc
from connectors.stores.woocommerce.listing import Place

OVERLAP = timedelta(minutes=10)
"""How far a reading goes back behind the beginning of the one before: slow transactions, clocks of hosts."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a reading of changes has come: in which of its walks, and where there.

    `start` is where each walk begins, `began` when the first question was answered: there the next
    reading starts, less the overlap, as rows change while one pages.
    """

    start: datetime
    began: datetime | None = None
    walk: int = 0
    place: Place = field(default_factory=lambda: Place(None))

    @classmethod
    def after(cls, since: datetime, cursor: str | None) -> "Reading":
        """Go on from a cursor, or begin at `since`."""
        told: Mapping[str, Any] = json.loads(cursor) if cursor else {}
        if "walk" in told:
            start = _moment(told["start"])
            return cls(start, _moment(told["began"]), told["walk"], read_place(told["place"]))
        start = (_moment(told["began"]) if told else since) - OVERLAP
        return cls(start, place=Place(start))

    def text(self) -> str:
        told = {"walk": self.walk, "place": write_place(self.place), "start": _text(self.start)}
        return json.dumps(told | {"began": _text(self.began)})

    def caught_up(self) -> str:
        return json.dumps({"began": _text(self.began)})


def write_place(place: Place) -> str:
    told = {"start": _text(place.start), "ids": sorted(place.ids), "count": place.count}
    return json.dumps(told)


def read_place(text: str) -> Place:
    told = json.loads(text)
    return Place(utc(told["start"]), frozenset(told["ids"]), told["count"])


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
