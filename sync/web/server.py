"""The web server beside the worker: it listens for as long as the worker works."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import structlog
import uvicorn

from config.errors import ConfigError, Problem
from config.model import Web
from config.settings import MAIN_FILE
from connectors.base import Webhooks
from sync.plant import Plant
from sync.run import Order
from sync.web.app import web_app
from sync.web.door import WEBHOOK, Door
from sync.web.ledger import Ledger
from sync.web.registration import watch_beside
from sync.web.runner import Runner

log = structlog.get_logger()

FAREWELL = 3
"""Seconds that answers under way have at the end."""


class _Server(uvicorn.Server):
    """Leaves the signals to the worker."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


Side = Callable[[Runner], Awaitable[None]]


def sides(plant: Plant) -> Sequence[Side]:
    """List what goes on beside the syncs, as the configuration has it when the worker begins."""
    web = plant.settings.web
    if web is None:
        return []
    return [partial(serve, web=web, wanted="web" in plant.settings.model_fields_set), watch_beside]


async def serve(runner: Runner, web: Web, *, wanted: bool = True) -> None:
    """Serve until cancelled. Raises ConfigError when the address cannot be listened on.

    Unless it is `wanted`: the address that is meant when the owner wrote none may be taken.
    """
    door, ledger = Door(runner, runner.clock.now), Ledger()
    await ledger.begin(runner.cartwire.db)
    try:
        ear = _listen(web)
    except ConfigError as error:
        if wanted:
            raise
        log.warning("web_not_listening", reason=str(error))
        return
    async with _listening(uvicorn_config(runner, door, ledger), ear):
        _catch_up(runner)
        try:
            await asyncio.Event().wait()
        finally:
            door.close()


def uvicorn_config(runner: Runner, door: Door, ledger: Ledger) -> uvicorn.Config:
    return uvicorn.Config(
        web_app(runner, door, ledger, runner.clock.now),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what goes wrong is logged where it does, without payloads
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=FAREWELL,
    )


@asynccontextmanager
async def _listening(config: uvicorn.Config, ear: socket.socket) -> AsyncIterator[None]:
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[ear]))
    host, port = ear.getsockname()[:2]
    log.info("web_listens", host=host, port=port)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        ear.close()


def _listen(web: Web) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
        # Named TCP, or asyncio would not switch off the delay that makes every answer wait for 40 ms.
        ear = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ear.bind(address)
            ear.listen(1024)
        except OSError:
            ear.close()
            raise
    except OSError as error:
        what = f"`{web.listen}` cannot be listened on: {error.strerror or 'no such address'}"
        instead = "name another address or port, or write `web: off`"
        raise ConfigError([Problem(MAIN_FILE, None, "web.listen", what, instead)]) from error
    return ear


def _catch_up(runner: Runner) -> None:
    """Have what an earlier process left looked at by syncs without a schedule; the others run at once anyway."""
    cartwire = runner.cartwire
    for name, sync in cartwire.plant.settings.syncs.items():
        hears = any(isinstance(source.store, Webhooks) for source in cartwire.syncs[name].sources)
        if sync.schedule is None and hears:
            runner.poke(name, Order(kind=WEBHOOK, pull=False))
