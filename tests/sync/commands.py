"""The command in a process of its own, forked from one that has imported everything: a tenth of the time."""

import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from connectors.http import _certificates
from sync.cli import main
from tests.canaries import leaks
from tests.faults import kill_after

PRELOADED = [
    "tests.sync.commands",
    "anyio._backends._asyncio",
    "connectors.esps.mailchimp.connector",
    "connectors.stores.woocommerce.connector",
    "httpcore",
    "sync.app",
    "sync.audit",
    "sync.checklist",
    "sync.explain",
    "sync.preview",
    "sync.progress",
    "sync.run",
    "sync.show",
    "sync.web.server",
    "sync.worker",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
]
PATIENCE = 120.0

_certificates()  # for those that are forked
_processes = get_context("forkserver")
_processes.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed; killed by a signal, `returncode` is its negative number."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A command that goes on while the test does something else."""

    def __init__(
        self, folder: Path, *arguments: str, die_after: int | None = None, in_background: bool = False
    ) -> None:
        self._kept = TemporaryDirectory()
        self._files = (Path(self._kept.name, "stdout"), Path(self._kept.name, "stderr"))
        self._process = _processes.Process(
            target=_run,
            args=((str(folder), *arguments), self._files, die_after),
            kwargs={"in_background": in_background},
        )
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self._files[1].read_text("utf-8") if self._files[1].exists() else ""

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def end(self, patience: float = PATIENCE) -> Result:
        """Wait for its end; kill it when that takes too long."""
        self._process.join(patience)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        stdout, stderr = (file.read_text("utf-8") for file in self._files)
        self._kept.cleanup()
        return Result(self._process.exitcode or 0, stdout, stderr)


def cartwire(folder: Path, *arguments: str, die_after: int | None = None) -> Result:
    """Run `cartwire --dir FOLDER ARGUMENTS…`; `die_after` kills it (-9) behind that step."""
    result = Running(folder, *arguments, die_after=die_after).end()
    assert leaks(result.stderr) == [], f"`cartwire {arguments[0]}` wrote that to standard error"
    return result


def _run(
    arguments: tuple[str, ...], files: tuple[Path, Path], die_after: int | None, *, in_background: bool
) -> None:
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        with file.open("wb") as into:
            os.dup2(into.fileno(), stream.fileno())
    os.environ["COLUMNS"] = "200"
    sys.argv = ["cartwire", "--dir", *arguments]
    if in_background:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell without a terminal does with `&`
    if die_after is not None:
        kill_after(die_after)
    main()
