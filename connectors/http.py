"""`Api`: how connectors talk HTTP. Authentication, budgets, pauses, retries and redaction live here only.

Statuses become errors here and nowhere else; a connector adds what its vendor says inside a 200.
"""

import asyncio
import email.utils
import functools
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import msgspec
import structlog
import tenacity
from aiolimiter import AsyncLimiter

from connectors.base import Tally
from connectors.decoding import read_json
from connectors.errors import ConnectorError, Refused, RemoteFault, Retryable, Throttled, Unreachable

log = structlog.get_logger()

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 508, *range(520, 528), 530})
LONGEST_PAUSE = 120.0
"""Seconds. Who asks us to wait longer gets the next run instead."""
ATTEMPTS = 7
MINUTE, MOST_LAG = timedelta(minutes=1), timedelta(days=3_650)
SHOWN = 300
"""Characters of a vendor's text that an error shows."""

Result = TypeVar("Result")

_encode = msgspec.json.Encoder(decimal_format="number").encode
_backoff = tenacity.wait_exponential_jitter(multiplier=0.5, max=30.0, jitter=0.5)
_TROUBLES: Mapping[type[Exception], str] = {
    httpx.ConnectError: "no connection (host name, port or certificate)",
    httpx.ConnectTimeout: "no connection in time",
    httpx.ReadTimeout: "no answer in time",
    httpx.ReadError: "the connection broke while reading",
    httpx.WriteError: "the connection broke while writing",
    httpx.RemoteProtocolError: "the answer broke off",
}
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+(@|%40)[^\s<>\"'(),;:]+", re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w.:-])\+\d[\d .()/-]{6,18}\d")
_READ = httpx.ByteStream(b"")
_BARE = {"user-agent": "Cartwire", "accept-encoding": "gzip, deflate"}
"""All that a download from somebody else's storage tells of us: no key, no cookie."""

Auth = httpx.Auth
BasicAuth = httpx.BasicAuth
Request = httpx.Request


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are lower-case.

    `json` is None where no JSON was asked for, and where an error that was expected came as something else.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def sent_at(self) -> datetime | None:
        """The server's own clock (`Date`), or None."""
        return _sent_at(self.headers)


class Api:
    """One outside system's HTTP API: shared connections, one budget, one pause for everybody.

    `concurrency` is requests in flight; `per_second` a rate, None for none; `spaced` keeps requests
    evenly apart, for vendors that count every second (else the first second may see twice the rate).
    `secrets` never appear in an error. `clean` mends a body before it is parsed. `transient` may call
    further answers worth a retry. `explain` makes the owner's sentence out of a refusal's answer, `pause`
    reads seconds to wait out of a 429 whose `Retry-After` does not say, `spent` out of a good answer that
    says that the budget is used up.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        concurrency: int = 4,
        per_second: float | None = None,
        spaced: bool = False,
        timeout: float = 60.0,
        secrets: Sequence[str] = (),
        clean: Callable[[bytes], bytes] | None = None,
        transient: Callable[[Answer], bool] | None = None,
        explain: Callable[[Answer], str | None] | None = None,
        pause: Callable[[Answer], float | None] | None = None,
        spent: Callable[[Answer], float | None] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.tally = Tally()
        self._client = httpx.AsyncClient(
            auth=auth,
            headers={"user-agent": "Cartwire", "accept": "application/json", **(headers or {})},
            verify=_certificates(),
            timeout=httpx.Timeout(timeout, connect=20.0, pool=None),
            limits=httpx.Limits(max_connections=concurrency + 2, max_keepalive_connections=concurrency),
            follow_redirects=False,
        )
        self._slots = asyncio.Semaphore(concurrency)
        self._spaced = spaced
        self._rate = self._limiter(per_second) if per_second else None
        self._secrets = _longest_first(secrets)
        self._clean = clean
        self._transient = transient or (lambda _: False)
        self._explain = explain or (lambda _: None)
        self._pause_in = pause or (lambda _: None)
        self._spent_for = spent or (lambda _: None)
        self._resume_at = 0.0

    async def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        expect: frozenset[int] = frozenset(),
        shape: Any = Any,
    ) -> Answer:
        return await self.send("GET", path, params=params, expect=expect, shape=shape)

    async def send(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        expect: frozenset[int] = frozenset(),
        shape: Any = Any,
        repeat: bool = True,
    ) -> Answer:
        """Send a request until it is answered; return a 2xx, or a status that stands in `expect`.

        `path` is below `base_url`, or an absolute URL of the same system. `shape` is a msgspec type for the
        JSON of a 2xx: what it does not name is skipped unread, which counts where bulk calls are answered
        with whole contacts. `repeat=False` is for calls that must not be made twice: then only a refused
        connection is tried again. Raises Refused, Throttled, RemoteFault or Unreachable.
        """
        if json is not None:
            content = _encode(json)
            headers = {"content-type": "application/json", **(headers or {})}
        url = self._url(path, params)

        async def attempt() -> Answer:
            request = self._client.build_request(method, url, content=content, headers=headers)
            return self._judge(await self._once(request), expect, shape)

        return await self._retrying(attempt, repeat=repeat)

    def _url(self, path: str, params: Mapping[str, Any] | None) -> httpx.URL:
        """Put an address together as a text, and parse it once: httpx does it for each part, and goes by characters."""
        url = path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"
        if not params:
            return httpx.URL(url)
        if "?" in url:
            return httpx.URL(url).copy_merge_params(params)
        return httpx.URL(f"{url}?{httpx.QueryParams(params)}")

    async def fetch(self, url: str) -> bytes:
        """Download an absolute URL without our credentials (pre-signed storage refuses them)."""

        async def attempt() -> bytes:
            response = await self._exchange(httpx.Request("GET", url, headers=_BARE), auth=None)
            return self._judge(response, frozenset(), None).body

        return await self._retrying(attempt, repeat=True)

    @asynccontextmanager
    async def stream(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator["Stream"]:
        """Open a download without our credentials, to be read line by line; not retried: the caller resumes."""
        self.tally["GET"] += 1
        request = httpx.Request("GET", url, headers={**_BARE, **(headers or {})})
        try:
            response = await self._client.send(request, auth=None, stream=True)
            async with aclosing(response):
                if response.status_code not in {200, 206}:
                    answer = Answer(response.status_code, _headers(response), await response.aread(), None)
                    raise self._error(answer)
                yield Stream(response.status_code, _lines(response))
        except httpx.RequestError as error:
            raise Unreachable(f"{_host(url)}: {_trouble(error)}") from error

    def slow_down(self, per_second: float) -> None:
        """Keep to this rate from now on: the other end named one."""
        self._rate = self._limiter(per_second)

    async def aclose(self) -> None:
        await self._client.aclose()

    def keep_secret(self, secret: str) -> None:
        """Never show `secret`, which we came by later: a token that the other end gave us."""
        self._secrets = _longest_first([*self._secrets, secret])

    def redact(self, text: str) -> str:
        """Cut secrets, e-mail addresses and phone numbers out of a vendor's words, and shorten them."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        text = _PHONE.sub("(number)", _ADDRESS.sub("(address)", text))
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

    def _limiter(self, per_second: float) -> AsyncLimiter:
        most = 1.0 if self._spaced else max(1.0, per_second)
        return AsyncLimiter(most, most / per_second)

    async def _retrying(self, attempt: Callable[[], Awaitable[Result]], *, repeat: bool) -> Result:
        """Try again what is worth it; nothing else does."""
        async for trial in tenacity.AsyncRetrying(
            sleep=_sleep,
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_pause,
            retry=tenacity.retry_if_exception(_worth_a_retry if repeat else _surely_not_done),
            reraise=True,
        ):
            with trial:
                if trial.retry_state.attempt_number > 1:
                    self.tally["retry"] += 1
                return await attempt()
        raise AssertionError("tenacity always returns or raises")  # pragma: no cover

    async def _once(self, request: httpx.Request) -> httpx.Response:
        return await self._exchange(request, auth=httpx.USE_CLIENT_DEFAULT)

    async def _exchange(self, request: httpx.Request, auth: Any) -> httpx.Response:
        async with self._slots:
            await self._wait_for_the_pause()
            if self._rate:
                await self._rate.acquire()
            self.tally[request.method] += 1
            began = time.monotonic()
            try:
                response = await self._client.send(request, auth=auth)
            except httpx.RequestError as error:
                self.tally.outcomes["lost"] += 1
                sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                raise Unreachable(f"{request.url.host}: {_trouble(error)}", sent=sent) from error
        self.tally.outcomes[_outcome(response.status_code)] += 1
        self.tally.lag = _lag(response, self.tally.lag)
        response.stream = _READ  # httpx's own holds the response in a circle, and so the body in memory
        log.debug(
            "request_answered",
            method=request.method,
            path=self.redact(request.url.path),  # some vendors want addresses in the path
            status=response.status_code,
            seconds=round(time.monotonic() - began, 3),
        )
        return response

    async def _wait_for_the_pause(self) -> None:
        pause = self._resume_at - time.monotonic()
        if pause > 0:
            await _sleep(pause)

    def _judge(self, response: httpx.Response, expect: frozenset[int], shape: Any) -> Answer:
        answer = Answer(response.status_code, _headers(response), response.content, None)
        good = response.is_success or answer.status in expect
        if not good or self._transient(answer):
            raise self._error(answer)
        self._pause_everybody(self._spent_for(answer))
        if shape is None or not answer.body or answer.status == 204:
            return answer
        json = self._parse(answer, shape) if response.is_success else self._parse_error(answer)
        return Answer(answer.status, answer.headers, answer.body, json)

    def _parse(self, answer: Answer, shape: Any) -> Any:
        body = self._clean(answer.body) if self._clean else answer.body
        try:
            return read_json(body, shape)
        except msgspec.ValidationError as error:
            raise RemoteFault(f"{_host(self.base_url)}: answered JSON of another shape") from error
        except (msgspec.DecodeError, RecursionError) as error:
            kind = answer.headers.get("content-type", "no content type")
            raise RemoteFault(f"{_host(self.base_url)}: answered {kind}, not JSON") from error

    def _parse_error(self, answer: Answer) -> Any:
        """Read what an expected error says; a page or a plain text is no reason to ask again: the status counts."""
        try:
            return self._parse(answer, Any)
        except RemoteFault:
            return None

    def _error(self, answer: Answer) -> ConnectorError:
        """Turn a status into an error: the table that every connector shares."""
        host = _host(self.base_url)
        if answer.status == 429:
            wait = retry_after(answer.headers, datetime.now(UTC)) or self._pause_in(answer)
            self._pause_everybody(wait)
            return Throttled(f"{host}: 429, too many requests", wait)
        if answer.status in TRANSIENT or self._transient(answer):
            return RemoteFault(
                f"{host}: answered {answer.status}", retry_after(answer.headers, datetime.now(UTC))
            )
        said = self._explain(answer) or _words(answer)
        return Refused(
            self.redact(f"{host}: {answer.status} {said}"),
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
        )

    def _pause_everybody(self, seconds: float | None) -> None:
        if seconds:
            self._resume_at = max(self._resume_at, time.monotonic() + min(seconds, LONGEST_PAUSE))


@dataclass(frozen=True, slots=True)
class Stream:
    """An open download: `status` 206 when the server resumed where the Range header said.

    `lines` end at a line feed and nowhere else, and come without it: JSON may hold the other characters that
    Python takes for the end of a line (U+2028), and who resumes must be able to count bytes.
    """

    status: int
    lines: AsyncIterator[bytes]


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `Retry-After`, in seconds or as a date; None when it is absent or makes no sense."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _sent_at(headers: Mapping[str, str]) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def _lag(response: httpx.Response, before: timedelta) -> timedelta:
    """Say by how many whole minutes a server's clock is behind ours; as before where it does not tell the time."""
    sent_at = _sent_at(response.headers)
    if sent_at is None:
        return before
    return min(max(datetime.now(UTC) - sent_at, timedelta()), MOST_LAG) // MINUTE * MINUTE


def _outcome(status: int) -> str:
    if status == 429:
        return "throttled"
    if status < 400:
        return "ok"
    return "failed" if status in TRANSIENT else "refused"


def _pause(state: tenacity.RetryCallState) -> float:
    """Take the pause that the other end asked for; else 0.5 s doubling to 30 s, with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Retryable) and error.retry_after is not None:
        return error.retry_after
    return _backoff(state)


def _worth_a_retry(error: BaseException) -> bool:
    return isinstance(error, Retryable) and (error.retry_after or 0.0) <= LONGEST_PAUSE


def _surely_not_done(error: BaseException) -> bool:
    not_sent = isinstance(error, Unreachable) and not error.sent
    return (not_sent or isinstance(error, Throttled)) and _worth_a_retry(error)


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Read the trusted certificates once: it takes 50 ms, and each connector has a client of its own."""
    return httpx.create_ssl_context()


def _trouble(error: httpx.RequestError) -> str:
    """Name the trouble without the URL, which may hold a key."""
    return _TROUBLES.get(type(error), type(error).__name__)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in response.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _host(url: str) -> str:
    return httpx.URL(url).host


def _longest_first(secrets: Sequence[str]) -> list[str]:
    """Order secrets so that one which begins like another is not cut in the middle."""
    return sorted(filter(None, secrets), key=len, reverse=True)


def _words(answer: Answer) -> str:
    kind = answer.headers.get("content-type", "")
    if "html" in kind:
        return "with a web page instead of the API's answer"
    return answer.body.decode("utf-8", "replace").strip()


async def wait(seconds: float) -> None:
    """Pause between two looks at a vendor's background job; tests make it instant with the other pauses."""
    await _sleep(seconds)


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)
