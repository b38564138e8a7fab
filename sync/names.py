"""Fields and lists by their names: what the ESP lacks is made, and what it does not let us have is said once.

- What somebody deleted at the ESP is gone for all who had it. That is forgotten before it is made again: a kill
  between the two repeats it.
- What could not be made once, and can be now, is offered to those who went without.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from connectors.base import Esp, Inspected
from connectors.errors import BadRecord
from state import names, runs, settling
from state.db import Database
from sync.job import Job
from sync.journeys import missing_triggers

log = structlog.get_logger()

AGAIN = timedelta(hours=1)
"""How long after a refusal a field or list is asked for again where there is nothing else to push."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`missing` is what the ESP does not let us have, name -> reason; `moved` whether somebody is to be compared anew."""

    missing: Mapping[str, str]
    moved: bool = False


async def prepare(job: Job, esp: Esp) -> dict[str, str]:
    """Have the ESP make the fields and lists that it lacks; return those that it does not let us have, and why."""
    return {
        **await esp.prepare(job.mapping.fields, _lists(job)),
        **await missing_triggers(esp, job.mapping.lists),
    }


async def make_ready(
    job: Job, esp: Esp, db: Database, now: datetime, *, prepared: Mapping[str, str] | None = None
) -> Prepared:
    """Have the ESP make what it lacks, and find whom that concerns; `prepared` is what `prepare` returned already."""
    stood = await db.read(names.refused, job.sync)
    lost = False
    if prepared is None:
        lost = await _forget_lost(job, esp, db)
        prepared = await prepare(job, esp)
    mended = await _offer_again(job, db, stood.keys() - prepared.keys())
    await _say_missing(job, db, prepared, now)
    return Prepared(prepared, lost or mended)


async def is_time(job: Job, db: Database, now: datetime) -> bool:
    """Tell whether to ask again for what the ESP refused, though nothing else is to be pushed."""
    stood = await db.read(names.refused, job.sync)
    return any(not timedelta() <= now - last < AGAIN for last in stood.values())


async def _forget_lost(job: Job, esp: Esp, db: Database) -> bool:
    """Forget what the ESP lacks by now; return whether anybody had it."""
    if not isinstance(esp, Inspected) or not await db.read(names.has_accepted, job.target):
        return False
    lacking = await esp.look(job.mapping.fields, _lists(job))
    fields, lists = sorted(lacking.fields), sorted(lacking.lists)
    people = 0
    while (fields or lists) and (found := await db.run(names.forget_lost, job.target, fields, lists)):
        people += found
    if people:
        log.warning("names_lost", esp=job.target.esp, fields=fields, lists=lists, people=people)
    return people > 0


async def _offer_again(job: Job, db: Database, mended: set[str]) -> bool:
    """Offer what the ESP lets us have again to those who went without; return whether there was anybody."""
    people = 0
    for name in mended:
        people += await _forget_refusals(db, job.sync, name)
        await db.run(runs.unbury, job.sync, [f"{names.LETTER}{name}"])
    return people > 0


async def _forget_refusals(db: Database, sync: str, name: str) -> int:
    people = 0
    while found := await db.run(names.offer_again, sync, name):
        people += found
    return people


async def drop_others(job: Job, db: Database) -> None:
    """Forget what was refused of fields and lists that the mapping has no more: they may come back."""
    known = {each.name for each in job.mapping.fields} | {each.name for each in job.mapping.lists}
    for name in await db.read(settling.refused_others, job.sync, known):
        await _forget_refusals(db, job.sync, name)
    await db.run(settling.drop_letters_of_others, job.sync, known)


async def _say_missing(job: Job, db: Database, missing: Mapping[str, str], now: datetime) -> None:
    """Bury what the ESP does not let us have: a letter for each name, not for each contact."""
    for name, reason in missing.items():
        log.warning("name_refused", name=name, reason=reason)
    bad = [BadRecord(f"{names.LETTER}{name}", reason) for name, reason in missing.items()]
    await db.run(runs.bury, job.sync, bad, now)


def _lists(job: Job) -> list[str]:
    return [each.name for each in job.mapping.lists if each.trigger is None]
