"""The main job into each ESP, and into two at once: what one suffers, the other does not notice."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from ruamel.yaml import YAML

from connectors.simulation import Fault, Seen, Simulation
from connectors.stores.woocommerce import simulator as woocommerce
from state import outbox, runs
from sync.app import Cartwire
from sync.job import utc_now
from sync.plant import read_plant
from sync.report import Report
from sync.run import Order, run_sync
from sync.worker import Worker
from tests.edge import edge
from tests.sync.conftest import SHOP, order

PEOPLE, LOYAL = 630, 30
HISTORY = [order(number, f"person{number % PEOPLE}@example.com") for number in range(1, PEOPLE + LOYAL + 1)]
MAPPING = {
    "fields": {"FNAME": "first_name", "ORDERS": "orders_count"},
    "lists": {"Customers": "orders_count >= 1", "Loyal": "orders_count >= 2"},
}
OTHER = {"fields": {"SPENT": "total_spent"}, "lists": {"Buyers": "total_spent > 0"}}
INSTANT: dict[str, dict[str, Any]] = {"mailchimp": {"batch_seconds": 0.0}, "ortto": {"queue_seconds": 0.0}}
LEAST = {
    "mailchimp": ceil(PEOPLE / 1000) + ceil(PEOPLE / 500) + 1,
    "brevo": 1 + ceil(PEOPLE / 150) + 1,  # one import
    "autopilot": 2 * ceil(PEOPLE / 100) + LOYAL,  # few join one by one: there is no bulk call for members
    "ortto": 3 * ceil(PEOPLE / 100) + 1,  # who is new takes two merges
}
"""Requests that bring PEOPLE new contacts and fill the two lists, by the bulk sizes of the vendors."""
CONSTANT = 10
"""Fields, lists and a folder are made, once."""

Edge = Callable[[httpx.Request], Awaitable[httpx.Response]]


@dataclass
class Place:
    """A shop, and Cartwire between it and one or more ESPs, each with a sync of the ESP's name."""

    folder: Path
    router: respx.MockRouter
    shop: Simulation = field(default_factory=lambda: woocommerce.simulator(HISTORY))
    esps: dict[str, Simulation] = field(default_factory=dict)

    def configure(self, **mappings: Any) -> None:
        """Write a sync for each type, with its mapping; `limits` beside fields and lists are the sync's."""
        self.router.route(host="shop.test").mock(side_effect=edge(self.shop))
        (self.folder / "mappings").mkdir()
        shop = {"type": "woocommerce", "url": "http://shop.example", **woocommerce.SETTINGS, "base_url": SHOP}
        written: dict[str, Any] = {"timezone": "UTC", "currency": "EUR", "stores": {"shop": shop}}
        esps, syncs = written.setdefault("esps", {}), written.setdefault("syncs", {})
        for type_, mapping in mappings.items():
            module = importlib.import_module(f"connectors.esps.{type_}.simulator")
            self.esps[type_] = module.simulator(**INSTANT.get(type_, {}))
            self.answer(type_, edge(self.esps[type_]))
            esps[type_] = {"type": type_, **module.SETTINGS, "base_url": f"http://{type_}.test"}
            rules = {key: value for key, value in mapping.items() if key != "limits"}
            YAML().dump(rules, self.folder / "mappings" / f"{type_}.yaml")
            syncs[type_] = {"stores": ["shop"], "esp": type_, "mapping": f"mappings/{type_}.yaml"}
            syncs[type_] |= {"schedule": "every 5 minutes"}
            syncs[type_] |= {"limits": mapping.get("limits", "off")}
        YAML().dump(written, self.folder / "cartwire.yaml")

    def answer(self, type_: str, how: Edge) -> None:
        self.router.route(host=f"{type_}.test").mock(side_effect=how)

    def open(self) -> Cartwire:
        return Cartwire(read_plant(self.folder, {}))

    async def run(self, type_: str, *, history: bool = False) -> Report:
        async with self.open() as cartwire:
            return await run_sync(cartwire.syncs[type_], cartwire.db, self.folder, Order(history=history))

    def writes(self, type_: str) -> list[Seen]:
        asking = ("/get", "/search")
        return [
            seen
            for seen in self.esps[type_].requests
            if seen.method != "GET" and not seen.path.endswith(asking)
        ]


def _lists(contact: Any) -> frozenset[str]:
    """Name the lists that a simulator's contact is on, whatever they are called there."""
    found: frozenset[str] = contact.tags if hasattr(contact, "tags") else contact.lists
    return found


@pytest.fixture
def place(tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for type_, name in (("autopilot", "PER_SECOND"), ("ortto", "PER_SECOND")):
        monkeypatch.setattr(f"connectors.esps.{type_}.connector.{name}", 1e6)
    monkeypatch.setattr("connectors.esps.brevo.connector.CONTACTS_PER_SECOND", None)
    with respx.mock(assert_all_called=False) as router:
        yield Place(tmp_path, router)


@pytest.mark.parametrize("type_", sorted(LEAST))
async def test_P3_P9_everybody_lands_in_full_requests_and_a_second_run_writes_nothing(
    place: Place, type_: str
) -> None:
    place.configure(**{type_: MAPPING})

    report = await place.run(type_, history=True)
    written = len(place.writes(type_))
    place.esps[type_].requests.clear()
    again = await place.run(type_)

    contacts = place.esps[type_].state.contacts.values()
    assert (report.exit_code, len(contacts)) == (0, PEOPLE)
    assert sum("Loyal" in _lists(each) for each in contacts) == LOYAL
    assert written <= LEAST[type_] + CONSTANT
    assert (again.exit_code, again.writes, place.esps[type_].requests) == (0, 0, [])


class FarAway:
    """A clock whose next tick never comes."""

    def now(self) -> datetime:
        return utc_now()

    async def wait(self, _until: datetime, woken: asyncio.Event) -> None:
        await woken.wait()


async def _runs(cartwire: Cartwire, sync: str, count: int) -> None:
    """Wait until so many runs of a sync have ended."""
    while len([run for run in await cartwire.db.read(runs.list_runs, sync) if run.outcome]) < count:  # noqa: ASYNC110 - runs end in the state store, which tells nobody
        await asyncio.sleep(0.01)


async def test_an_ESP_that_never_answers_does_not_delay_the_other(place: Place) -> None:
    place.configure(mailchimp=MAPPING, ortto=OTHER)
    asked = asyncio.Event()

    async def hang(_: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    place.answer("ortto", hang)
    async with place.open() as cartwire:
        worker = Worker(cartwire, FarAway())
        working = asyncio.create_task(worker.work())
        async with asyncio.timeout(60):
            await asked.wait()
            await _runs(cartwire, "mailchimp", 1)
            worker.poke("mailchimp", Order(kind="again"))
            await _runs(cartwire, "mailchimp", 2)
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        waiting = {
            name: (await cartwire.db.read(outbox.pending, name)).contacts for name in ("mailchimp", "ortto")
        }
        done = await cartwire.db.read(runs.list_runs, "mailchimp")
    assert [run.outcome for run in done] == ["done", "done"]
    assert waiting == {"mailchimp": 0, "ortto": PEOPLE}
    assert len(place.esps["mailchimp"].state.contacts) == PEOPLE

    place.answer("ortto", edge(place.esps["ortto"]))
    place.esps["mailchimp"].requests.clear()
    report = await place.run("ortto")

    assert (report.exit_code, len(place.esps["ortto"].state.contacts)) == (0, PEOPLE)
    assert place.esps["mailchimp"].requests == []


async def test_two_ESPs_have_limits_failures_and_dead_letters_of_their_own(place: Place) -> None:
    place.configure(
        mailchimp=MAPPING | {"limits": {"new_contacts": 5}},
        brevo=OTHER,
        autopilot=MAPPING,
    )
    place.esps["brevo"].fail(Fault(status=503), times=10_000)
    place.esps["autopilot"].state.objection = lambda body: (
        "This contact is not wanted." if body.get("Email") == "person1@example.com" else None
    )

    reports = {type_: await place.run(type_, history=True) for type_ in place.esps}

    assert {type_: report.outcome.value for type_, report in reports.items()} == {
        "mailchimp": "held",
        "brevo": "failed",
        "autopilot": "dead letters",
    }
    async with place.open() as cartwire:
        letters = {type_: await cartwire.db.read(runs.list_dead_letters, [type_]) for type_ in place.esps}
    assert {type_: len(found) for type_, found in letters.items()} == {
        "mailchimp": 0,
        "brevo": 0,
        "autopilot": 1,
    }
    assert len(place.esps["autopilot"].state.contacts) == PEOPLE - 1
    assert place.writes("mailchimp") == []


async def test_each_ESP_gets_what_its_own_mapping_says(place: Place) -> None:
    place.configure(mailchimp=MAPPING, brevo=OTHER)

    for type_ in place.esps:
        await place.run(type_)

    mailchimp, brevo = (place.esps[type_].state.contacts["person1@example.com"] for type_ in place.esps)
    assert (mailchimp.fields["ORDERS"], sorted(mailchimp.tags)) == (2, ["Customers", "Loyal"])
    assert brevo.fields["SPENT"] == 20
    assert "Buyers" in _lists(brevo)
    assert "ORDERS" not in brevo.fields
