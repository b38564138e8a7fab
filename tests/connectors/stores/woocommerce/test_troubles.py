"""What goes wrong at hosts: firewalls, redirects, notices before the JSON, missing rights, old versions."""

import json
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
import respx
from pydantic import ValidationError

from connectors.base import Resource
from connectors.errors import Refused, RemoteFault, Throttled
from connectors.facts import Order
from connectors.simulation import Fault, Kind, Receive, Scope, Send, Simulation
from connectors.stores.woocommerce.connector import WooCommerce
from connectors.stores.woocommerce.refusals import cut_junk
from connectors.stores.woocommerce.simulator import SETTINGS, simulator
from tests.connectors.stores.shops import NOON, Clock, changes_of, everything, history_of, ids_of, orders
from tests.connectors.stores.woocommerce.conftest import Connect

NOTICE = (
    b"\xef\xbb\xbf<br />\n<b>Warning</b>: Undefined array key [x] in {closure}() on line <b>7</b><br />\n"
)
PAGE = b"<!DOCTYPE html><html><body>Blocked</body></html>"


async def refusal(connect: Connect, router: respx.MockRouter, status: int, **answer: Any) -> str:
    store = connect(simulator([]))
    router.routes.clear()
    router.route().respond(status, **answer)
    with pytest.raises(Refused) as refused:
        await store.check()
    return str(refused.value)


async def test_a_shop_that_can_be_read_has_nothing_missing(connect: Connect) -> None:
    assert await connect(simulator(orders(3))).check() == []


async def test_a_right_that_is_missing_is_named(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.forbidden.add("customers")

    (sentence,) = await connect(simulation).check()

    assert sentence.startswith("customers cannot be read: ")
    assert "shop manager" in sentence


async def test_no_right_at_all_is_no_talking_to_the_shop(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.forbidden |= {"orders", "customers", "products"}

    with pytest.raises(Refused, match="the user of `key` may not read this"):
        await connect(simulation).check()


@pytest.mark.parametrize("status", [401, 403, 406, 501])
async def test_a_firewall_s_page_is_not_taken_for_a_wrong_key(
    connect: Connect, router: respx.MockRouter, status: int
) -> None:
    said = await refusal(connect, router, status, html=PAGE.decode())

    assert "a firewall or a security plugin refuses us" in said


async def test_a_redirect_says_where_to_without_the_query(connect: Connect, router: respx.MockRouter) -> None:
    headers = {"location": "https://www.shop.example/wp-json/wc/v3/orders?consumer_secret=cs_1"}

    said = await refusal(connect, router, 301, headers=headers)

    assert "`url` leads to https://www.shop.example:" in said
    assert "cs_1" not in said


async def test_an_address_without_wordpress_says_so(connect: Connect, router: respx.MockRouter) -> None:
    said = await refusal(connect, router, 404, html=PAGE.decode())

    assert "no WordPress REST API below this `url`" in said


async def test_wordpress_without_woocommerce_says_so(connect: Connect, router: respx.MockRouter) -> None:
    said = await refusal(connect, router, 404, json={"code": "rest_no_route", "message": "No route"})

    assert "WooCommerce does not: is it switched on" in said
    assert len(router.calls) == 1


async def test_a_version_that_cannot_sort_by_change_is_too_old(
    connect: Connect, router: respx.MockRouter
) -> None:
    body = {"code": "rest_invalid_param", "message": "Invalid parameter(s): orderby", "data": {"status": 400}}

    said = await refusal(connect, router, 400, json=body)

    assert "this WooCommerce is too old" in said


async def test_words_in_the_shop_s_language_are_passed_on(connect: Connect, router: respx.MockRouter) -> None:
    body = {"code": "woocommerce_rest_authentication_error", "message": "La clé est invalide."}

    said = await refusal(connect, router, 401, json=body)

    assert "the shop refuses `key` or `secret`: La clé est invalide." in said


async def test_a_shop_without_pretty_permalinks_is_read_below_index_php(connect: Connect) -> None:
    simulation = simulator(orders(230), pretty=False)
    store = connect(simulation)

    pages = await history_of(store)

    assert len(ids_of(pages, Order)) == 230
    assert [seen.status for seen in simulation.requests] == [404, 200, 200, 200, 200, 200]


async def test_notices_of_php_before_the_json_are_cut_off(connect: Connect) -> None:
    simulation = simulator(orders(7))
    simulation.state.junk = NOTICE
    store = connect(simulation)

    assert len(ids_of(await history_of(store), Order)) == 7


async def test_notices_before_a_refusal_do_not_hide_its_reason(connect: Connect) -> None:
    simulation = simulator(orders(7))
    simulation.state.junk = NOTICE

    with pytest.raises(Refused, match="does not know this `key`"):
        await connect(simulation, key="ck_unknown").check()


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"Fatal: Cannot use [] for reading in x.php on line 3<br />\n", b""),
        (b'<b>Notice</b>: {"a"} is odd<br />', b""),
        (b"", b"\n<!-- Dynamic page generated in 0.3 seconds. -->"),
        (b"Warning: x\n", b"\n\n"),
    ],
)
def test_what_stands_around_the_json_is_cut_off_though_it_may_hold_brackets(
    before: bytes, behind: bytes
) -> None:
    assert cut_junk(before + b'[{"id": 1}]' + behind) == b'[{"id": 1}]'


def test_a_body_that_broke_off_is_not_mended() -> None:
    for body in (b'[{"id": 1}, {"id": 2', b'x\n[{"id": 1}, {"id": 2'):
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(cut_junk(body))


@pytest.mark.parametrize("body", [b"[]", b'[{"id": 1}]', b'{"code": "x"}', b"{}", b""])
def test_a_clean_body_stays_as_it_is(body: bytes) -> None:
    assert (cut_junk(body), cut_junk(b"Notice: x\n" + body)) == (body, body or b"Notice: x\n")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503, headers={"retry-after": "3"}),
        Fault(status=429, headers={"retry-after": "3"}),
        Fault(status=200, body=b""),
        Fault(status=200, body=PAGE),
        Fault(status=522),
        Fault(Kind.DROP),
        Fault(Kind.TRUNCATE),
    ],
    ids=["500", "503", "429", "empty", "page", "cdn", "drop", "truncate"],
)
async def test_a_trouble_that_passes_costs_one_retry(
    connect: Connect, pauses: list[float], fault: Fault
) -> None:
    simulation = simulator(orders(7))
    simulation.fail(fault)
    store = connect(simulation)

    pages = await history_of(store)

    assert len(ids_of(pages, Order)) == 7
    assert store.tally["retry"] == 1
    assert not fault.headers or max(pauses) >= 2.9


async def test_a_trouble_that_stays_ends_the_run_and_not_the_work(connect: Connect) -> None:
    simulation = simulator(orders(7))
    simulation.fail(Fault(status=429, headers={"retry-after": "600"}))

    with pytest.raises(Throttled):
        await history_of(connect(simulation))


async def test_an_object_where_a_list_should_be_is_a_fault_of_the_shop(
    connect: Connect, router: respx.MockRouter
) -> None:
    store = connect(simulator([]))
    router.routes.clear()
    router.route().respond(200, json={"code": "cache_error"})

    with pytest.raises(RemoteFault, match="an object where a list should be"):
        await store.plan_backfill(Resource.ORDERS, None)


async def test_a_list_with_a_hole_comes_as_an_object_and_is_read(
    connect: Connect, router: respx.MockRouter
) -> None:
    store = connect(simulator([]))
    router.routes.clear()
    row = {"id": 1, "date_created_gmt": "2026-11-01T00:00:00"}
    router.route().mock(
        return_value=httpx.Response(200, json={"0": row, "2": row}, headers={"x-wp-total": "2"})
    )

    (window,) = await store.plan_backfill(Resource.ORDERS, None)

    assert window.start is not None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "shop.example"}, "must begin with https://"),
        ({"url": "https://shop.example/?lang=fr"}, "must be an address alone"),
        ({"url": "https://ada:pw@shop.example"}, "must be an address alone"),
        ({"paid_statuses": ["refunded"]}, "`refunded` cannot count as paid"),
        ({"consent_meta_key": ""}, "at least 1 character"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_at_the_door(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WooCommerce.Settings(**(SETTINGS | wrong))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://shop.example/", "https://shop.example"),
        ("https://Shop.Example:443/fr/ ", "https://shop.example/fr"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_an_address_may_be_written_in_many_ways(written: str, meant: str) -> None:
    assert WooCommerce.Settings(**(SETTINGS | {"url": written})).url == meant


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in WooCommerce.Settings.model_fields.values())


async def test_a_shop_in_a_subfolder_is_read_there(connect: Connect) -> None:
    simulation = simulator(orders(3), home="http://shop.example/boutique")

    async def in_folder(scope: Any, receive: Any, send: Any) -> None:
        folder, path = scope["path"][:9], scope["path"][9:]
        assert folder == "/boutique"
        await simulation(scope | {"path": path}, receive, send)

    store = connect(in_folder, url="http://shop.example/boutique/")

    assert await store.check() == []


SLOW = Fault(status=504)


async def test_a_host_that_fails_over_full_pages_is_asked_for_less(connect: Connect) -> None:
    simulation = simulator(orders(230), clock=Clock())
    since = NOON - timedelta(hours=1)
    for number in range(1, 231):
        simulation.state.update_order(number)
    slow = SlowOverFullPages(simulation)
    store = connect(slow)

    history = await history_of(store)
    failed = slow.failed
    changed = await changes_of(store, cursor=json.dumps({"began": since.isoformat()}))

    assert sorted(map(int, ids_of(history, Order))) == list(range(1, 231))
    assert {int(number) for number in ids_of(changed, Order)} == set(range(1, 231))
    assert slow.failed == failed


async def test_a_host_that_is_down_is_asked_for_full_pages_again_when_it_is_back(connect: Connect) -> None:
    simulation = simulator(orders(150))
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    simulation.chances = {SLOW: 1.0}
    with pytest.raises(RemoteFault):
        await everything(store.backfill(window, None))
    simulation.chances = {}
    before = len(simulation.requests)

    pages = await everything(store.backfill(window, None))

    assert (len(ids_of(pages, Order)), len(simulation.requests) - before) == (150, 2)


class SlowOverFullPages:
    """A host that gives up over a hundred orders, and gets fifty done."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.failed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"per_page=100" in scope["query_string"]:
            self.failed += 1
            self._simulation.fail(SLOW)
        await self._simulation(scope, receive, send)
