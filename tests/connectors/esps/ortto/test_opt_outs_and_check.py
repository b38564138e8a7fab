import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from pydantic import ValidationError

from connectors.base import Contact, Field, FieldType, OptOut, Subscribe
from connectors.errors import Refused, RemoteFault
from connectors.esps.ortto.connector import Ortto
from connectors.esps.ortto.delivery import _NAMED_FIELD, _UNKNOWN_FIELD, MARK, _named_field, _records
from connectors.esps.ortto.fields import Fields
from connectors.esps.ortto.simulator import SETTINGS, simulator
from connectors.http import Answer
from connectors.simulation import Fault, Simulation
from tests.connectors.esps.ortto.conftest import NOW
from tests.connectors.esps.specs import FOLDER, missing_specs

RECORDED, SCHEMA = "ortto-v1-recorded.json", "ortto-v1-instance-schema.recorded.json"
recorded = pytest.mark.skipif(
    missing_specs(RECORDED, SCHEMA) is not None, reason="recorded answers are not here"
)

ADA = "ada@example.com"


async def read(esp: Ortto, since: datetime | None = None) -> dict[str, OptOut]:
    return {each.email: each async for page in esp.opt_outs(since) for each in page}


async def test_everybody_who_may_not_be_mailed_is_told(esp: Ortto, simulation: Simulation) -> None:
    for name in ("left", "dead", "spam", "gone", "fine"):
        simulation.state.add(f"{name}@example.com")
    simulation.state.unsubscribe("left@example.com")
    simulation.state.bounce("dead@example.com")
    simulation.state.suppress("spam@example.com")
    simulation.state.hide("gone@example.com")

    found = await read(esp)

    assert {email: (each.reason, each.at) for email, each in found.items()} == {
        "left@example.com": ("unsubscribed", NOW),
        "dead@example.com": ("bounced", NOW),
        "spam@example.com": ("suppressed", NOW),
        "gone@example.com": ("archived", NOW),
    }


async def test_who_was_created_without_proof_has_not_opted_out(esp: Ortto, simulation: Simulation) -> None:
    contacts = [Contact(1, "new@example.com", {"FNAME": "x"}), Contact(2, "left@example.com", {})]
    await esp.push(contacts)
    await esp.push(contacts)
    simulation.state.unsubscribe("left@example.com")

    assert list(await read(esp)) == ["left@example.com"]


async def test_P4_who_was_created_without_proof_and_joined_and_left_has_opted_out(
    esp: Ortto, simulation: Simulation, pauses: list[float]
) -> None:
    """Even where the context that we wrote stays."""
    for email in (ADA, "never@example.com"):
        await esp.push([Contact(1, email, {})])
    simulation.state.add(ADA)
    pauses.append(60.0)
    simulation.state.unsubscribe(ADA)
    simulation.state.person(ADA).context = MARK

    assert list(await read(esp)) == [ADA]


async def test_who_was_stopped_and_who_came_back(esp: Ortto, simulation: Simulation) -> None:
    for email in ("back@example.com", "stopped@example.com"):
        simulation.state.add(email)
    simulation.state.unsubscribe("back@example.com")
    simulation.state.add("back@example.com")
    await esp.push([Contact(1, "stopped@example.com", {}, Subscribe.STOP, known=True)])

    assert list(await read(esp)) == ["stopped@example.com"]


async def test_only_what_changed_is_told(esp: Ortto, simulation: Simulation, pauses: list[float]) -> None:
    for day, email in enumerate(("old@example.com", "new@example.com")):
        pauses.append(86_400.0 * day)
        simulation.state.add(email)
        simulation.state.unsubscribe(email)

    assert list(await read(esp, NOW + timedelta(hours=12))) == ["new@example.com"]
    assert set(await read(esp, NOW)) == {"old@example.com", "new@example.com"}


async def test_all_pages_are_read(esp: Ortto, simulation: Simulation) -> None:
    for number in range(1001):
        simulation.state.add(f"person-{number}@example.com", "unsubscribed")

    assert len(await read(esp)) == 1001
    assert simulation.counts() == {"POST": 4}


async def test_paging_ends_where_it_does_not_go_on(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add("ada@example.com", "unsubscribed")
    page = {
        "contacts": [{"id": "1", "fields": {}}],
        "has_more": True,
        "next_offset": 0,
        "cursor_id": "0" * 24,
    }
    body = json.dumps(page).encode()
    simulation.fail(Fault(status=200, headers={"content-type": "application/json"}, body=body), times=2)

    assert await read(esp) == {}
    assert simulation.counts() == {"POST": 2}


async def test_a_check_is_one_request(esp: Ortto, simulation: Simulation) -> None:
    assert await esp.check() == []
    assert simulation.counts() == {"POST": 1}


async def test_a_wrong_key_is_tried_once_and_names_the_settings(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.api_key = "another"

    with pytest.raises(
        Refused, match=r"`api_key` or `region`: Unauthorized.*request [0-9a-f-]{36}"
    ) as refused:
        await esp.push([Contact(1, "ada@example.com", {})])
    assert SETTINGS["api_key"] not in str(refused.value)
    assert simulation.counts() == {"POST": 1}


async def test_a_refusal_that_is_no_json_is_told(esp: Ortto, simulation: Simulation) -> None:
    simulation.fail(Fault(status=403))

    with pytest.raises(Refused, match="web page"):
        await esp.check()


async def test_a_refusal_that_concerns_the_whole_call_is_told(esp: Ortto, simulation: Simulation) -> None:
    body = json.dumps({"code": 400, "error": "Not so", "request_id": "7"}).encode()
    simulation.fail(Fault(status=400, body=body))

    with pytest.raises(Refused, match=r"Not so \(request 7\)"):
        await esp.check()


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://api.ap3api.com/v1"),
        ({"region": "us"}, "https://api.ap3api.com/v1"),
        ({"region": "AU "}, "https://api.au.ap3api.com/v1"),
        ({"region": "eu"}, "https://api.eu.ap3api.com/v1"),
        ({"region": "eu", "base_url": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/v1"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "http://127.0.0.1:9/v1"),
    ],
)
def test_the_address_of_the_api(settings: dict[str, Any], url: str) -> None:
    assert Ortto.Settings(api_key="x", **settings).api_url == url


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"api_key": "x", "region": "moon"},
        {"api_key": "x", "region": 3},
        {"api_key": "x", "base_url": "y"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Ortto.Settings(**settings)


async def test_the_simulator_keeps_its_rate_and_shuts_the_door_on_bad_requests() -> None:
    simulation = simulator(per_second=2, clock=lambda: NOW)
    patient = simulator(clock=lambda: NOW)
    headers = {"x-api-key": SETTINGS["api_key"]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation), headers=headers) as client:
        fast = [await client.post("http://ortto.test/v1/tags/get", json={}) for _ in range(3)]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(patient), headers=headers) as client:
        bad = [await client.post("http://ortto.test/v1/person/merge", json={}) for _ in range(16)]

    assert [answer.status_code for answer in fast] == [200, 200, 429]
    assert fast[-1].json()["try-in-seconds"] == 1
    assert [answer.status_code for answer in bad] == [400] * 15 + [429]
    assert (bad[-1].json()["code"], bad[-1].json()["try-in-seconds"]) == ("rate-limit", 15)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/person/merge", {"people": [], "merge_by": ["str::email"]}, 400),
        ("/person/merge", {"people": [{"fields": {}}] * 101, "merge_by": ["str::email"]}, 400),
        ("/person/merge", {"people": [{}], "merge_by": ["str::email"]}, 400),
        ("/person/merge", {"people": [{"fields": {}}]}, 400),
        ("/person/merge", {"people": [{"fields": {}}], "merge_by": ["str::email"], "merge_strategy": 4}, 400),
        (
            "/person/merge",
            {"people": [{"fields": {"str::email": "a@b.example"}, "x": 1}], "merge_by": ["str::email"]},
            400,
        ),
        ("/person/get", {"limit": 501, "fields": ["str::email"]}, 400),
        ("/person/get", {"fields": ["str::nothing"]}, 400),
        ("/person/get", {"fields": ["str::email"], "cursor_id": "0" * 38}, 400),
        ("/person/custom-field/create", {"name": "A", "type": "string"}, 400),
        ("/campaign/get-all", {}, 404),
        ("/person/get", [], 400),
    ],
)
async def test_the_simulator_refuses_what_ortto_refuses(
    simulation: Simulation, path: str, body: Any, status: int
) -> None:
    headers = {"x-api-key": SETTINGS["api_key"]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation), headers=headers) as client:
        answer = await client.post(f"http://ortto.test/v1{path}", json=body)

    assert answer.status_code == status
    assert {"request_id", "code", "error"} <= set(answer.json())


async def test_the_simulator_answers_null_beyond_the_end_and_lists_its_tags(simulation: Simulation) -> None:
    headers = {"x-api-key": SETTINGS["api_key"]}
    person = {"fields": {"str::email": "ada@example.com", "str::first": "Ada"}, "tags": ["Fans"]}
    merge = {"people": [person], "merge_by": ["str::email"], "merge_strategy": 1}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation), headers=headers) as client:
        url = "http://ortto.test/v1"
        empty = await client.post(f"{url}/person/get", json={"fields": ["str::email"]})
        created = await client.post(f"{url}/person/merge", json=merge)
        person["fields"]["str::first"] = "Eve"
        merged = await client.post(f"{url}/person/merge", json=merge)
        tags = await client.post(f"{url}/tags/get", json={"q": "fan"})

    assert empty.json()["contacts"] is None
    statuses = [answer.json()["people"][0]["status"] for answer in (created, merged)]
    assert statuses == ["created", "merged"]
    assert simulation.state.contact("ada@example.com").fields == {"str::first": "Ada"}
    assert simulation.state.contact("ada@example.com").status == "subscribed"
    assert [tag["name"] for tag in tags.json()] == ["Fans"]


def answer_to(name: str) -> Answer:
    (found,) = (
        each for each in json.loads((FOLDER / RECORDED).read_text())["interactions"] if each["name"] == name
    )
    body = json.dumps(found["response_body"]).encode()
    return Answer(found["status"], {}, body, found["response_body"])


@recorded
@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("person/merge_people_created", [("created", None)]),
        ("person/merge_people_merged", [("merged", None)]),
        ("person/merge_people_suppressed_blocked", [("suppressed", "Email is suppressed")]),
        ("person/merge_people_suppressed_existing", [("merged", None)]),
    ],
)
def test_recorded_merges_are_read(name: str, records: list[tuple[str, str | None]]) -> None:
    answer = answer_to(name)

    assert [(each["status"], each.get("error")) for each in _records(answer)] == records


@recorded
def test_a_recorded_refusal_names_the_field_that_ortto_does_not_have() -> None:
    answer = answer_to("person/merge_people_with_invalid_field")

    assert _named_field(answer, _NAMED_FIELD) == "str::invalid_field_that_does_not_exist"
    assert _named_field(answer, _UNKNOWN_FIELD) == "str::invalid_field_that_does_not_exist"


@recorded
async def test_recorded_people_are_found() -> None:
    pages = [answer_to("person/get_people_with_limit_and_sort"), answer_to("person/get_people_with_offset")]
    with respx.mock() as router:
        router.post(path="/v1/person/get").mock(
            side_effect=[httpx.Response(page.status, content=page.body) for page in pages]
        )
        by_ids = answer_to("person/get_people_by_ids_single")
        router.post(path="/v1/person/get-by-ids").respond(content=by_ids.body)
        esp = Ortto(Ortto.Settings(**SETTINGS))
        found = await esp._people.find(["sonia@example.com"])
        known = await esp._people.read(["0069061b5bda4060a5765300"])
        await esp.aclose()

    assert found["sonia@example.com"].id == "0069060ada702943471b8400"
    assert not known["0069061b5bda4060a5765300"].permitted


@recorded
async def test_recorded_fields_are_found() -> None:
    schema = json.loads((FOLDER / SCHEMA).read_text())
    with respx.mock() as router:
        router.post(path="/v1/person/custom-field/get").respond(
            json=answer_to("person/custom-field/get").json
        )
        router.post(path="/v1/instance-schema/get").respond(json=schema)
        esp = Ortto(Ortto.Settings(**SETTINGS))
        refused = await esp.prepare(
            [
                Field("Job Title", FieldType.TEXT, "x"),
                Field("FNAME", FieldType.TEXT, "x"),
                Field("MOBILE", FieldType.TEXT, "x"),
                Field("dtz::b", FieldType.DATE, "x"),
                Field("tme::o!l", FieldType.DATE, "x"),
            ],
            [],
        )
        await esp.aclose()

    assert refused == {"tme::o!l": "is no field that Ortto lets us write: tme::o!l"}


@recorded
async def test_a_recorded_creation_is_understood() -> None:
    with respx.mock() as router:
        router.post(path="/v1/person/custom-field/create").respond(
            json=answer_to("person/custom-field/create").json
        )
        esp = Ortto(Ortto.Settings(**SETTINGS))
        known = Fields([], {})
        refused = await esp._make(known, Field("Test Field 1762383076", FieldType.TEXT, "x"))
        await esp.aclose()

    slot = known.slot("Test Field 1762383076")
    assert refused is None
    assert slot is not None
    assert slot.id == "str:cm:test-field-1762383076"


async def test_who_is_archived_later_is_deleted_all_the_same(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    simulation.state.archives_later = True

    await esp.erase(ADA)

    assert simulation.state.contacts == {}


async def test_an_erasure_that_ortto_does_not_carry_out_is_raised(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    simulation.state.keeps_all = True

    with pytest.raises(RemoteFault, match="has not deleted this person yet"):
        await esp.erase(ADA)


async def test_an_archiving_that_never_ends_is_no_erasure(esp: Ortto, simulation: Simulation) -> None:
    simulation.state.add(ADA)
    simulation.state.archives_later, simulation.state.queue_seconds = True, 3600.0

    with pytest.raises(RemoteFault):
        await esp.erase(ADA)
