"""Open checkouts close by person: who paid leaves before anything else is pushed, and never enters."""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import respx

from connectors.simulation import Seen
from connectors.stores.woocommerce import simulator as woocommerce
from sync.report import Report
from sync.run import Order, run_sync
from tests.connectors.stores.shops import Clock
from tests.edge import edge
from tests.faults import Killed, kill_at
from tests.sync.conftest import HISTORY, World, make_world

LOST, OTHER = "lost@example.com", "other@example.com"
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = 3600
LAST, STRIDE = 8, int(os.environ.get("CRASH_STRIDE", "5")) // 2 or 1
"""Steps at the end of a run in which it pushes; every second is tried, or twice as often as the variable says."""
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
    """The world, on a clock that stands still until it is moved; its shop's is the same."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock(START)
        self.shop = world.shop = woocommerce.simulator(HISTORY[:3], clock=self.clock)
        world.router.route(host="shop.test").mock(side_effect=edge(self.shop))
        world.configure(MAPPING)

    async def run(self, **wanted: bool) -> Report:
        async with self.world.open() as cartwire:
            sync, order = cartwire.syncs["crm"], Order(**wanted)
            return await run_sync(sync, cartwire.db, self.world.folder, order, self.clock)

    def abandon(self, *emails: str) -> list[int]:
        """Begin checkouts that nobody goes on with for three hours; return the unpaid orders."""
        numbers = [self.shop.state.add_order(email=email, status="pending") for email in emails]
        self.clock.pass_by(3 * HOUR)
        return numbers

    def pay(self, number: int) -> None:
        self.shop.state.update_order(number, status="paid")

    def on(self, name: str) -> set[str]:
        return {email for email, contact in self.world.news.state.contacts.items() if name in contact.tags}

    @property
    def writes(self) -> list[Seen]:
        """What was written to the audience, but for the list of tags and fields."""
        return [seen for seen in self.world.news.requests if seen.method != "GET"]

    def changes_of_lists(self) -> list[Seen]:
        return [seen for seen in self.writes if "/segments/" in seen.path]


@pytest.fixture
def shopping(tmp_path: Path, router: respx.MockRouter, pauses: list[float]) -> Shopping:
    return Shopping(make_world(tmp_path, router))


# --- who leaves goes first ---------------------------------------------------------------------------------


async def test_who_paid_leaves_before_anybody_is_written_or_joins(shopping: Shopping) -> None:
    await shopping.run(history=True)
    (number,) = shopping.abandon(LOST)
    await shopping.run()
    entered = shopping.on("Lost")
    shopping.pay(number)
    shopping.shop.state.add_order(email=OTHER)
    shopping.world.forget_requests()

    await shopping.run()

    assert (entered, shopping.on("Lost")) == ({LOST}, set())
    assert "/segments/" in shopping.writes[0].path
    assert shopping.on("Customers") >= {LOST, OTHER}


async def test_a_list_costs_one_call_more_when_people_leave_it_and_none_when_nobody_does(
    shopping: Shopping,
) -> None:
    await shopping.run(history=True)
    shopping.world.forget_requests()
    shopping.shop.state.add_order(email=HISTORY[0].email)
    shopping.shop.state.add_order(email=OTHER)

    await shopping.run()

    assert (
        len(shopping.changes_of_lists()) == 3
    )  # somebody joins Customers, joins Newcomers, leaves Newcomers


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
    shop.change_account_email(account, "moved@example.com")
    with monkeypatch.context() as patches:
        whole = kill_at(10**9, patches)
        await shopping.run()
    for step in range(whole.steps - LAST, whole.steps, STRIDE):
        account, number = await _arrive(shopping, f"killed{step}")
        shop.change_account_email(account, f"moved{step}@example.com")
        with monkeypatch.context() as patches, contextlib.suppress(Killed):
            kill_at(step, patches)
            await shopping.run()
        shop.trash(number)
        await shopping.run()

        assert f"moved{step}@example.com" in shopping.world.news.state.contacts
        assert not {f"moved{step}@example.com", f"killed{step}@example.com"} & shopping.on("Newcomers")
