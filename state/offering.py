"""Desired minus accepted: compare profiles with what the ESP last took, and lay down the difference (P3)."""

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
    select,
)

from connectors.base import Contact, Subscribe, Value
from state import runs
from state.codes import CODES, digest, encode_contact
from state.dialect import among, chunks, json_list, upsert
from state.outbox import (
    CONTACT_JOBS,
    ENTRIES,
    MEMBERSHIP_JOBS,
    MEMBERSHIPS,
    PROFILES,
    SUBSCRIBED,
    Target,
    accepted,
    entry_row,
    membership_row,
    withdraw_memberships,
)
from state.scope import esp_origin

Journeys = Mapping[str, datetime]
"""Journey -> since when somebody's last entry stands in the way of another one (see `reenter`)."""
NO_JOURNEYS: Journeys = {}
DELETED = "deleted"
"""In the place of what was accepted: an audit found that somebody deleted the contact at the ESP."""
# Built once: putting a statement together takes longer than running it.
THEIR_LISTS = select(MEMBERSHIPS).where(
    MEMBERSHIPS.c.sync == bindparam("sync"), among(MEMBERSHIPS.c.profile, "profiles")
)
THEIR_WORDS = select(PROFILES.c.id, PROFILES.c.accepts_marketing, PROFILES.c.consent_origin).where(
    among(PROFILES.c.id, "profiles")
)
THEIR_ENTRIES = select(ENTRIES).where(
    ENTRIES.c.sync == bindparam("sync"), among(ENTRIES.c.profile, "profiles")
)
THEIR_JOINS = select(MEMBERSHIP_JOBS.c.profile, MEMBERSHIP_JOBS.c.list).where(
    MEMBERSHIP_JOBS.c.sync == bindparam("sync"),
    among(MEMBERSHIP_JOBS.c.profile, "profiles"),
    MEMBERSHIP_JOBS.c.joins,
)
THEIR_JOBS = delete(CONTACT_JOBS).where(
    CONTACT_JOBS.c.sync == bindparam("the_sync"), among(CONTACT_JOBS.c.profile, "profiles")
)
GRANTED = {
    "from_store": Subscribe.YES,
    "double_opt_in": Subscribe.ASK,
    "never_subscribe": Subscribe.NO,
}


@dataclass(frozen=True, slots=True)
class Desired:
    """What the mapping wants of one profile. A field that is None is unknown; so is such a list.

    `quiet` journeys are entered without telling the ESP: history starts none (P10). Who waits to enter one does, but
    for those that are `new`, which nobody begins for what was so before.
    """

    profile: int
    email: str
    fields: Mapping[str, Value]
    lists: Mapping[str, bool | None]
    quiet: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()


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

    `entered` tells when a profile last entered a journey, `waiting` who is to enter one and was not told yet.
    `stamps` names what is laid down.
    """

    now: datetime
    journeys: Journeys
    accepted: dict[int, Row[Any]]
    memberships: dict[int, dict[str, Row[Any]]]
    words: dict[int, tuple[bool | None, str | None]]
    entered: dict[tuple[int, str], datetime]
    waiting: set[tuple[int, str]]
    stamps: Iterator[str]


@dataclass(slots=True)
class _Laid:
    """Rows that a comparison lays down: jobs, and what is noted without telling the ESP."""

    contacts: list[dict[str, Any]] = field(default_factory=list)
    memberships: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)


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


def _remember(
    connection: Connection, sync: str, profiles: Sequence[int], now: datetime, journeys: Journeys
) -> _Memory:
    memory = _Memory(now, journeys, {}, defaultdict(dict), {}, {}, set(), _stamps())
    for part in chunks(profiles):
        memory.accepted.update({row.profile: row for row in accepted(connection, sync, part)})
        asked = {"sync": sync, "profiles": json_list(part)}
        for row in connection.execute(THEIR_LISTS, asked):
            memory.memberships[row.profile][row.list] = row
        for row in connection.execute(THEIR_WORDS, asked):
            memory.words[row.id] = (row.accepts_marketing, row.consent_origin)
        if journeys:
            entered = connection.execute(THEIR_ENTRIES, asked)
            memory.entered.update({(row.profile, row.list): row.at for row in entered})
            memory.waiting.update((row.profile, row.list) for row in connection.execute(THEIR_JOINS, asked))
    return memory


def _withdraw(connection: Connection, sync: str, profiles: Sequence[int]) -> None:
    """Take back the jobs of profiles that are compared anew."""
    connection.execute(THEIR_JOBS, {"the_sync": sync, "profiles": json_list(profiles)})
    withdraw_memberships(connection, sync, profiles)


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
        waits = (want.profile, name) in memory.waiting
        quiet = journey and (name in want.new or (name in want.quiet and not waits))
        if joins is None:
            continue
        if joins == (inside != tried):
            if inside and joins and quiet and (want.profile, name) not in memory.entered:
                laid.entries.append(entry_row(sync, want.profile, name, memory.now, quiet=True))
        elif tried and known is not None:
            _give_up(connection, sync, known, laid)
        elif joins and (quiet or _is_barred(memory, want.profile, name)):
            _enter_quietly(sync, want.profile, name, memory.now, laid, history=quiet)
        else:
            job = {"sync": sync, "list": name, "profile": want.profile, "joins": joins}
            laid.memberships.append(job | {"stamp": next(memory.stamps)})


def _enter_quietly(sync: str, profile: int, name: str, now: datetime, laid: _Laid, *, history: bool) -> None:
    """Note that somebody is inside a journey's rule; the ESP is not told."""
    laid.notes.append(membership_row(sync, profile, name, now, told=False))
    if history:
        laid.entries.append(entry_row(sync, profile, name, now, quiet=True))


def _is_barred(memory: _Memory, profile: int, name: str) -> bool:
    """Tell whether somebody's last entry is too young for another one."""
    entered, since = memory.entered.get((profile, name)), memory.journeys.get(name)
    return entered is not None and since is not None and entered > since


def _give_up(connection: Connection, sync: str, known: Row[Any], laid: _Laid) -> None:
    """Note that a change which the ESP refused is not wanted any more.

    A journey that may have begun counts as entered.
    """
    runs.unbury(connection, sync, [f"profile {known.profile} list {known.list}"])
    if known.inside:
        laid.notes.append(membership_row(sync, known.profile, known.list, known.at, told=known.told))
        return
    _drop_membership(connection, sync, known)
    if known.doubtful:
        laid.entries.append(entry_row(sync, known.profile, known.list, known.at))


def _drop_membership(connection: Connection, sync: str, known: Row[Any]) -> None:
    mine = (MEMBERSHIPS.c.profile == known.profile, MEMBERSHIPS.c.list == known.list)
    connection.execute(delete(MEMBERSHIPS).where(MEMBERSHIPS.c.sync == sync, *mine))


def _count(result: Offer, contact: Contact) -> None:
    result.contacts += 1
    result.created += not contact.known
    for name in contact.fields:
        result.fields[name] = result.fields.get(name, 0) + 1
