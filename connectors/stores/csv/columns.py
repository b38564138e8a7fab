"""Which column of a file is what: names that exports give them, told apart by nothing but the header.

Shopify: https://help.shopify.com/en/manual/fulfillment/managing-orders/exporting-orders. WooCommerce's own
lists cannot be exported with addresses; its export plugins write the names of the REST API's fields. PrestaShop
exports its list of orders without addresses, and by SQL with whatever names were written there.
"""

import re
from collections.abc import Mapping, Sequence

from connectors.facts import Fulfilment, Standing

ALIASES: Mapping[str, Sequence[str]] = {
    # the name of the plain form comes first; of two columns that are there the earlier counts
    "order_id": ("order_id", "id", "id_order", "order", "order_no", "post_id"),
    "number": ("order_number", "number", "reference", "order_reference"),
    "email": (
        "email",
        "billing_email",
        "customer_email",
        "e_mail",
        "email_address",
        "billing_email_address",
        "email_billing",
    ),
    "date": ("date", "created_at", "order_date", "date_add", "date_created", "created", "ordered_at"),
    "paid_at": ("paid_at", "paid_date", "date_paid", "invoice_date"),
    "cancelled_at": ("cancelled_at", "canceled_at"),
    "amount": (
        "amount",
        "total",
        "order_total",
        "total_paid_tax_incl",
        "total_paid",
        "order_total_amount",
        "total_amount",
        "n_revenue",
    ),
    "currency": ("currency", "order_currency", "currency_code", "iso_code"),
    "status": ("status", "financial_status", "order_status", "state", "current_state", "payment_status"),
    "refunded": (
        "refunded",
        "refunded_amount",
        "refund_total",
        "order_refund",
        "total_refunded",
        "refund_amount",
        "order_refund_amount",
    ),
    "discount": (
        "discount",
        "discount_amount",
        "discount_total",
        "total_discounts_tax_incl",
        "cart_discount",
    ),
    "first_name": (
        "first_name",
        "billing_first_name",
        "firstname",
        "customer_first_name",
        "first_name_billing",
    ),
    "last_name": ("last_name", "billing_last_name", "lastname", "customer_last_name", "last_name_billing"),
    "full_name": ("full_name", "billing_name", "customer", "customer_name", "billing_full_name", "name"),
    "company": ("company", "billing_company", "company_billing"),
    "phone": ("phone", "billing_phone", "phone_billing", "phone_mobile"),
    "postal_code": (
        "postal_code",
        "billing_zip",
        "billing_postcode",
        "postcode",
        "postcode_billing",
        "zip",
        "zipcode",
    ),
    "city": ("city", "billing_city", "city_billing"),
    "country": ("country", "billing_country", "country_code", "billing_country_code", "country_code_billing"),
    "vat_number": ("vat_number", "billing_vat_number", "vat", "tax_number"),
    "fulfilment": ("fulfilment", "fulfillment_status", "fulfilment_status", "shipping_status"),
    "product": (
        "product",
        "lineitem_name",
        "product_name",
        "item_name",
        "line_item_name",
        "title",
    ),
    "category": ("category", "product_category", "categories", "item_category"),
    "quantity": (
        "quantity",
        "lineitem_quantity",
        "product_quantity",
        "item_quantity",
        "qty",
    ),
    "price": ("price", "lineitem_price", "unit_price_tax_incl", "item_price"),
    "consent": ("accepts_marketing", "newsletter", "marketing_consent", "consent"),
    "source": ("source_name", "lead_source", "utm_source"),
}
"""What we read, and the headers under which it may stand, written as `normal_header` writes them."""

SHOPIFY = {"name", "financial_status"}
"""Where these two stand, the name is the order's; anywhere else it is somebody's."""
NEEDED = ("order_id", "date", "amount")

STATUSES: Mapping[str, Standing] = {
    **dict.fromkeys(
        (
            "paid",
            "processing",
            "completed",
            "complete",
            "shipped",
            "delivered",
            "fulfilled",
            "partially_refunded",
            "partially refunded",
            "payment accepted",
            "processing in progress",
            "remote payment accepted",
            "on backorder (paid)",
            "paiement accepté",
            "en cours de préparation",
            "paiement à distance accepté",
            "expédié",
            "livré",
            "2",
            "3",
            "4",
            "5",
            "9",
            "11",
        ),
        Standing.PAID,
    ),
    **dict.fromkeys(
        (
            "unpaid",
            "pending",
            "pending payment",
            "authorized",
            "partially_paid",
            "partially paid",
            "expired",
            "on-hold",
            "on hold",
            "failed",
            "draft",
            "checkout-draft",
            "payment error",
            "on backorder (not paid)",
            "awaiting check payment",
            "awaiting bank wire payment",
            "awaiting cash on delivery validation",
            "erreur de paiement",
            "en attente de virement bancaire",
            "en attente du paiement par chèque",
            "1",
            "8",
            "10",
            "12",
            "13",
        ),
        Standing.UNPAID,
    ),
    **dict.fromkeys(("cancelled", "canceled", "voided", "trash", "annulé", "6"), Standing.CANCELLED),
    **dict.fromkeys(("refunded", "remboursé", "7"), Standing.REFUNDED),
    "test": Standing.TEST,
}
"""Words of Shopify, WooCommerce (without `wc-`), PrestaShop (English, French, ids of a fresh shop)."""

FULFILMENTS: Mapping[str, Fulfilment] = {
    **dict.fromkeys(("open", "unfulfilled", "unshipped", "pending", "processing"), Fulfilment.OPEN),
    **dict.fromkeys(("partial", "partially fulfilled"), Fulfilment.PARTIAL),
    **dict.fromkeys(("fulfilled", "shipped", "delivered", "completed", "complete"), Fulfilment.FULFILLED),
    **dict.fromkeys(("expédié", "livré", "4", "5"), Fulfilment.FULFILLED),
    **dict.fromkeys(("en cours de préparation", "processing in progress", "3"), Fulfilment.OPEN),
}
"""Words of a column about shipping; where there is none, those of the status. Others tell nothing."""

SYMBOLS: Mapping[str, str] = {"€": "EUR", "£": "GBP", "₺": "TRY", "zł": "PLN", "₹": "INR"}
"""Signs that mean one currency alone."""

SIGNS = "$£¥฿\u20a0-\u20cf"
"""Signs of currencies, as a class of characters."""
ABBREVIATIONS = frozenset(
    ("zł", "kr", "kč", "ft", "lei", "лв", "din", "kn", "tl", "fr", "sfr", "грн", "r", "rs", "rm", "rp")
)
"""What stands beside amounts in place of a currency's code or sign."""

WORDS: Mapping[str, bool] = {
    **dict.fromkeys(("yes", "true", "1", "on", "subscribed"), True),
    **dict.fromkeys(("no", "false", "0", "off", "unsubscribed"), False),
}


def normal_header(text: str) -> str:
    """Write a header one way: lower case, whatever is no letter or digit as one underscore."""
    return re.sub(r"[\W_]+", "_", text.strip().lower()).strip("_")


def find_columns(header: Sequence[str]) -> dict[str, int]:
    """Say at which position each thing stands that the header names."""
    names = [normal_header(text) for text in header]
    if set(names) >= SHOPIFY:
        names[names.index("name")] = "order_number"
    found: dict[str, int] = {}
    for field, aliases in ALIASES.items():
        place = next((names.index(alias) for alias in aliases if alias in names), None)
        if place is not None:
            found[field] = place
    if "order_id" not in found and "number" in found:
        found["order_id"] = found["number"]
    return found
