"""A small base of profiles in memory, and mappings run on it."""

import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import create_engine, event, insert
from sqlmodel import SQLModel

from mappings.clock import Clock
from mappings.compile import CompiledMapping, Evaluated, compile_mapping
from mappings.errors import MappingError, MappingProblem
from mappings.explain import Explained, explain
from mappings.model import read_mapping
from state import functions
from state.scope import Scope
from state.tables import FigureRow, MembershipRow, OrderLineRow, OrderRow, ProfileRow, RefundRow, table
from tests.engines import engine

SYNC = "crm"
PARIS = ZoneInfo("Europe/Paris")
NOW = Clock(datetime(2026, 5, 1, 12, tzinfo=UTC), PARIS)


def compiled(
    *,
    fields: dict[str, Any] | None = None,
    lists: dict[str, Any] | None = None,
    currency: str = "EUR",
    **names: Any,
) -> CompiledMapping:
    """Compile a mapping; `names` are its parameters and formulas."""
    raw = {"fields": fields or {}, "lists": lists or {}, **names}
    return compile_mapping(
        read_mapping(raw), currency=currency, scope=Scope(SYNC, ("shop",), "news", currency)
    )


def problems(*, currency: str = "EUR", **sections: Any) -> list[MappingProblem]:
    """Compile what cannot be compiled; return why."""
    try:
        compiled(currency=currency, **sections)
    except MappingError as error:
        return list(error.problems)
    return []


TABLES = (ProfileRow, FigureRow, MembershipRow, OrderRow, OrderLineRow, RefundRow)


@functools.cache
def _empty() -> bytes:
    made = create_engine("sqlite://")
    SQLModel.metadata.create_all(made, [table(row) for row in TABLES])
    with made.connect() as connection:
        driver: Any = connection.connection.driver_connection
        return bytes(driver.serialize())


class Base:
    """Profiles of one sync in an SQLite database of their own."""

    def __init__(self) -> None:
        self.engine = engine("sqlite://")
        event.listen(self.engine, "connect", lambda connection, _: functions.register(connection))
        event.listen(self.engine, "connect", lambda connection, _: connection.deserialize(_empty()))
        self.connection = self.engine.connect()

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()

    def add(self, email: str = "ada@example.com", sync: str = SYNC, **columns: Any) -> int:
        """Store a profile that a store knows; money in minor units, what is not named is unknown."""
        row = {"sync": sync, "email": email, "stores": "shop", **REQUIRED, **columns}
        return int(self.connection.execute(insert(table(ProfileRow)), [row]).lastrowid or 0)

    def order(self, number: int, email: str, created_at: datetime, total: int = 1000, **columns: Any) -> None:
        """Store a paid order in euros, with one line of two pieces."""
        row = {
            "store": "shop",
            "id": str(number),
            "number": str(number),
            "person": email,
            "standing": "paid",
            "status": "completed",
            "currency": "EUR",
            "total_minor": total,
            "created_at": created_at,
            "updated_at": created_at,
            "digest": "",
        }
        self.connection.execute(insert(table(OrderRow)), [row | columns])
        line = {"store": "shop", "order_id": str(number), "position": 0, "title": "Tea", "quantity": 2}
        self.connection.execute(insert(table(OrderLineRow)), [line | {"total_minor": total}])

    def enter(self, profile: int, name: str) -> None:
        """Let the ESP have somebody in a list."""
        row = {"sync": SYNC, "profile": profile, "list": name, "at": NOW.now, "inside": True}
        self.connection.execute(insert(table(MembershipRow)), [row])

    def refresh(self, mapping: CompiledMapping, clock: Clock = NOW, sync: str = SYNC) -> None:
        """Work out the mapping's figures and keep them."""
        for figure in mapping.figures:
            for row in self.connection.execute(figure.at(clock), {"sync": sync}).all():
                values = {"sync": sync, "key": figure.key, "rank": row.rank, "value": row.value}
                self.connection.execute(insert(table(FigureRow)), [values])

    def run(self, mapping: CompiledMapping, clock: Clock = NOW, sync: str = SYNC) -> list[Evaluated]:
        rows = self.connection.execute(mapping.select(sync, clock, None))
        return sorted((mapping.read(row, clock) for row in rows), key=lambda each: each.profile)

    def value(
        self, expression: str, kind: str | None = None, clock: Clock = NOW, currency: str = "EUR"
    ) -> Any:
        """Evaluate one field for the only profile."""
        mapping = compiled(fields={"X": {"value": expression, "type": kind}}, currency=currency)
        (only,) = self.run(mapping, clock)
        return only.fields["X"]

    def truth(self, rule: str, clock: Clock = NOW, currency: str = "EUR") -> bool | None:
        """Evaluate one rule for the only profile."""
        (only,) = self.run(compiled(lists={"X": rule}, currency=currency), clock)
        return only.lists["X"]

    def explained(
        self, mapping: CompiledMapping, email: str = "ada@example.com", placed: Sequence[datetime] = ()
    ) -> Sequence[Explained]:
        """Take every rule apart for one profile."""
        questions = mapping.questions()
        queries = mapping.ask(questions, SYNC, NOW, email)
        rows = [self.connection.execute(query).mappings().one() for query in queries]
        return explain(questions, questions.answers(rows, NOW), placed)

    def members(self, rule: str, clock: Clock = NOW) -> set[int]:
        return {each.profile for each in self.run(compiled(lists={"X": rule}), clock) if each.lists["X"]}

    def moved(self, mapping: CompiledMapping, before: Clock, after: Clock) -> set[int]:
        query = mapping.moved(SYNC, before, after)
        return set() if query is None else set(self.connection.scalars(query))


REQUIRED = {
    column.name: 0
    for column in table(ProfileRow).columns
    if not column.nullable and column.name not in {"id", "sync", "email"} and column.default is None
}
