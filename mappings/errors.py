"""What is wrong with a mapping, said to whoever wrote it.

MappingError        every problem of one mapping at once
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MappingProblem:
    """One thing to mend: where it stands, what is wrong, what would be right.

    `path` leads to the entry ("lists", "Loyal Customers"), `offset` to the character in its expression.
    """

    path: tuple[str, ...]
    what: str
    instead: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        said = f"{self.what}; {self.instead}" if self.instead else self.what
        return f"{'.'.join(self.path)}: {said}" if self.path else said


class MappingError(Exception):
    """A mapping that cannot be used, with all its problems."""

    def __init__(self, problems: Sequence[MappingProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Name the known word that looks most like `word`, as a question; None when none does."""
    near = difflib.get_close_matches(word.lower(), {name.lower(): name for name in known}, n=1)
    names = {name.lower(): name for name in known}
    return f"did you mean `{names[near[0]]}`?" if near else None
