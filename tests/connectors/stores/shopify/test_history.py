"""Whole histories: by one job, and page by page when there can be none."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import respx
import structlog

from connectors.base import Resource, Window
from connectors.errors import Unreachable
from connectors.facts import Order
from connectors.simulation import Fault, Simulation
from connectors.stores.shopify import bulk
from connectors.stores.shopify import pages as paging
from connectors.stores.shopify.places import InFile
from connectors.stores.shopify.simulator import DAILY, simulator
from tests.connectors.stores.shopify.conftest import Connect
from tests.connectors.stores.shopify.shops import killed_anywhere
from tests.connectors.stores.shops import NOON, Clock, everything, facts_of, history_of, ids_of, order, orders
from tests.edge import edge

FULL = 20


def numbers(count: int) -> list[str]:
    return sorted(str(number) for number in range(1, count + 1))


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a full page be 20 rows: what is to be seen does not depend on it."""
    monkeypatch.setattr(paging, "LARGEST", FULL)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page of ours be ten orders, so that a file has many."""
    monkeypatch.setattr(bulk, "ROWS", 10)


def downloads(simulation: Simulation) -> int:
    return sum(seen.method == "GET" for seen in simulation.requests)


async def test_a_history_is_one_job_and_a_constant_number_of_requests(connect: Connect) -> None:
    simulation = simulator(orders(1100))
    store = connect(simulation)

    pages = await history_of(store)

    assert sorted(ids_of(pages)) == numbers(1100)
    assert {page.total for page in pages if page.facts} == {1100}
    assert len(simulation.state.jobs) == 1
    assert store.tally == Counter(POST=4, GET=1)  # scopes, is there any, run, status; the file


async def test_every_kind_of_row_comes_in_bulk_but_checkouts(connect: Connect) -> None:
    simulation = simulator(orders(90))
    simulation.state.abandon_checkout(buyer=103)
    store = connect(simulation)

    read = {resource: len(facts_of(await history_of(store, resource))) for resource in store.resources}

    assert read == {Resource.PRODUCTS: 3, Resource.CUSTOMERS: 40, Resource.ORDERS: 90, Resource.CHECKOUTS: 1}
    assert len(simulation.state.jobs) == 3


async def test_children_are_matched_to_their_parents(connect: Connect) -> None:
    simulation = simulator(orders(30))
    simulation.state.give_lines(7, 60)
    simulation.state.update_product(11, collections=("Summer", "Sale"))
    store = connect(simulation, categories="collections")

    (seventh,) = [each for each in facts_of(await history_of(store)) if each.id == "7"]
    products = {each.id: each for each in facts_of(await history_of(store, Resource.PRODUCTS))}

    assert isinstance(seventh, Order)
    assert len(seventh.lines) == 60
    assert products["11"].categories == ("Summer", "Sale")


async def test_a_shop_that_was_emptied_meanwhile_has_no_file(connect: Connect) -> None:
    simulation = simulator(orders(3))
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    for number in (1, 2, 3):
        simulation.state.delete(number)

    pages = await everything(store.backfill(window, None))

    assert facts_of(pages) == []
    assert downloads(simulation) == 0


@pytest.mark.usefixtures("small_batches")
async def test_a_kill_between_any_two_pages_goes_on_in_the_same_file(connect: Connect) -> None:
    simulation = simulator(orders(95))
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)

    pages, lives = await killed_anywhere(lambda cursor: store.backfill(window, cursor))

    assert Counter(ids_of(pages)) == Counter(numbers(95))
    assert lives > 10
    assert len(simulation.state.jobs) == 1


@pytest.mark.usefixtures("small_batches")
async def test_storage_that_ignores_ranges_is_skipped_through(connect: Connect) -> None:
    store = connect(simulator(orders(95), ranges=False))
    (window,) = await store.plan_backfill(Resource.ORDERS, None)

    pages, _ = await killed_anywhere(lambda cursor: store.backfill(window, cursor))

    assert Counter(ids_of(pages)) == Counter(numbers(95))


@pytest.mark.usefixtures("small_batches")
async def test_a_kill_while_the_job_runs_finds_it_again(connect: Connect, clock: Clock) -> None:
    simulation = simulator(orders(50), clock=clock, bulk_rate=1.0)
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    started = await anext(store.backfill(window, None))

    pages = await everything(store.backfill(window, started.cursor))

    assert json.loads(started.cursor)["job"] == "gid://shopify/BulkOperation/7000"
    assert (len(ids_of(pages)), len(simulation.state.jobs)) == (50, 1)


async def test_a_running_job_is_looked_at_less_and_less_often(
    connect: Connect, clock: Clock, pauses: list[float]
) -> None:
    store = connect(simulator(orders(600), clock=clock, bulk_rate=10.0))

    await history_of(store)

    assert pauses[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


@pytest.mark.parametrize("at", [1, 400, 3000, 9000])
@pytest.mark.usefixtures("small_batches")
async def test_a_file_that_ends_too_early_is_gone_on_with(connect: Connect, at: int) -> None:
    simulation = simulator(orders(40))
    simulation.state.cut_files = [at, at]
    store = connect(simulation)

    pages = await history_of(store)

    assert Counter(ids_of(pages)) == Counter(numbers(40))
    assert (downloads(simulation), len(simulation.state.jobs)) == (3, 1)


@pytest.mark.usefixtures("small_batches")
async def test_a_file_cut_between_two_lines_is_noticed_too(connect: Connect) -> None:
    simulation = simulator(orders(40))
    store = connect(simulation)
    await history_of(store)
    job = simulation.state.jobs[7000]
    first, second, *_ = b"".join(job.file.pieces(0, job.file.size)).split(b"\n")
    simulation.state.cut_files = [len(first) + len(second) + 2]

    pages = await everything(store.backfill((await store.plan_backfill(Resource.ORDERS, None))[0], None))

    assert Counter(ids_of(pages)) == Counter(numbers(40))


async def test_a_last_order_without_its_lines_is_noticed_too(connect: Connect) -> None:
    simulation = simulator(orders(40))
    store = connect(simulation)
    await history_of(store)
    job = simulation.state.jobs[7000]
    whole = b"".join(job.file.pieces(0, job.file.size))
    simulation.state.cut_files = [whole[:-1].rindex(b"\n") + 1]

    pages = await history_of(store)

    assert all(each.lines for each in facts_of(pages) if isinstance(each, Order))


def test_a_line_that_follows_another_s_order_is_no_line_of_that_order() -> None:
    rows = bulk._Rows(InFile("gid://shopify/BulkOperation/1"), "lineItems")
    rows.take(b'{"id":"gid://shopify/Order/1"}')
    rows.take(b'{"id":"gid://shopify/Order/2"}')

    with pytest.raises(bulk.BadFile, match="not grouped"):
        rows.take(b'{"id":"gid://shopify/LineItem/1","__parentId":"gid://shopify/Order/1"}')


class Broken(httpx.AsyncByteStream):
    """A body that breaks off after its first bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
        raise httpx.ReadError("gone")


@pytest.mark.usefixtures("small_batches")
async def test_a_connection_that_breaks_within_a_file_is_taken_up_again(
    connect: Connect, router: respx.MockRouter, pauses: list[float]
) -> None:
    simulation = simulator(orders(40))
    whole = edge(simulation)
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["range"])
        response = await whole(request)
        if len(asked) > 2:
            return response
        return httpx.Response(response.status_code, stream=Broken((await response.aread())[:20_000]))

    router.get(path__startswith="/bulk-results/").mock(side_effect=answer)
    store = connect(simulation)

    pages = await history_of(store)

    assert Counter(ids_of(pages)) == Counter(numbers(40))
    assert len(asked) == len(set(asked)) == 3


async def test_a_connection_that_always_breaks_ends_the_run_and_loses_nothing(
    connect: Connect, router: respx.MockRouter, pauses: list[float]
) -> None:
    simulation = simulator(orders(40))
    broken = router.get(path__startswith="/bulk-results/").mock(
        side_effect=lambda _: httpx.Response(200, stream=Broken(b"{"))
    )
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    reading = store.backfill(window, None)
    started = await anext(reading)

    with pytest.raises(Unreachable):
        await anext(reading)
    broken.mock(side_effect=edge(simulation))
    pages = await everything(store.backfill(window, started.cursor))

    assert pauses == [2.0, 4.0, 8.0, 16.0]
    assert Counter(ids_of(pages)) == Counter(numbers(40))


async def test_a_file_that_always_ends_early_costs_two_jobs_and_is_then_read_by_pages(
    connect: Connect,
) -> None:
    simulation = simulator(orders(60))
    simulation.state.cut_files = [1000] * 50
    store = connect(simulation)

    with structlog.testing.capture_logs() as logs:
        pages = await history_of(store)

    assert sorted(set(ids_of(pages))) == numbers(60)
    assert len(simulation.state.jobs) == 2
    assert [log["event"] for log in logs if log["event"].startswith("bulk")] == [
        "bulk_repeated",
        "bulk_given_up",
    ]


@pytest.mark.parametrize("odd", [b"\\ud83d", b"\xff"], ids=["half a pair", "bad UTF-8"])
async def test_what_is_no_letter_costs_no_file(
    connect: Connect, router: respx.MockRouter, odd: bytes
) -> None:
    simulation = simulator(orders(40))
    whole = edge(simulation)

    async def spoilt(request: httpx.Request) -> httpx.Response:
        body = await (await whole(request)).aread()
        return httpx.Response(200, content=body.replace(b'"name":"#', b'"name":"#' + odd))

    router.get(path__startswith="/bulk-results/").mock(side_effect=spoilt)
    store = connect(simulation)

    pages = await history_of(store)

    assert Counter(ids_of(pages)) == Counter(numbers(40))
    assert {str(each.number)[0] for each in facts_of(pages) if isinstance(each, Order)} == {"\ufffd"}
    assert (len(simulation.state.jobs), downloads(simulation)) == (1, 1)


@pytest.mark.parametrize("code", ["INTERNAL_SERVER_ERROR", "TIMEOUT"])
async def test_a_job_that_failed_is_done_again(connect: Connect, code: str) -> None:
    simulation = simulator(orders(40))
    simulation.state.fail_jobs = [code]
    store = connect(simulation)

    pages = await history_of(store)

    assert Counter(ids_of(pages)) == Counter(numbers(40))
    assert [job.status for job in simulation.state.jobs.values()] == ["FAILED", "COMPLETED"]


async def test_a_job_that_fails_twice_gives_way_to_pages(connect: Connect) -> None:
    simulation = simulator(orders(FULL * 2))
    simulation.state.fail_jobs = ["TIMEOUT", "TIMEOUT"]
    store = connect(simulation)

    pages = await history_of(store)

    assert sorted(ids_of(pages)) == numbers(FULL * 2)
    assert [page.total for page in pages if page.facts] == [FULL * 2, None]


async def test_a_job_that_was_denied_is_not_tried_twice(connect: Connect) -> None:
    simulation = simulator(orders(3))
    simulation.state.fail_jobs = ["ACCESS_DENIED"]
    store = connect(simulation)

    pages = await history_of(store)

    assert (len(ids_of(pages)), len(simulation.state.jobs)) == (3, 1)


async def test_a_file_whose_address_is_too_old_is_written_again(connect: Connect) -> None:
    simulation = simulator(orders(40))
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    started = await anext(store.backfill(window, None))
    simulation.state.expired.add(7000)

    pages = await everything(store.backfill(window, started.cursor))

    assert Counter(ids_of(pages)) == Counter(numbers(40))
    assert len(simulation.state.jobs) == 2


async def test_a_job_that_shopify_forgot_is_started_again(connect: Connect) -> None:
    simulation = simulator(orders(40))
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    forgotten = json.dumps({"job": "gid://shopify/BulkOperation/1", "byte": 77, "rows": 3, "attempt": 1})

    pages = await everything(store.backfill(window, forgotten))

    assert Counter(ids_of(pages)) == Counter(numbers(40))


async def test_a_job_that_does_not_move_is_cancelled_and_pages_are_read(
    connect: Connect, clock: Clock
) -> None:
    simulation = simulator(orders(40), clock=clock, bulk_rate=0.00001)
    store = connect(simulation)

    pages = await history_of(store)

    assert sorted(ids_of(pages)) == numbers(40)
    assert [job.status for job in simulation.state.jobs.values()] == ["CANCELED"]


async def test_a_job_in_the_way_is_waited_for_where_only_one_may_run(connect: Connect, clock: Clock) -> None:
    simulation = simulator(orders(40), clock=clock, bulk_rate=4.0, bulk_at_once=1)
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    await anext(store.backfill(window, None))  # and killed before the cursor was stored

    pages = await everything(store.backfill(window, None))

    assert Counter(ids_of(pages)) == Counter(numbers(40))
    assert len(simulation.state.jobs) == 2


async def test_jobs_in_the_way_that_shopify_does_not_name_are_waited_for(
    connect: Connect, pauses: list[float]
) -> None:
    store = connect(simulator(orders(3), bulk_at_once=0))

    pages = await history_of(store)

    assert sorted(ids_of(pages)) == numbers(3)
    assert sum(pauses) >= bulk.IN_THE_WAY


async def test_a_job_without_a_file_for_its_rows_is_no_empty_history(connect: Connect, monkeypatch) -> None:
    really = bulk.Bulk.job

    async def without_file(self: bulk.Bulk, job_id: str) -> bulk.Job:
        return replace(await really(self, job_id), url=None)

    monkeypatch.setattr(bulk.Bulk, "job", without_file)
    store = connect(simulator(orders(40)))

    pages = await history_of(store)

    assert sorted(ids_of(pages)) == numbers(40)


async def test_a_job_in_the_way_that_stays_gives_way_to_pages(connect: Connect, clock: Clock) -> None:
    simulation = simulator(orders(40), clock=clock, bulk_rate=0.001, bulk_at_once=1)
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    await anext(store.backfill(window, None))

    pages = await everything(store.backfill(window, None))

    assert sorted(ids_of(pages)) == numbers(40)
    assert len(simulation.state.jobs) == 1


@pytest.mark.usefixtures("small_batches")
async def test_lines_that_are_not_grouped_are_no_basis_for_orders(connect: Connect, monkeypatch) -> None:
    """`groupObjects` is what we rest on: should it be ignored, pages say what belongs together."""
    simulation = simulator(orders(40))
    store = connect(simulation)
    real = simulation._app._jobs.start
    monkeypatch.setattr(simulation._app._jobs, "start", lambda query, *, grouped: real(query, grouped=False))

    read = [each for each in facts_of(await history_of(store)) if isinstance(each, Order)]

    assert sorted(each.id for each in read) == numbers(40)
    assert all(each.lines for each in read)


async def test_a_page_holds_250_orders(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "LARGEST", 250)
    store = connect(simulator(orders(251)))
    (window,) = await store.plan_backfill(Resource.ORDERS, None)

    pages = await everything(store.backfill(window, None, careful=True))

    assert [len(page.facts) for page in pages] == [250, 1]


async def test_orders_with_many_lines_are_completed_together(connect: Connect) -> None:
    simulation = simulator(orders(60))
    for number, count in ((5, 26), (6, 25), (7, 249), (8, 700)):
        simulation.state.give_lines(number, count)
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)
    before = store.tally["POST"]

    pages = await everything(store.backfill(window, None, careful=True))

    lines = {each.id: len(each.lines) for each in facts_of(pages) if isinstance(each, Order)}
    assert [lines[number] for number in "45678"] == [1, 26, 25, 249, 700]
    assert store.tally["POST"] - before == 7  # the count, 3 pages, lines of three, twice more of the longest


async def test_pages_shrink_to_what_the_shop_can_afford(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "LARGEST", 250)
    simulation = simulator(orders(100), clock=clock, linear=True)
    store = connect(simulation)
    (window,) = await store.plan_backfill(Resource.ORDERS, None)

    pages = await everything(store.backfill(window, None, careful=True))

    assert sorted(ids_of(pages)) == numbers(100)
    assert max(len(page.facts) for page in pages) < 20


async def test_without_the_right_to_all_orders_the_owner_is_told(connect: Connect, clock: Clock) -> None:
    scopes = ("read_orders", "read_customers", "read_products")
    history = [order(1, NOON - timedelta(days=61)), order(2, NOON - timedelta(days=59))]
    store = connect(simulator(history, clock=clock, scopes=scopes))

    with structlog.testing.capture_logs() as logs:
        pages = await history_of(store)
    said = await store.check()

    assert ids_of(pages) == ["2"]
    assert [(log["event"], log["days"]) for log in logs if log["log_level"] == "warning"] == [
        ("history_cut_short", 60)
    ]
    assert said == ["`read_all_orders` is missing: only the orders of the last 60 days are visible"]


@pytest.mark.parametrize(("scope", "counts"), [("read_all_orders", [1, 1]), ("read_products", [None, 1])])
async def test_orders_that_may_not_be_seen_are_not_counted_as_none(
    connect: Connect, scope: str, counts: list[int | None]
) -> None:
    now = datetime.now(UTC)
    spans = [(days + 1, days - 1) for days in (90, 30)]
    history = [order(days, now - timedelta(days=days)) for days in (90, 30)]
    store = connect(simulator(history, scopes=("read_orders", scope)))
    windows = [
        Window(Resource.ORDERS, now - timedelta(days=first), now - timedelta(days=last))
        for first, last in spans
    ]

    assert await store.count_orders(windows) == counts


async def test_a_token_of_a_day_lasts_through_a_job_of_two(
    connect: Connect, clock: Clock, monkeypatch
) -> None:
    simulation = simulator(orders(50), clock=clock, bulk_rate=50 / 1800, token_life=600)
    store = connect(simulation, with_=DAILY)

    pages = await history_of(store)

    assert len(ids_of(pages)) == 50
    assert len(simulation.state.tokens) > 1


async def test_unicode_line_ends_within_a_title_end_no_line(connect: Connect) -> None:
    """Python's own idea of a line would cut here: U+2028 stands bare in JSON."""
    simulation = simulator(orders(3))
    simulation.state.update_order(2, row={"name": "a\u2028b\u0085c"})
    store = connect(simulation)

    read = {each.id: each for each in facts_of(await history_of(store)) if isinstance(each, Order)}

    assert read["2"].number == "a\u2028b\u0085c"


async def test_storage_that_answers_a_fault_is_asked_again(connect: Connect) -> None:
    simulation = simulator(orders(20))
    simulation.fail(Fault(status=503), times=2, when=lambda method, _: method == "GET")
    store = connect(simulation)

    pages = await history_of(store)

    assert len(ids_of(pages)) == 20
