"""`${NAME}` in cartwire.yaml: from the environment, else `.env`, else the file that NAME_FILE names.

A value is taken as it stands; as (part of) user or password of `database` it is percent-encoded on its way into that
URL, so that the server's own secret can be named whatever it holds. Messages name the variable and the file, never a value.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv.parser import parse_stream

from config.errors import Problem, Wrong
from config.yaml import Document, Place, read_bytes

ENV_FILE = ".env"
MAX_SECRET_BYTES = 100_000
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REFERENCE = re.compile(r"\$(\$\{)|\$\{([^}]*)(\}?)")
"""`$${` (a literal `${`), or `${…}` with whatever stands inside, closed or not."""
DATABASE = ("database",)
USER_AND_PASSWORD = re.compile(r"://([^:@/?#]*:[^@/?#]*)@")
"""In a URL as the owner wrote it, with `${NAME}` in it."""


@dataclass(slots=True)
class Vault:
    """Where `${NAME}` is looked up. `problems` are those of `.env` and of the files of container secrets."""

    folder: Path
    environ: Mapping[str, str]
    dotenv: Mapping[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def find(self, name: str) -> str:
        """Return the value of `name`, never an empty one. Raises Wrong."""
        for source in (self.environ, self.dotenv):
            if source.get(name):
                return source[name]
            if name in source:
                raise Wrong(f"`{name}` is empty", f"give it a value in the environment or in {ENV_FILE}")
        file = self.environ.get(f"{name}_FILE") or self.dotenv.get(f"{name}_FILE")
        if file:
            return self._from_file(f"{name}_FILE", file)
        instead = f"set it in the environment or in {ENV_FILE}, or name a file that holds it in {name}_FILE"
        raise Wrong(f"`{name}` is not set", instead)

    def _from_file(self, name: str, file: str) -> str:
        content = read_bytes(self.folder / file, MAX_SECRET_BYTES)
        if isinstance(content, str):
            raise Wrong(f"`{name}` names the file {file}, which {content}")
        try:
            value = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Wrong(f"`{name}` names the file {file}, which is not UTF-8") from None
        value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise Wrong(f"`{name}` names the file {file}, which is empty")
        return value


def open_vault(folder: Path, environ: Mapping[str, str]) -> Vault:
    """Read `.env` where there is one; lines that cannot be read become problems, the others count."""
    vault = Vault(folder, environ)
    path = folder / ENV_FILE
    content = read_bytes(path) if path.exists() else b""
    if isinstance(content, str):
        vault.problems.append(Problem(ENV_FILE, None, "", content))
        return vault
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        vault.problems.append(Problem(ENV_FILE, line, "", "is not UTF-8", "save the file in that encoding"))
        return vault
    vault.dotenv = dict(_read_env(text, vault.problems))
    return vault


def _read_env(text: str, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """Read the lines as python-dotenv does, but take `$` in a value as it stands: passwords hold it."""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            what = "this is not NAME=value"
            problems.append(Problem(ENV_FILE, binding.original.line, "", what, 'quote the value: NAME="…"'))
        elif binding.key is not None:
            yield binding.key, binding.value or ""


@dataclass(slots=True)
class Filled:
    """A document's data with every `${NAME}` in a text replaced; at `unfilled` places that failed."""

    document: Document
    vault: Vault
    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    unfilled: set[Place] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.data = self._fill(self.document.data, ())
        self.problems += self.vault.problems

    def _fill(self, value: Any, path: Place) -> Any:
        if isinstance(value, dict):
            return {key: self._fill(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._fill(inner, (*path, at)) for at, inner in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: Place) -> str:
        try:
            within = USER_AND_PASSWORD.search(text) if path == DATABASE else None
            encoded = range(*within.span(1)) if within else range(0)
            return REFERENCE.sub(lambda found: _look_up(found, self.vault, encoded), text)
        except Wrong as wrong:
            self.problems.append(self.document.problem(path, wrong.what, wrong.instead))
            self.unfilled.add(path)
            return text


def refers(text: object) -> bool:
    """Say whether a text, as it stands in the file, takes (part of) its value from elsewhere."""
    return isinstance(text, str) and any(not found[1] for found in REFERENCE.finditer(text))


def _look_up(found: re.Match[str], vault: Vault, encoded: range) -> str:
    """Find the value; one that begins within `encoded` comes back as a URL has it there."""
    if found[1]:
        return found[1]
    if not found[3]:
        raise Wrong("`${` is not closed", "write `${NAME}`, or `$${` for the two characters themselves")
    if not NAME.fullmatch(found[2]):
        instead = "letters, digits and `_` only, or `$${` for the two characters themselves"
        raise Wrong("inside `${…}` stands no name of a variable", instead)
    value = vault.find(found[2])
    return quote(value, safe="", errors="surrogateescape") if found.start() in encoded else value
