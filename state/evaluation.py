"""How far a sync has evaluated its profiles, and which are due now.

The SELECTs come from the compiled mapping; this file runs them and keeps count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Boolean, Connection, Row, Select, bindparam, delete, func, insert, literal, select

from state import offering, syncs
from state.bookkeeping import TouchedRow
from state.dialect import chunks
from state.offering import NO_JOURNEYS, Desired, Journeys, Offer
from state.outbox import Target
from state.tables import FigureRow, ProfileRow, table

FIGURES, PROFILES, TOUCHED = table(FigureRow), table(ProfileRow), table(TouchedRow)
# Built once: putting a statement together takes longer than running it.
CHANGED = select(PROFILES.c.id).where(
    PROFILES.c.sync == bindparam("sync"), PROFILES.c.revision > bindparam("evaluated")
)
NEXT_PROFILES = (
    select(PROFILES.c.id)
    .where(PROFILES.c.sync.concat("") == bindparam("sync"), PROFILES.c.id > bindparam("after"))
    .order_by(PROFILES.c.id)
    .limit(bindparam("most"))
)
"""Concatenated, since by an index on `sync` SQLite would read and sort the whole base each time."""


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far a sync has come; see SyncRow. `journeys` have gone live: name -> digest of the rule."""

    revision: int
    evaluated_revision: int
    evaluated_at: datetime | None
    mapping: str | None
    figures_at: datetime | None
    opt_outs_at: datetime | None
    go_live_at: datetime | None
    journeys: Mapping[str, str] = field(default_factory=dict)
    scope: str | None = None


def sync_state(connection: Connection, sync: str) -> SyncState:
    row = syncs.find(connection, sync)
    if row is None:
        return SyncState(0, 0, None, None, None, None, None)
    return SyncState(
        row.revision,
        row.evaluated_revision,
        row.evaluated_at,
        row.mapping,
        row.figures_at,
        row.opt_outs_at,
        row.go_live_at,
        msgspec.json.decode(row.journeys),
        row.scope,
    )


def count_profiles(connection: Connection, sync: str) -> int:
    query = select(func.count()).select_from(PROFILES).where(PROFILES.c.sync == sync)
    return int(connection.scalar(query) or 0)


def due_profiles(connection: Connection, sync: str, evaluated: int, moved: Select[Any] | None) -> list[int]:
    """Return the profiles whose facts changed since revision `evaluated`, or that time has moved."""
    found = set(connection.scalars(CHANGED, {"sync": sync, "evaluated": evaluated}))
    if moved is not None:
        found |= set(connection.scalars(moved))
    return sorted(found)


def has_any(connection: Connection, query: Select[Any]) -> bool:
    """Tell whether a SELECT finds somebody; it stops at the first."""
    return connection.execute(query.limit(1)).first() is not None


def first_values(connection: Connection, queries: Sequence[Select[Any]]) -> list[Any]:
    """Return the first value of each SELECT, None where it finds nothing."""
    return [connection.scalar(query) for query in queries]


def all_profiles(connection: Connection, sync: str, after: int, most: int) -> list[int]:
    """Return the next profiles of the whole base, by id, after profile `after`."""
    return list(connection.scalars(NEXT_PROFILES, {"sync": sync, "after": after, "most": most}))


def these(profiles: Sequence[int]) -> Select[Any]:
    """Select just these profiles' ids."""
    return select(PROFILES.c.id).where(PROFILES.c.id.in_(profiles))


def rows(connection: Connection, query: Select[Any]) -> Sequence[Row[Any]]:
    return connection.execute(query).all()


def count_values(connection: Connection, query: Select[Any]) -> tuple[int, dict[str, int], dict[str, int]]:
    """Count a SELECT's rows, the known values of each of its columns, and the true ones of those that are truths."""
    values = query.subquery()
    truths = [column for column in values.columns if isinstance(column.type, Boolean)]
    row = connection.execute(
        select(
            func.count(),
            *(func.count(column).label(f"known {column.name}") for column in values.columns),
            *(func.count().filter(column.is_(True)).label(f"true {column.name}") for column in truths),
        ).select_from(values)
    ).one()
    counted = {label: int(count) for label, count in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public name for a row by its labels
    known = {column.name: counted[f"known {column.name}"] for column in values.columns}
    return int(row[0]), known, {column.name: counted[f"true {column.name}"] for column in truths}


def save_figure(connection: Connection, sync: str, key: str, query: Select[Any]) -> bool:
    """Compute what a rule over the whole base rests on; return whether it changed."""
    mine = (FIGURES.c.sync == sync, FIGURES.c.key == key)
    before = connection.execute(
        select(FIGURES.c.rank, FIGURES.c.value).where(*mine).order_by(FIGURES.c.rank)
    ).all()
    connection.execute(delete(FIGURES).where(*mine))
    computed = query.subquery()
    connection.execute(
        insert(FIGURES).from_select(
            ["sync", "key", "rank", "value"],
            select(literal(sync), literal(key), computed.c.rank, computed.c.value),
        ),
        {"sync": sync},
    )
    after = connection.execute(
        select(FIGURES.c.rank, FIGURES.c.value).where(*mine).order_by(FIGURES.c.rank)
    ).all()
    return list(before) != list(after)


def mark_figures(connection: Connection, sync: str, now: datetime) -> None:
    syncs.note(connection, sync, figures_at=now)


def mark_evaluated(
    connection: Connection,
    sync: str,
    revision: int,
    mapping: str,
    now: datetime,
    *,
    journeys: Mapping[str, str],
) -> None:
    """Note that every profile up to `revision` was compared at `now` under the mapping with this digest.

    From here on its `journeys` begin for whoever enters them (P10), once the ESP's opt-outs are known:
    they too are history.
    """
    values = {"evaluated_revision": revision, "mapping": mapping, "evaluated_at": now}
    syncs.note(connection, sync, **values, journeys=msgspec.json.encode(journeys).decode())
    state = sync_state(connection, sync)
    if state.opt_outs_at is not None and state.go_live_at is None:
        syncs.note(connection, sync, go_live_at=now)


def mark_opt_outs(connection: Connection, sync: str, now: datetime) -> None:
    """Note that the ESP was asked at `now`, by its clock, who may not be mailed."""
    syncs.note(connection, sync, opt_outs_at=now)


def mark_heard(connection: Connection, sync: str) -> None:
    """Note that what was computed by now is about to be written: what the ESP says of it later can be our own doing.

    Not what others have read since: nothing of that is written yet.
    """
    syncs.note(connection, sync, heard_revision=sync_state(connection, sync).revision)


def compare(
    connection: Connection,
    target: Target,
    query: Select[Any],
    read: Callable[[Row[Any]], Desired],
    now: datetime,
    *,
    journeys: Journeys = NO_JOURNEYS,
) -> Offer:
    """Run a compiled mapping's SELECT and lay down jobs for what differs from what was accepted."""
    return offering.offer(
        connection, target, [read(row) for row in connection.execute(query).all()], now, journeys=journeys
    )


def has_history(connection: Connection, sync: str) -> bool:
    """Tell whether history was read of people since the sync was last evaluated, and no news of them."""
    seen = sync_state(connection, sync).evaluated_revision
    old = select(TOUCHED.c.email).where(TOUCHED.c.revision > seen, TOUCHED.c.news <= seen).limit(1)
    return connection.scalar(old) is not None


def without_news(connection: Connection, sync: str, profiles: Sequence[int], *, untouched: bool) -> set[int]:
    """Find profiles that only history can have moved since the last evaluation.

    Where more than facts has changed it can move those that are `untouched`, too.
    """
    seen = sync_state(connection, sync).evaluated_revision
    found: set[int] = set()
    for part in chunks(profiles):
        query = select(PROFILES.c.id).join(TOUCHED, TOUCHED.c.email == PROFILES.c.email)
        query = query.where(PROFILES.c.id.in_(part))
        news = set(connection.scalars(query.where(TOUCHED.c.news > seen)))
        moved = part if untouched else connection.scalars(query.where(TOUCHED.c.revision > seen))
        found.update(set(moved) - news)
    return found
