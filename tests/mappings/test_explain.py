"""Every part of a rule says what it comes to, and the parts make the whole."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from mappings.catalogue import PROFILES
from mappings.explain import Change, Part
from mappings.parts import Node, cut, split
from mappings.terms import Formula, Parameter, Scale
from tests.mappings.base import NOW, PARIS, Base, compiled

OWN = Scale(2, names={"many": Parameter(Decimal(3)), "regular": Formula("orders_count >= many and true")})


@pytest.mark.parametrize(
    ("expression", "parts"),
    [
        ("orders_count > 1", (None, ["orders_count > 1"])),
        ("a and b or c and d", ("or", ["a and b", "c and d"])),
        ("a AND (b or c)\n and d", ("and", ["a", "(b or c)", "d"])),
        ("a between 1 and 2 and b", ("and", ["a between 1 and 2", "b"])),
        ("case when a and b then c or d end and e", ("and", ["case when a and b then c or d end", "e"])),
        ("a = 'x or y' or b", ("or", ["a = 'x or y'", "b"])),
    ],
)
def test_a_rule_is_taken_apart_where_its_words_join_it(
    expression: str, parts: tuple[str | None, list[str]]
) -> None:
    assert split(expression) == parts


def outline(node: Node) -> Any:
    """Write a tree as nested tuples: how it is joined, and its parts; a leaf as what it looks at."""
    if not node.parts:
        return (node.text, *node.names)
    return (node.joined, *(outline(part) for part in node.parts))


@pytest.mark.parametrize(
    ("expression", "tree"),
    [
        ("country", ("country",)),
        ("((country is null))", ("country is null", "country")),
        (
            "city is null and (country = 'FR' or not phone is null)",
            (
                "and",
                ("city is null", "city"),
                ("or", ("country = 'FR'", "country"), ("not", ("phone is null", "phone"))),
            ),
        ),
        ("(city is null) or (phone is null)", ("or", ("city is null", "city"), ("phone is null", "phone"))),
        (
            "not city in ('Paris', 'city or country') and orders_count between 1 and many",
            (
                "and",
                ("not", ("city in ('Paris', 'city or country')", "city")),
                ("orders_count between 1 and many", "orders_count", "many"),
            ),
        ),
        (
            "days_since(last_order_at) > 30",
            ("days_since(last_order_at) > 30", "days_since(last_order_at)"),
        ),
        ("round(average_basket)", ("round(average_basket)", "average_basket")),
        (
            "regular",
            ("formula", ("and", ("orders_count >= many", "orders_count", "many"), ("true",))),
        ),
        (
            "case when regular then 'r' when city is null then case when true then 'n' end else city end",
            (
                "case",
                (
                    "when",
                    ("formula", ("and", ("orders_count >= many", "orders_count", "many"), ("true",))),
                    ("'r'",),
                ),
                (
                    "when",
                    ("city is null", "city"),
                    ("case", ("when", ("true",), ("'n'",))),
                ),
                ("else", ("city",)),
            ),
        ),
        (
            "case country when 'FR' then 1 end",
            ("case", ("when", ("country = 'FR'", "country"), ("1",))),
        ),
        (
            "case when true then 1 end = orders_count",
            ("case when true then 1 end = orders_count", "orders_count"),
        ),
    ],
)
def test_an_expression_is_a_tree_in_the_owners_words(expression: str, tree: Any) -> None:
    assert outline(cut(expression, OWN)) == tree


def test_each_part_says_what_it_comes_to_and_from_which_values(base: Base) -> None:
    base.add(orders_count=2, total_spent=500, last_order_at=NOW.now - timedelta(days=29, hours=22))
    mapping = compiled(
        fields={"SPENT": "total_spent"},
        lists={
            "Lost": "orders_count >= 2 and (days_since(last_order_at) >= 30 or country = 'FR')",
            "All": True,
        },
    )

    spent, lost, everybody = base.explained(mapping)

    assert (spent.kind, spent.name, spent.value) == ("fields", "SPENT", Decimal("5.00"))
    assert spent.rule == Part("total_spent", Decimal("5.00"), values={"total_spent": Decimal("5.00")})
    assert (lost.value, lost.rule.joined) == (None, "and")
    enough, either = lost.rule.parts
    assert enough == Part("orders_count >= 2", value=True, values={"orders_count": 2})
    assert [(part.text, part.value, part.values) for part in either.parts] == [
        (
            "days_since(last_order_at) >= 30",
            False,
            {"days_since(last_order_at)": 29, "last_order_at": "2026-04-01T16:00:00+02:00"},
        ),
        ("country = 'FR'", None, {"country": None}),
    ]
    (change,) = lost.changes
    assert change.by == "last_order_at is 30 days ago"
    assert lost.changes_at is not None
    assert abs(lost.changes_at - (NOW.now + timedelta(hours=2))) <= timedelta(seconds=1)
    assert (everybody.value, everybody.changes, everybody.changes_at) == (True, [], None)


def test_what_the_clock_and_the_whole_base_decide_is_shown_too(base: Base) -> None:
    base.add(orders_count=2, average_basket=300, last_order_at=NOW.now)
    rules = {
        "Lost": "last_order_at < months_ago(3)",
        "Big": "average_basket >= overall_avg(average_basket)",
        "Old": "length(first_name) > days_since(last_order_at)",
    }
    mapping = compiled(lists=rules)
    base.refresh(mapping)

    lost, big, old = base.explained(mapping)

    assert lost.rule.values["months_ago(3)"] == "2026-02-01T14:00:00+01:00"
    assert big.rule.values["overall_avg(average_basket)"] == Decimal("3.00")
    assert big.changes == [Change(None, "numbers over the whole base are worked out anew")]
    midnight = NOW.now.replace(hour=22, tzinfo=NOW.now.tzinfo)
    assert old.changes == [Change(midnight, "days are counted anew")]
    assert midnight.astimezone(PARIS).hour == 0


def test_a_list_that_is_left_later_than_entered_shows_both_rules(base: Base) -> None:
    base.add(orders_count=2)
    mapping = compiled(lists={"Fans": {"when": "orders_count >= 5", "until": "orders_count = 0"}})

    (fans,) = base.explained(mapping)

    assert (fans.value, fans.rule.joined) == (False, "or")
    enters, stays = fans.rule.parts
    assert (enters.text, enters.value, stays.value) == ("orders_count >= 5", False, False)
    assert [(part.text, part.value) for part in stays.parts] == [
        ("in Fans already", False),
        ("not (orders_count = 0)", True),
    ]


def test_nobody_is_asked_about_under_an_unknown_address(base: Base) -> None:
    base.add()
    mapping = compiled(lists={"A": "true"})

    (query,) = mapping.ask(mapping.questions(), "crm", NOW, "eve@example.com")

    assert base.connection.execute(query).all() == []


def test_more_values_than_a_database_gives_at_once_are_asked_in_portions(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mappings.explain.AT_ONCE", 3)
    base.add(orders_count=7)
    mapping = compiled(lists={f"L{number}": f"orders_count = {number}" for number in range(6, 9)})

    found = base.explained(mapping)

    assert len(mapping.ask(mapping.questions(), "crm", NOW, "ada@example.com")) > 1
    assert [rule.name for rule in found if rule.value] == ["L7"]


# --- the parts make the whole --------------------------------------------------------------------------

LEAVES = [
    "orders_count >= 2",
    "orders_count between 1 and 3",
    "country = 'FR'",
    "country in ('FR', 'BE')",
    "accepts_marketing",
    "last_order_at < days_ago(30)",
    "days_since(last_order_at) between 10 and 40",
    "city is null",
    "true",
    "purchase_frequency > 2",
]
rules = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("not ({})".format),
        inner.map("({})".format),
        st.tuples(inner, inner, inner).map(lambda three: "case when {} then {} else {} end".format(*three)),
    ),
    max_leaves=6,
)
people = st.fixed_dictionaries(
    {
        "orders_count": st.sampled_from([None, 0, 1, 2, 5]),
        "country": st.sampled_from([None, "FR", "DE"]),
        "city": st.sampled_from([None, "Paris"]),
        "accepts_marketing": st.sampled_from([None, True, False]),
        "first_order_at": st.sampled_from([None, NOW.now - timedelta(days=100)]),
        "last_order_at": st.sampled_from([None, *(NOW.now - timedelta(days=days) for days in (1, 20, 90))]),
    }
)


def recomputed(part: Part) -> Any:
    """Work a part out from its own parts: by Kleene's logic, or by the first condition that is true."""
    values = [recomputed(each) for each in part.parts]
    match part.joined:
        case "and":
            return False if False in values else None if None in values else True
        case "or":
            return True if True in values else None if None in values else False
        case "not":
            return None if values[0] is None else not values[0]
        case "case":
            return next((r for p, r in zip(part.parts, values, strict=True) if chosen(p)), None)
        case "when" | "else" | "formula":
            return values[-1]
        case _:
            return part.value


def chosen(branch: Part) -> bool:
    return branch.joined == "else" or recomputed(branch.parts[0]) is True


def walk(part: Part) -> Sequence[Part]:
    return [part, *(below for each in part.parts for below in walk(each))]


@pytest.fixture(scope="module")
def shared() -> Iterator[Base]:
    """Make one base for all examples: making it costs more than they do."""
    made = Base()
    yield made
    made.close()


@given(rule=rules, person=people)
def test_what_explain_says_recomputes_to_what_is_pushed(
    shared: Base, rule: str, person: Mapping[str, Any]
) -> None:
    shared.connection.execute(delete(PROFILES))
    shared.add(**person)
    field = f"case when {rule} then 'yes' when city is null then city else 'no' end"
    mapping = compiled(fields={"F": field}, lists={"L": rule})
    (pushed,) = shared.run(mapping)

    explained = {each.name: each for each in shared.explained(mapping)}

    for each in explained.values():
        for part in walk(each.rule):
            assert recomputed(part) == part.value
    assert recomputed(explained["L"].rule) == explained["L"].value == pushed.lists["L"]
    assert recomputed(explained["F"].rule) == explained["F"].value == pushed.fields["F"]
