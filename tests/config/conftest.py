from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, field_validator

from config.errors import ConfigError
from config.settings import Loaded, load


class Shop(BaseModel):
    """What the owner writes under `stores:`; does not forbid extra keys by itself."""

    url: str = Field(description="The shop's address.")
    key: SecretStr = Field(description="The key.")
    page_size: int = Field(100, description="Rows a page.", ge=1, le=250)
    base_url: str | None = Field(None, description="Replaces the host.")
    flavour: Literal["new", "legacy"] = Field("new", description="Which API.")
    verify: bool = Field(default=True, description="Check the certificate.")
    ids: list[str] = Field(default=[], description="Shops to read.")


class Mailer(BaseModel):
    api_key: SecretStr = Field(description="The API key.")
    audience: str = Field(description="The audience's id.")

    @field_validator("audience")
    @classmethod
    def _is_an_id(cls, audience: str) -> str:
        if " " in audience:
            raise ValueError("is not an id: that has no spaces")
        return audience


STORE_TYPES = {"shop": Shop, "woocommerce": Shop}
ESP_TYPES = {"mailer": Mailer, "mailchimp": Mailer}
ENVIRON = {"SHOP_KEY": "ck_canary", "MAILER_KEY": "mk_canary", "HOST": "https://shop.example"}
GOOD = """\
timezone: Europe/Paris
currency: EUR
stores:
  boutique:
    type: shop
    url: https://shop.example
    key: ${SHOP_KEY}
esps:
  news:
    type: mailer
    api_key: ${MAILER_KEY}
    audience: abc123
syncs:
  crm:
    stores: [boutique]
    esp: news
    mapping: mappings/crm.yaml
    schedule: every 5 minutes
"""
MAPPING = "extends: preset:crm\n"

Load = Callable[..., Loaded]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with a configuration without a mistake."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "crm.yaml").write_text(MAPPING)
    (tmp_path / "cartwire.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture(scope="session")
def good() -> str:
    return GOOD


@pytest.fixture(scope="session")
def types() -> tuple[dict[str, type[BaseModel]], dict[str, type[BaseModel]]]:
    return STORE_TYPES, ESP_TYPES


@pytest.fixture
def loaded(folder: Path) -> Load:
    """Load the folder, with `text` in cartwire.yaml where one is given."""

    def run(text: str | bytes | None = None, environ: Mapping[str, str] = ENVIRON) -> Loaded:
        if text is not None:
            content = text if isinstance(text, bytes) else text.encode()
            (folder / "cartwire.yaml").write_bytes(content)
        return load(folder, STORE_TYPES, ESP_TYPES, environ)

    return run


@pytest.fixture
def refused(loaded: Load) -> Callable[..., list[str]]:
    """Load what cannot be loaded; the problems, one a line."""

    def run(text: str | bytes | None = None, environ: Mapping[str, str] = ENVIRON) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, environ)
        return [str(problem) for problem in caught.value.problems]

    return run
