"""Keys: over TLS, over plain HTTP, through proxies; and the official client against our simulator."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest
import respx
import structlog
import uvicorn
import woocommerce

from connectors.base import Resource
from connectors.errors import Refused
from connectors.facts import Order
from connectors.simulation import Fault, Simulation
from connectors.stores.woocommerce.keys import signature
from connectors.stores.woocommerce.simulator import KEY, SECRET, simulator
from tests.connectors.stores.shops import everything, history_of, ids_of, orders
from tests.connectors.stores.woocommerce.conftest import Connect

TLS = "https://shop.example"


def test_a_signature_is_the_one_of_the_recorded_shop_s_algorithm() -> None:
    params = {"per_page": "1", "status": "any,trash", "oauth_nonce": "a~b", "after": "2026-11-20T10:00:00"}

    ours = signature("get", "http://shop.example/wp-json/wc/v3/orders", params, "cs_1")

    theirs = woocommerce.oauth.OAuth("", "ck", "cs_1", method="GET").generate_oauth_signature(
        dict(params), "http://shop.example/wp-json/wc/v3/orders"
    )
    assert ours == theirs


async def test_over_tls_keys_go_in_the_header_only(connect: Connect, router: respx.MockRouter) -> None:
    simulation = simulator(orders(3))
    store = connect(simulation, url=TLS)

    assert await store.check() == []

    assert all(seen.status == 200 for seen in simulation.requests)
    assert all("consumer" not in seen.query for seen in simulation.requests)
    assert all("authorization" in call.request.headers for call in router.calls)


async def test_where_the_header_is_dropped_the_query_is_tried_once_and_kept(connect: Connect) -> None:
    simulation = simulator(orders(3), drops_authorization=True)
    store = connect(simulation, url=TLS)

    assert await store.check() == []

    assert [seen.status for seen in simulation.requests] == [401, 200, 200, 200]
    assert "consumer_secret" in simulation.requests[-1].query


async def test_behind_a_proxy_that_hides_tls_requests_are_signed_for_plain_http(connect: Connect) -> None:
    simulation = simulator(orders(3), plain_http=True, home="http://shop.example")

    async def without_tls(scope: Any, receive: Any, send: Any) -> None:
        await simulation(scope | {"scheme": "http"}, receive, send)

    store = connect(without_tls, url=TLS)

    assert await store.check() == []
    assert [seen.status for seen in simulation.requests] == [401, 401, 200, 200, 200]


async def test_a_shop_that_reckons_with_another_address_is_signed_for_that_one(connect: Connect) -> None:
    simulation = simulator(orders(3), home="http://shop.example/boutique")
    store = connect(simulation, url="https://shop.example/boutique/", base_url="http://127.0.0.1:8080")

    assert await store.check() == []
    assert [seen.status for seen in simulation.requests] == [401, 200, 200, 200]


async def test_each_request_and_each_retry_has_a_nonce_of_its_own(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.fail(Fault(status=503), times=2)
    simulation.fail(Fault(status=429, headers={"retry-after": "1"}))
    store = connect(simulation)

    await store.check()

    nonces = [parse_qs(seen.query)["oauth_nonce"][0] for seen in simulation.requests]
    assert len(nonces) == len(set(nonces)) == 6


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"key": "ck_unknown"}, "the shop does not know this `key`"),
        ({"secret": "cs_wrong"}, "`secret` does not belong to `key`"),
        ({"url": TLS, "key": "ck_unknown"}, "the shop does not know this `key`"),
        ({"url": TLS, "secret": "cs_wrong"}, "`secret` does not belong to `key`"),
    ],
)
async def test_a_wrong_key_is_refused_by_the_setting_s_name(
    connect: Connect, settings: dict[str, str], sentence: str
) -> None:
    store = connect(simulator(orders(3)), **settings)

    with pytest.raises(Refused, match=sentence):
        await store.check()


async def test_a_key_that_may_only_write_is_told_apart(connect: Connect) -> None:
    store = connect(simulator(orders(3), permission="write"))

    with pytest.raises(Refused, match="permission Read"):
        await store.check()


async def test_a_clock_that_is_off_is_told_apart(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    store = connect(simulator(orders(3)))
    monkeypatch.setattr("connectors.stores.woocommerce.keys.time", _Clock(1_000_000_000.0))

    with pytest.raises(Refused, match="more than 15 minutes"):
        await store.check()


class _Clock:
    def __init__(self, now: float) -> None:
        self._now = now

    def time(self) -> float:
        return self._now


async def test_neither_errors_nor_logs_hold_keys(connect: Connect, router: respx.MockRouter) -> None:
    simulation = simulator(orders(3), drops_authorization=True)
    store = connect(simulation, url=TLS)
    router.routes.clear()
    router.route().respond(418, text=f"short and stout {KEY} {SECRET} ada@example.com")

    with structlog.testing.capture_logs() as logs, pytest.raises(Refused) as refused:
        await store.check()

    told = str(refused.value) + repr(logs)
    assert not any(secret in told for secret in (KEY, SECRET, "ada@example.com"))


async def test_the_official_client_reads_the_simulator_over_plain_http() -> None:
    with served(simulator(orders(12))) as address:
        shop = woocommerce.API(url=address, consumer_key=KEY, consumer_secret=SECRET, timeout=10)
        listed = shop.get("orders", params={"per_page": 5, "status": "completed,processing", "orderby": "id"})
        one = shop.get("orders/7")
        wrong = woocommerce.API(url=address, consumer_key=KEY, consumer_secret="cs_wrong").get("orders")

    assert [row["id"] for row in listed.json()] == [12, 11, 10, 9, 8]
    assert (listed.headers["x-wp-total"], listed.headers["x-wp-totalpages"]) == ("12", "3")
    assert one.json()["billing"]["email"] == "buyer-7@example.com"
    assert (wrong.status_code, wrong.json()["message"]) == (
        401,
        "Invalid signature - provided signature does not match.",
    )


async def test_the_connector_reads_the_simulator_over_a_socket(
    connect: Connect, router: respx.MockRouter
) -> None:
    simulation = simulator(orders(230))
    with served(simulation) as address:
        store = connect(simulation, base_url=address)
        router.routes.clear()
        router.route().pass_through()
        pages = await history_of(store)
        changed = await everything(store.changes(Resource.CUSTOMERS, orders(1)[0].created_at, None))

    assert len(set(ids_of(pages, Order))) == 230
    assert changed


@contextmanager
def served(app: Simulation) -> Iterator[str]:
    """Serve an app on a free port of loopback, in a thread."""
    config = uvicorn.Config(app, port=0, log_level="error", ws="none", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    listener.listen()  # from here on clients may come; they wait until the thread is there
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
