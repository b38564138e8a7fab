"""From a webhook to the ESP: taken in, kept, read, pushed."""

from tests.sync.conftest import World
from tests.sync.web.conftest import until, web_of


async def test_an_order_is_at_the_esp_seconds_after_its_webhook(hooked: World) -> None:
    async with web_of(hooked) as web:
        hooked.shop.state.add_order(email="new@example.com", total="12.00")

        taken = await web.deliver()
        await until(lambda: hooked.contacts.get("new@example.com", [0, 0])[1])

    assert (taken, web.answers) == (2, [200, 200])
    assert hooked.contacts["new@example.com"][1] == {"Customers"}
