"""The shop inside the simulator: what it holds, and what can happen in it.

Memory: an order is the HistoricOrder it came as; only what changed since has a record of its own. Ids in
the orders in which somebody asked for them are kept sorted.
"""

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from sys import intern
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulation import HistoricOrder, made_up_order
from connectors.stores.woocommerce.simulated_hooks import SimulatedHooks

OWNER = "administrator"
STATUSES = {"paid": "completed"}
"""Historic statuses that the shop calls otherwise."""
PAID = frozenset({"completed", "refunded"})
OPEN = frozenset({"pending", "failed", "checkout-draft"})
COUNTRIES = {"USD": "US", "GBP": "GB", "TRY": "TR", "JPY": "JP"}
CASH_EVERY = 10
"""Each so many-th order is paid on delivery: `processing`, and never a date of payment."""
OPENED = datetime(2000, 1, 1, tzinfo=UTC)

Refund = tuple[int, Decimal, str]
"""Its id, the amount, why."""


@dataclass(slots=True)
class Changed:
    """What happened to an order since history ended. `row` is written over its row as it is."""

    modified: int
    status: str | None = None
    refunds: list[Refund] | None = None
    paid: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Account:
    id: int
    email: str
    first_name: str
    last_name: str
    created: int
    modified: int | None
    role: str = "customer"
    country: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Goods:
    """The one product of a category."""

    id: int
    category: str
    created: int
    modified: int


class SimulatedShop:
    """Look at it and change it: what changes an order moves its time of change, as in a real shop.

    `hidden` are ids of orders that the key's user may not read, `forbidden` paths of whole resources.
    `junk` comes before every body. `clock` is the shop's; None is the real one.
    """

    def __init__(
        self,
        history: Iterable[HistoricOrder],
        timezone: str = "Europe/Paris",
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.zone = ZoneInfo(timezone)
        self.clock = clock
        self.hidden: set[int] = set()
        self.forbidden: set[str] = set()
        self.junk = b""
        self.webhooks = SimulatedHooks()
        self.orders: dict[int, HistoricOrder] = {}
        self.accounts: dict[int, Account] = {}
        self.products: dict[int, Goods] = {}
        self._changed: dict[int, Changed] = {}
        self._goods: dict[str, Goods] = {}
        self._sorted: dict[tuple[str, str], list[int]] = {}
        for order in history:
            self._take(order)
        self._hire_the_owner()

    # --- what happens in it ----------------------------------------------------------------------------

    def now(self) -> datetime:
        return (self.clock or _real_clock)()

    def add_order(self, **known: Any) -> int:
        """Take an order now, known by fields of HistoricOrder; `status` may be any of WooCommerce's."""
        number = max(self.orders, default=0) + 1
        order = made_up_order(number, self.now(), **known)
        self._take(order)
        self._file(order.id)
        self._tell("order.created", order.id)
        return order.id

    def update_order(self, order_id: int, *, row: Mapping[str, Any] | None = None, **known: Any) -> None:
        """Change fields of HistoricOrder, or write `row` over the API's own; with neither, just touch it."""
        with _Refiled(self, order_id):
            changed = self._change(order_id)
            status, was_open = known.pop("status", None), self.status(order_id) in OPEN
            changed.status = STATUSES.get(status, status) or changed.status
            by_cash = self.status(order_id) == "processing" and is_cash(order_id)
            if was_open and self.status(order_id) in PAID | {"processing"} and not by_cash:
                changed.paid = changed.modified
            changed.row |= row or {}
            self.orders[order_id] = replace(self.orders[order_id], **known)
        self._tell("order.updated", order_id)

    def refund(self, order_id: int, amount: str, reason: str = "") -> int:
        """Give `amount` back; when nothing is left, the order is `refunded`. Return the refund's id."""
        with _Refiled(self, order_id):
            changed = self._change(order_id)
            refunds = list(self.refunds_of(order_id))
            refund_id = _refund_id(order_id, len(refunds))
            changed.refunds = [*refunds, (refund_id, Decimal(amount), reason)]
            if sum(paid for _, paid, _ in changed.refunds) >= Decimal(self.orders[order_id].total):
                changed.status = "refunded"
        self._tell("order.updated", order_id)
        return refund_id

    def delete_refund(self, order_id: int, refund_id: int) -> None:
        """Take a refund back. Nothing else moves, not even the order's time of change."""
        refunds = [refund for refund in self.refunds_of(order_id) if refund[0] != refund_id]
        changed = self._changed.setdefault(order_id, Changed(self.modified(order_id)))
        changed.refunds = refunds

    def trash(self, order_id: int) -> None:
        self.update_order(order_id, status="trash")
        self._tell("order.deleted", order_id)

    def restore(self, order_id: int, status: str = "completed") -> None:
        self.update_order(order_id, status=status)
        self._tell("order.restored", order_id)

    def delete(self, order_id: int) -> None:
        """Delete for good: nothing anywhere tells of it."""
        self._unfile(order_id)
        del self.orders[order_id]
        self._changed.pop(order_id, None)

    def set_order_meta(self, order_id: int, key: str, value: Any) -> None:
        with _Refiled(self, order_id):
            self._change(order_id).meta[key] = value

    def add_account(self, email: str, *, role: str = "customer", **known: Any) -> int:
        number = known.pop("id", None) or max(self.accounts, default=1) + 1
        created = seconds_of(known.pop("created_at", None) or self.now())
        names = {"first_name": "Zoë", "last_name": "Öztürk"} | known
        self.accounts[number] = Account(number, email, created=created, modified=created, role=role, **names)
        self._tell("customer.created", number)
        return number

    def change_account_email(self, account: int, email: str) -> None:
        """Give the account another address; its orders keep the one under which they were placed."""
        self.accounts[account].email = email
        self.accounts[account].modified = seconds_of(self.now())
        self._tell("customer.updated", account)

    def set_account_meta(self, account: int, key: str, value: Any) -> None:
        self.accounts[account].meta[key] = value
        self.accounts[account].modified = seconds_of(self.now())

    def delete_account(self, account: int) -> None:
        del self.accounts[account]
        self._tell("customer.deleted", account)

    # --- what it holds ---------------------------------------------------------------------------------

    def created(self, order_id: int) -> int:
        return seconds_of(self.orders[order_id].created_at)

    def modified(self, order_id: int) -> int:
        changed = self._changed.get(order_id)
        return changed.modified if changed else self.created(order_id)

    def status(self, order_id: int) -> str:
        changed = self._changed.get(order_id)
        if changed and changed.status:
            return changed.status
        status = self.orders[order_id].status
        return "processing" if status == "paid" and is_cash(order_id) else STATUSES.get(status, status)

    def refunds_of(self, order_id: int) -> Sequence[Refund]:
        changed, order = self._changed.get(order_id), self.orders[order_id]
        if changed and changed.refunds is not None:
            return changed.refunds
        amount = Decimal(order.refunded)
        if order.status == "refunded" and not amount:
            amount = Decimal(order.total)
        return [(_refund_id(order_id, 0), amount, "")] if amount else []

    def sorted_ids(self, pool: str, by: str) -> list[int]:
        """Ids of the pool `live` or `trash` by `date`, `modified` or `id`, oldest first. Not to be changed."""
        if (pool, by) not in self._sorted:
            ids = [order_id for order_id in self.orders if self._pool(order_id) == pool]
            self._sorted[pool, by] = sorted(ids, key=self.key(by))
        return self._sorted[pool, by]

    def key(self, by: str) -> Callable[[int], tuple[int, int]]:
        times = {"date": self.created, "modified": self.modified}
        if by not in times:
            return lambda order_id: (order_id, order_id)
        time_of = times[by]
        return lambda order_id: (time_of(order_id), order_id)

    # --- within ----------------------------------------------------------------------------------------

    def _take(self, order: HistoricOrder) -> None:
        """Keep an order; text that repeats is kept once. Its account and product begin with their first."""
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
        if kept.account is not None and kept.account not in self.accounts:
            self.accounts[kept.account] = Account(
                kept.account,
                kept.email,
                kept.first_name,
                kept.last_name,
                created,
                created,
                country=country_of(kept.currency),
            )
        if kept.category not in self._goods:
            goods = Goods(11 + len(self._goods), kept.category, created, created)
            self._goods[kept.category] = self.products[goods.id] = goods

    def _hire_the_owner(self) -> None:
        number = 1 if 1 not in self.accounts else max(self.accounts) + 1
        opened = seconds_of(min((order.created_at for order in self.orders.values()), default=OPENED))
        self.accounts[number] = Account(number, "owner@shop.example", "", "", opened, None, OWNER)

    def _tell(self, topic: str, number: int) -> None:
        """Queue a webhook; a new order is updated at once, as a real shop's is."""
        self.webhooks.happened(topic, number)
        if topic == "order.created":
            self.webhooks.happened("order.updated", number)

    def _change(self, order_id: int) -> Changed:
        now = seconds_of(self.now())
        changed = self._changed.setdefault(order_id, Changed(now))
        changed.modified = now
        return changed

    def _pool(self, order_id: int) -> str:
        return "trash" if self.status(order_id) == "trash" else "live"

    def _file(self, order_id: int) -> None:
        for (pool, by), ids in self._sorted.items():
            if pool == self._pool(order_id):
                bisect.insort(ids, order_id, key=self.key(by))

    def _unfile(self, order_id: int) -> None:
        for (pool, by), ids in self._sorted.items():
            if pool == self._pool(order_id):
                del ids[bisect.bisect_left(ids, self.key(by)(order_id), key=self.key(by))]

    def changes_of(self, order_id: int) -> Changed | None:
        return self._changed.get(order_id)

    def goods_of(self, order: HistoricOrder) -> Goods:
        return self._goods[order.category]

    def paid(self, order_id: int) -> int | None:
        """Say when it was paid; a minute after it was placed, if ever and not later."""
        changed, status = self._changed.get(order_id), self.status(order_id)
        if changed and changed.paid:
            return changed.paid
        by_card = status == "processing" and not is_cash(order_id)
        return self.created(order_id) + 60 if by_card or status in PAID else None


class _Refiled:
    """Take an order out of the sorted lists while it changes."""

    def __init__(self, shop: SimulatedShop, order_id: int) -> None:
        self._shop = shop
        self._id = order_id

    def __enter__(self) -> None:
        self._shop._unfile(self._id)  # noqa: SLF001 - a part of the shop

    def __exit__(self, *_: object) -> None:
        self._shop._file(self._id)  # noqa: SLF001 - a part of the shop


def country_of(currency: str) -> str:
    return COUNTRIES.get(currency, "FR")


def is_cash(order_id: int) -> bool:
    return order_id % CASH_EVERY == 0


def seconds_of(moment: datetime) -> int:
    return int(moment.timestamp())


def _refund_id(order_id: int, position: int) -> int:
    return 10_000_000 + order_id * 20 + position


def _real_clock() -> datetime:
    return datetime.now(UTC)
