"""P11: nothing large happens unasked, and what was let go is what was shown."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import respx
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import Limits
from connectors.simulation import Fault
from state.approvals import Amount
from sync.limits import exceeded
from sync.preview import Preview, foresee
from sync.report import Report
from sync.run import approve
from tests.sync.conftest import MAPPING, World, make_world, order

TIGHT = "    limits: {new_contacts: 3, list_changes: 5}\n"
NOTHING = Amount()


async def let_go(world: World) -> Report:
    """Approve what is held and run, as `cartwire approve` does."""
    async with world.open() as cartwire:
        await approve(cartwire.syncs["crm"], cartwire.db)
    return await world.run()


def writes(world: World) -> int:
    return sum(seen.method != "GET" for seen in world.news.requests)


async def test_P11_a_first_backfill_is_held_by_the_defaults_until_it_is_approved(world: World) -> None:
    for number in range(31, 231):
        world.shop.state.add_order(email=f"buyer{number}@example.com", total="1.00")
    world.configure(extra="")

    held = await world.backfill()
    still = await world.run(kind="scheduled")

    assert [each.outcome.value for each in (held, still)] == ["held", "held"]
    assert held.held == ["207 new contacts, limits.new_contacts is 200"]
    assert (writes(world), world.contacts) == (0, {})
    assert (await let_go(world)).exit_code == 0
    assert len(world.contacts) == 207


async def test_P11_a_held_run_shows_its_plan_and_what_lets_it_go(world: World) -> None:
    world.configure(extra=TIGHT)

    report = (await world.backfill()).as_dict()

    assert (report["outcome"], report["exit_code"], report["approve"]) == ("held", 1, "cartwire approve crm")
    assert report["plan"] == {
        "contacts": 7,
        "created": 7,
        "lists": {"Customers": {"joins": 7, "leaves": 0}, "Loyal": {"joins": 7, "leaves": 0}},
    }


async def test_P11_what_came_since_goes_along_when_it_is_within_the_limits(world: World) -> None:
    world.configure(extra=TIGHT)
    await world.backfill()
    world.shop.state.add_order(email="later@example.com", total="1.00")

    report = await let_go(world)

    assert (report.outcome.value, len(world.contacts)) == ("done", 8)


async def test_P11_a_plan_that_has_outgrown_its_approval_is_held_again(world: World) -> None:
    world.configure(extra=TIGHT)
    await world.backfill()
    for number in range(4):
        world.shop.state.add_order(email=f"later{number}@example.com", total="1.00")

    report = await let_go(world)

    assert report.held == ["11 new contacts, 4 of them not approved, limits.new_contacts is 3"]
    assert writes(world) == 0
    assert (await let_go(world)).exit_code == 0
    assert len(world.contacts) == 11


async def test_P11_an_approved_push_that_is_cut_off_goes_on_unasked(world: World) -> None:
    world.configure(extra=TIGHT)
    await world.backfill()
    world.news.fail(Fault(status=503), times=1000, when=lambda method, _path: method == "POST")
    failed = await let_go(world)
    world.empty_audience()

    report = await world.run(kind="scheduled")

    assert (failed.exit_code, report.exit_code, len(world.contacts)) == (3, 0, 7)


async def test_P11_an_approval_lends_nothing_to_what_comes_later(world: World) -> None:
    world.configure(extra=TIGHT)
    await world.backfill()
    await let_go(world)
    for number in range(4):
        world.shop.state.add_order(email=f"later{number}@example.com", total="1.00")

    assert (await world.run()).outcome.value == "held"
    assert len(world.contacts) == 7


async def test_P11_yes_given_beforehand_holds_nothing(world: World) -> None:
    world.configure(extra=TIGHT)

    report = await world.run(kind="backfill", history=True, approved=True)

    assert (report.outcome.value, len(world.contacts)) == ("done", 7)


async def test_P11_approving_when_nothing_is_held_is_an_ordinary_run(world: World) -> None:
    world.configure(extra=TIGHT)

    report = await let_go(world)

    assert (report.outcome.value, writes(world)) == ("held", 0)


async def test_P11_a_mapping_that_is_changed_back_needs_no_approval(world: World) -> None:
    await world.backfill()
    world.configure(mapping=MAPPING.replace("orders_count >= 2", "orders_count >= 9"), extra=TIGHT)
    held = await world.run()
    world.configure(extra=TIGHT)

    report = await world.run()

    assert held.held == ["7 list entries, limits.list_changes is 5"]
    assert (report.outcome.value, report.writes) == ("done", 0)


async def test_P10_what_happens_while_the_history_is_held_is_no_history(world: World) -> None:
    world.configure(
        mapping=MAPPING + "  Welcome: {when: orders_count >= 1, journey: true}\n",
        extra="    limits: {new_contacts: 3}\n",
    )
    await world.backfill()
    world.shop.state.add_order(email="waiting@example.com", total="1.00")
    await let_go(world)
    world.shop.state.add_order(email="live@example.com", total="1.00")

    await world.run()

    inside = {email for email, (_, lists, _) in world.contacts.items() if "Welcome" in lists}
    assert inside == {"waiting@example.com", "live@example.com"}


@pytest.mark.parametrize(
    ("changes", "members", "held"),
    [
        (51, 1000, True),
        (50, 1000, False),
        (50, 60, False),
        (51, 60, True),
        (100, 2000, False),
        (900, 0, False),
    ],
)
def test_P11_a_share_counts_from_the_floor_on_and_not_for_a_new_list(
    changes: int, members: int, *, held: bool
) -> None:
    limits = Limits(list_changes="off")

    said = exceeded(limits, Amount(0, {"Fans": changes}), NOTHING, {"Fans": members})

    assert bool(said) == held
    assert all(f"list Fans: {changes} changes, it has {members} members" in line for line in said)


def test_P11_the_limits_of_several_lists_add_up() -> None:
    waiting = Amount(0, {"A": 300, "B": 201})

    assert exceeded(Limits(), waiting, NOTHING, {}) == ["501 list entries, limits.list_changes is 500"]
    assert exceeded(Limits(), waiting, Amount(0, {"A": 1}), {}) == []
    assert exceeded(None, waiting, NOTHING, {}) == []


# --- whatever happens ----------------------------------------------------------------------------------

people = st.integers(0, 5).map(lambda number: f"person{number}@example.com")
limits = st.builds(
    "    limits: {{new_contacts: {}, list_changes: {}}}\n".format, st.integers(0, 3), st.integers(0, 3)
)
steps = st.tuples(st.lists(people, max_size=6), st.sampled_from([1, 2, 3]), limits)
Step = tuple[Sequence[str], int, str]


async def planned(world: World) -> Preview:
    async with world.open() as cartwire:
        return await foresee(cartwire, cartwire.syncs["crm"], file=None, at=None, offline=True)


def entries(world: World) -> Counter[tuple[str, str]]:
    """Count every place on a list: who, and on which."""
    return Counter((email, name) for email, (_, lists, _) in world.contacts.items() for name in lists)


async def check_step(world: World, step: Step) -> None:
    """Let people buy under a mapping and limits; hold, plan, and approve until nothing waits."""
    buyers, least, limit = step
    for email in buyers:
        world.shop.state.add_order(email=email, total="1.00")
    world.configure(mapping=MAPPING.replace("orders_count >= 2", f"orders_count >= {least}"), extra=limit)
    world.forget_requests()
    report = await world.run()
    if not report.held:
        assert (await planned(world)).contacts == 0
        return
    shown = await planned(world)
    assert (await world.run(kind="scheduled")).held == shown.held == report.held
    assert (writes(world), report.pushed.contacts, report.pushed.entries) == (0, 0, 0)
    people_before, entries_before = len(world.contacts), entries(world)

    pushed = (await let_go(world)).pushed

    joined, left = entries(world) - entries_before, entries_before - entries(world)
    assert (pushed.contacts, pushed.entries) == (shown.contacts, sum(each.count for each in shown.lists))
    assert len(world.contacts) - people_before == shown.created
    assert Counter({(each.name, each.joins): each.count for each in shown.lists}) == Counter(
        [*((name, True) for _, name in joined.elements()), *((name, False) for _, name in left.elements())]
    )


@settings(max_examples=settings().max_examples // 8)  # each runs a sync many times
@given(st.lists(steps, min_size=1, max_size=2))
async def test_P11_whatever_is_held_writes_nothing_and_what_is_approved_is_what_was_shown(
    happening: list[Step],
) -> None:
    with TemporaryDirectory() as folder, respx.mock(assert_all_called=False) as router:
        world = make_world(Path(folder), router, [order(1, "first@example.com")])
        for step in happening:
            await check_step(world, step)
