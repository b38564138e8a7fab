"""The shop's webhooks: made by the API, queued with their bodies when something happens, sent by `deliver`.

As at Shopify: the body is that of the moment, in the shape of the older REST API; a delivery that fails is
tried again with the same id and body, up to eight times; a webhook that fails as often in a row is deleted.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from connectors.simulation import HistoricOrder, Post
from connectors.stores.shopify.simulated.nodes import address
from connectors.stores.shopify.simulated.shop import Buyer, SimulatedShop, country_of

SECRET = "shpss_" + "6" * 32
TRIES = 8
ZONE = ZoneInfo("Europe/Paris")
TOPICS: Mapping[str, str] = {
    "ORDERS_CREATE": "orders/create",
    "ORDERS_UPDATED": "orders/updated",
    "ORDERS_PAID": "orders/paid",
    "ORDERS_CANCELLED": "orders/cancelled",
    "ORDERS_DELETE": "orders/delete",
    "REFUNDS_CREATE": "refunds/create",
    "CUSTOMERS_CREATE": "customers/create",
    "CUSTOMERS_UPDATE": "customers/update",
    "CUSTOMERS_DELETE": "customers/delete",
    "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE": "customers_email_marketing_consent/update",
    "CHECKOUTS_CREATE": "checkouts/create",
    "CHECKOUTS_UPDATE": "checkouts/update",
    "CHECKOUTS_DELETE": "checkouts/delete",
    "PRODUCTS_UPDATE": "products/update",
    "APP_UNINSTALLED": "app/uninstalled",
}
GID = "gid://shopify/WebhookSubscription/"
TAKEN = "Address for this topic has already been taken"

Row = dict[str, Any]


@dataclass
class Hook:
    id: int
    topic: str
    uri: str
    failures: int = 0

    def node(self) -> Row:
        return {"id": f"{GID}{self.id}", "topic": self.topic, "uri": self.uri, "format": "JSON"}


@dataclass(frozen=True)
class Job:
    """A delivery that waits: the webhook, its own id, its body, and how often it was tried."""

    hook: int
    id: str
    body: bytes
    tries: int = 0


@dataclass
class Hooks:
    """`hooks` are those of our app, by number; `queue` is what waits. All are signed with `secret`."""

    shop: SimulatedShop
    secret: str = SECRET
    hooks: dict[int, Hook] = field(default_factory=dict)
    queue: list[Job] = field(default_factory=list)
    made: int = 0

    def happened(self, topic: str, number: int) -> None:
        """Queue what the webhooks of a topic have to send; without one nothing is written."""
        for hook in self.hooks.values():
            if hook.topic == topic:
                self.made += 1
                body = msgspec.json.encode(BODIES[topic](self.shop, number))
                self.queue.append(Job(hook.id, str(UUID(int=self.made)), body))

    async def deliver(self, post: Post) -> int:
        """Send all that waits; what fails waits again. Return how many were taken."""
        jobs, self.queue = self.queue, []
        taken = 0
        for job in jobs:
            if hook := self.hooks.get(job.hook):
                status = await post(hook.uri, self.headers(hook.topic, job.id, job.body), job.body)
                taken += 200 <= status < 300
                self._note(hook, job, is_taken=200 <= status < 300)
        return taken

    def headers(self, topic: str, id_: str, body: bytes) -> Mapping[str, str]:
        """Write the headers of a delivery."""
        signature = hmac.digest(self.secret.encode(), body, hashlib.sha256)
        return {
            "content-type": "application/json",
            "x-shopify-topic": TOPICS.get(topic, topic),
            "x-shopify-hmac-sha256": base64.b64encode(signature).decode(),
            "x-shopify-shop-domain": "simulated-shop.myshopify.com",
            "x-shopify-api-version": "2026-10",
            "x-shopify-webhook-id": id_,
            "x-shopify-triggered-at": self.shop.now().isoformat(),
        }

    # --- what the API does -----------------------------------------------------------------------------

    def list(self, first: int, after: str | None) -> tuple[Sequence[Row], bool]:
        """Return a page of them, and whether there are more."""
        known = [hook for hook in self.hooks.values() if after is None or hook.id > int(after)]
        return [hook.node() for hook in known[:first]], len(known) > first

    def make(self, topic: str, sub: Mapping[str, Any]) -> Row:
        uri = str(sub.get("uri") or sub.get("callbackUrl") or "")
        if any((hook.topic, hook.uri) == (topic, uri) for hook in self.hooks.values()):
            return _refused(["webhookSubscription", "callbackUrl"], TAKEN)
        if not uri.startswith("https://"):
            return _refused(
                ["webhookSubscription", "callbackUrl"], "Address protocol http:// is not supported"
            )
        number = max(self.hooks, default=1000) + 1
        self.hooks[number] = Hook(number, topic, uri)
        return {"webhookSubscription": self.hooks[number].node(), "userErrors": []}

    def delete(self, gid: str) -> Row:
        number = gid.removeprefix(GID)
        if not number.isdigit() or self.hooks.pop(int(number), None) is None:
            error = {"field": ["id"], "message": "Webhook subscription does not exist"}
            return {"deletedWebhookSubscriptionId": None, "userErrors": [error]}
        return {"deletedWebhookSubscriptionId": gid, "userErrors": []}

    def _note(self, hook: Hook, job: Job, *, is_taken: bool) -> None:
        hook.failures = 0 if is_taken else hook.failures + 1
        if hook.failures >= TRIES:
            del self.hooks[hook.id]
        elif not is_taken and job.tries < TRIES:
            self.queue.append(replace(job, tries=job.tries + 1))


def _refused(field_: Sequence[str], message: str) -> Row:
    return {"webhookSubscription": None, "userErrors": [{"field": field_, "message": message}]}


# --- bodies ------------------------------------------------------------------------------------------------


def _order(shop: SimulatedShop, number: int) -> Row:
    order, buyer = shop.orders[number], shop.buyer_of(shop.orders[number])
    cancelled = shop.cancelled(number)
    return {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/Order/{number}",
        "name": f"#{number}",
        "created_at": _local(shop.created(number)),
        "processed_at": _local(shop.created(number)),
        "updated_at": _local(shop.modified(number)),
        "cancelled_at": None if cancelled is None else _local(cancelled),
        "test": False,
        "financial_status": shop.status(number).lower(),
        "currency": order.currency,
        "total_price": order.total,
        "total_discounts": "0.00",
        "taxes_included": True,
        "email": order.email or None,
        "phone": None,
        "buyer_accepts_marketing": False,
        "source_name": "web",
        "landing_site": None,
        "referring_site": None,
        "customer": {"id": buyer.id} if buyer else None,
        "billing_address": _address(order, buyer),
        "line_items": [_line(shop, order)],
        "refunds": [_refund(number, refund, order.currency) for refund in shop.refunds_of(number)],
    }


def _line(shop: SimulatedShop, order: HistoricOrder) -> Row:
    price = (Decimal(order.total) / order.quantity).quantize(Decimal("0.01"))
    return {
        "id": order.id * 2,
        "product_id": shop.goods_of(order).id,
        "title": f"{order.category or 'Plain'} set",
        "quantity": order.quantity,
        "price": str(price),
        "discount_allocations": [],
        "tax_lines": [],
    }


def _refund(order: int, refund: tuple[int, Decimal, int], currency: str) -> Row:
    number, amount, at = refund
    given = {"kind": "refund", "status": "success", "amount": str(amount), "currency": currency}
    return {"id": number, "order_id": order, "created_at": _local(at), "transactions": [given]}


def _last_refund(shop: SimulatedShop, number: int) -> Row:
    return _refund(number, shop.refunds_of(number)[-1], shop.orders[number].currency)


def _customer(shop: SimulatedShop, number: int) -> Row:
    """Write a customer as since 2025-01: without a word on what they agreed to."""
    buyer = shop.buyers[number]
    return {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/Customer/{number}",
        "created_at": _local(buyer.created),
        "updated_at": _local(buyer.modified),
        "first_name": buyer.first_name,
        "last_name": buyer.last_name,
        "email": buyer.email,
        "state": "enabled" if buyer.is_member else "disabled",
    }


def _consent(shop: SimulatedShop, number: int) -> Row:
    state, level, _ = shop.buyers[number].consent
    told = {"state": state.lower(), "opt_in_level": (level or "").lower() or None}
    return {
        "customer_id": number,
        "email_address": shop.buyers[number].email,
        "email_marketing_consent": told,
    }


def _address(order: HistoricOrder, buyer: Buyer | None) -> Row:
    told = address(
        order.email, order.first_name, order.last_name, buyer.country if buyer else country_of("EUR")
    )
    return {
        "first_name": told["firstName"],
        "last_name": told["lastName"],
        "company": None,
        "phone": told["phone"],
        "zip": told["zip"],
        "city": told["city"],
        "country_code": told["countryCodeV2"],
    }


def _checkout(shop: SimulatedShop, number: int) -> Row:
    """Write a checkout as since 2026-04: without its id."""
    checkout = shop.checkouts[number]
    return {
        "token": f"token-{number}",
        "created_at": _local(checkout.created),
        "updated_at": _local(checkout.modified),
        "completed_at": None if checkout.completed is None else _local(checkout.completed),
        "total_price": checkout.total,
        "currency": checkout.currency,
    }


def _only_id(_: SimulatedShop, number: int) -> Row:
    return {"id": number}


def _local(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, ZONE).isoformat()


BODIES: Mapping[str, Callable[[SimulatedShop, int], Row]] = {
    **dict.fromkeys(("ORDERS_CREATE", "ORDERS_UPDATED", "ORDERS_PAID", "ORDERS_CANCELLED"), _order),
    **dict.fromkeys(("ORDERS_DELETE", "CUSTOMERS_DELETE", "CHECKOUTS_DELETE", "PRODUCTS_UPDATE"), _only_id),
    **dict.fromkeys(("CUSTOMERS_CREATE", "CUSTOMERS_UPDATE"), _customer),
    **dict.fromkeys(("CHECKOUTS_CREATE", "CHECKOUTS_UPDATE"), _checkout),
    "REFUNDS_CREATE": _last_refund,
    "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE": _consent,
    "APP_UNINSTALLED": _only_id,
}
