"""What the owner writes about a file of orders."""

import codecs
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, model_validator

from connectors.currencies import exponent
from connectors.facts import Standing
from connectors.files import FileSettings
from connectors.zones import TimeZone


def _currency(text: str) -> str:
    code = text.strip().upper()
    try:
        exponent(code)
    except ValueError as error:
        raise ValueError(f"`{text}` is no currency; write it as EUR") from error
    return code


def _encoding(text: str) -> str:
    try:
        "a".encode(text)  # refuses what is no encoding of text, too
        return codecs.lookup(text).name
    except (LookupError, UnicodeError) as error:
        raise ValueError(f"`{text}` is no encoding; write it as utf-8 or cp1254") from error


def _word(text: str) -> str:
    return text.strip().lower()


class CsvStoreSettings(FileSettings):
    """What the owner writes under `stores:` beside `type: csv`."""

    path: str = Field(
        min_length=1,
        description="The file to read; where it is relative, from the folder of cartwire.yaml.",
    )
    currency: Annotated[str, AfterValidator(_currency)] | None = Field(
        default=None, description="Currency of the amounts, as EUR, where the file does not say it."
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="Timezone of the moments that come without one, as America/Montreal; left out, the "
        "configuration's.",
    )
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(
        default=None,
        description="Encoding of the file, as cp1254; without it UTF-8 and Windows-1252 are told apart.",
    )
    statuses: dict[Annotated[str, AfterValidator(_word)], Standing] = Field(
        default_factory=dict,
        description="What the file's own status words mean: paid, unpaid, cancelled, refunded or test.",
    )
    _around: str = PrivateAttr("UTC")

    @model_validator(mode="after")
    def _take_timezone(self, info: ValidationInfo) -> Self:
        self._around = (info.context or {}).get("timezone") or "UTC"
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The timezone of moments without one."""
        return ZoneInfo(self.timezone or self._around)
