"""What the owner writes about a Shopify shop."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from connectors.webhooks import Secret, Secrets

API_VERSION = "2026-10"
"""The one place where the version is pinned: raise it once a year, Shopify serves each for at least one."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
IN_ADMIN = re.compile(r"^admin\.shopify\.com/store/([^/?#]+)")
HOST = ".myshopify.com"
PAYABLE = ("PAID", "PARTIALLY_REFUNDED", "PARTIALLY_PAID", "AUTHORIZED", "PENDING")
"""Payment statuses that an owner may count; no money came, or none stayed, with the others."""


def shop_name(text: str) -> str:
    """Find a shop's name in any form in which its owner meets it: alone, as host, as an admin address."""
    bare = re.sub(r"^[a-z]+://", "", text.strip().lower())
    in_admin = IN_ADMIN.match(bare)
    host = in_admin[1] if in_admin else re.split(r"[/?#:]", bare)[0]
    name = host.removesuffix(HOST)
    if not NAME.fullmatch(name):
        raise ValueError(
            "must be the name that stands before .myshopify.com, as my-shop: Settings, Domains lists it"
        )
    return name


def _root(text: str) -> str:
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
        raise ValueError("must be an address alone, as https://proxy.example")
    return text.strip().rstrip("/")


def _token(secret: SecretStr) -> SecretStr:
    if secret.get_secret_value().startswith("shpss_"):
        raise ValueError("is the app's API secret key; the Admin API access token begins with shpat_")
    return secret


def _statuses(statuses: Sequence[str]) -> tuple[str, ...]:
    names = tuple(status.strip().upper() for status in statuses)
    if wrong := [name for name in names if name not in PAYABLE]:
        raise ValueError(f"`{wrong[0]}` cannot count as paid; known: {', '.join(PAYABLE)}")
    return names


class ShopifySettings(BaseModel):
    """What the owner writes under `stores:` beside `type: shopify`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    shop: Annotated[str, AfterValidator(shop_name)] = Field(
        description="Name of the shop: my-shop, my-shop.myshopify.com or its address in the admin."
    )
    token: Annotated[Secret, AfterValidator(_token)] | None = Field(
        default=None, description="Admin API access token (shpat_…) of a custom app made in the shop's admin."
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        description="Client ID of an app of the Dev Dashboard, instead of `token`.",
    )
    client_secret: Secret | None = Field(
        default=None, description="Client secret that belongs to `client_id`."
    )
    webhook_secret: Secrets | None = Field(
        default=None,
        description="Key that webhooks are signed with: the API secret key of the app whose `token` it is; "
        "beside `client_secret`, which signs by itself, an older one that still counts. A list of two while one "
        "takes the place of the other.",
    )
    api_version: Annotated[str, Field(pattern=r"^20\d\d-(01|04|07|10)$")] = Field(
        default=API_VERSION, description="Version of the Admin API to ask for."
    )
    categories: Literal["type", "category", "collections"] = Field(
        default="type",
        description="What a product's categories are: its type, Shopify's standard category, or its "
        "collections; the others fill in where a product has none.",
    )
    paid_statuses: Annotated[tuple[str, ...], AfterValidator(_statuses)] = Field(
        default=("PAID", "PARTIALLY_REFUNDED"),
        description="Payment statuses that count as paid; AUTHORIZED, PARTIALLY_PAID and PENDING may be added.",
    )
    base_url: Annotated[str, AfterValidator(_root)] | None = Field(
        default=None, description="Where to reach the shop instead of myshopify.com: a proxy, a simulator."
    )

    @property
    def root(self) -> str:
        return self.base_url or f"https://{self.shop}{HOST}"

    @model_validator(mode="after")
    def _has_one_way_in(self) -> Self:
        if self.token and (self.client_id or self.client_secret):
            raise ValueError("write either `token`, or `client_id` and `client_secret`, not both")
        if not self.token and not self.client_id and not self.client_secret:
            raise ValueError("write `token`, or `client_id` and `client_secret`: without them nothing opens")
        if not self.token and not (self.client_id and self.client_secret):
            missing = "client_secret" if self.client_id else "client_id"
            raise ValueError(f"`{missing}` is missing: the two go together")
        return self
