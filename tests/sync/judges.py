"""What must hold at the end of a soak, whatever happened on its way."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from connectors.facts import Fact
from connectors.stores.woocommerce.checkouts import closed
from connectors.stores.woocommerce.payloads import (
    OPEN,
    Terms,
    read_checkout,
    read_customer,
    read_order,
    read_product,
)
from connectors.stores.woocommerce.settings import WooCommerceSettings
from connectors.stores.woocommerce.simulated_rows import customer_row, order_row, product_row
from state import inbox, outbox, runs, troubles
from sync.app import Cartwire
from sync.audit import audit
from sync.run import Order, run_sync
from tests import oracle
from tests.oracle import Shop

if TYPE_CHECKING:
    from tests.sync.soak import Soak

ZONE = ZoneInfo("Europe/Paris")
FIELDS = WooCommerceSettings.model_fields
TERMS = Terms(frozenset(FIELDS["paid_statuses"].default), FIELDS["consent_meta_key"].default)
ABANDONED = timedelta(minutes=FIELDS["abandoned_after"].default)
RECENT = timedelta(hours=12)
GROWTH = 1.25
"""By how much more than its orders the state may grow."""
MEMORY = 30.0
"""Megabytes that a process may take more on the third day than on the second."""

Profile = Mapping[str, Any]


async def judge(soak: "Soak") -> list[str]:
    """Run once more, in peace, and name all that is wrong then."""
    now = soak.clock.moment
    async with Cartwire(soak.plant) as cartwire:
        sync, db = cartwire.syncs["crm"], cartwire.db
        last = await run_sync(sync, db, soak.folder, Order(), soak.clock.now)
        again = await run_sync(sync, db, soak.folder, Order(), soak.clock.now)
        found = await audit(cartwire, sync, now, repair=False)
        wrong = [f"the last run ended `{last.outcome}`: {last.errors}"] if last.exit_code else []
        wrong += [f"a run without news wrote {again.writes} times"] if again.writes else []
        wrong += [f"the audit found drift: {found.orders} orders, {found.esp}"] if found.exit_code else []
        for what, left in {
            "outbox": await db.read(outbox.pending, "crm"),
            "inbox": await db.read(inbox.depths),
            "dead letters": await db.read(runs.list_dead_letters, ["shop", "crm"]),
            "troubles": await db.read(troubles.list_troubles),
        }.items():
            wrong += [f"{what}: {left}"] if left not in ([], outbox.Pending(0, 0, {})) else []
    people = oracle.profiles([Shop("shop", _facts(soak, now))], "EUR", {}, timezone="Europe/Paris")
    return [*wrong, *_contacts(soak, people, now), *_consent(soak, people), *_journeys(soak), *_growth(soak)]


def _facts(soak: "Soak", now: datetime) -> Sequence[Fact]:
    """Say what the shop has by now, as far as it can be known; checkouts that stand still are abandoned."""
    shop = soak.shop.state
    rows = [_without_extras(order_row(shop, number)) for number in shop.orders]
    checkouts = [read_checkout(row) for row in rows if row["status"] in OPEN]
    return [
        *(read_order(row, TERMS) for row in rows),
        *(read_customer(_without_extras(customer_row(shop, number)), TERMS) for number in shop.accounts),
        *(read_product(product_row(shop, number)) for number in shop.products),
        *(checkout for checkout in checkouts if checkout.updated_at < now - ABANDONED),
        *closed(rows, ABANDONED),
    ]


def _without_extras(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out phone numbers and channels, which the oracle knows of a few only."""
    meta = [each for each in row["meta_data"] if each["key"] == TERMS.consent_key]
    return row | {"billing": row["billing"] | {"phone": ""}, "meta_data": meta}


def _contacts(soak: "Soak", people: Mapping[str, Profile], now: datetime) -> Iterator[str]:
    """Compare everybody's fields and lists with what the rules mean in plain Python."""
    contacts = soak.news.state.contacts
    for email in sorted(people.keys() | contacts.keys()):
        contact, profile = contacts.get(email), people.get(email)
        if contact is None:
            yield f"{email} is missing"
        elif profile is None:
            yield from (
                [] if email in soak.life.fans or not contact.tags else [f"{email} is on {contact.tags}"]
            )
        else:
            fields = {name: contact.fields.get(name, "") for name in _fields(profile)}
            lists = contact.tags - {"Welcome"}
            if fields != _fields(profile):
                yield f"{email} has {fields} instead of {_fields(profile)}"
            if lists != _lists(profile, now):
                yield f"{email} is on {sorted(lists)} instead of {sorted(_lists(profile, now))}"


def _fields(profile: Profile) -> dict[str, Any]:
    last = profile["last_order_at"]
    return {
        "FNAME": profile["first_name"] or "",
        "ORDERS": profile["orders_count"],
        "SPENT": _plain(Decimal(profile["total_spent"]) / 100),
        "LASTORD": last.astimezone(ZONE).date().isoformat() if last else "",
        "TOPCAT": profile["preferred_category"] or "",
        "ITEMS": profile["items_bought"],
    }


def _lists(profile: Profile, now: datetime) -> set[str]:
    rules = {
        "Customers": profile["orders_count"] >= 1,
        "Big": profile["total_spent"] >= 15_000,
        "Lost": profile["checkout_id"] is not None,
        "Recent": profile["last_order_at"] is not None and profile["last_order_at"] > now - RECENT,
        "Loyal": profile["orders_count"] >= 2,
        "Refunded": profile["refunded_orders"] >= 1,
    }
    return {name for name, holds in rules.items() if holds}


def _plain(amount: Decimal) -> float:
    return float(amount)


def _consent(soak: "Soak", people: Mapping[str, Profile]) -> Iterator[str]:
    """Nobody is subscribed but who said so, here or at the ESP."""
    for email, contact in soak.news.state.contacts.items():
        proof = email in soak.life.fans or people.get(email, {}).get("accepts_marketing")
        if contact.status == "subscribed" and not proof:
            yield f"{email} is subscribed without proof"


def _journeys(soak: "Soak") -> Iterator[str]:
    """Who became a buyer after the beginning starts the journey, once for each time at most."""
    life, audience = soak.life, soak.news.state
    people = {life.address(life.owner(number)): life.owner(number) for number in life.shop.orders}
    numbers = {member.email: member.number for member in audience.members.values()}
    for email, person in people.items():
        started, entered = soak.told.started[numbers.get(email, 0)], life.entered[person]
        if started > entered:
            yield f"{email} started the journey {started} times, but entered {entered} times"
        if person in life.buyers - soak.history and not started:
            yield f"{email} never started the journey"


def _growth(soak: "Soak") -> Iterator[str]:
    """Compare the second day with the third, from when on nothing grows but what the shop has."""
    samples = {each.hour: each for each in soak.told.samples}
    day, end = samples.get(24), soak.told.samples[-1]
    if day is None or end.hour < 48:
        return
    grown = end.orders / day.orders * GROWTH
    if end.state > day.state * grown:
        yield f"the state grew from {day.state:.1f} to {end.state:.1f} MB, orders from {day.orders} to {end.orders}"
    if end.memory > day.memory + MEMORY:
        yield f"memory grew from {day.memory:.0f} to {end.memory:.0f} MB"
