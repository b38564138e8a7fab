"""`explain`: why everything about a person is as it is."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import typer

from connectors.facts import exponent, normal_email
from mappings.explain import Explained
from state import evaluation
from state.db import Database
from state.dossier import Dossier, OrderLine, dossier
from sync.app import Cartwire
from sync.job import Job
from sync.show import as_json, as_table

UNKNOWN = {True: "true", False: "false", None: "unknown"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one sync knows of a person, and how it decided."""

    sync: str
    dossier: Dossier
    rules: list[Explained]


async def explain_person(cartwire: Cartwire, email: str, now: datetime) -> list[Explanation]:
    """Explain a person in every sync that knows them; nothing where none does."""
    address = normal_email(email) or ""
    found = [await _explain(cartwire.db, sync.job, address, now) for sync in cartwire.syncs.values()]
    return [explanation for explanation in found if explanation is not None]


async def _explain(db: Database, job: Job, address: str, now: datetime) -> Explanation | None:
    known = await db.read(dossier, job.scope, address)
    if known is None:
        return None
    clock = job.clock(now)
    query = job.mapping.select_parts(job.sync, clock, address)
    rows = await db.read(evaluation.rows, query)
    return Explanation(job.sync, known, list(job.mapping.read_parts(rows[0], clock)))


def show_explanation(found: list[Explanation], *, json: bool) -> int:
    """Print explanations; return the exit code: 1 when nobody is known by the address."""
    if json:
        as_json(found)
    elif not found:
        typer.echo("nobody is known by this address; see `cartwire status` for what has been read")
    else:
        for explanation in found:
            _show(explanation)
    return 0 if found else 1


def _show(explanation: Explanation) -> None:
    known = explanation.dossier
    typer.echo(f"sync {explanation.sync}, profile {known.profile}")
    rows = [
        (_amount(o), o.number, o.store, o.created_at, o.status, o.why_not or "counted") for o in known.orders
    ]
    as_table(
        "orders", ["total, net of refunds", "number", "store", "placed (UTC)", "status", "counts?"], rows
    )
    fields = [rule for rule in explanation.rules if rule.kind == "fields"]
    accepted = known.accepted.fields if known.accepted else {}
    refused = known.accepted.refused if known.accepted else {}
    as_table(
        "fields",
        ["field", "expression", "value", "at the ESP", "refused"],
        [(r.name, r.expression, r.value, accepted.get(r.name), refused.get(r.name)) for r in fields],
    )
    lists = [rule for rule in explanation.rules if rule.kind == "lists"]
    as_table(
        "lists",
        ["list", "rule, part by part", "now", "next change (UTC)", "at the ESP"],
        [
            (r.name, _parts(r), UNKNOWN[_truth(r.value)], r.changes_at, _membership(known, r.name))
            for r in lists
        ],
    )
    words = [(w.origin, w.record, "yes" if w.given else "no", w.at, w.level) for w in known.words]
    as_table("consent, oldest first", ["where", "record", "given", "when (UTC)", "level"], words)
    if known.accepted:
        _show_accepted(known)


def _show_accepted(known: Dossier) -> None:
    accepted = known.accepted
    if accepted is None:
        return
    if accepted.blocked:
        typer.echo(f"blocked at the ESP: {accepted.blocked}")
    typer.echo(f"last accepted by the ESP: {accepted.accepted_at or 'never'}")
    if accepted.waiting:
        typer.echo("changes wait in the outbox")


def _amount(order: OrderLine) -> str:
    digits = exponent(order.currency)
    net = order.total_minor - order.refunded_minor
    return f"{Decimal(net).scaleb(-digits):f} {order.currency}"


def _parts(rule: Explained) -> str:
    """Write a rule with what each part comes to, and from which values."""
    lines = []
    for part in rule.parts:
        values = ", ".join(f"{name} = {_shown(value)}" for name, value in part.columns.items())
        lines.append(f"{part.text}: {UNKNOWN[_truth(part.value)]}" + (f"  ({values})" if values else ""))
    joint = f"\n{rule.joined} " if rule.joined else "\n"
    return joint.join(lines)


def _shown(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _membership(known: Dossier, name: str) -> str:
    if known.accepted is None or name not in known.accepted.lists:
        return "out"
    reason = known.accepted.lists[name]
    return "in" if reason is None else f"refused: {reason}"
