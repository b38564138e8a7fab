"""The simulator is held to the vendor's behaviour: by raw calls, and by the vendor's own client."""

import asyncio
import base64
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import mailchimp_marketing
import pytest
import uvicorn
from mailchimp_marketing.api_client import ApiClientError

from connectors.base import Contact, Member
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.esps.mailchimp.simulator import SETTINGS, simulator
from connectors.esps.mailchimp.writes import subscriber_hash
from connectors.simulation import Simulation

ADA = "ada@example.com"
KEY = SETTINGS["api_key"]
LIST = f"/lists/{SETTINGS['audience']}"
MEMBER = f"{LIST}/members/{subscriber_hash(ADA)}"
NEW = {"email_address": ADA, "status_if_new": "subscribed"}


@pytest.fixture
async def http(simulation: Simulation) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(simulation)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://us21.api.mailchimp.com/3.0", auth=("any", KEY)
    ) as client:
        yield client


async def title(http: httpx.AsyncClient, method: str, path: str, **asked: Any) -> tuple[int, str]:
    answer = await http.request(method, path, **asked)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["instance"]
    return answer.status_code, answer.json()["title"]


@pytest.mark.parametrize(
    ("authorization", "answer"),
    [
        ("", (401, "API Key Missing")),
        ("Basic !", (401, "API Key Missing")),
        ("Bearer ffff-us21", (401, "API Key Invalid")),
        (f"Bearer {KEY.replace('us21', 'us6')}", (403, "Forbidden")),
    ],
)
async def test_a_wrong_key_is_refused(
    http: httpx.AsyncClient, authorization: str, answer: tuple[int, str]
) -> None:
    http.auth = None

    assert await title(http, "GET", "/ping", headers={"authorization": authorization}) == answer


async def test_the_key_works_as_bearer_and_with_any_user_name(http: httpx.AsyncClient) -> None:
    basic = "Basic " + base64.b64encode(f"whoever:{KEY}".encode()).decode()
    http.auth = None

    for authorization in (f"Bearer {KEY}", basic):
        answer = await http.get("/ping", headers={"authorization": authorization})
        assert answer.json() == {"health_status": "Everything's Chimpy!"}


async def test_another_data_centre_sends_away(simulation: Simulation) -> None:
    transport = httpx.ASGITransport(simulation)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://us6.api.mailchimp.com/3.0", auth=("x", KEY)
    ) as client:
        assert await title(client, "GET", "/ping") == (403, "Forbidden")


async def test_an_eleventh_connection_is_refused(simulation: Simulation) -> None:
    transport = httpx.ASGITransport(simulation)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost/3.0", auth=("x", KEY)
    ) as client:
        answers = await asyncio.gather(*(client.get("/ping") for _ in range(11)))

    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429]


async def test_a_page_has_ten_rows_unless_more_are_asked_for(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    for number in range(30):
        simulation.state.add(f"person-{number}@example.com")

    sizes = [
        len((await http.get(f"{LIST}/members", params=asked)).json()["members"])
        for asked in ({}, {"count": "1000"}, {"count": "20", "offset": "15"})
    ]

    assert sizes == [10, 30, 15]
    assert await title(http, "GET", f"{LIST}/members", params={"count": "1001"}) == (400, "Invalid Resource")


async def test_fields_are_chosen_and_links_left_out(http: httpx.AsyncClient, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    chosen = await http.get(f"{LIST}/members", params={"fields": "members.email_address,total_items"})
    plain = await http.get(MEMBER)
    without = await http.get(MEMBER, params={"exclude_fields": "_links,merge_fields"})

    assert chosen.json() == {"members": [{"email_address": ADA}], "total_items": 1}
    assert {"_links", "merge_fields"} <= plain.json().keys()
    assert plain.json().keys() - without.json().keys() == {"_links", "merge_fields"}


async def test_a_put_follows_status_if_new_only_for_a_new_member(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    answers = [
        await http.put(MEMBER, json=NEW | {"status_if_new": status}) for status in ("pending", "subscribed")
    ]

    assert [answer.json()["status"] for answer in answers] == ["pending", "pending"]


async def test_a_status_in_a_put_subscribes_again_who_was_unsubscribed_by_the_api(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    simulation.state.add(ADA, "unsubscribed")

    answer = await http.put(MEMBER, json=NEW | {"status": "subscribed"})

    assert answer.json()["status"] == "subscribed"


@pytest.mark.parametrize("leave", ["unsubscribe", "clean"])
async def test_who_left_themselves_cannot_be_subscribed_but_changed(
    http: httpx.AsyncClient, simulation: Simulation, leave: str
) -> None:
    simulation.state.add(ADA)
    getattr(simulation.state, leave)(ADA)

    again = await title(http, "PUT", MEMBER, json=NEW | {"status": "subscribed"})
    changed = await http.put(MEMBER, json=NEW | {"merge_fields": {"FNAME": "Ada"}})

    assert again == (400, "Member In Compliance State")
    assert changed.status_code == 200
    assert simulation.state.contact(ADA).fields == {"FNAME": "Ada"}


async def test_an_archived_member_comes_back_and_a_forgotten_one_does_not(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    await http.put(MEMBER, json=NEW | {"merge_fields": {"FNAME": "Ada"}})

    archived = [(await http.delete(MEMBER)).status_code for _ in range(2)]
    listed = (await http.get(f"{LIST}/members")).json()["total_items"]
    back = await http.put(MEMBER, json=NEW | {"status_if_new": "transactional"})
    forgotten = (await http.post(f"{MEMBER}/actions/delete-permanent")).status_code

    assert (archived, listed) == ([204, 405], 0)
    assert (back.json()["status"], back.json()["merge_fields"]["FNAME"]) == ("transactional", "Ada")
    assert forgotten == 204
    assert (await http.get(MEMBER)).status_code == 404
    assert await title(http, "PUT", MEMBER, json=NEW) == (400, "Forgotten Email Not Subscribed")


async def test_a_put_on_a_key_that_is_not_the_addresss_is_refused_if_the_address_is_taken(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    simulation.state.add(ADA)

    taken = await title(http, "PUT", f"{LIST}/members/{subscriber_hash('other@example.com')}", json=NEW)
    posted = await title(http, "POST", f"{LIST}/members", json={"email_address": ADA, "status": "subscribed"})

    assert taken == posted == (400, "Member Exists")


async def test_a_member_is_found_by_hash_address_and_contact_id(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    simulation.state.add(ADA)
    contact_id = simulation.state.find(ADA).contact_id

    found = [(await http.get(f"{LIST}/members/{key}")).json()["email_address"] for key in (ADA, contact_id)]

    assert found == [ADA, ADA]


@pytest.mark.parametrize(
    ("kind", "options", "good", "bad"),
    [
        ("number", {}, 3, "many"),
        ("number", {}, "3.5", True),
        ("number", {}, -2.5, "1" * 19),
        ("date", {}, "2026-11-04", "soon"),
        ("date", {}, "11/04/2026", "2026-13-01"),
        ("birthday", {}, "02/29", "31/12"),
        ("text", {}, "İ" * 127, "İ" * 128),
        ("text", {}, 5, {"a": 1}),
        ("dropdown", {"choices": ["gold"]}, "gold", "tin"),
        ("radio", {"choices": ["gold"]}, "gold", "tin"),
        ("zip", {}, "69001", "6900"),
        ("url", {}, "https://example.com", "example"),
        ("imageurl", {}, "https://example.com/a.png", "a.png"),
        ("phone", {"phone_format": "US"}, "(555) 123-4567", "+33 1"),
        ("phone", {"phone_format": "international"}, "+33 1", ["+33"]),
        ("address", {}, {"addr1": "1", "city": "Lyon", "state": "ARA", "zip": "69001"}, {"addr1": "1"}),
    ],
)
async def test_a_merge_field_takes_its_type_and_is_cleared_by_nothing(
    http: httpx.AsyncClient, kind: str, options: dict[str, Any], good: Any, bad: Any
) -> None:
    made = await http.post(
        f"{LIST}/merge-fields", json={"name": "X", "tag": "x", "type": kind, "options": options}
    )

    taken = await http.put(MEMBER, json=NEW | {"merge_fields": {"X": good, "UNKNOWN": "ignored"}})
    refused = await http.put(MEMBER, json=NEW | {"merge_fields": {"X": bad}})
    kept = (await http.get(MEMBER)).json()["merge_fields"]
    await http.put(MEMBER, json=NEW | {"merge_fields": {"X": None}})
    still = (await http.get(MEMBER)).json()["merge_fields"]
    await http.put(MEMBER, json=NEW | {"merge_fields": {"X": ""}})

    assert made.json()["tag"] == "X"
    assert taken.status_code == 200
    assert [error["field"] for error in refused.json()["errors"]] == ["X"]
    assert kept == still
    assert kept["X"] != ""
    assert "UNKNOWN" not in kept
    assert (await http.get(MEMBER)).json()["merge_fields"]["X"] == ""


async def test_a_required_field_refuses_writes_without_it(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    simulation.state.merge_fields["LNAME"].required = True

    refused = await http.put(MEMBER, json=NEW)
    skipped = await http.put(MEMBER, json=NEW, params={"skip_merge_validation": "true"})

    assert refused.json()["errors"] == [{"field": "LNAME", "message": "Please enter a value"}]
    assert skipped.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"tag": "TOOLONGATAG", "name": "x", "type": "text"},
        {"tag": "A", "name": "x", "type": "boolean"},
        {"tag": "FNAME", "name": "x", "type": "text"},
        {"tag": "EMAIL", "name": "x", "type": "text"},
        {"name": "", "type": "text"},
    ],
)
async def test_a_merge_field_that_cannot_be_is_refused(http: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert (await http.post(f"{LIST}/merge-fields", json=body)).status_code == 400


async def test_an_audience_holds_thirty_merge_fields(http: httpx.AsyncClient) -> None:
    answers = [
        await http.post(f"{LIST}/merge-fields", json={"tag": f"F{number}", "name": "x", "type": "text"})
        for number in range(26)
    ]

    assert [answer.status_code for answer in answers] == [200] * 25 + [400]


async def test_a_tag_is_a_static_segment(http: httpx.AsyncClient, simulation: Simulation) -> None:
    simulation.state.add(ADA, "transactional")
    await http.post(f"{MEMBER}/tags", json={"tags": [{"name": "Fans", "status": "active"}]})

    (tag,) = (await http.get(f"{LIST}/tag-search", params={"name": "fa"})).json()["tags"]
    (segment,) = (await http.get(f"{LIST}/segments", params={"type": "static"})).json()["segments"]
    path = f"{LIST}/segments/{tag['id']}"
    subscribed = (await http.get(f"{path}/members")).json()["total_items"]
    everybody = (await http.get(f"{path}/members", params={"include_transactional": "true"})).json()[
        "total_items"
    ]

    assert (tag["id"], segment["member_count"]) == (segment["id"], 1)
    assert (subscribed, everybody) == (0, 1)
    assert (await http.get(f"{MEMBER}/tags")).json()["tags"][0]["name"] == "Fans"
    assert (
        await http.post(f"{LIST}/segments", json={"name": "FANS", "static_segment": []})
    ).status_code == 400
    assert (await http.get(path)).status_code == 200
    assert (await http.delete(path)).status_code == 204
    assert (await http.get(MEMBER)).json()["tags"] == []


async def test_at_most_five_hundred_members_change_at_once(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    many = [f"person-{number}@example.com" for number in range(501)]
    segment = simulation.state.add_segment("Fans").number

    assert (await http.post(f"{LIST}/segments/{segment}", json={"members_to_add": many})).status_code == 400
    members = [{"email_address": email, "status": "subscribed"} for email in many]
    assert (await http.post(LIST, json={"members": members})).status_code == 400
    assert (await http.post("/batches", json={"operations": [{}] * 1001})).status_code == 400


async def test_many_members_are_written_with_their_errors_beside_them(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    simulation.state.add("old@example.com", "unsubscribed")
    members = [
        {"email_address": email, "status": "subscribed"} for email in (ADA, "old@example.com", "no address")
    ]

    kept = (await http.post(LIST, json={"members": members})).json()
    changed = (await http.post(LIST, json={"members": members[1:2], "update_existing": True})).json()

    assert (kept["total_created"], kept["error_count"]) == (1, 2)
    assert [error["error_code"] for error in kept["errors"]] == ["ERROR_CONTACT_EXISTS", "ERROR_GENERIC"]
    assert changed["updated_members"][0]["status"] == "subscribed"


async def test_a_batch_goes_through_its_stages_and_its_results_refuse_credentials(
    http: httpx.AsyncClient, simulation: Simulation, pauses: list[float]
) -> None:
    operation = {"method": "PUT", "path": MEMBER, "operation_id": "1", "body": json.dumps(NEW)}
    number = (await http.post("/batches", json={"operations": [operation]})).json()["id"]

    looks = [(await http.get(f"/batches/{number}")).json() for _ in range(5)]
    link = looks[-1]["response_body_url"]
    with_key = await http.get(link)
    http.auth = None
    without_key = await http.get(link)
    pauses.append(timedelta(minutes=11).total_seconds())
    expired = await http.get(link)

    assert [look["status"] for look in looks] == [
        "preprocessing",
        "started",
        "finalizing",
        "finished",
        "finished",
    ]
    assert [answer.status_code for answer in (with_key, without_key, expired)] == [400, 200, 403]
    assert simulation.state.contact(ADA).status == "subscribed"


async def test_batches_are_listed_stopped_and_limited(
    http: httpx.AsyncClient, simulation: Simulation
) -> None:
    operation = {"method": "GET", "path": "/ping"}
    numbers = [
        (await http.post("/batches", json={"operations": [operation]})).json()["id"] for _ in range(500)
    ]

    assert (await http.post("/batches", json={"operations": [operation]})).status_code == 429
    assert (await http.get("/batches")).json()["total_items"] == 500
    assert (await http.delete(f"/batches/{numbers[0]}")).status_code == 204
    assert (await http.get(f"/batches/{numbers[0]}")).status_code == 404
    assert (await http.post("/batches", json={"operations": []})).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "content", "answer"),
    [
        ("GET", "/nothing", b"", (404, "Resource Not Found")),
        ("GET", "/lists/ffffffffff/members", b"", (404, "Resource Not Found")),
        ("GET", f"{LIST}/segments/x", b"", (404, "Resource Not Found")),
        ("PATCH", MEMBER, b"{}", (404, "Resource Not Found")),
        ("POST", MEMBER, b"{}", (405, "Method Not Allowed")),
        ("PUT", MEMBER, b"{", (400, "JSON Parse Exception")),
        ("PUT", MEMBER, b"[]", (400, "Invalid Resource")),
        ("PUT", MEMBER, b"{}", (400, "Invalid Resource")),
        ("GET", f"{LIST}/members?since_last_changed=yesterday", b"", (400, "Invalid Resource")),
        ("GET", f"{LIST}/members?status=gone", b"", (400, "Invalid Resource")),
        ("GET", f"{LIST}/members?offset=-1", b"", (400, "Invalid Resource")),
    ],
)
async def test_what_makes_no_sense_is_a_problem(
    http: httpx.AsyncClient, method: str, path: str, content: bytes, answer: tuple[int, str]
) -> None:
    assert await title(http, method, path, content=content) == answer


FILLED = {"FNAME": "Adelaide", "LNAME": "Lovelace-Byron", "ORDERS": 3.5, "PHONE": "+33 1 23 45 67 89"}


def test_members_take_less_than_two_kilobytes_each() -> None:
    state = simulator().state
    state.add_merge_field({"tag": "ORDERS", "name": "Orders", "type": "number"})
    tracemalloc.start()

    for number in range(1000):
        state.add(f"customer-{number}@example.com", **FILLED)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert used < 1000 * 2000


def test_a_thousand_operations_take_no_time() -> None:
    state = simulator().state
    people = [f"customer-{number}@example.com" for number in range(1000)]
    operations = [
        {
            "method": "PUT",
            "path": f"{LIST}/members/{subscriber_hash(email)}",
            "operation_id": email,
            "body": json.dumps(
                {"email_address": email, "status_if_new": "transactional", "merge_fields": FILLED}
            ),
        }
        for email in people
    ]
    began = time.process_time()

    batch = state.batches.submit(operations)
    while not batch.completed:
        state.batches.advance(batch)

    assert time.process_time() - began < 0.5
    assert batch.errored == 0


@pytest.fixture
def server() -> Iterator[tuple[Simulation, str]]:
    """Serve a simulator on a real socket."""
    simulation = simulator(batch_seconds=0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(simulation, lifespan="off", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield simulation, f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_vendors_client_works_with_it(server: tuple[Simulation, str]) -> None:
    simulation, url = server
    client = mailchimp_marketing.Client({"api_key": KEY, "server": "us21"})
    client.api_client.host = f"{url}/3.0"
    audience, key = SETTINGS["audience"], subscriber_hash(ADA)

    ping = client.ping.get()
    lists = client.lists.get_all_lists(fields=["lists.id", "total_items"])
    field = client.lists.add_list_merge_field(audience, {"name": "Orders", "tag": "ORDERS", "type": "number"})
    member = client.lists.set_list_member(audience, key, NEW | {"merge_fields": {"ORDERS": 3}})
    client.lists.update_list_member_tags(audience, key, {"tags": [{"name": "Fans", "status": "active"}]})
    tags = client.lists.get_list_member_tags(audience, key)
    segments = client.lists.list_segments(audience, type="static", count=1000)
    change = client.lists.batch_segment_members(
        {"members_to_add": [ADA, "no@example.com"]}, audience, segments["segments"][0]["id"]
    )
    found = client.lists.get_list_members_info(audience, count=1000, status="subscribed")
    operations = [
        {
            "method": "PUT",
            "path": f"/lists/{audience}/members/{key}",
            "operation_id": "1",
            "body": json.dumps(NEW),
        }
    ]
    batch = client.batches.start({"operations": operations})
    finished = client.batches.status(batch["id"])
    archived = client.lists.delete_list_member(audience, key)

    assert ping == {"health_status": "Everything's Chimpy!"}
    assert lists == {"lists": [{"id": audience}], "total_items": 1}
    assert (field["tag"], member["merge_fields"]["ORDERS"]) == ("ORDERS", 3)
    assert [tag["name"] for tag in tags["tags"]] == ["Fans"]
    assert (change["total_added"], change["errors"][0]["email_addresses"]) == (0, ["no@example.com"])
    assert [each["email_address"] for each in found["members"]] == [ADA]
    assert (finished["status"], finished["errored_operations"]) == ("finished", 0)
    assert httpx.get(finished["response_body_url"]).status_code == 200
    assert archived.status_code == 204
    assert simulation.state.contact(ADA).status == "archived"
    with pytest.raises(ApiClientError) as refused:
        client.lists.add_list_member(audience, {"email_address": "no address", "status": "subscribed"})
    assert refused.value.status_code == 400
    assert json.loads(refused.value.text)["title"] == "Invalid Resource"


async def test_our_connector_works_with_it_over_a_socket(server: tuple[Simulation, str]) -> None:
    simulation, url = server
    esp = Mailchimp(Mailchimp.Settings(**SETTINGS, base_url=url))
    people = [Contact(number, f"person-{number}@example.com", {"FNAME": "Ada"}) for number in range(200)]

    refused = [await esp.check(), await esp.push(people)]
    refused.append(await esp.change_list("Fans", [Member(each.profile, each.email) for each in people], []))
    await esp.aclose()

    assert refused == [[], [], []]
    assert {contact.tags for contact in simulation.state.contacts.values()} == {frozenset({"Fans"})}
    assert len(simulation.state.contacts) == 200
