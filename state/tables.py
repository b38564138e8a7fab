"""The tables of what stores told, what follows from it, and what the ESP has of it.

Rows never leave this package: its functions take and return facts. Cartwire's own books are in `state.bookkeeping`.

Money is in minor units, moments are aware UTC, ids are the vendors' own as text. `email` columns hold
normalised addresses.
"""

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, Table, Text
from sqlmodel import Field, SQLModel


class Kind(StrEnum):
    """What a profile column holds, as the mapping language types it."""

    TEXT = "text"
    NUMBER = "number"
    MONEY = "money"  # minor units of the sync's currency
    MOMENT = "moment"
    DATE = "date"
    BOOLEAN = "boolean"


def _minor(**settings: Any) -> Any:
    return Field(sa_type=BigInteger, **settings)


def _column(kind: Kind, description: str, words: Sequence[str] = (), **settings: Any) -> Any:
    """Declare a profile column that mappings may use: `description` is what the docs and the schema say.

    `words` are all that it ever holds.
    """
    if kind is Kind.MONEY:
        settings["sa_type"] = BigInteger
    return Field(
        default=None,
        description=description,
        sa_column_kwargs={"info": {"kind": kind, "words": words}},
        **settings,
    )


class PersonColumns(SQLModel):
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    phone: str | None = None
    postal_code: str | None = None
    city: str | None = None
    country: str | None = None
    vat_number: str | None = None


class SourceColumns(SQLModel):
    source_name: str | None = None
    source_medium: str | None = None
    source_evidence: str | None = Field(default=None, sa_type=Text)


# --- facts ---------------------------------------------------------------------------------------------


class OrderRow(PersonColumns, SourceColumns, table=True):
    """`person` is whom the order belongs to: the account's current address, else the guest's.

    `digest` tells two copies with the same `updated_at` apart.
    """

    __tablename__ = "orders"
    __table_args__ = (
        Index("orders_person", "person", "store", "created_at"),
        Index("orders_customer", "store", "customer_id"),
        Index("orders_created", "store", "created_at"),
    )
    store: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    number: str
    email: str | None = None
    customer_id: str | None = None
    person: str | None = None
    standing: str
    status: str
    currency: str
    total_minor: int = _minor()
    discount_minor: int | None = _minor(default=None)
    created_at: datetime
    updated_at: datetime
    paid_at: datetime | None = None
    fulfilment: str | None = None
    digest: str


class OrderLineRow(SQLModel, table=True):
    __tablename__ = "order_lines"
    __table_args__ = (Index("order_lines_product", "product_id", "store"),)
    store: str = Field(primary_key=True)
    order_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    product_id: str | None = None
    title: str
    quantity: int
    total_minor: int = _minor()


class RefundRow(SQLModel, table=True):
    __tablename__ = "refunds"
    store: str = Field(primary_key=True)
    order_id: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    amount_minor: int = _minor()
    created_at: datetime | None = None


class CustomerRow(PersonColumns, SourceColumns, table=True):
    __tablename__ = "customers"
    __table_args__ = (
        Index("customers_email", "email", "store"),
        Index("customers_created", "store", "created_at"),
    )
    store: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    email: str | None = None
    birthday: date | None = None
    tags: str | None = None
    guest: bool = False
    created_at: datetime
    updated_at: datetime
    digest: str


class CheckoutRow(SQLModel, table=True):
    __tablename__ = "checkouts"
    __table_args__ = (
        Index("checkouts_person", "person", "store"),
        Index("checkouts_customer", "store", "customer_id"),
    )
    store: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    email: str | None = None
    customer_id: str | None = None
    person: str | None = None
    url: str | None = Field(default=None, sa_type=Text)
    currency: str | None = None
    total_minor: int | None = _minor(default=None)
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None
    digest: str


class ProductRow(SQLModel, table=True):
    __tablename__ = "products"
    store: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    title: str
    updated_at: datetime
    digest: str


class ProductCategoryRow(SQLModel, table=True):
    __tablename__ = "product_categories"
    store: str = Field(primary_key=True)
    product_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    name: str


class ConsentRow(SQLModel, table=True):
    """Somebody's word on marketing mail: who, when, and the record that holds it (P4).

    `origin` is the store's or the ESP's name, `record` what stands there ("order 727", "customer 26",
    "contact"). Each record holds one word; the newest over all records counts. `email` is None while we
    do not know the account that the record belongs to.
    """

    __tablename__ = "consents"
    __table_args__ = (Index("consents_email", "email", "origin"),)
    origin: str = Field(primary_key=True)
    record: str = Field(primary_key=True)
    email: str | None = None
    given: bool
    at: datetime
    level: str | None = None


# --- derived -------------------------------------------------------------------------------------------


class ProfileRow(SQLModel, table=True):
    """One person across all stores of a sync. Columns with a kind are what mappings can use.

    `revision` is that of the facts last aggregated, `consent_origin` where `accepts_marketing` stands.
    """

    __tablename__ = "profiles"
    __table_args__ = (
        Index("profiles_email", "sync", "email", unique=True),
        Index("profiles_revision", "sync", "revision"),
        Index("profiles_signup_at", "sync", "signup_at"),
        Index("profiles_first_order_at", "sync", "first_order_at"),
        Index("profiles_last_order_at", "sync", "last_order_at"),
        Index("profiles_last_activity_at", "sync", "last_activity_at"),
        Index("profiles_checkout_at", "sync", "checkout_at"),
    )
    id: int | None = Field(default=None, primary_key=True)
    sync: str
    revision: int = 0
    consent_origin: str | None = None
    email: str = Field(
        description="E-mail address, normalised.", sa_column_kwargs={"info": {"kind": Kind.TEXT}}
    )
    first_name: str | None = _column(Kind.TEXT, "First name, from the newest record that has one.")
    last_name: str | None = _column(Kind.TEXT, "Last name, from the newest record that has one.")
    company: str | None = _column(Kind.TEXT, "Company on the address.")
    phone: str | None = _column(Kind.TEXT, "Phone number in E.164 form (+33612345678).")
    postal_code: str | None = _column(Kind.TEXT, "Postal code.")
    city: str | None = _column(Kind.TEXT, "City.")
    country: str | None = _column(Kind.TEXT, "Country, ISO 3166-1 alpha-2 (FR).")
    vat_number: str | None = _column(Kind.TEXT, "VAT number on the address.")
    birthday: date | None = _column(Kind.DATE, "Date of birth, from the newest account that has one.")
    signup_at: datetime | None = _column(
        Kind.MOMENT, "When the person was first known: the account's creation, else the first order."
    )
    last_activity_at: datetime | None = _column(
        Kind.MOMENT, "The newest sign of the person that a store has: sign-up, order of any kind, checkout."
    )
    accepts_marketing: bool | None = _column(
        Kind.BOOLEAN, "The newest word on marketing e-mail; unknown when nobody asked."
    )
    orders_count: int | None = _column(Kind.NUMBER, "Paid orders, without those refunded in full.")
    total_spent: int | None = _column(
        Kind.MONEY, "Paid orders, tax and shipping included, net of refunds, in the sync's currency."
    )
    average_basket: int | None = _column(Kind.MONEY, "total_spent / orders_count.")
    first_order_at: datetime | None = _column(Kind.MOMENT, "When the first counted order was placed.")
    last_order_at: datetime | None = _column(Kind.MOMENT, "When the last counted order was placed.")
    last_order_number: str | None = _column(Kind.TEXT, "Number of the last counted order.")
    currency: str | None = _column(Kind.TEXT, "Currency of the last counted order.")
    items_bought: int | None = _column(
        Kind.NUMBER, "Pieces in counted orders, as their lines say; unknown when no store tells lines."
    )
    discounted_orders: int | None = _column(
        Kind.NUMBER, "Counted orders with a discount; unknown when no store says."
    )
    night_orders: int | None = _column(
        Kind.NUMBER,
        "Counted orders placed from 22:00 to 06:00, in the sync's timezone; unknown when none has a time of day.",
    )
    timed_orders: int | None = _column(
        Kind.NUMBER, "Counted orders with a time of day; 00:00:00 in the sync's timezone is a date alone."
    )
    paid_orders: int | None = _column(
        Kind.NUMBER, "Orders that were ever paid: the counted ones, and those refunded or cancelled since."
    )
    refunded_orders: int | None = _column(
        Kind.NUMBER, "Of paid_orders, those refunded in part or in full, or cancelled after they were paid."
    )
    order_in_progress: bool | None = _column(
        Kind.BOOLEAN, "Whether a counted order is still on its way; unknown when no store says."
    )
    last_fulfilment: str | None = _column(
        Kind.TEXT,
        "How far the last counted order has come: open, partial or fulfilled.",
        words=("open", "partial", "fulfilled"),
    )
    preferred_category: str | None = _column(
        Kind.TEXT,
        "Category that most was spent on, as ordered: refunds in part are not taken off. Between equals, the one "
        "bought last.",
    )
    top_categories: str | None = _column(
        Kind.TEXT,
        "The three categories that most was spent on, as in preferred_category, the first first, with commas between.",
    )
    checkout_id: str | None = _column(
        Kind.TEXT,
        "The newest open checkout; gone once the person has paid for an order that was placed or paid since it was begun.",
    )
    checkout_url: str | None = _column(Kind.TEXT, "Where that checkout goes on.", sa_type=Text)
    checkout_at: datetime | None = _column(Kind.MOMENT, "When somebody last did something in that checkout.")
    checkout_total: int | None = _column(Kind.MONEY, "What lies in that checkout.")
    lead_source: str | None = _column(Kind.TEXT, "Source of the first record that names one.")
    acquisition_channel: str | None = _column(
        Kind.TEXT,
        "Kind of that source: seo, social, ads, email, referral, direct or other.",
        words=("seo", "social", "ads", "email", "referral", "direct", "other"),
    )
    lead_source_evidence: str | None = _column(
        Kind.TEXT, "What the store recorded about that source.", sa_type=Text
    )
    stores: str | None = _column(Kind.TEXT, "Names of the stores that know the person, with commas between.")
    customer_ids: str | None = _column(Kind.TEXT, "The person's accounts as store:id, with commas between.")


class FigureRow(SQLModel, table=True):
    """What a rule over the whole base rests on: `value` of `key`, at `rank` where there are many.

    `rank` is 0 for an average; for a percentile, the top share in tenths of a percent (1..1000).
    """

    __tablename__ = "figures"
    __table_args__ = (Index("figures_value", "sync", "key", "value"),)
    sync: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    rank: int = Field(primary_key=True)
    value: float | None = None


# --- what the ESP has --------------------------------------------------------------------------------


class AcceptedRow(SQLModel, table=True):
    """What the ESP last accepted of a profile (P3), and what it refused (P5).

    `fields` maps names to encoded values; `refused` maps the names of fields left out to [value, reason].
    `refused_contact` is the digest of the contact that did not go through as a whole. `blocked` is why
    this address must not be tried again.
    """

    __tablename__ = "accepted"
    sync: str = Field(primary_key=True)
    profile: int = Field(primary_key=True)
    email: str | None = None
    fields: str = Field(default="{}", sa_type=Text)
    refused: str = Field(default="{}", sa_type=Text)
    subscribe: str | None = None
    refused_contact: str | None = None
    blocked: str | None = None
    accepted_at: datetime | None = None


class MembershipRow(SQLModel, table=True):
    """A list that the profile is in, as far as the ESP accepted it.

    `refused` is why it did not take the last change: to join when not `inside`, else to leave; `doubtful`
    says that nobody knows whether it took it. `told` is false where the rule of a journey is true and the
    ESP was told nothing: because of history, or because the journey may not begin again.
    """

    __tablename__ = "memberships"
    sync: str = Field(primary_key=True)
    profile: int = Field(primary_key=True)
    list: str = Field(primary_key=True)
    at: datetime
    inside: bool = True
    refused: str | None = None
    told: bool = True
    doubtful: bool = False


class EntryRow(SQLModel, table=True):
    """When a profile last entered a journey; it stays when they leave, for `reenter`.

    `quiet` is set for whoever was inside the rule already when the journey went live (P10).
    """

    __tablename__ = "entries"
    sync: str = Field(primary_key=True)
    profile: int = Field(primary_key=True)
    list: str = Field(primary_key=True)
    at: datetime
    quiet: bool = False


metadata = SQLModel.metadata


def table(row: type[SQLModel]) -> Table:
    """Return the SQLAlchemy table behind a row class."""
    found: Table = row.__table__  # type: ignore[attr-defined]
    return found
