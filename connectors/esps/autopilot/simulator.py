"""An Autopilot account: API v1 as far as contacts, custom fields and lists go.

It refuses as Autopilot refuses: a missing key with 400 and a wrong one with 401, more than 100 contacts in
a call, what is not in a list with an empty 404. A bulk write says nothing of the contacts that it did not
take but by leaving them out of its answer. A trigger that is called again starts its
journey again. Hooks and segments are not here: nothing asks for them.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from connectors.asgi import Asked, Reply, Window, read_request, send_reply, utc_now
from connectors.esps.autopilot.simulated.account import EVENTS, Account, Person, Refusal, bad_request
from connectors.simulation import Fault, Receive, Scope, Send, Simulation

SETTINGS = {"api_key": "0123456789abcdef0123456789abcdef"}
ALONE = {"per_second": 20}
MOST_CONTACTS = 100
PAGE = 100

Handler = Callable[..., Reply]


class SimulatedAutopilot(Account):
    """The account behind HTTP; what `Simulation.state` is. `per_second` requests, None for any number."""

    def __init__(self, *, per_second: int | None, clock: Callable[[], datetime], seed: int) -> None:
        super().__init__(clock, seed)
        self.api_key = SETTINGS["api_key"]
        self.per_second = per_second
        self._window = Window(clock, 1.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await read_request(scope, receive)
        try:
            self._admit(asked)
            reply = _answer(self, asked)
        except Refusal as refusal:
            reply = _refused(refusal)
        await send_reply(send, reply)

    def _admit(self, asked: Asked) -> None:
        key = asked.headers.get("autopilotapikey")
        if key is None:
            raise bad_request("No autopilotapikey header provided.")
        if key != self.api_key:
            raise Refusal(401, "Unauthorized", "Provided autopilotapikey not valid.")
        if self.per_second is not None and self._window.count() >= self.per_second:
            message = f"You have exceeded your request rate of {self.per_second} r/s."
            raise Refusal(429, "Too Many Requests", message)
        self._window.add()


def _answer(state: SimulatedAutopilot, asked: Asked) -> Reply:
    """Find the call: `*` in a route stands for one segment, which becomes an argument."""
    if asked.segments[0] != "v1":
        raise Refusal(404, "Not Found", "Resource could not be found.")
    path = asked.segments[1:]
    for method, route, handler in _ROUTES:
        if method == asked.method and _fits(route, path):
            names = [part for part, wanted in zip(path, route, strict=True) if wanted == "*"]
            return handler(state, _parsed(asked), *names)
    raise Refusal(404, "Not Found", "Resource could not be found.")


def _fits(route: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(route) == len(path) and all(
        wanted in {"*", part} for part, wanted in zip(path, route, strict=True)
    )


def _parsed(asked: Asked) -> Mapping[str, Any]:
    try:
        body = asked.json()
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        raise bad_request("Invalid JSON provided.")
    return body


def _refused(refusal: Refusal) -> Reply:
    if refusal.message is None:
        return Reply(refusal.status)
    return Reply(refusal.status, {"error": refusal.error, "message": refusal.message})


def _account(_state: SimulatedAutopilot, _body: Mapping[str, Any]) -> Reply:
    return Reply(200, {"instance_id": "simulated"})


def _post_contact(state: SimulatedAutopilot, body: Mapping[str, Any]) -> Reply:
    contact = body.get("contact")
    if not isinstance(contact, dict):
        raise bad_request("No contact provided.")
    return Reply(200, {"contact_id": state.upsert(contact).id})


def _post_contacts(state: SimulatedAutopilot, body: Mapping[str, Any]) -> Reply:
    """Write up to 100; who is not taken is not in the answer."""
    contacts = body.get("contacts")
    if not isinstance(contacts, list) or not 1 <= len(contacts) <= MOST_CONTACTS:
        raise bad_request("Between 1 and 100 contacts must be provided.")
    taken: list[Person] = []
    for contact in contacts:
        try:
            taken.append(state.upsert(contact))
        except Refusal:
            if state.whole_batches:
                raise
    return Reply(
        200,
        {
            "contact_ids": [person.id for person in taken],
            "email_contact_map": {person.email: person.id for person in taken},
            "_removeResultKeys": ["proposedContacts"],
        },
    )


def _get_contact(state: SimulatedAutopilot, _body: Mapping[str, Any], key: str) -> Reply:
    return Reply(200, _document(state, state.existing(key)))


def _delete_contact(state: SimulatedAutopilot, _body: Mapping[str, Any], key: str) -> Reply:
    state.delete(key)
    return Reply(204)


def _unsubscribe(state: SimulatedAutopilot, _body: Mapping[str, Any], key: str) -> Reply:
    person = state.existing(key)
    person.unsubscribed, person.updated = True, state.clock()
    return Reply(200)


def _get_contacts(state: SimulatedAutopilot, _body: Mapping[str, Any], bookmark: str | None = None) -> Reply:
    return _page(state, bookmark, None)


def _list_contacts(
    state: SimulatedAutopilot, _body: Mapping[str, Any], list_id: str, bookmark: str | None = None
) -> Reply:
    state.list_members(list_id)
    return _page(state, bookmark, list_id)


def _page(state: SimulatedAutopilot, bookmark: str | None, within: str | None) -> Reply:
    found, total = state.page(bookmark, PAGE, within)
    page = {"contacts": [_document(state, person) for person in found], "total_contacts": total}
    after = state.page(found[-1].id, 1, within)[0] if found else []
    return Reply(200, page | ({"bookmark": found[-1].id} if after else {}))


def _document(state: SimulatedAutopilot, person: Person) -> dict[str, Any]:
    values = person.values
    custom = [
        {"kind": slot.partition("--")[2], "value": value, "fieldType": slot.partition("--")[0]}
        for slot, value in values.pop("custom", {}).items()
    ]
    document = {
        "contact_id": person.id,
        "Email": person.email,
        "created_at": _iso(person.created),
        "updated_at": _iso(person.updated),
        "api_originated": True,
        **values,
    }
    extra = {
        "custom_fields": [each | {"deleted": False} for each in custom],
        "lists": state.lists_of(person),
        "unsubscribed": person.unsubscribed,
        **{f"mail_{kind}": person.events.get(kind) for kind in EVENTS},
    }
    return document | {name: value for name, value in extra.items() if value}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _custom_fields(state: SimulatedAutopilot, _body: Mapping[str, Any]) -> Reply:
    return Reply(200, [{"name": label, "fieldType": kind} for kind, label in state.custom_fields])


def _lists(state: SimulatedAutopilot, _body: Mapping[str, Any]) -> Reply:
    return Reply(
        200, {"lists": [{"list_id": number, "title": title} for number, title in state.lists.items()]}
    )


def _post_list(state: SimulatedAutopilot, body: Mapping[str, Any]) -> Reply:
    return Reply(200, {"list_id": state.add_list(str(body.get("name") or ""))})


def _join(state: SimulatedAutopilot, _body: Mapping[str, Any], list_id: str, key: str) -> Reply:
    members, person = state.list_members(list_id), state.existing(key)
    if person.id in members:
        return Reply(200, {"not_modified": True})
    members.add(person.id)
    return Reply(200)


def _leave(state: SimulatedAutopilot, _body: Mapping[str, Any], list_id: str, key: str) -> Reply:
    members, person = state.list_members(list_id), state.existing(key)
    if person.id not in members:
        return Reply(200, {"not_modified": True})
    members.remove(person.id)
    return Reply(200)


def _on_list(state: SimulatedAutopilot, _body: Mapping[str, Any], list_id: str, key: str) -> Reply:
    return Reply(200 if state.existing(key).id in state.list_members(list_id) else 404)


def _triggers(state: SimulatedAutopilot, _body: Mapping[str, Any]) -> Reply:
    rows = [
        {"trigger_id": number, "journey": journey, "trigger_type": "apiTrigger"}
        for number, journey in state.triggers.items()
    ]
    return Reply(200, {"triggers": rows})


def _trigger(state: SimulatedAutopilot, _body: Mapping[str, Any], trigger: str, key: str) -> Reply:
    if trigger not in state.triggers:
        raise Refusal(404, "Not Found", "Trigger could not be found.")
    state.started.append((trigger, state.existing(key).id))
    return Reply(200, {"trigger_id": trigger})


_ROUTES: tuple[tuple[str, tuple[str, ...], Handler], ...] = (
    ("GET", ("account",), _account),
    ("POST", ("contact",), _post_contact),
    ("POST", ("contacts",), _post_contacts),
    ("GET", ("contacts",), _get_contacts),
    ("GET", ("contacts", "custom_fields"), _custom_fields),
    ("GET", ("contacts", "*"), _get_contacts),
    ("GET", ("contact", "*"), _get_contact),
    ("DELETE", ("contact", "*"), _delete_contact),
    ("POST", ("contact", "*", "unsubscribe"), _unsubscribe),
    ("GET", ("triggers",), _triggers),
    ("POST", ("trigger", "*", "contact", "*"), _trigger),
    ("GET", ("lists",), _lists),
    ("POST", ("list",), _post_list),
    ("GET", ("list", "*", "contacts"), _list_contacts),
    ("GET", ("list", "*", "contacts", "*"), _list_contacts),
    ("GET", ("list", "*", "contact", "*"), _on_list),
    ("POST", ("list", "*", "contact", "*"), _join),
    ("DELETE", ("list", "*", "contact", "*"), _leave),
)


def simulator(
    *,
    per_second: int | None = None,
    clock: Callable[[], datetime] = utc_now,
    chances: Mapping[Fault, float] | None = None,
    seed: int = 1,
) -> Simulation:
    """Make an empty account; `per_second` requests are answered, None for any number."""
    state = SimulatedAutopilot(per_second=per_second, clock=clock, seed=seed)
    return Simulation(state, state, chances=chances, seed=seed)
