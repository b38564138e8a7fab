"""What a simulated Ortto holds: people, their permissions and tags, and merges that wait in a queue."""

import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.esps.ortto.simulated.schema import (
    BUILT_IN,
    PREFIXES,
    Invalid,
    SchemaField,
    check_value,
    kebab,
)

APPEND, OVERWRITE, IGNORE = 1, 2, 3
MOST_FIELDS = 100
PERMISSION, UNSUBSCRIBED_BY = "bol::p", "str::u-ctx"
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+")
_KEYS = frozenset({"fields", "location", "tags", "unset_tags", "clear_fields"})

Body = Mapping[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode


class Problem(Exception):
    """An error answer for the whole call."""

    def __init__(self, status: int, error: str, details: Sequence[Body] = ()) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details


@dataclass(slots=True)
class Person:
    """`context` is why the permission was taken; values are kept packed, for there are many."""

    id: str
    email: str
    permitted: bool
    created: datetime
    edited: datetime
    packed: bytes = b"{}"
    tags: frozenset[str] = frozenset()
    context: str | None = None
    subscribed_at: datetime | None = None
    unsubscribed_at: datetime | None = None
    archived_at: datetime | None = None
    suppressed_at: datetime | None = None
    bounced: bool = False

    @property
    def values(self) -> dict[str, Any]:
        kept: dict[str, Any] = _decode(self.packed)
        return kept

    def get(self, name: str) -> Any:
        """Give a field as the API does, None where it has no value."""
        own = _OWN.get(name)
        return own(self) if own else self.values.get(name)


def _iso(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_OWN: Mapping[str, Callable[[Person], Any]] = {
    "str::email": lambda person: person.email,
    PERMISSION: lambda person: person.permitted,
    UNSUBSCRIBED_BY: lambda person: person.context,
    "bol::hb": lambda person: person.bounced or None,
    "u4s::t": lambda person: sorted(person.tags) or None,
    "c": lambda person: _iso(person.created),
    "e": lambda person: _iso(person.edited),
    "s": lambda person: _iso(person.subscribed_at),
    "u": lambda person: _iso(person.unsubscribed_at),
    "a": lambda person: _iso(person.archived_at),
    "tme::sa": lambda person: _iso(person.suppressed_at),
    "tme::ua": lambda _: None,
}
"""Fields that are not among the packed values."""


@dataclass(frozen=True, slots=True)
class SimulatedContact:
    """A copy of a person; `status` is subscribed, unsubscribed or archived, `fields` are by id."""

    email: str
    status: str
    fields: Mapping[str, Any]
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Merge:
    """How a merge treats whom it finds and whom it does not."""

    by: str
    strategy: int
    skip_unknown: bool
    heeds_suppression: bool


class Instance:
    """One account. The lower half of its methods are its people's and its owner's own doings, for tests.

    `spoil` looks at each person of a merge, and may give words to refuse them with. `whole_batches` lets
    one bad person spoil a synchronous merge (what a mixed one answers is not recorded); `lose_queued` takes
    queued merges and never does them. `archives_later` puts archiving off, as the answer's `scheduled_contacts`
    says, and `keeps_all` deletes nobody. `permission_by_default` makes an omitted permission mean true for
    known people too, which the vendor's text does not exclude.
    """

    def __init__(self, clock: Callable[[], datetime], queue_seconds: float, seed: int) -> None:
        self.clock = clock
        self.queue_seconds = queue_seconds
        self.people: dict[str, Person] = {}
        self.schema: dict[str, SchemaField] = dict(BUILT_IN)
        self.suppressed: dict[str, datetime] = {}
        self.spoil: Callable[[Body], str | None] = lambda _: None
        self.whole_batches = False
        self.lose_queued = False
        self.archives_later = False
        self.keeps_all = False
        self.permission_by_default = False
        self._by_email: dict[str, str] = {}
        self._queue: deque[tuple[datetime, Merge, Sequence[Body]]] = deque()
        self._scheduled: deque[tuple[datetime, Sequence[str]]] = deque()
        self._random = random.Random(seed)  # noqa: S311 - reproducible ids, nothing secret

    # Merging, by the API

    def merge(self, body: Body) -> dict[str, Any]:
        """Merge now, or queue it and answer nothing but that. Raises Problem when nobody is valid."""
        merge, people = _read_merge(body)
        if body.get("async"):
            due = self.clock() + timedelta(seconds=self.queue_seconds)
            if not self.lose_queued:
                self._queue.append((due, merge, people))
            return {"people": [{"status": "queued"} for _ in people]}
        answered = [self._merge_one(merge, person) for person in people]
        bad = [each for each in answered if "error" in each]
        if len(bad) == len(answered) or (bad and self.whole_batches):
            raise Problem(400, f"No valid contacts provided ({bad[0]['error']})", bad)
        return {"people": answered[::-1]}

    def work_off_queue(self) -> None:
        """Do the queued merges and archivings whose time has come; the bad ones of them vanish."""
        while self._scheduled and self._scheduled[0][0] <= self.clock():
            self.archive(self._scheduled.popleft()[1])
        while self._queue and self._queue[0][0] <= self.clock():
            _, merge, people = self._queue.popleft()
            for person in people:
                self._merge_one(merge, person)

    def _merge_one(self, merge: Merge, body: Body) -> dict[str, Any]:
        try:
            return self._merged(merge, body)
        except Invalid as invalid:
            return {"status": invalid.status, "error": invalid.error}

    def _merged(self, merge: Merge, body: Body) -> dict[str, Any]:
        fields = self._checked(body)
        person = self._find(merge, fields)
        if person is None and merge.skip_unknown:
            return {"status": "skipped"}
        if person is None:
            created = self._create(merge, fields)
            self._apply(created, fields, body, merge)
            return {"person_id": created.id, "status": "created"}
        if merge.strategy != IGNORE:
            self._apply(person, fields, body, merge)
        return {"person_id": person.id, "status": "merged"}

    def _checked(self, body: Body) -> dict[str, Any]:
        if words := self.spoil(body):
            raise Invalid(words)
        if set(body) - _KEYS:
            raise Invalid("unknown key")
        fields = {}
        for name, value in body["fields"].items():
            if name == "str::person_id":
                fields[name] = value
                continue
            field = self.schema.get(name)
            if field is None or field.read_only:
                raise Invalid(f"failed to validate field {name} in schema: {name}: Object not found")
            fields[name] = check_value(field, value)
        email = fields.get("str::email")
        if not email or not _ADDRESS.fullmatch(email):
            raise Invalid("str::email is not an email address")
        return fields

    def _find(self, merge: Merge, fields: Body) -> Person | None:
        if merge.by == "str::person_id":
            return self.people.get(str(fields.get("str::person_id")))
        return self.person(str(fields["str::email"]))

    def _create(self, merge: Merge, fields: Body) -> Person:
        email = str(fields["str::email"])
        if merge.heeds_suppression and email.lower() in self.suppressed:
            raise Invalid("Email is suppressed", "suppressed")
        number = f"00{self._random.getrandbits(88):022x}"
        permitted = bool(fields.get(PERMISSION, True))
        person = Person(number, email, permitted, self.clock(), self.clock())
        if permitted:
            self._permit(person)
        else:
            self._take_permission(person, fields)
        self.people[number] = person
        self._by_email[email.lower()] = number
        return person

    def _apply(self, person: Person, fields: Body, body: Body, merge: Merge) -> None:
        self._move(person, str(fields["str::email"]))
        values = person.values
        control = {"str::email", "str::person_id", PERMISSION, UNSUBSCRIBED_BY}
        for name, value in fields.items():
            if name not in control and (merge.strategy != APPEND or name not in values):
                values[name] = value
        person.packed = _encode({name: value for name, value in values.items() if value is not None})
        person.tags = (person.tags | set(body.get("tags") or ())) - set(body.get("unset_tags") or ())
        person.edited = self.clock()
        permitted = fields.get(PERMISSION, True if self.permission_by_default else None)
        if permitted is False:
            self._take_permission(person, fields)
        elif permitted:
            self._permit(person)

    def _permit(self, person: Person) -> None:
        person.permitted, person.unsubscribed_at, person.context = True, None, None
        person.subscribed_at = person.subscribed_at or self.clock()

    def _take_permission(self, person: Person, fields: Body) -> None:
        person.permitted = False
        person.unsubscribed_at = self.clock()
        person.context = str(fields.get(UNSUBSCRIBED_BY) or "Unsubscribed via API")

    def _move(self, person: Person, email: str) -> None:
        there = self._by_email.get(email.lower())
        if there not in {None, person.id}:
            raise Invalid("str::email belongs to another person")
        del self._by_email[person.email.lower()]
        person.email = email
        self._by_email[email.lower()] = person.id

    def person(self, email: str) -> Person | None:
        number = self._by_email.get(email.strip().lower())
        return self.people[number] if number else None

    def archive(self, ids: Iterable[str]) -> int:
        found = [self.people[number] for number in ids if number in self.people]
        for person in found:
            person.archived_at = self.clock()
        return len(found)

    def archive_later(self, ids: Sequence[str]) -> int:
        self._scheduled.append((self.clock() + timedelta(seconds=self.queue_seconds), ids))
        return len(ids)

    def delete_archived(self, ids: Iterable[str]) -> int:
        """Delete for good those of these who are archived; the others stay."""
        asked = {self.people[number].email: self.people[number] for number in ids if number in self.people}
        found = [email for email, person in asked.items() if person.archived_at and not self.keeps_all]
        for email in found:
            self.delete(email)
        return len(found)

    # Fields, by the API

    def add_field(self, name: str, display_type: str) -> SchemaField:
        """Make a custom field. Raises Problem for one that is there, a type that is unknown, or too many."""
        if display_type not in PREFIXES or not kebab(name):
            raise Problem(400, "invalid custom field")
        field = SchemaField(f"{PREFIXES[display_type]}:cm:{kebab(name)}", name, display_type)
        if any(known.id.partition(":cm:")[2] == kebab(name) for known in self.custom_fields):
            raise Problem(400, "a custom field with this name already exists")
        if len(self.custom_fields) >= MOST_FIELDS:
            raise Problem(400, "the limit of custom fields is reached")
        self.schema[field.id] = field
        return field

    @property
    def custom_fields(self) -> list[SchemaField]:
        return [field for field in self.schema.values() if ":cm:" in field.id]

    # What people and the owner do themselves

    def contact(self, email: str) -> SimulatedContact | None:
        person = self.person(email)
        if person is None:
            return None
        status = "subscribed" if person.permitted else "unsubscribed"
        status = "archived" if person.archived_at else status
        return SimulatedContact(person.email, status, person.values, person.tags)

    @property
    def contacts(self) -> dict[str, SimulatedContact]:
        """Every person by address, archived ones too: a copy."""
        found = [self.contact(person.email) for person in self.people.values()]
        return {contact.email: contact for contact in found if contact}

    def add(self, email: str, status: str = "subscribed", **fields: Any) -> None:
        """Let somebody sign up by a form, or be imported."""
        merge = Merge("str::email", OVERWRITE, skip_unknown=False, heeds_suppression=False)
        self._merged(merge, {"fields": {**fields, "str::email": email, PERMISSION: status == "subscribed"}})

    def unsubscribe(self, email: str) -> None:
        """Let them click the link in a mail."""
        self._take_permission(self._existing(email), {UNSUBSCRIBED_BY: "Unsubscribed via link"})

    def bounce(self, email: str) -> None:
        """Let a mail come back for good: Ortto suppresses the address."""
        self._existing(email).bounced = True
        self.suppress(email)

    def suppress(self, email: str) -> None:
        """Put an address on the suppression list, known or not."""
        self.suppressed[email.lower()] = self.clock()
        if person := self.person(email):
            person.suppressed_at = self.clock()

    def hide(self, email: str) -> None:
        """Let the owner archive them."""
        self.archive([self._existing(email).id])

    def delete(self, email: str) -> None:
        """Let the owner delete them for good."""
        person = self._existing(email)
        del self.people[person.id], self._by_email[email.lower()]

    def _existing(self, email: str) -> Person:
        person = self.person(email)
        if person is None:
            raise KeyError("nobody has this address")
        return person


def _read_merge(body: Body) -> tuple[Merge, Sequence[Body]]:
    people, by = body.get("people"), body.get("merge_by")
    if not isinstance(people, list) or not 1 <= len(people) <= 100:
        raise Problem(400, "people must hold 1 to 100 records")
    if not all(isinstance(person, dict) and isinstance(person.get("fields"), dict) for person in people):
        raise Problem(400, "each record needs fields")
    if by not in (["str::email"], ["str::person_id"]):
        raise Problem(400, "merge_by must be str::email or str::person_id here")
    strategy = body.get("merge_strategy", OVERWRITE)
    if strategy not in {APPEND, OVERWRITE, IGNORE}:
        raise Problem(400, "merge_strategy is 1, 2 or 3")
    heeds = body.get("suppression_list_field_id") == "str::email"
    merge = Merge(by[0], strategy, bool(body.get("skip_non_existing")), heeds_suppression=heeds)
    return merge, people
