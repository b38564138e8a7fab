"""An Ortto account: the public API v1 as far as people, their fields, tags and permissions go.

It does what makes Ortto dangerous: a person created without a word on permission is mailable, asynchronous
merges are answered before they are done and their errors vanish, and fifteen bad requests in fifteen
seconds shut the door. Activities, audiences and campaigns are not here: nothing asks for them.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from connectors.asgi import Asked, Reply, Window, read_request, send_reply, utc_now
from connectors.esps.ortto.simulated.instance import Instance, Problem
from connectors.esps.ortto.simulated.schema import SchemaField
from connectors.esps.ortto.simulated.search import chosen, search
from connectors.simulation import Fault, Receive, Scope, Send, Simulation

SETTINGS = {"api_key": "PRK-0123456789abcdef0123456789abcdef", "region": "eu"}
ALONE = {"per_second": 10, "queue_seconds": 0.2}
MOST_BAD = 15
BLOCK = 15.0
"""Seconds within which bad requests count, and for which the door is then shut."""

Body = Mapping[str, Any]
Handler = Callable[["SimulatedOrtto", Body], Reply]


class SimulatedOrtto(Instance):
    """The account behind HTTP; what `Simulation.state` is.

    `blocked` counts requests that found the door shut.
    """

    def __init__(
        self, *, per_second: int | None, queue_seconds: float, clock: Callable[[], datetime], seed: int
    ) -> None:
        super().__init__(clock, queue_seconds, seed)
        self.api_key = SETTINGS["api_key"]
        self.per_second = per_second
        self.blocked = 0
        self._requests = Window(clock, 1.0)
        self._bad = Window(clock, BLOCK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await read_request(scope, receive)
        try:
            self._admit()
            self.work_off_queue()
            reply = self._answer(asked)
        except Problem as problem:
            reply = _refused(problem)
        if reply.status in {400, 401}:
            self._bad.add()
        await send_reply(send, reply)

    def _admit(self) -> None:
        if self._bad.count() >= MOST_BAD:
            self.blocked += 1
            raise Problem(429, "Too many bad requests", [{"wait": BLOCK}])
        if self.per_second is not None and self._requests.count() >= self.per_second:
            raise Problem(429, "Rate limit exceeded", [{"wait": 1}])
        self._requests.add()

    def _answer(self, asked: Asked) -> Reply:
        if asked.headers.get("x-api-key") != self.api_key:
            raise Problem(401, "Unauthorized: invalid API key")
        handler = _ROUTES.get((asked.method, "/".join(asked.segments)))
        if handler is None:
            raise Problem(404, "Not found")
        try:
            body = asked.json()
        except msgspec.DecodeError:
            body = None
        if not isinstance(body, dict):
            raise Problem(400, "Failed to parse request")
        return handler(self, body)


def _refused(problem: Problem) -> Reply:
    document = {"request_id": str(uuid.uuid4()), "code": problem.status, "error": problem.error}
    if problem.status == 429:
        wait = problem.details[0]["wait"]
        return Reply(429, document | {"code": "rate-limit", "try-in-seconds": wait})
    return Reply(problem.status, document | ({"details": problem.details} if problem.details else {}))


def _merge(state: SimulatedOrtto, body: Body) -> Reply:
    return Reply(200, state.merge(body))


def _get(state: SimulatedOrtto, body: Body) -> Reply:
    return Reply(200, search(state, body))


def _get_by_ids(state: SimulatedOrtto, body: Body) -> Reply:
    """Answer an object by id, where the other call answers a list."""
    found = [state.people[number] for number in body["contact_ids"] if number in state.people]
    columns = body.get("fields") or []
    return Reply(
        200, {"contacts": {each.id: {"id": each.id, "fields": chosen(each, columns)} for each in found}}
    )


def _archive(state: SimulatedOrtto, body: Body) -> Reply:
    ids = body.get("inclusion_ids") or ()
    if state.archives_later:
        return Reply(200, {"scheduled_contacts": state.archive_later(ids), "archived_contacts": 0})
    archived = state.archive(ids)
    return Reply(200, {"scheduled_contacts": 0, "archived_contacts": archived})


def _delete(state: SimulatedOrtto, body: Body) -> Reply:
    deleted = state.delete_archived(body.get("inclusion_ids") or ())
    return Reply(200, {"scheduled_contacts": 0, "deleted_contacts": deleted})


def _create_field(state: SimulatedOrtto, body: Body) -> Reply:
    field = state.add_field(str(body.get("name") or ""), str(body.get("type")))
    return Reply(200, {"name": field.name, "field_id": field.id, "display_type": field.display_type})


def _custom_fields(state: SimulatedOrtto, _body: Body) -> Reply:
    fields = [{"field": _described(field), "tracked_value": False} for field in state.custom_fields]
    return Reply(200, {"fields": fields})


def _schema(state: SimulatedOrtto, _body: Body) -> Reply:
    """Answer all namespaces: the built-in fields are in the one without a name."""
    namespaces: dict[str, dict[str, Any]] = {"": {}, "cm": {}}
    for field in state.schema.values():
        space = namespaces["cm" if ":cm:" in field.id else ""]
        space[field.id] = _described(field) | ({"read_only": True} if field.read_only else {})
    return Reply(200, {"namespaces": {name: {"id": name, "fields": of} for name, of in namespaces.items()}})


def _described(field: SchemaField) -> dict[str, Any]:
    return {"id": field.id, "name": field.name, "display_type": field.display_type}


def _tags(state: SimulatedOrtto, body: Body) -> Reply:
    names = sorted({tag for person in state.people.values() for tag in person.tags})
    asked = str(body.get("q") or "").casefold()
    rows = [
        {
            "id": number,
            "name": name,
            "count": sum(name in person.tags for person in state.people.values()),
            "type": "",
        }
        for number, name in enumerate(names, start=1)
    ]
    return Reply(200, [row for row in rows if asked in str(row["name"]).casefold()])


_ROUTES: Mapping[tuple[str, str], Handler] = {
    ("POST", "v1/person/merge"): _merge,
    ("POST", "v1/person/get"): _get,
    ("POST", "v1/person/get-by-ids"): _get_by_ids,
    ("PUT", "v1/person/archive"): _archive,
    ("DELETE", "v1/person/delete"): _delete,
    ("POST", "v1/person/custom-field/create"): _create_field,
    ("POST", "v1/person/custom-field/get"): _custom_fields,
    ("POST", "v1/instance-schema/get"): _schema,
    ("POST", "v1/tags/get"): _tags,
}


def simulator(
    *,
    per_second: int | None = None,
    queue_seconds: float = 1.0,
    clock: Callable[[], datetime] = utc_now,
    chances: Mapping[Fault, float] | None = None,
    seed: int = 1,
) -> Simulation:
    """Make an empty account.

    `per_second` requests are answered, None for any number; a merge in the queue is done `queue_seconds`
    after it came, by the next request.
    """
    state = SimulatedOrtto(per_second=per_second, queue_seconds=queue_seconds, clock=clock, seed=seed)
    return Simulation(state, state, chances=chances, seed=seed)
