"""Mailchimp's background jobs: one stage after the other, results in a packed file behind a short-lived link."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from connectors.esps.mailchimp.simulated.audience import Problem, invalid, not_found

MOST_OPERATIONS = 1000
MOST_PENDING = 500
STAGES = ("pending", "preprocessing", "started", "finalizing", "finished")
LINK_LIFE = timedelta(minutes=10)

Document = dict[str, Any]
Reply = tuple[int, Document | None]
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Batch:
    """A background job; `archive` holds its results once it has run."""

    id: str
    operations: list[Document]
    submitted: datetime
    total: int
    stage: int = 0
    errored: int = 0
    completed: datetime | None = None
    archive: bytes = b""
    tokens: dict[str, datetime] = field(default_factory=dict)


class Batches:
    """`do` performs one operation. With `seconds` a batch is finished so long after it was sent.

    `spoil` looks at each operation: a status it returns is answered instead of doing it, 0 loses the
    operation without a trace.
    """

    def __init__(
        self,
        do: Callable[[Document], Reply],
        *,
        clock: Callable[[], datetime],
        seconds: float | None,
        seed: int,
    ) -> None:
        self.seconds = seconds
        self.spoil: Callable[[Document], int | None] = lambda _: None
        self.found: dict[str, Batch] = {}
        self._do = do
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311 - a reproducible order, nothing secret

    def submit(self, operations: object) -> Batch:
        if not isinstance(operations, list) or not operations:
            raise invalid("The resource submitted could not be validated.", operations="Required")
        if len(operations) > MOST_OPERATIONS:
            message = f"This collection should contain {MOST_OPERATIONS} elements or less."
            raise invalid("The resource submitted could not be validated.", operations=message)
        if sum(batch.completed is None for batch in self.found.values()) >= MOST_PENDING:
            raise Problem(429, "Too Many Requests", "There are 500 pending batches already.")
        batch = Batch(f"{self._random.getrandbits(40):010x}", operations, self._clock(), len(operations))
        self.found[batch.id] = batch
        return batch

    def get(self, number: str) -> Batch:
        """Find a batch. Raises Problem (404) for one that is forgotten."""
        if number not in self.found:
            raise not_found()
        return self.found[number]

    def advance(self, batch: Batch) -> None:
        """Go a stage further for each look; or, with `seconds`, as far as time has come."""
        if self.seconds is None:
            stage = batch.stage + 1
        else:
            passed = (self._clock() - batch.submitted).total_seconds()
            stage = int(passed / self.seconds * 4) if self.seconds else len(STAGES)
        batch.stage = max(batch.stage, min(stage, len(STAGES) - 1))
        if STAGES[batch.stage] == "finished" and batch.completed is None:
            self._run(batch)

    def _run(self, batch: Batch) -> None:
        """Do the operations in no order, and pack the results in another."""
        self._random.shuffle(batch.operations)
        rows = [row for each in batch.operations if (row := self._operate(each))]
        self._random.shuffle(rows)
        batch.errored = sum(row["status_code"] >= 300 for row in rows)
        batch.archive = _packed(batch.id, rows)
        batch.completed, batch.operations = self._clock(), []

    def _operate(self, asked: Document) -> Document | None:
        spoiled = self.spoil(asked)
        if spoiled == 0:
            return None
        status, document = (spoiled, {"title": "Internal Server Error"}) if spoiled else self._do(asked)
        response = "" if document is None else _encode(document).decode()
        return {"status_code": status, "operation_id": asked.get("operation_id"), "response": response}

    def link(self, batch: Batch, host: str) -> str:
        """Make an address for the results that works for ten minutes."""
        token = f"{self._random.getrandbits(64):016x}"
        batch.tokens = {old: until for old, until in batch.tokens.items() if until > self._clock()}
        batch.tokens[token] = self._clock() + LINK_LIFE
        return f"{host}/batch-results/{batch.id}-{token}.tar.gz?X-Amz-Expires=600"

    def expire_links(self) -> None:
        for batch in self.found.values():
            batch.tokens.clear()

    def results(self, name: str) -> bytes | None:
        """Find what lies behind a link, None when it has expired."""
        number, _, token = name.removesuffix(".tar.gz").partition("-")
        batch = self.found.get(number)
        alive = batch is not None and batch.tokens.get(token, batch.submitted) > self._clock()
        return batch.archive if batch and alive else None


def _packed(name: str, rows: Sequence[Document]) -> bytes:
    """Pack results as Mailchimp does: a folder, several files of JSON, one of them empty."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo(name)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for number, part in enumerate([*_parts(rows, 400), None]):
            text = b"" if part is None else _encode(part)
            file = tarfile.TarInfo(f"{name}/{number}.json")
            file.size = len(text)
            archive.addfile(file, io.BytesIO(text))
    return gzip.compress(buffer.getvalue(), compresslevel=1)


def _parts(rows: Sequence[Document], size: int) -> Iterator[Sequence[Document]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
