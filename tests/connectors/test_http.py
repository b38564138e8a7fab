"""How connectors talk HTTP: what is tried again, how politely, and what is never shown."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.decoding import read_json
from connectors.errors import Refused, RemoteFault, Retryable, Throttled, Unreachable
from connectors.http import ATTEMPTS, LONGEST_PAUSE, TRANSIENT, Answer, Api, BasicAuth, retry_after

HOST = "https://api.test/v1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY, PASSWORD = "cs_key", "cs_key_and_more"
GOOD = httpx.Response(200, json={"good": True})


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=HOST, assert_all_called=False) as mocked:
        yield mocked


@pytest.fixture
async def api(pauses: list[float]) -> AsyncIterator[Api]:
    made = Api(HOST, auth=BasicAuth("me", PASSWORD), headers={"x-key": KEY}, secrets=[KEY, "", PASSWORD])
    yield made
    await made.aclose()


@pytest.fixture
def route(router: respx.MockRouter) -> respx.Route:
    return router.route(path="/orders")


def failing(error: type[httpx.RequestError]) -> Any:
    return error("it broke, with cs_key")


# --- asking --------------------------------------------------------------------------------------------


async def test_an_answer_has_status_headers_body_and_json(api: Api, route: respx.Route) -> None:
    route.respond(201, json={"id": 1}, headers={"X-Total": "7"})

    answer = await api.send("POST", "orders", {"a": None})

    assert (answer.status, answer.headers["x-total"], answer.json) == (201, "7", {"id": 1})
    assert answer.body.replace(b" ", b"") == b'{"id":1}'
    assert dict(api.tally) == {"POST": 1}


@pytest.mark.parametrize("path", ["orders", "/orders", f"{HOST}/orders"])
async def test_a_path_is_below_the_base_or_a_whole_address(api: Api, route: respx.Route, path: str) -> None:
    route.return_value = GOOD

    await api.get(path, {"page": 2})

    assert str(route.calls.last.request.url) == f"{HOST}/orders?page=2"


@pytest.mark.parametrize("path", ["orders", "orders?after=7"])
async def test_parameters_join_those_that_the_address_has(api: Api, route: respx.Route, path: str) -> None:
    route.return_value = GOOD

    await api.get(path, {"_fields": "id,ş&c", "page": 2})

    sent = dict(route.calls.last.request.url.params)
    assert sent == ({"after": "7"} if "?" in path else {}) | {"_fields": "id,ş&c", "page": "2"}


async def test_of_an_answer_with_a_shape_the_rest_is_skipped_and_another_shape_is_a_fault(
    api: Api, route: respx.Route
) -> None:
    route.respond(json={"errors": ["a"], "members": [{"id": 1}]})

    good = await api.send("POST", "/orders", {}, shape=dict[str, list[Any]])
    with pytest.raises(RemoteFault, match="JSON of another shape"):
        await api.send("POST", "/orders", {}, shape=list[str])

    assert good.json["errors"] == ["a"]


async def test_the_query_of_a_next_page_stays_as_the_vendor_wrote_it(api: Api, route: respx.Route) -> None:
    route.return_value = GOOD

    await api.get(f"{HOST}/orders?cursor=a%2Fb")

    assert route.calls.last.request.url.query == b"cursor=a%2Fb"


async def test_numbers_are_sent_and_read_exactly(api: Api, route: respx.Route) -> None:
    amounts = b'{"small":0.10,"large":12345678901234567890.123456789,"whole":123456789012345678901234567890}'
    route.respond(200, content=amounts)

    answer = await api.send("PUT", "orders", {"price": Decimal("29.350"), "count": 3, "name": "Çay 🎈"})

    assert route.calls.last.request.content == '{"price":29.350,"count":3,"name":"Çay 🎈"}'.encode()
    assert route.calls.last.request.headers["content-type"] == "application/json"
    assert str(answer.json["small"]) == "0.10"
    assert answer.json["large"] == Decimal("12345678901234567890.123456789")
    assert answer.json["whole"] == 123456789012345678901234567890


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_no_number_is_rounded_on_its_way(number: Decimal) -> None:
    assert read_json(http._encode({"n": number}))["n"] == number


async def test_bodies_and_headers_can_be_sent_as_they_are(api: Api, route: respx.Route) -> None:
    route.return_value = GOOD

    await api.send("POST", "orders", content=b"<xml/>", headers={"content-type": "text/xml"})

    request = route.calls.last.request
    assert (request.content, request.headers["content-type"]) == (b"<xml/>", "text/xml")


@pytest.mark.parametrize(("status", "content"), [(204, b""), (200, b""), (204, b"ignored")])
async def test_an_answer_without_a_body_has_no_json(
    api: Api, route: respx.Route, status: int, content: bytes
) -> None:
    route.respond(status, content=content)

    assert (await api.get("orders")).json is None


def test_the_servers_clock_is_read_where_it_tells_the_time() -> None:
    def sent_at(**headers: str) -> datetime | None:
        return Answer(200, headers, b"", None).sent_at

    assert sent_at(date="Thu, 01 Jan 2026 00:00:00 GMT") == NOW
    assert sent_at(date="yesterday") is None
    assert sent_at(date="Fri, 31 Dec 9999 23:59:59 -2300") is None
    assert sent_at() is None


# --- bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'"caf\xe9"', "caf\ufffd"),
        (rb'"\ud83d"', "\ufffd"),
        (rb'"\ude00\ud83d\ude00"', "\ufffd😀"),
        (rb'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        ("\"\u2028'".encode() + b'"', "\u2028'"),
        (rb'"A\u0000da \\u0000"', "Ada \\u0000"),
    ],
    ids=[
        "latin-1",
        "half a pair",
        "half and whole",
        "an escaped backslash",
        "byte order mark",
        "separators",
        "NUL",
    ],
)
async def test_what_is_no_letter_costs_no_page(
    api: Api, route: respx.Route, body: bytes, read: object
) -> None:
    route.respond(200, content=body)

    answer = await api.get("orders")

    assert answer.json == read
    assert str(answer.json).encode()


@pytest.mark.parametrize(
    "body",
    [b'[{"id": 1}, {"id"', b"[" * 100_000, b"[NaN]", b"<html>Sorry</html>", b"{'id': 1}", b'"\\ud83d'],
    ids=["broken off", "too deep", "not a number", "web page", "not JSON", "half of everything"],
)
async def test_a_body_that_is_no_json_is_asked_for_again_then_given_up(
    api: Api, route: respx.Route, pauses: list[float], body: bytes
) -> None:
    route.respond(200, content=body, headers={"content-type": "text/html"})

    with pytest.raises(RemoteFault, match=r"api\.test: answered text/html, not JSON"):
        await api.get("orders")

    assert route.call_count == ATTEMPTS


async def test_a_body_is_mended_before_it_is_read(router: respx.MockRouter, pauses: list[float]) -> None:
    api = Api(HOST, clean=lambda body: body.removeprefix(b"Warning: "))
    router.get("/orders").respond(200, content=b"Warning: [1]")

    assert (await api.get("orders")).json == [1]
    await api.aclose()


# --- statuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(TRANSIENT - {429}))
async def test_trouble_that_passes_is_waited_out(
    api: Api, route: respx.Route, pauses: list[float], status: int
) -> None:
    route.side_effect = [httpx.Response(status), httpx.Response(status), GOOD]

    assert (await api.get("orders")).json == {"good": True}
    assert dict(api.tally) == {"GET": 3, "retry": 2}
    assert len(pauses) == 2


async def test_trouble_that_does_not_pass_ends_with_a_fault(
    api: Api, route: respx.Route, pauses: list[float]
) -> None:
    route.respond(503, content=b"cs_key")

    with pytest.raises(RemoteFault, match=r"^api\.test: answered 503$"):
        await api.get("orders")

    assert route.call_count == ATTEMPTS
    assert all(0.5 <= pause <= 30.5 for pause in pauses)
    assert pauses == sorted(pauses)


@pytest.mark.parametrize(
    "status", [300, 301, 302, 307, 400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 451]
)
async def test_a_refusal_is_final_and_keeps_what_was_answered(
    api: Api, route: respx.Route, status: int
) -> None:
    route.respond(status, json={"message": "no"}, headers={"location": "https://elsewhere.test"})

    with pytest.raises(Refused) as caught:
        await api.get("orders")

    assert (caught.value.status, route.call_count) == (status, 1)
    assert caught.value.headers["location"] == "https://elsewhere.test"
    assert b"no" in caught.value.body


async def test_a_status_that_is_expected_is_an_answer(api: Api, route: respx.Route) -> None:
    route.respond(404, json={"code": "gone"})

    answer = await api.get("orders", expect=frozenset({404}))

    assert (answer.status, answer.json) == (404, {"code": "gone"})


@pytest.mark.parametrize("body", [b"<html>Not here</html>", b"bad request", b"{", b"[" * 100_000])
async def test_an_expected_status_counts_whatever_came_with_it(
    api: Api, route: respx.Route, body: bytes
) -> None:
    route.respond(404, content=body)

    answer = await api.get("orders", expect=frozenset({404}))

    assert (answer.status, answer.body, answer.json, route.call_count) == (404, body, None, 1)


async def test_a_web_page_is_not_quoted(api: Api, route: respx.Route) -> None:
    route.respond(403, html="<h1>Blocked</h1>")

    with pytest.raises(Refused, match=r"^api\.test: 403 with a web page instead of the API's answer$"):
        await api.get("orders")


async def test_connectors_explain_refusals_and_call_answers_transient(
    router: respx.MockRouter, pauses: list[float]
) -> None:
    api = Api(
        HOST,
        explain=lambda answer: "`api_key`: wrong" if answer.status == 401 else None,
        transient=lambda answer: answer.body == b"busy",
    )
    router.get("/wrong").respond(401)
    router.get("/busy").side_effect = [
        httpx.Response(200, content=b"busy"),
        httpx.Response(403, content=b"busy"),
        GOOD,
    ]

    with pytest.raises(Refused, match=r"api\.test: 401 `api_key`: wrong"):
        await api.get("wrong")
    assert (await api.get("busy")).json == {"good": True}
    await api.aclose()


# --- waiting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(days=30), usegmt=True), 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1,5", None),
        ("1.2.3", None),
        ("²", None),
        ("nan", None),
        ("Thu, 01 Jan 2026 00:00:30 -0000", None),
        ("Fri, 99 Foo 2026 25:61:00 GMT", None),
        ("9" * 400, float("inf")),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(header: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": header}, NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_is_a_crash(header: str) -> None:
    seconds = retry_after({"retry-after": header}, NOW)

    assert seconds is None or seconds >= 0


def test_no_retry_after_is_none() -> None:
    assert retry_after({}, NOW) is None


@pytest.mark.parametrize("status", [429, 503])
async def test_P9_the_pause_that_the_other_end_asks_for_is_kept(
    api: Api, route: respx.Route, pauses: list[float], status: int
) -> None:
    route.side_effect = [httpx.Response(status, headers={"retry-after": "17"}), GOOD]

    await api.get("orders")

    assert pauses[0] == 17.0


async def test_P9_who_asks_for_a_long_pause_gets_the_next_run_instead(
    api: Api, route: respx.Route, pauses: list[float]
) -> None:
    route.respond(429, headers={"retry-after": "3600"})

    with pytest.raises(Throttled, match="429, too many requests") as caught:
        await api.get("orders")

    assert (caught.value.retry_after, route.call_count, pauses) == (3600.0, 1, [])


async def test_P9_one_429_pauses_everybody(api: Api, router: respx.MockRouter, pauses: list[float]) -> None:
    router.get("/orders").side_effect = [httpx.Response(429, headers={"retry-after": "60"}), GOOD]
    router.get("/customers").return_value = GOOD

    await api.get("orders")
    before = len(pauses)
    await api.get("customers")

    assert pauses[before:] == [pytest.approx(60, abs=5)]


def resets_in(answer: Answer) -> float | None:
    return float(answer.headers.get("x-reset", 0)) or None


async def test_P9_a_vendors_own_header_can_pause_everybody(
    router: respx.MockRouter, pauses: list[float]
) -> None:
    api = Api(HOST, pause=resets_in, spent=resets_in)
    router.get("/orders").side_effect = [httpx.Response(429, headers={"x-reset": "9"}), GOOD]
    router.get("/last").respond(200, json={}, headers={"x-reset": "40"})

    await api.get("orders")
    assert pauses[0] == 9.0
    await api.get("last")
    before = len(pauses)
    router.get("/orders").return_value = GOOD
    await api.get("orders")

    assert pauses[before:] == [pytest.approx(40, abs=5)]
    await api.aclose()


async def test_P9_nobody_is_paused_for_longer_than_the_longest_pause(
    api: Api, route: respx.Route, pauses: list[float]
) -> None:
    route.side_effect = [httpx.Response(429, headers={"retry-after": "86400"}), GOOD]
    with pytest.raises(Throttled):
        await api.get("orders")

    await api.get("orders")

    assert pauses == [pytest.approx(LONGEST_PAUSE, abs=5)]


async def test_P9_never_more_requests_at_once_than_allowed(router: respx.MockRouter) -> None:
    api = Api(HOST, concurrency=3)
    running, most = 0, 0

    async def slow(_request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return GOOD

    router.get("/orders").mock(side_effect=slow)

    await asyncio.gather(
        *(api.get("orders") for _ in range(12)), *(api.fetch(f"{HOST}/orders") for _ in range(4))
    )

    assert most == 3
    await api.aclose()


@pytest.mark.parametrize(("spaced", "least"), [(True, 0.04), (False, 0.0)])
async def test_P9_a_rate_is_kept(router: respx.MockRouter, spaced: bool, least: float) -> None:  # noqa: FBT001 - a case
    api = Api(HOST, per_second=100, spaced=spaced)
    router.get("/orders").return_value = GOOD

    began = time.monotonic()
    await asyncio.gather(*(api.get("orders") for _ in range(6)))

    assert time.monotonic() - began >= least
    await api.aclose()


async def test_P9_a_rate_can_be_lowered(router: respx.MockRouter) -> None:
    api = Api(HOST, spaced=True)
    router.get("/orders").return_value = GOOD
    api.slow_down(50)

    began = time.monotonic()
    await asyncio.gather(*(api.get("orders") for _ in range(4)))

    assert time.monotonic() - began >= 0.05
    await api.aclose()


async def test_connectors_wait_for_background_jobs_with_the_same_pause(pauses: list[float]) -> None:
    await http.wait(12)

    assert pauses == [12]


async def test_a_pause_is_a_real_one() -> None:
    began = time.monotonic()

    await http._sleep(0.01)

    assert time.monotonic() - began >= 0.009


# --- connections ---------------------------------------------------------------------------------------

BROKEN = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
]


@pytest.mark.parametrize("error", BROKEN)
async def test_a_connection_that_breaks_is_tried_again(
    api: Api, route: respx.Route, error: type[httpx.RequestError]
) -> None:
    route.side_effect = [failing(error), failing(error), GOOD]

    assert (await api.get("orders")).status == 200


@pytest.mark.parametrize("error", BROKEN)
async def test_a_connection_that_stays_broken_says_how_without_the_address(
    api: Api, route: respx.Route, error: type[httpx.RequestError]
) -> None:
    route.side_effect = failing(error)

    with pytest.raises(Unreachable) as caught:
        await api.get("orders", {"key": "cs_key"})

    assert str(caught.value).startswith("api.test: ")
    assert "cs_key" not in str(caught.value)
    assert route.call_count == ATTEMPTS


async def test_a_packed_body_that_cannot_be_unpacked_is_a_broken_connection(
    api: Api, route: respx.Route
) -> None:
    def packed(_request: httpx.Request) -> httpx.Response:
        broken = gzip.compress(b'{"id": 1}' * 100)[:-20]
        return httpx.Response(
            200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"x" + broken)
        )

    route.mock(side_effect=packed)

    with pytest.raises(Unreachable):
        await api.get("orders")


def raising(failure: int | type[httpx.RequestError]) -> Any:
    return httpx.Response(failure) if isinstance(failure, int) else failing(failure)


@pytest.mark.parametrize(
    "failure", [500, 502, 503, 408, httpx.ReadTimeout, httpx.ReadError, httpx.WriteError]
)
async def test_what_may_have_been_done_is_not_sent_twice(
    api: Api, route: respx.Route, failure: int | type[httpx.RequestError]
) -> None:
    route.side_effect = [raising(failure), GOOD]

    with pytest.raises(Retryable):
        await api.send("POST", "orders", {}, repeat=False)

    assert route.call_count == 1


@pytest.mark.parametrize("failure", [429, httpx.ConnectError, httpx.ConnectTimeout])
async def test_what_was_surely_not_done_is_sent_again(
    api: Api, route: respx.Route, failure: int | type[httpx.RequestError]
) -> None:
    route.side_effect = [raising(failure), GOOD]

    assert (await api.send("POST", "orders", {}, repeat=False)).status == 200


async def test_a_200_that_cannot_be_read_was_done_and_is_not_sent_twice(api: Api, route: respx.Route) -> None:
    route.respond(200, content=b"<html>")

    with pytest.raises(RemoteFault):
        await api.send("POST", "orders", {}, repeat=False)

    assert route.call_count == 1


async def test_who_is_cancelled_gives_their_place_back(router: respx.MockRouter) -> None:
    api = Api(HOST, concurrency=1)
    asked = asyncio.Event()

    async def never(_request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        return GOOD

    router.get("/hangs").mock(side_effect=never)
    router.get("/orders").return_value = GOOD
    hanging = asyncio.create_task(api.get("hangs"))
    await asked.wait()

    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging

    assert (await api.get("orders")).status == 200
    await api.aclose()
    await api.aclose()


# --- what is never shown (P8) --------------------------------------------------------------------------


async def test_P8_secrets_and_addresses_are_cut_out_of_a_vendors_words(api: Api, route: respx.Route) -> None:
    words = f"key {PASSWORD} of {KEY}: Ada.Lovelace+news@example.com and /people/ada%40example.com are known"
    route.respond(400, content=words.encode())

    with pytest.raises(Refused) as caught:
        await api.get("orders")

    assert str(caught.value) == "api.test: 400 key … of …: (address) and (address) are known"


def test_P8_a_secret_that_holds_another_is_cut_out_whole() -> None:
    api = Api(HOST, secrets=["abc"])
    api.keep_secret("abcdef")

    assert api.redact("abcdef abc") == "… …"


@pytest.mark.parametrize(
    "address", ["ada@example.com", "<ada@example.com>", "ADA%40example.com", "ipek@örnek.com.tr", "a@b"]
)
def test_P8_addresses_are_cut_out_however_they_are_written(address: str) -> None:
    assert "ada" not in Api(HOST).redact(f"the member {address} is known").lower()
    assert "@" not in Api(HOST).redact(f"the member {address} is known")


def test_a_vendors_words_are_shortened() -> None:
    assert Api(HOST).redact("x" * 1000) == "x" * 300 + "…"


async def test_P8_addresses_in_a_path_are_not_logged(api: Api, router: respx.MockRouter) -> None:
    router.get("/people/ada@example.com").return_value = GOOD

    assert (await api.get("people/ada@example.com")).status == 200


# --- downloads -----------------------------------------------------------------------------------------

FILE = "https://storage.test/file?signature=1"


def tells_nothing(request: httpx.Request) -> bool:
    return not {"authorization", "x-key", "cookie"} & set(request.headers) and KEY not in str(request.headers)


async def test_P8_a_download_carries_none_of_our_credentials(api: Api, router: respx.MockRouter) -> None:
    router.get("/orders").respond(200, json={}, headers={"set-cookie": "session=cs_key; Domain=test"})
    download = router.get(url=FILE).respond(200, content=b"\x1f\x8b not JSON")
    await api.get("orders")

    body = await api.fetch(FILE)
    async with api.stream(FILE, {"range": "bytes=5-"}) as stream:
        status = stream.status

    fetched, streamed = (call.request for call in download.calls)
    assert (body, status) == (b"\x1f\x8b not JSON", 200)
    assert tells_nothing(fetched)
    assert tells_nothing(streamed)
    assert streamed.headers["range"] == "bytes=5-"


async def test_our_own_requests_carry_the_credentials(api: Api, route: respx.Route) -> None:
    route.return_value = GOOD

    await api.get("orders")

    headers = route.calls.last.request.headers
    assert headers["authorization"].startswith("Basic ")
    assert headers["x-key"] == KEY


async def test_a_download_is_tried_again_and_refused_like_everything(
    api: Api, router: respx.MockRouter
) -> None:
    router.get(url=FILE).side_effect = [
        httpx.Response(503),
        httpx.Response(200, content=b"zip"),
        httpx.Response(403),
    ]

    assert await api.fetch(FILE) == b"zip"
    with pytest.raises(Refused):
        await api.fetch(FILE)


async def pieces(*parts: bytes, broken: bool = False) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if broken:
        raise failing(httpx.ReadError)


async def test_lines_of_a_stream_end_at_line_feeds_only(api: Api, router: respx.MockRouter) -> None:
    parts = pieces(b'{"a": "x\xe2\x80', b'\xa8y"}\n{"b"', b": 1}\n\n", b"last")
    router.get(url=FILE).respond(206, stream=parts)

    async with api.stream(FILE) as stream:
        lines = [line async for line in stream.lines]

    assert stream.status == 206
    assert lines == ['{"a": "x\u2028y"}'.encode(), b'{"b": 1}', b"", b"last"]
    assert dict(api.tally) == {"GET": 1}


async def test_a_stream_that_ends_with_a_line_feed_has_no_empty_last_line(
    api: Api, router: respx.MockRouter
) -> None:
    router.get(url=FILE).respond(200, stream=pieces(b"one\n"))

    async with api.stream(FILE) as stream:
        assert [line async for line in stream.lines] == [b"one"]


async def test_a_stream_that_breaks_is_unreachable_after_what_came(
    api: Api, router: respx.MockRouter
) -> None:
    router.get(url=FILE).respond(200, stream=pieces(b"one\ntw", broken=True))
    lines: list[bytes] = []

    async def read() -> None:
        async with api.stream(FILE) as stream:
            lines.extend([line async for line in stream.lines if not lines.append(line)])  # type: ignore[func-returns-value]

    with pytest.raises(Unreachable, match=r"storage\.test: the connection broke while reading"):
        await read()

    assert lines == [b"one"]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (403, Refused),
        (404, Refused),
        (416, Refused),
        (503, RemoteFault),
        (429, Throttled),
        (httpx.ConnectError, Unreachable),
    ],
)
async def test_a_stream_that_does_not_begin_is_an_error_and_not_tried_again(
    api: Api, router: respx.MockRouter, failure: int | type[httpx.RequestError], error: type[Exception]
) -> None:
    route = router.get(url=FILE)
    route.side_effect = raising(failure) if isinstance(failure, type) else [raising(failure)]

    with pytest.raises(error):
        async with api.stream(FILE):
            pass

    assert route.call_count == 1


@pytest.mark.parametrize(
    ("told", "minutes"),
    [(timedelta(hours=-5), 300), (timedelta(seconds=-50), 0), (timedelta(hours=3), 0), (None, 300)],
)
async def test_it_knows_by_how_many_minutes_the_other_clock_is_behind(
    api: Api, route: respx.Route, told: timedelta | None, minutes: int
) -> None:
    """Who is ahead is not behind; who does not say stays as they were."""
    date = {"date": format_datetime(datetime.now(UTC) + told, usegmt=True)} if told is not None else {}
    api.tally.lag = timedelta(hours=5)
    route.respond(json={}, headers=date)

    await api.get("/orders")

    assert api.tally.lag == timedelta(minutes=minutes)
