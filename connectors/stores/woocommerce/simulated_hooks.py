"""The shop's own webhooks: made by the API, queued by what happens, sent when somebody calls `deliver`.

As in a real shop: a body is written when it is sent; what waits already for one row is not queued again;
nothing is tried twice; a webhook that fails seven times in a row is switched off; the ping is unsigned.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from connectors.simulation import Post
from connectors.stores.woocommerce.simulated_trouble import Trouble

TOPICS = frozenset(
    f"{resource}.{event}"
    for resource in ("order", "customer", "product", "coupon")
    for event in ("created", "updated", "deleted", "restored")
) - {"customer.restored"}
PATIENCE = 5
"""Failures beyond which the next one switches a webhook off."""
STATUSES = frozenset({"active", "paused", "disabled"})
FORM = {"content-type": "application/x-www-form-urlencoded", "user-agent": "WooCommerce/10.5.2 Hookshot"}

Row = dict[str, Any]
Write = Callable[[str, int], Row]
"""Writes the row of "order", "customer" or "product", or raises KeyError when it is gone."""


@dataclass
class Hook:
    id: int
    name: str
    topic: str
    url: str
    secret: str
    status: str = "active"
    failures: int = 0

    def row(self) -> Row:
        resource, _, event = self.topic.partition(".")
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "topic": self.topic,
            "resource": resource,
            "event": event,
            "hooks": [],
            "delivery_url": self.url,
        }


@dataclass(frozen=True)
class Job:
    """A delivery that waits; `number` is the row's, None for the ping."""

    hook: int
    number: int | None


class SimulatedHooks:
    """`hooks` are those of the shop, by number; `queue` is what waits."""

    def __init__(self) -> None:
        self.hooks: dict[int, Hook] = {}
        self.queue: list[Job] = []

    def happened(self, topic: str, number: int) -> None:
        """Queue what the webhooks of a topic have to send, once for each row."""
        for hook in self.hooks.values():
            job = Job(hook.id, number)
            if hook.topic == topic and hook.status == "active" and job not in self.queue:
                self.queue.append(job)

    def answer(
        self, method: str, parts: list[str], params: Mapping[str, str], body: bytes
    ) -> tuple[int, Any]:
        """Do what the API's `webhooks` do; `parts` is the path behind that word."""
        if not parts:
            return (201, self._make(_json(body))) if method == "POST" else (200, self._list(params))
        hook = self.hooks.get(int(parts[0])) if parts[0].isdigit() else None
        if hook is None:
            raise Trouble(404, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
        if method == "DELETE":
            if params.get("force") != "true":
                raise Trouble(
                    501, "woocommerce_rest_trash_not_supported", "Webhooks do not support trashing."
                )
            del self.hooks[hook.id]
        elif method in {"PUT", "POST", "PATCH"}:
            _change(hook, _json(body))
        return 200, hook.row()

    async def deliver(self, post: Post, write: Write) -> int:
        """Send all that waits; return how many were taken."""
        jobs, self.queue = self.queue, []
        taken = 0
        for job in jobs:
            hook = self.hooks.get(job.hook)
            if hook is None or hook.status != "active":
                continue
            status = await post(hook.url, *self.delivery(hook, job.number, write))
            hook.failures = 0 if 200 <= status < 303 else hook.failures + (job.number is not None)
            hook.status = "disabled" if hook.failures > PATIENCE + 1 else hook.status
            taken += 200 <= status < 303
        return taken

    def delivery(self, hook: Hook, number: int | None, write: Write) -> tuple[Mapping[str, str], bytes]:
        """Write headers and body of a delivery, as things are now."""
        if number is None:
            return FORM, f"webhook_id={hook.id}".encode()
        resource, _, event = hook.topic.partition(".")
        body = msgspec.json.encode(
            {"id": number} if event == "deleted" else _written(write, resource, number)
        )
        signature = hmac.digest(hook.secret.encode(), body, hashlib.sha256)
        return {
            "content-type": "application/json",
            "user-agent": FORM["user-agent"],
            "x-wc-webhook-source": "https://shop.example/",
            "x-wc-webhook-topic": hook.topic,
            "x-wc-webhook-resource": resource,
            "x-wc-webhook-event": event,
            "x-wc-webhook-signature": base64.b64encode(signature).decode(),
            "x-wc-webhook-id": str(hook.id),
            "x-wc-webhook-delivery-id": hashlib.md5(str(hook.id).encode()).hexdigest(),  # noqa: S324 - as the vendor's
        }, body

    def _make(self, told: Row) -> Row:
        if told.get("topic") not in TOPICS:
            message = "Webhook topic is required and must be valid."
            raise Trouble(400, "woocommerce_rest_shop_webhook_invalid_topic", message)
        url = str(told.get("delivery_url"))
        if not url.startswith(("http://", "https://")):
            message = "Webhook delivery URL must be a valid URL starting with http:// or https://."
            raise Trouble(400, "woocommerce_rest_shop_webhook_invalid_delivery_url", message)
        number = max(self.hooks, default=1) + 1
        name, secret = str(told.get("name", told["topic"])), str(told.get("secret", "x" * 50))
        self.hooks[number] = Hook(number, name, told["topic"], url, secret)
        self.queue.append(Job(number, None))
        return self.hooks[number].row()

    def _list(self, params: Mapping[str, str]) -> list[Row]:
        """List a page; `offset` is ignored."""
        status, size = params.get("status", "all"), int(params.get("per_page", 10))
        rows = [hook.row() for hook in self.hooks.values() if status in {"all", hook.status}]
        start = (int(params.get("page", 1)) - 1) * size
        return rows[start : start + size]


def _change(hook: Hook, told: Row) -> None:
    hook.status = told["status"] if told.get("status") in STATUSES else hook.status
    hook.secret = str(told.get("secret", hook.secret))
    hook.url = str(told.get("delivery_url", hook.url))
    hook.failures = 0 if hook.status == "active" else hook.failures


def _written(write: Write, resource: str, number: int) -> Row:
    try:
        return write(resource, number)
    except KeyError:
        code = f"woocommerce_rest_shop_{resource}_invalid_id"
        return {"code": code, "message": "Invalid ID.", "data": {"status": 404}}


def _json(body: bytes) -> Row:
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = None
    if not isinstance(told, dict):
        raise Trouble(400, "rest_invalid_json", "Invalid JSON body passed.")
    return told
