"""What the owner writes about a hook."""

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator
from pydantic import Field as Setting

from connectors.webhooks import key_of


class WebhookSettings(BaseModel):
    """What the owner writes under `esps:` beside `type: webhook`."""

    model_config = ConfigDict(extra="forbid")

    url: str = Setting(description="Where to post each change to.")
    secret: SecretStr = Setting(
        min_length=16,
        description="What messages are signed with: `whsec_` and base64, or any text of 16 characters and more.",
    )
    base_url: str | None = Setting(
        None, description="Replaces scheme and host of `url`, for a proxy or a simulator."
    )

    @field_validator("url", "base_url")
    @classmethod
    def _is_a_url(cls, url: str | None) -> str | None:
        if url is not None and not _has_host(url):
            raise ValueError("must begin with https:// or http:// and name a host")
        return url

    @field_validator("secret")
    @classmethod
    def _can_be_read(cls, secret: SecretStr) -> SecretStr:
        key_of(secret.get_secret_value())
        return secret

    @property
    def address(self) -> str:
        if self.base_url is None:
            return self.url
        _, _, path, query, _ = urlsplit(self.url)
        return self.base_url.rstrip("/") + path + (f"?{query}" if query else "")


def _has_host(url: str) -> bool:
    """Tell whether a host can be asked; Python's own complaint would quote the address, which is a secret."""
    try:
        return url.startswith(("https://", "http://")) and bool(urlsplit(url).hostname)
    except ValueError:
        return False
