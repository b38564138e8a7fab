"""From a file's bytes to the lines of each order, a page at a time, however large the file.

- Encoding: a byte order mark says it; else the whole file is UTF-8, or it is Windows-1252, as Excel writes.
- Delimiter: the one with which the header names most of what we know.
- An order of several lines has its total on the first (Shopify) or on all, and the others right below it. The
  first row tells of the whole: exports differ in what they repeat, and some tell each line's own status.
- A row of a line that is there, but with another word on the whole, is a newer copy, and so is one that stands
  elsewhere: it replaces the one before.
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
OF_A_LINE = {"product", "category", "quantity", "price"}
"""What tells the lines of one order apart; all else is told of the whole."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file looks like from the outside: its content's digest, and how its bytes are to be read."""

    digest: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line by its number in the file, as text by field; `trouble` when the parser could not take it.

    `row` is all that stands on it, columns that we do not read among it.
    """

    number: int
    cells: Mapping[str, str]
    trouble: str | None = None
    row: Sequence[str] = ()


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
                yield Line(number, _cells(row, layout.columns), row=row)


def orders(found: Iterator[Line]) -> Iterator[Sequence[Line]]:
    """Put the lines of one order together, as long as they stand together and none begins it anew."""
    held: list[Line] = []
    for line in found:
        if held and not _belongs(line, held):
            yield held
            held = []
        if not _repeats(line, held):
            held.append(line)
    if held:
        yield held


def _belongs(line: Line, held: Sequence[Line]) -> bool:
    """Tell a further line of an order; one that is there and now says something else of the whole is a newer copy.

    So is one with a total below one without: the same order, exported twice.
    """
    first = held[0]
    if line.trouble or first.trouble or not _is_same(line.cells, first.cells):
        return False
    if not line.cells.get("amount"):
        return True
    if not held[-1].cells.get("amount") or _is_edited(line.cells, first.cells):
        return False
    is_there = any(_is_one_line(line.cells, other.cells) for other in held)
    return not is_there or any(_agrees(line.cells, other.cells) for other in held)


def _is_edited(cells: Mapping[str, str], first: Mapping[str, str]) -> bool:
    """Tell an order that was changed and told anew: another total under another status; 0.00 is no total."""
    told = all(cells.get(name) and cells[name] != first.get(name) for name in ("amount", "status"))
    return told and bool(cells["amount"].strip("0., "))


def _is_one_line(cells: Mapping[str, str], others: Mapping[str, str]) -> bool:
    return all(cells.get(name, "") == others.get(name, "") for name in OF_A_LINE)


def _agrees(cells: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """Compare what is said of the whole order; what is left out contradicts nothing."""
    return all(text == others.get(name) for name, text in cells.items() if text and name not in OF_A_LINE)


def _is_same(cells: Mapping[str, str], first: Mapping[str, str]) -> bool:
    """Compare the orders' ids, else (Shopify leaves that out) their numbers."""
    name = "order_id" if cells.get("order_id") else "number"
    return bool(cells.get(name)) and cells[name] == first.get(name)


def _repeats(line: Line, held: Sequence[Line]) -> bool:
    """Tell a row that stands there twice; without a total it can be a line that was bought twice."""
    return bool(line.cells.get("amount")) and any(line.row == other.row for other in held)


def _cells(row: Sequence[str], columns: Mapping[str, int]) -> dict[str, str]:
    return {name: row[place].strip() for name, place in columns.items() if place < len(row)}


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True
