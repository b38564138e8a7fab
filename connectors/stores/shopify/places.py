"""Where a reading stands, as text that a later run goes on from.

Shopify's own cursors are no such places: they are opaque and not said to last. Ours are a moment, an id, or
a job and the byte of its file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from connectors.facts import utc
from connectors.paging import Row, UnreadableField
from connectors.stores.shopify.payloads import number_of, text_of

OVERLAP = timedelta(minutes=10)
"""How far a reading goes back behind the beginning of the one before: the search index lags, clocks differ."""


@dataclass(frozen=True, slots=True)
class InFile:
    """A bulk operation, and how far its file is read: the byte at which the next row begins.

    `rows` are the rows before it. `attempt` counts the jobs that were needed so far.
    """

    job: str
    byte: int = 0
    rows: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class AfterId:
    """Reading by id, which never changes: everything up to `id` is read."""

    id: int


def write_place(place: InFile | AfterId) -> str:
    return json.dumps(asdict(place))


def read_place(text: str | None) -> InFile | AfterId | None:
    told: Mapping[str, Any] = json.loads(text) if text else {}
    if "job" in told:
        return InFile(**told)
    return AfterId(told["id"]) if "id" in told else None


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a reading of changes has come.

    `start` is where it began, `at` how far it is (a moment, or an id where one cannot sort by moments).
    `began` is when its first question was answered: there the next reading starts, less the overlap, since
    rows change while one pages.
    """

    start: datetime
    at: str | None = None
    began: datetime | None = None

    @classmethod
    def after(cls, since: datetime, cursor: str | None) -> "Reading":
        """Go on from a cursor, or begin at `since`."""
        told: Mapping[str, Any] = json.loads(cursor) if cursor else {}
        began = utc(told.get("began"))
        if "start" in told:
            return cls(utc(told["start"]) or since, told["at"], began)
        return cls((began or since) - OVERLAP)

    def text(self) -> str:
        return json.dumps({"start": text_of(self.start), "at": self.at, "began": _text(self.began)})

    def caught_up(self) -> str:
        return json.dumps({"began": _text(self.began)})


def newest_change(rows: Sequence[Any]) -> str | None:
    """Find the latest `updatedAt` of a page, whatever else is wrong with its rows."""
    moments = [moment for row in rows if (moment := _moment_of(row))]
    return text_of(max(moments)) if moments else None


def highest_id(rows: Sequence[Any]) -> str | None:
    """Find the highest id of a page."""
    ids = [number for row in rows if (number := _number_in(row)) is not None]
    return str(max(ids)) if ids else None


def changed_before(row: Any, moment: datetime) -> bool:
    at = _moment_of(row)
    return at is not None and at < moment


def _moment_of(row: Any) -> datetime | None:
    try:
        return utc(row["updatedAt"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _number_in(row: Row) -> int | None:
    try:
        return int(number_of(row["id"]))
    except (KeyError, TypeError, UnreadableField):
        return None


def _text(moment: datetime | None) -> str | None:
    return text_of(moment) if moment else None
