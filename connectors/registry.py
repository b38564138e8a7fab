"""type -> connector. There is no list to keep: a folder below `stores/` or `esps/` is a type."""

import importlib
import pkgutil
from functools import lru_cache
from typing import Any

import connectors.esps
import connectors.stores


@lru_cache
def store_types() -> dict[str, type[Any]]:
    """Every store connector's class by its type, aliases included."""
    return _found(connectors.stores.__name__, connectors.stores.__path__)


@lru_cache
def esp_types() -> dict[str, type[Any]]:
    """Every ESP connector's class by its type, aliases included."""
    return _found(connectors.esps.__name__, connectors.esps.__path__)


def _found(package: str, path: Any) -> dict[str, type[Any]]:
    """Import each folder; its `Connector` is the class, its `ALIASES` are other names of the type."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.iter_modules(path):
        folder = importlib.import_module(f"{package}.{module.name}")
        for name in (module.name, *getattr(folder, "ALIASES", ())):
            found[name] = folder.Connector
    return found
