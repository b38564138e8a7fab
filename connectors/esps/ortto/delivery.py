"""People on their way to Ortto: create who is missing, then write to everybody by id.

- Who is missing is created first, with nothing but the permission that the proofs allow, by a merge that
  leaves known people alone. In bulk that is asynchronous (synchronous merges by address soon meet a limit),
  and its answer says nothing: the result is read back, and whoever does not appear goes alone.
- Then everything is written by person id, 100 in a call: it needs no look-up, so it may be synchronous,
  creates nobody, and its answer says of each id how it went.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connectors import http
from connectors.base import Blame, Contact, Member, Refusal, Subscribe
from connectors.esps.ortto.fields import Fields, Slot, Unfit
from connectors.esps.ortto.people import CONTEXT, PERMISSION, Known, People
from connectors.http import Answer, Api
from connectors.writing import (
    claims_of,
    folded,
    halves,
    is_renamed,
    is_taken,
    landed,
    notes_of,
    rename_rounds,
    sift,
    without_values,
)

MARK = "Created by Cartwire without proof of consent"
"""The context of people whom we created unmailable, to tell them from those who opted out."""
ARCHIVED = "Archived in Ortto under another address"
STOPPED = "Consent was taken back at the store"
FEW = 3
"""New people up to which each is created alone: that is answered at once."""
LOOKS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each look at what came of an asynchronous merge."""
BAD_PAUSE = 2.0
"""Seconds after a bad request: 15 of them in 15 seconds shut us out."""
DONE = frozenset({"created", "merged"})
BAD = frozenset({400})
CREATE = {"merge_by": ["str::email"], "merge_strategy": 3, "suppression_list_field_id": "str::email"}
UPDATE = {"merge_by": ["str::person_id"], "merge_strategy": 2, "skip_non_existing": True, "async": False}

_NAMED_FIELD = re.compile(r"failed to validate field (\S+) in schema")
_UNKNOWN_FIELD = re.compile(r"failed to validate field (\S+) in schema.*Object not found")


@dataclass(frozen=True, slots=True)
class Change:
    """What is written to one person; `values` are by the names that the owner gave the fields."""

    profile: int
    email: str
    known: Known
    values: Mapping[str, tuple[Slot, Any]] = field(default_factory=dict)
    permission: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def body(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Make the record with these fields, or all."""
        chosen = [self.values[name] for name in (self.values if names is None else names)]
        fields = {slot.id: value for slot, value in chosen}
        identity = {"str::person_id": self.known.id, "str::email": self.email}
        return {"fields": {**identity, **fields, **self.permission}, **self.tags}

    def without(self, name: str) -> "Change":
        kept = {other: value for other, value in self.values.items() if other != name}
        return replace(self, values=kept)

    def named(self, id_: str | None) -> str | None:
        """Give the owner's name of a field that is written, None for one that is not."""
        return next((name for name, (slot, _) in self.values.items() if slot.id == id_), None)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody to create; `archived` says that the address before the present one is archived."""

    contact: Contact
    archived: bool = False

    @property
    def email(self) -> str:
        return folded(self.contact.email)

    @property
    def permission(self) -> Mapping[str, Any]:
        """Make them mailable by proof only, else with the reason why not.

        Who is gone that we wrote before was archived or deleted by somebody: that is no new subscriber.
        """
        contact = self.contact
        if contact.subscribe is Subscribe.YES and not contact.known and contact.was is None:
            return {PERMISSION: True}
        stopped = STOPPED if contact.subscribe is Subscribe.STOP else MARK
        return {PERMISSION: False, CONTEXT: ARCHIVED if self.archived else stopped}

    @property
    def record(self) -> dict[str, Any]:
        email = self.contact.email.encode("utf-8", "ignore").decode()
        return {"fields": {"str::email": email, **self.permission}}


class Delivery:
    def __init__(self, api: Api, people: People) -> None:
        self._api = api
        self._people = people
        self._careful = asyncio.Lock()

    async def push(self, contacts: Sequence[Contact], fields: Fields) -> list[Refusal]:
        """Rename first: a new contact may come to the address that another has left."""
        retire: dict[int, str] = {}
        anew = {contact.profile for contact in contacts if is_renamed(contact)}
        refusals = await self._rename_all(contacts, retire, anew)
        rest = landed(contacts, refusals)
        there = await self._people.find([contact.email for contact in rest])
        absent = [contact for contact in rest if folded(contact.email) not in there]
        refusals += await self._create(await self._newcomers(absent), there, anew)
        rest = landed(rest, refusals)
        changes = [_change(contact, there[folded(contact.email)], fields, refusals) for contact in rest]
        refusals += await self.write([change for change in changes if change.values or change.permission])
        old_ids = [retire[contact.profile] for contact in landed(rest, refusals) if contact.profile in retire]
        if old_ids:
            await self._api.send("PUT", "/person/archive", {"inclusion_ids": old_ids})
        return refusals + notes_of(anew, landed(rest, refusals))

    async def tag(self, name: str, join: Sequence[Member], leave: Sequence[Member]) -> list[Refusal]:
        """Give a tag to some and take it from others; who is not in Ortto is out anyway."""
        there = await self._people.find([member.email for member in (*join, *leave)])
        refusals = [
            Refusal(member.profile, Blame.MEMBERSHIP, "Ortto has no such person", name)
            for member in join
            if folded(member.email) not in there
        ]
        for members, tags in ((join, {"tags": [name]}), (leave, {"unset_tags": [name]})):
            known = [(member, there.get(folded(member.email))) for member in members]
            changes = [
                Change(member.profile, member.email, who, permission=who.kept(), tags=tags)
                for member, who in known
                if who
            ]
            refused = await self.write(changes)
            refusals += [replace(refusal, blame=Blame.MEMBERSHIP, name=name) for refusal in refused]
        return refusals

    # Renames

    async def _rename_all(
        self, contacts: Sequence[Contact], retire: dict[int, str], anew: set[int]
    ) -> list[Refusal]:
        """Give people their new address; `retire` gets the ids of those whose new one has a record already.

        Those whose own record gets it are not `anew`.
        """
        refusals: list[Refusal] = []
        claims = claims_of(contacts)
        for several in rename_rounds(contacts):
            pairs = [(contact, str(contact.was)) for contact in several]
            there = await self._people.find(
                [email for contact, was in pairs for email in (was, contact.email)]
            )
            moved = [(contact, there[folded(was)]) for contact, was in pairs if folded(was) in there]
            merged = [(contact, old) for contact, old in moved if folded(contact.email) in there]
            retire |= {
                contact.profile: old.id
                for contact, old in merged
                if not await is_taken(contact.was or "", claims, self._is_there)
            }
            free = [(contact, old) for contact, old in moved if folded(contact.email) not in there]
            anew -= {contact.profile for contact, _ in free}
            refusals += await self.write(
                [Change(contact.profile, contact.email, old, permission=old.kept()) for contact, old in free]
            )
        return refusals

    async def _is_there(self, email: str) -> bool:
        return bool(await self._people.find([email]) or await self._people.find([email], archived=True))

    # Creating

    async def _newcomers(self, contacts: Sequence[Contact]) -> list[Newcomer]:
        """Look who of these is archived under the address before: that was a no, and it goes along."""
        before = [str(contact.was) for contact in contacts if is_renamed(contact)]
        archived = await self._people.find(before, archived=True)
        return [Newcomer(contact, folded(contact.was or "") in archived) for contact in contacts]

    async def _create(
        self, newcomers: Sequence[Newcomer], there: dict[str, Known], anew: set[int]
    ) -> list[Refusal]:
        """Create who is not in Ortto and add them to `there`; return who cannot be.

        Of those whom Ortto had before, the created are `anew`: not who turns out to be archived.
        """
        if len(newcomers) > FEW:
            await self._create_in_bulk(newcomers, there)
            anew |= {each.contact.profile for each in newcomers if each.contact.known and each.email in there}
        refusals: list[Refusal] = []
        for each in newcomers:
            if each.email not in there:
                refusals += await self._create_alone(each, there, anew)
        return refusals

    async def _create_in_bulk(self, newcomers: Sequence[Newcomer], there: dict[str, Known]) -> None:
        """Queue a merge and look until everybody has appeared, or patience ends."""
        body = {"people": [each.record for each in newcomers], "async": True, **CREATE}
        answer = await self._api.send("POST", "/person/merge", body, expect=BAD)
        if answer.status == 400:
            await http.wait(BAD_PAUSE)
            return
        emails = [each.contact.email for each in newcomers]
        for pause in LOOKS:
            await http.wait(pause)
            there |= await self._people.find(emails)
            emails = [email for email in emails if folded(email) not in there]
            if len(emails) <= FEW:
                return

    async def _create_alone(
        self, newcomer: Newcomer, there: dict[str, Known], anew: set[int]
    ) -> list[Refusal]:
        """Create one at once. Somebody known who did not appear in our reading is archived, or new."""
        contact = newcomer.contact
        body = {"people": [newcomer.record], "async": False, **CREATE}
        async with self._careful:
            answer = await self._api.send("POST", "/person/merge", body, expect=BAD)
            if answer.status == 400:
                await http.wait(BAD_PAUSE)
        record = _records(answer)[0]
        id_ = record.get("person_id")
        if not id_:
            blame = Blame.BLOCKED if record.get("status") == "suppressed" else Blame.CONTACT
            return [Refusal(contact.profile, blame, self._reason(record))]
        is_new = record.get("status") == "created"
        if is_new and contact.known:
            anew.add(contact.profile)
        there[folded(contact.email)] = await self._found(newcomer, str(id_), new=is_new)
        return []

    async def _found(self, newcomer: Newcomer, id_: str, *, new: bool) -> Known:
        """Say what is known of a person after their creation; who was there before is read."""
        if new:
            permission = newcomer.permission
            return Known(id_, permission[PERMISSION], permission.get(CONTEXT))
        return (await self._people.read([id_])).get(id_) or Known(id_, permitted=False)

    # Writing by id

    async def write(self, changes: Sequence[Change]) -> list[Refusal]:
        """Write up to 100 at once; who is not in the answer is tried alone.

        A batch that is refused as a whole is halved, unless it is for a field that Ortto does not have any
        more: then all go without it.
        """
        if not changes:
            return []
        answer = await self._send(changes)
        if answer.status == 400 and (gone := _named_field(answer, _UNKNOWN_FIELD)):
            refused = _field_refusals(changes, gone, self._reason(_records(answer)[0]))
            if refused:
                return refused + await self.write(
                    [change.without(str(refused[0].name)) for change in changes]
                )
        if answer.status == 400 and len(changes) > 1:
            return [refusal for half in halves(changes) for refusal in await self.write(half)]
        done = {str(each["person_id"]) for each in _records(answer) if each.get("status") in DONE}
        refusals: list[Refusal] = []
        for change in changes:
            if change.known.id not in done:
                refusals += await self._write_alone(change)
        return refusals

    async def _write_alone(self, change: Change) -> list[Refusal]:
        """Write one, without the fields that are refused of it."""
        refusals: list[Refusal] = []
        reason, named = await self._try(change, None)
        while named:
            refusals.append(Refusal(change.profile, Blame.FIELD, reason or "", named))
            change = change.without(named)
            reason, named = await self._try(change, None)
        if reason is None:
            return refusals
        bare = (await self._try(change, ()))[0] if change.values else reason
        if bare is not None:
            return [Refusal(change.profile, Blame.CONTACT, bare)]

        async def try_out(names: Sequence[str]) -> str | None:
            return (await self._try(change, names))[0]

        bad = await sift(list(change.values), try_out)
        return refusals + [Refusal(change.profile, Blame.FIELD, why, name) for name, why in bad.items()]

    async def _try(self, change: Change, names: Sequence[str] | None) -> tuple[str | None, str | None]:
        """Return Ortto's reason when it does not want to, and the field that it names, if it does."""
        answer = await self._send([change], names)
        record = _records(answer)[0]
        if record.get("status") in DONE:
            return None, None
        values = {name: value for name, (_, value) in change.values.items()}
        reason = without_values(self._reason(record), values)
        return reason, change.named(_named_field(answer, _NAMED_FIELD))

    async def _send(self, changes: Sequence[Change], names: Sequence[str] | None = None) -> Answer:
        """Send a merge; after a bad one wait, so that the next are no burst."""
        body = {"people": [change.body(names) for change in changes], **UPDATE}
        answer = await self._api.send("POST", "/person/merge", body, expect=BAD)
        if answer.status == 400:
            async with self._careful:
                await http.wait(BAD_PAUSE)
        return answer

    def _reason(self, record: Mapping[str, Any]) -> str:
        said = record.get("error") or record.get("status") or "refused without a reason"
        return self._api.redact(str(said))


def _change(contact: Contact, known: Known, fields: Fields, refusals: list[Refusal]) -> Change:
    """Write a contact's values as Ortto takes them; those that cannot be join the refusals."""
    values: dict[str, tuple[Slot, Any]] = {}
    for name, value in contact.fields.items():
        slot = fields.slot(name)
        if slot is None:
            refusals.append(Refusal(contact.profile, Blame.FIELD, "Ortto has no field of this name", name))
            continue
        try:
            values[name] = (slot, slot.written(value))
        except Unfit as unfit:
            refusals.append(Refusal(contact.profile, Blame.FIELD, str(unfit), name))
    permission = known.kept() if values else {}
    if contact.subscribe is Subscribe.STOP and known.permitted:
        permission = {PERMISSION: False, CONTEXT: STOPPED}
    return Change(contact.profile, contact.email, known, values, permission)


def _records(answer: Answer) -> Sequence[Mapping[str, Any]]:
    """Give what is said of each person; a refused call says it under `details`, or only as a whole."""
    document = answer.json if isinstance(answer.json, dict) else {}
    if answer.status == 400:
        return document.get("details") or [{"error": document.get("error")}]
    return document.get("people") or [{}]


def _field_refusals(changes: Sequence[Change], id_: str, reason: str) -> list[Refusal]:
    named = [(change.profile, change.named(id_)) for change in changes]
    return [Refusal(profile, Blame.FIELD, reason, name) for profile, name in named if name]


def _named_field(answer: Answer, pattern: re.Pattern[str]) -> str | None:
    """Find the id of the field that a refusal names."""
    for record in _records(answer):
        if named := pattern.search(str(record.get("error"))):
            return named[1]
    return None
