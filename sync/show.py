"""Small things that every command's output shares."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import typer
from pydantic_core import to_json


def as_json(content: Any) -> None:
    """Print plain data, dates and Decimals as JSON."""
    typer.echo(to_json(content, indent=2).decode())


def as_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; nothing stands as a dash."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*("-" if value is None else cell(value) for value in row))
    Console().print(table)


def cell(value: object) -> str:
    """Write one value for people."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)
