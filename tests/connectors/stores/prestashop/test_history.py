"""Backfills: pages, requests, and going on after a kill."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Resource, Window
from connectors.facts import Checkout, Customer, Order, Product, Refund, Standing
from connectors.stores.prestashop.simulator import simulator
from tests.connectors.stores.prestashop.conftest import Connect
from tests.connectors.stores.shops import (
    NOON,
    OPENING,
    Clock,
    everything,
    facts_of,
    history_of,
    ids_of,
    order,
    orders,
    queries,
)


async def test_customers_cost_two_requests_for_250_with_their_addresses(connect: Connect) -> None:
    simulation = simulator([order(number, account=number) for number in range(1, 501)])
    store = connect(simulation)

    pages = await history_of(store, Resource.CUSTOMERS)

    assert len(ids_of(pages, Customer)) == 500
    assert len(queries(simulation, "/addresses")) == 2
    assert store.tally["GET"] == 8


async def test_a_plugin_that_allows_fewer_rows_hides_none(connect: Connect) -> None:
    store = connect(simulator(orders(95), most=20))

    assert len(ids_of(await history_of(store), Order)) == 95


async def test_an_order_has_its_lines_state_and_customer(connect: Connect) -> None:
    store = connect(simulator([order(7, total="29.35", quantity=2, category="R&B")]))

    (fact,) = facts_of(await history_of(store))

    assert isinstance(fact, Order)
    assert (fact.id, fact.number, fact.customer_id) == ("7", "7", "10000007")
    assert (fact.standing, fact.status) == (Standing.PAID, "Processing in progress" and fact.status)
    assert (fact.total.minor, fact.total.currency) == (2935, "EUR")
    assert [(line.product_id, line.title, line.quantity, line.total.minor) for line in fact.lines] == [
        ("11", "R&B set", 2, 2935)
    ]
    assert fact.created_at == fact.updated_at == OPENING + timedelta(hours=7)
    assert fact.refunds is None


async def test_states_are_the_shop_s_own_and_those_that_the_owner_lists_win(connect: Connect) -> None:
    simulation = simulator(orders(3))
    shop = simulation.state
    shop.states[40] = {"name": {1: "Lay-away", 2: "Arrhes"}, "paid": "0", "logable": "1"}
    shop.states[41] = {"template": {1: "refund", 2: "refund"}}
    shop.set_state(1, 40)
    shop.set_state(2, 41)
    shop.change("orders", 1, total_paid_real="0.000000")

    by_marks = facts_of(await history_of(connect(simulation)))
    by_list = facts_of(await history_of(connect(simulation, paid_states=[40])))

    assert [fact.standing.value for fact in by_marks] == ["unpaid", "refunded", "paid"]
    assert [fact.standing.value for fact in by_list] == ["paid", "refunded", "unpaid"]
    assert by_marks[0].status == "Lay-away"


async def test_a_state_that_counts_in_statistics_is_paid_once_the_money_is_there(connect: Connect) -> None:
    simulation = simulator(orders(1))
    simulation.state.states[40] = {"name": {1: "Ready"}, "paid": "0", "logable": "1"}
    simulation.state.change("orders", 1, current_state=40, total_paid_real="11.900000")

    (fact,) = facts_of(await history_of(connect(simulation)))

    assert fact.standing is Standing.PAID


async def test_a_guest_is_a_customer_of_their_own_with_the_address_of_the_order(connect: Connect) -> None:
    history = [order(1, account=None, email="Ada@Example.com"), order(2, account=9, email="ada@example.com")]
    store = connect(simulator(history))

    account, guest = facts_of(await history_of(store, Resource.CUSTOMERS))
    bought = facts_of(await history_of(store))

    assert isinstance(account, Customer)
    assert isinstance(guest, Customer)
    assert (account.id, account.email, account.guest) == ("9", "ada@example.com", False)
    assert (guest.id, guest.email, guest.guest) == ("10000001", "ada@example.com", True)
    assert guest.person.city == "Testville"
    assert guest.person.country == "FR"
    assert [fact.customer_id for fact in bought] == ["10000001", "9"]


async def test_products_are_named_in_the_shop_s_language_by_their_category(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.settings["PS_LANG_DEFAULT"] = "2"
    store = connect(simulation)

    facts = facts_of(await history_of(store, Resource.PRODUCTS))

    assert {(fact.title, *fact.categories) for fact in facts if isinstance(fact, Product)} == {
        ("R&B set", "R&B"),
        ("Gifts set", "Gifts"),
        ("Tea set", "Tea"),
    }
    assert "language=2" in queries(simulation, "/products")[-1]


async def test_carts_of_the_last_months_are_read_and_say_which_became_orders(connect: Connect) -> None:
    simulation = simulator(orders(5))
    shop = simulation.state
    old = order(6, at=datetime.now(UTC) - timedelta(days=200), account=100)
    shop.add_order(**{name: getattr(old, name) for name in ("account", "created_at")})
    bought = shop.add_cart(100)
    shop.add_order(account=100, cart=bought)
    left, empty, _nobody = shop.add_cart(100), shop.add_cart(100, quantity=0), shop.add_cart(0)
    store = connect(simulation)

    facts = facts_of(await history_of(store, Resource.CHECKOUTS))

    over = {fact.id: fact.completed_at is not None for fact in facts if isinstance(fact, Checkout)}
    assert over == {str(bought): True, str(left): False, str(empty): True}


async def test_what_a_key_should_not_see_is_not_asked_for(connect: Connect) -> None:
    simulation = simulator(orders(3))
    store = connect(simulation)

    for resource in store.resources:
        await history_of(store, resource)

    asked = "".join(seen.query for seen in simulation.requests)
    assert "passwd" not in asked
    assert "secure_key" not in asked
    assert "display=full" not in asked
    assert {seen.method for seen in simulation.requests} == {"GET"}


@pytest.mark.parametrize("site", [{"json": "blank"}, {"json": "ignored"}, {"as_text": True}, {}])
async def test_xml_and_every_kind_of_json_give_the_same_facts(
    connect: Connect, site: dict[str, object]
) -> None:
    history = [*orders(30), order(31, currency="JPY", total="900", refunded="200", email="ı@exämple.com")]
    clock = Clock()
    expected = await _all_facts(connect(simulator(history, clock=clock)))

    assert await _all_facts(connect(simulator(history, clock=clock, **site))) == expected


async def _all_facts(store: object) -> list[object]:
    return [
        fact
        for resource in store.resources  # type: ignore[attr-defined]
        for fact in facts_of(await everything(store.backfill(Window(resource), None, careful=False)))  # type: ignore[attr-defined]
    ]


async def test_a_row_that_php_stumbles_over_is_a_dead_letter_and_the_rest_is_read(connect: Connect) -> None:
    simulation = simulator(orders(120))
    simulation.state.broken |= {("orders", 17), ("orders", 100)}
    store = connect(simulation)

    pages = await history_of(store)

    assert [letter.record for page in pages for letter in page.bad] == ["order 17", "order 100"]
    assert len(ids_of(pages, Order)) == 118


@pytest.mark.parametrize(
    "broken",
    [range(3, 200, 13), [*range(1, 200, 13), 200], range(40, 90)],
    ids=["scattered", "ends too", "in a row"],
)
async def test_many_rows_that_php_stumbles_over_stop_nothing(connect: Connect, broken: Sequence[int]) -> None:
    simulation = simulator(orders(200))
    simulation.state.broken |= {("orders", number) for number in broken}
    store = connect(simulation)

    pages = await history_of(store)

    assert [letter.record for page in pages for letter in page.bad] == [f"order {n}" for n in broken]
    assert len(ids_of(pages, Order)) == 200 - len(broken)


async def test_a_row_that_cannot_be_read_is_a_dead_letter_that_shows_no_value(connect: Connect) -> None:
    simulation = simulator(orders(4))
    shop = simulation.state
    shop.change("orders", 1, total_paid_tax_incl="ada@example.com")
    shop.change("orders", 2, id_currency=77)
    shop.change("orders", 3, date_add="never")
    shop.change("customers", 10_000_002, birthday="1980-02-31")
    store = connect(simulation)

    pages = await history_of(store)
    customers = await history_of(store, Resource.CUSTOMERS)

    assert {letter.record: letter.reason for page in pages for letter in page.bad} == {
        "order 1": "`total_paid_tax_incl` is not a number",
        "order 2": "`id_currency` is not a currency of the shop",
        "order 3": "`date_add` is not a moment",
    }
    assert ids_of(pages, Order) == ["4"]
    assert len(ids_of(customers, Customer)) == 4


async def test_a_state_a_currency_and_a_category_that_are_new_are_looked_up(connect: Connect) -> None:
    simulation = simulator(orders(3), clock=Clock())
    store = connect(simulation)
    await history_of(store)
    simulation.state.states[50] = {"name": {1: "Fresh"}, "paid": "1"}
    simulation.state.add_order(currency="CHF", state=50, category="New")

    newest = facts_of(await history_of(store))[-1]
    again = store.tally["GET"]
    await history_of(store)

    assert isinstance(newest, Order)
    assert (newest.total.currency, newest.standing, newest.status) == ("CHF", Standing.PAID, "Fresh")
    assert store.tally["GET"] - again == 3


async def test_slips_and_records_are_read_again_in_one_request_a_kind(connect: Connect) -> None:
    simulation = simulator(orders(9))
    shop = simulation.state
    slip = shop.refund(4, "2.00", shipping="1.00")
    cart = shop.add_cart(103)
    store = connect(simulation)
    await store.check()
    before = len(simulation.requests)

    page = await store.reread(
        [
            "order 4",
            "order 5",
            "order 99",
            "customer 103",
            f"refund {slip}",
            f"checkout {cart}",
            "product 11",
            "x",
        ]
    )

    named = {"103", *(fact.customer_id for fact in page.facts if isinstance(fact, Order))}
    assert sorted(f"{type(fact).__name__} {fact.id}" for fact in page.facts) == sorted(
        [
            "Order 4",
            "Order 5",
            *(f"Customer {number}" for number in named),
            f"Refund {slip}",
            f"Checkout {cart}",
            "Product 11",
        ]
    )
    asked = [seen.path for seen in simulation.requests[before:]]
    assert asked.count("/api/customers") == asked.count("/api/products") == asked.count("/api/carts") == 1
    assert [fact.amount.minor for fact in page.facts if isinstance(fact, Refund)] == [300]
    assert NOON > OPENING
