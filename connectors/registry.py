"""type -> connector. There is no list to keep: a folder below `stores/` or `esps/` is a type."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import connectors.esps
import connectors.stores

if TYPE_CHECKING:
    from connectors.base import Traits


class Types(Mapping[str, type[Any]]):
    """The classes of one kind by their types; each is imported when it is asked for.

    A folder's `CONNECTOR` names the connector, its `SETTINGS` the model of what the owner writes about it, and
    `part` says which of the two is meant. `ALIASES` are other names of the type, which listing leaves out.
    """

    def __init__(self, package: str, path: Iterable[str], part: str = "CONNECTOR") -> None:
        self._package = package
        self._part = part
        self._names = sorted(module.name for module in pkgutil.iter_modules(path) if module.ispkg)

    def __getitem__(self, type_: str) -> type[Any]:
        found: type[Any] = pkgutil.resolve_name(getattr(self.folder(type_), self._part))
        return found

    def __contains__(self, type_: object) -> bool:
        with suppress(KeyError):
            return bool(self.folder(str(type_)))
        return False

    def folder(self, type_: str) -> ModuleType:
        """Return the package of a type, without its connector. Raises KeyError for a type that there is not."""
        if type_ in self._names:
            return self._module(type_)
        for name in self._names:
            if type_ in getattr(self._module(name), "ALIASES", ()):
                return self._module(name)
        raise KeyError(type_)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self._package}.{name}")


@lru_cache
def store_types() -> Types:
    """Every store connector's class by its type."""
    return Types(connectors.stores.__name__, connectors.stores.__path__)


@lru_cache
def esp_types() -> Types:
    """Every ESP connector's class by its type."""
    return Types(connectors.esps.__name__, connectors.esps.__path__)


@lru_cache
def store_settings() -> Types:
    """Every model of what the owner writes about a store, by its type."""
    return Types(connectors.stores.__name__, connectors.stores.__path__, "SETTINGS")


@lru_cache
def esp_settings() -> Types:
    """Every model of what the owner writes about an ESP, by its type."""
    return Types(connectors.esps.__name__, connectors.esps.__path__, "SETTINGS")


def esp_traits(type_: str, settings: Any) -> "Traits":
    """Say what an ESP can express with these settings, which is mostly the same with all."""
    found = pkgutil.resolve_name(esp_types().folder(type_).TRAITS)
    made: Traits = found(settings) if callable(found) else found
    return made
