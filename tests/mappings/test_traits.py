from connectors.base import FieldType, Traits
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
        "fields: 3 fields; news takes 2; leave 1 out, the last being BUYER"
    ]


def test_names_of_lists_have_a_length() -> None:
    assert said(list_name_length=10) == [
        "lists.Customers who came back: news takes list names of at most 10 characters, this has 23; `Customers` would do"
    ]
