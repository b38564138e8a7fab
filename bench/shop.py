"""A WooCommerce shop that is faster than any client: every row is written before somebody asks, a page is a join.

Its answers are right all the same: which rows, in which order and with which fields depends on what is asked.
Orders are paid by account, five to an account; every tenth names its buyer by address alone.
"""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bench.serving import Reply, Request
from connectors.base import Resource
from connectors.stores.woocommerce.connector import FIELDS

ORDERS_A_CUSTOMER = 5
CATEGORIES = ("Tea", "Coffee", "Cups", "Pots", "Books", "Gifts", "Spices", "Honey")
PRODUCTS = 200
DAY = 86_400
YEARS = 5 * 365 * DAY
QUIET = 200 * DAY
"""How long ago the last order was: nobody enters or leaves a list by time alone while something is measured."""
HOUR = 3_600
"""From the making of an order to its last change, unless it is changed later on."""
LATELY = 300
"""Seconds over which what changes has changed, oldest first."""
PRIME = 7_907
STATUSES = ("pending", "refunded", "cancelled", *("completed",) * 47)
OPEN = 0
"""Where among them the one stands that nobody paid."""
PARTLY_REFUNDED = 3

Values = Mapping[str, Any]

BILLING = (
    '{"first_name":"Zo\\u00eb","last_name":"Fournier","company":"","address_1":"1 Example Road","address_2":"",'
    '"city":"Testville","state":"","postcode":"%(postcode)s","country":"FR","email":"%(email)s",'
    '"phone":"01 99 00 %(phone)s"}'
)
TIMES = {
    "id": "%(id)s",
    "date_created_gmt": '"%(created)s"',
    "date_modified_gmt": '"%(modified)s"',
}
ORDER = TIMES | {
    "number": '"%(id)s"',
    "status": '"%(status)s"',
    "currency": '"EUR"',
    "date_paid_gmt": "%(paid)s",
    "total": '"%(total)s"',
    "discount_total": '"0.00"',
    "discount_tax": '"0.00"',
    "customer_id": "%(account)s",
    "created_via": '"checkout"',
    "billing": BILLING,
    "line_items": '[{"id":%(id)s,"name":"%(category)s set","product_id":%(product)s,"variation_id":0,"quantity":2,'
    '"tax_class":"","subtotal":"%(net)s","subtotal_tax":"4.00","total":"%(net)s","total_tax":"4.00",'
    '"taxes":[{"id":1,"total":"4.00","subtotal":"4.00"}],"meta_data":[],"sku":"SKU-%(product)s",'
    '"global_unique_id":"","price":%(price)s,"image":{"id":"","src":""},"parent_name":null}]',
    "refunds": "%(refunds)s",
    "meta_data": '[{"id":1,"key":"_wc_order_attribution_source_type","value":"utm"},'
    '{"id":2,"key":"_wc_order_attribution_utm_source","value":"newsletter"},'
    '{"id":3,"key":"_wc_order_attribution_utm_medium","value":"email"},'
    '{"id":4,"key":"is_vat_exempt","value":"no"}]',
    "payment_url": '"https://shop.example/checkout/order-pay/%(id)s/?pay_for_order=true"',
}
CUSTOMER = TIMES | {
    "email": '"%(email)s"',
    "first_name": '"Zo\\u00eb"',
    "last_name": '"Fournier"',
    "role": '"customer"',
    "billing": BILLING,
    "meta_data": '[{"id":1,"key":"mailchimp_woocommerce_is_subscribed","value":"%(subscribed)s"}]',
}
PRODUCT = TIMES | {
    "name": '"%(category)s set %(id)s"',
    "categories": '[{"id":%(group)s,"name":"%(category)s","slug":"set"}]',
}
"""Each field of a row as JSON, with the row's own values to be filled in."""


@dataclass
class Table:
    """The rows of one resource, oldest first; `values(n)` are those of row n (whose id is n + 1).

    `written` holds them with the fields that Cartwire asks for; `changed` tells when a row changed last.
    """

    shapes: Mapping[str, str]
    asked_for: str
    created: Sequence[int]
    values: Callable[[int, int], Values]
    open: Sequence[int] = ()
    changed: dict[int, int] = field(default_factory=dict)
    written: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        template = self._template(self.asked_for)
        self.written = [self._write(template, number) for number in range(len(self.created))]

    def change(self, moments: dict[int, int]) -> int:
        """Let these rows, and no others, have changed at these moments; return how many bytes they are."""
        touched = {*self.changed, *moments}
        self.changed = moments
        template = self._template(self.asked_for)
        for number in touched:
            self.written[number] = self._write(template, number)
        return sum(len(self.written[number]) for number in moments)

    def page(self, asked: Mapping[str, str]) -> tuple[bytes, int, int]:
        """Answer a list: a page of it as JSON, how many rows there are, and on how many pages."""
        found = self._found(asked)
        if asked.get("order", "desc") == "desc":
            found = found[::-1]
        size = int(asked.get("per_page", "10"))
        start = int(asked.get("offset", "0")) or (int(asked.get("page", "1")) - 1) * size
        rows = self._rows(found[start : start + size], asked.get("_fields", ""))
        return b"[" + b",".join(rows) + b"]", len(found), ceil(len(found) / size)

    def _found(self, asked: Mapping[str, str]) -> Sequence[int]:
        if "include" in asked:
            return [int(number) - 1 for number in asked["include"].split(",")]
        if asked.get("status") == "trash":
            return []
        if "modified_after" in asked:
            return self._within(self._moved_since(_seconds(asked["modified_after"])), asked)
        low = bisect_right(self.created, _seconds(asked["after"])) if "after" in asked else 0
        high = bisect_left(self.created, _seconds(asked["before"])) if "before" in asked else None
        return self._within(range(len(self.created))[low:high], asked)

    def _moved_since(self, moment: int) -> list[int]:
        """Find rows in the order of their last change."""
        early = range(bisect_right(self.created, moment - HOUR), len(self.created))
        late = [number for number, at in self.changed.items() if at > moment]
        return [number for number in early if number not in self.changed] + late

    def _within(self, rows: Sequence[int], asked: Mapping[str, str]) -> Sequence[int]:
        """Keep those of the statuses asked for: any, or those that nobody paid."""
        if "pending" not in asked.get("status", "any"):
            return rows
        if isinstance(rows, range):
            return self.open[bisect_left(self.open, rows.start) : bisect_left(self.open, rows.stop)]
        return [number for number in rows if number in self.open]

    def _rows(self, numbers: Sequence[int], fields: str) -> Sequence[bytes]:
        if fields != self.asked_for:
            template = self._template(fields)
            return [self._write(template, number) for number in numbers]
        if isinstance(numbers, range) and numbers.step == 1:
            return self.written[numbers.start : numbers.stop]
        return [self.written[number] for number in numbers]

    def _template(self, fields: str) -> str:
        names = fields.split(",") if fields else self.shapes
        return "{" + ",".join(f'"{name}":{self.shapes[name]}' for name in names) + "}"

    def _write(self, template: str, number: int) -> bytes:
        return (template % self.values(number, self.changed.get(number, 0))).encode()


class Shop:
    """`orders` orders of five years, and who placed them."""

    def __init__(self, orders: int) -> None:
        self.customers = max(1, orders // ORDERS_A_CUSTOMER)
        end = int(time.time()) - QUIET
        made = [end - YEARS + YEARS * number // orders for number in range(orders)]
        joined = [end - YEARS + YEARS * number // self.customers for number in range(self.customers)]
        goods = [end - YEARS + number for number in range(PRODUCTS)]
        unpaid = range(OPEN, orders, len(STATUSES))
        self._changed_bytes = 0
        self._created = {"orders": made, "customers": joined, "products": goods}
        self.tables = {
            "orders": Table(ORDER, FIELDS[Resource.ORDERS], made, self._order, unpaid),
            "customers": Table(CUSTOMER, FIELDS[Resource.CUSTOMERS], joined, self._customer),
            "products": Table(PRODUCT, FIELDS[Resource.PRODUCTS], goods, self._product),
        }

    def __call__(self, request: Request) -> Reply:
        parts = urlsplit(request.target)
        table = self.tables.get(parts.path.rpartition("/")[2])
        if table is None or request.method != "GET":
            return Reply(
                404, b'{"code":"rest_no_route","message":"No route was found","data":{"status":404}}'
            )
        body, total, pages = table.page(dict(parse_qsl(parts.query)))
        return Reply(200, body, f"x-wp-total: {total}\r\nx-wp-totalpages: {pages}\r\n".encode())

    def begin(self, wishes: Mapping[str, Any]) -> None:
        """Let so many orders, from all over the years and of different people, have changed just now."""
        orders, most = self.tables["orders"], int(wishes.get("changes", 0))
        began = int(time.time()) - LATELY
        changes = {
            number * PRIME % len(orders.created): began + LATELY * number // most for number in range(most)
        }
        self._changed_bytes = orders.change(changes)

    def told(self) -> dict[str, int]:
        """Say how many bytes the changed rows are."""
        return {"changed_bytes": self._changed_bytes}

    def _times(self, path: str, number: int, changed: int) -> dict[str, Any]:
        created = self._created[path][number]
        return {"id": number + 1, "created": _text(created), "modified": _text(changed or created + HOUR)}

    def _order(self, number: int, changed: int) -> Values:
        times = self._times("orders", number, changed)
        account = number * 7_919 % self.customers + 1
        status = number % len(STATUSES)
        total = number * 31 % 9_000 + 1_000 + (100 if changed else 0)
        refund = '[{"id":%d,"reason":"","total":"-5.00"}]' % (10_000_000 + number)  # noqa: UP031 - JSON has braces
        return (
            times
            | _person(account)
            | {
                "status": STATUSES[status],
                "paid": "null" if status == OPEN else f'"{times["created"]}"',
                "total": f"{total / 100:.2f}",
                "net": f"{total / 100 - 4:.2f}",
                "price": total / 200 - 2,
                "account": 0 if number % 10 == 9 else account,
                "category": CATEGORIES[number % len(CATEGORIES)],
                "product": number % PRODUCTS + 1,
                "refunds": refund if status == PARTLY_REFUNDED else "[]",
            }
        )

    def _customer(self, number: int, changed: int) -> Values:
        subscribed = "1" if number % 3 == 0 else "0"
        return self._times("customers", number, changed) | _person(number + 1) | {"subscribed": subscribed}

    def _product(self, number: int, changed: int) -> Values:
        group = number % len(CATEGORIES)
        return self._times("products", number, changed) | {"category": CATEGORIES[group], "group": group + 1}


def _person(account: int) -> dict[str, Any]:
    return {
        "email": f"customer-{account:06}@example.com",
        "postcode": 10_000 + account % 89_999,
        "phone": f"{account % 100:02} {account // 100 % 100:02}",
    }


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
