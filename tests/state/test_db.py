"""The door to the state store: schema, transactions, and what is said when the file is not as it should be."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import StatementError

from state import dialect, runs
from state.backup import backup
from state.bookkeeping import RenameRow, RunRow, metadata
from state.db import Database
from state.errors import StateError
from state.presence import Presence
from state.tables import ProfileRow, table
from tests.state.makers import ADA, START, columns, customer, order, refresh, save

RUNS = table(RunRow)
ROOT = Path(__file__).parents[2]


def url(file: Path) -> str:
    return f"sqlite:///{file}"


def python(script: str, argument: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, argument],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def start_run(connection: Connection) -> int:
    return runs.start_run(connection, "crm", "sync", START)


def count_runs(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(RUNS)) or 0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(url(tmp_path / "state.db"))
    yield opened
    opened.close()


def refused(file: Path) -> str:
    """Open a state store that cannot be opened; return what is said."""
    with pytest.raises(StateError) as caught:
        Database(url(file))
    return str(caught.value)


# --- the schema ----------------------------------------------------------------------------------------


def test_the_migrations_make_the_schema_that_the_code_declares(database: Database) -> None:
    with database._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_state_store_is_opened_again_with_what_it_holds(tmp_path: Path) -> None:
    for expected in (0, 1):
        opened = Database(url(tmp_path / "state.db"))
        assert asyncio.run(opened.read(count_runs)) == expected
        asyncio.run(opened.run(start_run))
        opened.close()


@pytest.mark.sqlite
def test_a_state_store_of_a_newer_cartwire_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    Database(url(file)).close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    said = refused(file)

    assert "written by a newer Cartwire (schema 9999)" in said
    assert said.startswith(str(file))


def test_two_processes_may_open_a_new_state_store_at_once(tmp_path: Path) -> None:
    script = "import sys; from state.db import Database; Database(sys.argv[1]).close()"

    processes = [python(script, url(tmp_path / "state.db")) for _ in range(2)]

    assert [process.communicate()[0] for process in processes] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]


@pytest.mark.sqlite
def test_P8_what_is_about_people_is_for_its_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        opened = Database(url(tmp_path / "state.db"))
        asyncio.run(opened.run(start_run))
        backup(url(tmp_path / "state.db"), tmp_path / "copy.db")
    finally:
        os.umask(umask)

    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    opened.close()
    assert modes.keys() >= {"state.db", "state.db-wal", "state.db-shm", "copy.db"}
    assert set(modes.values()) == {0o600}


@pytest.mark.sqlite
def test_what_a_file_needs_while_it_is_written_anew_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's /tmp is memory, and smaller than a state store can be."""
    monkeypatch.setenv("SQLITE_TMPDIR", "/elsewhere")
    Database(url(tmp_path / "state.db")).close()
    assert os.environ["SQLITE_TMPDIR"] == "/elsewhere"

    monkeypatch.delenv("SQLITE_TMPDIR")
    Database(url(tmp_path / "state.db")).close()
    assert os.environ["SQLITE_TMPDIR"] == str(tmp_path)


# --- files that are not as they should be --------------------------------------------------------------


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_named_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.write_bytes(b"name,email\nAda,ada@example.com\n" * 100)

    said = refused(file)

    assert said.startswith(f"{file}: this file is no state store")
    assert "ada@" not in said
    assert file.read_bytes().startswith(b"name,email")


@pytest.mark.sqlite
@pytest.mark.parametrize("table", ["orders", "somebody_elses"])
def test_a_database_that_is_no_whole_state_store_is_named_and_not_touched(tmp_path: Path, table: str) -> None:
    file = tmp_path / "state.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute(f"CREATE TABLE {table} (id)")

    said = refused(file)

    assert said.startswith(f"{file}: holds tables ({table}) that are no whole state store; restore a backup")
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [(table,)]


@pytest.mark.sqlite
def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    Database(url(file)).close()
    content = bytearray(file.read_bytes())
    content[100:9000] = b"\xff" * 8900
    file.write_bytes(content)

    assert refused(file) == f"{file}: the state store is damaged; restore a backup: cartwire restore FILE"


@pytest.mark.sqlite
async def test_damage_that_shows_in_the_middle_of_the_work_is_named_without_values(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    first = Database(url(file))
    await first.run(save, *(customer(number, f"p{number}@example.com") for number in range(500)))
    first.close()
    size, content = 4096, bytearray(file.read_bytes())
    for page in range(len(content) // size):
        if b"p250@example.com" in content[page * size : (page + 1) * size]:
            content[page * size : page * size + 200] = b"\xff" * 200
    file.write_bytes(content)
    second = Database(url(file))

    with pytest.raises(StateError, match="damaged; restore a backup") as caught:
        await second.run(save, customer(250, "p250@example.com", tags=("changed",)))

    assert "@" not in f"{caught.value} {caught.value.__cause__}"
    second.close()


@pytest.mark.sqlite
def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "data" / "state.db").startswith(f"{tmp_path / 'data'}: no such folder")


@pytest.mark.sqlite
def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    assert "cannot be opened; check the owner and the mount" in refused(tmp_path)


@pytest.mark.sqlite
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
def test_a_folder_that_nobody_can_write_is_named() -> None:
    assert "cannot be opened; check the owner and the mount" in refused(Path("/proc/state.db"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.touch(mode=0o444)

    assert "cannot be written; check the owner and the mount" in refused(file)


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(StateError, match="needs the package `pg8000`"):
        Database("postgresql+pg8000://localhost/cartwire")


@pytest.mark.sqlite
def test_other_trouble_of_the_database_is_passed_on_without_the_statement(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE VIEW orders AS SELECT 1")

    assert refused(file) == f"{file}: view orders already exists"


# --- transactions --------------------------------------------------------------------------------------


async def test_P2_a_function_that_raises_leaves_nothing_behind(store: Database) -> None:
    def half(connection: Connection) -> None:
        start_run(connection)
        raise LookupError

    with pytest.raises(LookupError):
        await store.run(half)

    assert await store.read(count_runs) == 0


async def test_P2_a_call_that_is_given_up_is_wholly_there_or_wholly_not(store: Database) -> None:
    call = asyncio.create_task(store.run(start_run))
    await asyncio.sleep(0)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call

    assert await store.read(count_runs) in {0, 1}
    assert await store.run(start_run) > 0


@pytest.mark.sqlite
async def test_P2_what_is_committed_is_on_the_disk(store: Database) -> None:
    with store._engine.connect() as connection:
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()

    assert (synchronous, journal) == (2, "wal")


async def test_P8_an_error_of_the_database_quotes_no_values(store: Database) -> None:
    def twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(table(ProfileRow).insert().values(sync="crm", email=ADA))

    with pytest.raises(StateError) as caught:
        await store.run(twice)

    assert "profiles" in str(caught.value)
    assert ADA not in f"{caught.value} {caught.value.__cause__}"


async def test_guards_add_up(store: Database) -> None:
    asked: list[str] = []

    with store.guarded(lambda _: asked.append("outer")), store.guarded(lambda _: asked.append("inner")):
        await store.run(start_run)
    await store.run(start_run)

    assert asked == ["outer", "inner"]


async def test_a_rehearsal_sees_its_own_writing_and_undoes_it(store: Database) -> None:
    async with store.rehearsal():
        await store.run(start_run)
        assert await store.read(count_runs) == 1

    assert await store.read(count_runs) == 0


async def test_a_rehearsal_that_fails_is_undone_too(store: Database) -> None:
    async def rehearse() -> None:
        async with store.rehearsal():
            await store.run(start_run)
            raise LookupError

    with pytest.raises(LookupError):
        await rehearse()

    assert await store.read(count_runs) == 0


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.sqlite
async def test_a_rehearsal_keeps_nobody_from_writing_and_leaves_no_file(
    impatient: None, store: Database, tmp_path: Path
) -> None:
    async with store.rehearsal():
        await store.run(start_run)
        files = names_in(tmp_path)
        assert not [name for name in files if "copy" in name]
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as worker:
            worker.execute("BEGIN IMMEDIATE")
            await store.run(start_run)
            assert await store.read(count_runs) == 2

    assert await store.read(count_runs) == 0
    assert files == names_in(tmp_path)


@pytest.mark.sqlite
async def test_P8_copies_that_a_kill_left_are_dropped_once_nobody_can_be_making_them(
    store: Database, tmp_path: Path
) -> None:
    old, new = (tmp_path / f"state.db.copy-{name}" for name in ("old", "new"))
    old.touch()
    new.touch()
    os.utime(old, (0, 0))

    await store.tend()
    tended = names_in(tmp_path)
    await store.run(dialect.leave_no_trace)

    assert (old.name in tended, new.name in tended) == (False, True)
    assert new.name not in names_in(tmp_path)


@pytest.fixture
async def busy(impatient: None, store: Database, tmp_path: Path) -> AsyncIterator[Database]:
    """Let another process hold the write lock."""
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield store


@pytest.mark.sqlite
async def test_writing_while_another_process_writes_ends_in_a_sentence(busy: Database) -> None:
    with pytest.raises(StateError, match="another process keeps the state store busy"):
        await busy.run(start_run)


async def test_reading_does_not_wait_for_another_process_that_writes(busy: Database) -> None:
    assert await busy.read(count_runs) == 0


# --- many rows at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 7, 83, 256, 345])
def test_any_number_of_rows_is_inserted_and_then_updated(connection: Connection, count: int) -> None:
    renames = table(RenameRow)
    for told in ("first", "second"):
        names = [f"{told} {number}" for number in range(count)]
        rows = [{"revision": place, "old": ADA, "new": name} for place, name in enumerate(names)]
        dialect.upsert(connection, renames, rows)

        found = connection.scalars(select(renames.c.new).order_by(renames.c.revision)).all()
        assert found == names


def test_of_two_rows_with_one_key_the_later_counts(connection: Connection) -> None:
    renames = table(RenameRow)
    rows = [{"revision": 1, "old": ADA, "new": name} for name in ("first", "second", "third")]

    dialect.upsert(connection, renames, rows)

    assert connection.scalars(select(renames.c.new)).all() == ["third"]


# --- moments -------------------------------------------------------------------------------------------

OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=OFFSETS))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_moment_is_written_as_sqlalchemy_writes_it(moment: datetime) -> None:
    sqlite = sqlite_dialect.dialect()
    theirs = table(RunRow).c.started_at.type.dialect_impl(sqlite).bind_processor(sqlite)

    assert theirs is not None
    assert dialect._moment_text(moment) == theirs(moment)


def test_a_moment_without_a_zone_is_refused(connection: Connection) -> None:
    with pytest.raises((ValueError, StatementError), match=r"without a time zone|timezone"):
        save(connection, order(1, created_at=datetime(2026, 1, 1)))  # noqa: DTZ001 - that is what is refused


# --- one run at a time ---------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from state.runs import alone
with alone(Path(sys.argv[1]), "crm"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that runs the sync, and wait until it does."""
    process = python(HOLD, str(folder))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_two_processes_never_run_one_sync_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with (
            pytest.raises(StateError, match="crm: another process is at it"),
            runs.alone(tmp_path, "crm"),
        ):
            pass
        with runs.alone(tmp_path, "other"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()

    with runs.alone(tmp_path, "crm"):
        pass


def test_a_run_that_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(LookupError), runs.alone(tmp_path, "crm"):
        raise LookupError

    with runs.alone(tmp_path, "crm"):
        pass


def test_a_folder_in_which_no_lock_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(StateError, match="cannot be written"),
        runs.alone(tmp_path / "file" / "folder", "crm"),
    ):
        pass


# --- backups -------------------------------------------------------------------------------------------


@pytest.mark.sqlite
async def test_a_backup_holds_what_is_committed_while_somebody_writes(
    store: Database, tmp_path: Path
) -> None:
    await store.run(save, order(1))
    await store.run(refresh)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM orders")

        backup(url(tmp_path / "state.db"), tmp_path / "copy.db")

    copy = Database(url(tmp_path / "copy.db"))
    assert (await copy.read(columns))[ADA]["orders_count"] == 1
    copy.close()


@pytest.mark.sqlite
def test_a_backup_comes_to_an_end_and_is_one_moment_while_a_worker_commits(tmp_path: Path) -> None:
    file, done = tmp_path / "state.db", threading.Event()
    Database(url(file)).close()

    def work() -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            number = 0
            while not done.is_set():
                number += 1
                other.execute("BEGIN IMMEDIATE")
                other.execute("INSERT INTO secrets VALUES (?, ?)", (str(number), "x" * 5000))
                other.execute("INSERT INTO forgotten VALUES (?, '2026-01-01')", (str(number),))
                other.execute("COMMIT")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(3):
            backup(url(file), tmp_path / f"{number}.db")
    finally:
        done.set()
        thread.join()

    for number in range(3):
        with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
            counts = [
                copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in ("secrets", "forgotten")
            ]
        assert counts[0] == counts[1]


def test_a_backup_of_a_file_with_a_strange_name_is_a_backup_of_that_file(tmp_path: Path) -> None:
    file = tmp_path / "a b#c.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE mine (x)")

    backup(url(file), tmp_path / "copy.db")

    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


def no_store(folder: Path) -> str:
    return url(folder / "nothing.db")


def garbage(folder: Path) -> str:
    (folder / "garbage.db").write_bytes(b"ada@example.com" * 1000)
    return url(folder / "garbage.db")


def no_file(_folder: Path) -> str:
    return "sqlite://"


def postgres(_folder: Path) -> str:
    return "postgresql+psycopg://localhost/cartwire"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (no_store, "there is no state store yet"),
        (garbage, "the copy failed"),
        (no_file, "use pg_dump"),
        (postgres, "use pg_dump"),
    ],
)
def test_what_cannot_be_copied_is_named_and_leaves_no_file(
    tmp_path: Path, source: Callable[[Path], str], said: str
) -> None:
    with pytest.raises(StateError, match=said):
        backup(source(tmp_path), tmp_path / "copy.db")

    assert not (tmp_path / "copy.db").exists()


@pytest.mark.sqlite
def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    Database(url(tmp_path / "state.db")).close()
    (tmp_path / "copy.db").write_text("mine")

    with pytest.raises(StateError, match="exists already"):
        backup(url(tmp_path / "state.db"), tmp_path / "copy.db")

    assert (tmp_path / "copy.db").read_text() == "mine"


@pytest.mark.sqlite
def test_a_backup_into_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    Database(url(tmp_path / "state.db")).close()

    with pytest.raises(StateError, match="check space and rights there"):
        backup(url(tmp_path / "state.db"), tmp_path / "missing" / "copy.db")


@pytest.mark.sqlite
@pytest.mark.parametrize("damage", [200, 40_960])
def test_a_damaged_state_store_is_not_taken_for_a_backup(tmp_path: Path, damage: int) -> None:
    file = tmp_path / "state.db"
    Database(url(file)).close()
    content = bytearray(file.read_bytes())
    content[4096 * 10 : 4096 * 10 + damage] = b"\xff" * damage
    file.write_bytes(content)

    with pytest.raises(StateError, match=r"damaged|malformed"):
        backup(url(file), tmp_path / "copy.db")

    assert not (tmp_path / "copy.db").exists()


def test_an_unclean_stop_is_seen_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.db-wal").write_bytes(b"what was not closed")  # SQLite keeps it there
    link = tmp_path / "state.db"
    link.symlink_to(tmp_path / "real.db")

    presence = Presence(link)
    presence.close()

    assert presence.after_unclean_stop
