"""WooCommerce's webhooks: what they carry, and how they are made.

https://woocommerce.github.io/woocommerce-rest-api-docs/#webhooks

- A body is the row of the API as it is when the shop gets round to sending, minutes or hours late; then the
  order may be gone, and the body is an error.
- `order.deleted` means the trash, from where an order can come back; deleting for good sends nothing.
- `X-WC-Webhook-Delivery-ID` is a webhook and a second: three orders shared one.
- No delivery is tried again; after a handful of failures in a row the shop switches the webhook off.
- A secret is never told again, so that making a webhook active also sets it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.base import Delivery, News, Resource, Subscription
from connectors.errors import BadRecord, Refused
from connectors.http import Answer
from connectors.stores.woocommerce.listing import Shop, ids_of
from connectors.webhooks import fingerprint, is_signed, is_topic, read_json

TOPICS: Mapping[str, Resource] = {
    "order": Resource.ORDERS,
    "customer": Resource.CUSTOMERS,
    "product": Resource.PRODUCTS,
}
SUBSCRIBED: Sequence[str] = (
    "order.created",
    "order.updated",
    "order.deleted",
    "order.restored",
    "customer.created",
    "customer.updated",
    "customer.deleted",
)
"""Not products: they are updated with every sale, and the schedule finds their categories soon enough."""
PATH = "webhooks"
DATED = b'"date_modified'
GONE = frozenset({404, 410})
HOOKS_ON_PAGE = 50
"""Asked for at once; of full pages (100) a slow host would be asked for parts."""


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> Delivery | None:
    given = headers.get("x-wc-webhook-signature", "")
    if not is_signed([secret.encode() for secret in secrets], body, [given]):
        return None
    topic = headers.get("x-wc-webhook-topic", "")
    # A row says when it changed; of two that say no more than an id the second may be another deletion.
    known_as = "" if DATED in body else headers.get("x-wc-webhook-delivery-id", "")
    return Delivery(fingerprint(known_as, topic, body), topic) if is_topic(topic) else None


def read_body(topic: str, body: bytes) -> tuple[Resource, Any] | News:
    """Find the row that a delivery carries; News where it is none, or no fact of ours."""
    kind, _, event = topic.partition(".")
    resource = TOPICS.get(kind)
    try:
        row = read_json(body)
    except (ValueError, RecursionError):
        return News(bad=[BadRecord(f"webhook {kind}" if resource else "webhook", "its body is no JSON")])
    if resource is None or (isinstance(row, Mapping) and "code" in row and "id" not in row):
        return News()
    if event == "deleted":
        return News(deleted=[f"{kind} {number}" for number in sorted(ids_of([row]))])
    return resource, row


class Hooks:
    """The webhooks of one shop, signed with `secret`."""

    def __init__(self, shop: Shop, secrets: Sequence[str]) -> None:
        self._shop = shop
        self._secret = secrets[0] if secrets else None

    async def list(self) -> Sequence[Subscription]:
        """Read them by page, never in parts of one: `offset` is ignored here."""
        found: list[Subscription] = []
        number, is_last = 0, False
        while not is_last:
            number += 1
            asked = {"status": "all", "orderby": "id", "order": "asc"}
            listing = await self._shop.list(PATH, asked, number, HOOKS_ON_PAGE)
            found += [_subscription(row) for row in listing.rows if isinstance(row, Mapping)]
            is_last = len(listing.rows) < HOOKS_ON_PAGE
        return found

    async def make(self, topic: str, url: str) -> None:
        row = {
            "name": f"Cartwire {topic}",
            "topic": topic,
            "delivery_url": url,
            "secret": self._known_secret(),
        }
        await self._shop.write("POST", PATH, row)

    async def revive(self, subscription: Subscription) -> None:
        row = {"status": "active", "secret": self._known_secret()}
        await self._shop.write("PUT", f"{PATH}/{subscription.id}", row)

    async def remove(self, subscription: Subscription) -> Answer:
        path = f"{PATH}/{subscription.id}"
        return await self._shop.write("DELETE", path, params={"force": "true"}, expect=GONE)

    def _known_secret(self) -> str:
        if self._secret is None:
            raise Refused("`webhook_secret` is missing: what the shop sends must be signed with it")
        return self._secret


def _subscription(row: Mapping[str, Any]) -> Subscription:
    url, topic = str(row.get("delivery_url", "")), str(row.get("topic", ""))
    return Subscription(str(row.get("id")), topic, url, active=row.get("status") == "active")
