"""The ledger: which orders count, what they are worth, and what they add up to, person by person. In SQL.

An order counts once it was paid and not given back in full. Amounts are in minor units of the sync's
currency, and unknown (NULL) where an order's own currency has no rate.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
)

from connectors.currencies import exponent
from connectors.facts import Fulfilment, Standing
from state.dialect import as_stored, local_second
from state.scope import Scope
from state.tables import CheckoutRow, OrderLineRow, OrderRow, ProductCategoryRow, RefundRow, table

ORDERS, LINES, REFUNDS = table(OrderRow), table(OrderLineRow), table(RefundRow)
CHECKOUTS, CATEGORIES = table(CheckoutRow), table(ProductCategoryRow)

NIGHT_BEGINS, NIGHT_ENDS = 22 * 3600, 6 * 3600
MIDNIGHT = 0
"""An order placed in this second has a date and no time: nobody knows whether it was night."""
TOP = 3
ON_THE_WAY = (Fulfilment.OPEN.value, Fulfilment.PARTIAL.value)

AMOUNTS = (
    "orders_count",
    "total_spent",
    "average_basket",
    "first_order_at",
    "last_order_at",
    "last_order_number",
    "currency",
    "items_bought",
    "discounted_orders",
    "night_orders",
    "timed_orders",
    "paid_orders",
    "refunded_orders",
    "order_in_progress",
    "last_fulfilment",
)
"""Profile columns that `amounts` computes, in its order, after the person."""
NO_ORDERS = {
    "orders_count": 0,
    "total_spent": 0,
    "items_bought": 0,
    "discounted_orders": 0,
    "night_orders": 0,
    "timed_orders": 0,
    "paid_orders": 0,
    "refunded_orders": 0,
    "order_in_progress": False,
}
"""What they are for somebody who never paid."""

CHECKOUT = ("checkout_id", "checkout_url", "checkout_at", "checkout_total")
"""Profile columns that `open_checkouts` tells, in its order, after the person and the store."""


# --- one order -----------------------------------------------------------------------------------------


def refunded() -> ColumnElement[int]:
    """Sum up what was given back of an order, in its own currency."""
    return (
        select(cast(func.coalesce(func.sum(REFUNDS.c.amount_minor), 0), BigInteger))
        .where(REFUNDS.c.store == ORDERS.c.store, REFUNDS.c.order_id == ORDERS.c.id)
        .correlate(ORDERS)
        .scalar_subquery()
    )


def counts(orders: Any = ORDERS, back: ColumnElement[int] | None = None) -> ColumnElement[bool]:
    """Tell whether an order counts: paid, and not given back in full. A free one does.

    `orders` has the columns `standing` and `total_minor`, `back` is what was given back.
    """
    return and_(
        orders.c.standing == Standing.PAID.value,
        or_(orders.c.total_minor == 0, (refunded() if back is None else back) < orders.c.total_minor),
    )


def was_paid() -> ColumnElement[bool]:
    """Tell whether an order was ever paid, whatever became of it: what was given back had been paid."""
    cancelled_since = or_(ORDERS.c.paid_at.is_not(None), refunded() > 0)
    return or_(
        ORDERS.c.standing.in_((Standing.PAID.value, Standing.REFUNDED.value)),
        and_(ORDERS.c.standing == Standing.CANCELLED.value, cancelled_since),
    )


def net(
    scope: Scope, orders: Any = ORDERS, back: ColumnElement[int] | None = None
) -> ColumnElement[int | None]:
    """Take what was given back off an order's total, in the sync's currency; `orders` as in `counts`."""
    left = orders.c.total_minor - (refunded() if back is None else back)
    return converted(scope, orders.c.currency, case((orders.c.total_minor == 0, 0), else_=left))


def items() -> ColumnElement[int | None]:
    """Sum up the pieces of an order; NULL where the store tells no lines of it."""
    return (
        select(func.sum(LINES.c.quantity))
        .where(LINES.c.store == ORDERS.c.store, LINES.c.order_id == ORDERS.c.id)
        .correlate(ORDERS)
        .scalar_subquery()
    )


def converted(
    scope: Scope, currency: ColumnElement[str], minor: ColumnElement[int]
) -> ColumnElement[int | None]:
    """Convert minor units of any known currency into the sync's; half a unit rounds up."""
    branches: list[tuple[ColumnElement[bool], ColumnElement[int]]] = [(currency == scope.currency, minor)]
    for code, rate in scope.rates.items():
        if code != scope.currency:
            whole = _fraction(rate.scaleb(exponent(scope.currency) - exponent(code)))
            worth, of = (literal(part, BigInteger) for part in whole)
            branches.append((currency == code, (minor * worth + of // 2) // of))
    return case(*branches, else_=null())


def _fraction(factor: Decimal) -> tuple[int, int]:
    """Write a rate as whole numbers: money stays whole all the way."""
    decimals = max(0, -int(factor.normalize().as_tuple().exponent))
    return int(factor.scaleb(decimals)), 10**decimals


def counted(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    """Select the orders of some people that count."""
    orders: Select[Any] = select(
        ORDERS.c.store,
        ORDERS.c.id,
        ORDERS.c.person,
        ORDERS.c.currency,
        ORDERS.c.created_at,
        net(scope).label("net"),
    )
    return orders.where(ORDERS.c.person.in_(dirty), ORDERS.c.store.in_(scope.stores), counts())


# --- one person ----------------------------------------------------------------------------------------


def amounts(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    """Sum up each person's orders: a row with the columns AMOUNTS for whoever ever paid one.

    Amounts are NULL when one of them has no rate: unknown, not wrong. Moments are `as_stored`.
    """
    orders = _valued(scope, _paid(scope, dirty)).cte("valued")
    sums = _sums(orders).cte("sums")
    last = _last(orders, sums)
    found = (*sums.c, last.c.last_order_number, last.c.currency, last.c.last_fulfilment)
    columns: dict[str, ColumnElement[Any]] = {column.name: column for column in found}
    columns |= {name: as_stored(columns[name]) for name in ("first_order_at", "last_order_at")}
    query: Select[Any] = select(sums.c.person, *(columns[name] for name in AMOUNTS))
    return query.outerjoin(last, last.c.person == sums.c.person)


def _last(orders: Any, sums: Any) -> Any:
    """Select what the last order tells; of several in one second the one with the highest number."""
    number, parcel = orders.c.number, orders.c.fulfilment.nulls_last()
    newest = (func.length(number).desc(), number.desc(), orders.c.currency, parcel)
    place = func.row_number().over(partition_by=orders.c.person, order_by=newest)
    tied: Any = (
        select(
            orders.c.person,
            orders.c.number.label("last_order_number"),
            orders.c.currency,
            orders.c.fulfilment.label("last_fulfilment"),
            place.label("place"),
        )
        .join(sums, and_(sums.c.person == orders.c.person, sums.c.last_order_at == orders.c.created_at))
        .where(orders.c.is_counted)
        .subquery()
    )
    return select(tied).where(tied.c.place == 1).subquery()


def _paid(scope: Scope, dirty: Select[Any]) -> Any:
    """Select the orders that were ever paid; materialized, so that subqueries run once an order."""
    orders: Select[Any] = select(
        ORDERS.c.person,
        ORDERS.c.number,
        ORDERS.c.currency,
        ORDERS.c.created_at,
        ORDERS.c.fulfilment,
        ORDERS.c.standing,
        ORDERS.c.total_minor,
        ORDERS.c.discount_minor,
        refunded().label("back"),
        items().label("pieces"),
        local_second(ORDERS.c.created_at, literal(scope.timezone)).label("second"),
    )
    paid = orders.where(ORDERS.c.person.in_(dirty), ORDERS.c.store.in_(scope.stores), was_paid())
    return paid.cte("paid").prefix_with("MATERIALIZED")


def _valued(scope: Scope, paid: Any) -> Select[Any]:
    back, second = paid.c.back, paid.c.second
    return select(
        paid,
        net(scope, paid, back).label("net"),
        counts(paid, back).label("is_counted"),
        or_(paid.c.standing != Standing.PAID.value, back > 0).label("came_back"),
        (second != MIDNIGHT).label("is_timed"),
        or_(second >= NIGHT_BEGINS, second.between(MIDNIGHT + 1, NIGHT_ENDS - 1)).label("at_night"),
    )


def _sums(orders: Any) -> Select[Any]:
    counting = orders.c.is_counted
    count = func.count().filter(counting)
    total = cast(func.coalesce(func.sum(orders.c.net).filter(counting), 0), BigInteger)
    twice = type_coerce(func.nullif(2 * count, 0), BigInteger)
    known = func.count(orders.c.net).filter(counting) == count
    timed = func.count().filter(counting, orders.c.is_timed)
    times_told = or_(count == 0, timed > 0)
    discounts_told = or_(count == 0, func.count(orders.c.discount_minor).filter(counting) > 0)
    parcels_told = or_(count == 0, func.count(orders.c.fulfilment).filter(counting) > 0)
    on_the_way = func.count().filter(counting, orders.c.fulfilment.in_(ON_THE_WAY)) > 0
    return select(
        orders.c.person,
        count.label("orders_count"),
        case((known, total), else_=null()).label("total_spent"),
        case((known, (2 * total + count) // twice), else_=null()).label("average_basket"),
        func.min(orders.c.created_at).filter(counting).label("first_order_at"),
        func.max(orders.c.created_at).filter(counting).label("last_order_at"),
        case((count == 0, 0), else_=cast(func.sum(orders.c.pieces).filter(counting), BigInteger)).label(
            "items_bought"
        ),
        case(
            (discounts_told, func.count().filter(counting, orders.c.discount_minor > 0)), else_=null()
        ).label("discounted_orders"),
        case((times_told, func.count().filter(counting, orders.c.at_night)), else_=null()).label(
            "night_orders"
        ),
        timed.label("timed_orders"),
        func.count().label("paid_orders"),
        func.count().filter(orders.c.came_back).label("refunded_orders"),
        case((parcels_told, on_the_way), else_=null()).label("order_in_progress"),
    ).group_by(orders.c.person)


def top_categories(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    """Select each person's three categories that most was spent on, the first first.

    Between equals the one bought last comes first, then the first by name.
    """
    # Materialized: else SQLite begins with every line of the stores (3.40).
    orders = counted(scope, dirty).cte("counted").prefix_with("MATERIALIZED")
    spent = (
        select(
            orders.c.person,
            CATEGORIES.c.name,
            func.sum(converted(scope, orders.c.currency, LINES.c.total_minor)).label("spent"),
            func.max(orders.c.created_at).label("bought_at"),
        )
        .join(LINES, and_(LINES.c.store == orders.c.store, LINES.c.order_id == orders.c.id))
        .join(
            CATEGORIES,
            and_(CATEGORIES.c.store == LINES.c.store, CATEGORIES.c.product_id == LINES.c.product_id),
        )
        .group_by(orders.c.person, CATEGORIES.c.name)
        .subquery()
    )
    order = (spent.c.spent.desc().nulls_last(), spent.c.bought_at.desc(), spent.c.name)
    place = func.row_number().over(partition_by=spent.c.person, order_by=order).label("place")
    ranked = select(spent.c.person, spent.c.name, place).subquery()
    chosen: Select[Any] = select(ranked.c.person, ranked.c.name)
    return chosen.where(ranked.c.place <= TOP).order_by(ranked.c.person, ranked.c.place)


def open_checkouts(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    """Select the checkouts that are open and were not followed by a paid order, the newest last.

    The order counts in whichever store of the sync it was placed: nobody who paid is to be reminded. One that was
    begun before the checkout counts when it was paid after that.
    """
    begun = CHECKOUTS.c.created_at
    followed = exists().where(
        ORDERS.c.person == CHECKOUTS.c.person,
        ORDERS.c.store.in_(scope.stores),
        or_(ORDERS.c.created_at >= begun, ORDERS.c.paid_at >= begun),
        was_paid(),
    )
    checkouts: Select[Any] = select(
        CHECKOUTS.c.person,
        CHECKOUTS.c.store,
        CHECKOUTS.c.id.label("checkout_id"),
        CHECKOUTS.c.url.label("checkout_url"),
        CHECKOUTS.c.updated_at.label("checkout_at"),
        converted(scope, CHECKOUTS.c.currency, CHECKOUTS.c.total_minor).label("checkout_total"),
    )
    mine = (CHECKOUTS.c.person.in_(dirty), CHECKOUTS.c.store.in_(scope.stores))
    newest_last = (CHECKOUTS.c.updated_at, CHECKOUTS.c.store, CHECKOUTS.c.id)
    return checkouts.where(*mine, CHECKOUTS.c.completed_at.is_(None), ~followed).order_by(*newest_last)


# --- windows of time -----------------------------------------------------------------------------------


def window(
    scope: Scope, figure: str, person: ColumnElement[str], since: ColumnElement[Any]
) -> ColumnElement[Any]:
    """Count one person's orders placed after `since`: a figure of WINDOWS; correlated to the person's row."""
    mine = (
        ORDERS.c.person == person,
        ORDERS.c.store.in_(scope.stores),
        counts(),
        ORDERS.c.created_at > since,
    )
    return select(WINDOWS[figure](scope)).where(*mine).correlate_except(ORDERS).scalar_subquery()


def placed_between(scope: Scope, first: datetime, last: datetime) -> Select[Any]:
    """Select who placed an order between two moments, of those that windows look at."""
    query: Select[Any] = select(ORDERS.c.person)
    return query.where(ORDERS.c.store.in_(scope.stores), ORDERS.c.created_at.between(first, last))


def next_placed(store: str, after: datetime) -> Select[Any]:
    """Select when the first order of a store after a moment was placed."""
    placed = ORDERS.c.created_at
    return select(placed).where(ORDERS.c.store == store, placed > after).order_by(placed).limit(1)


def _spent(scope: Scope) -> ColumnElement[Any]:
    amount = net(scope)
    total = cast(func.coalesce(func.sum(amount), 0), BigInteger)
    return case((func.count(amount) == func.count(), total), else_=null())


WINDOWS: Mapping[str, Callable[[Scope], ColumnElement[Any]]] = {
    "orders": lambda _: func.count(),
    "spent": _spent,
    "items": lambda _: case((func.count() == 0, 0), else_=cast(func.sum(items()), BigInteger)),
}
"""What can be asked of a window of time; amounts in minor units of the sync's currency."""
