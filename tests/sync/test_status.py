"""`status` tells a terminal what /metrics tells Prometheus, and fits it."""

from datetime import UTC, datetime

import pytest

from state import inbox
from state.inbox import Received
from sync.status import show_status, status_of
from tests.sync.conftest import World

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def test_status_says_what_waits_and_how_far_the_stores_were_read(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    before = datetime.now(UTC)
    await world.backfill()
    async with world.open() as cartwire:
        await cartwire.db.run(inbox.receive, [Received("shop", "1", "order.created", b"{}", NOW)])
        lines = await status_of(cartwire)

    show_status(lines, json=False)

    shown = capsys.readouterr().out
    assert (lines[0]["webhooks_waiting"], lines[0]["profiles"]) == (1, 7)
    assert lines[0]["stores_read_at"] >= before
    assert f"{lines[0]['last_run_at']:%Y-%m-%d %H:%M:%S}" in shown
    assert "webhooks waiting" in shown
    assert "\u2026" not in shown
