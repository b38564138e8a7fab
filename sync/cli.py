"""The commands: each reads its arguments, calls one function, shows the result.

Imports stand inside the commands: `--help` answers before SQLAlchemy and the connectors are loaded.
"""

import atexit
import gc
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.errors import ConfigError
from sync.terminal import (
    BAD_USAGE,
    REMOTE,
    Settings,
    in_app,
    known_store,
    lasting,
    named,
    ordered,
    plant,
    run_once,
    said_of,
    set_up_logging,
    stop,
    terminal,
)

if TYPE_CHECKING:
    from state.backup import Copy
    from sync.app import Cartwire

app = typer.Typer(
    name="cartwire",
    help="Sync paid orders, customers and checkouts from online stores into e-mail platforms.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

webhooks = typer.Typer(no_args_is_help=True, help="Webhooks at the stores: make, list, remove.")
app.add_typer(webhooks, name="webhooks")

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
LOOKED_AT = (1970, 9_000)
"""Years that `plan --as-of` takes: rules count centuries to both sides."""
COLLECT_AFTER = 10_000
"""Objects. A page is thousands, none of them in a circle: looking for circles every 700 took a tenth of a run."""

SyncName = Annotated[str, typer.Argument(help="Name of the sync, as in cartwire.yaml.")]
Yes = Annotated[bool, typer.Option("--yes", help="Go beyond the limits, without showing the plan first.")]
StoreOrSync = Annotated[str, typer.Argument(help="Name of a store or of a sync, as in cartwire.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        from importlib.metadata import version

        typer.echo(f"cartwire {version('cartwire')}")
        raise typer.Exit


@app.callback()
def main_options(
    folder: Annotated[
        Path,
        typer.Option(
            "--dir", envvar="CARTWIRE_DIR", file_okay=False, help="Folder that holds cartwire.yaml."
        ),
    ] = Path(),
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every page and batch.")] = False,
    version: Annotated[  # noqa: ARG001 - typer answers before we are called
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    Settings.folder, Settings.verbose = folder, verbose


def main() -> None:
    """Run a command; what the owner can mend is said without a traceback."""
    from connectors.errors import ConnectorError
    from state.errors import StateError

    # A container's first process would not hear SIGTERM, and what a script put into the background ignores SIGINT;
    # the worker hears both in its own way.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)  # else the interpreter looks through everything once more before it ends
    try:
        with terminal():
            app()
    except ConfigError as error:
        stop(str(error), BAD_USAGE)
    except StateError as error:
        stop(str(error), BAD_USAGE)
    except ConnectorError as error:
        stop(str(error), REMOTE)
    except OSError as error:
        stop(said_of(error), BAD_USAGE)


@app.command()
def demo(
    *,
    orders: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many orders, for a quick look.")
    ] = None,
    store: Annotated[str, typer.Option(help="Type of the simulated store, or all.")] = "woocommerce",
    esp: Annotated[str, typer.Option(help="Type of the simulated ESP, or all.")] = "mailchimp",
    json: Json = False,
) -> None:
    """Do the main job with no account at all: real historic orders, simulated store and ESP, real HTTP."""
    from sync.demo import run_demo

    raise typer.Exit(run_demo(orders, store, esp, json=json, verbose=Settings.verbose))


@app.command()
def init() -> None:
    """Write a commented starter configuration into the folder; nothing that exists is touched."""
    from config import starter

    written = starter.init(Settings.folder)
    for path in written:
        typer.echo(f"wrote {path}")
    for path in starter.left_alone(Settings.folder, written):
        typer.echo(f"left {path} as it was")
    typer.echo("Next: put your keys into .env, look through cartwire.yaml, then run `cartwire check`.")


@app.command()
def check(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Read the files only; try no connection.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the configuration, and try each store and ESP with the rights that a sync needs."""
    gc.disable()  # it ends before there is anything to collect
    problems: dict[str, list[str]] = {}
    if not offline:
        from sync.connections import check_connections

        problems = in_app(check_connections)
    from sync.check import show_checks

    raise typer.Exit(show_checks(plant(), problems, json=json, offline=offline))


@app.command()
def schema(
    *,
    docs: Annotated[
        bool, typer.Option("--docs", help="Print the mapping language's columns and functions.")
    ] = False,
) -> None:
    """Write JSON Schemas of cartwire.yaml and of mappings into the folder, for editors to complete and check."""
    from sync.schemas import mapping_docs, write_schemas

    if docs:
        typer.echo(mapping_docs())
        return
    for path in write_schemas(Settings.folder):
        typer.echo(f"wrote {path}")


@app.command()
def sync(
    name: SyncName,
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Run a sync once: read what changed, decide, push what differs. The first run reads everything."""
    run_once(name, lambda ticks: ordered(kind="sync", approved=yes, ticks=ticks), json=json)


@app.command()
def backfill(
    name: SyncName,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Only what was created since this day, such as 2024-12-31."),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Only this store of the sync.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Read the whole history of a sync's stores and push. Safe to stop and to start again."""
    from sync.leases import PATIENCE

    begun = since.replace(tzinfo=UTC) if since else None
    if begun is not None and begun > datetime.now(UTC):
        raise typer.BadParameter("lies in the future: nothing was created since", param_hint="--since")
    if store is not None:
        known_store(name, store)
    run_once(
        name,
        lambda ticks: ordered(
            kind="backfill",
            history=True,
            since=begun,
            only=store,
            approved=yes,
            patience=PATIENCE,
            ticks=ticks,
        ),
        json=json,
    )


@app.command()
def run() -> None:
    """Keep every sync on its schedule until it is stopped."""
    try:
        _work()
    except KeyboardInterrupt:  # before the worker stands, which hears signals in its own way
        raise typer.Exit from None


def _work() -> None:
    from sync.upkeep import tidy_beside
    from sync.web.server import sides
    from sync.worker import work

    Settings.verbose = True
    lasting(lambda cartwire: work(cartwire, sides=[tidy_beside, *sides(cartwire.plant)], hide=set_up_logging))


@app.command()
def approve(name: SyncName, *, json: Json = False) -> None:
    """Let go what a held run showed, and run the sync. What has grown by more than the limits since is held again."""
    from state.errors import StateError
    from sync.leases import PATIENCE
    from sync.run import approve as let_go

    if not in_app(lambda cartwire: let_go(named(cartwire, name), cartwire.db)):
        typer.echo(f"no run of {name} is held: this is an ordinary run, within the limits", err=True)
    try:
        run_once(name, lambda ticks: ordered(kind="sync", patience=PATIENCE, ticks=ticks), json=json)
    except StateError as error:
        raise StateError(f"{error}. What is approved stays approved, and goes with the next run") from error


@app.command()
def plan(
    name: SyncName,
    *,
    mapping: Annotated[
        Path | None, typer.Option(help="Compare this mapping file with the sync's own before you switch.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, help="Evaluate at this moment, in the configuration's time zone."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the ESP what it has.")] = False,
    json: Json = False,
) -> None:
    """Show what a run would change at the ESP, from what is stored now. Writes nothing there, reads no store."""
    from sync.outlook import show_preview
    from sync.preview import foresee

    if as_of is not None and not LOOKED_AT[0] <= as_of.year <= LOOKED_AT[1]:
        raise typer.BadParameter("looks beyond what the calendar can count", param_hint="--as-of")
    found = in_app(
        lambda cartwire: foresee(cartwire, named(cartwire, name), file=mapping, at=as_of, offline=offline)
    )
    show_preview(found, json=json)


@app.command()
def checklist(
    name: Annotated[str | None, typer.Argument(help="Only this sync.")] = None,
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for a spreadsheet.")] = False,
    json: Json = False,
) -> None:
    """List the catalogue: what is pushed under which name, how filled it is, and what no list uses."""
    from sync.checklist import checklist_of, show_checklist

    if as_csv and json:
        raise typer.BadParameter("one of --csv and --json", param_hint="--csv")

    def work(cartwire: "Cartwire") -> Any:
        names = [named(cartwire, name).name] if name else list(cartwire.syncs)
        return checklist_of(cartwire, names, datetime.now(UTC))

    show_checklist(in_app(work), json=json, as_csv=as_csv)


@app.command()
def explain(
    email: Annotated[str, typer.Argument(help="The person's e-mail address.")], *, json: Json = False
) -> None:
    """Show why everything about a person is as it is: orders, fields, lists, consent, what the ESP has."""
    from sync.explain import explain_person, show_explanation, was_forgotten

    async def work(cartwire: "Cartwire") -> Any:
        found = await explain_person(cartwire, email, datetime.now(UTC))
        return found, not found and await was_forgotten(cartwire, email)

    found, forgotten = in_app(work)
    raise typer.Exit(show_explanation(found, forgotten=forgotten, json=json))


@app.command()
def status(*, json: Json = False) -> None:
    """Show each sync: profiles, what waits, dead letters, last run."""
    from sync.status import show_status, status_of

    show_status(in_app(status_of), json=json)


@app.command()
def runs(
    name: Annotated[str | None, typer.Argument(help="Only this sync.")] = None,
    *,
    most: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """List the last runs."""
    from sync.status import runs_of, show_runs

    async def work(cartwire: "Cartwire") -> Any:
        found = await runs_of(cartwire, name, most)
        if name and not found:  # who has left the configuration may have runs all the same
            named(cartwire, name)
        return found

    show_runs(in_app(work), json=json)


@app.command("dead-letters")
def dead_letters(
    *,
    retry: Annotated[bool, typer.Option("--retry", help="Try all of them again now.")] = False,
    done: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECORD",
            help="Drop a request to you, or an unreadable webhook, once done; may be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the records that could not go through, with their reasons; try them again with --retry."""
    from sync.letters import letters_of, mark_done, retry_all, show_letters, show_retried

    code = 0
    if done:
        in_app(lambda cartwire: mark_done(cartwire, done))
    if retry:
        retried = in_app(retry_all)
        show_retried(retried)
        code = retried.exit_code
    left = in_app(letters_of)
    show_letters(left, json=json)
    raise typer.Exit(max(code, 1 if left else 0))


@app.command()
def audit(
    name: SyncName,
    *,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Let the next run write again what the ESP has no more; count no order that its store has no more.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Compare with the stores' own counts and with the ESP's contacts; list what drifted apart."""
    from sync.audit import audit as compare
    from sync.leases import PATIENCE
    from sync.show_audit import show_audit

    now = datetime.now(UTC)
    report = in_app(
        lambda cartwire: compare(cartwire, named(cartwire, name), now, repair=repair, patience=PATIENCE)
    )
    show_audit(report, json=json)
    raise typer.Exit(report.exit_code)


@app.command()
def forget(
    email: Annotated[str, typer.Argument(help="The person's e-mail address.")],
    *,
    esp: Annotated[
        bool, typer.Option("--esp", help="Delete the contact at the ESP too, for good, before anything here.")
    ] = False,
    json: Json = False,
) -> None:
    """Erase a person from the state store; a keyed hash keeps them from being pulled in again."""
    from sync.forget import forget_everywhere, forget_person, show_cleaned, show_forgotten
    from sync.leases import PATIENCE

    now = datetime.now(UTC)
    if not esp:
        show_cleaned(in_app(lambda cartwire: forget_person(cartwire, email, now)), json=json)
        return
    result = in_app(lambda cartwire: forget_everywhere(cartwire, email, now, patience=PATIENCE))
    show_forgotten(result, json=json)
    raise typer.Exit(result.exit_code)


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="File to write; must not exist.")]) -> None:
    """Write a consistent copy of the state store, also while a run is under way."""
    from state.backup import backup as copy

    copy(plant().settings.database_url, file)
    typer.echo(f"wrote {file}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `cartwire backup` wrote.")],
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Look through the copy only.")] = False,
) -> None:
    """Put a copy in the place of the state store, which is kept aside. Stop the worker first."""
    from state import backup as backups

    if verify:
        with suppress(ConfigError):  # a copy can be looked at without a configuration
            backups.refuse_server(plant().settings.database_url)
        _show_copy(file, backups.verify(file))
        return
    restored = backups.restore(plant().settings.database_url, file, datetime.now(UTC))
    _show_copy(file, restored.copy)
    if restored.aside:
        typer.echo(f"kept the state store from before as {restored.aside}: delete it when all is well")
    if restored.forgotten_again is None:
        typer.echo(
            "The state store from before could not be read: forget again whom you forgot since the copy."
        )
    elif restored.forgotten_again:
        typer.echo(
            f"{restored.forgotten_again} people who were forgotten since the copy were forgotten again"
        )


@app.command()
def tidy() -> None:
    """Drop what `keep:` no longer wants, and empty the log; a running worker does so every day."""
    from sync.upkeep import tidy as clean

    dropped = in_app(lambda cartwire: clean(cartwire, datetime.now(UTC)))
    typer.echo(f"{dropped} runs dropped")


@webhooks.command("register")
def register_webhooks(name: StoreOrSync, *, json: Json = False) -> None:
    """Make the webhooks that are missing at a store, or at all stores of a sync; safe to repeat."""
    from sync.web.registration import register, show_webhooks

    show_webhooks(in_app(lambda cartwire: register(cartwire, name)), json=json)


@webhooks.command("list")
def list_webhooks(name: StoreOrSync, *, json: Json = False) -> None:
    """List the webhooks of a store, or of all stores of a sync."""
    from sync.web.registration import listing, show_webhooks

    show_webhooks(in_app(lambda cartwire: listing(cartwire, name)), json=json)


@webhooks.command("remove")
def remove_webhooks(name: StoreOrSync, *, json: Json = False) -> None:
    """Remove our webhooks from a store, or from all stores of a sync; others' stay."""
    from sync.web.registration import remove, show_webhooks

    show_webhooks(in_app(lambda cartwire: remove(cartwire, name)), json=json)


@app.command()
def simulate(
    types: Annotated[
        list[str], typer.Argument(metavar="TYPE...", help="Stores or ESPs, such as woocommerce.")
    ],
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1, of the first; 0 takes free ones.")
    ] = 0,
    orders: Annotated[
        Path | None,
        typer.Option(help="CSV file of historic orders (.gz too), in place of those of the demo."),
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first so many orders.")] = None,
) -> None:
    """Run simulators alone, each on a port, with historic orders; print what reaches them from cartwire.yaml."""
    from sync.simulate import CDNOW, as_configuration, serve

    serve(
        types, port, orders or CDNOW, most, lambda urls: typer.echo(as_configuration(types, urls), nl=False)
    )


def _show_copy(file: Path, copy: "Copy") -> None:
    typer.echo(f"{file}: whole, schema {copy.schema}")
    typer.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in copy.rows.items()))


if __name__ == "__main__":
    main()
