import itertools

import httpx
import pytest
import respx
from pydantic import ValidationError

from connectors import http
from connectors.base import Esp
from connectors.errors import ConnectorError, Refused
from connectors.esps.brevo import connector
from connectors.esps.brevo.connector import Brevo
from connectors.esps.brevo.simulator import SETTINGS
from connectors.http import Answer
from connectors.registry import esp_types
from connectors.simulation import Fault, Simulation
from tests.connectors.esps.specs import Recorder

KEY = SETTINGS["api_key"]


def settings(**changes: object) -> Brevo.Settings:
    return Brevo.Settings.model_validate(SETTINGS | changes)


def test_it_fits_the_contract_and_is_found_by_both_its_names() -> None:
    esp: Esp = Brevo(settings())

    assert esp_types()["brevo"] is Brevo
    assert esp_types()["sendinblue"] is Brevo
    assert esp.tally == {}


@pytest.mark.parametrize("given", ["http://localhost:1", "http://localhost:1/", "http://localhost:1/v3/"])
def test_a_base_url_may_hold_the_version_or_not(given: str) -> None:
    assert settings().api_url == "https://api.brevo.com/v3"
    assert settings(base_url=given).api_url == "http://localhost:1/v3"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"api_key": "xsmtpsib-0123"}, "is the SMTP key"),
        ({"base_url": "localhost"}, "must begin with https"),
        ({"confirmation_template": 3}, "write both or none"),
        ({"confirmation_url": "https://shop.example"}, "write both or none"),
        ({"confirmation_template": 0, "confirmation_url": "https://shop.example"}, "greater than 0"),
        ({"confirmation_template": 3, "confirmation_url": "thanks"}, "must begin with https"),
        ({"folder": ""}, "at least 1 character"),
        ({"audience": "abc"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as refused:
        settings(**changes)

    assert KEY not in str(refused.value)


async def test_check_is_content_with_a_good_key(esp: Brevo, recorder: Recorder) -> None:
    assert await esp.check() == []

    assert [sent.path for sent in recorder.sent] == ["/v3/contacts"]  # not on the budget of 100 an hour


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            401,
            "`api_key`: Brevo does not accept it, or not from this server's address: unauthorized: Key not found",
        ),
        (403, "`api_key`: Brevo forbids this to it: permission_denied: No"),
        (402, "the account's plan or credits do not allow this: not_enough_credits: No"),
    ],
)
async def test_check_says_which_setting_is_at_fault(
    esp: Brevo, simulation: Simulation, status: int, said: str
) -> None:
    code, message = said.split(": ")[-2:]
    body = f'{{"code": "{code}", "message": "{message}"}}'.encode()
    simulation.fail(Fault(status=status, body=body))

    with pytest.raises(Refused) as refused:
        await esp.check()

    assert str(refused.value) == f"api.brevo.com: {status} {said}"


async def test_a_wrong_key_is_refused_without_being_shown(edge: None) -> None:
    esp = Brevo(settings(api_key="xkeysib-0000"))

    with pytest.raises(Refused, match="401 `api_key`") as refused:
        await esp.check()
    await esp.aclose()

    assert "xkeysib" not in str(refused.value)


async def test_an_answer_that_is_no_document_is_a_fault(esp: Brevo, simulation: Simulation) -> None:
    simulation.fail(Fault(status=200, body=b"<html>hello</html>"), times=9)

    with pytest.raises(ConnectorError, match="not JSON"):
        await esp.check()


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"x-sib-ratelimit-reset": "3"}, 3.0),
        (429, {"x-sib-ratelimit-reset": "0"}, None),
        (429, {}, None),
        (200, {"x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": "2"}, 2.0),
        (200, {"x-sib-ratelimit-remaining": "1", "x-sib-ratelimit-reset": "2"}, None),
        (200, {"x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": "soon"}, None),
    ],
)
def test_how_long_to_wait_is_read_from_the_headers(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    assert connector._asked_to_wait(Answer(status, headers, b"", None)) == seconds


async def test_no_second_sees_more_requests_than_brevo_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real rate, and real pauses
    assert http._sleep is not None
    with respx.mock() as router:
        answered: list[float] = []

        def answer(_: httpx.Request) -> httpx.Response:
            answered.append(http.time.monotonic())
            return httpx.Response(200, json={"contacts": [], "count": 0})

        router.get(path="/v3/contacts").mock(side_effect=answer)
        esp = Brevo(settings())
        await http.asyncio.gather(*[esp.check() for _ in range(5)])
        await esp.aclose()

    gaps = [later - earlier for earlier, later in itertools.pairwise(answered)]
    assert min(gaps) > 0.09
