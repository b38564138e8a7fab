"""Who is asked to confirm is no contact at some ESPs before they click: what was refused until then is offered again.

Their dead letters say who waits. There are as many of these as was refused, however many people there are (P6).
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection, bindparam, delete, select, update

from state import facts, runs
from state.dialect import among, chunks, json_list
from state.outbox import ACCEPTED, MEMBERSHIPS, PROFILES, emails_of

CONTACT = re.compile(r"profile (\d+)")
REFUSED = re.compile(r"profile (\d+)(?: list .+)?")
"""Dead letters of a whole contact, or of one list."""
ADDRESSES = (
    select(PROFILES.c.id, PROFILES.c.email, ACCEPTED.c.email.label("known_as"))
    .join(ACCEPTED, ACCEPTED.c.profile == PROFILES.c.id)
    .where(ACCEPTED.c.sync == bindparam("sync"), among(PROFILES.c.id, "profiles"))
)


def waiting(connection: Connection, sync: str, reason: str) -> Mapping[str, Collection[int]]:
    """Find the profiles of which something was refused for a reason that begins so, by address.

    That is the one that the ESP was told, and theirs by now.
    """
    found: defaultdict[str, set[int]] = defaultdict(set)
    profiles = json_list(_by_profile(runs.list_refused(connection, sync, reason)))
    for row in connection.execute(ADDRESSES, {"sync": sync, "profiles": profiles}):
        for email in {row.email, row.known_as} - {None}:
            found[email].add(row.id)
    return found


def offer_again(connection: Connection, sync: str, profiles: Collection[int], reason: str) -> None:
    """Forget what was refused of profiles for a reason that begins so, and evaluate them again.

    Their dead letters go, too, so that nobody is offered again twice. A journey whose entry was refused begins now:
    it never did.
    """
    mine = _by_profile(runs.list_refused(connection, sync, reason))
    records = [record for profile in profiles for record in mine.get(profile, ())]
    contacts = [int(found[1]) for record in records if (found := CONTACT.fullmatch(record))]
    for part in chunks(contacts):
        theirs = (ACCEPTED.c.sync == sync, ACCEPTED.c.profile.in_(part))
        connection.execute(update(ACCEPTED).where(*theirs).values(refused_contact=None))
    for part in chunks(profiles):
        entries = (MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.profile.in_(part))
        refused = MEMBERSHIPS.c.refused.startswith(reason, autoescape=True)
        connection.execute(delete(MEMBERSHIPS).where(*entries, refused, MEMBERSHIPS.c.inside.is_(False)))
    runs.unbury(connection, sync, records)
    facts.touch(connection, emails_of(connection, profiles), facts.next_revision(connection))


def _by_profile(records: Iterable[str]) -> Mapping[int, Collection[str]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for record in records:
        if named := REFUSED.fullmatch(record):
            found[int(named[1])].append(record)
    return found
