"""What the API answers with: the documents of members, fields, segments and batches, and the problems."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.esps.mailchimp.simulated.audience import (
    Member,
    Problem,
    Segment,
    SimulatedAudience,
    subscriber_hash,
)
from connectors.esps.mailchimp.simulated.batches import STAGES, Batch, Batches, Document, Reply
from connectors.esps.mailchimp.simulated.values import MergeField


def audience_document(state: SimulatedAudience) -> Document:
    return {
        "id": state.id,
        "web_id": 1,
        "name": "Customers",
        "double_optin": False,
        "stats": {
            "member_count": len(state.listed("subscribed", None)),
            "total_contacts": len(state.members),
        },
        "_links": links(f"/lists/{state.id}"),
    }


def member_document(state: SimulatedAudience, member: Member) -> Document:
    key = subscriber_hash(member.email)
    tags = [{"id": tag.number, "name": tag.name} for tag in state.tags_of(member)]
    fields = member.fields
    names = (str(fields.get(tag) or "") for tag in ("FNAME", "LNAME"))
    return {
        "id": key,
        "email_address": member.email,
        "unique_email_id": f"{member.number:010x}",
        "contact_id": member.contact_id,
        "full_name": " ".join(names).strip(),
        "web_id": member.number,
        "email_type": "html",
        "status": member.status,
        "merge_fields": {tag: fields.get(tag, "") for tag in state.merge_fields},
        "interests": {},
        "stats": {"avg_open_rate": 0, "avg_click_rate": 0},
        "ip_signup": "",
        "timestamp_signup": "",
        "ip_opt": "",
        "timestamp_opt": iso(member.agreed) if member.agreed else "",
        "member_rating": 2,
        "last_changed": iso(member.changed),
        "language": "",
        "vip": False,
        "email_client": "",
        "source": "API - Generic",
        "tags_count": len(tags),
        "tags": tags[:50],
        "list_id": state.id,
        "_links": links(f"/lists/{state.id}/members/{key}"),
    }


def merge_field_document(state: SimulatedAudience, kind: MergeField) -> Document:
    return {
        "merge_id": kind.number,
        "tag": kind.tag,
        "name": kind.name,
        "type": kind.type,
        "required": kind.required,
        "default_value": kind.default,
        "public": kind.public,
        "display_order": kind.number,
        "options": {"date_format": "MM/DD/YYYY"} if kind.type == "date" else kind.options,
        "help_text": "",
        "list_id": state.id,
        "_links": links(f"/lists/{state.id}/merge-fields/{kind.number}"),
    }


def segment_document(state: SimulatedAudience, segment: Segment) -> Document:
    return {
        "id": segment.number,
        "name": segment.name,
        "member_count": len(segment.members),
        "type": segment.type,
        "created_at": iso(segment.created),
        "updated_at": iso(segment.created),
        "options": {"match": "any", "conditions": []},
        "list_id": state.id,
        "_links": links(f"/lists/{state.id}/segments/{segment.number}"),
    }


def batch_document(batches: Batches, batch: Batch, host: str) -> Document:
    finished = batch.completed is not None
    return {
        "id": batch.id,
        "status": STAGES[batch.stage],
        "total_operations": batch.total if batch.stage > 1 else 0,
        "finished_operations": batch.total if finished else 0,
        "errored_operations": batch.errored,
        "submitted_at": iso(batch.submitted),
        "completed_at": iso(batch.completed) if batch.completed else "",
        "response_body_url": batches.link(batch, host) if finished else "",
        "_links": links(f"/batches/{batch.id}"),
    }


def links(path: str) -> list[Document]:
    """Make the links that stand under everything and that nobody asked for."""
    base = "https://us21.api.mailchimp.com/3.0"
    schema = "https://us21.api.mailchimp.com/schema/3.0/Definitions"
    return [
        {"rel": "self", "href": base + path, "method": "GET", "targetSchema": f"{schema}/Response.json"},
        {"rel": "update", "href": base + path, "method": "PATCH", "schema": f"{schema}/PATCH.json"},
        {"rel": "delete", "href": base + path, "method": "DELETE"},
    ]


def chosen(document: Document, query: Mapping[str, str]) -> Document:
    """Apply `fields` and `exclude_fields`, whose names may go into sub-objects ("members.id")."""
    if "fields" in query:
        document = _only(document, _tree(query["fields"]))
    elif "exclude_fields" in query:
        document = _without(document, _tree(query["exclude_fields"]))
    return document


def _tree(names: str) -> Document:
    tree: Document = {}
    for name in names.split(","):
        branch = tree
        for part in name.strip().split("."):
            branch = branch.setdefault(part, {})
    return tree


def _only(value: Any, tree: Document) -> Any:
    if isinstance(value, list):
        return [_only(each, tree) for each in value]
    if not tree or not isinstance(value, dict):
        return value
    return {name: _only(value[name], tree[name]) for name in value if name in tree}


def _without(value: Any, tree: Document) -> Any:
    if isinstance(value, list):
        return [_without(each, tree) for each in value]
    if not isinstance(value, dict):
        return value
    kept = (name for name in value if tree.get(name) != {})
    return {name: _without(value[name], tree.get(name, {})) for name in kept}


def problem_reply(problem: Problem) -> Reply:
    document = {
        "type": "https://mailchimp.com/developer/marketing/docs/errors/",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": str(uuid.uuid4()),
    }
    return problem.status, document | ({"errors": list(problem.errors)} if problem.errors else {})


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
