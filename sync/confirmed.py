"""Who has confirmed since the ESP was last heard: what it refused of them before is offered again."""

from datetime import datetime

import structlog

from connectors.base import Confirming, Esp
from connectors.facts import normal_email
from state import confirmations
from state.db import Database

log = structlog.get_logger()


async def hear_confirmed(esp: Esp, sync: str, db: Database, since: datetime | None) -> bool:
    """Learn who has become a contact, and offer them again; return whether there was anybody.

    The ESP is asked for all of them at once, and only if somebody waits: those who never click cost no request
    each. Whoever was found waits no more, so that the same page brings nobody twice. It subscribes nobody.
    """
    if not isinstance(esp, Confirming):
        return False
    waiting = await db.read(confirmations.waiting, sync, esp.unknown)
    if not waiting:
        return False
    found: set[int] = set()
    async for page in esp.confirmed(since):
        emails = {email for each in page if (email := normal_email(each))}
        here = {profile for email in emails & waiting.keys() for profile in waiting[email]} - found
        if here:
            await db.run(confirmations.offer_again, sync, here, esp.unknown)
        found |= here
    if found:
        log.info("confirmations_heard", people=len(found))
    return bool(found)
