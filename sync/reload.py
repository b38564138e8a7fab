"""What the owner wrote, watched: a change is read when the files have stood still for one look."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from config import yaml
from config.secrets import ENV_FILE, REFERENCE, open_vault
from config.settings import MAIN_FILE
from sync.plant import DEEPEST, PRESET, Plant

Stamped = tuple[str, int, int]
Stamp = tuple[Stamped, ...]

MOST_MAPPINGS = 2_000
"""So many are remembered: a look at files that did not change reads none of them."""


def stamp(plant: Plant, environ: Mapping[str, str] | None = None) -> Stamp:
    """Sum up size and age of every file that a configuration is read from, or could be after a change.

    A file that is missing counts as such.
    """
    found = set(_files(plant, os.environ if environ is None else environ))
    return tuple(sorted(_stamped(path) for path in found))


def _files(plant: Plant, environ: Mapping[str, str]) -> Iterator[Path]:
    folder = plant.settings.folder
    mappings = {folder / name for name in plant.loaded.documents if name != MAIN_FILE}
    mappings |= _led_to(folder / MAIN_FILE, DEEPEST)
    yield folder / ENV_FILE
    yield folder / MAIN_FILE
    yield from mappings
    for place in {mapping.parent for mapping in mappings}:  # what a mapping extends stands beside it
        yield from _beside(place)
    yield from _secret_files(folder, environ)


def _beside(place: Path) -> Sequence[Path]:
    """Find the YAML files of a folder; none where there can be no such folder."""
    try:
        return list(place.glob("*.y*ml"))
    except (OSError, ValueError):
        return ()


def _led_to(main: Path, deep: int) -> set[Path]:
    """Follow what the files say now, which may have been refused: what they name may come later."""
    found: set[Path] = set()
    named = {main.parent / name for name in _mappings_in(_stamped(main))}
    for _ in range(deep + 1):  # a mapping, and what it extends
        found |= named
        named = {file.parent / name for file in named for name in _extended_by(_stamped(file))} - found
    return found


@lru_cache(maxsize=10)
def _mappings_in(stamped: Stamped) -> Sequence[str]:
    """Read which mappings cartwire.yaml names."""
    syncs = yaml.read(Path(stamped[0]), "").data.get("syncs")
    entries = syncs.values() if isinstance(syncs, dict) else ()
    return _files_among(each.get("mapping") for each in entries if isinstance(each, dict))


@lru_cache(maxsize=MOST_MAPPINGS)
def _extended_by(stamped: Stamped) -> Sequence[str]:
    """Read which file a mapping extends, if any."""
    return _files_among([yaml.read(Path(stamped[0]), "").data.get("extends")])


def _files_among(named: Iterable[object]) -> Sequence[str]:
    return [each for each in named if isinstance(each, str) and not each.startswith(PRESET)]


def _secret_files(folder: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Find the files of secrets that cartwire.yaml takes a value from, named in the environment or in `.env`."""
    try:
        text = (folder / MAIN_FILE).read_text("utf-8", "replace")
    except OSError:
        return
    known = {**open_vault(folder, {}).dotenv, **environ}
    for found in REFERENCE.finditer(text):
        file = known.get(f"{found[2]}_FILE")
        if file:
            yield folder / file


def _stamped(path: Path) -> Stamped:
    try:
        known = path.stat()
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return str(path), 0, 0
    return str(path), known.st_mtime_ns, known.st_size
