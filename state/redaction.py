"""Erasing whom a store names by its own numbers: by account and by order, whatever address they bear.

Somebody may have no address at all, or have ordered under others than their account's. They are remembered even
where nothing of them is stored yet: what is read later is nobody's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, select

from connectors.base import Erasure
from connectors.errors import BadRecord
from state import facts
from state.consents import CONSENTS, left_behind, refuses
from state.privacy import (
    CHECKOUTS,
    CUSTOMERS,
    ORDERS,
    PROFILES,
    Key,
    Memory,
    Theirs,
    Traces,
    account_mark,
    among_keys,
    checkout_mark,
    drop_deliveries,
    erase,
    forget,
    former_addresses,
    is_used,
    order_mark,
    remembered,
    take_over,
    traces_of,
)

LONG = 8
"""Characters from which on a phone or an account's number, found in a delivery, is no coincidence."""


def redact(connection: Connection, store: str, wanted: Erasure, now: datetime) -> None:
    """Erase somebody as `forget` does; whoever else has their addresses is computed anew."""
    redact_all(connection, store, [wanted], now)


def redact_all(connection: Connection, store: str, people: Iterable[Erasure], now: datetime) -> None:
    """Erase these one after the other; what waits in the inbox is looked through once."""
    named: set[str] = set()
    numbers: set[str] = set()
    for wanted in people:
        theirs, others = _find(connection, store, wanted)
        erase(connection, theirs, now)
        facts.touch(connection, others, facts.next_revision(connection))
        named.update(theirs.addresses)
        numbers.update(theirs.numbers)
    if named or numbers:
        drop_deliveries(connection, named, {store: numbers})


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a delivery wants erased, and what the ESPs have erased of them (None: there are none to ask).

    `letters` is what is left for the owner to do once they are erased here.
    """

    wanted: Sequence[Erasure]
    erased: Traces | None = None
    letters: Sequence[BadRecord] = ()


def is_known_elsewhere(connection: Connection, store: str, asked: Asked) -> bool:
    """Tell whether somebody has come to addresses or syncs since, of which the ESPs erased nothing."""
    if asked.erased is None:
        return False
    now = [find_wanted(connection, store, wanted) for wanted in asked.wanted]
    return any(
        not asked.erased.syncs.issuperset(found.syncs) or set(found.addresses) - set(asked.erased.addresses)
        for found in now
    )


def find_wanted(connection: Connection, store: str, wanted: Erasure) -> Traces:
    """Find what an ESP is to erase of somebody whom a store names.

    Not an address that their orders only bear and that refuses mail: its contact there is what says so (P4).
    """
    theirs, _ = _find(connection, store, wanted)
    kept = {email for email in theirs.borne if refuses(connection, email)}
    return traces_of(connection, replace(theirs, addresses=[a for a in theirs.addresses if a not in kept]))


def forget_again(connection: Connection, memory: Memory, now: datetime) -> int:
    """Forget in an older copy of a state store whoever was forgotten since; return how many people.

    By account and by order first: what they bear leads to more than their addresses, which go last.
    """
    if memory.key is None:
        return 0
    was_known = remembered(connection)
    take_over(connection, memory, now)
    is_known = remembered(connection)

    def since(marks: Iterable[tuple[Key, str]]) -> list[Key]:
        return sorted(key for key, mark in marks if is_known(mark) and not was_known(mark))

    accounts = since((key, account_mark(*key)) for key in _known_accounts(connection))
    for store in sorted({store for store, _ in accounts}):
        redact_all(connection, store, [Erasure(account) for of, account in accounts if of == store], now)
    orders = since((key, order_mark(*key)) for key in _pairs(connection, ORDERS.c.id))
    for store in sorted({store for store, _ in orders}):
        redact(connection, store, Erasure(orders=[number for of, number in orders if of == store]), now)
    back = sorted(email for email in _known_addresses(connection) if is_known(email))
    for email in back:
        forget(connection, email, now)
    return len(back) + len(accounts)


def _find(connection: Connection, store: str, wanted: Erasure) -> tuple[Theirs, set[str]]:
    """Find all that is theirs, and who else has one of the addresses that it bears."""
    accounts, orders, checkouts = _rows_of(connection, store, wanted)
    account = [(store, wanted.account)] if wanted.account else []  # whether it was read or not
    own = Theirs((), accounts=account, orders=_keys(orders), checkouts=_keys(checkouts)).rows
    told = [email for email in (wanted.email, *(row.email for row in accounts)) if email]
    taken = _of_other_accounts(connection, store, wanted.account, told)
    named = [email for email in told if email not in taken]
    addresses = [found for email in named for found in former_addresses(connection, email, own)]
    borne = _borne(connection, [*orders, *checkouts]) - set(addresses)
    others = taken | {email for email in borne if is_used(connection, email, own)}
    # Also those that nobody named: they may come again without the account, which is gone by then.
    numbered = {*wanted.orders, *(row.id for row in orders)}
    marks = [*named, *(order_mark(store, number) for number in sorted(numbered))]
    marks += [checkout_mark(store, row.id) for row in checkouts]
    numbers = {wanted.account, wanted.phone, *(row.phone for row in (*accounts, *orders))}
    theirs = Theirs(
        list(dict.fromkeys([*addresses, *sorted(borne - others)])),
        marks,
        account,
        _keys(orders),
        _keys(checkouts),
        [number.lower() for number in numbers if number and len(number) >= LONG],
        sorted((borne - others) | _left_by(connection, store, wanted.account, orders) - set(addresses)),
    )
    return theirs, others


def _of_other_accounts(
    connection: Connection, store: str, account: str | None, emails: Sequence[str]
) -> set[str]:
    """Find those of an account's addresses that another account of the store has by now."""
    if not account:
        return set()
    others = (CUSTOMERS.c.store == store, CUSTOMERS.c.id != account, CUSTOMERS.c.email.in_(emails))
    return set(connection.scalars(select(CUSTOMERS.c.email).where(*others)))


def _left_by(connection: Connection, store: str, account: str | None, orders: Iterable[Row[Any]]) -> set[str]:
    """Find the addresses that their records had before, where a no stayed behind."""
    records = [(store, f"order {row.id}") for row in orders]
    records += [(store, f"customer {account}")] if account else []
    return {email for _, _, email in left_behind(connection, records)}


def _rows_of(
    connection: Connection, store: str, wanted: Erasure
) -> tuple[Sequence[Row[Any]], Sequence[Row[Any]], Sequence[Row[Any]]]:
    """Find their account, and the orders and checkouts that are the account's or are named."""
    account = wanted.account or ""  # no row has an empty number
    accounts = _all(connection, CUSTOMERS, [(CUSTOMERS.c.store == store) & (CUSTOMERS.c.id == account)])
    placed = (ORDERS.c.store == store) & (ORDERS.c.customer_id == account)
    named = among_keys(ORDERS, [(store, number) for number in wanted.orders])
    begun = (CHECKOUTS.c.store == store) & (CHECKOUTS.c.customer_id == account)
    return accounts, _all(connection, ORDERS, [placed, *named]), _all(connection, CHECKOUTS, [begun])


def _all(
    connection: Connection, rows: Table, conditions: Iterable[ColumnElement[bool]]
) -> Sequence[Row[Any]]:
    return [row for these in conditions for row in connection.execute(select(rows).where(these))]


def _keys(rows: Iterable[Row[Any]]) -> list[Key]:
    return list(dict.fromkeys((row.store, row.id) for row in rows))


def _borne(connection: Connection, rows: Iterable[Row[Any]]) -> set[str]:
    """Find the addresses that rows belong to, and those on them that once were somebody: a gift's never was."""
    people, written = set(), set()
    for row in rows:
        people.add(row.person)
        written.add(row.email)
    known = {
        email
        for email in written - people - {None}
        if connection.scalar(select(PROFILES.c.id).where(PROFILES.c.email == email).limit(1)) is not None
    }
    return (people | known) - {None}


def _known_addresses(connection: Connection) -> set[str]:
    columns = (
        CUSTOMERS.c.email,
        ORDERS.c.email,
        ORDERS.c.person,
        CHECKOUTS.c.email,
        PROFILES.c.email,
        CONSENTS.c.email,
    )
    return {email for column in columns for email in connection.scalars(select(column).distinct()) if email}


def _known_accounts(connection: Connection) -> set[Key]:
    columns = (CUSTOMERS.c.id, ORDERS.c.customer_id, CHECKOUTS.c.customer_id)
    return {key for column in columns for key in _pairs(connection, column)}


def _pairs(connection: Connection, column: ColumnElement[Any]) -> Iterable[Key]:
    rows = column.table
    for row in connection.execute(select(rows.c.store, column).where(column.is_not(None)).distinct()):
        yield row[0], row[1]
