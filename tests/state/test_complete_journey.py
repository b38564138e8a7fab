"""P1 on baskets of a grocer, with lines, products and discounts: against other people's code, and a plain sum.

Data: the Complete Journey study of 84.51°; the reference was made without our code. Its ties go by the
alphabet, ours by what was bought last: among these customers there is none. Lines without a product count
in neither.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from connectors.base import Page
from connectors.facts import Line, Order, Product, Standing, money
from state import facts, profiles
from state.db import Database
from state.scope import Scope
from tests.state.makers import PROFILES, START

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
ZONE = ZoneInfo("America/New_York")
SCOPE = Scope("crm", ("shop",), "news", "USD", timezone=ZONE.key)
PAGE = 2000

pytestmark = pytest.mark.skipif(
    not (DATA / "complete_journey_orders.csv").exists(),
    reason="the data lie in ../shared, which is not here",
)

Rows = list[dict[str, str]]


def rows_of(name: str) -> Rows:
    with (DATA / f"complete_journey_{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(UTC)


def as_line(row: dict[str, str]) -> Line:
    return Line(row["product_id"], "", int(row["quantity"]), money(row["sales_value"], "USD"))


def as_order(row: dict[str, str], lines: Rows) -> Order:
    placed = moment(row["ordered_at"])
    return Order(
        id=row["order_id"],
        number=row["order_id"],
        email=f"{row['customer_id']}@example.com",
        customer_id=None,
        standing=Standing.PAID,
        status="completed",
        total=money(row["total"], "USD"),
        created_at=placed,
        updated_at=placed,
        discount=money(Decimal(row["retail_disc"]) + Decimal(row["coupon_disc"]), "USD"),
        lines=[as_line(line) for line in lines],
    )


@pytest.fixture(scope="module")
def orders() -> Rows:
    return rows_of("orders")


@pytest.fixture(scope="module")
def lines() -> dict[str, Rows]:
    """Return order -> its lines."""
    found: defaultdict[str, Rows] = defaultdict(list)
    for line in rows_of("order_lines"):
        found[line["order_id"]].append(line)
    return found


@pytest.fixture(scope="module")
def departments() -> dict[str, str]:
    """Return product -> department."""
    return {row["product_id"]: row["department"] for row in rows_of("products")}


@pytest.fixture(scope="module")
def buyers(orders: Rows, lines: dict[str, Rows], departments: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Read the history page by page; return customer -> profile."""
    database = Database("sqlite://")
    things: list[Any] = [Product(product, "", (name,), START) for product, name in departments.items()]
    things += [as_order(row, lines[row["order_id"]]) for row in orders]
    with database._engine.begin() as connection:
        for start in range(0, len(things), PAGE):
            facts.save_page(connection, "shop", Page(things[start : start + PAGE], ""), datetime.now(UTC))
        while profiles.refresh(connection, SCOPE, 1000, START):
            pass
        found = connection.execute(select(PROFILES)).all()
    yield {row.email.partition("@")[0]: row for row in found}
    database.close()


def test_P1_baskets_of_every_customer_equal_the_reference(buyers: dict[str, Any]) -> None:
    reference = rows_of("reference")

    assert {row["customer_id"] for row in reference} == set(buyers)
    for row in reference:
        buyer, basket = buyers[row["customer_id"]], Decimal(row["total_spent"]) / int(row["order_count"])
        assert (
            buyer.orders_count,
            Decimal(buyer.total_spent).scaleb(-2),
            Decimal(buyer.average_basket).scaleb(-2),
            buyer.first_order_at,
            buyer.last_order_at,
            buyer.preferred_category,
        ) == (
            int(row["order_count"]),
            Decimal(row["total_spent"]),
            basket.quantize(Decimal("0.01"), ROUND_HALF_UP),
            moment(row["first_order_at"]),
            moment(row["last_order_at"]),
            row["preferred_department_by_spend"],
        ), row["customer_id"]


def test_P1_nights_discounts_and_pieces_of_every_customer_are_a_plain_sum(
    buyers: dict[str, Any], orders: Rows, lines: dict[str, Rows]
) -> None:
    nights, discounted, pieces = Counter[str](), Counter[str](), Counter[str]()
    for row in orders:
        nights[row["customer_id"]] += not 6 <= int(row["ordered_at"][11:13]) < 22
        discounted[row["customer_id"]] += {row["retail_disc"], row["coupon_disc"]} != {"0.00"}
        pieces[row["customer_id"]] += sum(int(line["quantity"]) for line in lines[row["order_id"]])

    assert (nights.total(), discounted.total()) == (2_426, 5_072)
    for number, buyer in buyers.items():
        told = (buyer.night_orders, buyer.discounted_orders, buyer.items_bought)
        assert told == (nights[number], discounted[number], pieces[number]), number


def test_P1_the_top_departments_of_every_customer_are_a_plain_sum(
    buyers: dict[str, Any], orders: Rows, lines: dict[str, Rows], departments: dict[str, str]
) -> None:
    spent: defaultdict[str, Counter[str]] = defaultdict(Counter)
    bought_at: dict[tuple[str, str], str] = {}
    for row in sorted(orders, key=lambda row: row["ordered_at"]):
        number = row["customer_id"]
        for line in lines[row["order_id"]]:
            if name := departments.get(line["product_id"]):
                spent[number][name] += int(line["sales_value"].replace(".", ""))
                bought_at[number, name] = row["ordered_at"]

    for number, buyer in buyers.items():
        ranked = sorted(spent[number])
        ranked.sort(key=lambda name: bought_at[number, name], reverse=True)
        ranked.sort(key=lambda name: spent[number][name], reverse=True)
        assert buyer.top_categories == ", ".join(ranked[:3]), number
