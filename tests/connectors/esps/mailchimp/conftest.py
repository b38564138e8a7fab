import json
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from connectors.esps.mailchimp.connector import Mailchimp
from connectors.esps.mailchimp.simulator import SETTINGS, simulator
from connectors.simulation import Simulation
from tests.connectors.esps.edges import answered_by
from tests.connectors.esps.specs import Recorder, Sent, missing_specs, spec, violations

SPECS = ("mailchimp-marketing-3.0.55.openapi.json", "mailchimp-marketing-2025-requests.openapi.json")
BASE = "/3.0"
NOW = datetime(2026, 11, 4, 8, 15, 30, tzinfo=UTC)


def operations(sent: Sent) -> Iterable[Sent]:
    """Give the requests that a batch carries."""
    if (sent.method, sent.path) != ("POST", f"{BASE}/batches"):
        return
    for each in json.loads(sent.body)["operations"]:
        query = tuple((each.get("params") or {}).items())
        yield Sent(each["method"], BASE + each["path"], query, each.get("body", "").encode())


def spec_violations(sent: Iterable[Sent]) -> list[str]:
    specs = [spec(name, BASE) for name in SPECS]
    return violations(
        list(sent), specs, expand=operations, ignore=lambda each: each.path.startswith("/batch-results/")
    )


@pytest.fixture(autouse=True)
def _instant(pauses: list[float]) -> None:
    """Wait for nothing, in any test of this folder."""


@pytest.fixture
def simulation(pauses: list[float]) -> Simulation:
    """Make a Mailchimp whose clock stands still but for our pauses."""
    return simulator(clock=lambda: NOW + timedelta(seconds=sum(pauses)))


@pytest.fixture
def recorder(simulation: Simulation) -> Iterator[Recorder]:
    """Stand between connector and simulator; afterwards every request must fit the vendor's descriptions."""
    recorder = Recorder(simulation)
    yield recorder
    if not missing_specs(*SPECS):
        assert spec_violations(recorder.sent) == []


@pytest.fixture
async def esp(recorder: Recorder) -> AsyncIterator[Mailchimp]:
    """Make a connector whose Mailchimp is the simulator."""
    with answered_by(recorder):
        connector = Mailchimp(Mailchimp.Settings(**SETTINGS))
        yield connector
        await connector.aclose()
