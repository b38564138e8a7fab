"""One run of a sync: pull, plan, push, and the report. Here the clock is read, once."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from connectors.base import Esp
from connectors.errors import ConnectorError, Refused, Retryable
from state import approvals, cursors, evaluation, opt_outs, outbox, runs, showing
from state.db import Database
from sync import names
from sync.confirmed import hear_confirmed
from sync.erasing import Erasers, Erasing
from sync.job import Job, Pulse, Silent, Stopped, Ticks, in_group, utc_now
from sync.leases import one_run
from sync.limits import Limits, exceeded
from sync.news import Taken, take_in
from sync.plan import plan
from sync.preparing import Ready, preparing
from sync.pull import TELLING, Pulled, Reading, Source, pull_changes, pull_history
from sync.push import Pushing, push
from sync.report import Failure, HeldPlan, Outcome, Report

log = structlog.get_logger()

READS = frozenset({"GET", "HEAD", "retry"})
OPT_OUT_OVERLAP = timedelta(hours=1)
"""An ESP's clock may differ from ours, and its listings lag."""
OPT_OUTS_EVERY = timedelta(days=1)
STORES_AT_ONCE = 4
"""Stores of one sync that are read side by side: most of the time each is waited for."""


@dataclass(frozen=True)
class Sync:
    """A sync with everything wired: what to read, how to decide, where to write."""

    job: Job
    sources: Sequence[Source]
    esp: Esp
    limits: Limits | None
    erasers: Erasers

    @property
    def name(self) -> str:
        return self.job.sync


@dataclass(frozen=True)
class Order:
    """What a run is asked to do beyond its sync's ordinary work.

    `history` reads everything again, of the stores in `only` or of all, created since `since`. What such a
    run has read that was killed or stopped, the next one of its name does not read again: `resumes` is when
    that one began. `approved` lets it go beyond the limits, whatever the plan turns out to be. Without `pull`
    it decides and pushes on what is stored. `resting` are stores and ESPs to leave alone, with the reasons.
    `patience` is how many seconds to wait for the end of another run.
    """

    kind: str = "sync"
    history: bool = False
    since: datetime | None = None
    only: str | None = None
    approved: bool = False
    pull: bool = True
    resting: Mapping[str, str] = field(default_factory=dict)
    patience: float = 0.0
    resumes: datetime | None = None
    ticks: Ticks = field(default_factory=Silent)
    pulse: Pulse = field(default_factory=Pulse)

    @property
    def name(self) -> str:
        """Name the run for those who list runs: what is limited is another than what is whole."""
        return f"{self.kind} since {self.since:%Y-%m-%d}" if self.since else self.kind


async def approve(sync: Sync, db: Database) -> bool:
    """Let go what the last held run showed, in the next run; return whether a run was held."""
    return await db.run(approvals.approve, sync.name)


async def run_sync(
    sync: Sync, db: Database, folder: Path, order: Order, clock: Callable[[], datetime] | None = None
) -> Report:
    """Run a sync once, alone; nothing that a store or an ESP does raises: it stands in the report.

    A killed run leaves its cursors, outbox and windows; the next one goes on there. Raises Busy when
    another run of this sync is under way, LeaseLost when another process has taken it over.
    """
    with structlog.contextvars.bound_contextvars(sync=sync.name):
        async with one_run(db, folder, sync.name, order.patience):
            return await _run_alone(sync, db, order, clock or utc_now)


async def _run_alone(sync: Sync, db: Database, order: Order, clock: Callable[[], datetime]) -> Report:
    began, now = time.monotonic(), clock()
    report = Report(sync.name, order.name)
    before = _tallies(sync)
    order = replace(order, resumes=await db.read(runs.broke_off, sync.name, order.name))
    number = await db.run(runs.start_run, sync.name, order.name, now)
    with structlog.contextvars.bound_contextvars(run=number):
        try:
            await _work(sync, db, order, now, report)
        except (Stopped, asyncio.CancelledError) as stop:
            report.stopped = True
            if isinstance(stop, asyncio.CancelledError):
                raise
        except Exception as error:
            report.errors.append(type(error).__name__)
            raise
        finally:
            await _account(sync, db, report, before)
            report.seconds = round(time.monotonic() - began, 3)
            await db.run(runs.end_run, number, report.outcome.value, report.as_dict(), clock())
            log.info("run_ended", outcome=report.outcome.value, seconds=report.seconds)
    return report


async def _work(sync: Sync, db: Database, order: Order, now: datetime, report: Report) -> None:
    """Pull, plan and push; a history that stopped half-way is not pushed, its totals would be wrong."""
    may_write = (sync.limits is None or order.approved) and sync.job.target.esp not in order.resting
    async with preparing(sync.job, sync.esp, db, order.ticks, may_write=may_write) as making:
        whole = await _pull(sync, db, replace(order, ticks=making), now, report)
        if not whole:
            return
        await db.run(approvals.forget_landed, sync.name)
        planned = await plan(sync.job, db, now)
        report.profiles, report.compared = planned.profiles, planned.compared
        await _push_unless_resting(sync, db, order, now, report, ready=making.ready)
    order.pulse.go_on()


async def _pull(sync: Sync, db: Database, order: Order, now: datetime, report: Report) -> bool:
    """Read every store; return whether each one's history has been read to its end."""
    whole = True
    erasing = Erasing(sync.erasers, sync.name, order.resting)
    for source in sync.sources:
        taken = report.inbox[source.name] = Taken()
        with structlog.contextvars.bound_contextvars(store=source.name), _noted(report, source.name):
            await take_in(source, db, now, taken, ask=source.name not in order.resting, erasing=erasing)
    for name, error in erasing.failed.items():
        _note(report, name, error, alone=name != sync.job.target.esp)
    if order.pull:
        await _pull_stores(sync, db, order, now, report)
    for source in sync.sources:
        whole = whole and not await lacks_history(source, db)
    return whole


async def _pull_stores(sync: Sync, db: Database, order: Order, now: datetime, report: Report) -> None:
    """Read a few stores side by side; the trouble of one stops none of the others."""

    async def pull(source: Source) -> None:
        with structlog.contextvars.bound_contextvars(store=source.name), _noted(report, source.name):
            await _pull_store(source, db, order, now, report)

    report.resting |= {
        source.name: order.resting[source.name] for source in sync.sources if source.name in order.resting
    }
    await _side_by_side([source for source in sync.sources if source.name not in order.resting], pull)


async def _side_by_side(sources: Sequence[Source], work: Callable[[Source], Awaitable[None]]) -> None:
    """Do something with a few stores at once, but with those of one host one after the other: it may be weak."""
    slots = asyncio.Semaphore(STORES_AT_ONCE)
    hosts: defaultdict[str, list[Source]] = defaultdict(list)
    for source in sources:
        hosts[source.host or f"store {source.name}"].append(source)

    async def in_turn(neighbours: Sequence[Source]) -> None:
        async with slots:
            for source in neighbours:
                await work(source)

    await in_group([in_turn(neighbours) for neighbours in hosts.values()])


async def _pull_store(source: Source, db: Database, order: Order, now: datetime, report: Report) -> None:
    reading = Reading(source, db, now, partial(order.ticks.pulled, source.name), pulse=order.pulse)
    report.stores[source.name] = reading.pulled
    wanted = order.history and order.only in {None, source.name} and not await _was_read(source, db, order)
    if wanted or await lacks_history(source, db):
        await pull_history(reading, order.since if wanted else None)
    else:
        await pull_changes(reading)


async def _was_read(source: Source, db: Database, order: Order) -> bool:
    """Tell whether a run that this one goes on with got to the end of a store's history."""
    return order.resumes is not None and await db.read(cursors.history_was_read, source.name, order.resumes)


async def lacks_history(source: Source, db: Database) -> bool:
    """Tell whether a store's history has not been read to its end."""
    if await db.read(cursors.has_open_backfill, source.name):
        return True
    return await db.read(cursors.find_cursor, source.name, source.store.resources[0]) is None


async def _push_unless_resting(
    sync: Sync, db: Database, order: Order, now: datetime, report: Report, *, ready: Ready
) -> None:
    esp = sync.job.target.esp
    if esp in order.resting:
        report.resting[esp] = order.resting[esp]
        return
    with structlog.contextvars.bound_contextvars(esp=esp), _noted(report, esp):
        await _hear_opt_outs(sync, db, now)
        await _push(sync, db, order, now, report, ready=ready)
        report.reached = not report.held


async def _push(
    sync: Sync, db: Database, order: Order, now: datetime, report: Report, *, ready: Ready
) -> None:
    """Push what waits, unless it goes beyond the limits (P11)."""
    may, is_time = await _may_push(sync, db, order, report), await names.is_time(sync.job, db, now)
    if (may or (is_time and not report.held)) and await _read_opt_outs(sync, db, now):
        await plan(sync.job, db, now)
        may = await _may_push(sync, db, order, report)
    if report.held or not (may or is_time):
        return
    found = await names.make_ready(sync.job, sync.esp, db, now, prepared=await ready())
    if found.moved:
        await plan(sync.job, db, now)
        may = await _may_push(sync, db, order, report)
    if may:
        look = partial(_look_again, sync, db, order, now, report)
        ticks, pulse = order.ticks.pushed, order.pulse
        await db.run(evaluation.mark_heard, sync.name)
        await push(Pushing(sync.job, sync.esp, db, now, found.missing, ticks, report.pushed, pulse, look))


async def _look_again(sync: Sync, db: Database, order: Order, now: datetime, report: Report) -> bool:
    """Ask the stores who has paid meanwhile, and plan anew; return whether those who wait to enter may.

    They wait for the next run when a store does not answer: they may have paid there. That nothing is new to us says
    nothing: another sync may have read it.
    """
    answers = dict.fromkeys((source.name for source in sync.sources), False)

    async def look(source: Source) -> None:
        answers[source.name] = await _look_at(source, db, order, now, report)

    await _side_by_side([source for source in sync.sources if source.name not in order.resting], look)
    if silent := [name for name, answered in answers.items() if not answered]:
        log.warning("entries_wait", stores=silent)
        return False
    await db.run(approvals.forget_landed, sync.name)
    await plan(sync.job, db, now)
    if not await _may_push(sync, db, order, report):
        return False
    await db.run(evaluation.mark_heard, sync.name)
    return True


async def _look_at(source: Source, db: Database, order: Order, now: datetime, report: Report) -> bool:
    """Read what tells of open checkouts; return whether the store answers."""
    pulled = report.stores.setdefault(source.name, Pulled())
    with structlog.contextvars.bound_contextvars(store=source.name), _noted(report, source.name):
        if source.name not in report.failures:  # it failed in this very run
            await pull_changes(Reading(source, db, now, pulled=pulled, pulse=order.pulse), TELLING)
    return source.name not in report.failures


async def _may_push(sync: Sync, db: Database, order: Order, report: Report) -> bool:
    """Tell whether there is anything to push and it may go; what may not is held, all of it, and shown."""
    name = sync.name
    waiting = await db.read(outbox.pending, name)
    if not waiting.contacts and not waiting.lists:
        return False
    amount = await db.read(approvals.waiting, name)
    approved = amount if order.approved else await db.read(approvals.approved, name)
    report.held = exceeded(sync.limits, amount, approved, await db.read(outbox.list_sizes, name))
    if not report.held:
        await db.run(approvals.let_go, name, approved)
        return True
    await db.run(approvals.note_held, name, amount)
    report.plan = HeldPlan(waiting.contacts, waiting.created, await db.read(showing.entries, name))
    log.warning("run_held", reasons=report.held)
    return False


async def _hear_opt_outs(sync: Sync, db: Database, now: datetime) -> None:
    """Learn at least daily who may not be mailed, also when nothing is pushed (P4).

    A sync goes live when it has heard that for the first time, and compared: it is history, too (P10).
    """
    heard_at = (await db.read(evaluation.sync_state, sync.name)).opt_outs_at
    if heard_at is None or not timedelta() <= now - sync.esp.tally.lag - heard_at < OPT_OUTS_EVERY:
        found = await _read_opt_outs(sync, db, now)
        if found or heard_at is None:
            await plan(sync.job, db, now)


async def _read_opt_outs(sync: Sync, db: Database, now: datetime) -> bool:
    """Learn who may not be mailed before anything is written (P4); return whether there was anybody.

    Once in a run is enough. It is noted by the ESP's clock, which dates them: ours may be hours ahead. Was the last
    time by a clock that was ahead, nobody knows when it was: then all are read.
    """
    heard_at = (await db.read(evaluation.sync_state, sync.name)).opt_outs_at
    if heard_at == now - sync.esp.tally.lag:
        return False
    since = heard_at - OPT_OUT_OVERLAP if heard_at and heard_at < now else None
    found = False
    async for page in sync.esp.opt_outs(since):
        found |= bool(page)
        await db.run(opt_outs.save_opt_outs, sync.job.target, page, now)
    found |= await hear_confirmed(sync.esp, sync.name, db, since)
    if lag := sync.esp.tally.lag:
        log.warning("clock_ahead", of=sync.job.target.esp, minutes=lag // timedelta(minutes=1))
    await db.run(evaluation.mark_opt_outs, sync.name, now - lag)
    return found


@contextmanager
def _noted(report: Report, name: str) -> Iterator[None]:
    """Let trouble with a store or an ESP become a line of the report: the rest of the run goes on."""
    try:
        yield
    except ConnectorError as error:
        _note(report, name, error)


def _note(report: Report, name: str, error: ConnectorError, *, alone: bool = False) -> None:
    """Take trouble down; with `alone` it is that of an ESP which other syncs write to, and leave alone if need be."""
    log.error("remote_failed", reason=str(error))
    report.errors.append(str(error))
    if not alone:
        pause = error.retry_after if isinstance(error, Retryable) else None
        report.failures[name] = Failure(str(error), isinstance(error, Refused), pause)


async def _account(sync: Sync, db: Database, report: Report, before: Mapping[str, Counter[str]]) -> None:
    """Fill in what is known at the end only."""
    scopes = [sync.name, *(source.name for source in sync.sources)]
    report.dead_letters = await db.read(runs.count_dead_letters, scopes)
    report.requests = {name: dict(tally - before[name]) for name, tally in _tallies(sync).items()}
    esp = report.requests[sync.job.target.esp]
    report.writes = sum(count for method, count in esp.items() if method not in READS)
    report.outcome = _outcome(report)


def _outcome(report: Report) -> Outcome:
    if report.stopped:
        return Outcome.STOPPED
    if report.errors:
        return Outcome.FAILED
    if report.held:
        return Outcome.HELD
    if report.missing or report.resting:
        return Outcome.INCOMPLETE
    return Outcome.DEAD_LETTERS if report.dead_letters else Outcome.DONE


def _tallies(sync: Sync) -> dict[str, Counter[str]]:
    tallies = {source.name: Counter(source.store.tally) for source in sync.sources}
    return tallies | {sync.job.target.esp: Counter(sync.esp.tally)}
