"""Readings of Shopify that only its own tests need."""

import json
from collections.abc import AsyncGenerator, Callable
from datetime import datetime

from connectors.base import Page, Resource
from connectors.stores.shopify.connector import Shopify
from tests.connectors.stores.shops import NOON, everything


async def changed(
    store: Shopify, cursor: str | None = None, resource: Resource = Resource.ORDERS, since: datetime = NOON
) -> list[Page]:
    return await everything(store.changes(resource, since, cursor))


async def killed_anywhere(
    start: Callable[[str | None], AsyncGenerator[Page, None]],
) -> tuple[list[Page], int]:
    """Read page by page, killed after each and begun again from its cursor; return pages and lives."""
    cursor: str | None = None
    pages: list[Page] = []
    for lives in range(1, 1000):
        reading = start(cursor)
        page = await anext(reading, None)
        await reading.aclose()
        if page is None:
            return pages, lives
        pages.append(page)
        is_last = page.cursor == cursor or json.loads(page.cursor).keys() == {"began"}
        cursor = page.cursor
        if is_last:
            return pages, lives
    raise AssertionError("reading never came to an end")
