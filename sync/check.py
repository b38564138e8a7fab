"""`check` and `schema`: is the configuration right, and do the other ends let us do our work."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer

from config import schema as schemas
from connectors import registry
from connectors.base import Esp, Store
from connectors.errors import ConnectorError
from mappings.catalogue import column_table
from mappings.compile import Unknown
from mappings.functions import function_table
from mappings.model import Mapping
from sync.alerts import check_alerts
from sync.app import Cartwire, Plant
from sync.show import as_json
from sync.web.reach import doubts

REFUSED = 3


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


def write_schemas(folder: Path) -> list[Path]:
    """Write the JSON Schemas beside cartwire.yaml, over older ones."""
    made: dict[str, dict[str, Any]] = schemas.json_schema(
        registry.store_types(), registry.esp_types(), Mapping.model_json_schema()
    )
    written = []
    for name, content in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(content), indent=2)
        path.write_bytes(text + b"\n")
        written.append(path)
    return written


def mapping_docs() -> str:
    """Return the mapping language's columns and functions, as in docs/mapping.md."""
    return f"{column_table()}\n\n{function_table()}"
