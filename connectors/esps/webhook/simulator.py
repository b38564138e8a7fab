"""A receiver of hooks as the Standard Webhooks form wants it: it verifies, and takes no message twice."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from connectors.asgi import Asked, Reply, read_request, send_reply, utc_now
from connectors.simulation import Fault, Receive, Scope, Send, Simulation

KEY = b"0123456789abcdef01234567"
PATH = ("catch", "1234567", "a1b2c3d4")
SETTINGS = {
    "url": "http://hooks.test/" + "/".join(PATH),
    "secret": "whsec_" + base64.b64encode(KEY).decode(),
}
TOLERANCE = 300.0
"""Seconds between a message's timestamp and our clock."""


@dataclass
class HookContact:
    """What a receiver would make of the messages about one person."""

    subscribed: bool
    fields: dict[str, Any] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)


class SimulatedHook:
    """`messages` are those taken, by id; `repeated` counts those that came again.

    `objection` looks at each body, and may give a status to refuse it with.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.messages: dict[str, Mapping[str, Any]] = {}
        self.repeated = 0
        self.contacts: dict[str, HookContact] = {}
        self.objection: Callable[[Mapping[str, Any]], int | None] = lambda _: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await read_request(scope, receive)
        await send_reply(send, self._answer(asked))

    def _answer(self, asked: Asked) -> Reply:
        if asked.segments != PATH:
            return Reply(404, b"no hook here", {"content-type": "text/plain"})
        if asked.method != "POST":
            return Reply(204 if asked.method == "OPTIONS" else 405)
        trouble = self._verify(asked)
        if trouble:
            return Reply(401, trouble.encode(), {"content-type": "text/plain"})
        body = msgspec.json.decode(asked.body)
        status = self.objection(body)
        if status is not None:
            return Reply(status, {"error": "not taken"})
        self._take(asked.headers["webhook-id"], body)
        return Reply(200, b"ok", {"content-type": "text/plain"})

    def _verify(self, asked: Asked) -> str | None:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        message_id, timestamp, signatures = (asked.headers.get(name, "") for name in names)
        if not message_id or not timestamp.isdigit():
            return "headers are missing"
        if abs(self.clock().timestamp() - int(timestamp)) > TOLERANCE:
            return "the timestamp is too old or too new"
        signed = f"{message_id}.{timestamp}.".encode() + asked.body
        right = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
        return None if right in signatures.split(" ") else "the signature does not match"

    def _take(self, message_id: str, body: Mapping[str, Any]) -> None:
        if message_id in self.messages:
            self.repeated += 1
            return
        self.messages[message_id] = body
        content = body["data"]
        if body["type"] == "contact.changed":
            self._change(content)
        elif content["email"] in self.contacts:
            lists = self.contacts[content["email"]].lists
            (lists.add if body["type"] == "list.joined" else lists.discard)(content["list"])

    def _change(self, content: Mapping[str, Any]) -> None:
        email = content["email"]
        moved = self.contacts.pop(content["previous_email"], None)
        contact = self.contacts.get(email) or moved or HookContact(content["subscribe"] == "yes")
        contact.subscribed &= content["subscribe"] != "stop"
        contact.fields |= content["fields"]
        contact.fields = {name: value for name, value in contact.fields.items() if value is not None}
        self.contacts[email] = contact


def simulator(
    *,
    clock: Callable[[], datetime] = utc_now,
    chances: Mapping[Fault, float] | None = None,
    seed: int = 1,
) -> Simulation:
    """Make a receiver that has heard nothing yet."""
    state = SimulatedHook(clock)
    return Simulation(state, state, chances=chances, seed=seed)
