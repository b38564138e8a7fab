"""From Shopify's GraphQL rows to facts. Pure: no clock, no I/O, no log.

- `totalReceived`, not the price, is what was charged: an edited order has another price, a tip has none. An
  order that came from elsewhere without its payments has only its price.
- Cancelled says nothing about money: a cancelled order stays PAID until somebody refunds it. It counts
  nowhere, as it would in other shops.
- An order from elsewhere was created when it was imported; `processedAt` is when it was placed.
- A guest has a customer record too, which nobody ever logged in to (`state`).
- Without tax in its prices a shop's lines are net: each takes the order's average tax.
- A person's word is SUBSCRIBED or UNSUBSCRIBED; NOT_SUBSCRIBED is one only if it has a date. PENDING waits
  for a click. An order's own flag is a snapshot of the customer's word, and counts where there is no customer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

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
    in_minor,
    money,
    normal_email,
    utc,
)
from connectors.paging import Row, UnreadableField, pieces

STANDINGS: Mapping[str, Standing] = {
    "PAID": Standing.UNPAID,  # unless `paid_statuses` names them, as it does by default
    "PARTIALLY_REFUNDED": Standing.UNPAID,
    "PARTIALLY_PAID": Standing.UNPAID,
    "AUTHORIZED": Standing.UNPAID,
    "PENDING": Standing.UNPAID,
    "EXPIRED": Standing.UNPAID,
    "VOIDED": Standing.UNPAID,
    "REFUNDED": Standing.REFUNDED,
}
"""What a payment status means. An order without any (the field may be null) is unpaid."""

GIVEN: Mapping[str, bool] = {"SUBSCRIBED": True, "UNSUBSCRIBED": False, "REDACTED": False}
LAPSED = frozenset({"NOT_SUBSCRIBED", "INVALID"})
"""No refusal (a *not subscribed* with a date is one), but for whoever was subscribed before."""
LEVELS: Mapping[str, str] = {"SINGLE_OPT_IN": "single_opt_in", "CONFIRMED_OPT_IN": "confirmed_opt_in"}
MEMBER = "ENABLED"
"""The state of an account that its owner opened; the others were made for guests."""

CHANNELS: Mapping[str, str] = {"pos": "pos", "shopify_draft_order": "draft order"}
"""Where orders without a visit came from, as far as it says something about their buyers."""

EVERYTHING = frozenset({"all", "frontpage"})
"""Handles of collections that any shop has: they hold everything, or what the front page shows."""

ORDER_OF_NOTIONS: Mapping[str, Sequence[str]] = {
    "type": ("type", "category", "collections"),
    "category": ("category", "type", "collections"),
    "collections": ("collections", "type", "category"),
}


FULFILMENTS: Mapping[str, Fulfilment] = {
    **dict.fromkeys(
        (
            "UNFULFILLED",
            "IN_PROGRESS",
            "ON_HOLD",
            "OPEN",
            "PENDING_FULFILLMENT",
            "SCHEDULED",
            "REQUEST_DECLINED",
        ),
        Fulfilment.OPEN,
    ),
    "PARTIALLY_FULFILLED": Fulfilment.PARTIAL,
    "FULFILLED": Fulfilment.FULFILLED,
}
"""`RESTOCKED` is left out: what came back is on no way to the buyer."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the owner decides about reading: which statuses are paid, what a category is."""

    paid: frozenset[str]
    categories: str = "type"


def read_order(row: Row, terms: Terms) -> Order:
    order_id = number_of(row["id"])
    status = str(row.get("displayFinancialStatus") or "")
    placed = _moment(row, "processedAt", "createdAt")
    standing = standing_of(
        status, terms.paid, test=bool(row.get("test")), cancelled=bool(row.get("cancelledAt"))
    )
    customer = row.get("customer") or {}
    charged = _charged(row)
    accepts = bool(row.get("customerAcceptsMarketing")) and not customer
    return Order(
        id=order_id,
        number=str(row.get("name") or order_id).removeprefix("#"),
        email=normal_email(row.get("email")),
        customer_id=number_of(customer["id"]) if customer else None,
        standing=standing,
        status=status.lower(),
        total=charged,
        created_at=placed,
        updated_at=_moment(row, "updatedAt", "createdAt"),
        paid_at=placed if was_paid(status, terms.paid) else None,
        discount=_shop_money(row.get("totalDiscountsSet")),
        lines=_lines(row),
        refunds=[_refund(refund, order_id) for refund in row.get("refunds") or ()],
        person=_person(row.get("billingAddress") or row.get("shippingAddress") or {}, phone=row.get("phone")),
        source=_source(row),
        consent=Consent(given=True, at=placed) if accepts else None,
        fulfilment=FULFILMENTS.get(str(row.get("displayFulfillmentStatus"))),
    )


def read_customer(row: Row) -> Customer:
    created = _moment(row, "createdAt")
    updated = _moment(row, "updatedAt", "createdAt")
    address = row.get("defaultEmailAddress") or {}
    return Customer(
        id=number_of(row["id"]),
        email=normal_email(address.get("emailAddress")),
        created_at=created,
        updated_at=updated,
        person=_person(
            row.get("defaultAddress") or {}, row, (row.get("defaultPhoneNumber") or {}).get("phoneNumber")
        ),
        consent=_consent(address, created, updated),
        tags=tuple(str(tag) for tag in row.get("tags") or ()),
        guest=row.get("state") != MEMBER,
    )


def read_product(row: Row, terms: Terms) -> Product:
    names: Mapping[str, Sequence[str]] = {
        "type": _named([row.get("productType")]),
        "category": _named([(row.get("category") or {}).get("name")]),
        "collections": _collections(row),
    }
    found = (names[notion] for notion in ORDER_OF_NOTIONS[terms.categories] if names[notion])
    return Product(
        id=number_of(row["id"]),
        title=str(row["title"]),
        categories=next(found, ()),
        updated_at=_moment(row, "updatedAt"),
    )


def read_checkout(row: Row) -> Checkout:
    """Read an abandoned checkout: it has no address of its own, only its customer's."""
    customer = row.get("customer") or {}
    return Checkout(
        id=number_of(row["id"]),
        email=normal_email((customer.get("defaultEmailAddress") or {}).get("emailAddress")),
        customer_id=number_of(customer["id"]) if customer else None,
        url=text(row.get("abandonedCheckoutUrl")),
        total=_shop_money(row.get("totalPriceSet")),
        created_at=_moment(row, "createdAt"),
        updated_at=_moment(row, "updatedAt", "createdAt"),
        completed_at=utc(row.get("completedAt")),
    )


def standing_of(status: str, paid: Iterable[str], *, test: bool, cancelled: bool) -> Standing:
    """Say what an order counts as. What was given back in full is refunded, cancelled or not."""
    if test:
        return Standing.TEST
    standing = Standing.PAID if status in paid else STANDINGS.get(status, Standing.UNPAID)
    return Standing.CANCELLED if cancelled and standing is not Standing.REFUNDED else standing


def was_paid(status: str, paid: Iterable[str]) -> bool:
    """Tell whether money came, be the order refunded or cancelled since; when, Shopify does not say."""
    return status in paid or STANDINGS.get(status) is Standing.REFUNDED


def number_of(gid: Any) -> str:
    """Take the number out of gid://shopify/Order/123; the shop's own pages and files show it alone."""
    number = str(gid).rpartition("/")[2].partition("?")[0]
    if not number.isdigit():
        raise UnreadableField("id", "an id")
    return number


def text(value: Any) -> str | None:
    """Trim what somebody typed; Shopify sends it as it was typed, so that nothing is to be decoded."""
    return value.strip() or None if isinstance(value, str) else None


def text_of(moment: datetime) -> str:
    """Write a moment as filters want it: UTC with a Z; with an offset only the day would count."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def source_from_visit(
    utm: Mapping[str, Any], *, source: Any, medium: Any, referrer: Any, landing: Any
) -> Source | None:
    """Name the source of a visit: what the link said (`utm`), else what the shop made of it."""
    told = {name: word for name in UTM if (word := text(utm.get(name)))}
    name = told.get("source") or (text(source) or "").lower()
    if not name:
        return None
    parts = {f"utm_{key}": value for key, value in told.items()}
    parts |= {"referrer": text(referrer) or "", "landing_page": text(landing) or ""}
    evidence = "; ".join(f"{key}={value}" for key, value in parts.items() if value)
    return Source(name, told.get("medium") or (text(medium) or "").lower() or None, evidence or None)


UTM = ("source", "medium", "campaign", "content", "term")


def host_of(url: Any) -> str | None:
    """Name the site behind an address."""
    try:
        return urlsplit(str(url or "")).hostname
    except ValueError:
        return None


def _source(row: Row) -> Source | None:
    """Read the first visit; an order without one may still say through which channel it came."""
    visit = (row.get("customerJourneySummary") or {}).get("firstVisit")
    if not visit:
        channel = CHANNELS.get(str(row.get("sourceName")))
        return Source(channel, evidence=f"source_name={row['sourceName']}") if channel else None
    return source_from_visit(
        visit.get("utmParameters") or {},
        source=visit.get("source"),
        medium=visit.get("sourceType"),
        referrer=visit.get("referrerUrl"),
        landing=visit.get("landingPage"),
    )


def _charged(row: Row) -> Money:
    price = _shop_money(row["totalPriceSet"])
    received = _shop_money(row.get("totalReceivedSet"))
    if price is None:
        raise UnreadableField("totalPriceSet", "an amount")
    return received if received and received.minor > 0 else price


def _lines(row: Row) -> list[Line]:
    """Read the lines; what an edit removed counts no more, what was given back has its refund beside it."""
    counted = "quantity" if row.get("refunds") else "currentQuantity"
    tax = _tax_to_add(row)
    return [_line(line, tax, counted) for line in (row.get("lineItems") or {}).get("nodes") or ()]


def _line(line: Row, tax: Decimal, counted: str) -> Line:
    total = _shop_money(line["discountedTotalSet"])
    if total is None:
        raise UnreadableField("discountedTotalSet", "an amount")
    product = line.get("product") or {}
    ordered, quantity = int(line["quantity"]), pieces(int(line[counted]), counted)
    share = (1 + tax) * (Decimal(quantity) / ordered if ordered else 1)
    return Line(
        product_id=number_of(product["id"]) if product else None,
        title=str(line.get("title") or ""),
        quantity=quantity,
        total=in_minor(int((total.minor * share).to_integral_value(ROUND_HALF_UP)), total.currency)
        if share != 1
        else total,
    )


def _tax_to_add(row: Row) -> Decimal:
    """Say what share of a line's price is to be added as tax: none where prices hold it already."""
    if row.get("taxesIncluded", True):
        return Decimal()
    tax, total = (_amount(row.get(name)) for name in ("totalTaxSet", "totalPriceSet"))
    return tax / (total - tax) if tax and total > tax else Decimal()


def _refund(refund: Row, order_id: str) -> Refund:
    amount = _shop_money(refund["totalRefundedSet"])
    if amount is None:
        raise UnreadableField("totalRefundedSet", "an amount")
    created = utc(refund.get("createdAt"))
    return Refund(number_of(refund["id"]), order_id, Money(abs(amount.minor), amount.currency), created)


def _consent(address: Row, created: datetime, updated: datetime) -> Consent | None:
    return read_consent(
        str(address.get("marketingState")),
        utc(address.get("marketingUpdatedAt")),
        str(address.get("marketingOptInLevel")),
        created,
        updated,
    )


def read_consent(
    state: str, at: datetime | None, level: str, created: datetime, updated: datetime
) -> Consent | None:
    """Read a word and when it came; one without a date is as old as the record if given, as new if taken.

    Who has yet to confirm (PENDING) has said nothing.
    """
    given = GIVEN.get(state, False if state == "NOT_SUBSCRIBED" and at else None)
    if given is None:
        return Consent(given=False, at=updated, lapses=True) if state in LAPSED else None
    return Consent(given, at or (created if given else updated), LEVELS.get(level))


def _person(address: Row, account: Row | None = None, phone: Any = None) -> Person:
    """Read who it is; an account's own name and number come before those of its address."""
    own = account or {}
    return Person(
        first_name=text(own.get("firstName")) or text(address.get("firstName")),
        last_name=text(own.get("lastName")) or text(address.get("lastName")),
        company=text(address.get("company")),
        phone=text(phone) or text(address.get("phone")),
        postal_code=text(address.get("zip")),
        city=text(address.get("city")),
        country=text(address.get("countryCodeV2")),
    )


def _collections(row: Row) -> Sequence[str]:
    nodes = (row.get("collections") or {}).get("nodes") or ()
    return _named(node.get("title") for node in nodes if node.get("handle") not in EVERYTHING)


def _named(names: Iterable[Any]) -> Sequence[str]:
    return tuple(word for name in names if (word := text(name)))


def _moment(row: Row, *names: str) -> datetime:
    """Read the first of these moments that is there."""
    for name in names:
        moment = utc(row.get(name))
        if moment is not None:
            return moment
    raise UnreadableField(names[0], "a moment")


def _shop_money(bag: Any) -> Money | None:
    """Read the shop's side of an amount; the other is what the buyer saw, in whatever currency."""
    if bag is None:
        return None
    side = bag["shopMoney"]
    return _money(str(side["amount"]), str(side["currencyCode"]))


@lru_cache(maxsize=4096)
def _money(amount: str, currency: str) -> Money:
    """Read an amount; most are seen many times, 0.0 above all."""
    number = _decimal(amount, "amount")
    try:
        return money(number, currency)
    except (ValueError, KeyError) as error:
        raise UnreadableField("amount", "an amount in a currency of ISO 4217") from error


def _amount(bag: Any) -> Decimal:
    return _decimal(bag["shopMoney"]["amount"], "amount") if bag else Decimal()


def _decimal(value: Any, name: str) -> Decimal:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise UnreadableField(name, "an amount") from error
    if not number.is_finite():
        raise UnreadableField(name, "an amount")
    return number
