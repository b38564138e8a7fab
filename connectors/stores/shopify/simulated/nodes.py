"""What the shop holds, as the API shows it: a field is written when somebody asks for it."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from connectors.simulation import HistoricOrder
from connectors.stores.shopify.simulated.search import is_visible
from connectors.stores.shopify.simulated.shop import Abandoned, Buyer, Goods, SimulatedShop, country_of

Write = Callable[[SimulatedShop, Any], Any]
ADDRESS = "https://shop.example"
TAX = Decimal("1.20")
VISITS: Sequence[Mapping[str, Any]] = (
    {
        "source": "newsletter",
        "sourceType": "NEWSLETTER",
        "landingPage": f"{ADDRESS}/?utm_source=newsletter&utm_medium=email&utm_campaign=spring_sale",
        "utmParameters": {
            "source": "newsletter",
            "medium": "email",
            "campaign": "spring_sale",
            "content": None,
            "term": None,
        },
    },
    {"source": "Google", "sourceType": "SEO", "referrerUrl": "https://www.google.example/"},
    {"source": "direct"},
    {"source": "blog.example", "sourceType": "LINK", "referrerUrl": "https://blog.example/"},
    {},
)
"""Where buyers came from; each stays with one. The last never had a visit."""


@dataclass(slots=True)
class Node:
    """A row under its type's name; graphql-core asks it field by field."""

    type: str
    shop: SimulatedShop
    row: Any

    def field(self, name: str) -> Any:
        told = self.told()
        return told[name] if name in told else WRITERS[self.type][name](self.shop, self.row)

    def told(self) -> Mapping[str, Any]:
        """Return what tests wrote over the row."""
        changed = self.shop.changes_of(self.row.id) if self.type == "Order" else self.row
        return changed.row if changed else {}


def order_node(shop: SimulatedShop, number: int) -> Node:
    return Node("Order", shop, shop.orders[number])


def customer_node(shop: SimulatedShop, number: int) -> Node:
    return Node("Customer", shop, shop.buyers[number])


def product_node(shop: SimulatedShop, number: int) -> Node:
    return Node("Product", shop, shop.products[number])


def checkout_node(shop: SimulatedShop, number: int) -> Node:
    return Node("AbandonedCheckout", shop, shop.checkouts[number])


NODES: Mapping[str, Callable[[SimulatedShop, int], Node]] = {
    "orders": order_node,
    "customers": customer_node,
    "products": product_node,
    "abandonedCheckouts": checkout_node,
}
ROOTS: Mapping[str, str] = {
    "Order": "orders",
    "Customer": "customers",
    "Product": "products",
    "AbandonedCheckout": "abandonedCheckouts",
}


def node_of(shop: SimulatedShop, gid: str) -> Node | None:
    """Find what an id stands for; None when it is gone, or never was."""
    kind, _, number = gid.removeprefix("gid://shopify/").partition("/")
    root = ROOTS.get(kind)
    if root is None or not number.isdigit() or int(number) not in shop.rows(root):
        return None
    if not is_visible(shop, root, int(number)):
        return None
    return NODES[root](shop, int(number))


def lines_of(shop: SimulatedShop, order: HistoricOrder) -> list[Mapping[str, Any]]:
    """Write an order's lines: one, or the same several times where it was given more."""
    count = 1 + shop.extra_lines.get(order.id, 0)
    if count == 1:
        return [_line(shop, order, order.id * 2, order.total)]
    each = (Decimal(order.total) / count).quantize(Decimal("0.01"))
    return [_line(shop, order, order.id * 1000 + place, str(each)) for place in range(count)]


def collections_of(_: SimulatedShop, goods: Goods) -> list[Mapping[str, Any]]:
    titles = [*(["All products"] if goods.collections else []), *goods.collections]
    return [
        {
            "id": f"gid://shopify/Collection/{place}{goods.id}",
            "handle": "all" if title == "All products" else title.lower(),
            "title": title,
        }
        for place, title in enumerate(titles, start=1)
    ]


@lru_cache(maxsize=4096)
def bag(amount: str | Decimal, currency: str) -> Mapping[str, Any]:
    """Write an amount as Shopify does: as many decimals as it takes, but one at least."""
    text = format(Decimal(amount).normalize(), "f")
    side = {"amount": text if "." in text else f"{text}.0", "currencyCode": currency}
    return {"shopMoney": side, "presentmentMoney": side}


@lru_cache(maxsize=4096)
def iso(seconds: int | None) -> str | None:
    return (
        datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds is not None else None
    )


def address(email: str | None, first_name: str, last_name: str, country: str) -> Mapping[str, Any]:
    number = zlib.crc32((email or "").encode())
    return {
        "id": f"gid://shopify/MailingAddress/{number}",
        "firstName": first_name,
        "lastName": last_name,
        "company": None,
        "address1": "1 Example Road",
        "city": "Testville",
        "zip": str(10000 + number % 90000),
        "provinceCode": None,
        "countryCodeV2": country,
        # 01 99 00 is kept for fiction by the French numbering plan
        "phone": f"01 99 00 {number % 100:02} {number // 100 % 100:02}" if country == "FR" else None,
    }


def _line(shop: SimulatedShop, order: HistoricOrder, number: int, total: str) -> Mapping[str, Any]:
    goods = shop.goods_of(order)
    return {
        "__typename": "LineItem",
        "id": f"gid://shopify/LineItem/{number}",
        "title": _title(order.category),
        "sku": f"SKU-{goods.id:03}",
        "vendor": None,
        "quantity": order.quantity,
        "currentQuantity": order.quantity,
        "isGiftCard": False,
        "discountedTotalSet": bag(total, order.currency),
        "product": Node("Product", shop, goods) if goods.id in shop.products else None,
    }


def _billing(_: SimulatedShop, order: HistoricOrder) -> Mapping[str, Any]:
    return address(order.email, order.first_name, order.last_name, country_of(order.currency))


def _journey(_: SimulatedShop, order: HistoricOrder) -> Mapping[str, Any] | None:
    told = VISITS[zlib.crc32(order.email.encode()) % len(VISITS)]
    if not told:
        return None
    blank = dict.fromkeys(("sourceType", "referrerUrl", "landingPage", "utmParameters"))
    visit = {
        "id": f"gid://shopify/CustomerVisit/{order.id}",
        "occurredAt": iso(int(order.created_at.timestamp())),
        **blank,
        **told,
    }
    return {
        "ready": True,
        "customerOrderIndex": None,
        "daysToConversion": 1,
        "firstVisit": visit,
        "lastVisit": visit,
    }


def _refunds(shop: SimulatedShop, order: HistoricOrder) -> list[Mapping[str, Any]]:
    return [
        {
            "id": f"gid://shopify/Refund/{number}",
            "legacyResourceId": str(number),
            "createdAt": iso(at),
            "note": None,
            "totalRefundedSet": bag(amount, order.currency),
        }
        for number, amount, at in shop.refunds_of(order.id)
    ]


UNRECEIVED = frozenset({"PENDING", "AUTHORIZED", "VOIDED", "EXPIRED"})


def _received(shop: SimulatedShop, order: HistoricOrder) -> Decimal:
    return Decimal() if shop.status(order.id) in UNRECEIVED else Decimal(order.total)


def _refunded(shop: SimulatedShop, order: HistoricOrder) -> Decimal:
    return sum((amount for _, amount, _ in shop.refunds_of(order.id)), Decimal())


def _order_customer(shop: SimulatedShop, order: HistoricOrder) -> Node | None:
    buyer = shop.buyer_of(order)
    return Node("Customer", shop, buyer) if buyer else None


def _consent(_: SimulatedShop, buyer: Buyer) -> Mapping[str, Any] | None:
    if buyer.email is None:
        return None
    state, level, at = buyer.consent
    return {
        "emailAddress": buyer.email,
        "marketingState": state,
        "marketingOptInLevel": level,
        "marketingUpdatedAt": iso(at),
        "validFormat": True,
    }


def _checkout_customer(shop: SimulatedShop, checkout: Abandoned) -> Node | None:
    known = checkout.buyer is not None and checkout.buyer in shop.buyers
    return Node("Customer", shop, shop.buyers[checkout.buyer or 0]) if known else None


def _title(category: str) -> str:
    return f"{category or 'Plain'} set"


def _bag_of(amount: Callable[[SimulatedShop, HistoricOrder], str | Decimal]) -> Write:
    return lambda shop, order: bag(amount(shop, order), order.currency)


def _constant(value: Any) -> Write:
    return lambda _shop, _row: value


_order_total = _bag_of(lambda _, order: order.total)

ORDER: Mapping[str, Write] = {
    "__typename": _constant("Order"),
    "id": lambda _, order: f"gid://shopify/Order/{order.id}",
    "legacyResourceId": lambda _, order: str(order.id),
    "name": lambda _, order: f"#{order.id}",
    "createdAt": lambda shop, order: iso(shop.created(order.id)),
    "processedAt": lambda shop, order: iso(shop.created(order.id)),
    "updatedAt": lambda shop, order: iso(shop.modified(order.id)),
    "cancelledAt": lambda shop, order: iso(shop.cancelled(order.id)),
    "cancelReason": lambda shop, order: "CUSTOMER" if shop.cancelled(order.id) else None,
    "closedAt": _constant(None),
    "test": _constant(value=False),
    "displayFinancialStatus": lambda shop, order: shop.status(order.id),
    "displayFulfillmentStatus": lambda shop, order: (
        "FULFILLED" if shop.status(order.id) == "PAID" else "UNFULFILLED"
    ),
    "fullyPaid": lambda shop, order: shop.status(order.id) == "PAID",
    "unpaid": lambda shop, order: shop.status(order.id) in UNRECEIVED,
    "email": lambda _, order: order.email or None,
    "phone": _constant(None),
    "customerAcceptsMarketing": _constant(value=False),
    "currencyCode": lambda _, order: order.currency,
    "presentmentCurrencyCode": lambda _, order: order.currency,
    "sourceName": _constant("web"),
    "tags": _constant([]),
    "discountCodes": _constant([]),
    "taxesIncluded": _constant(value=True),
    "totalPriceSet": _order_total,
    "currentTotalPriceSet": _order_total,
    "subtotalPriceSet": _order_total,
    "totalReceivedSet": _bag_of(_received),
    "totalRefundedSet": _bag_of(_refunded),
    "netPaymentSet": _bag_of(lambda shop, order: _received(shop, order) - _refunded(shop, order)),
    "totalOutstandingSet": _bag_of(lambda shop, order: Decimal(order.total) - _received(shop, order)),
    "totalTaxSet": _bag_of(
        lambda _, order: (Decimal(order.total) - Decimal(order.total) / TAX).quantize(TAX)
    ),
    "totalDiscountsSet": _bag_of(lambda _shop, _order: "0"),
    "customer": _order_customer,
    "billingAddress": _billing,
    "shippingAddress": _constant(None),
    "customerJourneySummary": _journey,
    "refunds": _refunds,
    "lineItems": lines_of,
}
CUSTOMER: Mapping[str, Write] = {
    "__typename": _constant("Customer"),
    "id": lambda _, buyer: f"gid://shopify/Customer/{buyer.id}",
    "legacyResourceId": lambda _, buyer: str(buyer.id),
    "firstName": lambda _, buyer: buyer.first_name,
    "lastName": lambda _, buyer: buyer.last_name,
    "displayName": lambda _, buyer: f"{buyer.first_name} {buyer.last_name}",
    "createdAt": lambda _, buyer: iso(buyer.created),
    "updatedAt": lambda _, buyer: iso(buyer.modified),
    "state": lambda _, buyer: "ENABLED" if buyer.is_member else "DISABLED",
    "locale": _constant("en"),
    "tags": lambda _, buyer: list(buyer.tags),
    "verifiedEmail": _constant(value=True),
    "numberOfOrders": _constant("0"),
    "defaultEmailAddress": _consent,
    "defaultPhoneNumber": _constant(None),
    "defaultAddress": lambda _, buyer: address(buyer.email, buyer.first_name, buyer.last_name, buyer.country),
}
PRODUCT: Mapping[str, Write] = {
    "__typename": _constant("Product"),
    "id": lambda _, goods: f"gid://shopify/Product/{goods.id}",
    "legacyResourceId": lambda _, goods: str(goods.id),
    "title": lambda _, goods: _title(goods.category),
    "handle": lambda _, goods: f"product-{goods.id}",
    "productType": lambda _, goods: goods.category,
    "createdAt": lambda _, goods: iso(goods.created),
    "updatedAt": lambda _, goods: iso(goods.modified),
    "status": _constant("ACTIVE"),
    "vendor": _constant("Acme"),
    "tags": _constant([]),
    "category": _constant(None),
    "collections": collections_of,
}
CHECKOUT: Mapping[str, Write] = {
    "__typename": _constant("AbandonedCheckout"),
    "id": lambda _, checkout: f"gid://shopify/AbandonedCheckout/{checkout.id}",
    "name": lambda _, checkout: f"#{checkout.id}",
    "abandonedCheckoutUrl": lambda _, checkout: f"{ADDRESS}/checkouts/ac/{checkout.id}/recover?key=example",
    "createdAt": lambda _, checkout: iso(checkout.created),
    "updatedAt": lambda _, checkout: iso(checkout.modified),
    "completedAt": lambda _, checkout: iso(checkout.completed),
    "discountCodes": _constant([]),
    "note": _constant(""),
    "totalPriceSet": lambda _, checkout: bag(checkout.total, checkout.currency),
    "customer": _checkout_customer,
    "billingAddress": _constant(None),
    "shippingAddress": _constant(None),
}
WRITERS: Mapping[str, Mapping[str, Write]] = {
    "Order": ORDER,
    "Customer": CUSTOMER,
    "Product": PRODUCT,
    "AbandonedCheckout": CHECKOUT,
}
CONNECTIONS = frozenset({"lineItems", "collections"})
"""Fields that come page by page, or in bulk on lines of their own."""
