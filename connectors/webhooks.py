"""What the webhooks of all stores share: secrets, signatures, and the Standard Webhooks form. Pure.

Headers are not signed by every vendor: what a header says must never do more harm than a replay could.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from connectors.base import Delivery, News
from connectors.decoding import letters_of
from connectors.errors import BadRecord

PREFIX = "whsec_"
TOLERANCE = timedelta(minutes=5)
"""How far a timestamp may be off, either way: who is later replays."""
LONGEST_ID = 200
LONGEST_TOPIC = 100
HINT = "hint"
"""The topic under which a delivery of the Standard Webhooks form is kept."""
HINTED: Mapping[str, str] = {
    "orders": "order",
    "customers": "customer",
    "products": "product",
    "checkouts": "checkout",
    "refunds": "refund",
}
"""What a hint calls a resource, and how its records are named."""
EVENTS = (None, "created", "updated", "deleted")
NOBODYS_KEY = secrets.token_bytes(32)
_GREETING = re.compile(rb"webhook_id=\d{1,20}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _as_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _readable(found: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for secret in found:
        key_of(secret.get_secret_value())
    return found


Secret = Annotated[SecretStr, Field(min_length=1)]
Secrets = Annotated[
    tuple[Secret, ...],
    BeforeValidator(_as_many, json_schema_input_type=SecretStr | list[SecretStr]),
    Field(min_length=1, max_length=2),
]
"""One secret, or two while one takes the place of the other: either signs."""
StandardSecrets = Annotated[Secrets, AfterValidator(_readable)]


def plain(found: Iterable[SecretStr] | None) -> list[str]:
    return [secret.get_secret_value() for secret in found or ()]


def is_greeting(body: bytes) -> bool:
    """Tell what a shop sends unsigned while a webhook is made: it says nothing, and wants a 200."""
    return _GREETING.fullmatch(body.strip()) is not None


def is_signed(keys: Sequence[bytes], signed: bytes, given: Iterable[str]) -> bool:
    """Tell whether one of `given` is base64 of the HMAC-SHA256 of `signed` under one of `keys`.

    Each is compared with each, in constant time: how long it takes does not tell which one nearly matched.
    Without keys the work is done all the same, in vain.
    """
    ours = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys or [NOBODYS_KEY]]
    theirs = [one.strip().encode("utf-8", "replace") for one in given]
    return any([hmac.compare_digest(one, other) for one in ours for other in theirs])  # noqa: C419 - all of them


def is_topic(header: str) -> bool:
    """Tell whether a header can be a topic; what is kept must not grow by what nobody signed."""
    return len(header) <= LONGEST_TOPIC


def fingerprint(*parts: str | bytes) -> str:
    """Name a delivery by what it is made of, where the vendor's own id is missing or not unique."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def read_json(body: bytes) -> Any:
    """Read a delivery as exactly as what is asked for: amounts as Decimal. Raises ValueError or RecursionError."""
    return json.loads(letters_of(body), parse_float=Decimal)


# --- the Standard Webhooks form: https://www.standardwebhooks.com ----------------------------------------


def key_of(secret: str) -> bytes:
    """Read a secret: base64 after `whsec_`, else its own characters. Raises ValueError."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("begins with whsec_, but what follows is not base64: copy all of it") from error


def verify_standard(
    keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime
) -> Delivery | None:
    """Check `webhook-id.webhook-timestamp.body` and the timestamp; header names are in lower case."""
    message, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = [
        text.removeprefix("v1,")
        for text in headers.get("webhook-signature", "").split()
        if text.startswith("v1,")
    ]
    signed = is_signed(keys, b".".join([message.encode(), stamp.encode(), body]), given[:8])
    if not signed or not message or len(message) > LONGEST_ID or not _is_recent(stamp, now):
        return None
    return Delivery(message, HINT)


def read_hint(body: bytes, known: Iterable[str]) -> News:
    """Read `{"resource": "orders", "id": "42"}`: one of `known`, to be asked for; `event` may be "deleted"."""
    try:
        told = read_json(body)
    except (ValueError, RecursionError):
        return News(bad=[BadRecord("webhook hint", "its body is no JSON")])
    hints = told if isinstance(told, list) else [told]
    read = [_record(hint, frozenset(known)) for hint in hints]
    if not read or None in read:
        return News(
            bad=[BadRecord("webhook hint", 'it is not of the form {"resource": "orders", "id": "42"}')]
        )
    found = [each for each in read if each]
    return News(
        ask=[record for record, is_deleted in found if not is_deleted],
        deleted=[record for record, is_deleted in found if is_deleted],
    )


def _record(hint: Any, known: frozenset[str]) -> tuple[str, bool] | None:
    if not isinstance(hint, Mapping):
        return None
    resource, number, event = (hint.get(name) for name in ("resource", "id", "event"))
    text = str(number) if isinstance(number, int | str) and not isinstance(number, bool) else ""
    told = resource if isinstance(resource, str) and resource in known else ""
    if told not in HINTED or not _ID.fullmatch(text) or event not in EVENTS:
        return None
    return f"{HINTED[told]} {text}", event == "deleted"


def _is_recent(stamp: str, now: datetime) -> bool:
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        return False
    return abs(int(stamp) - now.timestamp()) <= TOLERANCE.total_seconds()
