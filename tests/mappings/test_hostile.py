"""Whole mappings that mean harm, or were written by a machine: refused with their place, or harmless.

What a single expression may not hold stands in `test_expressions`.
"""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from mappings.clock import Clock
from mappings.compile import CompiledMapping, compile_mapping
from mappings.errors import MappingError
from mappings.model import preset, read_mapping
from state.scope import Scope
from tests.mappings.base import NOW, PARIS, SYNC, Base, compiled, problems

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's
RULE, FIELD = ("lists", "X"), ("fields", "X")


def rule(text: str, **names: Any) -> dict[str, Any]:
    return {"lists": {"X": text}, **names}


def value(text: str, **names: Any) -> dict[str, Any]:
    return {"fields": {"X": text}, **names}


def chain(length: int, link: str, end: str = "orders_count") -> dict[str, str]:
    """Write formulas of which each holds the next one as often as `link` does."""
    links = {f"f{place}": link.replace("?", f"f{place + 1}") for place in range(length)}
    return links | {f"f{length}": end}


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    # named arguments
    "outside of a call": (rule("days => 90"), RULE, "did not expect `=>`"),
    "in a comparison": (rule("orders_count > (days => 90)"), RULE, "found `=>`"),
    "in a list": (rule("orders_count in (days => 1, 2)"), RULE, "found `=>`"),
    "in a case": (rule("case when days => true then true end"), RULE, "missing beside `=>`"),
    "in itself": (rule("orders_in(days => days => 90) > 1"), RULE, "found `=>`"),
    "in brackets": (rule("orders_in((days => 90)) > 1"), RULE, "found `=>`"),
    "computed": (rule("orders_in(1 + 1 => 90) > 1"), RULE, "found `=>`"),
    "called": (rule("orders_in(days(1) => 90) > 1"), RULE, "found `=>`"),
    "a star": (rule("orders_in(* => 1) > 1"), RULE, "found `=>`"),
    "a column": (rule("orders_in(orders_count => 90) > 1"), RULE, "does not take `orders_count`"),
    "one of many": (rule("coalesce(values => 1, 2) > 1"), RULE, "does not take `values`"),
    "twice": (rule("orders_in(days => 1, days => 2) > 1"), RULE, "is given `days` twice"),
    "by place too": (rule("orders_in(90, days => 90) > 1"), RULE, "is given `days` twice"),
    "before the others": (rule("round(digits => 1, total_spent) > 1"), RULE, "`total_spent` lacks a name"),
    "one too many": (rule("round(total_spent, 1, digits => 2) > 1"), RULE, "is given `digits` twice"),
    "one more": (rule("round(total_spent, 1, 2, digits => 2) > 1"), RULE, "`2` lacks a name"),
    # windows and dates
    "an empty window": (rule("orders_in(days => 0) > 1"), RULE, "a window of 0 days is empty"),
    "a window ahead": (value("spent_in(months => -1)"), FIELD, "a window of -1 months is empty"),
    "an endless window": (rule("orders_in(days => 1e400) > 1"), RULE, "too large"),
    "an unknown window": (rule("orders_in(days => null) > 1"), RULE, "takes number as days"),
    "a true window": (rule("orders_in(days => true) > 1"), RULE, "takes number as days"),
    "no year": (rule("last_order_at > '0000-00-00'"), RULE, "is not a date"),
    "five digits": (rule("last_order_at > '10000-01-01'"), RULE, "is not a date"),
    "other digits": (
        rule("last_order_at > '\u0662\u0660\u0662\u0666-\u0660\u0661-\u0660\u0661'"),
        RULE,
        "is not a date",
    ),
    "hour 24": (rule("last_order_at > '2026-01-01 24:00'"), RULE, "is not a date"),
    # signs that look alike, or like nothing
    "a Cyrillic o": (rule("оrders_count > 1"), RULE, "did you mean `orders_count`?"),  # noqa: RUF001 - the point
    "wide letters": (rule("ｓｅｌｅｃｔ 1"), RULE, "did not expect `1`"),  # noqa: RUF001 - the point
    "a wide sign": (rule("orders_count ＞ 1"), RULE, "did not expect"),  # noqa: RUF001 - the point
    "a Turkish I": (rule("CİTY = 'x'"), RULE, "did you mean `city`?"),
    "a long s": (rule("orderſ_count > 1"), RULE, "did you mean `orders_count`?"),  # noqa: RUF001 - the point
    "no width": (rule("orders_\u200bcount > 1"), RULE, "unknown column"),
    "a byte order mark": (rule("\ufefforders_count > 1"), RULE, "unknown column"),
    "a comment behind another line's end": (rule("true\u2028-- x"), RULE, "no comments"),
    "bent quotes": (rule("country = \u2018FR\u2019"), RULE, "not in quotation marks that are straight"),
    "half a character": (value("'\ud800'"), FIELD, "control character"),
    # parameters
    "a huge number": (value("p", parameters={"p": "9" * 400}), ("parameters", "p"), "too large"),
    "a tiny number": (value("p", parameters={"p": "1e-999"}), ("parameters", "p"), "too small"),
    "a NUL": (value("p", parameters={"p": "x\x00y"}), ("parameters", "p"), "no text"),
    "half a letter": (value("p", parameters={"p": "\ud800"}), ("parameters", "p"), "no text"),
    "a book": (value("p", parameters={"p": "x" * 3_000_000}), ("parameters", "p"), "no text"),
    "SQL for a number": (rule("p > 1", parameters={"p": "1) or (1=1"}), RULE, "cannot compare `p` (text)"),
    "a column for a number": (rule("p > 1", parameters={"p": "orders_count"}), RULE, "cannot compare"),
    "half a day": (rule("last_order_at < days_ago(p)", parameters={"p": 1.5}), RULE, "a whole number"),
    "an open pattern": (rule("company like p", parameters={"p": "a\\"}), RULE, "single backslash"),
    "called like a function": (rule("p(1) > 0", parameters={"p": 1}), RULE, "unknown function `p`"),
    # names
    "case": (value("1", formulas={"case": "1"}), ("formulas", "case"), "a word of SQL"),
    "select": (value("1", formulas={"select": "1"}), ("formulas", "select"), "a word of SQL"),
    "true": (rule("true", formulas={"true": "1 = 2"}), ("formulas", "true"), "a word of SQL"),
    "null": (value("1", parameters={"null": 1}), ("parameters", "null"), "a word of SQL"),
    "and": (value("1", parameters={"and": 1}), ("parameters", "and"), "a word of SQL"),
    "an unwritable field": ({"fields": {"\ud800": "1"}}, ("fields", "\\ud800"), "control character"),
    # formulas
    "itself": (rule("f > 0", formulas={"f": "f"}), ("formulas", "f"), "`f` contains itself"),
    "a ring": (
        rule("f0 > 0", formulas=chain(3, "?", "f0")),
        ("formulas", "f0"),
        "contains itself",
    ),
    "a long ring": (rule("f0 > 0", formulas=chain(400, "?", "f0")), ("formulas", "f0"), "too deeply"),
    "a chain": (rule("f0 > 0", formulas=chain(499, "? + 1")), ("formulas", "f0"), "too deeply"),
    "2^11": (rule("f0 > 0", formulas=chain(11, "? * ?")), ("formulas", "f0"), "too deeply"),
    "200^10": (
        rule("f0 > 0", formulas=chain(10, f"coalesce({', '.join('?' * 200)})")),
        ("formulas", "f9"),
        "more than 100 arguments",
    ),
    "90^10": (
        rule("f0 > 0", formulas=chain(10, f"coalesce({', '.join('?' * 90)})")),
        ("formulas", "f8"),
        "too much",
    ),
    # too much of it
    "many formulas": (value("1", formulas=chain(5_000, "?")), ("formulas",), "500 are the limit"),
    "many lists": ({"lists": {f"L{n}": "true" for n in range(1_000)}}, ("lists",), "500 are the limit"),
    "many fields": ({"fields": {f"F{n}": "1" for n in range(3_000)}}, ("fields",), "500 are the limit"),
    "many values": (value(f"greatest({'1, ' * 150}1)"), FIELD, "more than 100 arguments"),
    "many ages": (
        rule(f"days_since(last_order_at) in ({', '.join(map(str, range(400)))})"),
        RULE,
        "too much",
    ),
    "deep cases": (rule("case when true then " * 10_000), RULE, "longer than 2000"),
    "deep calls": (rule("abs(" * 19 + "1" + ")" * 19 + " > 0"), RULE, "nested too deeply"),
    "a figure of a figure": (value("quintile(quintile(orders_count))"), FIELD, "cannot be computed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_harm_is_refused_with_its_place(name: str) -> None:
    sections, path, what = REFUSED[name]

    found = problems(**sections)

    assert any(each.path == path and what in str(each) for each in found), found[:3]


LONG = 900
ACCEPTED: dict[str, dict[str, Any]] = {
    "a window of ages": rule("orders_in(days => 1000000000000) >= 0"),
    "a window of more": rule(
        "spent_in(months => 1000000000000000) >= 0 and items_in(hours => 999999999999) >= 0"
    ),
    "long ago": rule("last_order_at > days_ago(1000000000000) and signup_at > hours_ago(1000000000000000)"),
    "far ahead": rule("last_order_at > months_ago(-1000000000000)"),
    "a great age": rule("days_since(last_order_at) > 1000000000000000"),
    "some great ages": rule("hours_since(last_order_at) in (1e15, -1e15)"),
    "the first day": rule("last_order_at > '0001-01-01'"),
    "the last second": rule("last_order_at > '9999-12-31 23:59:59'"),
    "all days": value("days_between('0001-01-01', '9999-12-31')"),
    "all months": value("months_since('0001-01-01')"),
    "the last birthday": value("next_anniversary('9999-12-31')"),
    "nothing below": value("total_spent / (orders_count - orders_count)"),
    "no rest": value("total_spent % 0"),
    "a tiny rest": value("1e15 % 0.000000001"),
    "a long list": rule(f"orders_count in ({', '.join(['1'] * 600)})"),
    "a long list of texts": rule(f"country in ({', '.join(['1'] * 380)})".replace("1", "'a'")),
    "a pattern that tries everything": rule(f"company like '{'%a' * LONG}c'"),
    "in any case": rule(f"company ilike '{'%a' * LONG}c'"),
    "brackets in a pattern": rule(f"company like '{'[^a-' * 400}'"),
    "many texts": value(f"concat({', '.join(['company'] * 100)})"),
    "many values": value(f"greatest({', '.join(['orders_count'] * 100)})"),
    "many choices": value(f"case {' '.join(f'when orders_count = {n} then {n}' for n in range(60))} end"),
    "many ands": rule(" and ".join(["true"] * 220)),
    "names of tables": value("sync || profiles", formulas={"sync": "'x'", "profiles": "'y'"}),
    "names of our own SQL": value("f0 + l0", formulas={"f0": "1", "l0": "2"}),
    "words that some SQL knows": value(
        "current_date + interval", formulas={"current_date": "1"}, parameters={"interval": 2}
    ),
    "SQL in a parameter": value("p", parameters={"p": "x'; drop table profiles; --"}),
    "a pattern in a parameter": rule("company like p", parameters={"p": "%' or 1=1 --"}),
    "bidirectional text": rule("country = '\u202eRF'"),
    "40^2": value("f0", formulas=chain(2, f"coalesce({', '.join('?' * 40)})")),
    "figures of windows": rule("top_percent(spent_in(days => 30)) <= 10 and quintile(orders_in(30)) > 3"),
    "many lists": {"lists": {f"L{n}": "orders_count >= 1 and country = 'FR'" for n in range(100)}},
}


def run_everywhere(base: Base, mapping: CompiledMapping) -> None:
    """Run it on SQLite with all that is asked of it, and compile it for PostgreSQL."""
    later = Clock(NOW.now + timedelta(days=40), PARIS)
    base.add(company="a" * 300, orders_count=3, total_spent=1000, last_order_at=NOW.now)
    base.order(1, "ada@example.com", NOW.now)
    base.refresh(mapping)
    base.run(mapping)
    base.explained(mapping)
    base.moved(mapping, NOW, later)
    moved = mapping.moved(SYNC, NOW, later)
    queries = [mapping.select(SYNC, NOW, None), *(figure.at(NOW) for figure in mapping.figures)]
    if moved is not None:
        queries.append(moved)
    for query in queries:
        assert "1=1" not in str(query.compile(dialect=POSTGRESQL))


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted_runs_on_both_databases(base: Base, name: str) -> None:
    run_everywhere(base, compiled(**ACCEPTED[name]))


@pytest.mark.parametrize("name", ["crm", "basics"])
@pytest.mark.parametrize("currency", ["EUR", "JPY", "KWD"])
def test_the_presets_run_on_both_databases(base: Base, name: str, currency: str) -> None:
    scope = Scope(SYNC, ("shop",), "news", currency)

    run_everywhere(base, compile_mapping(read_mapping(preset(name)), currency=currency, scope=scope))


@pytest.mark.parametrize("value", ["1; drop table x", "'", "\ud800", 10**400, [[]], None])
def test_a_threshold_of_the_preset_that_is_no_number_is_refused(value: object) -> None:
    base = read_mapping(preset("crm"))
    thresholds = dict.fromkeys(base.parameters.keys() - {"ltv_by"}, value)

    with pytest.raises(MappingError) as refused:
        compile_mapping(read_mapping({"parameters": thresholds}, base), currency="EUR")

    assert all(problem.path for problem in refused.value.problems)
