"""Autopilot's first API, v1 ("Journeys"): https://autopilot.docs.apiary.io. Its successor is `ortto`.

- A bulk write creates whom it does not find, mailable, and does not say so: who has no proof is looked up
  first, and created `unsubscribed` with a mark that tells them from people who opted out.
- `unsubscribed: false` subscribes people again who opted out: it is never sent.
- A bulk write is answered with the contacts that it took, and with nothing about the others: those are
  tried alone, where Autopilot says why.
- There is no asking for what changed: opted-out people are found by reading all contacts, 100 a page.
- 429 comes without headers and names the rate in its text (20 a second, 5 in 2015).
- A trigger that is called twice starts its journey twice: it is called once, whatever comes of it.
- A time-out does not mean that the write was lost, and a 404 may have an empty body.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.base import Contact, Field, Held, Member, Missing, OptOut, Refusal, Value
from connectors.errors import Refused
from connectors.esps.autopilot.delivery import MARK_LABEL, Delivery
from connectors.esps.autopilot.fields import Fields
from connectors.esps.autopilot.journeys import Triggers
from connectors.esps.autopilot.lists import Lists
from connectors.esps.autopilot.people import NO_CONTACT, People, Row, contact_path
from connectors.esps.autopilot.settings import AutopilotSettings
from connectors.esps.autopilot.traits import TRAITS
from connectors.facts import utc
from connectors.http import Answer, Api

PER_SECOND = 19.0
"""Spaced evenly; Autopilot counts 20 in a second and hears ours in bursts."""
CONNECTIONS = 6
OVERLAP = timedelta(hours=1)
"""How far before the asked moment a change counts as new: clocks differ."""
UNREACHABLE = {"mail_complained": "complained", "mail_hardbounced": "bounced"}
"""Kinds of events after which nobody is mailed, the gravest first."""
_RATE = re.compile(r"request rate of (\d+(?:\.\d+)?)")


class Autopilot:
    """One account of the original Autopilot."""

    Settings = AutopilotSettings
    traits = TRAITS

    def __init__(self, settings: AutopilotSettings) -> None:
        key = settings.api_key.get_secret_value().strip()
        self._api = Api(
            settings.api_url,
            headers={"autopilotapikey": key},
            concurrency=CONNECTIONS,
            per_second=PER_SECOND,
            spaced=True,
            secrets=[key],
            explain=_explain,
            pause=self._slow_down,
        )
        self.tally = self._api.tally
        self._people = People(self._api)
        self._delivery = Delivery(self._api, self._people)
        self._lists = Lists(self._api, self._people, self._delivery)
        self._triggers = Triggers(self._api)
        self._fields: Fields | None = None
        self._reading = asyncio.Lock()

    async def check(self) -> Sequence[str]:
        answer = await self._api.get("/account", expect=frozenset({404}))
        if answer.status == 404:  # no evidence but clients' code that every account answers it
            await self._api.get("/lists")
        return []

    async def prepare(self, fields: Sequence[Field], lists: Sequence[str]) -> Mapping[str, str]:
        self._fields = None
        self._people.forget()
        known = await self._known_fields()
        unfit = {field.name: reason for field in fields if (reason := known.declare(field))}
        return unfit | (await self._lists.prepare(lists) if lists else {})

    async def look(self, fields: Sequence[Field], lists: Sequence[str]) -> Missing:
        """Look as `prepare` does; a field is made by its first write."""
        self._fields = None
        known = await self._known_fields()
        unfit = {field.name: reason for field in fields if (reason := known.declare(field))}
        absent = [field.name for field in fields if field.name not in unfit and known.lacks(field)]
        return Missing(absent, await self._lists.missing(lists) if lists else [], unfit)

    async def push(self, contacts: Sequence[Contact]) -> Sequence[Refusal]:
        return await self._delivery.push(contacts, await self._known_fields()) if contacts else []

    async def change_list(
        self, name: str, join: Sequence[Member], leave: Sequence[Member]
    ) -> Sequence[Refusal]:
        return await self._lists.change(name, join, leave)

    async def find_triggers(self, triggers: Sequence[str]) -> Mapping[str, str]:
        return await self._triggers.find(triggers)

    async def start(self, trigger: str, members: Sequence[Member]) -> Sequence[Refusal]:
        return await self._triggers.start(trigger, members)

    async def opt_outs(self, since: datetime | None) -> AsyncIterator[Sequence[OptOut]]:
        after = since - OVERLAP if since else None
        async for rows, _ in self._people.pages():
            found = [opt_out for row in rows if (opt_out := _opt_out(row, after))]
            if found:
                yield found

    async def contacts(self, fields: Sequence[Field], lists: Sequence[str]) -> AsyncIterator[Sequence[Held]]:
        names = await self._lists.by_id(lists)
        known = await self._known_fields()
        for field in fields:
            known.declare(field)
        async for rows, _ in self._people.pages():
            yield [_held(row, fields, known, names) for row in rows if row.get("Email")]

    def as_held(self, field: Field, value: Value) -> str:
        known = self._fields or Fields(())
        known.declare(field)
        return known.as_read(field, value)

    async def erase(self, email: str) -> None:
        """Delete for good; Autopilot deletes all contacts with that address."""
        self._people.forget(email)
        answer = await self._api.send("DELETE", contact_path(email), expect=NO_CONTACT)
        if answer.status == 400 and await self._people.look_up([email]):
            raise Refused("Autopilot: does not delete this contact; delete it there by hand")

    async def aclose(self) -> None:
        await self._api.aclose()

    async def _known_fields(self) -> Fields:
        async with self._reading:
            if self._fields is None:
                self._fields = Fields((await self._api.get("/contacts/custom_fields")).json)
        return self._fields

    def _slow_down(self, answer: Answer) -> float | None:
        """Keep to the rate that a 429 names, where it is lower than ours, after a second of silence."""
        named = _RATE.search(answer.body.decode("utf-8", "replace"))
        if named is None:
            return None
        if 0 < (rate := float(named[1])) < PER_SECOND:
            self._api.slow_down(rate)
        return 1.0


def _held(row: Row, fields: Sequence[Field], known: Fields, lists: Mapping[str, str]) -> Held:
    values = {field.name: known.read(field, row) for field in fields}
    return Held(
        email=str(row["Email"]),
        fields={name: text for name, text in values.items() if text},
        lists=frozenset(lists[each] for each in row.get("lists") or () if each in lists),
        mailable=not row.get("unsubscribed") and _word(row)[0] is None,
    )


def _opt_out(row: Row, after: datetime | None) -> OptOut | None:
    """Read whether somebody may not be mailed, and since when; None too for what is older than `after`."""
    email, reason, at = row.get("Email"), *_word(row)
    if not email or reason is None:
        return None
    changed = utc(row.get("updated_at") or row.get("created_at"))
    moments = [moment for moment in (at, changed) if moment]
    if after and moments and max(moments) < after:
        return None
    return OptOut(str(email), reason, at or changed)


def _word(row: Row) -> tuple[str | None, datetime | None]:
    """Say why somebody may not be mailed, None when they may, and when that was, as far as it is told."""
    for kind, reason in UNREACHABLE.items():
        if at := _latest(row.get(kind)):
            return reason, at
    at = _latest(row.get("mail_unsubscribed"))
    opted_out = row.get("unsubscribed") and (at or not _is_marked(row))
    return ("unsubscribed", at) if opted_out else (None, None)


def _is_marked(row: Row) -> bool:
    """Whether we created them without proof: nobody opted out."""
    fields = row.get("custom_fields") or ()
    return any(field.get("kind") == MARK_LABEL and field.get("value") is True for field in fields)


def _latest(deliveries: Any) -> datetime | None:
    """Read the last of times by delivery (epoch milliseconds)."""
    times = [int(time) for time in (deliveries or {}).values()]
    return datetime.fromtimestamp(max(times) / 1000, UTC) if times else None


def _explain(answer: Answer) -> str | None:
    """Give Autopilot's words, and the setting that is at fault."""
    try:
        document = msgspec.json.decode(answer.body)
        said = str(document["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    if answer.status == 401:
        return f"`api_key`: {said} Keys of Autopilot's successor belong to `type: ortto`"
    return said
