"""What the owner writes about a WooCommerce shop."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from connectors.stores.woocommerce.payloads import NEVER_PAID, bare_status
from connectors.webhooks import Secrets


def _address(text: str) -> str:
    """Check an address and write it one way: no slash at the end, no default port."""
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must begin with https:// or http:// and name the shop, as https://shop.example")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("must be an address alone, as https://shop.example or https://shop.example/shop")
    port = f":{parts.port}" if parts.port not in {None, 80 if parts.scheme == "http" else 443} else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"


def _paid_statuses(statuses: Sequence[str]) -> tuple[str, ...]:
    bare = tuple(bare_status(status.strip()) for status in statuses)
    if wrong := [status for status in bare if status in NEVER_PAID]:
        raise ValueError(f"`{wrong[0]}` cannot count as paid")
    return bare


Address = Annotated[str, AfterValidator(_address)]


class WooCommerceSettings(BaseModel):
    """What the owner writes under `stores:` beside `type: woocommerce`."""

    model_config = ConfigDict(extra="forbid")

    url: Address = Field(
        description="Address of the shop as WordPress knows it, such as https://shop.example; a subfolder "
        "is allowed."
    )
    key: SecretStr = Field(
        description="Consumer key (ck_…), from WooCommerce, Settings, Advanced, REST API. Read is enough."
    )
    secret: SecretStr = Field(description="Consumer secret (cs_…), shown beside the key when it is made.")
    webhook_secret: Secrets | None = Field(
        default=None,
        description="Secret of the shop's webhooks, a text of your own; without it webhooks are refused. A list of "
        "two while one takes the place of the other: new webhooks are signed with the first.",
    )
    consent_meta_key: str = Field(
        default="mailchimp_woocommerce_is_subscribed",
        min_length=1,
        description="Meta key under which a plugin keeps the word on marketing e-mail, on orders or accounts.",
    )
    paid_statuses: Annotated[tuple[str, ...], AfterValidator(_paid_statuses)] = Field(
        default=("processing", "completed"),
        description="Order statuses that count as paid; add those of plugins, such as shipped.",
    )
    abandoned_after: int = Field(
        default=30,
        ge=5,
        le=10_080,
        description="Minutes after which an unpaid order counts as an abandoned checkout; fewer than the shop's own "
        "Hold stock, or the shop cancels it before.",
    )
    base_url: Address | None = Field(
        default=None, description="Where to reach the shop instead of `url`: a proxy, a simulator, a test."
    )
