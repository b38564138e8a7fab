"""Webhooks at the stores: made, listed, removed, made again; and whether stores can reach us at all."""

from collections.abc import Sequence

import pytest
import structlog

from config.errors import ConfigError
from config.model import Web
from connectors.simulation import Fault
from connectors.stores.woocommerce import simulator as woocommerce
from connectors.stores.woocommerce.connector import WooCommerce
from sync.web.reach import doubts
from sync.web.registration import listing, mend, register, remove
from tests.edge import edge
from tests.sync.commands import cartwire
from tests.sync.conftest import HISTORY, World
from tests.sync.web.conftest import PUBLIC, configure

HERE = f"{PUBLIC}/webhooks/shop"


@pytest.fixture
def reachable(world: World) -> World:
    """Say how stores reach us, and let the key write."""
    configure(world)
    file = world.folder / "cartwire.yaml"
    file.write_text(file.read_text().replace("esps:\n", f"web:\n  public_url: {PUBLIC}/\nesps:\n"))
    world.reread()
    world.shop = woocommerce.simulator(HISTORY, permission="read_write")
    world.router.route(host="shop.test").mock(side_effect=edge(world.shop))
    return world


async def test_webhooks_are_made_once_however_often_they_are_registered(reachable: World) -> None:
    async with reachable.open() as cartwire:
        first = await register(cartwire, "crm")
        again = await register(cartwire, "shop")
        found = await listing(cartwire, "crm")

    assert {line.state for line in first} == {"made"}
    assert {line.state for line in again} == {"active"}
    assert [(line.topic, line.url) for line in found] == [(topic, HERE) for topic in WooCommerce.topics]


async def test_others_webhooks_are_listed_and_stay(reachable: World) -> None:
    reachable.shop.state.webhooks.answer(
        "POST", [], {}, b'{"topic": "order.created", "delivery_url": "https://other.example"}'
    )

    async with reachable.open() as cartwire:
        await register(cartwire, "shop")
        removed = await remove(cartwire, "shop")
        left = await listing(cartwire, "shop")
        mended = await mend(cartwire)

    assert len(removed) == len(WooCommerce.topics)
    assert [line.url for line in left] == ["https://other.example"]
    assert mended == []


async def test_what_a_store_switched_off_or_lost_is_made_again(reachable: World) -> None:
    async with reachable.open() as cartwire:
        await register(cartwire, "shop")
        hooks = reachable.shop.state.webhooks.hooks
        off, lost, *_ = hooks.values()
        off.status = "disabled"
        del hooks[lost.id]

        mended = await mend(cartwire)
        again = await mend(cartwire)

    assert {(line.topic, line.state) for line in mended} == {(off.topic, "made active"), (lost.topic, "made")}
    assert off.status == "active"
    assert again == []


async def test_webhooks_that_nobody_registered_are_not_made(reachable: World) -> None:
    async with reachable.open() as cartwire:
        assert await mend(cartwire) == []

    assert not [seen for seen in reachable.shop.requests if "webhooks" in seen.path]


async def test_a_store_that_is_down_is_looked_at_again_later(reachable: World) -> None:
    async with reachable.open() as cartwire:
        await register(cartwire, "shop")
        reachable.shop.fail(Fault(status=503), times=7)

        assert await mend(cartwire) == []


async def test_a_connector_that_was_replaced_meanwhile_ends_no_worker(reachable: World) -> None:
    async with reachable.open() as cartwire:
        await register(cartwire, "shop")
        await cartwire.stores["shop"].aclose()

        with structlog.testing.capture_logs() as logs:
            assert await mend(cartwire) == []

    assert [(log["event"], log["store"]) for log in logs] == [("webhooks_not_checked", "shop")]


async def test_nothing_is_registered_before_somebody_says_how_we_are_reached(world: World) -> None:
    async with world.open() as cartwire:
        with pytest.raises(ConfigError, match=r"web\.public_url: is missing"):
            await register(cartwire, "shop")


async def test_a_name_that_is_neither_a_sync_nor_a_store_is_refused(reachable: World) -> None:
    async with reachable.open() as cartwire:
        with pytest.raises(ConfigError, match="no sync and no store is named `shpo`; did you mean `shop`"):
            await listing(cartwire, "shpo")


ADDRESSES = {"good.example": ["93.184.216.34"], "half.example": ["10.0.0.1", "93.184.216.34"]}


async def resolve(host: str) -> Sequence[str]:
    if host in ADDRESSES:
        return ADDRESSES[host]
    if host == "inside.example":
        return ["192.168.1.2", "fd00::1"]
    raise OSError


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example",
        "https://half.example/cartwire",
        "https://good.example:8443",
        "https://93.184.216.34",
    ],
)
async def test_an_address_that_may_be_right_raises_no_doubts(url: str) -> None:
    assert await doubts(Web(public_url=url), resolve) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://good.example", ["must begin with https"]),
        ("https://localhost:8080", ["names this machine"]),
        ("https://shop.local", ["names this machine"]),
        ("https://127.0.0.1", ["names a private address"]),
        ("https://[::1]", ["names a private address"]),
        ("https://10.1.2.3", ["names a private address"]),
        ("https://cartwire", ["names a name without a dot"]),
        ("https://nowhere.example", ["has no address"]),
        ("https://inside.example", ["leads to a private address"]),
        ("http://nowhere.example", ["must begin with https", "has no address"]),
    ],
)
async def test_an_address_that_cannot_be_right_is_said(url: str, said: Sequence[str]) -> None:
    found = await doubts(Web(public_url=url), resolve)

    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


async def test_without_a_public_address_there_is_nothing_to_doubt() -> None:
    assert await doubts(Web()) == await doubts(None) == []


def test_the_commands_list_webhooks_and_say_what_a_key_lacks(servers: World) -> None:
    file = servers.folder / "cartwire.yaml"
    text = file.read_text().replace(
        "    type: woocommerce\n", "    type: woocommerce\n    webhook_secret: hook-secret-0123\n"
    )
    file.write_text(text + f"web:\n  public_url: {PUBLIC}\n")

    listed = cartwire(servers.folder, "webhooks", "list", "crm", "--json")
    refused = cartwire(servers.folder, "webhooks", "register", "shop")
    removed = cartwire(servers.folder, "webhooks", "remove", "shop", "--json")

    assert (listed.returncode, listed.stdout.strip()) == (0, "[]")
    assert refused.returncode == 3
    assert "`key` may only read: give it the permission Read/Write" in refused.stderr
    assert (removed.returncode, removed.stdout.strip()) == (0, "[]")
