"""What runs have done since this process began: sums for `/metrics`, taken from the reports that runs leave."""

from collections import Counter
from typing import Any

from state import runs
from state.db import Database
from state.runs import Run

AT_ONCE = 500
"""Runs that are held in memory together."""


class Ledger:
    """Counts each run once, when it has ended; runs of other processes on this state store too."""

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, str, str]] = Counter()
        self.pulled: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.pushed: Counter[tuple[str, str]] = Counter()
        self._after: int | None = None
        self._open: set[int] = set()

    async def begin(self, db: Database) -> None:
        """Count from now on."""
        last = await db.read(runs.list_runs, most=1)
        self._after = last[0].id if last else 0

    async def catch_up(self, db: Database) -> None:
        """Count what has ended since the last time, which may be months ago."""
        wanted, is_last = sorted(self._open), False
        while not is_last:
            found = await db.read(runs.runs_since, self._after or 0, wanted, AT_ONCE)
            for run in found:
                self._take(run)
            is_last = len(found) < AT_ONCE
            wanted = [] if is_last else [number for number in wanted if number > found[-1].id]

    def _take(self, run: Run) -> None:
        self._after = max(self._after or 0, run.id)
        if run.outcome is None:
            self._open.add(run.id)
        else:
            self._open.discard(run.id)
            self._count(run, run.outcome)

    def _count(self, run: Run, outcome: str) -> None:
        self.runs[run.sync, run.kind, outcome] += 1
        report: dict[str, Any] = run.report
        for store, pulled in report.get("stores", {}).items():
            self.pulled[store] += pulled.get("rows", 0)
        for store, taken in report.get("inbox", {}).items():
            self.told[store] += taken.get("deliveries", 0)
        for what in ("contacts", "entries", "refused"):
            self.pushed[run.sync, what] += report.get("pushed", {}).get(what, 0)
