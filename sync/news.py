"""Stage 1 by its other door: from the inbox to facts.

Webhooks are hints. What one tells is stored if it is newer than what is there; what one merely names is asked
for. A kill before the commit leaves the delivery waiting, one after it repeats nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import structlog

from connectors.base import News, Page, Store, Webhooks
from connectors.errors import BadRecord, ConnectorError, Refused, Retryable
from connectors.writing import halves
from state import inbox, runs
from state.db import Database
from state.facts import name_of
from state.inbox import Waiting
from state.redaction import Asked
from sync.erasing import KEPT, Answer, Erasing
from sync.pull import Source

log = structlog.get_logger()

AT_ONCE = 100
"""Deliveries that are read, and settled in one transaction; as many records fit one question to any store."""

KEY_REFUSED, FORBIDDEN = 401, 403
"""A store that does not take the key answers nothing at all. What is forbidden may be all of it, while a firewall
stands in the way, all of a kind, where a right is missing, or a single record."""
SPLITS = 10
"""How often what is forbidden is asked for in smaller parts: enough to find a kind, and one record among AT_ONCE."""
PAUSE = timedelta(minutes=15)
"""How long what is forbidden is left alone first, then twice as long each time, up to `inbox.LONGEST`."""

Read = tuple[Waiting, News]


@dataclass(slots=True)
class Taken:
    """What came of an inbox: deliveries that are done, rows new or changed, records that cannot be read."""

    deliveries: int = 0
    changed: int = 0
    bad: int = 0


async def take_in(
    source: Source,
    db: Database,
    now: datetime,
    taken: Taken,
    *,
    ask: bool = True,
    erasing: Erasing | None = None,
) -> None:
    """Make facts of all that waits for a store. Without `ask`, what must be asked for goes on waiting.

    Whom the store wants erased is erased at the ESPs first, by `erasing`; a request that fails there waits, too.

    Raises the error of a store that does not answer, or does not take our key, once everything else is stored:
    what had to be asked for is asked again.
    """
    trouble: ConnectorError | None = None
    after = 0
    while batch := await db.read(inbox.waiting, source.name, now, after, AT_ONCE):
        after = batch[-1].id
        news = [(each, _read(source.store, each)) for each in batch]
        if erasing and any(told.erase for _, told in news):
            async with erasing.first(source.name, news) as answers:
                news = await _answered(source, db, now, news, answers)
                naming = await _settle_told(source, db, now, news, taken, answers=answers)
        else:
            naming = await _settle_told(source, db, now, news, taken)
        if naming and ask and trouble is None:
            try:
                ask = await _settle_named(source, db, now, naming, taken)
            except (Retryable, Refused) as error:
                trouble = error
    if taken.deliveries:
        log.info("inbox_read", store=source.name, deliveries=taken.deliveries, changed=taken.changed)
    if trouble is not None:
        raise trouble


def _read(store: Store, waiting: Waiting) -> News:
    """Read a delivery; whatever happens to one, the others are read."""
    if not isinstance(store, Webhooks):
        return News()
    try:
        return store.read_webhook(waiting.topic, waiting.body)
    except Exception as error:  # noqa: BLE001 - one delivery, however odd, may not keep the inbox shut
        log.error("webhook_unreadable", kind=type(error).__name__)  # noqa: TRY400 - a traceback holds payloads
        return News(bad=[BadRecord("webhook", "it cannot be read")])


async def _answered(
    source: Source, db: Database, now: datetime, news: Sequence[Read], answers: Mapping[int, Answer]
) -> list[Read]:
    """Leave out the requests that have to wait; the owner is told what keeps a contact at an ESP."""
    waits = {number for number, answer in answers.items() if answer.waits}
    kept = [answer.letter for answer in answers.values() if answer.waits and answer.letter]
    over = {f"{answers[number].record}{KEPT}" for number in answers.keys() - waits}
    await db.run(runs.bury, source.name, kept, now)
    await db.run(runs.unbury, source.name, over - {letter.record for letter in kept})
    return [(each, told) for each, told in news if each.id not in waits]


async def _settle_told(
    source: Source,
    db: Database,
    now: datetime,
    news: Sequence[Read],
    taken: Taken,
    *,
    answers: Mapping[int, Answer] = MappingProxyType({}),
) -> list[Read]:
    """Store what deliveries tell themselves; return those for which something has to be asked."""
    page = Page(
        [fact for _, told in news for fact in told.facts],
        "",
        [letter for _, told in news for letter in told.bad],
    )
    erase = {each.id: _asked(told, answers.get(each.id)) for each, told in news if told.erase}
    records = {each.id: {name_of(fact) for fact in told.facts} for each, told in news if not _names(told)}
    settled = await db.run(inbox.settle_told, source.name, records, page, now, erase=erase)
    doubts = settled.doubts
    naming = [(each, told) for each, told in news if _names(told)]
    naming += [
        (each, News(ask=sorted(doubts & records[each.id])))
        for each, _ in news
        if doubts & records.get(each.id, set())
    ]
    taken.changed += settled.changed
    taken.deliveries += len(news) - len(naming) - len(settled.late)
    taken.bad += len(page.bad) + settled.letters
    if settled.late:
        log.warning("erasure_waits", store=source.name)
    return naming


def _asked(told: News, answer: Answer | None) -> Asked:
    if answer is None:
        return Asked(told.erase)
    return Asked(told.erase, answer.erased, [answer.letter] if answer.letter else [])


async def _settle_named(
    source: Source, db: Database, now: datetime, news: Sequence[Read], taken: Taken
) -> bool:
    """Ask for what deliveries name; of what is forbidden, for less at a time, so that it holds up nothing else.

    Return whether the store answered anything: if not, nothing more is to be asked for now.
    """
    parts, splits, done = [news], SPLITS, taken.deliveries
    while parts:
        part = parts.pop()
        try:
            await _ask(source, db, now, part, taken)
        except Refused as refused:
            if refused.status != FORBIDDEN:
                raise
            if len(part) > 1 and splits:
                parts += _apart(part)
                splits -= 1
            else:
                await _put_off(source, db, now, part, refused)
    return taken.deliveries > done


def _apart(news: Sequence[Read]) -> list[Sequence[Read]]:
    """Sort by the first kind that each names, where there are several; else cut in two."""
    kinds: defaultdict[str, list[Read]] = defaultdict(list)
    for each, told in news:
        kinds[next(iter((*told.ask, *told.deleted))).partition(" ")[0]].append((each, told))
    return list(kinds.values()) if len(kinds) > 1 else list(halves(news))


async def _put_off(
    source: Source, db: Database, now: datetime, news: Sequence[Read], refused: Refused
) -> None:
    """Leave deliveries alone for longer each time: the store may well answer again."""
    until = {each.id: now + min(PAUSE * 2 ** min(each.tries, 10), inbox.LONGEST) for each, _ in news}
    await db.run(inbox.put_off, until)
    log.warning("webhooks_put_off", store=source.name, deliveries=len(until), reason=str(refused))


async def _ask(source: Source, db: Database, now: datetime, news: Sequence[Read], taken: Taken) -> None:
    """Ask for what deliveries name, and store it; what they say is deleted, and is not there, is gone."""
    deleted = {record for _, told in news for record in told.deleted}
    records = dict.fromkeys(record for _, told in news for record in (*told.ask, *told.deleted))
    try:
        page = await source.store.reread(list(records))
    except Refused as refused:
        if refused.status in {KEY_REFUSED, FORBIDDEN}:
            raise
        # As a letter each, it stops neither the others nor the schedule.
        page = Page([], "", [BadRecord(record, str(refused)) for record in records])
    there = {name_of(fact) for fact in page.facts}
    there |= {letter.record for letter in page.bad}
    found = Page(page.facts, "", page.bad, gone=sorted(deleted - there))
    done = [each.id for each, _ in news]
    taken.changed += await db.run(inbox.settle_asked, source.name, done, found, now)
    taken.deliveries += len(done)
    taken.bad += len(page.bad)


def _names(told: News) -> bool:
    return bool(told.ask or told.deleted)
