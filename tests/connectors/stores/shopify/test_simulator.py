"""The simulator refuses what Shopify refuses, carries a large history, and serves strangers' clients too."""

import asyncio
import gc
import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from connectors.simulation import Simulation
from connectors.stores.shopify.simulator import ALONE, TOKEN, simulator
from tests.connectors.stores.shops import Clock, order, orders

PATH = "http://shop.test/admin/api/2026-10/graphql.json"


async def asked(simulation: Simulation, text: str, *, token: str = TOKEN, **variables: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation)) as client:
        answer = await client.post(
            PATH, json={"query": text, "variables": variables}, headers={"x-shopify-access-token": token}
        )
    return dict(answer.json())


def codes(body: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in body["errors"]]


async def test_a_field_that_is_not_there_fails() -> None:
    body = await asked(simulator(orders(3)), "{ orders(first: 1) { nodes { id totalPaid } } }")

    assert (codes(body), "data" in body) == (["undefinedField"], False)


async def test_checkouts_cannot_be_sorted_by_change() -> None:
    query = "{ abandonedCheckouts(first: 1, sortKey: UPDATED_AT) { nodes { id } } }"

    assert codes(await asked(simulator([]), query)) == ["argumentLiteralsIncompatible"]


async def test_no_page_is_larger_than_250() -> None:
    body = await asked(simulator(orders(3)), "{ orders(first: 251) { nodes { id } } }")

    assert codes(body) == ["BAD_REQUEST"]


async def test_a_query_that_costs_too_much_is_refused() -> None:
    query = "{ orders(first: 250) { nodes { lineItems(first: 100) { nodes { product { id } } } } } }"

    body = await asked(simulator(orders(3), linear=True), query)

    assert codes(body) == ["MAX_COST_EXCEEDED"]


async def test_points_run_out_and_come_back_with_time(clock: Clock) -> None:
    simulation = simulator(orders(300), clock=clock, bucket=40.0, restore=10.0)
    query = "{ orders(first: 250) { nodes { id customer { id } } } }"

    bodies = [await asked(simulation, query) for _ in range(2)]
    clock.pass_by(4)
    bodies.append(await asked(simulation, query))

    assert ["errors" in body for body in bodies] == [False, True, False]
    assert codes(bodies[1]) == ["THROTTLED"]
    assert bodies[1]["extensions"]["cost"]["actualQueryCost"] is None


async def test_a_search_for_nothing_is_an_internal_error_and_an_unknown_filter_a_warning() -> None:
    simulation = simulator(orders(3))
    query = "query ($query: String) { orders(first: 5, query: $query) { nodes { id } } }"

    empty = await asked(simulation, query, query="updated_at:>=")
    unknown = await asked(simulation, query, query="colour:blue")

    assert codes(empty) == ["INTERNAL_SERVER_ERROR"]
    assert [len(unknown["data"]["orders"]["nodes"])] == [3]
    assert unknown["extensions"]["search"][0]["warnings"][0]["field"] == "colour"


async def test_without_quotes_the_time_of_day_is_ignored() -> None:
    simulation = simulator(orders(30))
    query = "query ($query: String) { orders(first: 50, query: $query) { nodes { id } } }"
    moment = "2026-01-02T05:00:00Z"

    quoted = await asked(simulation, query, query=f"created_at:>='{moment}'")
    bare = await asked(simulation, query, query=f"created_at:>={moment}")

    assert [len(body["data"]["orders"]["nodes"]) for body in (quoted, bare)] == [2, 7]


async def test_a_stranger_is_told_so_in_mere_text() -> None:
    body = await asked(simulator([]), "{ shop { name } }", token="shpat_wrong")

    assert body["errors"].startswith("[API] Invalid API key")


async def test_a_file_refuses_tokens_and_is_gone_after_a_week() -> None:
    simulation = simulator(orders(3))
    run = (
        'mutation { bulkOperationRunQuery(query: "{ orders { edges { node { id } } } }", groupObjects: true) '
    )
    await asked(simulation, run + "{ bulkOperation { id } userErrors { message } } }")
    status = '{ bulkOperation(id: "gid://shopify/BulkOperation/7000") { status url } }'
    url = (await asked(simulation, status))["data"]["bulkOperation"]["url"]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation)) as client:
        shown = await client.get(url, headers={"x-shopify-access-token": TOKEN})
        plain = await client.get(url)
        beyond = await client.get(url, headers={"range": "bytes=99999-"})
        simulation.state.expired.add(7000)
        late = await client.get(url)

    assert [answer.status_code for answer in (shown, plain, beyond, late)] == [400, 200, 416, 403]
    assert [json.loads(line)["id"] for line in plain.text.splitlines()] == [
        f"gid://shopify/Order/{number}" for number in (1, 2, 3)
    ]


async def test_a_bulk_query_with_a_wrong_field_is_an_error_of_the_user() -> None:
    run = "mutation ($query: String!) { bulkOperationRunQuery(query: $query, groupObjects: true) "
    run += "{ bulkOperation { id } userErrors { code message } } }"

    body = await asked(simulator([]), run, query="{ orders { edges { node { nonsense } } } }")

    errors = body["data"]["bulkOperationRunQuery"]["userErrors"]
    assert [error["code"] for error in errors] == ["INVALID"]


def test_an_order_of_history_takes_little_memory() -> None:
    """69,659 orders have to fit well under 100 MB: that is 1,500 bytes for each."""
    simulator(orders(10))
    gc.collect()
    tracemalloc.start()

    simulation = simulator(order(number) for number in range(1, 3001))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert used / len(simulation.state.orders) < 1000


def test_it_can_stand_alone() -> None:
    assert isinstance(simulator([], **ALONE), Simulation)


@pytest.fixture
def served() -> Iterator[str]:
    """Serve three orders over a real socket; yield the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(simulator(orders(3)), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.mark.slow
def test_the_vendor_s_own_client_is_served(served: str) -> None:
    shopify = pytest.importorskip("shopify", reason="ShopifyAPI is not installed")
    shopify.ShopifyResource.set_site(f"{served}/admin/api/2026-10")
    shopify.ShopifyResource.headers = {"X-Shopify-Access-Token": TOKEN}
    query = "query ($first: Int!) { orders(first: $first) { nodes { name totalPriceSet { shopMoney { amount } } } } }"

    answer = json.loads(shopify.GraphQL().execute(query, {"first": 2}))

    assert [node["name"] for node in answer["data"]["orders"]["nodes"]] == ["#1", "#2"]
