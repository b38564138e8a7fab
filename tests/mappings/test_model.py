import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.compile import compile_mapping
from mappings.errors import MappingError
from mappings.model import FieldSpec, ListSpec, Mapping, preset, read_mapping


def complaints(raw: object, base: Mapping | None = None) -> list[str]:
    with pytest.raises(MappingError) as caught:
        read_mapping(raw, base)
    return [str(problem) for problem in caught.value.problems]


def test_short_and_long_forms_mean_the_same() -> None:
    short = read_mapping({"fields": {"A": "orders_count"}, "lists": {"B": "orders_count > 1"}})
    long = read_mapping(
        {"fields": {"A": {"value": "orders_count"}}, "lists": {"B": {"when": "orders_count > 1"}}}
    )

    assert short.field_specs() == long.field_specs() == {"A": FieldSpec(value="orders_count")}
    assert short.list_specs() == long.list_specs() == {"B": ListSpec(when="orders_count > 1")}


def test_what_yaml_takes_for_something_else_is_text() -> None:
    mapping = read_mapping(
        {"lists": {2: True, True: False, "x": {"when": True}}, "fields": {2.5: 1, "y": {"value": 1.5}}}
    )

    assert {name: spec.when for name, spec in mapping.list_specs().items()} == {
        "2": "true",
        "true": "false",
        "x": "true",
    }
    assert {name: spec.value for name, spec in mapping.field_specs().items()} == {"2.5": "1", "y": "1.5"}


def test_a_mapping_adds_to_what_it_extends() -> None:
    base = read_mapping({"fields": {"A": "1", "B": "2", "C": "3"}, "lists": {"L": "true"}})

    mapping = read_mapping(
        {"extends": "preset:crm", "fields": {"D": "4", "B": "5", "A": None}, "lists": None}, base
    )

    assert {name: spec.value for name, spec in mapping.field_specs().items()} == {
        "B": "5",
        "C": "3",
        "D": "4",
    }
    assert list(mapping.field_specs()) == ["B", "C", "D"]
    assert list(mapping.list_specs()) == ["L"]
    assert mapping.extends == "preset:crm"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, ["nothing is mapped; write fields or lists"]),
        ({"fields": {}, "lists": None}, ["nothing is mapped; write fields or lists"]),
        ([], ["a mapping file holds `fields:` and `lists:`"]),
        ("x", ["a mapping file holds `fields:` and `lists:`"]),
        ({"feilds": {"A": "1"}}, ["feilds: unknown key; did you mean `fields`?"]),
        ({"fields": ["A"]}, ["fields: holds names with an expression each; write `NAME: …` below `fields:`"]),
        ({"extends": ["a"], "fields": {"A": "1"}}, ["extends: names one mapping; write `preset:crm` or the path of a file"]),
        ({"fields": {"A": {}}}, ["fields.A: `value` is missing; write `value: …` with an expression"]),
        ({"lists": {"A": {"when": "true", "jurney": True}}}, ["lists.A.jurney: unknown key; did you mean `journey`?"]),
        ({"fields": {"A": {"value": "round(total_spent", "2)": None}}}, ['fields.A.2): unknown key; between braces an expression with a comma stands in quotes: {value: "round(total_spent, 2)"}']),
        ({"lists": {"A": {"when": "true", 1: True}}}, ["lists.A.1: unknown key; known: when, until, journey, trigger, reenter"]),
        (
            {"fields": {"A": {"value": "1", "type": "datum"}}},
            ["fields.A.type: unknown type; known: 'text', 'number', 'date' or 'boolean'"],
        ),
        (
            {"lists": {"A": {"when": "true", "journey": "perhaps"}}},
            ["lists.A.journey: is neither true nor false; write true or false"],
        ),
        ({"lists": {"A": {"when": None}}}, ["lists.A.when: is empty; give: SQL expression that is true for whoever belongs to the list."]),
        (
            {"lists": {"A": {"when": "true", "until": None}, "B": {"when": "true", "trigger": None}}},
            ["lists.A.until: is empty; give: Whoever is in the list stays until this is true, although `when` no longer is.", "lists.B.trigger: is empty; give: Id of the platform's trigger to call for whoever enters, in place of a list. A journey too."],
        ),
        ({"lists": {"A": ["x"]}}, ["lists.A: is a list; write one expression, or `{when: …}`"]),
        ({"lists": {"": "true"}}, ["lists.: a name is empty, or begins or ends with a space"]),
        ({"lists": {None: "true"}}, ["lists.: a name is empty, or begins or ends with a space"]),
        ({"lists": {" a": "true"}}, ["lists. a: a name is empty, or begins or ends with a space"]),
        ({"lists": {"a\nb": "true"}}, ["lists.a\\nb: a name with a control character"]),
        ({"lists": {"VIP": "true", "vip": "true"}}, ["lists.vip: stands here as `VIP` too; names differ in more than their case"]),
        ({"fields": {"A": None}}, ["fields.A: nothing of this name is inherited; write an expression"]),
        (
            {"fields": {"A": {}}, "lists": {"B": ["x"]}, "x": 1},
            ["x: unknown key", "fields.A: `value` is missing; write `value: …` with an expression", "lists.B: is a list; write one expression, or `{when: …}`"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_once(raw: object, said: list[str]) -> None:
    assert complaints(raw) == said


def test_what_is_left_out_must_have_been_inherited() -> None:
    base = read_mapping({"fields": {"ORDERS": "orders_count"}})

    assert complaints({"fields": {"ORDER": None}}, base) == [
        "fields.ORDER: nothing of this name is inherited; did you mean `ORDERS`?"
    ]
    assert complaints({"fields": {"orders": "1"}}, base) == [
        "fields.orders: stands here as `ORDERS` too; names differ in more than their case"
    ]


def test_the_small_preset_compiles_and_changes_by_no_day() -> None:
    compiled = compile_mapping(read_mapping(preset("basics")), currency="EUR")

    assert {each.name for each in compiled.lists} == {
        "Customers",
        "Loyal Customers",
        "High-Value Customers",
        "Churned Customers",
        "Recent Customers",
        "First-Time Buyers",
    }
    assert len(compiled.fields) == 17
    assert not compiled.unknown
    assert not compiled.daily


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(MappingError, match=r"extends: unknown preset `crn`; did you mean `crm`\?"):
        preset("crn")
    with pytest.raises(MappingError, match="known: basics, crm"):
        preset("../../secrets")


def test_every_setting_is_described() -> None:
    schema = Mapping.model_json_schema()
    models = [schema, *schema["$defs"].values()]

    assert all("description" in entry for model in models for entry in model["properties"].values())
    assert all(model["additionalProperties"] is False for model in models)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["fields", "lists", "extends", "value", "when", "type"]) | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(plain)
def test_any_data_gives_a_mapping_or_problems_and_nothing_else(raw: object) -> None:
    problems: object = "none"
    try:
        mapping = read_mapping(raw)
    except MappingError as error:
        mapping, problems = None, error.problems

    assert bool(mapping) != (problems != "none")
    assert problems


def test_a_parameter_that_replaces_a_text_stays_a_text_though_it_looks_like_a_number() -> None:
    fields = {"A": "case when postal_code = home then 1 end"}
    base = read_mapping({"parameters": {"home": "none"}, "fields": fields})

    assert read_mapping({"parameters": {"home": "75001"}}, base).parameters == {"home": "75001"}
