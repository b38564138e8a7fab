"""What a simulated Autopilot account holds: contacts, the custom fields that writing makes, and lists."""

import bisect
import random
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

STANDARD = frozenset(
    [
        "Twitter",
        "FirstName",
        "LastName",
        "Salutation",
        "Company",
        "NumberOfEmployees",
        "Title",
        "Industry",
        "Phone",
        "MobilePhone",
        "Fax",
        "Website",
        "MailingStreet",
        "MailingCity",
        "MailingState",
        "MailingPostalCode",
        "MailingCountry",
        "LeadSource",
        "Status",
        "LinkedIn",
    ]
)
CONTROL = frozenset({"_NewEmail", "_autopilot_list", "_autopilot_session_id", "notify"})
EVENTS = ("received", "opened", "clicked", "bounced", "hardbounced", "complained", "unsubscribed")
_KEY = re.compile(r"(string|integer|float|boolean|date)--(.+)", re.DOTALL)
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+")

Body = Mapping[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode


class Refusal(Exception):
    """An error answer: {"error", "message"}; without a message, an empty body."""

    def __init__(self, status: int, error: str, message: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message


def bad_request(message: str) -> Refusal:
    return Refusal(400, "Bad Request", message)


@dataclass(slots=True)
class Person:
    """A contact; its values are kept packed, for there are many. `events` are times by delivery by kind."""

    id: str
    email: str
    created: datetime
    updated: datetime
    unsubscribed: bool = False
    packed: bytes = b"{}"
    events: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """Standard fields by name; custom ones under "custom", by label, as [type, value]."""
        kept: dict[str, Any] = _decode(self.packed)
        return kept


@dataclass(frozen=True, slots=True)
class SimulatedContact:
    """A copy of a contact; `status` is subscribed or unsubscribed, `tags` are the titles of its lists."""

    email: str
    status: str
    fields: Mapping[str, Any]
    tags: frozenset[str]


class Account:
    """One account. The lower half of its methods are its people's and its owner's own doings, for tests.

    `objection` looks at each contact that is written, and may give a message to refuse it with.
    `triggers` are the names of journeys that begin with a call, by trigger id; `started` are the calls, as
    (trigger, contact id): a second one starts the journey again.
    `whole_batches` lets one bad contact spoil its batch, `only_null_clears` wants null where a field is
    no text: both are seen in the wild, or may be.
    """

    def __init__(self, clock: Callable[[], datetime], seed: int) -> None:
        self.clock = clock
        self.people: dict[str, Person] = {}
        self.custom_fields: dict[tuple[str, str], None] = {}
        self.lists: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self.triggers: dict[str, str] = {}
        self.started: list[tuple[str, str]] = []
        self.objection: Callable[[Body], str | None] = lambda _: None
        self.whole_batches = False
        self.only_null_clears = False
        self._by_email: dict[str, list[str]] = {}
        self._order: list[str] = []
        self._random = random.Random(seed)  # noqa: S311 - reproducible ids, nothing secret

    # Contacts, by the API

    def find(self, key: str) -> list[Person]:
        """Look up by id or address: several when an address stands on several contacts."""
        if key in self.people:
            return [self.people[key]]
        return [self.people[number] for number in self._by_email.get(key.strip().lower(), ())]

    def existing(self, key: str) -> Person:
        if not key.startswith("person_") and "@" not in key:
            raise bad_request("Invalid contact_id_or_email value provided.")
        found = self.find(key)
        if not found:
            raise Refusal(404, "Not Found", "Contact could not be found.")
        return found[0]

    def upsert(self, body: Body) -> Person:
        """Create or merge by address; absent fields stay, and so does `unsubscribed`."""
        email = str(body.get("Email") or "").strip()
        self._check(body, email)
        found = self.find(email)
        values = self._merged(found[0].values if found else {"custom": {}}, body)
        renamed = str(body.get("_NewEmail") or "").strip() or email
        if renamed.casefold() != email.lower() and self.find(renamed):
            raise bad_request("A contact with the new email already exists.")
        list_id = body.get("_autopilot_list")
        if list_id is not None and list_id not in self.lists:
            raise bad_request("List could not be found.")
        person = found[0] if found else self._create(email)
        person.packed = _encode(values)
        person.unsubscribed = bool(body.get("unsubscribed", person.unsubscribed))
        person.updated = self.clock()
        if renamed != email:
            self._move(person, renamed)
        if list_id is not None:
            self.members[list_id].add(person.id)
        return person

    def _check(self, body: Body, email: str) -> None:
        if not _ADDRESS.fullmatch(email):
            raise bad_request("Email is invalid.")
        unknown = set(body) - STANDARD - CONTROL - {"Email", "custom", "unsubscribed"}
        if unknown:
            raise bad_request(f"Unknown field {min(unknown)}.")
        if message := self.objection(body):
            raise bad_request(message)

    def _merged(self, values: dict[str, Any], body: Body) -> dict[str, Any]:
        for name in STANDARD & set(body):
            if not isinstance(body[name], str):
                raise bad_request(f"{name} must be a string.")
            values[name] = body[name]
        custom = values.setdefault("custom", {})
        for key, value in (body.get("custom") or {}).items():
            kind, label = self._read_key(key)
            slot = f"{kind}--{label}"
            if self._clears(kind, value):
                custom.pop(slot, None)
                continue
            custom[slot] = _CHECKS[kind](label, value)
            self.custom_fields[kind, label] = None
        return {name: value for name, value in values.items() if value != ""}

    def _read_key(self, key: str) -> tuple[str, str]:
        match = _KEY.fullmatch(key)
        if match is None:
            raise bad_request("Custom fields must be named type--Field--Name.")
        return match[1], match[2].replace("--", " ")

    def _clears(self, kind: str, value: Any) -> bool:
        return value is None or (value == "" and not (self.only_null_clears and kind != "string"))

    def _create(self, email: str) -> Person:
        number = f"person_{uuid.UUID(int=self._random.getrandbits(128), version=4)}".upper()
        number = number.replace("PERSON_", "person_")
        person = Person(number, email, self.clock(), self.clock())
        self.people[number] = person
        self._by_email.setdefault(email.lower(), []).append(number)
        bisect.insort(self._order, number)
        return person

    def _move(self, person: Person, email: str) -> None:
        old = self._by_email[person.email.lower()]
        old.remove(person.id)
        person.email = email
        self._by_email.setdefault(email.lower(), []).append(person.id)

    def delete(self, key: str) -> None:
        """Delete for good, all with that address."""
        self.existing(key)
        for person in self.find(key):
            del self.people[person.id]
            self._by_email[person.email.lower()].remove(person.id)
            self._order.remove(person.id)
            for members in self.members.values():
                members.discard(person.id)

    def page(self, bookmark: str | None, size: int, within: str | None = None) -> tuple[list[Person], int]:
        """Cut a page out of everybody, or of a list; the order has nothing to do with time."""
        order = self._order if within is None else sorted(self.members[within])
        start = bisect.bisect_right(order, bookmark) if bookmark else 0
        return [self.people[number] for number in order[start : start + size]], len(order)

    # Lists, by the API

    def add_list(self, name: str) -> str:
        """Make a list. The blueprint's 409 is for its very name; another case makes a second list."""
        if not name.strip():
            raise bad_request("Invalid list name provided.")
        if name in self.lists.values():
            raise Refusal(409, "Conflict", "A list with this name already exists.")
        number = f"contactlist_{uuid.UUID(int=self._random.getrandbits(128), version=4)}"
        self.lists[number], self.members[number] = name, set()
        return number

    def list_members(self, list_id: str) -> set[str]:
        if list_id not in self.lists:
            raise Refusal(404, "Not Found", "List could not be found.")
        return self.members[list_id]

    # What people and the owner do themselves

    def contact(self, email: str) -> SimulatedContact | None:
        found = self.find(email)
        return self._copy(found[0]) if found else None

    @property
    def contacts(self) -> dict[str, SimulatedContact]:
        """Every contact by address: a copy."""
        return {person.email: self._copy(person) for person in self.people.values()}

    def _copy(self, person: Person) -> SimulatedContact:
        values = person.values
        fields = {slot.partition("--")[2]: value for slot, value in values.pop("custom", {}).items()}
        status = "unsubscribed" if person.unsubscribed else "subscribed"
        tags = frozenset(self.lists[number] for number in self._lists_of(person))
        return SimulatedContact(person.email, status, values | fields, tags)

    def _lists_of(self, person: Person) -> Iterator[str]:
        return (number for number, members in self.members.items() if person.id in members)

    def lists_of(self, person: Person) -> list[str]:
        return list(self._lists_of(person))

    def add(self, email: str, status: str = "subscribed", **fields: Any) -> None:
        """Let somebody sign up by a form, or be imported."""
        self.upsert({"Email": email, "unsubscribed": status != "subscribed", **fields})

    def double(self, email: str) -> None:
        """Let an import make a second contact of an address, which is found first from then on."""
        second = self._create(email)
        self._by_email[email.lower()].reverse()
        second.packed = _encode({"custom": {}})

    def unsubscribe(self, email: str) -> None:
        """Let them click the link in a mail."""
        self._note(email, "unsubscribed")
        self.existing(email).unsubscribed = True

    def bounce(self, email: str) -> None:
        """Let a mail come back for good."""
        self._note(email, "hardbounced")

    def complain(self, email: str) -> None:
        """Let them call a mail spam."""
        self._note(email, "complained")

    def delete_list(self, name: str) -> None:
        for number in [number for number, title in self.lists.items() if title == name]:
            del self.lists[number], self.members[number]

    def _note(self, email: str, kind: str) -> None:
        person = self.existing(email)
        person.updated = self.clock()
        delivery = f"batchdelivery_{len(person.events)}"
        person.events.setdefault(kind, {})[delivery] = int(self.clock().timestamp() * 1000)


def _text(label: str, value: Any) -> str:
    if not isinstance(value, str):
        raise bad_request(f"{label} must be a string.")
    return value


def _whole(label: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_request(f"{label} must be an integer.")
    return value


def _number(label: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_request(f"{label} must be a float.")
    return value


def _truth(label: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise bad_request(f"{label} must be a boolean.")
    return value


def _date(label: str, value: Any) -> str:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        raise bad_request(f"{label} must be a date.") from None
    return str(value)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "string": _text,
    "integer": _whole,
    "float": _number,
    "boolean": _truth,
    "date": _date,
}
