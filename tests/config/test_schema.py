import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from config.schema import json_schema

MAPPING = {"type": "object", "properties": {"fields": {"type": "object"}}}


@pytest.fixture
def schemas(types):
    return json_schema(*types, MAPPING)


@pytest.fixture
def complaints(schemas):
    validator = Draft202012Validator(schemas["cartwire.schema.json"])

    def run(text):
        return sorted(error.message for error in validator.iter_errors(YAML(typ="safe").load(text)))

    return run


def test_both_schemas_are_valid_schemas(schemas):
    assert sorted(schemas) == ["cartwire.schema.json", "mapping.schema.json"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    assert schemas["mapping.schema.json"]["properties"] == MAPPING["properties"]


def test_what_loads_fits_the_schema(complaints, good):
    more = "    limits: {new_contacts: 200, list_share: 5%}\nrates: {USD: 0.92}\ndatabase: sqlite:///x.db\n"

    assert complaints(good) == []
    assert complaints(good + more) == []
    assert complaints(good + "    limits: off\n") == []
    assert complaints(good + "    limits: {new_contacts: off, list_floor: 10}\n") == []


def test_a_name_in_braces_fits_for_numbers_truth_values_and_choices(complaints, good):
    more = "    page_size: ${ROWS}\n    verify: ${VERIFY}\n    flavour: ${FLAVOUR}\n    key:"

    assert complaints(good.replace("    key:", more)) == []


def test_ids_that_look_like_numbers_fit(complaints, good):
    assert complaints(good.replace("abc123", "0123456789")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("type: shop", "type: shp", "'shp' is not one of"),
        ("    key:", "    kee:", "'kee' was unexpected"),
        ("    audience: abc123\n", "", "'audience' is a required property"),
        ("type: mailer", "type: shop", "'shop' is not one of"),
        ("timezone:", "timezon:", "'timezon' was unexpected"),
        ("    key:", "    page_size: 1000\n    key:", "1000 is not valid"),
        ("  boutique:", "  my boutique:", "does not match"),
    ],
)
def test_what_does_not_load_does_not_fit(complaints, good, old, new, said):
    assert any(said in message for message in complaints(good.replace(old, new)))


def test_every_key_has_a_description(schemas):
    schema = schemas["cartwire.schema.json"]
    models = [schema, *(schema["$defs"][name] for name in ("SyncConfig", "Limits"))]

    bare = [
        key for model in models for key, about in model["properties"].items() if not about.get("description")
    ]

    assert bare == []
