"""`cartwire init`: the files to start from, copied into a folder; nothing that exists is touched."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

STARTERS: dict[str, str] = {
    "cartwire.yaml": "cartwire.yaml",
    "mappings/crm.yaml": "mappings/crm.yaml",
    "env.example": ".env",
    "gitignore.example": ".gitignore",
}
"""File among the starters -> its name in the folder. What begins with a dot does not travel well in packages."""
SECRET = 0o600


def init(folder: Path) -> list[Path]:
    """Write what is missing, and return what was written; what exists already is left alone.

    Makes the folder. `.env` can be read by its owner alone. Raises OSError where writing is not allowed.
    """
    written = [_copy(source, folder / name) for source, name in STARTERS.items()]
    return [path for path in written if path is not None]


def left_alone(folder: Path, written: list[Path]) -> list[Path]:
    """Return which files of a start were there before."""
    return [folder / name for name in STARTERS.values() if folder / name not in written]


def _copy(source: str, path: Path) -> Path | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with as_file(files("config") / "starters" / source) as starter:
        try:
            with path.open("xb") as file, starter.open("rb") as content:
                shutil.copyfileobj(content, file)
        except FileExistsError:
            return None
    if path.name == ".env":
        path.chmod(SECRET)
    return path
