"""The outbox: what is to be written until the ESP has taken it, what it took, and handing out the next of it.

`state.offering` compares and lays jobs down, `state.settling` keeps what was taken and buries what was refused.
A job carries a stamp: settling an old writing leaves a newer one where it is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
)

from connectors.base import Contact, Member, Refusal, Subscribe
from state import runs, syncs
from state.bookkeeping import ContactJobRow, MembershipJobRow
from state.codes import decode_contact
from state.dialect import among, chunks, json_list
from state.tables import AcceptedRow, EntryRow, MembershipRow, ProfileRow, table

ACCEPTED, MEMBERSHIPS = table(AcceptedRow), table(MembershipRow)
CONTACT_JOBS, MEMBERSHIP_JOBS = table(ContactJobRow), table(MembershipJobRow)
PROFILES, ENTRIES = table(ProfileRow), table(EntryRow)

LAST = 2**62
"""Beyond every profile."""
SUBSCRIBED = frozenset({Subscribe.YES, Subscribe.ASK})

# Built once: putting a statement together takes longer than running it.
_CHANGES = (
    select(MEMBERSHIP_JOBS.c.profile, MEMBERSHIP_JOBS.c.stamp, ACCEPTED.c.email)
    .join(
        ACCEPTED,
        (ACCEPTED.c.sync == MEMBERSHIP_JOBS.c.sync) & (ACCEPTED.c.profile == MEMBERSHIP_JOBS.c.profile),
    )
    .where(
        MEMBERSHIP_JOBS.c.sync == bindparam("sync"),
        MEMBERSHIP_JOBS.c.list == bindparam("list"),
        MEMBERSHIP_JOBS.c.joins == bindparam("joins"),
        MEMBERSHIP_JOBS.c.profile > bindparam("after"),
        MEMBERSHIP_JOBS.c.profile <= bindparam("upto", type_=BigInteger),
        ACCEPTED.c.email.is_not(None),
        ACCEPTED.c.blocked.is_(None),
    )
    .order_by(MEMBERSHIP_JOBS.c.profile)
    .limit(bindparam("most"))
)
NO_WRITING = ~exists().where(
    CONTACT_JOBS.c.sync == bindparam("sync"), CONTACT_JOBS.c.profile == MEMBERSHIP_JOBS.c.profile
)
NEXT_JOINS = _CHANGES.where(NO_WRITING)
NEXT_LEAVES = _CHANGES.join(PROFILES, PROFILES.c.id == MEMBERSHIP_JOBS.c.profile).where(
    or_(PROFILES.c.email == ACCEPTED.c.email, NO_WRITING)
)
"""Who leaves waits for no writing of their contact, but for a new address: a kill may have left it there already."""
NEXT_CONTACTS = (
    select(CONTACT_JOBS.c.contact, CONTACT_JOBS.c.stamp)
    .where(CONTACT_JOBS.c.sync == bindparam("sync"), CONTACT_JOBS.c.profile > bindparam("after"))
    .order_by(CONTACT_JOBS.c.profile)
    .limit(bindparam("most"))
)
TAKEN = (
    select(ACCEPTED.c.email, ACCEPTED.c.profile)
    .join(PROFILES, PROFILES.c.id == ACCEPTED.c.profile)
    .where(
        ACCEPTED.c.sync == bindparam("sync"),
        PROFILES.c.sync == bindparam("sync"),
        among(PROFILES.c.email, "emails"),
        ACCEPTED.c.email == PROFILES.c.email,
        ACCEPTED.c.accepted_at.is_not(None),
        ACCEPTED.c.blocked.is_(None),
    )
)
"""Addresses of which the ESP has the contacts of those who have them now."""
COUNT_CONTACTS = select(func.count(), func.count().filter(CONTACT_JOBS.c.creates)).where(
    CONTACT_JOBS.c.sync == bindparam("sync")
)
COUNT_CHANGES = (
    select(MEMBERSHIP_JOBS.c.list, func.count())
    .where(MEMBERSHIP_JOBS.c.sync == bindparam("sync"))
    .group_by(MEMBERSHIP_JOBS.c.list)
)
COUNT_MEMBERS = (
    select(MEMBERSHIPS.c.list, func.count())
    .where(MEMBERSHIPS.c.sync == bindparam("sync"), MEMBERSHIPS.c.inside.is_(True))
    .group_by(MEMBERSHIPS.c.list)
)
KNOWN = select(ACCEPTED).where(ACCEPTED.c.sync == bindparam("sync"), among(ACCEPTED.c.profile, "profiles"))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a sync writes to; `consent` is its setting.

    `place` tells one audience or account from another: what one has accepted says nothing of the next.
    `neighbours` are the other syncs that write to the same ESP.
    """

    sync: str
    esp: str
    consent: str
    place: str = ""
    neighbours: frozenset[str] = frozenset()

    @property
    def writers(self) -> list[str]:
        """Name all syncs that write to the ESP."""
        return sorted({self.sync, *self.neighbours})


@dataclass(frozen=True, slots=True)
class ContactJob:
    """A contact to write; one that has `moved` is at its new address only: the old one is somebody else's by now."""

    stamp: str
    contact: Contact
    moved: bool = False


@dataclass(frozen=True, slots=True)
class MembershipJob:
    stamp: str
    list: str
    member: Member
    joins: bool


def settle_in(connection: Connection, target: Target) -> bool:
    """Forget what was accepted elsewhere when a sync writes to another place now; return whether it does."""
    row = syncs.find(connection, target.sync)
    if row is None or row.place == target.place:
        return False
    moved = row.place is not None
    if moved:
        for rows in (ACCEPTED, MEMBERSHIPS, CONTACT_JOBS, MEMBERSHIP_JOBS):
            connection.execute(delete(rows).where(rows.c.sync == target.sync))
        runs.drop_dead_letters(connection, target.sync, "profile ")
        anew = {"evaluated_at": None, "opt_outs_at": None, "go_live_at": None, "journeys": "{}"}
        anew |= {"held": None, "approved": None}
        syncs.note(connection, target.sync, **anew)
    syncs.note(connection, target.sync, place=target.place)
    return moved


def contact_jobs(
    connection: Connection, sync: str, after: int, most: int, *, asked: int | None = None
) -> list[ContactJob]:
    """Hand out the next contacts to write, by profile, after profile `after`: at most `asked` who may be asked."""
    with connection.execute(NEXT_CONTACTS, {"sync": sync, "after": after, "most": most}) as rows:
        jobs = (ContactJob(stamp, decode_contact(text, stamp)) for text, stamp in rows)
        found = list(jobs if asked is None else _asking(jobs, asked))
    return _leave_to_heirs(connection, sync, found)


def _leave_to_heirs(connection: Connection, sync: str, jobs: list[ContactJob]) -> list[ContactJob]:
    """Rename nobody from an address at which somebody else's contact has landed by now.

    It is theirs: the rename came there, and a kill before we could note it.
    """
    left = [job.contact.was for job in jobs if job.contact.was]
    if not left:
        return jobs
    rows = connection.execute(TAKEN, {"sync": sync, "emails": json_list(left)}).all()
    heirs = {row.email: row.profile for row in rows}
    return [
        job
        if heirs.get(job.contact.was or "", job.contact.profile) == job.contact.profile
        else replace(job, contact=replace(job.contact, was=None), moved=True)
        for job in jobs
    ]


def _asking(jobs: Iterable[ContactJob], most: int) -> Iterator[ContactJob]:
    """End before there is one more than `most` who may be asked to confirm."""
    asked = 0
    for job in jobs:
        asked += job.contact.may_be_asked
        if asked > most:
            return
        yield job


def membership_jobs(
    connection: Connection, sync: str, name: str, after: int, most: int, *, joins: bool, upto: int = LAST
) -> list[MembershipJob]:
    """Hand out the next changes of a list, up to profile `upto`, only of profiles that the ESP has.

    Who joins is handed out once their contact is written, who leaves before.
    """
    asked = {"sync": sync, "list": name, "joins": joins, "after": after, "upto": upto, "most": most}
    return [
        MembershipJob(stamp, name, Member(profile, email, stamp), joins)
        for profile, stamp, email in connection.execute(NEXT_JOINS if joins else NEXT_LEAVES, asked)
    ]


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits to be written: contacts (of those `created`), and list entries by list."""

    contacts: int
    created: int
    lists: Mapping[str, int]


def pending(connection: Connection, sync: str) -> Pending:
    contacts, created = connection.execute(COUNT_CONTACTS, {"sync": sync}).one()
    lists = connection.execute(COUNT_CHANGES, {"sync": sync})
    return Pending(int(contacts), int(created), {row[0]: int(row[1]) for row in lists})


def list_sizes(connection: Connection, sync: str) -> dict[str, int]:
    """Count the members of each list, as far as the ESP accepted them.

    Who is inside a journey's rule counts although the ESP was not told: they leave it like everybody.
    """
    return {row[0]: int(row[1]) for row in connection.execute(COUNT_MEMBERS, {"sync": sync})}


def accepted(connection: Connection, sync: str, profiles: Sequence[int]) -> Iterable[Row[Any]]:
    """Return what is remembered of some profiles, as rows of AcceptedRow."""
    return connection.execute(KNOWN, {"sync": sync, "profiles": json_list(profiles)}).all()


def emails_of(connection: Connection, profiles: Iterable[int]) -> list[str]:
    """Return the addresses that profiles have now."""
    emails: list[str] = []
    for part in chunks(profiles):
        emails += connection.scalars(select(PROFILES.c.email).where(PROFILES.c.id.in_(part)))
    return emails


def withdraw_memberships(connection: Connection, sync: str, profiles: Iterable[int]) -> None:
    for part in chunks(profiles):
        connection.execute(
            delete(MEMBERSHIP_JOBS).where(MEMBERSHIP_JOBS.c.sync == sync, MEMBERSHIP_JOBS.c.profile.in_(part))
        )


def membership_row(
    sync: str,
    profile: int,
    name: str,
    now: datetime,
    *,
    joins: bool = True,
    refusal: Refusal | None = None,
    told: bool = True,
) -> dict[str, Any]:
    """Make the row that remembers a list which somebody is in, or a change of it that was refused."""
    return {
        "sync": sync,
        "profile": profile,
        "list": name,
        "at": now,
        "inside": not joins or refusal is None,
        "refused": refusal.reason if refusal else None,
        "told": told,
        "doubtful": refusal is not None and refusal.doubtful,
    }


def entry_row(sync: str, profile: int, name: str, now: datetime, *, quiet: bool = False) -> dict[str, Any]:
    return {"sync": sync, "profile": profile, "list": name, "at": now, "quiet": quiet}
