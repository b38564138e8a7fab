"""Two mappings of one sync, side by side over the stored facts: what would differ after switching."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from connectors.base import Value
from mappings.compile import CompiledMapping, Evaluated
from state import evaluation
from state.db import Database
from state.showing import Sample
from sync.filled import work_out_figures
from sync.job import Job

CHUNK = 1000
NEW, GONE, CHANGED = "new", "gone", "changed"


@dataclass(slots=True)
class FieldDifference:
    """A field that differs: of how many profiles, a few of them, and its type where that differs."""

    name: str
    what: str
    count: int = 0
    type: str | None = None
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class ListDifference:
    """A list that differs: who belongs to it under the other mapping alone, and under this one alone."""

    name: str
    what: str
    enters: int = 0
    leaves: int = 0
    enters_sample: list[str] = field(default_factory=list)
    leaves_sample: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """What another mapping makes different. At the ESP, what is gone stays as it is: nothing pushes it any more."""

    profiles: int = 0
    fields: list[FieldDifference] = field(default_factory=list)
    lists: list[ListDifference] = field(default_factory=list)


async def compare(
    db: Database, job: Job, other: CompiledMapping, now: datetime, *, samples: int
) -> Comparison:
    """Evaluate both mappings over every profile; to be called in a rehearsal, since figures are worked out."""
    for mapping in (job.mapping, other):
        await work_out_figures(db, job, mapping, now)
    comparing = _Comparing(job.mapping, other, samples)
    async for before, after in _both(db, job, other, now):
        comparing.add(before, after)
    return comparing.result()


async def _both(
    db: Database, job: Job, other: CompiledMapping, now: datetime
) -> AsyncIterator[tuple[Evaluated, Evaluated]]:
    last, clock = 0, job.clock(now)
    while ids := await db.read(evaluation.all_profiles, job.sync, last, CHUNK):
        last = ids[-1]
        rows = []
        for mapping in (job.mapping, other):
            query = mapping.select(job.sync, clock, evaluation.these(ids))
            found = (mapping.read(row, clock) for row in await db.read(evaluation.rows, query))
            rows.append({each.profile: each for each in found})
        for profile in ids:
            yield rows[0][profile], rows[1][profile]


class _Comparing:
    """Gathers differences, profile by profile."""

    def __init__(self, current: CompiledMapping, other: CompiledMapping, samples: int) -> None:
        self._most = samples
        self._profiles = 0
        types = [{each.name: each.type for each in mapping.fields} for mapping in (current, other)]
        lists = [{each.name for each in mapping.lists} for mapping in (current, other)]
        self._fields = {
            name: FieldDifference(name, _what(name, set(types[0]), set(types[1])))
            for name in dict.fromkeys([*types[0], *types[1]])
        }
        for name in types[0].keys() & types[1].keys():
            if types[0][name] is not types[1][name]:
                self._fields[name].type = f"{types[0][name]} -> {types[1][name]}"
        names = dict.fromkeys(each.name for mapping in (current, other) for each in mapping.lists)
        self._lists = {name: ListDifference(name, _what(name, *lists)) for name in names}

    def add(self, before: Evaluated, after: Evaluated) -> None:
        self._profiles += 1
        for name, difference in self._fields.items():
            values = before.fields.get(name), after.fields.get(name)
            if values[0] != values[1]:
                self._add_field(difference, after.email, *values)
        for change in self._lists.values():
            self._add_list(change, before, after)

    def _add_field(self, difference: FieldDifference, email: str, before: Value, after: Value) -> None:
        difference.count += 1
        if len(difference.samples) < self._most:
            difference.samples.append(Sample(email, before, after))

    def _add_list(self, difference: ListDifference, before: Evaluated, after: Evaluated) -> None:
        """Count who crosses; what is unknown on the other side neither adds nor removes (P12)."""
        name, email = difference.name, after.email
        was, becomes = before.lists.get(name), after.lists.get(name)
        if becomes and not was:
            difference.enters += 1
            sample = difference.enters_sample
        elif was and (becomes is False or difference.what == GONE):
            difference.leaves += 1
            sample = difference.leaves_sample
        else:
            return
        if len(sample) < self._most:
            sample.append(email)

    def result(self) -> Comparison:
        """Leave out what is the same."""
        fields = [each for each in self._fields.values() if each.what != CHANGED or each.count or each.type]
        lists = [each for each in self._lists.values() if each.what != CHANGED or each.enters or each.leaves]
        return Comparison(self._profiles, fields, lists)


def _what(name: str, before: set[str], after: set[str]) -> str:
    if name not in before:
        return NEW
    return CHANGED if name in after else GONE
