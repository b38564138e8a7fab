"""Mailchimp's background jobs: up to 1,000 calls in one request, results by operation id.

https://mailchimp.com/developer/marketing/guides/run-async-requests-batch-endpoint/

- The results are a `.tar.gz` at a pre-signed address that refuses our credentials and soon expires.
- `finished` says nothing about success, and the counters name no contact: only the results count.
- Operations run in parallel and come back in any order.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from connectors import http
from connectors.errors import Refused, RemoteFault
from connectors.esps.mailchimp.writes import Write, document_of
from connectors.http import Api

FIRST_PAUSE, LEAST_PAUSE = 1.0, 0.125
LONGEST_PAUSE = 60.0
GROWTH = 1.5
PATIENCE = 6 * 3600.0
"""Seconds until a batch is given up. Mailchimp promises no time; tens of minutes are seen on busy days."""
DOWNLOADS = 5
GZIP = b"\x1f\x8b"
"""How a packed file begins. A storage that calls it an encoding has it unpacked on the way."""
LARGEST_RESULT = 256 * 1024 * 1024
"""Bytes, unpacked; what is longer counts as broken. A thousand answers with all their links are about 5 MB."""

_NOT_THE_FORMAT = (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError)
_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one operation was answered; `problem` is empty for a success."""

    status: int
    problem: Mapping[str, Any]


class _Unreadable(Exception):
    """The downloaded results are broken; another download may be whole."""


def operation(write: Write, audience: str, params: Mapping[str, str]) -> dict[str, Any]:
    return {
        "method": "PUT",
        "path": f"{audience}/members/{write.key}",
        "params": dict(params),
        "operation_id": str(write.contact.profile),
        "body": _encode(write.upsert()).decode(),
    }


async def submit(api: Api, operations: Sequence[Mapping[str, Any]]) -> str:
    """Let operations run in the background; return the batch's path."""
    answer = await api.send("POST", "/batches", {"operations": operations})
    return f"/batches/{answer.json['id']}"


@dataclass(slots=True)
class Pace:
    """Seconds until a batch is first looked at: less while the batches before were done by then."""

    first: float = FIRST_PAUSE

    def learn(self, *, in_time: bool) -> None:
        """Note whether a batch was done at the first look."""
        self.first = max(self.first / 2, LEAST_PAUSE) if in_time else FIRST_PAUSE


async def outcomes_of(api: Api, storage: Api, path: str, pace: Pace) -> Mapping[str, Outcome]:
    """Wait for a batch; return the outcomes by `operation_id`, without those that Mailchimp lost.

    Raises RemoteFault when it does not finish within hours; what has not run by then is called off, so
    that it cannot overwrite what is pushed later.
    """
    finished = await _finish(api, path, pace)
    return await _results(api, storage, path, finished) if finished else {}


async def _finish(api: Api, path: str, pace: Pace) -> Mapping[str, Any] | None:
    """Wait for the end; None when Mailchimp has forgotten the batch."""
    waited, pause = 0.0, pace.first
    while waited < PATIENCE:
        await http.wait(pause)
        batch = await _look(api, path)
        is_over = batch is None or batch.get("status") == "finished"
        if waited == 0:
            pace.learn(in_time=is_over)
        if is_over:
            return batch
        waited, pause = waited + pause, min(max(pause, FIRST_PAUSE) * GROWTH, LONGEST_PAUSE)
    await api.send("DELETE", path, expect=frozenset({404}))
    raise RemoteFault(f"Mailchimp: a batch has not finished after {PATIENCE / 3600:.0f} hours")


async def _look(api: Api, path: str) -> Mapping[str, Any] | None:
    answer = await api.get(path, {"exclude_fields": "_links"}, expect=frozenset({404}))
    return None if answer.status == 404 else document_of(answer.json)


async def _results(api: Api, storage: Api, path: str, finished: Mapping[str, Any]) -> Mapping[str, Outcome]:
    """Download the results; where the address has expired or the file broke off, by a fresh address."""
    batch: Mapping[str, Any] | None = finished
    for trial in range(DOWNLOADS):
        if batch is None:
            return {}
        if url := batch.get("response_body_url"):
            with suppress(Refused, _Unreadable):
                return read_results(await storage.fetch(url))
        await http.wait(FIRST_PAUSE * GROWTH**trial)
        batch = await _look(api, path)
    raise RemoteFault("Mailchimp: the results of a finished batch cannot be read")


def read_results(archive: bytes) -> dict[str, Outcome]:
    """Read every JSON file of the archive in memory; nothing is unpacked to disk, whatever the names say."""
    try:
        with gzip.open(io.BytesIO(archive)) if archive.startswith(GZIP) else io.BytesIO(archive) as packed:
            content = packed.read(LARGEST_RESULT)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as files:
            texts = (file.read() for entry in files if (file := files.extractfile(entry)))
            return dict(_outcomes(row for text in texts if text.strip() for row in _rows(text)))
    except (OSError, EOFError, zlib.error, tarfile.TarError, *_NOT_THE_FORMAT) as error:
        raise _Unreadable from error


class _Row(Struct):
    """One operation's result. The answer, a whole contact as a rule, is read of those that failed only."""

    status_code: Any
    operation_id: Any
    response: Raw = Raw(b"null")


_rows = msgspec.json.Decoder(list[_Row]).decode


def _outcomes(rows: Iterable[_Row]) -> Iterable[tuple[str, Outcome]]:
    for row in rows:
        status = int(row.status_code)
        problem = {} if status < 300 else document_of(_json_or_none(_decode(row.response)))
        yield str(row.operation_id), Outcome(status, problem)


def _json_or_none(text: object) -> object:
    """Parse an operation's answer; one that the edge cut off is a web page, or nothing."""
    try:
        return _decode(str(text))
    except msgspec.DecodeError:
        return None
