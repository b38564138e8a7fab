"""What happened and what waits: `status`, `runs`, `forget`."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import typer

from connectors.facts import normal_email
from state import evaluation, outbox, privacy, runs, troubles
from state.runs import Run
from state.troubles import Trouble
from sync.app import Cartwire
from sync.show import as_json, as_table


async def status_of(cartwire: Cartwire) -> list[dict[str, Any]]:
    """Return one line for each sync."""
    lines = []
    for name, sync in cartwire.syncs.items():
        db = cartwire.db
        scopes = [name, *(source.name for source in sync.sources)]
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
                "dead_letters": await db.read(runs.count_dead_letters, scopes),
                "go_live_at": state.go_live_at,
                "last_run_at": last[0].started_at if last else None,
                "last_outcome": _outcome(last[0]) if last else None,
                "troubles": [_said(each) for each in await db.read(troubles.list_troubles, names)],
            }
        )
    return lines


def show_status(lines: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        as_json(lines)
        return
    header = ["sync", "profiles", "contacts waiting", "entries waiting", "dead letters", "live since (UTC)"]
    rows = [[value for key, value in line.items() if key != "troubles"] for line in lines]
    as_table("status", [*header, "last run (UTC)", "outcome"], rows)
    for trouble in dict.fromkeys(each for line in lines for each in line["troubles"]):
        typer.echo(trouble)


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


async def forget_person(cartwire: Cartwire, email: str, now: datetime) -> dict[str, int]:
    """Erase a person by the address that they have now."""
    address = normal_email(email) or ""
    return await cartwire.db.run(privacy.forget, address, now)


def show_forgotten(cleaned: dict[str, int], *, json: bool) -> None:
    if json:
        as_json(cleaned)
        return
    typer.echo(", ".join(f"{count} {name}" for name, count in cleaned.items()) + " cleaned")
    typer.echo("The contact at the ESP is still there: delete it there too.")


def _said(trouble: Trouble) -> str:
    return f"{trouble.name} {trouble.kind} since {trouble.since:%Y-%m-%d %H:%M} UTC: {trouble.reason}"


def _outcome(run: Run) -> str:
    """Say how a run ended; one without an end is under way, or was killed."""
    return run.outcome or "not ended"


def _pushed(run: Run, what: str) -> int | None:
    counted: int | None = run.report.get("pushed", {}).get(what)
    return counted
