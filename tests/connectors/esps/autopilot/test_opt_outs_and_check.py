import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from pydantic import ValidationError

from connectors.base import Contact, OptOut, Subscribe
from connectors.errors import Refused
from connectors.esps.autopilot.connector import Autopilot
from connectors.esps.autopilot.delivery import taken
from connectors.esps.autopilot.fields import Fields
from connectors.esps.autopilot.simulator import SETTINGS, simulator
from connectors.http import Answer
from connectors.simulation import Fault, Simulation
from tests.connectors.esps.autopilot.conftest import NOW
from tests.connectors.esps.specs import FOLDER, Recorder, missing_specs

RECORDED = "autopilot-v1-recorded.json"
recorded = pytest.mark.skipif(missing_specs(RECORDED) is not None, reason="recorded answers are not here")


async def read(esp: Autopilot, since: datetime | None = None) -> dict[str, OptOut]:
    return {each.email: each async for page in esp.opt_outs(since) for each in page}


async def test_everybody_who_may_not_be_mailed_is_told(esp: Autopilot, simulation: Simulation) -> None:
    for name in ("left", "spam", "dead", "manual", "fine"):
        simulation.state.add(f"{name}@example.com", "unsubscribed" if name == "manual" else "subscribed")
    simulation.state.unsubscribe("left@example.com")
    simulation.state.complain("spam@example.com")
    simulation.state.bounce("dead@example.com")

    found = await read(esp)

    assert {email: (each.reason, each.at) for email, each in found.items()} == {
        "left@example.com": ("unsubscribed", NOW.replace(microsecond=0)),
        "spam@example.com": ("complained", NOW),
        "dead@example.com": ("bounced", NOW),
        "manual@example.com": ("unsubscribed", NOW),
    }


async def test_who_was_created_without_proof_has_not_opted_out(
    esp: Autopilot, simulation: Simulation
) -> None:
    await esp.push([Contact(1, "new@example.com", {}), Contact(2, "left@example.com", {})])
    simulation.state.unsubscribe("left@example.com")

    assert list(await read(esp)) == ["left@example.com"]


async def test_who_was_stopped_and_who_came_back(esp: Autopilot, simulation: Simulation) -> None:
    simulation.state.add("back@example.com")
    simulation.state.unsubscribe("back@example.com")
    simulation.state.add("back@example.com")
    await esp.push([Contact(1, "stopped@example.com", {}, Subscribe.STOP)])

    assert list(await read(esp)) == ["stopped@example.com"]


async def test_only_what_changed_is_told(esp: Autopilot, simulation: Simulation, pauses: list[float]) -> None:
    simulation.state.add("old@example.com")
    simulation.state.unsubscribe("old@example.com")
    pauses.append(86_400.0)
    simulation.state.add("new@example.com")
    simulation.state.unsubscribe("new@example.com")

    assert list(await read(esp, NOW + timedelta(hours=12))) == ["new@example.com"]
    assert set(await read(esp, NOW)) == {"old@example.com", "new@example.com"}


async def test_all_pages_are_read(esp: Autopilot, simulation: Simulation) -> None:
    for number in range(301):
        simulation.state.add(f"person-{number}@example.com", "unsubscribed")

    assert len(await read(esp)) == 301
    assert simulation.counts() == {"GET": 4}


async def test_paging_ends_where_it_does_not_go_on(esp: Autopilot, simulation: Simulation) -> None:
    body = json.dumps({"contacts": [{"contact_id": "person_1"}], "bookmark": "b"}).encode()
    simulation.fail(Fault(status=200, headers={"content-type": "application/json"}, body=body), times=9)

    assert await read(esp) == {}
    assert simulation.counts() == {"GET": 2}


async def test_a_check_is_one_request(esp: Autopilot, simulation: Simulation) -> None:
    assert await esp.check() == []
    assert simulation.counts() == {"GET": 1}


@pytest.mark.parametrize("body", [b"", b"<html>Not Found</html>"])
async def test_a_check_falls_back_on_the_lists(esp: Autopilot, simulation: Simulation, body: bytes) -> None:
    simulation.fail(Fault(status=404, body=body))

    assert await esp.check() == []
    assert [seen.path for seen in simulation.requests] == ["/v1/account", "/v1/lists"]


async def test_a_wrong_key_names_the_setting_and_the_successor(
    esp: Autopilot, simulation: Simulation
) -> None:
    simulation.state.api_key = "another"

    with pytest.raises(Refused, match=r"`api_key`: Provided .* `type: ortto`") as refused:
        await esp.check()
    assert SETTINGS["api_key"] not in str(refused.value)


async def test_a_refusal_that_is_no_json_is_told(esp: Autopilot, simulation: Simulation) -> None:
    simulation.fail(Fault(status=403))

    with pytest.raises(Refused, match="web page"):
        await esp.check()


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://api2.autopilothq.com/v1"),
        ({"base_url": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/v1"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "http://127.0.0.1:9/v1"),
    ],
)
def test_the_address_of_the_api(settings: dict[str, Any], url: str) -> None:
    assert Autopilot.Settings(**SETTINGS, **settings).api_url == url


@pytest.mark.parametrize("settings", [{}, {**SETTINGS, "base_url": "here"}, {**SETTINGS, "audience": "x"}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Autopilot.Settings(**settings)


async def test_the_simulator_refuses_more_than_its_rate() -> None:
    simulation = simulator(per_second=2, clock=lambda: NOW)
    transport = httpx.ASGITransport(simulation)
    headers = {"autopilotapikey": SETTINGS["api_key"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://autopilot.test/v1") as client:
        statuses = [(await client.get("/lists", headers=headers)).status_code for _ in range(3)]
        nameless = await client.get("/lists")
        answer = await client.get("/lists", headers=headers)

    assert statuses == [200, 200, 429]
    assert (nameless.status_code, nameless.json()["message"]) == (400, "No autopilotapikey header provided.")
    assert answer.json()["message"] == "You have exceeded your request rate of 2 r/s."


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/contacts", {"contacts": []}, 400),
        ("POST", "/contacts", {"contacts": [{"Email": f"{n}@example.com"} for n in range(101)]}, 400),
        ("POST", "/contacts", [], 400),
        ("POST", "/contact", {}, 400),
        ("POST", "/contact", {"contact": {"Email": "a@example.com", "custom": {"Orders": 3}}}, 400),
        ("POST", "/contact", {"contact": {"Email": "a@example.com", "Nonsense": "x"}}, 400),
        ("POST", "/contact", {"contact": {"Email": "a@example.com", "FirstName": 3}}, 400),
        ("POST", "/contact", {"contact": {"Email": "a@example.com", "_autopilot_list": "x"}}, 400),
        ("POST", "/list", {"name": " "}, 400),
        ("GET", "/list/contactlist_0/contacts", None, 404),
        ("GET", "/contact/person_0", None, 404),
        ("DELETE", "/contact/nobody@example.com", None, 404),
        ("GET", "/journeys", None, 404),
        ("GET", "/../elsewhere", None, 404),
    ],
)
async def test_the_simulator_refuses_what_autopilot_refuses(
    simulation: Simulation, method: str, path: str, body: Any, status: int
) -> None:
    transport = httpx.ASGITransport(simulation)
    async with httpx.AsyncClient(transport=transport, base_url="http://autopilot.test/v1") as client:
        client.headers["autopilotapikey"] = SETTINGS["api_key"]
        answer = await client.request(method, path, json=body)

    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}


async def test_the_simulator_pages_through_a_list(simulation: Simulation) -> None:
    list_id = simulation.state.add_list("Customers")
    for number in range(101):
        email = f"person-{number}@example.com"
        simulation.state.upsert({"Email": email, "_autopilot_list": list_id})
    transport = httpx.ASGITransport(simulation)
    async with httpx.AsyncClient(transport=transport, base_url="http://autopilot.test/v1") as client:
        client.headers["autopilotapikey"] = SETTINGS["api_key"]
        first = (await client.get(f"/list/{list_id}/contacts")).json()
        second = (await client.get(f"/list/{list_id}/contacts/{first['bookmark']}")).json()
        again = await client.post(f"/list/{list_id}/contact/person-0@example.com")
        deleted = await client.delete("/contact/person-0@example.com")

    assert (len(first["contacts"]), len(second["contacts"])) == (100, 1)
    assert "bookmark" not in second
    assert again.json() == {"not_modified": True}
    assert deleted.status_code == 204


def interactions() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / RECORDED).read_text())["interactions"]
    return found


def answer_to(method: str, path: str) -> Any:
    return next(
        each["response_body"] for each in interactions() if (each["method"], each["path"]) == (method, path)
    )


@recorded
async def test_recorded_contacts_are_read() -> None:
    page = answer_to("GET", "/v1/contacts")
    page["contacts"][0]["mail_hardbounced"] = {"batchdelivery_1": 1482221012000}
    page["contacts"][2]["unsubscribed"] = True  # this one has no address
    with respx.mock() as router:
        router.get(path="/v1/contacts").respond(json=page)
        esp = Autopilot(Autopilot.Settings(**SETTINGS))
        found = await read(esp)
        there = await esp._people.find([contact.get("Email", "x@y") for contact in page["contacts"]] * 9)
        await esp.aclose()

    assert found == {
        "ada@example.com": OptOut("ada@example.com", "bounced", datetime(2016, 12, 20, 8, 3, 32, tzinfo=UTC))
    }
    assert len(there) == 6


@recorded
async def test_recorded_lists_are_found() -> None:
    with respx.mock() as router:
        router.get(path="/v1/contacts/custom_fields").respond(json=[])
        router.get(path="/v1/lists").respond(json=answer_to("GET", "/v1/lists"))
        esp = Autopilot(Autopilot.Settings(**SETTINGS))

        refused = await esp.prepare([], ["Bob's team"])
        await esp.aclose()

    assert refused == {}


@recorded
def test_a_recorded_bulk_answer_names_those_who_were_taken() -> None:
    answer = Answer(200, {}, b"", answer_to("POST", "/v1/contacts"))

    assert set(taken(answer)) == {"test1@example.com", "test2@example.com"}


@recorded
def test_recorded_custom_fields_have_the_types_that_we_know() -> None:
    contacts = answer_to("GET", "/v1/contacts")["contacts"]
    rows = [
        {"name": each["kind"], "fieldType": each["fieldType"]}
        for contact in contacts
        for each in contact.get("custom_fields", ())
    ]

    slot = Fields(rows).slot("NPS Rating", None)

    assert slot is not None
    assert slot.key == "integer--NPS--Rating"


async def test_addresses_stay_out_of_the_log(esp: Autopilot, recorder: Recorder) -> None:
    await esp.push([Contact(1, "ada@example.com", {})])

    assert any("ada%40example.com" in sent.path for sent in recorder.sent)
