"""docs/mapping.md says what the code says."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mappings.catalogue import catalogue, column_table
from mappings.compile import compile_mapping
from mappings.functions import FUNCTIONS, function_table
from mappings.model import PRESETS, preset, read_mapping
from tests.mappings.base import compiled

PAGE = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text()
SAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_tables_are_those_of_the_code() -> None:
    assert f"\n{column_table()}\n" in PAGE
    assert f"\n{function_table()}\n" in PAGE


def test_the_presets_stand_there_as_they_are() -> None:
    assert all(path.read_text() in SAMPLES for path in PRESETS.glob("*.yaml"))


@pytest.mark.parametrize("sample", SAMPLES, ids=range(len(SAMPLES)))
def test_every_sample_compiles(sample: str) -> None:
    raw = YAML(typ="safe", pure=True).load(sample)
    base = read_mapping(preset("crm")) if "extends" in raw else None

    assert compile_mapping(read_mapping(raw, base), currency="EUR").digest


def test_every_column_and_function_is_described() -> None:
    assert all(column.description.endswith(".") for column in catalogue().values())
    assert all(known.description.endswith(".") for known in FUNCTIONS.values())


@pytest.mark.parametrize("name", catalogue())
def test_every_column_can_be_pushed(name: str) -> None:
    assert compiled(fields={"X": name}).fields[0].name == "X"
