"""Open checkouts close by person: who paid leaves before anything else is pushed, and never enters."""

import contextlib
import importlib
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
import structlog
from ruamel.yaml import YAML

from connectors.esps.autopilot import simulator as autopilot
from connectors.simulation import Fault, Seen
from sync.report import Report
from sync.run import Order, approve, run_sync
from tests.connectors.stores.shops import NOON, Clock
from tests.edge import edge
from tests.faults import Killed, kill_at
from tests.sync.conftest import HISTORY, SHOP, World, make_world

LOST, OTHER, MOVED = "lost@example.com", "other@example.com", "moved@example.com"
SUBSCRIBED = "mailchimp_woocommerce_is_subscribed"
HOUR = 3600
STRIDE = int(os.environ.get("CRASH_STRIDE", "11"))
"""Every eleventh step is tried, or as the variable says; at the very end of a run twice as many."""
WRITING, LOOKING = 4, 24
"""Steps at the end of a run in which a contact is written, and since before the last look."""
BEGIN: dict[str, Callable[[Any, str], int]] = {
    "prestashop": lambda shop, email: shop.add_cart(shop.add_account(email)),
    "shopify": lambda shop, email: shop.abandon_checkout(shop.add_customer(email)),
    "woocommerce": lambda shop, email: shop.add_order(email=email, status="pending"),
}
"""How somebody begins a checkout, by type of store."""
MAPPING = """
fields:
  ORDERS: orders_count
lists:
  Customers: orders_count >= 1
  Newcomers: orders_count = 1
  Lost:
    when: checkout_id is not null and checkout_at <= hours_ago(2) and checkout_at > days_ago(7)
    journey: true
"""


class Shopping:
    """The world, on a clock that stands still until it is moved; its shop, of any type, goes by the same."""

    def __init__(self, world: World, type_: str = "woocommerce") -> None:
        self.world = world
        self.clock = Clock(NOON)
        self.module = importlib.import_module(f"connectors.stores.{type_}.simulator")
        self.shop = world.shop = self.module.simulator(HISTORY[:3], clock=self.clock)
        world.router.route(host="shop.test").mock(side_effect=edge(self.shop))
        self.configure()

    def configure(self, mapping: str = MAPPING, **changes: Any) -> None:
        """Write the folder; `changes` are the sync's."""
        self.world.configure(mapping)
        file = self.world.folder / "cartwire.yaml"
        written = YAML().load(file)
        type_ = self.module.__name__.split(".")[2]
        shop = written["stores"]["shop"]
        shop = {"url": shop["url"], "key": shop["key"], "secret": shop["secret"]}
        written["stores"]["shop"] = {"type": type_, "base_url": SHOP} | (
            self.module.SETTINGS if type_ != "woocommerce" else shop
        )
        written["syncs"]["crm"] |= changes
        YAML().dump(written, file)
        self.world.reread()

    def add_sync(self, name: str) -> None:
        """Let another sync read the shop, into a file."""
        file = self.world.folder / "cartwire.yaml"
        written = YAML().load(file)
        written["esps"]["second"] = {"type": "csv", "path": "out.csv"}
        written["syncs"][name] = written["syncs"]["crm"] | {"esp": "second"}
        YAML().dump(written, file)
        self.world.reread()

    async def run(self, name: str = "crm", **wanted: Any) -> Report:
        async with self.world.open() as cartwire:
            sync, order = cartwire.syncs[name], Order(**wanted)
            return await run_sync(sync, cartwire.db, self.world.folder, order, self.clock)

    def abandon(self, email: str, begin: Callable[[Any, str], int] = BEGIN["woocommerce"]) -> int:
        """Begin a checkout that nobody goes on with for three hours; return its number."""
        number = begin(self.shop.state, email)
        self.clock.pass_by(3 * HOUR)
        return number

    def pay(self, number: int) -> None:
        self.shop.state.update_order(number, status="paid")

    def before_the_push(self, deed: Callable[[], object]) -> None:
        """Do something once the run that comes has read the stores, and begins to talk to the audience."""

        async def do() -> None:
            deed()

        self.at_the_audience(do)

    def at_the_audience(
        self, deed: Callable[[], Awaitable[None]], *, writing: bool = False, asked: str = ""
    ) -> None:
        """Do something before the audience gets its next request, or is written to, or asked for this."""
        answer = edge(self.world.news)

        async def meddled(request: httpx.Request) -> httpx.Response:
            if (request.method != "GET" or not writing) and asked in str(request.url):
                self.world.router.route(host="news.test").mock(side_effect=answer)
                await deed()
            response: httpx.Response = await answer(request)
            return response

        self.world.router.route(host="news.test").mock(side_effect=meddled)

    def on(self, name: str) -> set[str]:
        return {email for email, contact in self.world.news.state.contacts.items() if name in contact.tags}

    @property
    def writes(self) -> list[Seen]:
        """What was written to the audience, but for the list of tags and fields."""
        return [seen for seen in self.world.news.requests if seen.method != "GET"]


def open_in(folder: Path, router: respx.MockRouter, type_: str = "woocommerce") -> Shopping:
    """Open a shop of this type, and a folder for it."""
    folder.mkdir(exist_ok=True)
    return Shopping(make_world(folder, router), type_)


@pytest.fixture
def shopping(tmp_path: Path, router: respx.MockRouter, pauses: list[float]) -> Shopping:
    return Shopping(make_world(tmp_path, router))


# --- who leaves goes first ---------------------------------------------------------------------------------


async def test_who_paid_leaves_before_anybody_is_written_or_joins(shopping: Shopping) -> None:
    await shopping.run(history=True)
    number = shopping.abandon(LOST)
    await shopping.run()
    entered = shopping.on("Lost")
    shopping.pay(number)
    shopping.shop.state.add_order(email=HISTORY[0].email)
    shopping.shop.state.add_order(email=OTHER)
    shopping.world.forget_requests()

    await shopping.run()

    assert (entered, shopping.on("Lost")) == ({LOST}, set())
    assert "/segments/" in shopping.writes[0].path
    assert shopping.on("Newcomers") >= {LOST, OTHER}
    assert HISTORY[0].email not in shopping.on("Newcomers")
    # Lost is left, Newcomers is left and joined, Customers is joined: a call more for a list with both.
    assert len([seen for seen in shopping.writes if "/segments/" in seen.path]) == 4


async def _arrive(shopping: Shopping, name: str) -> tuple[int, int]:
    """Let somebody with an account buy once; return the account and the order."""
    account = shopping.shop.state.add_account(f"{name}@example.com")
    number = shopping.shop.state.add_order(email=f"{name}@example.com", account=account)
    await shopping.run()
    return account, number


@pytest.mark.crash
async def test_P2_who_leaves_after_a_kill_leaves_under_the_address_that_the_ESP_has_by_then(
    shopping: Shopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The killed run may have changed it there: under the old one nobody would leave."""
    shop = shopping.shop.state
    await shopping.run(history=True)
    account, _ = await _arrive(shopping, "undisturbed")
    shop.change_account_email(account, MOVED)
    with monkeypatch.context() as patches:
        whole = kill_at(10**9, patches)
        await shopping.run()
    for step in range(whole.steps - WRITING, whole.steps, STRIDE // 2 or 1):
        account, number = await _arrive(shopping, f"killed{step}")
        shop.change_account_email(account, f"moved{step}@example.com")
        with monkeypatch.context() as patches, contextlib.suppress(Killed):
            kill_at(step, patches)
            await shopping.run()
        shop.trash(number)
        await shopping.run()

        assert f"moved{step}@example.com" in shopping.world.news.state.contacts
        assert not {f"moved{step}@example.com", f"killed{step}@example.com"} & shopping.on("Newcomers")


# --- who enters goes last, after a last look ---------------------------------------------------------------


@pytest.mark.parametrize("type_", sorted(BEGIN))
async def test_who_pays_between_pull_and_push_never_enters(
    tmp_path: Path, router: respx.MockRouter, pauses: list[float], type_: str
) -> None:
    shopping = open_in(tmp_path, router, type_)
    await shopping.run(history=True)
    for email in (LOST, OTHER):
        shopping.abandon(email, BEGIN[type_])
    shopping.before_the_push(lambda: shopping.shop.state.add_order(email=LOST))

    report = await shopping.run()
    entered = shopping.on("Lost")
    again = await shopping.run()

    assert (report.exit_code, entered, shopping.on("Lost")) == (0, {OTHER}, {OTHER})
    assert shopping.on("Customers") >= {LOST}
    assert again.writes == 0


async def test_who_pays_is_not_reminded_though_another_sync_reads_of_it(shopping: Shopping) -> None:
    """Two syncs of one store go on from one place: what one has read is not new to the other."""
    shopping.add_sync("other")
    for name in ("crm", "other"):
        await shopping.run(name, history=True)
    number = shopping.abandon(LOST)

    async def pay_and_read() -> None:
        shopping.pay(number)
        await shopping.run("other")

    shopping.at_the_audience(pay_and_read)
    await shopping.run()

    assert (shopping.on("Lost"), LOST in shopping.on("Customers")) == (set(), True)


async def subscriber(shopping: Shopping) -> int:
    """Let two syncs know an account that agreed, and the audience have the address that it will move to."""
    shop = shopping.shop.state
    account: int = shop.add_account(OTHER)
    shop.set_account_meta(account, SUBSCRIBED, "1")
    shop.add_order(email=OTHER, account=account)
    shopping.world.news.state.add(MOVED)
    shopping.add_sync("other")
    for name in ("crm", "other"):
        await shopping.run(name, history=True)
    return account


async def test_P4_who_leaves_at_an_address_whose_move_was_read_of_too_late_for_the_push_has_left(
    shopping: Shopping,
) -> None:
    """Another sync reads of the move after the plan: nothing of it is written, so nothing of it is our doing."""
    shop, audience = shopping.shop.state, shopping.world.news.state
    account = await subscriber(shopping)
    shop.add_order(email=HISTORY[0].email)
    shopping.clock.pass_by(HOUR)

    async def move_and_read() -> None:
        shop.change_account_email(account, MOVED)
        await shopping.run("other")

    shopping.at_the_audience(move_and_read, asked="status=unsubscribed")
    await shopping.run()
    audience.unsubscribe(OTHER)
    for _ in range(2):
        shop.add_order(email=MOVED, account=account)
        shopping.clock.pass_by(HOUR)
        await shopping.run()

    assert audience.contacts[MOVED].status == "unsubscribed"


async def test_P4_who_leaves_at_an_address_whose_move_came_to_light_in_a_look_and_was_held_has_left(
    shopping: Shopping,
) -> None:
    shop, audience = shopping.shop.state, shopping.world.news.state
    account = await subscriber(shopping)
    shopping.configure(limits={"new_contacts": 2})
    shopping.add_sync("other")
    shopping.abandon(LOST)

    async def move_and_read() -> None:
        shop.change_account_email(account, MOVED)
        for number in range(3):
            shop.add_order(email=f"crowd{number}@example.com")
        await shopping.run("other")

    shopping.at_the_audience(move_and_read, writing=True)
    held = await shopping.run()
    audience.unsubscribe(OTHER)
    shopping.configure(limits="off")
    for _ in range(2):
        shopping.clock.pass_by(HOUR)
        await shopping.run()

    assert held.outcome == "held"
    assert audience.contacts[MOVED].status == "unsubscribed"


async def test_P4_what_we_do_to_an_address_that_was_left_during_the_push_is_no_word_of_theirs(
    shopping: Shopping,
) -> None:
    """Another sync reads of it; the contact at the old address is archived, as the new one has one."""
    shop, audience = shopping.shop.state, shopping.world.news.state
    account = await subscriber(shopping)
    shopping.abandon(LOST)

    async def move_and_read() -> None:
        shop.change_account_email(account, MOVED)
        await shopping.run("other")

    shopping.at_the_audience(move_and_read, writing=True)
    for _ in range(3):
        await shopping.run()
        shop.add_order(email=MOVED, account=account)
        shopping.clock.pass_by(HOUR)

    statuses = {email: audience.contacts[email].status for email in (OTHER, MOVED)}
    assert statuses == {OTHER: "archived", MOVED: "subscribed"}


@pytest.mark.parametrize("type_", ["prestashop", "woocommerce"])
async def test_who_pays_what_they_began_first_is_not_reminded_of_what_they_began_later(
    tmp_path: Path, router: respx.MockRouter, pauses: list[float], type_: str
) -> None:
    shopping = open_in(tmp_path, router, type_)
    await shopping.run(history=True)
    account = shopping.shop.state.add_account(LOST)
    number = shopping.shop.state.add_order(email=LOST, account=account, status="pending")
    shopping.clock.pass_by(300)
    if type_ == "prestashop":
        shopping.shop.state.add_cart(account)
    else:
        BEGIN[type_](shopping.shop.state, LOST)
    shopping.clock.pass_by(300)
    shopping.pay(number)
    await shopping.run()
    shopping.clock.pass_by(3 * HOUR)
    await shopping.run()

    assert (shopping.on("Lost"), LOST in shopping.on("Customers")) == (set(), True)


@pytest.mark.parametrize("change", ["store", "rate"])
async def test_P10_another_store_or_rate_silences_nobody_whom_time_has_moved(
    shopping: Shopping, change: str
) -> None:
    """Their checkout was known and turned idle; what the change itself brings to light starts nothing."""
    world = shopping.world
    await shopping.run(history=True)
    BEGIN["woocommerce"](shopping.shop.state, LOST)
    shopping.clock.pass_by(HOUR)
    await shopping.run()
    shopping.clock.pass_by(2 * HOUR)
    file = world.folder / "cartwire.yaml"
    written = YAML().load(file)
    if change == "rate":
        written["rates"] = {"USD": 0.9}
    else:
        second = shopping.module.simulator(HISTORY[:3], clock=shopping.clock)
        second.state.add_order(
            email=OTHER, status="pending", created_at=shopping.clock() - timedelta(hours=3)
        )
        second.state.add_order(email=LOST, created_at=shopping.clock() - timedelta(days=90))
        world.router.route(host="second.test").mock(side_effect=edge(second))
        address = {"url": "http://second.example", "base_url": "http://second.test"}
        written["stores"]["second"] = written["stores"]["shop"] | address
        written["syncs"]["crm"]["stores"] = ["shop", "second"]
    YAML().dump(written, file)
    world.reread()

    await shopping.run()
    entered = shopping.on("Lost")
    again = await shopping.run()

    assert (entered, shopping.on("Lost"), again.writes) == ({LOST}, {LOST}, 0)


async def test_P9_P10_the_stores_are_not_asked_for_history_or_when_nobody_enters(
    tmp_path: Path, router: respx.MockRouter, pauses: list[float]
) -> None:
    async def requests(mapping: str, name: str) -> list[int]:
        """Count what the shop is asked in a backfill, in an ordinary run, and when somebody enters."""
        shopping = open_in(tmp_path / name, router)
        shopping.configure(mapping)
        counts = []
        for happens in (
            lambda: shopping.abandon("early@example.com"),
            lambda: shopping.shop.state.add_order(email=OTHER),
            lambda: shopping.abandon(LOST),
        ):
            happens()
            shopping.world.forget_requests()
            await shopping.run(history=not counts)
            counts.append(len(shopping.shop.requests))
        return counts

    *ordinary, entering = await requests(MAPPING, "with")
    *without, nobody = await requests(MAPPING.partition("  Lost:")[0], "without")

    assert ordinary == without
    assert entering == nobody + 3


async def test_a_run_that_reads_no_store_looks_when_time_lets_somebody_enter(shopping: Shopping) -> None:
    await shopping.run(history=True)
    first, _ = shopping.abandon(LOST), shopping.abandon(OTHER)
    shopping.clock.pass_by(-4.5 * HOUR)
    await shopping.run()
    shopping.clock.pass_by(4.5 * HOUR)
    shopping.pay(first)

    await shopping.run(kind="due", pull=False)

    assert shopping.on("Lost") == {OTHER}


async def test_nobody_enters_while_the_store_does_not_answer_and_they_do_when_it_does(
    shopping: Shopping,
) -> None:
    await shopping.run(history=True)
    shopping.abandon(LOST)
    shopping.shop.state.add_order(email=OTHER)
    down = [True]
    shopping.before_the_push(
        lambda: shopping.shop.fail(Fault(status=503), times=99, when=lambda _method, _path: bool(down))
    )

    with structlog.testing.capture_logs() as logs:
        failed = await shopping.run()
    waited, others = shopping.on("Lost"), shopping.on("Customers")
    shopping.shop.requests.clear()
    resting = await shopping.run(pull=False, resting={"shop": "left alone"})
    asked = list(shopping.shop.requests)
    down.clear()
    report = await shopping.run()

    assert (failed.exit_code, waited, OTHER in others) == (3, set(), True)
    assert [each["stores"] for each in logs if each["event"] == "entries_wait"] == [["shop"]]
    assert (resting.errors, asked) == ([], [])
    assert (report.exit_code, shopping.on("Lost")) == (0, {LOST})


async def test_P11_what_a_look_brings_to_light_is_held_to_the_limits_too(shopping: Shopping) -> None:
    await shopping.run(history=True)
    shopping.configure(limits={"new_contacts": 2})
    shopping.abandon(LOST)
    crowd = [f"crowd{number}@example.com" for number in range(3)]
    shopping.before_the_push(lambda: [shopping.shop.state.add_order(email=email) for email in crowd])

    report = await shopping.run()
    waited = shopping.on("Lost")
    shopping.configure(limits="off")
    await shopping.run()

    assert (report.outcome, waited) == ("held", set())
    assert shopping.on("Customers") >= set(crowd)
    assert shopping.on("Lost") == {LOST}


async def test_P11_an_approval_lends_nothing_to_what_a_look_brings_to_light(shopping: Shopping) -> None:
    await shopping.run(history=True)
    shopping.configure(limits={"new_contacts": 2})
    shopping.abandon(LOST)
    shown, unseen = ([f"{name}{number}@example.com" for number in range(3)] for name in ("shown", "unseen"))
    for email in shown:
        shopping.shop.state.add_order(email=email)
    held = await shopping.run()
    async with shopping.world.open() as cartwire:
        await approve(cartwire.syncs["crm"], cartwire.db)
    shopping.before_the_push(lambda: [shopping.shop.state.add_order(email=email) for email in unseen])

    report = await shopping.run()

    assert (held.outcome, report.outcome) == ("held", "held")
    assert shopping.on("Customers") & {*shown, *unseen} == set(shown)


@pytest.mark.crash
async def test_P2_a_kill_around_the_look_lets_everybody_enter_but_who_paid(
    shopping: Shopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shopping.run(history=True)
    shopping.abandon(LOST)
    with monkeypatch.context() as patches:
        whole = kill_at(10**9, patches)
        await shopping.run()
    for step in range(whole.steps - LOOKING, whole.steps, 2 * STRIDE):
        paid, still = f"paid{step}@example.com", f"still{step}@example.com"
        for email in (paid, still):
            shopping.abandon(email)
        shopping.before_the_push(lambda email=paid: shopping.shop.state.add_order(email=email))  # type: ignore[misc]
        with monkeypatch.context() as patches, contextlib.suppress(Killed):
            kill_at(step, patches)
            await shopping.run()
        await shopping.run()

        assert shopping.on("Lost") & {paid, still} == {still}, f"killed at step {step}"


async def test_a_journey_that_begins_with_a_call_is_not_started_for_who_pays_meanwhile(
    shopping: Shopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.esps.autopilot.connector.PER_SECOND", 1e6)
    news = shopping.world.news = autopilot.simulator()
    news.state.triggers["0003"] = "Lost"
    shopping.world.router.route(host="news.test").mock(side_effect=edge(news))
    esp = {"type": "autopilot", "base_url": "http://news.test", **autopilot.SETTINGS}
    file, mapping = (shopping.world.folder / name for name in ("cartwire.yaml", "mappings/crm.yaml"))
    written = YAML().load(file)
    written["esps"]["news"] = esp
    YAML().dump(written, file)
    mapping.write_text(MAPPING.replace("journey: true", 'trigger: "0003"'))
    shopping.world.reread()
    await shopping.run(history=True)
    for email in (LOST, OTHER):
        shopping.abandon(email)
    shopping.before_the_push(lambda: shopping.shop.state.add_order(email=LOST))

    await shopping.run()

    assert [news.state.people[person].email for _, person in news.state.started] == [OTHER]
