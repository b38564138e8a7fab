"""`/metrics`: what an on-call person wants to know, in Prometheus' words.

Labels are the owner's names of stores, ESPs and syncs, and words of our own: never a person, an address or a
secret (P8).
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from connectors.base import Tally
from state import audits, cursors, inbox, outbox, runs
from state.db import Database
from state.inbox import Depth
from sync.web.door import Door
from sync.web.ledger import Ledger
from sync.web.runner import Runner, parts_of

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

FRESH = 1.0
"""Seconds for which what was read of the state store stands."""

Numbers = Mapping[Any, float]
"""Values of labels, as a tuple, to a number."""


@dataclass
class Stored:
    """What only the state store knows."""

    dead_letters: Mapping[str, int] = field(default_factory=dict)
    read_at: Mapping[str, datetime] = field(default_factory=dict)
    depths: Sequence[Depth] = ()
    outbox: Mapping[tuple[str, str], int] = field(default_factory=dict)
    drift: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Metrics:
    """Gathers the numbers when it is asked for them."""

    def __init__(self, runner: Runner, door: Door, ledger: Ledger) -> None:
        self._runner = runner
        self._ledger = ledger
        self._numbers = _Numbers(runner, door, ledger)
        self._registry = CollectorRegistry()
        self._registry.register(self._numbers)
        ProcessCollector(registry=self._registry)
        self._turn = asyncio.Lock()
        self._read_at = float("-inf")

    async def text(self, now: datetime) -> bytes:
        """Write all numbers in the text format. Raises StateError when the state store cannot be read."""
        async with self._turn:
            if time.monotonic() - self._read_at > FRESH:
                db = self._runner.cartwire.db
                await self._ledger.catch_up(db)
                self._numbers.stored = await _read(self._runner, db)
                self._read_at = time.monotonic()
            self._numbers.now = now
            return generate_latest(self._registry)


async def _read(runner: Runner, db: Database) -> Stored:
    cartwire = runner.cartwire
    scopes = [*cartwire.stores, *cartwire.syncs]
    waiting = {name: await db.read(outbox.pending, name) for name in cartwire.syncs}
    audited = (await db.read(audits.last_audits)).items()
    return Stored(
        dead_letters={scope: await db.read(runs.count_dead_letters, [scope]) for scope in scopes},
        read_at=await db.read(cursors.read_until, list(cartwire.stores)),
        depths=await db.read(inbox.depths),
        outbox={(name, "contacts"): each.contacts for name, each in waiting.items()}
        | {(name, "entries"): sum(each.lists.values()) for name, each in waiting.items()},
        drift={(name, "people"): each.people for name, each in audited if name in cartwire.syncs}
        | {(name, "orders"): each.orders for name, each in audited if name in cartwire.syncs},
    )


class _Numbers(Collector):
    """Turns what is known into metrics; each is named and explained here and nowhere else."""

    def __init__(self, runner: Runner, door: Door, ledger: Ledger) -> None:
        self.stored = Stored()
        self.now: datetime | None = None
        self._runner, self._door, self._ledger = runner, door, ledger

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._work_done()
        yield from self._work_left()
        yield from self._times()

    def _work_done(self) -> Iterator[Metric]:
        ledger = self._ledger
        yield _counter("runs", "Runs that ended.", ("sync", "kind", "outcome"), ledger.runs)
        yield _counter("records_pulled", "Rows read from a store.", ("store",), _single(ledger.pulled))
        yield _counter("webhooks_read", "Webhooks turned into facts.", ("store",), _single(ledger.told))
        yield _counter(
            "records_pushed",
            "Contacts and list entries taken or refused by an ESP.",
            ("sync", "what"),
            ledger.pushed,
        )
        yield _counter(
            "webhooks", "Webhooks that came, by what became of them.", ("store", "outcome"), self._door.counts
        )
        yield _counter(
            "requests",
            "Requests to stores and ESPs, by how they ended.",
            ("system", "outcome"),
            self._requests(),
        )

    def _work_left(self) -> Iterator[Metric]:
        stored = self.stored
        letters = _single(stored.dead_letters)
        yield _gauge("dead_letters", "Records that could not go through.", ("scope",), letters)
        yield _gauge(
            "outbox", "Contacts and list entries that wait for an ESP.", ("sync", "what"), stored.outbox
        )
        depths = dict.fromkeys(self._runner.cartwire.stores, 0) | {
            each.store: each.count for each in stored.depths
        }
        yield _gauge("inbox", "Webhooks that wait to be read.", ("store",), _single(depths))
        words = "People and orders that the last audit found to have drifted."
        yield _gauge("drift", words, ("sync", "what"), stored.drift)

    def _times(self) -> Iterator[Metric]:
        now = self.now
        if now is None:
            return
        lags = {(store,): (now - at).total_seconds() for store, at in self.stored.read_at.items()}
        yield _gauge("store_lag_seconds", "Time since a store was last read to its end.", ("store",), lags)
        facts = self._runner.facts
        nexts = {
            (sync,): max(0.0, (known.next_at - now).total_seconds())
            for sync, known in facts.items()
            if known.next_at
        }
        yield _gauge("next_run_seconds", "Time to a sync's next run.", ("sync",), nexts)
        goods = {(sync,): known.good_at.timestamp() for sync, known in facts.items() if known.good_at}
        yield _gauge("last_good_run_timestamp_seconds", "When a run last came to its end.", ("sync",), goods)
        resting = {
            (each.name, each.kind): 1.0
            for sync in self._runner.cartwire.syncs
            for each in self._runner.troubles.of(parts_of(self._runner, sync))
        }
        yield _gauge("trouble", "What does not go as it should.", ("name", "kind"), resting)

    def _requests(self) -> dict[tuple[str, str], int]:
        cartwire = self._runner.cartwire
        tallies = {name: store.tally for name, store in cartwire.stores.items()}
        tallies |= {name: esp.tally for name, esp in cartwire.esps.items()}
        return {
            (name, outcome): count
            for name, tally in tallies.items()
            if isinstance(tally, Tally)
            for outcome, count in tally.outcomes.items()
        }


def _single(numbers: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): number for name, number in numbers.items()}


def _counter(name: str, help_: str, labels: Sequence[str], numbers: Numbers) -> Metric:
    family = CounterMetricFamily(f"cartwire_{name}", help_, labels=labels)
    for values, number in sorted(numbers.items()):
        family.add_metric(values, number)
    return family


def _gauge(name: str, help_: str, labels: Sequence[str], numbers: Numbers) -> Metric:
    family = GaugeMetricFamily(f"cartwire_{name}", help_, labels=labels)
    for values, number in sorted(numbers.items()):
        family.add_metric(values, number)
    return family
