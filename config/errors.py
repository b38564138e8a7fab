"""What is wrong in what the owner wrote: where, what, and what would be right. All of it at once (P7).

ConfigError     `.problems` holds every Problem of every file
Wrong           one value, while it is checked; whoever knows its place makes a Problem of it
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake; `path` is dotted ("esps.news.type"), empty when the whole file is meant.

    Neither text ever holds a value that came out of the environment, only what stands in the file.
    """

    file: str
    line: int | None
    path: str
    what: str
    instead: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        said = self.what if self.instead is None else f"{self.what}; {self.instead}"
        return ": ".join(part for part in (place, self.path, said) if part)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are sorted by file and line, `str()` is one a line.

    `documents` are the files that were read all the same, so that the content of the mappings can be judged
    in the same go.
    """

    def __init__(self, problems: Iterable[Problem], documents: Mapping[str, Any] | None = None) -> None:
        self.problems = tuple(sorted(set(problems), key=_place))
        self.documents = dict(documents or {})
        super().__init__("\n".join(map(str, self.problems)))


class Wrong(ValueError):
    """What is wrong with a value, and what would be right; neither quotes the value."""

    def __init__(self, what: str, instead: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.instead = instead


def suggestion(word: str, known: Iterable[str]) -> str:
    """Name what was probably meant, or everything there is."""
    names = sorted(known)
    folded = {name.casefold(): name for name in reversed(names)}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.7)
    if near:
        return f"did you mean `{folded[near[0]]}`?"
    return f"known: {', '.join(names)}" if names else "there is none"


def _place(problem: Problem) -> tuple[str, int, str, str]:
    return (problem.file, problem.line or 0, problem.path, problem.what)
