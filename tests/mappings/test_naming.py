"""From the names in a mapping to those that a platform takes."""

import pkgutil
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import registry
from connectors.base import Traits
from mappings.compile import compile_mapping
from mappings.errors import MappingError
from mappings.model import Mapping, preset, read_mapping
from mappings.naming import Fitted, fit
from mappings.traits import check_traits

PLAIN = Traits(batch_size=1, list_batch_size=1)
CAPITALS = replace(PLAIN, name_pattern=r"[A-Z0-9_]+")
TAGS = replace(
    PLAIN,
    name_pattern=r"[A-Z][A-Z0-9_]{0,9}",
    short_names=True,
    max_fields=2,
    builtin_fields=frozenset({"FNAME"}),
)
FIELDS = {
    "first-name": {"value": "first_name", "short": "FNAME"},
    "orders-count": {"value": "orders_count", "short": "ORDERS"},
    "total-spent": {"value": "total_spent", "short": "SPENT", "core": False},
    "city": "city",
}


def fitted(traits: Traits, fields: object = FIELDS, **sections: object) -> Fitted:
    return fit(read_mapping({"fields": fields, **sections}), traits, "news")


def test_a_field_is_called_as_the_platform_takes_names() -> None:
    assert list(fitted(PLAIN).mapping.fields) == ["first-name", "orders-count", "total-spent", "city"]
    assert list(fitted(CAPITALS).mapping.fields) == ["FIRST_NAME", "ORDERS_COUNT", "TOTAL_SPENT", "CITY"]
    assert list(fitted(TAGS).mapping.fields) == ["FNAME", "ORDERS", "CITY"]


def test_what_has_no_room_is_left_out_and_said() -> None:
    found = fitted(TAGS)

    (note,) = found.notes
    assert str(note).startswith("fields: news takes 2 fields; left out: total-spent; to have one of them, ")
    assert found.written["fields", "ORDERS"] == "orders-count"


def test_an_owner_s_own_entry_is_kept_where_the_inherited_one_would_be_left_out() -> None:
    base = read_mapping({"fields": FIELDS})
    own = read_mapping({"fields": {"total-spent": "total_spent", "city": None}}, base)

    found = fit(own, TAGS, "news")

    written = [found.written["fields", name] for name in found.mapping.fields]
    assert written == ["first-name", "orders-count", "total-spent"]


@pytest.mark.parametrize("name", ["ORDERS", "ORDERS_COUNT", "orders-count"])
def test_an_entry_replaces_the_inherited_one_by_any_of_its_names(name: str) -> None:
    base = read_mapping({"fields": FIELDS})

    mapping = read_mapping({"fields": {name: "orders_count + 1"}}, base)
    without = read_mapping({"fields": {name: None}}, base)

    assert [spec.value for spec in mapping.field_specs().values()].count("orders_count + 1") == 1
    assert len(mapping.fields) == 4
    assert list(without.fields) == ["first-name", "total-spent", "city"]


def test_a_long_name_gets_a_short_form_that_is_always_the_same_and_is_said() -> None:
    long = {"average-delivery-days": "orders_count", "average-delivery-hours": "orders_count"}
    once, again = fitted(TAGS, long), fitted(TAGS, dict(reversed(long.items())))

    names = list(once.mapping.fields)
    assert sorted(names) == sorted(again.mapping.fields)
    assert all(name.startswith("AVERAGE") and len(name) == 10 for name in names)
    assert len(set(names)) == 2
    assert [note.instead for note in once.notes] == ["give it a `short:` name"] * 2


def test_a_long_list_name_gets_one_too() -> None:
    found = fitted(
        replace(PLAIN, list_name_length=12), lists={"Customers of the year": "true", "Fans": "true"}
    )

    first, second = found.mapping.lists
    assert first.startswith("Customer")
    assert len(first) <= 12
    assert second == "Fans"


def test_a_name_that_nothing_can_be_made_of_is_left_to_be_refused() -> None:
    found = fitted(TAGS, {"年齢": "orders_count"})

    assert list(found.mapping.fields) == ["年齢"]


@given(st.text(min_size=1, max_size=40).filter(lambda text: text == text.strip()))
def test_whatever_the_name_the_result_fits_or_stays_as_it_was(name: str) -> None:
    try:
        read = read_mapping({"fields": {name: "orders_count"}})
    except MappingError:
        return

    (found,) = fit(read, TAGS, "news").mapping.fields

    assert found == name or re.fullmatch(TAGS.name_pattern, found)


def traits_of(type_: str) -> Traits:
    found: Traits = pkgutil.resolve_name(f"connectors.esps.{type_}.traits:TRAITS")
    return found


@pytest.mark.parametrize("type_", sorted(registry.esp_types()))
@pytest.mark.parametrize("name", ["crm", "basics"])
def test_the_presets_fit_every_platform(type_: str, name: str) -> None:
    traits = traits_of(type_)
    mapping: Mapping = fit(read_mapping(preset(name)), traits, "news").mapping

    compiled = compile_mapping(mapping, currency="EUR")

    assert [str(each) for each in check_traits(compiled, traits, "news")] == []
    assert traits.max_fields is None or len(compiled.fields) <= traits.max_fields + len(traits.builtin_fields)


def test_mailchimp_gets_the_core_under_its_short_names() -> None:
    traits = traits_of("mailchimp")

    found = fit(read_mapping(preset("crm")), traits, "news")

    assert {"FNAME", "ORDERS", "SPENT", "SEGMENT", "LTVTIER", "CHECKURL"} <= set(found.mapping.fields)
    assert len(found.mapping.fields) - len(traits.builtin_fields) <= 25  # a new audience has five of its own
    assert len(found.notes) == 1
