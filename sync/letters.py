"""`dead-letters`: what could not go through, and trying it again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import structlog

from connectors.base import DELIVERY, REQUEST, Page
from connectors.errors import ConnectorError
from state import cursors, runs, settling
from state.errors import StateError
from state.runs import DeadLetter
from sync.app import Cartwire
from sync.leases import PATIENCE
from sync.progress import verdict
from sync.report import Outcome, Report
from sync.run import Order, run_sync
from sync.show import as_json, as_table, say
from sync.terminal import REMOTE

log = structlog.get_logger()


OWNERS = frozenset({REQUEST, DELIVERY})
"""Kinds of records that no store can be asked about again: they wait until their owner says that they are done."""


async def letters_of(cartwire: Cartwire) -> list[DeadLetter]:
    """Return every dead letter, of stores and of syncs."""
    return await cartwire.db.read(runs.list_dead_letters, [*cartwire.stores, *cartwire.syncs])


@dataclass(slots=True)
class Retried:
    """What came of trying again: stores that could not be asked, with the reasons, and the runs."""

    failed: dict[str, str] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)

    @property
    def troubled(self) -> list[Report]:
        """The runs that something kept from trying everything; what was refused again is left as letters."""
        fine = {Outcome.DONE, Outcome.DEAD_LETTERS}
        return [report for report in self.reports if report.outcome not in fine]

    @property
    def exit_code(self) -> int:
        return REMOTE if self.failed else max((report.exit_code for report in self.troubled), default=0)


async def retry_all(cartwire: Cartwire) -> Retried:
    """Read unreadable records again, and push again what was refused; what fails once more stays.

    So does what only the owner can do. A store that cannot be asked keeps nothing else from being tried.
    """
    done = Retried()
    await _reread(cartwire, done)
    for name, sync in cartwire.syncs.items():
        retried = await cartwire.db.run(settling.retry, name)
        report = await run_sync(sync, cartwire.db, cartwire.folder, Order(kind="retry", patience=PATIENCE))
        if report.reached:
            await cartwire.db.run(settling.drop_landed, name, retried)
        done.reports.append(report)
    return done


async def mark_done(cartwire: Cartwire, records: Sequence[str]) -> None:
    """Drop letters that wait for their owner, named by their record, or by store and record where several have it.

    Raises StateError for any other, and drops none then.
    """
    there = await letters_of(cartwire)
    found = [_named(record, there) for record in records]
    for letter in found:
        await cartwire.db.run(runs.unbury, letter.scope, [letter.record])


def _named(record: str, there: Sequence[DeadLetter]) -> DeadLetter:
    """Find the letter that the owner means. Raises StateError."""
    found = [each for each in there if record in {each.record, f"{each.scope} {each.record}"}]
    if not found:
        hint = "write the record as `cartwire dead-letters` lists it, in quotes"
        raise StateError(f"dead-letters --done: there is no dead letter {record!r}; {hint}")
    if len(found) > 1:
        hint = f'write its store before it: "{found[0].scope} {found[0].record}"'
        raise StateError(f"dead-letters --done: {len(found)} have a dead letter {record!r}; {hint}")
    if not _is_owners(found[0]):
        hint = "mend what its reason says, and it goes with `cartwire dead-letters --retry`"
        what = "is neither a request to you nor a webhook that cannot be read"
        raise StateError(f"dead-letters --done: {record!r} {what}; {hint}")
    return found[0]


def _is_owners(letter: DeadLetter) -> bool:
    return letter.record.partition(" ")[0] in OWNERS


async def _reread(cartwire: Cartwire, done: Retried) -> None:
    records: defaultdict[str, list[str]] = defaultdict(list)
    for letter in await letters_of(cartwire):
        if letter.scope in cartwire.stores and not _is_owners(letter):
            records[letter.scope].append(letter.record)
    for store, wanted in records.items():
        old = await cartwire.db.read(cursors.old_letters, store)
        parts = ([each for each in wanted if each in old], [each for each in wanted if each not in old])
        try:
            for part, is_history in zip(parts, (True, False), strict=True):
                page = await cartwire.stores[store].reread(part) if part else Page([], "")
                await cartwire.db.run(
                    cursors.save_reread, store, part, page, datetime.now(UTC), history=is_history
                )
        except ConnectorError as error:
            log.error("remote_failed", store=store, reason=str(error))  # noqa: TRY400 - a traceback holds payloads
            done.failed[store] = str(error)


def show_retried(done: Retried) -> None:
    """Say what kept anything from being tried; the letters that are left say the rest."""
    for store, reason in done.failed.items():
        say(f"stores.{store}: {reason}", err=True)
    for report in done.troubled:
        for line in (*report.errors, *report.held, *verdict(report)):
            say(f"syncs.{report.sync}: {line}", err=True)


def show_letters(letters: list[DeadLetter], *, json: bool) -> None:
    if json:
        as_json([asdict(letter) for letter in letters])
        return
    rows = [(each.scope, each.record, each.reason, each.first_at, each.times) for each in letters]
    as_table("dead letters", ["of", "record", "reason", "since (UTC)", "times"], rows)
