"""How long the whole preset takes over a base of any size, and over the few profiles that a run finds dirty.

    .venv/bin/python bench/evaluation.py [PROFILES]

Profiles are made up (a third never bought, spending is skewed) and written straight into the table: what is
measured is the mapping's SELECT, its figures, and the memory that reading all of it takes.
"""

import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, insert, select

from mappings.clock import Clock
from mappings.compile import CompiledMapping, compile_mapping
from mappings.model import preset, read_mapping
from state import evaluation
from state.db import Database
from state.scope import Scope
from state.tables import ProfileRow, table

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
SCOPE = Scope("crm", ("shop",), "news", "EUR")
CLOCK = Clock(NOW, ZoneInfo("Europe/Paris"))
CHUNK = 10_000
DIRTY = 100


def profiles(most: int) -> Iterator[list[dict[str, Any]]]:
    """Make up profiles, chunk by chunk."""
    chance = random.Random(7)
    for start in range(0, most, CHUNK):
        yield [_profile(number, chance) for number in range(start, min(start + CHUNK, most))]


def _profile(number: int, chance: random.Random) -> dict[str, Any]:
    orders = max(0, int(chance.paretovariate(1.2)) - 1 + chance.randint(0, 1))
    spent = orders * chance.randint(500, 9_000)
    first = NOW - timedelta(minutes=chance.randint(1_000, 2_000_000))
    last = first + (NOW - first) * chance.random()
    return {
        "sync": SCOPE.sync,
        "email": f"customer-{number}@example.com",
        "revision": number,
        "first_name": "Ada",
        "country": chance.choice(["FR", "BE", None]),
        "birthday": date(1980, 1, 1) + timedelta(days=chance.randint(0, 9_000)) if number % 4 == 0 else None,
        "signup_at": first,
        "last_activity_at": last,
        "orders_count": orders,
        "total_spent": spent,
        "average_basket": spent // orders if orders else None,
        "first_order_at": first if orders else None,
        "last_order_at": last if orders else None,
        "items_bought": orders * 2,
        "discounted_orders": orders // 3,
        "night_orders": orders // 5,
        "timed_orders": orders,
        "paid_orders": orders,
        "refunded_orders": 0,
        "order_in_progress": chance.random() < 0.1,
        "preferred_category": "Tea",
        "stores": "shop",
        "checkout_id": None,
    }


def load(db: Database, most: int) -> None:
    with db._engine.connect() as connection:  # noqa: SLF001 - the bench writes what no run would
        for rows in profiles(most):
            connection.execute(insert(table(ProfileRow)), rows)
        connection.commit()


def figures(connection: Connection, mapping: CompiledMapping) -> None:
    for figure in mapping.figures:
        evaluation.save_figure(connection, SCOPE.sync, figure.key, figure.at(CLOCK))
    connection.commit()


def evaluate_all(connection: Connection, mapping: CompiledMapping) -> int:
    """Run the SELECT over everybody and look at each row, as they come."""
    rows = connection.execute(mapping.select(SCOPE.sync, CLOCK, None), execution_options={"yield_per": 1_000})
    return sum(1 for _ in rows)


def evaluate_in_sql(connection: Connection, mapping: CompiledMapping) -> int:
    """Work out every field and list of everybody, and bring only the number of known values to Python."""
    values = mapping.select(SCOPE.sync, CLOCK, None).subquery()
    known = sum((func.count(column) for column in values.c[1:]), func.count())
    return int(connection.scalar(select(known)) or 0)


def evaluate_dirty(connection: Connection, mapping: CompiledMapping, most: int) -> int:
    """Do what a run does: find who changed since the last one, and evaluate these."""
    ids = evaluation.due_profiles(connection, SCOPE.sync, most - DIRTY - 1, None)
    rows = connection.execute(mapping.select(SCOPE.sync, CLOCK, evaluation.these(ids)))
    return len([mapping.read(row, CLOCK) for row in rows])


def timed(what: str, work: Any) -> None:
    began = time.process_time()
    found = work()
    print(f"{what:48} {time.process_time() - began:9.3f} s of CPU   {'' if found is None else found}")


def main(most: int) -> None:
    mapping = compile_mapping(read_mapping(preset("crm")), currency="EUR", scope=SCOPE)
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{Path(folder) / 'state.db'}")
        timed(f"(making {most} profiles)", lambda: load(db, most))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with db._engine.connect() as connection:  # noqa: SLF001 - as above
            timed("figures over the whole base", lambda: figures(connection, mapping))
            timed("the preset over the whole base, in SQL", lambda: evaluate_in_sql(connection, mapping))
            timed("the preset over the whole base, read", lambda: evaluate_all(connection, mapping))
            timed(
                f"the preset over {DIRTY} dirty profiles", lambda: evaluate_dirty(connection, mapping, most)
            )
            timed("the same again", lambda: evaluate_dirty(connection, mapping, most))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{'memory that evaluating took':48} {(after - before) / 1024:9.1f} MB")
        db.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
