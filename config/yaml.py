"""YAML 1.2 to plain data that remembers its lines. Whatever bytes a file holds, the answer is a Document.

- Numbers stay text as written: an id `0123456789` or `12e4567890` loses nothing, and pydantic reads a
  number out of text where one is wanted. Only unquoted `true`, `false` and `null` (or nothing) are more.
- Built from ruamel.yaml's events, not its constructor: no tag can make an object, a key is text however
  it looks, and the number of nodes that aliases unfold to is bounded.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)
from ruamel.yaml.reader import ReaderError

from config.errors import Problem

Place = tuple[str | int, ...]
Node = ScalarEvent | CollectionStartEvent | CollectionEndEvent | AliasEvent

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 40
CONSTANTS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
CORE = "tag:yaml.org,2002:"
TAGS = frozenset(
    {None, "!", *(CORE + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq"))}
)
UNFINISHED = "end of stream|stream end"
QUOTE_IT = 'put the text in quotes: "…"'
UNQUOTED_NAME = re.compile(r"""[{\[,][^"'{}]*\$\{""")
"""`{token: ${NAME}}`: inside braces and brackets YAML reads the second brace as its own."""
ADVICE: Sequence[tuple[str, str, str | None]] = (
    (r"character '\\t'", "a tab", "YAML indents with spaces only"),
    (r"character '(.)' that cannot start", r"no text may start with `\1`", QUOTE_IT),
    (r"mapping values are not allowed", "a second `:` on this line, or a wrong indentation", QUOTE_IT),
    (UNFINISHED, "a quote, a brace or a bracket is not closed", None),
    (r"expected alphabetic or numeric", "no text may start with `*` or `&`", QUOTE_IT),
    (r"could not find expected ':'", "a key without `:`", "write `key: value`"),
    (r"expected ',' or '[}\]]'", "a brace or a bracket is not closed, or a comma is missing", None),
    (r"found '<scalar>'", "text behind a closing quote, or a wrong indentation", QUOTE_IT),
    (r"block end|document start|block mapping start", "the indentation does not fit the lines above", None),
    (r"unknown escape|expected escape", "an unknown escape in double quotes", "use single quotes: '…'"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """A file read: `data` is plain (text, True, False, None, lists and dicts), {} where nothing could be read.

    `problems` are those of the YAML itself, duplicate keys among them.
    """

    name: str
    data: dict[str, Any] = field(repr=False)  # may hold a literal secret
    problems: tuple[Problem, ...] = ()
    lines: Mapping[Place, int] = field(default_factory=dict, repr=False)

    def line_of(self, path: Sequence[str | int]) -> int:
        """Return the line where a key or a list's entry stands; for what is not there, its parent's."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(tuple(path[:length]))
            if line is not None:
                return line
        return 1

    def problem(self, path: Sequence[str | int], what: str, instead: str | None = None) -> Problem:
        """Say what is wrong at `path` of this file."""
        dotted = ".".join(part for part in path if isinstance(part, str))
        return Problem(self.name, self.line_of(path), dotted, what, instead)


def read(path: Path, name: str) -> Document:
    """Read a file whose content is keys and values; `name` is what messages call it. Raises nothing."""
    content = read_bytes(path)
    if isinstance(content, str):
        return Document(name, {}, (Problem(name, None, "", content),))
    return parse(content, name)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes | str:
    """Read a regular file; what is wrong with it as text when it cannot be."""
    try:
        if path.is_dir():
            return "is a folder, not a file"
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            return "is not a regular file"
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        return f"cannot be read ({getattr(error, 'strerror', None) or 'no possible file name'})"
    return content if len(content) <= limit else f"is larger than {limit:,} bytes"


def is_file(path: Path) -> bool:
    """Say whether `read` can try; a name that no file can have is not there either."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def parse(content: bytes, name: str) -> Document:
    """Read YAML from bytes. Raises nothing."""
    reading = _Reading(name)
    try:
        found = reading.document(content)
    except _Stopped as stopped:
        return Document(name, {}, (*reading.problems, stopped.problem), reading.lines)
    return Document(name, found, tuple(reading.problems), reading.lines)


class _Stopped(Exception):
    """The file makes no sense from here on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Reading:
    """One pass over a file's events; collects lines and those problems that do not end the reading."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []

    def document(self, content: bytes) -> dict[str, Any]:
        events = _Events(_text(content, self._stop), self._stop)
        first = events.first_node()
        if first is None or _is_nothing(first):
            self._stop(None, "is empty", "write `key: value` lines")
        if not isinstance(first, MappingStartEvent):
            self._stop(first, "must hold keys and values", "write `key: value` lines")
        found = self._mapping(events, first, ())
        events.finish()
        return found

    def _stop(self, where: Event | int | None, what: str, instead: str | None = None) -> NoReturn:
        line = where if isinstance(where, int) or where is None else _line(where)
        raise _Stopped(Problem(self.name, line, "", what, instead))

    def _value(self, events: Iterator[Node], event: Node, path: Place) -> Any:
        if isinstance(event, ScalarEvent):
            self._check_tag(event)
            return _scalar(event)
        if isinstance(event, MappingStartEvent):
            return self._mapping(events, event, path)
        return self._sequence(events, event, path)

    def _mapping(self, events: Iterator[Node], start: Node, path: Place) -> dict[str, Any]:
        self._check_tag(start)
        found: dict[str, Any] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event)
            place = (*path, key)
            if key in found:
                self._duplicate(place, event)
            self.lines.setdefault(place, _line(event))
            value = self._value(events, next(events), place)
            found.setdefault(key, value)
        return found

    def _check_tag(self, event: Node) -> None:
        tag: str | None = getattr(event, "tag", None)
        if tag not in TAGS:
            self._stop(event, f"the tag `{str(tag).replace(CORE, '!!')}` means nothing here", "remove it")

    def _key(self, event: Node) -> str:
        self._check_tag(event)
        if not isinstance(event, ScalarEvent):
            self._stop(event, "a key must be text", "if braces or brackets belong to it, put it in quotes")
        if event.value == "<<" and event.style is None:
            self._stop(event, "`<<` is not part of YAML 1.2", "repeat the keys")
        if not event.value:
            self._stop(event, "a key is missing before `:`")
        return str(event.value)

    def _duplicate(self, place: Place, event: Event) -> None:
        dotted = ".".join(str(part) for part in place)
        first = self.lines[place]
        what = f"the key stands here twice, first on line {first}"
        self.problems.append(Problem(self.name, _line(event), dotted, what, "remove one of them"))

    def _sequence(self, events: Iterator[Node], start: Node, path: Place) -> list[Any]:
        self._check_tag(start)
        found: list[Any] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            place = (*path, len(found))
            self.lines.setdefault(place, _line(event))
            found.append(self._value(events, event, place))
        return found


class _Events(Iterator[Node]):
    """The nodes of the first document, aliases unfolded; `stop` is called where it cannot go on."""

    def __init__(self, text: str, stop: Callable[..., NoReturn]) -> None:
        self._text = text
        self._stop = stop
        self._raw = self._parsed()
        self._nodes = self._unfolded()

    def __iter__(self) -> "_Events":
        return self

    def __next__(self) -> Node:
        return next(self._nodes)

    def first_node(self) -> Node | None:
        """Return None when the file holds nothing at all."""
        for event in self._raw:
            if isinstance(event, DocumentStartEvent):
                return next(self._nodes)
        return None

    def finish(self) -> None:
        """Read to the end: what stands behind the document must be right too."""
        for event in self._raw:
            if isinstance(event, DocumentStartEvent):
                self._stop(event, "`---` begins a second document", "one file holds one")

    def _parsed(self) -> Iterator[Event]:
        try:
            yield from YAML(typ="rt", pure=True).parse(self._text)
        except ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            self._stop(
                line, f"a character that YAML does not allow (U+{ord(self._text[error.position]):04X})"
            )
        except MarkedYAMLError as error:
            self._stop(*_advice(error, self._text.splitlines()))
        except (YAMLError, ValueError, OverflowError):  # "\UFFFFFFFF": chr() refuses what the escape says
            self._stop(None, "is not YAML")

    def _unfolded(self) -> Iterator[Node]:
        """Put a copy of what an anchor names where an alias stands; an anchor counts once it is complete."""
        anchors: dict[str, list[Node]] = {}
        copying: list[tuple[str, int, list[Node]]] = []
        depth = count = 0
        for raw in self._raw:
            if not isinstance(raw, Node):
                continue
            if isinstance(raw, ScalarEvent | CollectionStartEvent) and raw.anchor:
                copying.append((raw.anchor, depth, []))
            for event in self._meant(raw, anchors):
                depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
                count += 1
                self._bound(raw, depth, count)
                for _, _, copy in copying:
                    copy.append(event)
                yield event
            while copying and copying[-1][1] == depth:
                name, _, events = copying.pop()
                anchors[name] = events

    def _meant(self, event: Node, anchors: Mapping[str, list[Node]]) -> Sequence[Node]:
        if not isinstance(event, AliasEvent):
            return [event]
        if event.anchor not in anchors:
            self._stop(event, f"`*{event.anchor}` refers to nothing above", QUOTE_IT)
        return anchors[event.anchor]

    def _bound(self, event: Event, depth: int, count: int) -> None:
        if depth > MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} levels deep")
        if count > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES:,} entries, aliases unfolded")


def _text(content: bytes, stop: Callable[..., NoReturn]) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        stop(line, "is not UTF-8", "save the file in the encoding UTF-8")


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: ScalarEvent) -> str | bool | None:
    """Return text as written, but for what unquoted text says in YAML 1.2's core schema and is no number."""
    text = str(event.value)
    if event.style == ">":
        text = text.replace("\a", "")  # the parser's own mark of a fold
    if event.style is None and event.tag != f"{CORE}str":
        return CONSTANTS.get(text, text)
    return text


def _is_nothing(event: Node) -> bool:
    return isinstance(event, ScalarEvent) and _scalar(event) is None


def _advice(error: MarkedYAMLError, lines: Sequence[str]) -> tuple[int, str, str | None]:
    """Turn ruamel.yaml's words into line, what and what instead, as an owner understands them."""
    said = str(error.problem)
    mark = error.problem_mark
    if re.search(UNFINISHED, said) or mark is None:
        mark = error.context_mark or mark
    line = int(mark.line) + 1 if mark else 1
    if line <= len(lines) and UNQUOTED_NAME.search(lines[line - 1]):
        instead = 'put it in quotes ("${NAME}"), or give each key a line of its own'
        return line, "an unquoted `${NAME}` inside braces or brackets", instead
    for pattern, what, advice in ADVICE:
        found = re.search(pattern, said)
        if found:
            return line, found.expand(what), advice
    return line, f"is not YAML ({said})", None
