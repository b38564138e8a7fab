"""`forget`: no trace here or in a later backup, no way back in, and the ESPs first where they are asked."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.registry import esp_types
from connectors.simulation import Fault
from state import runs
from state.backup import backup
from state.errors import StateError
from sync.forget import Forgotten, forget_everywhere, forget_person, show_forgotten
from tests.sync.conftest import World
from tests.sync.test_promises import letters

NOW = datetime(2026, 2, 1, tzinfo=UTC)
WHO = "zzcanary@example.com"
CANARIES = (b"zzcanary", b"zzfirst", b"zzlast", b"0698765432", b"+33698765432")
DENIED = Fault(status=403, headers={"content-type": "application/json"}, body=b"{}")
ELSEWHERE = """
  other:
    stores: [shop]
    esp: {esp}
    mapping: mappings/crm.yaml
"""


@pytest.fixture
async def known(world: World) -> World:
    """Let shop, state and audience know a person by address, name and phone."""
    mapping = "fields: {FNAME: first_name, LNAME: last_name, PHONE: phone, ORDERS: orders_count}"
    world.configure(mapping + "\nlists: {Customers: orders_count >= 1}\n")
    number = world.shop.state.add_order(email=WHO, total="5.00")
    billing = {"email": WHO, "first_name": "Zzfirst", "last_name": "Zzlast", "country": "FR"}
    world.shop.state.update_order(number, row={"billing": billing | {"phone": "06 98 76 54 32"}})
    await world.backfill()
    return world


def found_in(folder: Path) -> set[bytes]:
    """Look for canaries in the very bytes of every file."""
    everything = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file()).lower()
    return {canary for canary in CANARIES if canary in everything}


async def forgotten(world: World) -> Forgotten:
    async with world.open() as cartwire:
        return await forget_everywhere(cartwire, WHO, NOW)


@pytest.mark.sqlite
async def test_nothing_is_left_in_any_file_nor_in_a_backup_taken_later(known: World) -> None:
    assert found_in(known.folder) >= {b"zzcanary", b"zzfirst", b"zzlast", b"+33698765432"}

    async with known.open() as cartwire:
        cleaned = await forget_person(cartwire, f" {WHO.upper()} ", NOW)
        backup(cartwire.plant.settings.database_url, known.folder / "copy.db")

        assert found_in(known.folder) == set()

    assert cleaned["profiles"] == 1
    assert found_in(known.folder) == set()


async def test_the_esp_erases_first_and_nobody_is_pulled_in_again(known: World) -> None:
    result = await forgotten(known)
    known.shop.state.add_order(email=WHO, first_name="Zzfirst", last_name="Zzlast", total="9.00")
    await known.backfill()

    assert (result.exit_code, result.erased, result.cleaned["profiles"]) == (0, ["news"], 1)
    assert WHO not in known.contacts
    assert "person1@example.com" in known.contacts
    assert found_in(known.folder) == set()
    assert await letters(known) == []


async def test_a_failure_at_the_esp_leaves_everything_here_to_be_done_again(known: World) -> None:
    known.news.fail(DENIED)

    failed = await forgotten(known)
    again = await forgotten(known)

    assert (failed.exit_code, failed.cleaned, list(failed.failed)) == (3, {}, ["news"])
    assert (again.exit_code, again.cleaned["profiles"]) == (0, 1)
    assert WHO not in known.contacts


async def test_who_was_forgotten_here_before_can_still_be_erased_at_the_esp(known: World) -> None:
    async with known.open() as cartwire:
        await forget_person(cartwire, WHO, NOW)
    assert WHO in known.contacts

    result = await forgotten(known)

    assert result.erased == ["news"]
    assert WHO not in known.contacts


async def test_a_former_address_is_erased_too(known: World) -> None:
    account = known.shop.state.add_account("zzcanary-old@example.com")
    await known.run()
    assert "zzcanary-old@example.com" in known.news.state.contacts
    known.shop.state.change_account_email(account, "zzcanary-new@example.com")
    known.news.fail(DENIED, when=lambda method, _path: method != "GET")
    await known.backfill()  # reads the new address, and cannot write it

    async with known.open() as cartwire:
        await forget_everywhere(cartwire, "zzcanary-new@example.com", NOW)

    assert [email for email in known.news.state.contacts if "zzcanary" in email] == [WHO]


@pytest.mark.parametrize(("esp", "code"), [("hooks", 1), ("file", 0)])
async def test_an_esp_that_cannot_erase_is_named_and_the_exit_code_tells(
    known: World, capsys: pytest.CaptureFixture[str], esp: str, code: int
) -> None:
    configured = (known.folder / "cartwire.yaml").read_text("utf-8")
    others = (
        "esps:\n  hooks: {type: webhook, url: http://hooks.example/x, secret: 0123456789abcdefg}\n"
        "  file: {type: csv, path: contacts.csv}"
    )
    text = configured.replace("esps:", others, 1) + ELSEWHERE.format(esp=esp)
    (known.folder / "cartwire.yaml").write_text(text, "utf-8")
    (known.folder / "contacts.csv").write_text(f"email,lists,consent\n{WHO},,\nx@example.com,,\n", "utf-8")
    known.reread()
    async with known.open() as cartwire:
        await forget_person(cartwire, WHO, NOW)

    result = await forgotten(known)
    show_forgotten(result, json=False)

    assert result.exit_code == code
    assert (f"esps.{esp}: it takes no deletion" in capsys.readouterr().err) == (code == 1)
    assert WHO not in known.contacts
    assert (code == 1) == (WHO in (known.folder / "contacts.csv").read_text("utf-8"))


async def test_it_waits_for_the_end_of_a_run_that_could_write_them_again(known: World) -> None:
    with runs.alone(known.folder, "crm"), pytest.raises(StateError, match="another run is under way"):
        await forgotten(known)

    assert WHO in known.contacts


async def test_who_is_known_by_what_is_no_address_can_be_forgotten_by_it(world: World) -> None:
    number = world.shop.state.add_order(email="bademail", total="5.00")
    world.shop.state.update_order(number, row={"billing": {"email": "bademail"}})
    await world.backfill()

    async with world.open() as cartwire:
        cleaned = await forget_person(cartwire, "bademail", NOW)
        with pytest.raises(StateError, match="this is no e-mail address"):
            await forget_person(cartwire, "nobody", NOW)

    assert cleaned["orders"] == 1


async def test_what_is_no_address_is_refused(world: World) -> None:
    async with world.open() as cartwire:
        for nothing in ("", "   ", "Ada Lovelace"):
            with pytest.raises(StateError, match="no e-mail address"):
                await forget_person(cartwire, nothing, NOW)


def test_every_esp_but_the_one_that_cannot_be_asked_erases() -> None:
    able = {type_ for type_ in esp_types() if hasattr(esp_types()[type_], "erase")}

    assert set(esp_types()) - able == {"webhook"}
