"""What happened and what waits: `status`, `runs`."""

from dataclasses import asdict
from typing import Any

from state import audits, cursors, evaluation, inbox, outbox, runs, troubles
from state.runs import Run
from state.troubles import Trouble
from sync.app import Cartwire
from sync.show import as_json, as_table, say

SHOWN = {
    "profiles": "profiles",
    "contacts_waiting": "contacts waiting",
    "entries_waiting": "list entries waiting",
    "webhooks_waiting": "webhooks waiting",
    "dead_letters": "dead letters",
    "go_live_at": "live since (UTC)",
    "stores_read_at": "stores read (UTC)",
    "last_run_at": "last run (UTC)",
    "last_outcome": "outcome",
    "drift": "drift",
    "audited_at": "audited (UTC)",
}
"""What a person on call is shown of each line, one below the other: beside each other it fits no terminal."""


async def status_of(cartwire: Cartwire) -> list[dict[str, Any]]:
    """Return one line for each sync."""
    lines = []
    audited = await cartwire.db.read(audits.last_audits)
    depths = {each.store: each.count for each in await cartwire.db.read(inbox.depths)}
    read_at = await cartwire.db.read(cursors.read_until, list(cartwire.stores))
    for name, sync in cartwire.syncs.items():
        db = cartwire.db
        stores = [source.name for source in sync.sources]
        scopes = [name, *stores]
        names = [*scopes, sync.job.target.esp]
        waiting = await db.read(outbox.pending, name)
        last = await db.read(runs.list_runs, name, most=1)
        state = await db.read(evaluation.sync_state, name)
        lines.append(
            {
                "sync": name,
                "profiles": await db.read(evaluation.count_profiles, name),
                "contacts_waiting": waiting.contacts,
                "entries_waiting": sum(waiting.lists.values()),
                "webhooks_waiting": sum(depths.get(store, 0) for store in stores),
                "dead_letters": await db.read(runs.count_dead_letters, scopes),
                "go_live_at": state.go_live_at,
                "stores_read_at": min((read_at[store] for store in stores if store in read_at), default=None),
                "last_run_at": last[0].started_at if last else None,
                "last_outcome": _outcome(last[0]) if last else None,
                "drift": audited[name].people + audited[name].orders if name in audited else None,
                "audited_at": audited[name].at if name in audited else None,
                "troubles": [_said(each) for each in await db.read(troubles.list_troubles, names)],
            }
        )
    return lines


def show_status(lines: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        as_json(lines)
        return
    rows = [(words, *(line[key] for line in lines)) for key, words in SHOWN.items()]
    as_table("status", ["sync", *(line["sync"] for line in lines)], rows)
    for trouble in dict.fromkeys(each for line in lines for each in line["troubles"]):
        say(trouble)


async def runs_of(cartwire: Cartwire, sync: str | None, most: int) -> list[Run]:
    return await cartwire.db.read(runs.list_runs, sync, most=most)


def show_runs(found: list[Run], *, json: bool) -> None:
    if json:
        as_json([asdict(run) for run in found])
        return
    rows = [
        (
            run.id,
            run.sync,
            run.kind,
            run.started_at,
            _outcome(run),
            run.report.get("seconds"),
            _pushed(run, "contacts"),
            _pushed(run, "entries"),
        )
        for run in found
    ]
    header = ["run", "sync", "kind", "started (UTC)", "outcome", "seconds", "contacts", "list entries"]
    as_table("runs", header, rows)


def _said(trouble: Trouble) -> str:
    return f"{trouble.name} {trouble.kind} since {trouble.since:%Y-%m-%d %H:%M} UTC: {trouble.reason}"


def _outcome(run: Run) -> str:
    """Say how a run ended; one without an end is under way, or was killed."""
    return run.outcome or "not ended"


def _pushed(run: Run, what: str) -> int | None:
    counted: int | None = run.report.get("pushed", {}).get(what)
    return counted
