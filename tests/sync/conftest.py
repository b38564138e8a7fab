"""A small world: a simulated shop, a simulated audience, and a folder as an owner would write it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import respx
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from connectors.esps.mailchimp import simulator as mailchimp
from connectors.simulation import HistoricOrder, Simulation
from connectors.stores.woocommerce import simulator as woocommerce
from state import db, sqlite
from sync.app import Cartwire
from sync.plant import Plant, read_plant
from sync.report import Report
from sync.run import Order, run_sync
from tests.edge import edge
from tests.sync.servers import serve

SHOP, NEWS = "http://shop.test", "http://news.test"
UNLIMITED = "    limits: off\n"
FIRST = datetime(2026, 1, 1, 9, tzinfo=UTC)

CONFIGURATION = """
timezone: {timezone}
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
"""
MAPPING = """
fields:
  FNAME: first_name
  ORDERS: orders_count
  SPENT: total_spent
  LASTORD: {value: last_order_at, type: date}
lists:
  Customers: orders_count >= 1
  Loyal: orders_count >= 2
"""


def order(number: int, email: str, total: str = "10.00", **changes: Any) -> HistoricOrder:
    """Make a paid order of a guest."""
    known = {
        "id": number,
        "email": email,
        "first_name": "Ada",
        "last_name": "Lovelace",
        "account": None,
        "created_at": FIRST + timedelta(minutes=number),
        "total": total,
        "currency": "EUR",
        "status": "paid",
        "category": "Tea",
        "quantity": 1,
    }
    return HistoricOrder(**known | changes)


HISTORY = [order(number, f"person{number % 7}@example.com") for number in range(1, 31)]


@dataclass
class World:
    """The shop, the audience, and Cartwire between them."""

    folder: Path
    shop: Simulation
    news: Simulation
    router: respx.MockRouter
    reports: list[Report] = field(default_factory=list)

    @cached_property
    def plant(self) -> Plant:
        """What stands in the folder, read when it is first needed."""
        return read_plant(self.folder, {})

    def configure(
        self, mapping: str = MAPPING, extra: str = UNLIMITED, timezone: str = "Europe/Paris"
    ) -> None:
        """Write the folder; `extra` are more of the sync's keys."""
        (self.folder / "mappings").mkdir(exist_ok=True)
        (self.folder / "mappings" / "crm.yaml").write_text(mapping, encoding="utf-8")
        text = CONFIGURATION.format(
            **woocommerce.SETTINGS, **mailchimp.SETTINGS, shop=SHOP, news=NEWS, timezone=timezone
        )
        (self.folder / "cartwire.yaml").write_text(text + extra, encoding="utf-8")
        self.reread()

    def reread(self) -> None:
        """Take over what stands in the folder by now."""
        vars(self).pop("plant", None)

    def add_store(self, name: str, history: list[HistoricOrder]) -> Simulation:
        """Give the sync another store, and a schedule."""
        self.configure(extra=f"{UNLIMITED}    schedule: every 30 minutes\n")
        shop = woocommerce.simulator(history)
        self.router.route(host=f"{name}.test").mock(side_effect=edge(shop))
        file = self.folder / "cartwire.yaml"
        text = file.read_text(encoding="utf-8").replace("stores: [shop]", f"stores: [shop, {name}]")
        start, end = text.index("  shop:"), text.index("esps:")
        more = text[start:end].replace("shop", name)
        file.write_text(text[:end] + more + text[end:], encoding="utf-8")
        self.reread()
        return shop

    def open(self) -> Cartwire:
        """Open what is configured."""
        return Cartwire(self.plant)

    async def run(self, **wanted: Any) -> Report:
        """Run the sync once, as a command would."""
        async with self.open() as cartwire:
            sync = cartwire.syncs["crm"]
            report = await run_sync(sync, cartwire.db, self.folder, Order(**wanted))
        self.reports.append(report)
        return report

    async def backfill(self) -> Report:
        """Read the whole history and push."""
        return await self.run(kind="backfill", history=True)

    @property
    def contacts(self) -> dict[str, tuple[dict[str, Any], set[str], str]]:
        """Address -> (the mapping's fields, lists, status), as the audience has them."""
        names = ("FNAME", "ORDERS", "SPENT", "LASTORD")
        return {
            email: (
                {name: contact.fields.get(name) for name in names if contact.fields.get(name, "") != ""},
                set(contact.tags),
                contact.status,
            )
            for email, contact in self.news.state.contacts.items()
        }

    def empty_audience(self) -> None:
        """Begin with an audience that has nobody."""
        self.news = mailchimp.simulator(batch_seconds=0)
        self.router.route(host="news.test").mock(side_effect=edge(self.news))

    def forget_requests(self) -> None:
        """Begin to count requests anew."""
        self.shop.requests.clear()
        self.news.requests.clear()


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes | None:
    """Make an empty state store once, if it is a file."""
    if request.config.getoption("--postgresql"):
        return None
    file = tmp_path_factory.mktemp("migrated") / "state.db"
    db.Database(f"sqlite:///{file}").close()
    return file.read_bytes()


@pytest.fixture(autouse=True)
def _migrated_once(migrated: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin every state store as a copy: what migrations do is tested in tests/state."""
    opened = db._engine

    def copied(url: str) -> Engine:
        parsed = make_url(url)
        file = Path(parsed.database or "")
        if migrated and parsed.get_backend_name() == "sqlite" and file.parent.is_dir() and not file.exists():
            file.write_bytes(migrated)
        return opened(url)

    monkeypatch.setattr(db, "_engine", copied)


class AtOnce(Executor):
    """Does what it is given before it returns."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **options))
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            done.set_exception(error)
        return done


@pytest.fixture(autouse=True)
def _cheap_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand no transaction to a thread, and do not wait for the disk: a small one takes less time than either.

    What both are good for is tested in tests/state, and here by commands in processes of their own.
    """
    monkeypatch.setattr(db, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(sqlite, "PRAGMAS", ("journal_mode=WAL", "synchronous=OFF"))


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as mocked:
        yield mocked


@pytest.fixture
def world(tmp_path: Path, router: respx.MockRouter, pauses: list[float]) -> World:
    return make_world(tmp_path, router)


def make_world(folder: Path, router: respx.MockRouter, history: Sequence[HistoricOrder] = HISTORY) -> World:
    """Make a shop with this history, an audience with nobody, and a folder that is configured."""
    shop = woocommerce.simulator(history)
    router.route(host="shop.test").mock(side_effect=edge(shop))
    made = World(folder, shop, mailchimp.simulator(batch_seconds=0), router)
    made.empty_audience()
    made.configure()
    return made


@pytest.fixture
def servers(world: World, migrated: bytes | None) -> Iterator[World]:
    """Put the world on real sockets, for commands in processes of their own, whose state store is a file."""
    if migrated is None:
        pytest.skip("about SQLite's files")
    (world.folder / "state.db").write_bytes(migrated)
    with serve(woocommerce.simulator(HISTORY)) as shop, serve(mailchimp.simulator(batch_seconds=0)) as news:
        world.shop, world.news = shop.app, news.app
        file = world.folder / "cartwire.yaml"
        file.write_text(file.read_text().replace(SHOP, shop.url).replace(NEWS, news.url))
        yield world
