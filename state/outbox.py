"""Desired minus accepted: what is to be written, until the ESP has taken it.

`offer` compares and lays jobs down, `contact_jobs` and `membership_jobs` hand them out, `settle_*` keeps
what was taken (P3) and buries what was refused (P5). A job carries a stamp: settling an old writing
leaves a newer one where it is.
"""

import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    false,
    func,
    null,
    or_,
    select,
    true,
    update,
)

from connectors.base import Blame, Contact, Member, Refusal, Subscribe, Value
from connectors.errors import BadRecord
from connectors.facts import Consent
from state import facts, privacy, runs
from state.codes import CODES, decode_contact, digest, encode, encode_contact
from state.dialect import among, chunks, json_list, upsert, upsert_from
from state.scope import esp_origin
from state.tables import (
    AcceptedRow,
    ContactJobRow,
    EntryRow,
    MembershipJobRow,
    MembershipRow,
    ProfileRow,
    SyncRow,
    table,
)

ACCEPTED, MEMBERSHIPS = table(AcceptedRow), table(MembershipRow)
CONTACT_JOBS, MEMBERSHIP_JOBS = table(ContactJobRow), table(MembershipJobRow)
PROFILES, SYNCS, ENTRIES = table(ProfileRow), table(SyncRow), table(EntryRow)

Journeys = Mapping[str, datetime]
"""Journey -> since when somebody's last entry stands in the way of another one (see `reenter`)."""
NO_JOURNEYS: Journeys = {}

LAST = 2**62
"""Beyond every profile."""

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
        MEMBERSHIP_JOBS.c.profile <= bindparam("upto"),
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
"""People as members of a list, as `_membership` makes them one by one."""
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
KNOWN = select(ACCEPTED).where(ACCEPTED.c.sync == bindparam("sync"), among(ACCEPTED.c.profile, "profiles"))


@dataclass(frozen=True, slots=True)
class Desired:
    """What the mapping wants of one profile. A field that is None is unknown; so is such a list.

    `quiet` journeys are entered without telling the ESP: history starts none (P10).
    """

    profile: int
    email: str
    fields: Mapping[str, Value]
    lists: Mapping[str, bool | None]
    quiet: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a sync writes to; `consent` is its setting.

    `place` tells one audience or account from another: what one has accepted says nothing of the next.
    """

    sync: str
    esp: str
    consent: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class ContactJob:
    stamp: str
    contact: Contact


@dataclass(frozen=True, slots=True)
class MembershipJob:
    stamp: str
    list: str
    member: Member
    joins: bool


@dataclass(slots=True)
class Offer:
    """What a comparison laid down: contacts to write (of those `created`), and entries by list."""

    contacts: int = 0
    created: int = 0
    joins: dict[str, int] = field(default_factory=dict)
    leaves: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Memory:
    """All that is remembered of the profiles of one comparison, which happens `now`.

    `entered` tells when a profile last entered a journey. `stamps` names what is laid down.
    """

    now: datetime
    journeys: Journeys
    accepted: dict[int, Row[Any]]
    memberships: dict[int, dict[str, Row[Any]]]
    words: dict[int, tuple[bool | None, str | None]]
    entered: dict[tuple[int, str], datetime]
    stamps: Iterator[str]


@dataclass(slots=True)
class _Laid:
    """Rows that a comparison lays down: jobs, and what is noted without telling the ESP."""

    contacts: list[dict[str, Any]] = field(default_factory=list)
    memberships: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)


def settle_in(connection: Connection, target: Target) -> bool:
    """Forget what was accepted elsewhere when a sync writes to another place now; return whether it does."""
    mine = SYNCS.c.name == target.sync
    before = connection.scalar(select(SYNCS.c.place).where(mine))
    moved = before is not None and before != target.place
    if moved:
        for rows in (ACCEPTED, MEMBERSHIPS, CONTACT_JOBS, MEMBERSHIP_JOBS):
            connection.execute(delete(rows).where(rows.c.sync == target.sync))
        runs.drop_dead_letters(connection, target.sync, "profile ")
        anew = {"evaluated_at": None, "opt_outs_at": None, "go_live_at": None, "journeys": "{}"}
        anew |= {"held": None, "approved": None}
        connection.execute(update(SYNCS).where(mine).values(**anew))
    connection.execute(update(SYNCS).where(mine).values(place=target.place))
    return moved


def offer(
    connection: Connection,
    target: Target,
    desired: Sequence[Desired],
    now: datetime,
    *,
    journeys: Journeys = NO_JOURNEYS,
) -> Offer:
    """Compare profiles with what the ESP last accepted and lay down jobs for the difference.

    Jobs that stand for these profiles already are replaced.
    """
    result = Offer()
    if not desired:
        return result
    profiles = [want.profile for want in desired]
    memory = _remember(connection, target.sync, profiles, now, journeys)
    _withdraw(connection, target.sync, profiles)
    laid = _Laid()
    for want in desired:
        accepted = memory.accepted.get(want.profile)
        subscribe = _subscribe(target, memory.words.get(want.profile), accepted)
        codes = {
            name: None if value is None else CODES[type(value)](value) for name, value in want.fields.items()
        }
        contact = _difference(want, codes, accepted, subscribe)
        if accepted is not None and _is_hopeless(accepted, contact):
            if accepted.accepted_at is not None:
                _lists(connection, target.sync, _only_leaving(want), memory, laid)
            continue
        if contact.fields or not contact.known or contact.was or subscribe is Subscribe.STOP:
            laid.contacts.append(_contact_job(target.sync, contact, codes, next(memory.stamps)))
            _count(result, contact)
        _lists(connection, target.sync, want, memory, laid)
    for job in laid.memberships:
        counts = result.joins if job["joins"] else result.leaves
        counts[job["list"]] = counts.get(job["list"], 0) + 1
    upsert(connection, CONTACT_JOBS, laid.contacts)
    upsert(connection, MEMBERSHIP_JOBS, laid.memberships)
    upsert(connection, MEMBERSHIPS, laid.notes)
    upsert(connection, ENTRIES, laid.entries)
    return result


def contact_jobs(connection: Connection, sync: str, after: int, most: int) -> list[ContactJob]:
    """Hand out the next contacts to write, by profile, after profile `after`."""
    rows = connection.execute(NEXT_CONTACTS, {"sync": sync, "after": after, "most": most})
    return [ContactJob(stamp, decode_contact(text, stamp)) for text, stamp in rows]


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
    mine = CONTACT_JOBS.c.sync == sync
    contacts, created = connection.execute(
        select(func.count(), func.count().filter(CONTACT_JOBS.c.creates)).where(mine)
    ).one()
    lists = connection.execute(
        select(MEMBERSHIP_JOBS.c.list, func.count())
        .where(MEMBERSHIP_JOBS.c.sync == sync)
        .group_by(MEMBERSHIP_JOBS.c.list)
    )
    return Pending(int(contacts), int(created), {row[0]: int(row[1]) for row in lists})


def list_sizes(connection: Connection, sync: str) -> dict[str, int]:
    """Count the members of each list, as far as the ESP accepted them.

    Who is inside a journey's rule counts although the ESP was not told: they leave it like everybody.
    """
    rows = connection.execute(
        select(MEMBERSHIPS.c.list, func.count())
        .where(MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.inside.is_(True))
        .group_by(MEMBERSHIPS.c.list)
    )
    return {row[0]: int(row[1]) for row in rows}


def settle_contacts(
    connection: Connection,
    target: Target,
    jobs: Sequence[ContactJob],
    refusals: Sequence[Refusal],
    now: datetime,
) -> int:
    """Keep what the ESP took of a batch, bury what it refused; return how many contacts landed.

    Of people who were forgotten meanwhile nothing is kept.
    """
    sync = target.sync
    alive = _alive(connection, sync, (job.contact.profile for job in jobs))
    jobs = [job for job in jobs if job.contact.profile in alive]
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
    lost = {refusal.profile for refusal in refusals if refusal.blame in {Blame.CONTACT, Blame.BLOCKED}}
    _withdraw_memberships(connection, sync, lost)
    _leave_all(connection, sync, {refusal.profile for refusal in refusals if refusal.blame is Blame.BLOCKED})
    _note_opt_outs(connection, target.esp, jobs, refusals, now)
    bad = [letter(refusal) for refusal in refusals if refusal.blame in BURIED]
    still = {each.record for each in bad}
    landed = (job.contact for job in jobs if job.contact.profile not in lost)
    letters = (name for contact in landed for name in _letters(contact) if name not in still)
    runs.unbury(connection, sync, letters)
    runs.bury(connection, sync, bad, now)
    return len(jobs) - len(lost)


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
    beyond their leaving.
    """
    alive = _alive(connection, sync, (job.member.profile for job in jobs))
    jobs = [job for job in jobs if job.member.profile in alive]
    refusals = [refusal for refusal in refusals if refusal.profile in alive]
    against = {(refusal.profile, refusal.name): refusal for refusal in refusals}
    for name in {job.list for job in jobs}:
        _settle_list(connection, sync, name, [job for job in jobs if job.list == name], against, now=now)
    taken = (job for job in jobs if job.joins and (job.member.profile, job.list) not in against)
    upsert(
        connection,
        ENTRIES,
        [_entry(sync, job.member.profile, job.list, now) for job in taken if job.list in journeys],
    )
    runs.unbury(connection, sync, (f"profile {job.member.profile} list {job.list}" for job in jobs))
    runs.bury(connection, sync, [letter(refusal) for refusal in refusals if refusal.blame in BURIED], now)
    return len(jobs) - len(refusals)


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
        _membership(sync, job.member.profile, name, now, joins=job.joins, refusal=refusal)
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


def retry(connection: Connection, sync: str) -> int:
    """Forget refusals, so that the next comparison offers them again; return the dead letters dropped.

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
    emails: list[str] = []
    for part in chunks(affected):
        emails += connection.scalars(select(PROFILES.c.email).where(PROFILES.c.id.in_(part)))
    facts.touch(connection, emails, facts.next_revision(connection))
    before = runs.count_dead_letters(connection, [sync])
    for kind in RETRIED:
        runs.drop_dead_letters(connection, sync, kind)
    return before - runs.count_dead_letters(connection, [sync])


# --- comparing -----------------------------------------------------------------------------------------


def _remember(
    connection: Connection, sync: str, profiles: Sequence[int], now: datetime, journeys: Journeys
) -> _Memory:
    memory = _Memory(now, journeys, {}, defaultdict(dict), {}, {}, _stamps())
    for part in chunks(profiles):
        memory.accepted.update({row.profile: row for row in accepted(connection, sync, part)})
        entries = select(MEMBERSHIPS)
        for row in connection.execute(
            entries.where(MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.profile.in_(part))
        ):
            memory.memberships[row.profile][row.list] = row
        words = select(PROFILES.c.id, PROFILES.c.accepts_marketing, PROFILES.c.consent_origin)
        for row in connection.execute(words.where(PROFILES.c.id.in_(part))):
            memory.words[row.id] = (row.accepts_marketing, row.consent_origin)
        if journeys:
            entered = select(ENTRIES).where(ENTRIES.c.sync == sync, ENTRIES.c.profile.in_(part))
            memory.entered.update({(row.profile, row.list): row.at for row in connection.execute(entered)})
    return memory


def accepted(connection: Connection, sync: str, profiles: Sequence[int]) -> Iterable[Row[Any]]:
    """Return what is remembered of some profiles, as rows of AcceptedRow."""
    return connection.execute(KNOWN, {"sync": sync, "profiles": json_list(profiles)}).all()


def _withdraw(connection: Connection, sync: str, profiles: Sequence[int]) -> None:
    """Take back the jobs of profiles that are compared anew."""
    for part in chunks(profiles):
        connection.execute(
            delete(CONTACT_JOBS).where(CONTACT_JOBS.c.sync == sync, CONTACT_JOBS.c.profile.in_(part))
        )
    _withdraw_memberships(connection, sync, profiles)


def _withdraw_memberships(connection: Connection, sync: str, profiles: Iterable[int]) -> None:
    for part in chunks(profiles):
        connection.execute(
            delete(MEMBERSHIP_JOBS).where(MEMBERSHIP_JOBS.c.sync == sync, MEMBERSHIP_JOBS.c.profile.in_(part))
        )


def _only_leaving(want: Desired) -> Desired:
    """Keep of what is wanted the lists where somebody does not belong: they leave, whatever else is refused."""
    return replace(
        want, fields={}, lists={name: False for name, joins in want.lists.items() if joins is False}
    )


def _is_hopeless(accepted: Row[Any], contact: Contact) -> bool:
    """Tell whether the ESP refused just this before: the address for good, or this very content."""
    if accepted.blocked and accepted.email == contact.email:
        return True
    return accepted.refused_contact is not None and bool(accepted.refused_contact == digest(contact))


def _subscribe(
    target: Target, word: tuple[bool | None, str | None] | None, accepted: Row[Any] | None
) -> Subscribe:
    """Decide what the stored proofs allow (P4): never more than the newest word says.

    Somebody whom we subscribed is unsubscribed when the store's newest word takes that back; an ESP's
    own opt-out needs no telling. Whose contact was deleted there comes back without a subscription.
    """
    if accepted is not None and accepted.subscribe == DELETED:
        return Subscribe.NO
    given, origin = word or (None, None)
    if given:
        return GRANTED[target.consent]
    subscribed = accepted is not None and accepted.subscribe in SUBSCRIBED
    if given is False and subscribed and origin != esp_origin(target.esp):
        return Subscribe.STOP
    return Subscribe.NO


SUBSCRIBED = frozenset({Subscribe.YES, Subscribe.ASK})
DELETED = "deleted"
"""In the place of what was accepted: an audit found that somebody deleted the contact at the ESP."""
GRANTED = {
    "from_store": Subscribe.YES,
    "double_opt_in": Subscribe.ASK,
    "never_subscribe": Subscribe.NO,
}


def _difference(
    want: Desired, codes: Mapping[str, str | None], accepted: Row[Any] | None, subscribe: Subscribe
) -> Contact:
    """Say what the ESP does not have yet of a profile; a known value that became unknown is cleared."""
    known = accepted is not None and accepted.accepted_at is not None
    had: dict[str, str | None] = msgspec.json.decode(accepted.fields) if accepted is not None else {}
    refused: dict[str, list[str]] = msgspec.json.decode(accepted.refused) if accepted is not None else {}
    changed = {
        name: value
        for name, value in want.fields.items()
        if codes[name] != had.get(name) and not (name in refused and refused[name][0] == codes[name])
    }
    was = accepted.email if accepted is not None and known and accepted.email != want.email else None
    return Contact(want.profile, want.email, changed, subscribe, known, was)


def _stamps() -> Iterator[str]:
    """Make names for writings that are never made again."""
    comparison = secrets.token_hex(8)
    return (f"{comparison}-{number:x}" for number in count())


def _contact_job(sync: str, contact: Contact, codes: Mapping[str, str | None], stamp: str) -> dict[str, Any]:
    return {
        "sync": sync,
        "profile": contact.profile,
        "contact": encode_contact(contact, codes),
        "creates": not contact.known,
        "stamp": stamp,
    }


def _lists(connection: Connection, sync: str, want: Desired, memory: _Memory, laid: _Laid) -> None:
    """Lay down who joins and leaves; unknown does neither (P12)."""
    memberships = memory.memberships[want.profile]
    for name, joins in want.lists.items():
        known = memberships.get(name)
        journey = name in memory.journeys
        if known is not None and known.inside and not known.told and not journey:
            _drop_membership(connection, sync, known)  # a journey became a plain list: nobody told the ESP
            known = None
        inside = known is not None and known.inside
        tried = known is not None and known.refused is not None
        quiet = journey and name in want.quiet
        if joins is None:
            continue
        if joins == (inside != tried):
            if inside and joins and quiet and (want.profile, name) not in memory.entered:
                laid.entries.append(_entry(sync, want.profile, name, memory.now, quiet=True))
        elif tried and known is not None:
            _give_up(connection, sync, known, laid)
        elif joins and (quiet or _is_barred(memory, want.profile, name)):
            _enter_quietly(sync, want.profile, name, memory.now, laid, history=quiet)
        else:
            job = {"sync": sync, "list": name, "profile": want.profile, "joins": joins}
            laid.memberships.append(job | {"stamp": next(memory.stamps)})


def _enter_quietly(sync: str, profile: int, name: str, now: datetime, laid: _Laid, *, history: bool) -> None:
    """Note that somebody is inside a journey's rule; the ESP is not told."""
    laid.notes.append(_membership(sync, profile, name, now, told=False))
    if history:
        laid.entries.append(_entry(sync, profile, name, now, quiet=True))


def _is_barred(memory: _Memory, profile: int, name: str) -> bool:
    """Tell whether somebody's last entry is too young for another one."""
    entered, since = memory.entered.get((profile, name)), memory.journeys.get(name)
    return entered is not None and since is not None and entered > since


def _give_up(connection: Connection, sync: str, known: Row[Any], laid: _Laid) -> None:
    """Note that a change which the ESP refused is not wanted any more.

    A journey that may have begun counts as entered.
    """
    if known.inside:
        laid.notes.append(_membership(sync, known.profile, known.list, known.at, told=known.told))
        return
    _drop_membership(connection, sync, known)
    if known.doubtful:
        laid.entries.append(_entry(sync, known.profile, known.list, known.at))


def _drop_membership(connection: Connection, sync: str, known: Row[Any]) -> None:
    mine = (MEMBERSHIPS.c.profile == known.profile, MEMBERSHIPS.c.list == known.list)
    connection.execute(delete(MEMBERSHIPS).where(MEMBERSHIPS.c.sync == sync, *mine))


def _membership(
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


def _entry(sync: str, profile: int, name: str, now: datetime, *, quiet: bool = False) -> dict[str, Any]:
    return {"sync": sync, "profile": profile, "list": name, "at": now, "quiet": quiet}


def _count(result: Offer, contact: Contact) -> None:
    result.contacts += 1
    result.created += not contact.known
    for name in contact.fields:
        result.fields[name] = result.fields.get(name, 0) + 1


# --- settling ------------------------------------------------------------------------------------------

RETRIED = ("profile ", "name ")
LEFT_OUT = frozenset({Blame.FIELD, Blame.ABSENT})
BURIED = frozenset({Blame.CONTACT, Blame.BLOCKED, Blame.FIELD, Blame.MEMBERSHIP})


def letter(refusal: Refusal) -> BadRecord:
    """Name a refusal as a dead letter: "profile 42", "profile 42 field PHONE", "profile 42 list Fans"."""
    kind = {Blame.FIELD: "field", Blame.MEMBERSHIP: "list"}.get(refusal.blame)
    record = f"profile {refusal.profile}"
    return BadRecord(f"{record} {kind} {refusal.name}" if kind else record, refusal.reason)


NAMED = re.compile(r"(?:name|profile \d+ (?:field|list)) (.+)", re.DOTALL)
"""Dead letters of one field or list."""


def drop_letters_of_others(connection: Connection, sync: str, names: Collection[str]) -> None:
    """Drop the dead letters of fields and lists that the mapping has no more: nothing would make them good."""
    records = (letter.record for letter in runs.list_dead_letters(connection, [sync]))
    found = ((record, NAMED.fullmatch(record)) for record in records)
    runs.unbury(connection, sync, [record for record, named in found if named and named[1] not in names])


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
    if Blame.BLOCKED in blames:
        unknown = {"fields": "{}", "refused": "{}", "subscribe": None, "accepted_at": None}
        return row | unknown | {"blocked": blames[Blame.BLOCKED], "email": contact.email}
    if Blame.CONTACT in blames:
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
    connection: Connection, esp: str, jobs: Sequence[ContactJob], refusals: Sequence[Refusal], now: datetime
) -> None:
    """Remember what the ESP said about people who opted out there (P4)."""
    said = {refusal.profile: refusal.reason for refusal in refusals if refusal.blame is Blame.OPTED_OUT}
    words: list[facts.Word] = [
        (
            f"contact {job.contact.email}",
            job.contact.email,
            Consent(given=False, at=now, level=said[job.contact.profile]),
        )
        for job in jobs
        if job.contact.profile in said
    ]
    save_opt_outs(connection, esp, words)


def save_opt_outs(connection: Connection, esp: str, words: Sequence[facts.Word]) -> None:
    """Keep opt-outs that an ESP told of, and evaluate these people again; the first telling's date stays.

    Of people who were forgotten here nothing is kept: the ESP may well have them still.
    """
    consents, known = facts.CONSENTS, privacy.forgotten(connection, (email for _, email, _ in words))
    for part in chunks(record for record, _, _ in words):
        told = (consents.c.origin == esp_origin(esp), consents.c.record.in_(part))
        known.update(connection.scalars(select(consents.c.record).where(*told)))
    new = [word for word in words if not known & {word[0], word[1]}]
    if new:
        facts.save_consent(connection, esp_origin(esp), new)
        facts.touch(connection, [email for _, email, _ in new], facts.next_revision(connection))
