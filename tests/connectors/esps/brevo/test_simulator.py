"""The simulator is held against the fact sheet, the vendor's descriptions and the vendor's own client."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import brevo
import httpx
import pytest
from brevo.contacts import (
    AddContactToListRequestBodyEmails,
    ImportContactsRequestJsonBodyItem,
    RemoveContactFromListRequestBodyEmails,
    UpdateBatchContactsRequestContactsItem,
)
from brevo.core.api_error import ApiError

from connectors.esps.brevo.simulator import SETTINGS, simulator
from connectors.simulation import Simulation
from tests.sync.servers import serve

ADA = "ada@example.com"
BOB = "bob@example.com"
NOW = datetime(2026, 11, 4, 8, 15, 30, tzinfo=UTC)


@pytest.fixture
def simulation() -> Simulation:
    return simulator()


@pytest.fixture
async def web(simulation: Simulation) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(simulation),
        base_url="http://brevo.test/v3",
        headers={"api-key": SETTINGS["api_key"]},
    ) as client:
        yield client


# Sign-in and errors


@pytest.mark.parametrize(
    ("key", "message"), [(None, "authentication not found in headers"), ("xkeysib-no", "Key not found")]
)
async def test_a_call_without_the_key_is_refused(
    web: httpx.AsyncClient, key: str | None, message: str
) -> None:
    web.headers.pop("api-key")

    answer = await web.get("/account", headers={"api-key": key} if key else {})

    assert (answer.status_code, answer.json()) == (401, {"code": "unauthorized", "message": message})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", None, 404, "document_not_found"),
        ("PATCH", "/contacts", {}, 405, "method_not_allowed"),
        ("POST", "/contacts", {}, 400, "missing_parameter"),
        ("POST", "/contacts", {"email": "no address"}, 400, "invalid_parameter"),
        ("POST", "/contacts", {"email": ADA, "listIds": [99]}, 404, "document_not_found"),
        ("POST", "/contacts", {"email": ADA, "attributes": {"SMS": "call"}}, 400, "invalid_parameter"),
        ("PUT", "/contacts/eve%40example.com", {"attributes": {}}, 404, "document_not_found"),
        ("PUT", "/contacts/bob%40example.com", {}, 400, "missing_parameter"),
        ("GET", "/contacts?limit=1001", None, 400, "out_of_range"),
        ("GET", "/contacts?modifiedSince=yesterday", None, 400, "invalid_parameter"),
        ("POST", "/contacts/batch", {"contacts": []}, 400, "missing_parameter"),
        ("POST", "/contacts/batch", {"contacts": [{"email": BOB, "id": 1}]}, 400, "invalid_parameter"),
        ("POST", "/contacts/import", {"jsonBody": [{"email": ADA}]}, 400, "missing_parameter"),
        ("POST", "/contacts/import", {"listIds": [1]}, 400, "missing_parameter"),
        ("POST", "/contacts/lists", {"name": "Fans"}, 400, "missing_parameter"),
        ("POST", "/contacts/lists", {"name": "Fans", "folderId": 9}, 400, "invalid_parameter"),
        ("POST", "/contacts/folders", {}, 400, "missing_parameter"),
        ("POST", "/contacts/lists/99/contacts/add", {"emails": [BOB]}, 404, "document_not_found"),
        ("POST", "/contacts/attributes/normal/A%20B", {"type": "text"}, 400, "invalid_parameter"),
        ("POST", "/contacts/attributes/normal/NEW", {"type": "integer"}, 400, "invalid_parameter"),
        ("POST", "/contacts/attributes/odd/NEW", {"type": "text"}, 400, "invalid_parameter"),
        ("POST", "/contacts/attributes/normal/FIRSTNAME", {"type": "text"}, 400, "duplicate_parameter"),
        ("DELETE", "/contacts/attributes/normal/NEW", None, 404, "document_not_found"),
        ("POST", "/contacts/doubleOptinConfirmation", {"email": ADA}, 400, "missing_parameter"),
        ("GET", "/processes/7", None, 404, "document_not_found"),
        ("GET", "/processes/seven", None, 400, "invalid_parameter"),
    ],
)
async def test_what_is_wrong_is_answered_with_its_code(
    *,
    web: httpx.AsyncClient,
    simulation: Simulation,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: str,
) -> None:
    simulation.state.add(BOB)

    answer = await web.request(method, path, json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("content", [b"{", b"[]"])
async def test_a_body_that_is_no_object_is_refused(web: httpx.AsyncClient, content: bytes) -> None:
    assert (await web.post("/contacts", content=content)).status_code == 400


# Contacts


async def test_a_create_only_call_names_what_is_taken(web: httpx.AsyncClient, simulation: Simulation) -> None:
    simulation.state.add(ADA, SMS="+33612345678")

    email = await web.post("/contacts", json={"email": ADA.upper()})
    phone = await web.post("/contacts", json={"email": BOB, "attributes": {"SMS": "0033612345678"}})
    update = await web.post("/contacts", json={"email": ADA, "updateEnabled": True})

    assert email.json()["metadata"] == {"duplicate_identifiers": ["email"]}
    assert phone.json()["metadata"] == {"duplicate_identifiers": ["SMS"]}
    assert (update.status_code, update.content) == (204, b"")
    assert list(simulation.state.contacts) == [ADA]


async def test_unknown_attributes_and_values_of_another_type_are_dropped_silently(
    web: httpx.AsyncClient, simulation: Simulation
) -> None:
    for kind in ("text", "float", "date", "boolean"):
        await web.post(f"/contacts/attributes/normal/{kind.upper()}", json={"type": kind})
    await web.post(
        "/contacts/attributes/category/TIER",
        json={"type": "category", "enumeration": [{"value": 1, "label": "gold"}]},
    )
    await web.post(
        "/contacts/attributes/normal/TEAS",
        json={"type": "multiple-choice", "multiCategoryOptions": ["Green", "Black"]},
    )
    bad = {
        "TEXT": 1,
        "FLOAT": "1",
        "DATE": "2026-02-30",
        "BOOLEAN": 1,
        "TIER": "gold",
        "TEAS": ["Red"],
        "X": 1,
    }
    good = {"text": "1", "FLOAT": 1.5, "DATE": "1961-04-12", "BOOLEAN": False, "TIER": 1, "TEAS": ["Green"]}

    assert (await web.post("/contacts", json={"email": ADA, "attributes": bad})).status_code == 201
    assert simulation.state.contact(ADA).fields == {}
    await web.put(f"/contacts/{ADA}", json={"attributes": good})
    kept = simulation.state.contact(ADA).fields
    await web.put(f"/contacts/{ADA}", json={"attributes": {"DATE": "", "FLOAT": "", "TEXT": 3}})

    assert kept == {name.upper(): value for name, value in good.items()}
    assert simulation.state.contact(ADA).fields == {
        "TEXT": "1",
        "BOOLEAN": False,
        "TIER": 1,
        "TEAS": ["Green"],
    }


async def test_flags_are_done_exactly_as_sent(web: httpx.AsyncClient, simulation: Simulation) -> None:
    simulation.state.add(ADA, blocked=True)

    await web.put(f"/contacts/{ADA}", json={"attributes": {"FIRSTNAME": "A"}})
    still = simulation.state.contact(ADA).blocked
    await web.put(f"/contacts/{ADA}", json={"emailBlacklisted": False})

    assert still
    assert not simulation.state.contact(ADA).blocked


@pytest.mark.parametrize(("body", "blocked"), [({}, False), ({"emailBlacklisted": True}, True)])
async def test_a_changed_address_lifts_a_block(
    *, web: httpx.AsyncClient, simulation: Simulation, body: dict[str, bool], blocked: bool
) -> None:
    simulation.state.add(ADA, blocked=True)

    answer = await web.put(f"/contacts/{ADA}", json={"attributes": {"EMAIL": BOB}, **body})

    assert answer.status_code == 204
    assert simulation.state.contact(BOB).blocked is blocked
    assert simulation.state.contact(ADA) is None


async def test_a_bulk_update_takes_all_or_none(web: httpx.AsyncClient, simulation: Simulation) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)
    rows = [{"email": email, "attributes": {"FIRSTNAME": "x"}} for email in (ADA, "a@b.c", BOB, "d@e.f")]

    refused = await web.post("/contacts/batch", json={"contacts": rows})
    bad = [{"email": ADA, "emailBlacklisted": True}, {"email": BOB, "attributes": {"SMS": "no"}}]
    invalid = await web.post("/contacts/batch", json={"contacts": bad})

    assert refused.status_code == 404
    assert refused.json()["message"] == "No contact found for indexes 1,3"
    assert invalid.status_code == 400
    assert all(not each.fields and not each.blocked for each in simulation.state.contacts.values())
    assert (await web.post("/contacts/batch", json={"contacts": rows[::2]})).status_code == 204


async def test_lists_of_contacts_are_paged_and_filtered(simulation: Simulation) -> None:
    moment = [NOW]
    simulation = simulator(clock=lambda: moment[0])
    for number in range(5):
        simulation.state.add(f"p{number}@example.com")
        moment[0] += timedelta(days=1)
    simulation.state.block("p0@example.com")
    transport = httpx.ASGITransport(simulation)
    headers = {"api-key": SETTINGS["api_key"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://b/v3", headers=headers) as web:

        async def emails(**query: Any) -> tuple[int, list[str]]:
            page = (await web.get("/contacts", params=query)).json()
            return page["count"], [each["email"][:2] for each in page["contacts"]]

        assert await emails() == (5, ["p4", "p3", "p2", "p1", "p0"])
        assert await emails(sort="asc", limit=2, offset=2) == (5, ["p2", "p3"])
        since = (NOW + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        assert await emails(createdSince=since) == (2, ["p4", "p3"])
        assert await emails(modifiedSince=since, sort="asc") == (3, ["p0", "p3", "p4"])


# Lists


async def test_a_list_call_says_whom_it_changed(web: httpx.AsyncClient, simulation: Simulation) -> None:
    for email in (ADA, BOB):
        simulation.state.add(email)
    number = (await web.post("/contacts/lists", json={"name": "Fans", "folderId": 1})).json()["id"]
    path = f"/contacts/lists/{number}/contacts"
    await web.post(f"{path}/add", json={"emails": [ADA]})

    added = await web.post(f"{path}/add", json={"emails": [ADA, BOB, "x@y.z"]})
    nobody = await web.post(f"{path}/add", json={"emails": [ADA, BOB]})
    too_many = await web.post(f"{path}/add", json={"ids": list(range(151))})
    removed = await web.post(f"{path}/remove", json={"ids": [1]})
    members = (await web.get(path)).json()

    assert added.json() == {"contacts": {"success": [BOB], "failure": [ADA, "x@y.z"]}}
    assert [nobody.status_code, too_many.status_code, removed.status_code] == [400, 400, 201]
    assert [each["email"] for each in members["contacts"]] == [BOB]


# Imports


def rows(count: int, **attributes: Any) -> list[dict[str, Any]]:
    return [{"email": f"p{number}@example.com", "attributes": attributes} for number in range(count)]


async def imported(web: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Import into a list of its own and look until it is over."""
    number = (await web.post("/contacts/lists", json={"name": "All", "folderId": 1})).json()["id"]
    answer = await web.post("/contacts/import", json={"listIds": [number], **body})
    path = f"/processes/{answer.json()['processId']}"
    seen = []
    while not seen or seen[-1]["status"] not in {"completed", "failed"}:
        seen.append((await web.get(path)).json())
    assert answer.status_code == 202
    return {"statuses": [each["status"] for each in seen], **seen[-1]}


async def test_an_import_goes_through_its_stages_and_leaves_reports(
    web: httpx.AsyncClient, simulation: Simulation
) -> None:
    simulation.state.add(ADA, SMS="+33612345678")
    bad = [
        {"email": "no address"},
        {"email": BOB, "attributes": {"SMS": "33612345678"}},
    ]

    process = await imported(web, jsonBody=[*rows(3), *bad], notifyUrl="https://worker.test/done")

    assert process["statuses"] == ["in_process", "completed"]
    reports = process["info"]["import"]
    texts = {kind: (await web.get(url)).text.splitlines() for kind, url in reports.items()}
    assert texts == {"invalid_emails": ["EMAIL", "no address"], "duplicate_phone_id": ["EMAIL", BOB]}
    assert simulation.state.processes.notified == ["https://worker.test/done"]
    assert len(simulation.state.list_named("All").members) == 3


async def test_an_import_that_updates_leaves_booleans_and_with_its_flags_blocks_everybody(
    web: httpx.AsyncClient, simulation: Simulation
) -> None:
    await web.post("/contacts/attributes/normal/VIP", json={"type": "boolean"})
    simulation.state.add("p0@example.com", VIP=False, FIRSTNAME="old", LASTNAME="old")
    sent = {"VIP": True, "FIRSTNAME": "", "LASTNAME": "new"}

    await imported(web, jsonBody=rows(1, **sent))
    kept = simulation.state.contact("p0@example.com")
    await imported(web, jsonBody=rows(1, **sent), emptyContactsAttributes=True, emailBlacklist=True)
    emptied = simulation.state.contact("p0@example.com")

    assert (kept.fields, kept.blocked) == ({"VIP": False, "FIRSTNAME": "old", "LASTNAME": "new"}, False)
    assert (emptied.fields, emptied.blocked) == ({"VIP": False, "LASTNAME": "new"}, True)


async def test_a_create_only_import_changes_nobody(web: httpx.AsyncClient, simulation: Simulation) -> None:
    simulation.state.add("p0@example.com", FIRSTNAME="old")

    await imported(
        web,
        jsonBody=rows(2, FIRSTNAME="new"),
        updateExistingContacts=False,
        emailBlacklist=True,
        smsBlacklist=True,
    )

    found = simulation.state.contacts
    assert [(each.fields["FIRSTNAME"], each.blocked, each.sms_blocked) for each in found.values()] == [
        ("old", False, False),
        ("new", True, True),
    ]


async def test_an_import_of_more_than_10_MB_is_refused(
    web: httpx.AsyncClient,
) -> None:
    answer = await web.post(
        "/contacts/import", json={"jsonBody": rows(1, A="x" * 10_000_000), "listIds": [1]}
    )

    assert answer.status_code == 400


async def test_an_import_can_take_its_time_by_the_clock() -> None:
    moment = [NOW]
    simulation = simulator(import_seconds=30, clock=lambda: moment[0])
    transport = httpx.ASGITransport(simulation)
    headers = {"api-key": SETTINGS["api_key"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://b/v3", headers=headers) as web:
        number = (await web.post("/contacts/lists", json={"name": "All", "folderId": 1})).json()["id"]
        answer = await web.post("/contacts/import", json={"listIds": [number], "jsonBody": rows(2)})
        path = f"/processes/{answer.json()['processId']}"
        moment[0] += timedelta(seconds=29)
        before = (await web.get(path)).json()["status"]
        moment[0] += timedelta(seconds=1)
        after = (await web.get("/contacts")).json()["count"]

    assert (before, after) == ("queued", 2)


# Limits


async def test_the_two_budgets_are_apart_and_say_how_much_is_left() -> None:
    moment = [NOW]
    simulation = simulator(contacts_per_second=2, others_per_hour=1, clock=lambda: moment[0])
    transport = httpx.ASGITransport(simulation)
    headers = {"api-key": SETTINGS["api_key"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://b/v3", headers=headers) as web:
        seen = [
            await web.get(path) for path in ("/contacts", "/account", "/contacts", "/contacts", "/account")
        ]
        moment[0] += timedelta(seconds=1)
        later = [(await web.get(path)).status_code for path in ("/contacts", "/account")]

    assert [each.status_code for each in seen] == [200, 200, 200, 429, 429]
    assert seen[3].json()["code"] == "too_many_requests"
    names = ("limit", "remaining", "reset")
    assert [[each.headers[f"x-sib-ratelimit-{name}"] for name in names] for each in seen] == [
        ["2", "1", "1"],
        ["1", "0", "2670"],
        ["2", "0", "1"],
        ["2", "0", "1"],
        ["1", "0", "2670"],
    ]
    assert "retry-after" not in seen[3].headers
    assert later == [200, 429]


# Size and speed


def test_a_contact_takes_less_than_two_kilobytes() -> None:
    state = simulator().state
    tracemalloc.start()
    for number in range(2_000):
        state.create(
            {
                "email": f"customer-{number:05}@example.com",
                "attributes": {"FIRSTNAME": "Ada", "LASTNAME": "Lovelace", "SMS": f"+336{number:08}"},
                "emailBlacklisted": True,
            }
        )
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size / 2_000 < 2_000  # so 25,000 take less than 50 MB


async def test_an_import_of_thousands_takes_no_time(web: httpx.AsyncClient) -> None:
    began = time.perf_counter()
    await imported(web, jsonBody=rows(3_000, FIRSTNAME="Ada", LASTNAME="Lovelace"))

    assert time.perf_counter() - began < 1.0


# The vendor's own client


@pytest.fixture
def official(simulation: Simulation) -> Any:
    with serve(simulation) as served, httpx.Client() as connections:
        yield brevo.Brevo(
            api_key=SETTINGS["api_key"], base_url=f"{served.url}/v3", httpx_client=connections, max_retries=0
        )


def refusal(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as error:
        call()
    return error.value


def test_the_official_client_works_unchanged(official: Any, simulation: Simulation) -> None:
    contacts = official.contacts
    assert official.account.get_account().company_name == "Shop"
    contacts.create_attribute("normal", "ORDERS", type="float")
    folder = contacts.create_folder(name="Cartwire").id
    fans = contacts.create_list(folder_id=folder, name="Fans").id

    created = contacts.create_contact(email=ADA, attributes={"ORDERS": 3}, email_blacklisted=True)
    contacts.update_contact(ADA, attributes={"ORDERS": 4, "FIRSTNAME": "Ada"})
    contacts.update_batch_contacts(
        contacts=[UpdateBatchContactsRequestContactsItem(email=ADA, attributes={"LASTNAME": "L"})]
    )
    added = contacts.add_contact_to_list(fans, request=AddContactToListRequestBodyEmails(emails=[ADA]))
    found = contacts.get_contact_info(ADA)
    listed = contacts.get_contacts(limit=10, sort="asc")
    attributes = contacts.get_attributes().attributes

    assert (found.id, found.email_blacklisted, found.list_ids) == (created.id, True, [fans])
    assert simulation.state.contact(ADA).fields == {"ORDERS": 4, "FIRSTNAME": "Ada", "LASTNAME": "L"}
    assert added.contacts.success == [ADA]
    assert (listed.count, listed.contacts[0].email) == (1, ADA)
    assert {"FIRSTNAME", "ORDERS"} <= {each.name for each in attributes}
    assert contacts.get_lists().lists[0].name == "Fans"
    assert "Cartwire" in {each.name for each in contacts.get_folders().folders}
    contacts.remove_contact_from_list(fans, request=RemoveContactFromListRequestBodyEmails(emails=[ADA]))
    assert contacts.get_contacts_from_list(fans).count == 0


def test_the_official_client_imports_and_asks_for_confirmation(official: Any, simulation: Simulation) -> None:
    contacts = official.contacts
    everybody = contacts.create_list(folder_id=1, name="All").id

    process = contacts.import_contacts(
        list_ids=[everybody],
        json_body=[ImportContactsRequestJsonBodyItem(email=ADA, attributes={"FIRSTNAME": "Ada"})],
        email_blacklist=True,
    ).process_id
    statuses = [official.process.get_process(process).status for _ in range(2)]
    contacts.create_doi_contact(
        email=BOB, include_list_ids=[everybody], redirection_url="https://shop.test/thanks", template_id=3
    )

    assert statuses == ["in_process", "completed"]
    assert simulation.state.contact(ADA).blocked
    assert list(simulation.state.pending) == [BOB]


def test_the_official_client_reads_our_errors(official: Any, simulation: Simulation) -> None:
    simulation.state.add(ADA)

    taken = refusal(lambda: official.contacts.create_contact(email=ADA))
    absent = refusal(lambda: official.contacts.get_contact_info(BOB))

    assert (taken.status_code, absent.status_code) == (400, 404)


async def test_many_calls_at_once_are_answered(web: httpx.AsyncClient, simulation: Simulation) -> None:
    answers = await asyncio.gather(
        *[web.post("/contacts", json={"email": f"p{number}@example.com"}) for number in range(100)]
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len(simulation.state.contacts) == 100
