"""What ESPs say of people who may not be mailed: whom it concerns by now, and whether it is news (P4)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from connectors.base import OptOut
from connectors.facts import Consent, normal_email
from state import consents, facts, privacy
from state.bookkeeping import RenameRow, SyncRow
from state.consents import Word
from state.dialect import among, json_list
from state.outbox import Target
from state.scope import esp_origin
from state.tables import table

RENAMES, SYNCS = table(RenameRow), table(SyncRow)
MOVES = (
    select(RENAMES)
    .where(among(RENAMES.c.old, "emails"), RENAMES.c.revision > bindparam("heard"))
    .order_by(RENAMES.c.revision)
)
HEARD = select(func.max(SYNCS.c.heard_revision)).where(among(SYNCS.c.name, "syncs"))


class _No(NamedTuple):
    record: str
    email: str
    word: Consent
    agreed_at: datetime | None


def save_opt_outs(connection: Connection, target: Target, told: Sequence[OptOut], now: datetime) -> None:
    """Keep opt-outs that an ESP told of (`now`, where it has no date), and evaluate these people again.

    The first telling's date stays, as an ESP dates our own writing, too, unless they agreed since. Whose account has
    moved to another address since the ESP was last written to takes the no along. Of people who were forgotten here
    nothing is kept: the ESP may well have them still.
    """
    origin = esp_origin(target.esp)
    heard = [_read(each, email, now) for each in told if (email := normal_email(each.email))]
    forgotten = privacy.forgotten(connection, (no.email for no in heard))
    known = consents.moments_of(connection, origin, [no.record for no in heard])
    new = [no for no in heard if no.email not in forgotten and _is_new(no, known.get(no.record))]
    if not new:
        return
    revision = facts.next_revision(connection)
    words: list[Word] = [(no.record, no.email, no.word) for no in new]
    consents.save_words(connection, origin, words, revision)
    moves = list(_moves(connection, target, [no.email for no in new]))
    consents.carry_refusals(connection, moves)
    facts.touch(connection, [*(no.email for no in new), *(to for _, to in moves)], revision)


def _read(told: OptOut, email: str, now: datetime) -> _No:
    """Name it by the address as ours are written: people type capitals."""
    word = Consent(given=False, at=told.at or now, level=told.reason)
    return _No(f"contact {email}", email, word, told.agreed_at)


def _is_new(no: _No, known_at: datetime | None) -> bool:
    """Tell a no that is not known from one that is told once more."""
    return known_at is None or bool(no.agreed_at and known_at < no.agreed_at < no.word.at)


def _moves(connection: Connection, target: Target, emails: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Find where those went by now who refused at these addresses: (said at, gone to).

    An account can move before the ESP's word is read: the no was theirs all the same. Every run hears before it
    writes: a move of before the last writing is known to the ESP, and what it says of the old address since is our
    own doing, or of whoever has it now. Nor does anybody follow those who had left before they came.
    """
    heard = connection.scalar(HEARD, {"syncs": json_list(target.writers)}) or 0
    arrived: dict[tuple[str, str], int] = {(email, email): heard for email in emails}
    met = set(arrived)
    while arrived:
        here: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for (root, email), since in arrived.items():
            here[email].append((root, since))
        rows = connection.execute(MOVES, {"emails": json_list(here), "heard": heard}).all()
        arrived = {}
        for row in rows:
            for root, since in here[row.old]:
                if row.revision > since and (root, row.new) not in met:
                    met.add((root, row.new))
                    arrived[root, row.new] = row.revision
                    yield root, row.new
