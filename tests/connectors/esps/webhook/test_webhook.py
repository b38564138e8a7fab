import base64
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import respx
import standardwebhooks
import structlog
from pydantic import ValidationError

from config.settings import load
from connectors import http
from connectors.base import Blame, Contact, Esp, Member, Refusal, Subscribe
from connectors.errors import Refused, RemoteFault, Throttled, Unreachable
from connectors.esps.webhook import messages, signing
from connectors.esps.webhook.connector import Webhook
from connectors.esps.webhook.simulator import KEY, SETTINGS, simulator
from connectors.registry import esp_settings, esp_types, store_settings
from connectors.simulation import Fault, Kind, Lost, Simulation
from connectors.webhooks import key_of

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(http, "_sleep", sleep)
    return made


@pytest.fixture
def simulation() -> Simulation:
    return simulator()


@pytest.fixture
def requests(simulation: Simulation) -> Iterator[list[httpx.Request]]:
    """Let all HTTP end at the simulator; yield what was sent."""
    handle = respx.ASGIHandler(simulation)
    sent: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        try:
            return await handle(request)
        except Lost as lost:
            raise httpx.RemoteProtocolError("lost", request=request) from lost

    with respx.mock(assert_all_called=False) as router:
        router.route().mock(side_effect=answer)
        yield sent


@pytest.fixture
async def esp(requests: list[httpx.Request]) -> AsyncIterator[Webhook]:
    connector = Webhook(Webhook.Settings.model_validate(SETTINGS))
    yield connector
    await connector.aclose()


def bodies(requests: list[httpx.Request]) -> list[dict[str, Any]]:
    return [json.loads(request.content) for request in requests]


def test_it_fits_the_contract_and_is_found_by_its_folder() -> None:
    esp: Esp = Webhook(Webhook.Settings.model_validate(SETTINGS))

    assert isinstance(esp, esp_types()["webhook"])


# Messages


async def test_a_contact_is_told_with_all_that_changed(esp: Webhook, requests: list[httpx.Request]) -> None:
    fields = {
        "NAME": "Zoë 🫖\nLine",
        "ORDERS": 3,
        "SPENT": Decimal("187.40"),
        "FIRST": date(1961, 4, 12),
        "LAST": datetime(2026, 11, 2, 23, 59, tzinfo=UTC),
        "VIP": True,
        "TIER": None,
        "ODD": "a\ud800b",
    }

    assert await esp.push([Contact(7, ADA, fields, Subscribe.YES, known=True, was=BOB)]) == []

    assert bodies(requests) == [
        {
            "type": "contact.changed",
            "data": {
                "profile": 7,
                "email": ADA,
                "previous_email": BOB,
                "fields": {
                    "NAME": "Zoë 🫖\nLine",
                    "ORDERS": 3,
                    "SPENT": 187.4,
                    "FIRST": "1961-04-12",
                    "LAST": "2026-11-02",
                    "VIP": True,
                    "TIER": None,
                    "ODD": "ab",
                },
                "subscribe": "yes",
                "known": True,
            },
        }
    ]
    assert b'"SPENT":187.40' in requests[0].content


async def test_create_update_clear_rename_join_and_leave(esp: Webhook, simulation: Simulation) -> None:
    assert await esp.prepare([], ["Fans"]) == {}
    await esp.push([Contact(1, ADA, {"A": 1, "B": "x"}, Subscribe.YES), Contact(2, BOB, {})])
    await esp.change_list("Fans", [Member(1, ADA), Member(2, BOB)], [])
    await esp.push([Contact(1, "eve@example.com", {"A": 2, "B": None}, known=True, was=ADA)])
    await esp.change_list("Fans", [], [Member(2, BOB)])
    await esp.push([Contact(2, BOB, {}, Subscribe.STOP, known=True)])

    found = simulation.state.contacts
    assert list(found) == [BOB, "eve@example.com"]
    assert (found["eve@example.com"].fields, found["eve@example.com"].lists) == ({"A": 2}, {"Fans"})
    assert (found[BOB].subscribed, found[BOB].lists) == (False, set())
    assert [page async for page in esp.opt_outs(None)] == []


# Signatures and ids


async def test_the_signature_is_that_of_the_standard(esp: Webhook, requests: list[httpx.Request]) -> None:
    await esp.push([Contact(1, ADA, {"A": "Ü"})])

    (request,) = requests
    receiver, headers = standardwebhooks.Webhook(SETTINGS["secret"]), dict(request.headers)
    assert receiver.verify(request.content.decode(), headers) == json.loads(request.content)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        receiver.verify(request.content.decode().replace("Ü", "U"), headers)


def test_the_standards_own_example_is_signed_alike() -> None:
    key = key_of("whsec_plJ3nmyCDGBKInavdOK15jsl")
    body = b'{"event_type":"ping","data":{"success":true}}'

    made = signing.signature(key, "msg_loFOjxBNrRLzqYUf", 1731705121, body)

    assert made == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


@pytest.mark.parametrize(
    ("secret", "key"), [(SETTINGS["secret"], KEY), ("a plain secret of mine", b"a plain secret of mine")]
)
def test_a_secret_is_base64_or_plain(secret: str, key: bytes) -> None:
    assert key_of(secret) == key


@pytest.mark.parametrize("kind", [Kind.AFTER, Kind.DROP, Kind.ANSWER, Kind.TRUNCATE])
async def test_a_message_that_is_sent_again_is_signed_anew_under_its_id(
    esp: Webhook,
    simulation: Simulation,
    requests: list[httpx.Request],
    kind: Kind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = datetime.now(UTC).timestamp()
    clock = iter([start - 250, start, start + 1])
    monkeypatch.setattr(signing, "time", SimpleNamespace(time=lambda: next(clock)))
    simulation.fail(Fault(kind, status=503))

    assert await esp.push([Contact(1, ADA, {"A": 1})]) == []

    first, second = requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 250
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert len(simulation.state.messages) == 1


async def test_a_push_that_is_repeated_after_a_crash_is_taken_once(
    esp: Webhook, simulation: Simulation
) -> None:
    contacts = [Contact(1, ADA, {"A": 1}, change="s1"), Contact(2, BOB, {}, change="s2")]
    for _ in range(2):
        await esp.push(contacts)
        await esp.change_list("Fans", [Member(1, ADA, "s3")], [Member(2, BOB, "s4")])

    assert len(simulation.state.messages) == 4
    assert simulation.state.repeated == 4


def test_each_change_has_its_own_id() -> None:
    contact = Contact(1, ADA, {"A": 1}, change="s1")
    member = Member(1, ADA, "s1")
    made = [
        messages.contact_message(contact),
        messages.contact_message(Contact(1, ADA, {"A": 1}, change="s2")),
        messages.contact_message(Contact(1, ADA, {"A": 2}, change="s1")),
        messages.contact_message(Contact(2, ADA, {"A": 1}, change="s1")),
        messages.list_message(messages.JOINED, "Fans", member),
        messages.list_message(messages.LEFT, "Fans", member),
        messages.list_message(messages.JOINED, "More", member),
    ]

    assert len({message.id for message in made}) == len(made)
    assert messages.contact_message(contact).id == made[0].id
    assert not any(ADA in message.id for message in made)


# What a hook may answer


@pytest.mark.parametrize("status", [400, 406, 409, 413, 415, 422])
async def test_the_first_a_middle_and_the_last_may_be_refused(
    esp: Webhook, simulation: Simulation, status: int
) -> None:
    bad = {1, 50, 100}
    simulation.state.objection = lambda body: status if body["data"]["profile"] in bad else None
    contacts = [Contact(number, f"p{number}@example.com", {}) for number in range(1, 101)]

    refusals = await esp.push(contacts)
    entries = await esp.change_list("Fans", [Member(each.profile, each.email) for each in contacts], [])

    reason = f'the hook answered {status} {{"error":"not taken"}}'
    assert refusals == [Refusal(number, Blame.CONTACT, reason) for number in sorted(bad)]
    assert entries == [Refusal(number, Blame.MEMBERSHIP, reason, "Fans") for number in sorted(bad)]
    assert len(simulation.state.contacts) == 97


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (301, ""),
        (401, "`secret`: the hook does not accept the signature"),
        (403, "`secret`: the hook does not accept the signature"),
        (404, "there is no hook at this address"),
        (405, "the hook takes no POST"),
        (410, "the hook was switched off: make a new one"),
    ],
)
async def test_what_is_about_the_hook_stops_the_sync(
    esp: Webhook, simulation: Simulation, status: int, said: str
) -> None:
    simulation.chances = {Fault(status=status): 1.0}

    with pytest.raises(Refused) as refused:
        await esp.push([Contact(1, ADA, {}), Contact(2, BOB, {})])

    assert f"hooks.test: {status} {said}".strip() in str(refused.value)
    assert "a1b2c3d4" not in str(refused.value)


async def test_a_429_is_waited_for(esp: Webhook, simulation: Simulation, pauses: list[float]) -> None:
    simulation.fail(Fault(status=429, headers={"retry-after": "9"}))
    simulation.fail(Fault(status=429))

    assert await esp.push([Contact(1, ADA, {})]) == []

    assert 9.0 in pauses


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=500), RemoteFault),
        (Fault(status=429, headers={"retry-after": "3600"}), Throttled),
        (Fault(Kind.DROP), Unreachable),
    ],
)
async def test_a_hook_that_is_down_ends_the_run(
    esp: Webhook, simulation: Simulation, fault: Fault, error: type[Exception]
) -> None:
    simulation.chances = {fault: 1.0}

    with pytest.raises(error) as raised:
        await esp.push([Contact(1, ADA, {})])

    assert "a1b2c3d4" not in str(raised.value)
    assert ADA not in str(raised.value)


async def test_what_the_hook_says_of_a_person_is_not_shown(esp: Webhook, simulation: Simulation) -> None:
    body = f"{ADA} is bad, says {SETTINGS['url']}".encode()
    simulation.fail(Fault(status=422, headers={"content-type": "text/plain"}, body=body))

    (refusal,) = await esp.push([Contact(1, ADA, {})])

    assert ADA not in refusal.reason
    assert "a1b2c3d4" not in refusal.reason


@pytest.fixture
def logged() -> list[str]:
    """Collect every line of the log, at every level."""
    lines: list[str] = []

    def keep(_logger: Any, _method: str, event: Any) -> Any:
        lines.append(repr(event))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return lines


async def test_the_address_of_the_hook_is_not_logged(esp: Webhook, logged: list[str]) -> None:
    await esp.push([Contact(1, ADA, {})])

    assert logged
    assert not any("a1b2c3d4" in line for line in logged)


@pytest.mark.parametrize(
    ("address", "quoted"),
    [
        ("hooks.test/catch/12345/abcdefsecrettoken", "abcdefsecrettoken"),
        ("hooks.test/post?v=2&token=SECRETTOKEN1234567", "SECRETTOKEN1234567"),
        ("hooks.test/post?SECRETTOKEN1234567&v=2", "SECRETTOKEN1234567"),
        ("hooks.test/post?token=SECRET%2BTOKEN+1234", "SECRET+TOKEN 1234"),
        ("hooks.test/hook%2Fsecret%20token1234", "secret token1234"),
        ("hooks.test/hook%2Fsecret%20token1234", "/hook%2Fsecret%20token1234"),
        ("hooks.test/hook%2Fsecret%20token1234", "/hook/secret token1234"),
        ("user:passw0rdpassw0rd@hooks.test/hook", "passw0rdpassw0rd"),
        ("us3rt0kenus3rt0ken@hooks.test/hook", "us3rt0kenus3rt0ken"),
    ],
)
async def test_P8_no_part_of_the_address_that_is_a_key_is_shown_or_logged(
    requests: list[httpx.Request], simulation: Simulation, logged: list[str], address: str, quoted: str
) -> None:
    body = f"no such hook: <{quoted}>".encode()
    simulation.fail(Fault(status=422, headers={"content-type": "text/plain"}, body=body))
    hook = Webhook(Webhook.Settings(url=f"https://{address}", secret=SETTINGS["secret"]))

    (refusal,) = await hook.push([Contact(1, ADA, {})])
    await hook.aclose()

    assert refusal.reason.replace("/", "") == "the hook answered 422 no such hook: <…>"
    assert len(requests) == 1
    assert logged
    assert not any(word in line for line in logged for word in ("token", "TOKEN", "passw0rd", "t0ken"))


# Settings and check


async def test_check_asks_without_starting_anything(
    esp: Webhook, simulation: Simulation, requests: list[httpx.Request]
) -> None:
    assert await esp.check() == []

    simulation.fail(Fault(status=410))
    assert await esp.check() == ["`url`: the hook was switched off: make a new one"]
    simulation.fail(Fault(status=405))
    assert await esp.check() == []
    assert {request.method for request in requests} == {"OPTIONS"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"url": "hooks.test/abc"}, "must begin with https"),
        ({"url": "https://"}, "must begin with https"),
        ({"base_url": "localhost"}, "must begin with https"),
        ({"secret": "short"}, "at least 16"),
        ({"secret": "whsec_not base64 at all"}, "not base64"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as refused:
        Webhook.Settings.model_validate(SETTINGS | changes)

    assert base64.b64encode(KEY).decode() not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://hooks.example/a/b?key=1", "http://localhost:1/a/b?key=1"),
        ("https://hooks.example", "http://localhost:1"),
    ],
)
def test_a_base_url_replaces_the_host(url: str, address: str) -> None:
    settings = Webhook.Settings.model_validate(SETTINGS | {"url": url, "base_url": "http://localhost:1/"})

    assert settings.address == address


@pytest.mark.parametrize("url", ["https://h\u2100.example/token", "https://[::1/token", "https:///token"])
def test_an_address_that_cannot_be_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Webhook.Settings.model_validate(SETTINGS | {"url": url})

    assert "must begin with https:// or http:// and name a host" in refused.value.errors()[0]["msg"]


async def test_a_hook_may_have_its_token_in_the_query(requests: list[httpx.Request], tmp_path: Path) -> None:
    url = f"{SETTINGS['url']}?sig=a1b2c3d4"
    (tmp_path / "m.yaml").write_text("extends: preset:crm\n")
    (tmp_path / "cartwire.yaml").write_text(
        "timezone: UTC\ncurrency: EUR\nstores: {s: {type: csv, path: orders.csv}}\n"
        f"esps: {{hook: {{type: webhook, url: '{url}', secret: '{SETTINGS['secret']}'}}}}\n"
        "syncs: {x: {stores: [s], esp: hook, mapping: m.yaml}}\n"
    )

    loaded = load(tmp_path, store_settings(), esp_settings(), {})
    hook = Webhook(loaded.settings.esps["hook"].settings)
    await hook.push([Contact(1, ADA, {"ORDERS": 3})])
    await hook.aclose()

    assert [str(request.url) for request in requests] == [url]


# The simulator


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "headers are missing"),
        ({"webhook-id": "m", "webhook-timestamp": "1"}, "the timestamp is too old or too new"),
        ({"webhook-id": "m", "webhook-timestamp": "now"}, "headers are missing"),
        (
            {"webhook-id": "m", "webhook-timestamp": "", "webhook-signature": "v1,x"},
            "the signature does not match",
        ),
    ],
)
async def test_the_simulator_refuses_what_is_not_signed(
    simulation: Simulation, headers: dict[str, str], text: str
) -> None:
    if headers.get("webhook-timestamp") == "":
        headers["webhook-timestamp"] = str(int(datetime.now(UTC).timestamp()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation)) as web:
        answer = await web.post(SETTINGS["url"], json={}, headers=headers)
        elsewhere = await web.post("http://hooks.test/other", json={})
        wrong = await web.get(SETTINGS["url"])

    assert (answer.status_code, answer.text) == (401, text)
    assert (elsewhere.status_code, wrong.status_code) == (404, 405)
