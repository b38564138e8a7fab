"""Facts to profiles, set-wise: the people that the last pages touched, and nobody else.

Everything here is a function of the stored facts (P1): a profile is computed anew, never added to.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    Select,
    Text,
    Update,
    bindparam,
    case,
    exists,
    false,
    func,
    null,
    or_,
    select,
    update,
)

from connectors.errors import BadRecord
from state import ledger, people, runs, syncs
from state.bookkeeping import RenameRow, TouchedRow
from state.dialect import as_stored, upsert
from state.people import NOT_A_PERSON
from state.scope import Scope
from state.tables import CheckoutRow, CustomerRow, OrderRow, ProfileRow, table

ORDERS, CUSTOMERS, CHECKOUTS = table(OrderRow), table(CustomerRow), table(CheckoutRow)
TOUCHED, RENAMES = table(TouchedRow), table(RenameRow)
PROFILES = table(ProfileRow)

PROFILE_COLUMNS = [
    *(column.name for column in PROFILES.c if "kind" in column.info and column.name != "email"),
    "consent_origin",
]
SEEN, UPTO = (bindparam(name, type_=BigInteger) for name in ("seen", "upto"))
DIRTY: Select[Any] = select(TOUCHED.c.email).where(TOUCHED.c.revision > SEEN, TOUCHED.c.revision <= UPTO)
"""Whose facts changed after one revision, up to another."""
COUNT_DIRTY = select(func.count()).select_from(DIRTY.subquery())
AHEAD = select(TOUCHED.c.revision).where(TOUCHED.c.revision > SEEN).order_by(TOUCHED.c.revision)
NEXT_AHEAD = AHEAD.offset(bindparam("skip", type_=BigInteger)).limit(1)
LAST_AHEAD = select(func.max(TOUCHED.c.revision)).where(TOUCHED.c.revision > SEEN)
RENAMED = (
    select(RENAMES.c.old, RENAMES.c.new, RENAMES.c.revision)
    .where(RENAMES.c.revision > SEEN, RENAMES.c.revision <= UPTO)
    .order_by(RENAMES.c.revision)
)

GONE_ON = (
    select(RENAMES.c.new, RENAMES.c.revision)
    .where(RENAMES.c.revision > SEEN, RENAMES.c.old == bindparam("old"))
    .order_by(RENAMES.c.revision)
)

Window = Mapping[str, int]
"""The revisions that DIRTY and RENAMED look between: `seen` and `upto`."""


@dataclass(frozen=True)
class _Statements:
    """What is asked about a window's people. Building it takes longer than asking about a few of them."""

    amounts: Select[Any]
    checkouts: Select[Any]
    words: Select[Any]
    top_categories: Select[Any]
    records: CompoundSelect[Any]
    has_facts: Select[bool, bool]
    empty: Update


@lru_cache(maxsize=32)
def _statements(scope: Scope) -> _Statements:
    mine = PROFILES.c.sync == scope.sync
    nobody = ~_has_facts(scope, PROFILES.c.email)
    blank = dict.fromkeys(PROFILE_COLUMNS) | ledger.NO_ORDERS | {"revision": UPTO}
    # Whose account went to an address that had a profile leaves this one behind: nobody vouches for it.
    has_moved = exists().where(RENAMES.c.old == PROFILES.c.email)
    blank["accepts_marketing"] = case((has_moved, false()), else_=null())
    old, new = (bindparam(name, type_=Text()) for name in ("old", "new"))
    return _Statements(
        amounts=ledger.amounts(scope, DIRTY),
        checkouts=ledger.open_checkouts(scope, DIRTY),
        words=people.words_of(scope, DIRTY),
        top_categories=ledger.top_categories(scope, DIRTY),
        records=people.records_of(scope, DIRTY, as_stored),
        has_facts=select(_has_facts(scope, old), _has_facts(scope, new)),
        empty=update(PROFILES).where(mine, PROFILES.c.email.in_(DIRTY), nobody).values(**blank),
    )


def refresh(connection: Connection, scope: Scope, chunk: int, now: datetime) -> int:
    """Compute the next profiles whose facts changed, about `chunk` of them; return how many, 0 at the end.

    A kill between two calls loses nothing: the sync's revision moves with the profiles. An order whose
    currency has no rate makes its person's amounts unknown, and is a dead letter that says so.
    """
    seen = _seen(connection, scope)
    upto = _next_revision(connection, seen, chunk)
    if upto is None:
        return 0
    window = {"seen": seen, "upto": upto}
    _rename(connection, scope, window)
    connection.execute(_statements(scope).empty, window)
    rows = _computed(connection, scope, window)
    upsert(connection, PROFILES, rows, index=("sync", "email"))
    if any(row["total_spent"] is None for row in rows) or runs.count_dead_letters(
        connection, [scope.sync], "order "
    ):
        _bury_foreign(connection, scope, window, now)
    syncs.note(connection, scope.sync, revision=upto)
    return int(connection.scalar(COUNT_DIRTY, window) or 0)


def _seen(connection: Connection, scope: Scope) -> int:
    """Return the revision the sync has seen; 0 when what its profiles rest on changed."""
    row = syncs.find(connection, scope.sync)
    if row is None:
        connection.execute(syncs.SYNCS.insert().values(name=scope.sync, scope=scope.digest))
        return 0
    if row.scope != scope.digest:
        # Without `evaluated_at`, what came with another store or rate is history, and quiet (P10).
        anew = {"scope": scope.digest, "revision": 0, "evaluated_at": None}
        syncs.note(connection, scope.sync, **anew)
        runs.drop_dead_letters(connection, scope.sync, "order ")
        return 0
    return int(row.revision)


def _next_revision(connection: Connection, seen: int, chunk: int) -> int | None:
    """Choose how far to go: whole revisions, about `chunk` people."""
    upto = connection.scalar(NEXT_AHEAD, {"seen": seen, "skip": chunk - 1})
    if upto is None:
        upto = connection.scalar(LAST_AHEAD, {"seen": seen})
    return None if upto is None else int(upto)


def _rename(connection: Connection, scope: Scope, window: Window) -> None:
    """Let a profile follow its account to a new address, unless the old one still has facts of its own."""
    for old, new, revision in connection.execute(RENAMED, window).all():
        address = _whereabouts(connection, scope, old, new, revision)
        taken = select(PROFILES.c.id).where(PROFILES.c.sync == scope.sync, PROFILES.c.email == address)
        if address and connection.scalar(taken) is None:
            mine = (PROFILES.c.sync == scope.sync, PROFILES.c.email == old)
            connection.execute(update(PROFILES).where(*mine).values(email=address))


def _whereabouts(connection: Connection, scope: Scope, old: str, new: str, revision: int) -> str | None:
    """Say where somebody is who left `old` for `new`: they may have gone on since. None where somebody stayed.

    Nor where `new` was left again, and somebody is there: nobody knows whether they, or who came after them. A
    contact that one agreed to is not to become the other's (P4).
    """
    while True:
        stays, is_there = connection.execute(_statements(scope).has_facts, {"old": old, "new": new}).one()
        further = connection.execute(GONE_ON, {"old": new, "seen": revision}).first()
        if stays or (is_there and further):
            return None
        if is_there:
            return new
        if further is None:
            return None
        new, revision = further


def _has_facts(scope: Scope, email: ColumnElement[str]) -> ColumnElement[bool]:
    stores = scope.stores
    return or_(
        exists().where(CUSTOMERS.c.email == email, CUSTOMERS.c.store.in_(stores)),
        exists().where(
            ORDERS.c.person == email, ORDERS.c.store.in_(stores), ORDERS.c.standing.not_in(NOT_A_PERSON)
        ),
        exists().where(CHECKOUTS.c.person == email, CHECKOUTS.c.store.in_(stores)),
    )


def _computed(connection: Connection, scope: Scope, window: Window) -> list[dict[str, Any]]:
    """Compute a complete row for each dirty person who has facts."""
    asked = _statements(scope)
    amounts = {row[0]: row for row in connection.execute(asked.amounts, window).all()}
    checkouts = {row.person: row for row in connection.execute(asked.checkouts, window)}
    words = people.by_person(connection.execute(asked.words, window).all())
    tops: defaultdict[str, list[str]] = defaultdict(list)
    for person, name in connection.execute(asked.top_categories, window).all():
        tops[person].append(name)
    rows = []
    records = connection.execute(asked.records, window).all()
    for person, theirs in people.by_person(map(people.Record._make, records)).items():
        row = {"sync": scope.sync, "email": person, "revision": window["upto"]}
        row |= dict.fromkeys(PROFILE_COLUMNS)
        row |= _taken(amounts[person], ledger.AMOUNTS) if person in amounts else ledger.NO_ORDERS
        if person in checkouts:
            row |= _taken(checkouts[person], ledger.CHECKOUT)
        row |= people.description(theirs) | people.consent_columns(words.get(person, []))
        if person in tops:
            row |= {"preferred_category": tops[person][0], "top_categories": ", ".join(tops[person])}
        rows.append(row)
    return rows


def _taken(row: Row[Any], names: Sequence[str]) -> dict[str, Any]:
    """Take columns from the end of a row; by position, which is several times as fast as by name."""
    return dict(zip(names, row[-len(names) :], strict=True))


def _bury_foreign(connection: Connection, scope: Scope, window: Window, now: datetime) -> None:
    """Bury the orders that cannot be converted; dig out those that can by now, or count no more."""
    orders = ledger.counted(scope, DIRTY).subquery()
    found = connection.execute(
        select(orders.c.store, orders.c.id, orders.c.currency).where(orders.c.net.is_(None)), window
    )
    bad = [
        BadRecord(
            f"order {row.store}/{row.id}",
            f"its currency {row.currency} has no rate; set rates.{row.currency}",
        )
        for row in found
    ]
    theirs = connection.execute(
        select(ORDERS.c.store, ORDERS.c.id).where(
            ORDERS.c.person.in_(DIRTY), ORDERS.c.store.in_(scope.stores)
        ),
        window,
    )
    good = {f"order {row.store}/{row.id}" for row in theirs} - {letter.record for letter in bad}
    runs.unbury(connection, scope.sync, good)
    runs.bury(connection, scope.sync, bad, now)
