"""What we believe an ESP to have, to hold against what it has; and what the last comparison found."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, select, update

from connectors.base import Resource, Subscribe, Value, Window
from connectors.facts import Standing
from state import facts
from state.bookkeeping import AuditRow, CursorRow
from state.codes import decode
from state.dialect import chunks, upsert
from state.offering import DELETED
from state.outbox import ACCEPTED, MEMBERSHIPS, emails_of
from state.scope import esp_origin
from state.tables import OrderRow, ProfileRow, table

AUDITS, CURSORS, ORDERS, PROFILES = (table(row) for row in (AuditRow, CursorRow, OrderRow, ProfileRow))
TAKEN = (ACCEPTED.c.accepted_at.is_not(None), ACCEPTED.c.blocked.is_(None))
SAME = (ACCEPTED.c.sync == PROFILES.c.sync) & (ACCEPTED.c.profile == PROFILES.c.id)


@dataclass(frozen=True, slots=True)
class Believed:
    """What the ESP accepted of a profile, under `email`.

    `unsure` are lists of which it refused a change. `agreed` says that the newest word is a yes, `opted_out`
    that it is a no, or the ESP's own.
    """

    profile: int
    email: str
    fields: Mapping[str, Value]
    lists: frozenset[str]
    unsure: frozenset[str]
    subscribe: str | None
    agreed: bool
    opted_out: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """How the ESP differs from what it accepted of a profile, with what it has now.

    `fields` are texts, empty for none. `lists` are true for those that it has them in though we took them
    out. Of whom it does not have at all there is nothing more to say.
    """

    profile: int
    email: str
    missing: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.missing or bool(self.fields) or bool(self.lists)


@dataclass(frozen=True, slots=True)
class Audit:
    """What the last audit of a sync found: people who drifted, and orders that are not where they should be."""

    at: datetime
    people: int
    orders: int
    report: Mapping[str, Any]


def moved(connection: Connection, sync: str) -> dict[str, int]:
    """Find who is known to the ESP by another address than ours: address there -> profile."""
    query = select(ACCEPTED.c.email, ACCEPTED.c.profile).join(PROFILES, SAME)
    rows = connection.execute(
        query.where(ACCEPTED.c.sync == sync, *TAKEN, ACCEPTED.c.email != PROFILES.c.email)
    )
    return {row.email: row.profile for row in rows}


def believed(
    connection: Connection, sync: str, esp: str, emails: Iterable[str], moved: Mapping[str, int]
) -> dict[str, Believed]:
    """Return what the ESP accepted of these addresses, without those of which it accepted nothing."""
    found: dict[str, Believed] = {}
    wanted = set(emails)
    for part in chunks(wanted):
        theirs = PROFILES.c.email.in_(part) | PROFILES.c.id.in_(
            [moved[email] for email in part if email in moved]
        )
        columns = (ACCEPTED, PROFILES.c.accepts_marketing, PROFILES.c.consent_origin)
        rows = connection.execute(
            select(*columns).join(PROFILES, SAME).where(PROFILES.c.sync == sync, *TAKEN, theirs)
        ).all()
        entries = _entries(connection, sync, [row.profile for row in rows])
        found |= {
            row.email: _believed(row, entries.get(row.profile, ()), esp)
            for row in rows
            if row.email in wanted
        }
    return found


def _entries(connection: Connection, sync: str, profiles: Sequence[int]) -> dict[int, list[Row[Any]]]:
    entries: dict[int, list[Row[Any]]] = {}
    for part in chunks(profiles):
        mine = (MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.profile.in_(part))
        for row in connection.execute(select(MEMBERSHIPS).where(*mine)):
            entries.setdefault(row.profile, []).append(row)
    return entries


def _believed(row: Row[Any], entries: Sequence[Row[Any]], esp: str) -> Believed:
    codes: dict[str, str | None] = msgspec.json.decode(row.fields)
    return Believed(
        profile=row.profile,
        email=row.email,
        fields={name: decode(code) for name, code in codes.items()},
        lists=frozenset(entry.list for entry in entries if entry.inside and entry.told),
        unsure=frozenset(entry.list for entry in entries if entry.refused is not None),
        subscribe=row.subscribe,
        agreed=row.accepts_marketing is True,
        opted_out=row.accepts_marketing is False or row.consent_origin == esp_origin(esp),
    )


def accepted_people(
    connection: Connection, sync: str, after: int, most: int, *, asked: bool
) -> list[tuple[int, str]]:
    """Return the next profiles that the ESP has accepted, each with the address it knows them by.

    Those who were `asked` to confirm are left out where they may be no contacts as yet.
    """
    query = select(ACCEPTED.c.profile, ACCEPTED.c.email).where(
        ACCEPTED.c.sync == sync, ACCEPTED.c.profile > after, *TAKEN
    )
    if not asked:
        query = query.where(func.coalesce(ACCEPTED.c.subscribe, "") != Subscribe.ASK.value)
    return [(row[0], row[1]) for row in connection.execute(query.order_by(ACCEPTED.c.profile).limit(most))]


def repair(
    connection: Connection, sync: str, drifts: Sequence[Drift], kept: frozenset[str], now: datetime
) -> None:
    """Believe what the ESP has, so that the next run writes what differs.

    Whoever was deleted there is written again without a subscription. The lists in `kept` are left alone:
    entering them again would start their journeys again.
    """
    for drift in drifts:
        mine = (ACCEPTED.c.sync == sync, ACCEPTED.c.profile == drift.profile)
        if drift.missing:
            nothing = {"fields": "{}", "subscribe": DELETED, "refused_contact": None}
            connection.execute(update(ACCEPTED).where(*mine).values(**nothing))
            entries = (MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.profile == drift.profile)
            connection.execute(delete(MEMBERSHIPS).where(*entries, MEMBERSHIPS.c.list.not_in(kept)))
        if drift.fields:
            codes = msgspec.json.decode(connection.scalars(select(ACCEPTED.c.fields).where(*mine)).one())
            codes |= {name: f"t:{text}" if text else None for name, text in drift.fields.items()}
            connection.execute(
                update(ACCEPTED).where(*mine).values(fields=msgspec.json.encode(codes).decode())
            )
        for name, inside in drift.lists.items():
            _believe_entry(connection, sync, drift.profile, name, now, inside=inside)
    emails = emails_of(connection, (drift.profile for drift in drifts))
    facts.touch(connection, emails, facts.next_revision(connection))


def _believe_entry(
    connection: Connection, sync: str, profile: int, name: str, now: datetime, *, inside: bool
) -> None:
    key = {"sync": sync, "profile": profile, "list": name}
    if inside:
        known = {"at": now, "inside": True, "refused": None, "told": True, "doubtful": False}
        upsert(connection, MEMBERSHIPS, [key | known])
    else:
        connection.execute(
            delete(MEMBERSHIPS).where(*(MEMBERSHIPS.c[column] == key[column] for column in key))
        )


def orders_read_at(connection: Connection, store: str) -> datetime | None:
    """Return up to when a store's orders have been read, None before the first time."""
    mine = (CURSORS.c.store == store, CURSORS.c.resource == Resource.ORDERS.value)
    found: datetime | None = connection.scalar(
        select(func.coalesce(CURSORS.c.read_at, CURSORS.c.since)).where(*mine)
    )
    return found


def first_order_at(connection: Connection, store: str) -> datetime | None:
    """Return when the oldest stored order was placed."""
    found: datetime | None = connection.scalar(
        select(func.min(ORDERS.c.created_at)).where(ORDERS.c.store == store)
    )
    return found


def count_orders(connection: Connection, store: str, window: Window) -> tuple[int, dict[str, int]]:
    """Count a window's stored orders, and add up the paid ones of each currency in minor units."""
    assert window.end is not None  # noqa: S101 - for the type: audits ask for what lies behind us
    count = facts.count_created(connection, store, Resource.ORDERS.value, window.start, window.end)
    within = [ORDERS.c.store == store, ORDERS.c.created_at < window.end]
    if window.start is not None:
        within.append(ORDERS.c.created_at >= window.start)
    sums = select(ORDERS.c.currency, func.sum(ORDERS.c.total_minor)).where(
        *within, ORDERS.c.standing == Standing.PAID.value
    )
    return count, {row[0]: int(row[1]) for row in connection.execute(sums.group_by(ORDERS.c.currency))}


def orders_within(connection: Connection, store: str, window: Window) -> list[str]:
    """Name a window's stored orders ("order 727") that the store has not said to be deleted."""
    within = [ORDERS.c.store == store, ORDERS.c.standing != Standing.DELETED.value]
    within += [ORDERS.c.created_at >= window.start] if window.start else []
    within += [ORDERS.c.created_at < window.end] if window.end else []
    return [f"order {number}" for number in connection.scalars(select(ORDERS.c.id).where(*within))]


def drop_orders(connection: Connection, store: str, records: Sequence[str]) -> None:
    """Count orders ("order 727") no more that their store, asked, does not have; it starts no journey (P10).

    A copy that is read again, of whatever moment, brings one back.
    """
    people: set[str | None] = set()
    for part in chunks(record.removeprefix("order ") for record in records):
        mine = (ORDERS.c.store == store, ORDERS.c.id.in_(part))
        people.update(connection.scalars(select(ORDERS.c.person).where(*mine)))
        connection.execute(update(ORDERS).where(*mine).values(standing=Standing.DELETED.value, digest=""))
    facts.touch(connection, people, facts.next_revision(connection), history=True)


def save_audit(connection: Connection, sync: str, audit: Audit) -> None:
    """Keep what an audit found in place of the one before; its report holds counts, and nobody's name."""
    report = msgspec.json.encode(audit.report).decode()
    row = {"sync": sync, "at": audit.at, "people": audit.people, "orders": audit.orders, "report": report}
    upsert(connection, AUDITS, [row])


def last_audits(connection: Connection) -> dict[str, Audit]:
    """Return each sync's last audit, by its name."""
    return {
        row.sync: Audit(row.at, row.people, row.orders, msgspec.json.decode(row.report))
        for row in connection.execute(select(AUDITS))
    }
