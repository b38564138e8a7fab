"""`plan`: what a run would change at the ESP, found out by doing it and undoing it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil
from pathlib import Path

from connectors.base import Inspected, Missing
from connectors.errors import ConnectorError
from mappings.compile import CompiledMapping
from state import approvals, outbox, showing
from state.db import Database
from state.showing import FieldChange
from sync.app import Cartwire
from sync.compare import Comparison, compare
from sync.filled import Filled, measure
from sync.job import utc_now
from sync.journeys import missing_triggers
from sync.limits import exceeded
from sync.plan import plan
from sync.plant import read_other_mapping
from sync.run import Sync, lacks_history

SAMPLES = 3


@dataclass(slots=True)
class ListChange:
    """Who would enter or leave a list: how many, and a few of them."""

    name: str
    joins: bool
    count: int
    sample: list[str]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A field or list ("fields", "lists") and the number of profiles of which it is unknown (P12)."""

    section: str
    name: str
    profiles: int


@dataclass(slots=True)
class Preview:
    """What a run would do at `at`, on the facts that are stored.

    `contacts` to write (of those `created`), changes by field and list, the fewest write requests, and the limits
    that hold it. `missing` is what the ESP would have to make first, or `unasked` says why it was not asked.
    `unread` are stores whose history is not read to its end: their totals are not final.
    """

    sync: str
    at: datetime
    profiles: int = 0
    contacts: int = 0
    created: int = 0
    fields: list[FieldChange] = field(default_factory=list)
    lists: list[ListChange] = field(default_factory=list)
    writes: int = 0
    held: list[str] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    missing: Missing = field(default_factory=Missing)
    unasked: str | None = None
    unread: list[str] = field(default_factory=list)
    comparison: Comparison | None = None


async def foresee(
    cartwire: Cartwire, sync: Sync, *, file: Path | None, at: datetime | None, offline: bool
) -> Preview:
    """Preview a sync: under the mapping in `file`, at another moment, and with a look at the ESP unless `offline`.

    `at` without a time zone is meant in the configuration's.
    """
    now = utc_now() if at is None else at.replace(tzinfo=at.tzinfo or sync.job.timezone)
    other = read_other_mapping(cartwire.plant, sync.name, file) if file else None
    found = await preview(cartwire.db, sync, now, other)
    if offline:
        found.unasked = "not asked, offline"
    elif found.contacts or found.lists:
        await _look(sync, other or sync.job.mapping, found)
    return found


async def preview(db: Database, sync: Sync, now: datetime, other: CompiledMapping | None = None) -> Preview:
    """Plan a sync on the stored facts, and undo all of it; neither store nor ESP is asked.

    With `other`, plan under that mapping, and compare it with the sync's own.
    """
    switched = replace(sync, job=replace(sync.job, mapping=other)) if other else sync
    async with db.rehearsal():
        await db.run(approvals.forget_landed, sync.name)
        await plan(switched.job, db, now)
        found = await _waiting(db, switched, now)
        filled = await measure(db, switched.job, switched.job.mapping, now)
        found.profiles, found.unknown = filled.profiles, list(_unknown(filled))
        found.unread = [source.name for source in sync.sources if await lacks_history(source, db)]
        if other:
            found.comparison = await compare(db, sync.job, other, now, samples=SAMPLES)
    return found


async def _waiting(db: Database, sync: Sync, now: datetime) -> Preview:
    name = sync.name
    waiting = await db.read(outbox.pending, name)
    found = Preview(name, now, contacts=waiting.contacts, created=waiting.created)
    found.fields = await db.read(showing.field_changes, name, SAMPLES)
    found.lists = await _list_changes(db, name)
    found.writes = _writes(sync, waiting.contacts, found.lists)
    amount, approved = await db.read(approvals.waiting, name), await db.read(approvals.approved, name)
    found.held = exceeded(sync.limits, amount, approved, await db.read(outbox.list_sizes, name))
    return found


async def _list_changes(db: Database, sync: str) -> list[ListChange]:
    changes = []
    for name, entries in (await db.read(showing.entries, sync)).items():
        for joins, count in ((True, entries.joins), (False, entries.leaves)):
            if count:
                sample = await db.read(showing.list_samples, sync, name, joins=joins, most=SAMPLES)
                changes.append(ListChange(name, joins, count, sample))
    return changes


def _writes(sync: Sync, contacts: int, lists: Sequence[ListChange]) -> int:
    """Count the fewest requests that carry it; who joins a list goes with who leaves it."""
    traits = sync.esp.traits
    calls: defaultdict[str, int] = defaultdict(int)
    for change in lists:
        calls[change.name] = max(calls[change.name], ceil(change.count / traits.list_batch_size))
    return ceil(contacts / traits.batch_size) + sum(calls.values())


def _unknown(filled: Filled) -> Iterator[Unknown]:
    for name, known in filled.fields.items():
        if known < filled.profiles:
            yield Unknown("fields", name, filled.profiles - known)
    for name, members in filled.lists.items():
        if members.unknown:
            yield Unknown("lists", name, members.unknown)


async def _look(sync: Sync, mapping: CompiledMapping, found: Preview) -> None:
    """Ask the ESP what it would have to make; nothing is made."""
    if not isinstance(sync.esp, Inspected):
        found.unasked = "it cannot be asked"
        return
    lists = [each.name for each in mapping.lists if each.trigger is None]
    try:
        missing = await sync.esp.look(mapping.fields, lists)
        triggers = await missing_triggers(sync.esp, mapping.lists)
    except ConnectorError as error:
        found.unasked = str(error)
        return
    found.missing = replace(missing, unfit={**missing.unfit, **triggers})
