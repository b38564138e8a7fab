"""Who joins and leaves a list: 150 addresses a call, and what Brevo did not take is looked at.

Brevo calls it a failure when somebody is a member already (or is none, when leaving), as when it does not
have the contact at all; only looking tells these apart. Who left a list themselves does not come back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.base import Blame, Member, Refusal
from connectors.esps.brevo.account import Account
from connectors.esps.brevo.book import Book, Row
from connectors.esps.brevo.writes import plain, problem_of, words
from connectors.http import Answer, Api
from connectors.writing import folded, halves

LEFT = "left this list in Brevo"
NOT_TAKEN = "Brevo did not take this contact into the list"
BAD = frozenset({400, 404})


class Memberships:
    """`absent` is the reason of those whom Brevo does not have."""

    def __init__(self, api: Api, account: Account, book: Book, absent: str) -> None:
        self._api = api
        self._account = account
        self._book = book
        self._absent = absent

    async def change(self, name: str, join: Sequence[Member], leave: Sequence[Member]) -> list[Refusal]:
        """Put members into a list and others out of it; a list that somebody deleted is made again."""
        list_id = await self._account.list_id(name)
        refused = await self._join(list_id, join)
        if refused is None:
            self._account.forget_list(name, list_id)
            list_id = await self._account.list_id(name)
            refused = await self._join(list_id, join) or {}
        await self._send("remove", list_id, leave)
        reasons = {folded(email): reason for email, reason in refused.items()}
        return [
            Refusal(member.profile, Blame.MEMBERSHIP, reasons[folded(member.email)], name)
            for member in join
            if folded(member.email) in reasons
        ]

    async def _join(self, list_id: int, members: Sequence[Member]) -> Mapping[str, str] | None:
        """Return the reason by address of those who did not get in; None when the list is gone."""
        left = {} if self._account.is_new(list_id) else await self._left(list_id, members)
        willing = [member for member in members if folded(member.email) not in left]
        refused = await self._send("add", list_id, willing)
        return None if refused is None else {**left, **refused}

    async def _left(self, list_id: int, members: Sequence[Member]) -> dict[str, str]:
        """Find who left the list themselves: adding them again may undo that."""
        rows = await self._book.find_all([plain(member.email) for member in members])
        return {email: LEFT for email, row in rows.items() if list_id in (row.get("listUnsubscribed") or ())}

    async def _send(self, verb: str, list_id: int, members: Sequence[Member]) -> dict[str, str] | None:
        """Change memberships; return the reason by address of those whose change did not land.

        None when the list is gone.
        """
        if not members:
            return {}
        emails = [plain(member.email) for member in members]
        path = f"/contacts/lists/{list_id}/contacts/{verb}"
        answer = await self._api.send("POST", path, {"emails": emails}, expect=BAD)
        if answer.status == 404:
            return None
        if answer.status == 400:
            return await self._look(verb, list_id, members, answer)
        failed = {folded(str(email)) for email in _failures(answer.json)}
        unsure = [member for member in members if folded(member.email) in failed]
        return await self._unsettled(verb, list_id, unsure)

    async def _unsettled(self, verb: str, list_id: int, members: Sequence[Member]) -> dict[str, str]:
        """Look who of these is not where they should be, with the reason. Who is not there has left."""
        if verb == "remove" or not members:
            return {}
        rows = await self._book.find_all([plain(member.email) for member in members])
        return {
            folded(member.email): reason
            for member in members
            if (reason := self._trouble(rows.get(folded(member.email)), list_id))
        }

    def _trouble(self, row: Row | None, list_id: int) -> str | None:
        if row is None:
            return self._absent
        return None if list_id in (row.get("listIds") or ()) else NOT_TAKEN

    async def _look(
        self, verb: str, list_id: int, members: Sequence[Member], answer: Answer
    ) -> dict[str, str] | None:
        """Find out why nobody was taken: they are where they should be, or one address spoils the call."""
        rows = await self._book.find_all([plain(member.email) for member in members])
        rest: list[Member] = []
        refused: dict[str, str] = {}
        for member in members:
            row = rows.get(folded(member.email))
            if row is None:
                refused |= {} if verb == "remove" else {folded(member.email): self._absent}
            elif (list_id in (row.get("listIds") or ())) is (verb == "remove"):
                rest.append(member)
        if len(rest) == 1 and len(members) == 1:
            return {folded(rest[0].email): self._api.redact(words(problem_of(answer)))}
        groups = [rest] if len(rest) < len(members) else halves(rest)
        for group in groups:
            found = await self._send(verb, list_id, group)
            if found is None:
                return None
            refused |= found
        return refused


def _failures(document: Any) -> Sequence[Any]:
    contacts = document.get("contacts") if isinstance(document, Mapping) else None
    failed = contacts.get("failure") if isinstance(contacts, Mapping) else None
    return failed if isinstance(failed, list) else ()
