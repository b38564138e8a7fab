"""P1 on real orders: every purchase of CDNOW's 1997 cohort, against published figures and other people's code.

Data: Fader & Hardie, "Notes on the CDNOW Master Data Set"; the reference was made without our code.
"""

import csv
import re
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from connectors.base import Page
from connectors.facts import Customer, Order, Person, Standing, money
from connectors.simulation import HistoricOrder, read_history
from mappings.compile import compile_mapping
from mappings.model import read_mapping
from state import evaluation, facts, profiles
from state.db import Database
from state.outbox import Target
from state.scope import Scope
from sync.job import Job
from sync.plan import plan
from tests.state.makers import PROFILES, START, order

ROOT = Path(__file__).parents[2]
HISTORY = ROOT / "sync" / "data" / "cdnow.csv.gz"
REFERENCE = ROOT / ".." / "shared" / "data" / "cdnow_master_reference.csv"
SCOPE = Scope("crm", ("shop",), "news", "USD", {})
END = date(1998, 6, 30)
PAGE, CHUNK = 2000, 5000
NEW = "new@example.com"


def as_order(sold: HistoricOrder) -> Order:
    return Order(
        id=str(sold.id),
        number=str(sold.id),
        email=sold.email,
        customer_id=str(sold.account) if sold.account else None,
        standing=Standing.PAID,
        status="completed",
        total=money(sold.total, sold.currency),
        created_at=sold.created_at,
        updated_at=sold.created_at,
        person=Person(sold.first_name, sold.last_name),
    )


def as_account(sold: HistoricOrder) -> Customer:
    return Customer(str(sold.account), sold.email, sold.created_at, sold.created_at)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """Read the whole history page by page."""
    database = Database("sqlite://")
    sold = read_history(HISTORY)
    while page := list(islice(sold, PAGE)):
        accounts = [as_account(each) for each in page if each.account]
        rows = [*accounts, *(as_order(each) for each in page)]
        with database._engine.begin() as connection:
            facts.save_page(connection, "shop", Page(rows, ""), START, history=True)
    yield database
    database.close()


@pytest.fixture(scope="module")
def buyers(database: Database) -> dict[int, Any]:
    """Return customer number -> profile."""
    with database._engine.begin() as connection:
        while profiles.refresh(connection, SCOPE, CHUNK, START):
            pass
        found = connection.execute(select(PROFILES)).all()
    return {int(re.sub(r"\D", "", row.email)): row for row in found}


def at_least(buyers: dict[int, Any], column: str, least: int) -> int:
    return sum(getattr(buyer, column) >= least for buyer in buyers.values())


def days_since(buyer: Any) -> int:
    return (END - buyer.last_order_at.date()).days


def test_P1_cdnow_sums_are_the_published_ones(buyers: dict[int, Any]) -> None:
    """Identical rows are separate orders: 255 of them would be missing."""
    assert len(buyers) == 23_570
    assert sum(buyer.orders_count for buyer in buyers.values()) == 69_659
    assert sum(buyer.total_spent for buyer in buyers.values()) == 2_500_315_63
    assert max(buyer.orders_count for buyer in buyers.values()) == 217
    assert sum(buyer.total_spent == 0 for buyer in buyers.values()) == 68


@pytest.mark.parametrize(
    ("column", "least", "count"),
    [
        ("orders_count", 2, 11_662),
        ("orders_count", 3, 7_583),
        ("orders_count", 5, 3_925),
        ("orders_count", 10, 1_154),
        ("total_spent", 100_00, 6_234),
        ("total_spent", 500_00, 734),
        ("total_spent", 1000_00, 200),
    ],
)
def test_P1_cdnow_counts_are_the_published_ones(
    buyers: dict[int, Any], column: str, least: int, count: int
) -> None:
    assert at_least(buyers, column, least) == count


def test_P1_cdnow_dates_are_those_of_the_orders(buyers: dict[int, Any]) -> None:
    since = [days_since(buyer) for buyer in buyers.values()]

    assert (sum(days <= 30 for days in since), sum(days <= 90 for days in since)) == (1_554, 3_317)
    assert (sum(days > 180 for days in since), sum(days > 365 for days in since)) == (18_196, 15_220)
    assert sum(days_since(buyer) <= 90 and buyer.orders_count >= 5 for buyer in buyers.values()) == 2_174


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference lies in ../shared, which is not here")
def test_P1_cdnow_every_customer_equals_the_reference(buyers: dict[int, Any]) -> None:
    with REFERENCE.open(encoding="utf-8") as file:
        wanted = {int(row["customer_id"]): row for row in csv.DictReader(file)}

    assert len(wanted) == 23_570
    for number, row in wanted.items():
        buyer, basket = buyers[number], Decimal(row["total_spent"]) / int(row["order_count"])
        assert (
            buyer.orders_count,
            Decimal(buyer.total_spent).scaleb(-2),
            buyer.first_order_at.date().isoformat(),
            buyer.last_order_at.date().isoformat(),
            Decimal(buyer.average_basket).scaleb(-2),
        ) == (
            int(row["order_count"]),
            Decimal(row["total_spent"]),
            row["first_order_date"],
            row["last_order_date"],
            basket.quantize(Decimal("0.01"), ROUND_HALF_UP),
        ), number


async def test_P10_cdnow_starts_no_journey_and_the_first_order_after_it_does(
    database: Database, buyers: dict[int, Any]
) -> None:
    rules = {
        "Welcome": {"when": "orders_count >= 1", "journey": True},
        "Second Order": {"when": "orders_count >= 2", "journey": True, "reenter": "never"},
        "Win Back": {"when": "last_order_at < months_ago(3)", "journey": True, "reenter": "after 90 days"},
    }
    mapping = compile_mapping(read_mapping({"lists": rules}), currency="USD")
    job = Job(Target("crm", "news", "from_store"), SCOPE, mapping, ZoneInfo("UTC"))
    await database.run(evaluation.mark_opt_outs, "crm", START)

    history = await plan(job, database, START)
    await database.run(facts.save_page, "shop", Page([order("new", NEW)], ""), START)
    news = await plan(job, database, START)

    assert (history.compared, history.offer.joins) == (len(buyers), {})
    assert (news.compared, news.offer.joins) == (1, {"Welcome": 1})
