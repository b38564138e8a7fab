"""Values and contacts as text: what was accepted, and what waits to be written. Pure."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from connectors.base import Contact, Subscribe, Value


def encode(value: Value) -> str | None:
    """Write a value so that it compares and comes back exactly; unknown is None."""
    return CODES[type(value)](value)


CODES: Mapping[type, Callable[[Any], str | None]] = {
    type(None): lambda _: None,
    str: lambda text: f"t:{text}",
    int: lambda number: f"n:{number}",
    Decimal: lambda number: f"n:{number}",
    date: lambda day: f"d:{day.isoformat()}",
    bool: lambda truth: f"b:{int(truth)}",
}


@lru_cache(maxsize=8192)
def decode(code: str | None) -> Value:
    """Read what `encode` wrote. Contacts wait in thousands, and share most of their values with others."""
    if code is None:
        return None
    kind, text = code[0], code[2:]
    if kind == "b":
        return text == "1"
    if kind == "d":
        return date.fromisoformat(text)
    if kind == "n":
        return int(text) if text.lstrip("-").isdigit() else Decimal(text)
    return text


def digest(contact: Contact) -> str:
    """Tell one content of a contact from another."""
    codes = {name: encode(value) for name, value in contact.fields.items()}
    return hashlib.blake2b(encode_contact(contact, codes).encode(), digest_size=8).hexdigest()


def encode_contact(contact: Contact, codes: Mapping[str, str | None]) -> str:
    """Write a contact whose values are encoded already."""
    content = [
        contact.profile,
        contact.email,
        {name: codes[name] for name in contact.fields},
        contact.subscribe.value,
        contact.known,
        contact.was,
    ]
    return msgspec.json.encode(content).decode()


def decode_contact(text: str, change: str) -> Contact:
    """Read what `encode_contact` wrote; `change` names the writing."""
    profile, email, fields, subscribe, known, was = msgspec.json.decode(text)
    values = {name: decode(code) for name, code in fields.items()}
    return Contact(profile, email, values, Subscribe(subscribe), known, was, change)
