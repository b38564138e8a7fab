"""Time moves people from list to list, within a minute of its moment, and nobody is looked at in vain."""

import asyncio
import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from connectors.base import Resource, Window
from connectors.simulation import Fault
from connectors.stores.woocommerce import simulator as woocommerce
from state import cursors, evaluation, runs
from state.db import Database
from sync.app import Cartwire
from sync.follower import Follower
from sync.generations import Generations
from sync.troubles import Troubles
from tests.edge import edge
from tests.sync.clocks import Enough, OneWaits
from tests.sync.conftest import HISTORY, UNLIMITED, World, order

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
YEAR = (datetime(2028, 1, 1, 10, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))
ONCE = f"{UNLIMITED}    schedule: 0 9 1 jan *\n"
RULES = {
    "Month": "last_order_at < months_ago(1)",
    "Half Year": "last_order_at < months_ago(6)",
    "Fresh": "last_order_at > days_ago(45)",
    "Hours": "last_order_at <= hours_ago(1000)",
    "Quarter": "orders_in(days => 91) >= 1",
}
MAPPING = "lists:\n" + "".join(f"  {name}: {rule}\n" for name, rule in RULES.items())
ORDERED = [
    (2027, 9, 29, 0, 30),  # half a year before the clocks go forward, and before 29 February
    (2028, 1, 27, 7, 30),  # 45 days before 12 March, in New York
    (2028, 2, 10, 1, 30),  # 45 days before 26 March, in Paris
    (2028, 2, 29, 18, 0),
    (2028, 4, 29, 0, 30),  # half a year before the clocks go back in Paris
    (2028, 9, 21, 6, 30),  # 45 days before 5 November, in New York
    (2028, 10, 29, 0, 30),
]


# --- the oracle: what the rules mean, in plain Python ---------------------------------------------------


def wall_time(wall: datetime, zone: ZoneInfo) -> datetime:
    """Of a time that came twice the later one; a time that was skipped is as much later as was skipped."""
    return max(wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))


def ago(now: datetime, zone: ZoneInfo, *, days: int = 0, months: int = 0) -> float:
    wall = now.astimezone(zone).replace(tzinfo=None, fold=0) - timedelta(days=days)
    total = wall.year * 12 + wall.month - 1 - months
    last = calendar.monthrange(total // 12, total % 12 + 1)[1]
    wall = wall.replace(year=total // 12, month=total % 12 + 1, day=min(wall.day, last))
    return wall_time(wall, zone)


def lists_of(ordered: datetime, now: datetime, zone: ZoneInfo) -> set[str]:
    at = ordered.timestamp()
    truths = {
        "Month": at < ago(now, zone, months=1),
        "Half Year": at < ago(now, zone, months=6),
        "Fresh": at > ago(now, zone, days=45),
        "Quarter": at > ago(now, zone, days=91),
        "Hours": at <= now.timestamp() - 3_600_000,
    }
    return {name for name, true in truths.items() if true}


# --- a year in no time ----------------------------------------------------------------------------------


@dataclass
class Watched:
    """Who was in which list from when on, as the audience saw it."""

    world: World
    seen: dict[str, list[tuple[datetime, set[str]]]]

    def look(self, now: datetime) -> None:
        for email, contact in self.world.news.state.contacts.items():
            history = self.seen.setdefault(email, [])
            lists = set(contact.tags) & RULES.keys()
            if not history or history[-1][1] != lists:
                history.append((now, lists))

    def at(self, email: str, moment: datetime) -> set[str]:
        return [lists for since, lists in self.seen[email] if since <= moment][-1]


def moments(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while start < end:
        yield start
        start += step


def follower(cartwire: Cartwire, clock: OneWaits) -> Follower:
    async def tell(_title: str, _text: str) -> None: ...

    troubles = Troubles(cartwire.db, tell)
    return Follower("crm", Generations(cartwire), troubles, clock, share=0.0, look_again=30 * DAY)


@pytest.mark.parametrize(
    ("zone", "end"),
    [
        ("Europe/Paris", YEAR[1]),
        ("America/New_York", YEAR[1]),
        ("Asia/Kolkata", datetime(2028, 4, 1, tzinfo=UTC)),  # clocks that never change
    ],
)
async def test_in_a_year_everybody_changes_lists_within_a_minute_of_their_moment(
    world: World, zone: str, end: datetime
) -> None:
    history = [
        order(number, f"p{number}@example.com", created_at=datetime(*when, tzinfo=UTC))
        for number, when in enumerate(ORDERED, start=1)
    ]
    world.router.route(host="shop.test").mock(side_effect=edge(woocommerce.simulator(history)))
    world.configure(MAPPING, ONCE, zone)
    watched = Watched(world, {})
    clock = OneWaits(YEAR[0], end, look=watched.look)

    db = Database("sqlite://")
    async with Cartwire(world.plant, db) as cartwire:
        with pytest.raises(Enough):
            await follower(cartwire, clock).follow()
        done = await db.read(runs.list_runs, "crm", most=10_000)
    db.close()

    due = [run for run in done if run.kind == "due"]
    assert {run.outcome for run in done} == {"done"}
    assert all(run.report["compared"] for run in due)
    for each in history:
        for since, lists in watched.seen[each.email][1:]:
            assert lists_of(each.created_at, since, ZoneInfo(zone)) == lists
            assert lists_of(each.created_at, since - MINUTE, ZoneInfo(zone)) != lists
        for moment in moments(YEAR[0] + MINUTE, end, timedelta(hours=31, minutes=7)):
            expected = lists_of(each.created_at, moment, ZoneInfo(zone))
            if expected == lists_of(each.created_at, moment - MINUTE, ZoneInfo(zone)):
                assert watched.at(each.email, moment) == expected, (each.email, moment)


async def test_time_begins_no_run_that_would_push_nothing_while_a_history_is_not_whole(world: World) -> None:
    world.configure("lists:\n  Fresh: last_order_at > days_ago(45)\n", ONCE)
    await world.backfill()
    start = HISTORY[-1].created_at + timedelta(days=45, minutes=-30)

    async with world.open() as cartwire:
        await cartwire.db.run(evaluation.mark_evaluated, "crm", 10**6, "", start, journeys={})
        await cartwire.db.run(cursors.start_backfill, "shop", [Window(Resource.ORDERS)], start)
        world.shop.fail(Fault(status=401), times=10**6)
        async with asyncio.timeout(60):
            with pytest.raises(Enough):
                await follower(cartwire, OneWaits(start, start + 2 * DAY)).follow()
        done = await cartwire.db.read(runs.list_runs, "crm", most=1000)
        unread = [run for run in done if run.kind == "due"]
        world.shop._planned.clear()
        with pytest.raises(Enough):
            await follower(cartwire, OneWaits(start + 2 * DAY, start + 3 * DAY)).follow()

    assert len(done) > 5
    assert unread == []
    assert {email for email, contact in world.news.state.contacts.items() if "Fresh" in contact.tags} == set()


async def test_what_rests_on_the_day_is_looked_at_when_the_local_day_begins(world: World) -> None:
    world.configure("fields:\n  AGE: days_since(last_order_at)\n", ONCE)
    start = datetime(2026, 5, 1, 12, tzinfo=UTC)

    async with world.open() as cartwire:
        with pytest.raises(Enough):
            await follower(cartwire, OneWaits(start, start + DAY)).follow()
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert [(run.kind, f"{run.started_at:%d %H:%M:%S}") for run in done[::-1]] == [
        ("scheduled", "01 12:00:00"),
        ("due", "01 22:00:10"),
    ]


async def test_nobody_is_looked_at_before_the_history_is_read(world: World) -> None:
    world.configure("lists:\n  Quiet: last_order_at < days_ago(30)\n", ONCE)
    world.shop.chances = {Fault(status=503): 1.0}
    start = datetime(2026, 1, 31, tzinfo=UTC)

    async with world.open() as cartwire:
        with pytest.raises(Enough):
            await follower(cartwire, OneWaits(start, start + timedelta(hours=5))).follow()
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert {(run.kind, run.outcome) for run in done} == {("scheduled", "failed"), ("retry", "failed")}
