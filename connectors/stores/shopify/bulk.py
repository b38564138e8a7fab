"""A whole history by one job: Shopify writes it to a file, we read the file as it comes.

https://shopify.dev/docs/api/usage/bulk-operations/queries

- The file is lines of JSON. With `groupObjects` an order's lines follow it; should one come that belongs to
  another order, the file is not what was promised, and the caller reads page by page.
- The address in the answer is signed, lasts a week, and refuses our token.
- A download that breaks off goes on at the row it stopped in (`Range`); storage that ignores this sends
  everything again, and what is known is skipped. Bytes count as stored: no compression.
- A file that ends early may end between two lines, where nothing looks wrong: rows and bytes are compared
  with what the job says it wrote.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog

from connectors import http
from connectors.decoding import read_json
from connectors.errors import Permanent, Refused, Retryable, Unreachable
from connectors.http import Api, Stream
from connectors.stores.shopify.admin import Admin
from connectors.stores.shopify.operations import (
    BULK_STATUS,
    BULK_STATUS_BEFORE_2026,
    CANCEL_BULK,
    RUN_BULK,
)
from connectors.stores.shopify.places import InFile

log = structlog.get_logger()

ROWS = 500
"""Orders (with their lines) that make a page of ours."""
FIRST_LOOK, LONGEST_LOOK = 0.5, 15.0
"""Seconds between two looks at a job, which double."""
STALLED = 1800.0
"""Seconds without a new row after which a job is given up."""
IN_THE_WAY = 600.0
"""Seconds that we wait for somebody else's job (ours, before a kill) where only one may run."""
BREAKS = 5
"""Downloads in a row that may break off without bringing a page."""

RUNNING = frozenset({"CREATED", "RUNNING", "CANCELING"})
BUSY = frozenset({"OPERATION_IN_PROGRESS", "LIMIT_REACHED"})
JOB = re.compile(r"gid://shopify/BulkOperation/\d+")

_decode = msgspec.json.decode


class NoBulk(Permanent):
    """Reading in bulk does not work out here; page by page will."""


class BadFile(NoBulk):
    """The file is not the one that was promised; another job may write a better one."""


class Short(Unreachable):
    """A file ended too early though its connection did not break."""


@dataclass(frozen=True, slots=True)
class Job:
    """A bulk operation as Shopify tells it; `url` is None where nothing was found."""

    id: str
    status: str
    error: str | None
    rows: int
    objects: int
    bytes: int
    url: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows with their children, and where the next row begins."""

    rows: list[Any]
    place: InFile


class Bulk:
    """Starts jobs, waits for them, reads their files."""

    def __init__(self, admin: Admin, api: Api, version: str) -> None:
        self._admin = admin
        self._api = api
        self._status = BULK_STATUS if version >= "2026-01" else BULK_STATUS_BEFORE_2026

    async def start(self, query: str) -> str:
        """Start a job and return its id. Raises NoBulk when Shopify does not let us, even after a while."""
        waited, look = 0.0, FIRST_LOOK
        while waited < IN_THE_WAY:
            reply = await self._admin.ask(RUN_BULK, {"query": query})
            answer = reply.data["bulkOperationRunQuery"] or {}
            if answer.get("bulkOperation") and not answer.get("userErrors"):
                return str(answer["bulkOperation"]["id"])
            other = self._in_the_way(answer.get("userErrors") or [])
            is_running = True
            while is_running and waited < IN_THE_WAY:
                await http.wait(look)
                waited, look = waited + look, min(LONGEST_LOOK, look * 2)
                is_running = other is not None and (await self.job(other)).status in RUNNING
        raise NoBulk("another bulk operation is in the way")

    async def finished(self, job_id: str) -> Job:
        """Wait for the end of a job, whichever. Raises NoBulk when it does not move, or is not known."""
        look, idle, objects = FIRST_LOOK, 0.0, -1
        while True:
            job = await self.job(job_id)
            if job.status not in RUNNING:
                return job
            idle = 0.0 if job.objects > objects else idle + look
            objects = max(objects, job.objects)
            if idle > STALLED:
                await self._admin.ask(CANCEL_BULK, {"id": job_id})
                raise NoBulk("the bulk operation does not get on")
            await http.wait(look)
            look = min(LONGEST_LOOK, look * 2)

    async def job(self, job_id: str) -> Job:
        reply = await self._admin.ask(self._status, {"id": job_id})
        told = reply.data.get("bulkOperation") or reply.data.get("node")
        if not told:
            raise BadFile("Shopify no longer knows the bulk operation")
        return Job(
            id=job_id,
            status=str(told["status"]),
            error=told.get("errorCode"),
            rows=int(told.get("rootObjectCount") or 0),
            objects=int(told.get("objectCount") or 0),
            bytes=int(told.get("fileSize") or 0),
            url=told.get("url"),
        )

    async def read(self, job: Job, place: InFile, children: str) -> AsyncIterator[Batch]:
        """Read a file from `place` on, through broken connections. `children` is the name of the connection.

        Raises BadFile when the file is not whole or not grouped, or its address is no longer good;
        Unreachable when no download gets anywhere.
        """
        breaks = 0
        while not (place.rows and _is_whole(job, place)):
            try:
                async for batch in self._download(job, place, children):
                    breaks, place = 0, batch.place
                    yield batch
            except Retryable as error:
                breaks += 1
                if breaks >= BREAKS and isinstance(error, Short):
                    raise BadFile(str(error)) from error
                if breaks >= BREAKS:
                    raise
                log.warning("download_broke_off", rows=place.rows)
                await http.wait(2.0**breaks)
            except Refused as error:
                raise BadFile(f"the file of the bulk operation cannot be had: {error.status}") from error
            else:
                return

    async def _download(self, job: Job, place: InFile, children: str) -> AsyncIterator[Batch]:
        headers = {"range": f"bytes={place.byte}-", "accept-encoding": "identity"}
        async with self._api.stream(str(job.url), headers) as stream:
            rows = _Rows(place, children)
            async for line in _from(stream, place.byte):
                batch = rows.take(line)
                if batch:
                    yield batch
            last = rows.rest()
        _check(job, last.place)
        yield last

    def _in_the_way(self, errors: list[Mapping[str, Any]]) -> str | None:
        """Find the job that is in ours' way; None where Shopify does not name it. Raises NoBulk for anything else."""
        codes = {error.get("code") for error in errors}
        text = " ".join(str(error.get("message", "")) for error in errors)
        if not codes & BUSY:
            raise NoBulk(self._api.redact(f"Shopify refuses the bulk operation: {text}"))
        named = JOB.search(text)
        return named[0] if named else None


class _Rows:
    """Puts lines together to rows: children go to the row before them."""

    def __init__(self, place: InFile, children: str) -> None:
        self._place = place
        self._children = children
        self._byte = place.byte
        self._done: list[Any] = []
        self._row: dict[str, Any] | None = None

    def take(self, line: bytes) -> Batch | None:
        """Take one line; return a batch when it is full."""
        batch = None
        if line.strip():
            told = _read(line)
            if "__parentId" in told:
                self._adopt(told)
            else:
                batch = self._begin(told)
        self._byte += len(line) + 1
        return batch

    def rest(self) -> Batch:
        """Return what is left at the end of the file."""
        self._finish()
        return self._batch()

    def _begin(self, told: dict[str, Any]) -> Batch | None:
        self._finish()
        batch = self._batch() if len(self._done) >= ROWS else None
        self._row = told | {self._children: {"nodes": []}} if self._children else told
        return batch

    def _adopt(self, told: dict[str, Any]) -> None:
        if self._row is None or told["__parentId"] != self._row.get("id"):
            raise BadFile("the lines of the file are not grouped")
        self._row[self._children]["nodes"].append(told)

    def _finish(self) -> None:
        if self._row is not None:
            self._done.append(self._row)
            self._row = None

    def _batch(self) -> Batch:
        rows, self._done = self._done, []
        self._place = replace(self._place, byte=self._byte, rows=self._place.rows + len(rows))
        return Batch(rows, self._place)


async def _from(stream: Stream, byte: int) -> AsyncIterator[bytes]:
    """Skip what comes before `byte` where the storage sent everything again."""
    skip = byte if stream.status == 200 else 0
    async for line in stream.lines:
        if skip > 0:
            skip -= len(line) + 1
        else:
            yield line


def _read(line: bytes) -> dict[str, Any]:
    """Read a line; one that is broken was cut off, and is there in full the next time."""
    try:
        told = _told(line)
    except msgspec.DecodeError as error:
        raise Short("the file of the bulk operation broke off within a line") from error
    if not isinstance(told, dict):
        raise BadFile("the file of the bulk operation holds something else than objects")
    return told


def _told(line: bytes) -> Any:
    """Read JSON, with U+FFFD for what is no letter: one name must not cost the whole file."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return read_json(line)


def _check(job: Job, end: InFile) -> None:
    """Compare what came with what the job wrote. The last line may come without its line feed."""
    if not _is_whole(job, end):
        raise Short("the file of the bulk operation broke off")


def _is_whole(job: Job, end: InFile) -> bool:
    return end.rows >= job.rows and end.byte >= job.bytes
