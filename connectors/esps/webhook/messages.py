"""What a hook is told, and the id by which it knows a message that comes twice."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from connectors.base import Contact, Member, Value

CHANGED, JOINED, LEFT = "contact.changed", "list.joined", "list.left"

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Message:
    """`id` is the same whenever this change of this profile is sent again."""

    id: str
    profile: int
    body: Mapping[str, Any]


def contact_message(contact: Contact) -> Message:
    return _message(
        CHANGED,
        contact.profile,
        contact.change,
        {
            "email": plain(contact.email),
            "previous_email": plain(contact.was) if contact.was else None,
            "fields": {name: field_value(value) for name, value in contact.fields.items()},
            "subscribe": contact.subscribe.value,
            "known": contact.known,
        },
    )


def list_message(kind: str, name: str, member: Member) -> Message:
    content = {"email": plain(member.email), "list": name}
    return _message(kind, member.profile, member.change, content)


def _message(kind: str, profile: int, change: str, content: Mapping[str, Any]) -> Message:
    body = {"type": kind, "data": {"profile": profile, **content}}
    digest = hashlib.sha256(change.encode() + b"\n" + _encode(body)).hexdigest()
    return Message(f"msg_{digest[:32]}", profile, body)


def field_value(value: Value) -> Any:
    """Write a value as JSON has it: null clears, a date is ISO 8601."""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return plain(value) if isinstance(value, str) else value


def plain(text: str) -> str:
    """Leave out halves of surrogate pairs, which JSON cannot carry."""
    return text.encode("utf-8", "ignore").decode()
