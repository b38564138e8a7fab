from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from connectors import http
from connectors.esps.brevo import connector
from connectors.esps.brevo.connector import Brevo
from connectors.esps.brevo.simulator import SETTINGS, simulator
from connectors.simulation import Simulation
from tests.connectors.esps.edges import answered_by
from tests.connectors.esps.specs import Recorder, Sent, missing_specs, spec, violations

SPECS = ("brevo-v3-2024-06.swagger.json", "brevo-v3-2026-derived.openapi.json")
BASE = "/v3"
CONFIRMING = {"confirmation_template": 3, "confirmation_url": "https://shop.example/thanks"}


def spec_violations(sent: Iterable[Sent]) -> list[str]:
    return violations(list(sent), [spec(name, BASE) for name in SPECS])


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make every pause instant; the list says how long they would have been."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(http, "_sleep", sleep)
    monkeypatch.setattr(connector, "CONTACTS_PER_SECOND", None)
    return made


@pytest.fixture
def simulation(pauses: list[float]) -> Simulation:
    """Make a Brevo whose clock goes by our pauses only."""
    began = datetime.now(UTC)
    return simulator(clock=lambda: began + timedelta(seconds=sum(pauses)))


@pytest.fixture
def recorder(simulation: Simulation) -> Iterator[Recorder]:
    """Stand between connector and simulator; afterwards every request must fit the vendor's descriptions."""
    recorder = Recorder(simulation)
    yield recorder
    if not missing_specs(*SPECS):
        assert spec_violations(recorder.sent) == []


@pytest.fixture
def edge(recorder: Recorder) -> Iterator[None]:
    """Let all HTTP end at the simulator."""
    with answered_by(recorder):
        yield


@pytest.fixture
async def esp(edge: None) -> AsyncIterator[Brevo]:
    """Make a connector whose Brevo is the simulator."""
    connector = Brevo(Brevo.Settings(**SETTINGS))
    yield connector
    await connector.aclose()


@pytest.fixture
async def asking(edge: None) -> AsyncIterator[Brevo]:
    """Make a connector that can send confirmation mails."""
    connector = Brevo(Brevo.Settings(**SETTINGS, **CONFIRMING))
    yield connector
    await connector.aclose()
