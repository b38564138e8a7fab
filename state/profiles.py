"""Facts to profiles, set-wise: the people that the last pages touched, and nobody else.

Everything here is a function of the stored facts (P1): a profile is computed anew, never added to.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import phonenumbers
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Row,
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
    union_all,
    update,
)
from sqlalchemy.orm import Session

from connectors.errors import BadRecord
from connectors.facts import Standing, exponent
from state import runs
from state.dialect import upsert
from state.tables import (
    CheckoutRow,
    ConsentRow,
    CustomerRow,
    OrderLineRow,
    OrderRow,
    ProductCategoryRow,
    ProfileRow,
    RefundRow,
    RenameRow,
    SyncRow,
    TouchedRow,
    table,
)

ORDERS, LINES, REFUNDS = table(OrderRow), table(OrderLineRow), table(RefundRow)
CUSTOMERS, CHECKOUTS, CATEGORIES = table(CustomerRow), table(CheckoutRow), table(ProductCategoryRow)
CONSENTS, TOUCHED, RENAMES = table(ConsentRow), table(TouchedRow), table(RenameRow)
PROFILES, SYNCS = table(ProfileRow), table(SyncRow)

NOT_A_PERSON = (Standing.TEST.value, Standing.DELETED.value)


@dataclass(frozen=True)
class Scope:
    """What a sync's profiles rest on. `rates` is the worth of one unit of a currency in `currency`."""

    sync: str
    stores: Sequence[str]
    esp: str
    currency: str
    rates: Mapping[str, Decimal]

    @property
    def digest(self) -> str:
        rates = sorted((code, str(rate)) for code, rate in self.rates.items())
        content = repr((sorted(self.stores), self.esp, self.currency, rates))
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def esp_origin(esp: str) -> str:
    """Name an ESP as the origin of a consent record, apart from a store of the same name."""
    return f"esp:{esp}"


def refresh(session: Session, scope: Scope, chunk: int, now: datetime) -> int:
    """Compute the next profiles whose facts changed, about `chunk` of them; return how many, 0 at the end.

    A kill between two calls loses nothing: the sync's revision moves with the profiles. An order whose
    currency has no rate makes its person's amounts unknown, and is a dead letter that says so.
    """
    seen = _seen(session, scope)
    upto = _next_revision(session, seen, chunk)
    if upto is None:
        return 0
    _rename(session, scope, seen, upto)
    dirty = select(TOUCHED.c.email).where(TOUCHED.c.revision > seen, TOUCHED.c.revision <= upto)
    found = int(session.scalar(select(func.count()).select_from(dirty.subquery())) or 0)
    _empty(session, scope, dirty, upto)
    rows = _computed(session, scope, dirty, upto)
    upsert(session, PROFILES, rows, index=("sync", "email"))
    if any(row["total_spent"] is None for row in rows) or runs.count_dead_letters(
        session, [scope.sync], "order "
    ):
        _bury_foreign(session, scope, dirty, now)
    session.execute(update(SYNCS).where(SYNCS.c.name == scope.sync).values(revision=upto))
    return found


def _seen(session: Session, scope: Scope) -> int:
    """Return the revision the sync has seen; 0 when what its profiles rest on changed."""
    row = session.execute(select(SYNCS.c.revision, SYNCS.c.scope).where(SYNCS.c.name == scope.sync)).first()
    if row is None:
        session.execute(SYNCS.insert().values(name=scope.sync, scope=scope.digest))
        return 0
    if row.scope != scope.digest:
        # What came with another store or rate is history, and history is quiet (P10).
        anew = {"scope": scope.digest, "revision": 0, "evaluated_at": None, "go_live_at": None}
        session.execute(update(SYNCS).where(SYNCS.c.name == scope.sync).values(**anew))
        runs.drop_dead_letters(session, scope.sync, "order ")
        return 0
    return int(row.revision)


def _next_revision(session: Session, seen: int, chunk: int) -> int | None:
    """Choose how far to go: whole revisions, about `chunk` people."""
    ahead = select(TOUCHED.c.revision).where(TOUCHED.c.revision > seen).order_by(TOUCHED.c.revision)
    upto = session.scalar(ahead.offset(chunk - 1).limit(1))
    if upto is None:
        upto = session.scalar(select(func.max(TOUCHED.c.revision)).where(TOUCHED.c.revision > seen))
    return None if upto is None else int(upto)


def _rename(session: Session, scope: Scope, seen: int, upto: int) -> None:
    """Let a profile follow its account to a new address, unless the old one still has facts of its own."""
    renames = session.execute(
        select(RENAMES.c.old, RENAMES.c.new)
        .where(RENAMES.c.revision > seen, RENAMES.c.revision <= upto)
        .order_by(RENAMES.c.revision)
    ).all()
    for old, new in renames:
        taken = select(PROFILES.c.id).where(PROFILES.c.sync == scope.sync, PROFILES.c.email == new)
        stays, goes = session.execute(
            select(_has_facts(scope, literal(old)), _has_facts(scope, literal(new)))
        ).one()
        if goes and not stays and session.scalar(taken) is None:
            mine = (PROFILES.c.sync == scope.sync, PROFILES.c.email == old)
            session.execute(update(PROFILES).where(*mine).values(email=new))


def _has_facts(scope: Scope, email: ColumnElement[str]) -> ColumnElement[bool]:
    stores = scope.stores
    return or_(
        exists().where(CUSTOMERS.c.email == email, CUSTOMERS.c.store.in_(stores)),
        exists().where(
            ORDERS.c.person == email, ORDERS.c.store.in_(stores), ORDERS.c.standing.not_in(NOT_A_PERSON)
        ),
        exists().where(CHECKOUTS.c.person == email, CHECKOUTS.c.store.in_(stores)),
    )


def _empty(session: Session, scope: Scope, dirty: Select[Any], upto: int) -> None:
    """Blank the profiles of people who have no facts any more; the ESP learns it like any change."""
    blank = dict.fromkeys(PROFILE_COLUMNS)
    session.execute(
        update(PROFILES)
        .where(
            PROFILES.c.sync == scope.sync,
            PROFILES.c.email.in_(dirty),
            ~_has_facts(scope, PROFILES.c.email),
        )
        .values(**blank | {"orders_count": 0, "total_spent": 0, "revision": upto})
    )


# --- the amounts: in SQL -------------------------------------------------------------------------------

PROFILE_COLUMNS = [
    *(column.name for column in PROFILES.c if "kind" in column.info and column.name != "email"),
    "consent_origin",
]


def _computed(session: Session, scope: Scope, dirty: Select[Any], upto: int) -> list[dict[str, Any]]:
    """Compute a complete row for each dirty person who has facts."""
    amounts = {row.person: row for row in session.execute(_amounts(scope, dirty))}
    preferred = {row.person: row.name for row in session.execute(_preferred(scope, dirty))}
    words = _by_person(session.execute(_consents(scope, dirty)))
    rows = []
    for person, records in _by_person(session.execute(_records(scope, dirty))).items():
        row = dict.fromkeys(PROFILE_COLUMNS) | {"sync": scope.sync, "email": person, "revision": upto}
        row |= NO_ORDERS if person not in amounts else _amount_columns(amounts[person])
        row |= description(records) | _consent_columns(words.get(person, []))
        row["preferred_category"] = preferred.get(person)
        rows.append(row)
    return rows


AMOUNTS = (
    "orders_count",
    "total_spent",
    "average_basket",
    "first_order_at",
    "last_order_at",
    "last_order_number",
    "currency",
)
NO_ORDERS = {"orders_count": 0, "total_spent": 0}


def _amount_columns(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in AMOUNTS}


def _amounts(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    """Sum up the orders that count. Amounts are NULL when one of them has no rate: unknown, not wrong."""
    orders = _counted(scope, dirty).cte("counted")
    count = func.count()
    total = cast(func.sum(orders.c.net), BigInteger)
    known = func.count(orders.c.net) == count
    sums = (
        select(
            orders.c.person,
            count.label("orders_count"),
            case((known, total), else_=null()).label("total_spent"),
            case((known, (2 * total + count) // (2 * count)), else_=null()).label("average_basket"),
            func.min(orders.c.created_at).label("first_order_at"),
            func.max(orders.c.created_at).label("last_order_at"),
        )
        .group_by(orders.c.person)
        .cte("sums")
    )
    last = (
        select(
            orders.c.person,
            func.max(orders.c.number).label("last_order_number"),
            func.max(orders.c.currency).label("currency"),
        )
        .join(sums, and_(sums.c.person == orders.c.person, sums.c.last_order_at == orders.c.created_at))
        .group_by(orders.c.person)
        .subquery()
    )
    query: Select[Any] = select(sums, last.c.last_order_number, last.c.currency)
    return query.join(last, last.c.person == sums.c.person)


def _counted(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    """Select the orders that count, with their net amount in the sync's currency (NULL without a rate)."""
    refunded = _refunded()
    net = case((ORDERS.c.total_minor == 0, 0), else_=ORDERS.c.total_minor - refunded)
    orders: Select[Any] = select(
        ORDERS.c.store,
        ORDERS.c.id,
        ORDERS.c.person,
        ORDERS.c.number,
        ORDERS.c.currency,
        ORDERS.c.created_at,
        _converted(scope, ORDERS.c.currency, net).label("net"),
    )
    return orders.where(
        ORDERS.c.person.in_(dirty),
        ORDERS.c.store.in_(scope.stores),
        ORDERS.c.standing == Standing.PAID.value,
        or_(ORDERS.c.total_minor == 0, refunded < ORDERS.c.total_minor),
    )


def _refunded() -> ColumnElement[int]:
    return (
        select(func.coalesce(func.sum(REFUNDS.c.amount_minor), 0))
        .where(REFUNDS.c.store == ORDERS.c.store, REFUNDS.c.order_id == ORDERS.c.id)
        .correlate(ORDERS)
        .scalar_subquery()
    )


def _converted(
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


def _preferred(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    """Keep the category that each person spent most on; between equals the one bought last, then by name."""
    # Materialized: else SQLite begins with every line of the stores (3.40).
    orders = _counted(scope, dirty).cte("counted").prefix_with("MATERIALIZED")
    spent = (
        select(
            orders.c.person,
            CATEGORIES.c.name,
            func.sum(_converted(scope, orders.c.currency, LINES.c.total_minor)).label("spent"),
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
    return select(ranked.c.person, ranked.c.name).where(ranked.c.place == 1)


def _bury_foreign(session: Session, scope: Scope, dirty: Select[Any], now: datetime) -> None:
    """Bury the orders that cannot be converted; dig out those that can by now, or count no more."""
    orders = _counted(scope, dirty).subquery()
    found = session.execute(
        select(orders.c.store, orders.c.id, orders.c.currency).where(orders.c.net.is_(None))
    )
    bad = [
        BadRecord(
            f"order {row.store}/{row.id}",
            f"its currency {row.currency} has no rate; set rates.{row.currency}",
        )
        for row in found
    ]
    theirs = session.execute(
        select(ORDERS.c.store, ORDERS.c.id).where(
            ORDERS.c.person.in_(dirty), ORDERS.c.store.in_(scope.stores)
        )
    )
    good = {f"order {row.store}/{row.id}" for row in theirs} - {letter.record for letter in bad}
    runs.unbury(session, scope.sync, good)
    runs.bury(session, scope.sync, bad, now)


# --- the person: the newest record that tells ----------------------------------------------------------


def _records(scope: Scope, dirty: Select[Any]) -> CompoundSelect[Any]:
    """Select all that tells who somebody is: accounts, orders of any standing, checkouts."""
    who = ("first_name", "last_name", "company", "phone", "postal_code", "city", "country")
    what = ("source_name", "source_evidence")
    accounts = select(
        CUSTOMERS.c.email.label("person"),
        CUSTOMERS.c.store,
        CUSTOMERS.c.id,
        CUSTOMERS.c.created_at,
        CUSTOMERS.c.updated_at.label("told_at"),
        literal(value=True).label("is_account"),
        CUSTOMERS.c.guest,
        *(CUSTOMERS.c[name] for name in (*who, *what)),
    ).where(CUSTOMERS.c.email.in_(dirty), CUSTOMERS.c.store.in_(scope.stores))
    orders = select(
        ORDERS.c.person,
        ORDERS.c.store,
        ORDERS.c.id,
        ORDERS.c.created_at,
        null().label("told_at"),  # when it was created; reading every moment twice takes time
        literal(value=False).label("is_account"),
        literal(value=False).label("guest"),
        *(ORDERS.c[name] for name in (*who, *what)),
    ).where(
        ORDERS.c.person.in_(dirty),
        ORDERS.c.store.in_(scope.stores),
        ORDERS.c.standing.not_in(NOT_A_PERSON),
    )
    checkouts = select(
        CHECKOUTS.c.person,
        CHECKOUTS.c.store,
        CHECKOUTS.c.id,
        CHECKOUTS.c.created_at,
        CHECKOUTS.c.updated_at.label("told_at"),
        literal(value=False).label("is_account"),
        literal(value=False).label("guest"),
        *(null().label(name) for name in (*who, *what)),
    ).where(CHECKOUTS.c.person.in_(dirty), CHECKOUTS.c.store.in_(scope.stores))
    return union_all(accounts, orders, checkouts)


def description(records: Sequence[Row[Any]]) -> dict[str, Any]:
    """Say who somebody is: what the newest record tells, and the source that the first one names."""
    oldest = sorted(records, key=lambda each: (each.created_at, each.is_account, each.store, each.id))
    newest = oldest[::-1]
    if any(each.told_at for each in records):
        newest = sorted(
            records,
            key=lambda each: (each.told_at or each.created_at, each.is_account, each.store, each.id),
            reverse=True,
        )
    place = _first(newest, "postal_code", "city", "country")
    phone = _first(newest, "phone")
    source = _first(oldest, "source_name")
    accounts = [record for record in oldest if record.is_account]
    return {
        **_take(_first(newest, "first_name", "last_name"), "first_name", "last_name"),
        **_take(_first(newest, "company"), "company"),
        **_take(place, "postal_code", "city", "country"),
        "phone": e164(phone.phone, phone.country) if phone else None,
        "signup_at": min(
            (record.created_at for record in accounts if not record.guest), default=oldest[0].created_at
        ),
        "lead_source": source.source_name if source else None,
        "lead_source_evidence": source.source_evidence if source else None,
        "stores": ",".join(sorted({record.store for record in records})),
        "customer_ids": ",".join(f"{record.store}:{record.id}" for record in accounts) or None,
    }


def _first(records: Sequence[Row[Any]], *names: str) -> Row[Any] | None:
    """Find the first record that tells one of these."""
    for record in records:
        for name in names:
            if getattr(record, name):
                return record
    return None


def _take(record: Row[Any] | None, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name, None) for name in names}


def _consent_columns(words: Sequence[Row[Any]]) -> dict[str, Any]:
    """Take the newest word; of two in one moment the refusal counts (P4)."""
    if not words:
        return {}
    word = max(words, key=lambda word: (word.at, not word.given, word.origin))
    return {"accepts_marketing": word.given, "consent_origin": word.origin}


def _consents(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    origins = [*scope.stores, esp_origin(scope.esp)]
    words: Select[Any] = select(
        CONSENTS.c.email.label("person"), CONSENTS.c.given, CONSENTS.c.at, CONSENTS.c.origin
    )
    return words.where(CONSENTS.c.email.in_(dirty), CONSENTS.c.origin.in_(origins))


def _by_person(rows: Iterable[Row[Any]]) -> dict[str, list[Row[Any]]]:
    grouped: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.person].append(row)
    return grouped


@lru_cache(maxsize=4096)
def e164(phone: str, country: str | None) -> str | None:
    """Read a phone number as typed by somebody in `country`; None when it cannot be one."""
    try:
        number = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
