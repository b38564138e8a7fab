"""Fields and lists that an ESP does not have any more, or has again: whose contacts that concerns is compared anew.

A few people at a time: each transaction is short, and one that was killed is gone on with.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select, update

from state import facts, runs
from state.anew import JOURNEYS, LEAVING
from state.dialect import among, json_list
from state.outbox import ACCEPTED, MEMBERSHIPS, Target, emails_of

FEW = 2_000
"""People in one transaction."""
LETTER = "name "
"""How the dead letter of a field or list begins that the ESP does not let us have."""
HAS_ACCEPTED = select(exists().where(among(ACCEPTED.c.sync, "syncs"), ACCEPTED.c.accepted_at.is_not(None)))


def refused(connection: Connection, sync: str) -> dict[str, datetime]:
    """Return the fields and lists that the ESP did not let a sync have, each with when it last said so."""
    letters = runs.list_dead_letters(connection, [sync], LETTER)
    return {letter.record.removeprefix(LETTER): letter.last_at for letter in letters}


def has_accepted(connection: Connection, target: Target) -> bool:
    """Tell whether an ESP ever took a contact from any sync."""
    return bool(connection.scalar(HAS_ACCEPTED, {"syncs": json_list(target.writers)}))


def forget_lost(
    connection: Connection, target: Target, fields: Collection[str], lists: Collection[str]
) -> int:
    """Forget what the next few people had of these fields and lists, which the ESP lacks; return how many.

    Whatever sync of this ESP brought it there. Journeys are left alone: entering them again would start them (P10).
    So is who waits to leave: a listing may have been wrong.
    """
    for sync, journeys in connection.execute(JOURNEYS, {"syncs": json_list(target.writers)}).all():
        plain = set(lists) - msgspec.json.decode(journeys).keys()
        people = _drop_values(connection, sync, ACCEPTED.c.fields, fields)
        people |= _drop_memberships(connection, sync, MEMBERSHIPS.c.inside & ~LEAVING, plain)
        if people:
            _touch(connection, people, history=True)
            return len(people)
    return 0


def offer_again(connection: Connection, sync: str, name: str) -> int:
    """Let the next few people be offered a field or list anew that was refused to them; return how many.

    But for journeys of which nobody knows whether they began.
    """
    people = _drop_values(connection, sync, ACCEPTED.c.refused, [name])
    tried = MEMBERSHIPS.c.refused.is_not(None) & MEMBERSHIPS.c.doubtful.is_(False)
    stuck = _few_members(connection, sync, tried & MEMBERSHIPS.c.inside, [name])
    mine = (MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.list == name, MEMBERSHIPS.c.profile.in_(stuck))
    connection.execute(update(MEMBERSHIPS).where(*mine).values(refused=None))
    people |= {*stuck, *_drop_memberships(connection, sync, tried & ~MEMBERSHIPS.c.inside, [name])}
    _touch(connection, people)
    return len(people)


def _drop_values(
    connection: Connection, sync: str, column: ColumnElement[str], names: Iterable[str]
) -> set[int]:
    """Take names out of a column of JSON objects, of a few people; return those."""
    keys = {name: f"{msgspec.json.encode(name).decode()}:" for name in names}
    if not keys:
        return set()
    holds = or_(*(func.replace(column, key, "") != column for key in keys.values()))
    rows = connection.execute(
        select(ACCEPTED.c.profile, column).where(ACCEPTED.c.sync == sync, holds).limit(FEW)
    )
    found: set[int] = set()
    for profile, text in rows.all():
        values: dict[str, Any] = msgspec.json.decode(text)
        left = {name: value for name, value in values.items() if name not in keys}
        mine = (ACCEPTED.c.sync == sync, ACCEPTED.c.profile == profile)
        connection.execute(update(ACCEPTED).where(*mine).values({column: msgspec.json.encode(left).decode()}))
        found.add(profile)
    return found


def _drop_memberships(
    connection: Connection, sync: str, which: ColumnElement[bool], lists: Collection[str]
) -> set[int]:
    found = _few_members(connection, sync, which, lists)
    mine = (MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.list.in_(lists), MEMBERSHIPS.c.profile.in_(found))
    connection.execute(delete(MEMBERSHIPS).where(*mine, which))
    return set(found)


def _few_members(
    connection: Connection, sync: str, which: ColumnElement[bool], lists: Collection[str]
) -> Sequence[int]:
    if not lists:
        return ()
    query = select(MEMBERSHIPS.c.profile).where(
        MEMBERSHIPS.c.sync == sync, MEMBERSHIPS.c.list.in_(lists), which
    )
    return connection.scalars(query.limit(FEW)).all()


def _touch(connection: Connection, people: Collection[int], *, history: bool = False) -> None:
    if people:
        emails = emails_of(connection, people)
        facts.touch(connection, emails, facts.next_revision(connection), history=history)
