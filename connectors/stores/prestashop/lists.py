"""The shop's own lists, by which rows of ids are understood: settings, statuses, currencies, countries, categories.

Each is read when it is first needed, again after an hour, and once more when a row names an id that is not
in it: a status or a category that was made since.
"""

import time
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connectors.errors import Refused
from connectors.paging import Row
from connectors.stores.prestashop.clock import ShopClock
from connectors.stores.prestashop.payloads import (
    ENDS,
    Terms,
    associated,
    id_of,
    read_category,
    read_state,
)
from connectors.stores.prestashop.settings import PrestaShopSettings
from connectors.stores.prestashop.webservice import Ask, Webservice, one_of

LIFE = 3600.0
"""Seconds that a list is believed."""

FIELDS: Mapping[str, str] = {
    "order_states": "id,name,paid,logable,shipped,template",
    "currencies": "id,iso_code",
    "countries": "id,iso_code",
    "categories": "id,id_parent,level_depth,name",
}
SETTINGS = ("PS_TIMEZONE", "PS_LANG_DEFAULT", *ENDS)

NAMED_BY: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "orders": {"order_states": ("current_state",), "currencies": ("id_currency",)},
    "order_slip": {"currencies": ()},
    "addresses": {"countries": ("id_country",)},
    "products": {"categories": ("id_category_default",)},
    "carts": {},
    "customers": {},
}
"""Which lists the rows of a resource need, and by which fields they name what is in them."""


class Lists:
    """Keeps the lists, and makes Terms of them."""

    def __init__(self, webservice: Webservice, settings: PrestaShopSettings) -> None:
        self._webservice = webservice
        self._zone = settings.timezone
        self._url = settings.url
        self._paid = frozenset(str(state) for state in settings.paid_states)
        self._settings: Mapping[str, str] = {}
        self._lists: dict[str, Mapping[str, Any]] = {}
        self._read_at: dict[str, float] = {}
        self._missing: set[tuple[str, str]] = set()

    async def terms(
        self, resources: Sequence[str] = (), rows: Mapping[str, Sequence[Row]] | None = None
    ) -> Terms:
        """Know what rows of these resources need; `rows` that came may name what is new."""
        settings = await self._configuration()
        for resource in resources:
            for name, fields in NAMED_BY[resource].items():
                await self._list(name, _named((rows or {}).get(resource, ()), fields))
        terms = Terms(self._clock(settings), self._url, settings.get("PS_LANG_DEFAULT"), self._paid)
        return replace(
            terms,
            states=self._lists.get("order_states", {}),
            currencies=self._lists.get("currencies", {}),
            countries=self._lists.get("countries", {}),
            categories=self._lists.get("categories", {}),
        )

    async def _configuration(self) -> Mapping[str, str]:
        """Read the shop's settings; a key that may not view them needs `timezone`, and loses nothing else."""
        if not self._is_stale("configurations"):
            return self._settings
        ask = Ask("configurations", "id,name,value,id_shop", {"name": one_of(SETTINGS)})
        try:
            rows = (await self._webservice.rows(ask)).rows
        except Refused as error:
            if error.status not in {401, 405} or not self._zone:
                raise
            rows = []
        self._settings = {str(row["name"]): str(row["value"]) for row in _ours(rows) if row.get("value")}
        self._read_at["configurations"] = time.monotonic()
        return self._settings

    def _clock(self, settings: Mapping[str, str]) -> ShopClock:
        zone = self._zone or settings.get("PS_TIMEZONE")
        if not zone:
            raise Refused("the shop does not say its timezone: set `timezone`, as Europe/Paris")
        try:
            return ShopClock(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise Refused(f"the shop's timezone `{zone[:40]}` is unknown here: set `timezone`") from error

    async def _list(self, name: str, named: Iterable[str]) -> None:
        new = {(name, one) for one in named if one not in self._lists.get(name, {})} - self._missing
        if not new and not self._is_stale(name):
            return
        language = self._settings.get("PS_LANG_DEFAULT")
        rows = (await self._webservice.rows(Ask(name, FIELDS[name], language=language))).rows
        self._lists[name] = {str(row["id"]): self._read(name, row, language) for row in rows}
        self._read_at[name] = time.monotonic()
        self._missing = {(of, one) for of, one in self._missing | new if one not in self._lists.get(of, {})}

    def _read(self, name: str, row: Row, language: str | None) -> Any:
        if name == "order_states":
            ends = {self._settings[key]: stands for key, stands in ENDS.items() if key in self._settings}
            return read_state(row, language, ends)
        if name == "categories":
            return read_category(row, language)
        return str(row.get("iso_code") or "").strip().upper()

    def _is_stale(self, name: str) -> bool:
        return name not in self._read_at or time.monotonic() - self._read_at[name] > LIFE


def _ours(rows: Sequence[Row]) -> Sequence[Row]:
    """Put the settings that count last: a shop's own where there is one shop, those of all where there are several."""
    shops = {shop for row in rows if (shop := id_of(row.get("id_shop")))}
    return sorted(rows, key=lambda row: bool(id_of(row.get("id_shop"))), reverse=len(shops) > 1)


def _named(rows: Iterable[Row], fields: Iterable[str]) -> set[str]:
    """Collect the ids that rows name, categories among what hangs on them."""
    named = {id_of(row.get(name)) for row in rows for name in fields}
    named |= {id_of(one.get("id")) for row in rows for one in associated(row, "categories")}
    return {one for one in named if one}
