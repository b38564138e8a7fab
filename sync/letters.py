"""`dead-letters`: what could not go through, and trying it again."""

from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime

from state import cursors, runs, settling
from state.runs import DeadLetter
from sync.app import Cartwire
from sync.leases import PATIENCE
from sync.run import Order, run_sync
from sync.show import as_json, as_table


async def letters_of(cartwire: Cartwire) -> list[DeadLetter]:
    """Return every dead letter, of stores and of syncs."""
    return await cartwire.db.read(runs.list_dead_letters, [*cartwire.stores, *cartwire.syncs])


async def retry_all(cartwire: Cartwire) -> None:
    """Read unreadable records again, and push again what was refused; what fails once more stays."""
    now = datetime.now(UTC)
    records: defaultdict[str, list[str]] = defaultdict(list)
    for letter in await letters_of(cartwire):
        if letter.scope in cartwire.stores:
            records[letter.scope].append(letter.record)
    for store, wanted in records.items():
        page = await cartwire.stores[store].reread(wanted)
        await cartwire.db.run(cursors.save_reread, store, wanted, page, now)
    for name, sync in cartwire.syncs.items():
        await cartwire.db.run(settling.retry, name)
        await run_sync(sync, cartwire.db, cartwire.folder, Order(kind="retry", patience=PATIENCE))


def show_letters(letters: list[DeadLetter], *, json: bool) -> None:
    if json:
        as_json([asdict(letter) for letter in letters])
        return
    rows = [(each.scope, each.record, each.reason, each.first_at, each.times) for each in letters]
    as_table("dead letters", ["of", "record", "reason", "since (UTC)", "times"], rows)
