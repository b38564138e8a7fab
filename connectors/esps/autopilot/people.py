"""Who is in the account. Autopilot can be asked for one contact, or for all of them, 100 a page.

A bulk write does not say whom it created, and creates mailable contacts: so before writing we look who is
there, by whichever way takes fewer requests. Afterwards the ids tell whether somebody had been deleted in
between and came back by our writing.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from connectors.http import Api
from connectors.writing import folded, together

PAGE = 100
LOOKUPS = 50
"""Contacts up to which each is asked for; beyond, reading all may take fewer requests."""
NO_CONTACT = frozenset({400, 404})
"""400 is for what is no address."""
MOST_MET = 100_000
"""People of the latest writes whose ids are kept: some 25 MB, and those of a minute, nearly, at 19 writes a second."""

Row = Mapping[str, Any]
Ids = Mapping[str, frozenset[str]]
"""Contact ids by folded address: several where an address stands on several contacts."""


def contact_path(email_or_id: str) -> str:
    return f"/contact/{quote(email_or_id.encode('utf-8', 'ignore'), safe='')}"


class People:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._met: dict[str, str] = {}

    def meet(self, ids: Mapping[str, str]) -> None:
        """Remember who is there, by folded address: a write has just been answered with their ids."""
        for email, number in ids.items():
            self._met.pop(email, None)
            self._met[email] = number
        while len(self._met) > MOST_MET:
            del self._met[next(iter(self._met))]

    def forget(self, email: str | None = None) -> None:
        """Believe no former answer about somebody any more, or about anybody."""
        if email is None:
            self._met.clear()
        else:
            self._met.pop(folded(email), None)

    async def find_again(self, emails: Sequence[str]) -> Ids:
        """Find contacts that are expected to be there: by what a write was answered lately, else as `find` does."""
        met = {key: frozenset({self._met[key]}) for key in map(folded, emails) if key in self._met}
        strangers = [email for email in emails if folded(email) not in met]
        return {**met, **await self.find(strangers, strangers)}

    async def has_none_of(self, email: str, ids: Iterable[str]) -> bool:
        """Tell whether none of these contacts has this (folded) address any more."""
        rows = await together([self._look_up_one(number) for number in ids])
        return not any(row and folded(str(row.get("Email") or "")) == email for row in rows)

    async def find(self, emails: Sequence[str], expected: Sequence[str] = ()) -> Ids:
        """Find contacts by address; the absent are left out.

        Of the `expected` absence is believed only when asked for one by one, as pages shift under one's
        feet.
        """
        if len(emails) <= LOOKUPS:
            return await self.look_up(emails)
        found, complete = await self._read_all({folded(email) for email in emails}, len(emails))
        again = expected if complete else emails
        missing = [email for email in again if folded(email) not in found]
        return {**found, **await self.look_up(missing)}

    async def look_up(self, emails: Sequence[str]) -> Ids:
        """Ask for each of these."""
        rows = await together([self._look_up_one(email) for email in emails])
        return {
            folded(email): frozenset({str(row["contact_id"])})
            for email, row in zip(emails, rows, strict=True)
            if row
        }

    async def pages(self) -> AsyncIterator[tuple[Sequence[Row], int | None]]:
        """Read all contacts; with each page how many Autopilot says there are, if it does."""
        bookmark: str | None = None
        while True:
            path = "/contacts" if bookmark is None else f"/contacts/{quote(bookmark, safe='')}"
            page = (await self._api.get(path)).json
            rows: Sequence[Row] = page["contacts"]
            yield rows, page.get("total_contacts")
            former, bookmark = bookmark, page.get("bookmark")
            if not rows or bookmark in {None, "", former}:
                return

    async def _look_up_one(self, email_or_id: str) -> Row | None:
        answer = await self._api.get(contact_path(email_or_id), expect=NO_CONTACT)
        return answer.json if answer.status < 300 else None

    async def _read_all(self, wanted: set[str], most: int) -> tuple[dict[str, frozenset[str]], bool]:
        """Pick the wanted out of all contacts; False where not all were read, or nobody can tell.

        Pages shift while contacts come and go: what came twice stands for what slipped by. Stops at the first
        page when reading on takes more than `most` requests.
        """
        found: dict[str, frozenset[str]] = {}
        seen: set[str] = set()
        total: int | None = None
        async for rows, told in self.pages():
            total = total if told is None else max(told, total or 0)
            seen.update(str(row["contact_id"]) for row in rows)
            for row in rows:
                email = folded(str(row.get("Email") or ""))
                if email in wanted:
                    found[email] = found.get(email, frozenset()) | {str(row["contact_id"])}
            if (total or 0) > most * PAGE:
                return found, False
        return found, total is not None and len(seen) >= total
