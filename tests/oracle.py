"""What profiles should be: the definitions in plain Python, over facts, without SQL and without haste."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from connectors.facts import (
    Checkout,
    Consent,
    Customer,
    Fact,
    Fulfilment,
    Line,
    Order,
    Product,
    Refund,
    Source,
    Standing,
)

DIGITS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3, "GBP": 2}
PHONES = {"06 12 34 56 78": "+33612345678", "+49 30 901820": "+4930901820", "12": None}
"""Phone numbers as typed by people in France -> as they are to be pushed."""
CHANNELS = {
    Source("google", "organic", "utm_source=google"): "seo",
    Source("google", "organic", "session_entry=https://shop.example/?gclid=1"): "ads",
    Source("google", "cpc"): "ads",
    Source("l.facebook.com", "referral"): "social",
    Source("newsletter"): "email",
    Source("blog.example", "referral", "referrer=https://blog.example/"): "referral",
    Source("direct"): "direct",
    Source("admin"): "other",
}
"""Sources -> the kinds they are of."""
WHO = ("first_name", "last_name", "company", "vat_number", "phone", "postal_code", "city", "country")
NOT_A_PERSON = {Standing.TEST, Standing.DELETED}
EVENING, MORNING, MIDNIGHT = time(22), time(6), time()


@dataclass(frozen=True)
class Shop:
    """All that one store has ever sent; `gone` are the orders that it no longer has."""

    name: str
    facts: Sequence[Fact]
    gone: frozenset[str] = frozenset()

    def newest(self, kind: type[Any]) -> list[Any]:
        """Keep the newest version of each fact."""
        found: dict[str, Any] = {}
        for fact in self.facts:
            if isinstance(fact, kind) and (
                fact.id not in found or found[fact.id].updated_at < fact.updated_at
            ):
                found[fact.id] = fact
        return list(found.values())


@dataclass(frozen=True)
class Record:
    """One thing that tells who somebody is."""

    told_at: datetime
    seen_at: datetime
    is_account: bool
    store: str
    id: str
    created_at: datetime
    guest: bool
    who: Mapping[str, str | None]
    birthday: date | None
    source: Source | None


@dataclass(frozen=True)
class Counted:
    """An order that counts; `net` is None where its currency has no rate."""

    order: Order
    gross: int | None
    net: int | None
    spent: Mapping[str, int | None]


@dataclass(frozen=True)
class Paid:
    """An order that was paid once, whether it counts or not; `last_at` is when it was placed or paid, the later."""

    last_at: datetime
    came_back: bool


def converted(minor: int, code: str, currency: str, rates: Mapping[str, Decimal]) -> int | None:
    """Convert minor units; half a unit rounds up."""
    rate = Decimal(1) if code == currency else rates.get(code)
    if rate is None:
        return None
    exact = Fraction(minor, 10 ** DIGITS[code]) * Fraction(rate) * 10 ** DIGITS[currency]
    return math.floor(exact + Fraction(1, 2))


def profiles(
    shops: Sequence[Shop],
    currency: str,
    rates: Mapping[str, Decimal],
    opted_out: Mapping[str, datetime] | None = None,
    timezone: str = "UTC",
) -> dict[str, dict[str, Any]]:
    """Return address -> columns of everybody who has facts. `opted_out` is the ESP's word."""
    records: defaultdict[str, list[Record]] = defaultdict(list)
    counted: defaultdict[str, list[Counted]] = defaultdict(list)
    paid: defaultdict[str, list[Paid]] = defaultdict(list)
    begun: defaultdict[str, list[tuple[str, Checkout]]] = defaultdict(list)
    words: defaultdict[str, list[Consent]] = defaultdict(list)
    for email, at in (opted_out or {}).items():
        words[email].append(Consent(given=False, at=at))
    for shop in shops:
        accounts = {account.id: account.email for account in shop.newest(Customer)}
        _read_accounts(shop, records, words)
        _read_checkouts(shop, accounts, records, begun)
        products = {product.id: set(product.categories) for product in shop.newest(Product)}
        for sent in shop.newest(Order):
            order = replace(sent, standing=Standing.DELETED) if sent.id in shop.gone else sent
            owner = accounts.get(order.customer_id or "") or order.email
            if owner and order.consent:
                words[owner].append(order.consent)
            if owner and order.standing not in NOT_A_PERSON:
                records[owner].append(_record(shop.name, order, order.created_at))
            back = refunded(shop, order)
            found = _count(order, back, products, currency, rates)
            if owner and found:
                counted[owner].append(found)
            if owner and was_paid(order, back):
                last_at = max(order.created_at, order.paid_at or order.created_at)
                paid[owner].append(Paid(last_at, order.standing is not Standing.PAID or back > 0))
    return {
        email: _amounts(counted[email])
        | _habits(counted[email], paid[email], ZoneInfo(timezone))
        | _open_checkout(begun[email], paid[email], currency, rates)
        | _description(records[email])
        | _word(words[email])
        for email in records
    }


def was_paid(order: Order, back: int) -> bool:
    """Tell whether an order was ever paid: what came back had been."""
    if order.standing is Standing.CANCELLED:
        return order.paid_at is not None or back > 0
    return order.standing in {Standing.PAID, Standing.REFUNDED}


def refunded(shop: Shop, order: Order) -> int:
    """Add up what came back of an order, however the store tells of it."""
    apart = {fact.id: fact for fact in shop.facts if isinstance(fact, Refund) and fact.order_id == order.id}
    refunds: Iterable[Refund] = apart.values() if order.refunds is None else order.refunds
    return sum(refund.amount.minor for refund in refunds)


def _read_accounts(
    shop: Shop, records: Mapping[str, list[Record]], words: Mapping[str, list[Consent]]
) -> None:
    for account in shop.newest(Customer):
        if account.email:
            records[account.email].append(_record(shop.name, account, account.updated_at))
            words[account.email].extend([account.consent] if account.consent else [])


def _read_checkouts(
    shop: Shop,
    accounts: Mapping[str, str | None],
    records: Mapping[str, list[Record]],
    begun: Mapping[str, list[tuple[str, Checkout]]],
) -> None:
    for checkout in shop.newest(Checkout):
        owner = accounts.get(checkout.customer_id or "") or checkout.email
        if owner:
            records[owner].append(_record(shop.name, checkout, checkout.updated_at))
            begun[owner].append((shop.name, checkout))


def _record(store: str, fact: Any, told_at: datetime) -> Record:
    person = getattr(fact, "person", None)
    return Record(
        told_at,
        _seen_at(fact),
        isinstance(fact, Customer),
        store,
        fact.id,
        fact.created_at,
        getattr(fact, "guest", False),
        {name: getattr(person, name, None) for name in WHO},
        getattr(fact, "birthday", None),
        getattr(fact, "source", None),
    )


def _seen_at(fact: Any) -> datetime:
    """Say when somebody last showed themselves: a checkout moves until it is over."""
    if not isinstance(fact, Checkout):
        return fact.created_at  # type: ignore[no-any-return]
    return min(fact.updated_at, fact.completed_at or fact.updated_at)


def _count(
    order: Order,
    back: int,
    products: Mapping[str, set[str]],
    currency: str,
    rates: Mapping[str, Decimal],
) -> Counted | None:
    """Return what an order adds, None when it does not count."""
    gross = order.total.minor
    if order.standing is not Standing.PAID or (gross and back >= gross):
        return None
    code = order.total.currency
    net = gross - back if gross else 0
    spent: dict[str, int | None] = {}
    for line in order.lines:
        for name in products.get(line.product_id or "", ()):
            spent[name] = _plus(spent.get(name), _worth(line, code, currency, rates))
    return Counted(
        order, converted(gross, code, currency, rates), converted(net, code, currency, rates), spent
    )


def _worth(line: Line, code: str, currency: str, rates: Mapping[str, Decimal]) -> int | None:
    return converted(line.total.minor, code, currency, rates)


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _amounts(orders: Sequence[Counted]) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("average_basket", "first_order_at", "last_order_at", "last_order_number", "currency")
    )
    if not orders:
        return {"orders_count": 0, "total_spent": 0, **nothing}
    known = [order.net for order in orders if order.net is not None]
    total = sum(known) if len(known) == len(orders) else None
    last = _last(orders)
    return {
        "orders_count": len(orders),
        "total_spent": total,
        "average_basket": (
            None if total is None else math.floor(Fraction(total, len(orders)) + Fraction(1, 2))
        ),
        "first_order_at": min(each.order.created_at for each in orders),
        "last_order_at": last.created_at,
        "last_order_number": last.number,
        "currency": last.total.currency,
    }


def _last(orders: Sequence[Counted]) -> Order:
    """Choose the newest; of several in one second the one with the highest number, then by what it tells."""
    newest = max((each.order.created_at, len(each.order.number), each.order.number) for each in orders)
    tied = (
        order
        for order in (each.order for each in orders)
        if (order.created_at, len(order.number), order.number) == newest
    )
    return min(tied, key=lambda order: (order.total.currency, order.fulfilment or "~"))


def _pieces(orders: Sequence[Counted]) -> int | None:
    """Count pieces; nobody knows how many there were when no order tells a line."""
    lines = [line for each in orders for line in each.order.lines]
    return sum(line.quantity for line in lines) if lines or not orders else None


def _habits(orders: Sequence[Counted], paid: Sequence[Paid], zone: ZoneInfo) -> dict[str, Any]:
    """Say how somebody buys, and what becomes of it; unknown (None) where none of their orders tells."""
    discounts = [each.order.discount for each in orders if each.order.discount is not None]
    parcels = [each.order.fulfilment for each in orders if each.order.fulfilment is not None]
    parcel = _last(orders).fulfilment if orders else None
    categories = _categories(orders)
    walls = [each.order.created_at.astimezone(zone).time() for each in orders]
    clocks = [wall for wall in walls if wall.replace(microsecond=0) != MIDNIGHT]
    return {
        "items_bought": _pieces(orders),
        "discounted_orders": (
            sum(discount.minor > 0 for discount in discounts) if discounts or not orders else None
        ),
        "night_orders": sum(map(_is_night, clocks)) if clocks or not orders else None,
        "timed_orders": len(clocks),
        "paid_orders": len(paid),
        "refunded_orders": sum(each.came_back for each in paid),
        "order_in_progress": (
            any(parcel is not Fulfilment.FULFILLED for parcel in parcels) if parcels or not orders else None
        ),
        "last_fulfilment": parcel.value if parcel else None,
        "preferred_category": categories[0] if categories else None,
        "top_categories": ", ".join(categories[:3]) or None,
    }


def _is_night(clock: time) -> bool:
    return clock >= EVENING or clock < MORNING


def _open_checkout(
    begun: Sequence[tuple[str, Checkout]], paid: Sequence[Paid], currency: str, rates: Mapping[str, Decimal]
) -> dict[str, Any]:
    """Take the newest checkout that neither ended nor was followed by an order, or the payment of one."""
    still_open = [
        (checkout.updated_at, store, checkout.id, checkout)
        for store, checkout in begun
        if checkout.completed_at is None and not any(order.last_at >= checkout.created_at for order in paid)
    ]
    if not still_open:
        return dict.fromkeys(("checkout_id", "checkout_url", "checkout_at", "checkout_total"))
    *_, newest = max(still_open, key=lambda each: each[:3])
    total = newest.total
    return {
        "checkout_id": newest.id,
        "checkout_url": newest.url,
        "checkout_at": newest.updated_at,
        "checkout_total": converted(total.minor, total.currency, currency, rates) if total else None,
    }


def _categories(orders: Sequence[Counted]) -> list[str]:
    """Rank the categories by what was spent on them, then by when they were last bought, then by name."""
    spent: dict[str, int | None] = {}
    bought_at: dict[str, datetime] = {}
    for each in orders:
        for name, worth in each.spent.items():
            spent[name] = _plus(spent.get(name), worth)
            bought_at[name] = max(bought_at.get(name, each.order.created_at), each.order.created_at)
    ranked = sorted(spent)
    ranked.sort(key=lambda name: bought_at[name], reverse=True)
    ranked.sort(key=lambda name: -math.inf if spent[name] is None else spent[name] or 0, reverse=True)
    return ranked


def _description(records: Sequence[Record]) -> dict[str, Any]:
    newest = sorted(
        records, key=lambda each: (each.told_at, each.is_account, each.store, each.id), reverse=True
    )
    oldest = sorted(records, key=lambda each: (each.created_at, each.is_account, each.store, each.id))
    accounts = [each for each in oldest if each.is_account]
    source = next((each.source for each in oldest if each.source), None)
    phone = next((each.who["phone"] for each in newest if each.who["phone"]), None)
    own = [each.created_at for each in accounts if not each.guest]
    return {
        **_first(newest, "first_name", "last_name"),
        **_first(newest, "company"),
        **_first(newest, "vat_number"),
        "birthday": next((each.birthday for each in newest if each.birthday), None),
        **_first(newest, "postal_code", "city", "country"),
        "phone": PHONES[phone] if phone else None,
        "signup_at": min(own) if own else oldest[0].created_at,
        "last_activity_at": max(each.seen_at for each in records),
        "lead_source": source.name if source else None,
        "lead_source_evidence": source.evidence if source else None,
        "acquisition_channel": CHANNELS[source] if source else None,
        "stores": ",".join(sorted({each.store for each in records})),
        "customer_ids": ",".join(f"{each.store}:{each.id}" for each in accounts) or None,
    }


def _first(records: Sequence[Record], *names: str) -> dict[str, str | None]:
    telling = (each.who for each in records if any(each.who[name] for name in names))
    found = next(telling, {})
    return {name: found.get(name) for name in names}


def _word(words: Sequence[Consent]) -> dict[str, Any]:
    """Take the newest word; of several in one moment a refusal counts."""
    if not words:
        return {"accepts_marketing": None}
    newest = max(word.at for word in words)
    return {"accepts_marketing": all(word.given for word in words if word.at == newest)}
