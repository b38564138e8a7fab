"""Stage 3: empty the outbox into the ESP: who leaves a list first, then contacts, then who joins, list by list.

Who enters a list because of an open checkout comes last of all, after a last look at the stores. A kill
between the vendor's answer and our commit sends one batch twice, which is harmless: a push is an upsert. Where
it asks people to confirm it may ask them twice: so a batch holds few of those (`Traits.asking_size`).
What the ESP refuses is buried with its reason; the rest lands (P5).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from connectors.base import Blame, Esp, Journeys, Refusal
from connectors.errors import RemoteFault
from state import outbox, settling
from state.db import Database
from state.outbox import ContactJob, MembershipJob
from sync.job import Job, Pulse, Tick, in_group
from sync.journeys import STARTS, start_journeys, trigger_of
from sync.sending import end_if_left, send

log = structlog.get_logger()

UNCOUNTED = frozenset({Blame.ABSENT, Blame.LATER, Blame.ANEW})
"""What counts as no refusal of a contact."""


@dataclass(slots=True)
class Pushed:
    """What an ESP took: contacts and list entries; `refused` counts what it did not."""

    contacts: int = 0
    entries: int = 0
    refused: int = 0


async def _nothing_new() -> bool:
    return True


@dataclass(frozen=True)
class Pushing:
    """One sync's push in one run. `tick(done, all)` is called with contacts and entries after every batch.

    `missing` are the fields and lists that the ESP does not let us have, and why. When `pulse` says to stop, the
    batches in hand are the last. `look` asks the stores once more, lays down anew what follows, and returns whether
    those who enter lists on open checkouts may.
    """

    job: Job
    esp: Esp
    db: Database
    now: datetime
    missing: Mapping[str, str]
    tick: Tick = lambda _done, _expected: None
    pushed: Pushed = field(default_factory=Pushed)
    pulse: Pulse = field(default_factory=Pulse)
    look: Callable[[], Awaitable[bool]] = _nothing_new


async def push(pushing: Pushing) -> Pushed:
    """Empty a sync's outbox into its ESP; raises the ConnectorError that stopped it, and nothing is lost."""
    waiting = await pushing.db.read(outbox.pending, pushing.job.sync)
    if not waiting.contacts and not waiting.lists:
        return pushing.pushed
    missing = pushing.missing
    later = pushing.job.on_checkouts - missing.keys()
    await _push_all(pushing, missing, later)
    if await _somebody_enters(pushing, later) and await pushing.look():
        await _push_all(pushing, missing, frozenset())
    return pushing.pushed


async def _somebody_enters(pushing: Pushing, names: Iterable[str]) -> bool:
    """Tell whether there is anybody to look at the stores for."""
    for name in () if pushing.pulse.stopping else names:
        if await pushing.db.read(outbox.membership_jobs, pushing.job.sync, name, 0, 1, joins=True):
            return True
    return False


async def _push_all(pushing: Pushing, missing: Mapping[str, str], later: frozenset[str]) -> None:
    """Push what waits, but for those who join the lists in `later`."""
    waiting = await pushing.db.read(outbox.pending, pushing.job.sync)
    done = pushing.pushed.contacts + pushing.pushed.entries
    expected = done + waiting.contacts + sum(waiting.lists.values())
    this = Round(pushing, missing, expected, later)
    await _push_leaves(this, waiting.lists)
    await in_group([_push_contacts(this), _push_lists(this, waiting.lists)])


async def _push_leaves(this: "Round", names: Iterable[str]) -> None:
    """Take people out of lists before all else: a mail to somebody who bought just now cannot be called back.

    It costs no more calls than there are full lists of them. Whose address changes leaves after that has landed.
    """
    pushing = this.pushing
    slots = asyncio.Semaphore(pushing.esp.traits.pushes)

    async def work(name: str) -> None:
        leaving = Changes(pushing, name, joins=False)
        async with slots:
            while not pushing.pulse.stopping and (leaves := await leaving.take(outbox.LAST, full=False)):
                await _change_list(this, name, [], leaves)

    await in_group([work(name) for name in sorted(names, key=pushing.job.urgency)])


class Landing:
    """How far contacts have landed, for the lists that follow them: whole batches only, until all have."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._sent: list[int] = []
        self._landed: set[int] = set()
        self.upto = 0
        self.is_over = False

    def send(self, last: int) -> None:
        """Note that a batch went out, whose last profile this is; batches go out in the order of profiles."""
        self._sent.append(last)

    async def land(self, last: int) -> None:
        """Note that it was settled."""
        self._landed.add(last)
        while self._sent and self._sent[0] in self._landed:
            self.upto = self._sent.pop(0)
        async with self._changed:
            self._changed.notify_all()

    async def end(self) -> None:
        """Note that no contact is to come."""
        self.is_over, self.upto = True, outbox.LAST
        async with self._changed:
            self._changed.notify_all()

    async def beyond(self, profile: int) -> int:
        """Wait until contacts beyond this profile have landed, or all; return up to which one they have."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.is_over or self.upto > profile)
        return self.upto


@dataclass(frozen=True)
class Round:
    """Once through the outbox: what the ESP lacks, how much there is to do, and which lists are joined later."""

    pushing: Pushing
    missing: Mapping[str, str]
    expected: int
    later: frozenset[str]
    landing: Landing = field(default_factory=Landing)

    def settled(self) -> None:
        """Tell of progress, after a batch."""
        pushed = self.pushing.pushed
        self.pushing.pulse.beat()
        self.pushing.tick(pushed.contacts + pushed.entries, self.expected)


async def _push_contacts(this: Round) -> None:
    """Send batches, as many at once as the ESP bears; those at whom it broke before come last, each alone."""
    pushing, landing = this.pushing, this.landing
    job, esp, db = pushing.job, pushing.esp, pushing.db
    broken = await db.read(settling.broken_contacts, job.sync)
    taking = asyncio.Lock()
    reached = 0

    async def work() -> None:
        nonlocal reached
        while not pushing.pulse.stopping:
            async with taking:
                batch = await db.read(
                    outbox.contact_jobs,
                    job.sync,
                    reached,
                    esp.traits.batch_size,
                    asked=esp.traits.asking_size,
                )
                if not batch:
                    return
                last = reached = batch[-1].contact.profile
                landing.send(last)
            whole = [each for each in batch if each.contact.profile not in broken]
            if whole:
                await _settle(this, whole, await send(esp, whole, this.missing))
            await landing.land(last)

    await in_group([work() for _ in range(esp.traits.pushes)])
    for profile, again_at in broken.items():
        if again_at <= pushing.now and not pushing.pulse.stopping:
            await _try_again(this, profile)
    await landing.end()


async def _settle(this: Round, batch: Sequence[ContactJob], refusals: Sequence[Refusal]) -> None:
    """Keep what came of a batch, and tell of it."""
    pushing, job = this.pushing, this.pushing.job
    landed = await pushing.db.run(
        settling.settle_contacts, job.target, batch, refusals, pushing.now, kept=job.journeys
    )
    pushing.pushed.contacts += landed
    pushing.pushed.refused += sum(refusal.blame not in UNCOUNTED for refusal in refusals)
    anew = sum(refusal.blame is Blame.ANEW for refusal in refusals)
    log.info("batch_pushed", esp=job.target.esp, taken=landed, refused=len(refusals) - anew, anew=anew)
    this.settled()
    end_if_left(refusals)


async def _try_again(this: Round, profile: int) -> None:
    """Write somebody at whom the ESP broke before; that it does so again says nothing of the ESP.

    That it is there was seen when its fields and lists were looked at.
    """
    pushing = this.pushing
    jobs = await pushing.db.read(outbox.contact_jobs, pushing.job.sync, profile - 1, 1)
    batch = [each for each in jobs if each.contact.profile == profile]
    if not batch:
        return
    try:
        refusals = await send(pushing.esp, batch, this.missing)
    except RemoteFault as error:
        refusals = [Refusal(profile, Blame.BROKEN, str(error))]
    await _settle(this, batch, refusals)


async def _push_lists(this: Round, names: Iterable[str]) -> None:
    """Change a few lists at once, as many as the ESP bears; the changes of one list go one by one.

    An ESP that bears one push at a time gets the lists after the contacts.
    """
    pushing = this.pushing
    slots = asyncio.Semaphore(pushing.esp.traits.pushes)

    async def work(name: str) -> None:
        if pushing.esp.traits.pushes == 1 or trigger_of(pushing.job, name):
            await this.landing.beyond(outbox.LAST)
        async with slots:
            await _push_list(this, name)

    await in_group([work(name) for name in names])


async def _push_list(this: Round, name: str) -> None:
    """Send a list's changes in the vendor's bulk size, people who still have to leave together with people who join.

    While contacts are still to land only full calls go out: in all it takes no more of them than afterwards.
    """
    pushing, landing = this.pushing, this.landing
    joining, leaving = Changes(pushing, name, joins=True), Changes(pushing, name, joins=False)
    while not pushing.pulse.stopping:
        is_over, upto = landing.is_over, landing.upto
        joins = [] if name in this.later else await joining.take(upto, full=not is_over)
        leaves = await leaving.take(upto, full=not is_over)
        if joins or leaves:
            await _change_list(this, name, joins, leaves)
        elif is_over:
            return
        else:
            await landing.beyond(upto)


async def _change_list(
    this: Round, name: str, joins: Sequence[MembershipJob], leaves: Sequence[MembershipJob]
) -> None:
    """Make one call's worth of changes, and settle them."""
    pushing, missing = this.pushing, this.missing.get(name)
    job, esp, db = pushing.job, pushing.esp, pushing.db
    if trigger_of(job, name) and missing is None and isinstance(esp, Journeys):
        refusals = await start_journeys(job, esp, db, joins, pushing.now)
    else:
        refusals = await _change(esp, name, joins, leaves, missing)
    settled = [*joins, *leaves]
    landed = await db.run(
        settling.settle_memberships, job.sync, settled, refusals, pushing.now, journeys=job.journeys
    )
    refused = sum(refusal.blame is not Blame.LATER for refusal in refusals)
    pushing.pushed.entries += landed
    pushing.pushed.refused += refused
    log.info("list_changed", esp=job.target.esp, joined=len(joins), left=len(leaves), refused=refused)
    this.settled()
    end_if_left(refusals)


class Changes:
    """Who joins (or leaves) a list, call by call."""

    def __init__(self, pushing: Pushing, name: str, *, joins: bool) -> None:
        self._pushing = pushing
        self._name = name
        self._joins = joins
        self._size = STARTS if trigger_of(pushing.job, name) else pushing.esp.traits.list_batch_size
        self._after: int | None = 0

    async def take(self, upto: int, *, full: bool) -> Sequence[MembershipJob]:
        """Hand out the next changes of profiles up to `upto`; with `full` as many as a call takes, or none."""
        if self._after is None:
            return []
        found = await self._pushing.db.read(
            outbox.membership_jobs,
            self._pushing.job.sync,
            self._name,
            self._after,
            self._size,
            joins=self._joins,
            upto=upto,
        )
        if len(found) == self._size:
            self._after = found[-1].member.profile
        elif full:
            return []
        else:
            self._after = None  # nobody looks again
        return found


async def _change(
    esp: Esp, name: str, joins: Sequence[MembershipJob], leaves: Sequence[MembershipJob], missing: str | None
) -> Sequence[Refusal]:
    if missing is not None:
        return [Refusal(job.member.profile, Blame.ABSENT, missing, name) for job in (*joins, *leaves)]
    return await esp.change_list(name, [job.member for job in joins], [job.member for job in leaves])
