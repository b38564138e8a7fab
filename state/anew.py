"""Contacts on which a writing landed that had nothing else of ours: they are compared anew, and filled (P3)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, exists, select, update

from connectors.base import Contact
from state import facts
from state.dialect import among, chunks, json_list
from state.outbox import ACCEPTED, MEMBERSHIP_JOBS, MEMBERSHIPS, PROFILES, Target, emails_of
from state.syncs import SYNCS

LEAVING = exists().where(
    MEMBERSHIP_JOBS.c.sync == MEMBERSHIPS.c.sync,
    MEMBERSHIP_JOBS.c.profile == MEMBERSHIPS.c.profile,
    MEMBERSHIP_JOBS.c.list == MEMBERSHIPS.c.list,
    MEMBERSHIP_JOBS.c.joins.is_(False),
)
"""Whether somebody waits to leave the list that they are in."""
JOURNEYS = select(SYNCS.c.name, SYNCS.c.journeys).where(among(SYNCS.c.name, "syncs"))
"""Syncs, each with its journeys."""
THEIR_PROFILES = select(PROFILES.c.id).where(
    PROFILES.c.sync == bindparam("sync"), among(PROFILES.c.email, "emails")
)


def begin_anew(
    connection: Connection,
    target: Target,
    contacts: Sequence[Contact],
    before: Mapping[int, Row[Any]],
    kept: Collection[str],
) -> None:
    """Forget the plain lists of contacts that had nothing of ours, and have the next runs compare those people.

    But for those who were in no list and were written whole. What other syncs brought to the same contacts is gone
    as well: they begin anew, too. `before` is what the ESP had accepted; lists in `kept` are left alone.
    """
    lacking = {each.profile for each in contacts if not is_whole(each, before.get(each.profile))}
    lacking |= _forget_lists(connection, target.sync, (contact.profile for contact in contacts), kept)
    if lacking:
        lost = [contact.email for contact in contacts if contact.profile in lacking]
        lacking |= _forget_at_neighbours(connection, target, lost)
        # As history, not as news: nothing happened to them that could begin a journey (P10).
        facts.touch(connection, emails_of(connection, lacking), facts.next_revision(connection), history=True)


def is_whole(contact: Contact, before: Row[Any] | None) -> bool:
    """Tell whether a writing held everything that the ESP had accepted until then."""
    had = msgspec.json.decode(before.fields) if before is not None else {}
    return {name for name, code in had.items() if code is not None} <= contact.fields.keys()


def _forget_at_neighbours(connection: Connection, target: Target, emails: Iterable[str]) -> set[int]:
    """Forget what contacts accepted from the other syncs of this ESP; return their profiles there."""
    listed, found = json_list(emails), set[int]()
    for name, journeys in connection.execute(JOURNEYS, {"syncs": json_list(target.neighbours)}).all():
        theirs = connection.scalars(THEIR_PROFILES, {"sync": name, "emails": listed}).all()
        for part in chunks(theirs):
            mine = (ACCEPTED.c.sync == name, ACCEPTED.c.profile.in_(part))
            connection.execute(update(ACCEPTED).where(*mine).values(fields="{}"))
        _forget_lists(connection, name, theirs, msgspec.json.decode(journeys))
        found.update(theirs)
    return found


def _forget_lists(
    connection: Connection, sync: str, profiles: Iterable[int], kept: Collection[str]
) -> set[int]:
    """Forget the plain lists of profiles; return who was in any.

    What they are about to leave is remembered: their leaving waits still, and would not be laid down again.
    """
    found: set[int] = set()
    for part in chunks(profiles):
        mine = (
            MEMBERSHIPS.c.sync == sync,
            MEMBERSHIPS.c.profile.in_(part),
            MEMBERSHIPS.c.list.not_in(kept),
            ~LEAVING,
        )
        found.update(connection.scalars(delete(MEMBERSHIPS).where(*mine).returning(MEMBERSHIPS.c.profile)))
    return found
