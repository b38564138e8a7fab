"""All that is known of one person, for `explain`: reads only, and only what the owner may see."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, Table, case, func, literal, select

from connectors.base import Value
from connectors.facts import Standing
from state import ledger
from state.bookkeeping import ContactJobRow, MembershipJobRow
from state.codes import decode
from state.evaluation import sync_state
from state.people import Record, is_heard, newest_word, records_of, tellers
from state.runs import DeadLetter, list_dead_letters
from state.scope import Scope, esp_origin
from state.tables import AcceptedRow, ConsentRow, EntryRow, MembershipRow, OrderRow, ProfileRow, table

ORDERS, CONSENTS = table(OrderRow), table(ConsentRow)
PROFILES, ACCEPTED, MEMBERSHIPS = table(ProfileRow), table(AcceptedRow), table(MembershipRow)
CONTACT_JOBS, MEMBERSHIP_JOBS, ENTRIES = table(ContactJobRow), table(MembershipJobRow), table(EntryRow)


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order; `why_not` is None when it counts.

    Amounts in minor units of `currency`; `worth_minor` is what it adds to the totals, in those of the sync's
    currency, and None where that has no rate.
    """

    store: str
    number: str
    status: str
    created_at: datetime
    currency: str
    total_minor: int
    refunded_minor: int
    worth_minor: int | None
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Word:
    """A consent record: where it stands, what it says, when it was given; the newest one `counts`."""

    origin: str
    record: str
    given: bool
    at: datetime
    level: str | None
    counts: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """The record that a column was taken from."""

    store: str
    record: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Membership:
    """Where somebody stands with a list.

    `inside` since `at`, as far as the ESP was `told`; `refused` is why it did not take the last change,
    `doubtful` that nobody knows whether it did. `entered_at` is their last entry into a journey, `quiet` when
    it was history. `waits` is the change in the outbox: "join" or "leave".
    """

    inside: bool = False
    at: datetime | None = None
    told: bool = True
    refused: str | None = None
    doubtful: bool = False
    entered_at: datetime | None = None
    quiet: bool = False
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptedContact:
    """What the ESP last took, what it refused and why, and whether more waits."""

    email: str | None
    fields: Mapping[str, Value]
    refused: Mapping[str, str]
    refused_whole: bool  # and why stands in a dead letter
    subscribe: str | None
    accepted_at: datetime | None
    blocked: str | None
    waiting: bool


@dataclass(frozen=True, slots=True)
class Dossier:
    """`origins` says which record a column was taken from; `live_since` when the sync went live."""

    profile: int
    columns: Mapping[str, Any]
    origins: Mapping[str, Origin]
    accounts: list[str]
    orders: list[OrderLine]
    words: list[Word]
    accepted: AcceptedContact | None
    lists: Mapping[str, Membership]
    letters: list[DeadLetter]
    live_since: datetime | None
    opt_outs_heard_at: datetime | None


def dossier(connection: Connection, scope: Scope, email: str) -> Dossier | None:
    """Gather what a sync knows of a person; None when it knows nobody by this address."""
    mine = (PROFILES.c.sync == scope.sync, PROFILES.c.email == email)
    row = connection.execute(select(PROFILES).where(*mine)).mappings().first()
    if row is None:
        return None
    state = sync_state(connection, scope.sync)
    return Dossier(
        row["id"],
        {column.name: row[column.name] for column in PROFILES.c if "kind" in column.info},
        _origins(connection, scope, email),
        (row["customer_ids"] or "").split(",") if row["customer_ids"] else [],
        _orders(connection, scope, email),
        _words(connection, scope, email),
        _accepted(connection, scope.sync, row["id"]),
        _lists(connection, scope.sync, row["id"]),
        _letters(connection, scope.sync, row["id"]),
        state.go_live_at,
        state.opt_outs_at,
    )


def _origins(connection: Connection, scope: Scope, email: str) -> dict[str, Origin]:
    records = [Record._make(row) for row in connection.execute(records_of(scope, select(literal(email))))]
    told = tellers(records) if records else {}
    origins = {
        column: Origin(record.store, f"{_kind(record)} {record.id}", record.told_at or record.created_at)
        for column, record in told.items()
    }
    for row in connection.execute(ledger.open_checkouts(scope, select(literal(email)))):  # the newest last
        begun = Origin(row.store, f"checkout {row.checkout_id}", row.checkout_at)
        origins |= dict.fromkeys(ledger.CHECKOUT, begun)
    return origins


def _kind(record: Record) -> str:
    if record.is_account:
        return "customer"
    return "checkout" if record.told_at else "order"


WHY_NOT = {
    Standing.UNPAID: "not paid",
    Standing.CANCELLED: "cancelled",
    Standing.REFUNDED: "refunded in full",
    Standing.TEST: "a test order",
    Standing.DELETED: "deleted in the store",
}


def _orders(connection: Connection, scope: Scope, email: str) -> list[OrderLine]:
    worth = case((ledger.counts(), ledger.net(scope)), else_=0)
    rows = connection.execute(
        select(ORDERS, ledger.refunded().label("refunded_minor"), worth.label("worth_minor"))
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
            row.worth_minor,
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


def _words(connection: Connection, scope: Scope, email: str) -> list[Word]:
    rows = connection.execute(
        select(CONSENTS).where(CONSENTS.c.email == email, is_heard(scope)).order_by(CONSENTS.c.at)
    ).all()
    newest = newest_word(rows) if rows else None
    return [
        Word(row.origin, _record(row), row.given, row.at, row.level, counts=row is newest) for row in rows
    ]


def _record(word: Row[Any]) -> str:
    """Name the record; at an ESP by its kind alone, for its name there is the address."""
    is_ours = not word.origin.startswith(esp_origin(""))
    return str(word.record if is_ours else word.record.split(" ")[0])


def _accepted(connection: Connection, sync: str, profile: int) -> AcceptedContact | None:
    row = connection.execute(
        select(ACCEPTED).where(ACCEPTED.c.sync == sync, ACCEPTED.c.profile == profile)
    ).first()
    if row is None:
        return None
    fields: dict[str, str | None] = msgspec.json.decode(row.fields)
    refused: dict[str, list[str]] = msgspec.json.decode(row.refused)
    return AcceptedContact(
        row.email,
        {name: decode(code) for name, code in fields.items()},
        {name: reason for name, (_, reason) in refused.items()},
        row.refused_contact is not None,
        row.subscribe,
        row.accepted_at,
        row.blocked,
        waiting=_waits(connection, CONTACT_JOBS, sync, profile)
        or _waits(connection, MEMBERSHIP_JOBS, sync, profile),
    )


def _waits(connection: Connection, jobs: Table, sync: str, profile: int) -> bool:
    query = select(func.count()).select_from(jobs).where(jobs.c.sync == sync, jobs.c.profile == profile)
    return bool(connection.scalar(query))


def _lists(connection: Connection, sync: str, profile: int) -> dict[str, Membership]:
    """Put together what is known of each list: the place in it, the last entry, and what waits."""
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in connection.execute(_of(MEMBERSHIPS, sync, profile)):
        known = ("inside", "at", "told", "refused", "doubtful")
        rows[row.list] |= {name: getattr(row, name) for name in known}
    for row in connection.execute(_of(ENTRIES, sync, profile)):
        rows[row.list] |= {"entered_at": row.at, "quiet": row.quiet}
    for row in connection.execute(_of(MEMBERSHIP_JOBS, sync, profile)):
        rows[row.list] |= {"waits": "join" if row.joins else "leave"}
    return {name: Membership(**known) for name, known in rows.items()}


def _of(rows: Table, sync: str, profile: int) -> Select[Any]:
    return select(rows).where(rows.c.sync == sync, rows.c.profile == profile)


def _letters(connection: Connection, sync: str, profile: int) -> list[DeadLetter]:
    mine = re.compile(rf"profile {profile}( |$)")
    return [each for each in list_dead_letters(connection, [sync]) if mine.match(each.record)]
