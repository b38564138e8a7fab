"""Simulators on ports of their own: for trying things out, and for the demo."""

import importlib
import importlib.util
import itertools
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import uvicorn

from config.errors import ConfigError, Problem, suggestion
from connectors import registry
from connectors.simulation import Simulation, read_history

HOST = "127.0.0.1"
CDNOW = Path(__file__).parent / "data" / "cdnow.csv.gz"


def simulator_module(type_: str) -> tuple[str, ModuleType]:
    """Return ("stores" or "esps", the simulator's module) of a type. Raises ConfigError that lists the types."""
    kinds = {"stores": registry.store_types(), "esps": registry.esp_types()}
    for kind, known in sorted(kinds.items(), key=lambda kind: type_ not in list(kind[1])):
        if type_ in known:
            try:
                return kind, importlib.import_module(f"{known.folder(type_).__name__}.simulator")
            except ModuleNotFoundError as error:
                raise _no_simulator(type_, "this type needs none: it works on files") from error
    raise _no_simulator(type_, suggestion(type_, [name for known in kinds.values() for name in known]))


def simulated_types(kind: str) -> list[str]:
    """List the types of "stores" or "esps" that have a simulator."""
    known = {"stores": registry.store_types(), "esps": registry.esp_types()}[kind]
    return [name for name in known if importlib.util.find_spec(f"connectors.{kind}.{name}.simulator")]


def _no_simulator(type_: str, instead: str) -> ConfigError:
    return ConfigError([Problem("simulate", None, "TYPE", f"there is no simulator of `{type_}`", instead)])


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


def serve(types: Sequence[str], port: int, orders: Path | None, most: int | None) -> None:
    """Serve simulators until they are stopped; standard output tells their addresses, a line each.

    They stand on `port` and those that follow, or on free ones for 0.
    """
    listening = [_listen(port + place if port else 0) for place in range(len(types))]
    threads = [
        threading.Thread(target=_serve, args=(make(type_, orders, most), door), daemon=True)
        for type_, door in zip(types, listening, strict=True)
    ]
    for thread, door in zip(threads, listening, strict=True):
        thread.start()
        print(f"http://{HOST}:{door.getsockname()[1]}", flush=True)  # noqa: T201 - who started them reads it
    for thread in threads:
        thread.join()


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


if (
    __name__ == "__main__"
):  # python -m sync.simulate STORE ESP [ORDERS]: what the demo needs, less the command line
    serve(sys.argv[1:3], 0, CDNOW, int(sys.argv[3]) if sys.argv[3:] else None)
