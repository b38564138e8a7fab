"""One job of Cartwire in a process of its own, measured from within: what starting Python takes is not counted.

python -m bench.job FOLDER sync|stages
"""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench.meter import Figures, metered
from config import logging
from state import profiles
from sync import cli
from sync.app import Cartwire
from sync.job import utc_now
from sync.names import make_ready
from sync.plan import CHUNK, plan
from sync.plant import read_plant
from sync.pull import Reading, pull_history
from sync.push import Pushing, push
from sync.run import Order, run_sync

SYNC = "crm"


async def run(cartwire: Cartwire, figures: Figures) -> None:
    """Run the sync once; the first time that is its whole history."""
    with metered(figures, "sync"):
        report = await run_sync(cartwire.syncs[SYNC], cartwire.db, cartwire.folder, Order())
    figures.outcome = report.outcome.value


async def stages(cartwire: Cartwire, figures: Figures) -> None:
    """Do the stages of a first run one after the other, each alone."""
    sync, now = cartwire.syncs[SYNC], utc_now()
    with metered(figures, "pull"):
        await pull_history(Reading(sync.sources[0], cartwire.db, now), None)
    with metered(figures, "profiles"):
        while await cartwire.db.run(profiles.refresh, sync.job.scope, CHUNK, now):
            pass
    with metered(figures, "plan"):
        await plan(sync.job, cartwire.db, now)
    with metered(figures, "push"):
        ready = await make_ready(sync.job, sync.esp, cartwire.db, now)
        await push(Pushing(sync.job, sync.esp, cartwire.db, now, ready.missing))


JOBS: Mapping[str, Callable[[Cartwire, Figures], Awaitable[None]]] = {"sync": run, "stages": stages}


async def main(folder: Path, job: str) -> None:
    plant = read_plant(folder, {})
    logging.configure(secrets=plant.loaded.secrets, json=True, level="warning")
    gc.set_threshold(cli.COLLECT_AFTER)
    figures = Figures()
    async with Cartwire(plant) as cartwire:
        await JOBS[job](cartwire, figures)
    figures.tell()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
