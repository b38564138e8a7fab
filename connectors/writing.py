"""What ESP connectors share when they write: the order of renames, halves of a batch, the field at fault.

Decides and arranges; the requests are the connector's.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

import structlog

from connectors.base import NOT_LANDED, Blame, Contact, Refusal, Subscribe

log = structlog.get_logger()

T = TypeVar("T")


def folded(email: str) -> str:
    """Write an address as vendors compare it: by its letters' case alone, for ß is not ss (see `normal_email`)."""
    return email.strip().lower()


def is_renamed(contact: Contact) -> bool:
    """Tell whether the address changed beyond its case."""
    return contact.was is not None and folded(contact.was) != folded(contact.email)


def rename_rounds(contacts: Sequence[Contact]) -> Iterator[Sequence[Contact]]:
    """Order renames so that none goes to an address that another of them still has to leave.

    Who is not renamed comes in no round. Addresses that were exchanged in a ring all have their records
    already: nothing is to be renamed there.
    """
    waiting = [contact for contact in contacts if is_renamed(contact)]
    while waiting:
        held = {folded(contact.was or "") for contact in waiting}
        free = [contact for contact in waiting if folded(contact.email) not in held]
        if not free:
            return
        yield free
        waiting = [contact for contact in waiting if folded(contact.email) in held]


def claims_of(contacts: Sequence[Contact]) -> dict[str, Contact]:
    """Say whose each address (folded) is to be after this push."""
    return {folded(contact.email): contact for contact in contacts}


def heirs(email: str, claims: Mapping[str, Contact]) -> Iterator[Contact]:
    """Name who is to have an address, who is to have the one that they leave for it, and so on, each once.

    Nobody where it is a newcomer without proof: who was subscribed there is somebody else (P4).
    """
    seen: set[int] = set()
    while (heir := claims.get(folded(email))) is not None and heir.profile not in seen:
        if not seen and not heir.known and not is_renamed(heir) and heir.subscribe is Subscribe.NO:
            return
        seen.add(heir.profile)
        yield heir
        email = heir.was or ""


async def is_taken(
    email: str, claims: Mapping[str, Contact], is_there: Callable[[str], Awaitable[bool]]
) -> bool:
    """Tell whether who is to have an address has it by now: then what stands there is theirs, not to be retired.

    So it is when this push was sent before, and a kill came before we could note it; else the end of the chain
    still stands where it began. To be asked in the order of `rename_rounds`: who comes to an address is renamed
    after who leaves it. `is_there` counts the archived: they have not moved on, and somebody said no there.
    """
    for heir in heirs(email, claims):
        if not is_renamed(heir) or not await is_there(heir.was or ""):
            return True
    return False


def landed(contacts: Sequence[Contact], refusals: Sequence[Refusal]) -> list[Contact]:
    """Leave out those of whom nothing landed."""
    lost = {refusal.profile for refusal in refusals if refusal.blame in NOT_LANDED}
    return [contact for contact in contacts if contact.profile not in lost]


def notes_of(anew: Collection[int], contacts: Sequence[Contact]) -> list[Refusal]:
    """Note which of these contacts, which landed, had nothing of ours before."""
    reason = "there was nothing of ours"
    return [Refusal(each.profile, Blame.ANEW, reason) for each in contacts if each.profile in anew]


def parts(everything: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut into parts of at most `size`."""
    return (everything[start : start + size] for start in range(0, len(everything), size))


def halves(everything: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Cut in two, to find the bad ones of a batch that was refused as a whole."""
    middle = len(everything) // 2
    return everything[:middle], everything[middle:]


async def sift(
    names: Sequence[str], try_out: Callable[[Sequence[str]], Awaitable[str | None]]
) -> dict[str, str]:
    """Find the fields that a vendor refuses without naming them; return name -> its reason.

    `try_out` writes the named fields and returns the refusal's reason, None when they landed. Whatever is
    not returned has landed.
    """
    if not names:
        return {}
    reason = await try_out(names)
    if reason is None:
        return {}
    if len(names) == 1:
        return {names[0]: reason}
    first, second = halves(names)
    return await sift(first, try_out) | await sift(second, try_out)


def say_cut(contacts: Sequence[Contact], fits: Callable[[str, str], bool]) -> None:
    """Log which fields hold texts that are cut, in how many contacts; `fits(name, text)` says which are not."""
    cut = Counter(
        name
        for contact in contacts
        for name, value in contact.fields.items()
        if isinstance(value, str) and not fits(name, value)
    )
    if cut:
        log.warning("texts_cut", fields=dict(cut))


async def together(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once, within the Api's limits; the first error ends the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]


def as_text(value: object) -> str:
    """Write a value in one way, whether we sent it or a vendor gives it back; empty for nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        number = Decimal(str(value))
        return f"{number.normalize():f}" if number else "0"
    return value.isoformat() if isinstance(value, date) else str(value).strip()


def without_values(words: str, values: Mapping[str, object]) -> str:
    """Cut quoted values out of a vendor's words; a very short one would hit others and tells nothing."""
    texts = sorted({str(value) for value in values.values()}, key=len, reverse=True)
    for text in texts:
        words = words.replace(text, "…") if len(text) > 2 else words
    return words
