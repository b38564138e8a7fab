from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.asgi import Reply
from connectors.base import Contact, OptOut, Subscribe
from connectors.errors import Refused, RemoteFault
from connectors.esps.brevo import book
from connectors.esps.brevo.connector import Brevo
from connectors.esps.brevo.writes import MARK
from connectors.simulation import Fault, Simulation
from tests.connectors.esps.brevo.test_push import ADA, BOB, MANY, people
from tests.connectors.esps.specs import Recorder


async def read(esp: Brevo, since: datetime | None = None) -> list[OptOut]:
    return [each async for page in esp.opt_outs(since) for each in page]


async def test_who_is_blocked_is_read_back(esp: Brevo, simulation: Simulation) -> None:
    simulation.state.add(ADA, blocked=True)
    simulation.state.add(BOB)
    simulation.state.add("33612345678@mailin-sms.com", blocked=True)

    (found,) = await read(esp)

    assert (found.email, found.reason) == (ADA, "blocked")
    assert found.at is not None
    assert abs(found.at - simulation.state.clock()) < timedelta(seconds=1)


@pytest.mark.parametrize("count", [3, MANY])
async def test_who_was_blocked_for_want_of_consent_did_not_opt_out(
    esp: Brevo, simulation: Simulation, count: int
) -> None:
    await esp.push(people(count))
    await esp.push([Contact(900, ADA, {}, Subscribe.YES)])
    assert await read(esp) == []

    simulation.state.block(ADA)

    assert [each.email for each in await read(esp)] == [ADA]


async def test_who_came_back_and_left_again_opted_out(esp: Brevo, simulation: Simulation) -> None:
    await esp.push([Contact(1, ADA, {"FIRSTNAME": "A"})])
    simulation.state.existing(ADA).created -= timedelta(days=2)
    simulation.state.block(ADA, blocked=False)
    assert await read(esp) == []
    assert MARK not in simulation.state.contact(ADA).fields

    simulation.state.block(ADA)

    assert [each.email for each in await read(esp)] == [ADA]


async def test_who_came_back_is_noted_though_another_is_deleted_meanwhile(
    esp: Brevo, simulation: Simulation
) -> None:
    state = simulation.state
    await esp.push(people(5))
    for each in list(state.stored.values()):
        each.created -= timedelta(days=2)
        each.blocked = False

    def delete_one(method: str, _path: Sequence[str], reply: Reply) -> Reply:
        if method == "GET" and len(state.stored) == 5:
            state.delete(state.existing("person-3@example.com"))
        return reply

    state.mend = delete_one

    assert await read(esp) == []
    assert [MARK in each.fields for each in state.contacts.values()] == [False] * 4


async def test_whose_block_never_was_set_does_not_look_as_if_somebody_lifted_it(
    esp: Brevo, simulation: Simulation
) -> None:
    await esp.push([Contact(1, ADA, {"FIRSTNAME": "A"})])
    simulation.state.existing(ADA).blocked = False

    assert await read(esp) == []

    assert simulation.state.contact(ADA).fields[MARK] == "no consent"


async def test_who_came_back_on_their_first_day_and_left_later_opted_out(
    esp: Brevo, simulation: Simulation
) -> None:
    await esp.push([Contact(1, ADA, {"FIRSTNAME": "A"})])
    simulation.state.block(ADA, blocked=False)
    came_back = simulation.state.clock()
    assert await read(esp) == []
    simulation.state.existing(ADA).created -= timedelta(hours=25)

    assert await read(esp, came_back + timedelta(hours=23)) == []
    simulation.state.block(ADA)

    assert [each.email for each in await read(esp, came_back)] == [ADA]


async def test_only_what_changed_since_is_read(
    esp: Brevo, simulation: Simulation, recorder: Recorder, pauses: list[float]
) -> None:
    simulation.state.add(ADA, blocked=True)
    pauses.append(7200.0)
    simulation.state.add(BOB, blocked=True)

    found = await read(esp, simulation.state.clock() - timedelta(hours=1))

    assert [each.email for each in found] == [BOB]
    assert dict(recorder.sent[-1].query)["modifiedSince"].endswith(".000Z")


async def test_the_moment_asked_for_is_in_utc() -> None:
    east = datetime.fromisoformat("2026-11-04T08:15:30+05:30")

    assert book.moment(east) == "2026-11-04T02:45:30.000Z"
    assert book.moment(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


async def test_pages_are_read_to_the_end(
    esp: Brevo, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "PAGE_SIZE", 10)
    for number in range(35):
        simulation.state.add(f"p{number}@example.com", blocked=True)

    assert len(await read(esp)) == 35


async def test_a_deletion_on_the_way_hides_nobody(
    esp: Brevo, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "PAGE_SIZE", 10)
    for number in range(25):
        simulation.state.add(f"p{number}@example.com", blocked=True)
    found = set()

    async for page in esp.opt_outs(None):
        found |= {each.email for each in page}
        if len(simulation.state.stored) == 25:
            simulation.state.delete(simulation.state.existing("p0@example.com"))

    assert found == {f"p{number}@example.com" for number in range(25)}


async def test_contacts_that_vanish_all_the_time_end_the_run(
    esp: Brevo, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "PAGE_SIZE", 2)
    for number in range(40):
        simulation.state.add(f"p{number}@example.com", blocked=True)

    async def read_while_they_vanish() -> None:
        async for _ in esp.opt_outs(None):
            simulation.state.delete(next(iter(simulation.state.stored.values())))

    with pytest.raises(RemoteFault, match="vanish"):
        await read_while_they_vanish()


async def test_a_server_that_knows_no_pages_is_read_once(esp: Brevo, simulation: Simulation) -> None:
    simulation.state.add(ADA, blocked=True)
    row = {"email": ADA, "emailBlacklisted": True, "attributes": {}}
    page = {"contacts": [row], "count": 17655}
    simulation.state.mend = lambda _method, _path, reply: type(reply)(200, page)

    assert [each.email for each in await read(esp)] == [ADA]


async def test_nobody_is_nothing(esp: Brevo) -> None:
    assert await read(esp) == []


# Erasing


@pytest.mark.parametrize("status", [400, 405])
async def test_an_erasure_that_brevo_refuses_is_raised_without_the_address(
    esp: Brevo, simulation: Simulation, status: int
) -> None:
    simulation.state.add(ADA)
    simulation.fail(Fault(status=status, body=ADA.encode()), when=lambda method, _: method == "DELETE")

    with pytest.raises(Refused, match="does not delete this contact") as raised:
        await esp.erase(ADA)

    assert "@" not in str(raised.value)


async def test_an_erasure_that_is_refused_of_somebody_who_is_not_there_is_done(
    esp: Brevo, simulation: Simulation
) -> None:
    simulation.fail(Fault(status=400), when=lambda method, _: method == "DELETE")

    await esp.erase(ADA)

    assert [seen.method for seen in simulation.requests] == ["DELETE", "GET"]
