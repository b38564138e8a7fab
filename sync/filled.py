"""How much of a mapping is known over all profiles: values by field, members and the unknown by list."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mappings.compile import CompiledMapping
from state import evaluation
from state.db import Database
from sync.job import Job


@dataclass(frozen=True, slots=True)
class Members:
    """A list: how many belong to it by its rule, and of how many nobody can tell (P12)."""

    inside: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Filled:
    """How many profiles there are, how many have a value in each field, and who belongs to each list."""

    profiles: int
    fields: Mapping[str, int]
    lists: Mapping[str, Members]


async def measure(db: Database, job: Job, mapping: CompiledMapping, now: datetime) -> Filled:
    """Evaluate a mapping over all profiles of a sync, in one SELECT."""
    query = mapping.select(job.sync, job.clock(now), None)
    profiles, known, true = await db.read(evaluation.count_values, query)
    fields = {each.name: known[f"f{i}"] for i, each in enumerate(mapping.compiled_fields)}
    lists = {
        each.name: Members(true.get(f"l{i}", 0), profiles - known[f"l{i}"])
        for i, each in enumerate(mapping.lists)
    }
    return Filled(profiles, fields, lists)


async def work_out_figures(db: Database, job: Job, mapping: CompiledMapping, now: datetime) -> None:
    """Compute what a mapping's rules over the whole base rest on; only inside a rehearsal for a foreign one."""
    for figure in mapping.figures:
        await db.run(evaluation.save_figure, job.sync, figure.key, figure.at(job.clock(now)))
