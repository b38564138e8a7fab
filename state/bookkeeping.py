"""The tables of Cartwire's own books: how far it has read, what waits, what happened, who may do what.

What stores told, and what follows from it, stands in `state.tables`.
"""

from datetime import datetime

from sqlalchemy import Index, Text
from sqlmodel import Field, SQLModel

from state import tables

# --- reading -----------------------------------------------------------------------------------------


class TouchedRow(SQLModel, table=True):
    """Whose facts changed, and in which revision: each sync evaluates those after the one it has seen.

    `news` is the last revision that was more than a reading of history, 0 if there was none (P10).
    """

    __tablename__ = "touched"
    __table_args__ = (Index("touched_revision", "revision"),)
    email: str = Field(primary_key=True)
    revision: int
    # The database's default only: an upsert leaves out what it is not to change.
    news: int = Field(default=0, sa_column_kwargs={"server_default": "0", "default": None})


class RenameRow(SQLModel, table=True):
    __tablename__ = "renames"
    revision: int = Field(primary_key=True)
    old: str = Field(primary_key=True)
    new: str


class CursorRow(SQLModel, table=True):
    __tablename__ = "cursors"
    store: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    since: datetime
    cursor: str | None = Field(default=None, sa_type=Text)
    read_at: datetime | None = None


class WindowRow(SQLModel, table=True):
    """A window of a backfill. `moved` is set when the store's own count changed while we read."""

    __tablename__ = "windows"
    store: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    cursor: str | None = Field(default=None, sa_type=Text)
    expected: int | None = None
    rows: int = 0
    bad: int = 0
    moved: bool = Field(default=False, sa_column_kwargs={"server_default": "0"})
    careful: bool = False
    done_at: datetime | None = None
    missing: int = 0


class SyncRow(SQLModel, table=True):
    """How far a sync has come.

    Facts up to `revision` are in the profiles; profiles up to `evaluated_revision` are in the outbox or
    accepted, as they were at `evaluated_at` under the mapping with digest `mapping`. `scope` is the
    digest of what the aggregates rest on: stores, currency and rates. `place` says where contacts go.
    `held` is how much a held run would have written, `approved` how much may go beyond the limits.
    `journeys` maps the journeys that have gone live to the digests of their rules (P10). At `opt_outs_at`, by
    the ESP's clock, it was asked who opted out; then it may have been told of what was known up to `heard_revision`.
    """

    __tablename__ = "syncs"
    name: str = Field(primary_key=True)
    scope: str | None = None
    place: str | None = Field(default=None, sa_type=Text)
    revision: int = 0
    evaluated_revision: int = 0
    evaluated_at: datetime | None = None
    mapping: str | None = None
    figures_at: datetime | None = None
    opt_outs_at: datetime | None = None
    heard_revision: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    go_live_at: datetime | None = None
    held: str | None = Field(default=None, sa_type=Text)
    approved: str | None = Field(default=None, sa_type=Text)
    journeys: str = Field(default="{}", sa_type=Text, sa_column_kwargs={"server_default": "{}"})


class InboxRow(SQLModel, table=True):
    """A webhook, kept before it is answered. Once its facts are stored, only `delivery` stays, to know it again.

    What it names may be forbidden to us: then it is asked for again at `retry_at`, after so many `tries`.
    """

    __tablename__ = "inbox"
    __table_args__ = (
        Index("inbox_delivery", "store", "delivery", unique=True),
        Index("inbox_done_at", "done_at", "store"),
    )
    id: int | None = Field(default=None, primary_key=True)
    store: str
    delivery: str
    topic: str
    body: bytes
    received_at: datetime
    done_at: datetime | None = None
    tries: int = Field(default=0, sa_column_kwargs={"server_default": "0", "default": None})
    retry_at: datetime | None = None


class SubscriptionRow(SQLModel, table=True):
    """A webhook that the owner had us make at a store, so that it is made again when the store drops it."""

    __tablename__ = "subscriptions"
    store: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    url: str


# --- writing -----------------------------------------------------------------------------------------


class ContactJobRow(SQLModel, table=True):
    """The outbox, first half: a contact to write. Replaced when the profile changes again.

    `stamp` tells one writing of the row from the next, so that settling an old one leaves a newer one.
    """

    __tablename__ = "outbox_contacts"
    sync: str = Field(primary_key=True)
    profile: int = Field(primary_key=True)
    contact: str = Field(sa_type=Text)
    creates: bool
    stamp: str


class MembershipJobRow(SQLModel, table=True):
    """The outbox, second half: who joins or leaves a list, once the contact has landed."""

    __tablename__ = "outbox_memberships"
    __table_args__ = (Index("outbox_memberships_profile", "sync", "profile"),)
    sync: str = Field(primary_key=True)
    list: str = Field(primary_key=True)
    profile: int = Field(primary_key=True)
    joins: bool
    stamp: str


class DeadLetterRow(SQLModel, table=True):
    """A record that could not go through. `scope` is the store's or the sync's name."""

    __tablename__ = "dead_letters"
    scope: str = Field(primary_key=True)
    record: str = Field(primary_key=True)
    reason: str = Field(sa_type=Text)
    first_at: datetime
    last_at: datetime
    times: int = 1


# --- running -----------------------------------------------------------------------------------------


class RunRow(SQLModel, table=True):
    __tablename__ = "runs"
    __table_args__ = (Index("runs_sync", "sync", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    sync: str
    kind: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    report: str = Field(default="{}", sa_type=Text)


class AuditRow(SQLModel, table=True):
    """What the last audit of a sync found; see state/audits.py."""

    __tablename__ = "audits"
    sync: str = Field(primary_key=True)
    at: datetime
    people: int
    orders: int
    report: str = Field(sa_type=Text)


class LeaseRow(SQLModel, table=True):
    """Who may run `name` until `expires_at`; `owner` tells one run from the next, `place` where it runs."""

    __tablename__ = "leases"
    name: str = Field(primary_key=True)
    owner: str
    place: str
    holder: str
    taken_at: datetime
    expires_at: datetime


class TroubleRow(SQLModel, table=True):
    """What does not go as it should: a store or an ESP that is left alone, a sync that is held or stalled.

    `retry_at` is when it is tried again, `told` whether the owner was.
    """

    __tablename__ = "troubles"
    name: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    reason: str = Field(sa_type=Text)
    since: datetime
    tries: int
    retry_at: datetime | None = None
    told: bool


# --- keeping still -----------------------------------------------------------------------------------


class ForgottenRow(SQLModel, table=True):
    """A keyed hash of an address, an account or an order of somebody erased, so that it is not pulled in again."""

    __tablename__ = "forgotten"
    hash: str = Field(primary_key=True)
    at: datetime


class SecretRow(SQLModel, table=True):
    """Keys that this state store made for itself."""

    __tablename__ = "secrets"
    name: str = Field(primary_key=True)
    value: str


metadata = tables.metadata
"""Of the tables in both files."""
