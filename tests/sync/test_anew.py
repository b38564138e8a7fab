"""P3, P4 and P10 where a contact turns out to have nothing of ours: the next run fills it, with each type of ESP."""

from pathlib import Path

import pytest

from connectors.base import Audited
from sync.letters import letters_of
from tests.sync.test_every_esp import MAPPING, NEW, SUBSCRIBED, Place, place

__all__ = ["place"]

THERE = "there@example.com"
"""An address that the ESP had before us."""
FILLED = frozenset({"Customers"})


@pytest.fixture(autouse=True)
def _two_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Map a field that changes with an order, and one that does not; and let nothing but P10 bar the journey."""
    monkeypatch.setitem(MAPPING, "fields", {"ORDERS": "orders_count", "NOTE": "first_name"})
    monkeypatch.setitem(MAPPING["lists"]["Welcome"], "reenter", "always")


async def landed(place: Place) -> list[int]:
    """Run three times; return how many writes each made."""
    reports = [await place.run() for _ in range(3)]
    assert {(report.pushed.refused, report.exit_code) for report in reports} == {(0, 0)}
    assert await letters_of(place.cartwire) == []
    return [report.pushed.contacts + report.pushed.entries for report in reports]


async def known(place: Place, email: str) -> int:
    """Let somebody who agreed become known, and enter the journey, and the journey's list be emptied there."""
    await place.run(history=True)
    account = place.shop.state.add_account(email, first_name="Ada")
    place.shop.state.set_account_meta(account, SUBSCRIBED, "1")
    place.shop.state.add_order(email=email, account=account, first_name="Ada", total="5.00")
    await place.run()
    assert place.shown(email).lists == {"Customers", "Welcome"}
    return account


async def test_P3_who_was_deleted_at_the_ESP_is_whole_after_two_runs(place: Place) -> None:
    if place.row.vanish is None:
        pytest.skip("nobody is gone there without a trace")
    account = await known(place, NEW)
    place.row.vanish(place.state, NEW)
    place.shop.state.add_order(email=NEW, account=account, first_name="Ada", total="5.00")

    writes = await landed(place)

    shown = place.shown(NEW)
    assert (shown.fields, shown.lists) == ({"ORDERS": "2", "NOTE": "Ada"}, FILLED)
    assert (writes[0], writes[1] > 0, writes[2]) == (1, True, 0)


async def test_P4_who_was_deleted_at_the_ESP_comes_back_without_a_subscription(place: Place) -> None:
    if place.row.vanish is None or isinstance(place.state, Path):
        pytest.skip("nobody is gone there without a trace, or a file says again what the store does")
    account = await known(place, NEW)
    before = place.mailable(NEW)
    place.row.vanish(place.state, NEW)
    place.shop.state.add_order(email=NEW, account=account, first_name="Ada", total="5.00")

    await landed(place)
    place.shop.state.add_order(email=NEW, account=account, first_name="Ada", total="5.00")
    await place.run()

    assert (before, place.mailable(NEW)) == (True, False)


@pytest.mark.parametrize("opted_out", [False, True])
async def test_P3_who_moves_to_an_address_that_the_ESP_has_is_whole_after_two_runs(
    *, place: Place, opted_out: bool
) -> None:
    if not isinstance(place.cartwire.syncs["crm"].esp, Audited):
        pytest.skip("a hook says nothing of its contacts")
    account = await known(place, NEW)
    place.row.add(place.state, THERE)
    if opted_out:
        place.row.departures[max(place.row.told)](place.state, THERE)
    before = place.mailable(THERE)
    place.shop.state.change_account_email(account, THERE)
    place.shop.state.add_order(email=THERE, account=account, first_name="Ada", total="5.00")

    writes = await landed(place)

    shown = place.shown(THERE)
    assert (shown.fields, shown.lists) == ({"ORDERS": "2", "NOTE": "Ada"}, FILLED)
    assert (shown.mailable == before, writes[1] > 0, writes[2]) == (True, True, 0)
    assert NEW not in {email for email in place.row.show(place.state) if place.mailable(email)}


async def test_P3_whose_old_address_is_gone_when_they_move_is_whole_after_two_runs(place: Place) -> None:
    if place.row.vanish is None:
        pytest.skip("nobody is gone there without a trace")
    account = await known(place, NEW)
    place.row.vanish(place.state, NEW)
    place.shop.state.change_account_email(account, THERE)
    place.shop.state.add_order(email=THERE, account=account, first_name="Ada", total="5.00")

    writes = await landed(place)

    shown = place.shown(THERE)
    assert (shown.fields, shown.lists) == ({"ORDERS": "2", "NOTE": "Ada"}, FILLED)
    assert (writes[1] > 0, writes[2]) == (True, 0)
