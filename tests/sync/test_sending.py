"""One batch: whose no has to reach the ESP where the new address does not."""

from collections.abc import Sequence
from typing import Any

import pytest

from connectors.base import Blame, Contact, Refusal, Subscribe
from connectors.errors import RemoteFault
from state.outbox import ContactJob
from sync.sending import send

MOVED = Contact(1, "new@example.com", {"A": 1}, Subscribe.STOP, known=True, was="old@example.com")
PLAIN = Contact(2, "ada@example.com", {"A": 1})


class Platform:
    """Takes no change of address; `stops` says what it answers to a STOP at the old one."""

    def __init__(self, stops: Blame | Exception | None) -> None:
        self.stops = stops
        self.pushed: list[Contact] = []

    async def push(self, contacts: Sequence[Contact]) -> list[Refusal]:
        self.pushed += contacts
        if any(contact.was for contact in contacts):
            return [Refusal(contact.profile, Blame.BLOCKED, "no") for contact in contacts if contact.was]
        if isinstance(self.stops, Exception):
            raise self.stops
        return [Refusal(1, self.stops, "down")] if self.stops else []


@pytest.mark.parametrize(
    ("stops", "blame"),
    [
        (None, Blame.BLOCKED),
        (Blame.BLOCKED, Blame.BLOCKED),
        (Blame.CONTACT, Blame.BLOCKED),
        (Blame.BROKEN, Blame.BROKEN),
        (Blame.LATER, Blame.BROKEN),
        (RemoteFault("down"), Blame.BROKEN),
    ],
)
async def test_P4_a_no_that_does_not_arrive_at_the_old_address_is_tried_again(
    stops: Any, blame: Blame
) -> None:
    platform = Platform(stops)
    batch = [ContactJob("x", MOVED), ContactJob("y", PLAIN)]

    refusals = await send(platform, batch, {"A": "no such field"})  # type: ignore[arg-type]

    absent = [(1, Blame.ABSENT), (2, Blame.ABSENT)]
    assert [(each.profile, each.blame) for each in refusals] == [*absent, (1, blame)]
    assert platform.pushed[-1] == Contact(1, "old@example.com", {}, Subscribe.STOP, known=True)


class Taker:
    """Takes everybody, but for whom `refusals` name."""

    def __init__(self, *refusals: Refusal) -> None:
        self.refusals = refusals

    async def push(self, _contacts: Sequence[Contact]) -> list[Refusal]:
        return list(self.refusals)


@pytest.mark.parametrize("refused", [(), (Refusal(2, Blame.CONTACT, "no"),)], ids=["taken", "refused"])
async def test_P3_whose_old_contact_is_somebody_elses_has_nothing_of_ours_at_the_new_address(
    refused: tuple[Refusal, ...],
) -> None:
    batch = [ContactJob("x", MOVED), ContactJob("y", PLAIN, moved=True)]

    refusals = await send(Taker(*refused), batch, {})  # type: ignore[arg-type]

    anew = [] if refused else [(2, Blame.ANEW)]
    assert [(each.profile, each.blame) for each in refusals] == [*((2, r.blame) for r in refused), *anew]
