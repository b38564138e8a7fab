"""The calls of the Marketing API: which there are, what they do to the account, what they answer."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from connectors.esps.mailchimp.simulated.audience import (
    STATUSES,
    Problem,
    SimulatedAudience,
    invalid,
    not_found,
)
from connectors.esps.mailchimp.simulated.batches import Batches, Document, Reply
from connectors.esps.mailchimp.simulated.documents import (
    audience_document,
    batch_document,
    chosen,
    iso,
    links,
    member_document,
    merge_field_document,
    problem_reply,
    segment_document,
)

MOST_MEMBERS = 500
MOST_ROWS = 1000
POWERLESS = frozenset({"viewer", "author"})


@dataclass(frozen=True, slots=True)
class Call:
    """One API call, alone or as a batch's operation; `host` is where the caller found us."""

    query: Mapping[str, str]
    body: Mapping[str, Any]
    host: str

    @property
    def skip_required(self) -> bool:
        return self.query.get("skip_merge_validation", "").lower() in {"true", "1"}

    def window(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Cut the asked page out of rows: 10 of them, unless the caller asks for more."""
        offset, count = self._whole("offset", 0), self._whole("count", 10)
        if count > MOST_ROWS:
            raise invalid("The resource submitted could not be validated.", count="Must be at most 1000")
        return rows[offset : offset + count]

    def _whole(self, name: str, default: int) -> int:
        text = self.query.get(name, str(default))
        if not text.isdecimal():
            raise invalid("The resource submitted could not be validated.", **{name: "Not a number"})
        return int(text)

    def moment(self, name: str) -> datetime | None:
        if name not in self.query:
            return None
        try:
            moment = datetime.fromisoformat(self.query[name])
        except ValueError:
            raise invalid("The resource submitted could not be validated.", **{name: "Not a date"}) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Handler = Callable[..., Reply]
_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def _route(method: str, template: str) -> Callable[[Handler], Handler]:
    """Serve a method and a path template; `{name}`s become the handler's arguments."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template) + "/?")

    def keep(handler: Handler) -> Handler:
        _ROUTES.append((method, pattern, handler))
        return handler

    return keep


class Account(SimulatedAudience):
    """The audience and what stands around it; `role` is that of the key's user."""

    def __init__(
        self, audience: str, *, clock: Callable[[], datetime], batch_seconds: float | None, seed: int
    ) -> None:
        super().__init__(audience, clock)
        self.role = "owner"
        self.batches = Batches(self._operate, clock=clock, seconds=batch_seconds, seed=seed)

    def call(self, method: str, path: str, call: Call) -> Reply:
        """Answer one call below /3.0, or raise a Problem."""
        if method != "GET" and self.role in POWERLESS:
            raise Problem(403, "Forbidden", "You don't have permission to access this resource.")
        known = False
        for verb, pattern, handler in _ROUTES:
            if match := pattern.fullmatch(path):
                known = True
                if verb == method:
                    return self._handle(handler, call, match.groupdict())
        if known:
            raise Problem(405, "Method Not Allowed", "The requested method and resource are not compatible.")
        raise not_found()

    def _handle(self, handler: Handler, call: Call, names: Mapping[str, str]) -> Reply:
        if names.get("list", self.id) != self.id:
            raise not_found()
        rest = {name: value for name, value in names.items() if name != "list"}
        status, document = handler(self, call, **rest)
        return status, None if document is None else chosen(document, call.query)

    def _operate(self, asked: Document) -> Reply:
        query = {name: str(value) for name, value in (asked.get("params") or {}).items()}
        try:
            call = Call(query, parsed(str(asked.get("body") or "").encode()), "")
            return self.call(str(asked.get("method")), str(asked.get("path")), call)
        except Problem as problem:
            return problem_reply(problem)


@_route("GET", "/")
def _account(state: Account, _: Call) -> Reply:
    return 200, {
        "account_id": "8d3a3db4d97663a9074efcc16",
        "account_name": "Cartwire's simulated shop",
        "account_timezone": "Europe/Paris",
        "role": state.role,
        "pricing_plan_type": "monthly",
        "total_subscribers": len(state.listed("subscribed", None)),
        "_links": links("/"),
    }


@_route("GET", "/ping")
def _ping(_state: Account, _: Call) -> Reply:
    return 200, {"health_status": "Everything's Chimpy!"}


@_route("GET", "/lists")
def _lists(state: Account, _: Call) -> Reply:
    return 200, {"lists": [audience_document(state)], "total_items": 1, "_links": links("/lists")}


@_route("GET", "/lists/{list}")
def _list(state: Account, _: Call) -> Reply:
    return 200, audience_document(state)


@_route("POST", "/lists/{list}")
def _subscribe_many(state: Account, call: Call) -> Reply:
    """Write up to 500 members with their status; answer 200 even when every one is refused."""
    wanted = call.body.get("members") or []
    if len(wanted) > MOST_MEMBERS:
        message = f"This collection should contain {MOST_MEMBERS} elements or less."
        raise invalid("The resource submitted could not be validated.", members=message)
    made, changed, errors = [], [], []
    for body in wanted:
        there = state.find(str(body.get("email_address", "")))
        try:
            if there and there.status != "archived" and call.body.get("update_existing"):
                changed.append(state.patch(there.email, body, skip_required=call.skip_required))
            else:
                made.append(state.post(body, skip_required=call.skip_required))
        except Problem as problem:
            errors.append(_member_error(str(body.get("email_address", "")), problem))
    return 200, {
        "new_members": [member_document(state, member) for member in made],
        "updated_members": [member_document(state, member) for member in changed],
        "errors": errors,
        "total_created": len(made),
        "total_updated": len(changed),
        "error_count": len(errors),
    }


def _member_error(email: str, problem: Problem) -> Document:
    first = problem.errors[0] if problem.errors else {"field": "", "message": problem.detail}
    return {
        "email_address": email,
        "error": problem.detail,
        "error_code": "ERROR_CONTACT_EXISTS" if problem.title == "Member Exists" else "ERROR_GENERIC",
        "field": first["field"],
        "field_message": first["message"],
    }


@_route("GET", "/lists/{list}/members")
def _members(state: Account, call: Call) -> Reply:
    status = call.query.get("status")
    if status and status not in {*STATUSES, "archived"}:
        raise invalid("The resource submitted could not be validated.", status="Unknown status")
    found = state.listed(status, call.moment("since_last_changed"))
    if before := call.moment("before_last_changed"):
        found = [member for member in found if member.changed <= before]
    if call.query.get("sort_field") == "last_changed":
        found.sort(key=lambda member: member.changed, reverse=call.query.get("sort_dir") == "DESC")
    rows = [member_document(state, member) for member in call.window(found)]
    return 200, {
        "members": rows,
        "list_id": state.id,
        "total_items": len(found),
        "_links": links("/members"),
    }


@_route("POST", "/lists/{list}/members")
def _post_member(state: Account, call: Call) -> Reply:
    member = state.post(call.body, skip_required=call.skip_required)
    tags = [{"name": name, "status": "active"} for name in call.body.get("tags") or ()]
    state.change_tags(member.email, tags)
    return 200, member_document(state, member)


@_route("GET", "/lists/{list}/members/{key}")
def _get_member(state: Account, _: Call, key: str) -> Reply:
    return 200, member_document(state, state.existing(key))


@_route("PUT", "/lists/{list}/members/{key}")
def _put_member(state: Account, call: Call, key: str) -> Reply:
    return 200, member_document(state, state.put(key, call.body, skip_required=call.skip_required))


@_route("PATCH", "/lists/{list}/members/{key}")
def _patch_member(state: Account, call: Call, key: str) -> Reply:
    return 200, member_document(state, state.patch(key, call.body, skip_required=call.skip_required))


@_route("DELETE", "/lists/{list}/members/{key}")
def _delete_member(state: Account, _: Call, key: str) -> Reply:
    state.archive_member(key)
    return 204, None


@_route("POST", "/lists/{list}/members/{key}/actions/delete-permanent")
def _forget_member(state: Account, _: Call, key: str) -> Reply:
    state.delete_permanently(key)
    return 204, None


@_route("GET", "/lists/{list}/members/{key}/tags")
def _member_tags(state: Account, call: Call, key: str) -> Reply:
    tags = list(state.tags_of(state.existing(key)))
    rows = [{"id": tag.number, "name": tag.name, "date_added": iso(tag.created)} for tag in call.window(tags)]
    return 200, {"tags": rows, "total_items": len(tags)}


@_route("POST", "/lists/{list}/members/{key}/tags")
def _tag_member(state: Account, call: Call, key: str) -> Reply:
    state.change_tags(key, call.body.get("tags") or ())
    return 204, None


@_route("GET", "/lists/{list}/merge-fields")
def _merge_fields(state: Account, call: Call) -> Reply:
    found = list(state.merge_fields.values())
    rows = [merge_field_document(state, kind) for kind in call.window(found)]
    return 200, {"merge_fields": rows, "list_id": state.id, "total_items": len(found), "_links": links("/")}


@_route("POST", "/lists/{list}/merge-fields")
def _add_merge_field(state: Account, call: Call) -> Reply:
    return 200, merge_field_document(state, state.add_merge_field(call.body))


@_route("GET", "/lists/{list}/merge-fields/{number}")
def _get_merge_field(state: Account, _: Call, number: str) -> Reply:
    return 200, merge_field_document(state, state.merge_field(_number(number)))


@_route("DELETE", "/lists/{list}/merge-fields/{number}")
def _delete_merge_field(state: Account, _: Call, number: str) -> Reply:
    del state.merge_fields[state.merge_field(_number(number)).tag]
    return 204, None


@_route("GET", "/lists/{list}/tag-search")
def _tag_search(state: Account, call: Call) -> Reply:
    start = call.query.get("name", "").lower()
    tags = [
        tag for tag in state.segments.values() if tag.type == "static" and tag.name.lower().startswith(start)
    ]
    return 200, {"tags": [{"id": tag.number, "name": tag.name} for tag in tags], "total_items": len(tags)}


@_route("GET", "/lists/{list}/segments")
def _segments(state: Account, call: Call) -> Reply:
    kind = call.query.get("type")
    found = [segment for segment in state.segments.values() if kind in {None, segment.type}]
    rows = [segment_document(state, segment) for segment in call.window(found)]
    return 200, {"segments": rows, "list_id": state.id, "total_items": len(found), "_links": links("/")}


@_route("POST", "/lists/{list}/segments")
def _add_segment(state: Account, call: Call) -> Reply:
    addresses = call.body.get("static_segment")
    segment = state.add_segment(str(call.body.get("name") or ""), "saved" if addresses is None else "static")
    if addresses:
        state.change_segment(segment, addresses, [])
    return 200, segment_document(state, segment)


@_route("GET", "/lists/{list}/segments/{number}")
def _get_segment(state: Account, _: Call, number: str) -> Reply:
    return 200, segment_document(state, state.segment(_number(number)))


@_route("POST", "/lists/{list}/segments/{number}")
def _change_segment(state: Account, call: Call, number: str) -> Reply:
    join, leave = (call.body.get(name) or [] for name in ("members_to_add", "members_to_remove"))
    added, removed, missing = state.change_segment(state.segment(_number(number)), join, leave)
    message = "Email addresses do not exist in this list"
    errors = [{"email_addresses": missing, "error": message}] if missing else []
    return 200, {
        "members_added": [member_document(state, member) for member in added],
        "members_removed": [member_document(state, member) for member in removed],
        "errors": errors,
        "total_added": len(added),
        "total_removed": len(removed),
        "error_count": len(errors),
        "_links": links("/segments"),
    }


@_route("DELETE", "/lists/{list}/segments/{number}")
def _delete_segment(state: Account, _: Call, number: str) -> Reply:
    del state.segments[state.segment(_number(number)).number]
    return 204, None


@_route("GET", "/lists/{list}/segments/{number}/members")
def _segment_members(state: Account, call: Call, number: str) -> Reply:
    """List subscribed and pending members; the others only when each kind is asked for."""
    hidden = {
        status
        for status in ("cleaned", "transactional", "unsubscribed")
        if call.query.get(f"include_{status}", "").lower() not in {"true", "1"}
    }
    everybody = state.members_of(state.segment(_number(number)))
    found = [member for member in everybody if member.status not in hidden | {"archived"}]
    return 200, {
        "members": [member_document(state, each) for each in call.window(found)],
        "total_items": len(found),
    }


@_route("POST", "/batches")
def _post_batch(state: Account, call: Call) -> Reply:
    return 200, batch_document(state.batches, state.batches.submit(call.body.get("operations")), call.host)


@_route("GET", "/batches")
def _batches(state: Account, call: Call) -> Reply:
    found = list(state.batches.found.values())
    rows = [batch_document(state.batches, batch, call.host) for batch in call.window(found)]
    return 200, {"batches": rows, "total_items": len(found)}


@_route("GET", "/batches/{number}")
def _get_batch(state: Account, call: Call, number: str) -> Reply:
    batch = state.batches.get(number)
    state.batches.advance(batch)
    return 200, batch_document(state.batches, batch, call.host)


@_route("DELETE", "/batches/{number}")
def _delete_batch(state: Account, _: Call, number: str) -> Reply:
    del state.batches.found[state.batches.get(number).id]
    return 204, None


def parsed(body: bytes) -> Mapping[str, Any]:
    """Parse a request's body, empty for nothing. Raises Problem (400)."""
    try:
        document = msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        detail = "We encountered an unspecified JSON parsing error."
        raise Problem(400, "JSON Parse Exception", detail) from None
    if not isinstance(document, dict | None):
        raise invalid("The resource submitted could not be validated.", body="Schema describes object")
    return document or {}


def _number(text: str) -> int:
    if not text.isdigit():
        raise not_found()
    return int(text)
