"""`webhooks`: made, listed and removed at the stores by their APIs, and made again when a store drops them.

Ours are those whose address is ours; whatever else a store has is left alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from config.errors import ConfigError, Problem, suggestion
from config.settings import MAIN_FILE
from connectors.base import Store, Subscription, Subscriptions, Webhooks
from connectors.errors import ConnectorError
from state import inbox
from state.errors import StateError
from sync.app import Cartwire
from sync.show import as_json, as_table
from sync.web.runner import Runner

log = structlog.get_logger()

LOOK_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One webhook of a store, and what became of it."""

    store: str
    topic: str
    url: str
    state: str


def stores_of(cartwire: Cartwire, name: str) -> list[str]:
    """Find the stores that a name stands for: a store's own, or a sync's. Raises ConfigError."""
    if name in cartwire.stores:
        return [name]
    if name in cartwire.syncs:
        return [source.name for source in cartwire.syncs[name].sources]
    hint = suggestion(name, [*cartwire.syncs, *cartwire.stores])
    raise ConfigError([Problem(MAIN_FILE, None, "stores", f"no sync and no store is named `{name}`", hint)])


def address_of(cartwire: Cartwire, store: str) -> str:
    """Say where a store's webhooks go. Raises ConfigError when nobody said how we are reached."""
    web = cartwire.plant.settings.web
    if web is None or web.public_url is None:
        what, instead = (
            "is missing",
            "how stores reach `cartwire run` from outside: `https://cartwire.example`",
        )
        raise ConfigError([Problem(MAIN_FILE, None, "web.public_url", what, instead)])
    return f"{web.public_url}/webhooks/{store}"


async def register(cartwire: Cartwire, name: str) -> list[Line]:
    """Make the webhooks that are missing, and set the secret of those that are there.

    They are noted, so that the worker makes them again when a store drops them. Raises ConfigError where no
    store can be asked, and the ConnectorError of a store that refuses.
    """
    lines: list[Line] = []
    for store, connector in _able(cartwire, name):
        url = address_of(cartwire, store)
        lines += await _mend(store, connector, dict.fromkeys(connector.topics, url), sign=True)
        await cartwire.db.run(inbox.remember_subscriptions, store, connector.topics, url)
    return lines


async def listing(cartwire: Cartwire, name: str) -> list[Line]:
    """List every webhook that the stores show us, others' too."""
    return [
        Line(store, each.topic, each.url, "active" if each.active else "switched off")
        for store, connector in _able(cartwire, name)
        for each in await connector.subscriptions()
    ]


async def remove(cartwire: Cartwire, name: str) -> list[Line]:
    """Remove our webhooks, and make them no more."""
    lines: list[Line] = []
    for store, connector in _able(cartwire, name):
        wanted = await cartwire.db.read(inbox.wanted_subscriptions, store)
        await cartwire.db.run(inbox.forget_subscriptions, store)
        web = cartwire.plant.settings.web
        ours = {*wanted.values(), *([address_of(cartwire, store)] if web and web.public_url else [])}
        for each in await connector.subscriptions():
            if each.url in ours:
                await connector.unsubscribe(each)
                lines.append(Line(store, each.topic, each.url, "removed"))
    return lines


def show_webhooks(lines: Sequence[Line], *, json: bool) -> None:
    if json:
        as_json(
            [
                {"store": each.store, "topic": each.topic, "url": each.url, "state": each.state}
                for each in lines
            ]
        )
        return
    rows = [(each.store, each.topic, each.url, each.state) for each in lines]
    as_table("webhooks", ["store", "topic", "address", "state"], rows)


async def watch_beside(runner: Runner) -> None:
    """Make again, every hour, what a store switched off or deleted; runs beside the worker until it is cancelled."""
    await watch(lambda: runner.cartwire, runner.clock.now, runner.wait)


async def watch(
    current: Callable[[], Cartwire],
    now: Callable[[], datetime],
    wait: Callable[[datetime], Awaitable[None]],
) -> None:
    while True:
        began = now()
        await mend(current())
        await wait(began + LOOK_AGAIN)


async def mend(cartwire: Cartwire) -> list[Line]:
    """Make again what was made by us and is gone; whatever goes wrong is logged, and tried again next time."""
    lines: list[Line] = []
    for store, connector in cartwire.stores.items():
        if not isinstance(connector, Subscriptions):
            continue
        try:
            wanted = await cartwire.db.read(inbox.wanted_subscriptions, store)
            mended = await _mend(store, connector, wanted, sign=False) if wanted else []
        except (ConnectorError, StateError) as error:
            log.warning("webhooks_not_checked", store=store, reason=str(error))
            continue
        except Exception as error:  # noqa: BLE001 - the top of a job: an odd answer, or a connector that was replaced meanwhile
            log.warning("webhooks_not_checked", store=store, kind=type(error).__name__)
            continue
        lines += [each for each in mended if each.state != "active"]
    for line in lines:
        log.warning("webhook_mended", store=line.store, topic=line.topic, was=line.state)
    return lines


async def _mend(store: str, connector: Subscriptions, wanted: dict[str, str], *, sign: bool) -> list[Line]:
    """Make what is missing active; with `sign`, set the secret of what is active too."""
    there: dict[tuple[str, str], Subscription] = {}
    for each in await connector.subscriptions():
        known = there.get((each.topic, each.url))
        there[each.topic, each.url] = known if known is not None and known.active else each
    lines: list[Line] = []
    for topic, url in wanted.items():
        found = there.get((topic, url))
        if found is None:
            await connector.subscribe(topic, url)
        elif sign or not found.active:
            await connector.revive(found)
        state = "made" if found is None else "active" if found.active else "made active"
        lines.append(Line(store, topic, url, state))
    return lines


def _able(cartwire: Cartwire, name: str) -> list[tuple[str, Subscriptions]]:
    """Find the stores whose webhooks can be made. Raises ConfigError when there is none among them."""
    named: list[tuple[str, Store]] = [(store, cartwire.stores[store]) for store in stores_of(cartwire, name)]
    able: list[tuple[str, Subscriptions]] = [
        (store, connector) for store, connector in named if isinstance(connector, Subscriptions)
    ]
    if not able:
        what = f"`{name}` has no webhooks that can be made, listed or removed from here"
        takes = any(isinstance(store, Webhooks) for _, store in named)
        instead = "have the shop's module send them, as docs/webhooks.md says, or leave it to the schedule"
        instead = instead if takes else "it sends none: the schedule reads it"
        raise ConfigError([Problem(MAIN_FILE, None, "stores", what, instead)])
    return able
