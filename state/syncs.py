"""The row of a sync: how far it has come, where it writes to, what was let go."""

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Update, bindparam, select, update

from state.bookkeeping import SyncRow
from state.tables import table

SYNCS = table(SyncRow)
FIND = select(SYNCS).where(SYNCS.c.name == bindparam("sync"))


def find(connection: Connection, sync: str) -> Row[Any] | None:
    """Return a sync's row, see SyncRow; None for one that never ran."""
    return connection.execute(FIND, {"sync": sync}).first()


def note(connection: Connection, sync: str, **values: Any) -> None:
    """Set columns of a sync's row, where it has one."""
    new = {f"new_{name}": value for name, value in values.items()}
    connection.execute(_noting(tuple(values)), {"sync": sync, **new})


@lru_cache(maxsize=32)
def _noting(names: tuple[str, ...]) -> Update:
    """Built once: putting a statement together takes longer than running it."""
    new: dict[str, Any] = {name: bindparam(f"new_{name}", type_=SYNCS.c[name].type) for name in names}
    return update(SYNCS).where(SYNCS.c.name == bindparam("sync")).values(**new)
