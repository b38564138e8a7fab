"""Everything open and wired. The only place that knows how parts are made."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import structlog
from pydantic import BaseModel

from config.settings import EspConfig
from connectors import registry
from connectors.base import Esp, Store
from state.db import Database
from state.errors import Away
from state.outbox import Target
from sync.erasing import Erasers
from sync.job import Job
from sync.plant import Plant, scope_of
from sync.pull import Source
from sync.run import Sync

log = structlog.get_logger()

PATIENCE = 300.0
"""Seconds that the worker waits for a server which starts beside it, as after a power cut."""
ASK_AGAIN = 3.0


class Cartwire:
    """Everything that a command needs, open: state store, stores, ESPs, syncs. An async context manager.

    A state store that is handed in stays open at the end.
    """

    def __init__(self, plant: Plant, db: Database | None = None) -> None:
        settings = plant.settings
        self.plant = plant
        self.folder = settings.folder
        self.db = db or Database(settings.database_url)
        self._own_db = db is None
        self.stores: dict[str, Store] = {
            name: registry.store_types()[store.type](store.settings)
            for name, store in settings.stores.items()
        }
        self.esps: dict[str, Esp] = {
            name: registry.esp_types()[esp.type](esp.settings) for name, esp in settings.esps.items()
        }
        self.erasers = Erasers(
            self.db,
            self.folder,
            self.esps,
            {name: sync.esp for name, sync in settings.syncs.items()},
            {name: sync.stores for name, sync in settings.syncs.items()},
        )
        self.syncs = {name: self._sync(name) for name in settings.syncs}
        self.read_stores = frozenset(source.name for sync in self.syncs.values() for source in sync.sources)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections, and the state store that was opened here."""
        async with AsyncExitStack() as stack:
            if self._own_db:
                stack.callback(self.db.close)
            for store in self.stores.values():
                stack.push_async_callback(store.aclose)
            for esp in self.esps.values():
                stack.push_async_callback(esp.aclose)

    def _sync(self, name: str) -> Sync:
        settings = self.plant.settings
        sync = settings.syncs[name]
        beside = (other for other, each in settings.syncs.items() if each.esp == sync.esp and other != name)
        job = Job(
            Target(name, sync.esp, sync.consent, _place(settings.esps[sync.esp]), frozenset(beside)),
            scope_of(settings, name),
            self.plant.mappings[name],
            ZoneInfo(settings.timezone),
            sync.refresh,
        )
        sources = [
            Source(store, self.stores[store], _host(settings.stores[store].settings)) for store in sync.stores
        ]
        return Sync(job, sources, self.esps[sync.esp], sync.limits, self.erasers)


async def opened(plant: Plant, patience: float) -> Cartwire:
    """Open everything; a state store that is not there yet has `patience` seconds to come. Raises StateError."""
    began, waits = time.monotonic(), False
    while True:
        try:
            return Cartwire(plant)
        except Away as away:
            if time.monotonic() - began >= patience:
                raise
            if not waits:
                log.warning("state_store_awaited", reason=str(away), seconds=patience)
        waits = True
        await asyncio.sleep(ASK_AGAIN)


def _host(settings: BaseModel) -> str | None:
    """Find the host that a store's settings lead to: two shops on one share what it bears."""
    address = getattr(settings, "base_url", None) or getattr(settings, "url", None)
    return urlsplit(address).netloc if address else None


def _place(esp: EspConfig) -> str:
    """Tell one audience or account from another by what the owner wrote."""
    telling = registry.esp_traits(esp.type, esp.settings).place
    return repr((esp.type, sorted((name, str(getattr(esp.settings, name))) for name in telling)))
