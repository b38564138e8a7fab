"""Brevo (formerly Sendinblue) API v3: https://developers.brevo.com/reference.

- A contact can be mailed as soon as it exists: without proof of consent it is created blocked, by a call
  that changes nobody who is there. `emailBlacklisted: false` would lift a block and is never sent.
- A changed address lifts a block: it is sent along, and read back.
- Attributes of another type and unknown ones are dropped without a word: `prepare` finds them.
- Lists and folders may share a name: they are looked up first, and a creation is never just repeated.
- 10 requests a second for contacts, 100 an hour for nearly all else; `x-sib-ratelimit-*` says how many
  are left and for how long, there is no `Retry-After`.
- A confirmation mail goes only to people whom Brevo does not have; they become contacts when they click.
  The call that sends it sends another one when it is repeated.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import Contact, Field, FieldType, Held, Member, Missing, OptOut, Refusal, Value
from connectors.errors import Refused
from connectors.esps.brevo.account import Account
from connectors.esps.brevo.book import Book, Row
from connectors.esps.brevo.delivery import Delivery
from connectors.esps.brevo.memberships import Memberships
from connectors.esps.brevo.settings import BrevoSettings
from connectors.esps.brevo.traits import PHONES, TEXT_LENGTH, traits_for
from connectors.esps.brevo.writes import (
    MARK,
    MOVED,
    MOVING,
    UNCLICKED,
    UNKNOWN,
    UNPROVEN,
    attribute_value,
    document_of,
    mark_of,
)
from connectors.facts import utc
from connectors.http import Answer, Api
from connectors.writing import as_text, say_cut

CONTACTS_PER_SECOND: float | None = 9.0
"""Brevo takes 10 on its general plans, counted by its own clock."""
CONNECTIONS = 4
MARK_FIELD = Field(MARK, FieldType.TEXT, "Cartwire: blocked because")
YOUNG = timedelta(days=1)
"""The age under which a contact that we made is not taken for one whose block somebody lifted."""
PHONE_ONLY = "@mailin-sms.com"
"""The end of the address that Brevo makes up for contacts who only have a phone number."""
HINTS = {
    401: "`api_key`: Brevo does not accept it, or not from this server's address",
    402: "the account's plan or credits do not allow this",
    403: "`api_key`: Brevo forbids this to it",
}


class Brevo:
    """One Brevo account."""

    Settings = BrevoSettings
    unknown = UNKNOWN

    def __init__(self, settings: BrevoSettings) -> None:
        key = settings.api_key.get_secret_value().strip()
        self._api = _api(settings.api_url, key, CONTACTS_PER_SECOND)
        # Apart, as its budget is: that its hour is used up must not stop the contacts.
        self._processes = _api(settings.api_url, key, None)
        self._processes.tally = self.tally = self._api.tally
        self._account = Account(self._api, settings.folder)
        self._book = Book(self._api)
        confirmation = settings.confirmation
        self.traits = traits_for(settings)
        self._delivery = Delivery(self._api, self._processes, self._account, self._book, confirmation)
        absent = UNCLICKED if confirmation else UNKNOWN
        self._memberships = Memberships(self._api, self._account, self._book, absent)

    async def check(self) -> Sequence[str]:
        """Look at one contact, on the generous budget: it proves the key and its right to contacts."""
        await self._api.get("/contacts", {"limit": 1, "offset": 0})
        return []

    async def prepare(self, fields: Sequence[Field], lists: Sequence[str]) -> Mapping[str, str]:
        refused = await self._account.prepare_fields([*fields, MARK_FIELD])
        refused.pop(MARK, None)  # ours: without it, people whom we blocked look as if they had opted out
        return refused | (await self._account.prepare_lists(lists) if lists else {})

    async def look(self, fields: Sequence[Field], lists: Sequence[str]) -> Missing:
        return await self._account.look(fields, lists)

    async def push(self, contacts: Sequence[Contact]) -> Sequence[Refusal]:
        say_cut(contacts, lambda _, text: len(text) <= TEXT_LENGTH)
        refusals = await self._delivery.push(contacts)
        return [replace(refusal, reason=self._api.redact(refusal.reason)) for refusal in refusals]

    async def change_list(
        self, name: str, join: Sequence[Member], leave: Sequence[Member]
    ) -> Sequence[Refusal]:
        return await self._memberships.change(name, join, leave)

    async def opt_outs(self, since: datetime | None) -> AsyncIterator[Sequence[OptOut]]:
        """Read who is blocked, but for those whom we blocked ourselves because nobody had asked them.

        What changed in the day before is read once more, for those who were too young then to say of them
        that somebody lifted their block.
        """
        now = datetime.now(UTC)
        async for rows in self._book.changed(since and since - YOUNG):
            people = [row for row in rows if row.get("email") and not row["email"].endswith(PHONE_ONLY)]
            await self._delivery.unmark([row["email"] for row in people if _is_lifted(row, now)])
            told = (row for row in people if _is_opted_out(row))
            found = [row for row in told if since is None or not _is_before(row, since)]
            if found:
                yield [OptOut(row["email"], "blocked", utc(row.get("modifiedAt"))) for row in found]

    async def confirmed(self, since: datetime | None) -> AsyncIterator[Sequence[str]]:
        """Read who changed: whether a click dates a contact's creation, or the mail before it, is written nowhere."""
        async for rows in self._book.changed(since):
            yield [row["email"] for row in rows if row.get("email")]

    async def contacts(self, fields: Sequence[Field], lists: Sequence[str]) -> AsyncIterator[Sequence[Held]]:
        names = await self._account.lists_by_id(lists)
        async for rows in self._book.changed(None):
            yield [_held(row, fields, names) for row in rows if row.get("email")]

    def as_held(self, field: Field, value: Value) -> str:
        return _as_read(field, attribute_value(value))

    async def erase(self, email: str) -> None:
        if not await self._delivery.delete(email) and await self._book.find(email) is not None:
            raise Refused("Brevo: does not delete this contact; delete it there by hand")

    async def aclose(self) -> None:
        await self._api.aclose()
        await self._processes.aclose()


def _api(url: str, key: str, per_second: float | None) -> Api:
    return Api(
        url,
        headers={"api-key": key},
        concurrency=CONNECTIONS,
        per_second=per_second,
        spaced=True,
        secrets=[key],
        transient=_is_in_flight,
        explain=_explain,
        pause=_asked_to_wait,
        spent=_asked_to_wait,
    )


def _held(row: Row, fields: Sequence[Field], lists: Mapping[int, str]) -> Held:
    attributes = row.get("attributes") or {}
    values = {field.name: _as_read(field, attributes.get(field.name)) for field in fields}
    return Held(
        email=row["email"],
        fields={name: text for name, text in values.items() if text},
        lists=frozenset(lists[number] for number in row.get("listIds") or () if number in lists),
        mailable=not row.get("emailBlacklisted"),
    )


def _as_read(field: Field, value: Any) -> str:
    """Write an attribute's value, sent or given back: phone numbers come without a plus, dates with a time."""
    text = as_text(value)
    if field.name in PHONES:
        return "".join(filter(str.isdigit, text))
    return text[:10] if field.type is FieldType.DATE else text


def _is_lifted(row: Row, now: datetime) -> bool:
    """Tell whether somebody lifted a block of ours; of a young contact it may never have been set."""
    created = utc(row.get("createdAt"))
    is_young = created is not None and created > now - YOUNG
    return mark_of(row) == UNPROVEN and not row.get("emailBlacklisted") and not is_young


def _is_opted_out(row: Row) -> bool:
    """Tell whether somebody is blocked, and not by us; also who is not, as their address changes just now."""
    mark = mark_of(row)
    return mark == MOVING[""] or (bool(row.get("emailBlacklisted")) and MOVED.get(mark, mark) != UNPROVEN)


def _is_before(row: Row, moment: datetime) -> bool:
    changed = utc(row.get("modifiedAt"))
    return changed is not None and changed < moment.replace(microsecond=0)


def _asked_to_wait(answer: Answer) -> float | None:
    """Read how long to wait, in seconds: until the budget is full again, where nothing is left of it."""
    if answer.status != 429 and answer.headers.get("x-sib-ratelimit-remaining") != "0":
        return None
    try:
        return float(answer.headers["x-sib-ratelimit-reset"]) or None
    except (KeyError, ValueError):
        return None


def _is_in_flight(answer: Answer) -> bool:
    """Whether Brevo still works on the same request; then it is to be sent again."""
    return answer.status == 400 and document_of(answer.body).get("code") == "duplicate_request"


def _explain(answer: Answer) -> str | None:
    """Name the setting that is at fault, with Brevo's words."""
    document = document_of(answer.body)
    said = [HINTS.get(answer.status), document.get("code"), document.get("message")]
    return ": ".join(str(part) for part in said if part) or None
