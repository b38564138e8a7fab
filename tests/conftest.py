"""Fixtures for every test: instant pauses, a log that fails on personal data, and PostgreSQL where it is asked for."""

import gc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

from connectors import http
from state import db
from tests import postgresql
from tests.canaries import Watch
from tests.engines import engine

hypothesis.settings.register_profile("desk", max_examples=12, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
hypothesis.settings.load_profile("desk")

TOGETHER = ("tests/state/test_cdnow.py", "tests/test_postgresql.py", "tests/sync/test_cli.py")
"""Files that make something for all of their tests: one worker takes them whole."""


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported, and run as rarely as it does in the worker."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgresql", action="store_true", help="put every state store into a PostgreSQL")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about SQLite's files when there are none."""
    if config.getoption("--postgresql"):
        about_files = pytest.mark.skip(reason="about SQLite's files")
        for item in items:
            if item.get_closest_marker("sqlite"):
                item.add_marker(about_files)


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql.Server]:
    """Start a PostgreSQL, for all tests of a process; not where pytest drops the folders of other sessions."""
    with TemporaryDirectory(prefix="cartwire-tests-", ignore_cleanup_errors=True) as folder:
        made = postgresql.Server(Path(folder, "postgresql"))
        yield made
        made.close()


@pytest.fixture(autouse=True, scope="session")
def _database(request: pytest.FixtureRequest, _compiled_once: None) -> Iterator[None]:
    """Choose what holds the state stores of all tests."""
    if not request.config.getoption("--postgresql"):
        yield
        return
    with postgresql.in_place_of_files(request.getfixturevalue("server")):
        yield


class Scheduling(LoadScopeScheduling):
    """Hands out tests with all their parameters, and some files whole: what is asked for less often is sooner there.

    The largest go first. xdist's own groups do nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid.partition("[")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _watched_log() -> Iterator[None]:
    """Fail the test that logs an address, a phone number, a name or a key (P8)."""
    watch = Watch()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, watch])
    yield
    structlog.reset_defaults()
    assert watch.found == []


@pytest.fixture(autouse=True, scope="session")
def _compiled_once() -> Iterator[None]:
    """Let state stores compile each statement once in all tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(db, "create_engine", engine)
        yield


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make every pause of the HTTP client instant; return the pauses that were asked for."""
    asked: list[float] = []

    async def instant(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(http, "_sleep", instant)
    return asked
