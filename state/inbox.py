"""Webhooks on disk before they are answered (P2), until their facts are stored.

A delivery is marked done in the transaction that stores what it told. Then only its name stays for a while, to
know it again; its body, which is about people, goes at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from sqlalchemy import Connection, bindparam, delete, func, select, update

from connectors.base import Page
from state import cursors, runs
from state.bookkeeping import InboxRow, SubscriptionRow
from state.dialect import chunks, insert_new
from state.privacy import ASKS
from state.redaction import Asked, is_known_elsewhere, redact_all
from state.tables import table

LONGEST = timedelta(hours=1)
"""How long a delivery is put off at most."""
INSTANT = timedelta(microseconds=1)

INBOX, SUBSCRIPTIONS = table(InboxRow), table(SubscriptionRow)
NEXT = (
    select(INBOX.c.id, INBOX.c.topic, INBOX.c.body, INBOX.c.tries)
    .where(INBOX.c.done_at.is_(None), INBOX.c.store == bindparam("store"), INBOX.c.id > bindparam("after"))
    .where(INBOX.c.retry_at.is_(None) | ~INBOX.c.retry_at.between(bindparam("soon"), bindparam("at_most")))
    .order_by(INBOX.c.id)
    .limit(bindparam("most"))
)
"""Built once: each run asks."""


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery of a store, as it came; `delivery` is the same when it comes again."""

    store: str
    delivery: str
    topic: str
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that is not done yet; `tries` counts how often the store forbade what it names."""

    id: int
    topic: str
    body: bytes
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of deliveries: rows that changed, records to ask for, requests that go on waiting, letters to the owner."""

    changed: int
    doubts: AbstractSet[str]
    late: AbstractSet[int]
    letters: int


@dataclass(frozen=True, slots=True)
class Depth:
    """How many deliveries of a store wait, and since when the first of them does."""

    store: str
    count: int
    since: datetime


def receive(connection: Connection, deliveries: Sequence[Received]) -> None:
    """Keep deliveries; those that came before change nothing."""
    rows = [
        {
            "store": each.store,
            "delivery": each.delivery,
            "topic": each.topic,
            "body": each.body,
            "received_at": each.received_at,
        }
        for each in deliveries
    ]
    insert_new(connection, INBOX, rows, ("store", "delivery"))


def waiting(connection: Connection, store: str, now: datetime, after: int, most: int) -> list[Waiting]:
    """Return deliveries that are not done, the oldest first, behind the one with the id `after`.

    Those that were put off are left out until then; no further than a clock that was set back may reach.
    """
    put_off = {"soon": now + INSTANT, "at_most": now + LONGEST}
    rows = connection.execute(NEXT, {"store": store, "after": after, "most": most, **put_off})
    return [Waiting(*row) for row in rows]


def put_off(connection: Connection, until: Mapping[int, datetime]) -> None:
    """Let deliveries wait until a moment each, at most LONGEST from now, and count one try more."""
    for number, moment in until.items():
        connection.execute(
            update(INBOX).where(INBOX.c.id == number).values(retry_at=moment, tries=INBOX.c.tries + 1)
        )


def depths(connection: Connection) -> list[Depth]:
    """Count what waits, by store."""
    rows = connection.execute(
        select(INBOX.c.store, func.count(), func.min(INBOX.c.received_at))
        .where(INBOX.c.done_at.is_(None))
        .group_by(INBOX.c.store)
    )
    return [Depth(*row) for row in rows]


def settle_told(
    connection: Connection,
    store: str,
    told: Mapping[int, AbstractSet[str]],
    page: Page,
    now: datetime,
    *,
    erase: Mapping[int, Asked] = MappingProxyType({}),
) -> Settled:
    """Store what deliveries told, and be done with them; `told` are their records.

    Those of which the store has to be asked go on waiting. Erasures come last: what else was told of somebody
    may not outlive them. Who is known by then where no ESP has erased them waits: here nothing is erased first.
    """
    doubts: set[str] = set()
    changed = cursors.save_facts(connection, store, page, now, doubts=doubts)
    late = {number for number, asked in erase.items() if is_known_elsewhere(connection, store, asked)}
    done = [number for number, records in told.items() if not records & doubts]
    _be_done(connection, [number for number in done if number not in late], now)
    going = [asked for number, asked in erase.items() if number not in late]
    letters = [letter for asked in going for letter in asked.letters]
    runs.bury(connection, store, letters, now)
    redact_all(connection, store, [wanted for asked in going for wanted in asked.wanted], now)
    return Settled(changed, doubts, late, len(letters))


def settle_asked(connection: Connection, store: str, done: Sequence[int], page: Page, now: datetime) -> int:
    """Store what was asked because of deliveries, and be done with them; return how many rows changed."""
    changed = cursors.save_facts(connection, store, page, now)
    _be_done(connection, done, now)
    return changed


def _be_done(connection: Connection, numbers: Sequence[int], now: datetime) -> None:
    for part in chunks(numbers):
        connection.execute(update(INBOX).where(INBOX.c.id.in_(part)).values(body=b"", done_at=now))


def drop_done(connection: Connection, before: datetime) -> None:
    """Forget the names of deliveries that were done before a moment, and those that came before it and were put off."""
    hopeless = INBOX.c.done_at.is_(None) & (INBOX.c.tries > 0) & (INBOX.c.received_at < before)
    connection.execute(delete(INBOX).where((INBOX.c.done_at < before) | hopeless))


def drop_of_others(connection: Connection, stores: Iterable[str], before: datetime) -> None:
    """Forget what came before a moment and waits for stores other than these: nobody will read it.

    But not what is asked for: that is told once, and the store may come back under its name.
    """
    waiting = INBOX.c.done_at.is_(None) & (INBOX.c.received_at < before) & ~ASKS
    connection.execute(delete(INBOX).where(waiting, INBOX.c.store.not_in(sorted(stores))))


def probe(connection: Connection) -> None:
    """Write and take it back: raises when nothing can be kept."""
    connection.execute(
        INBOX.insert().values(
            store="", delivery="", topic="", body=b"", received_at=datetime.fromtimestamp(0, UTC)
        )
    )
    connection.execute(delete(INBOX).where(INBOX.c.store == ""))


# --- webhooks that we made --------------------------------------------------------------------------------


def remember_subscriptions(connection: Connection, store: str, topics: Sequence[str], url: str) -> None:
    """Note which webhooks a store is to have, in the place of those noted before."""
    forget_subscriptions(connection, store)
    if topics:
        connection.execute(
            SUBSCRIPTIONS.insert(), [{"store": store, "topic": topic, "url": url} for topic in topics]
        )


def forget_subscriptions(connection: Connection, store: str) -> None:
    connection.execute(delete(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.store == store))


def wanted_subscriptions(connection: Connection, store: str) -> dict[str, str]:
    """Return topic -> address of the webhooks that a store is to have."""
    rows = connection.execute(
        select(SUBSCRIPTIONS.c.topic, SUBSCRIPTIONS.c.url).where(SUBSCRIPTIONS.c.store == store)
    )
    return {row.topic: row.url for row in rows}
