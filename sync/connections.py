"""`check`: do the other ends let us do our work."""

import asyncio

import typer

from connectors.base import Esp, Store
from connectors.errors import ConnectorError
from sync.alerts import check_alerts
from sync.app import Cartwire
from sync.web.reach import doubts


async def check_connections(cartwire: Cartwire) -> dict[str, list[str]]:
    """Try every store and ESP; return what is wrong with each, nothing for those that are fine.

    Raises ConfigError for addresses that no alert can be sent to.
    """
    typer.echo("trying the connections; one that nobody answers takes half a minute", err=True)
    await check_alerts(cartwire.plant)
    tried: dict[str, Store | Esp] = {f"stores.{name}": store for name, store in cartwire.stores.items()}
    tried |= {f"esps.{name}": esp for name, esp in cartwire.esps.items()}
    said = await asyncio.gather(*map(_check, tried.values()))
    found = dict(zip(tried, said, strict=True))
    web = cartwire.plant.settings.web
    return found | ({"web": await doubts(web)} if web and web.public_url else {})


async def _check(connector: Store | Esp) -> list[str]:
    try:
        return list(await connector.check())
    except ConnectorError as error:
        return [str(error)]
