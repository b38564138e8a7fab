"""The parser skips what nobody reads, and what it hands out reads as if it had not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Resource
from connectors.decoding import read_json
from connectors.paging import read_rows
from connectors.stores.woocommerce.connector import FIELDS
from connectors.stores.woocommerce.payloads import as_rows, read_checkout, read_customer, read_order
from connectors.stores.woocommerce.rows import SHAPES, PayableRow
from tests.connectors.stores.woocommerce.test_payloads import CUSTOMERS, ORDERS, TERMS, recorded

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def read(kind: str, rows: Any) -> Any:
    readers = {
        "orders": lambda row: read_order(row, TERMS),
        "customers": lambda row: read_customer(row, TERMS),
        "checkouts": read_checkout,
    }
    facts, bad = read_rows(as_rows(rows) or [], readers[kind], kind)
    return facts, [str(each) for each in bad]


@given(st.sampled_from(sorted(ORDERS)), st.sampled_from(sorted(ORDERS["completed"])), anything)
def test_orders_with_anything_anywhere_read_alike(name: str, field: str, value: Any) -> None:
    body = json.dumps([ORDERS[name] | {field: value}]).encode()

    lean, whole = read_json(body, SHAPES[Resource.ORDERS]), read_json(body)

    assert read("orders", lean) == read("orders", whole)
    assert read("checkouts", lean) == read("checkouts", whole)


@given(st.sampled_from(sorted(CUSTOMERS)), st.sampled_from(sorted(CUSTOMERS["company"])), anything)
def test_customers_with_anything_anywhere_read_alike(name: str, field: str, value: Any) -> None:
    body = json.dumps({"0": CUSTOMERS[name] | {field: value}, "2": CUSTOMERS[name]}).encode()

    lean = read_json(body, SHAPES[Resource.CUSTOMERS])

    assert read("customers", lean) == read("customers", read_json(body))


@given(st.sampled_from(sorted(SHAPES)), anything)
def test_no_answer_is_of_another_shape(path: str, answer: Any) -> None:
    lean, whole = as_rows(read_json(json.dumps(answer).encode(), SHAPES[path])), as_rows(answer)

    assert (lean is None) == (whole is None)
    assert len(lean or []) == len(whole or [])


def test_recorded_orders_read_alike() -> None:
    answers = [answer for _, answer in recorded("orders-list.json") if isinstance(answer, list)]
    lean = [read_json(json.dumps(answer).encode(), SHAPES[Resource.ORDERS]) for answer in answers]

    assert [read("orders", rows) for rows in lean] == [read("orders", rows) for rows in answers]
    assert lean != answers


@pytest.mark.parametrize("resource", FIELDS)
def test_what_is_asked_for_is_what_is_read(resource: Resource) -> None:
    body = json.dumps([dict.fromkeys(FIELDS[resource].split(","), 1)]).encode()

    assert read_json(body, SHAPES[resource]) == json.loads(body)


def test_a_checkout_is_read_with_the_address_at_which_it_goes_on() -> None:
    assert "payment_url" in PayableRow.__annotations__
