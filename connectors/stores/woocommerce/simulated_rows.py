"""What the simulator's shop holds, as the API shows it: rows are written when somebody asks for them."""

import html
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from connectors.simulation import HistoricOrder
from connectors.stores.woocommerce.simulated_shop import Refund, SimulatedShop, country_of, is_cash

VERSION = "10.5.2"
ADDRESS = "https://shop.example"
SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "TRY": "₺", "JPY": "¥"}
TAX = Decimal("1.20")
CENT = Decimal("0.01")
ATTRIBUTIONS: Sequence[Mapping[str, str]] = (
    {"source_type": "utm", "utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "spring_sale"},
    {"source_type": "organic", "utm_source": "google", "utm_medium": "organic"},
    {"source_type": "typein", "utm_source": "(direct)"},
    {"source_type": "referral", "utm_source": "blog.example", "utm_medium": "referral"},
    {},
)
"""Where buyers came from; each stays with one."""

Row = dict[str, Any]
Write = Callable[[SimulatedShop, HistoricOrder], Any]


def order_row(shop: SimulatedShop, order_id: int, names: Iterable[str] | None = None) -> Row:
    """Write an order's row, whole or only the fields named."""
    order, changed = shop.orders[order_id], shop.changes_of(order_id)
    written: Row = {}
    for name in names or ORDER_FIELDS:
        if name in ORDER_FIELDS:
            write = ORDER_FIELDS[name]
            written[name] = write(shop, order) if callable(write) else write
    if changed and changed.row:
        written |= {name: value for name, value in changed.row.items() if name in written}
    return written


def customer_row(shop: SimulatedShop, account_id: int, names: Iterable[str] | None = None) -> Row:
    account = shop.accounts[account_id]
    who = (account.first_name, account.last_name, account.email, account.country)
    row = {
        "id": account.id,
        **_times(shop, "date_created", account.created),
        **_times(shop, "date_modified", account.modified),
        "email": account.email,
        "first_name": account.first_name,
        "last_name": account.last_name,
        "role": account.role,
        "username": f"customer{account.id}",
        "billing": _billing(*who) if account.country else _billing("", "", "", ""),
        "shipping": _shipping(),
        "is_paying_customer": bool(account.country),
        "avatar_url": "https://secure.gravatar.com/avatar/?s=96&d=mm&r=g",
        "meta_data": _meta(account.meta, account.id),
        "_links": _links("customers", account.id),
    }
    return {name: row[name] for name in names if name in row} if names else row


def product_row(shop: SimulatedShop, product_id: int, names: Iterable[str] | None = None) -> Row:
    goods = shop.products[product_id]
    category = html.escape(goods.category or "Uncategorized", quote=False)
    slug = "".join(letter if letter.isalnum() else "-" for letter in goods.category.lower())
    row = {
        "id": goods.id,
        "name": _title(goods.category),
        "slug": slug,
        "permalink": f"{ADDRESS}/product/{slug}/",
        **_times(shop, "date_created", goods.created),
        **_times(shop, "date_modified", goods.modified),
        "type": "simple",
        "status": "publish",
        "sku": f"SKU-{goods.id:03}",
        "price": "10.00",
        "categories": [{"id": goods.id + 1000, "name": category, "slug": slug}],
        "tags": [],
        "images": [],
        "meta_data": [],
        "_links": _links("products", goods.id),
    }
    return {name: row[name] for name in names if name in row} if names else row


def refund_row(refund: Refund) -> Row:
    refund_id, amount, reason = refund
    return {"id": refund_id, "amount": f"{amount:.2f}", "reason": reason, "line_items": []}


def _billing(first_name: str, last_name: str, email: str, country: str) -> Row:
    number = zlib.crc32(email.encode())
    return {
        "first_name": first_name,
        "last_name": last_name,
        "company": "",
        "address_1": "1 Example Road" if country else "",
        "address_2": "",
        "city": "Testville" if country else "",
        "state": "",
        "postcode": str(10000 + number % 90000) if country else "",
        "country": country,
        "email": email,
        # 01 99 00 is kept for fiction by the French numbering plan
        "phone": f"01 99 00 {number % 100:02} {number // 100 % 100:02}" if country == "FR" else "",
    }


def _shipping() -> Row:
    return dict.fromkeys(
        (
            "first_name",
            "last_name",
            "company",
            "address_1",
            "address_2",
            "city",
            "state",
            "postcode",
            "country",
            "phone",
        ),
        "",
    )


def _order_billing(_: SimulatedShop, order: HistoricOrder) -> Row:
    return _billing(order.first_name, order.last_name, order.email, country_of(order.currency))


def _line_items(shop: SimulatedShop, order: HistoricOrder) -> list[Row]:
    net, tax = _net(order)
    goods = shop.goods_of(order)
    return [
        {
            "id": order.id * 2,
            "name": _title(order.category),
            "product_id": goods.id,
            "variation_id": 0,
            "quantity": order.quantity,
            "tax_class": "",
            "subtotal": net,
            "subtotal_tax": tax,
            "total": net,
            "total_tax": tax,
            "taxes": [{"id": 1, "total": tax, "subtotal": tax}],
            "meta_data": [],
            "sku": f"SKU-{goods.id:03}",
            "global_unique_id": "",
            "price": float(net) / max(1, order.quantity),
            "image": {"id": "", "src": ""},
            "parent_name": None,
        }
    ]


def _refunds(shop: SimulatedShop, order: HistoricOrder) -> list[Row]:
    return [
        {"id": number, "reason": reason, "total": f"-{amount:.2f}"}
        for number, amount, reason in shop.refunds_of(order.id)
    ]


def _net(order: HistoricOrder) -> tuple[str, str]:
    total = Decimal(order.total)
    net = (total / TAX).quantize(CENT)
    return f"{net:.2f}", f"{total - net:.2f}"


def _meta(meta: Mapping[str, Any], number: int) -> list[Row]:
    return [
        {"id": number * 100 + n, "key": key, "value": value} for n, (key, value) in enumerate(meta.items())
    ]


def _links(path: str, number: int) -> Row:
    collection = f"{ADDRESS}/wp-json/wc/v3/{path}"
    return {"self": [{"href": f"{collection}/{number}"}], "collection": [{"href": collection}]}


def _title(category: str) -> str:
    return f"{category or 'Plain'} set"


def _order_meta(shop: SimulatedShop, order: HistoricOrder) -> list[Row]:
    told = ATTRIBUTIONS[zlib.crc32(order.email.encode()) % len(ATTRIBUTIONS)]
    meta: Row = {f"_wc_order_attribution_{name}": value for name, value in told.items()}
    changed = shop.changes_of(order.id)
    return _meta(meta | {"is_vat_exempt": "no"} | (changed.meta if changed else {}), order.id)


def _times(shop: SimulatedShop, name: str, seconds: int | None) -> Row:
    return {name: _local(shop, seconds), f"{name}_gmt": _gmt(seconds)}


def _local(shop: SimulatedShop, seconds: int | None) -> str | None:
    return _text(datetime.fromtimestamp(seconds, shop.zone)) if seconds is not None else None


@lru_cache(maxsize=4096)
def _gmt(seconds: int | None) -> str | None:
    return _text(datetime.fromtimestamp(seconds, UTC)) if seconds is not None else None


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat()


ORDER_FIELDS: Mapping[str, Write | Any] = {
    "id": lambda _, order: order.id,
    "parent_id": 0,
    "status": lambda shop, order: shop.status(order.id),
    "currency": lambda _, order: order.currency,
    "version": VERSION,
    "prices_include_tax": True,
    "date_created": lambda shop, order: _local(shop, shop.created(order.id)),
    "date_modified": lambda shop, order: _local(shop, shop.modified(order.id)),
    "discount_total": "0.00",
    "discount_tax": "0.00",
    "shipping_total": "0.00",
    "shipping_tax": "0.00",
    "cart_tax": lambda _, order: _net(order)[1],
    "total": lambda _, order: f"{Decimal(order.total):.2f}",
    "total_tax": lambda _, order: _net(order)[1],
    "customer_id": lambda _, order: order.account or 0,
    "order_key": lambda _, order: f"wc_order_{order.id:013}",
    "billing": _order_billing,
    "shipping": lambda _shop, _order: _shipping(),
    "payment_method": lambda _, order: "cod" if is_cash(order.id) else "stripe",
    "payment_method_title": lambda _, order: "Cash on delivery" if is_cash(order.id) else "Card",
    "transaction_id": "",
    "customer_ip_address": "127.0.0.1",
    "customer_user_agent": "",
    "created_via": "checkout",
    "customer_note": "",
    "date_completed": lambda shop, order: _local(shop, shop.paid(order.id)),
    "date_paid": lambda shop, order: _local(shop, shop.paid(order.id)),
    "cart_hash": "",
    "number": lambda _, order: str(order.id),
    "meta_data": _order_meta,
    "line_items": _line_items,
    "tax_lines": [],
    "shipping_lines": [],
    "fee_lines": [],
    "coupon_lines": [],
    "refunds": _refunds,
    "payment_url": lambda _, order: f"{ADDRESS}/checkout/order-pay/{order.id}/?pay_for_order=true",
    "is_editable": False,
    "needs_payment": lambda shop, order: shop.status(order.id) in {"pending", "failed"},
    "needs_processing": True,
    "date_created_gmt": lambda shop, order: _gmt(shop.created(order.id)),
    "date_modified_gmt": lambda shop, order: _gmt(shop.modified(order.id)),
    "date_completed_gmt": lambda shop, order: _gmt(shop.paid(order.id)),
    "date_paid_gmt": lambda shop, order: _gmt(shop.paid(order.id)),
    "currency_symbol": lambda _, order: SYMBOLS.get(order.currency, order.currency),
    "_links": lambda _, order: _links("orders", order.id),
}
"""Every field of an order's row, in the order of a real one: a value that never changes, or how to write it."""
