"""Contacts on their way to Autopilot: 100 in a call; what a call did not take is tried alone.

Every write but a rename is an upsert by address, so whatever is in doubt is sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from connectors.base import Blame, Contact, Refusal, Subscribe
from connectors.errors import Retryable
from connectors.esps.autopilot.fields import CLEARED, Fields, Slot, Unfit
from connectors.esps.autopilot.people import PAGE, Ids, People
from connectors.http import Answer, Api
from connectors.writing import (
    claims_of,
    folded,
    halves,
    is_renamed,
    is_taken,
    landed,
    notes_of,
    parts,
    rename_rounds,
    sift,
    together,
    without_values,
)

MARK = "boolean--Created--Without--Consent"
"""Set with `unsubscribed` on contacts that we create without proof, to tell them from those who opted out."""
MARK_LABEL = "Created Without Consent"
BAD = frozenset({400})
GONE = frozenset({404})


@dataclass(frozen=True, slots=True)
class Write:
    """A contact's write; `ids` are those under which Autopilot has the address, as far as anybody asked."""

    contact: Contact
    values: Mapping[str, tuple[Slot, Any]]
    ids: frozenset[str] = frozenset()

    def body(self, names: Sequence[str] | None = None, cleared: Any = CLEARED) -> dict[str, Any]:
        """Make the contact's JSON with these fields, or all.

        `unsubscribed` is never sent as false, and as true to somebody known only to unsubscribe them.
        """
        chosen = [self.values[name] for name in (self.values if names is None else names)]
        written = {slot: cleared if value == CLEARED else value for slot, value in chosen}
        body: dict[str, Any] = {"Email": self.contact.email}
        body |= {slot.key: value for slot, value in written.items() if slot.type is None}
        custom: dict[str, Any] = {slot.key: value for slot, value in written.items() if slot.type is not None}
        if self.contact.subscribe is Subscribe.STOP:
            body["unsubscribed"] = True
        elif not self.ids and not may_be_created_mailable(self.contact):
            body["unsubscribed"] = custom[MARK] = True
        return body | ({"custom": custom} if custom else {})


@dataclass(slots=True)
class _Renamed:
    """What came of the renames; `retire` are old addresses by profile, whose new one was there already.

    `anew` are profiles that are not written to a contact of their own, `claims` say whose each address is to be.
    """

    anew: set[int]
    claims: Mapping[str, Contact]
    refusals: list[Refusal] = field(default_factory=list)
    retire: dict[int, str] = field(default_factory=dict)


class Delivery:
    def __init__(self, api: Api, people: People) -> None:
        self._api = api
        self._people = people

    async def push(self, contacts: Sequence[Contact], fields: Fields) -> list[Refusal]:
        """Rename first: a new contact may come to the address that another has left."""
        renamed = await self._rename_all(contacts)
        rest = landed(contacts, renamed.refusals)
        refusals = renamed.refusals + await self._upsert_all(rest, fields, renamed.anew)
        for contact in landed(rest, refusals):
            if contact.profile in renamed.retire:
                await self._unsubscribe(renamed.retire[contact.profile])
        return refusals + notes_of(renamed.anew, landed(rest, refusals))

    # Renames

    async def _rename_all(self, contacts: Sequence[Contact]) -> _Renamed:
        moved = {contact.profile for contact in contacts if is_renamed(contact)}
        renamed = _Renamed(moved, claims_of(contacts))
        for several in rename_rounds(contacts):
            await together([self._rename(contact, renamed) for contact in several])
        return renamed

    async def _rename(self, contact: Contact, renamed: _Renamed) -> None:
        """Give the old record the new address; where that has a record of its own, note the old to retire.

        Not sent twice: the second time nobody has the old address, and an upsert would create them.
        """
        old, new = str(contact.was), contact.email
        there = await self._people.look_up([old, new])
        if folded(old) not in there:
            return
        if folded(new) in there:
            if not await is_taken(old, renamed.claims, self._is_there):
                renamed.retire[contact.profile] = old
            return
        body = {"contact": {"Email": old, "_NewEmail": new}}
        try:
            answer = await self._api.send("POST", "/contact", body, expect=BAD, repeat=False)
        except Retryable:
            if folded(new) not in await self._people.look_up([new]):
                raise
            renamed.anew.discard(contact.profile)
            return
        if answer.status == 400:
            renamed.refusals.append(Refusal(contact.profile, Blame.CONTACT, self._reason(answer)))
        elif not await self._check_id(new, there[folded(old)], answer.json.get("contact_id")):
            renamed.anew.discard(contact.profile)

    async def _is_there(self, email: str) -> bool:
        return bool(await self._people.look_up([email]))

    # Upserts

    async def _upsert_all(self, contacts: Sequence[Contact], fields: Fields, anew: set[int]) -> list[Refusal]:
        """Write everybody; those whom Autopilot had, and does not have any more, are `anew`."""
        asked = [contact for contact in contacts if _is_asked_for(contact)]
        known = [contact.email for contact in asked if contact.known or contact.was]
        there = await self._people.find([contact.email for contact in asked], known)
        anew |= {each.profile for each in asked if each.known and folded(each.email) not in there}
        refusals: list[Refusal] = []
        writes = [
            Write(contact, _values(contact, fields, refusals), there.get(folded(contact.email), frozenset()))
            for contact in contacts
        ]
        answered = await together([self._upsert_some(some, anew) for some in parts(writes, PAGE)])
        return refusals + [refusal for some in answered for refusal in some]

    async def _upsert_some(self, writes: Sequence[Write], anew: set[int]) -> list[Refusal]:
        """Write up to 100; halve a batch that is refused as a whole."""
        body = {"contacts": [write.body() for write in writes]}
        answer = await self._api.send("POST", "/contacts", body, expect=BAD)
        if answer.status == 400 and len(writes) > 1:
            return [refusal for half in halves(writes) for refusal in await self._upsert_some(half, anew)]
        ids = taken(answer)
        self._people.meet(ids)
        refusals: list[Refusal] = []
        for write in writes:
            number = ids.get(folded(write.contact.email))
            if number is None:
                refusals += await self._upsert_alone(write)
            elif write.ids and await self._check_id(write.contact.email, write.ids, number):
                anew.add(write.contact.profile)
        return refusals

    async def _upsert_alone(self, write: Write) -> list[Refusal]:
        """Write one, without what is refused of it: here Autopilot says why."""
        reason = await self._try(write, write.body())
        if reason is None:
            return []
        bare = await self._try(write, write.body([])) if write.values else reason
        if bare is not None:
            return [Refusal(write.contact.profile, Blame.CONTACT, bare)]

        async def try_out(names: Sequence[str]) -> str | None:
            reason = await self._try(write, write.body(names))
            if reason and len(names) == 1 and write.values[names[0]][1] == CLEARED:
                return await self._try(write, write.body(names, cleared=None))
            return reason

        bad = await sift(list(write.values), try_out)
        return [Refusal(write.contact.profile, Blame.FIELD, reason, name) for name, reason in bad.items()]

    async def _try(self, write: Write, body: Mapping[str, Any]) -> str | None:
        """Return Autopilot's reason when it does not want to."""
        answer = await self._api.send("POST", "/contact", {"contact": body}, expect=BAD)
        if answer.status == 400:
            said = self._reason(answer)
            return without_values(said, {name: value for name, (_, value) in write.values.items()})
        if write.ids:
            await self._check_id(write.contact.email, write.ids, answer.json.get("contact_id"))
        return None

    # Consent

    async def check_ids(self, ids: Ids, answered: Mapping[str, str]) -> set[str]:
        """Hold back whoever came back to life by our writing; return their folded addresses.

        Another id alone does not prove it: an address may stand on several contacts.
        """
        others = [email for email, number in answered.items() if email in ids and number not in ids[email]]
        revived = {email for email in others if await self._people.has_none_of(email, ids[email])}
        for email in revived:
            await self._hold_back(email)
        return revived

    async def _check_id(self, email: str, ids: frozenset[str], number: object) -> bool:
        return bool(await self.check_ids({folded(email): ids}, {folded(email): str(number)}))

    async def _hold_back(self, email: str) -> None:
        """Make a contact unmailable that our writing created by mistake: it was deleted in between."""
        body = {"contact": {"Email": email, "unsubscribed": True, "custom": {MARK: True}}}
        await self._api.send("POST", "/contact", body)

    async def _unsubscribe(self, email: str) -> None:
        path = f"/contact/{quote(email, safe='')}/unsubscribe"
        await self._api.send("POST", path, expect=GONE)

    def _reason(self, answer: Answer) -> str:
        return self._api.redact(words(answer))


def may_be_created_mailable(contact: Contact) -> bool:
    """Tell whether a contact that is not there may be created so that it is mailed.

    That takes proof, and that nobody deleted it: whom we wrote to before, and is gone, comes back unmailable.
    """
    return contact.subscribe is Subscribe.YES and not contact.known and contact.was is None


def _is_asked_for(contact: Contact) -> bool:
    """Tell whether we have to know if a contact is there before it is written."""
    if contact.known:
        return True
    return contact.subscribe is not Subscribe.STOP and not may_be_created_mailable(contact)


def taken(answer: Answer) -> dict[str, str]:
    """Contact id by folded address of those that a bulk write took: the others are not in the answer."""
    if answer.status != 200:
        return {}
    landed = answer.json.get("email_contact_map") or {}
    return {folded(email): str(number) for email, number in landed.items()}


def words(answer: Answer) -> str:
    """Say what an error answer says; some are empty."""
    document = answer.json if isinstance(answer.json, dict) else {}
    said = document.get("message") or document.get("error")
    return str(said) if said else f"refused without a reason ({answer.status})"


def _values(contact: Contact, fields: Fields, refusals: list[Refusal]) -> dict[str, tuple[Slot, Any]]:
    """Write a contact's values as Autopilot takes them; those that cannot be join the refusals."""
    values: dict[str, tuple[Slot, Any]] = {}
    for name, value in contact.fields.items():
        slot = fields.slot(name, value)
        if slot is None:
            continue
        try:
            values[name] = (slot, slot.written(value))
        except Unfit as unfit:
            refusals.append(Refusal(contact.profile, Blame.FIELD, str(unfit), name))
    return values
