"""Ortto, Autopilot's successor: https://help.ortto.com/developer/latest/.

- A person created without a word on permission is mailable, and sending `bol::p: true` subscribes people
  again who opted out: true goes into a merge that only creates, and false with every other new person.
- A list is a tag: audiences are filters that nobody can be put into by the API.
- Decimals are integers times 1,000, dates are objects, null clears and an empty text does not.
- One unknown field id refuses the person: ids are those that Ortto listed when the run began.
- Pages beyond the end hold null; 429 says in its body how long to wait; fifteen bad requests in fifteen
  seconds shut us out, so a refused batch is taken apart slowly.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from connectors import http
from connectors.base import Contact, Field, Held, Member, Missing, OptOut, Refusal, Value
from connectors.errors import RemoteFault, Retryable
from connectors.esps.ortto.delivery import MARK, Delivery
from connectors.esps.ortto.fields import NEW_TYPES, Fields, Slot, is_id
from connectors.esps.ortto.people import CONTEXT, PERMISSION, Known, People, Row
from connectors.esps.ortto.settings import OrttoSettings
from connectors.esps.ortto.traits import TRAITS
from connectors.facts import utc
from connectors.http import Answer, Api
from connectors.writing import as_text, say_cut

PER_SECOND = 9.5
"""Spaced evenly, under the 10 a second of the smallest plan."""
CONNECTIONS = 4
OVERLAP = timedelta(hours=1)
"""How far before the asked moment a change counts as new: clocks differ."""
ERASING = (0.0, 0.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each look at whether somebody is gone."""
UNMAILABLE = {
    "$or": [
        {"$bol::is": {"field_id": PERMISSION, "value": False}},
        {"$bol::is": {"field_id": "bol::hb", "value": True}},
        {"$has_any_value": {"field_id": "tme::sa"}},
    ]
}
TAGS = "u4s::t"
TOLD = ("str::email", PERMISSION, CONTEXT, "bol::hb", "tme::sa", "tme::ua", "s", "u", "a")
HELD = (*TOLD, TAGS)


class Ortto:
    """One account ("instance") of Ortto."""

    Settings = OrttoSettings
    traits = TRAITS

    def __init__(self, settings: OrttoSettings) -> None:
        key = settings.api_key.get_secret_value().strip()
        self._api = Api(
            settings.api_url,
            headers={"x-api-key": key},
            concurrency=CONNECTIONS,
            per_second=PER_SECOND,
            spaced=True,
            secrets=[key],
            explain=_explain,
            pause=_pause,
        )
        self.tally = self._api.tally
        self._people = People(self._api)
        self._delivery = Delivery(self._api, self._people)
        self._fields: Fields | None = None
        self._reading = asyncio.Lock()

    async def check(self) -> Sequence[str]:
        await self._api.send("POST", "/person/custom-field/get", {})
        return []

    async def prepare(self, fields: Sequence[Field], lists: Sequence[str]) -> Mapping[str, str]:
        """Make the fields that are missing; a tag is made by its first use."""
        async with self._reading:
            self._fields = await self._read_fields()
            refused = {field.name: why for field in fields if (why := await self._make(self._fields, field))}
        blank = {name: "a tag needs a name" for name in lists if not name.strip()}
        return refused | blank

    async def look(self, fields: Sequence[Field], _lists: Sequence[str]) -> Missing:
        """Look for fields; a tag is made by its first use, and has no use before."""
        known = await self._read_fields()
        absent = [field.name for field in fields if known.find(field.name) is None and not is_id(field.name)]
        wanted = [field for field in fields if field.name not in absent]
        return Missing(absent, unfit={field.name: why for field in wanted if (why := known.settle(field))})

    async def push(self, contacts: Sequence[Contact]) -> Sequence[Refusal]:
        if not contacts:
            return []
        known = await self._known_fields()
        say_cut(contacts, known.fits)
        return await self._delivery.push(contacts, known)

    async def change_list(
        self, name: str, join: Sequence[Member], leave: Sequence[Member]
    ) -> Sequence[Refusal]:
        return await self._delivery.tag(name, join, leave)

    async def opt_outs(self, since: datetime | None) -> AsyncIterator[Sequence[OptOut]]:
        after = since - OVERLAP if since else None
        for condition, archived in ((UNMAILABLE, False), ({}, True)):
            async for rows in self._people.pages(condition, TOLD, archived=archived):
                read = (_opt_out(row["fields"], after, archived=archived) for row in rows)
                found = [opt_out for opt_out in read if opt_out]
                if found:
                    yield found

    async def contacts(self, fields: Sequence[Field], lists: Sequence[str]) -> AsyncIterator[Sequence[Held]]:
        """Read everybody but the archived, and then those."""
        known = await self._known_fields()
        slots = {field.name: slot for field in fields if (slot := known.slot(field.name))}
        asked = dict.fromkeys([*HELD, *(slot.id for slot in slots.values())])
        for archived in (False, True):
            async for rows in self._people.pages({}, list(asked), archived=archived):
                found = (row["fields"] for row in rows if row["fields"].get("str::email"))
                yield [_held(each, slots, lists, archived=archived) for each in found]

    def as_held(self, field: Field, value: Value) -> str:
        slot = self._fields.slot(field.name) if self._fields else None
        return slot.as_read(value) if slot else as_text(value)

    async def erase(self, email: str) -> None:
        """Archive, then delete, until nobody is found: Ortto deletes only who is archived, and may put off either.

        Whom we archived is to be seen in the archive before they count as gone.
        """
        awaited = False
        for pause in ERASING:
            await http.wait(pause)
            if present := await self._people.find([email]):
                await self._api.send("PUT", "/person/archive", _ids(present))
            awaited = awaited or bool(present)
            if archived := await self._people.find([email], archived=True):
                await self._api.send("DELETE", "/person/delete", _ids(archived))
                awaited = False
            elif not awaited:
                return
        raise RemoteFault("Ortto: has not deleted this person yet; ask for it again in a while")

    async def aclose(self) -> None:
        await self._api.aclose()

    async def _known_fields(self) -> Fields:
        async with self._reading:
            self._fields = self._fields or await self._read_fields()
        return self._fields

    async def _read_fields(self) -> Fields:
        custom = (await self._api.send("POST", "/person/custom-field/get", {})).json["fields"] or []
        schema = (await self._api.send("POST", "/instance-schema/get", {})).json["namespaces"]
        return Fields([each["field"] for each in custom], schema.get("", {}).get("fields") or {})

    async def _make(self, known: Fields, field: Field) -> str | None:
        """Make a field if it is missing; return why it cannot be used."""
        refused = None
        if known.find(field.name) is None and not is_id(field.name):
            refused = await self._create_field(known, field)
        return refused or known.settle(field)

    async def _create_field(self, known: Fields, field: Field) -> str | None:
        """Return Ortto's reason when it does not want to. Not sent twice: it could make a second one."""
        body = {"name": field.name, "type": NEW_TYPES[field.type], "track_changes": False}
        path = "/person/custom-field/create"
        try:
            answer = await self._api.send("POST", path, body, expect=frozenset({400}), repeat=False)
        except Retryable:
            await self._read_again(known)
            if known.find(field.name) is None:
                raise
            return None
        if answer.status == 400:
            return self._api.redact(str((answer.json or {}).get("error") or "refused without a reason"))
        known.add(str(answer.json["field_id"]), field.name, str(answer.json["display_type"]))
        return None

    async def _read_again(self, known: Fields) -> None:
        custom = (await self._api.send("POST", "/person/custom-field/get", {})).json["fields"] or []
        for each in custom:
            row = each["field"]
            known.add(str(row["id"]), str(row["name"]), str(row["display_type"]))


def _ids(people: Mapping[str, Known]) -> Mapping[str, Sequence[str]]:
    return {"inclusion_ids": [who.id for who in people.values()]}


def _held(fields: Row, slots: Mapping[str, Slot], lists: Sequence[str], *, archived: bool) -> Held:
    values = {name: slot.read(fields.get(slot.id)) for name, slot in slots.items()}
    tags = frozenset(fields.get(TAGS) or ())
    return Held(
        email=str(fields["str::email"]),
        fields={name: text for name, text in values.items() if text},
        lists=frozenset(name for name in lists if name in tags),
        mailable=not archived and fields.get(PERMISSION) is True and _word(fields)[0] is None,
    )


def _opt_out(fields: Row, after: datetime | None, *, archived: bool) -> OptOut | None:
    """Read whether somebody may not be mailed, and since when; None too for what is older than `after`."""
    email = fields.get("str::email")
    reason, at = ("archived", utc(fields.get("a"))) if archived else _word(fields)
    if not email or reason is None or (after and at and at < after):
        return None
    return OptOut(str(email), reason, at, utc(fields.get("s")))


def _word(fields: Row) -> tuple[str | None, datetime | None]:
    """Say why somebody may not be mailed, None when they may, and when that began, if it is told."""
    suppressed, released = utc(fields.get("tme::sa")), utc(fields.get("tme::ua"))
    if fields.get("bol::hb"):
        return "bounced", suppressed
    if suppressed and (released is None or released < suppressed):
        return "suppressed", suppressed
    opted_out = fields.get(PERMISSION) is not True and not _is_unasked(fields)
    return ("unsubscribed", utc(fields.get("u"))) if opted_out else (None, None)


def _is_unasked(fields: Row) -> bool:
    """Tell whom we created without proof, and who never subscribed by themselves to leave again."""
    joined, left = utc(fields.get("s")), utc(fields.get("u"))
    return fields.get(CONTEXT) == MARK and not (joined and left and joined < left)


def _pause(answer: Answer) -> float | None:
    """Read how long a 429 asks us to wait: it stands in the body, not in a header."""
    try:
        return float(msgspec.json.decode(answer.body)["try-in-seconds"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None


def _explain(answer: Answer) -> str | None:
    """Give Ortto's words with the id that its support asks for, and the settings that may be at fault."""
    try:
        document = msgspec.json.decode(answer.body)
        said = f"{document['error']} (request {document.get('request_id')})"
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return None
    if answer.status in {401, 403}:
        return (
            f"`api_key` or `region`: {said}; a key works in its own region only,"
            " and keys of the original Autopilot belong to `type: autopilot`"
        )
    return said
