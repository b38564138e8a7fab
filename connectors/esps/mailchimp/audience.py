"""What an audience holds beside its contacts' values: merge fields, lists (tags), and who may not be mailed."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from connectors.base import Field, FieldType, Missing
from connectors.errors import Refused
from connectors.esps.mailchimp.traits import MAX_FIELDS, VENDOR_TYPES
from connectors.esps.mailchimp.writes import document_of, words
from connectors.facts import utc
from connectors.http import Answer, Api
from connectors.writing import folded

PAGE_SIZE = 1000
"""The most that Mailchimp gives; it gives 10 to those who do not ask."""
ROW_OVERLAP = timedelta(seconds=5)
"""How far before the last row's time the next page begins: rows of one second are in no order."""
BAD = frozenset({400})
HIDDEN = {"include_cleaned": "true", "include_transactional": "true", "include_unsubscribed": "true"}
"""Members of a list who are shown to those only who ask for them."""
BIRTHDAY = "birthday"
"""The type that holds a month and a day, no year; a new audience has a field of it, named BIRTHDAY."""
FITTING = {
    FieldType.TEXT: frozenset({"text", "phone", "url", "imageurl", "radio", "dropdown", "zip", BIRTHDAY}),
    FieldType.NUMBER: frozenset({"number"}),
    FieldType.DATE: frozenset({"date", BIRTHDAY}),
}
"""Types of an existing merge field that can take our values; Mailchimp judges each value."""

Row = Mapping[str, Any]


class Audience:
    """One audience, by its id. `list_word` is what messages call a list ("tag", "segment").

    `birthdays` are the merge fields that take a month and a day only, as of the last look at all of them.
    """

    def __init__(self, api: Api, audience: str, list_word: str) -> None:
        self.path = f"/lists/{audience}"
        self._api = api
        self._list_word = list_word
        self.birthdays: frozenset[str] = frozenset()
        self._list_ids: dict[str, int] = {}
        self._listing = asyncio.Lock()

    async def prepare_fields(self, fields: Sequence[Field]) -> dict[str, str]:
        """Create the merge fields that are missing; return name -> reason for those of no use."""
        there = await self._merge_fields()
        refused = {
            field.name: reason
            for field in fields
            if field.name not in there and (reason := await self._create_field(field))
        }
        if refused:  # by now it may be there: a creation whose answer got lost was sent again
            there = await self._merge_fields()
        return {name: reason for name, reason in refused.items() if name not in there} | _unfit(fields, there)

    async def look(self, fields: Sequence[Field], lists: Sequence[str]) -> Missing:
        """Say which merge fields and lists there are not."""
        there = await self._merge_fields()
        async with self._listing:
            await self._look_up_lists()
        absent = [field.name for field in fields if field.name not in there]
        room = max(MAX_FIELDS - len(there), 0)
        full = f"the audience has {len(there)} merge fields, and Mailchimp holds {MAX_FIELDS} without Premium"
        return Missing(
            absent[:room],
            [name for name in lists if folded_name(name) not in self._list_ids],
            _unfit(fields, there) | dict.fromkeys(absent[room:], full),
        )

    async def _merge_fields(self) -> dict[str, str]:
        """Every merge field's type by its tag."""
        rows = self._rows("merge-fields", "merge_fields", ("tag", "type"))
        found = {str(row["tag"]).upper(): str(row["type"]) async for row in rows}
        self.birthdays = frozenset(tag for tag, kind in found.items() if kind == BIRTHDAY)
        return found

    async def look_up_birthdays(self, fields: Sequence[Field]) -> None:
        """Find out which of these fields are birthdays, where any can be."""
        if any(field.type is FieldType.DATE for field in fields):
            await self._merge_fields()

    async def _create_field(self, field: Field) -> str | None:
        """Return Mailchimp's reason when it does not want to."""
        body = {
            "name": field.title,
            "tag": field.name,
            "type": VENDOR_TYPES[field.type],
            "public": False,
            "required": False,
        }
        answer = await self._api.send("POST", f"{self.path}/merge-fields", body, expect=BAD)
        if answer.status == 400:
            return self._reason(answer)
        tag = document_of(answer.json).get("tag", field.name)
        return None if tag == field.name else f"Mailchimp keeps this tag for itself and made {tag} of it"

    async def prepare_lists(self, names: Sequence[str]) -> dict[str, str]:
        """Create the lists that are missing; return name -> reason for those that cannot be."""
        async with self._listing:
            await self._look_up_lists()
            made = {name: await self._make_list(name) for name in names}
        return {name: reason for name, reason in made.items() if isinstance(reason, str)}

    async def list_id(self, name: str) -> int:
        """Find a list, or make it. Raises Refused when Mailchimp does not want to."""
        async with self._listing:
            if folded_name(name) not in self._list_ids:
                await self._look_up_lists()
            made = await self._make_list(name)
        if isinstance(made, str):
            raise Refused(f"Mailchimp: the {self._list_word} {name!r} cannot be made: {made}")
        return made

    def forget_list(self, name: str, list_id: int) -> None:
        """Look it up again next time: it was deleted. One made anew in the meantime stays."""
        if self._list_ids.get(folded_name(name)) == list_id:
            del self._list_ids[folded_name(name)]

    async def _look_up_lists(self) -> None:
        rows = self._rows("segments", "segments", ("id", "name"), type="static")
        self._list_ids = {folded_name(str(row["name"])): int(row["id"]) async for row in rows}

    async def _make_list(self, name: str) -> int | str:
        """Return its id, or Mailchimp's reason against making it: an empty static segment, which is a tag."""
        if known := self._list_ids.get(folded_name(name)):
            return known
        body = {"name": name, "static_segment": []}
        answer = await self._api.send("POST", f"{self.path}/segments", body, expect=BAD)
        if answer.status == 400:  # it may be there after all: a creation whose answer got lost was sent again
            await self._look_up_lists()
            return self._list_ids.get(folded_name(name)) or self._reason(answer)
        self._list_ids[folded_name(name)] = int(answer.json["id"])
        return self._list_ids[folded_name(name)]

    async def members(
        self, status: str | None, since: datetime | None, columns: Sequence[str] = ()
    ) -> AsyncIterator[Sequence[Row]]:
        """Read the addresses of a status, those that changed first first; some come twice.

        Without a status everybody comes but the archived. `columns` are what to read besides.
        Who changes meanwhile moves to the end and shifts the rest, so each page begins at the last row's
        time. The offset is followed, with overlap, only while time stands still: after an import, say.
        """
        offset = 0
        while True:
            page = await self._members_page(status, since, offset, columns)
            rows: Sequence[Row] = page["members"]
            yield rows
            if not rows or (len(rows) < PAGE_SIZE and offset + len(rows) >= int(page.get("total_items", 0))):
                return
            reached = _reached(rows)
            if reached and (since is None or reached > since):
                since, offset = reached, 0
            else:
                offset += len(rows) - len(rows) // 10

    async def _members_page(
        self, status: str | None, since: datetime | None, offset: int, columns: Sequence[str]
    ) -> Row:
        names = ("email_address", "status", "last_changed", *columns)
        asked = {
            "fields": ",".join([*(f"members.{name}" for name in names), "total_items"]),
            "sort_field": "last_changed",
            "sort_dir": "ASC",
            "count": PAGE_SIZE,
            "offset": offset,
        }
        if status:
            asked["status"] = status
        if since:
            asked["since_last_changed"] = since.isoformat(timespec="seconds")
        return document_of((await self._api.get(f"{self.path}/members", asked)).json)

    async def addresses_in(self, list_id: int, most: int) -> set[str] | None:
        """Read the addresses (folded) in a list; None where there are more than `most`."""
        found: set[str] = set()
        offset, total = 0, 1
        while offset < total:
            asked = HIDDEN | {
                "fields": "members.email_address,total_items",
                "count": PAGE_SIZE,
                "offset": offset,
            }
            path = f"{self.path}/segments/{list_id}/members"
            page = document_of((await self._api.get(path, asked)).json)
            total = int(page["total_items"]) if page["members"] else 0
            if total > most:
                return None
            found.update(folded(row["email_address"]) for row in page["members"])
            offset += len(page["members"])
        return found

    async def tags_of(self, member: Row) -> frozenset[str]:
        """Return a member's tags (folded); the listing shows fifty, of more all are asked for."""
        tags = member.get("tags") or []
        if int(member.get("tags_count") or 0) > len(tags):
            path = f"members/{member['id']}/tags"
            tags = [tag async for tag in self._rows(path, "tags", ("name",))]
        return frozenset(folded_name(str(tag["name"])) for tag in tags)

    async def _rows(self, path: str, name: str, columns: Sequence[str], **asked: str) -> AsyncIterator[Row]:
        """Read every row of a collection that hardly changes."""
        fields = ",".join([*(f"{name}.{column}" for column in columns), "total_items"])
        offset, total = 0, 1
        while offset < total:
            here = asked | {"fields": fields, "count": PAGE_SIZE, "offset": offset}
            page = document_of((await self._api.get(f"{self.path}/{path}", here)).json)
            for row in page[name]:
                yield row
            total = int(page.get("total_items", 0)) if page[name] else 0
            offset += len(page[name])

    def _reason(self, answer: Answer) -> str:
        return self._api.redact(words(document_of(answer.json)) or "refused without a reason")


def _unfit(fields: Sequence[Field], there: Mapping[str, str]) -> dict[str, str]:
    """Give reasons for the fields whose merge field, of those that are there, takes no such values."""
    return {
        field.name: f"is a {there[field.name]} field in Mailchimp, which takes no {field.type}"
        for field in fields
        if field.name in there and there[field.name] not in FITTING[field.type]
    }


def _reached(rows: Sequence[Row]) -> datetime | None:
    """Say from when to go on after these rows; None when time does not tell them apart.

    They may have changed all at once, or not be in the order that we asked for.
    """
    changed = [utc(row.get("last_changed")) for row in rows]
    moments = [moment for moment in changed if moment]
    if len(moments) < len(rows) or moments != sorted(moments):
        return None
    reached = moments[-1] - ROW_OVERLAP
    return reached if reached > moments[0] else None


def folded_name(name: str) -> str:
    """Tag names are the same whatever their case, and Mailchimp may keep another than we sent."""
    return name.strip().casefold()
