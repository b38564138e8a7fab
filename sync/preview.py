"""`plan`: what a run would change at the ESP, found out by doing it and undoing it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

import typer

from connectors.base import Value
from state import approvals, outbox, showing
from state.db import Database
from state.showing import FieldChange, Sample
from sync.limits import exceeded
from sync.plan import plan
from sync.run import Sync
from sync.show import as_json, as_table

SAMPLES = 3


@dataclass(slots=True)
class ListChange:
    """Who would enter or leave a list: how many, and a few of them."""

    name: str
    joins: bool
    count: int
    sample: list[str]


@dataclass(slots=True)
class Preview:
    """Contacts to write (of those created), changes by field and list, write requests, limits exceeded."""

    sync: str
    at: datetime
    contacts: int = 0
    created: int = 0
    fields: list[FieldChange] = field(default_factory=list)
    lists: list[ListChange] = field(default_factory=list)
    writes: int = 0
    held: list[str] = field(default_factory=list)


async def preview(db: Database, sync: Sync, now: datetime) -> Preview:
    """Plan a sync on the stored facts, and undo all of it; neither store nor ESP is asked."""
    async with db.rehearsal():
        await db.run(approvals.forget_landed, sync.name)
        await plan(sync.job, db, now)
        return await _waiting(db, sync, now)


async def _waiting(db: Database, sync: Sync, now: datetime) -> Preview:
    name = sync.name
    waiting = await db.read(outbox.pending, name)
    found = Preview(name, now, waiting.contacts, waiting.created)
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


def show_preview(found: Preview, *, json: bool) -> None:
    """Print a plan; addresses appear here, on the owner's terminal, and in no log."""
    if json:
        as_json(found)
        return
    typer.echo(
        f"sync {found.sync}: {found.contacts} contacts to write ({found.created} of them new), "
        f"{sum(change.count for change in found.lists)} list entries, at least {found.writes} write requests"
    )
    header = ["field", "contacts", "first value", "another value", "cleared", "for example"]
    as_table("fields", header, _field_rows(found.fields))
    lists = [
        (change.name, "join" if change.joins else "leave", change.count, ", ".join(change.sample))
        for change in found.lists
    ]
    as_table("lists", ["list", "", "contacts", "for example"], lists)
    for line in found.held:
        typer.echo(f"would be held: {line}")


def _field_rows(fields: Sequence[FieldChange]) -> Iterator[Sequence[object]]:
    for each in fields:
        samples = "\n".join(_sample(sample) for sample in each.samples)
        yield each.name, each.count, each.sets, each.changes, each.clears, samples


def _sample(sample: Sample) -> str:
    return f"{sample.email}: {_value(sample.before)} -> {_value(sample.after)}"


def _value(value: Value) -> str:
    return "unknown" if value is None else str(value)
