"""What we read of WooCommerce's rows; the parser skips all else unread, which is most of a page.

A plugin may write anything anywhere: every place takes any JSON, and `payloads` judges it.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, Union

from connectors.base import Resource

Odd = list[Any] | str | int | float | bool | None
"""What stands where an object should; PHP writes an empty one as `[]`."""


class Billing(TypedDict, total=False):
    email: Any
    first_name: Any
    last_name: Any
    company: Any
    phone: Any
    postcode: Any
    city: Any
    country: Any


class LineRow(TypedDict, total=False):
    name: Any
    product_id: Any
    quantity: Any
    total: Any
    total_tax: Any


class RefundRow(TypedDict, total=False):
    id: Any
    total: Any


class MetaRow(TypedDict, total=False):
    key: Any
    value: Any


class CategoryRow(TypedDict, total=False):
    name: Any


Lines = list[LineRow | Odd] | dict[str, LineRow | Odd] | str | int | float | bool | None
Refunds = list[RefundRow | Odd] | dict[str, RefundRow | Odd] | str | int | float | bool | None
Meta = list[MetaRow | Odd] | dict[str, MetaRow | Odd] | str | int | float | bool | None
Categories = list[CategoryRow | Odd] | dict[str, CategoryRow | Odd] | str | int | float | bool | None


class OrderRow(TypedDict, total=False):
    id: Any
    number: Any
    status: Any
    currency: Any
    date_created_gmt: Any
    date_modified_gmt: Any
    date_paid_gmt: Any
    total: Any
    discount_total: Any
    discount_tax: Any
    customer_id: Any
    created_via: Any
    billing: Billing | Odd
    line_items: Lines
    refunds: Refunds
    meta_data: Meta


class PayableRow(OrderRow, total=False):
    """An order as a checkout that was begun."""

    payment_url: Any


class CustomerRow(TypedDict, total=False):
    id: Any
    date_created_gmt: Any
    date_modified_gmt: Any
    email: Any
    first_name: Any
    last_name: Any
    role: Any
    billing: Billing | Odd
    meta_data: Meta


class ProductRow(TypedDict, total=False):
    id: Any
    name: Any
    categories: Categories
    date_created_gmt: Any
    date_modified_gmt: Any


def fields_of(row: type) -> str:
    """List what is read of a row, for `_fields`: so much is sent, and the shop answers in half the time."""
    return ",".join(row.__annotations__)


def _list_of(row: type) -> Any:
    return Union[list[row | Odd], dict[str, row | Odd], str, int, float, bool, None]  # type: ignore[valid-type] # noqa: UP007


SHAPES: Mapping[str, Any] = {
    Resource.ORDERS: _list_of(PayableRow),
    Resource.CUSTOMERS: _list_of(CustomerRow),
    Resource.PRODUCTS: _list_of(ProductRow),
}
"""What the parser makes of a list, by its path; error objects come through as well."""
