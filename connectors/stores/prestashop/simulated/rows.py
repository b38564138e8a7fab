"""What the simulator's shop holds, as the webservice shows it: rows are written when somebody asks for them.

Ids are numbers, flags and amounts text, as recorded from 8.1; the order of the fields is that of a real row.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

from connectors.simulation import HistoricOrder
from connectors.stores.prestashop.simulated.shop import (
    GUESTS,
    ZERO,
    Account,
    Cart,
    Goods,
    Row,
    SimulatedShop,
    Slip,
    place_fields,
)

TAX = Decimal("1.20")
SECURE_KEY = "b44a6d9efd7a0076a0fbce6b15eaf3b1"
PASSWORD = "$2y$10$" + "x" * 53
"""Nobody's: what a hash looks like, which nobody should ask for."""
HOME = 2
MADE_UP = {"TR": 206, "JP": 11, "US": 21, "GB": 17, "FR": 8, "DE": 1, "BE": 3, "ES": 6, "IT": 10, "CH": 19}
LANGUAGES = {1: "en", 2: "fr"}

_STATES: Sequence[tuple[int, str, str, str, str]] = (
    (2, "Payment accepted", "Paiement accepté", "payment", "pli"),
    (3, "Processing in progress", "En cours de préparation", "preparation", "plid"),
    (4, "Shipped", "Expédié", "shipped", "plids"),
    (5, "Delivered", "Livré", "", "plids"),
    (6, "Canceled", "Annulé", "order_canceled", ""),
    (7, "Refunded", "Remboursé", "refund", "i"),
    (8, "Payment error", "Erreur de paiement", "payment_error", ""),
    (9, "On backorder (paid)", "En attente de réapprovisionnement (payé)", "outofstock", "pi"),
    (11, "Remote payment accepted", "Paiement à distance accepté", "payment", "pli"),
    (12, "On backorder (not paid)", "En attente de réapprovisionnement (non payé)", "outofstock", ""),
    (
        13,
        "Awaiting Cash On Delivery validation",
        "En attente de paiement à la livraison",
        "cashondelivery",
        "",
    ),
    (1, "Awaiting check payment", "En attente du paiement par chèque", "cheque", ""),
    (10, "Awaiting bank wire payment", "En attente de virement bancaire", "bankwire", ""),
)
"""The statuses of a fresh shop, in its own order; the letters are its flags: paid, logable, invoice, delivery,
shipped."""
FLAGS: Mapping[str, str] = {"paid": "p", "logable": "l", "invoice": "i", "delivery": "d", "shipped": "s"}

Write = Callable[[int], Any]


@dataclass(frozen=True, slots=True)
class Linked:
    """What hangs on a row: the name of each, its fields, and how to list them."""

    item: str
    fields: Sequence[str]
    rows: Callable[[int], list[Row]]


@dataclass(frozen=True, slots=True)
class Shelf:
    """A resource: names of its list and of one row, its ids, and how each field is written.

    `found_by` are fields by whose value rows are found without looking at all of them.
    """

    path: str
    plural: str
    single: str
    ids: Callable[[], Iterable[int]]
    fields: Mapping[str, Write]
    linked: Mapping[str, Linked] = field(default_factory=dict)
    found_by: Mapping[str, Callable[[str], Iterable[int]]] = field(default_factory=dict)
    languages: frozenset[str] = frozenset()
    unfilterable: frozenset[str] = frozenset()


def shelves(shop: SimulatedShop) -> dict[str, Shelf]:
    """Set up every resource that the simulator serves."""
    made = [
        _orders(shop),
        _slips(shop),
        _customers(shop),
        _addresses(shop),
        _carts(shop),
        _products(shop),
        _categories(shop),
        _states(shop),
        _currencies(shop),
        _countries(),
        _languages(),
        _configurations(shop),
    ]
    return {shelf.path: shelf for shelf in made}


def _orders(shop: SimulatedShop) -> Shelf:
    def order(number: int) -> HistoricOrder:
        return shop.orders[number]

    def customer(number: int) -> int:
        return shop.customer_of(order(number))

    def state(number: int) -> Row:
        return state_row(shop, shop.state_of(number))

    def paid(number: int) -> str:
        return _amount(order(number).total if state(number)["paid"] == "1" else "0")

    def placed(number: int) -> str:
        return shop.wall(order(number).created_at)

    def invoiced(number: int) -> str:
        """Write when its status first was one that writes an invoice; without one, nothing."""
        if state(number)["invoice"] != "1":
            return ZERO
        first, until = shop.left.get(number, (0, None))
        began_without = until is not None and state_row(shop, first)["invoice"] != "1"
        return shop.wall(until) if began_without else placed(number)

    total: Write = lambda number: _amount(order(number).total)  # noqa: E731 - used many times below
    net: Write = lambda number: _amount(Decimal(order(number).total) / TAX)  # noqa: E731 - as above
    fields: dict[str, Write] = {
        "id": int,
        "id_address_delivery": customer,
        "id_address_invoice": customer,
        "id_cart": int,
        "id_currency": lambda number: shop.currencies[order(number).currency],
        "id_lang": _always(1),
        "id_customer": customer,
        "id_carrier": _always(2),
        "current_state": shop.state_of,
        "module": _always("ps_wirepayment"),
        "invoice_number": lambda number: number if state(number)["invoice"] == "1" else 0,
        "invoice_date": invoiced,
        "delivery_number": _always(0),
        "delivery_date": _always(ZERO),
        "valid": lambda number: state(number)["logable"],
        "date_add": placed,
        "date_upd": placed,
        "shipping_number": _always(""),
        "note": _always(""),
        "id_shop_group": _always(1),
        "id_shop": _always(1),
        "secure_key": _always(SECURE_KEY),
        "payment": _always("Bank wire"),
        "recyclable": _always("0"),
        "gift": _always("0"),
        "gift_message": _always(""),
        "mobile_theme": _always("0"),
        "total_discounts": _always(_amount("0")),
        "total_discounts_tax_incl": _always(_amount("0")),
        "total_discounts_tax_excl": _always(_amount("0")),
        "total_paid": total,
        "total_paid_tax_incl": total,
        "total_paid_tax_excl": net,
        "total_paid_real": paid,
        "total_products": net,
        "total_products_wt": total,
        "total_shipping": _always(_amount("0")),
        "total_shipping_tax_incl": _always(_amount("0")),
        "total_shipping_tax_excl": _always(_amount("0")),
        "carrier_tax_rate": _always("0.000"),
        "total_wrapping": _always(_amount("0")),
        "total_wrapping_tax_incl": _always(_amount("0")),
        "total_wrapping_tax_excl": _always(_amount("0")),
        "round_mode": _always(2),
        "round_type": _always(2),
        "conversion_rate": _always(_amount("1")),
        "reference": str,  # as a shop that moved here keeps its old numbers
    }
    rows = Linked("order_row", ORDER_ROW, partial(_order_rows, shop))
    return Shelf(
        "orders",
        "orders",
        "order",
        lambda: shop.orders,
        fields,
        {"order_rows": rows},
        {"id_cart": partial(_orders_of_cart, shop)},
        unfilterable=frozenset({"shipping_number"}),
    )


ORDER_ROW = (
    "id",
    "product_id",
    "product_attribute_id",
    "product_quantity",
    "product_name",
    "product_reference",
    "product_ean13",
    "product_isbn",
    "product_upc",
    "product_price",
    "id_customization",
    "unit_price_tax_incl",
    "unit_price_tax_excl",
)


def _order_rows(shop: SimulatedShop, number: int) -> list[Row]:
    order = shop.orders[number]
    goods = shop.goods_of(order)
    each = Decimal(order.total) / max(1, order.quantity)
    values = (
        number,
        goods.id if goods else 0,
        0,
        order.quantity,
        _title(order.category),
        f"SKU-{goods.id if goods else 0:03}",
        "",
        "",
        "",
        _amount(each / TAX),
        0,
        _amount(each),
        _amount(each / TAX),
    )
    return [dict(zip(ORDER_ROW, values, strict=True))]


def _orders_of_cart(shop: SimulatedShop, cart: str) -> list[int]:
    """Find the orders of a cart; an order of the past had a cart of its own number."""
    if not cart.isdigit():
        return []
    number = int(cart)
    own = (
        [number] if number in shop.orders and "id_cart" not in (shop.changed("orders", number) or {}) else []
    )
    later = (one for one in shop.orders if (shop.changed("orders", one) or {}).get("id_cart") == number)
    return [*own, *(later if number > GUESTS else ())]


def _slips(shop: SimulatedShop) -> Shelf:
    def slip(number: int) -> Slip:
        return shop.slips[number]

    def at(number: int) -> str:
        return shop.wall(slip(number).at)

    fields: dict[str, Write] = {
        "id": int,
        "id_customer": lambda number: shop.customer_of(shop.orders[slip(number).order]),
        "id_order": lambda number: slip(number).order,
        "conversion_rate": _always(_amount("1")),
        "total_products_tax_excl": lambda number: _amount(slip(number).products / TAX),
        "total_products_tax_incl": lambda number: _amount(slip(number).products),
        "total_shipping_tax_excl": lambda number: _amount(slip(number).shipping / TAX),
        "total_shipping_tax_incl": lambda number: _amount(slip(number).shipping),
        "amount": lambda number: _amount(slip(number).products),
        "shipping_cost": _always("0"),
        "shipping_cost_amount": lambda number: _amount(slip(number).shipping),
        "partial": _always(1),
        "date_add": at,
        "date_upd": at,
        "order_slip_type": _always(1),
    }
    names = ("id", "id_order_detail", "product_quantity", "amount_tax_excl", "amount_tax_incl")

    def details(number: int) -> list[Row]:
        given = slip(number)
        values = (number, given.order, 1, _amount(given.products / TAX), _amount(given.products))
        return [dict(zip(names, values, strict=True))]

    linked = {"order_slip_details": Linked("order_slip_detail", names, details)}
    return Shelf("order_slip", "order_slips", "order_slip", lambda: shop.slips, fields, linked)


def _customers(shop: SimulatedShop) -> Shelf:
    def who(number: int) -> Account:
        return shop.customer(number)

    def at(number: int) -> str:
        return shop.wall(who(number).created)

    fields: dict[str, Write] = {
        "id": int,
        "id_default_group": lambda number: 2 if who(number).guest else 3,
        "id_lang": _always(1),
        "newsletter_date_add": _always(ZERO),
        "ip_registration_newsletter": _always(""),
        "last_passwd_gen": at,
        "secure_key": _always(SECURE_KEY),
        "deleted": _always("0"),
        "passwd": _always(PASSWORD),
        "lastname": lambda number: who(number).last_name,
        "firstname": lambda number: who(number).first_name,
        "email": lambda number: who(number).email,
        "id_gender": _always(0),
        "birthday": _always("0000-00-00"),
        "newsletter": _always("0"),
        "optin": _always("0"),
        "website": _always(""),
        "company": _always(""),
        "siret": _always(""),
        "ape": _always(""),
        "outstanding_allow_amount": _always(_amount("0")),
        "show_public_prices": _always("0"),
        "id_risk": _always(0),
        "max_payment_days": _always(0),
        "active": _always("1"),
        "note": _always(""),
        "is_guest": lambda number: "1" if who(number).guest else "0",
        "id_shop": _always(1),
        "id_shop_group": _always(1),
        "date_add": at,
        "date_upd": at,
        "reset_password_token": _always(""),
        "reset_password_validity": _always(ZERO),
    }
    groups = Linked("group", ("id",), lambda number: [{"id": fields["id_default_group"](number)}])
    return Shelf("customers", "customers", "customer", shop.customers, fields, {"groups": groups})


def _addresses(shop: SimulatedShop) -> Shelf:
    def owner(number: int) -> Account:
        place = shop.addresses.get(number)
        return shop.customer(place.customer if place else number)

    def at(number: int) -> str:
        place = shop.addresses.get(number)
        return shop.wall(place.at if place else owner(number).created)

    def value(name: str, usual: Write) -> Write:
        def write(number: int) -> Any:
            place = shop.addresses.get(number)
            return place.row.get(name, usual(number)) if place else usual(number)

        return write

    def made_up(name: str) -> Write:
        return lambda number: place_fields(owner(number))[name]

    usual: dict[str, Write] = {
        "id": int,
        "id_customer": lambda number: owner(number).id,
        "id_manufacturer": _always(0),
        "id_supplier": _always(0),
        "id_warehouse": _always(0),
        "id_country": lambda number: MADE_UP[place_fields(owner(number))["country"]],
        "id_state": _always(0),
        "alias": _always("Home"),
        "company": _always(""),
        "lastname": lambda number: owner(number).last_name,
        "firstname": lambda number: owner(number).first_name,
        "vat_number": _always(""),
        "address1": _always("1 Example Road"),
        "address2": _always(""),
        "postcode": made_up("postcode"),
        "city": _always("Testville"),
        "other": _always(""),
        "phone": made_up("phone"),
        "phone_mobile": _always(""),
        "dni": _always(""),
        "deleted": _always("0"),
        "date_add": at,
        "date_upd": at,
    }
    fields = {name: value(name, write) for name, write in usual.items()}

    def ids() -> list[int]:
        return [*shop.customers(), *shop.addresses]

    def of_customer(text: str) -> list[int]:
        number = int(text) if text.isdigit() else -1
        known = number in shop.accounts or number - GUESTS in shop.orders
        return shop.addresses_of(number) if known else []

    return Shelf("addresses", "addresses", "address", ids, fields, found_by={"id_customer": of_customer})


def _carts(shop: SimulatedShop) -> Shelf:
    def cart(number: int) -> Cart:
        if number in shop.carts:
            return shop.carts[number]
        order = shop.orders[number]
        goods = shop.goods_of(order)
        product = goods.id if goods else 0
        return Cart(number, shop.customer_of(order), product, order.quantity, order.created_at)

    def at(number: int) -> str:
        return shop.wall(cart(number).at)

    fields: dict[str, Write] = {
        "id": int,
        "id_address_delivery": lambda number: cart(number).customer,
        "id_address_invoice": lambda number: cart(number).customer,
        "id_currency": _always(1),
        "id_customer": lambda number: cart(number).customer,
        "id_guest": lambda number: 0 if cart(number).customer else 1,
        "id_lang": _always(1),
        "id_shop_group": _always(1),
        "id_shop": _always(1),
        "id_carrier": _always(0),
        "recyclable": _always("0"),
        "gift": _always("0"),
        "gift_message": _always(""),
        "mobile_theme": _always("0"),
        "delivery_option": _always(""),
        "secure_key": lambda number: SECURE_KEY if cart(number).customer else "",
        "allow_seperated_package": _always("0"),
        "date_add": at,
        "date_upd": at,
    }
    names = ("id_product", "id_product_attribute", "id_address_delivery", "id_customization", "quantity")

    def rows(number: int) -> list[Row]:
        held = cart(number)
        values = (held.product, 0, held.customer, 0, held.quantity)
        return [dict(zip(names, values, strict=True))] if held.quantity else []

    def ids() -> list[int]:
        own = (one for one in shop.orders if "id_cart" not in (shop.changed("orders", one) or {}))
        return [*own, *shop.carts]

    return Shelf("carts", "carts", "cart", ids, fields, {"cart_rows": Linked("cart_row", names, rows)})


def _products(shop: SimulatedShop) -> Shelf:
    def goods(number: int) -> Goods:
        return shop.products[number]

    def at(number: int) -> str:
        return shop.wall(goods(number).at)

    fields: dict[str, Write] = {
        "id": int,
        "id_manufacturer": _always(0),
        "id_supplier": _always(0),
        "id_category_default": _category_of,
        "id_tax_rules_group": _always(1),
        "type": _always("simple"),
        "id_shop_default": _always(1),
        "reference": lambda number: f"SKU-{number:03}",
        "price": _always(_amount("10")),
        "active": _always("1"),
        "available_for_order": _always("1"),
        "date_add": at,
        "date_upd": at,
        "name": lambda number: _worded(_title(goods(number).category)),
    }

    def categories(number: int) -> list[Row]:
        return [{"id": HOME}, {"id": _category_of(number)}]

    linked = {"categories": Linked("category", ("id",), categories)}
    return Shelf(
        "products",
        "products",
        "product",
        lambda: shop.products,
        fields,
        linked,
        languages=frozenset({"name"}),
        unfilterable=frozenset({"type"}),
    )


def _categories(shop: SimulatedShop) -> Shelf:
    """Serve Root, Home, and below it a category for each product."""

    def name(number: int) -> str:
        top = {1: "Root", HOME: "Home"}
        return top.get(number) or shop.products[_goods_in(number)].category

    fields: dict[str, Write] = {
        "id": int,
        "id_parent": lambda number: min(number - 1, HOME),
        "level_depth": lambda number: min(number - 1, HOME),
        "active": _always("1"),
        "id_shop_default": _always(1),
        "is_root_category": lambda number: "1" if number == HOME else "0",
        "position": _always(0),
        "name": lambda number: _worded(name(number)),
    }

    def ids() -> list[int]:
        return [1, HOME, *map(_category_of, shop.products)]

    return Shelf("categories", "categories", "category", ids, fields, languages=frozenset({"name"}))


def _states(shop: SimulatedShop) -> Shelf:
    def ids() -> list[int]:
        return [*({one[0] for one in _STATES} | shop.states.keys())]

    names: tuple[str, ...] = (
        "unremovable",
        "delivery",
        "hidden",
        "send_email",
        "module_name",
        "invoice",
        "color",
        "logable",
    )
    names += ("shipped", "paid", "pdf_delivery", "pdf_invoice", "deleted", "name", "template")

    def value(name: str) -> Write:
        return lambda number: state_row(shop, number)[name]

    fields: dict[str, Write] = {"id": int, **{name: value(name) for name in names}}
    worded = frozenset({"name", "template"})
    return Shelf("order_states", "order_states", "order_state", ids, fields, languages=worded)


def state_row(shop: SimulatedShop, number: int) -> Row:
    """Write an order status: one of a fresh shop, with what the test's shop says over it."""
    usual = {one[0]: one for one in _STATES}
    _, name, in_french, mail, flags = usual.get(number, (number, "", "", "", ""))
    row: Row = {
        "unremovable": "1" if number in usual else "0",
        "hidden": "0",
        "send_email": "1" if mail else "0",
        "module_name": "",
        "color": "#3498D8",
        "pdf_delivery": "0",
        "pdf_invoice": "0",
        "deleted": "0",
        **{flag: "1" if letter in flags else "0" for flag, letter in FLAGS.items()},
        "name": {1: name, 2: in_french},
        "template": {1: mail, 2: mail},
    }
    return row | shop.states.get(number, {})


def _currencies(shop: SimulatedShop) -> Shelf:
    def code(number: int) -> str:
        return next(code for code, one in shop.currencies.items() if one == number)

    fields: dict[str, Write] = {
        "id": int,
        "names": lambda number: _worded(code(number)),
        "name": code,
        "symbol": lambda number: _worded(code(number)),
        "iso_code": code,
        "numeric_iso_code": _always(""),
        "precision": _always(2),
        "conversion_rate": _always(_amount("1")),
        "deleted": _always("0"),
        "active": _always("1"),
        "unofficial": _always("0"),
        "modified": _always("0"),
        "pattern": _always({1: "", 2: ""}),
    }
    worded = frozenset({"names", "symbol", "pattern"})
    return Shelf(
        "currencies",
        "currencies",
        "currency",
        shop.currencies.values,
        fields,
        languages=worded,
    )


def _countries() -> Shelf:
    codes = {number: code for code, number in MADE_UP.items()}
    fields: dict[str, Write] = {
        "id": int,
        "id_zone": _always(1),
        "id_currency": _always(0),
        "call_prefix": _always(0),
        "iso_code": codes.__getitem__,
        "active": _always("1"),
        "name": lambda number: _worded(codes[number]),
    }
    return Shelf("countries", "countries", "country", lambda: codes, fields, languages=frozenset({"name"}))


def _languages() -> Shelf:
    fields: dict[str, Write] = {
        "id": int,
        "name": lambda number: LANGUAGES[number],
        "iso_code": lambda number: LANGUAGES[number],
        "locale": lambda number: f"{LANGUAGES[number]}-{LANGUAGES[number].upper()}",
        "active": _always("1"),
    }
    return Shelf("languages", "languages", "language", lambda: LANGUAGES, fields)


def _configurations(shop: SimulatedShop) -> Shelf:
    def name(number: int) -> str:
        return list(shop.settings)[number - 1]

    fields: dict[str, Write] = {
        "id": int,
        "value": lambda number: shop.settings[name(number)],
        "name": name,
        "id_shop_group": _always(""),
        "id_shop": _always(""),
        "date_add": _always(ZERO),
        "date_upd": _always(ZERO),
    }
    return Shelf(
        "configurations",
        "configurations",
        "configuration",
        lambda: range(1, len(shop.settings) + 1),
        fields,
    )


def _always(value: Any) -> Write:
    return lambda _: value


def _amount(amount: str | Decimal) -> str:
    return f"{Decimal(amount):.6f}"


def _title(category: str) -> str:
    return f"{category or 'Plain'} set"


def _worded(text: str) -> dict[int, str]:
    return dict.fromkeys(LANGUAGES, text)


def _category_of(product: int) -> int:
    return product - 8


def _goods_in(category: int) -> int:
    return category + 8
