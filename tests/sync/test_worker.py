"""The worker keeps syncs on their schedules, whatever happens to one of them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from config.errors import ConfigError
from connectors.simulation import Fault, Simulation
from state import evaluation, runs, troubles
from state.errors import StateError
from state.troubles import Trouble
from sync.app import Cartwire
from sync.follower import Follower
from sync.generations import Generations
from sync.job import Pulse
from sync.plant import read_plant
from sync.run import Order
from sync.troubles import Kind, Troubles
from sync.worker import Worker, work
from tests.sync.clocks import AllWait, Enough, Look, OneWaits
from tests.sync.conftest import UNLIMITED, World, order

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OFTEN = f"{UNLIMITED}    schedule: every 5 minutes\n"
LIMITED = "    schedule: every 5 minutes\n    limits:"
DOWN, REVOKED = Fault(status=503), Fault(status=401)


class Life:
    """A follower of the sync `crm`, its clock, and the alerts that went out."""

    def __init__(self, cartwire: Cartwire, end: datetime, look: Look) -> None:
        self.clock = OneWaits(START, end, look)
        self.told: list[str] = []
        self.troubles = Troubles(cartwire.db, self._tell)
        generations = Generations(cartwire)
        self.follower = Follower(
            "crm", generations, self.troubles, self.clock, share=0.0, look_again=6 * HOUR
        )

    async def _tell(self, title: str, text: str) -> None:
        self.told.append(f"{title}: {text}")

    async def live(self) -> None:
        await self.troubles.load()
        with suppress(Enough):
            await self.follower.follow()


async def live(world: World, until: datetime, look: Look = lambda _now: None) -> tuple[list[runs.Run], Life]:
    """Follow the sync from START on; return its runs, oldest first."""
    async with world.open() as cartwire:
        life = Life(cartwire, until, look)
        await life.live()
        done = await cartwire.db.read(runs.list_runs, "crm", most=10_000)
    return done[::-1], life


def at(done: list[runs.Run], kind: str) -> list[datetime]:
    return [run.started_at for run in done if run.kind == kind]


# --- schedules -----------------------------------------------------------------------------------------


async def test_a_sync_runs_at_once_and_then_on_schedule(world: World) -> None:
    world.configure(extra=OFTEN)

    done, life = await live(world, START + 11 * MINUTE)

    assert len(world.contacts) == 7
    assert [(run.kind, run.outcome) for run in done] == [("scheduled", "done")] * 3
    assert at(done, "scheduled") == [START, START + 5 * MINUTE, START + 10 * MINUTE]
    assert (life.follower.facts.last_outcome, life.follower.facts.runs) == ("done", {"done": 3})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("daily at 03:00", ["05-01 12:00", "05-02 01:00", "05-03 01:00"]),  # 03:00 in Paris
        ("30 14,15 * * fri", ["05-01 12:00", "05-01 12:30", "05-01 13:30"]),
        ("every 20 hours", ["05-01 12:00", "05-02 08:00", "05-03 04:00"]),
    ],
)
async def test_schedules_are_meant_in_the_owners_time_zone(
    world: World, schedule: str, expected: list[str]
) -> None:
    world.configure(extra=f"{UNLIMITED}    schedule: {schedule}\n")

    done, _ = await live(world, START + 2 * DAY)

    assert [f"{moment:%m-%d %H:%M}" for moment in at(done, "scheduled")] == expected


async def test_ticks_missed_while_the_machine_slept_run_once(world: World) -> None:
    world.configure(extra=OFTEN)
    slept: list[datetime] = []

    def sleep(now: datetime) -> None:
        if now >= START + 5 * MINUTE and not slept:
            slept.append(now)
            clock.moment += 8 * HOUR

    async with world.open() as cartwire:
        life = Life(cartwire, START + 8 * HOUR + 14 * MINUTE, sleep)
        clock = life.clock
        await life.live()
        done = await cartwire.db.read(runs.list_runs, "crm")

    hours = [(moment - START) / HOUR for moment in at(done[::-1], "scheduled")]
    assert hours == pytest.approx([0, 5 / 60, 8 + 5 / 60, 8 + 10 / 60], abs=0.2)


async def test_a_clock_that_is_set_back_neither_stops_a_sync_nor_makes_it_run_on_and_on(world: World) -> None:
    world.configure(extra=OFTEN)
    back: list[datetime] = []

    def set_back(now: datetime) -> None:
        if now >= START + 10 * MINUTE and not back:
            back.append(now)
            clock.moment -= 30 * DAY
            clock.end = clock.moment + 11 * MINUTE

    async with world.open() as cartwire:
        life = Life(cartwire, START + HOUR, set_back)
        clock = life.clock
        await life.live()
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert life.follower.facts.good_at
    assert life.follower.facts.good_at < START
    after = [moment for moment in at(done, "scheduled") if moment < START]
    assert len(after) == 2
    assert len(done) <= 7


@pytest.mark.parametrize("step", [MINUTE, 30 * DAY])
async def test_when_the_last_good_run_was_is_never_later_than_now_nor_than_it_was(
    world: World, step: timedelta
) -> None:
    """Whoever asks for the worker's health would hear that all is well."""
    world.configure(extra=OFTEN)
    back: list[datetime] = []

    def set_back(now: datetime) -> None:
        world.shop.fail(DOWN, times=10_000)
        if now >= START + 10 * MINUTE and not back:
            clock.moment -= step
            clock.end = clock.moment + 11 * MINUTE
            back.append(clock.moment)

    async with world.open() as cartwire:
        life = Life(cartwire, START + HOUR, set_back)
        clock = life.clock
        await life.live()

    assert life.follower.facts.good_at == min(START, *back)


@pytest.mark.parametrize(("step", "asked"), [(timedelta(milliseconds=50), 1), (timedelta(hours=5), 2)])
async def test_a_pause_ends_when_the_clock_was_hours_ahead_and_not_when_it_is_kept_in_step(
    world: World, step: timedelta, asked: int
) -> None:
    world.configure(extra=OFTEN)
    world.shop.fail(Fault(status=429, headers={"Retry-After": "36000"}), times=10_000)
    back: list[datetime] = []

    def set_back(now: datetime) -> None:
        if now >= START + 10 * MINUTE and not back:
            back.append(now)
            clock.moment -= step
            clock.end = clock.moment + 3 * MINUTE

    async with world.open() as cartwire:
        life = Life(cartwire, START + 11 * MINUTE, set_back)
        clock = life.clock
        await life.live()

    assert (len(back), len(world.shop.requests)) == (1, asked)


async def test_a_poke_runs_soon_and_several_of_a_kind_once(world: World) -> None:
    world.configure(extra=f"{UNLIMITED}    schedule: daily at 03:00\n")

    def poke(now: datetime) -> None:
        if not life.told:
            life.told.append("poked")
            for _ in range(3):
                life.follower.poke(Order(kind="webhook"))

    async with world.open() as cartwire:
        life = Life(cartwire, START + HOUR, poke)
        await life.live()
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert [run.kind for run in done] == ["webhook", "scheduled"]


async def test_a_sync_that_another_process_runs_waits_its_turn(world: World) -> None:
    world.configure(extra=OFTEN)

    async with world.open() as cartwire:
        life = Life(cartwire, START + MINUTE, lambda _now: lock.release() if lock.is_locked else None)
        lock = runs.lock(world.folder, "crm")
        lock.acquire()
        await life.live()
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert [(run.outcome, run.started_at) for run in done] == [("done", START + timedelta(seconds=15))]


# --- trouble at the other end --------------------------------------------------------------------------


def while_(down: Callable[[datetime], bool], simulation: Simulation, fault: Fault) -> Look:
    """Let every request to a simulator fail while `down` says so."""

    def look(now: datetime) -> None:
        simulation.chances = {fault: 1.0} if down(now) else {}

    return look


async def test_a_store_that_is_down_for_hours_is_asked_less_and_less_and_caught_up_in_one_run(
    world: World,
) -> None:
    world.configure(extra=OFTEN)
    down = while_(lambda now: START + MINUTE < now + 5 * MINUTE < START + 8 * HOUR, world.shop, DOWN)
    late: list[int] = []

    def look(now: datetime) -> None:
        down(now)
        if now > START + HOUR and not late:
            late.append(world.shop.state.add_order(email="late@example.com", total="1.00"))

    done, life = await live(world, START + 10 * HOUR, look)

    failed = [run for run in done if run.outcome == "failed"]
    pauses = [later.started_at - run.started_at for run, later in pairwise(failed)]
    assert 10 <= len(failed) <= 16
    assert max(pauses) <= 66 * MINUTE
    assert "late@example.com" in world.contacts
    assert [text.partition(": shop ")[2].split(" since")[0] for text in life.told] == [
        "cannot be reached",
        "can be reached again. What was missed",
    ]


async def test_an_esp_that_is_down_keeps_nothing_from_being_read(world: World) -> None:
    world.configure(extra=f"{UNLIMITED}    schedule: every 30 minutes\n")
    await world.run()
    world.shop.state.add_order(email="late@example.com", total="1.00")
    down = while_(lambda now: now < START + 3 * HOUR, world.news, DOWN)
    down(START)

    done, _ = await live(world, START + 5 * HOUR, down)

    outcomes = [run.outcome for run in done]
    assert set(outcomes) == {"done", "failed", "incomplete"}
    assert outcomes.count("failed") <= 9
    assert outcomes.count("incomplete") >= 3
    assert "late@example.com" in world.contacts


async def test_a_revoked_key_stops_that_store_only_and_is_told_once_and_once_when_it_is_mended(
    world: World,
) -> None:
    two = world.add_store("outlet", [order(number, f"new{number}@example.com") for number in range(3)])
    await world.run()
    for shop in (world.shop, two):
        shop.state.add_order(email=f"late{id(shop)}@example.com", total="1.00")
    revoked = while_(lambda now: now < START + 3 * HOUR, world.shop, REVOKED)
    revoked(START)
    late: list[set[str]] = []

    def look(now: datetime) -> None:
        revoked(now)
        late.append({email for email in world.contacts if email.startswith("late")})

    done, life = await live(world, START + 5 * HOUR, look)

    assert late[0] == {f"late{id(two)}@example.com"}
    assert len(late[-1]) == 2
    assert [text.partition(": shop ")[2].split(" since")[0] for text in life.told] == [
        "refuses us",
        "takes us again. What was missed",
    ]
    assert sum(run.outcome == "failed" for run in done) <= 6


async def test_a_restart_forgets_neither_a_pause_nor_that_the_owner_was_told(world: World) -> None:
    world.configure(extra=OFTEN)
    await world.run()
    look = while_(lambda _now: True, world.shop, REVOKED)
    look(START)

    _, first = await live(world, START + MINUTE, look)
    world.forget_requests()
    _, second = await live(world, START + MINUTE, look)

    assert (len(first.told), len(second.told)) == (1, 0)
    assert world.shop.requests == []


async def test_a_sync_beyond_its_limits_is_held_and_told_once(world: World) -> None:
    world.configure(extra=f"{LIMITED} {{new_contacts: 3}}\n")

    done, life = await live(world, START + HOUR)

    assert {run.outcome for run in done} == {"held"}
    assert len(life.told) == 1
    assert "7 new contacts, limits.new_contacts is 3" in life.told[0]


async def test_an_esp_for_which_nothing_waits_any_more_is_not_tried_on_and_on(world: World) -> None:
    world.configure(extra=f"{UNLIMITED}    schedule: daily at 03:00\n")
    await world.run()
    failing = Trouble("news", "down", "no answer", START - DAY, retry_at=START + HOUR)

    async with world.open() as cartwire:
        await cartwire.db.run(troubles.save_trouble, failing)
        await cartwire.db.run(evaluation.mark_opt_outs, "crm", START)
        life = Life(cartwire, START + 3 * HOUR, lambda _now: None)
        await life.live()
        done = await cartwire.db.read(runs.list_runs, "crm")

    assert at(done[::-1], "retry") == [START + HOUR, START + 2 * HOUR, START + 3 * HOUR]


async def test_a_state_store_that_fails_is_a_pause_not_an_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(extra=OFTEN)
    starts = iter([StateError("the disk is full")] * 3)
    start_run = runs.start_run

    def full(*arguments: object) -> int:
        for error in starts:
            raise error
        return start_run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "start_run", full)

    done, life = await live(world, START + 10 * MINUTE)

    assert done[0].started_at == START + 7 * MINUTE
    assert life.follower.facts.runs == {"failed": 3, "done": 1}


# --- the whole worker ----------------------------------------------------------------------------------


async def test_a_worker_without_a_schedule_says_what_to_write(world: World) -> None:
    async with world.open() as cartwire:
        with pytest.raises(ConfigError, match="no sync has a schedule"):
            await work(cartwire)


async def test_when_one_sync_cannot_be_followed_any_more_none_is(world: World) -> None:
    more = f"{OFTEN}  second:\n    stores: [shop]\n    esp: news\n    mapping: mappings/crm.yaml\n"
    world.configure(extra=f"{more}{OFTEN}")

    async with world.open() as cartwire:
        with pytest.raises(Enough):
            await work(cartwire, OneWaits(START, START))

        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stop_lets_the_batch_in_hand_land_and_the_next_start_goes_on(world: World) -> None:
    await world.backfill()
    pulse = Pulse()
    for number in range(40, 60):
        world.shop.state.add_order(email=f"new{number}@example.com", total="1.00")

    class StopAtTheFirst:
        def pulled(self, *_: object) -> None: ...

        def pushed(self, *_: object) -> None:
            pulse.stopping = True

    stopped = await world.run(pulse=pulse, ticks=StopAtTheFirst())
    after = dict(world.contacts)
    report = await world.run()

    assert stopped.outcome.value == "stopped"
    assert len(after) == 27
    assert not any(lists for email, (_, lists, _) in after.items() if email.startswith("new"))
    assert report.outcome.value == "done"
    assert all(
        lists == {"Customers"} for email, (_, lists, _) in world.contacts.items() if email[:3] == "new"
    )


async def test_a_stop_while_a_history_is_read_goes_on_there(world: World) -> None:
    pulse = Pulse()

    class StopAtTheFirst:
        def pulled(self, *_: object) -> None:
            pulse.stopping = True

        def pushed(self, *_: object) -> None: ...

    stopped = await world.run(pulse=pulse, ticks=StopAtTheFirst())
    report = await world.run()

    assert (stopped.outcome.value, stopped.exit_code) == ("stopped", 1)
    assert report.outcome.value == "done"
    assert len(world.contacts) == 7


async def test_a_stop_does_not_wait_for_an_esp_that_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.worker.GRACE", 0.05)
    world.configure(extra=OFTEN)
    asked = asyncio.Event()

    async def never(_request: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    world.router.route(host="news.test").mock(side_effect=never)
    async with world.open() as cartwire:
        worker = Worker(cartwire)
        working = asyncio.ensure_future(worker.work())
        await asked.wait()
        worker.stop()
        await working
        (run,) = await cartwire.db.read(runs.list_runs)

    assert run.outcome == "stopped"


async def test_what_runs_beside_the_syncs_is_ended_with_them(world: World) -> None:
    world.configure(extra=OFTEN)
    seen: list[object] = []

    async def side(worker: Worker) -> None:
        try:
            await until(lambda: bool(worker.facts["crm"].runs))
            seen.append(worker.cartwire.syncs.keys())
            worker.stop()
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async with world.open() as cartwire:
        await Worker(cartwire).work([side])

    assert seen == [{"crm"}, "ended"]


async def test_a_store_that_refuses_for_hours_is_one_alert_and_not_another_for_its_sync(world: World) -> None:
    world.configure(extra=OFTEN)
    await world.run()
    world.shop.chances = {REVOKED: 1.0}
    told: list[str] = []

    async def tell(_title: str, text: str) -> None:
        told.append(text)

    async with world.open() as cartwire:
        clock = AllWait(START)
        worker = Worker(cartwire, clock, tell=tell, look_again=HOUR)
        working = asyncio.ensure_future(worker.work())
        while clock.now() < START + HOUR:
            await clock.quiet(lambda waiting: waiting == 3)
            clock.jump(START + HOUR)
        worker.stop()
        await working

    assert [text.split(" since")[0] for text in told] == ["shop refuses us"]


async def test_webhooks_that_come_through_hide_no_schedule_that_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(extra=OFTEN)
    await world.run()

    async def broken(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr("sync.run.pull_changes", broken)

    def poke(now: datetime) -> None:
        if now >= START + len(told) * MINUTE:
            told.append(now)
            life.follower.poke(Order(kind="webhook", pull=False))

    told: list[datetime] = []
    async with world.open() as cartwire:
        life = Life(cartwire, START + HOUR, poke)
        await life.live()

    assert life.follower.facts.runs["done"] > 10
    assert life.follower.facts.good_at is None


# --- configuration that changes ------------------------------------------------------------------------


class Beside:
    """A worker that lives until the block inside is done."""

    def __init__(self, cartwire: Cartwire) -> None:
        self.worker = Worker(cartwire)

    async def __aenter__(self) -> Worker:
        self._task = asyncio.ensure_future(self.worker.work())
        await until(lambda: any(facts.runs for facts in self.worker.facts.values()))
        return self.worker

    async def __aexit__(self, *_: object) -> None:
        self.worker.stop()
        await self._task


def rewrite(world: World, file: str, old: str, new: str) -> Path:
    path = world.folder / file
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    return path


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_changed_mapping_is_taken_over_by_a_run_of_its_own(world: World) -> None:
    world.configure(extra=OFTEN)
    async with world.open() as cartwire, Beside(cartwire) as worker:
        rewrite(world, "mappings/crm.yaml", "Loyal: orders_count >= 2", "Fans: orders_count >= 3")
        await worker.reread()
        await until(lambda: worker.facts["crm"].runs["done"] == 2)

    assert {name for _, lists, _ in world.contacts.values() for name in lists} == {
        "Customers",
        "Loyal",
        "Fans",
    }


async def test_P7_a_bad_mapping_is_refused_and_the_old_one_goes_on(world: World) -> None:
    world.configure(extra=OFTEN)
    async with world.open() as cartwire, Beside(cartwire) as worker:
        rewrite(world, "mappings/crm.yaml", "orders_count >= 2", "order_count >= 2")
        await worker.reread()
        world.shop.state.add_order(email="late@example.com", total="1.00")
        worker.poke("crm", Order(kind="webhook"))
        await until(lambda: worker.facts["crm"].runs["done"] == 2)

        assert worker.cartwire is cartwire

    assert world.contacts["late@example.com"][1] == {"Customers"}


async def test_a_mapping_that_would_change_too_much_is_held(world: World) -> None:
    world.configure(extra=f"{LIMITED} {{new_contacts: 100, list_changes: 14}}\n")
    async with world.open() as cartwire, Beside(cartwire) as worker:
        rewrite(
            world,
            "mappings/crm.yaml",
            "Loyal:",
            "More: orders_count >= 1\n  Yet: orders_count >= 1\n  And: orders_count >= 1\n  Loyal:",
        )
        await worker.reread()
        await until(lambda: "held" in worker.facts["crm"].runs)
        kinds = [each.kind for each in worker.troubles.of(["crm"])]

    assert kinds == ["held"]
    assert {name for _, lists, _ in world.contacts.values() for name in lists} == {"Customers", "Loyal"}


async def test_syncs_come_and_go_with_the_configuration(world: World) -> None:
    world.configure(extra=OFTEN)
    second = f"  second:\n    stores: [shop]\n    esp: news\n    mapping: mappings/crm.yaml\n{OFTEN}"
    async with world.open() as cartwire, Beside(cartwire) as worker:
        rewrite(world, "cartwire.yaml", OFTEN, OFTEN + second)
        await worker.reread()
        await until(lambda: bool(worker.facts["second"].runs))
        rewrite(world, "cartwire.yaml", second, "")
        await worker.reread()

        assert set(worker.facts) == {"crm"}


async def test_a_sync_that_is_dropped_while_somebody_wants_it_to_run_ends_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(extra=OFTEN)
    second = f"  second:\n    stores: [shop]\n    esp: news\n    mapping: mappings/crm.yaml\n{OFTEN}"

    async def close_while_a_webhook_comes() -> None:
        worker.poke("second", Order(kind="webhook"))
        for _ in range(100):
            await asyncio.sleep(0)

    async with world.open() as cartwire, Beside(cartwire) as worker:
        rewrite(world, "cartwire.yaml", OFTEN, OFTEN + second)
        await worker.reread()
        await until(lambda: bool(worker.facts["second"].runs))
        dropped = worker.followers["second"]
        monkeypatch.setattr(worker.cartwire.esps["news"], "aclose", close_while_a_webhook_comes)
        rewrite(world, "cartwire.yaml", second, "")
        await worker.reread()

        assert dropped.schedule == "every 5 minutes"
        await until(lambda: worker.facts["crm"].runs["done"] == 3)


async def test_another_state_store_needs_another_start(world: World) -> None:
    world.configure(extra=OFTEN)
    async with world.open() as cartwire, Beside(cartwire) as worker:
        rewrite(world, "cartwire.yaml", "currency: EUR", "currency: EUR\ndatabase: sqlite:///other.db")
        with pytest.raises(ConfigError, match="start `cartwire run` anew"):
            await worker.adopt(read_plant(world.folder, {}))


async def test_the_troubles_of_who_has_left_the_configuration_are_forgotten(world: World) -> None:
    world.configure(extra=OFTEN)
    second = f"  second:\n    stores: [shop]\n    esp: news\n    mapping: mappings/crm.yaml\n{OFTEN}"
    left = Trouble("left", "refused", "401", START, told=True)
    async with world.open() as cartwire:
        await cartwire.db.run(troubles.save_trouble, left)
        async with Beside(cartwire) as worker:
            rewrite(world, "cartwire.yaml", OFTEN, OFTEN + second)
            await worker.reread()
            await worker.troubles.begin("second", Kind.STALLED, "no run", START)
            rewrite(world, "cartwire.yaml", second, "")
            await worker.reread()

            assert worker.troubles.of(["left", "second"]) == []
        assert await cartwire.db.read(troubles.list_troubles, ["left", "second"]) == []


async def test_a_configuration_without_a_schedule_is_refused_as_at_the_start(world: World) -> None:
    world.configure(extra=OFTEN)
    async with world.open() as cartwire, Beside(cartwire) as worker:
        rewrite(world, "cartwire.yaml", "    schedule: every 5 minutes\n", "")
        with pytest.raises(ConfigError, match="no sync has a schedule"):
            await worker.adopt(read_plant(world.folder, {}))

        assert worker.cartwire is cartwire
