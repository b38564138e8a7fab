"""The whole of what the connector asks: it fits the vendor's descriptions, and survives a bad line."""

import random
from decimal import Decimal

import pytest

from connectors.base import Contact, Field, FieldType, Member, Subscribe
from connectors.errors import Retryable
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.mailchimp.conftest import SPECS, spec_violations
from tests.connectors.esps.specs import Recorder, missing_specs

FAULTS = {
    Fault(status=429): 0.05,
    Fault(status=500): 0.05,
    Fault(Kind.AFTER, status=502): 0.05,
    Fault(Kind.DROP): 0.05,
    Fault(Kind.TRUNCATE): 0.05,
}
PEOPLE = [
    Contact(number, f"person-{number}@example.com", {"ORDERS": Decimal(number)}, subscribe)
    for number, subscribe in enumerate(list(Subscribe) * 50)
]


async def ask_for_everything(esp: Mailchimp) -> None:
    await esp.check()
    await esp.prepare([Field("ORDERS", FieldType.NUMBER, "Orders")], ["Customers"])
    await esp.push(PEOPLE)
    await esp.push(PEOPLE[:20])
    await esp.push([Contact(0, "renamed@example.com", {"ORDERS": 5}, known=True, was=PEOPLE[0].email)])
    await esp.change_list("Customers", [Member(each.profile, each.email) for each in PEOPLE[50:]], [])
    await esp.change_list("Customers", [], [Member(each.profile, each.email) for each in PEOPLE[60:100]])
    async for _ in esp.opt_outs(None):
        pass


@pytest.mark.skipif(missing_specs(*SPECS) is not None, reason=str(missing_specs(*SPECS)))
async def test_every_request_fits_the_vendors_descriptions(esp: Mailchimp, recorder: Recorder) -> None:
    await ask_for_everything(esp)

    assert spec_violations(recorder.sent) == []
    assert {sent.method for sent in recorder.sent} == {"GET", "POST", "PUT", "PATCH"}


@pytest.mark.parametrize("seed", range(6))
async def test_faults_leave_the_audience_as_without_them(
    esp: Mailchimp, simulation: Simulation, seed: int
) -> None:
    await ask_for_everything(esp)
    undisturbed = simulation.state.contacts
    simulation.state.members.clear()
    simulation.state.segments.clear()
    del simulation.state.merge_fields["ORDERS"]
    simulation.chances = FAULTS
    simulation._random = random.Random(seed)

    for _ in range(20):  # runs: what stops one is taken up by the next
        try:
            await ask_for_everything(esp)
        except Retryable:
            continue
        break

    assert simulation.state.contacts == undisturbed
    assert esp.tally["retry"] > 0
