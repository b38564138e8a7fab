"""`forget`: erase a person here, and at the ESPs where that is asked for.

The ESPs come first: afterwards nothing here knows under which addresses they have the person. Whatever goes
wrong leaves everything here as it was, so that the same command does it again.
"""

from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime

import structlog

from connectors.facts import normal_email
from state import privacy
from state.errors import StateError
from sync.app import Cartwire
from sync.erasing import erase_at
from sync.leases import one_run
from sync.show import as_json, say

log = structlog.get_logger()

NOT_EVERYWHERE, REFUSED = 1, 3


@dataclass(slots=True)
class Forgotten:
    """What came of it: rows cleaned here, ESPs that erased, that cannot, and that failed with their reasons.

    `cleaned` is empty when nothing was erased here because an ESP failed.
    """

    cleaned: dict[str, int] = field(default_factory=dict)
    erased: list[str] = field(default_factory=list)
    unable: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        if self.failed:
            return REFUSED
        return NOT_EVERYWHERE if self.unable else 0


async def forget_person(cartwire: Cartwire, email: str, now: datetime) -> dict[str, int]:
    """Erase a person here by the address that they have now. Raises StateError for what is no address."""
    address, _ = await _known(cartwire, email)
    return await cartwire.db.run(privacy.forget, address, now)


async def forget_everywhere(
    cartwire: Cartwire, email: str, now: datetime, *, patience: float = 0.0
) -> Forgotten:
    """Erase a person at every ESP whose syncs know them, then here; nothing here while an ESP fails.

    Where no sync knows them any more every ESP is asked, as for somebody who was forgotten here before.
    Waits up to `patience` seconds for the ends of runs, which could write them again; raises Busy then.
    """
    (address, traces), result = await _known(cartwire, email), Forgotten()
    syncs = [name for name in cartwire.syncs if name in traces.syncs] or list(cartwire.syncs)
    async with AsyncExitStack() as locks:
        for name in sorted(syncs):
            await locks.enter_async_context(one_run(cartwire.db, cartwire.folder, name, patience))
        found = await erase_at(cartwire.erasers.behind(syncs), traces.addresses)
        result.erased, result.unable = found.done, found.unable
        for esp, error in found.failed.items():
            log.error("remote_failed", esp=esp, reason=str(error))
            result.failed[esp] = str(error)
        if not result.failed:
            result.cleaned = await cartwire.db.run(privacy.forget, address, now)
    return result


async def _known(cartwire: Cartwire, email: str) -> tuple[str, privacy.Traces]:
    """Find a person; by what is no address only whom a store told of under it."""
    address = normal_email(email)
    traces = await cartwire.db.read(privacy.find_traces, address or "")
    if address is None or ("@" not in address and not traces.syncs):
        raise StateError("forget: this is no e-mail address; write it as the store has it")
    return address, traces


def show_cleaned(cleaned: dict[str, int], *, json: bool) -> None:
    if json:
        as_json(cleaned)
        return
    say(_cleaned(cleaned))
    say("If the ESP has a contact with this address, it stays: delete it there too, or use --esp.")


def show_forgotten(result: Forgotten, *, json: bool) -> None:
    if json:
        as_json({**asdict(result), **result.cleaned})
        return
    for name in result.erased:
        say(f"esps.{name}: nothing of them is left there")
    for name in result.unable:
        say(f"esps.{name}: it takes no deletion from us; delete the contact there by hand", err=True)
    for name, reason in result.failed.items():
        say(f"esps.{name}: {reason}", err=True)
    if result.failed:
        say("Nothing was erased here yet: run the same command again.", err=True)
    else:
        say(_cleaned(result.cleaned))


def _cleaned(cleaned: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in cleaned.items()) + " cleaned"
