"""What the owner wrote, watched: a change is read when the files have stood still for one look."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from config.secrets import ENV_FILE, REFERENCE, open_vault
from config.settings import MAIN_FILE
from sync.plant import Plant

Stamp = tuple[tuple[str, int, int], ...]


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
            yield from (folder / name).parent.glob("*.y*ml")
    yield from _secret_files(folder, environ)


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


def _stamped(path: Path) -> tuple[str, int, int]:
    try:
        known = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), known.st_mtime_ns, known.st_size
