"""From facts to columns of the state store. Pure; the rows that they become are written in `facts`."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import asdict

from connectors.facts import Checkout, Customer, Fact, Order, Product, Refund, Source

Columns = dict[str, Any]


def digest(fact: Fact) -> str:
    """Tell two copies apart; a product's moment says nothing, since it moves with every sale."""
    content: Any = (fact.title, fact.categories) if isinstance(fact, Product) else fact
    return hashlib.blake2b(msgspec.json.encode(content), digest_size=8).hexdigest()


def _source_columns(source: Source | None) -> Columns:
    return {
        "source_name": source.name if source else None,
        "source_medium": source.medium if source else None,
        "source_evidence": source.evidence if source else None,
    }


def order_columns(store: str, order: Order, accounts: Mapping[str, str]) -> Columns:
    """Write an order; `accounts` are the current addresses of those who have one."""
    return {
        "store": store,
        "id": order.id,
        "number": order.number,
        "email": order.email,
        "customer_id": order.customer_id,
        "person": accounts.get(order.customer_id or "", order.email),
        "standing": order.standing.value,
        "status": order.status,
        "currency": order.total.currency,
        "total_minor": order.total.minor,
        "discount_minor": order.discount.minor if order.discount else None,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "paid_at": order.paid_at,
        "fulfilment": order.fulfilment.value if order.fulfilment else None,
        "digest": digest(order),
        **asdict(order.person),
        **_source_columns(order.source),
    }


def line_columns(store: str, order: Order) -> list[Columns]:
    """Write an order's lines, in its order."""
    return [
        {
            "store": store,
            "order_id": order.id,
            "position": position,
            "product_id": line.product_id,
            "title": line.title,
            "quantity": line.quantity,
            "total_minor": line.total.minor,
        }
        for position, line in enumerate(order.lines)
    ]


def refund_columns(store: str, refund: Refund) -> Columns:
    """Write a refund."""
    return {
        "store": store,
        "order_id": refund.order_id,
        "id": refund.id,
        "amount_minor": refund.amount.minor,
        "created_at": refund.created_at,
    }


def customer_columns(store: str, customer: Customer) -> Columns:
    """Write an account."""
    return {
        "store": store,
        "id": customer.id,
        "email": customer.email,
        "birthday": customer.birthday,
        "tags": ", ".join(customer.tags) or None,
        "guest": customer.guest,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
        "digest": digest(customer),
        **asdict(customer.person),
        **_source_columns(customer.source),
    }


def checkout_columns(store: str, checkout: Checkout, accounts: Mapping[str, str]) -> Columns:
    """Write a checkout; `accounts` as with orders."""
    return {
        "store": store,
        "id": checkout.id,
        "email": checkout.email,
        "customer_id": checkout.customer_id,
        "person": accounts.get(checkout.customer_id or "", checkout.email),
        "url": checkout.url,
        "currency": checkout.total.currency if checkout.total else None,
        "total_minor": checkout.total.minor if checkout.total else None,
        "created_at": checkout.created_at,
        "updated_at": checkout.updated_at,
        "completed_at": checkout.completed_at,
        "digest": digest(checkout),
    }


def product_columns(store: str, product: Product) -> Columns:
    """Write a product, but for its categories."""
    return {
        "store": store,
        "id": product.id,
        "title": product.title,
        "updated_at": product.updated_at,
        "digest": digest(product),
    }
