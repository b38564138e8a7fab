"""What the owner writes about a Brevo account."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator
from pydantic import Field as Setting

from connectors.addresses import WebAddress


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the mail needs that asks people to confirm."""

    template: int
    url: str


class BrevoSettings(BaseModel):
    """What the owner writes under `esps:` beside `type: brevo`."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr = Setting(description="API key v3 (`xkeysib-…`), not the SMTP key.")
    folder: str = Setting(
        "Cartwire",
        min_length=1,
        description="The folder in which lists are made; made where it is missing.",
    )
    confirmation_template: int | None = Setting(
        None,
        gt=0,
        description="Number of the double opt-in template, for `consent: double_opt_in`.",
    )
    confirmation_url: WebAddress | None = Setting(
        None, description="The page that people see who confirmed, for `consent: double_opt_in`."
    )
    base_url: WebAddress | None = Setting(
        None, description="Replaces https://api.brevo.com, for a proxy or a simulator."
    )

    @field_validator("api_key")
    @classmethod
    def _is_no_smtp_key(cls, api_key: SecretStr) -> SecretStr:
        if api_key.get_secret_value().strip().startswith("xsmtpsib-"):
            raise ValueError("is the SMTP key: take the API key, which begins with xkeysib-")
        return api_key

    @model_validator(mode="after")
    def _confirms_wholly(self) -> "BrevoSettings":
        if (self.confirmation_template is None) != (self.confirmation_url is None):
            raise ValueError("`confirmation_template` and `confirmation_url` go together: write both or none")
        return self

    @property
    def api_url(self) -> str:
        host = (self.base_url or "https://api.brevo.com").rstrip("/")
        return host if host.endswith("/v3") else f"{host}/v3"

    @property
    def confirmation(self) -> Confirmation | None:
        if self.confirmation_template is None or self.confirmation_url is None:
            return None
        return Confirmation(self.confirmation_template, self.confirmation_url)
