"""The simulator's own manners, where no recording shows them; the rest is in `test_recordings`."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx

from connectors.stores.prestashop.refusals import troubles_of
from connectors.stores.prestashop.simulator import KEY, simulator
from tests.connectors.stores.shops import Clock, order, orders
from tests.edge import edge


class Client:
    """Asks a simulator as any client would."""

    def __init__(self, router: respx.MockRouter) -> None:
        self._router = router
        self._client = httpx.AsyncClient(base_url="https://shop.example/api", auth=(KEY, ""))

    async def get(self, app: Any, path: str, **params: str) -> httpx.Response:
        self._router.route().mock(side_effect=edge(app))
        return await self._client.get(path, params={"output_format": "JSON", **params})

    async def ids(self, app: Any, path: str, **params: str) -> list[int]:
        rows = (await self.get(app, path, **params)).json()
        return [row["id"] for row in (next(iter(rows.values())) if rows else [])]

    async def aclose(self) -> None:
        await self._client.aclose()


@pytest.fixture
async def client(router: respx.MockRouter) -> AsyncIterator[Client]:
    client = Client(router)
    yield client
    await client.aclose()


SHOP = [order(number, account=number % 3 + 1) for number in range(1, 13)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"filter[id]": "[3|5|99]"}, [3, 5]),
        ({"filter[id]": "5"}, [5]),
        ({"filter[id]": "[10,12]"}, [10, 11, 12]),
        ({"filter[id]": "[9,11]"}, []),  # the two are put in order as text
        ({"filter[id]": ">[9]"}, [10, 11, 12]),
        ({"filter[id]": "<[3]"}, [1, 2]),
        ({"filter[id]": "![1|2]"}, list(range(3, 13))),
        ({"filter[id]": "[3|5]", "filter[id_customer]": "[1]"}, [3]),
        ({"filter[reference]": "%[1]%"}, [1, 10, 11, 12]),
        ({"filter[reference]": "[1]%"}, [1, 10, 11, 12]),
        ({"filter[reference]": "%[2]"}, [2, 12]),
        ({"filter[date_add]": "[2026-01-01 03:00:00,2026-01-01 05:00:00]", "date": "1"}, [2, 3, 4]),
        ({"filter[date_add]": ">[2026-01-01 12:00:00]", "date": "1"}, [12]),
        ({"filter[date_add]": "[2026-01-01T03:00:00Z,2026-01-01T05:00:00Z]", "date": "1"}, []),
        ({"filter[date_add]": ">[nonsense]", "date": "1"}, list(range(1, 13))),
        ({"filter[date_add]": "<[nonsense]", "date": "1"}, []),
        ({"limit": "2,3"}, [3, 4, 5]),
        ({"limit": "abc"}, []),
        ({"page": "2", "limit": "1"}, [1]),
    ],
)
async def test_filters_mean_what_they_mean_in_the_shop(client: Client, filters: Any, found: Any) -> None:
    assert await client.ids(simulator(SHOP), "/orders", sort="[id_ASC]", **filters) == found


async def test_rows_that_are_filtered_and_not_sorted_come_in_no_order(client: Client) -> None:
    ids = await client.ids(simulator(orders(60)), "/orders", **{"filter[valid]": "1"})

    assert ids != sorted(ids)
    assert sorted(ids) == list(range(1, 61))


async def test_times_are_the_shop_s_own_and_sort_as_they_are_shown(client: Client) -> None:
    clock = Clock()
    simulation = simulator(SHOP, timezone="America/New_York", clock=clock)
    simulation.state.update_order(4)

    answer = await client.get(
        simulation, "/orders", display="[id,date_upd]", sort="[date_upd_DESC,id_ASC]", date="1", limit="1"
    )

    assert answer.json() == {"orders": [{"id": 4, "date_upd": "2026-11-20 07:00:00"}]}
    assert answer.headers["date"] == "Fri, 20 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"filter[id]": ""}, 33),
        ({"filter[shipping_number]": "x"}, 34),
        ({"sort": "[id]"}, 37),
        ({"display": "id"}, 36),
        ({"display": "[order_rows[nope]]"}, 35),
        ({"language": "9", "display": "full"}, 81),
    ],
)
async def test_a_question_that_is_wrong_is_refused_with_its_code(
    client: Client, params: Any, code: int
) -> None:
    answer = await client.get(simulator(SHOP), "/orders", **params)

    assert answer.status_code == 400
    assert [trouble.code for trouble in troubles_of(answer.content)] == [code]


async def test_a_single_row_leaves_out_what_is_nothing_and_a_list_keeps_it(client: Client) -> None:
    simulation = simulator([order(1, status="cancelled")])

    single = (await client.get(simulation, "/orders/1")).json()["order"]
    listed = (await client.get(simulation, "/orders/1", display="full")).json()["orders"][0]

    assert "valid" not in single
    assert listed["valid"] == "0"
    assert set(single) < set(listed)


async def test_a_credit_slip_moves_nothing_in_its_order(client: Client) -> None:
    clock = Clock()
    simulation = simulator(SHOP, clock=clock)
    before = (await client.get(simulation, "/orders/4")).json()

    simulation.state.refund(4, "3.00")

    assert (await client.get(simulation, "/orders/4")).json() == before
    (slip,) = (await client.get(simulation, "/order_slip", display="full")).json()["order_slips"]
    assert (slip["id_order"], slip["total_products_tax_incl"]) == (4, "3.000000")


async def test_a_key_may_view_and_nothing_more(client: Client, router: respx.MockRouter) -> None:
    router.route().mock(side_effect=edge(simulator(SHOP)))

    async with httpx.AsyncClient(base_url="https://shop.example/api") as other:
        put = await other.put("/orders/1", auth=(KEY, ""), params={"output_format": "JSON"})
        head = await other.head("/orders", auth=(KEY, ""))
        by_query = await other.get("/orders", params={"ws_key": KEY, "io_format": "JSON", "limit": "1"})
        by_header = await other.get("/orders?limit=1", auth=(KEY, ""), headers={"Output-Format": "JSON"})

    assert (put.status_code, put.json()["errors"][0]["code"]) == (405, 25)
    assert (head.status_code, head.content) == (200, b"")
    assert by_query.json() == by_header.json() == {"orders": [{"id": 1}]}


async def test_changes_keep_what_was_sorted_before_in_order(client: Client) -> None:
    clock = Clock()
    simulation = simulator(SHOP, clock=clock)
    shop = simulation.state
    by_change = {"sort": "[date_upd_ASC,id_ASC]", "date": "1"}
    for path in ("/orders", "/customers", "/addresses", "/carts"):
        await client.ids(simulation, path, **by_change)
    clock.pass_by(5)

    new = shop.add_order(account=None)
    shop.update_order(2)
    clock.pass_by(5)
    shop.update_order(2)
    moved = shop.change_address(1, city="Lyon")
    shop.delete(7)

    assert (await client.ids(simulation, "/orders", **by_change))[-2:] == [new, 2]
    assert (await client.ids(simulation, "/customers", **by_change))[-1] == shop.customer_of(shop.orders[new])
    assert (await client.ids(simulation, "/addresses", **by_change))[-2:] == [1, moved]
    assert 7 not in await client.ids(simulation, "/orders")
