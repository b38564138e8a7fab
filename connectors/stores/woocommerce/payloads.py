"""From WooCommerce's JSON to facts. Pure: no clock, no I/O, no log.

- Amounts are text, but a line's `price` is a number with noise: it is not read.
- `total` stays what was charged; refunds stand beside it as negative amounts.
- PHP writes an empty object as `[]`, and a list whose middle was cut out as `{"0": …, "2": …}`.
- Only `*_gmt` moments are read: the others are the shop's wall clock. `date_modified_gmt` may be null.
- `date_paid_gmt` proves nothing where it is null: cash on delivery is `processing` without it.
- `meta_data[].value` is whatever a plugin stored: text, number, list, object.
- Category names come with HTML entities.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from connectors.facts import (
    Checkout,
    Consent,
    Customer,
    Fulfilment,
    Line,
    Money,
    Order,
    Person,
    Product,
    Refund,
    Source,
    Standing,
    money,
    normal_email,
    text_or_none,
    utc,
)
from connectors.paging import Row, UnreadableField, pieces

NEVER_PAID: Mapping[str, Standing] = {
    "refunded": Standing.REFUNDED,
    "cancelled": Standing.CANCELLED,
    "trash": Standing.DELETED,
}
"""What these say, no setting can change."""

STANDINGS: Mapping[str, Standing] = {
    **NEVER_PAID,
    "pending": Standing.UNPAID,
    "on-hold": Standing.UNPAID,
    "failed": Standing.UNPAID,
    "checkout-draft": Standing.UNPAID,
    "auto-draft": Standing.UNPAID,
    "processing": Standing.UNPAID,  # unless `paid_statuses` names them, as it does by default
    "completed": Standing.UNPAID,
}

OPEN = frozenset({"pending", "failed", "checkout-draft"})
"""Orders that nobody paid yet: checkouts that were begun."""
UNDECIDED = OPEN | {"cancelled"}
"""The shop itself cancels what was not paid for a while: the buyer said nothing."""
PAYABLE = frozenset({"pending", "failed"})
"""Where the shop's page for paying an order takes the payment."""

FULFILMENTS: Mapping[str, Fulfilment] = {
    "processing": Fulfilment.OPEN,
    "completed": Fulfilment.FULFILLED,
}
"""Core knows no more than this; what a plugin's status means for the parcel nobody can tell."""

VAT_KEYS = ("_billing_vat_number", "_vat_number", "_billing_vat", "billing_vat", "vat_number")
"""Where plugins keep a VAT number, the vendor's own EU VAT Number plugin first."""

STAFF = frozenset({"administrator", "editor", "author", "contributor", "shop_manager"})
"""Roles of people who run the shop: they place orders by phone, and are nobody's customers."""

WORDS: Mapping[str, bool] = {
    **dict.fromkeys(("1", "yes", "on", "true", "subscribed"), True),
    **dict.fromkeys(("0", "no", "off", "false", "unsubscribed"), False),
}
"""What a plugin writes for a ticked and for an unticked box; anything else is no word."""

ADDRESS = ("first_name", "last_name", "company", "phone", "postcode", "city", "country")
"""Where an address tells what `Person` holds, in its order."""

ATTRIBUTION = "_wc_order_attribution_"
DIRECT = ("(direct)", "(none)")
EVIDENCE = tuple(
    (name, ATTRIBUTION + name)
    for name in (
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "utm_content",
        "utm_term",
        "utm_id",
        "utm_source_platform",
        "utm_creative_format",
        "utm_marketing_tactic",
        "referrer",
        "session_entry",
    )
)
"""What is shown of it, and under which meta key it stands."""
SOURCE_TYPE = ATTRIBUTION + "source_type"
ATTRIBUTION_KEYS = frozenset({SOURCE_TYPE, *(key for _, key in EVIDENCE)})


ERASED, ERASED_KEY = "deleted@site.invalid", "_anonymized"
"""What stands in an order in place of a buyer who was erased, all of them the same:
https://github.com/woocommerce/woocommerce, class-wc-privacy-erasers.php
"""
TEST_KEY = "_wcpay_mode"
"""Where WooPayments notes that an order was paid with no real money."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the owner decides about reading: which statuses are paid, where plugins keep consent."""

    paid: frozenset[str]
    consent_key: str


def read_order(row: Row, terms: Terms) -> Order:
    currency = str(row["currency"])
    billing = _object(row, "billing")
    meta = _meta(row)
    created = _created(row)
    status = bare_status(row["status"])
    paid_at = utc(row.get("date_paid_gmt"))
    identifier = str(row["id"])
    erased = _is_erased(billing, meta)
    is_test = meta.get(TEST_KEY) == "test"
    return Order(
        id=identifier,
        number=str(row.get("number") or identifier),
        email=None if erased else normal_email(billing.get("email")),
        customer_id=_id(row.get("customer_id")),
        standing=Standing.TEST if is_test else standing(status, paid_at, terms.paid),
        status=status,
        total=_amount(row, "total", currency),
        created_at=created,
        updated_at=utc(row.get("date_modified_gmt")) or created,
        paid_at=paid_at,
        discount=_sum(row, ("discount_total", "discount_tax"), currency),
        lines=[_line(line, currency) for line in _rows(row.get("line_items"))],
        refunds=[_refund(refund, identifier, currency) for refund in _rows(row.get("refunds"))],
        person=Person() if erased else _person(billing, meta),
        source=_source(meta),
        consent=_consent(meta, terms, created, created),
        fulfilment=FULFILMENTS.get(status),
    )


def read_customer(row: Row, terms: Terms) -> Customer:
    """Read an account. Staff keep neither address nor name, so that nobody ever mails them."""
    role = str(row.get("role") or "")
    created, meta = _created(row), _meta(row)
    updated = utc(row.get("date_modified_gmt")) or created
    if role in STAFF:
        return Customer(str(row["id"]), None, created, updated, tags=(role,))
    return Customer(
        id=str(row["id"]),
        email=normal_email(row["email"]),
        created_at=created,
        updated_at=updated,
        person=_person(_object(row, "billing"), meta, row),
        consent=_consent(meta, terms, created, updated),
        tags=(role,) if role else (),
    )


def read_checkout(row: Row) -> Checkout:
    """Read an order as the checkout that it was; it is over once the order was paid, or put on hold."""
    status, billing = bare_status(row["status"]), _object(row, "billing")
    created = _created(row)
    updated = utc(row.get("date_modified_gmt")) or created
    decided = utc(row.get("date_paid_gmt")) or updated
    return Checkout(
        id=str(row["id"]),
        email=None if _is_erased(billing, {}) else normal_email(billing.get("email")),
        customer_id=_id(row.get("customer_id")),
        url=text_or_none(row.get("payment_url")) if status in PAYABLE else None,
        total=_amount(row, "total", str(row["currency"])),
        created_at=created,
        updated_at=updated,
        completed_at=None if status in UNDECIDED else decided,
    )


def read_product(row: Row) -> Product:
    updated = utc(row.get("date_modified_gmt")) or _created(row)
    names = [text_or_none(category["name"]) for category in _rows(row.get("categories"))]
    return Product(
        id=str(row["id"]),
        title=html.unescape(str(row["name"])),
        categories=[name for name in names if name],
        updated_at=updated,
    )


def standing(status: str, paid_at: datetime | None, paid_statuses: Iterable[str]) -> Standing:
    """Say what an order counts as; a status that only a plugin knows is paid once money came."""
    if status in paid_statuses:
        return Standing.PAID
    return STANDINGS.get(status) or (Standing.PAID if paid_at else Standing.UNPAID)


def bare_status(status: Any) -> str:
    """Take off the `wc-` that some plugins leave on their statuses."""
    if not isinstance(status, str) or not status:
        raise UnreadableField("status", "a status")
    return status.removeprefix("wc-")


def as_rows(body: Any) -> list[Any] | None:
    """Read a list as PHP writes it; None for what is none, as an error object."""
    if isinstance(body, list):
        return body
    if isinstance(body, Mapping) and body and all(str(key).isdigit() for key in body):
        return list(body.values())
    return None


def moment_of(row: Any, name: str) -> datetime | None:
    """Read a moment for paging; None where the row is too broken to have one."""
    try:
        return utc(row[name])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _is_erased(billing: Row, meta: Mapping[str, Any]) -> bool:
    """Tell an order whose buyer the shop made unknown, on their wish or after the time that it keeps orders."""
    return meta.get(ERASED_KEY) == "yes" or billing.get("email") == ERASED


def _line(line: Row, currency: str) -> Line:
    return Line(
        product_id=_id(line.get("product_id")),
        title=text_or_none(line.get("name")) or "",
        quantity=pieces(_decimal(line.get("quantity"), "quantity"), "quantity"),
        total=_sum(line, ("total", "total_tax"), currency),
    )


def _refund(refund: Row, order: str, currency: str) -> Refund:
    amount = abs(_decimal(refund["total"], "refunds.total"))
    return Refund(str(refund["id"]), order, money(amount, currency))


def _person(billing: Row, meta: Mapping[str, Any], account: Row | None = None) -> Person:
    """Read who it is; an account's own name comes before the one under its address."""
    first, last, company, phone, postal_code, city, country = map(text_or_none, map(billing.get, ADDRESS))
    if account is not None:
        first = text_or_none(account.get("first_name")) or first
        last = text_or_none(account.get("last_name")) or last
    return Person(first, last, company, phone, postal_code, city, country, _vat_number(meta))


def _vat_number(meta: Mapping[str, Any]) -> str | None:
    return next((told for key in VAT_KEYS if key in meta and (told := _told(meta[key]))), None)


def _source(meta: Mapping[str, Any]) -> Source | None:
    """Read the order attribution that WooCommerce keeps since 8.5; None where it did not."""
    present = ATTRIBUTION_KEYS.intersection(meta)
    if not present:
        return None
    kind = _told(meta.get(SOURCE_TYPE))
    told = {name: text for name, key in EVIDENCE if key in present and (text := _told(meta[key]))}
    name = "direct" if kind == "typein" else told.get("utm_source") or kind
    if not name:
        return None
    evidence = "; ".join(f"{key}={value}" for key, value in told.items())
    return Source(name, told.get("utm_medium"), evidence or None)


def _told(value: Any) -> str | None:
    if not value or value in DIRECT or not isinstance(value, str):
        return None
    return text_or_none(value)


def _consent(meta: Mapping[str, Any], terms: Terms, first: datetime, last: datetime) -> Consent | None:
    """Read a word, which has no date: as old as the record if given, as new if taken; no change renews a yes."""
    value = meta.get(terms.consent_key)
    if not isinstance(value, str | int | Decimal):
        return None
    given = WORDS.get(str(value).strip().lower())
    return None if given is None else Consent(given, first if given else last)


def _meta(row: Row) -> dict[str, Any]:
    """Read `meta_data` by key; of two entries with one key the later counts."""
    return {entry["key"]: entry.get("value") for entry in _rows(row.get("meta_data")) if "key" in entry}


def _rows(value: Any) -> Sequence[Any]:
    if isinstance(value, list):
        return value
    return (as_rows(value) or ()) if value else ()


def _object(row: Row, name: str) -> Row:
    value = row[name]
    if isinstance(value, dict):
        return value
    if value == []:
        return {}
    raise UnreadableField(name, "an object")


def _id(value: Any) -> str | None:
    return str(value) if value and value != "0" else None


def _created(row: Row) -> datetime:
    """Read when it was created; a draft may have been changed only."""
    created = utc(row.get("date_created_gmt")) or utc(row.get("date_modified_gmt"))
    if created is None:
        raise UnreadableField("date_created_gmt", "a moment")
    return created


def _amount(row: Row, name: str, currency: str) -> Money:
    if row[name] is None or row[name] == "":
        raise UnreadableField(name, "an amount")
    amount = _decimal(row[name], name)
    try:
        return money(amount, currency)
    except (ValueError, KeyError) as error:
        raise UnreadableField("currency", "a currency of ISO 4217") from error


def _sum(row: Row, names: tuple[str, ...], currency: str) -> Money:
    return _added(currency, names, *map(row.get, names))


@lru_cache(maxsize=8192, typed=True)
def _added(currency: str, names: tuple[str, ...], *values: Any) -> Money:
    """Add up amounts; a shop's prices and taxes repeat together, too."""
    return money(sum(map(_decimal, values, names), Decimal()), currency)


def _decimal(value: Any, name: str) -> Decimal:
    """Read a number that may be text; nothing is nought. Raises UnreadableField for anything else."""
    if value is None or value == "":
        return Decimal()
    try:
        return _number(str(value))
    except InvalidOperation as error:
        raise UnreadableField(name, "an amount") from error


@lru_cache(maxsize=8192)
def _number(text: str) -> Decimal:
    """Read a finite number; a shop's prices and taxes repeat. Raises InvalidOperation for anything else."""
    number = Decimal(text.strip())
    if not number.is_finite():
        raise InvalidOperation
    return number
