"""From rows of the webservice to facts. Pure: no clock, no I/O, no log.

- Ids are numbers or text, flags "0"/"1", amounts text with six decimals; an empty list is left out. A single
  row leaves out whatever is 0 or empty, so a missing field is nought, never an error, but for those without
  which a row means nothing.
- Amounts are in the order's currency, which is an id. A credit slip names none: it is its order's.
- `total_paid_tax_incl` is what was charged; orders written by an import may have `total_paid` alone.
- `total_paid_real` keeps the sum when money goes back, and modules write it wrongly: never alone.
- Times are wall-clock, "0000-00-00 00:00:00" for never: see `clock`.
- Texts in the shop's languages are plain when one language was asked for, else a list of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from connectors.currencies import exponent
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
    Standing,
    money,
    normal_email,
    text_or_none,
)
from connectors.paging import Row, UnreadableField, pieces
from connectors.stores.prestashop.clock import ShopClock

ENDS: Mapping[str, Standing] = {"PS_OS_CANCELED": Standing.CANCELLED, "PS_OS_REFUND": Standing.REFUNDED}
"""Settings of the shop that name a status by its id, and what an order in it counts as."""
TEMPLATES: Mapping[str, Standing] = {"order_canceled": Standing.CANCELLED, "refund": Standing.REFUNDED}
"""The mail that a status sends tells the same in every language, also of a shop's own statuses."""
ANONYMISED = frozenset({"anonymous@psgdpr.com"})
"""What the vendor's GDPR module writes over erased customers: one account for all of them."""
DUST = Decimal("0.01")
"""By how much payments may fall short of the total and still cover it."""
TELLING_DEPTH = 2
"""Categories above this level are the catalogue's root and its home page: they say nothing of a product."""
NOUGHT = Decimal()


@dataclass(frozen=True, slots=True)
class State:
    """What an order status means; `ends` where the order is over."""

    name: str
    paid: bool
    logable: bool
    ends: Standing | None = None
    shipped: bool | None = None


EVER_PAID = frozenset({Standing.PAID, Standing.REFUNDED})
FULFILMENTS: Mapping[bool | None, Fulfilment] = {True: Fulfilment.FULFILLED, False: Fulfilment.OPEN}
"""By the status' mark "shipped"; a status that was deleted tells nothing."""


@dataclass(frozen=True, slots=True)
class Category:
    name: str
    parent: str
    depth: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What rows mean in this shop: its clock and lists, by id, and the owner's word on what is paid."""

    clock: ShopClock
    url: str
    language: str | None = None
    paid_states: frozenset[str] = frozenset()
    states: Mapping[str, State] = field(default_factory=dict)
    currencies: Mapping[str, str] = field(default_factory=dict)
    countries: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, Category] = field(default_factory=dict)


def read_order(row: Row, terms: Terms, now: datetime) -> Order:
    currency = currency_of(row, terms)
    created = _moment(row, "date_add", terms)
    state = state_of(row, terms)
    stands = standing(row, state, terms)
    return Order(
        id=_required(row, "id"),
        number=text_or_none(row.get("reference")) or _required(row, "id"),
        email=None,  # an order holds none: it is its customer's, and each guest is a customer too
        customer_id=id_of(row.get("id_customer")),
        standing=stands,
        status=state.name,
        total=_total(row, currency),
        created_at=created,
        updated_at=_changed(row, terms, now) or created,
        paid_at=_paid_at(row, stands, terms),
        discount=_amount(row, "total_discounts_tax_incl", currency),
        lines=_lines(row, currency),
        refunds=None,
        fulfilment=FULFILMENTS.get(state.shipped) if stands is Standing.PAID else None,
    )


def read_refund(row: Row, terms: Terms, currencies: Mapping[str, str]) -> Refund:
    """Read a credit slip; `currencies` are those of the orders, by the order's id."""
    order = _required(row, "id_order")
    if order not in currencies:
        raise UnreadableField("id_order", "an order that the shop still has")
    amount = _sum(row, ("total_products_tax_incl", "total_shipping_tax_incl"))
    amount = amount or _sum(row, ("amount", "shipping_cost_amount"))  # slips of before 2014 have these alone
    created = _moment(row, "date_add", terms)
    return Refund(_required(row, "id"), order, _money(amount, currencies[order]), created)


def read_customer(row: Row, address: Row | None, terms: Terms, now: datetime) -> Customer:
    """Read an account, or what the shop makes for each order of a guest, with the newest address of it."""
    created = _moment(row, "date_add", terms)
    updated = _changed(row, terms, now) or created
    email = normal_email(str(row.get("email") or ""))
    return Customer(
        id=_required(row, "id"),
        email=None if email in ANONYMISED else email,
        created_at=created,
        updated_at=updated,
        person=_person(row, address or {}, terms),
        birthday=_birthday(row.get("birthday")),
        consent=_consent(row, created, updated, terms),
        guest=_flag(row, "is_guest"),
    )


def read_checkout(row: Row, ordered_at: Mapping[str, datetime], terms: Terms, now: datetime) -> Checkout:
    """Read a cart; `ordered_at` says when carts became orders. One that was emptied is over as well."""
    cart = _required(row, "id")
    created = _moment(row, "date_add", terms)
    updated = _changed(row, terms, now) or created
    return Checkout(
        id=cart,
        email=None,
        customer_id=id_of(row.get("id_customer")),
        url=terms.url,
        total=None,
        created_at=created,
        updated_at=updated,
        completed_at=ordered_at.get(cart) or (None if associated(row, "cart_rows") else updated),
    )


def read_product(row: Row, terms: Terms, now: datetime) -> Product:
    return Product(
        id=_required(row, "id"),
        title=word(row.get("name"), terms.language) or "",
        categories=_categories(row, terms.categories),
        updated_at=_changed(row, terms, now) or _moment(row, "date_add", terms),
    )


def read_state(row: Row, language: str | None, ends: Mapping[str, Standing]) -> State:
    """Read an order status; `ends` are those which the shop's settings name, by id."""
    identity = _required(row, "id")
    mail = word(row.get("template"), language) or ""
    name = word(row.get("name"), language) or f"status {identity}"
    paid = _flag(row, "paid")
    told = ends.get(identity) or (None if paid else TEMPLATES.get(mail))
    return State(name, paid, _flag(row, "logable"), told, _flag(row, "shipped"))


def read_category(row: Row, language: str | None) -> Category:
    depth = int(_number(row.get("level_depth"), "level_depth"))
    return Category(word(row.get("name"), language) or "", str(row.get("id_parent") or "0"), depth)


def state_of(row: Row, terms: Terms) -> State:
    """Find the status of an order; one that was deleted tells what it made of the order: `valid`."""
    identity = id_of(row.get("current_state")) or "0"
    return terms.states.get(identity) or State(f"status {identity}", paid=False, logable=_flag(row, "valid"))


def standing(row: Row, state: State, terms: Terms) -> Standing:
    """Say what an order counts as.

    Paid is what the owner listed, else a status with the paid mark, else one that counts in the shop's
    statistics (logable) when the payments cover the total.
    """
    if str(row.get("current_state")) in terms.paid_states:
        return Standing.PAID
    if state.ends:
        return state.ends
    if terms.paid_states:
        return Standing.UNPAID
    return Standing.PAID if state.paid or (state.logable and _is_covered(row)) else Standing.UNPAID


def currency_of(row: Row, terms: Terms) -> str:
    try:
        return terms.currencies[_required(row, "id_currency")]
    except KeyError as error:
        raise UnreadableField("id_currency", "a currency of the shop") from error


def id_of(value: Any) -> str | None:
    """Read an id, which may be a number or text; 0 is none."""
    text = str(value).strip() if value is not None else ""
    return None if text in {"", "0"} else text


def associated(row: Row, name: str) -> Sequence[Row]:
    """Read what hangs on a row: left out when empty, `""` in some versions."""
    linked = row.get("associations")
    rows = linked.get(name) if isinstance(linked, Mapping) else None
    return rows if isinstance(rows, list) else ()


def word(value: Any, language: str | None) -> str | None:
    """Read a text in the shop's language: plain, or one of a list of languages, else the first there is."""
    if not isinstance(value, list):
        return text_or_none(value)
    texts = {str(one.get("id")): text for one in value if (text := text_or_none(one.get("value")))}
    return texts.get(language or "") or next(iter(texts.values()), None)


def _total(row: Row, currency: str) -> Money:
    amount = _number(row.get("total_paid_tax_incl"), "total_paid_tax_incl")
    return _money(amount or _number(row["total_paid"], "total_paid"), currency)


def _is_covered(row: Row) -> bool:
    due, paid = (_number(row.get(name), name) for name in ("total_paid", "total_paid_real"))
    return paid >= due - DUST


def _has_payments(row: Row) -> bool:
    """Tell whether money came; an invoice alone proves nothing: cash on delivery has one before it is paid."""
    return _number(row.get("total_paid_real"), "total_paid_real") > 0


def _paid_at(row: Row, stands: Standing, terms: Terms) -> datetime | None:
    """Say when it was paid, as near as the order tells: the invoice is written by the paid status."""
    if stands not in EVER_PAID and not (stands is Standing.CANCELLED and _has_payments(row)):
        return None
    invoiced = terms.clock.first_or_none(row.get("invoice_date"))
    return invoiced or (None if stands is Standing.REFUNDED else _moment(row, "date_add", terms))


def _lines(row: Row, currency: str) -> list[Line]:
    """Read the lines; vouchers come off the whole order, so each line bears its share of them."""
    rows = associated(row, "order_rows")
    prices = [
        _number(line.get("unit_price_tax_incl"), "unit_price_tax_incl")
        * _number(line.get("product_quantity"), "product_quantity")
        for line in rows
    ]
    share = _share_paid(sum(prices, NOUGHT), _number(row.get("total_discounts_tax_incl"), "total_discounts"))
    return [
        Line(
            product_id=id_of(line.get("product_id")),
            title=text_or_none(line.get("product_name")) or "",
            quantity=pieces(_number(line.get("product_quantity"), "product_quantity"), "product_quantity"),
            total=_money(price * share, currency),
        )
        for line, price in zip(rows, prices, strict=True)
    ]


def _share_paid(full: Decimal, discount: Decimal) -> Decimal:
    if full <= 0 or discount <= 0:
        return Decimal(1)
    return max(full - discount, NOUGHT) / full


def _person(row: Row, address: Row, terms: Terms) -> Person:
    return Person(
        first_name=text_or_none(row.get("firstname")),
        last_name=text_or_none(row.get("lastname")),
        company=text_or_none(row.get("company")) or text_or_none(address.get("company")),
        phone=text_or_none(address.get("phone_mobile")) or text_or_none(address.get("phone")),
        postal_code=text_or_none(address.get("postcode")),
        city=text_or_none(address.get("city")),
        country=terms.countries.get(str(address.get("id_country"))),
        vat_number=text_or_none(address.get("vat_number")),
    )


def _consent(row: Row, created: datetime, updated: datetime, terms: Terms) -> Consent | None:
    """Read the word on the newsletter. Who never had it refuses nothing; who had it before has left.

    The date of subscription stays when somebody leaves, and is not renewed when they come back. Leaving by
    the newsletter block moves no date at all, so it counts from the last one there is.
    """
    asked_at = terms.clock.first_or_none(row.get("newsletter_date_add"))
    if _flag(row, "deleted"):
        return Consent(given=False, at=updated)
    if _flag(row, "newsletter"):
        return Consent(given=True, at=asked_at or created)
    if asked_at:
        return Consent(given=False, at=max(updated, asked_at))
    return Consent(given=False, at=updated, lapses=True)


def _birthday(value: Any) -> date | None:
    """Read a day; what is no day costs the field, not the customer."""
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def _categories(row: Row, known: Mapping[str, Category]) -> list[str]:
    """Name the main category, then the others; parents of one that is named say less and are left out."""
    main = str(row.get("id_category_default"))
    linked = [str(one.get("id")) for one in associated(row, "categories")]
    telling = [
        one
        for one in dict.fromkeys([main, *linked])
        if one in known and known[one].depth >= TELLING_DEPTH and known[one].name
    ]
    parents = {parent for one in telling for parent in _above(one, known)}
    return [known[one].name for one in telling if one == main or one not in parents]


def _above(category: str, known: Mapping[str, Category]) -> Iterable[str]:
    """Climb from a category to the root; a tree that bites its tail ends after its own length."""
    for _ in range(len(known)):
        if category not in known:
            return
        category = known[category].parent
        yield category


def _changed(row: Row, terms: Terms, now: datetime) -> datetime | None:
    try:
        return terms.clock.latest(row.get("date_upd"), now)
    except ValueError as error:
        raise UnreadableField("date_upd", "a moment") from error


def _moment(row: Row, name: str, terms: Terms) -> datetime:
    """Read when something was made; where that was lost, it is as old as its last change."""
    try:
        found = terms.clock.first(row[name]) or terms.clock.first(row.get("date_upd"))
    except ValueError as error:
        raise UnreadableField(name, "a moment") from error
    if found is None:
        raise UnreadableField(name, "a moment")
    return found


def _required(row: Row, name: str) -> str:
    found = id_of(row[name])
    if found is None:
        raise UnreadableField(name, "an id")
    return found


def _flag(row: Row, name: str) -> bool:
    return str(row.get(name) or "0").lower() not in {"0", "", "false"}


def _amount(row: Row, name: str, currency: str) -> Money:
    return _money(_number(row.get(name), name), currency)


def _sum(row: Row, names: Iterable[str]) -> Decimal:
    return sum((_number(row.get(name), name) for name in names), NOUGHT)


def _money(amount: Decimal, currency: str) -> Money:
    try:
        exponent(currency)
    except (ValueError, KeyError) as error:
        raise UnreadableField("id_currency", "a currency of ISO 4217") from error
    return money(amount, currency)


def _number(value: Any, name: str) -> Decimal:
    """Read a number that may be text; nothing is nought. Raises UnreadableField for anything else."""
    if value is None or value == "":
        return NOUGHT
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise UnreadableField(name, "a number") from error
    if not number.is_finite():
        raise UnreadableField(name, "a number")
    return number
