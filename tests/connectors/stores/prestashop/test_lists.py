"""The shop's own settings, where a shop of several says otherwise than all of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.stores.prestashop.lists import Lists
from connectors.stores.prestashop.settings import PrestaShopSettings
from connectors.stores.prestashop.simulator import SETTINGS
from connectors.stores.prestashop.webservice import Ask, Listing


class Told:
    """A webservice that knows settings only."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    async def rows(self, _ask: Ask) -> Listing:
        return Listing(self._rows, datetime.now(UTC))


def language(shop: str | None, value: str) -> dict[str, Any]:
    return {"id": 1, "name": "PS_LANG_DEFAULT", "value": value, "id_shop": shop}


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([language(None, "1"), language("1", "2")], "2"),
        ([language("1", "2"), language(None, "1")], "2"),
        ([language("1", "2"), language("2", "3"), language(None, "1")], "1"),
        ([language(None, "1"), language("1", "2"), language("2", "3")], "1"),
        ([language("0", "1")], "1"),
    ],
)
async def test_the_only_shop_s_own_setting_counts_before_that_of_all_shops(
    rows: Sequence[dict[str, Any]], counts: str
) -> None:
    settings = PrestaShopSettings(**SETTINGS, timezone="Europe/Paris")

    terms = await Lists(Told(rows), settings).terms()  # type: ignore[arg-type]

    assert terms.language == counts
