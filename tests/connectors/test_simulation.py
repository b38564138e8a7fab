"""What simulators share: requests on record, faults on demand, orders of the past."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import RemoteFault, Unreachable
from connectors.http import Api
from connectors.simulation import (
    Fault,
    HistoricOrder,
    Kind,
    Lost,
    Message,
    Receive,
    Scope,
    Seen,
    Send,
    Simulation,
    read_history,
    write_history,
)
from tests.edge import edge

HOST = "http://sim.test"


class Counter:
    """A system that counts what was done to it."""

    def __init__(self) -> None:
        self.done = 0


def simulation(**options: object) -> Simulation:
    counter = Counter()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "lifespan.startup.complete"})
            return
        counter.done += 1
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"done":', "more_body": True})
        await send({"type": "http.response.body", "body": b" true}"})

    return Simulation(app, counter, **options)  # type: ignore[arg-type]


async def ask(simulated: Simulation, path: str = "/orders?page=2", *, repeat: bool = False) -> object:
    with respx.mock(base_url=HOST) as router:
        router.route().mock(side_effect=edge(simulated))
        api = Api(HOST)
        try:
            return (await api.send("POST", path, {}, repeat=repeat)).json
        finally:
            await api.aclose()


async def test_requests_are_on_record() -> None:
    simulated = simulation()

    assert await ask(simulated) == {"done": True}

    assert simulated.requests == [Seen("POST", "/orders", "page=2", 200)]
    assert dict(simulated.counts()) == {"POST": 1}
    assert simulated.state.done == 1


@pytest.mark.parametrize(
    ("fault", "done", "status", "error"),
    [
        (Fault(), 0, 500, RemoteFault),
        (Fault(Kind.ANSWER, 503, {"retry-after": "9"}), 0, 503, RemoteFault),
        (Fault(Kind.AFTER, 502), 1, 502, RemoteFault),
        (Fault(Kind.DROP), 1, 0, Unreachable),
        (Fault(Kind.TRUNCATE), 1, 0, Unreachable),
    ],
    ids=["instead", "with headers", "after the work", "lost", "in the middle"],
)
async def test_a_fault_comes_once_before_or_after_the_work(
    fault: Fault, done: int, status: int, error: type[Exception]
) -> None:
    simulated = simulation()
    simulated.fail(fault)

    with pytest.raises(error):
        await ask(simulated)

    assert (simulated.state.done, simulated.requests[0].status) == (done, status)
    assert await ask(simulated) == {"done": True}


async def test_a_fault_waits_for_the_request_it_is_meant_for(pauses: list[float]) -> None:
    simulated = simulation()
    simulated.fail(
        Fault(status=429), times=2, when=lambda method, path: (method, path) == ("POST", "/contacts")
    )

    assert await ask(simulated) == {"done": True}
    assert await ask(simulated, "/contacts", repeat=True) == {"done": True}
    assert [seen.status for seen in simulated.requests] == [200, 429, 429, 200]


async def test_chances_are_drawn_anew_but_the_same_from_one_seed(pauses: list[float]) -> None:
    async def statuses(seed: int) -> list[int]:
        simulated = simulation(chances={Fault(status=429): 0.3, Fault(Kind.AFTER, 500): 0.2}, seed=seed)
        for _ in range(20):
            await ask(simulated, repeat=True)
        return [seen.status for seen in simulated.requests]

    first = await statuses(1)

    assert first == await statuses(1)
    assert first != await statuses(2)
    assert set(first) == {200, 429, 500}


async def test_a_truncated_answer_is_begun_before_the_connection_breaks() -> None:
    simulated, sent = simulation(), list[Message]()
    simulated.fail(Fault(Kind.TRUNCATE))

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(Lost):
        await simulated({"type": "http", "method": "GET", "path": "/"}, receive, send)

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert b'{"done": true}'.startswith(sent[1]["body"])
    assert sent[1]["more_body"]


async def test_what_is_no_request_passes() -> None:
    simulated, sent = simulation(), list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    await simulated({"type": "lifespan"}, dict, send)  # type: ignore[arg-type]

    assert sent == [{"type": "lifespan.startup.complete"}]
    assert simulated.requests == []


async def test_a_simulation_is_an_asgi_app_for_any_client() -> None:
    transport = httpx.ASGITransport(simulation())

    async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
        assert (await client.get("/")).json() == {"done": True}


# --- orders of the past --------------------------------------------------------------------------------

CDNOW = "customer_id,date,number_of_cds,dollar_value\n00004,1997-01-01,2,29.33\n00005,1997-01-01,1,0.00\n"


def plain(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def packed(file: Path, text: str) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.write(text)


@pytest.mark.parametrize(("name", "write"), [("cdnow.csv", plain), ("cdnow.csv.gz", packed)])
def test_cdnow_lines_become_orders_of_made_up_people(
    tmp_path: Path, name: str, write: Callable[[Path, str], None]
) -> None:
    write(tmp_path / name, CDNOW)

    first, second = read_history(tmp_path / name)

    assert (first.id, first.total, first.currency, first.quantity, first.status) == (
        1,
        "29.33",
        "USD",
        2,
        "paid",
    )
    assert (first.email, first.account, second.account) == ("customer-00004@example.com", 4, None)
    assert (first.created_at.date().isoformat(), first.created_at.tzinfo) == ("1997-01-01", UTC)
    assert first.created_at != second.created_at


def test_a_short_file_of_ones_own_gets_defaults(tmp_path: Path) -> None:
    plain(
        tmp_path / "orders.csv",
        "id,email,created_at,total\n7,ada@example.com,2026-01-01,5\n,bob@example.com,2026-01-01T10:00:00+02:00,6\n",
    )

    ada, bob = read_history(tmp_path / "orders.csv")

    assert ada == HistoricOrder(
        7, "ada@example.com", "", "", None, datetime(2026, 1, 1, tzinfo=UTC), "5", "EUR", "paid", "", 1
    )
    assert (bob.id, bob.created_at) == (2, datetime(2026, 1, 1, 8, tzinfo=UTC))


@pytest.mark.parametrize("text", ["name,price\nTea,1\n", "", "\n"])
def test_another_header_is_refused_with_what_is_wanted(tmp_path: Path, text: str) -> None:
    plain(tmp_path / "orders.csv", text)

    with pytest.raises(ValueError, match=r"orders\.csv: unknown header; want customer_id,date"):
        list(read_history(tmp_path / "orders.csv"))


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
history = st.builds(
    HistoricOrder,
    id=st.integers(1, 10**9),
    email=st.just("ada@example.com"),
    first_name=names,
    last_name=names,
    account=st.none() | st.integers(1, 99),
    created_at=st.datetimes(datetime(1997, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    total=st.sampled_from(["0.00", "29.35"]),
    currency=st.sampled_from(["EUR", "JPY"]),
    status=st.sampled_from(["paid", "refunded"]),
    category=names,
    quantity=st.integers(1, 9),
    refunded=st.sampled_from(["0.00", "5.00"]),
)


@given(st.lists(history, max_size=4))
def test_orders_that_were_written_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, orders: list[HistoricOrder]
) -> None:
    file = tmp_path_factory.getbasetemp() / "history.csv"
    plain(file, write_history(orders))

    assert list(read_history(file)) == orders
