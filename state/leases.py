"""Who may do something now, such as run a sync: a lease that its holder renews, and that runs out.

Whoever takes a lease holds the lock of its place (`runs.alone`): an older lease of the same place belongs
to a process that is dead.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, select, update

from state.bookkeeping import LeaseRow
from state.errors import Busy, LeaseLost
from state.tables import table

LEASES = table(LeaseRow)
# Built once: putting a statement together takes longer than running it.
MINE = (LEASES.c.name == bindparam("held"), LEASES.c.owner == bindparam("by"))
HELD = select(LEASES.c.owner).where(*MINE)
FIND = select(LEASES).where(LEASES.c.name == bindparam("held"))
DROP = delete(LEASES).where(LEASES.c.name == bindparam("held"))
RENEW = update(LEASES).where(*MINE).values(expires_at=bindparam("until", type_=LEASES.c.expires_at.type))
GIVE_BACK = delete(LEASES).where(*MINE)
TAKE = LEASES.insert()
TERM = timedelta(seconds=60)
"""How long a lease holds without being renewed."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`owner` is a token that nobody else has; `place` names machine and folder, `holder` says who, for people."""

    name: str
    owner: str
    place: str
    holder: str


def take(connection: Connection, lease: Lease, now: datetime) -> None:
    """Take a lease that is free, has run out, or belonged to a dead process of the same place.

    Raises Busy when another place holds it. One that ends later than a lease can is of a clock that was wrong.
    """
    row = connection.execute(FIND, {"held": lease.name}).first()
    if row is not None and row.place != lease.place and now < row.expires_at <= now + 2 * TERM:
        raise Busy(f"{row.holder} is at it, last heard of at {row.expires_at - TERM:%H:%M:%S} UTC")
    if row is not None:
        connection.execute(DROP, {"held": lease.name})
    new = {"name": lease.name, "owner": lease.owner, "place": lease.place, "holder": lease.holder}
    connection.execute(TAKE, {**new, "taken_at": now, "expires_at": now + TERM})


def renew(connection: Connection, lease: Lease, now: datetime) -> None:
    """Hold a lease for another term, also one that ran out and that nobody took. Raises LeaseLost."""
    changed = connection.execute(RENEW, {**_named(lease), "until": now + TERM})
    if not changed.rowcount:
        raise LeaseLost(_lost(lease))


def hold(connection: Connection, lease: Lease) -> None:
    """Make sure, inside a transaction, that a lease is still ours at its end. Raises LeaseLost."""
    if connection.scalar(HELD, _named(lease)) is None:
        raise LeaseLost(_lost(lease))


def give_back(connection: Connection, lease: Lease) -> None:
    """End a lease; nothing happens when somebody else has it by now."""
    connection.execute(GIVE_BACK, _named(lease))


def holder(connection: Connection, name: str) -> str | None:
    """Say who took a lease last and has not given it back."""
    row = connection.execute(FIND, {"held": name}).first()
    return f"{row.holder}, since {row.taken_at:%Y-%m-%d %H:%M:%S} UTC" if row else None


def _named(lease: Lease) -> dict[str, str]:
    return {"held": lease.name, "by": lease.owner}


def _lost(lease: Lease) -> str:
    return f"{lease.name}: another process has taken over, this one was not heard of for too long"
