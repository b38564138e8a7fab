"""P1, P2, P4, P10: a worker through a simulated day's trouble ends where the oracle says. `make soak` takes three days."""

from pathlib import Path

import pytest

from tests.sync.soak import Sizes, soaked


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("seed", [7])
async def test_P2_a_worker_in_every_trouble_ends_without_drift(tmp_path: Path, seed: int) -> None:
    soak, wrong = await soaked(tmp_path, Sizes(hours=6, every=30, bursts=3.0, people=60), seed)

    assert wrong == []
    assert soak.told.lives["killed"] >= 1
    assert soak.told.started
