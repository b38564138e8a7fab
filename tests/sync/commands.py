"""The command in a process of its own, forked from one that has imported everything: a tenth of the time."""

import os
import sys
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from sync.cli import main
from tests.canaries import leaks
from tests.faults import kill_after

PRELOADED = [
    "tests.sync.commands",
    "connectors.esps.mailchimp",
    "connectors.stores.woocommerce",
    "httpcore",
    "sync.app",
    "sync.progress",
    "sync.run",
    "sync.show",
]
PATIENCE = 120.0

_processes = get_context("forkserver")
_processes.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed; killed by a signal, `returncode` is its negative number."""

    returncode: int
    stdout: str
    stderr: str


def cartwire(folder: Path, *arguments: str, die_after: int | None = None) -> Result:
    """Run `cartwire --dir FOLDER ARGUMENTS…`; `die_after` kills it (-9) behind that step."""
    with TemporaryDirectory() as kept:
        files = (Path(kept, "stdout"), Path(kept, "stderr"))
        child = _processes.Process(target=_run, args=((str(folder), *arguments), files, die_after))
        child.start()
        child.join(PATIENCE)
        if child.exitcode is None:
            child.kill()
            child.join()
        stdout, stderr = (file.read_text("utf-8") for file in files)
    assert leaks(stderr) == [], f"`cartwire {arguments[0]}` wrote that to standard error"
    return Result(child.exitcode or 0, stdout, stderr)


def _run(arguments: tuple[str, ...], files: tuple[Path, Path], die_after: int | None) -> None:
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        with file.open("wb") as into:
            os.dup2(into.fileno(), stream.fileno())
    os.environ["COLUMNS"] = "200"
    sys.argv = ["cartwire", "--dir", *arguments]
    if die_after is not None:
        kill_after(die_after)
    main()
