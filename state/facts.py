"""Pages to rows, guarded by version: stage 1 of the way of the data ends here.

An older copy of a row never overwrites a newer one, an equal copy changes nothing and touches nobody.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    bindparam,
    delete,
    func,
    select,
    union_all,
    update,
)

from connectors.base import Page
from connectors.facts import (
    Checkout,
    Customer,
    Fact,
    Money,
    Order,
    Product,
    Refund,
    Standing,
)
from state import privacy
from state.bookkeeping import RenameRow, SyncRow, TouchedRow
from state.columns import (
    checkout_columns,
    customer_columns,
    digest,
    line_columns,
    order_columns,
    product_columns,
    refund_columns,
)
from state.consents import Word, carry_refusals, move_words, save_words
from state.dialect import (
    among,
    chunks,
    gathered,
    json_list,
    pairs_gathered,
    texts_gathered,
    upsert,
)
from state.tables import (
    CheckoutRow,
    CustomerRow,
    OrderLineRow,
    OrderRow,
    ProductCategoryRow,
    ProductRow,
    RefundRow,
    table,
)

ORDERS = table(OrderRow)
LINES = table(OrderLineRow)
REFUNDS = table(RefundRow)
CUSTOMERS = table(CustomerRow)
CHECKOUTS = table(CheckoutRow)
PRODUCTS = table(ProductRow)
CATEGORIES = table(ProductCategoryRow)
TOUCHED = table(TouchedRow)
RENAMES = table(RenameRow)
SYNCS = table(SyncRow)

# Built once: putting a statement together takes longer than running it.
NEWEST = union_all(
    *(select(func.max(column)) for column in (TOUCHED.c.revision, RENAMES.c.revision, SYNCS.c.revision))
)
ACCOUNTS = select(pairs_gathered(CUSTOMERS.c.id, CUSTOMERS.c.email)).where(
    CUSTOMERS.c.store == bindparam("store"),
    among(CUSTOMERS.c.id, "ids"),
    CUSTOMERS.c.email.is_not(None),
)

WAITING = select(texts_gathered(TOUCHED.c.email)).where(
    among(TOUCHED.c.email, "people"),
    TOUCHED.c.revision > select(func.coalesce(func.max(SYNCS.c.revision), 0)).scalar_subquery(),
)

KINDS: Mapping[type[Fact], str] = {
    Order: "order",
    Refund: "refund",
    Customer: "customer",
    Checkout: "checkout",
    Product: "product",
}
"""How connectors name the records of each kind of fact, as in BadRecord("order 727", …)."""

REVISION_SIZE = 1000
"""People; a page of a store rarely concerns more, a renamed category may concern everybody."""


@dataclass(slots=True)
class Marks:
    """Whom a page concerns, and the revision that says so.

    With `doubts` the page came by webhook: it may be late, and replaces only what is older. What it tells
    otherwise, of the same moment, is named there. What we asked for replaces its equals too.
    """

    revision: int
    doubts: set[str] | None = None
    people: set[str | None] = field(default_factory=set)
    renamed: bool = False
    """Then everybody is marked anew: a rename takes place together with the people of its revision."""


def save_page(
    connection: Connection,
    store: str,
    page: Page,
    now: datetime,
    *,
    history: bool = False,
    doubts: set[str] | None = None,
) -> int:
    """Store a page's facts and mark whom they concern; return how many rows were new or changed.

    Customers go first, so that the page's orders find their accounts. What a reading of `history` finds
    starts no journey (P10). For a page that came by webhook, `doubts` takes the records ("order 727") of
    which it tells otherwise than what is stored, of the same moment: the store has to be asked which holds.
    """
    facts = privacy.without_forgotten(connection, store, page.facts)
    marks = Marks(next_revision(connection), doubts)
    changed = 0
    for kind, save in SAVERS.items():
        rows = [fact for fact in facts if isinstance(fact, kind)]
        if rows:
            changed += save(connection, store, rows, marks)
    changed += _save_gone(connection, store, page.gone, now, marks)
    people = {email for email in marks.people if email}
    if history and people and not marks.renamed:
        people -= _waiting(connection, people)  # most orders of a first backfill are of such people
    touch(connection, people, marks.revision, history=history)
    return changed


def next_revision(connection: Connection) -> int:
    """Return the revision that what is stored now belongs to; writers are one at a time.

    Whoever was touched last may have been forgotten since: what the syncs have seen counts too.
    """
    return max(filter(None, connection.scalars(NEWEST)), default=0) + 1


def touch(
    connection: Connection, emails: Iterable[str | None], revision: int, *, history: bool = False
) -> None:
    """Mark people whose facts changed, so that every sync evaluates them.

    Many of them get revisions of their own: a sync takes whole revisions into memory. `history` leaves
    standing what was news of them before.
    """
    columns = ("revision",) if history else ("revision", "news")
    people = sorted({email for email in emails if email})
    for place, start in enumerate(range(0, len(people), REVISION_SIZE)):
        marked = dict.fromkeys(columns, revision + place)
        rows = [{"email": email, **marked} for email in people[start : start + REVISION_SIZE]]
        upsert(connection, TOUCHED, rows)


def _waiting(connection: Connection, people: Iterable[str]) -> set[str]:
    """Find those who are marked already, and whom no sync has come to since."""
    return set(gathered(connection.scalar(WAITING, {"people": json_list(people)}), list[str]))


def count_created(
    connection: Connection, store: str, resource: str, start: datetime | None, end: datetime | None
) -> int:
    """Count the stored rows of a window, for comparison with what the store says it has."""
    counted = COUNTED.get(resource)
    if counted is None:
        return 0
    query = select(func.count()).select_from(counted).where(counted.c.store == store)
    if start is not None:
        query = query.where(counted.c.created_at >= start)
    if end is not None:
        query = query.where(counted.c.created_at < end)
    if counted is ORDERS:
        query = query.where(ORDERS.c.standing != Standing.DELETED.value)
    return int(connection.scalar(query) or 0)


def _save_orders(connection: Connection, store: str, orders: Sequence[Order], marks: Marks) -> int:
    known = _versions(connection, ORDERS, store, [order.id for order in orders], ORDERS.c.person)
    fresh = _newer(orders, known, marks)
    accounts = _account_emails(connection, store, [order.customer_id for order in fresh])
    rows = [order_columns(store, order, accounts) for order in fresh]
    upsert(connection, ORDERS, rows, newer="updated_at")
    seen_before = [order.id for order in fresh if order.id in known]
    told = {order.id for order in fresh if order.refunds is not None}
    _clear(connection, LINES, store, seen_before)
    _clear(connection, REFUNDS, store, [order for order in seen_before if order in told])
    upsert(connection, LINES, [row for order in fresh for row in line_columns(store, order)])
    upsert(connection, REFUNDS, [refund_columns(store, r) for order in fresh for r in order.refunds or ()])
    people = {row["id"]: row["person"] for row in rows}
    words: list[Word] = [
        (f"order {order.id}", people[order.id], order.consent)
        for order in fresh
        if order.consent or order.id in known
    ]
    save_words(connection, store, words, marks.revision)
    marks.people.update(people.values())
    marks.people.update(known[order.id][2] for order in fresh if order.id in known)
    return len(fresh)


def _save_customers(connection: Connection, store: str, customers: Sequence[Customer], marks: Marks) -> int:
    known = _versions(
        connection, CUSTOMERS, store, [customer.id for customer in customers], CUSTOMERS.c.email
    )
    fresh = _newer(customers, known, marks)
    upsert(connection, CUSTOMERS, [customer_columns(store, c) for c in fresh], newer="updated_at")
    words = [(f"customer {c.id}", c.email, c.consent) for c in fresh if c.consent or c.id in known]
    save_words(connection, store, words, marks.revision)
    before = {customer.id: known[customer.id][2] for customer in fresh if customer.id in known}
    moved = {c.id: c.email for c in fresh if c.id not in before or before[c.id] != c.email}
    for owned in (ORDERS, CHECKOUTS):
        marks.people |= _take_over(connection, store, owned, moved, marks.revision)
    renames = [
        {"revision": marks.revision, "old": before[c.id], "new": c.email}
        for c in fresh
        if c.email and before.get(c.id) not in {None, c.email}
    ]
    upsert(connection, RENAMES, renames)
    carry_refusals(connection, [(row["old"], row["new"]) for row in renames])
    marks.renamed |= bool(renames)
    marks.people.update(c.email for c in fresh)
    marks.people.update(before.values())
    return len(fresh)


def _take_over(
    connection: Connection, store: str, owned: Table, accounts: Mapping[str, str | None], revision: int
) -> set[str | None]:
    """Give these accounts' orders (or checkouts) and proofs to their current address; return who had them."""
    moving: list[dict[str, Any]] = []
    people: set[str | None] = set()
    if not accounts:
        return people
    rows = connection.execute(_owned_by(owned), {"store": store, "accounts": json_list(accounts)})
    for row in rows.all():
        owner = accounts[row.customer_id] or row.email
        if owner != row.person:
            moving.append({"the_id": row.id, "the_owner": owner})
            people |= {row.person, owner}
    if moving:
        thing = (owned.c.store == store, owned.c.id == bindparam("the_id"))
        connection.execute(update(owned).where(*thing).values(person=bindparam("the_owner")), moving)
        if owned is ORDERS:
            owners = {f"order {each['the_id']}": each["the_owner"] for each in moving}
            move_words(connection, store, owners, revision)
    return people


@cache
def _owned_by(owned: Table) -> Select[Any]:
    mine = (owned.c.store == bindparam("store"), among(owned.c.customer_id, "accounts"))
    return select(owned.c.id, owned.c.person, owned.c.customer_id, owned.c.email).where(*mine)


def _save_checkouts(connection: Connection, store: str, checkouts: Sequence[Checkout], marks: Marks) -> int:
    known = _versions(
        connection, CHECKOUTS, store, [checkout.id for checkout in checkouts], CHECKOUTS.c.person
    )
    fresh = _newer(checkouts, known, marks)
    accounts = _account_emails(connection, store, [checkout.customer_id for checkout in fresh])
    rows = [checkout_columns(store, checkout, accounts) for checkout in fresh]
    upsert(connection, CHECKOUTS, rows, newer="updated_at")
    marks.people.update(row["person"] for row in rows)
    marks.people.update(known[checkout.id][2] for checkout in fresh if checkout.id in known)
    return len(fresh)


def _save_refunds(connection: Connection, store: str, refunds: Sequence[Refund], marks: Marks) -> int:
    known: dict[tuple[str, str], tuple[int, datetime | None]] = {}
    for part in chunks({refund.order_id for refund in refunds}):
        stored = select(REFUNDS.c.order_id, REFUNDS.c.id, REFUNDS.c.amount_minor, REFUNDS.c.created_at)
        for row in connection.execute(stored.where(REFUNDS.c.store == store, REFUNDS.c.order_id.in_(part))):
            known[row.order_id, row.id] = (row.amount_minor, row.created_at)
    fresh = [
        refund
        for refund in refunds
        if known.get((refund.order_id, refund.id)) != (refund.amount.minor, refund.created_at)
        and not (marks.doubts is not None and (refund.order_id, refund.id) in known)
    ]
    upsert(connection, REFUNDS, [refund_columns(store, refund) for refund in fresh])
    for part in chunks({refund.order_id for refund in fresh}):
        owners = select(ORDERS.c.person).where(ORDERS.c.store == store, ORDERS.c.id.in_(part))
        marks.people.update(connection.scalars(owners))
    return len(fresh)


def _save_products(connection: Connection, store: str, products: Sequence[Product], marks: Marks) -> int:
    known = _versions(connection, PRODUCTS, store, [product.id for product in products], PRODUCTS.c.title)
    fresh = _newer(products, known, marks)
    upsert(connection, PRODUCTS, [product_columns(store, product) for product in fresh], newer="updated_at")
    recategorised = [
        product for product in fresh if known.get(product.id, (None, None))[1] != digest(product)
    ]
    for part in chunks(product.id for product in recategorised):
        connection.execute(
            delete(CATEGORIES).where(CATEGORIES.c.store == store, CATEGORIES.c.product_id.in_(part))
        )
        buyers = (
            select(ORDERS.c.person)
            .distinct()
            .join(LINES, (LINES.c.store == ORDERS.c.store) & (LINES.c.order_id == ORDERS.c.id))
            .where(LINES.c.store == store, LINES.c.product_id.in_(part))
        )
        marks.people.update(connection.scalars(buyers))
    rows = [  # a name counts once: a shop can have Men/Shoes and Women/Shoes
        {"store": store, "product_id": product.id, "position": position, "name": name}
        for product in recategorised
        for position, name in enumerate(dict.fromkeys(product.categories))
    ]
    upsert(connection, CATEGORIES, rows)
    return len(fresh)


Saver = Callable[[Connection, str, Sequence[Any], Marks], int]
SAVERS: Mapping[type[Fact], Saver] = {
    Product: _save_products,
    Customer: _save_customers,
    Order: _save_orders,
    Refund: _save_refunds,
    Checkout: _save_checkouts,
}
COUNTED: Mapping[str, Table] = {"orders": ORDERS, "customers": CUSTOMERS, "checkouts": CHECKOUTS}


def _versions(
    connection: Connection, rows_of: Table, store: str, ids: Sequence[str], also: ColumnElement[Any]
) -> dict[str, Any]:
    """Return id -> (updated_at, digest, another column) of the rows that are stored already."""
    if not ids:
        return {}
    rows = connection.execute(_stored(rows_of, also), {"store": store, "ids": json_list(ids)})
    return {row[0]: (row[1], row[2], row[3]) for row in rows.all()}


@cache
def _stored(rows_of: Table, also: ColumnElement[Any]) -> Select[Any]:
    mine = (rows_of.c.store == bindparam("store"), among(rows_of.c.id, "ids"))
    return select(rows_of.c.id, rows_of.c.updated_at, rows_of.c.digest, also).where(*mine)


def _newer(facts: Sequence[Any], known: Mapping[str, Any], marks: Marks) -> list[Any]:
    """Keep the newest copy of each fact, and of those the ones that the store does not have yet."""
    newest: dict[str, Any] = {}
    for fact in facts:
        other = newest.setdefault(fact.id, fact)
        if fact.updated_at >= other.updated_at:
            newest[fact.id] = fact
        if marks.doubts is not None and fact.updated_at == other.updated_at and digest(fact) != digest(other):
            marks.doubts.add(name_of(fact))
    return [
        fact for fact in newest.values() if fact.id not in known or _replaces(fact, known[fact.id], marks)
    ]


def _replaces(fact: Any, stored: tuple[datetime, str, Any], marks: Marks) -> bool:
    at, known, _ = stored
    if fact.updated_at != at or digest(fact) == known:
        return bool(fact.updated_at > at)
    if marks.doubts is not None:
        marks.doubts.add(name_of(fact))
    return marks.doubts is None


def name_of(fact: Fact) -> str:
    """Name a fact's record as connectors do: "order 727"."""
    return f"{KINDS[type(fact)]} {fact.id}"


def _account_emails(connection: Connection, store: str, ids: Iterable[str | None]) -> dict[str, str]:
    """Return the current address of each account that has one."""
    named = {identifier for identifier in ids if identifier}
    if not named:
        return {}
    return gathered(connection.scalar(ACCOUNTS, {"store": store, "ids": json_list(named)}), dict[str, str])


def _clear(connection: Connection, rows_of: Table, store: str, orders: Sequence[str]) -> None:
    for part in chunks(orders):
        connection.execute(delete(rows_of).where(rows_of.c.store == store, rows_of.c.order_id.in_(part)))


def _save_gone(
    connection: Connection, store: str, records: Sequence[str], now: datetime, marks: Marks
) -> int:
    """Note that records are gone, from `now` on: a copy from before, which may still come, changes nothing.

    A stored order keeps what it was, for `explain`. Of what we never had, a tombstone stays.
    """
    if not records:
        return 0
    gone: dict[str, set[str]] = {"order": set(), "customer": set(), "checkout": set()}
    for kind, _, number in (record.partition(" ") for record in records):
        gone.get(kind, set()).add(number)
    known = _versions(connection, ORDERS, store, sorted(gone["order"]), ORDERS.c.standing)
    alive = [number for number, (_, _, standing) in known.items() if standing != Standing.DELETED.value]
    for part in chunks(alive):
        mine = (ORDERS.c.store == store, ORDERS.c.id.in_(part))
        marks.people.update(connection.scalars(select(ORDERS.c.person).where(*mine)))
        connection.execute(update(ORDERS).where(*mine).values(standing=Standing.DELETED.value))
        connection.execute(update(ORDERS).where(*mine, ORDERS.c.updated_at < now).values(updated_at=now))
    orders = [_order_tombstone(number, now) for number in sorted(gone["order"] - known.keys())]
    customers = [Customer(number, None, now, now) for number in sorted(gone["customer"])]
    checkouts = [_checkout_tombstone(number, now) for number in sorted(gone["checkout"])]
    changed = _save_customers(connection, store, customers, marks) + _save_orders(
        connection, store, orders, marks
    )
    return len(alive) + changed + _save_checkouts(connection, store, checkouts, marks)


def _order_tombstone(number: str, now: datetime) -> Order:
    nothing = Money(0, "XXX")  # ISO 4217: no currency
    return Order(number, "", None, None, Standing.DELETED, "deleted", nothing, now, now, refunds=())


def _checkout_tombstone(number: str, now: datetime) -> Checkout:
    return Checkout(number, None, None, None, None, now, now, completed_at=now)
