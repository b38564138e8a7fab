"""A Mailchimp audience that is faster than any client: it takes everything, and answers what was written before.

It keeps no contact. What it knows is which merge fields, lists and batches were made, so that each is found again.
"""

import gzip
import io
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from bench.serving import Reply, Request

LINKS = [
    {
        "rel": name,
        "href": "https://us21.api.mailchimp.com/3.0/lists/a1b2c3d4e5/members/0cc175b9c0f1b6a831c399e269772661",
        "method": "GET",
        "targetSchema": "https://us21.api.mailchimp.com/schema/3.0/Definitions/Lists/Members/Response.json",
    }
    for name in ("self", "parent", "update", "upsert", "delete", "activity", "goals", "notes", "events")
]
MEMBER = msgspec.json.encode(
    {
        "id": "0cc175b9c0f1b6a831c399e269772661",
        "email_address": "somebody@example.com",
        "unique_email_id": "882e9bec19",
        "contact_id": "ee396a0b9b2b4a8d8f3d6cd4a1f4ae6b",
        "full_name": "Zoë Fournier",
        "web_id": 1,
        "email_type": "html",
        "status": "transactional",
        "merge_fields": {
            "FNAME": "Zoë",
            "LNAME": "Fournier",
            "ORDERS": 5,
            "SPENT": 120.5,
            "LASTORD": "2026-01-01",
        },
        "stats": {"avg_open_rate": 0, "avg_click_rate": 0},
        "ip_signup": "",
        "timestamp_signup": "",
        "ip_opt": "127.0.0.1",
        "timestamp_opt": "2026-01-01T00:00:00+00:00",
        "member_rating": 2,
        "last_changed": "2026-01-01T00:00:00+00:00",
        "language": "",
        "vip": False,
        "email_client": "",
        "location": {
            "latitude": 0,
            "longitude": 0,
            "gmtoff": 0,
            "dstoff": 0,
            "country_code": "",
            "timezone": "",
        },
        "source": "API - Generic",
        "tags_count": 1,
        "tags": [{"id": 1, "name": "Customers"}],
        "list_id": "a1b2c3d4e5",
        "_links": LINKS,
    }
)
"""What is answered for each contact, as large as a real one."""
OUTCOME = b'{"status_code":200,"operation_id":"%b","response":' + msgspec.json.encode(MEMBER.decode()) + b"}"
NOT_FOUND = Reply(404, b'{"title":"Resource Not Found","status":404,"detail":"","instance":"1"}')
FILE_ROWS = 400


class _Operation(Struct):
    operation_id: str


class _Operations(Struct):
    operations: list[_Operation]


class _Members(Struct):
    members_to_add: list[str] = []
    members_to_remove: list[str] = []


class Audience:
    def __init__(self) -> None:
        self._merge_fields: list[dict[str, Any]] = []
        self._segments: list[dict[str, Any]] = []
        self._archives: list[bytes] = []
        self._counts: Counter[str] = Counter()

    def begin(self, wishes: Mapping[str, Any]) -> None:
        """Forget what was made, when asked to."""
        self._counts.clear()
        if wishes.get("empty"):
            for made in (self._merge_fields, self._segments, self._archives):
                made.clear()

    def told(self) -> dict[str, int]:
        """Say how many contacts and list entries came."""
        return {"contacts": self._counts["contacts"], "entries": self._counts["entries"]}

    def __call__(self, request: Request) -> Reply:
        path = urlsplit(request.target).path.removeprefix("/3.0").strip("/").split("/")
        name, number, *_ = [*(path[2:] if path[0] == "lists" else path), "", ""]
        answer = ROUTES.get((request.method, name, bool(number)))
        return answer(self, request, number) if answer else NOT_FOUND

    def _account(self, _request: Request, _number: str) -> Reply:
        return _json({"id": "a1b2c3d4e5", "role": "owner"})

    def _list_merge_fields(self, _request: Request, _number: str) -> Reply:
        return _json({"merge_fields": self._merge_fields, "total_items": len(self._merge_fields)})

    def _add_merge_field(self, request: Request, _number: str) -> Reply:
        self._merge_fields.append(
            msgspec.json.decode(request.body) | {"merge_id": len(self._merge_fields) + 1}
        )
        return _json(self._merge_fields[-1])

    def _list_segments(self, _request: Request, _number: str) -> Reply:
        return _json({"segments": self._segments, "total_items": len(self._segments)})

    def _add_segment(self, request: Request, _number: str) -> Reply:
        self._segments.append(
            {"id": len(self._segments) + 1, "name": msgspec.json.decode(request.body)["name"]}
        )
        return _json(self._segments[-1])

    def _change_segment(self, request: Request, _number: str) -> Reply:
        asked = msgspec.json.decode(request.body, type=_Members)
        added, removed = (
            b",".join([MEMBER] * len(each)) for each in (asked.members_to_add, asked.members_to_remove)
        )
        self._counts["entries"] += len(asked.members_to_add) + len(asked.members_to_remove)
        return Reply(200, b'{"members_added":[%b],"members_removed":[%b],"errors":[]}' % (added, removed))

    def _list_members(self, _request: Request, _number: str) -> Reply:
        return _json({"members": [], "total_items": 0})

    def _put_member(self, _request: Request, _number: str) -> Reply:
        self._counts["contacts"] += 1
        return Reply(200, MEMBER)

    def _add_batch(self, request: Request, _number: str) -> Reply:
        operations = msgspec.json.decode(request.body, type=_Operations).operations
        self._counts["contacts"] += len(operations)
        rows = [OUTCOME % operation.operation_id.encode() for operation in operations]
        self._archives.append(_packed(rows))
        return _json({"id": f"b{len(self._archives)}", "status": "pending", "response_body_url": ""})

    def _show_batch(self, request: Request, number: str) -> Reply:
        url = f"http://{request.host}/3.0/batch-results/{number}"
        return _json({"id": number, "status": "finished", "errored_operations": 0, "response_body_url": url})

    def _results(self, _request: Request, number: str) -> Reply:
        return Reply(200, self._archives[int(number[1:]) - 1], b"content-type: application/gzip\r\n")


ROUTES: Mapping[tuple[str, str, bool], Callable[[Audience, Request, str], Reply]] = {
    ("GET", "", False): Audience._account,  # noqa: SLF001 - a table of this class's own
    ("GET", "merge-fields", False): Audience._list_merge_fields,  # noqa: SLF001 - as above
    ("POST", "merge-fields", False): Audience._add_merge_field,  # noqa: SLF001 - as above
    ("GET", "segments", False): Audience._list_segments,  # noqa: SLF001 - as above
    ("POST", "segments", False): Audience._add_segment,  # noqa: SLF001 - as above
    ("POST", "segments", True): Audience._change_segment,  # noqa: SLF001 - as above
    ("GET", "members", False): Audience._list_members,  # noqa: SLF001 - as above
    ("PUT", "members", True): Audience._put_member,  # noqa: SLF001 - as above
    ("POST", "batches", False): Audience._add_batch,  # noqa: SLF001 - as above
    ("GET", "batches", True): Audience._show_batch,  # noqa: SLF001 - as above
    ("GET", "batch-results", True): Audience._results,  # noqa: SLF001 - as above
}
"""Method, collection, and whether one of it is named."""


def _json(content: object) -> Reply:
    return Reply(200, msgspec.json.encode(content))


def _packed(rows: list[bytes]) -> bytes:
    """Pack results as Mailchimp does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for start in range(0, len(rows), FILE_ROWS):
            text = b"[" + b",".join(rows[start : start + FILE_ROWS]) + b"]"
            file = tarfile.TarInfo(f"results/{start}.json")
            file.size = len(text)
            archive.addfile(file, io.BytesIO(text))
    return gzip.compress(buffer.getvalue(), compresslevel=1)
