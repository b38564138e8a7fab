"""Journeys that begin with a call: `POST /trigger/{id}/contact/{email}`, one for each contact.

A repeated trigger starts the journey again, and nothing tells whether a lost one got through: so a call is
made once, and what became of a lost one is left to the owner.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from connectors.base import Blame, Member, Refusal
from connectors.errors import ConnectorError, Refused, Retryable, Throttled, Unreachable
from connectors.esps.autopilot.delivery import BAD, GONE, words
from connectors.http import Api
from connectors.writing import together

UNSURE = "the answer was lost: nobody knows whether the journey began"
NOT_BEGUN = "the journey did not begin"
NO_ENTRY = frozenset({401, 403})


class Triggers:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def find(self, triggers: Sequence[str]) -> Mapping[str, str]:
        """Return trigger -> reason for those that no journey begins with."""
        rows = (await self._api.get("/triggers")).json["triggers"]
        there = {str(row["trigger_id"]): str(row["journey"]) for row in rows}
        known = ", ".join(f"{number} ({journey})" for number, journey in there.items()) or "none"
        reason = self._api.redact(f"Autopilot has no such trigger; it has {known}")
        return {trigger: reason for trigger in triggers if trigger not in there}

    async def start(self, trigger: str, members: Sequence[Member]) -> Sequence[Refusal]:
        refusals = await together([self._start(trigger, member) for member in members])
        return [refusal for refusal in refusals if refusal]

    async def _start(self, trigger: str, member: Member) -> Refusal | None:
        """Return why the journey did not begin for certain."""
        email = quote(member.email.encode("utf-8", "ignore"), safe="")
        path = f"/trigger/{quote(trigger, safe='')}/contact/{email}"
        try:
            answer = await self._api.send("POST", path, expect=BAD | GONE, repeat=False)
        except ConnectorError as error:
            if _is_shut(error):
                return Refusal(member.profile, Blame.LATER, self._api.redact(f"{NOT_BEGUN} ({error})"))
            doubtful = isinstance(error, Retryable)  # a 4xx did nothing
            reason = self._api.redact(f"{UNSURE if doubtful else NOT_BEGUN} ({error})")
            return Refusal(member.profile, Blame.MEMBERSHIP, reason, doubtful=doubtful)
        if answer.status < 300:
            return None
        return Refusal(member.profile, Blame.MEMBERSHIP, self._api.redact(f"{NOT_BEGUN}: {words(answer)}"))


def _is_shut(error: ConnectorError) -> bool:
    """Tell whether a call surely did nothing, for a reason that has nothing to do with the contact."""
    unsent = isinstance(error, Unreachable) and not error.sent
    no_entry = isinstance(error, Refused) and error.status in NO_ENTRY
    return unsent or no_entry or isinstance(error, Throttled)
