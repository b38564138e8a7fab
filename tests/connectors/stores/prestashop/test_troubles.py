"""What goes wrong at a shop, said in an owner's words; and rights that a key lacks."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import respx
from pydantic import ValidationError

from connectors.base import Resource
from connectors.errors import ConnectorError, Refused, RemoteFault
from connectors.simulation import Fault
from connectors.stores.prestashop.connector import RIGHTS, PrestaShop
from connectors.stores.prestashop.simulator import KEY, SETTINGS, simulator
from tests.connectors.stores.prestashop.conftest import Connect
from tests.connectors.stores.shops import changes_of, history_of, orders, queries


async def test_a_key_with_every_right_has_nothing_missing(connect: Connect) -> None:
    simulation = simulator(orders(3))

    assert await connect(simulation).check() == []
    assert {seen.status for seen in simulation.requests} == {200}


@pytest.mark.parametrize("resource", RIGHTS)
@pytest.mark.parametrize("methods", [set(), {"PUT"}])
async def test_a_missing_right_is_named_with_what_to_tick(
    connect: Connect, resource: str, methods: set[str]
) -> None:
    simulation = simulator(orders(3))
    simulation.state.rights[resource] = methods
    store = connect(simulation)

    (missing,) = await store.check()

    assert f"tick View (GET) beside `{resource}`" in missing
    assert "Advanced Parameters, Webservice" in missing


async def test_several_missing_rights_are_several_sentences_and_no_right_at_all_is_an_error(
    connect: Connect,
) -> None:
    simulation = simulator(orders(3))
    for resource in ("carts", "order_slip"):
        simulation.state.rights[resource] = set()
    store = connect(simulation)

    assert len(await store.check()) == 2
    for resource in RIGHTS:
        simulation.state.rights[resource] = set()
    with pytest.raises(Refused, match="may not view `orders`"):
        await store.check()


async def test_a_key_without_configurations_needs_the_timezone_and_nothing_more(connect: Connect) -> None:
    simulation = simulator(orders(3), timezone="America/New_York")
    simulation.state.rights["configurations"] = set()

    with pytest.raises(Refused, match="may not view `configurations`"):
        await changes_of(connect(simulation), Resource.ORDERS)
    store = connect(simulation, timezone="America/New_York")

    assert await store.check() == []
    (page,) = await history_of(store)
    assert page.facts[0].created_at == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert [fact.standing.value for fact in page.facts] == ["paid"] * 3


async def test_a_shop_with_an_unknown_timezone_says_what_to_set(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.settings["PS_TIMEZONE"] = "Mars/Olympus"

    with pytest.raises(Refused, match="set `timezone`"):
        await connect(simulation).check()


@pytest.mark.parametrize(
    ("key", "part"),
    [("9" * 32, "does not know this `key`"), ("short", "32 characters"), ("x" * 33, "32 characters")],
)
async def test_a_wrong_key_is_told_and_not_shown(connect: Connect, key: str, part: str) -> None:
    store = connect(simulator(orders(3)), key=key)

    with pytest.raises(Refused, match=part) as raised:
        await store.check()

    assert key not in str(raised.value)


async def test_a_webservice_that_is_switched_off_is_told_at_once(
    connect: Connect, pauses: list[float]
) -> None:
    simulation = simulator(orders(3))
    simulation.state.disabled = True

    with pytest.raises(Refused, match="the webservice is switched off"):
        await connect(simulation).check()

    assert len(simulation.requests) == 1
    assert pauses == []


async def test_a_shop_that_moved_says_where_to(connect: Connect) -> None:
    store = connect(simulator(orders(3), moved_to="https://www.shop.example"))

    with pytest.raises(Refused, match=r"`url` leads to https://www\.shop\.example: put"):
        await store.check()


async def test_an_address_without_a_webservice_says_what_to_look_at(
    connect: Connect, router: respx.MockRouter
) -> None:
    store = connect(simulator([]), url="https://shop.example/blog")

    with pytest.raises(Refused, match="no webservice below this `url`"):
        await store.check()


@pytest.mark.parametrize("status", [200, 500, 503])
async def test_a_web_page_of_a_broken_module_is_no_list_of_rows(
    connect: Connect, status: int, pauses: list[float]
) -> None:
    simulation = simulator(orders(3))
    page = b"<!doctype html><html><script>var cart = {};</script><body>Fatal error</body></html>"
    simulation.fail(Fault(status=status, body=page), times=100)

    with pytest.raises(RemoteFault) as raised:
        await connect(simulation).check()

    assert "shop" in str(raised.value)
    assert len(pauses) == 6


async def test_a_shop_that_answers_nothing_is_told(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.fail(Fault(status=200, body=b""), times=100)

    with pytest.raises(RemoteFault, match="answered nothing at all"):
        await connect(simulation).check()


async def test_notices_before_the_json_and_the_xml_are_cut_off(connect: Connect) -> None:
    for site in ({}, {"json": "ignored"}):
        simulation = simulator(orders(3), **site)
        simulation.state.junk = (
            b"\xef\xbb\xbf\nNotice: Undefined index [price] in {modules/x.php} on line 3\n"
        )

        assert await connect(simulation).check() == []


async def test_a_shop_where_every_row_is_broken_is_an_error_and_not_a_thousand_letters(
    connect: Connect,
) -> None:
    simulation = simulator(orders(300))
    simulation.state.broken |= {("orders", number) for number in range(301)}
    store = connect(simulation)

    with pytest.raises(RemoteFault, match="a module is broken"):
        await history_of(store)

    assert len(simulation.requests) < 70


async def test_a_stumble_that_passes_is_no_dead_letter(connect: Connect, pauses: list[float]) -> None:
    simulation = simulator(orders(30))
    body = b'{"errors":[{"code":3,"message":"[PHP Warning #2] ada@example.com"}]}'
    headers = {"content-type": "application/json"}
    simulation.fail(Fault(status=500, body=body, headers=headers), when=lambda _, path: path == "/api/orders")
    store = connect(simulation)

    pages = await history_of(store)

    assert [len(page.facts) for page in pages] == [30]
    assert [page.bad for page in pages] == [[]]


async def test_a_host_that_hides_the_key_gets_it_in_the_query_and_nobody_else_does(connect: Connect) -> None:
    hiding, plain = simulator(orders(3), drops_authorization=True), simulator(orders(3))

    assert await connect(hiding).check() == []
    shown = queries(hiding, "/orders")
    assert await connect(plain).check() == []

    assert any(KEY in query for query in shown)
    assert len([seen for seen in hiding.requests if seen.status == 401]) == 1
    assert not any(KEY in seen.query for seen in plain.requests)


async def test_a_host_that_hides_the_key_and_takes_no_other_says_how_to_mend_it(
    connect: Connect, router: respx.MockRouter
) -> None:
    store = connect(simulator([]))
    router.route().mock(return_value=httpx.Response(401, html="401 Unauthorized"))

    with pytest.raises(Refused, match="CGIPassAuth On"):
        await store.check()


@pytest.mark.parametrize(
    "body",
    [
        b'"text"',
        b'{"orders": [1, 2]}',
        b'{"orders": [{"reference": "X"}]}',
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><prestashop><orders/></prestashop>",
        b"<?xml version='1.0'?><prestashop><orders><order>",
    ],
)
async def test_what_no_webservice_sends_is_an_error_and_no_crash(
    connect: Connect, router: respx.MockRouter, body: bytes
) -> None:
    store = connect(simulator([]))
    router.route().mock(return_value=httpx.Response(200, content=body))

    with pytest.raises(ConnectorError):
        await history_of(store)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://shop.example/", "https://shop.example"),
        ("https://shop.example/api/", "https://shop.example"),
        ("http://shop.example:8080/fr/api", "http://shop.example:8080/fr"),
        (" https://shop.example:443 ", "https://shop.example"),
    ],
)
def test_an_address_is_kept_one_way(url: str, kept: str) -> None:
    assert PrestaShop.Settings(**(dict(SETTINGS) | {"url": url})).url == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "shop.example"},
        {"url": "https://key@shop.example"},
        {"url": "https://shop.example/?a=b"},
        {"key": ""},
        {"timezone": "Paris"},
        {"paid_states": ["paid"]},
        {"token": "x"},
    ],
)
def test_what_cannot_be_right_is_refused_at_the_door(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PrestaShop.Settings(**(dict(SETTINGS) | wrong))
