"""Stage 2: from facts to profiles, to what is desired, to the outbox.

Begins with the people whose facts changed and ends with jobs laid down. Each chunk is one transaction; a
kill between two repeats the comparison, which lays the same jobs down again.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from state import evaluation, outbox, profiles
from state.db import Database
from state.evaluation import SyncState
from state.offering import Desired, Offer
from sync.job import Job
from sync.names import drop_others
from sync.schedule import struck

log = structlog.get_logger()

CHUNK = 1000
"""Profiles in one transaction: memory and the length of a lock, against the cost of a commit."""
SMALL_BASE = 20_000
"""Up to so many profiles, what rests on the whole base is worked out whenever facts change (a second's work)."""
REFRESH_LARGE = "daily at 03:00"


@dataclass
class Planned:
    """What a comparison found: profiles computed, profiles compared, and what was laid down for them."""

    profiles: int = 0
    compared: int = 0
    offer: Offer = field(default_factory=Offer)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Which `journeys` nobody begins in this run (P10), and whether some people begin none at all."""

    journeys: frozenset[str]
    people: bool


async def plan(job: Job, db: Database, now: datetime) -> Planned:
    """Compute the profiles that changed, compare those that changed or are due, fill the outbox."""
    planned = Planned()
    await _catch_up(job, db, now)
    while done := await db.run(profiles.refresh, job.scope, CHUNK, now):
        planned.profiles += done
    if await db.run(outbox.settle_in, job.target):
        log.warning("target_changed", esp=job.target.esp)
    state = await db.read(evaluation.sync_state, job.sync)
    figures_changed = await _refresh_figures(job, db, state, now, changed=planned.profiles > 0)
    everything = figures_changed or _must_compare_all(job, state, now)
    quiet = await _quiet(job, db, state)
    found = await _compare(job, db, state, now, quiet, everything=everything)
    planned.compared, planned.offer = found.compared, found.offer
    if state.mapping != job.digest:
        await drop_others(job, db)
    digests = {each.name: each.digest for each in job.mapping.lists if each.journey}
    await db.run(evaluation.mark_evaluated, job.sync, state.revision, job.digest, now, journeys=digests)
    log.info("sync_planned", profiles=planned.profiles, compared=planned.compared)
    return planned


async def _catch_up(job: Job, db: Database, now: datetime) -> None:
    """Lay down what time alone has brought about, before other stores or rates make everybody's past another one.

    Whatever that brings to light starts no journey; who was to enter one by then does (P10).
    """
    state = await db.read(evaluation.sync_state, job.sync)
    if state.scope in {None, job.scope.digest} or state.evaluated_at is None:
        return
    is_level = state.revision == state.evaluated_revision
    quiet = replace(await _quiet(job, db, state), people=False) if is_level else await _quiet(job, db, state)
    everything = _must_compare_all(job, state, now)
    await _compare(job, db, state, now, quiet, everything=everything)


async def _compare(
    job: Job, db: Database, state: SyncState, now: datetime, quiet: Quiet, *, everything: bool
) -> Planned:
    """Compare who is due, or everybody, and lay down jobs."""
    found = Planned()
    journeys = {each.name: each for each in job.mapping.lists if each.journey}
    bars = {name: each.reenter.bars_since(job.clock(now)) for name, each in journeys.items()}
    async for ids in _chosen(job, db, state, now, everything=everything):
        query = job.mapping.select(job.sync, job.clock(now), evaluation.these(ids))
        read = _reader(job, now, quiet, await _moved_by_history(job, db, state, quiet, ids))
        offer = await db.run(evaluation.compare, job.target, query, read, now, journeys=bars)
        _merge(found.offer, offer)
        found.compared += len(ids)
    return found


def _must_compare_all(job: Job, state: SyncState, now: datetime) -> bool:
    """Tell whether more than facts and limits in time has changed: the mapping, or the day."""
    if state.evaluated_at is None or state.mapping != job.digest:
        return True
    day, before = (moment.astimezone(job.timezone).date() for moment in (now, state.evaluated_at))
    return job.mapping.daily and day != before


async def _chosen(
    job: Job, db: Database, state: SyncState, now: datetime, *, everything: bool
) -> AsyncIterator[list[int]]:
    """Yield the profiles to compare, chunk by chunk."""
    if everything:
        after = 0
        while ids := await db.read(evaluation.all_profiles, job.sync, after, CHUNK):
            yield ids
            after = ids[-1]
        return
    before = state.evaluated_at or now
    moved = job.mapping.moved(job.sync, job.clock(min(before, now)), job.clock(max(before, now)))
    due = await db.read(evaluation.due_profiles, job.sync, state.evaluated_revision, moved)
    for start in range(0, len(due), CHUNK):
        yield due[start : start + CHUNK]


async def _refresh_figures(job: Job, db: Database, state: SyncState, now: datetime, *, changed: bool) -> bool:
    """Work out anew what rules over the whole base rest on, when it is time; return whether it changed."""
    if not job.mapping.figures:
        return False
    if not await _is_time(job, db, state, now, changed=changed):
        return False
    different = False
    for figure in job.mapping.figures:
        different |= await db.run(evaluation.save_figure, job.sync, figure.key, figure.at(job.clock(now)))
    await db.run(evaluation.mark_figures, job.sync, now)
    return different


async def _is_time(job: Job, db: Database, state: SyncState, now: datetime, *, changed: bool) -> bool:
    if state.figures_at is None or state.mapping != job.digest or state.go_live_at is None:
        return True
    if changed and job.refresh is None and await db.read(evaluation.count_profiles, job.sync) <= SMALL_BASE:
        return True
    return struck(job.refresh or REFRESH_LARGE, state.figures_at, now, job.timezone)


async def _quiet(job: Job, db: Database, state: SyncState) -> Quiet:
    """Decide what is history: all before the sync, or a journey with this rule, went live.

    After that only what comes with a backfill, with another store or rate: for the people it concerns.
    """
    live = state.journeys if state.go_live_at else {}
    journeys = [each for each in job.mapping.lists if each.journey]
    new = frozenset(each.name for each in journeys if live.get(each.name) != each.digest)
    if len(new) == len(journeys):
        return Quiet(new, people=False)
    return Quiet(new, state.evaluated_at is None or await db.read(evaluation.has_history, job.sync))


async def _moved_by_history(
    job: Job, db: Database, state: SyncState, quiet: Quiet, ids: Sequence[int]
) -> Collection[int]:
    if not quiet.people:
        return ()
    untouched = state.evaluated_at is None
    return await db.read(evaluation.without_news, job.sync, ids, untouched=untouched)


def _reader(job: Job, now: datetime, quiet: Quiet, historic: Collection[int]) -> Callable[[Any], Desired]:
    """Make what turns a row of the mapping's SELECT into what is desired; `historic` people begin nothing."""
    clock = job.clock(now)
    everything = job.journeys

    def read(row: Any) -> Desired:
        found = job.mapping.read(row, clock)
        still = everything if found.profile in historic else quiet.journeys
        return Desired(found.profile, found.email, found.fields, found.lists, still, quiet.journeys)

    return read


def _merge(total: Offer, part: Offer) -> None:
    total.contacts += part.contacts
    total.created += part.created
    for into, of in ((total.joins, part.joins), (total.leaves, part.leaves), (total.fields, part.fields)):
        for name, count in of.items():
            into[name] = into.get(name, 0) + count
