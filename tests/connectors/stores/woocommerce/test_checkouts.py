"""Unpaid orders as abandoned checkouts: which, from when on, until when."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from connectors.base import Resource
from connectors.facts import Checkout, Order
from connectors.stores.woocommerce.simulator import simulator
from tests.connectors.stores.shops import NOON, Clock, changes_of, facts_of, history_of, order, queries
from tests.connectors.stores.woocommerce.conftest import Connect
from tests.connectors.stores.woocommerce.test_payloads import ORDERS
from tests.connectors.stores.woocommerce.test_webhooks import SECRET, delivered

HALF_AN_HOUR = 1800


def begun(since: datetime = NOON) -> str:
    return json.dumps({"until": since.isoformat()})


async def checkouts(store: Any, cursor: str) -> tuple[dict[str, Checkout], str]:
    pages = await changes_of(store, Resource.CHECKOUTS, cursor)
    return {fact.id: fact for fact in facts_of(pages) if isinstance(fact, Checkout)}, pages[-1].cursor


@pytest.mark.parametrize("status", ["pending", "failed", "checkout-draft"])
async def test_an_unpaid_order_is_a_checkout_once_it_stood_still_for_half_an_hour(
    connect: Connect, status: str
) -> None:
    clock = Clock()
    simulation = simulator([order(1)], clock=clock)
    number = str(simulation.state.add_order(status=status, email="Ada@example.com", total="12.00"))
    store = connect(simulation)

    clock.pass_by(HALF_AN_HOUR)
    young, cursor = await checkouts(store, begun())
    clock.pass_by(60)
    old, _ = await checkouts(store, cursor)

    assert young == {}
    assert (old[number].email, old[number].completed_at) == ("ada@example.com", None)
    assert old[number].total is not None
    assert old[number].total.minor == 1200
    assert bool(old[number].url) == (status != "checkout-draft")


@pytest.mark.parametrize(
    ("made_by", "count"),
    [("checkout", 1), ("store-api", 1), ("admin", 0), ("rest-api", 0), ("subscription", 0), ([], 1)],
)
async def test_what_no_buyer_made_is_no_checkout_that_they_left(
    connect: Connect, made_by: str, count: int
) -> None:
    clock = Clock()
    simulation = simulator([], clock=clock)
    number = simulation.state.add_order(status="pending")
    simulation.state.update_order(number, row={"created_via": made_by})
    store = connect(simulation)
    clock.pass_by(7200)

    found, _ = await checkouts(store, begun())

    assert len(found) == count


async def test_what_stays_abandoned_comes_once_and_costs_one_request(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([], clock=clock)
    simulation.state.add_order(status="pending")
    store = connect(simulation)
    clock.pass_by(7200)

    first, cursor = await checkouts(store, begun())
    clock.pass_by(7200)
    second, _ = await checkouts(store, cursor)

    assert (len(first), len(second), store.tally["GET"]) == (1, 0, 2)
    assert "status=checkout-draft%2Cfailed%2Cpending" in queries(simulation, "/orders")[0]


@pytest.mark.parametrize(
    ("status", "is_over"),
    [("paid", True), ("on-hold", True), ("processing", True), ("trash", True), ("cancelled", False)],
)
async def test_an_order_that_is_decided_closes_its_checkout_but_the_shop_s_own_timer_does_not(
    connect: Connect, status: str, *, is_over: bool
) -> None:
    clock = Clock()
    simulation = simulator([], clock=clock)
    number = simulation.state.add_order(status="pending")
    store = connect(simulation)
    clock.pass_by(7200)
    simulation.state.update_order(number, status=status)

    facts = facts_of(await changes_of(store, Resource.ORDERS, json.dumps({"began": NOON.isoformat()})))

    ends = [fact.completed_at for fact in facts if isinstance(fact, Checkout)]
    assert ends == ([clock.now] if is_over else [])


async def test_an_order_that_was_paid_at_once_was_no_abandoned_checkout(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([], clock=clock)
    simulation.state.add_order()
    store = connect(simulation)
    clock.pass_by(7200)
    simulation.state.update_order(1)

    facts = facts_of(await changes_of(store, Resource.ORDERS, json.dumps({"began": NOON.isoformat()})))

    assert not [fact for fact in facts if isinstance(fact, Checkout)]


async def test_an_order_of_the_block_checkout_closes_its_draft_however_young_it_says_it_is(
    connect: Connect,
) -> None:
    simulation = simulator([], clock=Clock())
    number = simulation.state.add_order()
    simulation.state.update_order(number, row={"created_via": "store-api"})
    store = connect(simulation)

    facts = facts_of(await changes_of(store, Resource.ORDERS, json.dumps({"began": NOON.isoformat()})))

    assert [fact.id for fact in facts if isinstance(fact, Checkout) and fact.completed_at] == [str(number)]


async def test_a_webhook_of_a_late_payment_closes_the_checkout(connect: Connect) -> None:
    late = ORDERS["completed"] | {"date_created_gmt": "2020-01-01T00:00:00", "created_via": "checkout"}
    store = connect(simulator([]), webhook_secret=SECRET)

    page = delivered(store, "order.updated", late)

    assert [type(fact) for fact in page.facts] == [Order, Checkout]


async def test_history_holds_three_months_of_them_and_leaves_the_young_to_later(connect: Connect) -> None:
    clock = Clock(datetime.now(NOON.tzinfo).replace(microsecond=0))
    old, recent = (
        order(n, clock.now - timedelta(days=days), status="pending") for n, days in ((1, 100), (2, 80))
    )
    simulation = simulator([old, recent, order(3)], clock=clock)
    simulation.state.add_order(status="pending")
    store = connect(simulation)

    facts = facts_of(await history_of(store, Resource.CHECKOUTS))
    none = await connect(simulator([order(3)], clock=clock)).plan_backfill(Resource.CHECKOUTS, None)

    assert [fact.id for fact in facts] == ["2"]
    assert none == []


async def test_a_checkout_that_could_not_be_read_is_read_again(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([], clock=clock)
    number = simulation.state.add_order(status="pending")
    simulation.state.update_order(number, row={"total": "free"})
    store = connect(simulation)
    clock.pass_by(7200)
    (page,) = await changes_of(store, Resource.CHECKOUTS, begun())

    simulation.state.update_order(number, row={"total": "5.00"})
    again = await store.reread([letter.record for letter in page.bad])

    assert [letter.record for letter in page.bad] == [f"checkout {number}"]
    assert [(fact.id, type(fact)) for fact in again.facts] == [(str(number), Checkout)]
