"""Fixtures for every test: instant pauses, and a log that fails on personal data."""

import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

from connectors import http

hypothesis.settings.register_profile("desk", max_examples=25, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
hypothesis.settings.load_profile("desk")

TOGETHER = ("tests/state/test_cdnow.py", "tests/sync/test_cli.py")
"""Files that make something for all of their tests: one worker takes them whole."""
ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[a-z]{2,}")
SECRETS = ("cs_", "0123456789abcdef0123456789abcdef")


class Scheduling(LoadScopeScheduling):
    """Hands out tests one by one, but some files whole (xdist's own groups do nothing with pytest 9.2)."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def refuse_personal_data(_logger: Any, _method: str, event: Any) -> Any:
    """Fail the test that logs an address or a key (P8)."""
    text = repr(event)
    assert not ADDRESS.search(text), f"an address was logged: {event['event']}"
    assert not any(secret in text for secret in SECRETS), f"a secret was logged: {event['event']}"
    raise structlog.DropEvent


@pytest.fixture(autouse=True)
def _watched_log() -> Iterator[None]:
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, refuse_personal_data])
    yield
    structlog.reset_defaults()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make every pause of the HTTP client instant; return the pauses that were asked for."""
    asked: list[float] = []

    async def instant(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(http, "_sleep", instant)
    return asked
