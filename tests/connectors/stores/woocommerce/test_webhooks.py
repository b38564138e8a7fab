import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import Refused
from connectors.facts import Customer, Order, Product
from connectors.stores.woocommerce.connector import WooCommerce
from connectors.stores.woocommerce.simulator import SETTINGS
from tests.connectors.stores.woocommerce.test_payloads import CUSTOMERS, ORDERS

RECORDINGS = Path(__file__).parents[4] / ".." / "shared" / "recordings" / "woocommerce"
SECRET = "a&b<c>\"'é\\ %41+/="


@pytest.fixture
def store() -> WooCommerce:
    return WooCommerce(WooCommerce.Settings(**SETTINGS, webhook_secret=SECRET))


def signed(topic: str, body: bytes, secret: str = SECRET) -> Mapping[str, str]:
    signature = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
    return {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Signature": signature}


def delivery(topic: str, row: Any) -> tuple[Mapping[str, str], bytes]:
    body = json.dumps(row).encode()
    return signed(topic, body), body


@pytest.mark.parametrize("event", ["created", "updated", "restored"])
def test_a_signed_order_is_read_as_a_pulled_one(store: WooCommerce, event: str) -> None:
    page = store.read_webhook(*delivery(f"order.{event}", ORDERS["completed"]))

    assert [(type(fact), fact.id) for fact in page.facts] == [(Order, "1041")]


def test_accounts_and_products_are_read_too(store: WooCommerce) -> None:
    goods = {"id": 7, "name": "Tee", "categories": [], "date_modified_gmt": "2026-11-01T00:00:00"}

    person = store.read_webhook(*delivery("customer.updated", CUSTOMERS["company"]))
    product = store.read_webhook(*delivery("product.updated", goods))

    assert [type(fact) for fact in (*person.facts, *product.facts)] == [Customer, Product]


def test_a_trashed_order_is_gone(store: WooCommerce) -> None:
    page = store.read_webhook(*delivery("order.deleted", {"id": 1813}))

    assert (page.gone, page.facts) == (["1813"], [])


def test_the_unsigned_ping_says_nothing(store: WooCommerce) -> None:
    page = store.read_webhook({"Content-Type": "application/x-www-form-urlencoded"}, b"webhook_id=12")

    assert (page.facts, page.gone, page.bad) == ([], (), ())


@pytest.mark.parametrize("body", [b"webhook_id=12&x=1", b"webhook_id=", b'{"id": 1}', b""])
def test_whatever_else_is_unsigned_is_refused(store: WooCommerce, body: bytes) -> None:
    with pytest.raises(Refused, match="does not match"):
        store.read_webhook({}, body)


def test_a_signature_of_another_secret_or_body_is_refused(store: WooCommerce) -> None:
    headers, body = delivery("order.updated", ORDERS["completed"])

    with pytest.raises(Refused):
        store.read_webhook(headers, body + b" ")
    with pytest.raises(Refused):
        store.read_webhook(signed("order.updated", body, "another"), body)
    with pytest.raises(Refused):
        store.read_webhook(headers | {"X-WC-Webhook-Signature": "é"}, body)


def test_without_a_secret_no_webhook_is_believed() -> None:
    store = WooCommerce(WooCommerce.Settings(**SETTINGS))
    body = b"{}"

    with pytest.raises(Refused, match="`webhook_secret`"):
        store.read_webhook(signed("order.updated", body, ""), body)


def test_an_order_that_was_gone_when_the_body_was_written_says_nothing(store: WooCommerce) -> None:
    error = {
        "code": "woocommerce_rest_shop_order_invalid_id",
        "message": "Invalid ID.",
        "data": {"status": 404},
    }

    page = store.read_webhook(*delivery("order.created", error))

    assert (page.facts, page.bad) == ([], ())


@pytest.mark.parametrize("topic", ["coupon.updated", "action.woocommerce_order_refunded", ""])
def test_topics_that_hold_no_fact_of_ours_say_nothing(store: WooCommerce, topic: str) -> None:
    page = store.read_webhook(*delivery(topic, {"action": "x", "arg": 1813}))

    assert (page.facts, page.bad, page.gone) == ([], (), ())


def test_a_broken_order_and_a_broken_body_are_dead_letters(store: WooCommerce) -> None:
    order = store.read_webhook(*delivery("order.updated", ORDERS["completed"] | {"total": "free"}))
    body = store.read_webhook(signed("order.updated", b"{"), b"{")

    assert [letter.record for letter in (*order.bad, *body.bad)] == ["order 1041", "webhook order"]


def test_every_recorded_delivery_is_believed_and_read() -> None:
    if not (RECORDINGS / "webhook-deliveries.json").exists():
        pytest.skip("the recordings of real shops are not beside this repository")
    deliveries = json.loads((RECORDINGS / "webhook-deliveries.json").read_text("utf-8"))["deliveries"]

    secrets = {each["secret"] for each in deliveries if each.get("secret")}
    stores = {
        secret: WooCommerce(WooCommerce.Settings(**SETTINGS, webhook_secret=secret)) for secret in secrets
    }

    gone, facts = [], 0
    for each in (each for each in deliveries if each["request"]):
        store = stores[each.get("secret") or max(secrets)]
        headers = dict(each["request"]["headers"])
        page = store.read_webhook(headers, base64.b64decode(each["request"]["body_base64"]))
        assert page.bad in ((), [])
        gone += page.gone
        facts += len(page.facts)

    assert (gone, facts) == (["1813", "1827", "1827"], facts)
    assert facts > 20
