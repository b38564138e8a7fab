"""Webhooks: whose they are, and what may be read from them."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Erasure, News
from connectors.facts import (
    Checkout,
    Consent,
    Customer,
    Fulfilment,
    Line,
    Money,
    Order,
    Refund,
    Source,
    Standing,
)
from connectors.stores.shopify.connector import Shopify
from connectors.stores.shopify.simulator import DAILY, SETTINGS

EXAMPLES = Path(__file__).parents[4] / ".." / "shared" / "specs" / "shopify" / "webhooks-2026-07"
KEY = "hook-key"
NOW = datetime(2026, 11, 21, tzinfo=UTC)

ORDER: dict[str, Any] = {
    "id": 5512345678901,
    "admin_graphql_api_id": "gid://shopify/Order/5512345678901",
    "name": "#1042",
    "created_at": "2026-11-20T11:12:31+01:00",
    "processed_at": "2026-11-20T11:12:29+01:00",
    "updated_at": "2026-11-20T11:14:02+01:00",
    "cancelled_at": None,
    "test": False,
    "financial_status": "paid",
    "currency": "EUR",
    "total_price": "108.00",
    "total_discounts": "10.00",
    "taxes_included": False,
    "email": "Ana@example.com",
    "customer": {"id": 7001},
    "billing_address": {"first_name": "Ana", "last_name": "Costa", "zip": "75011", "country_code": "FR"},
    "line_items": [
        {
            "product_id": 5,
            "title": "Tee",
            "quantity": 2,
            "price": "50.00",
            "discount_allocations": [{"amount": "10.00"}],
            "tax_lines": [{"price": "18.00"}],
        }
    ],
    "refunds": [],
    "landing_site": "/?utm_source=nl&utm_medium=email&utm_campaign=black-friday",
    "referring_site": "",
    "source_name": "web",
}


def store(**settings: Any) -> Shopify:
    return Shopify(Shopify.Settings(**(SETTINGS | {"webhook_secret": KEY} | settings)))


def signed(topic: str, body: bytes, key: str = KEY) -> dict[str, str]:
    digest = base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()
    return {"x-shopify-topic": topic, "x-shopify-hmac-sha256": digest}


def delivered(topic: str, row: Any) -> News:
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    shop = store()
    delivery = shop.verify(signed(topic, body), body, NOW)
    assert delivery is not None
    return shop.read_webhook(delivery.topic, body)


def example(topic: str) -> dict[str, Any]:
    path = EXAMPLES / f"{topic.replace('/', '__')}.example.json"
    if not path.exists():
        pytest.skip("the vendor's examples are not here")
    return dict(json.loads(path.read_text())["response"])


@pytest.mark.parametrize("topic", ["orders/create", "orders/updated", "orders/paid", "orders/cancelled"])
def test_the_vendor_s_orders_are_read(topic):
    page = delivered(topic, example(topic))

    (order,) = page.facts
    assert isinstance(order, Order)
    assert (order.id, order.email, order.customer_id) == (
        "820982911946154508",
        "jon@example.com",
        "115310627314723954",
    )
    assert (order.standing, order.total.currency, len(order.lines)) == (Standing.TEST, "USD", 5)
    assert page.bad == []


@pytest.mark.parametrize(
    ("told", "fulfilment"),
    [
        ({"fulfillment_status": None}, Fulfilment.OPEN),
        ({"fulfillment_status": "partial"}, Fulfilment.PARTIAL),
        ({"fulfillment_status": "fulfilled"}, Fulfilment.FULFILLED),
        ({"fulfillment_status": "restocked"}, None),
        ({}, None),
    ],
)
def test_an_order_tells_how_far_it_has_come(told, fulfilment):
    (order,) = delivered("orders/updated", ORDER | told).facts

    assert order.fulfilment is fulfilment


def test_an_order_that_is_cancelled_was_paid_before():
    (order,) = delivered("orders/cancelled", ORDER | {"cancelled_at": "2026-11-21T00:00:00Z"}).facts

    assert (order.standing, order.paid_at) == (Standing.CANCELLED, order.created_at)


def test_the_vendor_s_refund_is_read():
    (refund,) = delivered("refunds/create", example("refunds/create")).facts

    assert isinstance(refund, Refund)
    assert (refund.id, refund.amount) == ("890088186047892319", Money(8500, "USD"))


@pytest.mark.parametrize(("topic", "record"), [("orders/delete", "order"), ("checkouts/delete", "checkout")])
def test_what_the_vendor_says_is_deleted_is_asked_for_before_it_is_believed(topic, record):
    news = delivered(topic, example(topic))

    assert (news.facts, news.deleted) == ((), [f"{record} {example(topic)['id']}"])


def test_a_customer_that_is_said_to_be_deleted_is_named_by_the_exact_id():
    assert delivered("customers/delete", example("customers/delete")).deleted == [
        "customer 706405506930370084"
    ]


@pytest.mark.parametrize("topic", ["customers/create", "customers/update"])
def test_the_vendor_s_customers_say_nothing_about_consent_and_so_are_no_facts(topic):
    """Taken for facts they would erase what the customer agreed to: they are asked for."""
    row = example(topic)
    told = {"state": "subscribed", "opt_in_level": "single_opt_in", "consent_updated_at": row["updated_at"]}

    bare = delivered(topic, row)
    (customer,) = delivered(topic, row | {"email_marketing_consent": told, "tags": "vip, big"}).facts

    assert (bare.facts, bare.ask) == ((), ["customer 706405506930370084"])
    assert isinstance(customer, Customer)
    assert (customer.id, customer.email, customer.guest) == ("706405506930370084", "bob@biller.com", True)
    assert customer.consent == Consent(given=True, at=customer.updated_at, level="single_opt_in")
    assert (customer.tags, customer.person.postal_code) == (("vip", "big"), "K2P 2L8")


@pytest.mark.parametrize("topic", ["checkouts/create", "checkouts/update"])
def test_the_vendor_s_checkouts_have_no_id_and_so_are_no_facts(topic):
    """One by its token beside one by its id would be two checkouts, of which one is never completed."""
    row = example(topic)

    bare = delivered(topic, row)
    (checkout,) = delivered(topic, row | {"id": 981820079255243537}).facts

    assert bare == News()
    assert isinstance(checkout, Checkout)
    assert (checkout.id, checkout.email) == ("981820079255243537", "example@email.com")
    assert checkout.url is not None
    assert checkout.total is not None


@pytest.mark.parametrize("topic", ["orders/edited", "app/uninstalled", "products/update"])
def test_what_is_no_fact_says_nothing(topic):
    assert delivered(topic, example(topic)) == News()


def test_a_word_on_marketing_mail_is_asked_for():
    row = example("customers_email_marketing_consent/update") | {"customer_id": 706405506930370084}

    assert delivered("customers_email_marketing_consent/update", row).ask == ["customer 706405506930370084"]


def test_customers_that_were_merged_are_asked_for():
    assert delivered("customers/merge", example("customers/merge")).ask == ["customer 1", "customer 2"]


def test_a_customer_who_is_to_be_redacted_is_erased_by_account_address_phone_and_orders():
    assert delivered("customers/redact", example("customers/redact")).erase == [
        Erasure("191167", "john@example.com", "555-625-1199", ("299938", "280263", "220458"))
    ]


@pytest.mark.parametrize("topic", ["customers/redact", "customers/data_request", "shop/redact"])
def test_what_is_asked_for_is_kept_as_a_request_and_read_as_any(topic):
    shop, body = store(), json.dumps(example(topic)).encode()

    delivery = shop.verify(signed(topic, body), body, NOW)

    kept, plain = (shop.read_webhook(name, body) for name in (delivery.topic, topic))
    assert delivery.topic == f"request {topic}"
    assert kept.erase == plain.erase
    assert [letter.record for letter in kept.bad] == [letter.record for letter in plain.bad]


def test_a_customer_without_address_and_orders_is_erased_by_account():
    row = {"shop_domain": "a", "customer": {"id": 7, "email": None, "phone": None}, "orders_to_redact": None}

    assert delivered("customers/redact", row).erase == [Erasure("7")]


@pytest.mark.parametrize(
    ("named", "orders"),
    [
        ("4507", ("4507",)),
        (["gid://shopify/Order/5", "6", 7, 7], ("5", "6", "7")),
        ([None, 1.9, True, "x", "²", -1, 0, {"id": 5}, [6], "gid://shopify/Customer/8", 9], ("9",)),
        ({"12": 1}, ()),
    ],
)
def test_orders_to_redact_are_those_whose_number_can_be_read(named, orders):
    row = {"shop_domain": "a", "customer": {"id": "gid://shopify/Customer/7"}, "orders_to_redact": named}

    assert delivered("customers/redact", row).erase == [Erasure("7", orders=orders)]


@pytest.mark.parametrize("customer", [None, [], {}, {"id": True, "email": "N/A"}])
def test_orders_are_redacted_without_a_customer(customer):
    row = {"shop_domain": "a", "customer": customer, "orders_to_redact": [1]}

    assert delivered("customers/redact", row).erase == [Erasure(orders=("1",))]


def test_a_request_that_names_nobody_who_can_be_read_waits_for_the_owner():
    row = {
        "shop_id": 954889,
        "shop_domain": "a",
        "customer": {"id": {}, "email": 5},
        "orders_to_redact": ["x"],
    }

    news = delivered("customers/redact", row)

    assert (news.erase, [letter.record for letter in news.bad]) == ((), ["request customers/redact"])
    assert "954889" in news.bad[0].reason


@pytest.mark.parametrize(
    "row",
    [
        ORDER,
        {"shop_domain": "a", "customer": {"id": 7}, "data_request": {"id": 1}},
        {"shop_domain": "a"},
    ],
)
def test_nobody_is_erased_by_another_body_under_that_topic_which_is_not_signed(row):
    news = delivered("customers/redact", row)

    assert (len(news.erase), len(news.bad)) == (0, 1)


@pytest.mark.parametrize(
    ("topic", "record"),
    [
        ("shop/redact", "request shop/redact"),
        ("customers/data_request", "request customers/data_request of customer 191167"),
    ],
)
def test_what_only_the_owner_can_do_waits_among_the_dead_letters(topic, record):
    (letter,) = delivered(topic, example(topic)).bad

    assert letter.record == record
    assert "Shopify asks" in letter.reason


@pytest.mark.parametrize("topic", ["customers/redact", "orders/delete", "customers/update"])
@pytest.mark.parametrize("row", [{}, {"customer": None, "id": None}, {"customer": [], "id": {}}])
def test_a_body_of_another_shape_is_a_dead_letter(topic, row):
    (letter,) = delivered(topic, row).bad

    assert letter.record == f"webhook {topic}"


def test_a_topic_that_is_none_is_not_repeated():
    assert [letter.record for letter in delivered("ada@example.com", b"{").bad] == ["webhook"]


def test_a_delivery_is_known_again_by_its_body_whatever_the_headers_say():
    """Nobody signed them: by another id each time the same body could be sent for ever."""
    body = json.dumps(ORDER).encode()
    shop, headers = store(), signed("orders/create", body)

    named = [shop.verify(headers | {"x-shopify-webhook-id": name}, body, NOW) for name in ("a", "b")]
    other = shop.verify(signed("orders/create", body + b" "), body + b" ", NOW)

    assert named[0] == named[1] != other
    assert shop.verify(headers | {"x-shopify-topic": "x" * 101}, body, NOW) is None


@pytest.mark.parametrize(
    "topic", ["checkouts/create", "checkouts/update", "shop/redact", "customers/data_request"]
)
def test_an_order_under_another_topic_is_neither_a_checkout_nor_a_request(topic):
    """The topic is not signed: whoever holds a delivery could have its buyer reminded of what they bought."""
    found = delivered(topic, ORDER | {"abandoned_checkout_url": "https://shop.example/1"})

    assert (list(found.facts), list(found.ask), list(found.deleted), list(found.erase)) == ([], [], [], [])
    assert all("shape" in letter.reason for letter in found.bad)


def test_a_checkout_under_an_order_s_topic_is_no_order():
    row = example("checkouts/create") | {"id": 981820079255243537}

    assert list(delivered("orders/create", row).facts) == []


def test_an_order_is_read_whole():
    (order,) = delivered("orders/updated", ORDER).facts

    assert isinstance(order, Order)
    assert (order.number, order.status, order.standing) == ("1042", "paid", Standing.PAID)
    assert (order.total, order.discount) == (Money(10800, "EUR"), Money(1000, "EUR"))
    assert order.lines == [Line("5", "Tee", 2, Money(10800, "EUR"))]
    assert order.created_at.isoformat() == "2026-11-20T10:12:29+00:00"
    landing = "landing_page=/?utm_source=nl&utm_medium=email&utm_campaign=black-friday"
    evidence = f"utm_source=nl; utm_medium=email; utm_campaign=black-friday; {landing}"
    assert order.source == Source("nl", "email", evidence)


@pytest.mark.parametrize(
    ("landing", "referring", "channel", "name"),
    [
        ("/products/tee", "https://www.google.com/", "web", "www.google.com"),
        ("/", None, "web", "direct"),
        (None, None, "pos", "pos"),
        (None, None, "web", None),
    ],
)
def test_where_an_order_came_from(landing, referring, channel, name):
    row = ORDER | {"landing_site": landing, "referring_site": referring, "source_name": channel}

    (order,) = delivered("orders/create", row).facts

    assert isinstance(order, Order)
    assert (order.source.name if order.source else None) == name


def test_only_money_that_really_went_back_is_a_refund():
    transactions = [
        {"kind": "refund", "status": "success", "amount": "5.00"},
        {"kind": "refund", "status": "pending", "amount": "7.00"},
        {"kind": "void", "status": "success", "amount": "9.00"},
    ]
    refund = {"id": 31, "created_at": "2026-11-21T09:00:00+01:00", "transactions": transactions}

    (order,) = delivered("orders/updated", ORDER | {"refunds": [refund]}).facts

    assert isinstance(order, Order)
    assert [each.amount for each in order.refunds or ()] == [Money(500, "EUR")]


def given_back(currency, status="success"):
    bag = {"shop_money": {"amount": "0.00", "currency_code": "EUR"}}
    given = {"kind": "refund", "status": status, "amount": "3300", "currency": currency}
    return {"id": 9, "order_id": 5512345678901, "total_duties_set": bag, "transactions": [given]}


def test_what_was_given_back_in_the_buyer_s_currency_is_asked_for_as_only_the_shop_s_counts():
    order = ORDER | {"presentment_currency": "JPY", "refunds": [given_back("JPY")]}

    assert delivered("orders/updated", order) == News(ask=["order 5512345678901"])
    assert delivered("refunds/create", given_back("JPY")) == News(ask=["order 5512345678901"])


def test_what_was_given_back_to_a_buyer_of_another_currency_without_saying_in_which_is_asked_for():
    order = ORDER | {"presentment_currency": "JPY", "refunds": [given_back(None)]}
    alone = given_back(None)
    alone["total_duties_set"]["presentment_money"] = {"amount": "0", "currency_code": "JPY"}

    assert delivered("orders/updated", order) == News(ask=["order 5512345678901"])
    assert delivered("orders/updated", ORDER | {"refunds": [alone]}) == News(ask=["order 5512345678901"])
    assert delivered("refunds/create", alone) == News(ask=["order 5512345678901"])


@pytest.mark.parametrize("currency", ["EUR", "JPY", None])
def test_a_refund_alone_that_does_not_name_the_shop_s_currency_is_asked_for(currency):
    row = given_back(currency) | {"total_duties_set": None}

    assert delivered("refunds/create", row) == News(ask=["order 5512345678901"])


@pytest.mark.parametrize(("currency", "status"), [("EUR", "success"), (None, "success"), ("JPY", "failure")])
def test_what_was_given_back_in_the_shop_s_currency_needs_no_asking(currency, status):
    news = delivered("orders/updated", ORDER | {"refunds": [given_back(currency, status)]})

    (order,) = news.facts
    assert order.refunds[0].amount == Money(0 if status == "failure" else 330_000, "EUR")
    assert news.ask == ()


@pytest.mark.parametrize(
    ("told", "asks"),
    [
        ({"current_total_price": "150.00"}, True),  # edited: what was received since is not in the body
        ({"current_total_price": "1.00"}, True),
        ({"financial_status": "partially_paid"}, True),
        ({"current_total_price": "1.00", "test": True}, False),
        ({"current_total_price": None}, False),
        ({}, False),
    ],
)
def test_what_was_received_is_asked_for_where_it_is_not_the_first_total(told, asks):
    news = delivered("orders/updated", ORDER | told)

    assert (list(news.ask), len(news.facts)) == (["order 5512345678901"] if asks else [], 0 if asks else 1)


@pytest.mark.parametrize(
    ("now", "refunds", "asks"),
    [
        ({"current_quantity": 0}, [], True),
        ({"current_quantity": 2}, [], False),
        ({}, [], False),
        ({"current_quantity": 1}, [given_back("EUR")], False),
    ],
)
def test_an_order_whose_goods_were_swapped_at_the_same_price_is_asked_for(now, refunds, asks):
    line = {"title": "Tea", "price": "10.00", "quantity": 2} | now

    news = delivered("orders/updated", ORDER | {"line_items": [line], "refunds": refunds})

    assert (list(news.ask), len(news.facts)) == (["order 5512345678901"] if asks else [], 0 if asks else 1)


def test_a_refund_that_lowers_the_current_total_is_no_edit():
    order = ORDER | {"current_total_price": "0.00", "refunds": [given_back("EUR")]}

    assert len(delivered("orders/updated", order).facts) == 1


def test_a_body_that_cannot_be_read_is_a_dead_letter():
    page = delivered("orders/create", ORDER | {"total_price": "many"})

    assert (page.facts, [letter.record for letter in page.bad]) == ([], ["order 5512345678901"])


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_a_dead_letter(body):
    page = delivered("orders/create", body)

    assert [letter.record for letter in page.bad] == ["webhook orders/create"]


@pytest.mark.parametrize("signature", ["", "x", "é", base64.b64encode(b"0" * 32).decode()])
def test_a_signature_that_is_not_ours_is_not_believed(signature):
    headers = {"x-shopify-hmac-sha256": signature, "x-shopify-topic": "orders/create"}

    assert store().verify(headers, b"{}", NOW) is None


def test_one_changed_byte_breaks_the_signature():
    body = json.dumps(ORDER).encode()

    assert store().verify(signed("orders/create", body), body + b" ", NOW) is None


def test_without_a_key_nothing_is_believed():
    bare = Shopify(Shopify.Settings(**SETTINGS))

    assert bare.verify(signed("orders/create", b"{}", ""), b"{}", NOW) is None


@pytest.mark.parametrize("key", [DAILY["client_secret"], "the-older-one", "the-oldest-one"])
def test_a_client_secret_signs_and_older_ones_still_count(key):
    daily = Shopify(Shopify.Settings(**DAILY, webhook_secret=["the-older-one", "the-oldest-one"]))
    body = json.dumps(ORDER).encode()

    assert daily.verify(signed("orders/create", body, key), body, NOW) is not None
