"""From a file's bytes to the lines of each order, a page at a time, however large the file.

- Encoding: a byte order mark says it; else the whole file is UTF-8, or it is Windows-1252, as Excel writes.
- Delimiter: the one with which the header names most of what we know.
- An order of several lines (Shopify) has its total on the first, and the others right below it.
- A line that the parser cannot take is told by its number; the next one goes on.
"""

import codecs
import csv
import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.errors import Refused
from connectors.stores.csv.columns import NEEDED, find_columns

DELIMITERS = (",", ";", "\t", "|")
BLOCK = 1 << 20
MARKS: Mapping[bytes, str] = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
FALLBACK = "cp1252"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file looks like from the outside: its content's digest, and how its bytes are to be read."""

    digest: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line by its number in the file, as text by field; `trouble` when the parser could not take it."""

    number: int
    cells: Mapping[str, str]
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a file are cut, and which column is what."""

    encoding: str
    delimiter: str
    columns: Mapping[str, int]


def survey(path: Path, encoding: str | None) -> Survey:
    """Look over the whole file once, a block at a time. Raises Refused when it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    decoder = codecs.getincrementaldecoder("utf-8")()
    first, is_utf8 = b"", True
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                first = first or block[:4]
                digest.update(block)
                is_utf8 = is_utf8 and _decodes(decoder, block)
    except OSError as error:
        raise Refused(f"`path`: {path.name} cannot be read ({error.strerror})") from error
    is_utf8 = is_utf8 and _decodes(decoder, b"", final=True)
    marked = next((name for mark, name in MARKS.items() if first.startswith(mark)), None)
    return Survey(digest.hexdigest(), encoding or marked or ("utf-8" if is_utf8 else FALLBACK))


def layout(path: Path, encoding: str) -> Layout:
    """Read the header. Raises Refused when it does not name what is needed, and says what it lacks."""
    try:
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            header = file.readline()
    except UnicodeError as error:
        raise Refused(f"`encoding`: {path.name} cannot be read as {encoding}") from error
    tried = {mark: find_columns(next(csv.reader([header], delimiter=mark), [])) for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: len(tried[mark]))
    columns = tried[delimiter]
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise Refused(
            f"`path`: the first line of {path.name} does not name {', '.join(f'`{name}`' for name in missing)}; "
            "it must be the header of an export, or order_id,email,date,amount,currency,status,category"
        )
    return Layout(encoding, delimiter, columns)


def lines(path: Path, layout: Layout) -> Generator[Line]:
    """Yield the lines below the header, in order; empty ones are left out."""
    with path.open(encoding=layout.encoding, errors="replace", newline="") as file:
        reader = csv.reader((text.replace("\0", "") for text in file), delimiter=layout.delimiter)
        next(reader, None)
        while True:
            number = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield Line(number, {}, "it is no line of a CSV file")
                continue
            if any(cell.strip() for cell in row):
                yield Line(number, _cells(row, layout.columns))


def orders(found: Iterator[Line]) -> Iterator[Sequence[Line]]:
    """Put the lines of one order together, as long as they stand together."""
    held: list[Line] = []
    for line in found:
        if held and not _belongs(line, held[0]):
            yield held
            held = []
        held.append(line)
    if held:
        yield held


def _belongs(line: Line, first: Line) -> bool:
    """Tell a further line of an order: by its id, else (Shopify leaves that out) by its number."""
    if line.trouble or first.trouble:
        return False
    if line.cells.get("order_id"):
        return line.cells["order_id"] == first.cells.get("order_id")
    return bool(line.cells.get("number")) and line.cells["number"] == first.cells.get("number")


def _cells(row: Sequence[str], columns: Mapping[str, int]) -> dict[str, str]:
    return {name: row[place].strip() for name, place in columns.items() if place < len(row)}


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True
