"""Double opt-in through whole runs: an ESP that gives way in the middle asks nobody twice, and leaves nobody out."""

from collections import Counter
from pathlib import Path

import pytest
import respx
from ruamel.yaml import YAML

from connectors.esps.brevo import connector
from connectors.esps.brevo import simulator as brevo
from connectors.simulation import Fault, Simulation
from connectors.stores.woocommerce import simulator as woocommerce
from sync.app import Cartwire
from sync.plant import read_plant
from sync.run import Order, run_sync
from tests.edge import edge
from tests.sync.conftest import SHOP, order

PEOPLE = 30
SUBSCRIBED = "mailchimp_woocommerce_is_subscribed"
CONFIRMATION = "/doubleOptinConfirmation"


def is_asked(method: str, path: str) -> bool:
    return method == "POST" and path.endswith(CONFIRMATION)


def configure(folder: Path) -> None:
    shop = {"type": "woocommerce", "url": "http://shop.example", **woocommerce.SETTINGS, "base_url": SHOP}
    news = {"type": "brevo", **brevo.SETTINGS, "base_url": "http://esp.test"}
    news |= {"confirmation_template": 3, "confirmation_url": "https://shop.example/thanks"}
    sync = {"stores": ["shop"], "esp": "news", "mapping": "crm.yaml", "consent": "double_opt_in"}
    configuration = {
        "timezone": "UTC",
        "currency": "EUR",
        "stores": {"shop": shop},
        "esps": {"news": news},
        "syncs": {"crm": sync},
    }
    YAML().dump({"fields": {"ORDERS": "orders_count"}, "lists": {}}, folder / "crm.yaml")
    YAML().dump(configuration, folder / "cartwire.yaml")


@pytest.fixture
def esp(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    monkeypatch.setattr(connector, "CONTACTS_PER_SECOND", None)
    return brevo.simulator()


async def test_P4_an_outage_in_the_middle_asks_nobody_twice_and_leaves_nobody_out(
    esp: Simulation, tmp_path: Path, pauses: list[float]
) -> None:
    shop = woocommerce.simulator([order(n, f"person{n}@example.com") for n in range(1, PEOPLE + 1)])
    for number in range(1, PEOPLE + 1):
        shop.state.set_order_meta(number, SUBSCRIBED, "1")
    down = Fault(status=429, headers={"x-sib-ratelimit-reset": "3600"})
    pending = esp.state.pending
    esp.fail(down, times=PEOPLE, when=lambda method, path: is_asked(method, path) and len(pending) >= 10)
    configure(tmp_path)
    with respx.mock(assert_all_called=False) as router:
        router.route(host="shop.test").mock(side_effect=edge(shop))
        router.route(host="esp.test").mock(side_effect=edge(esp))
        async with Cartwire(read_plant(tmp_path, {})) as cartwire:
            sync = cartwire.syncs["crm"]
            first = await run_sync(sync, cartwire.db, tmp_path, Order(history=True))
            esp._planned.clear()
            second = await run_sync(sync, cartwire.db, tmp_path, Order())

    mails = Counter(seen.status for seen in esp.requests if is_asked(seen.method, seen.path))
    assert (first.pushed.contacts, second.pushed.contacts) == (10, PEOPLE - 10)
    assert (mails[201], len(pending)) == (PEOPLE, PEOPLE)
    assert (len(first.errors), second.errors) == (1, [])
    assert (first.dead_letters, second.dead_letters, first.pushed.refused) == (0, 0, 0)
