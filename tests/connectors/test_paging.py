"""One bad row never costs the page, and is never quoted."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import RemoteFault
from connectors.facts import Product, money, utc
from connectors.paging import UnreadableField, in_order, read_rows, row_id

SECRET = "zz@secret.example"
GOOD = {
    "id": 7,
    "name": "Tea",
    "price": {"amount": "1.00", "currency": "EUR"},
    "at": "2026-01-01",
    "tags": ["a"],
}
STANDINGS = {"paid": True}

keys = st.sampled_from([*GOOD, "amount", "currency", "status"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        [SECRET, f"{SECRET} ", "paid", "Infinity", "0000-00-00", "9999-12-31T23:00:00-14:00", "\ud800"]
    ),
)
garbage = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner), max_leaves=8
)


def read(row: Mapping[str, Any]) -> Product:
    """Read as connectors do: by key, by table, by arithmetic, by method."""
    amount = money(row["price"]["amount"], row["price"]["currency"])
    updated_at = utc(row["at"])
    if updated_at is None:
        raise UnreadableField("at", "a moment")
    name = row["name"].strip() + row["tags"][0]
    _ = 100 / amount.minor, STANDINGS[row.get("status", "paid")]
    return Product(str(row["id"]), name, (), updated_at)


@given(st.lists(garbage | st.dictionaries(keys, garbage).map(lambda wrong: GOOD | wrong), max_size=5))
def test_P5_any_garbage_is_a_bad_record_that_quotes_no_value(rows: list[Any]) -> None:
    facts, bad = read_rows([*rows, GOOD], read, "product")

    assert len(facts) + len(bad) == len(rows) + 1
    assert facts[-1].id == "7"  # type: ignore[union-attr]
    assert not any("secret" in f"{each} {each.record} {each.reason}" for each in bad)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"name": None}, "a field does not have the type that the API promises"),
        ({"price": "1.00"}, "a field does not have the type that the API promises"),
        ({"price": {"amount": "1.00"}}, "`currency` is missing"),
        ({"status": SECRET}, "a field cannot be read"),
        ({"status": ("a", SECRET)}, "a field cannot be read"),
        ({"price": {"amount": SECRET, "currency": "EUR"}}, "a field cannot be read"),
        ({"price": {"amount": "0", "currency": "EUR"}}, "a field cannot be read"),
        ({"tags": []}, "a field cannot be read"),
        ({"at": ""}, "`at` is not a moment"),
    ],
)
def test_a_bad_record_says_what_is_wrong(wrong: dict[str, Any], reason: str) -> None:
    _, (bad,) = read_rows([GOOD | wrong], read, "product")

    assert (bad.record, bad.reason) == ("product 7", reason)
    assert str(bad) == f"product 7: {reason}"


def test_a_lookup_that_names_nothing_is_a_bad_record_too() -> None:
    def fail(_row: Mapping[str, Any]) -> Product:
        raise KeyError

    _, (bad,) = read_rows([GOOD], fail, "product")

    assert bad.reason == "a field cannot be read"


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"id": 727}, "727"),
        ({"id": "gid://shopify/Order/727"}, "gid://shopify/Order/727"),
        ({"id": SECRET}, "without an id"),
        ({"id": {"email": SECRET}}, "without an id"),
        ({"id": "7" * 101}, "without an id"),
        ({"id": "7\n"}, "without an id"),
        ({"id": ""}, "without an id"),
        ({"id": None}, "without an id"),
        ({}, "without an id"),
        ([727], "that is no object"),
        (None, "that is no object"),
    ],
)
def test_a_row_is_named_by_its_id_if_that_looks_like_one(row: object, named: str) -> None:
    assert row_id(row) == named


def test_good_rows_keep_their_order() -> None:
    facts, bad = read_rows([GOOD | {"id": number} for number in (3, 1, 2)], read, "product")

    assert [fact.id for fact in facts] == ["3", "1", "2"]  # type: ignore[union-attr]
    assert bad == []


async def test_pages_asked_for_at_once_come_in_their_order_and_never_too_many_at_once() -> None:
    under_way, most = 0, 0

    async def ask(page: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(10 - page):  # the later a page, the sooner it is there
            await asyncio.sleep(0)
        under_way -= 1
        return page

    pages = [page async for page in in_order(ask, range(10), 3)]

    assert pages == list(range(10))
    assert most == 3


async def test_a_page_that_fails_ends_the_others_that_were_asked_for() -> None:
    async def ask(page: int) -> int:
        if page == 1:
            raise RemoteFault("broken")
        if page > 1:
            await asyncio.Event().wait()
        return page

    with pytest.raises(RemoteFault):
        _ = [page async for page in in_order(ask, range(10), 3)]

    assert asyncio.all_tasks() == {asyncio.current_task()}
