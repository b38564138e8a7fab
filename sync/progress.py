"""How a run looks on a terminal: bars while it goes, a summary at its end."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sync.job import Silent, Ticks
from sync.report import HeldPlan, Outcome, Report
from sync.show import as_json, as_table, say


class Bars:
    """A bar for each store, one for the ESP."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def pulled(self, store: str, done: int, expected: int) -> None:
        """Show rows read of those that the store has."""
        self._show(f"reading {store}", done, expected)

    def pushed(self, done: int, expected: int) -> None:
        """Show contacts and list entries taken of those that wait."""
        self._show("pushing", done, expected)

    def _show(self, name: str, done: int, expected: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=None)
        self._bars.update(self._tasks[name], completed=done, total=max(done, expected))


@contextmanager
def progress(*, shown: bool) -> Iterator[Ticks]:
    """Show bars on standard error while a run goes, where that is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield Silent()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield Bars(bars)


WORDS = {
    Outcome.DONE: "done",
    Outcome.INCOMPLETE: "incomplete: {missing} rows that the store says it has did not come; run it again",
    Outcome.DEAD_LETTERS: "done, with {letters} dead letters: see `cartwire dead-letters`",
    Outcome.HELD: "held before the first write: nothing was changed at the ESP, and nothing will be until you say so\n"
    "look closer: cartwire plan {sync}\nlet it go:   {approve}",
    Outcome.FAILED: "stopped; nothing is lost, the next run goes on here",
    Outcome.STOPPED: "stopped as it was told; nothing is lost, the next run goes on here",
}


def verdict(report: Report) -> Sequence[str]:
    """Say how a run ended, and what to do about it, in a line or more."""
    said = WORDS[report.outcome].format(
        missing=report.missing,
        letters=report.dead_letters,
        sync=report.sync,
        approve=report.approve_command,
    )
    return said.split("\n")


def show_report(report: Report, *, json: bool) -> None:
    """Print a run's report."""
    if json:
        as_json(report.as_dict())
        return
    as_table(f"{report.kind} {report.sync}", (), _figures(report))
    if report.plan is not None:
        _show_plan(report.plan)
    say(*report.errors, *report.held, err=True)
    say(*verdict(report))
    if report.outcome is Outcome.DONE and not report.writes:
        say("nothing had changed: no write request was made")


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    for name, pulled in report.stores.items():
        bad = f", {pulled.bad} unreadable" if pulled.bad else ""
        yield f"read from {name}", f"{pulled.rows} rows, {pulled.changed} new or changed{bad}"
        for resource, reason in pulled.refused.items():
            yield f"not read from {name}: {resource}", reason
    yield "profiles computed, compared", f"{report.profiles}, {report.compared}"
    pushed = report.pushed
    refused = f", {pushed.refused} refused" if pushed.refused else ""
    yield "pushed", f"{pushed.contacts} contacts, {pushed.entries} list entries{refused}"
    for name, counts in report.requests.items():
        yield f"requests to {name}", ", ".join(f"{n} {method}" for method, n in counts.items()) or "none"
    yield "seconds", f"{report.seconds:.1f}"


def _show_plan(plan: HeldPlan) -> None:
    lists = [(f"list {name}", f"{each.joins} join, {each.leaves} leave") for name, each in plan.lists.items()]
    contacts = ("contacts to write", f"{plan.contacts}, {plan.created} of them new")
    as_table("what it would do", ["", "how many"], [contacts, *lists])
