"""PrestaShop 1.7 to 9 and thirty bees: https://devdocs.prestashop-project.org/8/webservice/, read only.

The way of the data: asked in `webservice`, walked in `walks`, understood by `lists`, read in `payloads`.
Pitfalls, and what is done:

- No order unless one is given, no count, no next page: every question says its order; the history is walked
  by id, changes by time and id. Nothing moves under a walk by id, so a careful reading is no other.
- Times are the shop's wall clock, to the second: see `clock`. `>[…]` leaves the given second out; filters by
  date need `date=1`; a `T` or a `Z` in a date silently finds nothing.
- Single rows leave out what is 0 or empty: all is asked as lists, with the fields named. Customers asked for
  without fields would come with their passwords' hashes.
- A credit slip changes nothing in its order, so slips are walked of their own.
- An order names its customer, whose e-mail address stands there alone; a guest is a new customer each time.
  Addresses are asked for by the page, for all the customers on it.
- A subscription in the newsletter block moves `newsletter_date_add` and not `date_upd`; an address that is
  edited moves its own `date_upd` alone: both are walked. Leaving by the newsletter block moves nothing at
  all: each reading also takes the next hundred of all customers, in turn.
- Carts do not say whether they became orders: orders are asked by `id_cart`, and new orders for their carts.
- A shop that is asked in parallel, on shared hosting, goes down: one request at a time.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from connectors.base import Delivery, News, Page, Resource, Window
from connectors.errors import BadRecord, Refused
from connectors.facts import Fact
from connectors.paging import Row, read_rows
from connectors.stores.prestashop.clock import before
from connectors.stores.prestashop.lists import Lists
from connectors.stores.prestashop.payloads import (
    Terms,
    id_of,
    read_checkout,
    read_customer,
    read_order,
    read_product,
    read_refund,
)
from connectors.stores.prestashop.refusals import MENU, NOT_GRANTED, troubles_of
from connectors.stores.prestashop.settings import PrestaShopSettings
from connectors.stores.prestashop.walks import Place, Reading, by_id, by_time
from connectors.stores.prestashop.webservice import KINDS, Ask, Listing, Webservice, one_of
from connectors.webhooks import key_of, plain, read_hint, verify_standard

PATHS: Mapping[Resource, str] = {
    Resource.PRODUCTS: "products",
    Resource.CUSTOMERS: "customers",
    Resource.ORDERS: "orders",
    Resource.REFUNDS: "order_slip",
    Resource.CHECKOUTS: "carts",
}
OF_KIND: Mapping[str, str] = {kind: path for path, kind in KINDS.items()}

ORDERS = Ask(
    "orders",
    "id,reference,id_customer,id_currency,id_cart,current_state,valid,date_add,date_upd,invoice_date,"
    "total_paid,total_paid_tax_incl,total_paid_real,total_discounts_tax_incl,"
    "order_rows[product_id,product_name,product_quantity,unit_price_tax_incl]",
    size=100,
)
CUSTOMERS = Ask(
    "customers",
    "id,email,firstname,lastname,company,birthday,newsletter,newsletter_date_add,is_guest,deleted,date_add,"
    "date_upd",
    size=250,
)
SLIPS = Ask(
    "order_slip",
    "id,id_order,total_products_tax_incl,total_shipping_tax_incl,amount,shipping_cost_amount,date_add,date_upd",
    size=250,
)
CARTS = Ask(
    "carts", "id,id_customer,date_add,date_upd,cart_rows[id_product]", {"id_customer": ">[0]"}, size=100
)
PRODUCTS = Ask("products", "id,name,id_category_default,date_add,date_upd,categories[id]", size=100)
ADDRESSES = Ask(
    "addresses",
    "id,id_customer,id_country,company,vat_number,phone,phone_mobile,postcode,city,deleted,date_upd",
)
CHANGED_ADDRESSES = Ask("addresses", "id,id_customer,date_upd", {"id_customer": ">[0]"}, size=250)
NEW_ORDERS = Ask("orders", "id,id_cart,date_add", size=100)
ASKS: Mapping[str, Ask] = {ask.resource: ask for ask in (ORDERS, CUSTOMERS, SLIPS, CARTS, PRODUCTS)}
"""Rows that carry others with them are pages of 100: each is loaded as a whole object in the shop."""

EVER, NEVER = datetime(1971, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)
"""Where a window without a beginning or an end begins and ends."""
ROUND = 100
"""Customers that each reading takes in turn."""
CARTS_LIFE = timedelta(days=90)
"""How far back carts are read: an older one is nobody's reminder any more, and there are more than orders."""

RIGHTS: Mapping[str, str] = {
    "orders": "orders",
    "order_states": "which orders are paid",
    "order_slip": "refunds",
    "currencies": "the currency of orders",
    "customers": "customers",
    "addresses": "phone numbers and postal codes",
    "countries": "the countries of addresses",
    "products": "products",
    "categories": "the categories of products",
    "carts": "abandoned carts",
    "configurations": "the shop's timezone and language",
}

Found = tuple[list[Fact], list[BadRecord]]


@dataclass(frozen=True, slots=True)
class Walk:
    """One of the walks that together meet every change: by which time, and what is made of its rows."""

    ask: Ask
    by: str
    read: Callable[[Listing, set[str]], Awaitable[Found]]


class PrestaShop:
    Settings = PrestaShopSettings

    resources: Sequence[Resource] = tuple(PATHS)

    def __init__(self, settings: PrestaShopSettings) -> None:
        self._webservice = Webservice(settings.base_url or settings.url, settings.key.get_secret_value())
        self._webhook_keys = [key_of(secret) for secret in plain(settings.webhook_secret)]
        self._lists = Lists(self._webservice, settings)
        self._needs = [path for path in RIGHTS if path != "configurations" or not settings.timezone]
        self._readers: Mapping[str, Callable[[Listing], Awaitable[Found]]] = {
            "orders": self._orders,
            "customers": self._customers,
            "products": self._products,
            "order_slip": self._refunds,
            "carts": self._checkouts,
        }
        self._walks: Mapping[Resource, Sequence[Walk]] = {
            Resource.PRODUCTS: [self._plain(PRODUCTS)],
            Resource.CUSTOMERS: [
                self._plain(CUSTOMERS),
                self._plain(CUSTOMERS, by="newsletter_date_add"),
                Walk(CHANGED_ADDRESSES, "date_upd", self._owners),
            ],
            Resource.ORDERS: [Walk(ORDERS, "date_upd", self._orders_with_customers)],
            Resource.REFUNDS: [self._plain(SLIPS)],
            Resource.CHECKOUTS: [
                self._plain(CARTS),
                Walk(NEW_ORDERS, "date_add", self._carts_ordered),
            ],
        }

    @property
    def tally(self) -> Counter[str]:
        return self._webservice.api.tally

    async def aclose(self) -> None:
        await self._webservice.api.aclose()

    async def check(self) -> Sequence[str]:
        """Look at one row of everything that is needed; a right that is missing is a sentence."""
        refused: dict[str, Refused] = {}
        for path in self._needs:
            of_date = path in ASKS
            ask = Ask(path, "", sort="date_upd_ASC" if of_date else "id_ASC", size=1, of_date=of_date)
            try:
                await self._webservice.ids(ask)
            except Refused as error:
                if not NOT_GRANTED & {trouble.code for trouble in troubles_of(error.body)}:
                    raise
                refused[path] = error
        if len(refused) == len(self._needs):
            raise refused["orders"]
        if "configurations" not in refused:
            await self._lists.terms()
        return [
            f"{RIGHTS[path]} cannot be read: tick View (GET) beside `{path}` for `key` in {MENU}"
            for path in refused
        ]

    async def plan_backfill(self, resource: Resource, since: datetime | None) -> Sequence[Window]:
        """Take a resource as one window, as ids leave no hole in it; none when it is empty.

        Customers and products are read whole: orders since then may name any. Of carts the last 90 days are.
        """
        if not await self._webservice.ids(Ask(PATHS[resource], "", size=1)):
            return []
        if resource is Resource.CHECKOUTS:
            oldest = datetime.now(UTC) - CARTS_LIFE
            return [Window(resource, max(since, oldest) if since else oldest)]
        return [Window(resource, since if resource in {Resource.ORDERS, Resource.REFUNDS} else None)]

    async def backfill(
        self,
        window: Window,
        cursor: str | None,
        *,
        careful: bool = False,  # noqa: ARG002 - no row moves under a walk by id, so it always is
    ) -> AsyncIterator[Page]:
        ask = await self._worded(ASKS[PATHS[window.resource]])
        if window.start:
            clock = (await self._lists.terms()).clock
            start = f">[{before(clock.since(window.start))}]"
            name = "date_upd" if window.resource is Resource.CHECKOUTS else "date_add"
            ask = replace(ask, where={**ask.where, name: start}, of_date=True)
        read = self._readers[ask.resource]
        async for listing, last in by_id(self._webservice.rows, ask, cursor or "0"):
            facts, bad = await read(listing)
            yield Page(facts, last, [*listing.bad, *bad])

    async def changes(self, resource: Resource, since: datetime, cursor: str | None) -> AsyncIterator[Page]:
        clock = (await self._lists.terms()).clock
        reading = Reading.after(since if cursor else since - await self._lag(), cursor)
        met: set[str] = set()
        while reading.walk < len(self._walks[resource]):
            walk = self._walks[resource][reading.walk]
            place = reading.place or Place(clock.since(reading.start))
            async for step in by_time(self._webservice.rows, await self._worded(walk.ask), walk.by, place):
                reading = reading.at(step)
                facts, bad = await walk.read(Listing(step.rows, step.sent_at), met)
                if facts or step.bad or bad:
                    yield Page(facts, reading.text(), [*step.bad, *bad])
        facts, bad = [], []
        if resource is Resource.CUSTOMERS:
            reading, (facts, bad) = await self._take_round(reading)
        yield Page(facts, reading.caught_up(), bad)

    async def count_orders(self, windows: Sequence[Window]) -> Sequence[int | None]:
        """List the ids of each window, for which the shop loads no order."""
        clock = (await self._lists.terms()).clock
        found = []
        for window in windows:
            where = {
                "date_add": f"[{clock.since(window.start or EVER)},{before(clock.since(window.end or NEVER))}]"
            }
            found.append(len(await self._webservice.ids(Ask("orders", "", where, of_date=True))))
        return found

    async def reread(self, records: Sequence[str]) -> Page:
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        for record in records:
            kind, _, identity = record.rpartition(" ")
            if kind in OF_KIND and identity.isdigit():
                wanted[OF_KIND[kind]].append(identity)
        facts: list[Fact] = []
        bad: list[BadRecord] = []
        for path in ("orders", *(path for path in OF_KIND.values() if path != "orders")):
            for part in batched(list(dict.fromkeys(wanted[path]))):
                listing = await self._by_ids(ASKS[path], part)
                more, unreadable = await self._readers[path](listing)
                if path == "orders":  # a new guest is known by their customer alone
                    wanted["customers"] += filter(
                        None, (id_of(row.get("id_customer")) for row in listing.rows)
                    )
                facts += more
                bad += [*listing.bad, *unreadable]
        return Page(facts, "", bad)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Delivery | None:
        return verify_standard(self._webhook_keys, headers, body, now)

    def read_webhook(self, topic: str, body: bytes) -> News:  # noqa: ARG002 - there is one topic
        """Read what a module, or whoever else knows the secret, hints at: core sends nothing."""
        return read_hint(body, PATHS)

    async def _lag(self) -> timedelta:
        """Say by how much the shop's clock is behind ours: `since` is by ours, cursors are by the shop's."""
        if self._webservice.lag is None:
            await self._webservice.ids(Ask("orders", "", size=1))
        return self._webservice.lag or timedelta()

    async def _worded(self, ask: Ask) -> Ask:
        """Ask for texts in the shop's language alone."""
        if ask is not PRODUCTS:
            return ask
        return replace(ask, language=(await self._lists.terms()).language)

    async def _by_ids(self, ask: Ask, ids: Sequence[str]) -> Listing:
        ask = await self._worded(ask)
        return await self._webservice.rows(replace(ask, where={**ask.where, "id": one_of(ids)}, size=None))

    def _plain(self, ask: Ask, by: str = "date_upd") -> Walk:
        async def read(listing: Listing, _: set[str]) -> Found:
            return await self._readers[ask.resource](listing)

        return Walk(ask, by, read)

    # --- from rows to facts, with what else they need ---------------------------------------------------

    async def _orders(self, listing: Listing) -> Found:
        if not listing.rows:
            return [], []
        terms = await self._lists.terms(["orders"], {"orders": listing.rows})
        return read_rows(listing.rows, lambda row: read_order(row, terms, listing.sent_at), "order")

    async def _orders_with_customers(self, listing: Listing, met: set[str]) -> Found:
        """Add the customers that a page's orders name, each once a reading."""
        facts, bad = await self._orders(listing)
        named = [id_of(row.get("id_customer")) for row in listing.rows]
        customers, unreadable = await self._customers_new(named, met)
        return [*customers, *facts], [*unreadable, *bad]

    async def _owners(self, listing: Listing, met: set[str]) -> Found:
        """Read whose addresses these are."""
        return await self._customers_new([id_of(row.get("id_customer")) for row in listing.rows], met)

    async def _customers_new(self, named: Sequence[str | None], met: set[str]) -> Found:
        new = sorted({one for one in named if one} - met, key=int)
        if not new:
            return [], []
        met.update(new)
        listing = await self._by_ids(CUSTOMERS, new)
        facts, bad = await self._customers(listing)
        return facts, [*listing.bad, *bad]

    async def _customers(self, listing: Listing) -> Found:
        if not listing.rows:
            return [], []
        newest = await self._addresses([str(row["id"]) for row in listing.rows])
        terms = await self._lists.terms(["addresses"], {"addresses": list(newest.values())})

        def read(row: Row) -> Fact:
            return read_customer(row, newest.get(str(row["id"])), terms, listing.sent_at)

        return read_rows(listing.rows, read, "customer")

    async def _addresses(self, customers: Sequence[str]) -> Mapping[str, Row]:
        """Find the newest address of each customer that is not deleted."""
        ask = replace(ADDRESSES, where={"id_customer": one_of(customers), "deleted": "[0]"})
        rows = (await self._webservice.rows(ask)).rows
        rows = sorted(rows, key=lambda row: (str(row.get("date_upd")), int(row["id"])))
        return {str(row["id_customer"]): row for row in rows}

    async def _products(self, listing: Listing) -> Found:
        if not listing.rows:
            return [], []
        terms = await self._lists.terms(["products"], {"products": listing.rows})
        return read_rows(listing.rows, lambda row: read_product(row, terms, listing.sent_at), "product")

    async def _refunds(self, listing: Listing) -> Found:
        if not listing.rows:
            return [], []
        terms = await self._lists.terms(["order_slip"])
        currencies = await self._currencies_of(listing.rows, terms)
        return read_rows(listing.rows, lambda row: read_refund(row, terms, currencies), KINDS["order_slip"])

    async def _currencies_of(self, slips: Sequence[Row], terms: Terms) -> Mapping[str, str]:
        """Say in which currency each slip's order was; only a shop with several needs to be asked."""
        orders = sorted({one for row in slips if (one := id_of(row.get("id_order")))})
        if len(terms.currencies) == 1 or not orders:
            return dict.fromkeys(orders, next(iter(terms.currencies.values()), ""))
        found = await self._webservice.rows(Ask("orders", "id,id_currency", {"id": one_of(orders)}))
        pairs = ((str(row["id"]), terms.currencies.get(str(row.get("id_currency")))) for row in found.rows)
        return {order: currency for order, currency in pairs if currency}

    async def _checkouts(self, listing: Listing) -> Found:
        if not listing.rows:
            return [], []
        terms = await self._lists.terms()
        ask = Ask("orders", NEW_ORDERS.fields, {"id_cart": one_of([str(row["id"]) for row in listing.rows])})
        ordered_at = _ordered_at((await self._webservice.rows(ask)).rows, terms)
        return _read_carts(listing, ordered_at, terms)

    async def _carts_ordered(self, listing: Listing, _: set[str]) -> Found:
        """Read the carts that became these orders."""
        terms = await self._lists.terms()
        ordered_at = _ordered_at(listing.rows, terms)
        if not ordered_at:
            return [], []
        return _read_carts(await self._by_ids(CARTS, list(ordered_at)), ordered_at, terms)

    async def _take_round(self, reading: Reading) -> tuple[Reading, Found]:
        """Read the next of all customers; behind the last the round begins anew."""
        ask = replace(CUSTOMERS, where={"id": f">[{reading.round}]"}, size=ROUND)
        listing = await self._webservice.rows(ask)
        facts, bad = await self._customers(listing)
        last = str(listing.rows[-1]["id"]) if listing.rows else "0"
        return replace(reading, round=last), (facts, [*listing.bad, *bad])


def _ordered_at(orders: Sequence[Row], terms: Terms) -> dict[str, datetime]:
    """Say when each cart became an order, by the cart's id."""
    found: dict[str, datetime] = {}
    for row in orders:
        cart = id_of(row.get("id_cart"))
        with suppress(ValueError):  # an order whose time cannot be read is a dead letter of its own
            moment = terms.clock.first(row.get("date_add"))
            if cart and moment:
                found[cart] = moment
    return found


def _read_carts(listing: Listing, ordered_at: Mapping[str, datetime], terms: Terms) -> Found:
    def read(row: Row) -> Fact:
        return read_checkout(row, ordered_at, terms, listing.sent_at)

    return read_rows(listing.rows, read, KINDS["carts"])


def batched(ids: Sequence[str], size: int = 100) -> list[Sequence[str]]:
    """Cut ids into parts that fit into an address."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]
