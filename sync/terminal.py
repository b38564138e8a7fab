"""What the commands share: the folder, everything that is opened for one, and how it ends."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from config.errors import ConfigError, Problem, suggestion

if TYPE_CHECKING:
    from sync.app import Cartwire
    from sync.plant import Plant
    from sync.report import Report
    from sync.run import Order, Sync

Result = TypeVar("Result")
BAD_USAGE, REMOTE, INTERRUPTED, UNREAD = 2, 3, 130, 141


class Settings:
    """What stands before the command: the folder and how much to say."""

    folder = Path()
    verbose = False


@contextmanager
def terminal() -> Iterator[None]:
    """Let output be what it can: stand-ins for signs that the terminal lacks, and nothing where nobody reads.

    Raises SystemExit with 141 in the second case, which is what shells say of a command that a closed pipe stopped.
    """
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, TextIOWrapper)]
    for stream in streams:
        stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            for stream in streams:
                stream.flush()  # the interpreter's own attempt comes where nothing can be done about it
    except (BrokenPipeError, SystemExit) as ended:
        # Typer and Rich make an exit code of 1 of a pipe that was closed.
        if not any(isinstance(each, BrokenPipeError) for each in (ended, ended.__context__)):
            raise
        _drop_unread(streams)
        raise SystemExit(UNREAD) from None


def _drop_unread(streams: Iterable[TextIOWrapper]) -> None:
    """Let what could not be written go nowhere, or the interpreter would complain of it."""
    for stream in streams:
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def plant() -> "Plant":
    """Read the folder. Raises ConfigError with every mistake."""
    from sync.plant import read_plant

    return read_plant(Settings.folder)


def set_up_logging(secrets: Iterable[str]) -> None:
    """Let no log show these secrets."""
    from config import logging

    level = "info" if Settings.verbose else "warning"
    logging.configure(secrets=secrets, json=not sys.stderr.isatty(), level=level)


def in_app(work: "Callable[[Cartwire], Awaitable[Result]]") -> Result:
    """Open everything, do the work, close everything; a command that is stopped says so."""
    try:
        return _done(work)
    except KeyboardInterrupt:  # typer would end without a word
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None


def lasting(work: "Callable[[Cartwire], Awaitable[Result]]") -> Result:
    """Open everything, do work that goes on until it is stopped, close everything.

    Waits for a state store that is not there yet. Raises KeyboardInterrupt when it is stopped before it stands.
    """
    from sync.app import PATIENCE

    return _done(work, PATIENCE)


def _done(work: "Callable[[Cartwire], Awaitable[Result]]", patience: float = 0.0) -> Result:
    import asyncio

    from sync.app import opened

    found = plant()
    set_up_logging(found.loaded.secrets)

    async def inside() -> Result:
        async with await opened(found, patience) as cartwire:
            return await work(cartwire)

    return asyncio.run(inside())


def run_once(name: str, order: "Callable[[Any], Order]", *, json: bool) -> None:
    """Run a sync with progress on the terminal, and leave with the report's exit code."""
    from sync.progress import progress, show_report
    from sync.run import run_sync

    with progress(shown=not json) as ticks:
        report: Report = in_app(
            lambda cartwire: run_sync(named(cartwire, name), cartwire.db, cartwire.folder, order(ticks))
        )
    show_report(report, json=json)
    raise typer.Exit(report.exit_code)


def ordered(**wanted: Any) -> "Order":
    """Say what a run is to do."""
    from sync.run import Order

    return Order(**wanted)


def named(cartwire: "Cartwire", name: str) -> "Sync":
    """Find a sync by its name. Raises ConfigError that lists the names."""
    if name not in cartwire.syncs:
        hint = suggestion(name, cartwire.syncs)
        raise ConfigError([Problem("cartwire.yaml", None, "syncs", f"no sync is named `{name}`", hint)])
    return cartwire.syncs[name]


def known_store(name: str, store: str) -> None:
    """Look for a store among those of a sync. Raises ConfigError that lists their names."""
    sync = plant().settings.syncs.get(name)
    if sync is not None and store not in sync.stores:
        what, hint = f"`{name}` has no store `{store}`", suggestion(store, sync.stores)
        raise ConfigError([Problem("cartwire.yaml", None, f"syncs.{name}.stores", what, hint)])


def stop(text: str, code: int) -> NoReturn:
    """End with a sentence and an exit code; scripts that asked for JSON get the sentence as that."""
    from sync.show import as_json, say

    say(*text.split("\n"), err=True)
    if "--json" in sys.argv:
        with suppress(OSError):  # a standard output that takes nothing may be what the sentence is about
            as_json({"error": text})
    raise SystemExit(code)


def said_of(error: OSError) -> str:
    """Say what failed, and for a right, who lacks it: in a container that is a number which the host does not know."""
    who = f"; Cartwire runs as user {os.getuid()} here" if isinstance(error, PermissionError) else ""
    said = f"{error.strerror or str(error) or type(error).__name__}{who}"
    return f"{error.filename}: {said}" if error.filename else said
