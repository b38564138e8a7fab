"""Who was archived. Mailchimp shows no more whether they had opted out, and a write brings them back.

https://github.com/brandonseydel/MailChimp.Net/issues/529. So whoever may be created as a subscriber is looked
for here first.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from connectors.esps.mailchimp.audience import Audience
from connectors.esps.mailchimp.writes import Write, document_of, subscriber_hash
from connectors.facts import utc
from connectors.http import Api
from connectors.writing import together

LOOKUPS = 50
"""Contacts up to which each is looked up; beyond, the archive is read: all of it once, then what is new."""
LAG = timedelta(minutes=10)
"""How far before the newest known archiving the archive is read again: listings lag, clocks differ."""
ABSENT = frozenset({404})


class Archive:
    def __init__(self, api: Api, audience: Audience) -> None:
        self._api = api
        self._audience = audience
        self._keys: set[bytes] = set()
        self._newest: datetime | None = None
        self._reading = asyncio.Lock()

    async def among(self, writes: Sequence[Write]) -> set[str]:
        """Find whose record is archived; return their keys."""
        if len(writes) <= LOOKUPS:
            found = await together([self._is_archived(write.key) for write in writes])
            return {write.key for write, archived in zip(writes, found, strict=True) if archived}
        async with self._reading:
            await self._read_on()
            listed = [write for write in writes if bytes.fromhex(write.key) in self._keys]
        if len(listed) > LOOKUPS:
            return {write.key for write in listed}
        return await self.among(listed)  # they may have come back since

    async def _is_archived(self, key: str) -> bool:
        path = f"{self._audience.path}/members/{key}"
        answer = await self._api.get(path, {"fields": "status"}, expect=ABSENT)
        return answer.status < 300 and document_of(answer.json).get("status") == "archived"

    async def _read_on(self) -> None:
        since = self._newest - LAG if self._newest else None
        async for rows in self._audience.members("archived", since):
            self._keys.update(bytes.fromhex(subscriber_hash(str(row["email_address"]))) for row in rows)
            moments = [moment for row in rows if (moment := utc(row.get("last_changed")))]
            self._newest = max([*moments, *([self._newest] if self._newest else [])], default=None)
