"""What the webhooks of all stores share: secrets, and hints in the Standard Webhooks form."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.base import News
from connectors.stores.prestashop.connector import PrestaShop
from connectors.stores.prestashop.simulator import SETTINGS
from connectors.webhooks import fingerprint, is_signed, read_hint

KNOWN = ("orders", "customers", "products")


def hint(told: Any) -> News:
    return read_hint(json.dumps(told).encode(), KNOWN)


@pytest.mark.parametrize(
    ("told", "news"),
    [
        ({"resource": "orders", "id": "42"}, News(ask=["order 42"])),
        ({"resource": "orders", "id": 42}, News(ask=["order 42"])),
        ({"resource": "customers", "id": "7", "event": "created"}, News(ask=["customer 7"])),
        ({"resource": "orders", "id": 42, "event": "deleted"}, News(deleted=["order 42"])),
        (
            [{"resource": "orders", "id": 1}, {"resource": "orders", "id": 2, "event": "deleted"}],
            News(ask=["order 1"], deleted=["order 2"]),
        ),
    ],
)
def test_a_hint_names_what_to_ask_for(told: Any, news: News) -> None:
    found = hint(told)

    assert (list(found.ask), list(found.deleted)) == (list(news.ask), list(news.deleted))
    assert not found.bad


@pytest.mark.parametrize(
    "told",
    [
        {"resource": "refunds", "id": "1"},
        {"resource": "order", "id": "1"},
        {"resource": ["orders"], "id": "1"},
        {"resource": "orders"},
        {"resource": "orders", "id": True},
        {"resource": "orders", "id": "ada@example.com"},
        {"resource": "orders", "id": "1", "event": "eaten"},
        [],
        [{"resource": "orders", "id": "1"}, 2],
        "orders 1",
        None,
    ],
)
def test_what_is_no_hint_is_a_dead_letter_that_quotes_nothing(told: Any) -> None:
    (letter,) = hint(told).bad

    assert letter.record == "webhook hint"
    assert "ada" not in str(letter)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_a_hint_that_is_no_json_is_a_dead_letter(body: bytes) -> None:
    assert [letter.reason for letter in read_hint(body, KNOWN).bad] == ["its body is no JSON"]


@pytest.mark.parametrize("count", [0, 3])
def test_there_are_one_or_two_secrets(count: int) -> None:
    with pytest.raises(ValidationError):
        PrestaShop.Settings(**(SETTINGS | {"webhook_secret": ["secret"] * count}))


def test_a_secret_that_was_copied_in_part_is_refused() -> None:
    with pytest.raises(ValidationError, match="what follows is not base64"):
        PrestaShop.Settings(**(SETTINGS | {"webhook_secret": "whsec_abc"}))


def test_without_a_key_nothing_is_signed() -> None:
    assert not is_signed([], b"", [""])


def test_a_fingerprint_tells_where_one_part_ends() -> None:
    assert fingerprint("a", "bc") != fingerprint("ab", "c")
    assert fingerprint("a", b"bc") == fingerprint("a", "bc")
