"""Forget people, and keep them forgotten: only a keyed hash of the address stays."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from connectors.facts import Checkout, Customer, Fact, Order, Person
from state.dialect import upsert
from state.tables import (
    AcceptedRow,
    CheckoutRow,
    ConsentRow,
    ContactJobRow,
    CustomerRow,
    DeadLetterRow,
    ForgottenRow,
    MembershipJobRow,
    MembershipRow,
    OrderRow,
    ProfileRow,
    RenameRow,
    SecretRow,
    TouchedRow,
    table,
)

KEY = "forgotten"
WORK = (table(AcceptedRow), table(MembershipRow), table(ContactJobRow), table(MembershipJobRow))
PEOPLE = (table(ProfileRow), table(CustomerRow), table(ConsentRow), table(TouchedRow))
NOBODY = dict.fromkeys((*Person.__dataclass_fields__, "email", "person", "customer_id"))


def without_forgotten(session: Session, facts: Sequence[Fact]) -> list[Fact]:
    """Take forgotten people out of what a store sends: their orders stay, as nobody's."""
    hashes = set(session.scalars(select(table(ForgottenRow).c.hash)))
    if not hashes:
        return list(facts)
    key = _key(session)
    return [
        _anonymous(fact) if _hash(key, getattr(fact, "email", None)) in hashes else fact for fact in facts
    ]


def forget(session: Session, email: str, now: datetime) -> dict[str, int]:
    """Erase a person; return how many rows of each kind were cleaned. Repeating it changes nothing.

    Orders stay as amounts without a person, so that the shop's totals hold.
    """
    upsert(session, table(ForgottenRow), [{"hash": _hash(_key(session), email), "at": now}])
    profiles = list(session.scalars(select(table(ProfileRow).c.id).where(table(ProfileRow).c.email == email)))
    cleaned = {
        "orders": _blank(session, OrderRow, email, NOBODY | {"source_evidence": None}),
        "checkouts": _blank(
            session, CheckoutRow, email, {"email": None, "person": None, "customer_id": None, "url": None}
        ),
        "profiles": len(profiles),
    }
    letters = table(DeadLetterRow)
    for profile in profiles:
        for rows in WORK:
            session.execute(delete(rows).where(rows.c.profile == profile))
        session.execute(delete(letters).where(letters.c.record.like(f"profile {profile}%")))
    for rows in PEOPLE:
        session.execute(delete(rows).where(rows.c.email == email))
    renames = table(RenameRow)
    session.execute(delete(renames).where((renames.c.old == email) | (renames.c.new == email)))
    return cleaned


def _blank(session: Session, row: Any, email: str, values: dict[str, None]) -> int:
    rows = table(row)
    theirs = (rows.c.email == email) | (rows.c.person == email)
    found = len(list(session.execute(select(rows.c.id).where(theirs))))
    session.execute(update(rows).where(theirs).values(**values))
    return found


def _anonymous(fact: Fact) -> Fact:
    if isinstance(fact, Order):
        return replace(fact, email=None, customer_id=None, person=Person(), consent=None, source=None)
    if isinstance(fact, Customer):
        return replace(fact, email=None, person=Person(), birthday=None, consent=None, source=None, tags=())
    if isinstance(fact, Checkout):
        return replace(fact, email=None, customer_id=None, url=None)
    return fact


def _key(session: Session) -> bytes:
    """Return this store's own key, made when it is first needed."""
    stored = session.scalar(select(table(SecretRow).c.value).where(table(SecretRow).c.name == KEY))
    if stored is None:
        stored = secrets.token_hex(32)
        upsert(session, table(SecretRow), [{"name": KEY, "value": stored}])
    return bytes.fromhex(stored)


def _hash(key: bytes, email: str | None) -> str | None:
    return hashlib.blake2b((email or "").encode(), key=key).hexdigest() if email else None
