"""People whom a store wants erased: first at the ESPs, as `forget --esp` does, then here.

It belongs to the run that works off the inbox. Afterwards nothing here knows under which addresses an ESP has
them; so whatever comes in between leaves the request waiting, and the next run does it again.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from connectors.base import REQUEST, Eraser, Erasure, Esp, News
from connectors.errors import BadRecord, ConnectorError, Refused, Retryable
from state.db import Database
from state.errors import Busy
from state.inbox import Waiting
from state.privacy import Traces
from state.redaction import find_wanted
from sync.leases import one_run

log = structlog.get_logger()

OF_THE_KEY = frozenset({401, 403})
"""What an ESP answers to a key that may not erase: it is the ESP's trouble, not that of one contact."""

KEPT = " at ESP"
"""What the record of a letter ends in that goes by itself, once the contact is gone there."""

PATIENCE = 20.0
"""Seconds to wait for the end of another sync's run: a webhook begins those of all that read its store."""

NOTHING = Traces((), frozenset())


@dataclass(slots=True)
class Erased:
    """What came of it, by ESP: those that erased, that cannot, and that failed."""

    done: list[str] = field(default_factory=list)
    unable: list[str] = field(default_factory=list)
    failed: dict[str, ConnectorError] = field(default_factory=dict)


async def erase_at(esps: Mapping[str, Esp], addresses: Iterable[str]) -> Erased:
    """Delete the contacts with these addresses at every ESP; the failure of one keeps no other from it."""
    result, wanted = Erased(), list(addresses)
    for name, esp in esps.items():
        if not isinstance(esp, Eraser):
            result.unable.append(name)
            continue
        try:
            for address in wanted:
                await esp.erase(address)
        except ConnectorError as error:
            result.failed[name] = error
        else:
            result.done.append(name)
    return result


@dataclass(frozen=True)
class Erasers:
    """All ESPs, with what each sync reads (`readers`) and where it writes (`targets`)."""

    db: Database
    folder: Path
    esps: Mapping[str, Esp]
    targets: Mapping[str, str]
    readers: Mapping[str, Sequence[str]]

    def concerned(self, known: Collection[str], store: str) -> list[str]:
        """Name the syncs that know somebody; where none does any more, those that read the store."""
        found = sorted(self.targets.keys() & set(known))
        return found or sorted(name for name, stores in self.readers.items() if store in stores)

    def behind(self, syncs: Iterable[str]) -> dict[str, Esp]:
        return {self.targets[name]: self.esps[self.targets[name]] for name in syncs}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: whether it has to wait, what its owner is to know of it, and what was erased."""

    record: str
    waits: bool = False
    letter: BadRecord | None = None
    erased: Traces = NOTHING


@dataclass
class Erasing:
    """What one run does for the requests in its inboxes. `failed` are the ESPs that kept it from that.

    It has the lock of its `own` sync. Those in `resting` are left alone, and those that failed; the end of a `busy`
    sync's run is waited for once.
    """

    erasers: Erasers
    own: str
    resting: Collection[str] = ()
    failed: dict[str, ConnectorError] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def first(
        self, store: str, news: Sequence[tuple[Waiting, News]]
    ) -> AsyncIterator[Mapping[int, Answer]]:
        """Erase at the ESPs whom these deliveries name, and tell by delivery what came of it.

        Inside, no other sync runs that could write them again.
        """
        held = {self.own}
        async with AsyncExitStack() as locks:
            yield {
                each.id: await self._answer(locks, held, store, each.topic, wanted)
                for each, told in news
                for wanted in told.erase
            }

    async def _answer(
        self, locks: AsyncExitStack, held: set[str], store: str, topic: str, wanted: Erasure
    ) -> Answer:
        record = f"{REQUEST} {topic.removeprefix(f'{REQUEST} ')}" + (
            f" of customer {wanted.account}" if wanted.account else ""
        )
        traces = await self.erasers.db.read(find_wanted, store, wanted)
        if not traces.addresses:
            return Answer(record)  # without an address nobody is a contact
        syncs = self.erasers.concerned(traces.syncs, store)
        esps = self.erasers.behind(syncs)
        if not esps.keys().isdisjoint({*self.resting, *self.failed}) or not await self._kept_out(
            locks, held, syncs
        ):
            log.warning("erasure_waits", store=store)
            return Answer(record, waits=True)
        answer = self._told(record, await erase_at(esps, traces.addresses))
        return replace(answer, erased=Traces(traces.addresses, frozenset(syncs)))

    async def _kept_out(self, locks: AsyncExitStack, held: set[str], syncs: Iterable[str]) -> bool:
        """Keep runs of these syncs out; False where one is under way.

        Of two that meet the first by name waits, and only that: else each would wait for the other.
        """
        if not self.busy.isdisjoint(syncs):
            return False
        for name in sorted(set(syncs) - held):
            patience = PATIENCE if name > max(held) else 0.0
            try:
                await locks.enter_async_context(one_run(self.erasers.db, self.erasers.folder, name, patience))
            except Busy:
                self.busy.add(name)
                return False
            held.add(name)
        return True

    def _told(self, record: str, found: Erased) -> Answer:
        """Say what is left to do: an ESP in trouble is the run's, a single contact that it keeps is the owner's."""
        troubles = {name: error for name, error in found.failed.items() if _is_esps(error)}
        self.failed |= troubles
        kept = [f"esps.{name}: {error}" for name, error in found.failed.items() if name not in troubles]
        if kept:
            reason = f"nothing is erased here before it is there, each run tries again: {'; '.join(kept)}"
            return Answer(record, waits=True, letter=BadRecord(f"{record}{KEPT}", reason))
        if troubles:
            return Answer(record, waits=True)
        if not found.unable:
            return Answer(record)
        names = ", ".join(f"esps.{name}" for name in found.unable)
        reason = (
            f"erased here, but {names} takes no deletion from us: look the customer up in the store's admin by this"
            " number and delete the contact there by hand"
        )
        return Answer(record, letter=BadRecord(record, reason))


def _is_esps(error: ConnectorError) -> bool:
    return isinstance(error, Retryable) or (isinstance(error, Refused) and error.status in OF_THE_KEY)
