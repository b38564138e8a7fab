"""`check`: is the configuration right, and do the other ends let us do our work."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from connectors.base import Esp, Store
from connectors.errors import ConnectorError
from mappings.compile import Unknown
from sync.alerts import check_alerts
from sync.plant import Plant
from sync.show import as_json
from sync.web.reach import doubts

if TYPE_CHECKING:  # who checks files only need not load what opens state stores
    from sync.app import Cartwire

REFUSED = 3


async def check_connections(cartwire: "Cartwire") -> dict[str, list[str]]:
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


def show_checks(plant: Plant, problems: dict[str, list[str]], *, json: bool, offline: bool) -> int:
    """Print what was found; return the exit code."""
    warnings = [str(warning) for warning in plant.loaded.warnings]
    unknown = {name: list(mapping.unknown) for name, mapping in plant.mappings.items()}
    wrong = any(problems.values())
    if json:
        state = {"configuration": "good", "warnings": warnings, "unknown": unknown, "connections": problems}
        as_json(state)
        return REFUSED if wrong else 0
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo("configuration: good")
    for name, found in unknown.items():
        for line in unknown_lines(found):
            typer.echo(f"syncs.{name}: {line}")
    for name, said in problems.items():
        typer.echo(f"{name}: {'good' if not said else ''}".rstrip())
        for line in said:
            typer.echo(f"  {line}")
    if offline:
        typer.echo("connections: not tried")
    return REFUSED if wrong else 0


def unknown_lines(unknown: Sequence[Unknown]) -> Iterator[str]:
    """Say which fields and lists are unknown until something fills them, by what would (P12)."""
    waiting: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for each in unknown:
        waiting[each.section, " and ".join(dict.fromkeys(each.columns.values()))].append(each.name)
    for (section, provider), names in waiting.items():
        yield f"{section} unknown until there are {provider}: {', '.join(names)}"
