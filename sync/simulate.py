"""Simulators on ports of their own: for trying things out, and for the demo."""

import importlib
import importlib.util
import io
import itertools
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import uvicorn
from ruamel.yaml import YAML

from config.errors import ConfigError, Problem, suggestion
from connectors import registry
from connectors.simulation import Simulation, read_history

HOST = "127.0.0.1"
CDNOW = Path(__file__).parent / "data" / "cdnow.csv.gz"


TYPES: Mapping[str, Callable[[], registry.Types]] = {
    "stores": registry.store_types,
    "esps": registry.esp_types,
}


def simulator_module(
    type_: str, kinds: Sequence[str] = ("stores", "esps"), asked: tuple[str, str] = ("simulate", "TYPE")
) -> tuple[str, ModuleType]:
    """Return ("stores" or "esps", the simulator's module) of a type, of these kinds.

    Raises ConfigError that lists the types; `asked` are the command and its argument that it speaks of.
    """
    known = [kind for kind in kinds if type_ in TYPES[kind]()]
    for kind in known:
        with suppress(ModuleNotFoundError):
            return kind, importlib.import_module(f"{TYPES[kind]().folder(type_).__name__}.simulator")
    instead = suggestion(type_, [name for kind in kinds for name in simulated_types(kind)])
    if known:
        instead = "this type needs none: it works on files"
    raise ConfigError([Problem(asked[0], None, asked[1], f"there is no simulator of `{type_}`", instead)])


def simulated_types(kind: str) -> list[str]:
    """List the types of "stores" or "esps" that have a simulator."""
    return [name for name in TYPES[kind]() if importlib.util.find_spec(f"connectors.{kind}.{name}.simulator")]


def make(type_: str, orders: Path | None, most: int | None) -> Simulation:
    """Make a simulator; a store serves the first `most` orders of a file, an ESP begins empty.

    A module's `ALONE` are the options for a simulator that stands by itself.
    """
    kind, module = simulator_module(type_)
    alone = getattr(module, "ALONE", {})
    if kind == "esps":
        return _checked(module.simulator(**alone))
    history = itertools.islice(read_history(orders), most) if orders is not None else iter(())
    try:
        return _checked(module.simulator(history, **alone))
    except (ValueError, KeyError) as error:
        name = orders.name if orders is not None else type_
        raise ConfigError([Problem(name, None, "--orders", str(error), None)]) from error


def serve(
    types: Sequence[str], port: int, orders: Path | None, most: int | None, say: Callable[[list[str]], None]
) -> None:
    """Serve simulators until they are stopped; once they answer, `say` gets their addresses.

    They stand on `port` and those that follow, or on free ones for 0.
    """
    listening = [_listen(port + place if port else 0) for place in range(len(types))]
    threads = [
        threading.Thread(target=_serve, args=(make(type_, orders, most), door), daemon=True)
        for type_, door in zip(types, listening, strict=True)
    ]
    for thread in threads:
        thread.start()
    say([f"http://{HOST}:{door.getsockname()[1]}" for door in listening])
    for thread in threads:
        thread.join()


def as_configuration(types: Sequence[str], urls: Sequence[str]) -> str:
    """Write the `stores:` and `esps:` of a cartwire.yaml that reaches simulators at these addresses."""
    sections: dict[str, dict[str, Any]] = {}
    for type_, url in zip(types, urls, strict=True):
        kind, module = simulator_module(type_)
        entries = sections.setdefault(kind, {})
        name = f"{type_}{len(entries) + 1}" if type_ in entries else type_
        entries[name] = {"type": type_, **module.SETTINGS, "base_url": url}
    written = io.StringIO()
    YAML().dump(sections, written)
    return written.getvalue()


def _serve(simulation: Simulation, door: socket.socket) -> None:
    options = uvicorn.Config(simulation, log_level="critical", lifespan="off", access_log=False)
    uvicorn.Server(options).run(sockets=[door])


def _listen(port: int) -> socket.socket:
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((HOST, port))
    except (OSError, OverflowError) as error:
        what = f"port {port} is taken" if isinstance(error, OSError) else f"there is no port {port}"
        instead = "name another, or 0 for a free one"
        raise ConfigError([Problem("simulate", None, "--port", what, instead)]) from error
    return door


def _checked(simulation: object) -> Simulation:
    if not isinstance(simulation, Simulation):
        raise TypeError("a simulator module's `simulator` makes a Simulation")
    return simulation


def _print(urls: Sequence[str]) -> None:
    print(*urls, sep="\n", flush=True)  # noqa: T201 - the demo reads it


# python -m sync.simulate STORE ESP [ORDERS]: what the demo needs, less the command line
if __name__ == "__main__":
    serve(sys.argv[1:3], 0, CDNOW, int(sys.argv[3]) if sys.argv[3:] else None, _print)
