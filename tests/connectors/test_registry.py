"""A folder is a type: there is no list to keep."""

import inspect
from pathlib import Path

import pytest
from pydantic import BaseModel

import connectors
from connectors import registry
from connectors.base import Traits
from connectors.esps.brevo.connector import Brevo
from connectors.stores.woocommerce.connector import WooCommerce


class Plain:
    """Settings of an ESP whose traits may ask whether it can have an address confirmed."""

    confirmation = None


ROOT = Path(connectors.__path__[0])


def folders(kind: str) -> list[str]:
    return sorted(file.parent.name for file in (ROOT / kind).glob("*/__init__.py"))


def test_every_folder_is_a_type() -> None:
    assert sorted(registry.store_types()) == folders("stores")
    assert sorted(registry.esp_types()) == folders("esps")
    assert len(registry.esp_types()) == len(folders("esps"))


def test_a_type_is_its_connectors_class() -> None:
    assert registry.store_types()["woocommerce"] is WooCommerce


def test_an_alias_is_the_same_connector_and_is_not_listed_twice() -> None:
    assert registry.esp_types()["sendinblue"] is Brevo
    assert "sendinblue" not in list(registry.esp_types())


@pytest.mark.parametrize("wrong", ["mailchmp", "", "..", "base", "__init__"])
def test_an_unknown_type_is_a_key_error(wrong: str) -> None:
    assert wrong not in registry.esp_types()
    assert registry.store_types().get(wrong) is None


@pytest.mark.parametrize("kind", ["stores", "esps"])
def test_every_connector_declares_what_the_owner_writes(kind: str) -> None:
    types = registry.store_types() if kind == "stores" else registry.esp_types()
    settings = registry.store_settings() if kind == "stores" else registry.esp_settings()

    for name in types:
        assert issubclass(settings[name], BaseModel), name
        assert types[name].Settings is settings[name], name
        assert inspect.iscoroutinefunction(types[name].check), name


def test_every_ESP_says_what_it_can_express() -> None:
    for name in registry.esp_types():
        assert isinstance(registry.esp_traits(name, Plain()), Traits), name
