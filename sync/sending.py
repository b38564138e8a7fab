"""One batch on its way to the ESP: what does not belong into it, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from connectors.base import NOT_LANDED, Blame, Contact, Esp, Refusal, Subscribe
from connectors.errors import RemoteFault, Retryable
from connectors.facts import is_address
from connectors.writing import landed, notes_of, without_values
from state.outbox import ContactJob

log = structlog.get_logger()


async def send(esp: Esp, batch: Sequence[ContactJob], missing: Mapping[str, str]) -> list[Refusal]:
    """Send a batch without the fields that the ESP does not have, and without addresses that are none."""
    nobody = [job.contact for job in batch if not is_address(job.contact.email)]
    contacts = [job.contact for job in batch if is_address(job.contact.email)]
    left_out = [
        Refusal(contact.profile, Blame.ABSENT, missing[name], name)
        for contact in (contacts if missing else ())
        for name in contact.fields
        if name in missing
    ]
    impossible = [Refusal(contact.profile, Blame.CONTACT, "this is no e-mail address") for contact in nobody]
    refusals = await esp.push([_without(contact, missing) for contact in contacts]) if contacts else []
    moved = notes_of({job.contact.profile for job in batch if job.moved}, landed(contacts, refusals))
    found = [*impossible, *left_out, *_without_people(refusals, contacts), *moved]
    subscribed = await _stop_where_they_are(esp, [job.contact for job in batch], found)
    return [
        replace(each, blame=Blame.BROKEN) if each.profile in subscribed and each.blame in NOT_LANDED else each
        for each in found
    ]


async def _stop_where_they_are(
    esp: Esp, contacts: Sequence[Contact], refusals: Sequence[Refusal]
) -> set[int]:
    """Unsubscribe at the old address who took their yes back, and whose new address the ESP does not take (P4).

    Return the profiles of those at whom it broke: that is to be tried again.
    """
    lost = {refusal.profile for refusal in refusals if refusal.blame in NOT_LANDED}
    left = [
        replace(contact, email=contact.was, was=None, fields={})
        for contact in contacts
        if contact.profile in lost and contact.was and contact.subscribe is Subscribe.STOP
    ]
    try:
        again = await esp.push(left) if left else []
    except RemoteFault:
        return {contact.profile for contact in left}
    for refusal in again:
        if refusal.blame is Blame.CONTACT:
            log.warning("stop_refused", profile=refusal.profile, reason=refusal.reason)
    return {refusal.profile for refusal in again if refusal.blame in {Blame.BROKEN, Blame.LATER}}


def _without_people(refusals: Sequence[Refusal], contacts: Sequence[Contact]) -> list[Refusal]:
    """Cut out of reasons what was sent: vendors like to quote it, and letters are for everybody to read (P8)."""
    refused = {refusal.profile for refusal in refusals}
    texts = {
        contact.profile: {name: value for name, value in contact.fields.items() if isinstance(value, str)}
        for contact in contacts
        if contact.profile in refused
    }
    return [
        replace(each, reason=without_values(each.reason, texts.get(each.profile, {}))) for each in refusals
    ]


def _without(contact: Contact, missing: Mapping[str, str]) -> Contact:
    if not missing.keys() & contact.fields.keys():
        return contact
    return replace(contact, fields={n: value for n, value in contact.fields.items() if n not in missing})


def end_if_left(refusals: Sequence[Refusal]) -> None:
    """Raise what made the ESP leave people for later: what it did of the batch is settled."""
    left = [refusal for refusal in refusals if refusal.blame is Blame.LATER]
    if left:
        raise Retryable(f"{left[0].reason}; {len(left)} contacts are left for the next run")
