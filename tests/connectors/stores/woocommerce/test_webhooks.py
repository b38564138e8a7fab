import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Delivery, News
from connectors.facts import Customer, Order, Product
from connectors.stores.woocommerce.connector import WooCommerce
from connectors.stores.woocommerce.simulator import SETTINGS
from connectors.webhooks import is_greeting
from tests.connectors.stores.woocommerce.test_payloads import CUSTOMERS, ORDERS

RECORDINGS = Path(__file__).parents[4] / ".." / "shared" / "recordings" / "woocommerce"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SECRET = "a&b<c>\"'é\\ %41+/="


@pytest.fixture
def store() -> WooCommerce:
    return WooCommerce(WooCommerce.Settings(**SETTINGS, webhook_secret=SECRET))


def signed(topic: str, body: bytes, secret: str = SECRET) -> Mapping[str, str]:
    signature = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
    return {"x-wc-webhook-topic": topic, "x-wc-webhook-signature": signature}


def delivered(store: WooCommerce, topic: str, row: Any) -> News:
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    delivery = store.verify(signed(topic, body), body, NOW)
    assert delivery is not None
    return store.read_webhook(delivery.topic, body)


@pytest.mark.parametrize("event", ["created", "updated", "restored"])
def test_a_signed_order_is_read_as_a_pulled_one(store: WooCommerce, event: str) -> None:
    page = delivered(store, f"order.{event}", ORDERS["completed"])

    assert [(type(fact), fact.id) for fact in page.facts] == [(Order, "1041")]


def test_accounts_and_products_are_read_too(store: WooCommerce) -> None:
    goods = {"id": 7, "name": "Tee", "categories": [], "date_modified_gmt": "2026-11-01T00:00:00"}

    person = delivered(store, "customer.updated", CUSTOMERS["company"])
    product = delivered(store, "product.updated", goods)

    assert [type(fact) for fact in (*person.facts, *product.facts)] == [Customer, Product]


def test_a_trashed_order_is_gone(store: WooCommerce) -> None:
    news = delivered(store, "order.deleted", {"id": 1813})

    assert news == News(deleted=["order 1813"])


@pytest.mark.parametrize("body", [b"webhook_id=12", b" webhook_id=12\n"])
def test_the_unsigned_ping_is_a_greeting(body: bytes) -> None:
    assert is_greeting(body)


@pytest.mark.parametrize(
    "body", [b"webhook_id=12&x=1", b"webhook_id=", b'{"id": 1}', b"", b"webhook_id=\xb2"]
)
def test_whatever_else_is_unsigned_is_neither_a_greeting_nor_believed(
    store: WooCommerce, body: bytes
) -> None:
    assert not is_greeting(body)
    assert store.verify({}, body, NOW) is None


def test_a_signature_of_another_secret_or_body_is_not_believed(store: WooCommerce) -> None:
    body = json.dumps(ORDERS["completed"]).encode()
    headers = signed("order.updated", body)

    assert store.verify(headers, body, NOW) is not None
    assert store.verify(headers, body + b" ", NOW) is None
    assert store.verify(signed("order.updated", body, "another"), body, NOW) is None
    assert store.verify({**headers, "x-wc-webhook-signature": "é"}, body, NOW) is None


def test_while_one_secret_takes_the_place_of_another_both_sign() -> None:
    store = WooCommerce(WooCommerce.Settings(**SETTINGS, webhook_secret=["new", "old"]))

    believed = [
        store.verify(signed("order.updated", b"{}", key), b"{}", NOW) for key in ("new", "old", "older")
    ]

    assert [each is not None for each in believed] == [True, True, False]


def test_without_a_secret_no_webhook_is_believed() -> None:
    store = WooCommerce(WooCommerce.Settings(**SETTINGS))

    assert store.verify(signed("order.updated", b"{}", ""), b"{}", NOW) is None


def test_deliveries_of_one_second_are_told_apart_by_their_bodies(store: WooCommerce) -> None:
    names = []
    for number in (1, 1, 2):
        body = json.dumps({"id": number}).encode()
        headers = {**signed("order.deleted", body), "x-wc-webhook-delivery-id": "5f4dcc3b"}
        names.append(store.verify(headers, body, NOW))

    assert names[0] == names[1] != names[2]


def test_a_row_that_is_dated_is_known_again_whatever_the_unsigned_headers_say(store: WooCommerce) -> None:
    def known_as(body: bytes, topic: str = "order.updated", delivery: str = "5f4dcc3b") -> Delivery | None:
        headers = {**signed(topic, body), "x-wc-webhook-delivery-id": delivery}
        return store.verify(headers, body, NOW)

    row = json.dumps({"id": 1, "date_modified_gmt": "2026-01-02T10:00:00"}).encode()
    gone = json.dumps({"id": 1}).encode()

    assert known_as(row) == known_as(row, delivery="another")
    assert known_as(gone, "order.deleted") != known_as(
        gone, "order.deleted", "another"
    )  # it came back in between
    assert known_as(row, "x" * 101) is None


def test_an_order_that_was_gone_when_the_body_was_written_says_nothing(store: WooCommerce) -> None:
    error = {
        "code": "woocommerce_rest_shop_order_invalid_id",
        "message": "Invalid ID.",
        "data": {"status": 404},
    }

    page = delivered(store, "order.created", error)

    assert page == News()


@pytest.mark.parametrize("topic", ["coupon.updated", "action.woocommerce_order_refunded", ""])
def test_topics_that_hold_no_fact_of_ours_say_nothing(store: WooCommerce, topic: str) -> None:
    page = delivered(store, topic, {"action": "x", "arg": 1813})

    assert page == News()


def test_a_broken_order_and_a_broken_body_are_dead_letters(store: WooCommerce) -> None:
    order = delivered(store, "order.updated", ORDERS["completed"] | {"total": "free"})
    body = delivered(store, "order.updated", b"{")

    assert [letter.record for letter in (*order.bad, *body.bad)] == ["order 1041", "webhook order"]


def test_every_recorded_delivery_is_believed_and_read() -> None:
    if not (RECORDINGS / "webhook-deliveries.json").exists():
        pytest.skip("the recordings of real shops are not beside this repository")
    deliveries = json.loads((RECORDINGS / "webhook-deliveries.json").read_text("utf-8"))["deliveries"]

    secrets = {each["secret"] for each in deliveries if each.get("secret")}
    stores = {
        secret: WooCommerce(WooCommerce.Settings(**SETTINGS, webhook_secret=secret)) for secret in secrets
    }

    deleted: list[str] = []
    facts = 0
    for each in (each for each in deliveries if each["request"]):
        store = stores[each.get("secret") or max(secrets)]
        headers = dict(each["request"]["headers"])
        body = base64.b64decode(each["request"]["body_base64"])
        delivery = store.verify({name.lower(): value for name, value in headers.items()}, body, NOW)
        if is_greeting(body):
            assert delivery is None
            continue
        assert delivery is not None
        news = store.read_webhook(delivery.topic, body)
        assert not news.bad
        deleted += news.deleted
        facts += len(news.facts)

    assert deleted == ["order 1813", "customer 302", "order 1827", "order 1827"]
    assert facts > 20
