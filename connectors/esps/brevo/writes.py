"""A contact as Brevo takes it, and what its answer to one write means. Decides, sends nothing.

The key `emailBlacklisted` is never sent as false: that would lift a block.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from connectors.base import Blame, Contact, Refusal, Subscribe, Value
from connectors.esps.brevo.traits import PHONES, TEXT_LENGTH
from connectors.http import Answer
from connectors.writing import without_values

CLEARED = ""
"""What empties an attribute; nobody knows what `null` does."""
MARK = "CARTWIRE_BLOCK"
"""The attribute that tells contacts whom we blocked for want of consent from those who opted out."""
UNPROVEN = "no consent"
MOVING = {"": "moving", UNPROVEN: "moving, no consent"}
"""The mark of blocked contacts while their address changes, which lifts the block: until that is set again."""
MOVED = {moving: mark for mark, moving in MOVING.items()}
UNKNOWN = "Brevo does not have this contact"
UNCLICKED = f"{UNKNOWN}: the confirmation was not clicked yet, or it was deleted"
BLOCKED_AT_BIRTH = frozenset({Subscribe.NO, Subscribe.STOP})
DUPLICATE = re.compile(r"already (exist|associated)|associated with another", re.IGNORECASE)
ADDRESS_AT_FAULT = re.compile(r"(invalid|valid) e-?mail|email.*(not valid|is invalid)", re.IGNORECASE)
PHONE_AT_FAULT = re.compile(r"phone|\bsms\b|whatsapp|landline|mobile", re.IGNORECASE)
INDEXES = re.compile(r"ind(?:exes|ices|ex)\D*(\d[\d,\s]*)", re.IGNORECASE)

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """A contact's write as it goes out next; `given_up` is what earlier answers made us leave out, and note.

    `absent` says that Brevo has told us that it does not have the contact.
    """

    contact: Contact
    attributes: Attributes
    given_up: tuple[Refusal, ...] = ()
    absent: bool = False

    @property
    def email(self) -> str:
        return plain(self.contact.email)

    @property
    def stops(self) -> bool:
        return self.contact.subscribe is Subscribe.STOP

    @property
    def is_new(self) -> bool:
        """Whether Brevo has never taken this contact from us."""
        return not self.contact.known and self.contact.was is None

    @property
    def birth(self) -> Subscribe:
        """As what the contact may be created. Who is gone that we wrote before was deleted: no new subscriber."""
        return self.contact.subscribe if self.is_new or self.stops else Subscribe.NO

    @property
    def changes(self) -> bool:
        """Whether there is anything to write into a contact that exists."""
        return bool(self.attributes) or self.stops

    def update(self) -> dict[str, Any]:
        """Make the body for a contact that exists: its status stays, unless it is taken away."""
        body: dict[str, Any] = {"attributes": dict(self.attributes)} if self.attributes else {}
        return body | ({"emailBlacklisted": True} if self.stops else {})

    def item(self) -> dict[str, Any]:
        """Make an entry of the bulk update."""
        return {"email": self.email, **self.update()}

    def creation(self) -> dict[str, Any]:
        """Make the body that creates, and that changes nobody who is there.

        A contact can be mailed as soon as it exists, so without proof it is born blocked; and as we never
        have proof for text messages, these are blocked in any case.
        """
        blocked = {"emailBlacklisted": True} if self.birth in BLOCKED_AT_BIRTH else {}
        return {
            "email": self.email,
            "attributes": self.birth_attributes(),
            **blocked,
            "smsBlacklisted": True,
        }

    def row(self) -> dict[str, Any]:
        """Make an entry of an import; what is blocked there stands in the import itself."""
        return {"email": self.email, "attributes": self.birth_attributes()}

    def birth_attributes(self) -> dict[str, Any]:
        filled = {name: value for name, value in self.attributes.items() if value != CLEARED}
        return filled | ({MARK: UNPROVEN} if self.birth is Subscribe.NO else {})

    def without(self, reasons: Mapping[str, str]) -> "Write":
        """Leave attributes out, for these reasons."""
        refused = [
            Refusal(self.contact.profile, Blame.FIELD, reason, name) for name, reason in reasons.items()
        ]
        kept = {name: value for name, value in self.attributes.items() if name not in reasons}
        return replace(self, attributes=kept, given_up=(*self.given_up, *refused))

    def anew(self) -> "Write":
        """Say, once it has landed, that nothing else of ours is there: unless Brevo never took it before."""
        note = Refusal(self.contact.profile, Blame.ANEW, "the contact in Brevo had nothing of ours")
        return (
            self if self.is_new or note in self.given_up else replace(self, given_up=(*self.given_up, note))
        )

    def refused(self, blame: Blame, reason: str) -> tuple[Refusal, ...]:
        return (Refusal(self.contact.profile, blame, reason),)


@dataclass(frozen=True, slots=True)
class Turn:
    """What to try next: to create the contact, or to update it."""

    write: Write
    creates: bool


Verdict = Turn | tuple[Refusal, ...]
"""What to try next, or what of the contact did not land (nothing, when empty)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What Brevo says is wrong; `duplicates` are the kinds of identifiers that somebody else has."""

    status: int
    code: str
    message: str
    duplicates: frozenset[str]


def problem_of(answer: Answer) -> Problem:
    document = document_of(answer.body)
    metadata = document.get("metadata")
    kinds = metadata.get("duplicate_identifiers") if isinstance(metadata, Mapping) else None
    duplicates = frozenset(str(kind).upper() for kind in kinds) if isinstance(kinds, list) else frozenset()
    return Problem(
        answer.status, str(document.get("code") or ""), str(document.get("message") or ""), duplicates
    )


def document_of(body: bytes) -> Mapping[str, Any]:
    """Parse a body into a document, an empty one when it is anything else."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def first_write(contact: Contact) -> Write:
    return Write(contact, {name: attribute_value(value) for name, value in contact.fields.items()})


def attribute_value(value: Value) -> Any:
    """Write a value as an attribute takes it; a moment loses its time, as Brevo's dates have none."""
    if value is None:
        return CLEARED
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return plain(value)[:TEXT_LENGTH] if isinstance(value, str) else value


def plain(text: str) -> str:
    """Leave out halves of surrogate pairs, which JSON cannot carry."""
    return text.encode("utf-8", "ignore").decode()


def judge(write: Write, answer: Answer, *, creates: bool) -> Verdict:
    """Read the answer to a single write: a 2xx, a 400 or a 404."""
    if answer.status < 300:
        return write.given_up
    problem = problem_of(answer)
    if answer.status == 404 and not creates:
        return _absent(write)
    if problem.duplicates or DUPLICATE.search(problem.message):
        return _duplicate(write, problem, creates=creates)
    return _invalid(write, problem, creates=creates)


def _absent(write: Write) -> Verdict:
    if write.contact.subscribe is Subscribe.ASK and not write.is_new:
        return write.refused(Blame.CONTACT, UNCLICKED)
    return Turn(replace(write.anew(), absent=True), creates=True)


def _duplicate(write: Write, problem: Problem, *, creates: bool) -> Verdict:
    """Update who is there already; where somebody else has the phone number, leave that out.

    Without metadata a text may mean either ("This sms number or email address is already associated…").
    """
    phones = set(PHONES) & write.attributes.keys()
    taken = phones & problem.duplicates or (set() if problem.duplicates else phones)
    if creates and ("EMAIL" in problem.duplicates if problem.duplicates else not write.absent):
        return Turn(write, creates=False)
    if taken:
        reason = "another contact in Brevo has this number"
        return Turn(write.without(dict.fromkeys(sorted(taken), reason)), creates)
    return write.refused(Blame.CONTACT, words(problem, write))


def _invalid(write: Write, problem: Problem, *, creates: bool) -> Verdict:
    """Leave out the fields that are named, or the phone numbers; else the contact itself is at fault."""
    message = words(problem, write)
    named = [name for name in write.attributes if re.search(rf"\b{re.escape(name)}\b", problem.message)]
    if not named and PHONE_AT_FAULT.search(problem.message):
        named = [name for name in PHONES if write.attributes.get(name)]
    if named:
        return Turn(write.without(dict.fromkeys(named, message)), creates)
    blame = Blame.BLOCKED if ADDRESS_AT_FAULT.search(problem.message) else Blame.CONTACT
    return write.refused(blame, message)


def words(problem: Problem, write: Write | None = None) -> str:
    """Say what Brevo says, without the contact's values."""
    said = ": ".join(part for part in (problem.code, problem.message) if part)
    cut = without_values(said, write.attributes) if write else said
    return cut or f"refused with status {problem.status} and no reason"


def missing_places(problem: Problem, count: int) -> list[int]:
    """Read which entries of a bulk update Brevo does not have ("No contact found for indexes 3,4").

    Empty when it does not say. Seen in sendinblue/APIv3-php-library issue 257.
    """
    found = INDEXES.search(problem.message)
    places = sorted({int(text) for text in re.findall(r"\d+", found[1])}) if found else []
    return places if all(place < count for place in places) else []


def mark_of(row: Attributes) -> str:
    """Read the mark of a contact as Brevo gives it; empty for none."""
    return str((row.get("attributes") or {}).get(MARK) or "")


def moving(mark: str) -> str:
    """Say what a blocked contact with this mark is marked with while its address changes."""
    return mark if mark in MOVED else MOVING.get(mark, MOVING[""])


def stands(write: Write, row: Attributes) -> bool:
    """Tell whether a contact's attributes, as read back, are those that we sent."""
    return all(_same(value, row.get(name)) for name, value in write.birth_attributes().items())


def _same(sent: Any, found: Any) -> bool:
    if isinstance(sent, bool) or isinstance(found, bool):
        return sent is found
    if isinstance(sent, int | Decimal):
        return isinstance(found, int | Decimal) and sent == found
    return str(sent) == str(found)
