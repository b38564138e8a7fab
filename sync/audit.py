"""`audit`: hold the state against the stores' own counts, and the ESP's contacts against what it accepted.

It runs alone, as a run does, and reads only. With `repair` it also forgets what the ESP turned out not to
have: the next run writes that again, within the limits. Orders that a store, asked, has no more count no more.
A status is told and never touched.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from connectors.base import Audited, Counting, Held, Resource, Subscribe, Window
from connectors.currencies import exponent
from connectors.facts import normal_email
from state import audits, runs
from state.audits import Audit, Believed, Drift
from state.db import Database
from sync.app import Cartwire
from sync.gone import Counted, Gone, drop_gone
from sync.leases import one_run
from sync.pull import Source
from sync.run import Sync

log = structlog.get_logger()

PAGE = 1000
SHOWN = 20
"""People whose drift is shown one by one; the figures count all."""
STATUSES = frozenset({Subscribe.YES.value})
DRIFTED = 1


@dataclass(frozen=True, slots=True)
class Month:
    """Orders of one month: stored here, and counted by the store (None where it does not say).

    `sales` are the paid ones' totals by currency as stored, refunds not taken off, to hold against the
    store's own report.
    """

    month: str
    stored: int
    counted: int | None
    sales: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoreAudit:
    """One store's orders by month; `skipped` says why there is nothing to compare.

    `deleted` are those that a repair found to be gone there, `hidden` those of which it could not be sure.
    """

    store: str
    months: Sequence[Month] = ()
    unreadable: int = 0
    skipped: str | None = None
    deleted: int = 0
    hidden: int = 0

    @property
    def surplus(self) -> int:
        """Orders that are here and not there."""
        return sum(max(0, each.stored - each.counted) for each in self.months if each.counted is not None)

    @property
    def drift(self) -> int:
        """Orders that are only here, and those only there without being dead letters."""
        there = sum(max(0, each.counted - each.stored) for each in self.months if each.counted is not None)
        return self.surplus + max(0, there - self.unreadable)


@dataclass(slots=True)
class EspAudit:
    """How the ESP's contacts differ from what it accepted; `skipped` says why they could not be read.

    `lower` are people whom it does not mail though they agreed and nobody told us otherwise, `higher` those
    whom it mails without our doing. `fields` and `lists` count by name, `samples` shows some by profile.
    """

    compared: int = 0
    drifted: int = 0
    missing: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    lists: Counter[str] = field(default_factory=Counter)
    lower: int = 0
    higher: int = 0
    skipped: str | None = None
    samples: list[Drift] = field(default_factory=list)

    def add(self, drift: Drift) -> None:
        self.drifted += 1
        self.missing += drift.missing
        self.fields.update(drift.fields.keys())
        self.lists.update(drift.lists.keys())
        self.samples += [drift] if len(self.samples) < SHOWN else []


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found of a sync."""

    sync: str
    stores: Sequence[StoreAudit]
    esp: EspAudit
    repaired: bool

    @property
    def orders(self) -> int:
        return sum(store.drift for store in self.stores)

    @property
    def exit_code(self) -> int:
        return DRIFTED if self.orders or self.esp.drifted else 0


async def audit(
    cartwire: Cartwire, sync: Sync, now: datetime, *, repair: bool, patience: float = 0.0
) -> AuditReport:
    """Compare, keep what was found for `status`, and with `repair` let the next run write it again.

    Waits up to `patience` seconds for the end of a run of the sync. Raises Busy then, and whatever ConnectorError stops the reading:
    what was repaired before that stays so.
    """
    with structlog.contextvars.bound_contextvars(sync=sync.name):
        async with one_run(cartwire.db, cartwire.folder, sync.name, patience):
            report = await _compare(cartwire.db, sync, now, repair=repair)
        log.info("audit_ended", people=report.esp.drifted, orders=report.orders)
    return report


async def _compare(db: Database, sync: Sync, now: datetime, *, repair: bool) -> AuditReport:
    stores = [await _audit_store(db, source, sync.job.timezone, repair=repair) for source in sync.sources]
    contacts = await _Comparison(sync, db, now, repair=repair).run()
    report = AuditReport(sync.name, stores, contacts, repair)
    found = Audit(now, contacts.drifted, report.orders, figures(report))
    if not (contacts.skipped and all(store.skipped for store in stores)):  # nothing compared is no drift of 0
        await db.run(audits.save_audit, sync.name, found)
    return report


# --- stores --------------------------------------------------------------------------------------------


async def _audit_store(db: Database, source: Source, timezone: ZoneInfo, *, repair: bool) -> StoreAudit:
    """Count by month up to the last reading: what came since is no drift."""
    end = await db.read(audits.orders_read_at, source.name)
    first = await db.read(audits.first_order_at, source.name)
    if end is None or first is None:
        return StoreAudit(source.name, skipped="nothing of it was read yet")
    if not isinstance(source.store, Counting):
        return StoreAudit(source.name, skipped="it cannot be asked how many orders it has")
    windows = months_between(first, end, timezone)
    counted = await source.store.count_orders(windows)
    found = [
        await _month(db, source.name, window, count, timezone)
        for window, count in zip(windows, counted, strict=True)
    ]
    unreadable = await db.read(runs.count_dead_letters, [source.name], "order ")
    nothing = (
        None if any(count is not None for count in counted) else "it does not say how many orders it has"
    )
    months = [
        Counted(window, month.stored, month.counted)
        for window, month in zip(windows, found, strict=True)
        if month.counted is not None
    ]
    gone = await drop_gone(db, source, months) if repair else Gone()
    return StoreAudit(source.name, found, unreadable, nothing, gone.dropped, gone.hidden)


async def _month(db: Database, store: str, window: Window, counted: int | None, timezone: ZoneInfo) -> Month:
    stored, sums = await db.read(audits.count_orders, store, window)
    assert window.start is not None  # noqa: S101 - for the type: months have a beginning
    name = window.start.astimezone(timezone).strftime("%Y-%m")
    sales = {
        currency: f"{minor / 10 ** exponent(currency):.{exponent(currency)}f}"
        for currency, minor in sums.items()
    }
    return Month(name, stored, counted, sales)


def months_between(first: datetime, end: datetime, timezone: ZoneInfo) -> list[Window]:
    """Cut the time from the month of `first` up to `end` into the owner's months."""
    starts = []
    year, month = first.astimezone(timezone).year, first.astimezone(timezone).month
    while (start := datetime(year, month, 1, tzinfo=timezone).astimezone(UTC)) < end:
        starts.append(start)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    ends = [*starts[1:], end]
    return [Window(Resource.ORDERS, *span) for span in zip(starts, ends, strict=True)]


# --- the ESP -------------------------------------------------------------------------------------------


class _Comparison:
    """One reading of an ESP's contacts. Memory holds a page, and a bit for each profile that was met."""

    def __init__(self, sync: Sync, db: Database, now: datetime, *, repair: bool) -> None:
        mapping = sync.job.mapping
        self._sync, self._db, self._now, self._repairs = sync, db, now, repair
        self._fields = {each.name: each for each in mapping.fields}
        self._kept = sync.job.journeys
        self._lists = [each.name for each in mapping.lists if each.name not in self._kept]
        self._met = bytearray()
        self._found = EspAudit()

    async def run(self) -> EspAudit:
        esp, name = self._sync.esp, self._sync.name
        if not isinstance(esp, Audited):
            return EspAudit(skipped="its contacts cannot be read back")
        elsewhere = await self._db.read(audits.moved, name)
        async for page in esp.contacts(list(self._fields.values()), self._lists):
            held = {normal_email(each.email) or "": each for each in page}
            target = self._sync.job.target.esp
            ours = await self._db.read(audits.believed, name, target, held, elsewhere)
            pairs = [(ours[email], held[email]) for email in ours if not self._is_met(ours[email].profile)]
            await self._note([self._compare(esp, *pair) for pair in pairs])
        await self._find_missing()
        return self._found

    def _compare(self, esp: Audited, ours: Believed, held: Held) -> Drift:
        self._meet(ours.profile)
        self._found.compared += 1
        self._found.lower += _is_lower(ours, held)
        self._found.higher += _is_higher(ours, held)
        return drift_of(ours, held, self._lists, self._as_held(esp))

    def _as_held(self, esp: Audited) -> Callable[[str, Any], str | None]:
        return lambda name, value: esp.as_held(self._fields[name], value) if name in self._fields else None

    async def _find_missing(self) -> None:
        """Go through whom the ESP accepted, and note who was on none of its pages."""
        after, asked = 0, self._sync.esp.traits.shows_asked
        while people := await self._db.read(
            audits.accepted_people, self._sync.name, after, PAGE, asked=asked
        ):
            after = people[-1][0]
            lost = [Drift(*person, missing=True) for person in people if not self._is_met(person[0])]
            self._found.compared += len(lost)
            await self._note(lost)

    async def _note(self, compared: Sequence[Drift]) -> None:
        drifts = [drift for drift in compared if drift]
        for drift in drifts:
            self._found.add(drift)
        if self._repairs and drifts:
            await self._db.run(audits.repair, self._sync.name, drifts, self._kept, self._now)

    def _meet(self, profile: int) -> None:
        self._met.extend(b"\0" * max(0, profile // 8 + 1 - len(self._met)))
        self._met[profile // 8] |= 1 << profile % 8

    def _is_met(self, profile: int) -> bool:
        return profile // 8 < len(self._met) and bool(self._met[profile // 8] & 1 << profile % 8)


def drift_of(
    ours: Believed, held: Held, lists: Sequence[str], as_held: Callable[[str, Any], str | None]
) -> Drift:
    """Compare one contact, in the mapping's fields (`as_held` gives None for others) and these lists."""
    expected = {name: as_held(name, value) for name, value in ours.fields.items()}
    there = {name: held.fields.get(name, "") for name, text in expected.items() if text is not None}
    return Drift(
        ours.profile,
        ours.email,
        fields={name: text for name, text in there.items() if text != expected[name]},
        lists={
            name: name in held.lists
            for name in lists
            if name not in ours.unsure and (name in held.lists) != (name in ours.lists)
        },
    )


def _is_lower(ours: Believed, held: Held) -> bool:
    return ours.subscribe in STATUSES and ours.agreed and not held.mailable


def _is_higher(ours: Believed, held: Held) -> bool:
    return held.mailable and (ours.opted_out or ours.subscribe not in {Subscribe.YES, Subscribe.ASK})


def figures(report: AuditReport) -> dict[str, Any]:
    """Count what was found, without anybody's name or value."""
    esp = report.esp
    return {
        "compared": esp.compared,
        "missing": esp.missing,
        "fields": dict(esp.fields),
        "lists": dict(esp.lists),
        "lower": esp.lower,
        "higher": esp.higher,
        "stores": {store.store: store.drift for store in report.stores if store.skipped is None},
        "skipped": [store.store for store in report.stores if store.skipped]
        + (["esp"] if esp.skipped else []),
        "repaired": report.repaired,
    }
