"""What the owner writes about an account of the original Autopilot."""

from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic import Field as Setting

from connectors.addresses import WebAddress

HOST = "https://api2.autopilothq.com"


class AutopilotSettings(BaseModel):
    """What the owner writes under `esps:` beside `type: autopilot`."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr = Setting(
        description="API key of the original Autopilot (Settings → Autopilot API), none of Ortto."
    )
    base_url: WebAddress | None = Setting(
        None, description="Replaces https://api2.autopilothq.com, for a proxy or a simulator."
    )

    @property
    def api_url(self) -> str:
        host = (self.base_url or HOST).rstrip("/")
        return host if host.endswith("/v1") else f"{host}/v1"
