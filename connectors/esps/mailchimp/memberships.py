"""Who joins and leaves a list: 500 at once, and a look at those of whom Mailchimp says nothing.

https://mailchimp.com/developer/marketing/api/list-segments/batch-add-or-remove-members/

- Whoever is not in the audience is "ignored", says the vendor; clients see them under `errors`.
- Whoever was in the list before is not told of either, so after a lost answer nobody is: they are looked up,
  many of them in the list itself, where that is not too long, and who is not there one by one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct

from connectors.base import Member
from connectors.esps.mailchimp.audience import Audience, folded_name
from connectors.esps.mailchimp.writes import document_of, subscriber_hash
from connectors.http import Answer, Api
from connectors.writing import folded, together

log = structlog.get_logger()

FEW = 5
"""Members up to which each is looked up at once; more are looked for in the list first."""
LONGEST = 25_000
"""Members of a list that is read, 25 pages. In a longer one at most `LOOKUPS` people are looked up."""
LOOKUPS = 50
ABSENT = frozenset({404})
STRANGER = "not in the audience"
LEFT_OUT = "Mailchimp did not put them into the list, and does not say why"


class Memberships:
    """Changes lists."""

    def __init__(self, api: Api, audience: Audience) -> None:
        self._api = api
        self._audience = audience

    async def change(self, name: str, join: Sequence[Member], leave: Sequence[Member]) -> dict[str, str]:
        """Return the reason by address (folded) of those who did not join."""
        body = {
            "members_to_add": [member.email for member in join],
            "members_to_remove": [member.email for member in leave],
        }
        list_id = await self._audience.list_id(name)
        answer = await self._send(list_id, body, ABSENT)
        if answer.status == 404:  # somebody deleted it
            self._audience.forget_list(name, list_id)
            list_id = await self._audience.list_id(name)
            answer = await self._send(list_id, body, frozenset())
        changed = answer.json or _Changed()
        return changed.left_out() | await self._missing(name, list_id, changed.untold(body["members_to_add"]))

    async def _send(self, list_id: int, body: Mapping[str, Any], expect: frozenset[int]) -> Answer:
        path = f"{self._audience.path}/segments/{list_id}"
        return await self._api.send("POST", path, body, expect=expect, shape=_Changed)

    async def _missing(self, name: str, list_id: int, emails: Sequence[str]) -> dict[str, str]:
        """Find who of these is not in a list, with the reason."""
        if len(emails) > FEW:
            there = await self._audience.addresses_in(list_id, LONGEST)
            if there is None and len(emails) > LOOKUPS:
                log.info("members_taken_on_trust", list=name, members=len(emails))
                return {}
            emails = [email for email in emails if folded(email) not in (there or ())]
        reasons = await together([self._look_up(name, email) for email in emails])
        return {folded(email): why for email, why in zip(emails, reasons, strict=True) if why}

    async def _look_up(self, name: str, email: str) -> str | None:
        path = f"{self._audience.path}/members/{subscriber_hash(email)}"
        answer = await self._api.get(path, {"fields": "id,tags,tags_count"}, expect=ABSENT)
        if answer.status == 404:
            return STRANGER
        tags = await self._audience.tags_of(document_of(answer.json))
        return None if folded_name(name) in tags else LEFT_OUT


class _Error(Struct):
    error: str | None = None
    email_addresses: Sequence[str] | None = None


class _Added(Struct):
    email_address: str | None = None


class _Changed(Struct):
    """Of the answer to a list's change only whom it names: it quotes everybody whole."""

    total_added: int | None = None
    members_added: Sequence[_Added] | None = None
    errors: Sequence[_Error] | None = None

    def left_out(self) -> dict[str, str]:
        """Return the reason by address of those whom Mailchimp refused."""
        return {
            folded(address): error.error or STRANGER
            for error in self.errors or ()
            for address in error.email_addresses or ()
        }

    def untold(self, emails: Sequence[str]) -> list[str]:
        """Choose those who are said neither to have joined nor to have been refused; an answer without a count says nothing."""
        asked = {folded(email): email for email in emails}
        if self.total_added is None or self.total_added >= len(asked):
            return []
        told = {folded(member.email_address or "") for member in self.members_added or ()}
        return [email for key, email in asked.items() if key not in told | self.left_out().keys()]
