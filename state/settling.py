"""After a push: keep what the ESP took, bury what it refused (P5), and let the owner have it tried again."""

import re
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    false,
    null,
    select,
    true,
    update,
)

from connectors.base import NOT_LANDED, Blame, Contact, OptOut, Refusal, Subscribe
from connectors.errors import BadRecord
from state import facts, runs
from state.anew import begin_anew, is_whole
from state.codes import digest, encode
from state.dialect import among, chunks, json_list, upsert, upsert_from
from state.opt_outs import save_opt_outs
from state.outbox import (
    ACCEPTED,
    CONTACT_JOBS,
    ENTRIES,
    MEMBERSHIP_JOBS,
    MEMBERSHIPS,
    PROFILES,
    SUBSCRIBED,
    ContactJob,
    MembershipJob,
    Target,
    accepted,
    emails_of,
    entry_row,
    membership_row,
    withdraw_memberships,
)

RETRIED = ("profile ", "name ")
LEFT_OUT = frozenset({Blame.FIELD, Blame.ABSENT})
BURIED = frozenset({Blame.CONTACT, Blame.BROKEN, Blame.BLOCKED, Blame.FIELD, Blame.MEMBERSHIP})
WAITING = frozenset({Blame.LATER, Blame.BROKEN})
"""What leaves a contact's job where it is."""
BROKEN = re.compile(r"profile (\d+) broken")
"""Dead letters of contacts at which the ESP broke, and which wait to be written again."""
LONGEST_PAUSE = 60
"""Minutes until a contact at which the ESP breaks is tried again, at most; the first pause is two."""
NAMED = re.compile(r"(?:name|profile \d+ (?:field|list)) (.+)")
"""Dead letters of one field or list."""

# Built once: putting a statement together takes longer than running it.
OWNERS = select(PROFILES.c.id, PROFILES.c.sync).where(among(PROFILES.c.id, "profiles"))
INSIDE = select(
    PROFILES.c.sync,
    PROFILES.c.id.label("profile"),
    bindparam("list", type_=MEMBERSHIPS.c.list.type).label("list"),
    bindparam("now", type_=MEMBERSHIPS.c.at.type).label("at"),
    true().label("inside"),
    null().label("refused"),
    true().label("told"),
    false().label("doubtful"),
).where(among(PROFILES.c.id, "profiles"))
"""People as members of a list, as `membership_row` makes them one by one."""
NOT_INSIDE = delete(MEMBERSHIPS).where(
    MEMBERSHIPS.c.sync == bindparam("the_sync"),
    MEMBERSHIPS.c.list == bindparam("the_list"),
    among(MEMBERSHIPS.c.profile, "profiles"),
)
DROP_ENTRIES = delete(MEMBERSHIP_JOBS).where(
    MEMBERSHIP_JOBS.c.sync == bindparam("the_sync"),
    MEMBERSHIP_JOBS.c.list == bindparam("the_list"),
    among(MEMBERSHIP_JOBS.c.profile, "profiles"),
    among(MEMBERSHIP_JOBS.c.stamp, "stamps"),
)
DROP_CONTACTS = delete(CONTACT_JOBS).where(
    CONTACT_JOBS.c.sync == bindparam("the_sync"),
    among(CONTACT_JOBS.c.profile, "profiles"),
    among(CONTACT_JOBS.c.stamp, "stamps"),
)
"""Stamps are never made twice: those that were settled, and none that was laid down anew meanwhile."""


def settle_contacts(
    connection: Connection,
    target: Target,
    jobs: Sequence[ContactJob],
    refusals: Sequence[Refusal],
    now: datetime,
    *,
    kept: Collection[str] = (),
) -> int:
    """Keep what the ESP took of a batch, bury what it refused; return how many contacts landed.

    Of people who were forgotten meanwhile nothing is kept. Whose turn did not come stay where they are, and so do
    those at whom the ESP broke. Whose contact turned out to have nothing of ours are compared anew; the lists in
    `kept` are left alone then: entering them again would start their journeys again (P10).
    """
    sync = target.sync
    waiting = {refusal.profile for refusal in refusals if refusal.blame in WAITING}
    alive = _alive(connection, sync, (job.contact.profile for job in jobs))
    jobs = [job for job in jobs if job.contact.profile in alive - waiting]
    refusals = [refusal for refusal in refusals if refusal.profile in alive]
    against: defaultdict[int, list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        against[refusal.profile].append(refusal)
    memory = {row.profile: row for row in accepted(connection, sync, [job.contact.profile for job in jobs])}
    rows = [
        _settled(job.contact, against[job.contact.profile], memory.get(job.contact.profile), sync, now)
        for job in jobs
    ]
    upsert(connection, ACCEPTED, rows)
    written = json_list(job.contact.profile for job in jobs)
    stamps = json_list(job.stamp for job in jobs)
    connection.execute(DROP_CONTACTS, {"the_sync": sync, "profiles": written, "stamps": stamps})
    lost = {refusal.profile for refusal in refusals if refusal.blame in NOT_LANDED - WAITING}
    withdraw_memberships(connection, sync, lost)
    blocked = {refusal.profile for refusal in refusals if refusal.blame is Blame.BLOCKED}
    _leave_all(connection, sync, blocked - {job.contact.profile for job in jobs if job.contact.was})
    anew = {refusal.profile for refusal in refusals if refusal.blame is Blame.ANEW} - lost
    begin_anew(connection, target, [job.contact for job in jobs if job.contact.profile in anew], memory, kept)
    _note_opt_outs(connection, target, jobs, refusals, now)
    bad = [letter(refusal) for refusal in refusals if refusal.blame in BURIED]
    still = {each.record for each in bad}
    landed = (job.contact for job in jobs if job.contact.profile not in lost)
    letters = (name for contact in landed for name in _letters(contact) if name not in still)
    runs.unbury(connection, sync, [*letters, *(f"profile {job.contact.profile} broken" for job in jobs)])
    runs.bury(connection, sync, bad, now)
    return len(jobs) - len(lost)


def broken_contacts(connection: Connection, sync: str) -> dict[int, datetime]:
    """Return the profiles at which the ESP broke and which still wait to be written, each with when to try again."""
    named = ((BROKEN.fullmatch(each.record), each) for each in runs.list_dead_letters(connection, [sync]))
    letters = {int(found[1]): each for found, each in named if found}
    waiting = select(CONTACT_JOBS.c.profile).where(
        CONTACT_JOBS.c.sync == sync, among(CONTACT_JOBS.c.profile, "profiles")
    )
    profiles = connection.scalars(waiting, {"profiles": json_list(letters)}).all() if letters else ()
    pauses = {each: min(2 ** letters[each].times, LONGEST_PAUSE) for each in profiles}
    return {each: letters[each].last_at + timedelta(minutes=pause) for each, pause in pauses.items()}


def settle_memberships(
    connection: Connection,
    sync: str,
    jobs: Sequence[MembershipJob],
    refusals: Sequence[Refusal],
    now: datetime,
    *,
    journeys: Container[str] = (),
) -> int:
    """Keep the list changes that the ESP took, bury those it refused; return how many landed.

    Of people who were forgotten meanwhile nothing is kept. Who entered one of `journeys` is remembered
    beyond their leaving. Whose turn did not come wait as before.
    """
    alive = _alive(connection, sync, (job.member.profile for job in jobs))
    refusals = [refusal for refusal in refusals if refusal.profile in alive]
    against = {(refusal.profile, refusal.name): refusal for refusal in refusals}
    later = {key for key, refusal in against.items() if refusal.blame is Blame.LATER}
    _wait_on(connection, sync, [job for job in jobs if (job.member.profile, job.list) in later])
    refusals = [refusal for refusal in refusals if refusal.blame is not Blame.LATER]
    jobs = [
        job for job in jobs if job.member.profile in alive and (job.member.profile, job.list) not in later
    ]
    for name in {job.list for job in jobs}:
        _settle_list(connection, sync, name, [job for job in jobs if job.list == name], against, now=now)
    taken = (job for job in jobs if job.joins and (job.member.profile, job.list) not in against)
    upsert(
        connection,
        ENTRIES,
        [entry_row(sync, job.member.profile, job.list, now) for job in taken if job.list in journeys],
    )
    runs.unbury(connection, sync, (f"profile {job.member.profile} list {job.list}" for job in jobs))
    runs.bury(connection, sync, [letter(refusal) for refusal in refusals if refusal.blame in BURIED], now)
    return len(jobs) - len(refusals)


def _wait_on(connection: Connection, sync: str, jobs: Sequence[MembershipJob]) -> None:
    """Lay changes down again that were settled as doubtful, and were surely not made."""
    rows = [
        {
            "sync": sync,
            "list": job.list,
            "profile": job.member.profile,
            "joins": job.joins,
            "stamp": job.stamp,
        }
        for job in jobs
    ]
    upsert(connection, MEMBERSHIP_JOBS, rows)
    for job in jobs:
        mine = (MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.profile == job.member.profile)
        doubtful = (MEMBERSHIPS.c.list == job.list, MEMBERSHIPS.c.doubtful)
        connection.execute(delete(MEMBERSHIPS).where(*mine, *doubtful))
    runs.unbury(connection, sync, (f"profile {job.member.profile} list {job.list}" for job in jobs))


def _settle_list(
    connection: Connection,
    sync: str,
    name: str,
    jobs: Sequence[MembershipJob],
    against: Mapping[tuple[int, str | None], Refusal],
    *,
    now: datetime,
) -> None:
    """Keep who is inside one list now; those against whom something stands one by one, the others at once."""
    joined = [job.member.profile for job in jobs if job.joins and (job.member.profile, name) not in against]
    refused = [
        (job, against[job.member.profile, name]) for job in jobs if (job.member.profile, name) in against
    ]
    stays = [(job, refusal) for job, refusal in refused if job.joins or refusal.blame is not Blame.ABSENT]
    still = {job.member.profile for job, _ in stays}
    left = [job.member.profile for job in jobs if not job.joins and job.member.profile not in still]
    if joined:
        upsert_from(
            connection, MEMBERSHIPS, INSIDE, {"profiles": json_list(joined), "list": name, "now": now}
        )
    rows = [
        membership_row(sync, job.member.profile, name, now, joins=job.joins, refusal=refusal)
        for job, refusal in stays
    ]
    upsert(connection, MEMBERSHIPS, rows)
    mine = {"the_sync": sync, "the_list": name}
    if left:
        connection.execute(NOT_INSIDE, mine | {"profiles": json_list(left)})
    settled = json_list(job.member.profile for job in jobs)
    connection.execute(
        DROP_ENTRIES, mine | {"profiles": settled, "stamps": json_list(job.stamp for job in jobs)}
    )


def retry(connection: Connection, sync: str) -> dict[str, int]:
    """Forget refusals, so that the next comparison offers them again.

    Returns the dead letters that it is about, and how often each was refused: they stay until `drop_landed`.
    Addresses that the ESP blocked for good stay blocked: it is believed. An order without a rate stays a
    dead letter: the ESP has nothing to do with it, a rate makes it good.
    """
    contacts = (
        ACCEPTED.c.sync == sync,
        (ACCEPTED.c.refused != "{}") | ACCEPTED.c.refused_contact.is_not(None),
    )
    entries = (MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.refused.is_not(None))
    affected = {
        *connection.scalars(select(ACCEPTED.c.profile).where(*contacts)),
        *connection.scalars(select(MEMBERSHIPS.c.profile).where(*entries)),
    }
    connection.execute(update(ACCEPTED).where(*contacts).values(refused="{}", refused_contact=None))
    connection.execute(delete(MEMBERSHIPS).where(*entries, MEMBERSHIPS.c.inside.is_(False)))
    connection.execute(update(MEMBERSHIPS).where(*entries).values(refused=None))
    facts.touch(connection, emails_of(connection, affected), facts.next_revision(connection))
    letters = [each for each in runs.list_dead_letters(connection, [sync]) if each.record.startswith(RETRIED)]
    runs.age(connection, letters, timedelta(days=1))  # else what the ESP broke at waits for its time
    return {letter.record: letter.times for letter in letters}


def drop_landed(connection: Connection, sync: str, retried: Mapping[str, int]) -> None:
    """Drop the dead letters of a `retry` that were not refused once more; to be called when all was offered."""
    now = {letter.record: letter.times for letter in runs.list_dead_letters(connection, [sync])}
    runs.unbury(connection, sync, [record for record, times in retried.items() if now.get(record) == times])


def letter(refusal: Refusal) -> BadRecord:
    """Name a refusal as a dead letter: "profile 42", "profile 42 field PHONE", "profile 42 list Fans", "… broken"."""
    kind = {Blame.FIELD: "field", Blame.MEMBERSHIP: "list"}.get(refusal.blame)
    record = f"profile {refusal.profile}"
    if refusal.blame is Blame.BROKEN:
        return BadRecord(f"{record} broken", refusal.reason)
    return BadRecord(f"{record} {kind} {refusal.name}" if kind else record, refusal.reason)


def refused_others(connection: Connection, sync: str, names: Collection[str]) -> set[str]:
    """Name the fields and lists of which something was refused, and that the mapping has no more."""
    return {name for _, name in _letters_of_others(connection, sync, names)}


def drop_letters_of_others(connection: Connection, sync: str, names: Collection[str]) -> None:
    """Drop the dead letters of fields and lists that the mapping has no more: nothing would make them good."""
    runs.unbury(connection, sync, [record for record, _ in _letters_of_others(connection, sync, names)])


def _letters_of_others(
    connection: Connection, sync: str, names: Collection[str]
) -> Iterator[tuple[str, str]]:
    for letter in runs.list_dead_letters(connection, [sync]):
        named = NAMED.fullmatch(letter.record)
        if named and named[1] not in names:
            yield letter.record, named[1]


def _alive(connection: Connection, sync: str, profiles: Iterable[int]) -> set[int]:
    """Find the profiles that are still there; by id alone, which tempts SQLite to no other index."""
    owners = connection.execute(OWNERS, {"profiles": json_list(profiles)})
    return {profile for profile, owner in owners.all() if owner == sync}


def _letters(contact: Contact) -> list[str]:
    """Name the dead letters that a contact which landed makes void."""
    record = f"profile {contact.profile}"
    return [record, *(f"{record} field {name}" for name in contact.fields)]


def _leave_all(connection: Connection, sync: str, profiles: Iterable[int]) -> None:
    """Forget the lists of addresses that are blocked: another address of theirs begins anew."""
    for part in chunks(profiles):
        connection.execute(
            delete(MEMBERSHIPS).where(MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.profile.in_(part))
        )


def _settled(
    contact: Contact, refusals: Sequence[Refusal], before: Row[Any] | None, sync: str, now: datetime
) -> dict[str, Any]:
    """Make the accepted row that follows from what was sent and what was refused of it."""
    row = {
        "sync": sync,
        "profile": contact.profile,
        "email": before.email if before is not None else None,
        "fields": before.fields if before is not None else "{}",
        "refused": before.refused if before is not None else "{}",
        "subscribe": before.subscribe if before is not None else None,
        "accepted_at": before.accepted_at if before is not None else None,
        "refused_contact": None,
        "blocked": None,
    }
    blames = {refusal.blame: refusal.reason for refusal in refusals}
    if Blame.BLOCKED in blames and contact.was is None:
        unknown = {"fields": "{}", "refused": "{}", "subscribe": None, "accepted_at": None}
        return row | unknown | {"blocked": blames[Blame.BLOCKED], "email": contact.email}
    if blames.keys() & NOT_LANDED:  # of a new address that is blocked, too: the old one is there still
        still = before.blocked if before is not None else None  # their other address
        return row | {"refused_contact": digest(contact), "blocked": still}
    left_out = {refusal.name: refusal.reason for refusal in refusals if refusal.blame in LEFT_OUT}
    fields = msgspec.json.decode(str(row["fields"]))
    refused = msgspec.json.decode(str(row["refused"]))
    for name, value in contact.fields.items():
        if name in left_out:
            refused[name] = [encode(value), left_out[name]]
        else:
            fields[name] = encode(value)
            refused.pop(name, None)
    if Blame.ANEW in blames and not is_whole(contact, before):
        fields = {}  # all of it once more, not the rest: so it comes to an end though it be said each time
    return row | {
        "email": contact.email,
        "fields": msgspec.json.encode(fields).decode(),
        "refused": msgspec.json.encode(refused).decode(),
        "subscribe": _subscribed(contact, row["subscribe"]),
        "accepted_at": now,
    }


def _subscribed(contact: Contact, before: Any) -> str:
    """Remember that we subscribed somebody until they are told to be unsubscribed (P4)."""
    silent = contact.subscribe is Subscribe.NO and before in SUBSCRIBED
    return str(before if silent else contact.subscribe)


def _note_opt_outs(
    connection: Connection,
    target: Target,
    jobs: Sequence[ContactJob],
    refusals: Sequence[Refusal],
    now: datetime,
) -> None:
    """Remember what the ESP said about people who opted out there (P4)."""
    said = {refusal.profile: refusal.reason for refusal in refusals if refusal.blame is Blame.OPTED_OUT}
    told = [
        OptOut(job.contact.email, said[job.contact.profile]) for job in jobs if job.contact.profile in said
    ]
    save_opt_outs(connection, target, told, now)
