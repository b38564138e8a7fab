"""Facts to write down in a line, and strategies that invent whole shops."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Connection, select

from connectors.base import OptOut, Page
from connectors.facts import (
    Checkout,
    Consent,
    Customer,
    Fact,
    Fulfilment,
    Line,
    Money,
    Order,
    Person,
    Product,
    Refund,
    Standing,
)
from state import facts, opt_outs, profiles
from state.outbox import Target
from state.scope import Scope
from state.tables import ProfileRow, table
from tests.oracle import CHANNELS, PHONES, Shop

START = datetime(2026, 1, 1, 9, tzinfo=UTC)
ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
RATES = {"USD": Decimal("0.92"), "JPY": Decimal("0.0061"), "KWD": Decimal("3.0173")}
SCOPE = Scope("crm", ("shop", "outlet"), "news", "EUR", RATES)
PROFILES = table(ProfileRow)


def at(minutes: float) -> datetime:
    """Name a moment by minutes since the beginning of our time."""
    return START + timedelta(minutes=minutes)


NOW = at(10_000)
"""When pages come: later than everything that happened."""


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def order(number: int | str = 1, email: str | None = ADA, total: int | Money = 1000, **changes: Any) -> Order:
    """Make a paid order of a guest, in cents of a euro or as it says."""
    known: dict[str, Any] = {
        "id": str(number),
        "number": f"N{number}",
        "email": email,
        "customer_id": None,
        "standing": Standing.PAID,
        "status": "completed",
        "total": eur(total) if isinstance(total, int) else total,
        "created_at": at(0),
        "updated_at": at(0),
    }
    return Order(**known | changes)


def customer(number: int | str = 1, email: str | None = ADA, **changes: Any) -> Customer:
    known: dict[str, Any] = {"id": str(number), "email": email, "created_at": at(0), "updated_at": at(0)}
    return Customer(**known | changes)


def checkout(number: int | str = 1, email: str | None = ADA, **changes: Any) -> Checkout:
    known: dict[str, Any] = {
        "id": str(number),
        "email": email,
        "customer_id": None,
        "url": None,
        "total": None,
        "created_at": at(0),
        "updated_at": at(0),
    }
    return Checkout(**known | changes)


def product(number: int | str, *categories: str, updated_at: datetime = START) -> Product:
    return Product(str(number), f"Thing {number}", categories, updated_at)


def opt_out(
    connection: Connection,
    *emails: str,
    when: datetime,
    esp: str = "news",
    reason: str = "unsubscribed",
    agreed_at: datetime | None = None,
    neighbours: Iterable[str] = (),
) -> None:
    """Let an ESP, to which `neighbours` write as well, tell who may not be mailed."""
    told = [OptOut(email, reason, when, agreed_at) for email in emails]
    target = Target("crm", esp, "from_store", esp, frozenset(neighbours))
    opt_outs.save_opt_outs(connection, target, told, NOW)


def save(connection: Connection, *rows: Fact, store: str = "shop", gone: Sequence[str] = ()) -> int:
    """Deliver one page."""
    return facts.save_page(
        connection, store, Page(rows, "", gone=[f"order {number}" for number in gone]), NOW
    )


def refresh(connection: Connection, scope: Scope = SCOPE, chunk: int = 1000, now: datetime = START) -> int:
    """Compute whatever changed."""
    found = 0
    while done := profiles.refresh(connection, scope, chunk, now):
        found += done
    return found


def columns(connection: Connection, scope: Scope = SCOPE) -> dict[str, dict[str, Any]]:
    """Return address -> the columns that mappings see, of everybody who has facts."""
    rows = connection.execute(select(PROFILES).where(PROFILES.c.sync == scope.sync)).mappings()
    seen = [column.name for column in PROFILES.c if "kind" in column.info and column.name != "email"]
    return {row["email"]: {name: row[name] for name in seen} for row in rows if row["stores"]}


def profile(connection: Connection, email: str = ADA, scope: Scope = SCOPE) -> dict[str, Any]:
    """Compute what changed, and return somebody's columns."""
    refresh(connection, scope)
    return columns(connection, scope)[email]


def profile_id(connection: Connection, email: str = ADA, scope: Scope = SCOPE) -> int:
    found = connection.scalar(
        select(PROFILES.c.id).where(PROFILES.c.sync == scope.sync, PROFILES.c.email == email)
    )
    assert found is not None
    return int(found)


# --- whole shops ---------------------------------------------------------------------------------------

emails = st.sampled_from([ADA, BOB, EVE, None])
minutes = st.integers(0, 12).map(at)
people = st.builds(
    Person,
    first_name=st.sampled_from([None, "Ada", "İpek", "Zoë 🎈"]),
    last_name=st.sampled_from([None, "Lovelace"]),
    company=st.sampled_from([None, "Analytical"]),
    vat_number=st.sampled_from([None, "FR40303265045", "GB999999973"]),
    phone=st.sampled_from([None, *PHONES]),
    postal_code=st.sampled_from([None, "75001"]),
    city=st.sampled_from([None, "Paris"]),
    country=st.just("FR"),
)
consents = st.none() | st.builds(Consent, given=st.booleans(), at=minutes)
sources = st.sampled_from([None, *CHANNELS])
amounts = st.sampled_from([0, 1, 50, 99, 100, 333, 2000])
ZONES = ["UTC", "America/New_York", "Europe/Paris", "Asia/Kolkata"]
zones = st.sampled_from(ZONES)


def local(day: str, clock: str, zone: str) -> datetime:
    """Name a moment by what the clocks of a zone show."""
    return datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


nights = st.sampled_from(
    [
        local(day, clock, zone)
        for day in ("2026-03-07", "2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01", "2026-11-02")
        for clock in ("21:59:59.999999", "22:00", "05:59:59.999999", "06:00", "00:00", "00:00:01")
        for zone in ZONES
    ]
)
"""Around the limits of the night, when the clocks of New York or Paris change and the day before or after."""


@st.composite
def orders(draw: st.DrawFn, number: int, *, refunds_apart: bool, foreign: bool) -> Order:
    """Make any version of an order."""
    code = draw(st.sampled_from(["EUR", "USD", "JPY", "KWD", *(["GBP"] if foreign else [])]))
    lines = st.builds(
        Line,
        product_id=st.sampled_from(["1", "2", None]),
        title=st.just("Thing"),
        quantity=st.sampled_from([0, 1, 3]),
        total=amounts.map(lambda minor: Money(minor, code)),
    )
    back = draw(st.lists(amounts, max_size=2))
    refunds = [Refund(f"r{place}", str(number), Money(minor, code)) for place, minor in enumerate(back)]
    return order(
        number,
        draw(emails),
        customer_id=draw(st.sampled_from([None, "1", "2"])),
        standing=draw(st.sampled_from([Standing.PAID] * 5 + list(Standing))),
        total=Money(draw(amounts), code),
        created_at=draw(minutes | nights),
        paid_at=draw(st.none() | minutes),
        discount=draw(st.sampled_from([None, Money(0, code), Money(50, code)])),
        fulfilment=draw(st.sampled_from([None, *Fulfilment])),
        lines=draw(st.lists(lines, max_size=2)),
        refunds=None if refunds_apart else refunds,
        person=draw(people),
        source=draw(sources),
        consent=draw(consents),
    )


def customers(number: int) -> st.SearchStrategy[Customer]:
    return st.builds(
        customer,
        st.just(number),
        emails,
        created_at=minutes,
        person=people,
        birthday=st.sampled_from([None, date(2000, 2, 29), date(1992, 11, 2)]),
        consent=consents,
        source=sources,
        guest=st.booleans(),
    )


def checkouts(number: int) -> st.SearchStrategy[Checkout]:
    return st.builds(
        checkout,
        st.just(number),
        emails,
        customer_id=st.sampled_from([None, "1"]),
        url=st.sampled_from([None, f"https://shop.example/{number}"]),
        total=st.none() | st.builds(Money, amounts, st.sampled_from(["EUR", "JPY", "KWD", "GBP"])),
        created_at=minutes | nights,
        completed_at=st.sampled_from([None, None, at(5), at(200)]),
    )


def products(number: int) -> st.SearchStrategy[Product]:
    return st.lists(st.sampled_from(["Tea", "Shoes", "Çay", "Hats"]), max_size=3).map(
        lambda names: product(number, *names)
    )


@st.composite
def shops(draw: st.DrawFn, name: str, *, refunds_apart: bool = False, foreign: bool = False) -> Shop:
    """Invent a shop: of each thing one or more versions, each a minute newer than the one before."""
    kinds = [
        *(orders(number, refunds_apart=refunds_apart, foreign=foreign) for number in range(1, 4)),
        *(customers(number) for number in (1, 2)),
        *(products(number) for number in (1, 2)),
        *(checkouts(number) for number in (1, 2)),
    ]
    sent: list[Fact] = []
    for kind in kinds:
        versions: list[Any] = draw(st.lists(kind, max_size=3))
        sent += [_version(fact, place) for place, fact in enumerate(versions)]
    if refunds_apart:
        currency = {fact.id: fact.total.currency for fact in sent if isinstance(fact, Order)}
        for number, code in currency.items():
            sent += [
                Refund(f"r{place}", number, Money(minor, code), at(place))
                for place, minor in enumerate(draw(st.lists(amounts, max_size=2)))
            ]
    gone = draw(st.sets(st.sampled_from(["1", "2"]), max_size=1))
    return Shop(name, sent, frozenset(gone & {fact.id for fact in sent if isinstance(fact, Order)}))


def _version(fact: Any, place: int) -> Fact:
    """Date a version; an order keeps its currency, as orders do."""
    dated: Fact = replace(fact, updated_at=at(100 + place)) if hasattr(fact, "updated_at") else fact
    return dated
