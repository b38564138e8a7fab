"""Forget people, and keep them forgotten: only a keyed hash of the address stays."""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Table, delete, false, select, update

from connectors.base import REQUEST
from connectors.facts import Checkout, Customer, Fact, Order, Person, normal_email
from state.bookkeeping import (
    ContactJobRow,
    DeadLetterRow,
    ForgottenRow,
    InboxRow,
    MembershipJobRow,
    RenameRow,
    SecretRow,
    TouchedRow,
)
from state.consents import CONSENTS, drop_words, left_behind, words_in
from state.dialect import chunks, leave_no_trace, upsert
from state.errors import StateError
from state.tables import (
    AcceptedRow,
    CheckoutRow,
    CustomerRow,
    EntryRow,
    MembershipRow,
    OrderRow,
    ProfileRow,
    table,
)

Key = tuple[str, str]
"""Store and id of a row."""
Known = tuple[str, str, str]
"""A row: its table, store and id."""
KEY = "forgotten"
CUSTOMERS, ORDERS, CHECKOUTS = table(CustomerRow), table(OrderRow), table(CheckoutRow)
PROFILES, RENAMES = table(ProfileRow), table(RenameRow)
FORGOTTEN, LETTERS, INBOX = table(ForgottenRow), table(DeadLetterRow), table(InboxRow)
WORD = re.compile(r"[^\s\"'<>\\=&,;:()\[\]{}]+")
"""What an address in a text is one of: found in time that grows with the text, however long one is."""
WORK = tuple(table(row) for row in (AcceptedRow, MembershipRow, EntryRow, ContactJobRow, MembershipJobRow))
PEOPLE = (PROFILES, CUSTOMERS, CONSENTS, table(TouchedRow))
ASKED_BEFORE = ("customers/redact", "customers/data_request", "shop/redact")
"""Topics of requests that a version before kept without saying that they are."""
ASKS = INBOX.c.topic.startswith(f"{REQUEST} ") | INBOX.c.topic.in_(ASKED_BEFORE)
NOBODY = dict.fromkeys((*Person.__struct_fields__, "email", "source_evidence"))
HASHES = select(FORGOTTEN.c.hash)
NO_CHECKOUT = dict.fromkeys(("email", "url"))


def without_forgotten(connection: Connection, store: str, facts: Sequence[Fact]) -> list[Fact]:
    """Take forgotten people out of what a store sends, by address, account and order: orders stay, as nobody's."""
    hashes = set(connection.scalars(HASHES))
    if not hashes:
        return list(facts)
    key = _key(connection)
    return [_without(fact, store, lambda mark: _hash(key, mark) in hashes) for fact in facts]


def forgotten(connection: Connection, emails: Iterable[str | None]) -> set[str | None]:
    """Find those among some addresses that were forgotten."""
    hashes = set(connection.scalars(HASHES))
    if not hashes:
        return set()
    key = _key(connection)
    return {email for email in emails if email and _hash(key, email) in hashes}


@dataclass(frozen=True, slots=True)
class Traces:
    """Where a person is known: the addresses that an ESP may have them under, and the syncs with a profile."""

    addresses: Sequence[str]
    syncs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Theirs:
    """What is somebody's: addresses, and rows that are theirs whatever address they bear.

    `marks` are what to know them by if they come again, beside their accounts; `numbers` what deliveries may
    name them by. At an address that their rows only bore (`borne`) nobody is remembered: a no said there stays (P4).
    """

    addresses: Sequence[str]
    marks: Sequence[str] = ()
    accounts: Sequence[Key] = ()
    orders: Sequence[Key] = ()
    checkouts: Sequence[Key] = ()
    numbers: Sequence[str] = ()
    borne: Sequence[str] = ()

    @property
    def rows(self) -> frozenset[Known]:
        """Name their rows, to tell them from other people's."""
        kinds = ((CUSTOMERS, self.accounts), (ORDERS, self.orders), (CHECKOUTS, self.checkouts))
        return frozenset((rows.name, *key) for rows, keys in kinds for key in keys)


def find_traces(connection: Connection, email: str) -> Traces:
    """Find what an ESP is to erase of a person: their address, and those they had before."""
    return traces_of(connection, Theirs(former_addresses(connection, email)))


def traces_of(connection: Connection, theirs: Theirs) -> Traces:
    """Find where somebody is known by these addresses, and by which others an ESP may have them."""
    addresses = theirs.addresses
    accepted = table(AcceptedRow)
    rows = connection.execute(
        select(PROFILES.c.sync, accepted.c.email)
        .outerjoin(accepted, (accepted.c.sync == PROFILES.c.sync) & (accepted.c.profile == PROFILES.c.id))
        .where(PROFILES.c.email.in_(addresses))
    ).all()
    others = {row.email for row in rows if row.email and row.email not in addresses}
    pushed = sorted(other for other in others if not is_used(connection, other, theirs.rows))
    return Traces([*addresses, *pushed], frozenset(row.sync for row in rows))


def forget(connection: Connection, email: str, now: datetime) -> dict[str, int]:
    """Erase a person and the addresses they had before; return how many rows of each kind were cleaned.

    Orders stay as amounts without a person, so that the shop's totals hold. Repeating it changes nothing.
    When the transaction is committed, the file holds no trace either.
    """
    addresses = former_addresses(connection, email)
    drop_deliveries(connection, addresses, {})
    return erase(connection, Theirs(addresses, [email]), now)


def erase(connection: Connection, theirs: Theirs, now: datetime) -> dict[str, int]:
    """Erase all that is somebody's, and remember them; return how many rows of each kind were cleaned.

    But for what waits in the inbox: see `drop_deliveries`.
    """
    addresses = theirs.addresses
    accounts = _with(theirs.accounts, _keys(connection, CUSTOMERS, CUSTOMERS.c.email.in_(addresses)))
    profiles = list(connection.scalars(select(PROFILES.c.id).where(PROFILES.c.email.in_(addresses))))
    orders = _blank(connection, ORDERS, theirs.orders, addresses, NOBODY)
    checkouts = _blank(connection, CHECKOUTS, theirs.checkouts, addresses, NO_CHECKOUT)
    _remember(connection, [*theirs.marks, *(account_mark(*account) for account in accounts)], now)
    _drop_letters(connection, profiles, orders, accounts)
    for rows in WORK:
        connection.execute(delete(rows).where(rows.c.profile.in_(profiles)))
    for rows in PEOPLE:
        connection.execute(delete(rows).where(rows.c.email.in_(addresses), ~_is_no_to_keep(rows, theirs)))
    for these in among_keys(CUSTOMERS, theirs.accounts):
        connection.execute(delete(CUSTOMERS).where(these))
    _drop_what_was_said(connection, theirs, orders, accounts)
    connection.execute(delete(RENAMES).where(RENAMES.c.old.in_(addresses) | RENAMES.c.new.in_(addresses)))
    leave_no_trace(connection)
    return {"orders": len(orders), "checkouts": len(checkouts), "profiles": len(profiles)}


def _is_no_to_keep(rows: Table, theirs: Theirs) -> ColumnElement[bool]:
    return rows.c.email.in_(theirs.borne) & ~rows.c.given if rows is CONSENTS else false()


def _drop_what_was_said(
    connection: Connection, theirs: Theirs, orders: Sequence[Key], accounts: Sequence[Key]
) -> None:
    """Drop the words of their records; not a no at an address that others have, where older words would count (P4)."""
    records = [(store, f"order {number}") for store, number in orders]
    records += [(store, f"customer {number}") for store, number in accounts]
    behind = left_behind(connection, records)

    def stays(email: str) -> bool:
        return email in theirs.borne or is_used(connection, email)

    drop_words(connection, [(store, name) for store, name, old in behind if not stays(old)])
    own = [(store, f"order {number}") for store, number in theirs.orders]
    own += [(store, f"customer {number}") for store, number in theirs.accounts]
    said = words_in(connection, own)
    drop_words(
        connection,
        [
            (word.origin, word.record)
            for word in said
            if word.given or word.email is None or not stays(word.email)
        ],
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Whom a state store has forgotten: keyed hashes, and the key (None while there is nobody)."""

    key: str | None
    hashes: frozenset[str]


def take_over(connection: Connection, memory: Memory, now: datetime) -> None:
    """Remember in an older copy of a state store whom the present one has forgotten. Raises StateError."""
    if connection.scalar(HASHES.limit(1)) is None:
        upsert(connection, table(SecretRow), [{"name": KEY, "value": memory.key}])
    if _key(connection).hex() != memory.key:
        raise StateError(
            "the copy is of another state store, in which those whom this one has forgotten cannot be found;"
            " move the present one away to go on all the same"
        )
    left = memory.hashes - set(connection.scalars(HASHES))
    upsert(connection, FORGOTTEN, [{"hash": each, "at": now} for each in sorted(left)])


def remembered(connection: Connection) -> Callable[[str], bool]:
    """Return what tells whether somebody is forgotten, by one of their marks."""
    hashes = frozenset(connection.scalars(HASHES))
    key = _key(connection) if hashes else b""
    return lambda mark: bool(hashes) and _hash(key, mark) in hashes


def former_addresses(connection: Connection, email: str, but: AbstractSet[Known] = frozenset()) -> list[str]:
    """Return the address and those it took the place of, but for what somebody else has now."""
    found = [email]
    for address in found:
        before = connection.scalars(select(RENAMES.c.old).where(RENAMES.c.new == address)).all()
        found += [
            old for old in dict.fromkeys(before) if old not in found and not is_used(connection, old, but)
        ]
    return found


def is_used(connection: Connection, email: str, but: AbstractSet[Known] = frozenset()) -> bool:
    """Tell whether an address is somebody's in any row but these."""
    for column in (CUSTOMERS.c.email, ORDERS.c.person, CHECKOUTS.c.person):
        rows = column.table
        having = select(rows.c.store, rows.c.id).where(column == email).limit(len(but) + 1)
        if any((rows.name, row.store, row.id) not in but for row in connection.execute(having)):
            return True
    return False


def _remember(connection: Connection, marks: Sequence[str], now: datetime) -> None:
    """Keep keyed hashes only; the date of the first time stays."""
    key = _key(connection)
    known = set(connection.scalars(HASHES))
    rows = [{"hash": _hash(key, mark), "at": now} for mark in marks]
    upsert(connection, FORGOTTEN, [row for row in rows if row["hash"] not in known])


def _blank(
    connection: Connection, rows: Table, own: Sequence[Key], emails: Sequence[str], values: dict[str, None]
) -> list[Key]:
    """Blank what is theirs; what only bears their address stays with the account that it belongs to."""
    theirs = rows.c.person.in_(emails)
    found = _with(own, _keys(connection, rows, theirs))
    for these in (theirs, *among_keys(rows, own)):
        connection.execute(update(rows).where(these).values(**values, person=None, customer_id=None))
    connection.execute(update(rows).where(rows.c.email.in_(emails)).values(**values))
    return found


def _with(own: Sequence[Key], found: Sequence[Key]) -> list[Key]:
    return list(dict.fromkeys((*own, *found)))


def among_keys(rows: Table, keys: Sequence[Key]) -> Iterator[ColumnElement[bool]]:
    """Say which rows these are, in conditions that each hold no more ids than a statement may."""
    for store in dict.fromkeys(store for store, _ in keys):
        for part in chunks(number for of, number in keys if of == store):
            yield (rows.c.store == store) & rows.c.id.in_(part)


def _keys(connection: Connection, rows: Table, condition: ColumnElement[bool]) -> list[Key]:
    return [(row[0], row[1]) for row in connection.execute(select(rows.c.store, rows.c.id).where(condition))]


def _drop_letters(
    connection: Connection, profiles: Sequence[int], orders: Sequence[Key], accounts: Sequence[Key]
) -> None:
    """Drop what stands between them and us: refusals of ESPs, orders without a rate, unreadable accounts."""
    for profile in profiles:
        theirs = LETTERS.c.record.startswith(f"profile {profile} ")
        connection.execute(delete(LETTERS).where((LETTERS.c.record == f"profile {profile}") | theirs))
    for part in chunks(f"order {store}/{order}" for store, order in orders):
        connection.execute(delete(LETTERS).where(LETTERS.c.record.in_(part)))
    for store, account in accounts:
        mine = (LETTERS.c.scope == store, LETTERS.c.record == f"customer {account}")
        connection.execute(delete(LETTERS).where(*mine))


def drop_deliveries(
    connection: Connection, addresses: Iterable[str], numbers: Mapping[str, AbstractSet[str]]
) -> None:
    """Drop the webhooks that wait and name them; whatever else those told, the next reading tells too.

    `numbers` are a store's own: to another they may be somebody else.
    But not what is asked for, of another store perhaps, or of accounts that are not read yet: that is told once.
    """
    tells = INBOX.c.done_at.is_(None) & ~ASKS
    waiting = connection.execute(select(INBOX.c.id, INBOX.c.store, INBOX.c.body).where(tells))
    known = set(addresses)
    theirs = [row.id for row in waiting if _mentions(row.body, known | numbers.get(row.store, set()))]
    for part in chunks(theirs):
        connection.execute(delete(INBOX).where(INBOX.c.id.in_(part)))


def _mentions(body: bytes, marks: set[str]) -> bool:
    """Tell whether one of these addresses and numbers stands in a delivery, however it is written there."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
    plain = text.lower()
    return any(mark in plain for mark in marks) or not marks.isdisjoint(
        normal_email(found) or "" for found in WORD.findall(text) if "@" in found
    )


def _without(fact: Fact, store: str, is_forgotten: Callable[[str], bool]) -> Fact:
    """Take somebody out of a fact; what only bears their address stays with the account it belongs to."""
    if not isinstance(fact, Order | Checkout | Customer):
        return fact
    account = fact.id if isinstance(fact, Customer) else fact.customer_id
    if account and is_forgotten(account_mark(store, account)):
        return _anonymous(fact, None)
    mark = MARKS.get(type(fact))
    if mark and is_forgotten(mark(store, fact.id)):
        return _anonymous(fact, None)
    return _anonymous(fact, account) if fact.email and is_forgotten(fact.email) else fact


def account_mark(store: str, account: str) -> str:
    return f"account {store} {account}"


def order_mark(store: str, order: str) -> str:
    return f"order {store} {order}"


def checkout_mark(store: str, checkout: str) -> str:
    return f"checkout {store} {checkout}"


MARKS: Mapping[type[Fact], Callable[[str, str], str]] = {Order: order_mark, Checkout: checkout_mark}


def _anonymous(fact: Order | Checkout | Customer, account: str | None) -> Fact:
    if isinstance(fact, Order):
        return replace(fact, email=None, customer_id=account, person=Person(), consent=None, source=None)
    if isinstance(fact, Checkout):
        return replace(fact, email=None, customer_id=account, url=None)
    return replace(fact, email=None, person=Person(), birthday=None, consent=None, source=None, tags=())


def _key(connection: Connection) -> bytes:
    """Return this store's own key, made when it is first needed."""
    stored = connection.scalar(select(table(SecretRow).c.value).where(table(SecretRow).c.name == KEY))
    if stored is None:
        stored = secrets.token_hex(32)
        upsert(connection, table(SecretRow), [{"name": KEY, "value": stored}])
    return bytes.fromhex(stored)


def _hash(key: bytes, mark: str) -> str:
    return hashlib.blake2b(mark.encode(), key=key).hexdigest()
