"""What Shopify says when it does not do what we ask: statuses, errors in a 200, tokens, points."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import respx
import structlog

from connectors.base import Resource
from connectors.errors import ConnectorError, Refused, RemoteFault, Throttled
from connectors.http import Api
from connectors.simulation import Fault, Kind
from connectors.stores.shopify import pages as paging
from connectors.stores.shopify.budget import Budget
from connectors.stores.shopify.simulator import CLIENT_ID, DAILY, SETTINGS, simulator
from connectors.stores.shopify.tokens import Daily
from tests.connectors.stores.shopify.conftest import Connect
from tests.connectors.stores.shopify.shops import changed
from tests.connectors.stores.shops import Clock, Meddler, everything, ids_of, orders
from tests.edge import edge

GRAPHQL = "/admin/api/2026-10/graphql.json"
COST = {"requestedQueryCost": 100, "actualQueryCost": None}


def said(code: str, message: str = "Said so") -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def answering(router: respx.MockRouter, *answers: httpx.Response) -> respx.Route:
    """Let the shop give these answers, the last one for ever."""
    left = list(answers)
    return router.post(path=GRAPHQL).mock(side_effect=lambda _: left.pop(0) if len(left) > 1 else left[0])


NOTHING = httpx.Response(200, json={"data": {"orders": {"nodes": [], "pageInfo": {"hasNextPage": False}}}})
CURSOR = json.dumps({"began": "2026-11-20T12:00:00Z"})


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, {"errors": "[API] Invalid API key or access token"}, "does not accept our token"),
        (402, {"errors": "Unavailable Shop"}, "has to pay Shopify"),
        (403, {"errors": "Forbidden"}, "is it still installed"),
        (404, {"errors": "Not Found"}, "no shop of this name"),
        (423, {"errors": "Locked"}, "locked"),
        (430, {"errors": "Shopify Security Rejection"}, "for an attack"),
        (400, {"errors": {"query": "Required parameter missing or invalid"}}, "Required parameter"),
        (406, {"errors": ["Not acceptable"]}, "Not acceptable"),
    ],
)
async def test_a_refusing_status_is_a_sentence(
    connect: Connect, router: respx.MockRouter, status: int, body: Any, sentence: str
) -> None:
    answering(router, httpx.Response(status, json=body))
    store = connect(simulator([]))

    with pytest.raises(Refused, match=sentence):
        await changed(store, CURSOR)


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (said("ACCESS_DENIED", "Required access: `read_orders` access scope."), Refused, "read_orders"),
        (said("SHOP_INACTIVE"), Refused, "inactive"),
        (said("undefinedField", "Field 'x' doesn't exist"), Refused, "Field 'x' doesn't exist"),
        ({"errors": "Something as mere text"}, Refused, "Something as mere text"),
        (said("INTERNAL_SERVER_ERROR", "Internal error"), RemoteFault, "answered 200"),
        ({"data": {"orders": None}} | said("ACCESS_DENIED"), Refused, "denies access"),
        ({"data": None}, RemoteFault, "without data"),
        ([1, 2], RemoteFault, "no object"),
    ],
)
async def test_an_error_in_a_200_is_never_taken_for_a_page(
    connect: Connect, router: respx.MockRouter, body: Any, kind: type[ConnectorError], sentence: str
) -> None:
    answering(router, httpx.Response(200, json=body))
    store = connect(simulator([]))

    with pytest.raises(kind, match=sentence):
        await changed(store, CURSOR)


async def test_a_right_that_is_missing_is_told_from_other_errors(
    connect: Connect, router: respx.MockRouter
) -> None:
    answering(router, httpx.Response(200, json=said("ACCESS_DENIED")))
    store = connect(simulator([]))

    with pytest.raises(Refused) as caught:
        await store.reread(["order 1"])

    assert caught.value.status == 403


async def test_a_fault_that_passes_is_waited_out(connect: Connect, router: respx.MockRouter) -> None:
    answering(
        router,
        httpx.Response(200, json=said("INTERNAL_SERVER_ERROR")),
        httpx.Response(502, html="<html>Bad gateway</html>"),
        httpx.Response(429, headers={"retry-after": "2.0"}),
        httpx.Response(200, html="<html>Sorry</html>"),
        httpx.Response(200, content=b'{"data": {"ord'),
        NOTHING,
    )
    store = connect(simulator([]))

    (page,) = await changed(store, CURSOR)

    assert page.facts == []
    assert store.tally["retry"] == 5


async def test_a_page_that_keeps_failing_is_asked_for_in_small(
    connect: Connect, router: respx.MockRouter
) -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["variables"]["first"])
        return NOTHING if asked[-1] == paging.SMALLEST else httpx.Response(504)

    router.post(path=GRAPHQL).mock(side_effect=answer)
    store = connect(simulator([]))

    await changed(store, CURSOR)

    assert asked == [250] * 7 + [25]


async def test_a_denied_visit_costs_the_source_and_not_the_order(
    connect: Connect, router: respx.MockRouter
) -> None:
    denied = said("ACCESS_DENIED")
    denied["errors"][0]["path"] = ["orders", "nodes", 0, "customerJourneySummary"]
    answering(router, httpx.Response(200, json=json.loads(NOTHING.content) | denied))
    store = connect(simulator([]))

    (page,) = await changed(store, CURSOR)

    assert (page.facts, page.bad) == ([], [])


async def test_personal_data_and_secrets_are_cut_out_of_what_shopify_says(
    connect: Connect, router: respx.MockRouter
) -> None:
    answering(router, httpx.Response(200, json=said("odd", f"ada@example.com with {SETTINGS['token']}")))
    store = connect(simulator([]))

    with pytest.raises(Refused) as refused:
        await changed(store, CURSOR)

    assert "ada@example.com" not in str(refused.value)
    assert SETTINGS["token"] not in str(refused.value)


async def test_another_version_than_ours_is_told_once(connect: Connect) -> None:
    store = connect(simulator(orders(3), versions=("2027-01",)))

    with structlog.testing.capture_logs() as logs:
        await store.check()

    told = [log for log in logs if log["event"] == "version_differs"]
    assert [(log["asked"], log["served"]) for log in told] == [("2026-10", "2027-01")]


async def test_a_filter_that_the_shop_ignores_is_an_error_in_the_log(
    connect: Connect, router: respx.MockRouter
) -> None:
    warning = {"field": "updated_at", "message": "Invalid", "code": "invalid_field"}
    body = json.loads(NOTHING.content) | {
        "extensions": {"search": [{"path": ["orders"], "warnings": [warning]}]}
    }
    answering(router, httpx.Response(200, json=body))
    store = connect(simulator([]))

    with structlog.testing.capture_logs() as logs:
        await changed(store, CURSOR)

    assert [(log["event"], log["field"]) for log in logs if log["log_level"] == "error"] == [
        ("filter_ignored", "updated_at")
    ]


# --- who we are ----------------------------------------------------------------------------------------


async def test_check_names_every_right_that_is_missing(connect: Connect) -> None:
    store = connect(simulator(orders(3), scopes=("write_orders",)))

    said = await store.check()

    assert [line.split(" is missing")[0] for line in said] == [
        "`read_customers`",
        "`read_products`",
        "`read_all_orders`",
    ]


async def test_check_finds_what_is_denied_in_spite_of_its_scope(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.denied = {"customers"}

    said = await connect(simulation).check()

    assert len(said) == 1
    assert said[0].startswith("customers cannot be read")


async def test_a_wrong_token_is_refused_at_check(connect: Connect) -> None:
    store = connect(simulator([]), token="shpat_" + "9" * 32)

    with pytest.raises(Refused, match="does not accept our token"):
        await store.check()


async def test_a_client_id_and_its_secret_open_the_shop_too(connect: Connect) -> None:
    simulation = simulator(orders(3))
    store = connect(simulation, with_=DAILY)

    said = await store.check()

    assert (list(said), len(simulation.state.tokens)) == ([], 1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"client_id": "d" * 32}, "does not know this `client_id`"),
        ({"client_secret": "x"}, "does not belong"),
    ],
)
async def test_a_wrong_client_is_a_sentence(connect: Connect, wrong: dict[str, str], sentence: str) -> None:
    store = connect(simulator([]), with_=DAILY, **wrong)

    with pytest.raises(Refused, match=sentence):
        await store.check()


async def test_many_who_need_a_token_fetch_one(connect: Connect) -> None:
    simulation = simulator(orders(3))
    store = connect(simulation, with_=DAILY)

    await asyncio.gather(*(store.plan_backfill(resource, None) for resource in store.resources))

    assert sum(seen.path.endswith("access_token") for seen in simulation.requests) == 1


async def test_a_token_that_ended_early_is_replaced_once(connect: Connect) -> None:
    simulation = simulator(orders(3))
    store = connect(simulation, with_=DAILY)
    await store.check()
    simulation.state.tokens.clear()

    await asyncio.gather(*(store.plan_backfill(resource, None) for resource in store.resources))

    assert sum(seen.path.endswith("access_token") for seen in simulation.requests) == 2


async def test_a_token_that_many_saw_refused_is_replaced_once(router: respx.MockRouter) -> None:
    grants = iter(range(9))
    router.post(path="/admin/oauth/access_token").mock(
        side_effect=lambda _: httpx.Response(200, json={"access_token": f"shpat_{next(grants)}"})
    )
    api = Api("http://shop.test")
    tokens = Daily(api, "id", "secret")
    first = await tokens.current()

    fresh = await asyncio.gather(*(tokens.after(first) for _ in range(5)))

    assert (first, set(fresh)) == ("shpat_0", {"shpat_1"})
    await api.aclose()


async def test_a_shop_that_refuses_fresh_tokens_too_is_not_asked_for_ever(
    connect: Connect, router: respx.MockRouter
) -> None:
    refused = answering(router, httpx.Response(401, json={"errors": "[API] Invalid API key"}))
    store = connect(simulator([]), with_=DAILY)

    with pytest.raises(Refused, match="does not accept our token"):
        await store.check()

    assert refused.call_count == 2


async def test_a_token_is_replaced_before_it_ends(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulator(orders(3))
    store = connect(simulation, with_=DAILY)
    now = 1000.0
    monkeypatch.setattr(store._admin._tokens, "_clock", lambda: now)
    await store.check()
    now += 86_399 * 0.81

    await store.check()

    assert len(simulation.state.tokens) == 2


async def test_a_token_endpoint_that_gives_none_is_a_fault(
    connect: Connect, router: respx.MockRouter
) -> None:
    router.post(path="/admin/oauth/access_token").respond(json={"scope": "read_orders"})
    store = connect(simulator([]), with_=DAILY)

    with pytest.raises(RemoteFault, match="without one"):
        await store.check()


async def test_what_the_token_endpoint_says_holds_no_secret(
    connect: Connect, router: respx.MockRouter
) -> None:
    told = {"error": "odd", "error_description": f"{DAILY['client_secret']} of {CLIENT_ID} is odd"}
    router.post(path="/admin/oauth/access_token").respond(400, json=told)
    store = connect(simulator([]), with_=DAILY)

    with pytest.raises(Refused, match="is odd") as refused:
        await store.check()

    assert DAILY["client_secret"] not in str(refused.value)


async def test_a_renamed_shop_is_followed_to_its_new_host(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.renamed = "new-name.myshopify.com"
    store = connect(simulation)

    with structlog.testing.capture_logs() as logs:
        said = await store.check()

    assert list(said) == []
    assert [log["host"] for log in logs if log["event"] == "shop_moved"] == ["new-name.myshopify.com"]


@pytest.mark.parametrize("target", ["shop.example", "myshopify.com.evil.example"])
async def test_a_redirect_to_a_stranger_gets_no_token(connect: Connect, target: str) -> None:
    simulation = simulator(orders(3))
    simulation.state.renamed = target
    store = connect(simulation)

    with pytest.raises(Refused, match="correct `shop`"):
        await store.check()

    assert [seen.status for seen in simulation.requests] == [301]


async def test_a_proxy_s_redirect_is_not_followed(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.renamed = "new-name.myshopify.com"
    store = connect(simulation, base_url="http://proxy.test")

    with pytest.raises(Refused, match=r"moved to new-name\.myshopify\.com"):
        await store.check()


# --- points --------------------------------------------------------------------------------------------


async def test_the_budget_is_spent_up_to_and_never_over(
    connect: Connect, clock: Clock, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "LARGEST", 20)
    simulation = simulator(orders(400), clock=clock, bucket=300.0, restore=50.0)
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)

    with structlog.testing.capture_logs() as logs:
        pages = await everything(store.backfill(window, None, careful=True))

    assert len(ids_of(pages)) == 400
    assert not [log for log in logs if log["event"] == "budget_empty"]
    assert sum(pauses) > 10


async def test_who_else_spends_our_points_makes_us_wait(
    connect: Connect, clock: Clock, pauses: list[float]
) -> None:
    simulation = simulator(orders(50), clock=clock, bucket=1000.0, restore=50.0)
    bucket = simulation._app._engine._bucket
    store = connect(Meddler(simulation, lambda request: bucket.take(bucket.left) if request == 1 else None))

    pages = await changed(store, CURSOR)

    assert len(pages) == 1
    assert 1.0 < sum(pauses) < 60.0


async def test_a_budget_that_stays_empty_ends_the_run(connect: Connect, router: respx.MockRouter) -> None:
    status = {"maximumAvailable": 2000.0, "currentlyAvailable": 0, "restoreRate": 1.0}
    empty = said("THROTTLED") | {"extensions": {"cost": COST | {"throttleStatus": status}}}
    route = answering(router, httpx.Response(200, json=empty))
    store = connect(simulator([]))

    with pytest.raises(Throttled, match="stays so"):
        await changed(store, CURSOR)

    assert 5 < route.call_count < 20


async def test_a_query_that_no_bucket_holds_is_asked_for_in_parts(
    connect: Connect, router: respx.MockRouter
) -> None:
    status = {"maximumAvailable": 50.0, "currentlyAvailable": 50, "restoreRate": 50.0}
    cost = {"cost": COST | {"throttleStatus": status}}
    route = answering(router, httpx.Response(200, json=said("THROTTLED") | {"extensions": cost}), NOTHING)
    store = connect(simulator([]))

    await changed(store, CURSOR)

    asked = [json.loads(call.request.content)["variables"]["first"] for call in route.calls]
    assert asked == [250, 125]


def test_a_budget_waits_for_what_is_lacking_and_a_hair_more() -> None:
    budget = Budget()
    status = {"maximumAvailable": 2000.0, "currentlyAvailable": 120, "restoreRate": 100.0}
    budget.learn("q", {"requestedQueryCost": 752, "throttleStatus": status}, now=50.0)

    assert budget.pause("q", now=50.0) == pytest.approx(6.34)
    assert budget.pause("q", now=56.5) == 0.0
    assert budget.pause("never sent", now=50.0) == 0.0


def test_what_is_on_its_way_is_not_spent_twice() -> None:
    budget = Budget()
    status = {"maximumAvailable": 2000.0, "currentlyAvailable": 1000, "restoreRate": 100.0}
    budget.learn("q", {"requestedQueryCost": 600, "throttleStatus": status}, now=0.0)

    budget.reserve("q", now=0.0)

    assert budget.pause("q", now=0.0) == pytest.approx(2.02)


@pytest.mark.parametrize("kind", list(Kind))
async def test_any_fault_on_the_way_costs_time_only(connect: Connect, kind: Kind) -> None:
    simulation = simulator(orders(30))
    simulation.fail(Fault(kind, status=503), times=3)
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)

    pages = await everything(store.backfill(window, None, careful=True))

    assert len(ids_of(pages)) == 30


async def test_closing_twice_is_harmless(router: respx.MockRouter, connect: Connect) -> None:
    store = connect(simulator([]))
    router.route().mock(side_effect=edge(simulator([])))

    await store.aclose()
    await store.aclose()
