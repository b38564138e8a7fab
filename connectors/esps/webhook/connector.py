"""Anything that catches hooks as an ESP (Zapier, Make, n8n, an own service): a POST for each change.

Signed in the Standard Webhooks form (https://www.standardwebhooks.com). A message that is sent twice, after
a crash or a lost answer, has the same `webhook-id`. Nothing can be asked of a hook: whether somebody opted
out there, Cartwire learns from the stores only.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import unquote, unquote_plus, urlsplit

from connectors.base import Blame, Contact, Field, Member, OptOut, Refusal
from connectors.esps.webhook.messages import JOINED, LEFT, Message, contact_message, list_message
from connectors.esps.webhook.settings import WebhookSettings
from connectors.esps.webhook.signing import Signature
from connectors.esps.webhook.traits import TRAITS
from connectors.http import Answer, Api
from connectors.webhooks import key_of
from connectors.writing import rename_rounds, together

CONNECTIONS = 4
TIMEOUT = 30.0
"""Seconds. Standard Webhooks asks senders to wait 15 to 30."""
REFUSING = frozenset({400, 406, 409, 413, 415, 422})
"""Statuses that are about one message. Others below 500 are about the hook, and stop the sync."""
ANSWERS = frozenset(range(200, 500))
TELLING = 12
"""Characters from which a part of an address is no word that messages may need."""
GONE = {404: "there is no hook at this address", 410: "the hook was switched off: make a new one"}
HINTS = {
    **GONE,
    401: "`secret`: the hook does not accept the signature",
    403: "`secret`: the hook does not accept the signature",
    405: "the hook takes no POST",
}


class Webhook:
    """One hook."""

    Settings = WebhookSettings
    traits = TRAITS

    def __init__(self, settings: WebhookSettings) -> None:
        secret = settings.secret.get_secret_value()
        self._address = settings.address
        self._api = Api(
            self._address,
            auth=Signature(key_of(secret)),
            concurrency=CONNECTIONS,
            timeout=TIMEOUT,
            secrets=[secret, *_secret_parts(self._address)],
            clean=lambda _: b"null",  # hooks answer anything ("ok", a page), and it means nothing
            explain=_explain,
        )
        self.tally = self._api.tally

    async def check(self) -> Sequence[str]:
        """Ask whether anything is there, in the way that starts nothing."""
        answer = await self._api.send("OPTIONS", self._address, expect=ANSWERS)
        return [f"`url`: {GONE[answer.status]}"] if answer.status in GONE else []

    async def prepare(self, _fields: Sequence[Field], _lists: Sequence[str]) -> Mapping[str, str]:
        return {}

    async def push(self, contacts: Sequence[Contact]) -> Sequence[Refusal]:
        """Tell of renames first: a new contact may come to the address that another has left."""
        rounds = list(rename_rounds(contacts))
        renamed = {contact.profile for several in rounds for contact in several}
        rounds.append([contact for contact in contacts if contact.profile not in renamed])
        refusals: list[Refusal] = []
        for several in rounds:
            refusals += await self._post_all([contact_message(each) for each in several], Blame.CONTACT, None)
        return refusals

    async def change_list(
        self, name: str, join: Sequence[Member], leave: Sequence[Member]
    ) -> Sequence[Refusal]:
        messages = [list_message(JOINED, name, member) for member in join]
        messages += [list_message(LEFT, name, member) for member in leave]
        return await self._post_all(messages, Blame.MEMBERSHIP, name)

    async def opt_outs(self, _since: datetime | None) -> AsyncIterator[Sequence[OptOut]]:
        """Tell of nobody: a hook cannot be asked."""
        nobody: Sequence[Sequence[OptOut]] = ()
        for page in nobody:
            yield page

    async def aclose(self) -> None:
        await self._api.aclose()

    async def _post_all(self, messages: Sequence[Message], blame: Blame, name: str | None) -> list[Refusal]:
        reasons = await together([self._post(message) for message in messages])
        return [
            Refusal(message.profile, blame, reason, name)
            for message, reason in zip(messages, reasons, strict=True)
            if reason is not None
        ]

    async def _post(self, message: Message) -> str | None:
        """Return why the hook does not take this message, None when it does."""
        headers = {"webhook-id": message.id}
        answer = await self._api.send("POST", self._address, message.body, headers=headers, expect=REFUSING)
        if answer.status not in REFUSING:
            return None
        said = answer.body.decode("utf-8", "replace").strip()
        return self._api.redact(f"the hook answered {answer.status} {said}".strip())


def _secret_parts(address: str) -> set[str]:
    """Take out of an address what makes it as good as a key, whole and in pieces, encoded and not.

    Whoever knows it can post, and hooks quote the token alone as well as the whole path.
    """
    url = urlsplit(address)
    paths = [url.path, unquote(url.path)]
    values = [value or name for name, _, value in (each.partition("=") for each in url.query.split("&"))]
    wholes = [*(path.strip("/") for path in paths), url.query, url.username or "", url.password or ""]
    found = [*wholes, *values, *(segment for path in paths for segment in path.split("/"))]
    return {
        form for part in found for form in (part, unquote(part), unquote_plus(part)) if len(form) >= TELLING
    }


def _explain(answer: Answer) -> str | None:
    return HINTS.get(answer.status)
