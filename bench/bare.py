"""The bare cost of a first sync: the same pages, bulk insert, one SELECT, the same batches, and nothing else.

    python -m bench.bare FOLDER SHOP NEWS

No retries, no cursors, no consent, no versions, no memory of what was sent: a job killed half-way begins again.
Pages and batches go out as many at once as Cartwire's do, over httpx, and are parsed with the same parser.
"""

import asyncio
import gzip
import hashlib
import io
import sqlite3
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any

import httpx
import msgspec

from bench.meter import Figures, metered
from connectors.base import Resource
from connectors.stores.woocommerce.connector import FIELDS

PAGES_AT_ONCE, CALLS_AT_ONCE = 4, 5
PAGE, BATCH, ENTRIES = 100, 1_000, 500
AUDIENCE = "/3.0/lists/a1b2c3d4e5"
SCHEMA = """
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
CREATE TABLE orders (id INTEGER PRIMARY KEY, number, email, status, total, refunded, created, source);
CREATE TABLE lines (order_id, product_id, quantity);
CREATE TABLE customers (id INTEGER PRIMARY KEY, email UNIQUE, first_name, last_name, company, phone, postcode, city,
  country, created, subscribed);
CREATE TABLE products (id INTEGER PRIMARY KEY, name, category);
"""
PEOPLE = """
WITH paid AS (SELECT * FROM orders WHERE status = 'completed'),
liked AS (SELECT email, category, max(bought) FROM (
  SELECT paid.email, products.category, sum(lines.quantity) AS bought FROM paid
  JOIN lines ON lines.order_id = paid.id JOIN products ON products.id = lines.product_id GROUP BY 1, 2) GROUP BY 1),
bought AS (SELECT email, count(*) AS orders, sum(total - refunded) AS spent, min(created) AS first,
  max(created) AS last, number, source FROM paid GROUP BY email)
SELECT customers.email, first_name, last_name, company, phone, postcode, city, country, substr(created, 1, 10),
  orders, spent / 100.0, spent / orders / 100.0, substr(first, 1, 10), substr(last, 1, 10), number, 'EUR', category,
  source, subscribed, orders >= 1, orders = 1, orders >= 2,
  spent / orders >= 1.5 * avg(spent / orders) OVER (), last >= date('now', '-30 days'), last < date('now', '-3 months')
FROM customers LEFT JOIN bought USING (email) LEFT JOIN liked USING (email)
"""
TAGS = [
    "FNAME",
    "LNAME",
    "COMPANY",
    "MOBILE",
    "ZIPCODE",
    "CITY",
    "COUNTRY",
    "SIGNEDUP",
    "ORDERS",
    "SPENT",
    "AVGBASKET",
    "FIRSTORD",
    "LASTORD",
    "LASTORDNO",
    "CURRENCY",
    "PREFCAT",
    "SOURCE",
]
SUBSCRIBED = len(TAGS) + 1
LISTS = (
    "Customers",
    "First-Time Buyers",
    "Loyal Customers",
    "High-Value Customers",
    "Recent Customers",
    "Churned Customers",
)

Row = Mapping[str, Any]
decode = msgspec.json.Decoder(float_hook=Decimal).decode
encode = msgspec.json.encode


def insert_orders(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_order, rows))
    lines = ((row["id"], line["product_id"], line["quantity"]) for row in rows for line in row["line_items"])
    db.executemany("INSERT INTO lines VALUES (?, ?, ?)", lines)


def _order(row: Row) -> tuple[Any, ...]:
    refunded = sum(_cents(refund["total"]) for refund in row["refunds"])
    sources = [
        meta["value"] for meta in row["meta_data"] if meta["key"] == "_wc_order_attribution_utm_source"
    ]
    return (
        row["id"],
        row["number"],
        row["billing"]["email"],
        row["status"],
        _cents(row["total"]),
        -refunded,
        row["date_created_gmt"],
        *sources,
    )


def insert_customers(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    db.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_customer, rows))


def _customer(row: Row) -> tuple[Any, ...]:
    billing = row["billing"]
    subscribed = any(meta["value"] == "1" for meta in row["meta_data"])
    known = (
        row["id"],
        row["email"],
        row["first_name"],
        row["last_name"],
        billing["company"],
        billing["phone"],
    )
    address = (billing["postcode"], billing["city"], billing["country"])
    return (*known, *address, row["date_created_gmt"], subscribed)


def insert_products(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    known = ((row["id"], row["name"], row["categories"][0]["name"]) for row in rows)
    db.executemany("INSERT INTO products VALUES (?, ?, ?)", known)


def _cents(amount: str) -> int:
    return int(amount.replace(".", ""))


WANTED: Mapping[Resource, tuple[Mapping[str, str], Callable[[sqlite3.Connection, Sequence[Row]], None]]] = {
    Resource.PRODUCTS: ({}, insert_products),
    Resource.CUSTOMERS: ({"role": "all"}, insert_customers),
    Resource.ORDERS: ({"status": "any"}, insert_orders),
}


async def pull(client: httpx.AsyncClient, db: sqlite3.Connection) -> None:
    """Ask how much there is, then for all of it."""
    work = []
    for resource, (asked, insert) in WANTED.items():
        params: dict[str, str | int] = {
            **asked,
            "order": "asc",
            "per_page": PAGE,
            "_fields": FIELDS[resource],
        }
        first = await client.get(resource, params=params | {"per_page": 1})
        pages = ceil(int(first.headers["x-wp-total"]) / PAGE)
        work += [
            _pull_page(client, db, resource, params | {"page": page + 1}, insert) for page in range(pages)
        ]
    await at_once(work, PAGES_AT_ONCE)


async def _pull_page(
    client: httpx.AsyncClient,
    db: sqlite3.Connection,
    path: str,
    params: Mapping[str, Any],
    insert: Callable[[sqlite3.Connection, Sequence[Row]], None],
) -> None:
    answer = await client.get(path, params=params)
    with db:
        insert(db, decode(answer.content))


async def push(client: httpx.AsyncClient, people: Sequence[Sequence[Any]]) -> None:
    """Make fields and lists, send everybody, then say who is on which list."""
    await at_once(
        [_send(client, f"{AUDIENCE}/merge-fields", {"tag": tag, "type": "text"}) for tag in TAGS], 1
    )
    lists = {name: await _send(client, f"{AUDIENCE}/segments", {"name": name}) for name in LISTS}
    await at_once([_send_batch(client, batch) for batch in _parts(people, BATCH)], CALLS_AT_ONCE)
    changes = [
        _send(client, f"{AUDIENCE}/segments/{lists[name]['id']}", {"members_to_add": part})
        for column, name in enumerate(LISTS, start=SUBSCRIBED + 1)
        for part in _parts([person[0] for person in people if person[column]], ENTRIES)
    ]
    await at_once(changes, CALLS_AT_ONCE)


async def _send_batch(client: httpx.AsyncClient, people: Sequence[Sequence[Any]]) -> None:
    batch = await _send(client, "/3.0/batches", {"operations": [_operation(person) for person in people]})
    while batch["status"] != "finished":
        batch = decode((await client.get(f"/3.0/batches/{batch['id']}")).content)
    results = (await client.get(batch["response_body_url"])).content
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(results))) as files:
        rows = [row for entry in files if (file := files.extractfile(entry)) for row in decode(file.read())]
    if any(row["status_code"] != 200 for row in rows):
        raise ValueError("a contact was refused")


def _operation(person: Sequence[Any]) -> Row:
    email, subscribed = person[0], person[SUBSCRIBED]
    values = {tag: value for tag, value in zip(TAGS, person[1:SUBSCRIBED], strict=True) if value is not None}
    body = {
        "email_address": email,
        "merge_fields": values,
        "status_if_new": "subscribed" if subscribed else "transactional",
    }
    key = hashlib.md5(email.encode()).hexdigest()
    path = f"{AUDIENCE}/members/{key}"
    return {"method": "PUT", "path": path, "operation_id": key, "body": encode(body).decode()}


async def _send(client: httpx.AsyncClient, path: str, content: Row) -> Any:
    answer = await client.post(path, content=encode(content), headers={"content-type": "application/json"})
    return decode(answer.raise_for_status().content)


async def at_once(work: Iterable[Awaitable[Any]], most: int) -> None:
    """Do all of it, `most` at a time."""
    waiting = iter(work)

    async def worker() -> None:
        for each in waiting:
            await each

    await asyncio.gather(*(worker() for _ in range(most)))


def _parts(whole: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]


@asynccontextmanager
async def _client(url: str, most: int) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
    async with httpx.AsyncClient(base_url=url, auth=("key", "secret"), timeout=60, limits=limits) as client:
        yield client


async def main(folder: Path, shop: str, news: str) -> None:
    figures = Figures()
    with closing(sqlite3.connect(folder / "bare.db")) as db:
        db.executescript(SCHEMA)
        async with _client(f"{shop}/wp-json/wc/v3/", PAGES_AT_ONCE) as client:
            with metered(figures, "pull"):
                await pull(client, db)
        with metered(figures, "profiles"):
            people = db.execute(PEOPLE).fetchall()
        async with _client(news, CALLS_AT_ONCE) as client:
            with metered(figures, "push"):
                await push(client, people)
    figures.tell()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
