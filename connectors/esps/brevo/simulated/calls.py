"""The calls that Brevo's simulator answers, each with its path; what one takes and what comes back."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.asgi import Reply
from connectors.esps.brevo.simulated.contacts import (
    LIST_CALL,
    Problem,
    SimulatedContacts,
    StoredContact,
    invalid,
    missing,
    not_found,
)
from connectors.esps.brevo.simulated.processes import Process, Processes
from connectors.esps.brevo.simulated.values import NORMAL, TYPES, Attribute

LARGEST_IMPORT = 10_000_000
ATTRIBUTE_NAME = re.compile(r"[A-Z0-9_-]+")
CATEGORIES = frozenset({"normal", "transactional", "category", "calculated", "global"})
PLAIN_BODY = frozenset(
    {"attributes", "emailBlacklisted", "smsBlacklisted", "listIds", "unlinkListIds", "ext_id"}
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call: the query, the parsed body, its size, and how the caller reached us."""

    query: Mapping[str, str]
    body: Mapping[str, Any]
    size: int
    host: str

    def number(self, name: str, default: int, most: int) -> int:
        """Read a number of the query. Raises Problem (400)."""
        text = self.query.get(name, str(default))
        if not text.isdigit() or int(text) > most:
            raise Problem(400, "out_of_range", f"{name} is out of range")
        return int(text)

    def since(self, name: str) -> datetime | None:
        if name not in self.query:
            return None
        try:
            moment = datetime.fromisoformat(self.query[name])
        except ValueError:
            raise invalid(f"{name} is not a valid date-time") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def page(self, rows: Sequence[Any], most: int, default: int) -> Sequence[Any]:
        """Cut out what `sort`, `offset` and `limit` ask for; rows come in the order of creation."""
        limit, offset = self.number("limit", default, most), self.number("offset", 0, 10**9)
        ordered = rows if self.query.get("sort") == "asc" else rows[::-1]
        return ordered[offset : offset + limit]


@dataclass
class Brevo:
    """One account: its contacts and its background jobs."""

    contacts: SimulatedContacts
    processes: Processes


Answering = Callable[..., Reply]
_ROUTES: list[tuple[str, re.Pattern[str], Answering]] = []


def _route(method: str, path: str) -> Callable[[Answering], Answering]:
    pattern = re.compile("\n".join(re.sub(r"\{\w+\}", "(.+)", part) for part in path.split("/")))

    def keep(answering: Answering) -> Answering:
        _ROUTES.append((method, pattern, answering))
        return answering

    return keep


def answer(state: Brevo, method: str, segments: Sequence[str], call: Call) -> Reply:
    """Answer a call. Raises Problem."""
    allowed = False
    for verb, pattern, answering in _ROUTES:
        found = pattern.fullmatch("\n".join(segments))  # unquoted segments may hold slashes
        if found and verb == method:
            return answering(state, call, *found.groups())
        allowed = allowed or found is not None
    if allowed:
        raise Problem(405, "method_not_allowed", f"{method} Method is not allowed on this path")
    raise not_found("Invalid route/method passed in the request")


@_route("GET", "account")
def _account(_: Brevo, __: Call) -> Reply:
    return Reply(
        200,
        {
            "organization_id": "1",
            "user_id": 1,
            "enterprise": False,
            "email": "owner@example.com",
            "companyName": "Shop",
            "firstName": "Olga",
            "lastName": "Owner",
            "address": {"street": "", "city": "", "zipCode": "", "country": ""},
            "plan": [{"type": "free", "credits": 300, "creditsType": "sendLimit"}],
            "relay": {
                "enabled": False,
                "data": {"userName": "", "relay": "smtp-relay.brevo.com", "port": 587},
            },
        },
    )


# Attributes; before contacts, whose paths they look like


@_route("GET", "contacts/attributes")
def _attributes(state: Brevo, _: Call) -> Reply:
    rows = []
    for kind in state.contacts.attributes.values():
        row: dict[str, Any] = {"name": kind.name, "category": kind.category}
        if kind.category == "category":
            row["enumeration"] = [{"value": value, "label": f"label {value}"} for value in kind.choices]
        else:
            row["type"] = kind.type
        rows.append(row)
    return Reply(200, {"attributes": rows})


@_route("POST", "contacts/attributes/{category}/{name}")
def _create_attribute(state: Brevo, call: Call, category: str, name: str) -> Reply:
    kind = call.body.get("type")
    if category not in CATEGORIES:
        raise invalid("Attribute category is invalid")
    if not ATTRIBUTE_NAME.fullmatch(name.upper()):
        raise invalid("Attribute name is invalid")
    if name.upper() in state.contacts.attributes:
        raise Problem(400, "duplicate_parameter", "Attribute name must be unique")
    if category == NORMAL and kind not in TYPES:
        raise invalid("Attribute type is invalid")
    choices = [each["value"] for each in call.body.get("enumeration") or ()]
    choices += call.body.get("multiCategoryOptions") or ()
    state.contacts.attributes[name.upper()] = Attribute(
        name.upper(), category, str(kind or category), tuple(choices)
    )
    return Reply(201, {})


@_route("DELETE", "contacts/attributes/{category}/{name}")
def _delete_attribute(state: Brevo, _: Call, __: str, name: str) -> Reply:
    if state.contacts.attributes.pop(name.upper(), None) is None:
        raise not_found("Attribute not found")
    return Reply(204)


# Folders and lists


@_route("GET", "contacts/folders")
def _folders(state: Brevo, call: Call) -> Reply:
    rows = [_counted({"id": number, "name": name}) for number, name in state.contacts.folders.items()]
    return Reply(200, {"folders": call.page(rows, 50, 10), "count": len(rows)})


@_route("POST", "contacts/folders")
def _create_folder(state: Brevo, call: Call) -> Reply:
    if not call.body.get("name"):
        raise missing("Folder name is missing")
    return Reply(201, {"id": state.contacts.new_folder(str(call.body["name"]))})


@_route("GET", "contacts/lists")
def _lists(state: Brevo, call: Call) -> Reply:
    rows = [
        _counted({"id": each.number, "name": each.name, "folderId": each.folder})
        for each in state.contacts.lists.values()
    ]
    return Reply(200, {"lists": call.page(rows, 50, 10), "count": len(rows)})


@_route("POST", "contacts/lists")
def _create_list(state: Brevo, call: Call) -> Reply:
    if not call.body.get("name") or "folderId" not in call.body:
        raise missing("List name or folderId is missing")
    if call.body["folderId"] not in state.contacts.folders:
        raise invalid("Folder ID does not exist")
    return Reply(201, {"id": state.contacts.new_list(call.body["name"], call.body["folderId"])})


@_route("DELETE", "contacts/lists/{number}")
def _delete_list(state: Brevo, _: Call, number: str) -> Reply:
    del state.contacts.lists[state.contacts.existing_list(_number(number)).number]
    return Reply(204)


@_route("GET", "contacts/lists/{number}/contacts")
def _members(state: Brevo, call: Call, number: str) -> Reply:
    members = state.contacts.existing_list(_number(number)).members
    rows = _changed([state.contacts.stored[each] for each in sorted(members)], call)
    shown = [contact_document(state, contact) for contact in call.page(rows, 500, 50)]
    return Reply(200, {"contacts": shown, "count": len(rows)})


@_route("POST", "contacts/lists/{number}/contacts/add")
def _add(state: Brevo, call: Call, number: str) -> Reply:
    return _change_list(state, call, number, joins=True)


@_route("POST", "contacts/lists/{number}/contacts/remove")
def _remove(state: Brevo, call: Call, number: str) -> Reply:
    return _change_list(state, call, number, joins=False)


def _change_list(state: Brevo, call: Call, number: str, *, joins: bool) -> Reply:
    each = state.contacts.existing_list(_number(number))
    identifiers = call.body.get("emails") or call.body.get("ids")
    if not isinstance(identifiers, list) or not identifiers:
        raise missing("Either emails or ids is missing")
    if len(identifiers) > LIST_CALL:
        raise invalid(f"A maximum of {LIST_CALL} contacts can be passed in one request")
    success, failure = state.contacts.change_list(each, identifiers, joins=joins)
    if not success:
        raise invalid("Contact already in list and/or does not exist")
    return Reply(201, {"contacts": {"success": success, "failure": failure}})


# Contacts


@_route("GET", "contacts")
def _contacts(state: Brevo, call: Call) -> Reply:
    rows = _changed(list(state.contacts.stored.values()), call)
    shown = [contact_document(state, contact) for contact in call.page(rows, 1000, 50)]
    return Reply(200, {"contacts": shown, "count": len(rows)})


def _changed(rows: Sequence[StoredContact], call: Call) -> Sequence[StoredContact]:
    created, modified = call.since("createdSince"), call.since("modifiedSince")
    return [
        contact
        for contact in rows
        if (created is None or contact.created >= created)
        and (modified is None or contact.modified >= modified)
    ]


@_route("POST", "contacts")
def _create(state: Brevo, call: Call) -> Reply:
    there = state.contacts.find(call.body.get("email") or "")
    if there is not None and call.body.get("updateEnabled"):
        state.contacts.update(there, call.body)
        return Reply(204)
    return Reply(201, {"id": state.contacts.create(call.body).number})


@_route("POST", "contacts/batch")
def _batch(state: Brevo, call: Call) -> Reply:
    """Update all or none; the message about absent ones is that of APIv3-php-library issue 257."""
    rows = call.body.get("contacts")
    if not isinstance(rows, list) or not rows:
        raise missing("contacts is missing")
    found = [_identified(state, row) for row in rows]
    absent = [str(place) for place, contact in enumerate(found) if contact is None]
    if absent:
        raise not_found(f"No contact found for indexes {','.join(absent)}")
    pairs = [(contact, row) for contact, row in zip(found, rows, strict=True) if contact is not None]
    before = [(contact, contact.packed, contact.blocked, contact.sms_blocked) for contact, _ in pairs]
    try:
        for contact, row in pairs:
            state.contacts.update(contact, {key: row[key] for key in PLAIN_BODY & row.keys()})
    except Problem:
        for contact, packed, blocked, sms_blocked in before:
            contact.packed, contact.blocked, contact.sms_blocked = packed, blocked, sms_blocked
        raise
    return Reply(204)


def _identified(state: Brevo, row: Mapping[str, Any]) -> StoredContact | None:
    identifiers = [row[key] for key in ("email", "id") if key in row]
    if len(identifiers) != 1:
        raise invalid("Pass exactly one of email, id or sms")
    return state.contacts.find(identifiers[0])


@_route("POST", "contacts/import")
def _import(state: Brevo, call: Call) -> Reply:
    rows = call.body.get("jsonBody")
    if not isinstance(rows, list) or not rows:
        raise missing("fileUrl, fileBody or jsonBody is missing")
    if call.size > LARGEST_IMPORT:
        raise invalid("jsonBody is larger than 10 MB")
    if not call.body.get("listIds") and not call.body.get("newList"):
        raise missing("listIds or newList is missing")
    for number in call.body.get("listIds") or ():
        state.contacts.existing_list(number)
    return Reply(202, {"processId": state.processes.submit(call.body)})


@_route("POST", "contacts/doubleOptinConfirmation")
def _confirmation(state: Brevo, call: Call) -> Reply:
    """Send the mail; whoever is a contact already is refused (APIv3-php-library issue 253)."""
    for name in ("email", "includeListIds", "redirectionUrl", "templateId"):
        if not call.body.get(name):
            raise missing(f"{name} is missing")
    if state.contacts.find(call.body["email"]):
        raise invalid("This sms number or email address is already associated with another user.")
    state.contacts.pending[call.body["email"].lower()] = call.body
    return Reply(201)


@_route("GET", "contacts/{identifier}")
def _get(state: Brevo, _: Call, identifier: str) -> Reply:
    document = contact_document(state, state.contacts.existing(identifier))
    nobody: dict[str, Any] = {"userUnsubscription": [], "adminUnsubscription": []}
    return Reply(200, document | {"statistics": {"messagesSent": [], "unsubscriptions": nobody}})


@_route("PUT", "contacts/{identifier}")
def _put(state: Brevo, call: Call, identifier: str) -> Reply:
    if not call.body:
        raise missing("No inputs in the body")
    state.contacts.update(state.contacts.existing(identifier), call.body)
    return Reply(204)


@_route("DELETE", "contacts/{identifier}")
def _delete(state: Brevo, _: Call, identifier: str) -> Reply:
    contact = state.contacts.existing(identifier)
    if contact.email in state.contacts.registered:
        raise Problem(
            405, "method_not_allowed", "You're not allowed to delete registered email contact with Brevo"
        )
    state.contacts.delete(contact)
    return Reply(204)


# Background jobs


@_route("GET", "processes")
def _processes(state: Brevo, call: Call) -> Reply:
    rows = [process_document(process, call.host) for process in state.processes.found.values()]
    return Reply(200, {"processes": call.page(rows, 50, 10), "count": len(rows)})


@_route("GET", "processes/{number}")
def _process(state: Brevo, call: Call, number: str) -> Reply:
    return Reply(200, process_document(state.processes.look(_number(number)), call.host))


@_route("GET", "reports/{number}/{kind}")
def _report(state: Brevo, _: Call, number: str, kind: str) -> Reply:
    lines = state.processes.found[_number(number)].reports[kind.removesuffix(".csv")]
    return Reply(200, "\n".join(["EMAIL", *lines]).encode(), {"content-type": "text/csv"})


def process_document(process: Process, host: str) -> dict[str, Any]:
    reports = {kind: f"{host}/v3/reports/{process.number}/{kind}.csv" for kind in process.reports}
    return {
        "id": process.number,
        "name": "IMPORTUSER",
        "status": process.state,
        "info": {"import": reports},
    }


def contact_document(state: Brevo, contact: StoredContact) -> dict[str, Any]:
    return {
        "id": contact.number,
        "email": contact.email,
        "emailBlacklisted": contact.blocked,
        "smsBlacklisted": contact.sms_blocked,
        "whatsappBlacklisted": False,
        "createdAt": _iso(contact.created),
        "modifiedAt": _iso(contact.modified),
        "listIds": [each.number for each in state.contacts.lists_of(contact)],
        "listUnsubscribed": sorted(contact.left),
        "attributes": contact.attributes,
    }


def _counted(row: dict[str, Any]) -> dict[str, Any]:
    """Add the totals, which Brevo no longer fills."""
    return {**row, "totalSubscribers": 0, "totalBlacklisted": 0, "uniqueSubscribers": 0}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _number(text: str) -> int:
    if not text.isdigit():
        raise invalid("The id must be a number")
    return int(text)
