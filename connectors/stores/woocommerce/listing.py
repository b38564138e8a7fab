"""How WooCommerce's lists are read: one page of them, and a walk along time that no moving row escapes."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.errors import ConnectorError, Refused, RemoteFault, Unreachable
from connectors.http import Answer, Api
from connectors.paging import row_id
from connectors.stores.woocommerce.payloads import as_rows, moment_of
from connectors.stores.woocommerce.refusals import body_of
from connectors.stores.woocommerce.rows import SHAPES

PAGE_SIZE = 100
"""The most that the API takes; more is a 400."""
SMALL = 25
"""Rows that a host is asked for at once after it failed over a full page."""
SECOND = timedelta(seconds=1)
ROUNDS = 3
"""How often one second is read at most while its rows go away; none can come back into it."""
MOST_LAG = timedelta(days=1)
ROOTS = ("wp-json/wc/v3", "index.php/wp-json/wc/v3")
"""Without pretty permalinks only the second works. `?rest_route=` would too, but there keys are ignored."""

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of rows. `total` is how many there are in all, None where the shop does not say."""

    rows: Sequence[Any]
    total: int | None
    is_last: bool
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Axis:
    """A time to walk along: its name in rows, in the filters and in `orderby`."""

    name: str
    after: str
    before: str
    orderby: str

    def between(self, start: datetime | None, end: datetime | None) -> dict[str, str]:
        """Ask for rows in [start, end), oldest first."""
        params = {"orderby": self.orderby, "order": "asc"}
        if start or end:
            params["dates_are_gmt"] = "true"
        if start:
            params[self.after] = naive(start - SECOND)
        if end:
            params[self.before] = naive(end)
        return params

    def moment(self, row: Any) -> datetime | None:
        return moment_of(row, self.name)


CREATED = Axis("date_created_gmt", "after", "before", "date")
MODIFIED = Axis("date_modified_gmt", "modified_after", "modified_before", "modified")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk stands: what is to come has a time of `start` or later.

    `ids` are those of that very second which were seen, `count` is how many rows lie before it.
    """

    start: datetime | None
    ids: frozenset[str] = frozenset()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """New rows of a walk, and where to go on after them. `total` is for the whole way."""

    rows: Sequence[Any]
    place: Place
    total: int | None = None
    is_last: bool = False
    sent_at: datetime | None = None


class Shop:
    """The lists of one shop, below whichever address it has them.

    `lag` is how far its clock was behind ours in the last answer, up to a day (None before any): what we
    call now has not happened there yet.
    """

    def __init__(self, api: Api) -> None:
        self.lag: timedelta | None = None
        self._api = api
        self._root: str | None = None
        self._size = PAGE_SIZE

    async def list(self, path: str, params: Params, page: int = 1, size: int = PAGE_SIZE) -> Listing:
        """Ask for one page; a full one that the host does not get done, in parts, and so from then on.

        Raises RemoteFault when a 200 holds no list.
        """
        if size == PAGE_SIZE and self._size == PAGE_SIZE:
            try:
                return await self._list(path, params, page, size)
            except (RemoteFault, Unreachable) as error:
                self._shrink(error)
        elif size != PAGE_SIZE:
            return await self._list(path, params, page, size)
        with self._only_if_it_helps():
            return await self._in_parts(path, params, page)

    async def _next(self, path: str, params: Params, page: int) -> Listing:
        """Ask for a page of a walk, of as many rows as the host gets done: there pages need not be of one size."""
        try:
            return await self._list(path, params, page, self._size)
        except (RemoteFault, Unreachable) as error:
            if page > 1:
                raise
            self._shrink(error)
        with self._only_if_it_helps():
            return await self._list(path, params, page, self._size)

    def _shrink(self, error: ConnectorError) -> None:
        """Ask for less from now on; raise where that was done already, or nothing ever arrived."""
        if self._size == SMALL or (isinstance(error, Unreachable) and not error.sent):
            raise error
        self._size = SMALL

    @contextmanager
    def _only_if_it_helps(self) -> Iterator[None]:
        try:
            yield
        except ConnectorError:
            self._size = PAGE_SIZE
            raise

    async def _in_parts(self, path: str, params: Params, page: int) -> Listing:
        """Put a full page together. A row that moves meanwhile may be missed: then the count does not come out."""
        start = int(params.get("offset", (page - 1) * PAGE_SIZE))
        rows: list[Any] = []
        for offset in range(start, start + PAGE_SIZE, SMALL):
            part = await self._list(path, {**params, "offset": offset}, 1, SMALL)
            rows += part.rows
            end = offset + SMALL
            is_last = len(part.rows) < SMALL if part.total is None else end >= part.total
            if is_last:
                break
        return replace(part, rows=rows, total=None if page > 1 and not rows else part.total, is_last=is_last)

    async def _list(self, path: str, params: Params, page: int, size: int) -> Listing:
        answer = await self._get(path, {**params, "per_page": size, "page": page})
        rows = as_rows(answer.json)
        if rows is None:
            raise RemoteFault(f"{path}: the shop answered an object where a list should be")
        self.lag = _lag(answer.sent_at, self.lag)
        total = _count(answer, "x-wp-total", len(rows))
        return Listing(
            rows=rows,
            total=None if page > 1 and not rows else total,
            is_last=_is_last(answer, rows, page, size),
            sent_at=answer.sent_at,
        )

    async def walk(
        self, path: str, params: Params, axis: Axis, place: Place, end: datetime | None = None
    ) -> AsyncIterator[Step]:
        """Read all rows from `place` on, each once; a row that moves meanwhile is met where it went.

        Ask for page 1 always, from the second of the last row on. `end` leaves out what is not before it.
        """
        page = 1
        while True:
            listing = await self._next(path, {**params, **axis.between(place.start, end)}, page)
            fresh = unseen(listing.rows, place.ids)
            total = None if listing.total is None else place.count + listing.total
            if listing.is_last:
                yield Step(fresh, place, total, is_last=True, sent_at=listing.sent_at)
                return
            last = _last(listing.rows, axis)
            if page == 1 and last is not None and last == place.start:
                async for step in self._walk_second(path, params, axis, place):
                    yield step
                    place = step.place
                continue
            if last is None or (place.start is not None and last <= place.start):
                page += 1  # rows without a time, or a shop that does not filter: only the number moves on
            else:
                place, page = _moved(place, listing.rows, fresh, last, axis), 1
            yield Step(fresh, place, total, sent_at=listing.sent_at)

    async def _walk_second(self, path: str, params: Params, axis: Axis, place: Place) -> AsyncIterator[Step]:
        """Read the one second of `place`, which holds more than a page; then the place is behind it.

        Its rows can only go away, which pulls later ones to a page that was read: then read it again.
        """
        assert place.start is not None  # noqa: S101 - for the type: `walk` comes here with a second only
        behind = place.start + SECOND
        within = {**params, **axis.between(place.start, behind)}
        seen = set(place.ids)
        for _ in range(ROUNDS):
            met: set[str] = set()
            totals: set[int | None] = set()
            page, is_last = 1, False
            while not is_last:
                listing = await self.list(path, within, page)
                fresh = unseen(listing.rows, seen)
                seen |= ids_of(fresh)
                met |= ids_of(listing.rows)
                totals.add(listing.total)
                yield Step(fresh, place, sent_at=listing.sent_at)
                page, is_last = page + 1, listing.is_last
            if totals == {None} or (len(totals) == 1 and len(met) >= max(filter(None, totals))):
                break
        yield Step([], Place(behind, count=place.count + len(seen)))

    async def _get(self, path: str, params: Params) -> Answer:
        """Ask below the address that worked before; the first time, try the other one as well."""
        root = self._root or ROOTS[0]
        try:
            answer = await self._api.get(f"{root}/{path}", params, shape=SHAPES.get(path, Any))
        except Refused as error:
            if self._root or error.status != 404 or body_of(error.body):
                raise
            return await self._get_elsewhere(path, params, error)
        self._root = root
        return answer

    async def write(
        self,
        method: str,
        path: str,
        row: Params | None = None,
        *,
        params: Params | None = None,
        expect: frozenset[int] = frozenset(),
    ) -> Answer:
        """Send a row below the address at which a list was read before; what makes something is sent once."""
        there = f"{self._root or ROOTS[0]}/{path}"
        return await self._api.send(method, there, row, params=params, expect=expect, repeat=method != "POST")

    async def _get_elsewhere(self, path: str, params: Params, error: Refused) -> Answer:
        try:
            answer = await self._api.get(f"{ROOTS[1]}/{path}", params, shape=SHAPES.get(path, Any))
        except Refused as other:
            raise (other if body_of(other.body) else error) from error
        self._root = ROOTS[1]
        return answer


def naive(moment: datetime) -> str:
    """Write a moment as `dates_are_gmt=true` wants it: UTC, whole seconds, no zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def ids_of(rows: Iterable[Any]) -> frozenset[str]:
    """Ids of those rows that have one."""
    return frozenset(row_id(row) for row in rows if isinstance(row, Mapping) and "id" in row)


def unseen(rows: Sequence[Any], ids: AbstractSet[str]) -> list[Any]:
    """Leave out rows whose id is among `ids`."""
    if not ids:
        return list(rows)
    return [row for row in rows if row_id(row) not in ids]


def _moved(place: Place, rows: Sequence[Any], fresh: Sequence[Any], last: datetime, axis: Axis) -> Place:
    ids = ids_of(row for row in rows if axis.moment(row) == last)
    return Place(last, ids, place.count + len(place.ids) + len(fresh) - len(ids))


def _lag(sent_at: datetime | None, before: timedelta | None) -> timedelta:
    """Say how far a clock is behind ours; of a host that does not tell the time, that it is not."""
    if sent_at is None:
        return before or timedelta()
    return min(MOST_LAG, max(timedelta(), datetime.now(UTC) - sent_at))


def _last(rows: Sequence[Any], axis: Axis) -> datetime | None:
    return next((moment for row in reversed(rows) if (moment := axis.moment(row))), None)


def _is_last(answer: Answer, rows: Sequence[Any], page: int, size: int) -> bool:
    """Tell whether no page follows: by the shop's count, else by a page that is not full."""
    pages = _count(answer, "x-wp-totalpages", page if rows else 0)
    total = _count(answer, "x-wp-total", len(rows))
    if pages is not None:
        return page >= pages
    if total is not None:
        return page * size >= total
    return len(rows) < size


def _count(answer: Answer, header: str, least: int) -> int | None:
    """Read a count; one that is less than what came is none: caches and firewalls rewrite headers."""
    text = answer.headers.get(header, "")
    return int(text) if text.isdigit() and int(text) >= least else None
