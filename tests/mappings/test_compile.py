"""The SELECT, what it gives back, and what a mapping says of itself."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from connectors.base import Field, FieldType
from mappings import compile as compiling
from mappings.clock import Clock
from mappings.compile import Evaluated, compile_mapping
from mappings.model import preset, read_mapping
from state.tables import ProfileRow, table
from tests.mappings.base import NOW, PARIS, SYNC, Base, compiled, problems


def test_a_row_becomes_fields_and_lists(base: Base) -> None:
    ada = base.add("ada@example.com", orders_count=2, total_spent=1234)
    mapping = compiled(
        fields={
            "ORDERS": "orders_count",
            "SPENT": {"value": "total_spent", "title": "Total"},
            "CITY": "city",
        },
        lists={
            "Loyal": "orders_count >= 2",
            "French": "country = 'FR'",
            "New": {"when": "orders_count = 0", "journey": True},
        },
    )

    assert base.run(mapping) == [
        Evaluated(
            ada,
            "ada@example.com",
            {"ORDERS": 2, "SPENT": Decimal("12.34"), "CITY": None},
            {"Loyal": True, "French": None, "New": False},
        )
    ]
    assert mapping.fields == [
        Field("ORDERS", FieldType.NUMBER, "ORDERS"),
        Field("SPENT", FieldType.NUMBER, "Total"),
        Field("CITY", FieldType.TEXT, "CITY"),
    ]
    assert [(each.name, each.journey) for each in mapping.lists] == [
        ("Loyal", False),
        ("French", False),
        ("New", True),
    ]


def test_only_the_profiles_that_are_asked_for_are_looked_at(base: Base) -> None:
    ids = [base.add(f"{n}@example.com", orders_count=n) for n in range(4)]
    base.add("x@example.com", sync="other", orders_count=2)
    profiles = table(ProfileRow)
    wanted = select(profiles.c.id).where(profiles.c.orders_count >= 2)
    mapping = compiled(lists={"A": "orders_count > 2"})

    rows = base.connection.execute(mapping.select(SYNC, NOW, wanted)).all()

    assert {row.profile for row in rows} == set(ids[2:])


def test_p6_a_few_profiles_are_found_without_looking_through_the_sync(base: Base) -> None:
    profiles = table(ProfileRow)
    query = compiled(lists={"A": "orders_count > 2"}).select(
        SYNC, NOW, select(profiles.c.id).where(profiles.c.id == 7)
    )

    plan = base.connection.exec_driver_sql(
        f"explain query plan {query.compile(base.engine)}", (2, 7, SYNC)
    ).all()

    assert plan[0].detail == "SEARCH profiles USING INTEGER PRIMARY KEY (rowid=?)"


@pytest.mark.parametrize(
    ("expression", "type_", "what", "instead"),
    [
        ("city", "number", "is `city` (text), which cannot be pushed as number", "use `type: text`"),
        ("city", "date", "is `city` (text), which cannot be pushed as date", "use `type: text`"),
        ("city", "boolean", "is `city` (text), which cannot be pushed as boolean", "use `type: text`"),
        ("orders_count", "date", "is `orders_count` (number), which cannot be pushed as date", "use `type: number` or `type: text`"),
        ("orders_count > 1", "number", "is `orders_count > 1` (boolean), which cannot be pushed as number", "use `type: boolean` or `type: text`"),
        ("last_order_at", "number", "is `last_order_at` (moment), which cannot be pushed as number", "use `type: date` or `type: text`"),
        ("null", None, "is always unknown", "write null beside `fields` to leave an inherited field out"),
    ],
)  # fmt: skip
def test_a_field_must_be_what_its_type_says(
    expression: str, type_: str | None, what: str, instead: str
) -> None:
    (problem,) = problems(fields={"X": {"value": expression, "type": type_}})

    assert (problem.path, problem.what, problem.instead) == (("fields", "X"), what, instead)


@pytest.mark.parametrize(
    ("expression", "type_"),
    [
        ("city", FieldType.TEXT),
        ("orders_count", FieldType.NUMBER),
        ("total_spent", FieldType.NUMBER),
        ("last_order_at", FieldType.DATE),
        ("accepts_marketing", FieldType.BOOLEAN),
        ("coalesce(null, last_order_at)", FieldType.DATE),
        ("case when true then null else total_spent end", FieldType.NUMBER),
    ],
)
def test_a_type_follows_from_the_expression(expression: str, type_: FieldType) -> None:
    assert compiled(fields={"X": expression}).fields[0].type is type_


def test_an_unknown_currency_is_refused() -> None:
    with pytest.raises(ValueError, match="XXY"):
        compiled(lists={"A": "true"}, currency="XXY")


# --- the digest ----------------------------------------------------------------------------------------

FIELD = {"fields": {"A": "total_spent"}, "lists": {"L": "orders_count > 1"}}


def digest(raw: object, currency: str = "EUR") -> str:
    return compile_mapping(read_mapping(raw), currency=currency).digest


def test_the_digest_changes_with_whatever_changes_results(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [
        digest(FIELD),
        digest(FIELD, "USD"),
        digest(FIELD | {"fields": {"B": "total_spent"}}),
        digest(FIELD | {"fields": {"A": "total_spent + 1"}}),
        digest(FIELD | {"fields": {"A": {"value": "total_spent", "type": "text"}}}),
        digest(FIELD | {"fields": {"A": {"value": "total_spent", "title": "Spent"}}}),
        digest(FIELD | {"lists": {"L": "orders_count > 2"}}),
        digest(FIELD | {"lists": {"L": "orders_count > 1.0 and last_order_at > days_ago(1)"}}),
        digest(FIELD | {"lists": {"L": "orders_count > 1.0 and last_order_at > days_ago(2)"}}),
        digest(FIELD | {"lists": {"L": "last_order_at > '2026-01-01'"}}),
        digest(FIELD | {"lists": {"L": "last_order_at > '2026-01-02'"}}),
        digest(FIELD | {"lists": {"L": {"when": "orders_count > 1", "journey": True}}}),
        digest(FIELD | {"lists": {}}),
    ]
    monkeypatch.setattr(compiling, "LANGUAGE", compiling.LANGUAGE + 1)
    digests.append(digest(FIELD))

    assert len(set(digests)) == len(digests)


def test_the_digest_stays_when_only_the_writing_changes() -> None:
    other = {
        "fields": {"A": {"value": " TOTAL_SPENT ", "type": "number"}},
        "lists": {"L": "( orders_count >1 )"},
    }

    assert digest(FIELD) == digest(FIELD) == digest(other)


# --- PostgreSQL ----------------------------------------------------------------------------------------


def test_the_same_mapping_compiles_for_postgresql() -> None:
    raw = {
        "fields": {
            "FREQ": "purchase_frequency",
            "TOP": "top_percent(total_spent)",
            "LOW": "least(lower(first_name), upper(last_name))",
            "MOD": "orders_count % 2 + abs(-orders_count) + ceil(total_spent / orders_count / 3)",
            "HOURS": "hours_since(coalesce(last_order_at, '2026-01-01'))",
        },
        "lists": {"Like": "first_name like 'A%' or first_name ilike 'b%' and country < 'M'"},
    }
    mapping = compile_mapping(read_mapping(raw, read_mapping(preset("crm"))), currency="EUR")
    later = Clock(NOW.now + timedelta(days=1), PARIS)
    moved = mapping.moved(SYNC, NOW, later)
    assert moved is not None
    asked = mapping.ask(mapping.questions(), SYNC, NOW, "x")
    queries = [mapping.select(SYNC, NOW, None), moved, *asked]

    texts = [
        str(query.compile(dialect=postgresql.dialect()))
        for query in queries + [f.at(NOW) for f in mapping.figures]
    ]

    assert all("cartwire" not in text and "GLOB" not in text for text in texts)
    assert "ILIKE" in texts[0]


def test_a_clock_in_another_zone_asks_for_the_same_moment(base: Base) -> None:
    base.add(last_order_at=datetime(2026, 4, 30, 12, tzinfo=UTC))
    local = Clock(NOW.now.astimezone(PARIS), PARIS)

    assert (
        base.value("days_since(last_order_at)", clock=local) == base.value("days_since(last_order_at)") == 1
    )
