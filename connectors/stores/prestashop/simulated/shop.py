"""The shop inside the simulator: what it holds, and what can happen in it.

Memory: an order is the HistoricOrder it came as, and whoever placed it, their address and their cart are
worked out from it when somebody asks; only what changed since has a record of its own.
"""

import calendar
import zlib
from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from sys import intern
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulation import HistoricOrder, made_up_order

Row = dict[str, Any]

GUESTS = 10_000_000
"""The customer made for a guest's order has the order's id and this much more."""
STATES: Mapping[str, int] = {"paid": 2, "pending": 10, "cancelled": 6, "refunded": 7, "failed": 8}
"""Historic statuses, as ids of the shop's own."""
HISTORIC = (5, 4, 3, 2)
"""Where paid orders of the past stand: delivered, shipped, in preparation, paid."""
CURRENCIES: Mapping[str, int] = {"EUR": 1, "GBP": 2, "USD": 3}
COUNTRIES: Mapping[str, str] = {"USD": "US", "GBP": "GB", "TRY": "TR", "JPY": "JP"}
LARGE = frozenset({"orders", "customers", "addresses", "carts", "order_slip"})
ZERO = "0000-00-00 00:00:00"
LAYOUT = "%Y-%m-%d %H:%M:%S"


@dataclass(slots=True)
class Account:
    """A customer: one who registered, or what a guest was made into."""

    id: int
    email: str
    first_name: str
    last_name: str
    created: datetime
    currency: str = "EUR"
    guest: bool = False


@dataclass(slots=True)
class Slip:
    id: int
    order: int
    products: Decimal
    shipping: Decimal
    at: datetime


@dataclass(slots=True)
class Cart:
    id: int
    customer: int
    product: int
    quantity: int
    at: datetime


@dataclass(slots=True)
class Place:
    """An address of a customer."""

    id: int
    customer: int
    at: datetime
    row: Row = field(default_factory=dict)


@dataclass(slots=True)
class Goods:
    """The one product of a category; ids of categories begin behind Root and Home."""

    id: int
    category: str
    at: datetime


class SimulatedShop:
    """Look at it and change it: what changes a row moves its `date_upd`, where it does in a real shop.

    `rights` are the methods that the key may use, by resource. `disabled` switches the webservice off. `junk`
    comes before every body. `broken` are (resource, id) of rows over which PHP stumbles. `clock` is the shop's;
    None is the real one.
    """

    def __init__(
        self,
        history: Iterable[HistoricOrder],
        timezone: str = "Europe/Paris",
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.zone = ZoneInfo(timezone)
        self.clock = clock
        self.rights: dict[str, set[str]] = {}
        self.disabled = False
        self.junk = b""
        self.broken: set[tuple[str, int]] = set()
        self.settings = {
            "PS_TIMEZONE": timezone,
            "PS_LANG_DEFAULT": "1",
            "PS_OS_CANCELED": "6",
            "PS_OS_REFUND": "7",
            "PS_MAIL_PASSWD": "not for you",
        }
        self.states: dict[int, Row] = {}
        self.currencies = dict(CURRENCIES)
        self.orders: dict[int, HistoricOrder] = {}
        self.accounts: dict[int, Account] = {}
        self.addresses: dict[int, Place] = {}
        self.carts: dict[int, Cart] = {}
        self.slips: dict[int, Slip] = {}
        self.products: dict[int, Goods] = {}
        self._goods: dict[str, Goods] = {}
        self.left: dict[int, tuple[int, datetime]] = {}
        self._changed: dict[tuple[str, int], Row] = {}
        self._ids: dict[str, array[int]] = {}
        self._by_time: dict[tuple[str, str], array[int]] = {}
        for order in history:
            self._take(order)
        for order in list(self.orders.values()):
            self._give_back(order)

    # --- what happens in it ----------------------------------------------------------------------------

    def now(self) -> datetime:
        return (self.clock or _real_clock)()

    def wall(self, moment: datetime | None = None) -> str:
        """Write a moment, or now, as the shop's wall clock shows it."""
        return (moment or self.now()).astimezone(self.zone).strftime(LAYOUT)

    def add_order(self, **known: Any) -> int:
        """Take an order now, known by fields of HistoricOrder; it gets a customer, an address and a cart."""
        number = max(self.orders, default=0) + 1
        cart, state = known.pop("cart", None), known.pop("state", None)
        order = made_up_order(number, self.now(), **known)
        self._take(order)
        given: Row = {"reference": _letters(order.id), "current_state": state or STATES[order.status]}
        if cart:
            given["id_cart"] = cart
        self.change("orders", order.id, touch=False, **given)
        self._file("orders", order.id, order.created_at)
        if not cart:
            self._file("carts", order.id, order.created_at)
        if order.account is None:
            self._file_customer(GUESTS + order.id, order.created_at)
        return order.id

    def update_order(self, order_id: int, *, row: Mapping[str, Any] | None = None, **known: Any) -> None:
        """Change fields of HistoricOrder, or write `row` over the webservice's; with neither, just touch it."""
        status = known.pop("status", None)
        self.orders[order_id] = replace(self.orders[order_id], **known)
        if status:
            self.set_state(order_id, STATES[status])
        self.change("orders", order_id, **(row or {}))

    def set_state(self, order_id: int, state: int) -> None:
        self.left.setdefault(order_id, (self.state_of(order_id), self.now()))
        self.change("orders", order_id, current_state=state)

    def refund(self, order_id: int, amount: str, shipping: str = "0") -> int:
        """Write a credit slip, of which the order knows nothing. Return its id."""
        number = max(self.slips, default=0) + 1
        self.slips[number] = Slip(number, order_id, Decimal(amount), Decimal(shipping), self.now())
        self._file("order_slip", number, self.now())
        return number

    def delete(self, order_id: int) -> None:
        """Delete for good: nothing anywhere tells of it."""
        del self.orders[order_id]
        self._ids.clear()
        self._by_time.clear()

    def add_account(self, email: str, *, guest: bool = False, **known: Any) -> int:
        number = known.pop("id", None) or self._next_customer()
        names: dict[str, Any] = {"first_name": "Zoë", "last_name": "Öztürk", "created": self.now()} | known
        self.accounts[number] = Account(number, email, guest=guest, **names)
        self._file_customer(number, self.accounts[number].created)
        return number

    def change_account_email(self, customer: int, email: str) -> None:
        """Give a customer another address; their orders are theirs as before."""
        self.change("customers", customer, email=email)

    def delete_account(self, customer: int) -> None:
        """Delete a customer who must not register again: the row stays, with a mark."""
        self.change("customers", customer, deleted="1")

    def subscribe(self, customer: int, *, by_block: bool = False) -> None:
        """Subscribe to the newsletter; by the footer's block `date_upd` stays as it was."""
        self.change(
            "customers", customer, touch=not by_block, newsletter="1", newsletter_date_add=self.wall()
        )

    def unsubscribe(self, customer: int, *, by_block: bool = False) -> None:
        """Leave the newsletter; the date of subscription stays."""
        self.change("customers", customer, touch=not by_block, newsletter="0")

    def change_address(self, customer: int, **fields: Any) -> int:
        """Edit an address that orders use: a new row takes its place. The customer's row does not move."""
        number = max(max(self.addresses, default=0), 2 * GUESTS) + 1
        for old in self.addresses_of(customer):
            self.change("addresses", old, deleted="1")
        self.addresses[number] = Place(number, customer, self.now(), fields)
        self._file("addresses", number, self.now())
        return number

    def add_cart(self, customer: int = 0, *, quantity: int = 1) -> int:
        """Begin a cart; a `customer` of 0 is somebody who has not said who they are."""
        number = max(max(self.carts, default=0), GUESTS) + 1
        product = next(iter(self.products), 0)
        self.carts[number] = Cart(number, customer, product, quantity, self.now())
        self._file("carts", number, self.now())
        return number

    def change(self, resource: str, number: int, *, touch: bool = True, **fields: Any) -> None:
        """Write fields over a row; with `touch` its `date_upd` is now."""
        if touch:
            fields = {"date_upd": self.wall(), **fields}
        changed = self._changed.setdefault((resource, number), {})
        for name in fields:
            filed = self._by_time.get((resource, name))
            if filed is not None:
                _take_out(filed, number, changed.get(name))
                insort(filed, moment_key(str(fields[name]), number))
        changed.update(fields)

    # --- what it holds ---------------------------------------------------------------------------------

    def changed(self, resource: str, number: int) -> Row | None:
        return self._changed.get((resource, number))

    def state_of(self, order_id: int) -> int:
        changed = self._changed.get(("orders", order_id), {})
        if "current_state" in changed:
            return int(changed["current_state"])
        status = self.orders[order_id].status
        return HISTORIC[order_id % len(HISTORIC)] if status == "paid" else STATES[status]

    def customer_of(self, order: HistoricOrder) -> int:
        return GUESTS + order.id if order.account is None else order.account

    def customer(self, number: int) -> Account:
        """Find a customer; a guest is told by the order that they were made for."""
        if number in self.accounts:
            return self.accounts[number]
        order = self.orders[number - GUESTS]
        names = (order.email, order.first_name, order.last_name)
        return Account(number, *names, order.created_at, order.currency, guest=True)

    def customers(self) -> list[int]:
        guests = [GUESTS + order.id for order in self.orders.values() if order.account is None]
        return [*self.accounts, *guests]

    def addresses_of(self, customer: int) -> list[int]:
        """List a customer's addresses: the first has the customer's own number."""
        return [customer, *(place.id for place in self.addresses.values() if place.customer == customer)]

    def goods_of(self, order: HistoricOrder) -> Goods | None:
        return self._goods.get(order.category)

    def ids(self, resource: str, make: Callable[[], Iterable[int]]) -> Sequence[int]:
        """List a resource's ids in order; those of large ones are kept, and not to be changed."""
        if resource not in LARGE:
            return sorted(make())
        if resource not in self._ids:
            self._ids[resource] = array("Q", sorted(make()))
        return self._ids[resource]

    def by_time(self, resource: str, name: str, make: Callable[[], Iterable[int]]) -> "array[int]":
        """Keep `moment_key` of a resource's rows in order, once somebody asked for it; not to be changed."""
        if (resource, name) not in self._by_time:
            self._by_time[resource, name] = array("Q", sorted(make()))
        return self._by_time[resource, name]

    # --- within ----------------------------------------------------------------------------------------

    def _take(self, order: HistoricOrder) -> None:
        """Keep an order; text that repeats is kept once. Its account and product begin with their first."""
        texts = ("email", "first_name", "last_name", "total", "category", "currency", "status")
        interned: dict[str, Any] = {name: intern(getattr(order, name)) for name in texts}
        kept = replace(order, **interned)
        self.orders[kept.id] = kept
        if kept.account is not None and kept.account not in self.accounts:
            names = (kept.email, kept.first_name, kept.last_name)
            self.accounts[kept.account] = Account(kept.account, *names, kept.created_at, kept.currency)
            self._file_customer(kept.account, kept.created_at)
        self.currencies.setdefault(kept.currency, len(self.currencies) + 1)
        if kept.category and kept.category not in self._goods:
            goods = Goods(11 + len(self._goods), kept.category, kept.created_at)
            self._goods[kept.category] = self.products[goods.id] = goods
            self._file("products", goods.id, kept.created_at)

    def _give_back(self, order: HistoricOrder) -> None:
        """Write the slip of an order of the past that was refunded."""
        amount = Decimal(order.refunded)
        if order.status == "refunded" and not amount:
            amount = Decimal(order.total)
        if amount:
            number = len(self.slips) + 1
            self.slips[number] = Slip(number, order.id, amount, Decimal(), order.created_at)

    def _next_customer(self) -> int:
        return max((number for number in self.accounts if number < GUESTS), default=0) + 1

    def _file(self, resource: str, number: int, at: datetime) -> None:
        """Put a new row where it belongs in what is kept sorted."""
        if resource in self._ids:
            insort(self._ids[resource], number)
        for (of, name), filed in self._by_time.items():
            if of == resource:
                insort(filed, moment_key(self.wall(at) if name in {"date_add", "date_upd"} else ZERO, number))

    def _file_customer(self, number: int, at: datetime) -> None:
        self._file("customers", number, at)
        self._file("addresses", number, at)


def moment_key(text: str, number: int) -> int:
    """Write a wall-clock moment and an id as one number that sorts like both; zero dates are first."""
    seconds = 0 if text.startswith("0000") else calendar.timegm(datetime.fromisoformat(text).timetuple())
    return seconds << 32 | number


def _take_out(filed: "array[int]", number: int, before: str | None) -> None:
    """Take a row out of its place, found by the moment it had, else by looking everywhere."""
    if before is not None:
        del filed[bisect_left(filed, moment_key(before, number))]
        return
    del filed[next(place for place, key in enumerate(filed) if key & 0xFFFFFFFF == number)]


def place_fields(account: Account) -> Row:
    """Make up where somebody lives, of their e-mail address."""
    number = zlib.crc32(account.email.encode())
    country = COUNTRIES.get(account.currency, "FR")
    # 01 99 00 is kept for fiction by the French numbering plan
    phone = f"01 99 00 {number % 100:02} {number // 100 % 100:02}" if country == "FR" else ""
    return {"postcode": str(10000 + number % 90000), "phone": phone, "country": country}


def _letters(number: int) -> str:
    """Write an order's reference as the shop makes them up: nine letters."""
    mixed = number * 2_654_435_761 % 26**9
    return "".join(chr(65 + mixed // 26**place % 26) for place in range(9))


def _real_clock() -> datetime:
    return datetime.now(UTC)
