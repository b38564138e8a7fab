"""All that is known of one person, for `explain`: reads only, and only what the owner may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from connectors.base import Value
from connectors.facts import Standing
from state.outbox import decode
from state.scope import Scope, esp_origin
from state.tables import (
    AcceptedRow,
    ConsentRow,
    ContactJobRow,
    MembershipJobRow,
    MembershipRow,
    OrderRow,
    ProfileRow,
    RefundRow,
    table,
)

ORDERS, REFUNDS, CONSENTS = (
    table(OrderRow),
    table(RefundRow),
    table(ConsentRow),
)
PROFILES, ACCEPTED, MEMBERSHIPS = table(ProfileRow), table(AcceptedRow), table(MembershipRow)
CONTACT_JOBS, MEMBERSHIP_JOBS = table(ContactJobRow), table(MembershipJobRow)


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order; `why_not` is None when it counts. Amounts in minor units of `currency`."""

    store: str
    number: str
    status: str
    created_at: datetime
    currency: str
    total_minor: int
    refunded_minor: int
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Word:
    """A consent record: where it stands, what it says, when it was given."""

    origin: str
    record: str
    given: bool
    at: datetime
    level: str | None


@dataclass(frozen=True, slots=True)
class AcceptedContact:
    """What the ESP last took, what it refused and why, and whether more waits."""

    email: str | None
    fields: Mapping[str, Value]
    refused: Mapping[str, str]
    lists: Mapping[str, str | None]
    accepted_at: datetime | None
    blocked: str | None
    waiting: bool


@dataclass(frozen=True, slots=True)
class Dossier:
    profile: int
    columns: Mapping[str, Any]
    accounts: list[str]
    orders: list[OrderLine]
    words: list[Word]
    accepted: AcceptedContact | None


def dossier(session: Session, scope: Scope, email: str) -> Dossier | None:
    """Gather what a sync knows of a person; None when it knows nobody by this address."""
    mine = (PROFILES.c.sync == scope.sync, PROFILES.c.email == email)
    row = session.execute(select(PROFILES).where(*mine)).mappings().first()
    if row is None:
        return None
    columns = {column.name: row[column.name] for column in PROFILES.c if "kind" in column.info}
    return Dossier(
        row["id"],
        columns,
        (row["customer_ids"] or "").split(",") if row["customer_ids"] else [],
        _orders(session, scope, email),
        _words(session, scope, email),
        _accepted(session, scope.sync, row["id"]),
    )


WHY_NOT = {
    Standing.UNPAID: "not paid",
    Standing.CANCELLED: "cancelled",
    Standing.REFUNDED: "refunded in full",
    Standing.TEST: "a test order",
    Standing.DELETED: "deleted in the store",
}


def _orders(session: Session, scope: Scope, email: str) -> list[OrderLine]:
    refunded = (
        select(func.coalesce(func.sum(REFUNDS.c.amount_minor), 0))
        .where(REFUNDS.c.store == ORDERS.c.store, REFUNDS.c.order_id == ORDERS.c.id)
        .correlate(ORDERS)
        .scalar_subquery()
    )
    rows = session.execute(
        select(ORDERS, refunded.label("refunded_minor"))
        .where(ORDERS.c.person == email, ORDERS.c.store.in_(scope.stores))
        .order_by(ORDERS.c.created_at, ORDERS.c.store, ORDERS.c.id)
    )
    return [
        OrderLine(
            row.store,
            row.number,
            row.status,
            row.created_at,
            row.currency,
            row.total_minor,
            int(row.refunded_minor),
            _why_not(row, scope),
        )
        for row in rows
    ]


def _why_not(row: Any, scope: Scope) -> str | None:
    standing = Standing(row.standing)
    if standing is not Standing.PAID:
        return WHY_NOT[standing]
    if row.total_minor and row.refunded_minor >= row.total_minor:
        return WHY_NOT[Standing.REFUNDED]
    if row.currency not in {scope.currency, *scope.rates}:
        return f"counted, but amounts are unknown: no rate for {row.currency}"
    return None


def _words(session: Session, scope: Scope, email: str) -> list[Word]:
    origins = [*scope.stores, esp_origin(scope.esp)]
    rows = session.execute(
        select(CONSENTS)
        .where(CONSENTS.c.email == email, CONSENTS.c.origin.in_(origins))
        .order_by(CONSENTS.c.at)
    )
    return [Word(row.origin, row.record.split(" ")[0], row.given, row.at, row.level) for row in rows]


def _accepted(session: Session, sync: str, profile: int) -> AcceptedContact | None:
    row = session.execute(
        select(ACCEPTED).where(ACCEPTED.c.sync == sync, ACCEPTED.c.profile == profile)
    ).first()
    if row is None:
        return None
    lists = session.execute(
        select(MEMBERSHIPS.c.list, MEMBERSHIPS.c.refused).where(
            MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.profile == profile
        )
    )
    fields: dict[str, str | None] = msgspec.json.decode(row.fields)
    refused: dict[str, list[str]] = msgspec.json.decode(row.refused)
    return AcceptedContact(
        row.email,
        {name: decode(code) for name, code in fields.items()},
        {name: reason for name, (_, reason) in refused.items()},
        {each.list: each.refused for each in lists},
        row.accepted_at,
        row.blocked,
        _is_waiting(session, sync, profile),
    )


def _is_waiting(session: Session, sync: str, profile: int) -> bool:
    return any(
        session.scalar(
            select(func.count()).select_from(jobs).where(jobs.c.sync == sync, jobs.c.profile == profile)
        )
        for jobs in (CONTACT_JOBS, MEMBERSHIP_JOBS)
    )
