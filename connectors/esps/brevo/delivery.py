"""Contacts on their way to Brevo: many new ones by import, many known ones in bulk, the rest one by one.

Why so: an import creates thousands in one request, but it names no row that it refused, does not update
booleans, and its flags count for all rows; so it only creates. The bulk update takes fields and clears
them, 100 contacts at once, but knows no new ones and is refused as a whole: the bad ones are then found.
Every such write may be repeated, so whatever is in doubt is sent again. A confirmation mail may not: these
come last, when nothing else can fail any more.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import NOT_LANDED, Blame, Contact, Refusal, Subscribe
from connectors.errors import RemoteFault
from connectors.esps.brevo.account import EVERYBODY, Account
from connectors.esps.brevo.asking import Confirmations
from connectors.esps.brevo.book import Book, Row, contact_path
from connectors.esps.brevo.imports import import_body, portions, run_import
from connectors.esps.brevo.settings import Confirmation
from connectors.esps.brevo.writes import (
    BLOCKED_AT_BIRTH,
    MARK,
    MOVED,
    UNPROVEN,
    Turn,
    Verdict,
    Write,
    first_write,
    judge,
    mark_of,
    missing_places,
    moving,
    plain,
    problem_of,
    stands,
)
from connectors.http import Answer, Api, wait
from connectors.writing import claims_of, folded, halves, is_renamed, is_taken, parts, rename_rounds, together

UPDATES = 100
"""Contacts in one bulk update; Brevo names no limit."""
SINGLE_CREATIONS = 100
"""New contacts up to which single calls are sooner done than an import, which is waited for."""
IMPORTS = 2
"""How often what an import did not bring is imported."""
LAG = timedelta(hours=1)
"""How far before an import its contacts are looked for: clocks differ."""
TURNS = 6
"""Answers after which a contact is given up, that Brevo says to have and not to have."""
BLOCKINGS = 3
GIVE_UP = 3
"""Contacts at which Brevo breaks, without having taken another, after which it is down."""
BAD = frozenset({400, 404})
ABSENT = frozenset({404})
KEPT = frozenset({400, 405})
"""What is answered to the deletion of a contact that may not be deleted; 400 also where the address is none."""
LANDED = frozenset({200, 201, 204})
IMPORTED = frozenset({Subscribe.NO, Subscribe.YES})


class Delivery:
    """`api` is for contacts, `processes` for background jobs, whose budget is another."""

    def __init__(
        self, api: Api, processes: Api, account: Account, book: Book, confirmation: Confirmation | None
    ) -> None:
        self._api = api
        self._processes = processes
        self._account = account
        self._book = book
        self._confirmations = Confirmations(api, account, confirmation)
        self._turn = asyncio.Lock()
        self._asks: dict[int, Write] = {}
        """Who is to be asked in this push, by profile."""
        self._born: list[Write] = []
        """Whom we created to be blocked, and have not seen blocked yet."""
        self._met: list[Write] = []
        """Whom Brevo had when we were to create them so: by an earlier try of ours, perhaps, whose answer was lost."""

    async def push(self, contacts: Sequence[Contact]) -> list[Refusal]:
        """Write a batch; one at a time, though several syncs may push here."""
        async with self._turn:
            return await self._push(contacts)

    async def _push(self, contacts: Sequence[Contact]) -> list[Refusal]:
        """Rename first: a new contact may come to the address that another has left."""
        if any(first_write(contact).birth is Subscribe.ASK for contact in contacts):
            self._confirmations.check()
        self._asks = {}
        refusals: list[Refusal] = []
        done: set[int] = set()
        claims = claims_of(contacts)
        for renames in rename_rounds(contacts):
            done.update(contact.profile for contact in renames)
            found = await together([self._rename(first_write(contact), claims) for contact in renames])
            refusals += [refusal for each in found for refusal in each]
        plain_writes = [_plain_write(contact) for contact in contacts if contact.profile not in done]
        refusals += await self._write(plain_writes)
        await self._check_born()
        return refusals + await self._confirmations.ask(list(self._asks.values()))

    async def _write(self, writes: Sequence[Write]) -> list[Refusal]:
        """Create who is new and update the others; people are asked only if Brevo does not have them yet."""
        created = [write for write in writes if not (write.contact.known or write.birth is Subscribe.ASK)]
        updated = [write for write in writes if write.contact.known or write.birth is Subscribe.ASK]
        if any(write.birth is Subscribe.NO for write in created):
            await self._account.prepare_mark()
        if len(created) > SINGLE_CREATIONS:
            imported = [write for write in created if write.birth in IMPORTED]
            created = [write for write in created if write.birth not in IMPORTED]
            updated += await self._import(imported)
        made = await together([self._alone(write, creates=True) for write in created])
        return [refusal for each in made for refusal in each] + await self._update(updated)

    # Creating in the background

    async def _import(self, writes: Sequence[Write]) -> list[Write]:
        """Import new contacts; return those that are still to be written, as far as can be read back."""
        list_id = await self._account.list_id(EVERYBODY)
        began = datetime.now(UTC) - LAG
        found: dict[str, Row] = {}
        waiting = list(writes)
        for _ in range(IMPORTS):
            finished = await self._import_all(waiting, list_id)
            found |= await self._book.created([write.email for write in waiting], began)
            waiting = [write for write in waiting if folded(write.email) not in found]
            if finished or len(waiting) <= SINGLE_CREATIONS:
                break
        there = [(write, found[folded(write.email)]) for write in writes if folded(write.email) in found]
        await self._block_all([write for write, row in there if _is_unblocked(write, row)])
        return waiting + [write for write, row in there if not stands(write, row.get("attributes") or {})]

    async def _import_all(self, writes: Sequence[Write], list_id: int) -> bool:
        """Run imports one after the other; False when any of them did not end well."""
        finished = True
        for subscribe in (Subscribe.NO, Subscribe.YES):
            kind = [write for write in writes if write.birth is subscribe]
            for portion in portions(kind):
                body = import_body(portion, list_id, blocked=subscribe is Subscribe.NO)
                finished = await run_import(self._api, self._processes, body) and finished
        return finished

    async def _block_all(self, writes: Sequence[Write]) -> None:
        """Block those whom Brevo should have made blocked.

        Raises RemoteFault where it does not do it; whom it leaves open to mail, whom we made just now, is deleted.
        """
        done = await together([self._block(write.email) for write in writes])
        still_open = [write for write, is_blocked in zip(writes, done, strict=True) if not is_blocked]
        if still_open:
            deleted = await together([self.delete(write.email) for write in still_open])
            end = "they were deleted again" if all(deleted) else "nor delete all of them"
            raise RemoteFault(f"Brevo: does not block new contacts without consent; {end}")

    async def _check_born(self) -> None:
        """Look whether those who were created one by one are blocked: all in one reading, as after an import.

        Of those whom Brevo had it goes by our mark whether it was we who created them.
        """
        if not self._born and not self._met:
            return
        emails = [write.email for write in (*self._born, *self._met)]
        there = await self._book.created(emails, datetime.now(UTC) - LAG)
        unblocked = {email for email, row in there.items() if not row.get("emailBlacklisted")}
        ours = [write for write in self._met if _is_unblocked(write, there.get(folded(write.email), {}))]
        await self._block_all([*ours, *(write for write in self._born if folded(write.email) in unblocked)])
        self._born, self._met = [], []

    # Updating in bulk

    async def _update(self, writes: Sequence[Write]) -> list[Refusal]:
        """Update contacts; those that Brevo turns out not to have are created."""
        single = [
            write for write in writes if write.stops or not (write.changes or _is_settled(write.contact))
        ]
        bulk = [write for write in writes if write.changes and not write.stops]
        found = await together([self._alone(write, creates=False) for write in single])
        found += await together([self._batch(part) for part in parts(bulk, UPDATES)])
        return [refusal for each in found for refusal in each]

    async def _batch(self, writes: Sequence[Write]) -> Sequence[Refusal]:
        """Update together; where Brevo refuses, without those it names, else in halves."""
        if len(writes) < 2:
            return [refusal for write in writes for refusal in await self._alone(write, creates=False)]
        try:
            body = {"contacts": [write.item() for write in writes]}
            answer = await self._api.send("POST", "/contacts/batch", body, expect=BAD)
        except RemoteFault:
            return await self._each(writes)
        if answer.status in LANDED:
            return [refusal for write in writes for refusal in write.given_up]
        return await self._split(writes, answer)

    async def _split(self, writes: Sequence[Write], answer: Answer) -> Sequence[Refusal]:
        missing = missing_places(problem_of(answer), len(writes)) if answer.status == 404 else []
        if not missing:
            first, second = halves(writes)
            return [*await self._batch(first), *await self._batch(second)]
        rest = [write for place, write in enumerate(writes) if place not in missing]
        refusals = [*await self._batch(rest)]
        for found in await together([self._alone(writes[place], creates=False) for place in missing]):
            refusals += found
        return refusals

    async def _each(self, writes: Sequence[Write]) -> Sequence[Refusal]:
        """Write one after the other; a contact at which Brevo breaks waits for the next run, if it takes others."""
        refusals: list[Refusal] = []
        broken: list[Write] = []
        for write in writes:
            try:
                refusals += await self._alone(write, creates=False)
            except RemoteFault:
                broken.append(write)
                if len(broken) == GIVE_UP and write is writes[GIVE_UP - 1]:
                    raise
        if not broken:
            return refusals
        witnesses = [write for write in writes if write not in broken]
        if not witnesses:
            raise RemoteFault("Brevo: breaks at every contact")
        await self._alone(witnesses[-1], creates=False)  # raises when Brevo is down by now
        reason = "Brevo breaks at this contact"
        return refusals + [refusal for write in broken for refusal in write.refused(Blame.BROKEN, reason)]

    # One by one

    async def _alone(self, write: Write, *, creates: bool) -> Sequence[Refusal]:
        """Write one contact until it lands or nothing can be left out."""
        for _ in range(TURNS):
            if creates and write.birth is Subscribe.ASK:
                self._asks[write.contact.profile] = write
                return ()
            answer = await self._send(write, creates=creates)
            if creates and answer.status in LANDED and write.birth in BLOCKED_AT_BIRTH:
                self._born.append(write)
                return write.given_up
            verdict = judge(write, answer, creates=creates)
            if not isinstance(verdict, Turn):
                return await self._blocked(write, verdict) if write.stops else verdict
            if creates and not verdict.creates and write.birth is Subscribe.NO:
                self._met.append(write)
            write, creates = verdict.write, verdict.creates
        return write.refused(Blame.CONTACT, "Brevo says of this contact that it has it, and that it has not")

    async def _send(self, write: Write, *, creates: bool) -> Answer:
        if not creates:
            return await self._send_update(write)
        if write.birth is Subscribe.NO:
            await self._account.prepare_mark()
        return await self._api.send("POST", "/contacts", write.creation(), expect=BAD)

    async def _send_update(self, write: Write) -> Answer:
        """Update; with nothing to change, look whether the contact is there."""
        path = contact_path(write.email)
        if not write.changes:
            return await self._api.get(path, expect=BAD)
        return await self._api.send("PUT", path, write.update(), expect=BAD)

    async def _blocked(self, write: Write, refusals: Sequence[Refusal]) -> Sequence[Refusal]:
        """Make sure that somebody who landed is blocked: updates of that key were seen to have no effect."""
        if any(refusal.blame in NOT_LANDED for refusal in refusals):
            return refusals
        row = await self._book.find(write.email)
        if row is None:
            return refusals
        if row.get("emailBlacklisted") or await self._block(write.email):
            await self._end_moving(row)
            return refusals
        return write.refused(Blame.CONTACT, "Brevo does not block this contact, and does not say why")

    async def _end_moving(self, row: Row) -> None:
        """Give a contact that is blocked again the mark that it had before its address changed."""
        if (mark := mark_of(row)) in MOVED:
            body = {"attributes": {MARK: MOVED[mark]}}
            await self._api.send("PUT", contact_path(str(row["email"])), body, expect=BAD)

    async def _block(self, email: str) -> bool:
        """Block an address until Brevo says that it is; False when it never does."""
        for trial in range(BLOCKINGS):
            await self._api.send("PUT", contact_path(email), {"emailBlacklisted": True}, expect=BAD)
            row = await self._book.find(email)
            if row is None or row.get("emailBlacklisted"):
                return True
            await wait(trial + 1.0)
        return False

    async def delete(self, email: str) -> bool:
        """Delete; False when Brevo does not let us."""
        answer = await self._api.send("DELETE", contact_path(email), expect=KEPT | ABSENT)
        return answer.status not in KEPT

    async def unmark(self, emails: Sequence[str]) -> None:
        """Take our mark off people whose block somebody lifted: another block will be their own word."""
        for part in parts(emails, UPDATES):
            await self._unmark(part)

    async def _unmark(self, emails: Sequence[str]) -> None:
        """Take the mark off; where Brevo refuses all for one of them, who was deleted as a rule, off the others."""
        contacts = [{"email": email, "attributes": {MARK: ""}} for email in emails]
        answer = await self._api.send("POST", "/contacts/batch", {"contacts": contacts}, expect=BAD)
        if answer.status in BAD and len(emails) > 1:
            for half in halves(emails):
                await self._unmark(half)

    # Another address

    async def _rename(self, write: Write, claims: Mapping[str, Contact]) -> Sequence[Refusal]:
        """Change the address of the contact; where the new address has its own, retire the old one.

        `claims` says whose each address is to be after this push. Brevo lifts a block when the address changes,
        so the block is sent along, and looked at afterwards; a mark goes with it, in case we do not come to look.
        """
        old = plain(write.contact.was or "")
        stranger = replace(write, contact=replace(write.contact, known=False))
        row = await self._book.find(old)
        if row is None:
            return await self._write_moved(stranger.anew())
        blocked = bool(row.get("emailBlacklisted")) or write.stops
        if blocked:
            await self._account.prepare_mark()
        for _ in range(TURNS):
            body = _renaming(write, moving(mark_of(row)) if blocked else None)
            answer = await self._api.send("PUT", contact_path(old), body, expect=BAD)
            if answer.status == 404:  # an earlier try, whose answer got lost, has renamed it
                verdict: Verdict = tuple(await self._alone(stranger, creates=False))
            else:
                verdict = judge(write, answer, creates=True)
            if isinstance(verdict, tuple):
                return await self._blocked(write, verdict) if blocked else verdict
            if not verdict.creates and await self._book.find(write.email):
                return await self._merge(stranger, old, claims)
            write = replace(verdict.write, absent=True)
        return write.refused(Blame.CONTACT, "Brevo does not change this address, and does not say why")

    async def _write_moved(self, write: Write) -> Sequence[Refusal]:
        """Update somebody whose address was changed before, or who was deleted under it: that cannot be told.

        Block whom an earlier try could not block again.
        """
        row = await self._book.find(write.email)
        refusals = await self._alone(write, creates=False)
        was_blocked = row is not None and mark_of(row) in MOVED
        return await self._blocked(write, refusals) if was_blocked else refusals

    async def _merge(self, write: Write, old: str, claims: Mapping[str, Contact]) -> Sequence[Refusal]:
        """Update the contact that has the new address, which keeps its status, and delete the old one.

        One that Brevo does not let us delete is blocked. But if somebody came to the old address, in an earlier
        try of this push, the contact there is theirs.
        """
        refusals = await self._alone(write.anew(), creates=False)
        lost = any(refusal.blame in NOT_LANDED for refusal in refusals)
        stays = lost or await is_taken(old, claims, self._is_there)
        if stays or await self.delete(old) or await self._block(old):
            return refusals
        reason = "Brevo neither deletes nor blocks the contact with the address before"
        return write.refused(Blame.CONTACT, reason)

    async def _is_there(self, email: str) -> bool:
        return await self._book.find(plain(email)) is not None


def _is_settled(contact: Contact) -> bool:
    """Tell of whom there is nothing to write: who has another's contact now is to be looked at all the same."""
    return contact.known and not is_renamed(contact)


def _plain_write(contact: Contact) -> Write:
    """Make a write that renames nobody: those whose addresses were exchanged in a ring get another's contact."""
    return first_write(contact).anew() if is_renamed(contact) else first_write(contact)


def _renaming(write: Write, mark: str | None) -> dict[str, Any]:
    """Make the body that changes an address; with a mark for a contact that is to be blocked, else without."""
    attributes = {**write.attributes, "EMAIL": write.email}
    if mark is None:
        return {"attributes": attributes}
    return {"attributes": attributes | {MARK: mark}, "emailBlacklisted": True}


def _is_unblocked(write: Write, row: Row) -> bool:
    """Tell whether a contact that we made for somebody without proof can be mailed all the same."""
    ours = mark_of(row) == UNPROVEN
    return write.birth is Subscribe.NO and ours and not row.get("emailBlacklisted")
