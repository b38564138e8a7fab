"""What the owner writes about a file of contacts."""

from pathlib import Path

from pydantic import Field as Setting
from pydantic import field_validator

from connectors.files import FileSettings


class CsvSettings(FileSettings):
    """What the owner writes under `esps:` beside `type: csv`."""

    path: str = Setting(
        min_length=1,
        description="The file to write; where it is relative, from the folder of cartwire.yaml.",
    )

    @field_validator("path")
    @classmethod
    def _can_be_a_file(cls, path: str) -> str:
        if path.endswith(("/", "\\")) or "\0" in path or Path(path).name in {"", ".."}:
            raise ValueError("names no file: write something like `contacts.csv`")
        return path
