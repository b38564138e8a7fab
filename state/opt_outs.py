"""What ESPs say of people who may not be mailed: whom it concerns by now, and whether it is news (P4)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, select

from connectors.base import OptOut
from connectors.facts import Consent, normal_email
from state import consents, facts, privacy
from state.bookkeeping import RenameRow
from state.consents import Word
from state.dialect import among, json_list
from state.scope import esp_origin
from state.tables import table

LATE = timedelta(days=1)
"""How long after a change of address a no at the old one is still theirs: so long the ESP may not know the new one."""
RENAMES = table(RenameRow)
MOVES = (
    select(RENAMES)
    .where(among(RENAMES.c.old, "emails"), RENAMES.c.at.is_not(None))
    .order_by(RENAMES.c.revision)
)


class _No(NamedTuple):
    record: str
    email: str
    word: Consent
    agreed_at: datetime | None


def save_opt_outs(connection: Connection, esp: str, told: Sequence[OptOut], now: datetime) -> None:
    """Keep opt-outs that an ESP told of (`now`, where it has no date), and evaluate these people again.

    The first telling's date stays, as an ESP dates our own writing, too, unless they agreed since. Whose account has
    moved to another address meanwhile takes the no along. Of people who were forgotten here nothing is kept: the
    ESP may well have them still.
    """
    heard = [_read(each, email, now) for each in told if (email := normal_email(each.email))]
    forgotten = privacy.forgotten(connection, (no.email for no in heard))
    known = consents.moments_of(connection, esp_origin(esp), [no.record for no in heard])
    new = [no for no in heard if no.email not in forgotten and _is_new(no, known.get(no.record))]
    if not new:
        return
    revision = facts.next_revision(connection)
    words: list[Word] = [(no.record, no.email, no.word) for no in new]
    consents.save_words(connection, esp_origin(esp), words, revision)
    moves = list(_moves(connection, {no.email: no.word.at for no in new}))
    consents.carry_refusals(connection, moves)
    facts.touch(connection, [*(no.email for no in new), *(to for _, to in moves)], revision)


def _read(told: OptOut, email: str, now: datetime) -> _No:
    """Name it by the address as ours are written: people type capitals."""
    word = Consent(given=False, at=told.at or now, level=told.reason)
    return _No(f"contact {email}", email, word, told.agreed_at)


def _is_new(no: _No, known_at: datetime | None) -> bool:
    """Tell a no that is not known from one that is told once more."""
    return known_at is None or bool(no.agreed_at and known_at < no.agreed_at < no.word.at)


def _moves(connection: Connection, said: Mapping[str, datetime]) -> Iterator[tuple[str, str]]:
    """Find where those went by now who refused at these addresses, each at its moment: (said at, gone to).

    An account can move before the ESP's word is read: the no was theirs all the same. Who had left an address before
    they came there was somebody else.
    """
    found = {email: (email, 0) for email in said}
    arrived = dict(found)
    while arrived:
        rows = connection.execute(MOVES, {"emails": json_list(arrived)}).all()
        here, arrived = arrived, {}
        for row in rows:
            root, since = here[row.old]
            if row.revision > since and said[root] <= row.at + LATE:
                yield root, row.new
                if row.new not in found:
                    found[row.new] = arrived[row.new] = (root, row.revision)
