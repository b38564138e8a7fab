import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.esps.autopilot import connector
from connectors.esps.autopilot.connector import Autopilot
from connectors.esps.autopilot.simulator import SETTINGS, simulator
from connectors.simulation import Simulation
from tests.connectors.esps.edges import answered_by
from tests.connectors.esps.specs import Recorder, missing_specs, spec, violations

SPEC = "autopilot-v1-derived.openapi.yaml"
NOW = datetime(2026, 11, 4, 8, 15, 30, tzinfo=UTC)


def bodies(recorder: Recorder, path: str) -> list[Mapping[str, Any]]:
    """Give every contact that was sent to a path, alone or in bulk."""
    sent = [json.loads(each.body) for each in recorder.sent if each.body and each.path == path]
    return [contact for body in sent for contact in body.get("contacts", [body.get("contact")])]


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "PER_SECOND", 1e6)


@pytest.fixture
def simulation(pauses: list[float]) -> Simulation:
    """Make an Autopilot whose clock stands still but for our pauses."""
    return simulator(clock=lambda: NOW + timedelta(seconds=sum(pauses)))


@pytest.fixture
def lenient() -> list[str]:
    """Hold words that a violation of the description may contain, for tests of what it does not know."""
    return []


@pytest.fixture
def recorder(simulation: Simulation, lenient: list[str]) -> Iterator[Recorder]:
    """Stand between connector and simulator; afterwards every request must fit the description."""
    recorder = Recorder(simulation)
    yield recorder
    if not missing_specs(SPEC):
        found = violations(recorder.sent, [spec(SPEC, "/v1")])
        assert [text for text in found if not any(word in text for word in lenient)] == []


@pytest.fixture
async def esp(recorder: Recorder) -> AsyncIterator[Autopilot]:
    """Make a connector whose Autopilot is the simulator."""
    with answered_by(recorder):
        made = Autopilot(Autopilot.Settings(**SETTINGS))
        yield made
        await made.aclose()
