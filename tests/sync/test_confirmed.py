"""Who has confirmed is found by address however the ESP writes it, and among those only who came to be since."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any

import pytest

from state import confirmations
from state.db import Database
from sync.confirmed import hear_confirmed
from tests.state.makers import ADA, BOB, START


class Asking:
    """An ESP that tells of two contacts on two pages, one of them twice."""

    unknown = "not there"

    def __init__(self) -> None:
        self.asked: list[datetime | None] = []

    async def confirmed(self, since: datetime | None) -> AsyncIterator[Sequence[str]]:
        self.asked.append(since)
        for page in (["Ada@Example.com"], ["ADA@example.com", "stranger@example.com"]):
            yield page


async def test_who_is_found_is_offered_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    esp: Any = Asking()
    offered: list[Collection[int]] = []
    monkeypatch.setattr(confirmations, "waiting", lambda *_: {ADA: {1}, BOB: {2}})
    monkeypatch.setattr(confirmations, "offer_again", lambda _c, _s, profiles, _r: offered.append(profiles))
    db = Database("sqlite://")

    heard = await hear_confirmed(esp, "crm", db, START)
    db.close()

    assert (heard, offered, esp.asked) == (True, [{1}], [START])


async def test_nobody_is_asked_for_where_nobody_waits() -> None:
    esp: Any = Asking()
    db = Database("sqlite://")

    heard = await hear_confirmed(esp, "crm", db, START)
    db.close()

    assert (heard, esp.asked) == (False, [])
