"""What the owner wrote, watched: a change is read when the files have stood still for one look."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from config import yaml
from config.secrets import ENV_FILE, REFERENCE, open_vault
from config.settings import MAIN_FILE
from sync.plant import DEEPEST, PRESET, Plant

Stamped = tuple[str, int, int]
Stamp = tuple[Stamped, ...]


def stamp(plant: Plant, environ: Mapping[str, str] | None = None) -> Stamp:
    """Sum up size and age of every file that a configuration is read from, or could be after a change.

    A file that is missing counts as such.
    """
    found = set(_files(plant, os.environ if environ is None else environ))
    return tuple(sorted(_stamped(path) for path in found))


def _files(plant: Plant, environ: Mapping[str, str]) -> Iterator[Path]:
    folder = plant.settings.folder
    yield folder / ENV_FILE
    for name in plant.loaded.documents:
        yield folder / name
        if name != MAIN_FILE:  # what a mapping extends stands beside it
            yield from _beside(folder / name)
    yield from _led_to(folder / MAIN_FILE, DEEPEST)
    yield from _secret_files(folder, environ)


def _beside(file: Path) -> Sequence[Path]:
    """Find the YAML files of a file's folder; none where there can be no such folder."""
    try:
        return list(file.parent.glob("*.y*ml"))
    except (OSError, ValueError):
        return ()


def _led_to(file: Path, deep: int) -> Iterator[Path]:
    """Follow what the files say now, which may have been refused: what they name may come later."""
    for name in _named_in(_stamped(file)) if deep else ():
        path = file.parent / name
        yield path
        yield from _beside(path)
        yield from _led_to(path, deep - 1)


@lru_cache(maxsize=100)
def _named_in(stamped: Stamped) -> Sequence[str]:
    """Read which files a file names: cartwire.yaml its mappings, a mapping what it extends."""
    content = yaml.read(Path(stamped[0]), "").data
    syncs = content.get("syncs")
    entries = syncs.values() if isinstance(syncs, dict) else ()
    named = [content.get("extends"), *(each.get("mapping") for each in entries if isinstance(each, dict))]
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
