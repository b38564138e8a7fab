"""Contacts as Brevo holds them: looked up one by one or page by page."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any
from urllib.parse import quote

from connectors.errors import RemoteFault
from connectors.http import Api
from connectors.writing import folded, together

PAGE_SIZE = 1000
"""The most that Brevo gives; it gives 50 to those who do not ask."""
FEW = 20
"""Contacts that are looked up one by one without asking whether paging would be cheaper."""
READINGS = 3
"""How often a listing is begun anew when contacts vanish under it."""
ABSENT = frozenset({400, 404})
"""400 is what an identifier gets that is no address at all."""

Row = Mapping[str, Any]


def contact_path(email: str) -> str:
    return f"/contacts/{quote(email, safe='')}"


class Book:
    """Reads contacts; writes nothing."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def find(self, email: str) -> Row | None:
        answer = await self._api.get(contact_path(email), expect=ABSENT)
        return answer.json if answer.status == 200 and isinstance(answer.json, Mapping) else None

    async def find_all(self, emails: Sequence[str]) -> dict[str, Row]:
        """Look contacts up by whichever way takes fewer requests; keys are folded, absent ones missing."""
        if len(emails) > FEW:
            count = (await self._page(limit=1, offset=0)).get("count", 0)
            if ceil(int(count) / PAGE_SIZE) < len(emails):
                return await self._scan(emails)
        rows = await together([self.find(email) for email in emails])
        return {folded(email): row for email, row in zip(emails, rows, strict=True) if row is not None}

    async def created(self, emails: Sequence[str], since: datetime) -> dict[str, Row]:
        """Find those of the contacts that were created since a moment; newest first, so soon at an end."""
        return await self._scan(emails, createdSince=moment(since), sort="desc")

    async def changed(self, since: datetime | None) -> AsyncIterator[Sequence[Row]]:
        """Page through everybody who changed since a moment (everybody, when None).

        Pages go by creation, so a change on the way moves nobody to an earlier page. A deletion does: the
        count shows it, and the reading begins anew. Rows may come twice.
        """
        asked = {"modifiedSince": moment(since)} if since else {}
        for _ in range(READINGS):
            counts: list[int] = []
            async for rows, count in self._pages(**asked):
                counts.append(count)
                yield rows
            if not counts or counts[-1] >= counts[0]:
                return
        raise RemoteFault("Brevo: contacts vanish faster than they can be read")

    async def _scan(self, emails: Sequence[str], **asked: Any) -> dict[str, Row]:
        """Page until all are found or nobody is left."""
        wanted = {folded(email) for email in emails}
        found: dict[str, Row] = {}
        async for rows, _ in self._pages(**asked):
            here = ((folded(str(row.get("email") or "")), row) for row in rows)
            found |= {email: row for email, row in here if email in wanted}
            if len(found) == len(wanted):
                break
        return found

    async def _pages(self, **asked: Any) -> AsyncIterator[tuple[Sequence[Row], int]]:
        """Yield pages that hold anybody, each with the number of all; a page that comes again is the end."""
        offset, before = 0, None
        while True:
            page = await self._page(**{"limit": PAGE_SIZE, "offset": offset, "sort": "asc", **asked})
            rows = page.get("contacts") or []
            if not rows or rows == before:
                return
            offset, before = offset + len(rows), rows
            count = int(page.get("count", offset + 1))
            yield rows, count
            if offset >= count:
                return

    async def _page(self, **asked: Any) -> Row:
        answer = await self._api.get("/contacts", asked)
        return answer.json if isinstance(answer.json, Mapping) else {}


def moment(at: datetime) -> str:
    """Write a moment as Brevo's queries take it, in UTC, so that no `+` can be lost on the way."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
