"""Settings of what is a file: a store of orders, a platform of contacts."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator


class FileSettings(BaseModel):
    """What the owner writes about a file; the folder of cartwire.yaml comes in the context as `folder`."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1)
    _folder: Path = PrivateAttr(Path())

    @model_validator(mode="after")
    def _take_folder(self, info: ValidationInfo) -> Self:
        self._folder = Path((info.context or {}).get("folder", ""))
        return self

    @property
    def file(self) -> Path:
        return self._folder / self.path
