"""The file: read row by row, written anew beside the old one and put in its place in one step.

A kill leaves the old file or the new one, never half of one. Memory holds the changes, not the file.
"""

import csv
import filecmp
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from connectors.errors import ConnectorError, Refused, RemoteFault, Unreachable
from connectors.esps.csv.cells import plain, read_address
from connectors.writing import folded

EMAIL, LISTS, CONSENT = "email", "lists", "consent"
OURS = (EMAIL, LISTS, CONSENT)
BEYOND = "\0"
"""Where a row keeps its cells beyond the header, and what stands between them."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes the file."""
FOREVER = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)

Row = dict[str, str]
Rewrite = Callable[[Iterator[Row]], Iterator[Row]]


@dataclass(frozen=True)
class Table:
    """`path` is absolute, or relative to where the process runs."""

    path: Path

    def columns(self) -> list[str]:
        """Read the header; empty where there is no file. Raises Refused for a file that is not ours."""
        with self._troubles(), self._rows() as (columns, _):
            return columns

    def emails(self, wanted: frozenset[str]) -> set[str]:
        """Find which of these addresses (folded) have a row."""
        with self.reading() as rows:
            return {email for row in rows if (email := key(row)) in wanted}

    def select(self, consent: str) -> list[str]:
        """Find the addresses of rows with this consent."""
        with self.reading() as rows:
            return [read_address(row[EMAIL]) for row in rows if consent_of(row) == consent]

    @contextmanager
    def reading(self) -> Iterator[Iterator[Row]]:
        """Open the file for reading whoever has an address, row by row; nobody where there is no file."""
        with self._troubles(), self._rows() as (_, rows):
            yield (row for row in rows if key(row))

    def rewrite(self, columns: Sequence[str], rewrite: Rewrite) -> bool:
        """Write the file anew with these columns besides its own; False when nothing changes.

        Raises Refused where that can never work, a Retryable where it may later.
        """
        if not self.path.parent.is_dir():
            raise Refused(f"csv: {self._missing_folder}")
        with self._troubles(), self._lock(), self._rows() as (before, rows):
            after = merged(before, columns)
            changed = self._write(after, rewrite(rows)) or before != after
            if changed:
                self._replace()
            else:
                self._temporary.unlink()
            return changed

    def check(self) -> str | None:
        """Say what stands in the way of writing, None when nothing does."""
        folder = self.path.parent
        if not folder.is_dir():
            return self._missing_folder
        if not os.access(folder, os.W_OK):
            return f"`path`: the folder {folder} cannot be written"
        self.columns()
        return None

    @property
    def _missing_folder(self) -> str:
        return f"`path`: the folder {self.path.parent} does not exist"

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f".{self.path.name}.new")

    def _write(self, columns: Sequence[str], rows: Iterator[Row]) -> bool:
        """Write beside the file; return whether that differs from it."""
        with self._temporary.open("w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), self._mode())
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow(columns)
            writer.writerows(_cells(columns, row) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        return not _same(self._temporary, self.path)

    def _mode(self) -> int:
        """Keep who may read the file; a new one is for its owner only, as it holds people."""
        return self.path.stat().st_mode & 0o777 if self.path.exists() else 0o600

    def _replace(self) -> None:
        self._temporary.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _rows(self) -> Iterator[tuple[list[str], Iterator[Row]]]:
        """Open the file; yield its columns and its rows, none where there is no file."""
        try:
            file = self.path.open(encoding="utf-8-sig", newline="")
        except FileNotFoundError:
            yield [], iter(())
            return
        with file:
            lines = (cells for cells in csv.reader(file, strict=True) if cells)
            columns = self._header(next(lines, []))
            yield columns, (_row(columns, cells) for cells in lines)

    def _header(self, cells: Sequence[str]) -> list[str]:
        """Take the header for columns; what a spreadsheet leaves empty behind the last name is none."""
        if cells and EMAIL not in cells:
            raise Refused("csv: the file has no column `email`, so it is not one that we wrote; name another")
        columns = list(cells)
        while columns and not plain(columns[-1]).strip():
            columns.pop()
        for place, name in enumerate(columns, 1):
            if not plain(name).strip():
                raise Refused(f"csv: {self.path.name}: column {place} has no name; give it one")
            if name in columns[place:]:
                raise Refused(f"csv: {self.path.name}: two columns have the name `{name}`; rename one")
        return columns

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=PATIENCE)
        try:
            with lock:
                yield
        except Timeout as error:
            raise Unreachable("csv: another process writes the file", sent=False) from error

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Turn what goes wrong with files into our errors; none quotes a row."""
        try:
            yield
        except ConnectorError:
            raise
        except FOREVER as error:
            raise Refused(f"csv: {self.path.name}: {error.strerror}") from error
        except OSError as error:
            raise RemoteFault(f"csv: {self.path.name}: {error.strerror}") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise Refused(f"csv: {self.path.name} is no CSV file in UTF-8; name another") from error


def key(row: Mapping[str, str]) -> str:
    return folded(read_address(row[EMAIL]))


def consent_of(row: Mapping[str, str]) -> str:
    """Read a row's consent, as people and other programs write it."""
    return row.get(CONSENT, "").strip().casefold()


def merged(columns: Sequence[str], more: Sequence[str]) -> list[str]:
    """Keep the file's columns in their order; those that are missing come after, ours around the fields."""
    wanted = [EMAIL, *more, LISTS, CONSENT]
    return [*columns, *(name for name in wanted if name not in columns)]


def _row(columns: Sequence[str], cells: Sequence[str]) -> Row:
    """Read a line; cells beyond the header stand under a name that no column has."""
    row = dict(zip(columns, cells, strict=False))
    if len(cells) < len(columns):
        row |= dict.fromkeys(columns[len(cells) :], "")
    elif len(cells) > len(columns):
        row[BEYOND] = BEYOND.join(cells[len(columns) :])
    return row


def _cells(columns: Sequence[str], row: Row) -> list[str]:
    """Write a line; what stood beyond the header stands there again, however many columns there are."""
    cells = [row.get(name, "") for name in columns]
    return cells + row[BEYOND].split(BEYOND) if BEYOND in row else cells


def _same(one: Path, other: Path) -> bool:
    """Compare two files by their content, without holding it in memory."""
    return other.exists() and filecmp.cmp(one, other, shallow=False)
