"""What does not go as it should, kept over restarts: so the owner is told once, and a pause stays a pause."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from state.bookkeeping import TroubleRow
from state.dialect import upsert
from state.tables import table

TROUBLES = table(TroubleRow)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Trouble of one kind with a store, an ESP or a sync. `tries` counts how often it was met in a row.

    `retry_at` is when it is tried again, None where nobody waits; `told` whether the owner knows.
    """

    name: str
    kind: str
    reason: str
    since: datetime
    tries: int = 1
    retry_at: datetime | None = None
    told: bool = False


def list_troubles(connection: Connection, names: Iterable[str] | None = None) -> list[Trouble]:
    """Return the troubles of these stores, ESPs and syncs, or all, the oldest first."""
    query = select(TROUBLES).order_by(TROUBLES.c.since, TROUBLES.c.name)
    if names is not None:
        query = query.where(TROUBLES.c.name.in_(list(names)))
    return [Trouble(*row) for row in connection.execute(query)]


def save_trouble(connection: Connection, trouble: Trouble) -> None:
    """Note a trouble, in place of what was known of it."""
    upsert(connection, TROUBLES, [asdict(trouble)])


def drop_trouble(connection: Connection, name: str, kind: str) -> None:
    """Forget a trouble that is over."""
    connection.execute(delete(TROUBLES).where(TROUBLES.c.name == name, TROUBLES.c.kind == kind))
