"""`plan`: what a run would change at the ESP, found out by doing it and undoing it."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

import typer

from state import outbox
from state.db import Database
from state.outbox import Sample
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
    contacts: int = 0
    created: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    field_samples: list[Sample] = field(default_factory=list)
    lists: list[ListChange] = field(default_factory=list)
    writes: int = 0
    held: list[str] = field(default_factory=list)


async def preview(db: Database, sync: Sync, now: datetime) -> Preview:
    """Plan a sync on the stored facts, and undo all of it; neither store nor ESP is asked."""
    async with db.rehearsal():
        await plan(sync.job, db, now)
        return await _waiting(db, sync)


async def _waiting(db: Database, sync: Sync) -> Preview:
    name, traits = sync.name, sync.esp.traits
    waiting = await db.read(outbox.pending, name)
    found = Preview(name, waiting.contacts, waiting.created)
    found.fields = await db.read(outbox.field_counts, name)
    found.field_samples = await db.read(outbox.field_samples, name, SAMPLES)
    for list_name, joins, count in await db.read(outbox.list_changes, name):
        sample = await db.read(outbox.list_samples, name, list_name, joins=joins, most=SAMPLES)
        found.lists.append(ListChange(list_name, joins, count, sample))
    calls: defaultdict[str, int] = defaultdict(int)
    for change in found.lists:
        calls[change.name] = max(calls[change.name], ceil(change.count / traits.list_batch_size))
    found.writes = ceil(waiting.contacts / traits.batch_size) + sum(calls.values())
    found.held = exceeded(sync.limits, waiting, await db.read(outbox.list_sizes, name))
    return found


def show_preview(found: Preview, *, json: bool) -> None:
    if json:
        as_json(found)
        return
    typer.echo(
        f"sync {found.sync}: {found.contacts} contacts to write ({found.created} of them new), "
        f"{sum(change.count for change in found.lists)} list entries, at least {found.writes} write requests"
    )
    samples = defaultdict(list)
    for sample in found.field_samples:
        samples[sample.name].append(f"{sample.before} -> {sample.after}")
    fields = [(name, count, "; ".join(samples[name])) for name, count in found.fields.items()]
    as_table("fields", ["field", "contacts", "for example"], fields)
    lists = [
        (change.name, "join" if change.joins else "leave", change.count, ", ".join(change.sample))
        for change in found.lists
    ]
    as_table("lists", ["list", "", "contacts", "for example"], lists)
    for line in found.held:
        typer.echo(f"would be held: {line}")
