"""A file of orders as a store: what a shop exported, or a shop that is no more.

The way of the data: told apart in `columns`, cut into orders in `reading`, read in `payloads`. A file is read
from its beginning when its content changed, and else not at all. An order that is no longer in it stays: an
export may hold a part. A page of one content is never gone on with in another: the reading begins anew.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import datetime
from itertools import islice

from connectors.base import Page, Resource, Window
from connectors.errors import BadRecord
from connectors.facts import Fact
from connectors.stores.csv import reading
from connectors.stores.csv.payloads import Terms, read_group
from connectors.stores.csv.settings import CsvStoreSettings

PAGE_SIZE = 500
NOBODY = "the file has no column with e-mail addresses: its orders will belong to nobody"


class CsvStore:
    Settings = CsvStoreSettings

    resources: Sequence[Resource] = (Resource.ORDERS,)

    def __init__(self, settings: CsvStoreSettings) -> None:
        self.tally: Counter[str] = Counter()
        self._path = settings.file
        self._encoding = settings.encoding
        self._terms = Terms(settings.zone, settings.currency, settings.statuses)

    async def check(self) -> Sequence[str]:
        layout = await asyncio.to_thread(self._layout)
        return [] if "email" in layout.columns else [NOBODY]

    async def plan_backfill(self, resource: Resource, since: datetime | None) -> Sequence[Window]:
        """Take the file as one window; orders before `since` are left out while it is read."""
        await asyncio.to_thread(self._layout)
        return [Window(resource, since)]

    async def backfill(
        self,
        window: Window,
        cursor: str | None,
        *,
        careful: bool = False,  # noqa: ARG002 - nothing in a file moves while it is read
    ) -> AsyncIterator[Page]:
        told = json.loads(cursor) if cursor else {}
        async for page in self._pages(told, window.start):
            yield page

    async def changes(
        self,
        resource: Resource,  # noqa: ARG002 - there is one
        since: datetime,  # noqa: ARG002 - a file does not say what changed: it is read whole
        cursor: str | None,
    ) -> AsyncIterator[Page]:
        told = json.loads(cursor) if cursor else {}
        async for page in self._pages(told, None):
            yield page

    async def reread(self, records: Sequence[str]) -> Page:
        wanted = set(records)
        return await asyncio.to_thread(self._reread, wanted)

    async def aclose(self) -> None:
        """Hold nothing open between two pages' readings that would have to be closed."""

    async def _pages(self, told: dict[str, object], since: datetime | None) -> AsyncIterator[Page]:
        """Read the file on from the order behind which `told` stands; not at all when it is read already."""
        seen = await asyncio.to_thread(reading.survey, self._path, self._encoding)
        is_same = told.get("digest") == seen.digest
        done = told.get("orders", 0) if is_same else 0
        finished = json.dumps({"digest": seen.digest, "orders": None})
        if done is None:
            yield Page([], finished)
            return
        layout = await asyncio.to_thread(reading.layout, self._path, seen.encoding)
        count = int(str(done))
        with closing(reading.lines(self._path, layout)) as lines:
            groups = islice(reading.orders(lines), count, None)
            while part := await asyncio.to_thread(lambda: list(islice(groups, PAGE_SIZE))):
                count += len(part)
                facts, bad = self._read(part, since)
                yield Page(facts, json.dumps({"digest": seen.digest, "orders": count}), bad)
        yield Page([], finished)

    def _read(
        self, groups: Sequence[Sequence[reading.Line]], since: datetime | None
    ) -> tuple[list[Fact], list[BadRecord]]:
        facts: list[Fact] = []
        bad: list[BadRecord] = []
        for group in groups:
            found, letter = read_group(group, self._terms)
            is_old = since is not None and any(getattr(fact, "created_at", since) < since for fact in found)
            facts += [] if is_old else found
            bad += [letter] if letter else []
        return facts, bad

    def _reread(self, wanted: set[str]) -> Page:
        """Read the orders that begin on these lines ("line 17") or have these ids ("order 727") again.

        Copies further down come along: else the older one would replace them.
        """
        facts: list[Fact] = []
        bad: list[BadRecord] = []
        with closing(reading.lines(self._path, self._layout())) as lines:
            for group in reading.orders(lines):
                identity = f"order {group[0].cells.get('order_id')}"
                if {f"line {group[0].number}", identity} & wanted:
                    wanted.add(identity)
                    found, unreadable = self._read([group], None)
                    facts += found
                    bad += unreadable
        return Page(facts, "", bad)

    def _layout(self) -> reading.Layout:
        seen = reading.survey(self._path, self._encoding)
        return reading.layout(self._path, seen.encoding)
