"""What does not go as it should: how long it is left alone, and when the owner is told.

A store or an ESP that fails is tried again after a minute, then after two, four and so on up to an hour; the
others go on. The owner is told once when it stops, and once when it recovers.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from state import troubles
from state.db import Database
from state.errors import StateError
from state.troubles import Trouble
from sync.report import Failure, Report
from sync.run import Sync

log = structlog.get_logger()

Tell = Callable[[str, str], Awaitable[None]]
"""Sends an alert: its title and its text. Never raises."""


class Kind(StrEnum):
    DOWN = "down"  # a store or an ESP that cannot be reached, or fails
    REFUSED = "refused"  # a store or an ESP that does not take our key, or our right
    HELD = "held"  # a sync beyond its limits
    STALLED = "stalled"  # a sync that gets nowhere


FIRST = {Kind.DOWN: timedelta(minutes=1), Kind.REFUSED: timedelta(minutes=15)}
"""The first pause; each further one is twice as long."""
CEILING = timedelta(hours=1)
LONGEST = timedelta(days=1)
"""Who asks us to wait longer is asked once a day."""
PATIENCE = {Kind.DOWN: timedelta(minutes=10)}
"""How long a trouble is kept quiet: what a server needs to start anew is nobody's concern."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the owner reads of one kind of trouble: when it begins, and when it is over."""

    begins: str
    ends: str


WORDS: Mapping[Kind, Words] = {
    Kind.DOWN: Words(
        "{name} cannot be reached since {since}: {reason}. It is tried again by itself; the others go on.",
        "{name} can be reached again. What was missed since {since} is being made up for.",
    ),
    Kind.REFUSED: Words(
        "{name} refuses us since {since}: {reason}. Mend the key or its rights; the others go on.",
        "{name} takes us again. What was missed since {since} is being made up for.",
    ),
    Kind.HELD: Words(
        "sync {name} is held: {reason}. Look at `cartwire plan {name}`, let it go with `cartwire approve {name}`.",
        "sync {name} is held no more.",
    ),
    Kind.STALLED: Words(
        "sync {name} gets nowhere since {since}: {reason}.",
        "sync {name} goes on.",
    ),
}


class Troubles:
    """All that is in trouble, as the worker knows it and as the state store keeps it.

    Several syncs meet the same trouble at once: what is known changes before anything is waited for.
    """

    def __init__(self, db: Database, tell: Tell) -> None:
        self.tell = tell
        self._db = db
        self._known: dict[tuple[str, str], Trouble] = {}

    async def load(self) -> None:
        """Remember what an earlier worker left."""
        found = await self._db.read(troubles.list_troubles)
        self._known = {(each.name, each.kind): each for each in found}

    async def keep_only(self, names: Iterable[str]) -> None:
        """Forget whoever has left the configuration, without a word: one that comes back begins anew."""
        known = set(names)
        for each in list(self._known.values()):
            if each.name not in known:
                await self._drop(each.name, each.kind)

    def of(self, names: Iterable[str]) -> list[Trouble]:
        """Return the troubles of these stores, ESPs and syncs, the oldest first."""
        wanted = set(names)
        return sorted(
            (each for each in self._known.values() if each.name in wanted), key=lambda each: each.since
        )

    def resting(self, names: Iterable[str], now: datetime) -> dict[str, str]:
        """Return who is to be left alone for now, with the reason.

        A trouble that is yet to begin, or a pause that is too long, is of a clock that was wrong.
        """
        return {
            each.name: f"left alone until {each.retry_at:%Y-%m-%d %H:%M} UTC: {each.reason}"
            for each in self.of(names)
            if each.retry_at and each.since <= now < each.retry_at <= now + LONGEST
        }

    def next_try(self, names: Iterable[str]) -> datetime | None:
        return min((each.retry_at for each in self.of(names) if each.retry_at), default=None)

    async def try_now(self, now: datetime) -> None:
        """End every pause: the owner has changed something, perhaps a key, or the clock was set back."""
        for trouble in list(self._known.values()):
            if trouble.retry_at:
                await self._keep(replace(trouble, retry_at=now))

    async def learn(self, sync: Sync, report: Report, now: datetime) -> None:
        """Take from a run's report who failed, who is well again, and whether the sync is held."""
        if report.stopped:
            return
        esp = sync.job.target.esp
        for name, failure in report.failures.items():
            await self._failed(name, failure, now)
        asked = {*report.stores, *([esp] if _asked(report, esp) else [])}
        for name in asked - report.failures.keys():
            for kind in (Kind.DOWN, Kind.REFUSED):
                await self.end(name, kind)
        for trouble in self.of({*(source.name for source in sync.sources), esp}):
            if trouble.retry_at and trouble.retry_at <= now:  # there was nothing to ask
                await self._keep(replace(trouble, retry_at=now + CEILING))
        if report.held:
            await self.begin(sync.name, Kind.HELD, "; ".join(report.held), now)
        elif report.reached:
            await self.end(sync.name, Kind.HELD)

    async def begin(
        self, name: str, kind: Kind, reason: str, now: datetime, pause: timedelta | None = None
    ) -> None:
        """Note a trouble, once more or for the first time, and tell the owner once."""
        before = self._known.get((name, kind))
        trouble = Trouble(
            name,
            kind,
            reason,
            min(before.since, now) if before else now,
            before.tries + 1 if before else 1,
            now + pause if pause else None,
            before.told if before else False,
        )
        if trouble.told or now - trouble.since < PATIENCE.get(kind, timedelta()):
            await self._keep(trouble)
            return
        await self._keep(replace(trouble, told=True))
        log.error("trouble_began", about=name, kind=kind.value, reason=reason)
        await self._say(trouble, WORDS[kind].begins)

    async def end(self, name: str, kind: Kind) -> None:
        """Note that a trouble is over; tell the owner if they knew of it."""
        trouble = await self._drop(name, kind)
        if trouble is None:
            return
        log.warning("trouble_ended", about=name, kind=kind.value)
        if trouble.told:
            await self._say(trouble, WORDS[kind].ends)

    async def _failed(self, name: str, failure: Failure, now: datetime) -> None:
        kind, other = (Kind.REFUSED, Kind.DOWN) if failure.refused else (Kind.DOWN, Kind.REFUSED)
        before = self._known.get((name, kind))
        await self._drop(name, other)
        await self.begin(name, kind, failure.reason, now, _pause(kind, before, failure.retry_after))

    async def _keep(self, trouble: Trouble) -> None:
        self._known[trouble.name, trouble.kind] = trouble
        with _noted():
            await self._db.run(troubles.save_trouble, trouble)

    async def _drop(self, name: str, kind: str) -> Trouble | None:
        trouble = self._known.pop((name, kind), None)
        if trouble is not None:
            with _noted():
                await self._db.run(troubles.drop_trouble, name, str(kind))
        return trouble

    async def _say(self, trouble: Trouble, words: str) -> None:
        since = f"{trouble.since:%Y-%m-%d %H:%M} UTC"
        text = words.format(name=trouble.name, since=since, reason=trouble.reason.rstrip("."))
        await self.tell(f"Cartwire: {trouble.name}", text)


@contextmanager
def _noted() -> Iterator[None]:
    """Let a state store that cannot be written keep no word from the owner: it may be what the word is about."""
    try:
        yield
    except StateError as error:
        log.warning("trouble_not_kept", reason=str(error))


def _asked(report: Report, esp: str) -> bool:
    """Tell whether an ESP answered in this run: it is not asked when nothing waits for it."""
    return bool(report.pushed.contacts or report.pushed.entries or any(report.requests.get(esp, {}).values()))


def _pause(kind: Kind, before: Trouble | None, asked: float | None) -> timedelta:
    """Choose how long to leave alone who failed: longer each time, as long as was asked at least."""
    doublings = min(before.tries if before else 0, 10)
    pause: timedelta = min(FIRST[kind] * 2**doublings, CEILING)
    return min(max(pause, timedelta(seconds=asked or 0)), LONGEST)
