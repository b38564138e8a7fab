"""`check`: do the other ends let us do our work."""

from connectors.base import Esp, Store
from connectors.errors import ConnectorError
from sync.alerts import check_alerts
from sync.app import Cartwire
from sync.web.reach import doubts


async def check_connections(cartwire: Cartwire) -> dict[str, list[str]]:
    """Try every store and ESP; return what is wrong with each, nothing for those that are fine.

    Raises ConfigError for addresses that no alert can be sent to.
    """
    await check_alerts(cartwire.plant)
    found = {f"stores.{name}": await _check(store) for name, store in cartwire.stores.items()}
    found |= {f"esps.{name}": await _check(esp) for name, esp in cartwire.esps.items()}
    web = cartwire.plant.settings.web
    return found | ({"web": await doubts(web)} if web and web.public_url else {})


async def _check(connector: Store | Esp) -> list[str]:
    try:
        return list(await connector.check())
    except ConnectorError as error:
        return [str(error)]
