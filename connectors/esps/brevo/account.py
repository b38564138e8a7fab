"""What an account holds beside its contacts: attributes, and lists in folders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from connectors.base import Field, FieldType, Missing
from connectors.errors import Refused, RemoteFault, Retryable, Throttled
from connectors.esps.brevo.traits import PHONES, VENDOR_TYPES
from connectors.esps.brevo.writes import MARK, problem_of, words
from connectors.http import Api, wait

PAGE_SIZE = 50
"""The most lists or folders that Brevo gives at once."""
EVERYBODY = "Cartwire contacts"
"""The list for imports and confirmations, which Brevo does not accept without one. It means nothing."""
BAD = frozenset({400})
CREATIONS = 3
PAUSE = 2.0
WRITABLE = "normal"
"""The category of attributes that hold what we write; the others are computed, choices or per order."""

Row = Mapping[str, Any]


class Account:
    """`folder` is the name of the folder in which lists are made."""

    def __init__(self, api: Api, folder: str) -> None:
        self._api = api
        self._folder = folder
        self._folder_id: int | None = None
        self._list_ids: dict[str, int] = {}
        self._made: set[int] = set()
        self._marked = False
        self._listing = asyncio.Lock()

    async def prepare_fields(self, fields: Sequence[Field]) -> dict[str, str]:
        """Create the attributes that are missing; return name -> reason for those of no use.

        Brevo drops unknown names and values of another type and says that all is well: what is not found
        out here is never found out.
        """
        wanted = [field for field in fields if field.name not in PHONES]
        there = await self._attributes()
        refused = {
            field.name: reason
            for field in wanted
            if field.name not in there and (reason := await self._create_attribute(field))
        }
        if refused:  # by now it may be there: a creation whose answer got lost was sent again
            there = await self._attributes()
        unfit = _all_unfit(wanted, there)
        return {name: reason for name, reason in refused.items() if name not in there} | unfit

    async def look(self, fields: Sequence[Field], lists: Sequence[str]) -> Missing:
        """Say which attributes and lists there are not."""
        wanted = [field for field in fields if field.name not in PHONES]
        there = await self._attributes()
        async with self._listing:
            await self._look_up_lists()
        return Missing(
            [field.name for field in wanted if field.name not in there],
            [name for name in lists if name not in self._list_ids],
            _all_unfit(wanted, there),
        )

    async def prepare_mark(self) -> None:
        """Create the attribute that marks those whom we blocked; without it, they look opted out."""
        if not self._marked:
            await self.prepare_fields([Field(MARK, FieldType.TEXT, "Cartwire: blocked because")])
            self._marked = True

    async def prepare_lists(self, names: Sequence[str]) -> dict[str, str]:
        """Create the lists that are missing; return name -> reason for those that cannot be."""
        async with self._listing:
            self._made.clear()
            await self._look_up_lists()
            made = {name: await self._make_list(name) for name in names}
        return {name: reason for name, reason in made.items() if isinstance(reason, str)}

    async def lists_by_id(self, names: Sequence[str]) -> dict[int, str]:
        """Find those of these lists that there are; makes none."""
        async with self._listing:
            await self._look_up_lists()
            return {self._list_ids[name]: name for name in names if name in self._list_ids}

    async def list_id(self, name: str) -> int:
        """Find a list, or make it. Raises Refused when Brevo does not want to."""
        async with self._listing:
            if name not in self._list_ids:
                await self._look_up_lists()
            made = await self._make_list(name)
        if isinstance(made, str):
            raise Refused(f"Brevo: the list {name!r} cannot be made: {made}")
        return made

    def is_new(self, list_id: int) -> bool:
        """Tell whether we made the list in this run, so that nobody can have left it."""
        return list_id in self._made

    def forget_list(self, name: str, list_id: int) -> None:
        """Look it up again next time: it was deleted. One made anew in the meantime stays."""
        if self._list_ids.get(name) == list_id:
            del self._list_ids[name]

    async def _attributes(self) -> dict[str, Row]:
        """Every attribute by name; where two categories have a name, ours counts."""
        rows = (await self._api.get("/contacts/attributes")).json["attributes"]
        ours_last = sorted(rows, key=lambda row: row.get("category") == WRITABLE)
        return {str(row["name"]).upper(): row for row in ours_last}

    async def _create_attribute(self, field: Field) -> str | None:
        """Return Brevo's reason when it does not want to."""
        path = f"/contacts/attributes/{WRITABLE}/{quote(field.name, safe='')}"
        answer = await self._api.send("POST", path, {"type": VENDOR_TYPES[field.type]}, expect=BAD)
        return self._api.redact(words(problem_of(answer))) if answer.status == 400 else None

    async def _look_up_lists(self) -> None:
        """Learn every list's id by name. Names may repeat: one in our folder counts, then the oldest."""
        self._folder_id = await self._find_folder()
        found = [row async for row in self._rows("lists")]
        found.sort(key=lambda row: (row.get("folderId") == self._folder_id, -int(row["id"])))
        self._list_ids = {str(row["name"]): int(row["id"]) for row in found}

    async def _find_folder(self) -> int | None:
        ids = [int(row["id"]) async for row in self._rows("folders") if row["name"] == self._folder]
        return min(ids, default=None)

    async def _find_list(self, name: str) -> int | None:
        await self._look_up_lists()
        return self._list_ids.get(name)

    async def _make_list(self, name: str) -> int | str:
        """Return the list's id, or Brevo's reason."""
        if name in self._list_ids:
            return self._list_ids[name]
        if self._folder_id is None:
            folder = await self._make("/contacts/folders", {"name": self._folder}, self._find_folder)
            if isinstance(folder, str):
                return folder
            self._folder_id = folder
        body = {"name": name, "folderId": self._folder_id}
        made = await self._make("/contacts/lists", body, lambda: self._find_list(name))
        if isinstance(made, int):
            self._list_ids[name] = made
            self._made.add(made)
        return made

    async def _make(self, path: str, body: Row, find: Callable[[], Awaitable[int | None]]) -> int | str:
        """Create a list or a folder; where the answer got lost, look before trying again.

        Brevo lets two have the same name, so a repeated creation makes a second one.
        """
        trouble: Retryable = RemoteFault("Brevo: a list cannot be made")
        for _ in range(CREATIONS):
            try:
                answer = await self._api.send("POST", path, body, expect=BAD, repeat=False)
            except Throttled:
                raise
            except Retryable as error:
                trouble = error
                await wait(PAUSE)
                if (there := await find()) is not None:
                    return there
                continue
            if answer.status == 400:
                return self._api.redact(words(problem_of(answer)))
            return int(answer.json["id"])
        raise trouble

    async def _rows(self, name: str) -> AsyncIterator[Row]:
        """Read every list or folder; a page that comes again is the end."""
        offset, before = 0, None
        while True:
            asked = {"limit": PAGE_SIZE, "offset": offset, "sort": "asc"}
            page = (await self._api.get(f"/contacts/{name}", asked)).json
            rows = page.get(name) or []
            if not rows or rows == before:
                return
            for row in rows:
                yield row
            offset, before = offset + len(rows), rows
            if offset >= int(page.get("count", offset + 1)):
                return


def _all_unfit(fields: Sequence[Field], there: Mapping[str, Row]) -> dict[str, str]:
    return {field.name: reason for field in fields if (reason := _unfit(field, there.get(field.name)))}


def _unfit(field: Field, row: Row | None) -> str | None:
    """Say why an attribute that is there cannot hold the field's values; None when it can."""
    if row is None:
        return None
    if row.get("category") != WRITABLE:
        return f"is a {row.get('category')} attribute in Brevo, which we cannot write"
    kind = row.get("type")
    if kind is not None and kind != VENDOR_TYPES[field.type]:
        return f"is a {kind} attribute in Brevo, which takes no {field.type}"
    return None
