"""Mailchimp Marketing API 3.0: https://mailchimp.com/developer/marketing/api/.

- `status` in a PUT subscribes people again who opted out: only `status_if_new` is sent, and `status` only
  to unsubscribe. The bulk call `POST /lists/{id}` knows no `status_if_new`, so bulk is `POST /batches`.
- A list is a tag, and a tag is a static segment: both have one id, and its members change 500 at once.
- Pages hold 10 rows unless told otherwise. There are no rate headers, but more than 10 simultaneous
  connections are refused; the edge says it with a 403 or 429 that is a web page.
- An archived contact comes back with a write, and nobody can see whether they had opted out: whoever would be
  created as a subscriber is looked for in the archive first, and comes back unmailable.
- A required merge field refuses every write that lacks it, even one of other fields, unless validation
  is skipped.
- Offsets move under one's feet while contacts change: opted-out people are read by their last change.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from connectors.base import Blame, Contact, Field, Held, Member, Missing, OptOut, Refusal, Value
from connectors.esps.mailchimp.archive import Archive
from connectors.esps.mailchimp.audience import Audience, Row, folded_name
from connectors.esps.mailchimp.delivery import Delivery
from connectors.esps.mailchimp.memberships import Memberships
from connectors.esps.mailchimp.settings import MailchimpSettings
from connectors.esps.mailchimp.traits import TEXT_BYTES, TRAITS
from connectors.esps.mailchimp.writes import (
    document_of,
    first_write,
    merge_value,
    subscriber_hash,
    words,
)
from connectors.facts import utc
from connectors.http import Answer, Api, BasicAuth
from connectors.writing import as_text, folded, say_cut

CONNECTIONS = 5
"""To the API, and one to the storage of batch results: six of the ten that Mailchimp allows a user."""
TIMEOUT = 125.0
"""Seconds. Mailchimp itself cuts a request after 120."""
OVERLAP = timedelta(hours=1)
"""How far before the asked moment the opted-out people are read: Mailchimp's lists lag a little."""
AGREED = "timestamp_opt"
OPTED_OUT = ("unsubscribed", "cleaned", "archived")
HELD = ("id", "merge_fields", "tags", "tags_count")
POWERLESS = frozenset({"viewer", "author"})
"""Roles that may not change contacts: https://mailchimp.com/help/manage-user-levels-in-your-account/."""
ABSENT = frozenset({404})
HINTS = {
    401: "`api_key`: Mailchimp does not accept it",
    403: "`api_key`: Mailchimp forbids this to it",
    404: "`audience`: Mailchimp does not find it, or what is below it",
}


class Mailchimp:
    """One audience of a Mailchimp account."""

    Settings = MailchimpSettings
    traits = TRAITS

    def __init__(self, settings: MailchimpSettings) -> None:
        key = settings.api_key.get_secret_value().strip()
        self._api = Api(
            settings.api_url,
            auth=BasicAuth("cartwire", key),
            concurrency=CONNECTIONS,
            timeout=TIMEOUT,
            secrets=[key],
            transient=_from_the_edge,
            explain=_explain,
        )
        # Apart from the API, where a 403 without JSON is a busy edge: here it is a link that has expired.
        self._storage = Api(settings.api_url, concurrency=1, timeout=TIMEOUT, secrets=[key])
        self._storage.tally = self.tally = self._api.tally
        self._audience = Audience(self._api, settings.audience, settings.lists_as.removesuffix("s"))
        self._memberships = Memberships(self._api, self._audience)
        archive = Archive(self._api, self._audience)
        self._delivery = Delivery(self._api, self._storage, self._audience.path, archive)

    async def check(self) -> Sequence[str]:
        account = document_of((await self._api.get("/", {"fields": "role"})).json)
        audience = await self._api.get(self._audience.path, {"fields": "id"}, expect=ABSENT)
        wrong = []
        if (role := account.get("role")) in POWERLESS:
            wrong.append(f"`api_key`: its user is {role}; changing contacts needs Manager, Admin or Owner")
        if audience.status == 404:
            wrong.append("`audience`: this account has no audience with this id")
        return wrong

    async def prepare(self, fields: Sequence[Field], lists: Sequence[str]) -> Mapping[str, str]:
        refused = await self._audience.prepare_fields(fields) if fields else {}
        return refused | (await self._audience.prepare_lists(lists) if lists else {})

    async def look(self, fields: Sequence[Field], lists: Sequence[str]) -> Missing:
        return await self._audience.look(fields, lists)

    async def push(self, contacts: Sequence[Contact]) -> Sequence[Refusal]:
        say_cut(contacts, lambda _, text: len(text.encode("utf-8", "ignore")) <= TEXT_BYTES)
        birthdays = self._audience.birthdays
        refusals = await self._delivery.push([first_write(contact, birthdays) for contact in contacts])
        return [replace(refusal, reason=self._api.redact(refusal.reason)) for refusal in refusals]

    async def change_list(
        self, name: str, join: Sequence[Member], leave: Sequence[Member]
    ) -> Sequence[Refusal]:
        reasons = await self._memberships.change(name, join, leave)
        return [
            Refusal(member.profile, Blame.MEMBERSHIP, self._api.redact(reasons[folded(member.email)]), name)
            for member in join
            if folded(member.email) in reasons
        ]

    async def opt_outs(self, since: datetime | None) -> AsyncIterator[Sequence[OptOut]]:
        for status in OPTED_OUT:
            async for rows in self._audience.members(status, since - OVERLAP if since else None, (AGREED,)):
                yield [_opt_out(row, status) for row in rows]

    async def contacts(self, fields: Sequence[Field], lists: Sequence[str]) -> AsyncIterator[Sequence[Held]]:
        """Read everybody but the archived, and then those."""
        await self._audience.look_up_birthdays(fields)
        for status in (None, "archived"):
            async for rows in self._audience.members(status, None, HELD):
                yield [await self._held(row, fields, lists) for row in rows]

    async def _held(self, row: Row, fields: Sequence[Field], lists: Sequence[str]) -> Held:
        merged = row.get("merge_fields") or {}
        values = {field.name: as_text(merged.get(field.name)) for field in fields}
        tags = await self._audience.tags_of(row)
        return Held(
            email=row["email_address"],
            fields={name: text for name, text in values.items() if text},
            lists=frozenset(name for name in lists if folded_name(name) in tags),
            mailable=row.get("status") == "subscribed",
        )

    def as_held(self, field: Field, value: Value) -> str:
        return as_text(merge_value(value, is_birthday=field.name in self._audience.birthdays))

    async def erase(self, email: str) -> None:
        """Delete for good, not archive: Mailchimp then takes the address from no API any more."""
        path = f"{self._audience.path}/members/{subscriber_hash(email)}/actions/delete-permanent"
        await self._api.send("POST", path, expect=ABSENT)

    async def aclose(self) -> None:
        await self._api.aclose()
        await self._storage.aclose()


def _from_the_edge(answer: Answer) -> bool:
    """Whether a 403 is the busy edge's: the API's own is JSON. Seen at Airbyte, PR 76232.

    Nor is a page with a 404 Mailchimp's word that somebody is not there, and not in the archive.
    """
    return answer.status in {403, 404} and "json" not in answer.headers.get("content-type", "")


def _explain(answer: Answer) -> str | None:
    """Name the setting that is at fault, with Mailchimp's words and the id that its support asks for."""
    try:
        problem = document_of(msgspec.json.decode(answer.body))
    except msgspec.DecodeError:
        return None
    hint = HINTS.get(answer.status)
    instance = f"instance {problem['instance']}" if problem.get("instance") else None
    return ": ".join(part for part in (hint, words(problem), instance) if part) or None


def _opt_out(row: Row, status: str) -> OptOut:
    return OptOut(row["email_address"], status, utc(row.get("last_changed")), utc(row.get(AGREED)))
