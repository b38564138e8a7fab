"""Pages of several windows on their way into the state store."""

import asyncio

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Page, Resource, Window
from state import cursors
from state.tables import OrderRow, table
from sync.pull import Reading, Saving, Source
from tests.state.makers import START, at, order
from tests.sync.conftest import World


def stored_orders(session: Session) -> set[str]:
    return set(session.scalars(select(table(OrderRow).c.id)))


async def test_P2_pages_that_wait_together_are_all_stored_each_with_its_cursor(world: World) -> None:
    windows = [Window(Resource.ORDERS, at(start), at(start + 10)) for start in (0, 10, 20, 30)]

    async with world.open() as cartwire:
        await cartwire.db.run(cursors.start_backfill, "shop", windows, START)
        opened = await cartwire.db.read(cursors.open_windows, "shop", Resource.ORDERS)
        reading = Reading(Source("shop", cartwire.stores["shop"]), cartwire.db, START)
        saving = Saving(reading)
        told = await asyncio.gather(
            *(
                saving.save(each, Page([order(each.position)], f"c{each.position}", total=1))
                for each in opened
            )
        )
        stored = await cartwire.db.read(stored_orders)
        after = await cartwire.db.read(cursors.open_windows, "shop", Resource.ORDERS)

    assert stored == {"0", "1", "2", "3"}
    assert [each.cursor for each in after] == ["c0", "c1", "c2", "c3"]
    assert [progress.done for progress in told] == [1, 4, 4, 4]
    assert reading.pulled.changed == 4
