"""The owner is told once when something stops and once when it goes on, whoever finds out, and when."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from state.db import Database
from sync.troubles import Kind, Troubles

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
async def troubles(told: list[str]) -> AsyncIterator[Troubles]:
    async def tell(_title: str, text: str) -> None:
        told.append(text)

    db = Database("sqlite://")
    yield Troubles(db, tell)
    db.close()


async def test_syncs_that_share_a_store_and_meet_its_trouble_at_once_tell_once(
    troubles: Troubles, told: list[str]
) -> None:
    await asyncio.gather(*[troubles.begin("shop", Kind.REFUSED, "401", NOW) for _ in range(3)])
    await asyncio.gather(*[troubles.end("shop", Kind.REFUSED) for _ in range(3)])

    assert [words.split(" since")[0] for words in told] == [
        "shop refuses us",
        "shop takes us again. What was missed",
    ]


async def test_a_state_store_that_cannot_be_written_keeps_no_word_from_the_owner(
    troubles: Troubles, told: list[str]
) -> None:
    def lock_up(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE troubles RENAME TO away"))

    await troubles._db.run(lock_up)
    for _ in range(3):
        await troubles.begin("crm", Kind.STALLED, "the disk is full", NOW)
    await troubles.end("crm", Kind.STALLED)

    assert len(told) == 2


async def test_what_a_server_needs_to_start_anew_is_nobodys_concern(
    troubles: Troubles, told: list[str]
) -> None:
    for minutes in (0, 9, 10, 40):
        await troubles.begin("shop", Kind.DOWN, "503", NOW + timedelta(minutes=minutes))
        told.append(f"{minutes} minutes")

    assert [words[:23] for words in told] == [
        "0 minutes",
        "9 minutes",
        "shop cannot be reached ",
        "10 minutes",
        "40 minutes",
    ]


async def test_who_comes_back_after_having_left_is_told_of_anew(troubles: Troubles, told: list[str]) -> None:
    for name in ("shop", "outlet"):
        await troubles.begin(name, Kind.REFUSED, "401", NOW)
    await troubles.keep_only(["shop"])
    await troubles.load()
    for name in ("shop", "outlet"):
        await troubles.begin(name, Kind.REFUSED, "401", NOW)

    assert [words.split()[0] for words in told] == ["shop", "outlet", "outlet"]


async def test_a_pause_of_a_clock_that_was_ahead_keeps_nobody_from_being_asked(troubles: Troubles) -> None:
    ahead = NOW + timedelta(hours=5)
    await troubles.begin("shop", Kind.REFUSED, "401", ahead, timedelta(minutes=15))

    assert troubles.resting(["shop"], NOW) == {}
    assert list(troubles.resting(["shop"], ahead)) == ["shop"]

    await troubles.begin("shop", Kind.REFUSED, "401", NOW, timedelta(minutes=30))

    assert list(troubles.resting(["shop"], NOW + timedelta(minutes=29))) == ["shop"]


async def test_a_pause_that_was_renewed_by_a_clock_that_was_ahead_keeps_nobody_from_being_asked(
    troubles: Troubles,
) -> None:
    later = NOW + timedelta(hours=1)
    for began in (NOW, NOW + timedelta(days=30)):
        await troubles.begin("shop", Kind.REFUSED, "401", began, timedelta(minutes=15))

    assert troubles.resting(["shop"], later) == {}
