"""Bulk operations: jobs that write rows as lines of JSON to a file, while somebody waits for them.

A job gets on whenever it is looked at: by as many rows as the shop's clock allows.
"""

import bisect
import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from graphql import FieldNode, OperationDefinitionNode, parse

from connectors.stores.shopify.simulated.nodes import CONNECTIONS, NODES, WRITERS, Node
from connectors.stores.shopify.simulated.search import found, horizon, parse_search
from connectors.stores.shopify.simulated.shop import SimulatedShop

RUNNING = frozenset({"CREATED", "RUNNING", "CANCELING"})
SLICE = 200
"""Rows after which lines of children that are not grouped come before their parents."""

Plan = Sequence[tuple[str, str, Any]]
"""What to write: (key, field, plan of what is below it)."""

_encode = msgspec.json.Encoder().encode


class File:
    """Lines of JSON, packed: a history of 90 MB takes 10."""

    def __init__(self) -> None:
        self.size = 0
        self._starts: list[int] = []
        self._packed: list[bytes] = []

    def add(self, text: bytes) -> None:
        self._starts.append(self.size)
        self._packed.append(zlib.compress(text, 1))
        self.size += len(text)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Give the bytes from `start` to `end`, a piece at a time."""
        first = max(0, bisect.bisect_right(self._starts, start) - 1)
        for at, packed in zip(self._starts[first:], self._packed[first:], strict=True):
            if at >= end:
                return
            piece = zlib.decompress(packed)[max(0, start - at) : end - at]
            if piece:
                yield piece


@dataclass(slots=True)
class Job:
    number: int
    query: str
    created: float
    rows: Iterator[tuple[bytes, list[bytes]]]
    grouped: bool
    count: int
    error: str | None
    status: str = "CREATED"
    completed: float | None = None
    file: File = field(default_factory=File)
    roots: int = 0
    objects: int = 0

    @property
    def id(self) -> str:
        return f"gid://shopify/BulkOperation/{self.number}"


class Jobs:
    """The bulk operations of a shop; `rate` are rows per second, None for all at the first look."""

    def __init__(self, shop: SimulatedShop, rate: float | None, now: Callable[[], float]) -> None:
        self.made: dict[int, Job] = {}
        self._shop = shop
        self._rate = rate
        self._now = now

    def running(self) -> list[Job]:
        return [job for job in self.made.values() if self.look_at(job).status in RUNNING]

    def start(self, query: str, *, grouped: bool) -> Job:
        """Start a job over a query that has been validated."""
        root, plan, ids = _planned(self._shop, query)
        error = self._shop.fail_jobs.pop(0) if self._shop.fail_jobs else None
        number = 7_000 + len(self.made)
        rows = _lines(self._shop, root, plan, ids)
        self.made[number] = Job(number, query, self._now(), rows, grouped, len(ids), error)
        return self.made[number]

    def find(self, gid: str) -> Job | None:
        number = gid.rpartition("/")[2]
        job = self.made.get(int(number)) if number.isdigit() else None
        return self.look_at(job) if job else None

    def cancel(self, job: Job) -> None:
        if job.status in RUNNING:
            job.status = "CANCELED"

    def look_at(self, job: Job) -> Job:
        """Let a job do the work that it has had time for."""
        if job.status not in RUNNING:
            return job
        last = job.count // 2 if job.error else job.count
        due = last if self._rate is None else min(last, int((self._now() - job.created) * self._rate))
        while job.roots < due:
            rows = list(itertools.islice(job.rows, min(SLICE, due - job.roots)))
            if not rows:  # the others were deleted since it began
                last = due = job.count = job.roots
            _write(job, rows)
        job.status = "RUNNING"
        if job.roots >= last:
            job.status = "FAILED" if job.error else "COMPLETED"
            job.completed = self._now()
        return job


def _write(job: Job, rows: Sequence[tuple[bytes, list[bytes]]]) -> None:
    if job.grouped:
        lines = [line for row, children in rows for line in (row, *children)]
    else:
        lines = [line for _, children in rows for line in children] + [row for row, _ in rows]
    job.file.add(b"".join(line + b"\n" for line in lines))
    job.roots += len(rows)
    job.objects += len(lines)


def _planned(shop: SimulatedShop, query: str) -> tuple[str, Plan, Sequence[int]]:
    operation = next(each for each in parse(query).definitions if isinstance(each, OperationDefinitionNode))
    (root,) = [node for node in operation.selection_set.selections if isinstance(node, FieldNode)]
    name = root.name.value
    told = {each.name.value: getattr(each.value, "value", None) for each in root.arguments or ()}
    search = parse_search(told.get("query"), name, shop.midnight)
    shop.let_search_catch_up()
    return (
        name,
        _plan(_below(_below(root, "edges"), "node")),
        list(found(shop, name, "created", [*search.filters, *horizon(shop, name)])),
    )


def _below(node: FieldNode, name: str) -> FieldNode:
    """Step down into a field; `nodes` stands for both `edges` and `node`."""
    below = [each for each in _fields(node) if each.name.value in {name, "nodes"}]
    return below[0] if below else node


def _fields(node: FieldNode) -> list[FieldNode]:
    selections = node.selection_set.selections if node.selection_set else ()
    return [each for each in selections if isinstance(each, FieldNode)]


def _plan(node: FieldNode) -> Plan:
    planned = []
    for each in _fields(node):
        name = each.name.value
        inner = _below(_below(each, "edges"), "node") if name in CONNECTIONS else each
        planned.append(
            (each.alias.value if each.alias else name, name, _plan(inner) if inner.selection_set else None)
        )
    return planned


def _lines(
    shop: SimulatedShop, root: str, plan: Plan, ids: Sequence[int]
) -> Iterator[tuple[bytes, list[bytes]]]:
    flat = [part for part in plan if part[1] not in CONNECTIONS]
    nested = [part for part in plan if part[1] in CONNECTIONS]
    for number in ids:
        if number not in shop.rows(root):
            continue
        node = NODES[root](shop, number)
        parent = node.field("id")
        children = [
            _encode(picked(child, below) | {"__parentId": parent})
            for _, name, below in nested
            for child in node.field(name)
        ]
        yield _encode(picked(node, flat)), children


def picked(source: Node | Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Pick fields out of a row."""
    if isinstance(source, Node):
        told, write = source.told(), WRITERS[source.type]
        return {
            key: _below_it(told[name] if name in told else write[name](source.shop, source.row), below)
            for key, name, below in plan
        }
    return {key: _below_it(source.get(name), below) for key, name, below in plan}


def _below_it(value: Any, plan: Plan | None) -> Any:
    if plan is None or value is None:
        return value
    return [picked(each, plan) for each in value] if isinstance(value, list) else picked(value, plan)
