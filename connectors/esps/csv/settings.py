"""What the owner writes about a file of contacts."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationInfo, field_validator, model_validator
from pydantic import Field as Setting


class CsvSettings(BaseModel):
    """What the owner writes under `esps:` beside `type: csv`."""

    model_config = ConfigDict(extra="forbid")

    path: str = Setting(
        min_length=1,
        description="The file to write; where it is relative, from the folder of cartwire.yaml.",
    )
    _folder: Path = PrivateAttr(Path())

    @field_validator("path")
    @classmethod
    def _can_be_a_file(cls, path: str) -> str:
        if path.endswith(("/", "\\")) or "\0" in path or Path(path).name in {"", ".."}:
            raise ValueError("names no file: write something like `contacts.csv`")
        return path

    @model_validator(mode="after")
    def _take_folder(self, info: ValidationInfo) -> "CsvSettings":
        self._folder = Path((info.context or {}).get("folder", ""))
        return self

    @property
    def file(self) -> Path:
        return self._folder / self.path
