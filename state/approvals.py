"""What the owner was shown and let go (P11): how large the plan of a held run was, and what was approved of it.

An approval lasts until what it let go has landed: a push that is cut off goes on without being asked again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection

from state import outbox, syncs


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is to be written: contacts created, and changes by list."""

    created: int = 0
    lists: Mapping[str, int] = field(default_factory=dict)

    def beyond(self, other: "Amount") -> "Amount":
        """Say by how much this goes beyond another."""
        lists = {name: count - other.lists.get(name, 0) for name, count in self.lists.items()}
        more = {name: count for name, count in lists.items() if count > 0}
        return Amount(max(self.created - other.created, 0), more)

    def within(self, other: "Amount") -> "Amount":
        """Cut down to what another has."""
        lists = {name: min(count, other.lists.get(name, 0)) for name, count in self.lists.items()}
        return Amount(min(self.created, other.created), {name: n for name, n in lists.items() if n})


def waiting(connection: Connection, sync: str) -> Amount:
    """Measure what waits to be written."""
    found = outbox.pending(connection, sync)
    return Amount(found.created, found.lists)


def forget_landed(connection: Connection, sync: str) -> None:
    """Keep of an approval what still waits; asked before a run plans anew, which may not borrow the rest."""
    before = approved(connection, sync)
    left = before.within(waiting(connection, sync))
    if left != before:
        _note(connection, sync, approved=left)


def approved(connection: Connection, sync: str) -> Amount:
    row = syncs.find(connection, sync)
    return Amount() if row is None or row.approved is None else _read(row.approved)


def note_held(connection: Connection, sync: str, shown: Amount) -> None:
    """Remember how large the plan is that a held run shows: so much can be approved."""
    _note(connection, sync, held=shown)


def approve(connection: Connection, sync: str) -> bool:
    """Let go what the last held run showed; return whether there was one."""
    row = syncs.find(connection, sync)
    if row is None or row.held is None:
        return False
    _note(connection, sync, held=None, approved=_read(row.held))
    return True


def let_go(connection: Connection, sync: str, amount: Amount) -> None:
    """Approve so much, and forget what was held: a push of it begins."""
    _note(connection, sync, held=None, approved=amount)


def _note(connection: Connection, sync: str, **amounts: Amount | None) -> None:
    texts = {name: amount and msgspec.json.encode(amount).decode() for name, amount in amounts.items()}
    syncs.note(connection, sync, **texts)


def _read(text: str) -> Amount:
    return msgspec.json.decode(text, type=Amount)
