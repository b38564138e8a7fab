"""P4 and P10 with each type of ESP, through its own connector and simulator."""

import importlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import respx
from ruamel.yaml import YAML
from sqlalchemy import select

from connectors.stores.woocommerce import simulator as woocommerce
from state import evaluation, settling
from state.tables import ConsentRow, table
from sync.app import Cartwire
from sync.explain import explain_person
from sync.forget import forget_person
from sync.letters import letters_of
from sync.plant import read_plant
from sync.report import Report
from sync.run import Order, run_sync
from tests.connectors.esps.harness import ROWS, Shown
from tests.edge import edge
from tests.faults import Killed
from tests.sync.conftest import HISTORY, SHOP

SUBSCRIBED = "mailchimp_woocommerce_is_subscribed"
INSTANT: dict[str, dict[str, Any]] = {"mailchimp": {"batch_seconds": 0.0}, "ortto": {"queue_seconds": 0.0}}
MAPPING: dict[str, Any] = {
    "fields": {"ORDERS": "orders_count"},
    "lists": {
        "Customers": "orders_count >= 1",
        "Welcome": {"when": "orders_count >= 1", "journey": True, "reenter": "never"},
    },
}
OLD, NEW, OTHER = "person1@example.com", "later@example.com", "other@example.com"
DAY = timedelta(days=1)
PROOFS = select(table(ConsentRow).c.record)


class Place:
    """A shop with a past, one ESP, and Cartwire between them."""

    def __init__(self, type_: str, folder: Path, router: respx.MockRouter) -> None:
        self.folder, self.row = folder, ROWS[type_]
        self.shop = woocommerce.simulator(HISTORY[:12])
        router.route(host="shop.test").mock(side_effect=edge(self.shop))
        settings: dict[str, Any] = {"path": str(folder / "contacts.csv")}
        self.state: Any = folder / "contacts.csv"
        if type_ != "csv":
            module = importlib.import_module(f"connectors.esps.{type_}.simulator")
            simulation = module.simulator(**INSTANT.get(type_, {}))
            self.state = simulation.state
            settings = module.SETTINGS | {"base_url": "http://esp.test"}
            if type_ == "webhook":
                settings = module.SETTINGS
            router.route(host__regex=r"(esp|hooks)\.test").mock(side_effect=edge(simulation))
        shop = {"type": "woocommerce", "url": "http://shop.example", **woocommerce.SETTINGS, "base_url": SHOP}
        configuration: dict[str, Any] = {
            "timezone": "UTC",
            "currency": "EUR",
            "stores": {"shop": shop},
            "esps": {"news": {"type": type_, **settings}},
            "syncs": {"crm": {"stores": ["shop"], "esp": "news", "mapping": "crm.yaml"}},
        }
        YAML().dump(MAPPING, folder / "crm.yaml")
        YAML().dump(configuration, folder / "cartwire.yaml")
        self.cartwire = Cartwire(read_plant(folder, {}))

    async def run(self, **wanted: Any) -> Report:
        return await run_sync(self.cartwire.syncs["crm"], self.cartwire.db, self.folder, Order(**wanted))

    async def accepts(self, email: str) -> bool | None:
        """Tell what the newest proof says."""
        (found,) = await explain_person(self.cartwire, email, datetime.now(UTC))
        accepts: bool | None = found.dossier.columns["accepts_marketing"]
        return accepts

    def on(self, name: str) -> set[str]:
        return {email for email, shown in self.row.show(self.state).items() if name in shown.lists}

    def shown(self, email: str) -> Shown:
        return self.row.show(self.state)[email]

    def mailable(self, email: str) -> bool:
        return self.row.show(self.state)[email].mailable


@pytest.fixture(params=sorted(ROWS))
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    for name, value in ROWS[request.param].unhurried.items():
        monkeypatch.setattr(f"connectors.esps.{request.param}.connector.{name}", value)
    with respx.mock(assert_all_called=False) as router:
        made = Place(request.param, tmp_path, router)
        async with made.cartwire:
            yield made


@pytest.mark.parametrize("place", [type_ for type_, row in sorted(ROWS.items()) if row.lose], indirect=True)
async def test_P3_a_list_that_was_deleted_has_everybody_again(place: Place) -> None:
    await place.run(history=True)
    everybody = place.on("Customers")
    place.row.lose(place.state, "Customers")
    place.shop.state.add_order(email=NEW, total="5.00")

    await place.run()
    again = await place.run()

    assert place.on("Customers") == everybody | {NEW}
    assert again.writes == 0


@pytest.mark.parametrize("place", ["csv"], indirect=True)
async def test_P3_a_file_that_was_deleted_has_everybody_again(place: Place) -> None:
    await place.run(history=True)
    everybody = place.row.show(place.state)
    place.state.unlink()
    place.shop.state.add_order(email=NEW, total="5.00")

    await place.run()
    await place.run()

    assert everybody.items() <= place.row.show(place.state).items()
    assert place.on("Customers") == {*everybody, NEW}


async def test_P10_history_starts_no_journey_and_a_transition_starts_one(place: Place) -> None:
    await place.run(history=True)
    await place.run(history=True)
    quiet = place.on("Welcome")
    place.shop.state.add_order(email=NEW, total="5.00")
    await place.run()

    assert (quiet, place.on("Welcome")) == (set(), {NEW})
    assert len(place.on("Customers")) == 8


async def test_P5_what_is_no_address_becomes_a_dead_letter_and_reaches_no_ESP(place: Place) -> None:
    place.shop.state.add_order(email="nobody", total="5.00")

    report = await place.run(history=True)

    letters = await letters_of(place.cartwire)
    assert [letter.reason for letter in letters] == ["this is no e-mail address"]
    assert (report.dead_letters, report.exit_code) == (1, 1)
    assert "nobody" not in place.row.show(place.state)
    assert len(place.on("Customers")) == 7


async def test_P4_a_yes_is_taken_back_where_they_are_though_their_new_address_is_none(place: Place) -> None:
    shop = place.shop.state
    account = shop.add_account(NEW)
    shop.set_account_meta(account, SUBSCRIBED, "1")
    shop.add_order(email=NEW, account=account, total="5.00")
    await place.run(history=True)
    before = place.mailable(NEW)
    shop.change_account_email(account, "nobody")
    shop.add_order(email="nobody", account=account, total="5.00")
    await place.run()
    shop.set_account_meta(account, SUBSCRIBED, "0")
    shop.add_order(email="nobody", account=account, total="5.00")
    await place.run()
    after = place.mailable(NEW)
    shop.change_account_email(account, "mended@example.com")
    shop.add_order(email="mended@example.com", account=account, total="5.00")
    await place.run()

    mailable = {email for email in place.row.show(place.state) if place.mailable(email)}
    assert (before, after, mailable & {NEW, "mended@example.com"}) == (True, False, set())


async def test_P4_an_opt_out_at_the_ESP_outlives_orders_and_proofs_of_the_store(place: Place) -> None:
    """It is heard within a day although nothing is pushed; a newer proof counts, but raises no status."""
    if not place.row.told:
        pytest.skip("it cannot be asked")
    place.shop.state.set_order_meta(1, SUBSCRIBED, "1")
    await place.run(history=True)
    before = (place.mailable(OLD), await place.accepts(OLD))
    place.row.departures[max(place.row.told)](place.state, OLD)

    await place.cartwire.db.run(evaluation.mark_opt_outs, "crm", datetime.now(UTC) - DAY)
    idle = await place.run()
    heard = (place.mailable(OLD), await place.accepts(OLD))
    place.shop.state.add_order(email=OLD, total="5.00")
    await place.run()
    after_order = (place.mailable(OLD), await place.accepts(OLD))
    soon = datetime.now(UTC) + timedelta(minutes=1)
    proof = place.shop.state.add_order(email=OLD, total="6.00", created_at=soon)
    place.shop.state.set_order_meta(proof, SUBSCRIBED, "1")
    await place.run()
    after_proof = (place.mailable(OLD), await place.accepts(OLD))

    assert (before, heard, after_order) == ((True, True), (False, False), (False, False))
    assert (after_proof, idle.pushed.contacts) == ((False, True), 0)


async def test_P4_an_opt_out_counts_however_the_ESP_writes_the_address(place: Place) -> None:
    if not place.row.told:
        pytest.skip("it cannot be asked")
    as_typed = "Person1@Example.com"
    place.shop.state.set_order_meta(1, SUBSCRIBED, "1")
    place.row.add(place.state, as_typed)
    place.row.departures[max(place.row.told)](place.state, as_typed)

    await place.run(history=True)

    assert await place.accepts(OLD) is False


async def test_P8_who_was_forgotten_stays_so_however_the_ESP_writes_the_address(place: Place) -> None:
    if not place.row.told:
        pytest.skip("it cannot be asked")
    await forget_person(place.cartwire, OLD, datetime.now(UTC))
    place.row.add(place.state, "Person1@Example.com")
    place.row.departures[max(place.row.told)](place.state, "Person1@Example.com")

    await place.run(history=True)

    assert await place.cartwire.db.read(lambda connection: connection.scalars(PROOFS).all()) == []


@pytest.mark.parametrize("there", ["nobody", "a sign-up", "a guest who agreed"])
async def test_P4_what_we_do_to_an_address_that_somebody_left_is_no_word_of_theirs(
    place: Place, there: str
) -> None:
    """It is archived or unsubscribed where the new one has a contact already; their agreement goes with them."""
    shop = place.shop.state
    account = shop.add_account(NEW)
    shop.set_account_meta(account, SUBSCRIBED, "1")
    shop.add_order(email=NEW, account=account, total="5.00")
    await place.run(history=True)
    if there == "a sign-up":
        place.row.add(place.state, OTHER)
    elif there == "a guest who agreed":
        shop.set_order_meta(shop.add_order(email=OTHER, total="5.00"), SUBSCRIBED, "1")
        await place.run()
    shop.change_account_email(account, OTHER)
    for _ in range(4):
        shop.add_order(email=OTHER, account=account, total="5.00")
        await place.run()

    assert (place.mailable(OTHER), await place.accepts(OTHER)) == (True, True)


@pytest.mark.crash
async def test_P4_what_a_killed_run_did_to_an_address_that_somebody_left_is_no_word_of_theirs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = place.shop.state
    account = shop.add_account(NEW)
    shop.set_account_meta(account, SUBSCRIBED, "1")
    shop.add_order(email=NEW, account=account, total="5.00")
    await place.run(history=True)
    place.row.add(place.state, OTHER)
    shop.change_account_email(account, OTHER)
    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(settling, "settle_contacts", _die)
        await place.run()
    for _ in range(3):
        shop.add_order(email=OTHER, account=account, total="5.00")
        await place.run()

    assert (place.mailable(OTHER), await place.accepts(OTHER)) == (True, True)


def _die(*_: object, **__: object) -> None:
    raise Killed


async def test_P4_who_leaves_after_an_exchange_of_addresses_speaks_for_nobody_else(place: Place) -> None:
    if not place.row.told:
        pytest.skip("it cannot be asked")
    shop = place.shop.state
    accounts = [shop.add_account(email) for email in (NEW, OTHER)]
    for account, email in zip(accounts, (NEW, OTHER), strict=True):
        shop.set_account_meta(account, SUBSCRIBED, "1")
        shop.add_order(email=email, account=account, total="5.00")
    await place.run(history=True)
    for account, email in ((0, "third@example.com"), (1, NEW), (0, OTHER)):
        shop.change_account_email(accounts[account], email)
    for _ in range(2):
        for account, email in zip(accounts, (OTHER, NEW), strict=True):
            shop.add_order(email=email, account=account, total="5.00")
        await place.run()

    place.row.departures[max(place.row.told)](place.state, NEW)
    for account, email in zip(accounts, (OTHER, NEW), strict=True):
        shop.add_order(email=email, account=account, total="5.00")
    await place.run()
    await place.run()

    assert [await place.accepts(email) for email in (NEW, OTHER)] == [False, True]
    assert [place.mailable(email) for email in (NEW, OTHER)] == [False, True]


@pytest.mark.parametrize("there", [True, False])
async def test_P4_who_leaves_at_the_old_address_before_we_could_write_the_new_one_has_left(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """That a run heard of nobody counts only once it writes: it may be held, or killed."""
    if not place.row.told:
        pytest.skip("it cannot be asked")
    shop = place.shop.state
    account = shop.add_account(NEW)
    shop.set_account_meta(account, SUBSCRIBED, "1")
    shop.add_order(email=NEW, account=account, total="5.00")
    await place.run(history=True)
    if there:
        place.row.add(place.state, OTHER)
    shop.change_account_email(account, OTHER)
    shop.add_order(email=OTHER, account=account, total="5.00")
    with monkeypatch.context() as patch:
        patch.setattr("sync.run._may_push", nobody_may)
        await place.run()
        await place.cartwire.db.run(evaluation.mark_opt_outs, "crm", datetime.now(UTC) - timedelta(hours=1))
    place.row.departures[max(place.row.told)](place.state, NEW)

    for _ in range(2):
        shop.add_order(email=OTHER, account=account, total="5.00")
        await place.run()

    assert await place.accepts(OTHER) is False
    assert OTHER not in place.row.show(place.state) or not place.mailable(OTHER)


async def nobody_may(*_: object) -> bool:
    return False
