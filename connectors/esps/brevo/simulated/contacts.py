"""The contacts behind Brevo's simulator: attributes, lists in folders, blocks, and what a write does.

Attributes are kept as packed JSON: 25,000 contacts with 20 attributes each need about 25 MB.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from connectors.esps.brevo.simulated.values import NORMAL, Attribute, Dropped, phone_digits, read_value

Body = Mapping[str, Any]
PHONES = ("SMS", "WHATSAPP", "LANDLINE_NUMBER")
LIST_CALL = 150
_ADDRESS = re.compile(r"[^@\s,;]+@[^@\s,;.]+(\.[^@\s,;.]+)+")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Problem(Exception):
    """An answer with an error code."""

    def __init__(self, status: int, code: str, message: str, duplicates: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.duplicates = duplicates


def invalid(message: str) -> Problem:
    return Problem(400, "invalid_parameter", message)


def missing(message: str) -> Problem:
    return Problem(400, "missing_parameter", message)


def not_found(message: str) -> Problem:
    return Problem(404, "document_not_found", message)


def taken(kind: str) -> Problem:
    message = f"Unable to create contact, {kind} is already associated with another Contact"
    return Problem(400, "duplicate_parameter", message, [kind])


@dataclass(slots=True)
class StoredContact:
    """`left` are lists that the person left themselves."""

    number: int
    email: str
    created: datetime
    modified: datetime
    packed: bytes = b"{}"
    blocked: bool = False
    sms_blocked: bool = False
    ext_id: str | None = None
    left: frozenset[int] = frozenset()

    @property
    def attributes(self) -> dict[str, Any]:
        return _decode(self.packed)


@dataclass(slots=True)
class StoredList:
    number: int
    name: str
    folder: int
    members: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class SimulatedContact:
    """A contact as a person would look it up; `lists` are names, `fields` holds those that are filled."""

    email: str
    blocked: bool
    sms_blocked: bool
    fields: Mapping[str, Any]
    lists: frozenset[str]


class SimulatedContacts:
    """One account's contacts. The lower half of its methods are its people's and its owner's own doings.

    `keeps_block` False makes a changed address lift a block even where the same call sets it.
    `deaf` makes it ignore `emailBlacklisted`, as was reported (APIv3-php-library issue 173).
    `registered` are addresses of the account's own people, whose contacts it does not delete.
    `objection` looks at each contact that is written, and may give a problem to refuse it with.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.stored: dict[int, StoredContact] = {}
        self.attributes: dict[str, Attribute] = {}
        self.folders: dict[int, str] = {1: "Your first folder"}
        self.lists: dict[int, StoredList] = {}
        self.pending: dict[str, Body] = {}
        self.keeps_block = True
        self.deaf = False
        self.registered: set[str] = set()
        self.objection: Callable[[Body], Problem | None] = lambda _: None
        self._by_email: dict[str, int] = {}
        self._by_phone: dict[tuple[str, str], int] = {}
        self._numbers = iter(range(1, 10**9))
        for name in ("FIRSTNAME", "LASTNAME", *PHONES):
            self.attributes[name] = Attribute(name, NORMAL, "text")

    # By the API

    def find(self, identifier: object) -> StoredContact | None:
        """Look a contact up by address, or by number."""
        text = str(identifier)
        if text.isdigit():
            return self.stored.get(int(text))
        number = self._by_email.get(text.lower())
        return None if number is None else self.stored[number]

    def existing(self, identifier: object) -> StoredContact:
        contact = self.find(identifier)
        if contact is None:
            raise not_found("Contact does not exist")
        return contact

    def create(self, body: Body) -> StoredContact:
        email = str(body.get("email") or "")
        if not email:
            raise missing("Please provide Email or SMS attribute value to create user")
        if not _ADDRESS.fullmatch(email):
            raise invalid("Invalid email address")
        if self.find(email):
            raise taken("email")
        lists = self._lists(body.get("listIds"))
        now = self.clock()
        contact = StoredContact(next(self._numbers), email, now, now)
        self._write(contact, {name: value for name, value in body.items() if name != "email"})
        self.stored[contact.number] = contact
        self._by_email[email.lower()] = contact.number
        for each in lists:
            each.members.add(contact.number)
        return contact

    def update(self, contact: StoredContact, body: Body) -> None:
        join, leave = self._lists(body.get("listIds")), self._lists(body.get("unlinkListIds"))
        new = (body.get("attributes") or {}).get("EMAIL")
        if new is not None:
            self._check_new_address(contact, str(new))
        self._write(contact, body)
        if new is not None:
            self._move(contact, str(new), blocked=bool(body.get("emailBlacklisted")))
        for each in join:
            each.members.add(contact.number)
        for each in leave:
            each.members.discard(contact.number)

    def delete(self, contact: StoredContact) -> None:
        for each in self.lists.values():
            each.members.discard(contact.number)
        for kind in [key for key, number in self._by_phone.items() if number == contact.number]:
            del self._by_phone[kind]
        del self._by_email[contact.email.lower()], self.stored[contact.number]

    def lists_of(self, contact: StoredContact) -> list[StoredList]:
        return [each for each in self.lists.values() if contact.number in each.members]

    def existing_list(self, number: int) -> StoredList:
        if number not in self.lists:
            raise not_found("List ID does not exist")
        return self.lists[number]

    def new_folder(self, name: str) -> int:
        number = max(self.folders) + 1
        self.folders[number] = name
        return number

    def new_list(self, name: str, folder: int) -> int:
        number = max(self.lists, default=1) + 1
        self.lists[number] = StoredList(number, name, folder)
        return number

    def change_list(
        self, each: StoredList, identifiers: Sequence[object], *, joins: bool
    ) -> tuple[list[object], list[object]]:
        """Return whose membership changed, and whose did not: unknown, or already as wanted."""
        success: list[object] = []
        failure: list[object] = []
        for identifier in identifiers:
            contact = self.find(identifier)
            if contact is None or (contact.number in each.members) is joins:
                failure.append(identifier)
                continue
            (each.members.add if joins else each.members.discard)(contact.number)
            contact.left -= {each.number}
            success.append(identifier)
        return success, failure

    def _lists(self, numbers: Iterable[int] | None) -> list[StoredList]:
        return [self.existing_list(number) for number in numbers or ()]

    def _write(self, contact: StoredContact, body: Body) -> None:
        """Write what a body says of a contact: nothing at all, when a part of it is refused."""
        problem = self.objection({"email": contact.email, **body})
        if problem:
            raise problem
        sent = body.get("attributes") or {}
        phones = self._check_phones(contact, sent)
        values = contact.attributes
        for name, value in sent.items():
            self._set(values, name.upper(), value)
        for name, digits in phones.items():
            self._set_phone(contact, values, name, digits)
        contact.packed = _encode(values)
        if not self.deaf:
            contact.blocked = bool(body.get("emailBlacklisted", contact.blocked))
        contact.sms_blocked = bool(body.get("smsBlacklisted", contact.sms_blocked))
        contact.ext_id = body.get("ext_id", contact.ext_id)
        contact.modified = self.clock()

    def _set(self, values: dict[str, Any], name: str, value: Any) -> None:
        kind = self.attributes.get(name)
        if kind is None or name in PHONES:
            return
        try:
            kept = read_value(kind, value)
        except Dropped:
            return
        if kept is None:
            values.pop(name, None)
        else:
            values[name] = kept

    def _check_phones(self, contact: StoredContact, sent: Body) -> dict[str, str]:
        """Read the sent numbers, "" for those to clear."""
        phones = {}
        for name in PHONES:
            if name not in sent:
                continue
            digits = phone_digits(sent[name]) if sent[name] != "" else ""
            if digits is None:
                raise invalid("Invalid phone number")
            if self._by_phone.get((name, digits), contact.number) != contact.number:
                raise taken(name)
            phones[name] = digits
        return phones

    def _set_phone(self, contact: StoredContact, values: dict[str, Any], name: str, digits: str) -> None:
        self._by_phone.pop((name, values.pop(name, "")), None)
        if digits:
            values[name] = digits
            self._by_phone[name, digits] = contact.number

    def _check_new_address(self, contact: StoredContact, email: str) -> None:
        if not _ADDRESS.fullmatch(email):
            raise invalid("Invalid email address")
        owner = self.find(email)
        if owner is not None and owner is not contact:
            raise taken("email")

    def _move(self, contact: StoredContact, email: str, *, blocked: bool) -> None:
        """Change the address, which lifts a block unless the same call sets it."""
        if email.lower() == contact.email.lower():
            return
        del self._by_email[contact.email.lower()]
        contact.email = email
        contact.blocked = blocked and self.keeps_block
        self._by_email[email.lower()] = contact.number

    # By people and the owner

    def add(self, email: str, *, blocked: bool = False, **attributes: Any) -> StoredContact:
        """Create a contact as a sign-up form would, or the owner."""
        return self.create({"email": email, "emailBlacklisted": blocked, "attributes": attributes})

    def block(self, email: str, *, blocked: bool = True) -> None:
        """Unsubscribe, or with `blocked` False subscribe again by a form."""
        contact = self.existing(email)
        contact.blocked = blocked
        contact.modified = self.clock()

    def leave(self, email: str, name: str) -> None:
        """Leave one list by its own unsubscribe link."""
        contact = self.existing(email)
        for each in self.lists.values():
            if each.name == name:
                each.members.discard(contact.number)
                contact.left |= {each.number}
        contact.modified = self.clock()

    def confirm(self, email: str) -> None:
        """Click the link of a confirmation mail: only now there is a contact."""
        body = self.pending.pop(email.lower())
        self.create(
            {"email": email, "attributes": body.get("attributes"), "listIds": body.get("includeListIds")}
        )

    def delete_list(self, name: str) -> None:
        """Let the owner delete a list."""
        for number in [number for number, each in self.lists.items() if each.name == name]:
            del self.lists[number]

    def list_named(self, name: str) -> StoredList:
        (found,) = [each for each in self.lists.values() if each.name == name]
        return found

    def contact(self, email: str) -> SimulatedContact | None:
        """Look a contact up as a person would; None when there is none."""
        found = self.find(email)
        return None if found is None else self._shown(found)

    @property
    def contacts(self) -> dict[str, SimulatedContact]:
        """Everybody by address."""
        return {contact.email: self._shown(contact) for contact in self.stored.values()}

    def _shown(self, contact: StoredContact) -> SimulatedContact:
        return SimulatedContact(
            contact.email,
            contact.blocked,
            contact.sms_blocked,
            contact.attributes,
            frozenset(each.name for each in self.lists_of(contact)),
        )
