"""What waits in the outbox, shown before it is written: by field from what to what, by list who."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from connectors.base import Contact, Value
from state import outbox
from state.bookkeeping import MembershipJobRow
from state.codes import decode
from state.tables import ProfileRow, table

JOBS, PROFILES = table(MembershipJobRow), table(ProfileRow)
CHUNK = 1000
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Sample:
    """A field of one contact, before and after; unknown is None."""

    email: str
    before: Value
    after: Value


@dataclass(slots=True)
class FieldChange:
    """How many contacts get a first value in a field, another one, or lose theirs; a few of them as samples."""

    name: str
    count: int = 0
    sets: int = 0
    changes: int = 0
    clears: int = 0
    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample, most: int) -> None:
        """Count a contact in, and keep it while there are fewer than `most`; another value tells more than a first."""
        first = sample.before is None
        self.count += 1
        if first:
            self.sets += 1
        elif sample.after is None:
            self.clears += 1
        else:
            self.changes += 1
        if len(self.samples) < most:
            self.samples.append(sample)
        elif not first and (dull := next((each for each in self.samples if each.before is None), None)):
            self.samples.remove(dull)
            self.samples.append(sample)


@dataclass(frozen=True, slots=True)
class Entries:
    """Changes of one list that wait: how many people join it and leave it."""

    joins: int
    leaves: int


def field_changes(connection: Connection, sync: str, most: int) -> list[FieldChange]:
    """Sum up the waiting contacts by field, with at most `most` samples of each."""
    found: dict[str, FieldChange] = {}
    after = 0
    while jobs := outbox.contact_jobs(connection, sync, after, CHUNK):
        after = jobs[-1].contact.profile
        known = [job.contact.profile for job in jobs]
        had = {
            row.profile: msgspec.json.decode(row.fields) for row in outbox.accepted(connection, sync, known)
        }
        for job in jobs:
            _add(found, job.contact, had.get(job.contact.profile, NOTHING), most)
    return list(found.values())


def _add(found: dict[str, FieldChange], contact: Contact, had: Mapping[str, Any], most: int) -> None:
    for name, value in contact.fields.items():
        sample = Sample(contact.email, decode(had.get(name)), value)
        found.setdefault(name, FieldChange(name)).add(sample, most)


def entries(connection: Connection, sync: str) -> dict[str, Entries]:
    """Count who waits to join and to leave each list."""
    joins = JOBS.c.joins
    rows = connection.execute(
        select(JOBS.c.list, func.count().filter(joins.is_(True)), func.count().filter(joins.is_(False)))
        .where(JOBS.c.sync == sync)
        .group_by(JOBS.c.list)
        .order_by(JOBS.c.list)
    )
    return {name: Entries(int(joining), int(leaving)) for name, joining, leaving in rows}


def list_samples(connection: Connection, sync: str, name: str, *, joins: bool, most: int) -> list[str]:
    """Name the first `most` people who would join or leave a list."""
    query = (
        select(PROFILES.c.email)
        .join(JOBS, JOBS.c.profile == PROFILES.c.id)
        .where(JOBS.c.sync == sync, JOBS.c.list == name, JOBS.c.joins.is_(joins))
        .order_by(PROFILES.c.id)
        .limit(most)
    )
    return list(connection.scalars(query))
