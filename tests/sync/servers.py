"""Simulators on real loopback sockets, for tests with processes or with other people's clients."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from connectors.simulation import Simulation


@dataclass(frozen=True)
class Served:
    url: str
    app: Simulation


@contextmanager
def serve(app: Simulation) -> Iterator[Served]:
    """Serve a simulator on a free port until the block ends."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
