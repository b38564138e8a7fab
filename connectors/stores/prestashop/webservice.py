"""Asking the webservice for rows: one question, one `Listing`, whatever the shop makes of it.

- A shop answers JSON where it can; where nothing at all comes, the same is asked for in XML from then on.
- A row that a module stumbles over makes the whole page a 500: it is looked for by halves and left out.
- A key that the shop's web server hides from PHP is shown in the query, which ends up in the access log.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.errors import BadRecord, Refused, RemoteFault
from connectors.http import Answer, Api, Auth, BasicAuth, Request, wait
from connectors.paging import Row
from connectors.stores.prestashop.markup import as_json, cut_junk
from connectors.stores.prestashop.refusals import OFF, PHP_FAULTS, SENTENCES, explain, troubles_of

READABLE = frozenset({500, 503})
"""Statuses whose answer may hold the webservice's own words."""
PATIENCE = 40
"""How many questions in a row may fail, in search of unreadable rows, before a look whether any other can be read."""
BREATH = 1.0
"""Seconds before a question that PHP stumbled over is asked again."""
UNREADABLE = "the shop answers with a PHP error for it: a module is broken; see the shop's error log"

KINDS: Mapping[str, str] = {
    "orders": "order",
    "customers": "customer",
    "products": "product",
    "order_slip": "refund",
    "carts": "checkout",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A question: which rows of a resource, in which order, with which fields.

    `fields` are those of `display`; `where` is field -> filter as the webservice writes it. `of_date` must be
    set when a filter or the order names `date_add` or `date_upd`.
    """

    resource: str
    fields: str
    where: Mapping[str, str] = field(default_factory=dict)
    sort: str = "id_ASC"
    size: int | None = None
    offset: int = 0
    of_date: bool = False
    language: str | None = None

    def params(self) -> dict[str, Any]:
        """Write the question as the webservice reads it; without fields it answers ids alone."""
        filters = {f"filter[{name}]": value for name, value in self.where.items()}
        asked = {"display": f"[{self.fields}]" if self.fields else None, **filters, "sort": f"[{self.sort}]"}
        limit = None if self.size is None else f"{self.offset},{self.size}"
        rest = {"limit": limit, "date": "1" if self.of_date else None, "language": self.language}
        return {name: value for name, value in {**asked, **rest}.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Listing:
    """What came: rows in the order asked for, the shop's clock, and which rows it could not show.

    `ids` are those of all rows, shown or not.
    """

    rows: Sequence[Row]
    sent_at: datetime
    bad: Sequence[BadRecord] = ()
    ids: Sequence[str] = ()


class Key(Auth):
    """Show the key as the user's name; in the query where the shop does not see that."""

    requires_response_body = True

    def __init__(self, key: str) -> None:
        self._key = key
        self._basic = BasicAuth(key, "")
        self._in_query = False

    def auth_flow(self, request: Request) -> Generator[Request, Any, None]:
        if not self._in_query:
            response = yield next(self._basic.auth_flow(request))
            if response.status_code != 401 or troubles_of(response.content):
                return
        request.url = request.url.copy_merge_params({"ws_key": self._key})
        response = yield request
        self._in_query = response.is_success


class _Stumbled(RemoteFault):
    """PHP stumbled while it wrote an answer."""


class Webservice:
    """The webservice below `root`; one request at a time, as shared hosting dies of more.

    `lag` is by how much the shop's clock is behind ours, None before its first answer.
    """

    def __init__(self, root: str, key: str) -> None:
        self.api = Api(
            f"{root}/api",
            auth=Key(key),
            concurrency=1,
            secrets=[key],
            clean=_read,
            transient=_is_outage,
            explain=explain,
        )
        self.lag: timedelta | None = None
        self._form: dict[str, str] = {"output_format": "JSON"}

    async def rows(self, ask: Ask) -> Listing:
        """Ask; leave out the rows that the shop itself cannot show. Raises ConnectorErrors."""
        try:
            return await _twice(self._rows, ask)
        except _Stumbled as error:
            return await _Search(self, ask, error).run()

    async def ids(self, ask: Ask) -> Sequence[str]:
        """List the ids alone, for which no row is loaded."""
        return (await _twice(self._rows, replace(ask, fields=""))).ids

    async def _rows(self, ask: Ask) -> Listing:
        answer = await self._answer(ask.resource, ask.params())
        rows = rows_of(answer.json)
        return Listing(rows, answer.sent_at or datetime.now(UTC), ids=[str(row["id"]) for row in rows])

    def _learn_the_time(self, answer: Answer) -> None:
        now = datetime.now(UTC)
        self.lag = max(now - (answer.sent_at or now), timedelta())

    async def _answer(self, resource: str, params: Mapping[str, Any]) -> Answer:
        asked = {name: value for name, value in params.items() if value is not None}
        answer = await self.api.get(resource, asked | self._form, expect=READABLE)
        if _is_blank(answer) and self._form:
            answer = await self.api.get(resource, asked, expect=READABLE)
            self._form = {} if answer.status == 200 and not _is_blank(answer) else self._form
        if answer.status == 200 and not _is_blank(answer):
            self._learn_the_time(answer)
            return answer
        raise _failure(answer)


class _Search:
    """Look for the rows that PHP stumbles over, by halves."""

    def __init__(self, webservice: Webservice, ask: Ask, error: RemoteFault) -> None:
        self._webservice = webservice
        self._ask = ask
        self._error = error
        self._failures = 0  # in a row

    async def run(self) -> Listing:
        """Read what can be read. Raises the first error when the whole resource seems to be broken."""
        ids = await self._webservice.ids(self._ask)
        found = await self._among(ids)
        if not found.rows and not await self._is_readable_elsewhere(ids):
            raise self._error
        return replace(found, ids=ids)

    async def _is_readable_elsewhere(self, broken: Sequence[str]) -> bool:
        """Try the oldest and the newest row there is, unless they are among the broken ones."""
        for sort in ("id_ASC", "id_DESC"):
            one = replace(self._ask, where={}, sort=sort, size=1, offset=0)
            with suppress(_Stumbled):
                if not set(await self._webservice.ids(one)) & set(broken):
                    return bool((await self._webservice._rows(one)).rows)  # noqa: SLF001 - as above
        return False

    async def _among(self, ids: Sequence[str]) -> Listing:
        try:
            found = await self._webservice._rows(_only(self._ask, ids))  # noqa: SLF001 - its other half
        except _Stumbled:
            self._failures += 1
        else:
            self._failures = 0
            return found
        if self._failures > PATIENCE:
            self._failures = 0
            if not await self._is_readable_elsewhere(ids):
                raise self._error
        if len(ids) <= 1:
            kind = KINDS.get(self._ask.resource, self._ask.resource)
            return Listing([], datetime.now(UTC), [BadRecord(f"{kind} {one}", UNREADABLE) for one in ids])
        middle = len(ids) // 2
        left, right = await self._among(ids[:middle]), await self._among(ids[middle:])
        return Listing([*left.rows, *right.rows], right.sent_at, [*left.bad, *right.bad])


async def _twice(ask_for: Callable[[Ask], Awaitable[Listing]], ask: Ask) -> Listing:
    """Ask once more when PHP stumbles: some do so now and then."""
    try:
        return await ask_for(ask)
    except _Stumbled:
        await wait(BREATH)
    return await ask_for(ask)


def _only(ask: Ask, ids: Sequence[str]) -> Ask:
    return replace(ask, where={"id": one_of(ids)}, size=None)


def one_of(values: Sequence[str]) -> str:
    """Write a filter that takes any of these."""
    return f"[{'|'.join(values)}]"


def rows_of(body: Any) -> list[Any]:
    """Find the rows: `[]` when there is none, else the list below the only key, whatever its name.

    The key is not always the resource's name (`order_slip` answers `order_slips`). A single row comes
    without a list. Raises RemoteFault for what no webservice sends.
    """
    found = next(iter(body.values()), []) if isinstance(body, Mapping) else body
    rows = [found] if isinstance(found, Mapping) else found
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise RemoteFault("the shop answered something that is no list of rows")
    return rows


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and str(row.get("id")).isdigit()


def _read(body: bytes) -> bytes:
    """Make JSON of an answer. Raises RemoteFault for a web page."""
    if not body.strip():
        return b"null"
    found = cut_junk(body)
    if not found:
        raise RemoteFault("the shop answered with a web page instead of rows: a module or its host broke in")
    try:
        return as_json(found)
    except ValueError as error:
        raise RemoteFault("the shop answered with XML that cannot be read") from error


def _is_blank(answer: Answer) -> bool:
    return not answer.body.strip() and answer.status in {200, 500}


def _is_outage(answer: Answer) -> bool:
    """Tell an outage of the host from the webservice's own words, and from its silence."""
    return answer.status in READABLE and not _is_blank(answer) and not troubles_of(answer.body)


def _failure(answer: Answer) -> Exception:
    troubles = troubles_of(answer.body)
    codes = {trouble.code for trouble in troubles}
    if OFF in codes:
        return Refused(SENTENCES[OFF], status=answer.status, body=answer.body)
    if not troubles:
        return RemoteFault("the shop answered nothing at all: PHP died; see the shop's error log")
    if answer.status == 500 and codes & PHP_FAULTS:
        return _Stumbled(f"the shop answered with a PHP error (code {min(codes)}): a module is broken")
    return RemoteFault(f"the shop answered {answer.status} (code {min(codes)})")
