"""The shop inside the simulator: what it holds, and what can happen in it.

Memory: an order is the HistoricOrder it came as; only what changed since has a record of its own. A guest is
a customer too, as in any Shopify shop: one for each address.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from sys import intern
from typing import Any

from connectors.simulation import HistoricOrder, made_up_order
from connectors.stores.shopify.simulated.shelf import Shelf

STATUSES: Mapping[str, str] = {
    "paid": "PAID",
    "pending": "PENDING",
    "cancelled": "VOIDED",
    "refunded": "REFUNDED",
    "failed": "EXPIRED",
}
"""What Shopify calls the statuses of history."""
UPDATED: Mapping[str, str] = {
    "orders": "ORDERS_UPDATED",
    "customers": "CUSTOMERS_UPDATE",
    "products": "PRODUCTS_UPDATE",
    "abandonedCheckouts": "CHECKOUTS_UPDATE",
}
"""Which webhook tells of any change of a row."""
GUESTS_FROM = 5_000_000_000
PRODUCTS_FROM = 11
COUNTRIES = {"USD": "US", "GBP": "GB", "TRY": "TR", "JPY": "JP"}

Refund = tuple[int, Decimal, int]
"""Its id, the amount, when."""


@dataclass(slots=True)
class Changed:
    """What happened to an order since history ended. `row` is written over its fields as it is."""

    modified: int
    status: str | None = None
    cancelled: int | None = None
    refunds: list[Refund] | None = None
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Buyer:
    """A customer. `consent` is state, level and moment, as far as there is any."""

    id: int
    email: str | None
    first_name: str
    last_name: str
    created: int
    modified: int
    is_member: bool
    country: str
    consent: tuple[str, str | None, int | None] = ("NOT_SUBSCRIBED", None, None)
    tags: Sequence[str] = ()
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Goods:
    """The one product of a category."""

    id: int
    category: str
    created: int
    modified: int
    collections: Sequence[str] = ()
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Abandoned:
    id: int
    buyer: int | None
    total: str
    currency: str
    created: int
    modified: int
    completed: int | None = None
    row: dict[str, Any] = field(default_factory=dict)


class SimulatedShop:
    """Look at it and change it: what changes a row moves its `updatedAt`, as in a real shop.

    `clock` is the shop's, None the real one. `index_lag` are seconds for which the search does not see a
    change. `midnight` is when its days begin, in seconds after those of UTC. `renamed` is the host that the shop has moved to. `fail_jobs` are error codes of the next bulk
    operations, `cut_files` bytes after which the next downloads just end, `expired` numbers of jobs whose
    files are gone, `denied` root fields that nobody may read whatever the scopes say. The server puts its
    `tokens` (and when they end), `jobs` and `scopes` here, to be looked at and changed. `tell` hears what webhooks tell: a topic and a number.
    """

    def __init__(
        self,
        history: Iterable[HistoricOrder],
        clock: Callable[[], datetime] | None = None,
        index_lag: float = 0.0,
    ) -> None:
        self.clock = clock
        self.index_lag = index_lag
        self.midnight = 0
        self.renamed: str | None = None
        self.fail_jobs: list[str] = []
        self.cut_files: list[int] = []
        self.denied: set[str] = set()
        self.expired: set[int] = set()
        self.tokens: dict[str, float] = {}
        self.jobs: Mapping[int, Any] = {}
        self.scopes: set[str] = set()
        self.hooks: Any = None
        self.tell: Callable[[str, int], None] = lambda _topic, _number: None
        self.orders: dict[int, HistoricOrder] = {}
        self.buyers: dict[int, Buyer] = {}
        self.products: dict[int, Goods] = {}
        self.checkouts: dict[int, Abandoned] = {}
        self.extra_lines: dict[int, int] = {}
        self._changed: dict[int, Changed] = {}
        self._by_email: dict[str, int] = {}
        self._goods: dict[str, Goods] = {}
        self._unseen: deque[tuple[float, str, int]] = deque()
        self._seen_as: dict[tuple[str, int], int] = {}
        self._unborn: set[tuple[str, int]] = set()
        self.shelves: Mapping[str, Shelf] = {
            "orders": self._shelf("orders", self.modified, self.created),
            **{
                kind: self._shelf(kind, partial(_modified, rows), partial(_created, rows))
                for kind, rows in (
                    ("customers", self.buyers),
                    ("products", self.products),
                    ("abandonedCheckouts", self.checkouts),
                )
            },
        }
        for order in history:
            self._keep(order)

    # --- what happens in it ----------------------------------------------------------------------------

    def now(self) -> datetime:
        return (self.clock or _real_clock)()

    def add_order(self, **known: Any) -> int:
        """Take an order now, known by fields of HistoricOrder; `status` may be any of Shopify's."""
        number = max(self.orders, default=0) + 1
        order = made_up_order(number, self.now(), **known)
        self._keep(order)
        self._put("orders", order.id)
        self.tell("ORDERS_CREATE", order.id)
        return order.id

    def update_order(self, order_id: int, *, row: Mapping[str, Any] | None = None, **known: Any) -> None:
        """Change fields of HistoricOrder, or write `row` over the API's own; with neither, just touch it."""
        with self._moving("orders", order_id):
            changed = self._change(order_id)
            status = known.pop("status", None)
            changed.status = STATUSES.get(status, status) if status else changed.status
            changed.row |= row or {}
            self.orders[order_id] = replace(self.orders[order_id], **known)

    def refund(self, order_id: int, amount: str) -> int:
        """Give `amount` back; when nothing is left, the order is REFUNDED. Return the refund's id."""
        with self._moving("orders", order_id, "REFUNDS_CREATE"):
            changed = self._change(order_id)
            refunds = list(self.refunds_of(order_id))
            refund_id = _refund_id(order_id, len(refunds))
            changed.refunds = [*refunds, (refund_id, Decimal(amount), changed.modified)]
            back = sum(given for _, given, _ in changed.refunds)
            changed.status = (
                "REFUNDED" if back >= Decimal(self.orders[order_id].total) else "PARTIALLY_REFUNDED"
            )
        return refund_id

    def cancel(self, order_id: int) -> None:
        """Cancel an order; its money stays where it is."""
        with self._moving("orders", order_id, "ORDERS_CANCELLED"):
            changed = self._change(order_id)
            changed.cancelled = changed.modified

    def delete(self, order_id: int) -> None:
        """Delete for good: nothing but a webhook would tell of it."""
        self.shelves["orders"].take(order_id)
        del self.orders[order_id]
        self._changed.pop(order_id, None)
        self.tell("ORDERS_DELETE", order_id)

    def give_lines(self, order_id: int, count: int) -> None:
        """Let an order have `count` lines instead of one, without telling."""
        self.extra_lines[order_id] = count - 1

    def add_customer(self, email: str | None, **known: Any) -> int:
        number = known.pop("id", None) or max(self.buyers, default=0) + 1
        created = seconds_of(known.pop("created_at", None) or self.now())
        usual: dict[str, Any] = {
            "first_name": "Zoë",
            "last_name": "Öztürk",
            "is_member": True,
            "country": "FR",
        }
        self.buyers[number] = Buyer(number, email, created=created, modified=created, **(usual | known))
        if email:
            self._by_email[email] = number
        self._put("customers", number)
        self.tell("CUSTOMERS_CREATE", number)
        return number

    def update_customer(self, number: int, *, row: Mapping[str, Any] | None = None, **known: Any) -> None:
        """Change fields of Buyer, or write `row` over the API's own."""
        with self._moving("customers", number):
            buyer = self.buyers[number]
            for name, value in known.items():
                setattr(buyer, name, value)
            buyer.row |= row or {}
            buyer.modified = seconds_of(self.now())

    def change_email(self, number: int, email: str) -> None:
        """Give a customer another address; orders keep the one under which they were placed."""
        self._by_email[email] = number
        self.update_customer(number, email=email)

    def set_consent(self, number: int, state: str, level: str | None = "SINGLE_OPT_IN") -> None:
        self.update_customer(number, consent=(state, level, seconds_of(self.now())))
        self.tell("CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE", number)

    def delete_customer(self, number: int) -> None:
        self.shelves["customers"].take(number)
        self._by_email = {email: owner for email, owner in self._by_email.items() if owner != number}
        del self.buyers[number]
        self.tell("CUSTOMERS_DELETE", number)

    def update_product(self, number: int, *, row: Mapping[str, Any] | None = None, **known: Any) -> None:
        with self._moving("products", number):
            goods = self.products[number]
            for name, value in known.items():
                setattr(goods, name, value)
            goods.row |= row or {}
            goods.modified = seconds_of(self.now())

    def abandon_checkout(self, buyer: int | None = None, total: str = "49.00", currency: str = "EUR") -> int:
        """Let somebody begin a checkout and go away."""
        number = max(self.checkouts, default=900_000) + 1
        now = seconds_of(self.now())
        self.checkouts[number] = Abandoned(number, buyer, total, currency, now, now)
        self._put("abandonedCheckouts", number)
        self.tell("CHECKOUTS_CREATE", number)
        return number

    def complete_checkout(self, number: int) -> None:
        with self._moving("abandonedCheckouts", number):
            checkout = self.checkouts[number]
            checkout.completed = checkout.modified = seconds_of(self.now())

    # --- what it holds ---------------------------------------------------------------------------------

    def created(self, order_id: int) -> int:
        return seconds_of(self.orders[order_id].created_at)

    def modified(self, order_id: int) -> int:
        changed = self._changed.get(order_id)
        return changed.modified if changed else self.created(order_id)

    def status(self, order_id: int) -> str:
        changed, order = self._changed.get(order_id), self.orders[order_id]
        if changed and changed.status:
            return changed.status
        status = STATUSES.get(order.status, order.status)
        return "PARTIALLY_REFUNDED" if status == "PAID" and Decimal(order.refunded) else status

    def cancelled(self, order_id: int) -> int | None:
        changed = self._changed.get(order_id)
        if changed and changed.cancelled:
            return changed.cancelled
        return self.created(order_id) if self.orders[order_id].status == "cancelled" else None

    def refunds_of(self, order_id: int) -> Sequence[Refund]:
        changed, order = self._changed.get(order_id), self.orders[order_id]
        if changed and changed.refunds is not None:
            return changed.refunds
        amount = Decimal(order.refunded)
        if order.status == "refunded" and not amount:
            amount = Decimal(order.total)
        return [(_refund_id(order_id, 0), amount, self.created(order_id))] if amount else []

    def changes_of(self, order_id: int) -> Changed | None:
        return self._changed.get(order_id)

    def buyer_of(self, order: HistoricOrder) -> Buyer | None:
        number = order.account if order.account is not None else self._by_email.get(order.email)
        return self.buyers.get(number) if number is not None else None

    def goods_of(self, order: HistoricOrder) -> Goods:
        return self._goods[order.category]

    def let_search_catch_up(self) -> None:
        """Show the search what it may see by now."""
        now = self.now().timestamp()
        while self._unseen and self._unseen[0][0] <= now:
            _, kind, number = self._unseen.popleft()
            self.shelves[kind].take(number)
            self._seen_as.pop((kind, number), None)
            self._unborn.discard((kind, number))
            if number in self.rows(kind):
                self.shelves[kind].put(number)

    # --- within ----------------------------------------------------------------------------------------

    def _keep(self, order: HistoricOrder) -> None:
        """Keep an order; text that repeats is kept once. Its customer and product begin with their first."""
        kept = replace(
            order,
            email=intern(order.email),
            first_name=intern(order.first_name),
            last_name=intern(order.last_name),
            total=intern(order.total),
            category=intern(order.category),
        )
        self.orders[kept.id] = kept
        created = seconds_of(kept.created_at)
        self._meet(kept, created)
        if kept.category not in self._goods:
            goods = Goods(PRODUCTS_FROM + len(self._goods), kept.category, created, created)
            self._goods[kept.category] = self.products[goods.id] = goods
            self.shelves["products"].put(goods.id)

    def _meet(self, order: HistoricOrder, created: int) -> None:
        known = order.account if order.account is not None else self._by_email.get(order.email)
        if known in self.buyers or (known is None and not order.email):
            return
        number = known if known is not None else GUESTS_FROM + len(self.buyers)
        self.buyers[number] = Buyer(
            number,
            order.email or None,
            order.first_name,
            order.last_name,
            created,
            created,
            is_member=order.account is not None,
            country=country_of(order.currency),
        )
        self._by_email.setdefault(order.email, number)
        self.shelves["customers"].put(number)

    def _change(self, order_id: int) -> Changed:
        now = seconds_of(self.now())
        changed = self._changed.setdefault(order_id, Changed(now))
        changed.modified = now
        return changed

    @contextmanager
    def _moving(self, kind: str, number: int, topic: str | None = None) -> Iterator[None]:
        """Take a row out of the sorted lists while it changes, unless the search is to see it late; then tell."""
        if self.index_lag:
            self._seen_as.setdefault((kind, number), self._moment(kind, number))
            yield
            self._unseen.append((self.now().timestamp() + self.index_lag, kind, number))
        else:
            self.shelves[kind].take(number)
            yield
            self.shelves[kind].put(number)
        for each in filter(None, (topic, UPDATED[kind])):
            self.tell(each, number)

    def _put(self, kind: str, number: int) -> None:
        if self.index_lag:
            self._unborn.add((kind, number))
            self._unseen.append((self.now().timestamp() + self.index_lag, kind, number))
        else:
            self.shelves[kind].put(number)

    def _moment(self, kind: str, number: int) -> int:
        return self.modified(number) if kind == "orders" else int(self.rows(kind)[number].modified)

    def rows(self, kind: str) -> Mapping[int, Any]:
        rows: Mapping[str, Mapping[int, Any]] = {
            "orders": self.orders,
            "customers": self.buyers,
            "products": self.products,
            "abandonedCheckouts": self.checkouts,
        }
        return rows[kind]

    def _shelf(self, kind: str, modified: Callable[[int], int], created: Callable[[int], int]) -> Shelf:
        moments = {"updated": self._seen(kind, modified), "created": created}
        return Shelf(moments, lambda: [n for n in self.rows(kind) if (kind, n) not in self._unborn])

    def _seen(self, kind: str, moment: Callable[[int], int]) -> Callable[[int], int]:
        """Give the moment as the search knows it."""

        def seen(number: int) -> int:
            known = self._seen_as.get((kind, number))
            return moment(number) if known is None else known

        return seen


def country_of(currency: str) -> str:
    return COUNTRIES.get(currency, "FR")


def seconds_of(moment: datetime) -> int:
    return int(moment.timestamp())


def _refund_id(order_id: int, position: int) -> int:
    return 10_000_000 + order_id * 20 + position


def _modified(rows: Mapping[int, Any], number: int) -> int:
    return int(rows[number].modified)


def _created(rows: Mapping[int, Any], number: int) -> int:
    return int(rows[number].created)


def _real_clock() -> datetime:
    return datetime.now(UTC)
