"""`demo`: the main job with no account at all.

Real historic orders are served by a simulated store and land in a simulated ESP, over real HTTP on loopback,
by the very code that a real sync runs: only `base_url` differs.
"""

import asyncio
import importlib.metadata
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from config import logging
from state import evaluation, outbox
from sync.app import Cartwire
from sync.plant import read_plant
from sync.progress import progress
from sync.report import Outcome, Report
from sync.run import Order, run_sync
from sync.show import as_json, as_table, say
from sync.simulate import simulated_types, simulator_module

SYNC, STORE, ESP = "demo", "shop", "news"
OPTIONS = {"stores": "--store", "esps": "--esp"}
PAGE = 100
"""Rows that most vendors' APIs give at most in one answer; a bulk operation needs fewer requests still."""


@dataclass
class Summary:
    """What the demo did. `least` is the fewest requests that its reads and writes could have taken."""

    title: str
    orders: int
    profiles: int
    fields: list[str]
    lists: dict[str, int]
    first: Report
    second: Report
    least: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    megabytes: int = 0
    simulators_megabytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Make plain data of it, for JSON."""
        return {
            "title": self.title,
            "orders": self.orders,
            "profiles": self.profiles,
            "fields": self.fields,
            "lists": self.lists,
            "least_requests": self.least,
            "seconds": self.seconds,
            "megabytes": self.megabytes,
            "simulators_megabytes": self.simulators_megabytes,
            "first": self.first.as_dict(),
            "second": self.second.as_dict(),
        }


def run_demo(orders: int | None, store: str, esp: str, *, json: bool, verbose: bool) -> int:
    """Run the demo for one pair of types, or for `all` there are; return the worst exit code."""
    pairs = [(each, other) for each in _types("stores", store) for other in _types("esps", esp)]
    summaries = []
    for pair in pairs:
        summaries.append(_demonstrate(orders, *pair, json=json, verbose=verbose))
        if not json:
            _show(summaries[-1])
    if json:
        made = [summary.as_dict() for summary in summaries]
        as_json(made[0] if len(made) == 1 else made)
    return max(max(each.first.exit_code, each.second.exit_code) for each in summaries)


def _types(kind: str, type_: str) -> list[str]:
    """Name the types to show: the one asked for, or all that have a simulator. Raises ConfigError for another."""
    if type_ != "all":
        simulator_module(type_, [kind], ("demo", OPTIONS[kind]))
        return [type_]
    return simulated_types(kind)


def _demonstrate(orders: int | None, store: str, esp: str, *, json: bool, verbose: bool) -> Summary:
    """Run the main job in a folder of its own that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="cartwire-demo-") as temporary,
        _simulators(orders, store, esp) as (process, urls),
    ):
        folder = Path(temporary)
        write_configuration(folder, (store, urls[0]), (esp, urls[1]))
        plant = read_plant(folder, {})
        logging.configure(secrets=plant.loaded.secrets, json=False, level="info" if verbose else "warning")
        summary = asyncio.run(_work(Cartwire(plant), f"{store} to {esp}", json=json))
        summary.simulators_megabytes = _peak_of(process)
    summary.megabytes = _peak_megabytes(resource.RUSAGE_SELF)
    return summary


async def _work(cartwire: Cartwire, title: str, *, json: bool) -> Summary:
    async with cartwire:
        sync = cartwire.syncs[SYNC]
        with progress(shown=not json) as ticks:
            first = await run_sync(
                sync, cartwire.db, cartwire.folder, Order("backfill", history=True, ticks=ticks)
            )
        second = await run_sync(sync, cartwire.db, cartwire.folder, Order())
        lists = await cartwire.db.read(outbox.list_sizes, SYNC)
        profiles = await cartwire.db.read(evaluation.count_profiles, SYNC)
    traits = sync.esp.traits
    rows = first.stores[STORE].rows
    summary = Summary(
        title,
        first.stores[STORE].orders,
        profiles,
        [each.name for each in sync.job.mapping.fields],
        lists,
        first,
        second,
    )
    writes = ceil(profiles / traits.batch_size) + sum(
        ceil(n / traits.list_batch_size) for n in lists.values()
    )
    summary.least = {STORE: ceil(rows / PAGE), ESP: writes}
    summary.seconds = first.seconds + second.seconds
    return summary


def write_configuration(folder: Path, store: tuple[str, str], esp: tuple[str, str]) -> None:
    """Write what an owner would: (type, base_url) of the store and of the ESP, and the shipped preset."""
    stores, esps = (simulator_module(type_)[1].SETTINGS for type_ in (store[0], esp[0]))
    configuration = {
        "timezone": "UTC",
        "currency": "USD",
        "stores": {STORE: {"type": store[0], **stores, "base_url": store[1]}},
        "esps": {ESP: {"type": esp[0], **esps, "base_url": esp[1]}},
        # What would be held would be a simulated platform's: nobody is to be asked.
        "syncs": {SYNC: {"stores": [STORE], "esp": ESP, "mapping": "mappings/crm.yaml", "limits": "off"}},
    }
    (folder / "mappings").mkdir()
    YAML().dump(configuration, folder / "cartwire.yaml")
    YAML().dump({"extends": "preset:basics"}, folder / "mappings" / "crm.yaml")


@contextmanager
def _simulators(
    orders: int | None, store: str, esp: str
) -> Iterator[tuple[subprocess.Popen[str], Sequence[str]]]:
    """Start both simulators in a process of their own; yield it and their addresses."""
    most = [] if orders is None else [str(orders)]
    command = [sys.executable, "-m", "sync.simulate", store, esp, *most]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            yield process, [_address(process) for _ in (store, esp)]
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith("http"):
        raise ChildProcessError("a simulator did not start; run `cartwire simulate TYPE` to see why")
    return line.strip()


def _peak_of(process: subprocess.Popen[str]) -> int:
    """Read the peak memory of a process that runs; what is told after its end counts ours, as it was forked."""
    told = Path(f"/proc/{process.pid}/status")
    if not told.exists():
        return _peak_megabytes(resource.RUSAGE_CHILDREN)
    (peak,) = (line.split()[1] for line in told.read_text("ascii", "replace").splitlines() if "VmHWM" in line)
    return int(peak) // 1024


def _peak_megabytes(whose: int) -> int:
    unit = 1024 if sys.platform != "darwin" else 1
    return resource.getrusage(whose).ru_maxrss * unit // 2**20


def _show(summary: Summary) -> None:
    version = importlib.metadata.version("cartwire")
    as_table(f"Cartwire {version}: CDNOW, real orders, {summary.title}", (), _figures(summary))
    if summary.second.outcome is Outcome.DONE and not summary.second.writes:
        say("A second sync found nothing changed and made no write request.")


def _figures(summary: Summary) -> Iterator[tuple[str, str]]:
    yield "orders read", f"{summary.orders:,}"
    yield "profiles", f"{summary.profiles:,}"
    yield "fields pushed", ", ".join(summary.fields)
    for name, members in summary.lists.items():
        yield f"list {name}", f"{members:,}"
    for name, least in summary.least.items():
        made = sum(count for method, count in summary.first.requests[name].items() if method != "retry")
        yield f"requests to {name}", f"{made:,} (the least possible: {min(made, least):,})"
    yield "the same in per-order automation tasks", f"{summary.orders:,} at one task an order"
    yield "seconds", f"{summary.seconds:.1f}"
    memory = f"{summary.megabytes} MB, and the simulators' {summary.simulators_megabytes} MB"
    yield "memory at its peak", memory
