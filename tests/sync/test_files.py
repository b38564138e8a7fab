"""A file of orders as the store, a file of contacts as the ESP: what people write by hand, with their mistakes."""

import csv
from pathlib import Path

import pytest

from config.errors import ConfigError
from sync.app import Cartwire
from sync.letters import retry_all
from sync.plant import read_plant
from sync.report import Report
from sync.run import Order, run_sync

CONFIGURATION = """\
timezone: Europe/Istanbul
currency: EUR
stores: {shop: {type: csv, path: orders.csv, currency: EUR}}
esps: {file: {type: csv, path: contacts.csv}}
syncs: {crm: {stores: [shop], esp: file, mapping: crm.yaml, limits: off}}
"""
MAPPING = "fields: {LAST: last_order_at, SPENT: total_spent, NIGHTS: night_orders}\nlists: {}\n"
HEADER = "order_id,email,date,amount\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cartwire.yaml").write_text(CONFIGURATION)
    (tmp_path / "crm.yaml").write_text(MAPPING)
    return tmp_path


async def run(folder: Path, orders: str) -> Report:
    (folder / "orders.csv").write_text(HEADER + orders)
    async with Cartwire(read_plant(folder, {})) as cartwire:
        return await run_sync(cartwire.syncs["crm"], cartwire.db, folder, Order())


def contacts(folder: Path) -> dict[str, tuple[str, str]]:
    with (folder / "contacts.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["email"]: (row["LAST"], row["SPENT"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("mended", "last", "spent"),
    [
        ("2026-11-02,8", "2026-11-02", "8"),
        ("2026-11-20,8", "2026-11-20", "8"),
        ("2026-11-06,9.5", "2026-11-06", "9.5"),
    ],
)
async def test_P1_an_order_that_was_mended_counts_as_it_stands_now(
    folder: Path, mended: str, last: str, spent: str
) -> None:
    await run(folder, "8,ada@example.com,2026-11-06,6\n")

    report = await run(folder, f"8,ada@example.com,{mended}\n")

    assert report.exit_code == 0
    found = contacts(folder)["ada@example.com"]
    assert found[0].startswith(last)
    assert float(found[1]) == float(spent)


@pytest.mark.parametrize(
    "odd",
    [
        "8,ada@example.com,9999-12-31 23:59,5\n",
        "8,ada@example.com,0001-01-01 00:00,5\n",
        "8,ada@example.com,2026-11-06,92233720368547758.07\n9,ada@example.com,2026-11-07,92233720368547758.07\n",
        "8,ada@example.com,2026-11-06,9999999999999.99\n9,ada@example.com,2026-11-07,9999999999999.99\n",
    ],
)
async def test_P5_an_order_that_cannot_be_stops_nobody_else(folder: Path, odd: str) -> None:
    report = await run(folder, odd + "10,bob@example.com,2026-11-01,7\n")

    assert report.errors == []
    assert float(contacts(folder)["bob@example.com"][1]) == 7


def test_a_file_of_orders_is_not_written_over_with_contacts(folder: Path) -> None:
    file = folder / "cartwire.yaml"
    file.write_text(file.read_text().replace("path: contacts.csv", "path: ../" + folder.name + "/orders.csv"))

    with pytest.raises(ConfigError, match=r"file.path: is the file that the store `shop` is read from"):
        read_plant(folder, {})


async def test_dates_alone_are_days_of_the_configuration_s_timezone_and_no_nights(folder: Path) -> None:
    await run(folder, "1,ada@example.com,2026-11-06,6\n2,bob@example.com,2026-11-06 23:00,6\n")

    with (folder / "contacts.csv").open(encoding="utf-8-sig", newline="") as file:
        found = {row["email"]: (row["LAST"], row["NIGHTS"]) for row in csv.DictReader(file)}
    assert found == {"ada@example.com": ("2026-11-06", ""), "bob@example.com": ("2026-11-06", "1")}


async def test_P10_an_old_line_that_is_mended_and_read_again_is_history_still(folder: Path) -> None:
    (folder / "crm.yaml").write_text(
        "fields: {SPENT: total_spent}\nlists: {First: {when: orders_count = 1, journey: true}}\n"
    )
    await run(folder, "1,ada@example.com,2026-01-06,6\n2,bob@example.com,2026-01-06,about 6\n")
    (folder / "orders.csv").write_text(
        HEADER + "1,ada@example.com,2026-01-06,6\n2,bob@example.com,2026-01-06,6\n"
    )

    async with Cartwire(read_plant(folder, {})) as cartwire:
        await retry_all(cartwire)
    await run(
        folder, (folder / "orders.csv").read_text().removeprefix(HEADER) + "3,eve@example.com,2026-01-07,6\n"
    )

    with (folder / "contacts.csv").open(encoding="utf-8-sig", newline="") as file:
        found = {row["email"]: row["lists"] for row in csv.DictReader(file)}
    assert found == {"ada@example.com": "", "bob@example.com": "", "eve@example.com": "First"}
