"""What the owner writes about an account of the original Autopilot."""

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator
from pydantic import Field as Setting

HOST = "https://api2.autopilothq.com"


class AutopilotSettings(BaseModel):
    """What the owner writes under `esps:` beside `type: autopilot`."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr = Setting(
        description="API key of the original Autopilot (Settings → Autopilot API), none of Ortto."
    )
    base_url: str | None = Setting(
        None, description="Replaces https://api2.autopilothq.com, for a proxy or a simulator."
    )

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, base_url: str | None) -> str | None:
        if base_url is not None and not base_url.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        return base_url

    @property
    def api_url(self) -> str:
        host = (self.base_url or HOST).rstrip("/")
        return host if host.endswith("/v1") else f"{host}/v1"
