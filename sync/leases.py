"""One at a time: the lock of the folder, and beside it a lease in the state store for other machines.

The lock ends with its process, so that the next one takes over at once; the lease is for those who share the
state store but not the folder. It is renewed while the work goes on. Who lost it writes nothing more: every
transaction begins by looking.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from pathlib import Path

import structlog

from state import leases, runs
from state.db import Database
from state.errors import Busy, LeaseLost, StateError
from state.leases import Lease
from sync.job import utc_now

log = structlog.get_logger()

BEAT = 20.0
"""Seconds between two renewals: two may fail before a lease runs out."""
WORKER = "cartwire.worker"
"""No sync can be named so: names have no dots."""
PATIENCE = 600.0
"""Seconds that a command waits for the end of another run."""
ASK_AGAIN = 0.5
BOOT = Path("/proc/sys/kernel/random/boot_id")


@asynccontextmanager
async def one_run(db: Database, folder: Path, sync: str, patience: float = 0.0) -> AsyncIterator[None]:
    """Keep other runs of a sync out; everything that is written inside fails once the lease is lost.

    Waits up to `patience` seconds for the end of another run. Raises Busy.
    """
    async with AsyncExitStack() as stack:
        lease = await _patiently(stack, db, folder, sync, patience)
        stack.enter_context(db.guarded(partial(leases.hold, lease=lease)))
        yield


@asynccontextmanager
async def one_worker(db: Database, folder: Path, lost: Callable[[], None]) -> AsyncIterator[None]:
    """Keep other workers out; `lost` is called when another one has taken over. Raises Busy."""
    async with AsyncExitStack() as stack:
        try:
            await _enter(stack, db, folder, WORKER, lost)
        except Busy as busy:
            raise Busy(
                f"another `cartwire run` keeps this state store: {busy}; stop it, or wait a minute if it was killed"
            ) from busy
        yield


async def _patiently(stack: AsyncExitStack, db: Database, folder: Path, sync: str, patience: float) -> Lease:
    waited = 0.0
    while True:
        try:
            return await _enter(stack, db, folder, sync, lambda: None)
        except Busy as busy:
            if waited >= patience:
                raise Busy(f"sync {sync}: another run is under way; wait for its end ({busy})") from busy
            if not waited:
                log.warning("run_waits", sync=sync, reason=str(busy))
        await asyncio.sleep(ASK_AGAIN)
        waited += ASK_AGAIN


async def _enter(
    stack: AsyncExitStack, db: Database, folder: Path, name: str, lost: Callable[[], None]
) -> Lease:
    """Take lock and lease, or neither; keep them until the stack is left."""
    lease = Lease(name, secrets.token_hex(8), _place(folder), _myself())
    async with AsyncExitStack() as taken:
        try:
            taken.enter_context(runs.alone(folder, name))
        except Busy as busy:
            raise Busy(await db.read(leases.holder, name) or str(busy)) from busy
        await db.run(leases.take, lease, utc_now())
        taken.push_async_callback(_give_back, db, lease)
        await taken.enter_async_context(_renewed(db, lease, lost))
        stack.push_async_exit(taken.pop_all())
    return lease


async def _give_back(db: Database, lease: Lease) -> None:
    """Let the next one begin at once; where the state store is away, the lease runs out in its own time."""
    try:
        await db.run(leases.give_back, lease)
    except StateError as error:
        log.warning("lease_not_given_back", lease=lease.name, reason=str(error))


@asynccontextmanager
async def _renewed(db: Database, lease: Lease, lost: Callable[[], None]) -> AsyncIterator[None]:
    beating = asyncio.ensure_future(_beat(db, lease, lost))
    try:
        yield
    finally:
        beating.cancel()


async def _beat(db: Database, lease: Lease, lost: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(BEAT)
        try:
            await db.run(leases.renew, lease, utc_now())
        except LeaseLost as error:
            log.error("lease_lost", reason=str(error))  # noqa: TRY400 - nothing to trace: somebody else is at it
            lost()
            return
        except StateError as error:
            log.warning("lease_not_renewed", reason=str(error))


def _place(folder: Path) -> str:
    """Name machine and folder so that no copy of them, of the same names, is taken for the same."""
    found = folder.stat()
    return f"{socket.gethostname()} {folder.resolve()} {found.st_dev}:{found.st_ino} {_boot()}"


@cache
def _boot() -> str:
    """Name this start of the machine; empty where the system has no name for it."""
    return BOOT.read_text().strip() if BOOT.exists() else ""


def _myself() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
