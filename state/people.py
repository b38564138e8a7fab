"""Who somebody is: the newest record that tells, the first source, the newest word on consent.

The rows come by SQL; what they make together is decided by pure functions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeVar

import phonenumbers
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Row,
    Select,
    and_,
    case,
    literal,
    null,
    or_,
    select,
    union_all,
)

from connectors.facts import Standing
from state.channels import channel_of
from state.dialect import as_stored
from state.scope import Scope, esp_origin
from state.tables import CheckoutRow, ConsentRow, CustomerRow, OrderRow, table

ORDERS, CUSTOMERS = table(OrderRow), table(CustomerRow)
CHECKOUTS, CONSENTS = table(CheckoutRow), table(ConsentRow)

NOT_A_PERSON = (Standing.TEST.value, Standing.DELETED.value)


class Record(NamedTuple):
    """One thing that tells who somebody is, as `records_of` selects it; a row's values come out of one faster.

    Moments may be `as_stored`.
    """

    person: str
    store: str
    id: str
    created_at: datetime
    told_at: datetime | None
    is_account: bool
    guest: bool
    birthday: date | None
    first_name: str | None
    last_name: str | None
    company: str | None
    vat_number: str | None
    phone: str | None
    postal_code: str | None
    city: str | None
    country: str | None
    source_name: str | None
    source_medium: str | None
    source_evidence: str | None


class _OfSomebody(Protocol):
    @property
    def person(self) -> Any: ...


Told = TypeVar("Told", bound=_OfSomebody)
FIRST_TO_LAST = attrgetter("created_at", "is_account", "store", "id")


def records_of(
    scope: Scope,
    dirty: Select[Any],
    moment: Callable[[ColumnElement[Any]], ColumnElement[Any]] = lambda at: at,
) -> CompoundSelect[Any]:
    """Select all that tells who somebody is, as `Record`: accounts, orders of any standing, checkouts.

    `moment` says how moments are read.
    """
    who = ("first_name", "last_name", "company", "vat_number", "phone", "postal_code", "city", "country")
    what = ("source_name", "source_medium", "source_evidence")
    accounts = select(
        CUSTOMERS.c.email.label("person"),
        CUSTOMERS.c.store,
        CUSTOMERS.c.id,
        moment(CUSTOMERS.c.created_at).label("created_at"),
        moment(CUSTOMERS.c.updated_at).label("told_at"),
        literal(value=True).label("is_account"),
        CUSTOMERS.c.guest,
        CUSTOMERS.c.birthday,
        *(CUSTOMERS.c[name] for name in (*who, *what)),
    ).where(CUSTOMERS.c.email.in_(dirty), CUSTOMERS.c.store.in_(scope.stores))
    orders = select(
        ORDERS.c.person,
        ORDERS.c.store,
        ORDERS.c.id,
        moment(ORDERS.c.created_at).label("created_at"),
        null().label("told_at"),  # when it was created
        literal(value=False).label("is_account"),
        literal(value=False).label("guest"),
        null().label("birthday"),
        *(ORDERS.c[name] for name in (*who, *what)),
    ).where(
        ORDERS.c.person.in_(dirty),
        ORDERS.c.store.in_(scope.stores),
        ORDERS.c.standing.not_in(NOT_A_PERSON),
    )
    checkouts = select(
        CHECKOUTS.c.person,
        CHECKOUTS.c.store,
        CHECKOUTS.c.id,
        moment(CHECKOUTS.c.created_at).label("created_at"),
        # Once it is over, only the shop writes in it.
        moment(
            case(
                (CHECKOUTS.c.completed_at < CHECKOUTS.c.updated_at, CHECKOUTS.c.completed_at),
                else_=CHECKOUTS.c.updated_at,
            )
        ).label("told_at"),
        literal(value=False).label("is_account"),
        literal(value=False).label("guest"),
        null().label("birthday"),
        *(null().label(name) for name in (*who, *what)),
    ).where(CHECKOUTS.c.person.in_(dirty), CHECKOUTS.c.store.in_(scope.stores))
    return union_all(accounts, orders, checkouts)


TOLD_TOGETHER: Sequence[Sequence[str]] = (
    ("first_name", "last_name"),
    ("company",),
    ("vat_number",),
    ("birthday",),
    ("postal_code", "city", "country"),
    ("phone",),
)
"""Columns that one record tells: a city of one order does not go with the postal code of another."""
PHONE, SOURCE = ([Record._fields.index(name)] for name in ("phone", "source_name"))
PLACES = [(names, [Record._fields.index(name) for name in names]) for names in TOLD_TOGETHER]


def description(records: Sequence[Record]) -> dict[str, Any]:
    """Say who somebody is: what the newest record tells, and the source that the first one names."""
    oldest, newest = _by_age(records)
    phone = _first(newest, PHONE)
    source = _first(oldest, SOURCE)
    accounts = [record for record in oldest if record.is_account]
    told: dict[str, Any] = {}
    for names, places in PLACES:
        if teller := _first(newest, places):
            told |= zip(names, map(teller.__getitem__, places), strict=True)
    return told | {
        "phone": e164(phone.phone, phone.country) if phone and phone.phone else None,
        "signup_at": _first_known(oldest).created_at,
        "last_activity_at": max(_sign_of(record) for record in records),
        "lead_source": source.source_name if source else None,
        "acquisition_channel": (
            channel_of(source.source_name, source.source_medium, source.source_evidence) if source else None
        ),
        "lead_source_evidence": source.source_evidence if source else None,
        "stores": ",".join(sorted({record.store for record in records})),
        "customer_ids": ",".join(f"{record.store}:{record.id}" for record in accounts) or None,
    }


def tellers(records: Sequence[Record]) -> dict[str, Record]:
    """Say which record each column of `description` was taken from."""
    oldest, newest = _by_age(records)
    told = {name: _first(newest, places) for names, places in PLACES for name in names}
    source = _first(oldest, SOURCE)
    told |= dict.fromkeys(("lead_source", "lead_source_evidence", "acquisition_channel"), source)
    told["signup_at"] = _first_known(oldest)
    return {name: record for name, record in told.items() if record is not None}


def _by_age(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Return the records oldest first, by when they began, and newest first, by when they told something."""
    oldest = sorted(records, key=FIRST_TO_LAST)
    if not any(each.told_at for each in records):
        return oldest, oldest[::-1]
    newest = sorted(
        records,
        key=lambda each: (each.told_at or each.created_at, each.is_account, each.store, each.id),
        reverse=True,
    )
    return oldest, newest


def _first_known(oldest: Sequence[Record]) -> Record:
    """Find the record of somebody's sign-up: their first account, else the first thing they did."""
    accounts = (record for record in oldest if record.is_account and not record.guest)
    return next(accounts, oldest[0])


def _sign_of(record: Record) -> datetime:
    """Say when somebody showed themselves: a checkout goes on, whatever else happens to an account or order."""
    is_checkout = record.told_at and not record.is_account
    return record.told_at or record.created_at if is_checkout else record.created_at


def _first(records: Sequence[Record], places: Sequence[int]) -> Record | None:
    """Find the first record that tells something at one of these places."""
    for record in records:
        for place in places:
            if record[place]:
                return record
    return None


def newest_word(words: Sequence[Row[Any]]) -> Row[Any]:
    """Choose the word that counts: the newest; of two in one moment the refusal (P4)."""
    return max(words, key=lambda word: (word.at, not word.given, word.origin))


def consent_columns(words: Sequence[Row[Any]]) -> dict[str, Any]:
    """Take the word that counts."""
    if not words:
        return {}
    word = newest_word(words)
    return {"accepts_marketing": word.given, "consent_origin": word.origin}


def is_heard(scope: Scope) -> ColumnElement[bool]:
    """Tell which words count: those of the sync's own stores and ESP, and a no from anywhere but strangers."""
    own = CONSENTS.c.origin.in_([*scope.stores, esp_origin(scope.esp)])
    return or_(own, and_(CONSENTS.c.given.is_(False), CONSENTS.c.origin.not_in(scope.strangers)))


def words_of(scope: Scope, dirty: Select[Any]) -> Select[Any]:
    words: Select[Any] = select(
        CONSENTS.c.email.label("person"),
        CONSENTS.c.given,
        as_stored(CONSENTS.c.at).label("at"),
        CONSENTS.c.origin,
        CONSENTS.c.record,
    )
    return words.where(CONSENTS.c.email.in_(dirty), is_heard(scope))


def by_person(rows: Iterable[Told]) -> dict[str, list[Told]]:
    """Group rows by whom they tell of."""
    grouped: defaultdict[str, list[Told]] = defaultdict(list)
    for row in rows:
        grouped[row.person].append(row)
    return grouped


@lru_cache(maxsize=4096)
def e164(phone: str, country: str | None) -> str | None:
    """Read a phone number as typed by somebody in `country`; None when it cannot be one."""
    try:
        number = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
