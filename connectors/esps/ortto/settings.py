"""What the owner writes about an Ortto account."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator
from pydantic import Field as Setting

from connectors.addresses import WebAddress

HOSTS = {
    "default": "https://api.ap3api.com",
    "us": "https://api.ap3api.com",
    "au": "https://api.au.ap3api.com",
    "eu": "https://api.eu.ap3api.com",
}


class OrttoSettings(BaseModel):
    """What the owner writes under `esps:` beside `type: ortto`."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr = Setting(
        description="API key of a data source of type Custom API, none of the original Autopilot."
    )
    region: Literal["default", "us", "au", "eu"] = Setting(
        "default",
        description="Where the account lives: `au`, `eu`, or `default` (as is `us`) for all else.",
    )
    base_url: WebAddress | None = Setting(
        None, description="Replaces https://api.<region>.ap3api.com, for a proxy or a simulator."
    )

    @field_validator("region", mode="before")
    @classmethod
    def _in_lower_case(cls, region: Any) -> Any:
        return region.strip().lower() if isinstance(region, str) else region

    @property
    def api_url(self) -> str:
        host = (self.base_url or HOSTS[self.region]).rstrip("/")
        return host if host.endswith("/v1") else f"{host}/v1"
