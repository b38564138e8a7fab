"""What Cartwire costs, beside the bare cost of the same work in the same run; one table at the end.

    python -m bench.measure [--orders 5000 50000] [--only backfill …] [--json FILE]

Everything runs over servers on loopback that are faster than any client, each piece of work in a process of its
own. A figure is a ratio where there is something to compare with. Exits 1 when one misses what it must reach.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from bench.meter import Cost, Figures
from connectors.esps.mailchimp import simulator as mailchimp
from connectors.stores.woocommerce import simulator as woocommerce

ROOT = Path(__file__).parents[1]
STARTS = 5
UNCACHED = "PYTHONDONTWRITEBYTECODE"
"""With it every start compiles our code anew, which no installation does."""
REPEATS = 3
REPEATED = 50_000
"""Orders up to which a first sync is measured so often: the least of each counts, others disturbed the rest."""
FAULTY = {"faults": 7}
SLOW: Mapping[str, Mapping[str, Any]] = {
    "shop": {"latency": (0.3, 0.3)},
    "news": {"latency": (0.25, 0.45), "empty": True},
}
CHANGES = (0, 100, 1_000)
CONFIGURATION = """
timezone: Europe/Paris
currency: EUR
stores:
  shop:
    type: woocommerce
    url: http://shop.example
    key: {key}
    secret: {secret}
    base_url: {shop}
esps:
  news:
    type: mailchimp
    api_key: {api_key}
    audience: {audience}
    base_url: {news}
syncs:
  crm:
    stores: [shop]
    esp: news
    mapping: mappings/crm.yaml
    limits: off
"""
MAPPING = "extends: preset:basics\n"


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a figure may be, and should; `at` is the number of orders that this is said of, None for any."""

    least: float
    aim: float
    at: int | None = None

    def verdict(self, value: float) -> str:
        if value <= self.aim:
            return "aim"
        return "ok" if value <= self.least else "miss"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure; `bare` is what it is compared with."""

    name: str
    orders: int
    figure: float
    unit: str
    bare: float | None = None
    limit: Limit | None = None

    @property
    def value(self) -> float:
        """Return what is judged: the ratio where there is one."""
        return self.figure / self.bare if self.bare else self.figure

    @property
    def verdict(self) -> str:
        return self.limit.verdict(self.value) if self.limit else ""


@dataclass(frozen=True)
class Server:
    """One of the two servers, from outside."""

    url: str

    def begin(self, **wishes: Any) -> None:
        """Begin a measurement."""
        httpx.put(f"{self.url}/bench", json=wishes).raise_for_status()

    @property
    def counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = httpx.get(f"{self.url}/bench").json()
        return counts


@dataclass
class World:
    """Servers with so many orders, a folder to work in, and what was measured before of the same size."""

    orders: int
    shop: Server
    news: Server
    folder: Path
    lines: list[Line] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)

    def say(self, name: str, figure: float, unit: str = "", bare: float | None = None) -> None:
        """Add a line; LIMITS says what it must reach."""
        limit = LIMITS.get(name)
        judged = limit if limit and limit.at in {None, self.orders} else None
        self.lines.append(Line(name, self.orders, figure, unit, bare, judged))
        print(f"  {name}: {figure:.4g} {unit}", file=sys.stderr, flush=True)

    def compare(self, name: str, cost: Cost, bare: Cost) -> None:
        self.say(f"{name}, wall", cost.wall, "s", bare.wall)
        self.say(f"{name}, CPU", cost.cpu, "s", bare.cpu)

    def begin(self, *, shop: Mapping[str, Any] | None = None, news: Mapping[str, Any] | None = None) -> None:
        self.shop.begin(**(shop or {}))
        self.news.begin(**(news or {"empty": True}))

    def fresh(self, name: str) -> Path:
        """Make a folder as an owner would, with nothing stored."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "mappings").mkdir(parents=True)
        (folder / "mappings" / "crm.yaml").write_text(MAPPING)
        settings = {
            **woocommerce.SETTINGS,
            **mailchimp.SETTINGS,
            "shop": self.shop.url,
            "news": self.news.url,
        }
        (folder / "cartwire.yaml").write_text(CONFIGURATION.format(**settings))
        return folder

    def copied(self, name: str) -> Path:
        """Make a folder with the state that the first sync left."""
        folder = self.fresh(name)
        shutil.copy(self.backfilled / "state.db", folder)
        return folder

    @property
    def backfilled(self) -> Path:
        return self.folder / "backfilled"

    def bare(self) -> Figures:
        """Do the bare work, from nothing."""
        folder = self.fresh("bare")
        return figures("bench.bare", folder, self.shop.url, self.news.url)

    def first_sync(self) -> Figures:
        """Sync for the first time, once: other measurements go on from there."""
        if "first" not in self.known:
            self.begin()
            self.known["first"] = figures("bench.job", self.fresh("backfilled"), "sync")
            self.known["requests"] = (self.shop.counts, self.news.counts)
        found: Figures = self.known["first"]
        return found


def figures(module: str, *arguments: object) -> Figures:
    """Run a piece of work in a process of its own; raise when it did not come to its end."""
    told = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode:
        raise SystemExit(told.stderr)
    found = msgspec.json.decode(told.stdout, type=Figures)
    if found.outcome != "done":
        raise SystemExit(f"{module} {arguments}: {found.outcome}\n{told.stderr}")
    return found


def least(work: Callable[[], Figures]) -> Figures:
    """Do it a few times; return the one that took the least CPU: others disturbed the rest."""
    return min((work() for _ in range(REPEATS)), key=lambda each: each.whole.cpu)


def backfill(world: World) -> None:
    """Measure the first sync from end to end, and its requests and memory; a large one once, others in turns."""
    rounds = REPEATS if world.orders <= REPEATED else 1
    bares, firsts = [], []
    for _ in range(rounds):
        world.begin()
        bares.append(world.bare())
        world.known.pop("first", None)
        firsts.append(world.first_sync())
    bare, first = (min(each, key=lambda found: found.whole.cpu) for each in (bares, firsts))
    world.compare("backfill", first.whole, bare.whole)
    world.say("memory of a backfill", first.peak, "MB")
    shop, news = world.known["requests"]
    pages = sum(-(-rows // 100) for rows in (world.orders, world.orders // 5, 200))
    world.say("requests to the store", shop["requests"], bare=pages)
    world.say("requests to the ESP", news["requests"])


def stages(world: World) -> None:
    """Measure each stage of a first sync alone."""
    world.begin()
    bare = world.bare().costs
    world.begin()
    ours = figures("bench.job", world.fresh("stages"), "stages").costs
    for name, cost in ours.items():
        world.say(f"stage {name}, wall", cost.wall, "s", bare[name].wall if name in bare else None)
        world.say(f"stage {name}, CPU", cost.cpu, "s", bare[name].cpu if name in bare else None)


def incremental(world: World) -> None:
    """Measure runs after which so many orders have changed."""
    world.first_sync()
    for changes in CHANGES:
        found = least(partial(_changed, world, changes))
        world.known[f"changes {changes}"] = found.whole
        world.say(f"{changes} changes, wall", found.whole.wall, "s")
        world.say(f"{changes} changes, CPU", found.whole.cpu, "s")
        shop, news = world.shop.counts, world.news.counts
        world.say(f"{changes} changes, requests to the store", shop["requests"])
        world.say(f"{changes} changes, requests to the ESP", news.get("requests", 0))
        if changes:
            world.say(f"{changes} changes, bytes read", shop["bytes"], "B", shop["changed_bytes"])
    hundred, thousand = (world.known[f"changes {count}"].cpu for count in (100, 1_000))
    world.say("1,000 changes against 100, CPU", thousand, "s", hundred)


def _changed(world: World, changes: int) -> Figures:
    folder = world.copied("changed")
    world.begin(shop={"changes": changes}, news={"empty": False})
    return figures("bench.job", folder, "sync")


def latency(world: World) -> None:
    """Measure the first sync while store and ESP take their time."""
    world.begin(shop=SLOW["shop"], news=SLOW["news"])
    bare = world.bare()
    world.begin(shop=SLOW["shop"], news=SLOW["news"])
    ours = figures("bench.job", world.fresh("slow"), "sync")
    world.say("backfill with latency, wall", ours.whole.wall, "s", bare.whole.wall)


def faults(world: World) -> None:
    """Count the requests of a first sync in which one of ten goes wrong."""
    world.first_sync()
    world.begin(shop=FAULTY, news=FAULTY | {"empty": True})
    figures("bench.job", world.fresh("faulty"), "sync")
    clean_counts = world.known["requests"]
    for name, server, counts in zip(("store", "ESP"), (world.shop, world.news), clean_counts, strict=True):
        clean = counts["requests"]
        world.say(f"requests to the {name} with faults", server.counts["requests"], bare=clean)


def kills(world: World) -> None:
    """Kill a first sync twice, after a third and two thirds of its pages; count what all three lives ask for."""
    world.first_sync()
    clean = world.known["requests"][0]["requests"]
    world.begin()
    folder = world.fresh("killed")
    for part in (1, 2):
        _killed_after(world, folder, clean * part // 3)
    figures("bench.job", folder, "sync")
    world.say("store requests, killed twice", world.shop.counts["requests"], bare=clean)


def _killed_after(world: World, folder: Path, requests: int) -> None:
    command = [sys.executable, "-m", "bench.job", str(folder), "sync"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and world.shop.counts.get("requests", 0) < requests:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)


def start_up(world: World) -> None:
    """Measure how long the commands take that touch no network."""
    folder = str(world.fresh("start"))
    for name, command in (("--help", ["--help"]), ("check", ["--dir", folder, "check", "--offline"])):
        world.say(f"cartwire {name}", min(_started(command) for _ in range(STARTS)), "s")


def _started(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "sync.cli", *command],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != UNCACHED},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


MEASUREMENTS: Mapping[str, Callable[[World], None]] = {
    "backfill": backfill,
    "stages": stages,
    "incremental": incremental,
    "latency": latency,
    "faults": faults,
    "kills": kills,
    "start_up": start_up,
}
SMALLEST_ONLY = frozenset({"latency", "start_up"})
"""Measured at the first size only: waiting grows with the number of requests, and starting with nothing."""

LIMITS: Mapping[str, Limit] = {
    "backfill, wall": Limit(2.0, 1.4, at=50_000),
    "backfill, CPU": Limit(2.0, 1.4, at=50_000),
    "requests to the store": Limit(1.05, 1.01, at=50_000),
    "requests to the ESP": Limit(150, 110, at=50_000),
    "memory of a backfill": Limit(200, 130),
    "0 changes, requests to the ESP": Limit(0, 0),
    "100 changes, bytes read": Limit(2.0, 2.0),
    "1,000 changes against 100, CPU": Limit(12, 9),
    "backfill with latency, wall": Limit(1.2, 1.0),
    "requests to the store with faults": Limit(1.25, 1.12),
    "requests to the ESP with faults": Limit(1.25, 1.12),
    "store requests, killed twice": Limit(1.5, 1.1),
    "cartwire --help": Limit(0.3, 0.2),
    "cartwire check": Limit(0.8, 0.5),
}
"""What a figure must reach (a ratio, where there is a bare cost)."""

GROWTH: Mapping[str, Limit] = {
    "0 changes, CPU": Limit(1.3, 1.1),
    "100 changes, CPU": Limit(1.3, 1.1),
    "memory of a backfill": Limit(1.3, 1.2),
}
"""What figures of the largest size must reach against those of the smallest."""
TENFOLD = Limit(11, 8)
"""What a backfill's wall must reach against one of a tenth of the orders."""


def growth(lines: Sequence[Line], sizes: Sequence[int]) -> Iterator[Line]:
    """Compare the largest size with the smallest, and a backfill with one of a tenth of the orders."""
    found = {(line.name, line.orders): line for line in lines}
    pairs = [(name, max(sizes), min(sizes), limit) for name, limit in GROWTH.items()]
    pairs += [("backfill, wall", size, size // 10, TENFOLD) for size in sizes]
    for name, large, small, limit in pairs:
        if small < large and {(name, small), (name, large)} <= found.keys():
            line, bare = found[name, large], found[name, small].figure
            yield Line(f"{name}, against {small:,} orders", large, line.figure, line.unit, bare, limit)


@contextmanager
def servers(orders: int) -> Iterator[World]:
    """Start both servers in a process of their own, with rows written."""
    command = [sys.executable, "-m", "bench.servers", str(orders)]
    with (
        tempfile.TemporaryDirectory(prefix="cartwire-bench-") as folder,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        shop, news = process.stdout.readline().split()
        yield World(orders, Server(shop), Server(news), Path(folder))


def measure(sizes: Sequence[int], wanted: Sequence[str]) -> list[Line]:
    lines: list[Line] = []
    for size in sizes:
        with servers(size) as world:
            for name in wanted:
                if size == min(sizes) or name not in SMALLEST_ONLY:
                    print(f"{name}, {size:,} orders", file=sys.stderr, flush=True)
                    MEASUREMENTS[name](world)
            lines += world.lines
    return [*lines, *growth(lines, sizes)]


def show(lines: Sequence[Line]) -> None:
    table = Table(
        "orders", "figure", "measured", "bare", "ratio", "least", "aim", "", title="Cartwire, measured"
    )
    for line in lines:
        limits = [f"{line.limit.least:g}", f"{line.limit.aim:g}"] if line.limit else ["", ""]
        bare, ratio = (f"{line.bare:,.4g}", f"{line.value:.2f}") if line.bare else ("", "")
        measured = f"{line.figure:,.4g} {line.unit}".strip()
        table.add_row(f"{line.orders:,}", line.name, measured, bare, ratio, *limits, line.verdict)
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure Cartwire beside the bare cost of the same work.")
    parser.add_argument("--orders", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    lines = measure(wanted.orders, wanted.only)
    show(lines)
    if wanted.json:
        told = [msgspec.to_builtins(line) | {"value": line.value, "verdict": line.verdict} for line in lines]
        wanted.json.write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    return 1 if any(line.verdict == "miss" for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
