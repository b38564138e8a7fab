"""A worker through days of simulated trouble, compared with the oracle at the end; the same as tests/sync/test_soak.py.

    make soak                                                72 simulated hours
    make soak ARGS="--hours 6 --seed 3"                      fewer, or another story

Exits 1 when anything is wrong, and says with which seed.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import structlog

from tests.canaries import Watch
from tests.sync.soak import Sizes, Soak, soaked

SHOWN = 20
"""Faults of one soak that are named one by one."""


def table(soak: Soak) -> None:
    """Print what happened, and how large everything was every so often."""
    told = soak.told
    print(f"{'hour':>6}{'orders':>9}{'runs kept':>11}{'inbox':>7}{'state MB':>10}{'memory MB':>11}")
    for each in told.samples[:: max(1, len(told.samples) // 6)] + told.samples[-1:]:
        figures = f"{each.orders:9}{each.runs:11}{each.waiting:7}{each.state:10.1f}{each.memory:11.0f}"
        print(f"{each.hour:6}{figures}")
    for name, counts in {
        "happened": soak.life.deeds,
        "deliveries": told.deliveries,
        "lives": told.lives,
        "runs": told.runs,
        "answers": told.requests,
    }.items():
        print(f"{name:12}" + ", ".join(f"{what} {count}" for what, count in counts.most_common()))
    print(f"{'alerts':12}{len(told.alerts)}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Let a worker live through simulated trouble.")
    parser.add_argument("--hours", type=int, default=72)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    watch = Watch()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, watch])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        soak, wrong = asyncio.run(soaked(Path(folder), Sizes(wanted.hours), wanted.seed))
    wrong += [f"seed {wanted.seed}: the log gives away {found}" for found in watch.found]
    table(soak)
    print(*wrong[:SHOWN], sep="\n")
    verdict = f"{len(wrong)} things wrong" if wrong else "nothing lost, nothing doubled, no drift"
    print(f"{wanted.hours} hours, seed {wanted.seed}, {time.perf_counter() - began:.0f} s: {verdict}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
