"""`checklist`: which fields and lists of the catalogue a sync pushes, how filled they are, what no list uses."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from mappings import model
from mappings.catalogue import catalogue
from mappings.compile import CompiledField, CompiledList, CompiledMapping, compile_mapping, sql_of
from mappings.naming import fit
from mappings.uses import is_used, names_of
from state.db import Database
from sync.app import Cartwire
from sync.filled import Filled, measure, work_out_figures
from sync.job import Job
from sync.run import Sync
from sync.show import as_json, as_table

PRESET = "crm"
COLUMN, FIELD, LIST = "column", "field", "list"

Compiled = CompiledField | CompiledList


@dataclass(frozen=True, slots=True)
class Line:
    """A column of the catalogue, or a field or list of the mapping or of the preset.

    `pushed_as` are the names under which it goes to the ESP, none where it does not. `filled` is the percentage of
    profiles with a known value, None without any profile. `used_by` are the lists whose rules look at it. `rule`
    is its expression, or what the column holds.
    """

    sync: str
    kind: str
    name: str
    pushed_as: list[str]
    in_preset: bool
    filled: Decimal | None
    members: int | None
    used_by: list[str] = field(default_factory=list)
    rule: str = ""


async def checklist_of(cartwire: Cartwire, names: Iterable[str], now: datetime) -> list[Line]:
    """Go through the catalogue for each of these syncs; what is worked out for it is undone."""
    lines: list[Line] = []
    for name in names:
        async with cartwire.db.rehearsal():
            lines += await _checklist(cartwire.db, cartwire.syncs[name], now)
    return lines


async def _checklist(db: Database, sync: Sync, now: datetime) -> list[Line]:
    job = sync.job
    roomy = replace(sync.esp.traits, max_fields=None)
    preset = _compiled(job, fit(model.read_mapping(model.preset(PRESET)), roomy, job.target.esp).mapping)
    columns = _compiled(job, model.Mapping(fields={name: name for name in catalogue()}))
    own = await _measured(db, job, job.mapping, now)
    aside = await _measured(db, job, preset, now)
    mine, shipped = (set[str]().union(*map(_marks, _all(each))) for each in (job.mapping, preset))
    left_out = [each for each in _all(preset) if not _marks(each) & mine]
    return [
        *_columns(job, preset, await _measured(db, job, columns, now)),
        *(
            _line(job, each, own, pushed=True, in_preset=bool(_marks(each) & shipped))
            for each in _all(job.mapping)
        ),
        *(_line(job, each, aside, pushed=False, in_preset=True) for each in left_out),
    ]


def _all(mapping: CompiledMapping) -> list[Compiled]:
    return [*mapping.compiled_fields, *mapping.lists]


def _compiled(job: Job, mapping: model.Mapping) -> CompiledMapping:
    return compile_mapping(mapping, currency=job.scope.currency, scope=job.scope)


async def _measured(db: Database, job: Job, mapping: CompiledMapping, now: datetime) -> Filled:
    await work_out_figures(db, job, mapping, now)
    return await measure(db, job, mapping, now)


def _columns(job: Job, preset: CompiledMapping, filled: Filled) -> Iterator[Line]:
    for name, column in catalogue().items():
        yield Line(
            job.sync,
            COLUMN,
            name,
            [each.name for each in job.mapping.compiled_fields if _speaks_of(each, name)],
            any(_speaks_of(each, name) for each in _all(preset)),
            _percent(filled.fields[name], filled.profiles),
            None,
            [each.name for each in job.mapping.lists if _speaks_of(each, name)],
            column.description,
        )


def _speaks_of(each: Compiled, column: str) -> bool:
    return column in each.term.needs.named | names_of(each.expression)


def _line(job: Job, each: Compiled, filled: Filled, *, pushed: bool, in_preset: bool) -> Line:
    is_field = isinstance(each, CompiledField)
    members = None if is_field else filled.lists[each.name]
    known = filled.profiles - members.unknown if members else filled.fields[each.name]
    whole = (each.expression, each.term)
    rules = [] if not is_field else [(one.name, (one.expression, one.term)) for one in job.mapping.lists]
    return Line(
        job.sync,
        FIELD if is_field else LIST,
        each.name,
        [each.name] if pushed else [],
        in_preset,
        _percent(known, filled.profiles),
        members.inside if members else None,
        [name for name, rule in rules if is_used(whole, rule)],
        each.expression,
    )


def _marks(each: Compiled) -> set[str]:
    """Tell a field or list from others by its name, and by what its rule comes to, however it is written."""
    kind = type(each).__name__
    return {f"{kind} {each.name}", f"{kind} {sql_of(each.term)}"}


def _percent(part: int, whole: int) -> Decimal | None:
    return round(Decimal(100 * part) / whole, 1) if whole else None


# --- showing -------------------------------------------------------------------------------------------

TITLES = {COLUMN: "catalogue", FIELD: "fields", LIST: "lists"}
HEADERS = {
    COLUMN: ("column", "pushed as", "filled", "used by"),
    FIELD: ("field", "pushed", "filled", "used by"),
    LIST: ("list", "pushed", "known", "members"),
}


def show_checklist(lines: Sequence[Line], *, json: bool, as_csv: bool) -> None:
    """Print the checklist as tables, as JSON or as CSV."""
    if json:
        as_json(lines)
    elif as_csv:
        _write_csv(lines)
    else:
        for sync in dict.fromkeys(line.sync for line in lines):
            for kind, title in TITLES.items():
                rows = [_row(line) for line in lines if (line.sync, line.kind) == (sync, kind)]
                as_table(f"{sync}: {title}", HEADERS[kind], rows)


def _row(line: Line) -> Sequence[object]:
    filled = None if line.filled is None else f"{line.filled} %"
    used_by = ", ".join(line.used_by) or "no list"
    if line.kind == COLUMN:
        return line.name, ", ".join(line.pushed_as) or "no", filled, used_by
    pushed = "yes" if line.pushed_as else "no (preset)"
    return line.name, pushed, filled, line.members if line.kind == LIST else used_by


def _write_csv(lines: Sequence[Line]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(Line.__dataclass_fields__)
    writer.writerows([_cell(value) for value in asdict(line).values()] for line in lines)


def _cell(value: Any) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "; ".join(value) if isinstance(value, list) else value
