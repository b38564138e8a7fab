"""Small things that every command's output shares.

Names, values and reasons come from stores, ESPs and mappings: they are shown as they are written, and steer nothing.
"""

import codecs
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import typer
from pydantic_core import to_json

STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor, sets its colours or its title (C0 but for a line's end, DEL, C1), and what
turns round the order in which letters are shown (https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters).
"""
NOT_ASCII = re.compile(r"[^\x00-\x7f]")
STAND_IN = "\N{REPLACEMENT CHARACTER}"


def as_json(content: Any) -> None:
    """Print plain data, dates and Decimals as JSON; escaped where the output has not every sign."""
    written = to_json(content, indent=2).decode()
    if codecs.lookup(getattr(sys.stdout, "encoding", "utf-8")).name != "utf-8":
        written = NOT_ASCII.sub(lambda sign: json.dumps(sign[0])[1:-1], written)
    typer.echo(written)


def as_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, without a header where that is empty; nothing stands as a dash."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*map(cell, header), title=cell(title), show_header=bool(header))
    for row in rows:
        table.add_row(*("-" if value is None else cell(value) for value in row))
    for column in table.columns:
        column.overflow = "fold"  # a narrow terminal shows less beside each other, not less
    # A list may be called `Buyers [b2b]`, a person `:smile:`.
    Console(markup=False, emoji=False).print(table)


def say(*lines: str, err: bool = False) -> None:
    """Print lines for people; what stands in one makes no line of its own."""
    for line in lines:
        typer.echo(cell(line).replace("\n", " "), err=err)


def cell(value: object) -> str:
    """Write one value for people."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return STEERING.sub(STAND_IN, str(value))
