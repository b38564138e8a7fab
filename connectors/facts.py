"""What stores yield: facts, read from a vendor's payload and checked, ready to be stored.

Every moment is an aware UTC datetime, every id the vendor's own as text, every address normalised by
`normal_email`. `None` means that the store does not say.

They are msgspec structs: a history makes millions of them, and dataclasses that are frozen take several times
as long. `gc=False`: they hold one another, but never in a circle.
"""

import enum
import functools
import html
from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import idna
from msgspec import Struct

from connectors.currencies import exponent


class Money(Struct, frozen=True, gc=False):
    """An amount in minor units of `currency` (ISO 4217, upper case)."""

    minor: int
    currency: str


class Standing(enum.StrEnum):
    """What an order counts as. Part refunds leave `PAID`; how much came back stands in the refunds."""

    PAID = "paid"
    UNPAID = "unpaid"  # pending, on hold, failed, draft: never counted
    CANCELLED = "cancelled"
    REFUNDED = "refunded"  # in full, says the store
    TEST = "test"
    DELETED = "deleted"


class Fulfilment(enum.StrEnum):
    """How far a paid order has come on its way to the buyer."""

    OPEN = "open"
    PARTIAL = "partial"
    FULFILLED = "fulfilled"


class Person(Struct, frozen=True, gc=False):
    """Who, as one record of the store tells it; `phone` as typed, `country` ISO 3166-1 alpha-2."""

    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    phone: str | None = None
    postal_code: str | None = None
    city: str | None = None
    country: str | None = None
    vat_number: str | None = None


class Consent(Struct, frozen=True, gc=False, omit_defaults=True):
    """A person's word on marketing e-mail, as a record of the store keeps it.

    `at` is when it was given or taken back, as near as the store tells. `level` is the vendor's
    opt-in level where it has one ("single_opt_in", "confirmed_opt_in"). One that `lapses` says no where the
    same record said yes before, and nothing where it never did.
    """

    given: bool
    at: datetime
    level: str | None = None
    lapses: bool = False


class Source(Struct, frozen=True, gc=False):
    """How an order came about.

    `name` is short ("newsletter", "google", "direct"); `evidence` is what the store recorded, as
    "key=value" parts joined with "; ".
    """

    name: str
    medium: str | None = None
    evidence: str | None = None


class Line(Struct, frozen=True, gc=False):
    """`total` is what was paid for the line, tax included, discounts taken off."""

    product_id: str | None
    title: str
    quantity: int
    total: Money


class Refund(Struct, frozen=True, gc=False):
    """`amount` is positive. `order_id` names the order it belongs to."""

    id: str
    order_id: str
    amount: Money
    created_at: datetime | None = None


class Order(Struct, frozen=True, gc=False):
    """`total` is what was charged, tax and shipping included, before refunds.

    `refunds` is the full list when the order's payload carries it, None when refunds come as facts of
    their own. `customer_id` is the account, None for a guest.
    """

    id: str
    number: str
    email: str | None
    customer_id: str | None
    standing: Standing
    status: str  # the vendor's word, for `explain`
    total: Money
    created_at: datetime
    updated_at: datetime
    paid_at: datetime | None = None
    discount: Money | None = None
    lines: Sequence[Line] = ()
    refunds: Sequence[Refund] | None = None
    person: Person = Person()
    source: Source | None = None
    consent: Consent | None = None
    fulfilment: Fulfilment | None = None


class Customer(Struct, frozen=True, gc=False):
    """An account of the store. A guest has none, unless the vendor makes one for them (`guest`)."""

    id: str
    email: str | None
    created_at: datetime
    updated_at: datetime
    person: Person = Person()
    birthday: date | None = None
    consent: Consent | None = None
    source: Source | None = None
    tags: Sequence[str] = ()
    guest: bool = False


class Checkout(Struct, frozen=True, gc=False):
    """A checkout or cart that somebody began; `completed_at` once it became an order or was emptied."""

    id: str
    email: str | None
    customer_id: str | None
    url: str | None
    total: Money | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None


class Product(Struct, frozen=True, gc=False):
    """`categories` by weight, the most telling first; names in the shop's language, entities decoded."""

    id: str
    title: str
    categories: Sequence[str]
    updated_at: datetime


Fact = Order | Refund | Customer | Checkout | Product


LARGEST = 10**15
"""Minor units of one amount. Of a person's orders thousands can be added up in 64 bits then; more is a mistake."""
YEARS = (2, 9_998)
WITHOUT_ZONE = len("2026-11-22T12:00:00")


@functools.lru_cache(maxsize=8192)
def money(amount: str | int | Decimal, currency: str) -> Money:
    """Read an amount in major units ("29.35") exactly; half a minor unit rounds away from zero.

    Raises ValueError for what is no finite number, no currency, or LARGEST or more.
    """
    code = currency.strip().upper()
    digits = exponent(code)
    try:
        value = amount if isinstance(amount, Decimal) else Decimal(str(amount).strip() or "0")
        minor = int(value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP).scaleb(digits))
    except InvalidOperation as error:
        raise ValueError("not an amount") from error
    return in_minor(minor, code)


def in_minor(minor: int, currency: str) -> Money:
    """Take an amount in minor units. Raises ValueError for LARGEST or more."""
    if abs(minor) >= LARGEST:
        raise ValueError("an amount that nobody pays")
    return Money(minor, currency)


def normal_email(text: str | None) -> str | None:
    """Lower-case, trim, and write the domain in its ASCII form; None when nothing stands there.

    An address that cannot be right is kept as typed: a dead letter says so, mostly in the ESP's words.
    """
    address = (text or "").strip().lower()
    if not address:
        return None
    local, at, domain = address.rpartition("@")
    if not at or domain.isascii():
        return address
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return address


def is_address(text: str) -> bool:
    """Tell whether this can be an address at all: something on both sides of an @; no vendor takes less."""
    local, _, domain = text.rpartition("@")
    return bool(local and domain)


def text_or_none(value: object) -> str | None:
    """Trimmed text with HTML entities decoded, or None when there is none."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else str(value)
    return (html.unescape(text) if "&" in text else text).strip() or None


def utc(text: str | None) -> datetime | None:
    """Read an ISO 8601 moment; one without a zone is UTC. None for nothing and for zero dates.

    Raises ValueError for anything else.
    """
    if not text or text.startswith("0000-00-00"):
        return None
    if len(text) == WITHOUT_ZONE and text[13] == text[16] == ":":
        text += "Z"  # several times as fast as to say so afterwards
    return in_utc(datetime.fromisoformat(text))


def in_utc(moment: datetime, zone: tzinfo = UTC) -> datetime:
    """Take a moment over, in `zone` where it names none.

    Raises ValueError at the ends of the calendar, where no other zone could show it: placeholders, not moments.
    """
    if not YEARS[0] <= moment.year <= YEARS[1]:
        raise ValueError("not a moment")
    if moment.tzinfo is UTC:
        return moment
    return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)
