"""The soak: a worker for hours or days of simulated time, with every fault on, then compared with the oracle.

`bench/soak.py` runs it for 72 hours, `test_soak.py` for six. Everything is drawn from one seed.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import time_machine

from connectors import http
from connectors.esps.mailchimp import simulator as mailchimp
from connectors.simulation import Fault, Kind
from connectors.stores.woocommerce import simulator as woocommerce
from state import inbox, runs
from sync.app import Cartwire
from sync.plant import read_plant
from sync.run import Order, run_sync
from sync.upkeep import tidy_beside
from sync.web import door as doors
from sync.web.app import web_app
from sync.web.door import Door
from sync.web.ledger import Ledger
from sync.web.registration import register, watch_beside
from sync.worker import Worker
from tests.edge import edge
from tests.faults import Killed, Life, kill_at
from tests.sync.clocks import AllWait
from tests.sync.judges import judge
from tests.sync.shoplife import ShopLife, history

START = datetime(2026, 3, 27, 12, tzinfo=UTC)
"""A Friday; clocks in Paris are set forward on the Sunday."""
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BESIDE = 4
"""Who waits beside the followers: for files, for syncs that get nowhere, to clean, to look after webhooks."""
BURST = 5
"""How much happens at one moment, at most."""
PUBLIC = "https://cartwire.example"
SECRET = "hook-secret-0123"

NOISE: Mapping[Fault, float] = {
    Fault(status=429, headers={"retry-after": "7"}): 0.02,
    Fault(status=500): 0.02,
    Fault(Kind.AFTER, 500): 0.01,
    Fault(Kind.DROP): 0.01,
    Fault(Kind.TRUNCATE): 0.01,
}
DOWN, REVOKED = Fault(status=503), Fault(status=401)
SHORT = ((DOWN, 20 * MINUTE), (REVOKED, HOUR))
LONG = (*SHORT, (DOWN, 4 * HOUR), (DOWN, 50 * MINUTE), (DOWN, 11 * HOUR))
"""What befalls each side, some time."""

CONFIGURATION = f"""
timezone: Europe/Paris
currency: EUR
keep: {{runs: 1, webhooks: 1}}
web:
  public_url: {PUBLIC}
stores:
  shop:
    type: woocommerce
    url: {woocommerce.SETTINGS["url"]}
    key: {woocommerce.SETTINGS["key"]}
    secret: {woocommerce.SETTINGS["secret"]}
    webhook_secret: {SECRET}
    base_url: https://shop.test
esps:
  news:
    type: mailchimp
    api_key: {mailchimp.SETTINGS["api_key"]}
    audience: {mailchimp.SETTINGS["audience"]}
    base_url: https://news.test
syncs:
  crm:
    stores: [shop]
    esp: news
    mapping: mappings/crm.yaml
    limits: off
    schedule: every %d minutes
"""
MAPPING = """
fields:
  FNAME: first_name
  ORDERS: orders_count
  SPENT: total_spent
  LASTORD: {value: last_order_at, type: date}
  TOPCAT: preferred_category
lists:
  Customers: orders_count >= 1
  Big: total_spent >= 100
  Lost: checkout_id is not null
  Recent: orders_count >= 1 and last_order_at > hours_ago(12)
  Welcome: {when: orders_count >= 1, journey: true}
"""
MAPPINGS = (
    MAPPING,
    MAPPING.replace("  TOPCAT", "  ITEMS: items_bought\n  BASKET: average_basket\n  TOPCAT"),
    MAPPING.replace("  TOPCAT", "  ITEMS: items_bought\n  TOPCAT").replace("100", "150")
    + "  Loyal: orders_count >= 2\n  Refunded: refunded_orders >= 1\n",
)
JOURNEY = "Welcome"


@dataclass(frozen=True)
class Sizes:
    """How large a soak is: simulated hours, minutes between ticks, bursts of deeds in an hour, people."""

    hours: int
    every: int = 5
    bursts: float = 8.0
    people: int = 300


@dataclass(frozen=True)
class Spell:
    """A time in which a side answers with nothing but this fault."""

    start: datetime
    end: datetime
    fault: Fault


@dataclass(frozen=True)
class Sample:
    """What there was at an hour: orders at the shop, and what is kept (`memory` in MB)."""

    hour: int
    orders: int
    runs: int
    waiting: int
    state: float
    memory: float


@dataclass
class Told:
    """What a soak saw on its way, for its table and for its judges."""

    samples: list[Sample] = field(default_factory=list)
    deliveries: Counter[str] = field(default_factory=Counter)
    lives: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    requests: Counter[int] = field(default_factory=Counter)
    alerts: list[str] = field(default_factory=list)
    started: Counter[int] = field(default_factory=Counter)


class Soak:
    """A shop, an audience, the life between them, and a worker that is stopped and killed.

    `step` is called with the time whenever it has passed.
    """

    def __init__(self, folder: Path, sizes: Sizes, seed: int, step: Callable[[datetime], None]) -> None:
        self.folder, self.sizes = folder, sizes
        self.chance = random.Random(seed)
        self.clock = AllWait(START)
        self.end = START + sizes.hours * HOUR
        past = list(history(self.chance, START, sizes.people))
        self.shop = woocommerce.simulator(past, clock=self.clock.now, permission="read_write")
        self.news = mailchimp.simulator(batch_seconds=0, clock=self.clock.now, seed=seed)
        self.life = ShopLife.of(self.shop, self.news, self.chance)
        self.history = frozenset(self.life.buyers)
        self.told = Told()
        self._step = step
        self._app: Callable[[httpx.Request], Any] | None = None
        self._late: list[tuple[datetime, str, Mapping[str, str], bytes]] = []
        self._spells = [(side, self._spells_of()) for side in (self.shop, self.news)]
        self._deed_at = START + 5 * MINUTE
        self._sampled = -1
        self._mapping = 0
        self._watch_journeys()

    async def run(self) -> None:
        """Live through all of it, and then an hour in peace, so that pauses and slow rounds end."""
        self.write(MAPPINGS[0])
        async with Cartwire(self.plant) as cartwire:
            await run_sync(cartwire.syncs["crm"], cartwire.db, self.folder, Order(), self.clock.now)
            await register(cartwire, "shop")
        self.shop.state.webhooks.queue.clear()
        while self.clock.moment < self.end:
            length = self.chance.uniform(0.5, min(6.0, self.sizes.hours / 4)) * HOUR
            kill = self.chance.random() < 0.6
            await self.live(min(self.clock.moment + length, self.end), kill=kill)
            await self._be_down(self.clock.moment + self.chance.choice([0.0, 3.0, 20.0, 45.0]) * MINUTE)
        self.calm()
        await self.live(self.clock.moment + 70 * MINUTE, kill=False)

    def write(self, mapping: str) -> None:
        """Write the folder as its owner would."""
        (self.folder / "mappings").mkdir(exist_ok=True)
        (self.folder / "mappings" / "crm.yaml").write_text(mapping, encoding="utf-8")
        (self.folder / "cartwire.yaml").write_text(CONFIGURATION % self.sizes.every, encoding="utf-8")
        self.plant = read_plant(self.folder, {})

    def calm(self) -> None:
        """End whatever happens and goes wrong; what is still on its way arrives."""
        self.shop.chances = self.news.chances = {}
        self._spells, self._deed_at = [], datetime.max.replace(tzinfo=UTC)
        self._late = [(self.clock.moment, *rest) for _, *rest in self._late]

    # --- the process -----------------------------------------------------------------------------------

    async def live(self, until: datetime, *, kill: bool) -> None:
        """Let a worker live until a moment; then stop it, or kill it at one of its next steps."""
        with pytest.MonkeyPatch.context() as patches:
            life = kill_at(0, patches)
            async with Cartwire(self.plant) as cartwire:
                worker = Worker(cartwire, self.clock, tell=self._tell)
                working = asyncio.ensure_future(worker.work([self._serve, tidy_beside, watch_beside]))
                working.add_done_callback(lambda _: self.clock.stir())
                await self._drive(worker, working, until)
                if kill:
                    life.at = life.steps + self.chance.randint(1, 80)
                    await self._drive(worker, working, until + HOUR, life)
                await _end(worker, working, life)
                self._count_runs(worker)
        self.told.lives["killed" if life.killed else "stopped"] += 1

    async def _drive(
        self, worker: Worker, working: "asyncio.Future[None]", until: datetime, life: Life | None = None
    ) -> None:
        """Let time pass whenever the worker waits, until a moment or until it is killed."""

        def is_quiet(waiting: int) -> bool:
            return working.done() or waiting >= len(worker.followers) + BESIDE

        while self.clock.moment < until and not working.done() and not (life and life.killed):
            await self.clock.quiet(is_quiet)
            self.clock.jump(until)
            await self._pass(worker.cartwire)

    async def _be_down(self, until: datetime) -> None:
        """Let the shop go on while nobody takes its webhooks."""
        while self.clock.moment < until:
            self.clock.moment = min(until, self.clock.moment + MINUTE)
            await self._pass(None)

    async def _serve(self, worker: Worker) -> None:
        """Take webhooks, as the web server does, without a socket."""
        door, ledger = Door(worker, self.clock.now), Ledger()
        await ledger.begin(worker.cartwire.db)
        self._app = edge(web_app(worker, door, ledger, self.clock.now))
        door.ring("shop")
        try:
            await asyncio.Event().wait()
        finally:
            self._app = None
            door.close()

    async def _tell(self, title: str, text: str) -> None:
        self.told.alerts.append(f"{title}: {text}")

    def _count_runs(self, worker: Worker) -> None:
        for facts in worker.facts.values():
            self.told.runs.update(facts.runs)

    # --- the world -------------------------------------------------------------------------------------

    async def _pass(self, cartwire: Cartwire | None) -> None:
        """Let happen what is due by now."""
        now = self.clock.moment
        self._step(now)
        for side, spells in self._spells:
            faults = [spell.fault for spell in spells if spell.start <= now < spell.end]
            side.chances = {faults[0]: 1.0} if faults else dict(NOISE)
        while self._deed_at <= now:
            for _ in range(self.chance.randint(1, BURST)):
                self.life.happen()
            self._deed_at += self.chance.expovariate(self.sizes.bursts) * HOUR
        await woocommerce.deliver(self.shop, self._on_its_way)
        await self._arrive(now)
        self._change_mapping(now)
        if cartwire and (hour := int((now - START) / HOUR)) > self._sampled and now < self.end:
            await self._sample(cartwire, hour)

    async def _on_its_way(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Let what the shop sends arrive, or get lost, or come late, or often."""
        fate = self.chance.choices(["once", "lost", "late", "thrice"], [62, 10, 20, 8])[0]
        self.told.deliveries[fate] += 1
        if fate == "late":
            self._late.append((self.clock.moment + self.chance.uniform(1, 300) * MINUTE, url, headers, body))
        if fate in {"late", "lost"}:
            return 200
        if fate == "thrice":
            await self._post(url, headers, body)
            await self._post(url, headers, body)
        return await self._post(url, headers, body)

    async def _arrive(self, now: datetime) -> None:
        due = [each for each in self._late if each[0] <= now]
        self._late = [each for each in self._late if each[0] > now]
        self.chance.shuffle(due)
        for _, url, headers, body in due:
            await self._post(url, headers, body)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        return await self._ask(httpx.Request("POST", url, headers=dict(headers), content=body))

    async def _ask(self, request: httpx.Request) -> int:
        """Ask the worker something; 0 while there is none."""
        if self._app is None:
            return 0
        try:
            answer = await self._app(request)
        except Killed:
            return 0
        await asyncio.sleep(0)  # the door rings in the loop's next round
        await asyncio.sleep(0)
        return int(answer.status_code)

    def _change_mapping(self, now: datetime) -> None:
        wanted = min(len(MAPPINGS) - 1, int((now - START) / (self.end - START) * len(MAPPINGS)))
        if wanted != self._mapping:
            self._mapping = wanted
            self.write(MAPPINGS[wanted])

    def _spells_of(self) -> list[Spell]:
        """Draw when a side is down, or takes no key."""
        found = []
        for fault, length in LONG if self.sizes.hours > 24 else SHORT:
            start = START + self.chance.uniform(0.1, 0.8) * (self.end - START)
            found.append(Spell(start, start + length, fault))
        return found

    def _watch_journeys(self) -> None:
        """Count for each member how often the journey's tag was put on them anew."""
        audience = self.news.state
        change = audience.change_segment

        def watched(segment: Any, join: Sequence[str], leave: Sequence[str]) -> Any:
            before = set(segment.members)
            changed = change(segment, join, leave)
            if segment.name == JOURNEY:
                self.told.started.update(segment.members - before)
            return changed

        audience.change_segment = watched

    async def _sample(self, cartwire: Cartwire, hour: int) -> None:
        """Note how large everything is, and throw away what only the simulators keep."""
        self._sampled = hour
        await self._ask(httpx.Request("GET", f"{PUBLIC}/metrics"))
        for side in (self.shop, self.news):
            self.told.requests.update(seen.status for seen in side.requests)
            side.requests.clear()
        self.news.state.batches.found.clear()
        size = (self.folder / "state.db").stat().st_size / 1e6
        kept = len(await cartwire.db.read(runs.list_runs, most=100_000))
        waiting = sum(each.count for each in await cartwire.db.read(inbox.depths))
        self.told.samples.append(Sample(hour, len(self.shop.state.orders), kept, waiting, size, _memory()))


async def _end(worker: Worker, working: "asyncio.Future[None]", life: Life) -> None:
    """Wait for a worker that was told to stop; one that was killed does nothing more."""
    if life.killed:
        working.cancel()
    else:
        worker.stop()
    try:
        await working
    except (Killed, asyncio.CancelledError):
        if not life.killed:
            raise


def _memory() -> float:
    """Say how much memory this process has now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def staged() -> Iterator[Callable[[Soak], None]]:
    """Set the scene: no pause takes time, nobody has a network. What is handed out puts a soak on this stage."""
    hosts: dict[str, Callable[[httpx.Request], Any]] = {}

    async def handle(_transport: Any, request: httpx.Request) -> httpx.Response:
        answer: httpx.Response = await hosts[request.url.host](request)
        return answer

    async def instant(_seconds: float) -> None:
        """Wait for nothing: the clock stands still while somebody works."""

    def put(soak: Soak) -> None:
        hosts.update({"shop.test": edge(soak.shop), "news.test": edge(soak.news)})

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(http, "_sleep", instant)
        patches.setattr(doors, "TOGETHER", 0.0)
        patches.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
        yield put


async def soaked(folder: Path, sizes: Sizes, seed: int) -> tuple[Soak, list[str]]:
    """Run a soak to its end; return it with all that is wrong."""
    with staged() as put, time_machine.travel(START, tick=False) as time:
        soak = Soak(folder, sizes, seed, time.move_to)
        put(soak)
        await soak.run()
        return soak, [f"seed {seed}: {wrong}" for wrong in await judge(soak)]
