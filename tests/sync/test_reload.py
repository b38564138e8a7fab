"""Files that a configuration rests on are watched, and what a run still uses stays open."""

from typing import Any

import pytest

from sync.generations import Generations
from sync.reload import stamp
from tests.sync.conftest import World


@pytest.mark.parametrize("name", [".env", "cartwire.yaml", "mappings/crm.yaml", "mappings/base.yaml", "key"])
def test_a_change_of_any_file_that_counts_is_seen(world: World, name: str) -> None:
    (world.folder / "key").write_text("old")
    file = world.folder / "cartwire.yaml"
    file.write_text(f"{file.read_text()}# ${{HOOK_KEY}}\n")
    environ = {"HOOK_KEY_FILE": "key"}
    before = stamp(world.plant, environ)
    again = stamp(world.plant, environ)

    with (world.folder / name).open("a") as changed:
        changed.write("# more\n")

    assert before == again
    assert stamp(world.plant, environ) != before


def test_a_file_of_a_secret_that_the_env_file_names_is_watched(world: World) -> None:
    (world.folder / "key").write_text("old")
    (world.folder / ".env").write_text("HOOK_KEY_FILE=key\n")
    file = world.folder / "cartwire.yaml"
    file.write_text(f"{file.read_text()}# ${{HOOK_KEY}}\n")
    before = stamp(world.plant, {})

    (world.folder / "key").write_text("a new one")

    assert stamp(world.plant, {}) != before


class Generation:
    """Wired parts that say whether they were closed."""

    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


async def test_what_a_run_began_with_stays_open_until_its_end() -> None:
    first, second, third = (Generation() for _ in range(3))
    generations: Any = Generations(first)  # type: ignore[arg-type]
    await generations.replace(second)

    async with generations.using() as mine, generations.using():
        await generations.replace(third)
        during = second.is_closed
    await generations.aclose()

    assert mine is second
    assert (during, second.is_closed, third.is_closed, first.is_closed) == (False, True, True, False)
