"""The commands as an owner types them: exit codes, what is said, and where."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from connectors.esps.mailchimp import simulator as mailchimp
from connectors.stores.woocommerce import simulator as woocommerce
from sync.simulate import simulated_types
from sync.terminal import said_of
from tests.sync.commands import cartwire
from tests.sync.conftest import HISTORY, NEWS, SHOP, World
from tests.sync.servers import serve

BACKFILLED = ("backfill", "crm")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make a folder whose sync has run once, against simulators on real sockets.

    Tests may add people of their own; the seven of HISTORY stay as they are.
    """
    folder = tmp_path_factory.mktemp("shop")
    with serve(woocommerce.simulator(HISTORY)) as store, serve(mailchimp.simulator(batch_seconds=0)) as esp:
        world = World(folder, store.app, esp.app, router=None)  # type: ignore[arg-type]
        world.configure()
        file = folder / "cartwire.yaml"
        file.write_text(file.read_text().replace(SHOP, store.url).replace(NEWS, esp.url))
        assert cartwire(folder, *BACKFILLED).returncode == 0
        yield world


def test_to_check_the_files_loads_nothing_that_opens_a_connection_or_runs_a_sync(shop: World) -> None:
    told = (
        "import atexit, sys; from sync.cli import main;"
        "atexit.register(lambda: print(*sys.modules));"
        "sys.argv[1:] = ['--dir', sys.argv[1], 'check', '--offline']; main()"
    )

    said = subprocess.run(
        [sys.executable, "-c", told, shop.folder], capture_output=True, text=True, check=True
    ).stdout
    loaded = said.split()

    heavy = {
        "alembic",
        "apscheduler",
        "httpx",
        "psycopg",
        "rich",
        "state.bookkeeping",
        "structlog",
        "sync.run",
        "uvicorn",
    }
    assert "connections: not tried" in said
    assert heavy & {*loaded} == set()
    assert "mappings.compile" in loaded


def test_a_run_says_what_it_did_and_that_nothing_changed(shop: World) -> None:
    result = cartwire(shop.folder, "sync", "crm")

    assert result.returncode == 0
    assert "no write request was made" in result.stdout


def test_a_store_that_the_sync_does_not_have_is_named(shop: World) -> None:
    result = cartwire(shop.folder, "backfill", "crm", "--store", "shopp")

    assert result.returncode == 2
    assert "syncs.crm.stores: `crm` has no store `shopp`; did you mean `shop`?" in result.stderr


def test_a_backfill_of_what_is_to_come_is_refused(shop: World) -> None:
    result = cartwire(shop.folder, "backfill", "crm", "--since", "2999-01-01")

    assert result.returncode == 2
    assert "--since" in result.stderr
    assert "lies in the future" in result.stderr


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31"])
def test_a_plan_as_of_a_moment_at_the_ends_of_the_calendar_is_refused(shop: World, moment: str) -> None:
    result = cartwire(shop.folder, "plan", "crm", "--as-of", moment)

    assert result.returncode == 2
    assert "--as-of" in result.stderr


def test_reports_come_as_json_for_scripts(shop: World) -> None:
    report = json.loads(cartwire(shop.folder, "sync", "crm", "--json").stdout)

    assert (report["outcome"], report["writes"]) == ("done", 0)


def test_check_tries_both_ends(shop: World) -> None:
    result = cartwire(shop.folder, "check")

    assert result.returncode == 0
    assert "trying the connections" in result.stderr
    assert "stores.shop: good" in result.stdout
    assert "esps.news: good" in result.stdout


def test_check_names_the_setting_that_is_wrong(shop: World, tmp_path: Path) -> None:
    for file in ("cartwire.yaml", "mappings/crm.yaml"):
        copy = tmp_path / file
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((shop.folder / file).read_text().replace("a1b2c3d4e5", "ffffffffff"))

    result = cartwire(tmp_path, "check")

    assert result.returncode == 3
    assert "`audience`" in result.stdout


def test_plan_shows_what_a_changed_mapping_would_do_and_writes_nothing(shop: World, tmp_path: Path) -> None:
    mapping = shop.folder / "mappings" / "crm.yaml"
    kept = mapping.read_text()
    before = len(shop.news.requests)
    mapping.write_text(kept.replace("orders_count >= 2", "orders_count >= 5"))

    result = json.loads(cartwire(shop.folder, "plan", "crm", "--json").stdout)
    mapping.write_text(kept)

    assert [(change["name"], change["joins"], change["count"]) for change in result["lists"]] == [
        ("Loyal", False, 5)
    ]
    assert {seen.method for seen in shop.news.requests[before:]} == {"GET"}
    assert json.loads(cartwire(shop.folder, "plan", "crm", "--json").stdout)["contacts"] == 0


def test_plan_compares_another_mapping_at_another_moment(shop: World) -> None:
    other = shop.folder / "mappings" / "other.yaml"
    other.write_text((shop.folder / "mappings" / "crm.yaml").read_text().replace(">= 2", ">= 5"))

    result = cartwire(shop.folder, "plan", "crm", "--mapping", "mappings/other.yaml", "--as-of", "2026-12-24")
    wrong = cartwire(shop.folder, "plan", "crm", "--mapping", "mappings/othr.yaml")

    assert result.returncode == 0, result.stderr
    assert "the other mapping beside this one" in result.stdout
    assert "sync crm at 2026-12-24 00:00 CET" in result.stdout
    assert (wrong.returncode, "mappings/othr.yaml: does not exist" in wrong.stderr) == (2, True)


def test_P11_a_held_run_ends_with_1_and_names_the_command_that_lets_it_go(shop: World) -> None:
    file = shop.folder / "cartwire.yaml"
    kept = file.read_text()
    file.write_text(kept.replace("limits: off", "limits: {new_contacts: 0}"))
    shop.shop.state.add_order(email="held@example.com", total="1.00")

    held = cartwire(shop.folder, "sync", "crm")
    again = cartwire(shop.folder, "sync", "crm", "--json")
    before = "held@example.com" in shop.news.state.contacts
    approved = cartwire(shop.folder, "approve", "crm")
    file.write_text(kept)

    assert (held.returncode, again.returncode, before) == (1, 1, False)
    assert "cartwire approve crm" in held.stdout
    assert json.loads(again.stdout)["plan"]["created"] == 1
    assert (approved.returncode, "held@example.com" in shop.news.state.contacts) == (0, True)


def test_P12_check_says_what_is_unknown_and_what_would_fill_it(shop: World) -> None:
    mapping = shop.folder / "mappings" / "crm.yaml"
    kept = mapping.read_text()
    mapping.write_text(kept + "  Visitors: visits >= 1\n")

    result = cartwire(shop.folder, "check", "--offline")
    plain = json.loads(cartwire(shop.folder, "check", "--offline", "--json").stdout)
    mapping.write_text(kept)

    assert "lists unknown until there are visits to the shop's pages: Visitors" in result.stdout
    assert [each["name"] for each in plain["unknown"]["crm"]] == ["Visitors"]


def test_checklist_comes_as_a_table_and_as_csv(shop: World) -> None:
    table = cartwire(shop.folder, "checklist")
    sheet = cartwire(shop.folder, "checklist", "crm", "--csv")

    assert (table.returncode, sheet.returncode) == (0, 0)
    assert "crm: catalogue" in table.stdout
    assert sheet.stdout.startswith("sync,kind,name,pushed_as,in_preset,filled,members,used_by,rule\n")


def test_explain_lays_a_person_open(shop: World) -> None:
    result = cartwire(shop.folder, "explain", "Person1@Example.com")

    assert result.returncode == 0
    assert "orders_count >= 2: true" in result.stdout
    assert "counted" in result.stdout


def test_explain_of_nobody_says_so(shop: World) -> None:
    result = cartwire(shop.folder, "explain", "nobody@example.com")

    assert (result.returncode, "nobody is known" in result.stdout) == (1, True)


def test_status_runs_and_dead_letters_report(shop: World) -> None:
    status = json.loads(cartwire(shop.folder, "status", "--json").stdout)
    runs = json.loads(cartwire(shop.folder, "runs", "--json").stdout)
    letters = cartwire(shop.folder, "dead-letters", "--json")

    assert status[0]["profiles"] >= 7
    assert status[0]["contacts_waiting"] == 0
    assert runs[-1]["kind"] == "backfill"
    assert (json.loads(letters.stdout), letters.returncode) == ([], 0)


def test_a_letter_that_is_not_there_cannot_be_done(shop: World) -> None:
    result = cartwire(shop.folder, "dead-letters", "--done", "request shop/redact", "--done", "x")

    assert (result.returncode, "there is no dead letter 'request shop/redact'" in result.stderr) == (2, True)


def test_runs_of_a_sync_that_never_was_are_refused_and_of_one_that_left_are_listed(
    shop: World, tmp_path: Path
) -> None:
    shutil.copytree(shop.folder, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "cartwire.yaml"
    file.write_text(file.read_text().replace("  crm:", "  mails:"))

    wrong, left, none = (cartwire(tmp_path, "runs", name) for name in ("mals", "crm", "mails"))

    assert (wrong.returncode, left.returncode, none.returncode) == (2, 0, 0)
    assert "no sync is named `mals`; did you mean `mails`?" in wrong.stderr
    assert "backfill" in left.stdout


def test_backup_copies_a_working_state_store_and_never_overwrites(shop: World, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"

    first = cartwire(shop.folder, "backup", str(target))
    second = cartwire(shop.folder, "backup", str(target))

    assert (first.returncode, second.returncode) == (0, 2)
    assert target.stat().st_size > 10_000
    assert "exists already" in second.stderr


def test_init_starts_a_folder_and_touches_nothing_that_is_there(tmp_path: Path) -> None:
    first = cartwire(tmp_path, "init")
    (tmp_path / "cartwire.yaml").write_text("mine")
    second = cartwire(tmp_path, "init")

    assert (first.returncode, second.returncode) == (0, 0)
    assert (tmp_path / "cartwire.yaml").read_text() == "mine"


def test_a_folder_without_a_configuration_is_told_how_to_begin(tmp_path: Path) -> None:
    result = cartwire(tmp_path, "run")

    assert result.returncode == 2
    assert result.stderr == f"cartwire.yaml: does not exist in {tmp_path}; `cartwire init` writes one\n"


def test_a_script_that_asked_for_JSON_gets_an_error_as_JSON(shop: World) -> None:
    misspelt = cartwire(shop.folder, "plan", "cmr", "--json")
    twice = cartwire(shop.folder, "checklist", "--json", "--csv")

    assert (misspelt.returncode, json.loads(misspelt.stdout)["error"]) == (2, misspelt.stderr.strip())
    assert "no sync is named `cmr`" in misspelt.stderr
    assert (twice.returncode, twice.stdout) == (2, "")


def test_nobody_and_somebody_forgotten_are_told_apart(shop: World) -> None:
    shop.shop.state.add_order(email="leaves@example.com", total="5.00")
    cartwire(shop.folder, "sync", "crm")
    cartwire(shop.folder, "forget", "leaves@example.com")

    names = ("nobody@example.com", "leaves@example.com", "nobody")
    found = [cartwire(shop.folder, "explain", name) for name in names]
    told = [cartwire(shop.folder, "explain", name, "--json").stdout for name in names]

    assert [each.returncode for each in found] == [1, 1, 2]
    assert "see `cartwire status`" in found[0].stdout
    assert "was forgotten, and stays so" in found[1].stdout
    assert "explain: this is no e-mail address" in found[2].stderr
    assert [json.loads(each) for each in told[:2]] == [[], {"forgotten": True}]
    assert "no e-mail address" in json.loads(told[2])["error"]


def test_whom_a_file_is_refused_to_is_said() -> None:
    refused = PermissionError(13, "Permission denied", "/data/cartwire.yaml")
    missing = FileNotFoundError(2, "No such file or directory", "/data")
    full = OSError(28, "No space left on device")

    assert said_of(refused) == (
        f"/data/cartwire.yaml: Permission denied; Cartwire runs as user {os.getuid()} here"
    )
    assert said_of(missing) == "/data: No such file or directory"
    assert said_of(full) == "No space left on device"
    assert said_of(ChildProcessError("it did not start")) == "it did not start"


def test_what_the_system_refuses_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "mapping.schema.json").mkdir(parents=True)

    results = [
        cartwire(tmp_path / "file", "init"),
        cartwire(tmp_path / "folder", "schema"),
        cartwire(tmp_path, "simulate", "woocommerce", "--orders", str(tmp_path)),
    ]

    assert [result.returncode for result in results] == [2, 2, 2]
    assert "is a file" in results[0].stderr
    assert results[2].stderr == f"{tmp_path}: Is a directory\n"
    assert not any("Traceback" in result.stderr for result in results)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_under_standard_output_is_said_in_a_sentence(tmp_path: Path) -> None:
    def said(*arguments: str) -> tuple[int, int]:
        command = [sys.executable, "-m", "sync.cli", "--dir", str(tmp_path), *arguments]
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        return result.returncode, len(result.stderr.splitlines())

    assert said("schema", "--docs") == (2, 1)
    assert said("runs", "--json") == (2, 1)  # that there is no configuration


def test_signs_that_the_terminal_lacks_are_stood_in_for(shop: World) -> None:
    shop.shop.state.add_order(email="zoe@example.com", first_name="Zoë Ω", total="5.00")
    cartwire(shop.folder, "sync", "crm")

    told = subprocess.run(
        [sys.executable, "-m", "sync.cli", "--dir", shop.folder, "explain", "zoe@example.com"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )

    assert (told.returncode, told.stderr) == (0, b"")
    assert "field FNAME: Zoë ? (at the ESP: Zoë ?)".encode("latin-1") in told.stdout


@pytest.mark.parametrize("arguments", [["explain", "person1@example.com"], ["checklist", "--csv"]])
def test_a_command_whose_reader_leaves_ends_quietly(shop: World, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    said = subprocess.run(
        [sys.executable, "-m", "sync.cli", "--dir", shop.folder, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert (said.returncode, said.stderr) == (141, b"")


def test_the_version_is_told(tmp_path: Path) -> None:
    result = cartwire(tmp_path, "--version")

    assert (result.returncode, result.stdout) == (0, f"cartwire {version('cartwire')}\n")


def test_P7_every_mistake_of_both_files_comes_at_once_with_its_line(shop: World, tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    text = (shop.folder / "cartwire.yaml").read_text().replace("type: mailchimp", "type: mailchmp")
    (tmp_path / "cartwire.yaml").write_text(text)
    (tmp_path / "mappings" / "crm.yaml").write_text("fields:\n  ORDERS: order_count\nlists:\n  A: 1 +\n")

    result = cartwire(tmp_path, "sync", "crm")

    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert any("cartwire.yaml:13: esps.news.type: unknown type `mailchmp`" in line for line in lines)
    assert any("mappings/crm.yaml:2: fields.ORDERS: unknown column `order_count`" in line for line in lines)
    assert any("mappings/crm.yaml:4: lists.A:" in line for line in lines)
    assert "Traceback" not in result.stderr


def test_a_sync_that_is_not_there_is_bad_usage(shop: World) -> None:
    result = cartwire(shop.folder, "sync", "cmr")

    assert result.returncode == 2
    assert "known: crm" in result.stderr


def test_schema_writes_both_schemas(tmp_path: Path) -> None:
    result = cartwire(tmp_path, "schema")

    assert result.returncode == 0
    written = [Path(line.removeprefix("wrote ")) for line in result.stdout.splitlines()]
    assert all(json.loads(path.read_text())["$schema"] for path in written)


def test_P8_a_verbose_run_shows_no_address_and_no_key(shop: World) -> None:
    shop.shop.state.add_order(email="canary@secret.example", total="1.00")

    result = cartwire(shop.folder, "--verbose", "sync", "crm")

    assert result.returncode == 0
    for secret in (
        "canary@",
        "@secret.example",
        *woocommerce.SETTINGS.values(),
        mailchimp.SETTINGS["api_key"],
    ):
        assert secret not in result.stderr + result.stdout


def test_forget_erases_a_person_and_they_stay_away(shop: World) -> None:
    shop.shop.state.add_order(email="leaver@example.com", total="1.00")
    cartwire(shop.folder, "sync", "crm")
    first = json.loads(cartwire(shop.folder, "forget", "leaver@example.com", "--json").stdout)
    again = cartwire(shop.folder, "forget", "leaver@example.com")
    cartwire(shop.folder, "backfill", "crm")

    assert first["profiles"] == 1
    assert "If the ESP has a contact with this address, it stays" in again.stdout  # nobody asked it
    assert cartwire(shop.folder, "explain", "leaver@example.com").returncode == 1


def test_demo_runs_the_main_job_and_a_second_sync_writes_nothing(tmp_path: Path) -> None:
    result = cartwire(tmp_path, "demo", "--orders", "500", "--json")

    summary = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert (summary["orders"], summary["second"]["writes"]) == (500, 0)
    assert summary["lists"]["Customers"] == summary["profiles"]
    assert 10 < summary["simulators_megabytes"] < summary["megabytes"]


def test_a_type_that_has_no_simulator_is_told_with_the_option_and_those_that_have_one(tmp_path: Path) -> None:
    stores, esps = simulated_types("stores"), simulated_types("esps")
    said = [
        cartwire(tmp_path, *arguments)
        for arguments in (
            ["demo", "--esp", "mailchmp"],
            ["demo", "--store", "brevo"],
            ["simulate", "nonesuch"],
            ["simulate", "csv"],
        )
    ]

    assert {each.returncode for each in said} == {2}
    assert [each.stderr for each in said] == [
        "demo: --esp: there is no simulator of `mailchmp`; did you mean `mailchimp`?\n",
        f"demo: --store: there is no simulator of `brevo`; known: {', '.join(stores)}\n",
        f"simulate: TYPE: there is no simulator of `nonesuch`; known: {', '.join(sorted(stores + esps))}\n",
        "simulate: TYPE: there is no simulator of `csv`; this type needs none: it works on files\n",
    ]


def test_what_simulate_prints_stands_in_a_configuration_as_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sync.cli", "simulate", "woocommerce", "mailchimp", "--most", "30"]
    rest = "syncs: {crm: {stores: [woocommerce], esp: mailchimp, mapping: crm.yaml, limits: off}}\n"
    (tmp_path / "crm.yaml").write_text("extends: preset:basics\n")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulators:
        printed = ""
        while printed.count("base_url:") < 2:
            printed += simulators.stdout.readline()  # type: ignore[union-attr]
        (tmp_path / "cartwire.yaml").write_text(f"timezone: UTC\ncurrency: USD\n{printed}{rest}")

        result = cartwire(tmp_path, "backfill", "crm", "--json")
        simulators.terminate()

    report = json.loads(result.stdout)
    assert (result.returncode, report["stores"]["woocommerce"]["orders"]) == (0, 30)


def test_simulate_refuses_what_it_cannot_serve(tmp_path: Path) -> None:
    unknown = cartwire(tmp_path, "simulate", "woocomerce")
    history = tmp_path / "orders.csv"
    history.write_text("a,b\n1,2\n")
    strange = cartwire(tmp_path, "simulate", "woocommerce", "--orders", str(history))
    beyond = cartwire(tmp_path, "simulate", "woocommerce", "brevo", "--port", "65535")

    assert (unknown.returncode, strange.returncode, beyond.returncode) == (2, 2, 2)
    assert "--port: there is no port 65536" in beyond.stderr
    assert "did you mean `woocommerce`" in unknown.stderr
    assert "unknown header" in strange.stderr
