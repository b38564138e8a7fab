"""What people said of marketing mail: the word of each record, and what stays of it when the record changes (P4)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select

from connectors.facts import Consent
from state.dialect import among, chunks, json_list, upsert
from state.scope import ESP
from state.tables import ConsentRow, table

Word = tuple[str, str | None, Consent | None]
"""A record, whose word it holds (None while the account is unknown), and the word (None when it has none)."""

MOVED = " (moved)"
LEFT = " before revision "
"""What the name of a record is followed by where its no stayed behind."""
BEGUN_SO: tuple[Any, Any] = (bindparam("lowest"), bindparam("highest"))
"""A range of names that begin alike and go on with digits: an index finds it."""
CONSENTS = table(ConsentRow)
LEFT_BEHIND = select(CONSENTS).where(
    CONSENTS.c.origin == bindparam("the_origin"), CONSENTS.c.record.between(*BEGUN_SO)
)
STORED = select(CONSENTS).where(CONSENTS.c.origin == bindparam("origin"), among(CONSENTS.c.record, "records"))


def save_words(connection: Connection, origin: str, words: Sequence[Word], revision: int) -> None:
    """Keep each word. Silence takes a yes away and never a no, which goes with its record to another address.

    A no stays behind at the address that its record leaves, too: what others said there before is older.
    """
    if not words:
        return
    stored = _stored(connection, origin, [record for record, _, _ in words])
    rows: list[dict[str, Any]] = []
    silent: list[str] = []
    moved: list[tuple[str, str, str | None]] = []
    for record, told, word in words:
        known = stored.get(record)
        kept = _kept(word, known)
        if kept is None:
            silent.append(record)
            continue
        before = known.email if known else None
        email = before if word is None and told is None else told
        rows.append(_row(origin, record, email, kept))
        if before not in {None, email}:
            moved.append((origin, record, email))
            if not kept.given:
                rows.append(_row(origin, f"{record}{LEFT}{revision}", before, kept))
    _take_back(connection, moved)
    for part in chunks(silent):
        connection.execute(delete(CONSENTS).where(CONSENTS.c.origin == origin, CONSENTS.c.record.in_(part)))
    upsert(connection, CONSENTS, rows)


def move_words(connection: Connection, origin: str, owners: Mapping[str, str | None], revision: int) -> None:
    """Give the words of these records to whom the records belong now."""
    stored = _stored(connection, origin, list(owners))
    words: list[Word] = [(record, owners[record], _word(row)) for record, row in stored.items()]
    save_words(connection, origin, words, revision)


def left_behind(connection: Connection, records: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Find what these records (store, name) left at addresses that they do not have any more: store, name, address."""
    found = [
        connection.execute(LEFT_BEHIND, {"the_origin": store, **_named_so(record)})
        for store, record in records
    ]
    return [(row.origin, row.record, row.email) for rows in found for row in rows if row.email]


def words_in(connection: Connection, records: Iterable[tuple[str, str]]) -> list[Row[Any]]:
    """Find what these records (origin, name) say now, and of whom."""
    by_origin: defaultdict[str, list[str]] = defaultdict(list)
    for origin, record in records:
        by_origin[origin].append(record)
    return [row for origin, names in by_origin.items() for row in _stored(connection, origin, names).values()]


def refuses(connection: Connection, email: str) -> bool:
    """Tell whether the last word said at an address is a no."""
    last = (
        select(CONSENTS.c.given)
        .where(CONSENTS.c.email == email)
        .order_by(CONSENTS.c.at.desc(), CONSENTS.c.given)
    )
    return connection.scalar(last.limit(1)) is False


def drop_words(connection: Connection, records: Iterable[tuple[str, str]]) -> None:
    """Erase the words of these records (origin, name)."""
    for origin, record in records:
        connection.execute(delete(CONSENTS).where(CONSENTS.c.origin == origin, CONSENTS.c.record == record))


def _take_back(connection: Connection, moved: Sequence[tuple[str, str, str | None]]) -> None:
    """Erase what records left behind at an address to which they come back with their own word."""
    for origin, record, email in moved:
        left = left_behind(connection, [(origin, record)])
        drop_words(connection, [(origin, name) for _, name, address in left if address == email])


def _named_so(record: str) -> dict[str, str]:
    return {"lowest": f"{record}{LEFT}0", "highest": f"{record}{LEFT}:"}


def carry_refusals(connection: Connection, moves: Sequence[tuple[str, str]]) -> None:
    """Let what an account refused at an ESP go with it from an old address to a new; the old one refuses it still.

    Its origin says that it moved: of the new address the ESP knows nothing, and is told.
    """
    for part in chunks(moves):
        moved: defaultdict[str, list[str]] = defaultdict(list)
        for old, new in part:
            moved[old].append(new)
        theirs = connection.execute(
            select(CONSENTS).where(
                CONSENTS.c.email.in_(moved), CONSENTS.c.origin.startswith(ESP), CONSENTS.c.given.is_(False)
            )
        ).all()
        rows = [
            _row(_moved(row.origin), f"contact {new}", new, _word(row))
            for row in theirs
            for new in moved[row.email]
        ]
        upsert(connection, CONSENTS, rows, newer="at")


def _moved(origin: str) -> str:
    return origin if origin.endswith(MOVED) else f"{origin}{MOVED}"


def moments_of(connection: Connection, origin: str, records: Sequence[str]) -> dict[str, datetime]:
    """Return when the words of these records were said, of those that are kept."""
    return {record: row.at for record, row in _stored(connection, origin, records).items()}


def _stored(connection: Connection, origin: str, records: Sequence[str]) -> dict[str, Row[Any]]:
    rows = connection.execute(STORED, {"origin": origin, "records": json_list(records)})
    return {row.record: row for row in rows.all()}


def _kept(word: Consent | None, known: Row[Any] | None) -> Consent | None:
    """Decide what a record's word is now, after what it was."""
    if word is not None and not word.lapses:
        return word
    if known is None or (known.given and word is None):
        return None
    return Consent(given=False, at=word.at) if word and known.given else _word(known)


def _word(row: Row[Any]) -> Consent:
    return Consent(row.given, row.at, row.level)


def _row(origin: str, record: str, email: str | None, word: Consent) -> dict[str, Any]:
    told = {"given": word.given, "at": word.at, "level": word.level}
    return {"origin": origin, "record": record, "email": email, **told}
