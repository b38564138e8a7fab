"""P2: addresses that pass from one to another, when a kill comes between their batches."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from connectors.base import Refusal
from connectors.esps.mailchimp.connector import Mailchimp
from state.outbox import ContactJob
from sync import push
from tests.faults import Killed
from tests.sync.conftest import World


async def test_P2_a_newcomer_keeps_the_address_that_somebody_left_before_a_kill(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename has come through and was not noted; the newcomer's contact, in another batch, was."""
    shop = world.shop.state
    ada = shop.add_account("ada@example.com")
    shop.add_order(email="ada@example.com", account=ada, total="1.00")
    await world.backfill()
    shop.change_account_email(ada, "bob@example.com")
    await world.run(resting={"news": "down"})
    shop.add_order(email="ada@example.com", total="9.00")
    await world.run(resting={"news": "down"})
    settle, newcomer_landed = push._settle, asyncio.Event()

    async def killed(this: push.Round, batch: Sequence[ContactJob], refusals: Sequence[Refusal]) -> None:
        if batch[0].contact.was:
            await newcomer_landed.wait()
            raise Killed("after the rename")
        await settle(this, batch, refusals)
        newcomer_landed.set()

    async with world.open() as cartwire:
        traits = cartwire.syncs["crm"].esp.traits
    monkeypatch.setattr(Mailchimp, "traits", replace(traits, batch_size=1, pushes=8))
    with monkeypatch.context() as patches:
        patches.setattr(push, "_settle", killed)
        with pytest.raises(Killed):
            await world.run()

    await world.run()
    await world.run()

    spent = {email: fields.get("SPENT") for email, (fields, _, _) in world.contacts.items()}
    assert (spent["ada@example.com"], spent["bob@example.com"]) == (9.0, 1.0)
    assert {world.contacts[email][2] for email in ("ada@example.com", "bob@example.com")} == {"transactional"}
