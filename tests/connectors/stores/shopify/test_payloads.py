"""From rows to facts: what each field says, and what is not believed."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.facts import Consent, Fulfilment, Line, Money, Person, Refund, Source, Standing
from connectors.paging import read_rows
from connectors.stores import shopify
from connectors.stores.shopify.payloads import (
    Terms,
    read_checkout,
    read_customer,
    read_order,
    read_product,
)

ROWS = json.loads((Path(shopify.__file__).parent / "samples" / "rows.json").read_text())
TERMS = Terms(frozenset({"PAID", "PARTIALLY_REFUNDED"}))


def row(kind: str, **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(ROWS[kind]) | changes


def money(amount: str, currency: str = "EUR") -> dict[str, Any]:
    return {"shopMoney": {"amount": amount, "currencyCode": currency}}


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_an_order_is_read_whole():
    order = read_order(row("order"), TERMS)

    assert (order.id, order.number, order.email) == ("5512345678901", "1042", "ana@example.com")
    assert (order.customer_id, order.standing, order.status) == ("7001", Standing.PAID, "partially_refunded")
    assert (order.total, order.discount) == (Money(8990, "EUR"), Money(1000, "EUR"))
    assert (order.created_at, order.updated_at) == (at(2026, 11, 20, 10, 12, 29), at(2026, 11, 20, 10, 14, 2))
    assert order.lines == [Line("5", "Tee", 2, Money(8490, "EUR"))]
    assert order.refunds == [Refund("31", order.id, Money(500, "EUR"), at(2026, 11, 21, 8))]
    assert order.person == Person("Ana", "Costa", None, "+33600000000", "75011", "Paris", "FR")
    evidence = "referrer=https://www.google.com/; landing_page=https://shop.example/"
    assert order.source == Source("google", "seo", evidence)


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({"displayFinancialStatus": "PAID"}, Standing.PAID),
        ({"displayFinancialStatus": "REFUNDED"}, Standing.REFUNDED),
        ({"displayFinancialStatus": "PARTIALLY_PAID"}, Standing.UNPAID),
        ({"displayFinancialStatus": "AUTHORIZED"}, Standing.UNPAID),
        ({"displayFinancialStatus": "PENDING"}, Standing.UNPAID),
        ({"displayFinancialStatus": "VOIDED"}, Standing.UNPAID),
        ({"displayFinancialStatus": "EXPIRED"}, Standing.UNPAID),
        ({"displayFinancialStatus": None}, Standing.UNPAID),
        ({"displayFinancialStatus": "SOMETHING_NEW"}, Standing.UNPAID),
        ({"displayFinancialStatus": "PAID", "cancelledAt": "2026-11-21T00:00:00Z"}, Standing.CANCELLED),
        ({"displayFinancialStatus": "REFUNDED", "cancelledAt": "2026-11-21T00:00:00Z"}, Standing.REFUNDED),
        ({"displayFinancialStatus": "PAID", "test": True}, Standing.TEST),
    ],
)
def test_what_an_order_counts_as(changes, standing):
    assert read_order(row("order", **changes), TERMS).standing is standing


@pytest.mark.parametrize(
    ("status", "paid"),
    [("PAID", True), ("PARTIALLY_REFUNDED", True), ("REFUNDED", True), ("VOIDED", False), (None, False)],
)
def test_an_order_that_was_cancelled_says_whether_it_was_paid_before(status, paid):
    cancelled = row("order", displayFinancialStatus=status, cancelledAt="2026-11-21T00:00:00Z")

    order = read_order(cancelled, TERMS)

    assert order.paid_at == (order.created_at if paid else None)


@pytest.mark.parametrize(
    ("status", "fulfilment"),
    [
        ("UNFULFILLED", Fulfilment.OPEN),
        ("ON_HOLD", Fulfilment.OPEN),
        ("PARTIALLY_FULFILLED", Fulfilment.PARTIAL),
        ("FULFILLED", Fulfilment.FULFILLED),
        ("RESTOCKED", None),
        ("SOMETHING_NEW", None),
        (None, None),
    ],
)
def test_how_far_an_order_has_come(status, fulfilment):
    assert read_order(row("order", displayFulfillmentStatus=status), TERMS).fulfilment is fulfilment


def test_an_owner_may_count_orders_that_are_authorized_only():
    terms = Terms(frozenset({"PAID", "AUTHORIZED"}))
    authorized = row("order", displayFinancialStatus="AUTHORIZED", totalReceivedSet=money("0.0"))

    order = read_order(authorized, terms)

    assert (order.standing, order.total) == (Standing.PAID, Money(8990, "EUR"))


def test_what_was_received_is_what_was_charged():
    """An edited order keeps its first price, and a tip never was in it."""
    order = read_order(row("order", totalReceivedSet=money("95.9")), TERMS)

    assert order.total == Money(9590, "EUR")


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("1500.0", "JPY", 1500),
        ("0.5", "KWD", 500),
        ("1.234", "KWD", 1234),
        ("89.9", "EUR", 8990),
        ("0.0", "EUR", 0),
    ],
)
def test_amounts_have_their_currency_s_decimals(amount, currency, minor):
    sets = dict.fromkeys(("totalPriceSet", "totalReceivedSet", "totalDiscountsSet"), money(amount, currency))

    order = read_order(row("order", lineItems={"nodes": []}, refunds=[], **sets), TERMS)

    assert order.total == Money(minor, currency)


def test_an_imported_order_is_as_old_as_it_really_is():
    order = read_order(row("order", processedAt="2019-05-01T12:00:00Z"), TERMS)

    assert order.created_at == at(2019, 5, 1, 12)


def test_lines_take_their_share_of_a_tax_that_is_not_in_their_price():
    net = row("order", taxesIncluded=False, totalPriceSet=money("120.0"), totalTaxSet=money("20.0"))

    (line,) = read_order(net, TERMS).lines

    assert line.total == Money(10188, "EUR")


def test_a_line_of_a_deleted_product_has_none():
    bare = row("order")
    bare["lineItems"]["nodes"][0]["product"] = None

    assert read_order(bare, TERMS).lines[0].product_id is None


def test_an_order_without_a_customer_keeps_its_own_address_and_word():
    order = read_order(row("order", customer=None), TERMS)

    assert (order.customer_id, order.email) == (None, "ana@example.com")
    assert order.consent == Consent(given=True, at=at(2026, 11, 20, 10, 12, 29))


def test_an_order_s_snapshot_of_consent_is_no_word_where_the_customer_has_their_own():
    assert read_order(row("order"), TERMS).consent is None


def test_a_link_s_own_words_come_before_what_shopify_made_of_the_visit():
    utm = {
        "source": "Newsletter",
        "medium": "email",
        "campaign": "black-friday",
        "content": None,
        "term": " ",
    }
    told = row("order")
    told["customerJourneySummary"]["firstVisit"] |= {"utmParameters": utm, "referrerUrl": None}

    source = read_order(told, TERMS).source

    evidence = "utm_source=Newsletter; utm_medium=email; utm_campaign=black-friday; landing_page=https://shop.example/"
    assert source == Source("Newsletter", "email", evidence)


@pytest.mark.parametrize(
    ("channel", "name"),
    [("pos", "pos"), ("shopify_draft_order", "draft order"), ("web", None), ("580111", None)],
)
def test_an_order_without_a_visit_may_still_tell_its_channel(channel, name):
    source = read_order(row("order", customerJourneySummary=None, sourceName=channel), TERMS).source

    assert (source.name if source else None) == name


def test_a_customer_is_read_whole():
    customer = read_customer(row("customer"))

    assert (customer.id, customer.email, customer.guest) == ("7001", "ana@example.com", False)
    assert customer.consent == Consent(given=True, at=at(2025, 3, 2, 8, 1), level="confirmed_opt_in")
    assert customer.tags == ("vip", "wholesale")
    assert customer.person == Person("Ana", "Costa", "Costa & Filhos", "+33600000000", "75011", "Paris", "FR")


@pytest.mark.parametrize(
    ("left", "refunds", "quantity", "minor"),
    [(4, [], 4, 10_000), (1, [], 1, 2_500), (0, [], 0, 0), (1, [row("order")["refunds"][0]], 4, 10_000)],
)
def test_what_an_edit_removed_from_an_order_counts_no_more(left, refunds, quantity, minor):
    told = row("order", refunds=refunds)
    (line, *_) = told["lineItems"]["nodes"]
    bag = {"shopMoney": {"amount": "100.00", "currencyCode": "EUR"}}
    line |= {"quantity": 4, "currentQuantity": left, "discountedTotalSet": bag}

    bought = read_order(told | {"taxesIncluded": True}, TERMS).lines[0]

    assert (bought.quantity, bought.total.minor) == (quantity, minor)


LAPSED = Consent(given=False, at=at(2026, 11, 20, 10, 14, 2), lapses=True)


@pytest.mark.parametrize(
    ("state", "moment", "word"),
    [
        ("SUBSCRIBED", "2026-01-01T00:00:00Z", (True, at(2026, 1, 1))),
        ("SUBSCRIBED", None, (True, at(2025, 3, 2, 8))),
        ("UNSUBSCRIBED", "2026-01-01T00:00:00Z", (False, at(2026, 1, 1))),
        ("UNSUBSCRIBED", None, (False, at(2026, 11, 20, 10, 14, 2))),
        ("REDACTED", None, (False, at(2026, 11, 20, 10, 14, 2))),
        ("NOT_SUBSCRIBED", None, LAPSED),
        ("NOT_SUBSCRIBED", "2026-01-01T00:00:00Z", (False, at(2026, 1, 1))),
        ("PENDING", "2026-01-01T00:00:00Z", None),
        ("INVALID", "2026-01-01T00:00:00Z", LAPSED),
    ],
)
def test_only_who_subscribed_gave_their_word(state, moment, word):
    """Without a date a yes is as old as it can be, a no as new: the no wins."""
    told = row("customer")
    told["defaultEmailAddress"] |= {"marketingState": state, "marketingUpdatedAt": moment}

    consent = read_customer(told).consent

    assert (consent and (consent if consent.lapses else (consent.given, consent.at))) == word


def test_a_customer_without_an_address_is_kept_as_a_fact():
    customer = read_customer(row("customer", defaultEmailAddress=None, defaultAddress=None, state="DISABLED"))

    assert (customer.email, customer.consent, customer.guest) == (None, None, True)


@pytest.mark.parametrize(
    ("notion", "categories"),
    [("type", ("Shirts",)), ("category", ("T-Shirts",)), ("collections", ("Summer", "Sale"))],
)
def test_an_owner_says_what_a_category_is(notion, categories):
    assert read_product(row("product"), Terms(frozenset(), notion)).categories == categories


def test_a_product_without_a_type_takes_the_next_that_it_has():
    bare = row("product", productType="", category=None)

    assert read_product(bare, TERMS).categories == ("Summer", "Sale")
    assert read_product(bare | {"collections": {"nodes": []}}, TERMS).categories == ()


def test_a_checkout_has_its_customer_s_address_and_a_way_back():
    checkout = read_checkout(row("checkout"))

    assert (checkout.id, checkout.email, checkout.customer_id) == (
        "981820079255243537",
        "bo@example.com",
        "7002",
    )
    assert checkout.url == "https://shop.example/548380009/checkouts/ac/Z2NwLXVz/recover?key=example"
    assert (checkout.total, checkout.completed_at) == (Money(4900, "EUR"), None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "gid://shopify/Order/"}, "`id` is not an id"),
        ({"totalPriceSet": money("a lot")}, "`amount` is not an amount"),
        ({"totalPriceSet": money("NaN")}, "`amount` is not an amount"),
        ({"totalPriceSet": money("1.0", "XXQ")}, "`amount` is not an amount in a currency of ISO 4217"),
        ({"totalPriceSet": None}, "`totalPriceSet` is not an amount"),
        ({"processedAt": None, "createdAt": None}, "`processedAt` is not a moment"),
        ({"processedAt": "yesterday"}, "a field cannot be read"),
        ({"lineItems": {"nodes": [{"title": "Tee"}]}}, "`discountedTotalSet` is missing"),
        ({"customer": "somebody"}, "a field does not have the type that the API promises"),
    ],
)
def test_an_order_that_cannot_be_read_is_a_dead_letter_without_values(changes, reason):
    facts, bad = read_rows([row("order", **changes)], lambda each: read_order(each, TERMS), "order")

    assert facts == []
    assert [letter.reason for letter in bad] == [reason]
