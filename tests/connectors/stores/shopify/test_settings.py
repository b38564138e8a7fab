"""What an owner may write, and what is said when it cannot be right."""

import pytest
from pydantic import ValidationError

from connectors.stores.shopify.connector import Shopify
from connectors.stores.shopify.settings import API_VERSION

TOKEN = "shpat_" + "a" * 32


@pytest.mark.parametrize(
    "written",
    [
        "my-shop",
        " My-Shop ",
        "my-shop.myshopify.com",
        "my-shop.myshopify.com/",
        "https://my-shop.myshopify.com",
        "https://my-shop.myshopify.com/admin",
        "https://my-shop.myshopify.com/admin/orders?status=open",
        "http://my-shop.myshopify.com:443",
        "admin.shopify.com/store/my-shop",
        "https://admin.shopify.com/store/my-shop/",
        "https://admin.shopify.com/store/my-shop/settings/domains#x",
    ],
)
def test_a_shop_s_name_is_found_in_every_form_that_an_owner_meets(written):
    settings = Shopify.Settings(shop=written, token=TOKEN)

    assert settings.shop == "my-shop"
    assert settings.root == "https://my-shop.myshopify.com"


@pytest.mark.parametrize(
    "written", ["", "shop.example", "https://www.shop.example/", "admin.shopify.com", "my shop"]
)
def test_what_is_no_shop_s_name_is_refused_with_where_to_find_it(written):
    with pytest.raises(ValidationError, match=r"before \.myshopify\.com"):
        Shopify.Settings(shop=written, token=TOKEN)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "write `token`, or `client_id` and `client_secret`"),
        ({"token": TOKEN, "client_id": "c", "client_secret": "s"}, "not both"),
        ({"token": TOKEN, "client_secret": "s"}, "not both"),
        ({"client_id": "c"}, "`client_secret` is missing"),
        ({"client_secret": "s"}, "`client_id` is missing"),
        ({"token": "shpss_" + "b" * 32}, "begins with shpat_"),
        ({"token": ""}, "at least 1"),
        ({"token": TOKEN, "api_version": "unstable"}, "match pattern"),
        ({"token": TOKEN, "paid_statuses": ["PAID", "REFUNDED"]}, "`REFUNDED` cannot count as paid"),
        ({"token": TOKEN, "base_url": "proxy.example"}, "address alone"),
        ({"token": TOKEN, "key": "x"}, "not permitted"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_sentence(keys, said):
    with pytest.raises(ValidationError, match=said):
        Shopify.Settings(shop="my-shop", **keys)


def test_a_refusal_does_not_quote_the_secret():
    with pytest.raises(ValidationError) as refused:
        Shopify.Settings(shop="my-shop", token=TOKEN, client_secret="very-secret")

    assert "very-secret" not in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_the_version_is_the_pinned_one_unless_the_owner_knows_better():
    settings = Shopify.Settings(shop="my-shop", token=TOKEN)

    assert settings.api_version == API_VERSION
