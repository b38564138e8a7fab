"""A contact as Mailchimp takes it, and what its answer to one write means. Decides, sends nothing.

A write is judged alike whether it went out alone or as an operation of a batch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from connectors.base import Blame, Contact, Refusal, Subscribe, Value
from connectors.esps.mailchimp.traits import TEXT_BYTES

STATUS_IF_NEW = {
    Subscribe.YES: "subscribed",
    Subscribe.ASK: "pending",
    Subscribe.NO: "transactional",
    Subscribe.STOP: "transactional",
}
SAID_OF_ADDRESSES = {
    "looks fake or invalid": Blame.BLOCKED,
    "valid email address": Blame.BLOCKED,
    "signed up to a lot of lists": Blame.BROKEN,  # a guard against abuse: it passes
}
"""Parts of what an `Invalid Resource` says of an address, and what follows."""


@dataclass(frozen=True, slots=True)
class Write:
    """A contact's write as it goes out next; `given_up` is what earlier answers made us leave out, and note.

    A rename knows from `claims` whose each address is to be after this push. `birthdays` are fields without a year.
    """

    contact: Contact
    subscribe: Subscribe
    given_up: tuple[Refusal, ...] = ()
    claims: Mapping[str, Contact] = field(default_factory=dict, repr=False, compare=False)
    birthdays: frozenset[str] = frozenset()

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its merge fields, made when they are sent: thousands of contacts wait for their batches at once."""
        left_out = {refusal.name for refusal in self.given_up}
        return {
            name: merge_value(value, is_birthday=name in self.birthdays)
            for name, value in self.contact.fields.items()
            if name not in left_out
        }

    @property
    def key(self) -> str:
        return subscriber_hash(self.contact.email)

    @property
    def old_key(self) -> str | None:
        """The key of the record to rename, None where there is nothing to rename."""
        old = subscriber_hash(self.contact.was) if self.contact.was else None
        return old if old != self.key else None

    def change(self) -> dict[str, Any]:
        """Make the body for a record that is there: it never holds a status, but to take one away."""
        body: dict[str, Any] = {"email_address": self.contact.email}
        if fields := self.fields:
            body["merge_fields"] = fields
        if self.subscribe is Subscribe.STOP:
            body["status"] = "unsubscribed"
        return body

    def upsert(self) -> dict[str, Any]:
        """Make the body of a PUT: `status_if_new` counts for a new record only.

        Whose record is gone that we knew was archived or deleted by somebody: that is no new subscriber.
        """
        return self.change() | {
            "status_if_new": STATUS_IF_NEW[self.subscribe if self.is_new else Subscribe.NO]
        }

    @property
    def is_new(self) -> bool:
        """Whether Mailchimp has never taken this contact from us."""
        return not self.contact.known and self.contact.was is None

    @property
    def may_subscribe(self) -> bool:
        return self.is_new and self.subscribe in {Subscribe.YES, Subscribe.ASK}

    def anew(self) -> "Write":
        """Say, once it has landed, that nothing else of ours is there."""
        note = Refusal(self.contact.profile, Blame.ANEW, "the record in Mailchimp had nothing of ours")
        return replace(self, given_up=(*self.given_up, note))

    def archived(self) -> "Write":
        """Take them for opted out: whether they were cannot be seen any more, and this write revives them."""
        opted_out = Refusal(self.contact.profile, Blame.OPTED_OUT, "archived in Mailchimp")
        return replace(self, subscribe=Subscribe.NO, given_up=(*self.given_up, opted_out))


Verdict = Write | tuple[Refusal, ...]
"""The write to try next, or what of the contact did not land (nothing, when empty)."""


def first_write(contact: Contact, birthdays: frozenset[str] = frozenset()) -> Write:
    return Write(contact, contact.subscribe, birthdays=birthdays)


def subscriber_hash(email: str) -> str:
    """Make the key of a member within an audience, as Mailchimp defines it; it is no secret."""
    return hashlib.md5(email.lower().encode("utf-8", "ignore"), usedforsecurity=False).hexdigest()


def merge_value(value: Value, *, is_birthday: bool = False) -> Any:
    """Write a value as a merge field takes it: "" clears (null does not), there are no booleans.

    A birthday is MM/DD, whatever the audience's own form of dates.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return f"{value.month:02}/{value.day:02}" if is_birthday else value.isoformat()[:10]
    if isinstance(value, str):
        return value.encode("utf-8", "ignore")[:TEXT_BYTES].decode("utf-8", "ignore")
    return value


def rename_rounds(writes: Sequence[Write]) -> Sequence[Sequence[Write]]:
    """Order renames so that none goes to an address that another of them still has to leave.

    Addresses that were exchanged in a ring all have their records already: those are plain updates.
    """
    rounds: list[Sequence[Write]] = []
    waiting = list(writes)
    while waiting:
        held = {write.old_key for write in waiting}
        free = [write for write in waiting if write.key not in held]
        rounds.append(free or [_exchanged(write) for write in waiting])
        waiting = [write for write in waiting if free and write.key in held]
    return rounds


def _exchanged(write: Write) -> Write:
    """Update what has the new address: it was another's."""
    return replace(write.anew(), contact=replace(write.contact, was=None))


def judge(write: Write, status: int, problem: Mapping[str, Any]) -> Verdict:
    """Read the answer to a write: a 2xx, or a 400 with its problem document."""
    if status < 300:
        return write.given_up
    return _BY_TITLE.get(str(problem.get("title")), _not_taken)(write, problem)


def document_of(answer: object) -> Mapping[str, Any]:
    """Take what was parsed for a document, an empty one when it is anything else."""
    return answer if isinstance(answer, Mapping) else {}


def words(problem: Mapping[str, Any]) -> str:
    """Say in one line what a problem document says; empty when it says nothing."""
    said = [problem.get("title"), problem.get("detail"), *(error["message"] for error in _errors(problem))]
    return ": ".join(dict.fromkeys(str(part) for part in said if part))


def _errors(problem: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Field name and message of each entry; the name without a path before it ("merge_fields.TAG")."""
    found = problem.get("errors")
    return [
        {
            "field": str(error.get("field") or "").rpartition(".")[2],
            "message": str(error.get("message") or ""),
        }
        for error in (found if isinstance(found, list) else ())
        if isinstance(error, Mapping)
    ]


def _invalid(write: Write, problem: Mapping[str, Any]) -> Verdict:
    """Leave out the fields that are named and try again; without any, the contact itself is at fault."""
    fields = write.fields
    sent = {name.upper(): name for name in fields}
    named = {
        sent[error["field"].upper()]: error["message"]
        for error in _errors(problem)
        if error["field"].upper() in sent
    }
    if not named:
        return _invalid_contact(write, problem)
    refused = [
        Refusal(write.contact.profile, Blame.FIELD, _without(message, fields[name]), name)
        for name, message in named.items()
    ]
    return replace(write, given_up=(*write.given_up, *refused))


def _invalid_contact(write: Write, problem: Mapping[str, Any]) -> Verdict:
    said = words(problem).lower()
    blames = (blame for phrase, blame in SAID_OF_ADDRESSES.items() if phrase in said)
    return _refused(write, next(blames, Blame.CONTACT), problem)


def _in_compliance_state(write: Write, problem: Mapping[str, Any]) -> Verdict:
    """Believe that they opted out; their fields may still be written, without a word on the status."""
    if write.subscribe is Subscribe.NO:
        return _refused(write, Blame.BLOCKED, problem)
    opted_out = Refusal(write.contact.profile, Blame.OPTED_OUT, words(problem))
    return replace(write, subscribe=Subscribe.NO, given_up=(*write.given_up, opted_out))


def _forgotten(write: Write, problem: Mapping[str, Any]) -> Verdict:
    return _refused(write, Blame.BLOCKED, problem)


def _not_taken(write: Write, problem: Mapping[str, Any]) -> Verdict:
    return _refused(write, Blame.CONTACT, problem)


def _refused(write: Write, blame: Blame, problem: Mapping[str, Any]) -> Verdict:
    return (Refusal(write.contact.profile, blame, words(problem) or "refused without a reason"),)


def _without(message: str, value: object) -> str:
    """Cut a quoted value out of a message; a very short one would hit other words and tells nothing."""
    text = str(value)
    return message.replace(text, "…") if len(text) > 2 else message


_BY_TITLE: Mapping[str, Callable[[Write, Mapping[str, Any]], Verdict]] = {
    "Invalid Resource": _invalid,
    "Member In Compliance State": _in_compliance_state,
    "Forgotten Email Not Subscribed": _forgotten,
}
"""Every other title (`Member Exists`, `Bad Request`) is one contact's dead letter: it stops no other."""
