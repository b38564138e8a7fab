"""Every operation that we send, held to the vendor's schema and to the simulator's part of it."""

from functools import lru_cache
from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema, get_named_type, parse, validate

from connectors.currencies import exponent
from connectors.stores.shopify.operations import ALL
from connectors.stores.shopify.simulated.engine import schema

SPECS = Path(__file__).parents[4] / ".." / "shared" / "specs" / "shopify"
OLDER_THAN_2026 = {"status of a bulk operation"}


@lru_cache
def vendors(name: str) -> GraphQLSchema:
    path = SPECS / name
    if not path.exists():
        pytest.skip("the vendor's schema is not here")
    return build_schema(path.read_text(), assume_valid=True)


@pytest.mark.parametrize("name", ALL)
def test_an_operation_fits_the_simulator_s_schema(name):
    assert [error.message for error in validate(schema(), parse(ALL[name]))] == []


@pytest.mark.slow
@pytest.mark.parametrize("file", ["admin-2026-10.graphql", "admin-subset-2026-10.graphql"])
def test_every_operation_fits_the_vendor_s_schema(file):
    theirs = vendors(file)

    wrong = {name: validate(theirs, parse(text)) for name, text in ALL.items()}

    assert {name: errors for name, errors in wrong.items() if errors} == {}


@pytest.mark.slow
def test_the_simulator_s_schema_is_a_part_of_the_vendor_s():
    theirs, ours = vendors("admin-2026-10.graphql"), schema()

    for name, kind in ours.type_map.items():
        for field, ours_of_it in getattr(kind, "fields", {}).items():
            if name.startswith("__"):
                continue
            theirs_of_it = theirs.type_map[name].fields[field]
            assert str(ours_of_it.type) == str(theirs_of_it.type), f"{name}.{field}"
            ours_asked, theirs_asked = (getattr(of, "args", {}) for of in (ours_of_it, theirs_of_it))
            assert {arg: str(each.type) for arg, each in ours_asked.items()} == {
                arg: str(each.type) for arg, each in theirs_asked.items()
            }
            assert get_named_type(ours_of_it.type).name in ours.type_map


def test_nothing_that_we_send_in_bulk_sorts_or_pages():
    bulk = [text for name, text in ALL.items() if name.startswith("bulk query")]

    assert not [text for text in bulk if "sortKey" in text or "first:" in text]


@pytest.mark.slow
def test_every_currency_of_the_vendor_s_can_be_read():
    codes = vendors("admin-subset-2026-10.graphql").type_map["CurrencyCode"].values

    assert len(codes) > 150
    for code in codes:
        assert exponent(code) >= 0, code
