"""PostgreSQL as the state store: the same answers as SQLite's, and what it alone can do wrong."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from connectors.facts import Product
from state import dialect, offering, outbox, postgresql, runs, settling
from state.bookkeeping import RunRow
from state.db import Database
from state.errors import Away, StateError
from state.offering import Desired
from state.outbox import Target
from state.tables import CustomerRow, ProductRow, ProfileRow, table
from tests.mappings.test_preset import CRM, SYNC, nows, people, scope_of
from tests.oracle import Shop
from tests.postgresql import Server
from tests.state.makers import ADA, START, columns, customer, product, save, shops, zones

CUSTOMERS, PRODUCTS, PROFILES, RUNS = map(table, (CustomerRow, ProductRow, ProfileRow, RunRow))
ROOT = Path(__file__).parents[1]
TARGET = Target(SYNC, "news", "from_store")


def start_run(connection: Connection) -> int:
    return runs.start_run(connection, "crm", "sync", START)


def count_runs(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(RUNS)) or 0


@pytest.fixture(scope="module")
def theirs(server: Server) -> Iterator[Database]:
    """Open a state store there, in which nothing is ever committed, on a server that tells time its way."""
    address = server.make("abroad", "TEMPLATE template0")
    server.execute("ALTER DATABASE abroad SET timezone = 'Pacific/Auckland'")
    opened = Database(address)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def ours() -> Iterator[Database]:
    """Open one in SQLite beside it."""
    opened = Database("sqlite://")
    yield opened
    opened.close()


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Database]:
    opened = Database(server.make())
    yield opened
    opened.close()


def configured(server: Server, setting: str, value: str, address: str | None = None) -> str:
    """Let a database, a new one if none is named, prefer something; return its address."""
    address = address or server.make()
    server.execute(f"ALTER DATABASE \"{make_url(address).database}\" SET {setting} = '{value}'")
    return address


async def shown(address: str, setting: str, how: str = "run") -> object:
    """Say what holds in a transaction."""
    db = Database(address)
    found = await getattr(db, how)(lambda connection: connection.exec_driver_sql(f"SHOW {setting}").scalar())
    db.close()
    return found


# --- the same answers ----------------------------------------------------------------------------------


@dataclass
class Outcome:
    """All that a state store makes of some facts."""

    profiles: Any
    evaluated: Any
    contacts: Any
    entries: Any
    sizes: Any


def outcome(database: Database, world: tuple[Shop, Shop], now: datetime, zone: str) -> Outcome:
    with database._engine.connect() as connection:
        for shop in world:
            save(connection, *shop.facts, store=shop.name, gone=sorted(shop.gone))
        found = people(connection, now, zone)
        wanted = [Desired(each.profile, each.email, each.fields, each.lists) for each in found.values()]
        offering.offer(connection, TARGET, wanted, now)
        jobs = outbox.contact_jobs(connection, SYNC, 0, 100)
        settling.settle_contacts(connection, TARGET, jobs, [], now)
        entries = [
            job
            for each in CRM.lists
            for job in outbox.membership_jobs(connection, SYNC, each.name, 0, 100, joins=True)
        ]
        settling.settle_memberships(connection, SYNC, entries, [], now)
        return Outcome(
            columns(connection, scope_of(zone)),
            {email: (each.fields, each.lists) for email, each in found.items()},
            {(job.contact.email, tuple(sorted(job.contact.fields.items()))) for job in jobs},
            {(job.list, job.member.email) for job in entries},
            outbox.list_sizes(connection, SYNC),
        )


@settings(max_examples=settings().max_examples)
@given(
    st.tuples(shops("shop", foreign=True), shops("outlet", refunds_apart=True, foreign=True)),
    nows,
    zones,
)
def test_P1_both_databases_make_the_same_of_the_same_facts(
    theirs: Database, ours: Database, world: tuple[Shop, Shop], now: datetime, zone: str
) -> None:
    assert outcome(theirs, world, now, zone) == outcome(ours, world, now, zone)


@pytest.mark.parametrize("database", ["theirs", "ours"])
def test_of_two_rows_with_one_key_the_newer_counts(database: str, request: pytest.FixtureRequest) -> None:
    row = {"store": "shop", "id": "1", "digest": "d"}
    rows = [
        {**row, "title": "new", "updated_at": START + timedelta(hours=1)},
        {**row, "title": "old", "updated_at": START},
    ]
    with request.getfixturevalue(database)._engine.connect() as connection:
        dialect.upsert(connection, PRODUCTS, rows, newer="updated_at")

        assert connection.scalars(select(PRODUCTS.c.title)).all() == ["new"]


# --- one writer, and many readers ----------------------------------------------------------------------


class Slow:
    """A transaction that has written, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        start_run(connection)
        self.begun.set()
        assert self.may_end.wait(20)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - a server tells, and sends no event
            await asyncio.sleep(0.01)


async def until_somebody_waits(server: Server) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    async def waits() -> bool:
        return await asyncio.to_thread(server.ask, query) == 1

    await until(waits)


async def test_P2_one_process_writes_at_a_time_and_who_reads_waits_for_nobody(server: Server) -> None:
    address, slow = server.make(), Slow()
    first, second = Database(address), Database(address)
    writing = asyncio.create_task(first.run(slow))
    await asyncio.to_thread(slow.begun.wait, 20)

    seen = await second.read(count_runs)
    waiting = asyncio.create_task(second.run(count_runs))
    await until_somebody_waits(server)
    slow.may_end.set()

    assert (seen, await waiting, await writing) == (0, 1, None)
    first.close()
    second.close()


async def test_who_waits_too_long_for_another_process_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ALONE", postgresql.ALONE.replace(f"{postgresql.PATIENCE}s", "20ms"))
    who = rf"cartwire, process {os.getpid()} on .* since \d\d:\d\d:\d\d UTC; .* pg_terminate_backend\(\d+\)"
    address, slow = server.make(), Slow()
    first, second = Database(address), Database(address)
    writing = asyncio.create_task(first.run(slow))
    await asyncio.to_thread(slow.begun.wait, 20)

    with pytest.raises(StateError, match=f"another process keeps the state store busy: {who}"):
        await second.run(count_runs)

    slow.may_end.set()
    await writing
    first.close()
    second.close()


async def test_who_waits_for_somebody_elses_lock_is_told_without_a_name(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ALONE", postgresql.ALONE.replace(f"{postgresql.PATIENCE}s", "20ms"))
    address = make_url(server.make())
    db = Database(address.render_as_string(hide_password=False))

    with psycopg.connect(address.set(drivername="postgresql").render_as_string(hide_password=False)) as other:
        other.execute("LOCK TABLE runs")
        with pytest.raises(StateError, match="keeps the state store busy; stop it, or try again"):
            await db.run(start_run)

    db.close()


async def test_who_stands_still_while_it_writes_keeps_others_out_for_a_minute_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ALONE", postgresql.ALONE.replace(f"'{postgresql.STILL}s'", "'50ms'"))
    address, slow = server.make(), Slow()
    first, second = Database(address), Database(address)
    writing = asyncio.create_task(first.run(slow))
    await asyncio.to_thread(slow.begun.wait, 20)

    assert await second.run(count_runs) == 0

    slow.may_end.set()
    with pytest.raises(StateError, match="stood still for more than 60 seconds while it wrote"):
        await writing
    assert await first.run(count_runs) == 0
    first.close()
    second.close()


@pytest.mark.parametrize("how", ["run", "read"])
@pytest.mark.parametrize(("theirs", "ours"), [("0", "1min"), ("1h", "1min"), ("5s", "5s")])
async def test_a_shorter_limit_of_the_server_for_standing_still_stays(
    server: Server, theirs: str, ours: str, how: str
) -> None:
    address = configured(server, "idle_in_transaction_session_timeout", theirs)

    assert await shown(address, "idle_in_transaction_session_timeout", how) == ours


@pytest.mark.parametrize(("theirs", "ours"), [("0", "1min"), ("1h", "1min"), ("5s", "5s")])
async def test_a_session_is_stricter_about_hosts_that_are_gone_than_the_server_and_never_less(
    server: Server, monkeypatch: pytest.MonkeyPatch, theirs: str, ours: str
) -> None:
    """A socket within one machine has none of these settings, so another one stands for them."""
    monkeypatch.setattr(postgresql, "LOST_AFTER", {**postgresql.LOST_AFTER, "statement_timeout": 60_000})
    address = configured(server, "statement_timeout", theirs)

    assert await shown(address, "statement_timeout") == ours


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_P2_who_waited_sees_what_was_written_whatever_isolation_the_database_prefers(
    server: Server, isolation: str
) -> None:
    address, slow = configured(server, "default_transaction_isolation", isolation), Slow()
    first, second = Database(address), Database(address)
    writing = asyncio.create_task(first.run(slow))
    await asyncio.to_thread(slow.begun.wait, 20)

    waiting = asyncio.create_task(second.run(count_runs))
    await until_somebody_waits(server)
    slow.may_end.set()

    assert (await writing, await waiting) == (None, 1)
    first.close()
    second.close()


@pytest.mark.parametrize(("theirs", "ours"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")])
async def test_P2_what_is_written_is_on_the_servers_disk_before_it_counts(
    server: Server, theirs: str, ours: str
) -> None:
    assert await shown(configured(server, "synchronous_commit", theirs), "synchronous_commit") == ours


async def test_what_is_read_is_of_one_moment(server: Server) -> None:
    address = server.make()
    store, other = Database(address), Database(address)
    loop = asyncio.get_running_loop()

    def twice(connection: Connection) -> tuple[int, int]:
        before = count_runs(connection)
        asyncio.run_coroutine_threadsafe(other.run(start_run), loop).result(20)
        return before, count_runs(connection)

    assert await store.read(twice) == (0, 0)
    assert await store.read(count_runs) == 1
    store.close()
    other.close()


def test_two_processes_may_open_a_new_state_store_at_once(server: Server) -> None:
    script = "import sys; from state.db import Database; Database(sys.argv[1]).close()"
    command = [sys.executable, "-c", script, server.make(how="TEMPLATE template0")]

    processes = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) for _ in range(2)]

    assert [process.wait(60) for process in processes] == [0, 0]


async def test_a_rehearsal_keeps_nobody_from_writing_and_leaves_nothing(server: Server) -> None:
    address = server.make()
    store, other = Database(address), Database(address)
    await store.run(save, customer(1), *(product(number, "Tea") for number in range(3)))

    async with store.rehearsal():
        await store.run(start_run)
        await other.run(start_run)
        await other.run(start_run)
        assert await store.read(count_runs) == 1
        assert await store.read(lambda connection: connection.scalar(select(CUSTOMERS.c.email))) == ADA

    assert await store.read(count_runs) == 2
    store.close()
    other.close()


# --- when it is in trouble -----------------------------------------------------------------------------


async def test_a_server_that_was_restarted_meanwhile_is_met_again(server: Server, store: Database) -> None:
    await store.run(start_run)
    server.disconnect()

    assert await store.run(count_runs) == 1


async def test_P2_a_server_that_goes_in_the_middle_leaves_nothing_half_done(
    server: Server, store: Database
) -> None:
    def cut_off(connection: Connection) -> None:
        start_run(connection)
        server.disconnect()
        start_run(connection)

    with pytest.raises(StateError, match="terminating connection"):
        await store.run(cut_off)

    assert await store.run(count_runs) == 0


def test_P8_a_server_that_is_down_is_named_without_its_password() -> None:
    with pytest.raises(StateError, match=r"cartwire: .*127\.0\.0\.1.*refused") as caught:
        Database("postgresql+psycopg://me:zzsecret@127.0.0.1:1/cartwire")

    assert "zzsecret" not in f"{caught.value} {caught.value.__cause__}"


async def test_a_database_that_may_only_be_read_for_a_while_is_written_again_afterwards(
    server: Server,
) -> None:
    address = configured(server, "default_transaction_read_only", "on")
    db = Database(address)

    with pytest.raises(StateError, match="the database may only be read now"):
        await db.run(start_run)
    configured(server, "default_transaction_read_only", "off", address)

    assert await db.run(start_run)
    db.close()


def test_a_right_that_is_missing_is_named_with_what_to_grant(server: Server) -> None:
    address = server.make(how="TEMPLATE template0")
    name = make_url(address).database
    server.execute("CREATE ROLE weak LOGIN")
    weak = make_url(address).set(username="weak").render_as_string(hide_password=False)

    with pytest.raises(StateError) as lacking:
        Database(weak)
    server.execute("ALTER ROLE weak SET search_path = nowhere")
    with pytest.raises(StateError) as nowhere:
        Database(weak)

    where = f"cartwire.yaml: database: {name}: "
    assert str(lacking.value) == where + (
        "permission denied for schema public; make the role the owner of the database and of its tables, or grant it"
        " USAGE and CREATE on their schema"
    )
    assert str(nowhere.value) == where + (
        "no schema to make tables in; let the role's `search_path` name one in which it has USAGE and CREATE"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            psycopg.OperationalError('FATAL: password authentication failed for user "me"'),
            "as it is, not percent-encoded",
        ),
        (
            psycopg.errors.DiskFull("could not extend file"),
            "the server's disk is full; free some space there",
        ),
        (
            psycopg.errors.UndefinedTable('relation "x" does not exist\nLINE 1: …'),
            'relation "x" does not exist',
        ),
    ],
)
def test_what_the_server_says_comes_with_what_to_do(
    theirs: Database, error: psycopg.Error, said: str
) -> None:
    told = postgresql.told(theirs._engine, theirs.name, OperationalError(None, None, error))

    assert str(told).startswith("cartwire.yaml: database: abroad: ")
    assert (
        str(told)
        .partition("\n")[0]
        .removesuffix(", nothing is lost, the next run goes on there")
        .endswith(said)
    )


async def test_names_are_kept_whatever_letters_the_role_prefers(server: Server) -> None:
    db = Database(configured(server, "client_encoding", "LATIN1"))

    await db.run(save, Product("1", "İstanbul 🎈", (), START))
    title = await db.read(lambda connection: connection.scalar(select(PRODUCTS.c.title)))
    db.close()

    assert title == "İstanbul 🎈"


def test_a_server_that_is_not_there_yet_is_told_from_one_that_refuses(server: Server) -> None:
    address = make_url(server.make())
    with TemporaryDirectory() as folder:
        later = Path(folder, "later")
        address = address.update_query_dict({"host": str(later)})

        with pytest.raises(Away, match="No such file"):
            Database(address.render_as_string(hide_password=False))
        later.symlink_to(str(make_url(server.make()).query["host"]))

        Database(address.render_as_string(hide_password=False)).close()
        with pytest.raises(StateError, match="does not exist") as refused:
            Database(address.set(database="nothing").render_as_string(hide_password=False))

    assert not isinstance(refused.value, Away)


@pytest.mark.parametrize("encoding", ["LATIN1", "UTF8"])
def test_a_database_that_lacks_letters_is_refused(server: Server, encoding: str) -> None:
    address = server.make(how=f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")

    with pytest.raises(StateError, match=r"does not know all letters, .* make one by CREATE DATABASE"):
        Database(address)


@pytest.mark.parametrize(
    "provider", ["LOCALE_PROVIDER libc LOCALE 'tr_TR.UTF-8'", "LOCALE_PROVIDER icu ICU_LOCALE 'tr'"]
)
def test_a_database_that_changes_letters_by_one_languages_rules_is_refused(
    server: Server, provider: str
) -> None:
    try:
        address = server.make(how=f"ENCODING 'UTF8' {provider} TEMPLATE template0")
    except psycopg.Error:
        pytest.skip("this machine has no Turkish")

    with pytest.raises(StateError, match="by one language's rules; make one by CREATE DATABASE"):
        Database(address)


@pytest.mark.parametrize("whose", ["the database", "a session that a pooler hands out"])
async def test_dates_are_read_whatever_form_is_preferred(server: Server, whose: str) -> None:
    db = Database(configured(server, "datestyle", "SQL, DMY") if whose == "the database" else server.make())
    if whose != "the database":
        await db.run(lambda connection: connection.exec_driver_sql("SET SESSION datestyle TO 'SQL, DMY'"))

    await db.run(start_run)
    (run,) = await db.read(runs.list_runs)
    db.close()

    assert run.started_at == START


async def test_P8_an_error_of_the_database_quotes_no_values(store: Database) -> None:
    def twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(PROFILES.insert().values(sync="crm", revision=1, email=ADA))

    with pytest.raises(StateError, match="duplicate key") as caught:
        await store.run(twice)

    chain = [caught.value, caught.value.__cause__, caught.value.__cause__.__cause__]  # type: ignore[union-attr]
    assert ADA not in " ".join(map(str, chain))


async def test_the_size_of_what_grew_is_learnt(store: Database) -> None:
    def size(connection: Connection) -> int:
        asked = "SELECT reltuples FROM pg_class WHERE oid = 'products'::regclass"
        return int(connection.exec_driver_sql(asked).scalar_one())

    async def is_known() -> bool:
        return await store.run(size) == 2000

    await store.run(save, *(product(number, "Tea") for number in range(2000)))
    assert await store.run(size) < 1
    await until(is_known)
