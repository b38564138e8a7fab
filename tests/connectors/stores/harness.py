"""One face for the simulators of all stores: what the contract does to a shop, in that shop's own ways.

`ROWS` has a row for each way of reading: a type, or a type whose history is read otherwise.
"""

import csv
import importlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import respx

from connectors.base import Page, Resource, Store
from connectors.errors import BadRecord
from connectors.facts import Checkout, Customer, Fact, Order, Product, Refund
from connectors.registry import store_types
from connectors.simulation import HistoricOrder, Receive, Scope, Send, Simulation
from tests.connectors.stores.shops import Clock, order
from tests.edge import edge

ZONE = "Asia/Kolkata"
"""Where shops are unless a test says otherwise: half an hour off, and never summer."""
JUNK = "ada@example.com"
"""What stands in a field that cannot be read; nobody may ever see it."""


@dataclass
class Book:
    """What the state store would know of a shop: the newest copy of each fact, and the letters."""

    facts: dict[tuple[type[Any], str], Any] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)
    cursors: dict[Resource, str] = field(default_factory=dict)

    def take(self, page: Page) -> None:
        for fact in page.facts:
            known = self.facts.get((type(fact), fact.id))
            if known is None or isinstance(fact, Refund) or known.updated_at <= fact.updated_at:
                self.facts[type(fact), fact.id] = fact
        self.bad += page.bad

    def of(self, kind: type[Any]) -> dict[str, Any]:
        """Return the facts of a kind by their ids."""
        return {number: fact for (of, number), fact in self.facts.items() if of is kind}

    @property
    def orders(self) -> dict[str, Order]:
        return self.of(Order)

    @property
    def numbers(self) -> list[int]:
        """List the orders by number."""
        return sorted(int(number) for number in self.orders)

    def email(self, number: str) -> str | None:
        """Say whose an order is: the account's current address, else the one it was placed with."""
        return self._owner(self.orders[number])

    def owner(self, checkout: str) -> str | None:
        """Say whose a checkout is."""
        return self._owner(self.of(Checkout)[checkout])

    def _owner(self, fact: Order | Checkout) -> str | None:
        account: Customer | None = self.of(Customer).get(fact.customer_id or "")
        return account.email if account and account.email else fact.email

    def refunded(self, number: str) -> int:
        """Add up what came back of an order, in minor units."""
        own = self.orders[number].refunds
        all_ = own if own is not None else list(self.of(Refund).values())
        return sum(refund.amount.minor for refund in all_ if refund.order_id == number)

    def categories(self, number: str) -> set[str]:
        """Name the categories of what was bought."""
        products: Mapping[str, Product] = self.of(Product)
        return {
            name for line in self.orders[number].lines for name in products[line.product_id or ""].categories
        }


class Harness:
    """A shop of one type behind its simulator, which takes part in what a test does to it.

    `page` is how many orders come at once here, `least` says how many requests a history of so many orders
    costs at most, `quiet` how many a reading of changes costs when there are none.
    """

    type_: ClassVar[str]
    page = 100
    quiet: ClassVar[int]
    has_accounts = True
    has_tests = False
    has_checkouts = True
    by_wall_clock = False
    """Moments come as the shop's clock shows them, so that an hour of autumn means two."""
    wrong: ClassVar[Mapping[str, str]]
    """A setting that no shop would accept."""
    patches: ClassVar[Mapping[str, Any]] = {}
    """Sizes that are made small, so that few rows fill pages."""

    def __init__(self, folder: Path, clock: Clock, *, careful: bool = False) -> None:
        self.folder = folder
        self.careful = careful
        self.clock = clock
        self.meddle: Callable[[int], None] = lambda _: None
        self.requests = 0
        self.simulation: Any = None
        self._stack = AsyncExitStack()
        self._class: Any = store_types()[self.type_]

    @asynccontextmanager
    async def life(self) -> AsyncIterator["Harness"]:
        """Let all HTTP end at the simulator; close every connector that was opened."""
        async with self._stack:
            router = self._stack.enter_context(respx.mock(assert_all_called=False))
            router.route().mock(side_effect=edge(self._serve))
            yield self

    def open(self, history: Iterable[HistoricOrder] = (), *, timezone: str = ZONE) -> None:
        """Open the shop with these orders."""
        self.simulation = self._module.simulator(history, clock=self.clock, **self._site(timezone))

    def connect(self, **settings: Any) -> Store:
        """Open a connector, as a process that was just started would."""
        made: Store = self._class(self._settings(settings))
        self._stack.push_async_callback(made.aclose)
        return made

    def most_requests(self, count: int) -> int:
        """Say what the history of so many orders may cost."""
        raise NotImplementedError

    # --- reading, as a sync would ------------------------------------------------------------------------

    async def history(self, *resources: Resource, since: datetime | None = None) -> Book:
        """Read the history of these resources, or of all, into a new book."""
        book, store = Book(), self.connect()
        for resource in resources or store.resources:
            for window in await store.plan_backfill(resource, since):
                async for page in store.backfill(window, None, careful=self.careful):
                    book.take(page)
        return book

    async def changes(self, book: Book, *resources: Resource, since: datetime | None = None) -> list[Fact]:
        """Read what changed into the book, from where its cursors stand; return it all."""
        store, found = self.connect(), []
        for resource in resources or store.resources:
            pages = store.changes(resource, since or self.clock.now, book.cursors.get(resource))
            async for page in pages:
                book.take(page)
                book.cursors[resource] = page.cursor
                found += page.facts
        return found

    # --- what happens in the shop ------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        return self.simulation.state

    def add(self, **known: Any) -> str:
        """Take an order now."""
        return str(self.state.add_order(**known))

    def update(self, number: str, **known: Any) -> None:
        """Change fields of an order (of HistoricOrder), or just touch it."""
        self.state.update_order(int(number), **known)

    def refund(self, number: str, amount: str) -> None:
        self.state.refund(int(number), amount)

    def cancel(self, number: str) -> None:
        self.update(number, status="cancelled")

    def mark_as_test(self, number: str) -> None:
        raise NotImplementedError

    def delete(self, number: str) -> None:
        self.state.delete(int(number))

    def spoil(self, number: str) -> None:
        """Write something into an order that no reader can read."""
        raise NotImplementedError

    def mend(self, number: str) -> None:
        """Write 7.00 where the junk was."""
        raise NotImplementedError

    def move(self, account: int, email: str) -> None:
        """Give an account another address."""
        self.state.change_account_email(account, email)

    def forbid(self, resource: Resource) -> None:
        """Take a right away from the key."""
        raise NotImplementedError

    def begin_checkout(self, account: int) -> str:
        raise NotImplementedError

    def buy(self, checkout: str, account: int) -> None:
        """Let a checkout become a paid order."""
        raise NotImplementedError

    # --- within ------------------------------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        self.meddle(self.requests)
        simulation: Simulation = self.simulation
        await simulation(scope, receive, send)

    @property
    def _module(self) -> Any:
        return importlib.import_module(f"connectors.stores.{self.type_}.simulator")

    def _site(self, timezone: str) -> dict[str, Any]:
        return {"timezone": timezone}

    def _settings(self, settings: Mapping[str, Any]) -> Any:
        return self._class.Settings(**{**self._module.SETTINGS, **settings})


class WooCommerce(Harness):
    type_ = "woocommerce"
    quiet = 6
    wrong: ClassVar = {"secret": "cs_" + "f" * 40}

    def most_requests(self, count: int) -> int:
        """Count the oldest and the newest; with care each page begins with the last row of the one before."""
        pages = ceil(count / (self.page - 1)) + 1 if self.careful else ceil(count / self.page)
        return pages + 2

    def spoil(self, number: str) -> None:
        self.state.update_order(int(number), row={"total": JUNK})

    def mend(self, number: str) -> None:
        self.state.update_order(int(number), row={"total": "7.00"})

    def forbid(self, resource: Resource) -> None:
        self.state.forbidden.add(resource.value)

    def begin_checkout(self, account: int) -> str:
        return self.add(account=account, status="checkout-draft")

    def buy(self, checkout: str, account: int) -> None:
        self.update(checkout, status="paid")


class Shopify(Harness):
    type_ = "shopify"
    page = 20
    quiet = 4
    has_tests = True
    wrong: ClassVar = {"token": "shpat_" + "f" * 32}
    patches: ClassVar = {"shopify.pages.LARGEST": 20, "shopify.bulk.ROWS": 20}

    def most_requests(self, count: int) -> int:
        """Count scopes and probe, then what a job costs: run, status, file; or the count and the pages."""
        return 2 + (1 + max(1, ceil(count / self.page)) if self.careful else 3)

    def cancel(self, number: str) -> None:
        self.state.cancel(int(number))

    def mark_as_test(self, number: str) -> None:
        self.state.update_order(int(number), row={"test": True})

    def spoil(self, number: str) -> None:
        self._price(number, JUNK)

    def mend(self, number: str) -> None:
        self._price(number, "7.0")

    def move(self, account: int, email: str) -> None:
        self.state.change_email(account, email)

    def forbid(self, resource: Resource) -> None:
        right = {Resource.CHECKOUTS: "orders"}.get(resource, resource.value)
        self.state.scopes.discard(f"read_{right}")

    def begin_checkout(self, account: int) -> str:
        return str(self.state.abandon_checkout(buyer=account))

    def buy(self, checkout: str, account: int) -> None:
        self.state.complete_checkout(int(checkout))

    def _price(self, number: str, amount: str) -> None:
        bag = {"shopMoney": {"amount": amount, "currencyCode": "EUR"}}
        self.state.update_order(int(number), row={"totalPriceSet": bag, "totalReceivedSet": bag})

    def _site(self, timezone: str) -> dict[str, Any]:
        return {"restore": 1000.0, "bucket": 20_000.0}


class PrestaShop(Harness):
    type_ = "prestashop"
    quiet = 13
    by_wall_clock = True
    wrong: ClassVar = {"key": "F" * 32}

    def most_requests(self, count: int) -> int:
        return ceil(count / self.page) + 5  # is there any, settings, states, currencies, the end

    def refund(self, number: str, amount: str) -> None:
        self.state.refund(int(number), amount)
        if Decimal(amount) == Decimal(self.state.orders[int(number)].total):
            self.update(number, status="refunded")

    def spoil(self, number: str) -> None:
        self.state.change("orders", int(number), total_paid_tax_incl=JUNK)

    def mend(self, number: str) -> None:
        self.state.change("orders", int(number), total_paid_tax_incl="7.000000")

    def forbid(self, resource: Resource) -> None:
        paths = {Resource.REFUNDS: "order_slip", Resource.CHECKOUTS: "carts"}
        del self.state.rights[paths.get(resource, resource.value)]

    def begin_checkout(self, account: int) -> str:
        return str(self.state.add_cart(account))

    def buy(self, checkout: str, account: int) -> None:
        self.add(account=account, cart=int(checkout))


class CsvFile(Harness):
    """A file, written anew after whatever happens to an order."""

    type_ = "csv"
    page = 20
    quiet = 0
    has_accounts = False
    has_tests = True
    has_checkouts = False
    by_wall_clock = True
    patches: ClassVar = {"csv.connector.PAGE_SIZE": 20}
    HEADER = "order_id,email,date,amount,currency,status,refunded,category,quantity,first_name,last_name"

    def open(self, history: Iterable[HistoricOrder] = (), *, timezone: str = ZONE) -> None:
        self._zone = timezone
        self._orders = {str(each.id): each for each in history}
        self._spoilt: set[str] = set()
        self._write()

    def most_requests(self, count: int) -> int:
        return 0

    def add(self, **known: Any) -> str:
        number = len(self._orders) + 1
        self._orders[str(number)] = order(number, self.clock.now, **known)
        self._write()
        return str(number)

    def update(self, number: str, **known: Any) -> None:
        self._orders[number] = replace(self._orders[number], **known)
        self._write()

    def refund(self, number: str, amount: str) -> None:
        whole = Decimal(amount) == Decimal(self._orders[number].total)
        self.update(number, refunded=amount, **({"status": "refunded"} if whole else {}))

    def mark_as_test(self, number: str) -> None:
        self.update(number, status="test")

    def spoil(self, number: str) -> None:
        self._spoilt.add(number)
        self._write()

    def mend(self, number: str) -> None:
        self._spoilt.discard(number)
        self.update(number, total="7.00")

    def _settings(self, settings: Mapping[str, Any]) -> Any:
        known = {"path": "orders.csv", "timezone": self._zone, **settings}
        return self._class.Settings.model_validate(known, context={"folder": self.folder})

    def _write(self) -> None:
        with (self.folder / "orders.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.HEADER.split(","))
            writer.writerows(self._row(each) for each in self._orders.values())

    def _row(self, each: HistoricOrder) -> Sequence[Any]:
        at = each.created_at.astimezone(ZoneInfo(self._zone)).replace(tzinfo=None)
        amount = JUNK if str(each.id) in self._spoilt else each.total
        back = each.total if each.status == "refunded" else each.refunded
        bought = (each.category, each.quantity, each.first_name, each.last_name)
        return (each.id, each.email, at, amount, each.currency, each.status, back, *bought)


@dataclass(frozen=True)
class Row:
    """A way of reading: a type's, or another for its history (`careful`)."""

    harness: type[Harness]
    careful: bool = False


ROWS: Mapping[str, Row] = {
    "csv": Row(CsvFile),
    "prestashop": Row(PrestaShop),
    "shopify": Row(Shopify),
    "shopify by pages": Row(Shopify, careful=True),
    "woocommerce": Row(WooCommerce),
    "woocommerce with care": Row(WooCommerce, careful=True),
}
