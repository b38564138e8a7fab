"""Double opt-in through whole runs: an ESP that gives way in the middle asks nobody twice, and leaves nobody out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import respx
from ruamel.yaml import YAML

from connectors.asgi import Reply
from connectors.esps.brevo import connector
from connectors.esps.brevo import simulator as brevo
from connectors.esps.brevo.traits import ASKING_SIZE
from connectors.simulation import Fault, Simulation
from connectors.stores.woocommerce import simulator as woocommerce
from sync.app import Cartwire
from sync.audit import audit
from sync.plant import read_plant
from sync.report import Report
from sync.run import Order, run_sync
from tests.edge import edge
from tests.faults import Killed, kill_at
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


@pytest.fixture
def shop() -> Simulation:
    """Make a shop whose buyers want mails, each with an order."""
    shop = woocommerce.simulator([order(n, f"person{n}@example.com") for n in range(1, PEOPLE + 1)])
    for number in range(1, PEOPLE + 1):
        shop.state.set_order_meta(number, SUBSCRIBED, "1")
    return shop


@pytest.fixture
def folder(shop: Simulation, esp: Simulation, tmp_path: Path, pauses: list[float]) -> Iterator[Path]:
    configure(tmp_path)
    with respx.mock(assert_all_called=False) as router:
        router.route(host="shop.test").mock(side_effect=edge(shop))
        router.route(host="esp.test").mock(side_effect=edge(esp))
        yield tmp_path


async def run(folder: Path, later: timedelta = timedelta(), **order: bool) -> Report:
    now = datetime.now(UTC) + later
    async with Cartwire(read_plant(folder, {})) as cartwire:
        return await run_sync(cartwire.syncs["crm"], cartwire.db, folder, Order(**order), lambda: now)


async def test_P4_an_outage_in_the_middle_asks_nobody_twice_and_leaves_nobody_out(
    esp: Simulation, folder: Path
) -> None:
    down = Fault(status=429, headers={"x-sib-ratelimit-reset": "3600"})
    pending = esp.state.pending
    esp.fail(down, times=PEOPLE, when=lambda method, path: is_asked(method, path) and len(pending) >= 10)

    first = await run(folder, history=True)
    esp._planned.clear()
    second = await run(folder)

    mails = Counter(seen.status for seen in esp.requests if is_asked(seen.method, seen.path))
    assert (first.pushed.contacts, second.pushed.contacts) == (10, PEOPLE - 10)
    assert (mails[201], len(pending)) == (PEOPLE, PEOPLE)
    assert (len(first.errors), second.errors) == (1, [])
    assert (first.dead_letters, second.dead_letters, first.pushed.refused) == (0, 0, 0)


async def test_P2_a_kill_can_have_only_those_asked_twice_who_were_being_asked(
    esp: Simulation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        life = kill_at(0, patches)

        def kill_in_the_second_batch(_method: str, _path: Sequence[str], reply: Reply) -> Reply:
            life.killed |= len(esp.state.pending) == PEOPLE - 1
            return reply

        esp.state.mend = kill_in_the_second_batch
        try:
            await run(folder, history=True)
        except* Killed:
            pass
    await run(folder)

    mails = [seen for seen in esp.requests if is_asked(seen.method, seen.path)]
    assert life.killed
    assert len(esp.state.pending) == PEOPLE
    assert PEOPLE <= len(mails) <= PEOPLE + (PEOPLE - ASKING_SIZE)


async def test_whom_we_asked_is_not_missed_before_they_click(esp: Simulation, folder: Path) -> None:
    async with Cartwire(read_plant(folder, {})) as cartwire:
        sync = cartwire.syncs["crm"]
        await run_sync(sync, cartwire.db, folder, Order())

        found = await audit(cartwire, sync, datetime.now(UTC), repair=True)
        await run_sync(sync, cartwire.db, folder, Order())

    asked = [request for request in esp.requests if is_asked(request.method, request.path)]
    assert (found.esp.drifted, len(asked), len(esp.state.contacts)) == (0, PEOPLE, 0)


# Between the mail and the click


LISTS = {
    "Customers": "orders_count >= 1",
    "Loyal": "orders_count >= 2",
    "Thanks": {"when": "orders_count >= 2", "journey": True},
}
MINUTES, DAYS = timedelta(minutes=20), timedelta(days=1)
WRITING = frozenset({"POST", "PUT", "DELETE"})
FIRST, SECOND = "person1@example.com", "person2@example.com"


@pytest.fixture
async def asked(folder: Path) -> Path:
    """Ask everybody; their lists are refused, as they are no contacts yet."""
    YAML().dump({"fields": {"ORDERS": "orders_count"}, "lists": LISTS}, folder / "crm.yaml")
    report = await run(folder, history=True)
    assert (report.pushed.contacts, report.dead_letters) == (PEOPLE, PEOPLE)
    return folder


def buy(shop: Simulation, email: str) -> None:
    number = shop.state.add_order(email=email, total="5.00")
    shop.state.set_order_meta(number, SUBSCRIBED, "1")


def calls(esp: Simulation) -> list[str]:
    """Say which calls have been made since the last look."""
    made = [f"{seen.method} {seen.path}" for seen in esp.requests]
    esp.requests.clear()
    return made


def writes(esp: Simulation) -> list[str]:
    return [call for call in calls(esp) if call.split()[0] in WRITING]


async def test_who_never_clicks_costs_nothing(esp: Simulation, asked: Path) -> None:
    esp.state.add("somebody@example.com")
    calls(esp)

    await run(asked, MINUTES)
    assert calls(esp) == []

    report = await run(asked, DAYS + MINUTES)
    assert calls(esp) == ["GET /v3/contacts"] * 2  # who opted out, and who confirmed
    assert (report.dead_letters, report.errors) == (PEOPLE, [])


async def test_where_nobody_waits_nobody_is_looked_for(esp: Simulation, folder: Path) -> None:
    await run(folder, history=True)
    calls(esp)

    await run(folder, DAYS + MINUTES)

    assert calls(esp) == ["GET /v3/contacts"]


async def test_who_clicks_is_in_all_lists_a_day_later_at_most(esp: Simulation, asked: Path) -> None:
    esp.state.confirm(FIRST)
    calls(esp)

    report = await run(asked, DAYS + MINUTES)

    contact = esp.state.contact(FIRST)
    assert (contact.fields["ORDERS"], contact.lists) == (1, {"Cartwire contacts", "Customers"})
    assert (report.pushed.entries, report.dead_letters) == (1, PEOPLE - 1)
    calls(esp)
    for later in (DAYS + 2 * MINUTES, 2 * DAYS + 3 * MINUTES):
        await run(asked, later)
    assert writes(esp) == []


async def test_the_next_push_brings_who_clicked_before_it(
    esp: Simulation, shop: Simulation, asked: Path
) -> None:
    esp.state.confirm(FIRST)
    buy(shop, SECOND)

    await run(asked, MINUTES)

    assert "Customers" in esp.state.contact(FIRST).lists


async def test_what_changed_before_the_click_is_written_after_it(
    esp: Simulation, shop: Simulation, asked: Path
) -> None:
    buy(shop, FIRST)
    await run(asked, MINUTES)
    esp.state.confirm(FIRST)
    assert esp.state.contact(FIRST).fields["ORDERS"] == 1

    report = await run(asked, DAYS + 2 * MINUTES)

    contact = esp.state.contact(FIRST)
    everywhere = {"Cartwire contacts", *LISTS}  # the journey, too: it never began
    assert (contact.fields["ORDERS"], contact.lists, contact.blocked) == (2, everywhere, False)
    assert report.dead_letters == PEOPLE - 1
    calls(esp)
    await run(asked, 2 * DAYS + 3 * MINUTES)
    assert writes(esp) == []


async def test_P4_who_opted_out_again_after_the_click_stays_so(esp: Simulation, asked: Path) -> None:
    esp.state.confirm(FIRST)
    esp.state.block(FIRST)

    await run(asked, DAYS + MINUTES)

    contact = esp.state.contact(FIRST)
    assert (contact.blocked, contact.lists) == (True, {"Cartwire contacts", "Customers"})
    assert not [seen for seen in esp.requests if is_asked(seen.method, seen.path)][PEOPLE:]


async def test_P2_a_reading_that_breaks_off_is_begun_anew(esp: Simulation, asked: Path) -> None:
    esp.state.confirm(FIRST)
    readings = 0

    def breaks(method: str, path: str) -> bool:
        nonlocal readings
        readings += method == "GET" and path.endswith("/contacts")
        return readings == 2  # who opted out is read first

    esp.fail(Fault(status=401), when=breaks)

    broken = await run(asked, DAYS + MINUTES)
    await run(asked, DAYS + 2 * MINUTES)

    assert len(broken.errors) == 1
    assert "Customers" in esp.state.contact(FIRST).lists
