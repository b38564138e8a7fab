"""From a vendor's rows to our facts: one bad row never costs the page. And pages asked for a few at once."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from connectors.errors import BadRecord
from connectors.facts import Fact

Row = Mapping[str, Any]
MOST_PIECES = 10**9
"""A line that has more is a mistake, and larger than a database's whole number."""
Listing = TypeVar("Listing")

_ID = re.compile(r"(?!None$)[A-Za-z0-9:/_-]{1,100}")  # 727, gid://shopify/Order/727; never an address
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,50}")


def read_rows(
    rows: Iterable[Row], read: Callable[[Row], Fact], kind: str
) -> tuple[list[Fact], list[BadRecord]]:
    """Read each row; one that cannot be read becomes a BadRecord named "{kind} {id}" that quotes no value."""
    facts: list[Fact] = []
    bad: list[BadRecord] = []
    for row in rows:
        try:
            facts.append(read(row))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
            bad.append(BadRecord(f"{kind} {row_id(row)}", reason_of(error)))
    return facts, bad


def row_id(row: object) -> str:
    """Find the id of a row, however broken the rest of it is."""
    if not isinstance(row, Mapping):
        return "that is no object"
    number = row.get("id")
    if type(number) is int:
        return str(number)
    identifier = str(number)
    return identifier if _ID.fullmatch(identifier) else "without an id"


def reason_of(error: Exception) -> str:
    """Say what is wrong with a row without quoting it."""
    if isinstance(error, KeyError) and error.args and _NAME.fullmatch(str(error.args[0])):
        return f"`{error.args[0]}` is missing"
    if isinstance(error, TypeError | AttributeError):
        return "a field does not have the type that the API promises"
    if isinstance(error, UnreadableField):
        return str(error)
    return "a field cannot be read"


class UnreadableField(ValueError):
    """`field` cannot be read; the text may be shown, so it holds no value of the row."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"`{field}` is not {expected}")


def pieces(count: Decimal | int, field: str) -> int:
    """Take whole pieces; what is sold by weight counts as less. Raises UnreadableField for more than MOST_PIECES."""
    if not -MOST_PIECES <= count <= MOST_PIECES:
        raise UnreadableField(field, "a number of pieces")
    return int(count)


async def in_order(
    ask: Callable[[int], Coroutine[Any, Any, Listing]], pages: Iterable[int], most: int
) -> AsyncIterator[Listing]:
    """Ask for pages by their numbers, `most` at once; hand them out in order. The first that fails ends it."""
    waiting: deque[asyncio.Task[Listing]] = deque()
    try:
        for page in pages:
            waiting.append(asyncio.create_task(ask(page)))
            if len(waiting) == most:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
