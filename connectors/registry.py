"""type -> connector. There is no list to keep: a folder below `stores/` or `esps/` is a type."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import connectors.esps
import connectors.stores
from connectors.base import Traits


class Types(Mapping[str, type[Any]]):
    """The connectors of one kind by their types; each is imported when it is asked for.

    A folder's `Connector` is the class, its `ALIASES` are other names of the type, which listing leaves out.
    """

    def __init__(self, package: str, path: Iterable[str]) -> None:
        self._package = package
        self._names = sorted(module.name for module in pkgutil.iter_modules(path) if module.ispkg)

    def __getitem__(self, type_: str) -> type[Any]:
        if type_ in self._names:
            return self._load(type_)
        for name in self._names:
            if type_ in getattr(self._module(name), "ALIASES", ()):
                return self._load(name)
        raise KeyError(type_)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _load(self, name: str) -> type[Any]:
        found: type[Any] = self._module(name).Connector
        return found

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self._package}.{name}")


@lru_cache
def store_types() -> Types:
    """Every store connector's class by its type."""
    return Types(connectors.stores.__name__, connectors.stores.__path__)


@lru_cache
def esp_types() -> Types:
    """Every ESP connector's class by its type."""
    return Types(connectors.esps.__name__, connectors.esps.__path__)


def esp_traits(type_: str, settings: Any) -> Traits:
    """Say what an ESP can express with these settings, which is mostly the same with all."""
    connector = esp_types()[type_]
    made: Traits = connector.traits_for(settings) if hasattr(connector, "traits_for") else connector.traits
    return made
