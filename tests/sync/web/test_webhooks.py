"""From a webhook to the ESP: taken in, kept, read, pushed."""

import json
from datetime import UTC, datetime
from typing import Any

from connectors.stores.woocommerce.simulated_rows import order_row
from state import inbox, runs
from tests.sync.conftest import World
from tests.sync.web.conftest import PUBLIC, configure, until, web_of
from tests.sync.web.test_door import signed


def orders(world: World, email: str) -> Any:
    return world.contacts.get(email, ({}, set(), ""))[0].get("ORDERS")


def lists(world: World, email: str) -> set[str]:
    return world.contacts.get(email, ({}, set(), ""))[1]


async def test_an_order_is_at_the_esp_seconds_after_its_webhook(hooked: World) -> None:
    async with web_of(hooked) as web:
        hooked.shop.state.add_order(email="new@example.com", total="12.00")

        taken = await web.deliver()
        await until(lambda: lists(hooked, "new@example.com"))

    assert (taken, web.answers) == (2, [200, 200])
    assert lists(hooked, "new@example.com") == {"Customers"}


async def test_a_run_for_a_webhook_asks_the_shop_nothing_that_the_webhook_told(hooked: World) -> None:
    async with web_of(hooked) as web:
        hooked.forget_requests()
        hooked.shop.state.add_order(email="person1@example.com", total="12.00")

        await web.deliver()
        await until(lambda: orders(hooked, "person1@example.com") == 6)

    assert hooked.shop.requests == []


async def test_many_webhooks_that_come_together_are_one_run(hooked: World) -> None:
    async with web_of(hooked) as web:
        for _ in range(20):
            hooked.shop.state.add_order(email="person1@example.com", total="12.00")
        before = len(await web.read(runs.list_runs))

        await web.deliver()
        await until(lambda: orders(hooked, "person1@example.com") == 25)
        after = await web.read(runs.list_runs)

    assert len(web.answers) == 40
    assert [run.kind for run in after[: len(after) - before]] == ["webhook"] * (len(after) - before)
    assert len(after) - before <= 2


async def test_an_order_in_the_trash_counts_no_more_seconds_after_its_webhook(hooked: World) -> None:
    async with web_of(hooked) as web:
        hooked.shop.state.trash(8)

        await web.deliver()
        await until(lambda: orders(hooked, "person1@example.com") == 4)

    assert await _depth(hooked) == 0


async def test_webhooks_that_came_before_the_history_was_read_wait_for_it(hooked: World) -> None:
    body = json.dumps(order_row(hooked.shop.state, 8)).encode()
    async with hooked.open() as cartwire:
        store: Any = cartwire.stores["shop"]
        headers = {name.lower(): value for name, value in signed(body, topic="order.created").items()}
        delivery = store.verify(headers, body, datetime.now(UTC))
        received = inbox.Received("shop", delivery.id, delivery.topic, body, datetime.now(UTC))
        await cartwire.db.run(inbox.receive, [received])

    report = await hooked.run(kind="webhook", pull=False)
    before = dict(hooked.contacts)
    await hooked.backfill()

    assert (report.inbox["shop"].deliveries, report.outcome.value) == (1, "done")
    assert before == {}
    assert orders(hooked, "person1@example.com") == 5


async def test_limits_hold_for_webhooks_too(world: World) -> None:
    configure(world, "    schedule: daily at 03:00\n    limits:\n      new_contacts: 10\n")
    async with web_of(world) as web:
        for number in range(500, 512):
            body = json.dumps(order_row(world.shop.state, 1) | {"id": number} | _by(f"n{number}@example.com"))
            answer = await web.client.post(
                f"{PUBLIC}/webhooks/shop",
                content=body.encode(),
                headers=signed(body.encode(), topic="order.created"),
            )
            assert answer.status_code == 200
        await until(lambda: web.worker.facts["crm"].last_outcome == "held")

    assert not [email for email in world.contacts if email.startswith("n5")]


async def test_P5_half_a_letter_in_a_name_keeps_the_inbox_from_nothing(hooked: World) -> None:
    """Shops cut texts in the middle of an emoji: JSON can say that, and nothing can store it."""
    row = order_row(hooked.shop.state, 1) | {"id": 9001} | _by("new@example.com", "Ad\ud83d")
    body = json.dumps(row).encode()

    async with web_of(hooked) as web:
        await web.client.post("/webhooks/shop", content=body, headers=signed(body, topic="order.updated"))
        await until(lambda: lists(hooked, "new@example.com"))

    assert hooked.contacts["new@example.com"][0]["FNAME"] == "Ad\ufffd"


def _by(email: str, first_name: str = "Ada") -> dict[str, Any]:
    return {"billing": {"first_name": first_name, "last_name": "L", "email": email, "country": "FR"}}


async def _depth(world: World) -> int:
    async with world.open() as cartwire:
        return sum(each.count for each in await cartwire.db.read(inbox.depths))
