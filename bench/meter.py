"""What a piece of work costs the process that does it: wall and CPU seconds, all threads, and its peak memory."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct, field

STATUS = Path("/proc/self/status")


class Cost(Struct):
    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


class Figures(Struct):
    """What one process measured: costs by stage, peak memory in MB, and how its job ended."""

    costs: dict[str, Cost] = field(default_factory=dict)
    peak: float = 0.0
    outcome: str = "done"

    @property
    def whole(self) -> Cost:
        return sum(self.costs.values(), Cost())

    def tell(self) -> None:
        """Print them for the process that asked."""
        self.peak = peak_megabytes()
        print(msgspec.json.encode(self).decode())


@contextmanager
def metered(figures: Figures, stage: str) -> Iterator[None]:
    """Note what the block costs."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures.costs[stage] = Cost(time.perf_counter() - wall, time.process_time() - cpu)


def peak_megabytes() -> float:
    """Read the process's own high-water mark: `ru_maxrss` may be that of the process which started it."""
    if STATUS.exists():
        return int(STATUS.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
