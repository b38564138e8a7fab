"""Shopify's webhooks: what they carry, in the shape of the older REST API, and how they are made.

https://shopify.dev/docs/api/webhooks/latest

- Ids are numbers; `admin_graphql_api_id` is the same id, exact in any language. Moments have the shop's offset.
- A body that lacks what a fact needs is no fact: taken for one, it would erase what we know. `customers/*`
  has no consent since 2025-01: the customer is asked for. `checkouts/*` has no id since 2026-04: there is
  nothing to ask for, and so it is not subscribed to.
- An edited order comes as a list of edits; the same edit brings `orders/updated` with the order itself.
- `X-Shopify-Webhook-Id` stays when a delivery is tried again. The headers are not signed.
- After eight failures in a row Shopify deletes the webhook.
- Compliance topics are set up with the app, not by the API; custom apps can do without.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import structlog

from connectors.base import REQUEST, Delivery, Erasure, News, Subscription
from connectors.errors import BadRecord, Refused
from connectors.facts import (
    Checkout,
    Consent,
    Customer,
    Fulfilment,
    Line,
    Money,
    Order,
    Person,
    Refund,
    Source,
    in_minor,
    money,
    normal_email,
    utc,
)
from connectors.paging import Row, UnreadableField, pieces, read_rows
from connectors.stores.shopify.admin import Admin
from connectors.stores.shopify.operations import DELETE_WEBHOOK, MAKE_WEBHOOK, WEBHOOKS
from connectors.stores.shopify.payloads import (
    CHANNELS,
    Terms,
    host_of,
    number_of,
    read_consent,
    source_from_visit,
    standing_of,
    text,
    was_paid,
)
from connectors.webhooks import fingerprint, is_signed, is_topic, read_json

log = structlog.get_logger()

ORDERS = frozenset(
    {
        "orders/create",
        "orders/updated",
        "orders/paid",
        "orders/cancelled",
        "orders/fulfilled",
        "orders/partially_fulfilled",
    }
)
CUSTOMERS = frozenset({"customers/create", "customers/update", "customers/enable", "customers/disable"})
CHECKOUTS = frozenset({"checkouts/create", "checkouts/update"})
REFUNDS = frozenset({"refunds/create"})
DELETED: Mapping[str, str] = {
    "orders/delete": "order",
    "customers/delete": "customer",
    "checkouts/delete": "checkout",
}
MERGED = ("admin_graphql_api_customer_kept_id", "admin_graphql_api_customer_deleted_id")
REDACT, REDACT_SHOP, SHOW = "customers/redact", "shop/redact", "customers/data_request"
ASKING = f"{REQUEST} "
ASKED_OF_OWNER: Mapping[str, str] = {
    REDACT_SHOP: "Shopify asks to erase everything that came from this shop: remove the store, then the state store",
    SHOW: "Shopify asks on behalf of a customer for all that is known of them: `cartwire explain EMAIL --json`",
}
"""What only people can do, within 30 days."""
NOBODY_NAMED = "Shopify asks to erase a customer and names nobody that can be read: look in its mail, and forget them by hand"
NUMBER = re.compile(r"0*([1-9][0-9]{0,30})(?:\?.*)?")
SUBSCRIBED: Sequence[str] = (
    "ORDERS_CREATE",
    "ORDERS_UPDATED",
    "ORDERS_PAID",
    "ORDERS_CANCELLED",
    "ORDERS_DELETE",
    "REFUNDS_CREATE",
    "CUSTOMERS_CREATE",
    "CUSTOMERS_UPDATE",
    "CUSTOMERS_DELETE",
    "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE",
    "CHECKOUTS_DELETE",
)

FULFILMENTS: Mapping[str | None, Fulfilment] = {
    None: Fulfilment.OPEN,
    "partial": Fulfilment.PARTIAL,
    "fulfilled": Fulfilment.FULFILLED,
}
"""`fulfillment_status`, null while nothing was sent; `restocked` is on no way to the buyer."""

Fact = Order | Customer | Checkout | Refund


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes) -> Delivery | None:
    if not is_signed(keys, body, [headers.get("x-shopify-hmac-sha256", "")]):
        return None
    topic = headers.get("x-shopify-topic", "")
    if not is_topic(topic):
        return None
    asks = topic == REDACT or topic in ASKED_OF_OWNER
    return Delivery(fingerprint(topic, body), f"{ASKING}{topic}" if asks else topic)


def read_body(topic: str, body: bytes, terms: Terms) -> News:
    """Read a delivery; one that is no fact, or not a whole one, names what to ask for."""
    topic = topic.removeprefix(ASKING)
    try:
        row = read_json(body)
    except (ValueError, RecursionError):
        return News(bad=[BadRecord(_named(topic), "its body is no JSON")])
    if not isinstance(row, Mapping):
        return News(bad=[BadRecord(_named(topic), "its body is no object")])
    if topic in ASKED_OF_OWNER:
        return _to_the_owner(topic, row)
    try:
        return _erasure(row) if topic == REDACT else _news(topic, row, terms)
    except (ValueError, KeyError, TypeError, AttributeError):
        return News(bad=[BadRecord(_named(topic), "it does not have the shape that Shopify promises")])


def _news(topic: str, row: Row, terms: Terms) -> News:
    if topic in DELETED:
        return News(deleted=[f"{DELETED[topic]} {id_of(row)}"])
    if (topic in ORDERS or topic in REFUNDS) and _is_refunded_elsewhere(row):
        return News(ask=[f"order {row['order_id'] if topic in REFUNDS else id_of(row)}"])
    if topic in ORDERS and _is_paid_otherwise(row):
        return News(ask=[f"order {id_of(row)}"])
    if found := reader(topic, row, terms):
        facts, bad = read_rows([row], *found)
        return News(facts, bad)
    return News(ask=_customers(topic, row))


def _customers(topic: str, row: Row) -> Sequence[str]:
    """Name the customers of whom a body says only that something changed."""
    if topic in CUSTOMERS:
        return [f"customer {id_of(row)}"]
    if topic == "customers_email_marketing_consent/update":
        return [f"customer {int(row['customer_id'])}"]
    if topic == "customers/merge":
        return [f"customer {number_of(row[key])}" for key in MERGED if row.get(key)]
    return ()


def _to_the_owner(topic: str, row: Row) -> News:
    """Let what only the owner can do wait among the dead letters, where it is seen."""
    if "shop_domain" not in row or (topic == SHOW) != ("data_request" in row):
        return News(bad=[BadRecord(_named(topic), "it does not have the shape that Shopify promises")])
    customer = row.get("customer")
    number = _number("Customer", customer.get("id")) if isinstance(customer, Mapping) else None
    about = f" of customer {number}" if number else ""
    log.warning("compliance_request", topic=topic, customer=number)
    return News(bad=[BadRecord(f"{ASKING}{topic}{about}", ASKED_OF_OWNER[topic])])


def _erasure(row: Row) -> News:
    """Read whom to erase; by its own marks, for the topic is not signed, and every order names a customer, too."""
    if "shop_domain" not in row or "data_request" in row:
        raise ValueError("no request to erase anybody")
    told = row.get("customer")
    customer: Row = told if isinstance(told, Mapping) else {}
    account = _number("Customer", customer.get("id"))
    email = normal_email(text(customer.get("email")))
    named = row.get("orders_to_redact")
    found = [_number("Order", each) for each in (named if isinstance(named, list) else [named])]
    log.warning("compliance_request", topic=REDACT, customer=account)
    who = Erasure(
        account,
        email if email and "@" in email else None,
        text(customer.get("phone")),
        tuple(dict.fromkeys(number for number in found if number)),
    )
    if who.account or who.email or who.orders:
        return News(erase=[who])
    if not row.keys() & {"customer", "orders_to_redact"}:
        raise ValueError("no request to erase anybody")
    return News(
        bad=[BadRecord(f"{ASKING}{REDACT}", f"{NOBODY_NAMED} (shop {_number('Shop', row.get('shop_id'))})")]
    )


def _number(kind: str, value: Any) -> str | None:
    """Read a number, however it is written; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    found = NUMBER.fullmatch(str(value).strip().removeprefix(f"gid://shopify/{kind}/"))
    return found[1] if found else None


def _named(topic: str) -> str:
    """Name a delivery by its topic, if that can be one: the header is not signed."""
    plain = topic.replace("/", "").replace("_", "")
    return f"webhook {topic}" if plain.isascii() and plain.isalpha() and len(topic) < 60 else "webhook"


class Hooks:
    """The webhooks of our app; those that were set up with the app are not listed."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def list(self) -> Sequence[Subscription]:
        found: list[Subscription] = []
        after, has_more = None, True
        while has_more:
            page = (await self._admin.ask(WEBHOOKS, {"after": after})).data["webhookSubscriptions"]
            found += [Subscription(row["id"], row["topic"], str(row["uri"])) for row in page["nodes"]]
            after, has_more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        return found

    async def make(self, topic: str, url: str) -> None:
        reply = await self._admin.ask(MAKE_WEBHOOK, {"topic": topic, "sub": {"uri": url, "format": "JSON"}})
        _check(reply.data["webhookSubscriptionCreate"], topic)

    async def remove(self, subscription: Subscription) -> None:
        """Delete; one that is gone is no trouble, and Shopify says so by an error of the field `id`."""
        await self._admin.ask(DELETE_WEBHOOK, {"id": subscription.id})


def _check(made: Mapping[str, Any], topic: str) -> None:
    if made["userErrors"]:
        said = "; ".join(str(error["message"]) for error in made["userErrors"])
        raise Refused(f"the webhook {topic} cannot be made: {said}")


def reader(topic: str, body: Row, terms: Terms) -> tuple[Callable[[Row], Fact], str] | None:
    """Choose how to read a body, and what to call it; None when it is no fact, or not a whole one.

    By its own marks, too, for the topic is not signed: an order is no checkout that somebody left.
    """
    if topic in ORDERS and "financial_status" in body:
        return (lambda row: read_order(row, terms)), "order"
    if topic in REFUNDS:
        return read_refund, "refund"
    if topic in CUSTOMERS and "email_marketing_consent" in body:
        return read_customer, "customer"
    is_checkout = "abandoned_checkout_url" in body and "financial_status" not in body
    if topic in CHECKOUTS and body.get("id") and is_checkout:
        return read_checkout, "checkout"
    return None


def read_order(row: Row, terms: Terms) -> Order:
    order_id = id_of(row)
    currency = str(row["currency"])
    status = str(row.get("financial_status") or "")
    placed = utc(row.get("processed_at")) or _created(row)
    standing = standing_of(
        status.upper(), terms.paid, test=bool(row.get("test")), cancelled=bool(row.get("cancelled_at"))
    )
    customer = row.get("customer") or {}
    accepts = bool(row.get("buyer_accepts_marketing")) and not customer
    return Order(
        id=order_id,
        number=str(row.get("name") or order_id).removeprefix("#"),
        email=normal_email(row.get("email") or row.get("contact_email")),
        customer_id=id_of(customer) if customer else None,
        standing=standing,
        status=status,
        total=money(row["total_price"], currency),
        created_at=placed,
        updated_at=utc(row.get("updated_at")) or placed,
        paid_at=placed if was_paid(status.upper(), terms.paid) else None,
        discount=money(row.get("total_discounts") or 0, currency),
        lines=[_line(line, currency, row) for line in row.get("line_items") or ()],
        refunds=[_refund(refund, order_id, currency) for refund in row.get("refunds") or ()],
        person=_person(row.get("billing_address") or row.get("shipping_address") or {}, row.get("phone")),
        source=_source(row),
        consent=Consent(given=True, at=placed) if accepts else None,
        fulfilment=FULFILMENTS.get(row.get("fulfillment_status", "")),
    )


def read_refund(row: Row) -> Refund:
    """Read a refund that comes alone, in the currency of what it gives back."""
    return _refund(row, str(row["order_id"]), None)


def read_customer(row: Row) -> Customer:
    """Read a customer of an older version, whose body still says what they agreed to."""
    created = _created(row)
    updated = utc(row.get("updated_at")) or created
    address = row.get("default_address") or {}
    person = _person(address, row.get("phone"))
    return Customer(
        id=id_of(row),
        email=normal_email(row.get("email")),
        created_at=created,
        updated_at=updated,
        person=Person(
            first_name=text(row.get("first_name")) or person.first_name,
            last_name=text(row.get("last_name")) or person.last_name,
            company=person.company,
            phone=person.phone,
            postal_code=person.postal_code,
            city=person.city,
            country=person.country,
        ),
        consent=_consent(row.get("email_marketing_consent") or {}, created, updated),
        tags=tuple(tag.strip() for tag in str(row.get("tags") or "").split(",") if tag.strip()),
        guest=row.get("state") != "enabled",
    )


def read_checkout(row: Row) -> Checkout:
    created = _created(row)
    customer = row.get("customer") or {}
    return Checkout(
        id=id_of(row),
        email=normal_email(row.get("email") or customer.get("email")),
        customer_id=id_of(customer) if customer else None,
        url=text(row.get("abandoned_checkout_url")),
        total=money(row["total_price"], str(row["currency"])) if row.get("total_price") else None,
        created_at=created,
        updated_at=utc(row.get("updated_at")) or created,
        completed_at=utc(row.get("completed_at")),
    )


def id_of(row: Row) -> str:
    gid = row.get("admin_graphql_api_id")
    return number_of(gid) if gid else number_of(f"/{row['id']}")


def _is_refunded_elsewhere(row: Row) -> bool:
    """Tell whether something was given back in another currency than the shop's: a body has no other amount of it.

    A transaction without a currency is in the buyer's, for all we know. What does not name the shop's is elsewhere.
    """
    refunds = row.get("refunds") or () if "currency" in row else (row,)
    return any(
        own is None or _currency_given(transaction, refund, row, own) != own
        for refund in refunds
        for own in [row.get("currency") or _shop_currency(refund)]
        for transaction in _given(refund)
    )


def _currency_given(transaction: Row, refund: Row, row: Row, own: str) -> str:
    buyers = row.get("presentment_currency") or _buyers_currency(refund) or own
    return str(transaction.get("currency") or buyers)


def _is_paid_otherwise(row: Row) -> bool:
    """Tell whether less or more was paid than the first total: a body does not say what was received.

    What was given back makes the current total and its lines smaller; anything else that moves them is an edit.
    """
    if row.get("test"):
        return False  # counts for nothing; there is none behind a delivery that the owner tries out
    if row.get("financial_status") == "partially_paid":
        return True
    try:
        total, current = (Decimal(str(row.get(name) or 0)) for name in ("total_price", "current_total_price"))
    except ArithmeticError:
        return False  # reading it says what is wrong
    if row.get("refunds"):
        return current > total
    return (bool(current) and current != total) or _is_a_line_edited(row)


def _is_a_line_edited(row: Row) -> bool:
    """Tell goods that were swapped for others of the same price: a body keeps the line that went."""
    return any(
        line.get("current_quantity", line["quantity"]) != line["quantity"]
        for line in row.get("line_items") or ()
    )


def _shop_currency(refund: Row) -> str | None:
    """Read the shop's own currency off a refund that comes alone."""
    bag = refund.get("total_duties_set") or {}
    return str(bag["shop_money"]["currency_code"]) if bag else None


def _buyers_currency(refund: Row) -> str | None:
    """Read off a refund in which currency the buyer paid."""
    money_of = (refund.get("total_duties_set") or {}).get("presentment_money") or {}
    return str(money_of["currency_code"]) if money_of else None


def _given(refund: Row) -> Sequence[Row]:
    """List a refund's transactions that really gave something back; a pending or failed one gave nothing."""
    return [
        transaction
        for transaction in refund.get("transactions") or ()
        if transaction.get("kind") == "refund" and transaction.get("status") == "success"
    ]


def _line(line: Row, currency: str, order: Row) -> Line:
    """Read a line: its price less its discounts, plus its tax where prices come without."""
    quantity = pieces(int(line["quantity"]), "quantity")
    total = _exact(line["price"], currency).minor * quantity
    total -= sum(_exact(part["amount"], currency).minor for part in line.get("discount_allocations") or ())
    if not order.get("taxes_included"):
        total += sum(_exact(tax["price"], currency).minor for tax in line.get("tax_lines") or ())
    product = line.get("product_id")
    return Line(
        product_id=str(product) if product else None,
        title=str(line.get("title") or ""),
        quantity=quantity,
        total=in_minor(total, currency),
    )


def _refund(refund: Row, order_id: str, currency: str | None) -> Refund:
    """Add up what a refund's transactions really gave back."""
    given = _given(refund)
    code = currency or _currency_of(refund, given)
    minor = sum(abs(_exact(transaction["amount"], code).minor) for transaction in given)
    return Refund(id_of(refund), order_id, in_minor(minor, code), utc(refund.get("created_at")))


def _currency_of(refund: Row, transactions: Sequence[Row]) -> str:
    """Find the currency of a refund: transactions may leave it out, amounts in sets never do."""
    found = [str(each["currency"]) for each in transactions if each.get("currency")]
    code = found[0] if found else _shop_currency(refund)
    if code is None:
        raise UnreadableField("currency", "a currency of ISO 4217")
    return code


def _exact(amount: Any, currency: str) -> Money:
    return money(amount, currency)


def _source(row: Row) -> Source | None:
    landing, referrer = row.get("landing_site"), row.get("referring_site")
    query = dict(parse_qsl(urlsplit(str(landing or "")).query))
    utm = {key.removeprefix("utm_"): value for key, value in query.items() if key.startswith("utm_")}
    if not landing and not referrer:
        channel = CHANNELS.get(str(row.get("source_name")))
        return Source(channel, evidence=f"source_name={row['source_name']}") if channel else None
    return source_from_visit(
        utm, source=host_of(referrer) or "direct", medium=None, referrer=referrer, landing=landing
    )


def _consent(told: Mapping[str, Any], created: datetime, updated: datetime) -> Consent | None:
    state, level = str(told.get("state")).upper(), str(told.get("opt_in_level")).upper()
    return read_consent(state, utc(told.get("consent_updated_at")), level, created, updated)


def _person(address: Row, phone: Any) -> Person:
    return Person(
        first_name=text(address.get("first_name")),
        last_name=text(address.get("last_name")),
        company=text(address.get("company")),
        phone=text(phone) or text(address.get("phone")),
        postal_code=text(address.get("zip")),
        city=text(address.get("city")),
        country=text(address.get("country_code")),
    )


def _created(row: Row) -> Any:
    created = utc(row.get("created_at"))
    if created is None:
        raise UnreadableField("created_at", "a moment")
    return created
