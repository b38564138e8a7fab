"""Webhooks that are made by the stores' APIs, and what the stores then send."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import respx

from connectors.base import Subscription, Subscriptions, Webhooks
from connectors.errors import Refused
from connectors.simulation import Simulation, made_up_order
from connectors.stores.shopify import simulator as shopify
from connectors.stores.shopify.connector import Shopify
from connectors.stores.woocommerce import simulator as woocommerce
from connectors.stores.woocommerce.connector import WooCommerce
from connectors.stores.woocommerce.listing import SMALL
from tests.edge import edge

HERE = "https://cartwire.example/webhooks/shop"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HISTORY = [made_up_order(number, NOW) for number in (1, 2)]
SECRET = "hook-secret-0123"


@dataclass
class Case:
    store: Any
    simulation: Simulation
    deliver: Callable[..., Any]

    async def send(self) -> list[tuple[Mapping[str, str], bytes]]:
        """Collect what the store sends."""
        sent: list[tuple[Mapping[str, str], bytes]] = []

        async def post(_url: str, headers: Mapping[str, str], body: bytes) -> int:
            sent.append((headers, body))
            return 200

        await self.deliver(self.simulation, post)
        return sent


def open_woocommerce(**settings: Any) -> Case:
    simulation = woocommerce.simulator(HISTORY, permission="read_write")
    known = woocommerce.SETTINGS | {"base_url": "http://store.test", "webhook_secret": SECRET} | settings
    return Case(WooCommerce(WooCommerce.Settings(**known)), simulation, woocommerce.deliver)


def open_shopify(**settings: Any) -> Case:
    simulation = shopify.simulator(HISTORY)
    known = shopify.DAILY | {"base_url": "http://store.test"} | settings
    return Case(Shopify(Shopify.Settings(**known)), simulation, shopify.deliver)


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as mocked:
        yield mocked


@pytest.fixture(params=[open_woocommerce, open_shopify], ids=["woocommerce", "shopify"])
def case(request: pytest.FixtureRequest, router: respx.MockRouter, pauses: list[float]) -> Case:
    made: Case = request.param()
    router.route(host="store.test").mock(side_effect=edge(made.simulation))
    return made


async def subscribe_all(case: Case) -> None:
    for topic in case.store.topics:
        await case.store.subscribe(topic, HERE)


async def test_every_topic_can_be_subscribed_to_and_is_listed(case: Case) -> None:
    await subscribe_all(case)

    found = await case.store.subscriptions()

    assert isinstance(case.store, Webhooks)
    assert isinstance(case.store, Subscriptions)
    assert [(each.topic, each.url, each.active) for each in found] == [
        (topic, HERE, True) for topic in case.store.topics
    ]


async def test_what_is_unsubscribed_is_gone_and_stays_gone(case: Case) -> None:
    await subscribe_all(case)
    first, *others = await case.store.subscriptions()

    await case.store.unsubscribe(first)
    await case.store.unsubscribe(first)

    assert await case.store.subscriptions() == others


async def test_an_order_that_was_placed_is_told_and_signed_by_us_alone(case: Case) -> None:
    await subscribe_all(case)
    await case.send()
    number = case.simulation.state.add_order(email="ada@example.com", total="12.50")

    sent = await case.send()

    news = []
    for headers, body in sent:
        delivery = case.store.verify(headers, body, NOW)
        assert delivery is not None
        assert case.store.verify(headers, body + b" ", NOW) is None
        news.append(case.store.read_webhook(delivery.topic, body))
    orders = [fact for each in news for fact in each.facts if fact.id == str(number)]
    assert orders
    assert {(order.email, order.total.minor) for order in orders} == {("ada@example.com", 1250)}


async def test_what_a_webhook_tells_of_an_order_is_what_asking_for_it_tells(case: Case) -> None:
    await subscribe_all(case)
    await case.send()
    number = case.simulation.state.add_order(email="ada@example.com", total="12.50")
    case.simulation.state.refund(number, "2.50")

    told = [
        fact
        for headers, body in await case.send()
        for fact in case.store.read_webhook(case.store.verify(headers, body, NOW).topic, body).facts
        if type(fact).__name__ == "Order"
    ]
    asked = (await case.store.reread([f"order {number}"])).facts[0]

    newest = max(reversed(told), key=lambda order: order.updated_at)
    for name in (
        "id",
        "number",
        "email",
        "standing",
        "total",
        "created_at",
        "updated_at",
        "paid_at",
        "refunds",
    ):
        assert getattr(newest, name) == getattr(asked, name), name


async def test_woocommerce_makes_a_webhook_active_again_with_the_secret_of_now(
    router: respx.MockRouter, pauses: list[float]
) -> None:
    case = open_woocommerce(webhook_secret=["new-secret", SECRET])
    router.route(host="store.test").mock(side_effect=edge(case.simulation))
    await case.store.subscribe("order.updated", HERE)
    (hook,) = case.simulation.state.webhooks.hooks.values()
    hook.status, hook.secret = "disabled", SECRET

    (found,) = await case.store.subscriptions()
    await case.store.revive(found)

    assert not found.active
    assert (hook.status, hook.secret) == ("active", "new-secret")


async def test_woocommerce_lists_webhooks_by_page_though_the_host_is_slow(
    router: respx.MockRouter, pauses: list[float]
) -> None:
    """Else the worker would not see its own among many, and make them anew every hour."""
    case = open_woocommerce()
    router.route(host="store.test").mock(side_effect=edge(case.simulation))
    for number in range(60):
        await case.store.subscribe("order.updated", f"https://other.example/{number}")
    case.store._shop._size = SMALL

    assert len(await case.store.subscriptions()) == 60


async def test_woocommerce_lists_more_webhooks_than_fit_a_page(case: Case) -> None:
    hooks = getattr(case.simulation.state, "webhooks", None)
    if hooks is None:
        hooks = case.simulation.state.hooks
        for number in range(101):
            hooks.make("ORDERS_UPDATED", {"uri": f"https://elsewhere.example/{number}"})
    else:
        for number in range(101):
            await case.store.subscribe("order.updated", f"https://elsewhere.example/{number}")

    assert len(await case.store.subscriptions()) == 101


async def test_a_key_that_may_only_read_is_told_apart(router: respx.MockRouter, pauses: list[float]) -> None:
    simulation = woocommerce.simulator(HISTORY)
    known = woocommerce.SETTINGS | {"base_url": "http://store.test", "webhook_secret": SECRET}
    store = WooCommerce(WooCommerce.Settings(**known))
    router.route(host="store.test").mock(side_effect=edge(simulation))

    with pytest.raises(Refused, match="may only read: give it the permission Read/Write"):
        await store.subscribe("order.updated", HERE)


async def test_without_a_secret_woocommerce_webhooks_are_not_made() -> None:
    store = WooCommerce(WooCommerce.Settings(**woocommerce.SETTINGS))

    with pytest.raises(Refused, match="`webhook_secret` is missing"):
        await store.subscribe("order.updated", HERE)


async def test_shopify_says_why_a_webhook_cannot_be_made(
    router: respx.MockRouter, pauses: list[float]
) -> None:
    case = open_shopify()
    router.route(host="store.test").mock(side_effect=edge(case.simulation))
    await case.store.subscribe("ORDERS_PAID", HERE)

    with pytest.raises(Refused, match="ORDERS_PAID cannot be made: Address for this topic"):
        await case.store.subscribe("ORDERS_PAID", HERE)


async def test_a_webhook_that_nobody_takes_is_given_up(case: Case) -> None:
    await subscribe_all(case)
    await case.send()

    async def fail(*_: object) -> int:
        return 500

    for _ in range(9):
        case.simulation.state.add_order()
        await case.deliver(case.simulation, fail)

    found: list[Subscription] = [
        each for each in await case.store.subscriptions() if "create" in each.topic.lower() and each.active
    ]
    assert [each.topic for each in found if "ORDER" in each.topic.upper()] == []
