"""Everything that a real PrestaShop 8.1.2 was recorded to answer reads; skipped where the recordings are not."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from connectors.base import Resource, Window
from connectors.errors import ConnectorError
from connectors.facts import Checkout, Customer, Order, Product, Refund, Standing
from connectors.paging import read_rows
from connectors.stores.prestashop.clock import ShopClock
from connectors.stores.prestashop.connector import PrestaShop
from connectors.stores.prestashop.markup import as_json, cut_junk
from connectors.stores.prestashop.payloads import (
    Terms,
    read_category,
    read_checkout,
    read_customer,
    read_order,
    read_product,
    read_refund,
    read_state,
)
from connectors.stores.prestashop.refusals import explain, troubles_of
from connectors.stores.prestashop.simulator import KEY, SETTINGS, simulator
from connectors.stores.prestashop.webservice import rows_of
from tests.edge import edge

FOLDER = Path(__file__).parents[4] / ".." / "shared" / "recordings" / "prestashop"
FILES = sorted(FOLDER.glob("*.json"))
NOW = datetime(2026, 11, 21, 22, tzinfo=UTC)

pytestmark = pytest.mark.skipif(not FILES, reason="the recordings are not beside the repository")


def exchanges() -> list[Mapping[str, Any]]:
    found = [json.loads(path.read_text()) for path in FILES]
    return [exchange for file in found for exchange in file["exchanges"]]


EXCHANGES = exchanges()
NAMED = {exchange["name"]: exchange for exchange in EXCHANGES}


def body_of(exchange: Mapping[str, Any]) -> bytes:
    response = exchange["response"]
    if "body" in response:
        return json.dumps(response["body"]).encode()
    return response.get("body_text", "").encode()


def resource_of(exchange: Mapping[str, Any]) -> str:
    return urlsplit(exchange["request"]["path"]).path.strip("/").split("/")[1]


def rows_in(exchange: Mapping[str, Any]) -> list[Any]:
    return rows_of(msgspec.json.decode(as_json(cut_junk(body_of(exchange)))))


def terms() -> Terms:
    states = rows_in(NAMED["order-states"])
    categories = rows_in(NAMED["categories"])
    return Terms(
        ShopClock("Europe/Paris"),
        "https://shop.example",
        "1",
        states={str(row["id"]): read_state(row, "1", {}) for row in states},
        currencies={str(row["id"]): row["iso_code"] for row in rows_in(NAMED["currencies"])},
        countries={str(row["id"]): row["iso_code"] for row in rows_in(NAMED["countries"])},
        categories={str(row["id"]): read_category(row, "1") for row in categories},
    )


READERS = {
    "orders": lambda row: read_order(row, terms(), NOW),
    "customers": lambda row: read_customer(row, None, terms(), NOW),
    "products": lambda row: read_product(row, terms(), NOW),
    "carts": lambda row: read_checkout(row, {}, terms(), NOW),
    "order_slip": lambda row: read_refund(row, terms(), {str(row["id_order"]): "EUR"}),
}
NEEDED = {
    "orders": {"total_paid", "date_add", "id_currency", "current_state"},
    "customers": {"email", "date_add"},
    "products": {"name", "date_upd"},
    "carts": {"date_add", "date_upd"},
    "order_slip": {"id_order", "date_add"},
}
ANSWERED = [
    exchange
    for exchange in EXCHANGES
    if exchange["response"]["status"] in {200, 201}
    and exchange["name"] not in {"index-xml", "schema-blank", "bad-date", "orders-head"}
]


@pytest.mark.parametrize("exchange", ANSWERED, ids=lambda exchange: exchange["name"])
def test_every_answer_is_a_list_of_rows_and_every_row_with_its_fields_reads(exchange):
    rows = rows_in(exchange)
    resource = resource_of(exchange)
    whole = [row for row in rows if resource in READERS and NEEDED[resource] <= row.keys()]

    facts, bad = read_rows(whole, READERS.get(resource, lambda _: None), resource)

    assert bad == []
    assert len(facts) == len(whole)


REFUSED = [exchange for exchange in EXCHANGES if exchange["response"]["status"] >= 400]


@pytest.mark.parametrize("exchange", REFUSED, ids=lambda exchange: exchange["name"])
async def test_every_refusal_is_an_error_that_says_no_secret(exchange, router, pauses):
    response = exchange["response"]
    headers = {name: value for name, value in response["headers"].items() if value}
    answer = httpx.Response(response["status"], headers=headers, content=body_of(exchange))
    router.route().mock(return_value=answer)
    store = PrestaShop(PrestaShop.Settings(**SETTINGS))

    with pytest.raises(ConnectorError) as raised:
        await store.check()

    await store.aclose()
    assert KEY not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("no-key", "CGIPassAuth"),
        ("bad-key", "does not know this `key`"),
        ("short-key", "32 characters"),
        ("resource-not-allowed", "tick View (GET) beside it"),
        ("method-not-allowed", "may not view `orders`"),
        ("unknown-resource", "does not exists"),
    ],
)
def test_a_recorded_refusal_is_said_in_an_owner_s_words(name, part):
    class Said:
        status = NAMED[name]["response"]["status"]
        headers: Mapping[str, str] = {}
        body = body_of(NAMED[name])

    assert part in (explain(Said) or "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("order-in-state-1", Standing.UNPAID),
        ("order-in-state-2", Standing.PAID),
        ("order-in-state-3", Standing.PAID),
        ("order-in-state-4", Standing.PAID),
        ("order-in-state-5", Standing.PAID),
        ("order-in-state-6", Standing.CANCELLED),
        ("order-in-state-7", Standing.REFUNDED),
        ("order-in-state-8", Standing.UNPAID),
        ("order-in-state-10", Standing.UNPAID),
        ("order-in-state-12", Standing.UNPAID),
        ("order-with-credit-slip", Standing.PAID),
        ("order-in-gbp", Standing.PAID),
        ("order-of-guest", Standing.PAID),
    ],
)
def test_an_order_counts_as_its_state_says(name, expected):
    (row,) = rows_in(NAMED[name])

    assert read_order(row, terms(), NOW).standing is expected


def test_a_single_row_without_its_zeros_reads_like_the_whole_one():
    (single,) = rows_in(NAMED["order-in-state-6"])
    whole, _ = rows_in(NAMED["orders-full"])
    (from_xml,) = rows_in(NAMED["orders-full-xml"])

    read = [read_order(row, terms(), NOW) for row in (single, whole, from_xml)]

    assert read[0] == read[1] == read[2]
    assert "valid" not in single


def test_amounts_are_in_the_currency_of_the_order():
    (row,) = rows_in(NAMED["order-in-gbp"])

    order = read_order(row, terms(), NOW)

    assert (order.total.minor, order.total.currency) == (2428, "GBP")
    assert [line.total.minor for line in order.lines] == [2428]


def test_a_credit_slip_gives_back_what_it_says():
    (row,) = rows_in(NAMED["order-slip"])

    refund = read_refund(row, terms(), {"31": "EUR"})

    assert (refund.id, refund.order_id, refund.amount.minor) == ("16", "31", 1428)
    assert refund.created_at == datetime(2025, 1, 6, 10, 56, 55, tzinfo=UTC)


def test_customers_keep_birthday_and_consent_but_no_password():
    one, other = (read_customer(row, None, terms(), NOW) for row in rows_in(NAMED["customers"]))

    assert str(one.birthday) == "1992-11-02"
    assert one.consent.lapses
    assert other.consent.given
    assert other.consent.at == datetime(2026, 11, 21, 21, 20, 4, tzinfo=UTC)


def test_a_product_is_named_by_its_main_category_and_not_by_the_home_page():
    (row,) = rows_in(NAMED["product"])

    product = read_product(row, terms(), NOW)

    assert product.title == "Hummingbird printed sweater"
    assert product.categories == ["Women"]


def test_a_cart_that_no_order_names_is_not_over():
    (row,) = rows_in(NAMED["cart-abandoned"])

    assert read_checkout(row, {}, terms(), NOW).completed_at is None
    assert read_checkout(row, {"615": NOW}, terms(), NOW).completed_at == NOW


# --- the simulator beside the real one ------------------------------------------------------------------


ROWS = [
    "orders-full",
    "customers",
    "addresses",
    "carts",
    "order-states",
    "order-slips-of-order",
    "currencies",
]


@pytest.mark.parametrize("name", ROWS)
async def test_the_simulator_s_rows_have_the_fields_types_and_order_of_the_real_ones(name, router):
    simulation = simulator([])
    simulation.state.refund(simulation.state.add_order(account=7), "1.00")
    real = rows_in(NAMED[name])[-1]
    router.route().mock(side_effect=edge(simulation))
    path = f"/api/{resource_of(NAMED[name])}"

    async with httpx.AsyncClient(base_url="https://shop.example", auth=(KEY, "")) as client:
        answer = await client.get(path, params={"display": "full", "output_format": "JSON"})
    (ours, *_) = next(iter(answer.json().values()))

    assert next(iter(answer.json())) == next(iter(NAMED[name]["response"]["body"]))
    assert list(ours) == list(real)
    assert {key: type(value) for key, value in ours.items()} == {
        key: type(value) for key, value in real.items()
    }
    assert {key: [list(one) for one in rows[:1]] for key, rows in ours.get("associations", {}).items()} == {
        key: [list(one) for one in rows[:1]] for key, rows in real.get("associations", {}).items()
    }


SAME_REFUSALS = [
    "no-key",
    "bad-key",
    "short-key",
    "order-404",
    "order-404-xml",
    "unknown-resource",
    "unknown-display-field",
    "unknown-filter-field",
    "bad-sort",
    "orders-date_upd-without-date-1",
    "orders-sort-date_upd-without-date-1",
    "index",
]


@pytest.mark.parametrize("name", SAME_REFUSALS)
async def test_the_simulator_refuses_what_the_real_one_refused_with_the_same_code(name, router):
    exchange = NAMED[name]
    keys = {"no-key": None, "bad-key": ("9" * 32, ""), "short-key": ("9", "")}
    router.route().mock(side_effect=edge(simulator([])))

    async with httpx.AsyncClient(base_url="https://shop.example") as client:
        auth = keys.get(name, (KEY, ""))
        answer = await client.request("GET", exchange["request"]["path"], auth=auth)

    real = exchange["response"]
    assert answer.status_code == real["status"]
    assert [one.code for one in troubles_of(answer.content)] == [
        one.code for one in troubles_of(body_of(exchange))
    ]
    if troubles_of(body_of(exchange)) or not body_of(exchange):
        assert answer.headers.get("content-type") == real["headers"].get("content-type")


async def test_what_was_recorded_is_read_whole_through_the_connector(router):
    """Play the recorded lists back: orders, customers, slips, carts and products come out as facts."""
    lists = {
        "orders": NAMED["orders-full"],
        "customers": NAMED["customers"],
        "order_slip": NAMED["order-slips-of-order"],
        "carts": NAMED["carts"],
        "products": NAMED["products"],
        "order_states": NAMED["order-states"],
        "currencies": NAMED["currencies"],
        "countries": NAMED["countries"],
        "categories": NAMED["categories"],
        "addresses": NAMED["addresses"],
    }
    settings = {"configurations": [{"id": 1, "name": "PS_TIMEZONE", "value": "Europe/Paris"}]}

    def play(request: httpx.Request) -> httpx.Response:
        resource = request.url.path.rpartition("/")[2]
        is_further = request.url.params.get("filter[id]") not in {None, ">[0]", "[31]"}
        if is_further:
            return httpx.Response(200, content=b"[]")
        if resource == "configurations":
            return httpx.Response(200, json=settings)
        if resource == "orders" and request.url.params.get("filter[id]") == "[31]":
            return httpx.Response(200, json={"orders": [{"id": 31, "id_currency": 1}]})
        if resource == "products":
            rows = [row | {"date_upd": "2026-11-21 22:15:26"} for row in rows_in(lists[resource])]
            return httpx.Response(200, json={"products": rows})
        return httpx.Response(200, content=body_of(lists[resource]))

    router.route().mock(side_effect=play)
    store = PrestaShop(PrestaShop.Settings(**SETTINGS))

    facts = []
    for resource in store.resources:
        async for page in store.backfill(Window(resource), None, careful=False):
            assert page.bad == []
            facts += page.facts

    await store.aclose()
    assert {type(fact) for fact in facts} == {Order, Customer, Product, Refund, Checkout}
    assert Resource.REFUNDS in store.resources
