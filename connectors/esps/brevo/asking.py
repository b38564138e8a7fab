"""Confirmation mails (double opt-in): each is asked for by one call, as nobody is to get two.

A call that broke off, or that a 5xx answered, may have sent its mail: it counts as made, for who gets no mail
is the lesser evil. Who was surely not reached, when Brevo gives way in the middle, is left for the next run.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from connectors.base import Blame, Refusal
from connectors.errors import ConnectorError, Refused, Retryable, Throttled, Unreachable
from connectors.esps.brevo.account import EVERYBODY, Account
from connectors.esps.brevo.settings import Confirmation
from connectors.esps.brevo.traits import PHONES
from connectors.esps.brevo.writes import Turn, Write, judge
from connectors.http import Answer, Api
from connectors.writing import together

AT_ONCE = 4
TURNS = 6
"""Refusals of one contact after which it is given up."""
GIVE_UP = 3
"""Calls in a row whose outcome is in doubt, after which Brevo is down."""
BAD = frozenset({400, 404})
NO_PHONES = "a phone number does not go with a confirmation mail: the click would open it to text messages"

log = structlog.get_logger()


@dataclass(slots=True)
class Round:
    """One push's asking: who waits, what came of it, and the trouble that ended it."""

    waiting: deque[Write]
    refusals: list[Refusal] = field(default_factory=list)
    unreached: list[Write] = field(default_factory=list)
    asked: int = 0
    doubtful: int = 0
    in_a_row: int = 0
    trouble: ConnectorError | None = None

    def note(self, answer: Answer) -> None:
        self.in_a_row = 0
        self.asked += answer.status not in BAD

    def fail(self, write: Write, error: ConnectorError) -> None:
        """Count a call that failed as made, if it may have been; else nobody is tried after it."""
        if not _may_be_done(error):
            self.unreached.append(write)
            self.trouble = error
            return
        self.doubtful += 1
        self.in_a_row += 1
        if self.in_a_row >= GIVE_UP:
            self.trouble = error


class Confirmations:
    def __init__(self, api: Api, account: Account, confirmation: Confirmation | None) -> None:
        self._api = api
        self._account = account
        self._confirmation = confirmation

    def check(self) -> Confirmation:
        """Return the settings. Raises Refused where they are missing."""
        if self._confirmation is None:
            raise Refused(
                "Brevo: double opt-in needs `confirmation_template` and `confirmation_url` in this ESP's settings"
            )
        return self._confirmation

    async def ask(self, writes: Sequence[Write]) -> list[Refusal]:
        """Ask each of these once. Raises a ConnectorError only when nobody can have been asked."""
        if not writes:
            return []
        list_id = await self._account.list_id(EVERYBODY)
        this = Round(deque(_without_phones(write) for write in writes))
        await together([self._work(this, list_id) for _ in range(AT_ONCE)])
        if this.doubtful:
            log.warning("confirmations_in_doubt", people=this.doubtful)
        if this.trouble is None:
            return this.refusals
        if not this.asked and not this.doubtful:
            raise this.trouble
        reason = str(this.trouble)
        later = [
            Refusal(each.contact.profile, Blame.LATER, reason) for each in (*this.unreached, *this.waiting)
        ]
        return this.refusals + later

    async def _work(self, this: Round, list_id: int) -> None:
        while this.waiting and this.trouble is None:
            await self._ask(this.waiting.popleft(), list_id, this)

    async def _ask(self, write: Write, list_id: int, this: Round) -> None:
        """Ask one; what Brevo refuses with a 400 sent no mail, and is tried without what it refuses."""
        for _ in range(TURNS):
            try:
                answer = await self._send(write, list_id)
            except ConnectorError as error:
                return this.fail(write, error)
            this.note(answer)
            verdict = judge(write, answer, creates=True)
            if not isinstance(verdict, Turn):
                this.refusals += verdict
                return None
            write = verdict.write
        this.refusals += write.refused(Blame.CONTACT, "Brevo does not ask this contact, and does not say why")
        return None

    async def _send(self, write: Write, list_id: int) -> Answer:
        confirmation = self.check()
        body = {
            "email": write.email,
            "includeListIds": [list_id],
            "templateId": confirmation.template,
            "redirectionUrl": confirmation.url,
            "attributes": write.birth_attributes(),
        }
        path = "/contacts/doubleOptinConfirmation"
        return await self._api.send("POST", path, body, expect=BAD, repeat=False)


def _without_phones(write: Write) -> Write:
    """Leave phone numbers out: the contact that comes of the click could be sent text messages, without proof."""
    return write.without({name: NO_PHONES for name in PHONES if write.attributes.get(name)})


def _may_be_done(error: ConnectorError) -> bool:
    """Tell whether a call that ended so may have been carried out."""
    unsent = isinstance(error, Unreachable) and not error.sent
    return isinstance(error, Retryable) and not isinstance(error, Throttled) and not unsent
