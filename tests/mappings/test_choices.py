"""A parameter whose words a mapping compares it with holds one of them, or the mapping says so."""

from typing import Any

import pytest

from mappings.compile import compile_mapping
from mappings.errors import MappingError
from mappings.model import preset, read_mapping

TIER = "case when by = 'amount' then total_spent when by in ('percent', 'share') then orders_count end"


def refused(parameters: dict[str, Any], *rules: str, fields: dict[str, Any] | None = None) -> list[str]:
    lists = {f"List {number}": rule for number, rule in enumerate(rules)}
    mapping = read_mapping(
        {"parameters": parameters, "fields": fields or {}, "lists": {"All": "true"} | lists}
    )
    try:
        compile_mapping(mapping, currency="EUR")
    except MappingError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("ammount", "did you mean `amount`?"),
        ("Percent", "did you mean `percent`?"),
        ("zz", "write `amount` or `percent` or `share`"),
    ],
)
def test_a_word_that_is_no_choice_is_told_with_those_that_are(word: str, instead: str) -> None:
    said = refused({"by": word}, fields={"TIER": TIER})

    assert said == [f"parameters.by: `{word}` is none of its choices; {instead}"]


def test_choices_are_found_in_rules_their_ends_and_formulas() -> None:
    mapping = read_mapping({"parameters": {"ltv_by": "ammount"}}, read_mapping(preset("crm")))

    with pytest.raises(MappingError, match=r"parameters.ltv_by: `ammount`.*did you mean `amount`"):
        compile_mapping(mapping, currency="EUR")
    assert refused({"by": "c"}, "by = 'a'", "'b' = by") == [
        "parameters.by: `c` is none of its choices; write `a` or `b`"
    ]


def test_a_rule_s_end_names_choices_too() -> None:
    mapping = read_mapping(
        {"parameters": {"by": "c"}, "lists": {"List": {"when": "by = 'a'", "until": "by = 'b'"}}}
    )

    with pytest.raises(MappingError, match="none of its choices; write `a` or `b`"):
        compile_mapping(mapping, currency="EUR")


@pytest.mark.parametrize("word", ["amount", "percent", "share"])
def test_each_choice_is_taken(word: str) -> None:
    assert refused({"by": word}, fields={"TIER": TIER}) == []


@pytest.mark.parametrize(
    ("value", "rules"),
    [
        ("no", ["by = 'yes' and orders_count > 1"]),  # one word alone: every other means no
        ("FR", ["by = 'DE' or by = 'AT' or country = by"]),  # it is a value of something, too
        ("c", ["by <> 'a'", "by = 'b'"]),
        ("c", ["by not in ('a', 'b')"]),
        ("c", ["not (by = 'a')", "by = 'b'"]),
        ("FR", ["by in ('DE', country)", "by = 'AT'"]),
        ("c", ["case when by = 'a' then true when by = 'b' then false else orders_count > 1 end"]),
        (3, ["by = 1 or by = 2"]),
        ("c", ["orders_count > 1"]),
    ],
)
def test_what_need_not_be_a_choice_is_none(value: object, rules: list[str]) -> None:
    assert refused({"by": value}, *rules) == []
