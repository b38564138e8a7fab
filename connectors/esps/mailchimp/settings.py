"""What the owner writes about a Mailchimp audience."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator
from pydantic import Field as Setting

from connectors.addresses import WebAddress


class MailchimpSettings(BaseModel):
    """What the owner writes under `esps:` beside `type: mailchimp`."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr = Setting(
        description="API key with the data centre at its end (`…-us21`), of an Owner, Admin or Manager."
    )
    audience: str = Setting(description="The Audience ID (10 letters and digits), not the audience's name.")
    base_url: WebAddress | None = Setting(
        None, description="Replaces https://<data centre>.api.mailchimp.com, for a proxy or a simulator."
    )
    lists_as: Literal["tags", "segments"] = Setting(
        "tags",
        description=(
            "What messages call a list. Mailchimp keeps a tag as a static segment with the same id and"
            " name, so `tags` and `segments` give the same calls and the same entries in the account."
        ),
    )

    @field_validator("audience")
    @classmethod
    def _is_an_id(cls, audience: str) -> str:
        if not audience.strip().isalnum():
            raise ValueError("is not an Audience ID: that is 10 letters and digits, no name and no link")
        return audience.strip()

    @model_validator(mode="after")
    def _has_a_data_centre(self) -> "MailchimpSettings":
        if self.base_url is None and not self.data_centre.isalnum():
            raise ValueError("`api_key` lacks the data centre at its end (like -us21): copy all of it")
        return self

    @property
    def data_centre(self) -> str:
        """What follows the last hyphen of the key, empty when there is none."""
        _, hyphen, name = self.api_key.get_secret_value().strip().rpartition("-")
        return name if hyphen else ""

    @property
    def api_url(self) -> str:
        host = (self.base_url or f"https://{self.data_centre}.api.mailchimp.com").rstrip("/")
        return host if host.endswith("/3.0") else f"{host}/3.0"
