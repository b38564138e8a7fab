"""Incremental readings: nothing escapes, whatever moves, and the cost follows the change."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Resource
from connectors.facts import Checkout, Customer, Order, Product, Refund
from connectors.stores.prestashop.simulator import simulator
from tests.connectors.stores.prestashop.conftest import Connect
from tests.connectors.stores.shops import NOON, Clock, changes_of, everything, facts_of, ids_of, order, orders

PUT_BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)


async def test_changes_come_oldest_first_and_once(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(500), clock=clock)
    numbers = list(range(1, 351))
    random.Random(4).shuffle(numbers)
    for number in numbers:
        clock.pass_by(1 if number % 3 else 0)
        simulation.state.update_order(number)
    store = connect(simulation)

    pages = await changes_of(store, Resource.ORDERS)

    assert sorted(map(int, ids_of(pages, Order))) == sorted(numbers)
    moments = [fact.updated_at for fact in facts_of(pages) if isinstance(fact, Order)]
    assert moments == sorted(moments)


async def test_changed_orders_bring_their_customers_once_in_one_request_a_page(connect: Connect) -> None:
    simulation = simulator(
        [order(number, account=1 + number % 30) for number in range(1, 201)], clock=Clock()
    )
    for number in range(1, 151):
        simulation.state.update_order(number)
    store = connect(simulation)
    await store.check()
    before = store.tally["GET"]

    pages = await changes_of(store, Resource.ORDERS)

    assert len(ids_of(pages, Order)) == 150
    assert sorted(map(int, ids_of(pages, Customer))) == list(range(1, 31))
    assert store.tally["GET"] - before <= 3 + 2 + 4


@pytest.mark.parametrize("most", [None, 40])
@pytest.mark.parametrize("count", [99, 100, 101, 250])
async def test_a_second_with_more_changes_than_a_page_is_read_whole(
    connect: Connect, count: int, most: int | None
) -> None:
    clock = Clock()
    simulation = simulator(orders(400), clock=clock, most=most)
    for number in range(1, count + 1):
        simulation.state.update_order(number)
    clock.pass_by(1)
    simulation.state.update_order(399)
    store = connect(simulation)

    ids = ids_of(await changes_of(store, Resource.ORDERS), Order)

    assert sorted(map(int, ids)) == [*range(1, count + 1), 399]


async def test_customers_and_checkouts_go_on_from_any_page_of_any_walk(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([order(number, account=number) for number in range(1, 400)], clock=clock)
    shop = simulation.state
    for number in range(1, 300):
        shop.change("customers", number)
    for number in range(301, 310):
        shop.subscribe(number, by_block=True)
        shop.change_address(number + 20, city="Lyon")
        shop.add_order(account=number, cart=shop.add_cart(number))
    store = connect(simulation)

    for resource, kind in ((Resource.CUSTOMERS, Customer), (Resource.CHECKOUTS, Checkout)):
        pages = await changes_of(store, resource)
        whole = {*ids_of(pages, kind)}
        for done in range(1, len(pages)):
            rest = await changes_of(store, resource, pages[done - 1].cursor)
            assert {*ids_of([*pages[:done], *rest], kind)} >= whole


async def test_the_next_reading_begins_where_the_last_began_by_the_shop_s_clock(connect: Connect) -> None:
    clock = Clock(NOON)
    simulation = simulator(orders(10), clock=clock)
    store = connect(simulation)
    (first,) = await changes_of(store, Resource.ORDERS)
    clock.pass_by(60)
    simulation.state.update_order(3)
    clock.pass_by(3600)

    *_, last = second = await changes_of(store, Resource.ORDERS, first.cursor)
    third = await changes_of(store, Resource.ORDERS, last.cursor)

    assert ids_of(second, Order) == ["3"]
    assert ids_of(third, Order) == []


async def test_the_night_on_which_the_clock_is_put_back_hides_no_change_and_turns_none_around(
    connect: Connect,
) -> None:
    """A change a minute from midnight to five, a reading after each: the last word is always the newest."""
    clock = Clock(PUT_BACK - timedelta(hours=2))
    simulation = simulator(orders(6), clock=clock)
    store = connect(simulation)
    known: dict[str, Order] = {}
    (page,) = await changes_of(store, Resource.ORDERS, since=datetime.now(UTC))
    for minute in range(5 * 12):
        clock.pass_by(300)
        simulation.state.update_order(1 + minute % 6, total=f"{minute}.00")

        pages = await changes_of(store, Resource.ORDERS, page.cursor)

        page = pages[-1]
        for fact in facts_of(pages):
            if isinstance(fact, Order) and (
                fact.id not in known or fact.updated_at >= known[fact.id].updated_at
            ):
                known[fact.id] = fact
        assert known[str(1 + minute % 6)].total.minor == minute * 100


async def test_a_credit_slip_comes_though_its_order_does_not_move(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(5), clock=clock)
    store = connect(simulation)
    cursors = {
        resource: (await changes_of(store, resource))[-1].cursor
        for resource in (Resource.ORDERS, Resource.REFUNDS)
    }
    clock.pass_by(5)
    slip = simulation.state.refund(3, "2.50")

    bought = await changes_of(store, Resource.ORDERS, cursors[Resource.ORDERS])
    (refund,) = facts_of(await changes_of(store, Resource.REFUNDS, cursors[Resource.REFUNDS]))

    assert facts_of(bought) == []
    assert isinstance(refund, Refund)
    assert (refund.id, refund.order_id, refund.amount.minor, refund.created_at) == (
        str(slip),
        "3",
        250,
        clock.now,
    )


async def test_an_edited_address_brings_its_customer_with_the_new_one(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([order(number, account=number) for number in range(1, 301)], clock=clock)
    store = connect(simulation)
    cursor = (await changes_of(store, Resource.CUSTOMERS))[-1].cursor
    clock.pass_by(5)
    simulation.state.change_address(
        250, city="Trabzon", postcode="61030", id_country=206, phone_mobile="0532"
    )

    facts = facts_of(await changes_of(store, Resource.CUSTOMERS, cursor))

    (person,) = (fact.person for fact in facts if isinstance(fact, Customer) and fact.id == "250")
    assert (person.city, person.postal_code, person.country, person.phone) == (
        "Trabzon",
        "61030",
        "TR",
        "0532",
    )


async def test_a_subscription_by_the_newsletter_block_is_seen_at_once(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([order(number, account=number) for number in range(1, 301)], clock=clock)
    store = connect(simulation)
    cursor = (await changes_of(store, Resource.CUSTOMERS))[-1].cursor
    clock.pass_by(5)
    simulation.state.subscribe(250, by_block=True)

    facts = facts_of(await changes_of(store, Resource.CUSTOMERS, cursor))

    (consent,) = (fact.consent for fact in facts if isinstance(fact, Customer) and fact.id == "250")
    assert consent is not None
    assert (consent.given, consent.at) == (True, clock.now)


async def test_leaving_by_the_newsletter_block_is_seen_within_a_round_over_all(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([order(number, account=number) for number in range(1, 351)], clock=clock)
    simulation.state.subscribe(300)
    store = connect(simulation)
    clock.pass_by(7200)
    cursor = (await changes_of(store, Resource.CUSTOMERS))[-1].cursor
    simulation.state.unsubscribe(300, by_block=True)

    seen = []
    for _ in range(5):
        clock.pass_by(3600)
        pages = await changes_of(store, Resource.CUSTOMERS, cursor)
        cursor = pages[-1].cursor
        seen += [fact for fact in facts_of(pages) if isinstance(fact, Customer) and fact.id == "300"]

    assert [fact.consent.given for fact in seen if fact.consent] == [False]
    assert {fact.id for fact in seen} == {"300"}


async def test_a_round_over_all_customers_meets_each_and_begins_anew(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator([order(number, account=number) for number in range(1, 251)], clock=clock)
    store = connect(simulation)
    cursor, met = None, []
    for _ in range(5):
        clock.pass_by(3600)
        pages = await changes_of(store, Resource.CUSTOMERS, cursor)
        cursor = pages[-1].cursor
        met.append(len(ids_of(pages, Customer)))

    assert met == [100, 100, 50, 0, 100]


async def test_a_customer_who_left_the_newsletter_said_no_and_one_never_asked_said_nothing(
    connect: Connect,
) -> None:
    clock = Clock()
    simulation = simulator([order(number, account=number) for number in range(1, 5)], clock=clock)
    shop = simulation.state
    shop.subscribe(1)
    shop.subscribe(2)
    clock.pass_by(60)
    shop.unsubscribe(2)
    shop.delete_account(4)
    store = connect(simulation)

    facts = facts_of(await changes_of(store, Resource.CUSTOMERS))

    consents = {fact.id: fact.consent for fact in facts if isinstance(fact, Customer)}
    assert consents["1"] is not None
    assert (consents["1"].given, consents["1"].at) == (True, NOON)
    assert consents["2"] is not None
    assert (consents["2"].given, consents["2"].at) == (False, clock.now)
    assert consents["3"] is not None
    assert consents["3"].lapses
    assert consents["4"] is not None
    assert not consents["4"].given


async def test_a_cart_is_over_once_an_order_has_it_even_if_the_cart_itself_stands_still(
    connect: Connect,
) -> None:
    clock = Clock()
    simulation = simulator([order(1, account=5)], clock=clock)
    store = connect(simulation)
    cart = simulation.state.add_cart(5)
    first = await changes_of(store, Resource.CHECKOUTS)
    clock.pass_by(300)
    simulation.state.add_order(account=5, cart=cart)

    second = await changes_of(store, Resource.CHECKOUTS, first[-1].cursor)

    (left,) = (fact for fact in facts_of(first) if isinstance(fact, Checkout))
    bought, same = (fact for fact in facts_of(second) if isinstance(fact, Checkout))
    assert (left.id, left.completed_at, left.url) == (str(cart), None, "https://shop.example")
    assert (bought.id, bought.completed_at, bought.created_at) == (str(cart), clock.now, NOON)
    assert same == bought


async def test_a_product_that_changes_comes_with_its_categories(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(5), clock=clock)
    clock.pass_by(1)
    simulation.state.change("products", 12, name={1: "Green tea", 2: "Thé vert"})
    store = connect(simulation)

    (fact,) = facts_of(await changes_of(store, Resource.PRODUCTS))

    assert isinstance(fact, Product)
    assert fact.title == "Green tea"


async def test_a_renamed_customer_keeps_their_number(connect: Connect) -> None:
    simulation = simulator([order(1, account=5, email="old@example.com")], clock=Clock())
    simulation.state.change_account_email(5, "New@Example.com")
    store = connect(simulation)

    facts = facts_of(await everything(store.changes(Resource.CUSTOMERS, NOON, None)))

    assert {(fact.id, fact.email) for fact in facts if isinstance(fact, Customer)} == {
        ("5", "new@example.com")
    }


async def test_unreadable_rows_among_changes_stop_nothing_and_are_told_once(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(150), clock=clock)
    for number in range(1, 131):
        simulation.state.update_order(number)
    simulation.state.broken |= {("orders", 1), ("orders", 50), ("orders", 130)}
    store = connect(simulation)

    pages = await changes_of(store, Resource.ORDERS)

    assert sorted(letter.record for page in pages for letter in page.bad) == [
        "order 1",
        "order 130",
        "order 50",
    ]
    assert {int(one) for one in ids_of(pages, Order)} == set(range(1, 131)) - {1, 50, 130}


async def test_a_change_that_a_slow_transaction_shows_late_is_found_the_next_time(connect: Connect) -> None:
    clock = Clock()
    simulation = simulator(orders(5), clock=clock)
    store = connect(simulation)
    (first,) = await changes_of(store, Resource.ORDERS)
    shop = simulation.state
    shop.change("orders", 3, date_upd=shop.wall(NOON - timedelta(minutes=5)))

    second = await changes_of(store, Resource.ORDERS, first.cursor)

    assert ids_of(second, Order) == ["3"]


async def test_an_address_that_was_deleted_is_nobody_s_any_more(connect: Connect) -> None:
    simulation = simulator([order(1, account=5)], clock=Clock())
    simulation.state.change("addresses", 5, deleted="1")
    store = connect(simulation)

    facts = facts_of(await changes_of(store, Resource.CUSTOMERS))

    (person, *_) = (fact.person for fact in facts if isinstance(fact, Customer))
    assert (person.first_name, person.city, person.country) == ("Gül", None, None)
