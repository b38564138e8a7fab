"""Contacts on their way to Mailchimp: few one by one, many in a background batch; what is refused comes back.

Every write is an upsert or a rename that may be repeated, so whatever is in doubt is sent again.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from connectors.base import NOT_LANDED, Blame, Refusal
from connectors.errors import RemoteFault
from connectors.esps.mailchimp.archive import Archive
from connectors.esps.mailchimp.batches import Outcome, Pace, operation, outcomes_of, submit
from connectors.esps.mailchimp.writes import (
    Verdict,
    Write,
    document_of,
    judge,
    rename_rounds,
    subscriber_hash,
)
from connectors.http import Answer, Api
from connectors.writing import claims_of, is_taken

SINGLE_WRITES = 50
"""Contacts up to which single calls are sooner done than a batch, which takes seconds at least."""
SKIP_VALIDATION = {"skip_merge_validation": "true"}
BAD = frozenset({400})
ABSENT = frozenset({404})
KEPT = frozenset({405})
"""What is answered to the archiving of a member that cannot be archived."""
MAILED = frozenset({"subscribed", "pending"})

Result = TypeVar("Result")


class Delivery:
    """`audience` is the audience's path, `storage` where batch results are fetched."""

    def __init__(self, api: Api, storage: Api, audience: str, archive: Archive) -> None:
        self._api = api
        self._storage = storage
        self._audience = audience
        self._archive = archive
        self._pace = Pace()

    async def push(self, writes: Sequence[Write]) -> list[Refusal]:
        """Rename first: a new contact may come to the address that another has left."""
        archived = await self._archive.among([write for write in writes if write.may_subscribe])
        writes = [
            write.archived() if write.may_subscribe and write.key in archived else write for write in writes
        ]
        claims = claims_of([write.contact for write in writes])
        refusals: list[Refusal] = []
        for renames in rename_rounds([replace(write, claims=claims) for write in writes if write.old_key]):
            refusals += await self._write_each(renames)
        plain = [write for write in writes if not write.old_key]
        write_all = self._write_batch if len(plain) > SINGLE_WRITES else self._write_each
        return refusals + await write_all(plain)

    async def _write_batch(self, writes: Sequence[Write]) -> list[Refusal]:
        """Write in the background; what was lost, throttled or is worth another try then goes alone."""
        batch = await submit(  # what was sent need not wait in memory
            self._api, [operation(write, self._audience, SKIP_VALIDATION) for write in writes]
        )
        outcomes = await outcomes_of(self._api, self._storage, batch, self._pace)
        verdicts = [_verdict(write, outcomes.get(str(write.contact.profile))) for write in writes]
        again = [verdict for verdict in verdicts if isinstance(verdict, Write)]
        answered = [
            write for write, verdict in zip(writes, verdicts, strict=True) if not isinstance(verdict, Write)
        ]
        final = [refusal for verdict in verdicts if not isinstance(verdict, Write) for refusal in verdict]
        return final + await self._write_each(again, answered)

    async def _write_each(self, writes: Sequence[Write], answered: Sequence[Write] = ()) -> list[Refusal]:
        """Write each alone. One at which Mailchimp breaks waits for the next run, if it takes others; else raise.

        `answered` are writes that went through before.
        """
        outcomes = await _together([self._tried(write) for write in writes])
        broken: list[Refusal] = []
        refusals: list[Refusal] = []
        witnesses = list(answered)
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, RemoteFault):
                reason = f"Mailchimp breaks at this contact: {outcome}"
                broken.append(Refusal(write.contact.profile, Blame.BROKEN, reason))
            else:
                refusals += outcome
                witnesses.append(write)
        if broken and not witnesses:
            raise RemoteFault(broken[0].reason)
        if broken:
            await self._write(witnesses[-1])  # raises when Mailchimp is down by now: no contact is at fault
        return refusals + broken

    async def _tried(self, write: Write) -> Sequence[Refusal] | RemoteFault:
        try:
            return await self._write(write)
        except RemoteFault as fault:
            return fault

    async def _write(self, write: Write) -> Sequence[Refusal]:
        return await (self._rename(write, write.old_key) if write.old_key else self._upsert(write))

    async def _upsert(self, write: Write) -> Sequence[Refusal]:
        """Put the contact, without what is refused of it, until it lands or nothing can be left out."""
        while True:
            answer = await self._send_member("PUT", write.key, write.upsert(), BAD)
            verdict = judge(write, answer.status, document_of(answer.json))
            if not isinstance(verdict, Write):
                return verdict
            write = verdict

    async def _rename(self, write: Write, old_key: str) -> Sequence[Refusal]:
        """Change the address of the old record; where the new address has its own, retire the old one.

        Whose old record is gone was deleted, or renamed by an earlier try: that cannot be told.
        """
        while True:
            answer = await self._send_member("PATCH", old_key, write.change(), BAD | ABSENT)
            problem = document_of(answer.json)
            if answer.status == 404:
                return await self._upsert(write.anew())
            if problem.get("title") == "Member Exists":
                return await self._merge(write, old_key)
            verdict = judge(write, answer.status, problem)
            if not isinstance(verdict, Write):
                return verdict
            write = verdict

    async def _merge(self, write: Write, old_key: str) -> Sequence[Refusal]:
        """Update the record that has the new address, and archive the old one; unsubscribe one that cannot be.

        But if somebody came to the old address, in an earlier try of this push, the record there is theirs.
        """
        refusals = await self._upsert(write.anew())
        lost = any(refusal.blame in NOT_LANDED for refusal in refusals)
        stays = lost or await is_taken(write.contact.was or "", write.claims, self._is_there)
        if stays or await self._retire(old_key):
            return refusals
        reason = "Mailchimp neither archives nor unsubscribes the record with the address before"
        return [Refusal(write.contact.profile, Blame.CONTACT, reason)]

    async def _is_there(self, email: str) -> bool:
        path = f"{self._audience}/members/{subscriber_hash(email)}"
        return (await self._api.get(path, {"fields": "status"}, expect=ABSENT)).status not in ABSENT

    async def _retire(self, key: str) -> bool:
        """Take a record's address out of the mailings; False when Mailchimp does not let us."""
        path = f"{self._audience}/members/{key}"
        answer = await self._api.send("DELETE", path, expect=ABSENT | KEPT)
        if answer.status not in KEPT:
            return True
        there = await self._api.get(path, {"fields": "status"}, expect=ABSENT)
        if document_of(there.json).get("status") not in MAILED:
            return True  # archived before, as a rule; a write would revive it
        answer = await self._send_member("PATCH", key, {"status": "unsubscribed"}, BAD | ABSENT)
        return answer.status not in BAD

    async def _send_member(
        self, method: str, key: str, body: Mapping[str, Any], expect: frozenset[int]
    ) -> Answer:
        path = f"{self._audience}/members/{key}"
        return await self._api.send(method, path, body, params=SKIP_VALIDATION, expect=expect)


def _verdict(write: Write, outcome: Outcome | None) -> Verdict:
    """Judge an operation as a single write; one without a verdict of Mailchimp on the contact goes again."""
    if outcome is None or (outcome.status >= 300 and not (outcome.status == 400 and outcome.problem)):
        return write
    return judge(write, outcome.status, outcome.problem)


async def _together(jobs: Sequence[Coroutine[Any, Any, Result]]) -> Sequence[Result]:
    """Do all at once, within the Api's limit; the first error ends the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]
