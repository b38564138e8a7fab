from connectors.base import FieldType, ListKind, Traits
from mappings.traits import check_traits
from tests.mappings.base import compiled

MAPPING = compiled(
    fields={
        "ORDERS": "orders_count",
        "last order no": "last_order_number",
        "BUYER": "orders_count > 0",
        "FNAME": "first_name",
    },
    lists={"Loyal": "orders_count > 1", "Customers who came back": "orders_count > 2"},
)


def said(**traits: object) -> list[str]:
    found = check_traits(MAPPING, Traits(batch_size=1, list_batch_size=1, **traits), "news")  # type: ignore[arg-type]
    return [str(problem) for problem in found]


def test_a_platform_that_takes_everything_finds_nothing() -> None:
    assert said() == []


def test_names_must_fit_and_a_fitting_one_is_named() -> None:
    assert said(name_pattern="[A-Z0-9_]{1,10}", name_rule="capital letters, digits and _, ten at most") == [
        "fields.last order no: news does not take this name: capital letters, digits and _, ten at most; `LAST_ORDER` would do"
    ]
    assert said(
        name_pattern="[0-9]+", name_rule="digits", builtin_fields=frozenset({"ORDERS", "BUYER", "FNAME"})
    ) == ["fields.last order no: news does not take this name: digits"]


def test_a_type_that_is_missing_can_be_text() -> None:
    assert said(field_types=frozenset(FieldType) - {FieldType.BOOLEAN}) == [
        "fields.BUYER: news has no fields of type boolean; add `type: text`"
    ]
    assert said(field_types=frozenset({FieldType.NUMBER, FieldType.BOOLEAN})) == [
        "fields.last order no: news has no fields of type text",
        "fields.FNAME: news has no fields of type text",
    ]


def test_fields_that_are_always_there_do_not_count() -> None:
    assert said(max_fields=3, builtin_fields=frozenset({"FNAME"})) == []
    assert said(max_fields=2, builtin_fields=frozenset({"FNAME"})) == [
        "fields: 3 fields; news takes 2; leave 1 out (`NAME: null`), the last being BUYER"
    ]


def test_names_of_lists_have_a_length() -> None:
    assert said(list_name_length=10) == [
        "lists.Customers who came back: news takes list names of at most 10 characters, this has 23; `Customers` would do"
    ]


def test_too_many_lists_are_said_with_the_last() -> None:
    assert said(max_lists=1) == [
        "lists: 2 lists; news takes 1; leave 1 out (`NAME: null`), the last being Customers who came back"
    ]
    assert said(max_lists=2) == []


def test_what_can_become_unknown_needs_a_value_where_nothing_can_be_cleared() -> None:
    mapping = compiled(
        fields={
            "ORDERS": "orders_count",
            "SURE": "coalesce(orders_count, 0)",
            "TIER": "case when total_spent > 5 then 'gold' else 'none' end",
            "HALF": "case when total_spent > 5 then 'gold' end",
            "KNOWN": "last_order_at is null",
            "SUM": "coalesce(orders_count, 0) + 1",
            "MAIL": "email",
            "DAYS": "days_since(last_order_at)",
            "LATE": "last_order_at",
        },
        lists={},
    )

    found = check_traits(mapping, Traits(batch_size=1, list_batch_size=1, can_clear=False), "news")

    assert [str(problem) for problem in found] == [
        f"fields.{name}: news cannot clear a value, and this one can become unknown; give it one: `coalesce(…, {value})`"
        for name, value in (("ORDERS", "0"), ("HALF", "''"), ("DAYS", "0"), ("LATE", "'1970-01-01'"))
    ]


def test_a_text_of_the_mapping_that_would_be_cut_everywhere_is_refused() -> None:
    mapping = compiled(fields={"NOTE": "case when orders_count > 1 then 'ééé' else 'e' end"}, lists={})

    def found(**traits: int) -> list[str]:
        return [str(each) for each in check_traits(mapping, Traits(1, 1, **traits), "news")]  # type: ignore[arg-type]

    assert found(text_length=3, text_bytes=6) == []
    assert found(text_length=2) == [
        "fields.NOTE: news holds texts of at most 2 characters, one here has 3; shorten it"
    ]
    assert found(text_bytes=5) == [
        "fields.NOTE: news holds texts of at most 5 bytes, one here has 6; shorten it"
    ]


def test_a_kind_of_list_that_is_missing_names_the_setting_that_asks_for_it() -> None:
    mapping = compiled(
        fields={}, lists={"Welcome": {"when": "orders_count > 0", "trigger": "3"}, "Fans": "true"}
    )

    def found(*kinds: ListKind) -> list[str]:
        traits = Traits(batch_size=1, list_batch_size=1, list_kinds=frozenset(kinds))
        return [str(each) for each in check_traits(mapping, traits, "news")]

    assert found(*ListKind) == []
    (problem,) = found(ListKind.MEMBERS)
    assert problem.startswith("lists.Welcome.trigger: news has no triggers that Cartwire could call; leave")
    assert found(ListKind.TRIGGER) == [
        "lists.Fans: news keeps no lists; name a `trigger` that is called for whoever enters"
    ]
