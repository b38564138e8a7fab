"""The same orders through each store's simulator: whoever looks at the contacts cannot tell the stores apart."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import respx

from connectors.esps.mailchimp import simulator as mailchimp
from connectors.simulation import HistoricOrder, read_history
from sync.app import Cartwire
from sync.demo import SYNC, write_configuration
from sync.plant import read_plant
from sync.run import Order, run_sync
from sync.simulate import CDNOW, simulated_types, simulator_module
from tests.edge import edge

SHOP, NEWS = "http://shop.test", "http://news.test"
UNTOLD: Mapping[str, set[str]] = {"prestashop": {"SOURCE"}}
"""What a vendor's API cannot tell; docs/connectors/ lists it."""
STATUSES = {17: "refunded", 19: "cancelled", 29: "pending"}
"""Each so many-th order of history is made one of these; each 23rd gives something back."""


def history(count: int) -> list[HistoricOrder]:
    return [varied(each) for each in islice(read_history(CDNOW), count)]


def varied(each: HistoricOrder) -> HistoricOrder:
    status = next((status for every, status in STATUSES.items() if each.id % every == 0), each.status)
    back = "1.00" if each.id % 23 == 0 and status == "paid" else "0.00"
    return replace(each, status=status, refunded=back)


async def contacts_from(store: str, folder: Path, count: int) -> dict[str, Any]:
    """Sync the history from a store; return fields, tags and status of each contact, and what a second run wrote."""
    write_configuration(folder, (store, SHOP), ("mailchimp", NEWS))
    news = mailchimp.simulator(batch_seconds=0)
    with respx.mock(assert_all_called=False) as router:
        router.route(host="shop.test").mock(
            side_effect=edge(simulator_module(store)[1].simulator(history(count)))
        )
        router.route(host="news.test").mock(side_effect=edge(news))
        async with Cartwire(read_plant(folder, {})) as cartwire:
            sync = cartwire.syncs[SYNC]
            first = await run_sync(sync, cartwire.db, folder, Order("backfill", history=True))
            second = await run_sync(sync, cartwire.db, folder, Order())
    assert (first.exit_code, second.exit_code, second.writes) == (0, 0, 0)
    return {
        email: (
            {name: str(value) for name, value in each.fields.items() if value not in {"", None}},
            set(each.tags),
            each.status,
        )
        for email, each in news.state.contacts.items()
    }


def folder_for(folder: Path, store: str) -> Path:
    (folder / store).mkdir()
    return folder / store


@pytest.mark.usefixtures("pauses")
async def test_every_store_makes_the_same_profiles_of_the_same_orders(tmp_path: Path) -> None:
    made = {
        store: await contacts_from(store, folder_for(tmp_path, store), 150)
        for store in simulated_types("stores")
    }

    untold = set().union(*UNTOLD.values())
    alike = {
        store: {
            email: ({name: value for name, value in fields.items() if name not in untold}, tags, status)
            for email, (fields, tags, status) in contacts.items()
        }
        for store, contacts in made.items()
    }
    expected = alike.pop("woocommerce")
    assert len(expected) > 30
    assert len({name for fields, _, _ in expected.values() for name in fields}) > 10
    for store, contacts in alike.items():
        assert contacts == expected, store
    assert all("SOURCE" in str(made[store]) for store in made if store not in UNTOLD)
