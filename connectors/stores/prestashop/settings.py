"""What the owner writes about a PrestaShop shop."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from connectors.webhooks import StandardSecrets
from connectors.zones import TimeZone


def _address(text: str) -> str:
    """Check an address and write it one way: without the `/api` behind it, no slash at the end."""
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must begin with https:// or http:// and name the shop, as https://shop.example")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("must be an address alone, as https://shop.example or https://shop.example/shop")
    port = f":{parts.port}" if parts.port not in {None, 80 if parts.scheme == "http" else 443} else ""
    path = parts.path.rstrip("/").removesuffix("/api")
    return f"{parts.scheme}://{parts.hostname}{port}{path}"


Address = Annotated[str, AfterValidator(_address)]


class PrestaShopSettings(BaseModel):
    """What the owner writes under `stores:` beside `type: prestashop`."""

    model_config = ConfigDict(extra="forbid")

    url: Address = Field(
        description="Address of the shop, such as https://shop.example; a subfolder is allowed."
    )
    key: SecretStr = Field(
        min_length=1,
        description="Webservice key of 32 characters, from Advanced Parameters, Webservice. View (GET) is enough.",
    )
    paid_states: tuple[int, ...] = Field(
        default=(),
        description="Ids of the order statuses that count as paid, where the shop's own paid marks are wrong; "
        "without it those marks decide.",
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="The shop's timezone, such as Europe/Paris; only for keys that may not view `configurations`, "
        "where it is read otherwise.",
    )
    webhook_secret: StandardSecrets | None = Field(
        default=None,
        description="What a module of the shop signs its webhooks with, in the Standard Webhooks form: `whsec_` and "
        "base64, or any text; without it webhooks are refused. A list of two while one takes the place of the other.",
    )
    base_url: Address | None = Field(
        default=None, description="Where to reach the shop instead of `url`: a proxy, a simulator, a test."
    )
