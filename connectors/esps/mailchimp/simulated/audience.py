"""The audience behind Mailchimp's simulator: members, merge fields, tags, and the rules of consent.

Merge field values are kept as packed JSON, their names once for all: 25,000 members with 25 fields each need
about 15 MB.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from connectors.esps.mailchimp.simulated.values import TYPES, MergeField, read_value

Body = Mapping[str, Any]
MAX_MERGE_FIELDS = 30
STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
FAKE_DOMAINS = frozenset({"gmil.com", "test.com", "hotmial.com"})
RESERVED_TAGS = frozenset({"EMAIL", "INTERESTS", "UNSUB", "FORWARD", "ARCHIVE", "REWARDS", "SIGNUP", "DATE"})
TAG_CAP = 500
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Any]).decode


class Problem(Exception):
    """An answer of the kind `application/problem+json`."""

    def __init__(
        self, status: int, title: str, detail: str, errors: Sequence[Mapping[str, str]] = ()
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors


def not_found() -> Problem:
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")


def invalid(detail: str, **messages: str) -> Problem:
    errors = [{"field": name, "message": message} for name, message in messages.items()]
    return Problem(400, "Invalid Resource", detail, errors)


def subscriber_hash(email: str) -> str:
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Member:
    """`left` says that they unsubscribed, bounced or complained themselves: the API cannot undo that.

    `agreed` is when they became a subscriber.
    """

    email: str
    status: str
    number: int
    changed: datetime
    names: tuple[str, ...] = ()
    packed: bytes = b"[]"
    left: bool = False
    agreed: datetime | None = None

    @property
    def fields(self) -> dict[str, Any]:
        return dict(zip(self.names, _decode(self.packed), strict=True))

    @property
    def contact_id(self) -> str:
        """What stays when the address changes."""
        return f"{self.number:032x}"


@dataclass(slots=True)
class Segment:
    """A tag, when `type` is static. `members` holds members' numbers: they stay when an address changes."""

    number: int
    name: str
    type: str
    created: datetime
    members: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class SimulatedContact:
    """A member as a person would look it up; `fields` holds those that are filled."""

    email: str
    status: str
    fields: Mapping[str, Any]
    tags: frozenset[str]


class SimulatedAudience:
    """One audience. The lower half of its methods are its people's and its owner's own doings, for tests.

    `objection` looks at each member that is written, and may give another problem to refuse it with.
    `kept` are addresses whose members cannot be archived, as the vendor says there are.
    `ignores_strangers` keeps silent about addresses that a list's change names and nobody here has, as the
    vendor's text says; clients have seen them told.
    """

    def __init__(self, audience: str, clock: Callable[[], datetime]) -> None:
        self.id = audience
        self.clock = clock
        self.max_merge_fields = MAX_MERGE_FIELDS
        self.members: dict[str, Member] = {}
        self.merge_fields: dict[str, MergeField] = {}
        self.segments: dict[int, Segment] = {}
        self.forgotten: set[str] = set()
        self.too_many_signups: set[str] = set()
        self.kept: set[str] = set()
        self.ignores_strangers = False
        self.objection: Callable[[Body], Problem | None] = lambda _: None
        self._numbers = iter(range(100_001, 10**9))
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        for tag, name, kind in _FIRST_FIELDS:
            self.merge_fields[tag] = MergeField(len(self.merge_fields) + 1, tag, name, kind)

    # Members, by the API

    def find(self, key: str) -> Member | None:
        """Look a member up by hash, address or contact id, archived ones too."""
        if "@" in key:
            return self.members.get(subscriber_hash(key))
        if key.startswith("0" * 20):
            return next((found for found in self.members.values() if found.contact_id == key), None)
        return self.members.get(key.lower())

    def existing(self, key: str) -> Member:
        member = self.find(key)
        if member is None:
            raise not_found()
        return member

    def put(self, key: str, body: Body, *, skip_required: bool) -> Member:
        member = self.find(key)
        if member is None:
            return self.create(
                body, body.get("status_if_new") or body.get("status"), skip_required=skip_required
            )
        if member.status == "archived":
            status = body.get("status") or body.get("status_if_new")
            return self._change(member, {**body, "status": status}, skip_required=skip_required)
        return self._change(member, body, skip_required=skip_required)

    def patch(self, key: str, body: Body, *, skip_required: bool) -> Member:
        return self._change(self.existing(key), body, skip_required=skip_required)

    def post(self, body: Body, *, skip_required: bool) -> Member:
        """Create only; an archived member comes back."""
        there = self.members.get(subscriber_hash(str(body.get("email_address", ""))))
        if there is None:
            return self.create(body, body.get("status"), skip_required=skip_required)
        if there.status != "archived":
            raise _member_exists(there.email)
        return self._change(there, body, skip_required=skip_required)

    def create(self, body: Body, status: object, *, skip_required: bool) -> Member:
        email = str(body.get("email_address", "")).strip()
        self._check_address(email)
        if subscriber_hash(email) in self.members:
            raise _member_exists(email)
        if status not in STATUSES:
            message = "Value must be one of: " + ", ".join(STATUSES)
            raise invalid("The resource submitted could not be validated.", status_if_new=message)
        values = self._values(body, {}, skip_required=skip_required)
        member = Member(email, "", next(self._numbers), self.clock())
        self._become(member, str(status))
        self._fill(member, values)
        self.members[subscriber_hash(email)] = member
        return member

    def _change(self, member: Member, body: Body, *, skip_required: bool) -> Member:
        email = str(body.get("email_address") or member.email).strip()
        status = str(body.get("status") or member.status)
        self._check_rename(member, email)
        _check_status(member, status)
        values = self._values(body, member.fields, skip_required=skip_required)
        self._move(member, email)
        self._become(member, status)
        self._fill(member, values)
        return member

    def _become(self, member: Member, status: str) -> None:
        member.changed = self.clock()
        if status == "subscribed" != member.status:
            member.agreed = member.changed
        member.status = status

    def _fill(self, member: Member, values: Mapping[str, Any]) -> None:
        names = tuple(values)
        member.names, member.packed = self._names.setdefault(names, names), _encode([*values.values()])

    def _check_address(self, email: str) -> None:
        if not _ADDRESS.fullmatch(email):
            message = "Please provide a valid email address."
            raise invalid(message, email_address=message)
        if email.lower().rpartition("@")[2] in FAKE_DOMAINS:
            raise invalid(f"{email} looks fake or invalid, please enter a real email address.")
        if email.lower() in self.too_many_signups:
            raise invalid(
                f"{email} has signed up to a lot of lists very recently;"
                " we're not allowing more signups for now"
            )
        if subscriber_hash(email) in self.forgotten:
            raise Problem(
                400,
                "Forgotten Email Not Subscribed",
                f"{email} was permanently deleted and cannot be re-imported."
                " The contact must re-subscribe to get back on the list.",
            )

    def _check_rename(self, member: Member, email: str) -> None:
        if email.lower() == member.email.lower():
            return
        self._check_address(email)
        if subscriber_hash(email) in self.members:
            raise _member_exists(email)

    def _move(self, member: Member, email: str) -> None:
        """Give a member another key; its contact id and its tags stay."""
        old, new = subscriber_hash(member.email), subscriber_hash(email)
        member.email = email
        if old != new:
            self.members[new] = self.members.pop(old)

    def _values(self, body: Body, before: Mapping[str, Any], *, skip_required: bool) -> dict[str, Any]:
        """Merge the sent values over the kept ones; tags that the audience lacks are ignored."""
        if problem := self.objection(body):
            raise problem
        sent = {str(tag).upper(): value for tag, value in (body.get("merge_fields") or {}).items()}
        values, wrong = dict(before), {}
        for tag, value in sent.items():
            kind = self.merge_fields.get(tag)
            if kind is None or value is None:
                continue
            try:
                values[tag] = "" if value == "" else read_value(kind, value)
            except ValueError as error:
                wrong[tag] = str(error)
        for tag, kind in self.merge_fields.items():
            if kind.required and not skip_required and values.get(tag, "") == "":
                wrong[tag] = "Please enter a value"
        if wrong:
            raise invalid("Your merge fields were invalid.", **wrong)
        return {tag: value for tag, value in values.items() if value != ""}

    def archive_member(self, key: str) -> None:
        member = self.existing(key)
        if member.status == "archived" or member.email in self.kept:
            raise Problem(405, "Method Not Allowed", "The contact cannot be archived.")
        self._become(member, "archived")

    def delete_permanently(self, key: str) -> None:
        member = self.existing(key)
        known = subscriber_hash(member.email)
        self.forgotten.add(known)
        del self.members[known]
        for segment in self.tags_of(member):
            segment.members.remove(member.number)

    def listed(self, status: str | None, since: datetime | None) -> list[Member]:
        """Choose members; archived ones only when they are asked for."""
        return [
            member
            for member in self.members.values()
            if (member.status == status if status else member.status != "archived")
            and (since is None or member.changed.replace(microsecond=0) > since)
        ]

    # Merge fields and tags, by the API

    def add_merge_field(self, body: Body) -> MergeField:
        tag = str(body.get("tag") or f"MMERGE{len(self.merge_fields) + 1}").upper()
        kind = body.get("type")
        if not body.get("name") or kind not in TYPES:
            raise invalid("The resource submitted could not be validated.", type="Invalid type or no name")
        if not re.fullmatch(r"[A-Z0-9_]{1,10}", tag):
            raise invalid("The resource submitted could not be validated.", tag="Not a merge tag")
        if tag in self.merge_fields:
            raise Problem(
                400, "Bad Request", f'A Merge Field with the tag "{tag}" already exists for this list.'
            )
        if tag in RESERVED_TAGS:
            raise Problem(400, "Bad Request", f'"{tag}" is a reserved tag.')
        if len(self.merge_fields) >= self.max_merge_fields:
            raise Problem(400, "Bad Request", "You have reached the maximum number of merge fields.")
        self.merge_fields[tag] = MergeField(
            next(self._numbers),
            tag,
            str(body["name"]),
            str(kind),
            bool(body.get("required")),
            bool(body.get("public")),
            str(body.get("default_value") or ""),
            dict(body.get("options") or {}),
        )
        return self.merge_fields[tag]

    def merge_field(self, number: int) -> MergeField:
        for known in self.merge_fields.values():
            if known.number == number:
                return known
        raise not_found()

    def tag_named(self, name: str) -> Segment | None:
        return next((tag for tag in self.segments.values() if tag.name.lower() == name.strip().lower()), None)

    def add_segment(self, name: str, kind: str = "static") -> Segment:
        if not name.strip():
            raise invalid("The resource submitted could not be validated.", name="Please enter a name")
        if self.tag_named(name):
            raise Problem(400, "Bad Request", "Sorry, that tag already exists.")
        segment = Segment(next(self._numbers), name.strip(), kind, self.clock())
        self.segments[segment.number] = segment
        return segment

    def segment(self, number: int) -> Segment:
        if number not in self.segments:
            raise not_found()
        return self.segments[number]

    def tags_of(self, member: Member) -> Iterator[Segment]:
        return (segment for segment in self.segments.values() if member.number in segment.members)

    def members_of(self, segment: Segment) -> Iterator[Member]:
        return (member for member in self.members.values() if member.number in segment.members)

    def change_segment(
        self, segment: Segment, join: Sequence[str], leave: Sequence[str]
    ) -> tuple[list[Member], list[Member], list[str]]:
        """Put addresses in and out; return who is new, who has left, and the addresses nobody here has."""
        if segment.type != "static":
            raise Problem(400, "Bad Request", "Only static segments can be changed by address.")
        for name, addresses in (("members_to_add", join), ("members_to_remove", leave)):
            if len(addresses) > TAG_CAP:
                message = f"This collection should contain {TAG_CAP} elements or less."
                raise invalid("The resource submitted could not be validated.", **{name: message})
        found, missing = self._present(join)
        leavers, not_there = self._present(leave)
        added = [member for member in found if member.number not in segment.members]
        removed = [member for member in leavers if member.number in segment.members]
        segment.members.update(member.number for member in added)
        segment.members.difference_update(member.number for member in removed)
        return added, removed, [] if self.ignores_strangers else [*missing, *not_there]

    def _present(self, addresses: Iterable[str]) -> tuple[list[Member], list[str]]:
        found, missing = [], []
        for address in addresses:
            member = self.members.get(subscriber_hash(address))
            if member and member.status != "archived":
                found.append(member)
            else:
                missing.append(address)
        return found, missing

    def change_tags(self, key: str, tags: Sequence[Body]) -> None:
        member = self.existing(key)
        for change in tags:
            name = str(change.get("name", ""))
            tag = self.tag_named(name) or self.add_segment(name)
            act = tag.members.add if change.get("status") == "active" else tag.members.discard
            act(member.number)

    # What people and the owner do themselves

    def contact(self, email: str) -> SimulatedContact | None:
        member = self.members.get(subscriber_hash(email))
        if member is None:
            return None
        tags = frozenset(tag.name for tag in self.tags_of(member))
        return SimulatedContact(member.email, member.status, member.fields, tags)

    @property
    def contacts(self) -> dict[str, SimulatedContact]:
        """Every contact by address, archived ones too: a copy."""
        found = [self.contact(member.email) for member in self.members.values()]
        return {contact.email: contact for contact in found if contact}

    def add(self, email: str, status: str = "subscribed", **fields: Any) -> None:
        """Let somebody sign up by the audience's own form, or be imported."""
        self.create({"email_address": email, "merge_fields": fields}, status, skip_required=True)

    def unsubscribe(self, email: str) -> None:
        """Let them click the link in a mail."""
        self._set(email, "unsubscribed", left=True)

    def come_back(self, email: str) -> None:
        """Let somebody who left sign up again by the audience's own form."""
        self._set(email, "subscribed", left=False)

    def clean(self, email: str) -> None:
        """Let their address bounce."""
        self._set(email, "cleaned", left=True)

    def archive(self, email: str) -> None:
        self._set(email, "archived")

    def forget(self, email: str) -> None:
        """Delete them permanently, known or not."""
        if self.contact(email):
            self.delete_permanently(email)
        self.forgotten.add(subscriber_hash(email))

    def delete_list(self, name: str) -> None:
        tag = self.tag_named(name)
        if tag:
            del self.segments[tag.number]

    def _set(self, email: str, status: str, *, left: bool | None = None) -> None:
        member = self.existing(email)
        self._become(member, status)
        member.left = member.left if left is None else left


def _member_exists(email: str) -> Problem:
    detail = f"{email} is already a list member. Use PUT to insert or update list members."
    return Problem(400, "Member Exists", detail)


def _check_status(member: Member, status: str) -> None:
    if status not in STATUSES and status != member.status:
        message = "Value must be one of: " + ", ".join(STATUSES)
        raise invalid("The resource submitted could not be validated.", status=message)
    if status == "subscribed" != member.status and member.left:
        raise Problem(
            400,
            "Member In Compliance State",
            f"{member.email} is in a compliance state due to unsubscribe, bounce, or compliance review"
            " and cannot be subscribed.",
        )


_FIRST_FIELDS = (
    ("FNAME", "First Name", "text"),
    ("LNAME", "Last Name", "text"),
    ("ADDRESS", "Address", "address"),
    ("PHONE", "Phone Number", "phone"),
    ("BIRTHDAY", "Birthday", "birthday"),
)


def utc_now() -> datetime:
    return datetime.now(UTC)
