"""`explain`: why everything about a person is as it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from connectors.base import Subscribe
from connectors.currencies import exponent
from connectors.facts import normal_email
from mappings.clock import Clock
from mappings.compile import CompiledList
from mappings.explain import Answers, Explained, Part, Questions
from mappings.explain import explain as explain_rules
from state import evaluation, privacy
from state.db import Database
from state.dossier import Dossier, Membership, OrderLine, dossier
from state.errors import StateError
from sync.app import Cartwire
from sync.job import Job
from sync.run import Sync
from sync.show import as_json, as_table, cell, say

UNKNOWN = {True: "true", False: "false", None: "unknown"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one sync knows of a person, and how it decided.

    Totals are in `currency`. `lists` says in a sentence where they stand with each list at the ESP, `consent`
    what was written of their consent, and why; `tells_opt_outs` whether the ESP can be asked who opted out.
    """

    sync: str
    currency: str
    dossier: Dossier
    rules: list[Explained]
    lists: Mapping[str, str]
    consent: str
    tells_opt_outs: bool


async def explain_person(cartwire: Cartwire, email: str, now: datetime) -> list[Explanation]:
    """Explain a person in every sync that knows them; nothing where none does."""
    address = normal_email(email) or ""
    found = [await _explain(cartwire.db, sync, address, now) for sync in cartwire.syncs.values()]
    return [explanation for explanation in found if explanation is not None]


async def was_forgotten(cartwire: Cartwire, email: str) -> bool:
    """Tell whether somebody whom no sync knows was forgotten: nothing is taken in of them any more.

    Raises StateError for what is no address, and of whom nobody told under it.
    """
    address = normal_email(email) or ""
    forgotten = bool(await cartwire.db.read(privacy.forgotten, [address]))
    if not forgotten and "@" not in address:
        raise StateError("explain: this is no e-mail address; write it as the store has it")
    return forgotten


async def _explain(db: Database, sync: Sync, address: str, now: datetime) -> Explanation | None:
    job = sync.job
    known = await db.read(dossier, job.scope, address)
    if known is None:
        return None
    clock = job.clock(now)
    questions = job.mapping.questions()
    answers = await _ask(db, job, questions, clock, address)
    rules = list(explain_rules(questions, answers, [order.created_at for order in known.orders]))
    truths = {rule.name: rule.value for rule in rules if rule.kind == "lists"}
    lists = {
        each.name: stands(each, truths[each.name], known.lists.get(each.name, Membership()), clock)
        for each in job.mapping.lists
    }
    said = consent_said(known, job.target.consent)
    return Explanation(
        job.sync, job.scope.currency, known, rules, lists, said, sync.esp.traits.tells_opt_outs
    )


async def _ask(db: Database, job: Job, questions: Questions, clock: Clock, address: str) -> Answers:
    queries = job.mapping.ask(questions, job.sync, clock, address)
    rows = [(await db.read(evaluation.rows, query))[0]._mapping for query in queries]  # noqa: SLF001 - SQLAlchemy's public name for a row by its labels
    return questions.answers(rows, clock)


# --- where somebody stands with a list -----------------------------------------------------------------


def stands(rule: CompiledList, value: Any, known: Membership, clock: Clock) -> str:
    """Say where somebody stands with a list at the ESP, and why nothing is pushed where the rule is true."""
    said = _waits(known) or (_inside(rule, known, clock) if known.inside else _outside(rule, known))
    if known.refused and known.doubtful:
        said = f"nobody knows whether it began on {_date(known.at)}: {known.refused}"
    elif known.refused:
        said = f"{'in, ' if known.inside else 'out, '}refused on {_date(known.at)}: {known.refused}"
    return f"{said}; the rule is unknown, so nothing changes" if value is None else said


def _waits(known: Membership) -> str | None:
    return f"waits in the outbox to {known.waits}" if known.waits else None


def _inside(rule: CompiledList, known: Membership, clock: Clock) -> str:
    since = _date(known.at)
    if known.told and rule.journey:
        return f"in since {since}: the journey was started"
    if known.told:
        return f"in since {since}"
    if known.quiet and known.entered_at == known.at:
        return f"inside the rule, and was when the journey went live on {since}: it was not started"
    return f"inside the rule since {since}, {_entered(rule, known, clock)}"


def _entered(rule: CompiledList, known: Membership, clock: Clock) -> str:
    """Say why somebody does not begin a journey again."""
    before = f"entered before on {_date(known.entered_at)}"
    opens = rule.reenter.opens_at(known.entered_at, clock) if known.entered_at else None
    if rule.reenter.wait is None:
        return f"{before}, re-entry {rule.reenter.text}"
    if opens is None:
        return f"{before}; it may begin again once the rule was false"
    return f"{before}, re-entry not before {_date(opens)}"


def _outside(rule: CompiledList, known: Membership) -> str:
    if known.entered_at is None or not rule.journey:
        return "out"
    return f"out; last entered on {_date(known.entered_at)}"


def _date(moment: datetime | None) -> str:
    return f"{cell(moment)} UTC" if moment else "an unknown day"


# --- consent -------------------------------------------------------------------------------------------

WRITTEN = {
    Subscribe.NO: "written without a subscription",
    Subscribe.YES: "handed over as a subscriber",
    Subscribe.ASK: "asked by us to confirm",
    Subscribe.STOP: "unsubscribed by us",
    None: "nothing was written yet",
}
REASONS = {
    (None, "from_store"): "nobody asked them",
    (True, "from_store"): "the newest word is a yes, and `consent` is from_store",
    (True, "double_opt_in"): "the newest word is a yes, and `consent` is double_opt_in",
    (True, "never_subscribe"): "the newest word is a yes, but `consent` is never_subscribe",
}


def consent_said(known: Dossier, setting: str) -> str:
    """Say what was last written of somebody's consent, and what the proofs allow (P4)."""
    word = next((word for word in known.words if word.counts), None)
    subscribe = Subscribe(known.accepted.subscribe) if known.accepted and known.accepted.subscribe else None
    if word is None:
        return f"{WRITTEN[subscribe]}: {REASONS[None, 'from_store']}"
    where = f"{word.record} at {word.origin.removeprefix('esp:')}, {_date(word.at)}"
    reason = REASONS[True, setting] if word.given else "the newest word is a no, which sticks"
    return f"{WRITTEN[subscribe]}; now {reason} ({where}). What the ESP has is never raised"


# --- for people ----------------------------------------------------------------------------------------


FORGOTTEN = {"forgotten": True}
"""What scripts get in place of a list: nothing is known, and nothing will be."""


def show_explanation(found: list[Explanation], *, forgotten: bool, json: bool) -> int:
    """Print explanations; return the exit code: 1 when nobody is known by the address."""
    if json:
        as_json(FORGOTTEN if forgotten else found)
    elif not found and forgotten:
        say("nobody is known by this address: somebody who had it was forgotten, and stays so")
    elif not found:
        say("nobody is known by this address; see `cartwire status` for what has been read")
    else:
        for explanation in found:
            _show(explanation)
    return 0 if found else 1


def _show(explanation: Explanation) -> None:
    known = explanation.dossier
    say(f"sync {explanation.sync}, profile {known.profile}, live since {_date(known.live_since)}")
    _show_orders(known, explanation.currency)
    for rule in explanation.rules:
        if rule.kind == "fields":
            say(*_field_lines(rule, known))
    for rule in explanation.rules:
        if rule.kind == "lists":
            say(*_list_lines(rule, explanation.lists[rule.name]))
    _show_sources(known)
    _show_consent(explanation)
    _show_pushed(known)


def _show_orders(known: Dossier, currency: str) -> None:
    rows = [
        (_net(o), o.number, o.store, o.created_at, o.status, _worth(o, currency), o.why_not or "counted")
        for o in known.orders
    ]
    header = ["total, net of refunds", "number", "store", "placed (UTC)", "status", "adds", "counts?"]
    as_table("orders", header, rows)


def _field_lines(rule: Explained, known: Dossier) -> Iterator[str]:
    accepted = known.accepted
    at_esp = accepted.fields.get(rule.name) if accepted else None
    yield f"field {rule.name}: {_shown(rule.value)} (at the ESP: {_shown(at_esp)})"
    if accepted and rule.name in accepted.refused:
        yield f"  refused: {accepted.refused[rule.name]}"
    yield from _rule_lines(rule)


def _list_lines(rule: Explained, stands: str) -> Iterator[str]:
    yield f"list {rule.name}: {_shown(rule.value)}; {stands}"
    yield from _rule_lines(rule)


def _rule_lines(rule: Explained) -> Iterator[str]:
    yield from _part_lines(rule.rule, "  ")
    for column, provider in rule.absent.items():
        yield f"  {column} is unknown: {provider} would tell"
    for change in rule.changes:
        yield f"  next change {_date(change.at) if change.at else 'at no set time'}: {change.by}"


def _part_lines(part: Part, indent: str, lead: str = "", trail: str = "") -> Iterator[str]:
    """Write a part with what it comes to, and below it its own parts."""
    looked_at = ((name, value) for name, value in part.values.items() if name != part.text)
    values = ", ".join(f"{name} = {_shown(value)}" for name, value in looked_at)
    text = SHORT.get(part.joined or "", " ".join(part.text.split()))
    yield f"{indent}{lead}{text}: {_shown(part.value)}{trail}" + (f"  ({values})" if values else "")
    below = _case_lines if part.joined == "case" else _parts_lines
    yield from below(part, indent + "  ")


SHORT = {"and": "all of", "or": "any of", "case": "the first case that is true"}
"""What stands for an expression whose parts follow word by word."""


def _parts_lines(part: Part, indent: str) -> Iterator[str]:
    for each in part.parts:
        yield from _part_lines(each, indent)


def _case_lines(part: Part, indent: str) -> Iterator[str]:
    """Write the conditions of a CASE, and what the one gives that applies."""
    taken = next((each for each in part.parts if each.joined == "else" or each.parts[0].value is True), None)
    for branch in part.parts:
        gives = f", gives {_shown(branch.value)}" if branch is taken else ""
        if branch.joined == "when":
            yield from _part_lines(branch.parts[0], indent, "when ", gives)
        else:
            yield f"{indent}else{gives}"
        if branch is taken and (branch.parts[-1].parts or branch.parts[-1].values):
            yield from _part_lines(branch.parts[-1], indent + "  ")


def _show_sources(known: Dossier) -> None:
    rows = [
        (column, known.columns.get(column), origin.store, origin.record, origin.at)
        for column, origin in known.origins.items()
        if known.columns.get(column) is not None
    ]
    as_table("where it comes from", ["column", "value", "store", "record", "told (UTC)"], rows)


def _show_consent(explanation: Explanation) -> None:
    known = explanation.dossier
    words = [
        (w.origin, w.record, "yes" if w.given else "no", w.at, w.level, "counts" if w.counts else None)
        for w in known.words
    ]
    as_table("consent, oldest first", ["where", "record", "given", "when (UTC)", "level", ""], words)
    say(explanation.consent)
    heard = _date(known.opt_outs_heard_at) if explanation.tells_opt_outs else "it cannot be asked"
    say(f"opt-outs last heard from the ESP: {heard}")


def _show_pushed(known: Dossier) -> None:
    for letter in known.letters:
        say(f"dead letter {letter.record}, since {_date(letter.first_at)}: {letter.reason}")
    accepted = known.accepted
    if accepted is None:
        say("nothing was pushed yet")
        return
    if accepted.blocked:
        say(f"blocked at the ESP: {accepted.blocked}")
    say(f"last accepted by the ESP: {_date(accepted.accepted_at) if accepted.accepted_at else 'never'}")
    if accepted.waiting:
        say("changes wait in the outbox")


def _net(order: OrderLine) -> str:
    return _amount(max(order.total_minor - order.refunded_minor, 0), order.currency)


def _worth(order: OrderLine, currency: str) -> str:
    return "unknown" if order.worth_minor is None else _amount(order.worth_minor, currency)


def _amount(minor: int, currency: str) -> str:
    return f"{Decimal(minor).scaleb(-exponent(currency)):f} {currency}"


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    return UNKNOWN[value] if isinstance(value, bool) else str(value)
