"""The simulator does what the recorded shop did."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.simulation import Simulation
from connectors.stores.woocommerce.keys import Keys
from connectors.stores.woocommerce.simulator import KEY, SECRET, simulator
from tests.connectors.stores.shops import NOON, Clock, order, orders
from tests.connectors.stores.woocommerce.test_payloads import recorded

AT = datetime(2026, 11, 21, 21, 15, 51, tzinfo=UTC)


async def get(app: Simulation, path: str, **params: Any) -> httpx.Response:
    """Ask over TLS with the right keys."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="https://shop.example", auth=(KEY, SECRET)
    ) as client:
        return await client.get(f"/wp-json/wc/v3/{path}", params=params)


@pytest.mark.parametrize(
    ("value", "gmt", "found"),
    [
        ("2026-11-21T22:15:50", False, True),
        ("2026-11-21T22:15:51", False, False),
        ("2026-11-21T21:15:50", True, True),
        ("2026-11-21T21:15:51", True, False),
        ("2026-11-21T21:15:50Z", False, True),
        ("2026-11-21T21:15:51Z", False, False),
        ("2026-11-21T21:15:50Z", True, False),
        ("2026-11-21T20:15:52Z", True, False),
        ("2026-11-21T20:15:50Z", True, True),
        ("2026-11-21T21:15:50+00:00", True, False),
    ],
)
@pytest.mark.parametrize("name", ["after", "modified_after"])
async def test_times_are_read_as_recorded_the_wrong_z_included(
    name: str,
    value: str,
    gmt: bool,  # noqa: FBT001 - a column of the table
    found: bool,  # noqa: FBT001 - a column of the table
) -> None:
    shop = simulator([order(1732, AT)])

    answer = await get(shop, "orders", **{name: value}, **({"dates_are_gmt": "true"} if gmt else {}))

    assert bool(answer.json()) is found


@pytest.mark.parametrize(
    "name",
    [
        "bad-status",
        "bad-date",
        "date-without-time",
        "bad-per-page",
        "page-0",
        "bad-orderby",
        "order-404",
        "route-404",
        "order-id-not-a-number",
        "customer-404",
    ],
)
async def test_refusals_are_those_of_the_recorded_shop(name: str) -> None:
    paths = {
        "bad-status": ("orders", {"status": "bogus"}),
        "bad-date": ("orders", {"modified_after": "nonsense"}),
        "date-without-time": ("orders", {"modified_after": "2026-11-01"}),
        "bad-per-page": ("orders", {"per_page": 101}),
        "page-0": ("orders", {"page": 0}),
        "bad-orderby": ("orders", {"orderby": "date_modified"}),
        "order-404": ("orders/999999", {}),
        "route-404": ("nope", {}),
        "order-id-not-a-number": ("orders/abc", {}),
        "customer-404": ("customers/999999", {}),
    }
    path, params = paths[name]

    answer = await get(simulator(orders(3)), path, **params)

    assert answer.json() == dict(recorded("errors.json"))[name]


async def test_rows_have_the_fields_of_a_real_one() -> None:
    shop = simulator(orders(3))
    real = {"orders": dict(recorded("orders-by-status.json"))["order-completed"]}
    real["customers"] = dict(recorded("customers.json"))["customers-page-1"][0]

    ours = {path: (await get(shop, path, per_page=1)).json()[0] for path in real}

    for path, row in real.items():
        assert list(ours[path]) == list(row)
        assert all(set(ours[path][name]) == set(row[name]) for name in ("billing", "shipping"))
    line, theirs = ours["orders"]["line_items"][0], real["orders"]["line_items"][0]
    assert list(line) == list(theirs)


async def test_a_page_beyond_the_last_counts_nothing_but_in_older_shops() -> None:
    new = await get(simulator(orders(5)), "orders", per_page=2, page=9)
    old = await get(simulator(orders(5), posts=True), "orders", per_page=2, page=9)
    people = await get(simulator(orders(5)), "customers", per_page=2, page=9, role="all")

    counts = [
        (answer.headers["x-wp-total"], answer.headers["x-wp-totalpages"]) for answer in (new, old, people)
    ]
    assert counts == [("0", "0"), ("5", "3"), ("2", "1")]
    assert new.json() == old.json() == people.json() == []
    assert "page=0" in new.headers["link"]


async def test_only_the_next_and_the_previous_page_are_linked() -> None:
    shop = simulator(orders(5))

    links = [(await get(shop, "orders", per_page=2, page=page)).links for page in (1, 2, 3)]

    assert [sorted(set(link) - {"https://api.w.org/"}) for link in links] == [
        ["next"],
        ["next", "prev"],
        ["prev"],
    ]


async def test_any_counts_drafts_and_leaves_the_trash_out() -> None:
    shop = simulator(orders(6))
    shop.state.update_order(1, status="checkout-draft")
    shop.state.trash(2)

    asked = [
        {},
        {"status": "any"},
        {"status": "trash"},
        {"status": "checkout-draft,trash"},
        {"status": "any,trash"},
    ]
    totals = [(await get(shop, "orders", **params)).headers["x-wp-total"] for params in asked]

    assert totals == ["5", "5", "1", "2", "6"]
    assert (await get(shop, "orders/2")).json()["status"] == "trash"


async def test_fields_include_and_inner_fields_are_cut_out() -> None:
    shop = simulator(orders(6))

    answer = await get(
        shop, "orders", include="2,4", _fields="id,billing.email,nonsense", orderby="id", order="asc"
    )

    assert answer.json() == [
        {"id": 2, "billing": {"email": "buyer-2@example.com"}},
        {"id": 4, "billing": {"email": "buyer-4@example.com"}},
    ]


async def test_customers_ignore_the_time_of_change_and_list_customers_only() -> None:
    shop = simulator(orders(40))
    shop.state.add_account("clerk@example.com", role="shop_manager")

    usual = await get(shop, "customers", modified_after="2030-01-01T00:00:00", per_page=100)
    everybody = await get(shop, "customers", role="all", per_page=100)

    assert int(everybody.headers["x-wp-total"]) == int(usual.headers["x-wp-total"]) + 2
    assert {row["role"] for row in usual.json()} == {"customer"}


async def test_a_refund_in_part_moves_the_time_of_change_and_taking_it_back_does_not() -> None:
    clock = Clock()
    shop = simulator([order(7, total="100.00")], clock=clock)
    number = shop.state.refund(7, "30.00", "damaged")
    part = (await get(shop, "orders/7")).json()
    clock.pass_by(60)
    shop.state.delete_refund(7, number)
    back = (await get(shop, "orders/7")).json()
    shop.state.refund(7, "100.00")
    full = (await get(shop, "orders/7")).json()

    assert (part["status"], part["total"], part["refunds"][0]["total"]) == ("completed", "100.00", "-30.00")
    assert part["date_modified_gmt"] == back["date_modified_gmt"] == "2026-11-20T12:00:00"
    assert (full["status"], full["date_modified_gmt"]) == ("refunded", "2026-11-20T12:01:00")


async def test_wall_clock_fields_follow_the_shop_s_zone_through_summer() -> None:
    row = (await get(simulator([order(1, datetime(2026, 7, 1, 22, tzinfo=UTC))]), "orders/1")).json()

    assert (row["date_created"], row["date_created_gmt"]) == ("2026-07-02T00:00:00", "2026-07-01T22:00:00")


async def test_a_stranger_sees_nothing_and_tls_may_be_told_by_a_trusted_proxy() -> None:
    shop, trusting = simulator(orders(1)), simulator(orders(1), trusts_proxy=True)
    header = {"X-Forwarded-Proto": "https"}

    statuses = []
    for app in (shop, trusting):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://shop"
        ) as client:
            answer = await client.get("/wp-json/wc/v3/orders", auth=(KEY, SECRET), headers=header)
            statuses.append(
                (answer.status_code, answer.json()[0]["id"] if answer.is_success else answer.json()["code"])
            )

    assert statuses == [(401, "woocommerce_rest_cannot_view"), (200, 1)]


async def test_where_tls_ends_before_the_shop_keys_count_on_plain_http() -> None:
    shop = simulator(orders(1), plain_http=False)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=shop), base_url="http://shop") as client:
        answer = await client.get("/wp-json/wc/v3/orders", auth=(KEY, SECRET))

    assert answer.status_code == 200


async def test_a_used_nonce_is_refused() -> None:
    shop = simulator(orders(1))
    transport = httpx.ASGITransport(app=shop)
    keys = Keys(KEY, SECRET, root="http://shop", home="http://shop")
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        first = await client.get("/wp-json/wc/v3/orders", auth=keys)
        second = await client.get(str(first.request.url))

    assert (first.status_code, second.json()["message"]) == (
        200,
        "Invalid nonce - nonce has already been used.",
    )


async def test_lists_stay_sorted_while_orders_come_change_and_go() -> None:
    clock = Clock()
    shop = simulator(orders(20), clock=clock)
    before = [
        (await get(shop, "orders", orderby=by, _fields="id")).json() for by in ("date", "modified", "id")
    ]
    shop.state.update_order(5, total="99.00")
    clock.pass_by(1)
    new = shop.state.add_order(email="ada@example.com", created_at=NOON - timedelta(days=900))
    shop.state.delete(20)

    by_date = [
        row["id"] for row in (await get(shop, "orders", orderby="date", order="asc", per_page=100)).json()
    ]
    by_change = [row["id"] for row in (await get(shop, "orders", orderby="modified", per_page=100)).json()]

    assert all(before)
    assert by_date == [new, *range(1, 20)]
    assert by_change[0] == 5
    assert sorted(by_change) == sorted(by_date)


async def test_text_that_repeats_is_kept_once() -> None:
    kept = list(simulator(order(number) for number in range(1, 81)).state.orders.values())

    assert kept[0].email is kept[40].email
