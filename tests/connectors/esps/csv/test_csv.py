import csv
import stat
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from config.settings import load
from connectors.base import Blame, Contact, Esp, Field, FieldType, Member, Refusal, Subscribe, Value
from connectors.errors import Refused, RemoteFault, Unreachable
from connectors.esps.csv import table
from connectors.esps.csv.cells import address_cell, cell, lists_cell, read_address, read_lists
from connectors.esps.csv.connector import Csv
from connectors.registry import esp_settings, esp_types, store_settings

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
FIELDS = [Field("ORDERS", FieldType.NUMBER, "Orders"), Field("TIER", FieldType.TEXT, "Tier")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "contacts.csv"


@pytest.fixture
def esp(path: Path) -> Csv:
    return Csv(Csv.Settings(path=str(path)))


def put(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def rights(path: Path, new: int | None = None) -> int:
    if new is not None:
        path.chmod(new)
    return stat.S_IMODE(path.stat().st_mode)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_email(path: Path) -> dict[str, dict[str, str]]:
    return {row.pop("email"): row for row in rows(path)}


def test_it_fits_the_contract_and_is_found_by_its_folder(esp: Csv) -> None:
    contract: Esp = esp

    assert isinstance(contract, esp_types()["csv"])


# The file


async def test_new_contacts_are_rows(esp: Csv, path: Path) -> None:
    await esp.prepare(FIELDS, ["Fans"])

    assert await esp.push([Contact(1, ADA, {"ORDERS": 3, "TIER": "gold"}, Subscribe.YES)]) == []
    assert await esp.change_list("Fans", [Member(1, ADA)], []) == []

    assert content_of(path) == (
        b"email,ORDERS,TIER,lists,consent\r\nada@example.com,3,gold,Fans,subscribed\r\n"
    )


async def test_rows_are_updated_by_address_and_keep_the_rest(esp: Csv, path: Path) -> None:
    put(path, "\ufeffemail,Note,consent\nADA@Example.com,=mine,unsubscribed\nx@y.z,other,\n\n")

    await esp.prepare(FIELDS, [])
    await esp.push([Contact(1, ADA, {"ORDERS": 3}, Subscribe.YES), Contact(2, BOB, {"TIER": "new"})])

    empty = {"Note": "", "ORDERS": "", "TIER": "", "lists": "", "consent": ""}
    assert by_email(path) == {
        "ADA@Example.com": empty | {"Note": "=mine", "consent": "unsubscribed", "ORDERS": "3"},
        "x@y.z": empty | {"Note": "other"},
        BOB: empty | {"TIER": "new", "consent": "no consent"},
    }


async def test_what_the_owner_added_stays(esp: Csv, path: Path) -> None:
    put(path, f"\nemail,Note, \n{ADA},a,mine,,too\n,nobody,x\n',,\n,,\n\n{BOB}\n")

    await esp.push([Contact(1, ADA, {"ORDERS": 3}, Subscribe.YES)])
    await esp.change_list("Fans", [Member(2, BOB)], [Member(1, ADA)])
    await esp.erase(EVE)

    assert content_of(path).decode().split("\r\n") == [
        "email,Note,ORDERS,lists,consent",
        f"{ADA},a,3,,,mine,,too",
        ",nobody,,,,x",
        "',,,,,",
        ",,,,,",
        f"{BOB},,,Fans,",
        "",
    ]
    assert [each.email async for page in esp.contacts(FIELDS, []) for each in page] == [ADA, BOB]


async def test_a_value_is_cleared(esp: Csv, path: Path) -> None:
    await esp.push([Contact(1, ADA, {"ORDERS": 3, "TIER": "gold"})])

    await esp.push([Contact(1, ADA, {"ORDERS": None}, known=True)])

    assert by_email(path)[ADA]["ORDERS"] == ""
    assert by_email(path)[ADA]["TIER"] == "gold"


async def test_a_repeated_push_does_not_touch_the_file(esp: Csv, path: Path) -> None:
    contacts = [Contact(1, ADA, {"ORDERS": 3}), Contact(2, EVE, {}, known=True, was=BOB)]
    await esp.push([Contact(2, BOB, {"ORDERS": 1})])
    await esp.push(contacts)
    await esp.change_list("Fans", [Member(1, ADA)], [])
    before, tally = identity(path), esp.tally["PUT"]

    await esp.push(contacts)
    await esp.change_list("Fans", [Member(1, ADA)], [])
    await esp.prepare([Field("ORDERS", FieldType.NUMBER, "Orders")], ["Fans"])

    assert identity(path) == before
    assert esp.tally["PUT"] == tally


async def test_thousands_join_and_leave_in_one_writing(esp: Csv, path: Path) -> None:
    people = [Contact(number, f"p{number}@example.com", {"ORDERS": number}) for number in range(3000)]
    members = [Member(each.profile, each.email) for each in people]

    await esp.push(people)
    await esp.change_list("Fans", members, [])
    await esp.change_list("Old", members[:10], [])
    await esp.change_list("Fans", [], members[5:])

    lists = [row["lists"] for row in rows(path)]
    assert lists == ["Fans,Old"] * 5 + ["Old"] * 5 + [""] * 2990
    assert esp.tally == {"GET": 1, "PUT": 4}


async def test_who_has_no_row_cannot_join(esp: Csv) -> None:
    await esp.push([Contact(1, ADA, {})])

    refusals = await esp.change_list("Fans", [Member(1, ADA), Member(2, BOB)], [Member(3, EVE)])

    assert refusals == [Refusal(2, Blame.MEMBERSHIP, "the file has no such row", "Fans")]


async def test_an_empty_batch_and_an_empty_file_are_fine(esp: Csv, path: Path) -> None:
    assert await esp.push([]) == []
    assert rows(path) == []

    put(path, b"")
    await esp.push([Contact(1, ADA, {})])

    assert list(by_email(path)) == [ADA]


# Addresses that change


async def test_a_changed_address_keeps_its_row(esp: Csv, path: Path) -> None:
    await esp.push([Contact(1, ADA, {"ORDERS": 3}, Subscribe.YES), Contact(2, BOB, {"ORDERS": 4})])

    await esp.push([Contact(1, EVE, {"TIER": "gold"}, known=True, was=ADA)])

    assert by_email(path) == {
        EVE: {"ORDERS": "3", "TIER": "gold", "lists": "", "consent": "subscribed"},
        BOB: {"ORDERS": "4", "TIER": "", "lists": "", "consent": "no consent"},
    }


async def test_an_address_that_has_its_own_row_takes_the_place_of_the_old_one(esp: Csv, path: Path) -> None:
    await esp.push([Contact(1, ADA, {"ORDERS": 3}, Subscribe.YES), Contact(2, BOB, {"ORDERS": 4})])

    await esp.push([Contact(1, BOB, {"ORDERS": 5}, known=True, was=ADA)])

    assert by_email(path) == {BOB: {"ORDERS": "5", "lists": "", "consent": "no consent"}}


async def test_chains_and_rings_lose_nobody_even_when_repeated(esp: Csv, path: Path) -> None:
    await esp.push([Contact(number, f"{name}@x.yz", {"A": name}) for number, name in enumerate("abde")])
    moves = [(0, "a", "b"), (1, "b", "x"), (2, "d", "e"), (3, "e", "d")]
    batch = [
        Contact(number, f"{new}@x.yz", {"B": f"was {old}"}, known=True, was=f"{old}@x.yz")
        for number, old, new in moves
    ]
    batch.append(Contact(9, "a@x.yz", {"A": "new"}))

    for _ in range(2):
        await esp.push(batch)

        found = {email[0]: (row["A"], row["B"]) for email, row in by_email(path).items()}
        assert found == {
            "a": ("new", ""),
            "b": ("a", "was a"),
            "x": ("b", "was b"),
            "d": ("d", "was e"),
            "e": ("e", "was d"),
        }


async def test_a_chain_that_ends_at_a_row_of_its_own_mixes_nobody(esp: Csv, path: Path) -> None:
    await esp.push([Contact(number, f"{name}@x.yz", {"A": name}) for number, name in enumerate("abx")])
    chain = [
        Contact(0, "b@x.yz", {"B": "1"}, known=True, was="a@x.yz"),
        Contact(1, "x@x.yz", {"B": "2"}, known=True, was="b@x.yz"),
    ]

    for _ in range(2):
        await esp.push(chain)

        found = {email[0]: (row["A"], row["B"]) for email, row in by_email(path).items()}
        assert found == {"b": ("a", "1"), "x": ("x", "2")}


# P4


@pytest.mark.parametrize(
    ("subscribe", "consent"),
    [
        (Subscribe.YES, "subscribed"),
        (Subscribe.NO, "no consent"),
        (Subscribe.ASK, "unconfirmed"),
        (Subscribe.STOP, "withdrawn"),
    ],
)
async def test_a_new_row_says_what_the_proofs_allow(
    esp: Csv, path: Path, subscribe: Subscribe, consent: str
) -> None:
    await esp.push([Contact(1, ADA, {}, subscribe)])

    assert by_email(path)[ADA]["consent"] == consent


pushes = st.builds(
    Contact,
    profile=st.just(1),
    email=st.sampled_from([ADA, BOB, EVE]),
    fields=st.dictionaries(st.just("A"), st.sampled_from(["x", None])),
    subscribe=st.sampled_from(Subscribe),
    known=st.booleans(),
    was=st.none() | st.sampled_from([ADA, BOB, EVE]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(pushes, min_size=2, max_size=8))
async def test_P4_no_sequence_of_pushes_subscribes_without_proof(
    esp: Csv, path: Path, steps: list[Contact]
) -> None:
    put(path, f"email,consent\n{ADA},unsubscribed\n")
    for step in steps:
        before = {email: row["consent"] for email, row in by_email(path).items()}

        await esp.push([step])

        for email, row in by_email(path).items():
            if row["consent"] == "subscribed":
                moved = email == step.email and before.get(step.was or "") == "subscribed"
                new = email == step.email and email not in before and step.subscribe is Subscribe.YES
                assert before.get(email) == "subscribed" or moved or new


async def test_stop_takes_consent_back_but_an_opt_out_stays_one(esp: Csv, path: Path) -> None:
    put(path, f"email,consent\n{ADA},subscribed\n{BOB},unsubscribed\n{EVE},UNSUBSCRIBED \n")
    everybody = enumerate([ADA, BOB, EVE])

    await esp.push([Contact(number, email, {}, Subscribe.STOP) for number, email in everybody])

    assert [row["consent"] for row in rows(path)] == ["withdrawn", "unsubscribed", "UNSUBSCRIBED "]


async def test_who_was_marked_unsubscribed_is_read_back(esp: Csv, path: Path) -> None:
    assert [page async for page in esp.opt_outs(None)] == []
    put(
        path, f"email,consent\n{ADA}, Unsubscribed\n{BOB},withdrawn\n'+eve@x.yz,unsubscribed\n,unsubscribed\n"
    )

    found = [each.email async for page in esp.opt_outs(datetime(2026, 1, 1, tzinfo=UTC)) for each in page]

    assert found == [ADA, "+eve@x.yz"]


# Cells


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (-5, "-5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.50"), "-0.50"),
        (date(1961, 4, 12), "1961-04-12"),
        (datetime(2026, 11, 2, 23, 59, tzinfo=UTC), "2026-11-02"),
        ("=1+1", "'=1+1"),
        ("+33612345678", "'+33612345678"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\nx", "'\nx"),
        ("a=1", "a=1"),
        ("'t Hart", "'t Hart"),
        ("İstanbul 🫖", "İstanbul 🫖"),
        ("a\0\ud800b", "ab"),
        ("x" * 40_000, "x" * 32_766),
    ],
)
def test_a_value_is_written_so_that_no_spreadsheet_runs_it(value: Value, written: str) -> None:
    assert cell(value) == written


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts)
async def test_any_text_comes_back_from_the_file_and_is_no_formula(esp: Csv, path: Path, text: str) -> None:
    put(path, b"")

    await esp.push([Contact(1, ADA, {"TIER": text}), Contact(2, BOB, {})])
    await esp.push([Contact(2, BOB, {"TIER": "x"}, known=True)])

    found = by_email(path)[ADA]["TIER"]
    assert found.removeprefix("'") == text.removeprefix("'")
    assert not found.startswith(("=", "+", "-", "@", "\t", "\r"))


@given(texts.filter(lambda text: text == text.strip()))
def test_any_address_can_be_read_back(text: str) -> None:
    assert read_address(address_cell(text)) == text
    assert not address_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.sets(texts.filter(bool), min_size=1, max_size=5))
def test_any_names_of_lists_can_be_read_back(names: set[str]) -> None:
    assert read_lists(lists_cell(names)) == names
    assert not lists_cell(names).startswith(("=", "+", "-", "@", "\t", "\r"))


async def test_odd_addresses_are_found_again(esp: Csv, path: Path) -> None:
    for email in ("=a@x.yz", "'b@x.yz", "o'c@x.yz"):
        for orders in (1, 2):
            await esp.push([Contact(1, email, {"ORDERS": orders})])

    assert [row["email"] for row in rows(path)] == ["'=a@x.yz", "''b@x.yz", "o'c@x.yz"]
    assert {row["ORDERS"] for row in rows(path)} == {"2"}


# Trouble


async def test_a_kill_before_the_last_step_leaves_the_old_file(
    esp: Csv, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await esp.push([Contact(1, ADA, {"ORDERS": 1})])
    before = content_of(path)

    class Killed(BaseException):
        pass

    def die(_: object) -> None:
        raise Killed

    monkeypatch.setattr(table.os, "fsync", die)
    with pytest.raises(Killed):
        await esp.push([Contact(1, ADA, {"ORDERS": 2})])
    monkeypatch.undo()

    assert content_of(path) == before
    await esp.push([Contact(1, ADA, {"ORDERS": 2})])
    assert by_email(path)[ADA]["ORDERS"] == "2"
    assert sorted(file.name for file in path.parent.iterdir()) == [".contacts.csv.lock", "contacts.csv"]


async def test_only_the_owner_can_read_a_new_file_and_rights_stay(esp: Csv, path: Path) -> None:
    await esp.push([Contact(1, ADA, {})])
    new = rights(path)
    rights(path, 0o640)
    await esp.push([Contact(2, BOB, {})])

    assert (new, rights(path)) == (0o600, 0o640)


@pytest.mark.parametrize("content", [b"name,address\nAda,ada@example.com\n", b"\xff\xfe\x00", b'email\n"a\n'])
async def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    esp: Csv, path: Path, content: bytes
) -> None:
    put(path, content)

    with pytest.raises(Refused, match="csv:") as refused:
        await esp.push([Contact(1, BOB, {})])

    assert content_of(path) == content
    assert "ada" not in str(refused.value)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("email,phone,phone,lists", "two columns have the name `phone`"),
        ("email,email", "two columns have the name `email`"),
        ("email,,phone", "column 2 has no name"),
        (" ,email", "column 1 has no name"),
        (",,", "no column `email`"),
    ],
)
async def test_a_header_that_does_not_tell_columns_apart_is_refused(
    esp: Csv, path: Path, header: str, said: str
) -> None:
    content = f"{header}\n{ADA},111,222,mine\n"
    put(path, content)

    with pytest.raises(Refused, match=said) as refused:
        await esp.push([Contact(1, BOB, {})])
    with pytest.raises(Refused, match=said):
        await esp.check()

    assert content_of(path) == content.encode()
    assert "contacts.csv" in str(refused.value) or "email" in said
    assert ADA not in str(refused.value)


async def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    esp = Csv(Csv.Settings(path=str(tmp_path / "no" / "contacts.csv")))

    (sentence,) = await esp.check()
    with pytest.raises(Refused, match="does not exist"):
        await esp.push([Contact(1, ADA, {})])

    assert "does not exist" in sentence


async def test_check_is_content_where_the_file_can_be_written(esp: Csv, path: Path) -> None:
    assert await esp.check() == []

    put(path, "name\n")
    with pytest.raises(Refused, match="no column `email`"):
        await esp.check()


async def test_a_folder_without_the_right_to_write_is_said(esp: Csv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.os, "access", lambda *_: False)

    assert "cannot be written" in (await esp.check())[0]


async def test_a_full_disk_is_tried_again_later(esp: Csv, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table.os, "fsync", full)

    with pytest.raises(RemoteFault, match="No space left"):
        await esp.push([Contact(1, ADA, {})])


async def test_two_writers_wait_for_each_other(esp: Csv, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PATIENCE", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(path.with_name(".contacts.csv.lock")):
            held.set()
            done.wait(5)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(5)
    with pytest.raises(Unreachable, match="another process"):
        await esp.push([Contact(1, ADA, {})])
    done.set()
    other.join()

    assert await esp.push([Contact(1, ADA, {})]) == []


async def test_memory_holds_the_changes_and_not_the_file(esp: Csv, path: Path) -> None:
    def lines() -> Iterator[str]:
        yield "email,TIER,lists,consent\n"
        for number in range(20_000):
            yield f"p{number}@example.com,{'x' * 200},,subscribed\n"

    with path.open("w") as file:
        file.writelines(lines())
    tracemalloc.start()
    await esp.push([Contact(1, "p9@example.com", {"TIER": "y"})])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(content_of(path)) > 4_000_000
    assert peak < 1_000_000


# Settings


@pytest.mark.parametrize("path", ["", "folder/", "a\0b", ".."])
def test_a_path_that_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        Csv.Settings(path=path)


def test_a_relative_path_counts_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("extends: preset:crm\n")
    (tmp_path / "cartwire.yaml").write_text(
        "timezone: UTC\ncurrency: EUR\n"
        "stores: {s: {type: woocommerce, url: https://shop.example, key: '${K}', secret: '${K}'}}\n"
        "esps: {file: {type: csv, path: out/contacts.csv}, other: {type: csv, path: /srv/contacts.csv}}\n"
        "syncs: {x: {stores: [s], esp: file, mapping: m.yaml}}\n"
    )

    loaded = load(tmp_path, store_settings(), esp_settings(), {"K": "k"})

    files = {name: esp.settings.file for name, esp in loaded.settings.esps.items()}
    assert files == {"file": tmp_path / "out/contacts.csv", "other": Path("/srv/contacts.csv")}
    assert loaded.settings.esps["file"].settings.path == "out/contacts.csv"
    assert Csv.Settings(path="contacts.csv").file == Path("contacts.csv")
