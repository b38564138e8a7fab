"""A file as an ESP: one row a contact, as any e-mail platform imports it.

Columns: `email`, a column for each field, `lists` (names with commas between) and `consent`. Rows are
found by their address; columns and rows of others stay. `consent` of a row that is there never rises:
`subscribed` is written into a new row only, `unsubscribed` is for others to write, and we believe it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TypeVar

from connectors.base import (
    Blame,
    Contact,
    Field,
    Held,
    Member,
    Missing,
    OptOut,
    Refusal,
    Subscribe,
    Tally,
    Value,
)
from connectors.esps.csv.cells import address_cell, cell, lists_cell, read_address, read_lists
from connectors.esps.csv.settings import CsvSettings
from connectors.esps.csv.table import CONSENT, EMAIL, LISTS, Rewrite, Row, Table, consent_of, key
from connectors.esps.csv.traits import TRAITS
from connectors.writing import claims_of, folded, heirs, is_renamed, notes_of, rename_rounds

CONSENTS = {
    Subscribe.NO: "no consent",
    Subscribe.YES: "subscribed",
    Subscribe.ASK: "unconfirmed",
    Subscribe.STOP: "withdrawn",
}
"""What a new row says. A file cannot ask anybody to confirm."""
OPTED_OUT = "unsubscribed"

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Csv:
    """One file."""

    Settings = CsvSettings
    traits = TRAITS

    def __init__(self, settings: CsvSettings) -> None:
        self.tally = Tally()
        self._table = Table(settings.file)
        self._writing = asyncio.Lock()

    async def check(self) -> Sequence[str]:
        wrong = await asyncio.to_thread(self._table.check)
        return [wrong] if wrong else []

    async def prepare(self, fields: Sequence[Field], _lists: Sequence[str]) -> Mapping[str, str]:
        async with self._writing:
            await self._rewrite([each.name for each in fields], lambda rows: rows)
        return {}

    async def look(self, fields: Sequence[Field], _lists: Sequence[str]) -> Missing:
        """Look for columns; lists have one column for all of them."""
        there = await asyncio.to_thread(self._table.columns)
        return Missing([field.name for field in fields if field.name not in there])

    async def push(self, contacts: Sequence[Contact]) -> Sequence[Refusal]:
        names = dict.fromkeys(name for contact in contacts for name in contact.fields)
        concerned = {folded(email) for contact in contacts for email in (contact.email, contact.was or "")}
        async with self._writing:
            there = await self._read(self._table.emails, frozenset(concerned))
            plan = plan_of(contacts, there)
            await self._rewrite(list(names), plan.apply)
        return notes_of(plan.anew, contacts)

    async def change_list(
        self, name: str, join: Sequence[Member], leave: Sequence[Member]
    ) -> Sequence[Refusal]:
        joins = {folded(member.email) for member in join}
        leaves = {folded(member.email) for member in leave} - joins
        seen: set[str] = set()

        def change(rows: Iterator[Row]) -> Iterator[Row]:
            for row in rows:
                if (email := key(row)) in joins | leaves:
                    seen.add(email)
                    names = read_lists(row.get(LISTS, ""))
                    row[LISTS] = lists_cell(names | {name} if email in joins else names - {name})
                yield row

        async with self._writing:
            await self._rewrite([], change)
        absent = [member for member in join if folded(member.email) not in seen]
        return [
            Refusal(member.profile, Blame.MEMBERSHIP, "the file has no such row", name) for member in absent
        ]

    async def opt_outs(self, _since: datetime | None) -> AsyncIterator[Sequence[OptOut]]:
        """Read whom somebody else marked; the file does not say when, so they come every time."""
        if emails := await self._read(self._table.select, OPTED_OUT):
            yield [OptOut(email, OPTED_OUT) for email in emails]

    async def contacts(self, fields: Sequence[Field], lists: Sequence[str]) -> AsyncIterator[Sequence[Held]]:
        self.tally["GET"] += 1
        with self._table.reading() as rows:
            while some := await asyncio.to_thread(lambda: list(islice(rows, self.traits.batch_size))):
                yield [_held(row, fields, lists) for row in some]

    def as_held(self, _field: Field, value: Value) -> str:
        return cell(value).strip()

    async def erase(self, email: str) -> None:
        """Write the file without their rows."""
        async with self._writing:
            await self._rewrite([], lambda rows: (row for row in rows if key(row) != folded(email)))

    async def aclose(self) -> None:
        """Have nothing to close: the file is open only while it is read or written."""

    async def _read(self, read: Callable[[Argument], Result], argument: Argument) -> Result:
        self.tally["GET"] += 1
        return await asyncio.to_thread(read, argument)

    async def _rewrite(self, columns: Sequence[str], rewrite: Rewrite) -> None:
        changed = await asyncio.to_thread(self._table.rewrite, columns, rewrite)
        self.tally["PUT" if changed else "GET"] += 1


def _held(row: Row, fields: Sequence[Field], lists: Sequence[str]) -> Held:
    values = {field.name: (row.get(field.name) or "").strip() for field in fields}
    return Held(
        email=read_address(row[EMAIL]),
        fields={name: text for name, text in values.items() if text},
        lists=frozenset(read_lists(row.get(LISTS, "")) & set(lists)),
        mailable=consent_of(row) == CONSENTS[Subscribe.YES],
    )


@dataclass
class Plan:
    """What becomes of the file's rows: `updates` and `drops` by the address that a row has now.

    `anew` are profiles that get another row than the one they had.
    """

    updates: dict[str, Contact] = field(default_factory=dict)
    drops: set[str] = field(default_factory=set)
    new: list[Contact] = field(default_factory=list)
    anew: set[int] = field(default_factory=set)

    def apply(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            email = key(row)
            if email not in self.drops:
                yield updated(row, self.updates[email]) if email in self.updates else row
        for contact in self.new:
            yield updated({CONSENT: CONSENTS[contact.subscribe]}, contact)


def plan_of(contacts: Sequence[Contact], there: Iterable[str]) -> Plan:
    """Find each contact's row. `there` are the addresses (folded) that have one.

    Where the new address has a row, the old one is dropped, unless somebody else of the batch has it by
    now: then this batch was written before, and is repeated.
    """
    plan = Plan(anew={contact.profile for contact in contacts if is_renamed(contact)})
    rows = {email: email for email in there}
    claims = claims_of(contacts)
    for contact in (contact for renames in rename_rounds(contacts) for contact in renames):
        old, new = folded(contact.was or ""), folded(contact.email)
        if old in rows and new not in rows:
            rows[new] = rows.pop(old)
            plan.anew.discard(contact.profile)
        elif old in rows and not _is_taken(old, claims, rows):
            plan.drops.add(rows.pop(old))
    for contact in contacts:
        row = rows.get(folded(contact.email))
        if row is None:
            plan.new.append(contact)
            plan.anew |= {contact.profile} if contact.known else set()
        else:
            plan.updates[row] = contact
    return plan


def _is_taken(email: str, claims: Mapping[str, Contact], rows: Mapping[str, str]) -> bool:
    """Tell what `writing.is_taken` does, of rows that have all been read."""
    return any(not is_renamed(heir) or folded(heir.was or "") not in rows for heir in heirs(email, claims))


def updated(row: Row, contact: Contact) -> Row:
    """Write a contact into a row: its consent stays, unless it is taken back."""
    if EMAIL not in row or key(row) != folded(contact.email):
        row[EMAIL] = address_cell(contact.email)
    row |= {name: cell(value) for name, value in contact.fields.items()}
    if contact.subscribe is Subscribe.STOP and consent_of(row) != OPTED_OUT:
        row[CONSENT] = CONSENTS[Subscribe.STOP]
    return row
