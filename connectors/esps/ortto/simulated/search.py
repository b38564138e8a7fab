"""`/person/get`: filters, order and pages over people."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from connectors.esps.ortto.simulated.instance import Instance, Person, Problem

MOST_ROWS = 500
MOST_COLUMNS = 150


def search(state: Instance, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one page; beyond the end `contacts` is null, as recorded."""
    limit, offset = body.get("limit", 50), body.get("offset", 0)
    columns = body.get("fields") or []
    unknown = [name for name in columns if name not in state.schema]
    if not 1 <= limit <= MOST_ROWS or len(columns) > MOST_COLUMNS or unknown:
        raise Problem(400, f"invalid limit or fields {', '.join(unknown)}")
    if not re.fullmatch(r"([0-9a-f]{12}|[0-9a-f]{24}|[0-9a-f]{26}|)", body.get("cursor_id", "")):
        raise Problem(400, "Failed to parse request cannot unmarshal into an ID")
    found = _sorted(_matching(state, body), body)
    rows = found[offset : offset + limit]
    contacts = [{"id": person.id, "fields": chosen(person, columns)} for person in rows]
    return {
        "contacts": contacts or None,
        "meta": {
            "total_contacts": len(state.people),
            "total_organizations": 0,
            "total_matches": len(found),
            "total_subscribers": sum(person.permitted for person in found),
        },
        "offset": offset,
        "next_offset": offset + len(rows),
        "cursor_id": "0069064b928ab27366dec8c7",
        "has_more": offset + len(rows) < len(found),
    }


def chosen(person: Person, columns: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in columns if (value := person.get(name)) is not None}


def _matching(state: Instance, body: Mapping[str, Any]) -> list[Person]:
    archived = body.get("type", "") == "archived"
    condition = body.get("filter") or {}
    addresses = _addresses(condition)
    if addresses is None:
        everybody: Iterable[Person] = state.people.values()
    else:
        everybody = {person.id: person for email in addresses if (person := state.person(email))}.values()
        condition = {}
    return [
        person
        for person in everybody
        if (person.archived_at is not None) == archived and _holds(condition, person)
    ]


def _addresses(condition: Mapping[str, Any]) -> list[str] | None:
    """Give the addresses that a filter is about, where it is about nothing else: they have an index."""
    parts = condition.get("$or", [condition])
    terms = [part.get("$str::is", {}) for part in parts]
    if terms and all(term.get("field_id") == "str::email" for term in terms):
        return [str(term["value"]) for term in terms]
    return None


def _sorted(people: list[Person], body: Mapping[str, Any]) -> list[Person]:
    field = body.get("sort_by_field_id", "str::last")
    descending = body.get("sort_order", "desc") == "desc"
    return sorted(people, key=lambda person: str(person.get(field) or ""), reverse=descending)


def _holds(condition: Mapping[str, Any], person: Person) -> bool:
    return all(_operator(name)(term, person) for name, term in condition.items())


def _operator(name: str) -> Callable[[Any, Person], bool]:
    if name not in _OPERATORS:
        raise Problem(400, f"unknown operator {name}")
    return _OPERATORS[name]


def _same_text(term: Any, person: Person) -> bool:
    return str(person.get(term["field_id"]) or "").casefold() == str(term["value"]).casefold()


_OPERATORS: Mapping[str, Callable[[Any, Person], bool]] = {
    "$and": lambda terms, person: all(_holds(term, person) for term in terms),
    "$or": lambda terms, person: any(_holds(term, person) for term in terms),
    "$str::is": _same_text,
    "$bol::is": lambda term, person: bool(person.get(term["field_id"])) == term["value"],
    "$has_any_value": lambda term, person: person.get(term["field_id"]) is not None,
}
