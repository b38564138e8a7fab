"""Who is in Ortto, under which id, and whether they may be mailed: read before anything is written."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.http import Api
from connectors.writing import folded, parts

PAGE = 500
ADDRESSES = 100
"""Addresses asked for in one filter."""
PERMISSION, CONTEXT = "bol::p", "str::u-ctx"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """A person of Ortto. `permitted` False where Ortto does not say yes; `context` is why it says no."""

    id: str
    permitted: bool
    context: str | None = None

    def kept(self) -> Mapping[str, Any]:
        """Make the fields that keep an opted-out person opted out in a merge.

        Ortto's text says of an omitted permission that it "is assumed to be true by default", and does
        not say that this is for new people only.
        """
        if self.permitted:
            return {}
        return {PERMISSION: False} | ({CONTEXT: self.context} if self.context else {})


class People:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def find(self, emails: Sequence[str], *, archived: bool = False) -> dict[str, Known]:
        """Find people by address: those who are not archived, or those who are."""
        found: dict[str, Known] = {}
        for some in parts(emails, ADDRESSES):
            terms = [{"$str::is": {"field_id": "str::email", "value": _text(email)}} for email in some]
            asked = ("str::email", PERMISSION, CONTEXT)
            async for rows in self.pages({"$or": terms}, asked, archived=archived):
                found |= {folded(str(row["fields"].get("str::email"))): _known(row) for row in rows}
        return found

    async def read(self, ids: Sequence[str]) -> dict[str, Known]:
        """Read people by id, archived ones too."""
        body = {"contact_ids": list(ids), "fields": ["str::email", PERMISSION, CONTEXT]}
        contacts = (await self._api.send("POST", "/person/get-by-ids", body)).json["contacts"] or {}
        return {str(id_): _known({"id": id_, **row}) for id_, row in contacts.items()}

    async def pages(
        self, condition: Mapping[str, Any], fields: Sequence[str], *, archived: bool = False
    ) -> AsyncIterator[Sequence[Row]]:
        """Read all who match, by address; nobody makes no page."""
        body: dict[str, Any] = {
            "limit": PAGE,
            "offset": 0,
            "sort_by_field_id": "str::email",
            "sort_order": "asc",
            "fields": list(fields),
        }
        body |= ({"filter": condition} if condition else {}) | ({"type": "archived"} if archived else {})
        while True:
            page = (await self._api.send("POST", "/person/get", body)).json
            rows = page["contacts"]  # null beyond the end
            if rows:
                yield rows
            if not rows or not page["has_more"] or page["next_offset"] <= body["offset"]:
                return
            body |= {"offset": page["next_offset"], "cursor_id": page["cursor_id"]}


def _known(row: Row) -> Known:
    fields = row.get("fields") or {}
    return Known(str(row["id"]), fields.get(PERMISSION) is True, fields.get(CONTEXT))


def _text(email: str) -> str:
    return email.encode("utf-8", "ignore").decode()
