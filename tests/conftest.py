"""Fixtures for every test: instant pauses, and a log that fails on personal data."""

import gc
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

from connectors import http
from state import db
from tests.canaries import Watch
from tests.engines import engine

hypothesis.settings.register_profile("desk", max_examples=12, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
hypothesis.settings.load_profile("desk")

TOGETHER = ("tests/state/test_cdnow.py", "tests/sync/test_cli.py")
"""Files that make something for all of their tests: one worker takes them whole."""


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported, and run as rarely as it does in the worker."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


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
