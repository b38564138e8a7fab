"""P6: what a small change costs does not depend on what is stored: no statement looks at a whole table."""

import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, event, select

from connectors.base import Blame, Refusal
from connectors.facts import Consent, Line, Money, Refund
from mappings.clock import Clock
from mappings.compile import compile_mapping
from mappings.model import read_mapping
from state import cursors, evaluation, facts, offering, outbox, runs, settling
from state.db import Database
from state.offering import Desired
from state.outbox import Target
from tests.state.makers import (
    PROFILES,
    SCOPE,
    START,
    at,
    checkout,
    customer,
    eur,
    opt_out,
    order,
    product,
    profile_id,
    refresh,
    save,
)

pytestmark = pytest.mark.sqlite

TARGET = Target("crm", "news", "from_store")
LARGE = (
    "orders",
    "order_lines",
    "refunds",
    "customers",
    "checkouts",
    "product_categories",
    "consents",
    "touched",
    "profiles",
    "accepted",
    "memberships",
)
WHOLE = re.compile(
    rf"SCAN ({'|'.join(LARGE)})\b"
    rf"|SEARCH ({'|'.join(LARGE)}) USING [A-Z ]*INDEX \S+ \((store|sync|origin)=\?\)$"
    r"|SEARCH orders USING [A-Z ]*INDEX orders_created \(store=\? AND created_at>\?\)$"
)
"""A scan, and a search that finds all of a store or of a sync, or all that a store sold since."""
WINDOWS: Any = {
    "fields": {
        "A": "orders_in(days => 90)",
        "B": "spent_in(months => 6)",
        "C": "items_in(days => 30)",
        "D": "basket_in(days => 30)",
    },
    "lists": {"Often": "orders_in(days => 30) >= 2"},
}

Statements = list[tuple[str, Any]]


@contextmanager
def recorded(connection: Connection) -> Iterator[Statements]:
    """Collect the statements that go to the database, each with its first parameters."""
    found: Statements = []

    def note(_connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters[0] if isinstance(parameters, list) else parameters))

    event.listen(connection, "before_cursor_execute", note)
    yield found
    event.remove(connection, "before_cursor_execute", note)


def whole_tables(connection: Connection, statements: Statements) -> list[tuple[str, str]]:
    """Return (step, statement) of each that looks at everything; nobody but the planner is asked."""
    plans = connection.connection.cursor()
    found = []
    for statement, parameters in dict.fromkeys(statements):
        steps = plans.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        found += [(step[3], statement) for step in steps if WHOLE.search(step[3])]
    plans.close()
    return found


def full(number: int, minute: int = 0) -> list[Any]:
    """Make one of everything."""
    email = f"p{number}@example.com"
    given = Consent(given=True, at=at(0))
    line = Line(str(number), "Thing", 1, eur(10))
    return [
        product(number, f"Category {minute}", updated_at=at(minute)),
        customer(number, email if minute == 0 else f"new-{email}", updated_at=at(minute), consent=given),
        order(
            number,
            email,
            1000 + minute,
            customer_id=str(number),
            lines=[line],
            updated_at=at(minute),
            consent=given,
        ),
        order(f"r{number}", email, refunds=[Refund("a", f"r{number}", eur(minute))], updated_at=at(minute)),
        order(f"f{number}", email, Money(1, "GBP")),
        Refund(f"apart{minute}", str(number), eur(1)),
        checkout(number, email, customer_id=str(number), updated_at=at(minute)),
    ]


@pytest.fixture
def shop(connection: Connection) -> Connection:
    """Fill a store, and let everything land."""
    for number in range(30):
        save(connection, *full(number))
    refresh(connection)
    return connection


def wanted(connection: Connection, emails: list[str], orders: int) -> list[Desired]:
    return [
        Desired(
            profile_id(connection, email), email, {"ORDERS": orders}, {"Customers": True, "Fans": orders > 1}
        )
        for email in emails
    ]


def test_P6_storing_a_page_looks_at_no_whole_table(shop: Connection) -> None:
    with recorded(shop) as statements:
        save(shop, *full(3, minute=5), gone=["4", "5"])

    assert len(statements) > 20
    assert whole_tables(shop, statements) == []


def test_P6_computing_the_profiles_of_a_small_change_looks_at_no_whole_table(shop: Connection) -> None:
    save(shop, *full(3, minute=5))

    with recorded(shop) as statements:
        assert refresh(shop) == 2

    assert len(statements) > 8
    assert whole_tables(shop, statements) == []


def test_P6_marking_everybody_holds_a_part_of_them_in_memory(shop: Connection) -> None:
    people = [f"person{number}@example.com" for number in range(20_000)]
    facts.touch(shop, people[:1], 100)

    tracemalloc.start()
    facts.touch(shop, people, 101)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 3_000_000


def test_P6_finding_who_is_to_be_compared_looks_at_no_whole_table(shop: Connection) -> None:
    moved = select(PROFILES.c.id).where(
        PROFILES.c.sync == "crm", PROFILES.c.last_order_at > at(0), PROFILES.c.last_order_at <= at(1)
    )

    with recorded(shop) as statements:
        due = evaluation.due_profiles(shop, "crm", evaluation.sync_state(shop, "crm").revision - 1, moved)
        shop.execute(evaluation.these(due))
        evaluation.mark_evaluated(shop, "crm", 5, "mapping", START, journeys={})

    assert whole_tables(shop, statements) == []


def test_P6_a_window_of_time_looks_at_ones_own_orders_only(shop: Connection) -> None:
    mapping = compile_mapping(read_mapping(WINDOWS), currency="EUR", scope=SCOPE)
    query = mapping.select("crm", Clock(at(5), ZoneInfo("UTC")), evaluation.these([1, 2, 3]))

    with recorded(shop) as statements:
        assert len(shop.execute(query).all()) == 3

    assert whole_tables(shop, statements) == []


def test_P6_filling_and_emptying_the_outbox_looks_at_no_whole_table(shop: Connection) -> None:
    offering.offer(shop, TARGET, wanted(shop, [f"p{number}@example.com" for number in range(30)], 1), START)
    settling.settle_contacts(shop, TARGET, outbox.contact_jobs(shop, "crm", 0, 99), [], START)
    few = wanted(shop, ["p3@example.com", "p4@example.com"], 2)
    refused = Refusal(few[0].profile, Blame.FIELD, "no", "ORDERS")

    with recorded(shop) as statements:
        offering.offer(shop, TARGET, few, START)
        settling.settle_contacts(shop, TARGET, outbox.contact_jobs(shop, "crm", 0, 99), [refused], START)
        for joins in (True, False):
            jobs = outbox.membership_jobs(shop, "crm", "Fans", 0, 99, joins=joins)
            settling.settle_memberships(shop, "crm", jobs, [], START)
        opt_out(shop, "p5@example.com", when=at(1))

    assert len(statements) > 15
    assert whole_tables(shop, statements) == []


def test_P6_closing_a_window_counts_its_own_rows_only(shop: Connection) -> None:
    cursors.start_backfill(shop, "shop", [cursors.Window(cursors.Resource.ORDERS, at(0), at(1))], START)
    (opened,) = cursors.open_windows(shop, "shop", cursors.Resource.ORDERS)

    with recorded(shop) as statements:
        page = cursors.Page([order(1)], "next", total=60)
        cursors.save_window_pages(shop, "shop", [(opened, page)], START)
        cursors.close_window(shop, "shop", opened, START)
        runs.unbury(shop, "shop", ["order 1"])

    assert whole_tables(shop, statements) == []


def test_a_scan_would_be_found(database: Database, connection: Connection) -> None:
    with recorded(connection) as statements:
        connection.execute(select(PROFILES).where(PROFILES.c.city == "Paris"))
        connection.execute(select(PROFILES).where(PROFILES.c.sync == "crm", PROFILES.c.city == "Paris"))

    assert len(whole_tables(connection, statements)) == 2
