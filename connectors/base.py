"""The contract between outside systems and the rest: what a store yields, what an ESP takes.

A connector is a plain class that fits `Store` or `Esp` and inherits nothing. Its folder's `__init__.py`
names the class (`CONNECTOR`), the class holds a pydantic model `Settings`: what the owner
writes beside `type:`. `tests/connectors/` holds every connector to what a type cannot say.
"""

import enum
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol, runtime_checkable

from connectors.errors import BadRecord
from connectors.facts import Fact

REQUEST, DELIVERY = "request", "webhook"
"""What the records of dead letters begin with that no store can be asked about again: what somebody wants the owner
to do ("request shop/redact"), and deliveries that cannot be read. They wait for the owner."""


class Resource(enum.StrEnum):
    """What a store can be asked for. A connector lists its own in the order in which to read them."""

    PRODUCTS = "products"
    CUSTOMERS = "customers"
    ORDERS = "orders"
    REFUNDS = "refunds"
    CHECKOUTS = "checkouts"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a store, read. Its rows and its cursor are stored in one transaction.

    `cursor` is where to go on if we stop after this page: opaque to everybody but the connector.
    `total` is how many rows the store says the window holds, None where it does not say.
    `gone` are records ("order 727") that the store, asked, no longer has.
    """

    facts: Sequence[Fact]
    cursor: str
    bad: Sequence[BadRecord] = ()
    gone: Sequence[str] = ()
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a resource's history that can be read alone: created in [start, end), or all of it."""

    resource: Resource
    start: datetime | None = None
    end: datetime | None = None


class Tally(Counter[str]):
    """Requests made so far, by HTTP method; "retry" beside them. `outcomes` counts them by how they ended.

    Those are: ok, refused, throttled, failed (the other end's fault) and lost (no answer). `lag` is by how many
    whole minutes the other end's clock was behind ours when it last told the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: Counter[str] = Counter()
        self.lag = timedelta()


class Store(Protocol):
    resources: Sequence[Resource]
    tally: Counter[str]

    async def check(self) -> Sequence[str]:
        """Try the connection and every right that a sync needs; a sentence for each that is missing.

        Raises a ConnectorError when there is no talking to the store at all.
        """

    async def plan_backfill(self, resource: Resource, since: datetime | None) -> Sequence[Window]:
        """Cut the history since `since` (all of it when None) into windows that can be read at once.

        No window for an empty store.
        """

    def backfill(self, window: Window, cursor: str | None, *, careful: bool) -> AsyncIterator[Page]:
        """Read a window from its beginning, or from where the page with `cursor` ended.

        The iterator's end means that the window is read. `careful` is set when a first reading did not
        find what the store says there is: read in the way that no moving row escapes, however slow.
        """

    def changes(self, resource: Resource, since: datetime, cursor: str | None) -> AsyncIterator[Page]:
        """Read what changed, oldest first: since `since` the first time, later from the last `cursor`.

        A cursor counts the moment when the reading began, not the newest row read, and overlaps.
        Rows seen before may come again; none may be left out.
        """

    async def reread(self, records: Sequence[str]) -> Page:
        """Read single records again, named as in BadRecord ("order 727"); those that are gone are left out."""

    async def aclose(self) -> None:
        """Close connections; harmless when repeated."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook that the store itself sent: `id` is the same when it is sent again, `topic` says how to read it.

    One that asks for something, where others tell of it, has a topic that begins with REQUEST and a blank: no
    later reading tells it again, so that nothing but reading it may end it.
    """

    id: str
    topic: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """Somebody whom a store wants erased: by account, by address, by phone, and by orders, as far as it names them.

    The account and the orders are theirs whatever address they bear; a phone alone finds nobody.
    """

    account: str | None = None
    email: str | None = None
    phone: str | None = None
    orders: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class News:
    """What a webhook tells.

    `facts` are whole; a copy of what is stored already replaces only an older one. `ask` are records ("order
    727") that it merely names. `deleted` are those that it says are gone, which the store is asked about too:
    a webhook can be late. `erase` are people whose data the store must no longer have with us.
    """

    facts: Sequence[Fact] = ()
    bad: Sequence[BadRecord] = ()
    ask: Sequence[str] = ()
    deleted: Sequence[str] = ()
    erase: Sequence[Erasure] = ()


@runtime_checkable
class Webhooks(Protocol):
    """The ability of stores that tell what changed, before they are asked."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Delivery | None:
        """Check whose a delivery is, in constant time; header names come in lower case. None: not theirs.

        So it is without any secret. `body` are the very bytes.
        """

    def read_webhook(self, topic: str, body: bytes) -> News:
        """Read a delivery that was verified, and kept; what cannot be read is a BadRecord."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A webhook that the store knows: `active` unless it was paused, or given up after failures."""

    id: str
    topic: str
    url: str
    active: bool = True


@runtime_checkable
class Subscriptions(Protocol):
    """The ability of stores whose webhooks can be made by their API."""

    topics: Sequence[str]

    async def subscriptions(self) -> Sequence[Subscription]:
        """List the webhooks that we may see, others' among them."""

    async def subscribe(self, topic: str, url: str) -> None:
        """Make a webhook, signed with the first of our secrets. Raises Refused, as without a secret."""

    async def revive(self, subscription: Subscription) -> None:
        """Make a webhook active again, signed with the first of our secrets."""

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a webhook; one that is gone is no trouble."""


class FieldType(enum.StrEnum):
    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    BOOLEAN = "boolean"


Value = str | int | Decimal | date | bool | None
"""What a field can hold. None clears it."""


@dataclass(frozen=True, slots=True)
class Field:
    """A contact's custom field: `name` as the ESP is to know it, `title` for people."""

    name: str
    type: FieldType
    title: str


class ListKind(enum.StrEnum):
    """What a list of the mapping can be at an ESP."""

    MEMBERS = "members"  # people join it and leave it
    TRIGGER = "trigger"  # an automation, started by a call for everybody who enters: see `Journeys`


class Subscribe(enum.StrEnum):
    """What our stored proofs allow for marketing mail."""

    NO = "no"  # no proof: a new contact is not subscribed
    YES = "yes"  # proof: a new contact may be subscribed
    ASK = "ask"  # proof, and the owner wants it confirmed by mail (double opt-in)
    STOP = "stop"  # the proof we subscribed them by was taken back: unsubscribe


@dataclass(frozen=True, slots=True)
class Contact:
    """What to write for one profile: only what changed since the ESP last accepted it.

    `known` says that this ESP has accepted the profile before. `was` is the address under which it knows
    the profile, when that changed: rename, or move where the vendor cannot. `change` names this writing:
    the same when it is sent again after a crash, another when the profile changes again.
    """

    profile: int
    email: str
    fields: Mapping[str, Value]
    subscribe: Subscribe = Subscribe.NO
    known: bool = False
    was: str | None = None
    change: str = field(default="", compare=False)

    @property
    def may_be_asked(self) -> bool:
        """Whether writing this can send a confirmation mail: whom the ESP has accepted once is not asked again."""
        return self.subscribe is Subscribe.ASK and not self.known


@dataclass(frozen=True, slots=True)
class Member:
    """Who joins or leaves a list; `change` as in `Contact`."""

    profile: int
    email: str
    change: str = field(default="", compare=False)


class Blame(enum.StrEnum):
    """What a refusal is about."""

    CONTACT = "contact"  # nothing of this contact landed
    FIELD = "field"  # `name` was left out, the rest landed
    MEMBERSHIP = "membership"  # this profile's change of this list did not land
    BROKEN = "broken"  # as CONTACT, by a fault of the ESP: a dead letter, and written again after a while
    BLOCKED = "blocked"  # the address may never come back here: believe it, do not try again
    ABSENT = "absent"  # the ESP has no field or list `name` (`Esp.prepare` said so, once for all)
    OPTED_OUT = "opted out"  # the contact landed, but the ESP says that they opted out: remember it
    ANEW = "anew"  # what was sent landed, but on a contact with nothing else of ours: made anew, or another's
    LATER = "later"  # the ESP gave way before this contact's turn: it stays to be written, and the run ends


NOT_LANDED = frozenset({Blame.CONTACT, Blame.BROKEN, Blame.BLOCKED})
"""What a refusal is about when nothing of the contact landed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What of a batch was not taken. `reason` is the vendor's, without addresses or values.

    `doubtful` says that nobody knows whether it was: the answer to a call that must not be repeated is lost.
    """

    profile: int
    blame: Blame
    reason: str
    name: str | None = None
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class OptOut:
    """Somebody who may not be mailed, as the ESP knows it; `agreed_at` is when they last agreed to before that."""

    email: str
    reason: str
    at: datetime | None = None
    agreed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Traits:
    """What an ESP can express, as data: checked when the configuration is read.

    Sizes: contacts per `push` (of them `asking_size` who may be asked to confirm, where a mail that is
    asked for twice is sent twice), members per `change_list`, `pushes` that may run at once. Lengths in
    characters, `text_bytes` in UTF-8 bytes; a longer value is cut by the connector, which logs `texts_cut`.
    None means no limit that we know of. `name_pattern` is what a field's name must match (a regular
    expression), `name_rule` says it in words. `short_names` says that a short name is better than a long
    one that just fits. Where `can_ask` is false, `ask_needs` are the settings that would make it true.
    `tells_opt_outs` is false where nobody can be asked who opted out, `shows_asked` where whom we asked to
    confirm is no contact before they do.
    """

    batch_size: int
    list_batch_size: int
    asking_size: int | None = None
    pushes: int = 1
    field_types: frozenset[FieldType] = frozenset(FieldType)
    max_fields: int | None = None
    name_pattern: str = r".+"
    name_rule: str = "any text"
    short_names: bool = False
    builtin_fields: frozenset[str] = frozenset()  # always there: never created, not counted in max_fields
    max_lists: int | None = None
    list_kinds: frozenset[ListKind] = frozenset({ListKind.MEMBERS})
    list_name_length: int | None = None
    text_length: int | None = None
    text_bytes: int | None = None
    can_clear: bool = True
    can_rename: bool = True
    can_ask: bool = True  # double opt-in by a confirmation mail
    ask_needs: str | None = None
    tells_opt_outs: bool = True
    shows_asked: bool = True
    place: frozenset[str] = frozenset()  # settings that tell one audience, account or file from another


class Esp(Protocol):
    traits: Traits
    tally: Tally

    async def check(self) -> Sequence[str]:
        """As `Store.check`."""

    async def prepare(self, fields: Sequence[Field], lists: Sequence[str]) -> Mapping[str, str]:
        """Make sure that fields and lists exist; return name -> reason for those that cannot.

        What is refused here is left out of the push and said once, not once a contact. A field that
        exists with another type is named too. Called before the first `push` of a run with work.
        """

    async def push(self, contacts: Sequence[Contact]) -> Sequence[Refusal]:
        """Create or update up to `traits.batch_size` contacts; harmless when repeated.

        Never raises a status: a new contact is subscribed only with `Subscribe.YES` (confirmed first
        with `ASK`), an existing one keeps its status, or loses it with `STOP`. Whatever stands in no
        refusal has landed. Raises a ConnectorError only for what concerns the whole batch; where the trouble
        begins after what must not be repeated, `Blame.LATER` names those who are left.
        """

    async def change_list(
        self, name: str, join: Sequence[Member], leave: Sequence[Member]
    ) -> Sequence[Refusal]:
        """Put up to `traits.list_batch_size` members into a list and as many out of it. As `push`."""

    def opt_outs(self, since: datetime | None) -> AsyncIterator[Sequence[OptOut]]:
        """Everybody who may not be mailed (opted out, bounced, archived), changed since `since`."""

    async def aclose(self) -> None:
        """As `Store.aclose`."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What an ESP lacks of a mapping: fields and lists to be made, and name -> reason for those of no use."""

    fields: Sequence[str] = field(default_factory=list)
    lists: Sequence[str] = field(default_factory=list)
    unfit: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Inspected(Protocol):
    """The ability of ESPs that can be asked what they have without being changed."""

    async def look(self, fields: Sequence[Field], lists: Sequence[str]) -> Missing:
        """Say what `Esp.prepare` would make, and what it cannot use as far as that shows; writes nothing."""


@runtime_checkable
class Confirming(Protocol):
    """The ability of ESPs where whom we asked is no contact before they confirm: to tell who has become one.

    `unknown` is how the reason of a refusal begins that says the ESP does not have the contact.
    """

    unknown: str

    def confirmed(self, since: datetime | None) -> AsyncIterator[Sequence[str]]:
        """Addresses of all contacts that have come to be since `since` (at any time, when None).

        Others may be among them.
        """


@runtime_checkable
class Journeys(Protocol):
    """The ability of ESPs with `ListKind.TRIGGER`: start an automation for somebody by a call."""

    async def find_triggers(self, triggers: Sequence[str]) -> Mapping[str, str]:
        """Look the triggers up; return trigger -> reason for those that the ESP does not have."""

    async def start(self, trigger: str, members: Sequence[Member]) -> Sequence[Refusal]:
        """Start the automation for each of these, at most once: a call whose answer is lost is not made again.

        Whoever stands in no refusal has been started for certain; `Blame.LATER` names those who surely were not,
        and can be once the ESP lets us in. Raises nothing for single members.
        """


@runtime_checkable
class Eraser(Protocol):
    """The ability to delete somebody for good, as the law asks of a shop."""

    async def erase(self, email: str) -> None:
        """Delete every contact with this address, archived ones too; harmless for one that is not there.

        Returns when the vendor has taken it; raises a ConnectorError otherwise.
        """


@runtime_checkable
class Counting(Protocol):
    """The ability of a store to say how many orders it has, without handing them out."""

    async def count_orders(self, windows: Sequence[Window]) -> Sequence[int | None]:
        """Count the orders of each window, None where the store does not say."""


@dataclass(frozen=True, slots=True)
class Held:
    """A contact as the ESP has it: `fields` as `Audited.as_held` writes values, without those that are empty."""

    email: str
    fields: Mapping[str, str]
    lists: frozenset[str]
    mailable: bool


@runtime_checkable
class Audited(Protocol):
    """The ability to read everybody back, to see whether what was accepted is still there."""

    def contacts(self, fields: Sequence[Field], lists: Sequence[str]) -> AsyncIterator[Sequence[Held]]:
        """Read all contacts, archived ones too, with these fields and lists; some may come twice.

        Makes nothing at the ESP: a field or list that it lacks, nobody has.
        """

    def as_held(self, field: Field, value: Value) -> str:
        """Write a value that the ESP took as it comes back in `Held`, empty for a cleared one."""
