"""What the owner was shown and let go (P11): how large the plan of a held run was, and what was approved of it.

An approval lasts until what it let go has landed: a push that is cut off goes on without being asked again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from state import outbox
from state.tables import SyncRow, table

SYNCS = table(SyncRow)


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


def waiting(session: Session, sync: str) -> Amount:
    """Measure what waits to be written."""
    found = outbox.pending(session, sync)
    return Amount(found.created, found.lists)


def forget_landed(session: Session, sync: str) -> None:
    """Keep of an approval what still waits; asked before a run plans anew, which may not borrow the rest."""
    before = approved(session, sync)
    left = before.within(waiting(session, sync))
    if left != before:
        _note(session, sync, approved=left)


def approved(session: Session, sync: str) -> Amount:
    text = session.scalar(select(SYNCS.c.approved).where(SYNCS.c.name == sync))
    return Amount() if text is None else _read(text)


def note_held(session: Session, sync: str, shown: Amount) -> None:
    """Remember how large the plan is that a held run shows: so much can be approved."""
    _note(session, sync, held=shown)


def approve(session: Session, sync: str) -> bool:
    """Let go what the last held run showed; return whether there was one."""
    shown = session.scalar(select(SYNCS.c.held).where(SYNCS.c.name == sync))
    if shown is None:
        return False
    _note(session, sync, held=None, approved=_read(shown))
    return True


def let_go(session: Session, sync: str, amount: Amount) -> None:
    """Approve so much, and forget what was held: a push of it begins."""
    _note(session, sync, held=None, approved=amount)


def _note(session: Session, sync: str, **amounts: Amount | None) -> None:
    texts = {name: amount and msgspec.json.encode(amount).decode() for name, amount in amounts.items()}
    session.execute(update(SYNCS).where(SYNCS.c.name == sync).values(**texts))


def _read(text: str) -> Amount:
    return msgspec.json.decode(text, type=Amount)
