"""What a run says at its end: for the terminal, for scripts, and kept with the run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from state.showing import Entries
from sync.news import Taken
from sync.pull import Pulled
from sync.push import Pushed


class Outcome(StrEnum):
    DONE = "done"
    INCOMPLETE = "incomplete"  # a store did not give all that it says it has
    DEAD_LETTERS = "dead letters"  # done, but some records could not go through
    HELD = "held"  # more than the limits allow: waits for `cartwire approve`
    FAILED = "failed"  # a store or the ESP refused, or was unreachable
    STOPPED = "stopped"  # the worker was told to stop: the next run goes on there


EXIT_CODES = {
    Outcome.DONE: 0,
    Outcome.INCOMPLETE: 1,
    Outcome.DEAD_LETTERS: 1,
    Outcome.HELD: 1,
    Outcome.FAILED: 3,
    Outcome.STOPPED: 1,
}


@dataclass(frozen=True, slots=True)
class HeldPlan:
    """What a held run would have written: contacts (of those `created`), and who joins and leaves each list."""

    contacts: int
    created: int
    lists: Mapping[str, Entries]


@dataclass(frozen=True, slots=True)
class Failure:
    """A store or an ESP that stopped us; `retry_after` is the pause in seconds that it asked for."""

    reason: str
    refused: bool
    retry_after: float | None = None


@dataclass(slots=True)
class Report:
    """One run. `requests` counts HTTP requests by store or ESP and by method; `writes` those that change the ESP.

    `failures` are the stores and ESPs that stopped us, `resting` those that the worker left alone, with
    the reasons; `reached` is set when the ESP was given all that waits for it.
    """

    sync: str
    kind: str
    outcome: Outcome = Outcome.DONE
    seconds: float = 0.0
    inbox: dict[str, Taken] = field(default_factory=dict)
    stores: dict[str, Pulled] = field(default_factory=dict)
    profiles: int = 0
    compared: int = 0
    pushed: Pushed = field(default_factory=Pushed)
    dead_letters: int = 0
    requests: dict[str, dict[str, int]] = field(default_factory=dict)
    writes: int = 0
    held: list[str] = field(default_factory=list)
    plan: HeldPlan | None = None
    errors: list[str] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    resting: dict[str, str] = field(default_factory=dict)
    reached: bool = False
    stopped: bool = False

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    @property
    def approve_command(self) -> str:
        """Return what to type to let a held run go."""
        return f"cartwire approve {self.sync}"

    @property
    def missing(self) -> int:
        """Rows that stores say they have and did not give."""
        return sum(pulled.missing for pulled in self.stores.values())

    def as_dict(self) -> dict[str, Any]:
        """Make plain data of it, for JSON."""
        plain = asdict(self) | {"outcome": self.outcome.value, "exit_code": self.exit_code}
        return plain | {"approve": self.approve_command} if self.held else plain
