"""A worker with its web side, and a shop that sends it webhooks; no socket, no clock that has to pass."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from connectors.stores.woocommerce import simulator as woocommerce
from sync.job import utc_now
from sync.web.app import web_app
from sync.web.door import Door
from sync.web.ledger import Ledger
from sync.worker import Worker
from tests.sync.conftest import MAPPING, World

SECRET = "hook-secret-0123"
PUBLIC = "https://cartwire.example"
TOPICS = ("order.created", "order.updated", "order.deleted", "order.restored")


@dataclass
class Web:
    """The HTTP surface of a worker that runs, and what the shop got as answers."""

    worker: Worker
    door: Door
    client: httpx.AsyncClient
    world: World
    answers: list[int] = field(default_factory=list)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Take what the shop sends."""
        path = url.removeprefix(PUBLIC)
        answer = await self.client.post(path, headers=dict(headers), content=body)
        self.answers.append(answer.status_code)
        return answer.status_code

    async def deliver(self) -> int:
        return await woocommerce.deliver(self.world.shop, self.post)

    async def read(self, function: Any, *arguments: Any) -> Any:
        return await self.worker.cartwire.db.read(function, *arguments)


@pytest.fixture
def hooked(world: World) -> World:
    hook(world)
    return world


def hook(world: World) -> None:
    """Have the shop send webhooks, and know their secret."""
    configure(world)
    for topic in TOPICS:
        row = {"name": topic, "topic": topic, "delivery_url": f"{PUBLIC}/webhooks/shop", "secret": SECRET}
        world.shop.state.webhooks.answer("POST", [], {}, httpx.Request("POST", PUBLIC, json=row).content)
    world.shop.state.webhooks.queue.clear()


def configure(world: World, extra: str = "    schedule: daily at 03:00\n", secret: str = SECRET) -> None:
    world.configure(MAPPING, extra)
    file = world.folder / "cartwire.yaml"
    text = file.read_text().replace(
        "    base_url: http://shop.test\n", f"    base_url: http://shop.test\n    webhook_secret: {secret}\n"
    )
    file.write_text(text)
    world.reread()


@asynccontextmanager
async def web_of(world: World) -> AsyncIterator[Web]:
    """Run the worker with its web side; its first runs are over when this begins."""
    async with world.open() as cartwire:
        worker = Worker(cartwire)
        door, ledger = Door(worker, utc_now), Ledger()
        working = asyncio.ensure_future(worker.work())
        transport = httpx.ASGITransport(web_app(worker, door, ledger, utc_now))
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as client:
            await until(lambda: worker.facts and all(facts.good_at for facts in worker.facts.values()))
            yield Web(worker, door, client, world)
        door.close()
        worker.stop()
        await working


async def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)
