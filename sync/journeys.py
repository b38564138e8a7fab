"""Lists that are triggers: a journey is started by a call for whoever enters, at most once.

Before the calls go out their entries are settled as dead letters that say that nobody knows; afterwards as
what came of them. So a kill, or an answer that is lost, starts no journey twice: the letter stays, and the
owner may have it started (again) with `cartwire dead-letters --retry`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from connectors.base import Blame, Esp, Journeys, Refusal
from mappings.compile import CompiledList
from state import settling
from state.db import Database
from state.outbox import MembershipJob
from sync.job import Job

STARTS = 20
"""Calls in one go: as many journeys a kill can leave in doubt."""
UNSURE = "stopped while the journey was being started: nobody knows whether it began"


async def missing_triggers(esp: Esp, lists: Sequence[CompiledList]) -> Mapping[str, str]:
    """Return list -> reason for those whose trigger the ESP does not have."""
    wanted = {each.name: each.trigger for each in lists if each.trigger}
    if not wanted or not isinstance(esp, Journeys):
        return {}
    reasons = await esp.find_triggers(list(wanted.values()))
    return {name: reasons[trigger] for name, trigger in wanted.items() if trigger in reasons}


def trigger_of(job: Job, name: str) -> str | None:
    """Return the trigger that a list stands for, None where it is a list."""
    return next((each.trigger for each in job.mapping.lists if each.name == name), None)


async def start_journeys(
    job: Job, esp: Journeys, db: Database, joins: Sequence[MembershipJob], now: datetime
) -> Sequence[Refusal]:
    """Start the journey of a list for those who enter it; nothing is to be told of those who leave."""
    trigger = trigger_of(job, joins[0].list) if joins else None
    if trigger is None:
        return []
    await esp.find_triggers([trigger])  # raises when the ESP is down: nobody is in doubt then
    unsure = [
        Refusal(each.member.profile, Blame.MEMBERSHIP, UNSURE, each.list, doubtful=True) for each in joins
    ]
    await db.run(settling.settle_memberships, job.sync, joins, unsure, now)
    refusals = await esp.start(trigger, [each.member for each in joins])
    return [replace(refusal, name=joins[0].list) for refusal in refusals]
