import httpx
import pytest
import respx
from pydantic import ValidationError

from connectors.base import Esp
from connectors.errors import ConnectorError, Refused
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.esps.mailchimp.simulator import SETTINGS
from connectors.registry import esp_types
from connectors.simulation import Fault, Simulation

KEY = SETTINGS["api_key"]


def settings(**changes: str) -> Mailchimp.Settings:
    return Mailchimp.Settings(**(SETTINGS | changes))


def test_it_fits_the_contract_and_is_found_by_its_folder() -> None:
    esp: Esp = Mailchimp(settings())

    assert esp_types()["mailchimp"] is Mailchimp
    assert esp.tally == {}


def test_the_key_says_where_the_account_lives() -> None:
    assert settings().api_url == "https://us21.api.mailchimp.com/3.0"


@pytest.mark.parametrize("given", ["http://localhost:1", "http://localhost:1/", "http://localhost:1/3.0/"])
def test_a_base_url_may_hold_the_version_or_not(given: str) -> None:
    assert settings(base_url=given, api_key="any").api_url == "http://localhost:1/3.0"


@pytest.mark.parametrize("key", ["0123456789abcdef", "0123456789abcdef-", "abc-us21.evil.example/"])
def test_a_key_without_its_data_centre_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=r"`api_key` lacks the data centre.*-us21") as refused:
        settings(api_key=key)

    assert "0123456789abcdef" not in str(refused.value)


@pytest.mark.parametrize("audience", ["Our customers", "", "https://us21.admin.mailchimp.com/audience"])
def test_an_audience_that_is_no_id_is_refused(audience: str) -> None:
    with pytest.raises(ValidationError, match="is not an Audience ID"):
        settings(audience=audience)


def test_a_base_url_that_is_none_and_an_unknown_setting_are_refused() -> None:
    with pytest.raises(ValidationError, match="must begin with https"):
        settings(base_url="localhost")
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        settings(audience_id="a1b2c3d4e5")


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Mailchimp.Settings.model_fields.values())


async def test_check_finds_nothing_wrong_with_a_good_connection(esp: Mailchimp) -> None:
    assert await esp.check() == []


async def test_check_names_the_role_and_the_audience_that_do_not_do(
    esp: Mailchimp, simulation: Simulation
) -> None:
    simulation.state.role = "viewer"
    simulation.state.id = "ffffffffff"

    wrong = await esp.check()

    assert [sentence.partition(":")[0] for sentence in wrong] == ["`api_key`", "`audience`"]


@pytest.mark.parametrize(
    ("own_key", "said"),
    [
        ("ffffffffffffffffffffffffffffffff-us21", "401 `api_key`.*API Key Invalid"),
        (KEY.replace("us21", "us6"), "403 `api_key`.*linked to datacenter 'us6'"),
    ],
)
async def test_a_wrong_key_or_data_centre_is_refused_by_name(
    esp: Mailchimp, simulation: Simulation, own_key: str, said: str
) -> None:
    simulation.state.api_key = own_key

    with pytest.raises(Refused, match=said) as refused:
        await esp.check()

    assert KEY not in str(refused.value)
    assert "instance" in str(refused.value)


async def test_a_missing_audience_is_refused_by_name(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.id = "ffffffffff"

    with pytest.raises(Refused, match="404 `audience`"):
        await esp.prepare([], ["Customers"])


@pytest.mark.parametrize("status", [403, 404])
async def test_a_page_of_the_edge_is_not_mailchimps_word(
    esp: Mailchimp, simulation: Simulation, status: int
) -> None:
    simulation.fail(Fault(status=status), times=2)

    assert await esp.check() == []
    assert esp.tally["retry"] == 2


async def test_a_403_of_the_api_is_not_tried_again(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.state.role = "author"

    with pytest.raises(Refused, match="403 `api_key`"):
        await esp.prepare([], ["Customers"])

    assert esp.tally["retry"] == 0


async def test_an_address_in_a_vendors_words_does_not_get_out() -> None:
    body = {"title": "Forbidden", "status": 403, "detail": f"ada@example.com may not use {KEY}"}
    with respx.mock as router:
        router.get(path="/3.0/").respond(403, json=body)
        esp = Mailchimp(settings())

        with pytest.raises(Refused) as refused:
            await esp.check()
        await esp.aclose()

    assert "@" not in str(refused.value)
    assert KEY not in str(refused.value)


async def test_a_refusal_that_is_no_json_is_still_a_refusal() -> None:
    with respx.mock as router:
        router.get(path="/3.0/").respond(422, text="Unprocessable")
        esp = Mailchimp(settings())

        with pytest.raises(Refused, match="422 Unprocessable"):
            await esp.check()
        await esp.aclose()


async def test_a_dead_host_is_a_connector_error() -> None:
    with respx.mock as router:
        router.route().mock(side_effect=httpx.ConnectError("refused"))
        esp = Mailchimp(settings())

        with pytest.raises(ConnectorError, match="no connection"):
            await esp.check()
        await esp.aclose()


async def test_closing_twice_is_harmless_and_nothing_is_sent_afterwards(esp: Mailchimp) -> None:
    await esp.aclose()
    await esp.aclose()

    with pytest.raises(RuntimeError, match="closed"):
        await esp.check()
