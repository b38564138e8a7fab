import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.esps.ortto import connector
from connectors.esps.ortto.connector import Ortto
from connectors.esps.ortto.simulator import SETTINGS, simulator
from connectors.simulation import Simulation
from tests.connectors.esps.edges import answered_by
from tests.connectors.esps.specs import Recorder, missing_specs, spec, violations

SPEC = "ortto-v1-derived.openapi.yaml"
NOW = datetime(2026, 11, 4, 8, 15, 30, tzinfo=UTC)


def merges(recorder: Recorder) -> Sequence[Mapping[str, Any]]:
    """Give the bodies of the merges that were sent."""
    return [json.loads(sent.body) for sent in recorder.sent if sent.path == "/v1/person/merge"]


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "PER_SECOND", 1e6)


@pytest.fixture
def simulation(pauses: list[float]) -> Iterator[Simulation]:
    """Make an Ortto whose clock stands still but for our pauses; it must never have to shut us out."""
    made = simulator(clock=lambda: NOW + timedelta(seconds=sum(pauses)))
    yield made
    assert made.state.blocked == 0


@pytest.fixture
def recorder(simulation: Simulation) -> Iterator[Recorder]:
    """Stand between connector and simulator; afterwards every request must fit the description."""
    recorder = Recorder(simulation)
    yield recorder
    if not missing_specs(SPEC):
        assert violations(recorder.sent, [spec(SPEC, "/v1")]) == []


@pytest.fixture
async def esp(recorder: Recorder) -> AsyncIterator[Ortto]:
    """Make a connector whose Ortto is the simulator."""
    with answered_by(recorder):
        made = Ortto(Ortto.Settings(**SETTINGS))
        yield made
        await made.aclose()
