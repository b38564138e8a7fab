"""Files that a configuration rests on are watched, and what a run still uses stays open."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config import yaml
from sync.generations import Generations
from sync.reload import stamp
from sync.worker import Worker
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


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("cartwire.yaml", "mapping: mappings/crm.yaml", "mapping: later/base.yaml"),
        ("mappings/crm.yaml", "fields:", "extends: ../later/base.yaml\nfields:"),
    ],
)
def test_what_a_refused_configuration_misses_is_watched(world: World, file: str, old: str, new: str) -> None:
    in_use = world.plant
    written = world.folder / file
    written.write_text(written.read_text().replace(old, new))
    before = stamp(in_use, {})

    (world.folder / "later").mkdir()
    (world.folder / "later" / "base.yaml").write_text("fields: {}\n")

    assert stamp(in_use, {}) != before


@pytest.mark.parametrize("name", ["a\\0b/c.yaml", f"{'a' * 300}/c.yaml", "[a]", "", "../../.."])
def test_a_mapping_that_no_file_can_be_ends_no_watch(world: World, name: str) -> None:
    in_use = world.plant
    written = world.folder / "cartwire.yaml"
    written.write_text(written.read_text().replace("mapping: mappings/crm.yaml", f'mapping: "{name}"'))

    assert stamp(in_use, {}) == stamp(in_use, {})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name the files that are read, each time."""
    names: list[str] = []
    really = yaml.read

    def reading(path: Path, name: str) -> yaml.Document:
        names.append(path.name)
        return really(path, name)

    monkeypatch.setattr("sync.reload.yaml.read", reading)
    return names


def written_with(world: World, mappings: Sequence[str]) -> None:
    syncs = "".join(f"  s{number}: {{mapping: {name}}}\n" for number, name in enumerate(mappings))
    (world.folder / "cartwire.yaml").write_text(f"syncs:\n{syncs}")


def test_a_look_at_files_that_did_not_change_reads_none_however_many(world: World, read: list[str]) -> None:
    in_use, names = world.plant, [f"m{number}.yaml" for number in range(120)]
    written_with(world, names)
    for name in names:
        (world.folder / name).write_text("fields: {}\n")
    read.clear()

    first = stamp(in_use, {})
    read_at_first = [name for name in read if name in names]
    read.clear()

    assert sorted(read_at_first) == sorted(names)
    assert (stamp(in_use, {}), read) == (first, [])


def test_files_that_name_each_other_are_looked_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = world.plant
    looks: list[Path] = []
    written_with(world, ["cartwire.yaml"] * 5 + ["a.yaml", "b.yaml"])
    (world.folder / "a.yaml").write_text("extends: b.yaml\n")
    (world.folder / "b.yaml").write_text("extends: a.yaml\n")

    def beside(place: Path) -> Sequence[Path]:
        looks.append(place)
        return ()

    monkeypatch.setattr("sync.reload._beside", beside)

    stamp(in_use, {})

    assert looks
    assert len(looks) == len(set(looks))


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


class Looks:
    """A worker that looks at its files a few times; they change once more right after the first has been read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files, self.read, self.left = 0, [], 12
        self.changes_after_next_stamp = False
        self.cartwire = SimpleNamespace(plant=None)
        self.clock, self._never = self, None
        monkeypatch.setattr("sync.worker.stamp", self.stamp)

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)

    async def wait(self, _until: datetime, _woken: object) -> None:
        self.left -= 1
        if self.left == 10:
            self.files = 1
        if self.left == 0:
            raise asyncio.CancelledError

    def stamp(self, _plant: object) -> int:
        seen = self.files
        if self.changes_after_next_stamp:
            self.changes_after_next_stamp, self.files = False, 2
        return seen

    async def reread(self) -> None:
        self.read.append(self.files)
        self.changes_after_next_stamp = self.files == 1


async def test_a_change_right_after_a_reading_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Any = Looks(monkeypatch)

    with pytest.raises(asyncio.CancelledError):
        await Worker._watch_files(looks)

    assert looks.read == [1, 2]
