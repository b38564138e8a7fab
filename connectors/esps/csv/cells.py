"""Values as cells that no spreadsheet takes for a formula, and back where we have to read them.

https://owasp.org/www-community/attacks/CSV_Injection: a cell that begins with one of these characters is
run by Excel and LibreOffice; a ' before it makes it text.
"""

import csv
import io
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

from connectors.base import Value

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
LINE_END = "\r\n"
LONGEST = 32_767 - 1
"""Characters of a text: what a cell of Excel holds, less the ' that may come before it."""


def cell(value: Value) -> str:
    """Write a value; a number is a number even when it is negative, an emptied field is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return escaped(plain(value)[:LONGEST])


def plain(text: str) -> str:
    """Leave out what no text file holds: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def escaped(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def address_cell(email: str) -> str:
    """Write an address so that it can be read back, whatever it begins with."""
    return f"'{plain(email)}" if email.startswith((*FORMULA, "'")) else plain(email)


def read_address(text: str) -> str:
    return text.removeprefix("'").strip()


def lists_cell(names: Iterable[str]) -> str:
    """Write names with commas between; one that holds a comma or a quote stands in quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator=LINE_END).writerow(sorted(plain(name) for name in names))
    return escaped(line.getvalue().removesuffix(LINE_END))


def read_lists(text: str) -> set[str]:
    """Read names back, of a line that somebody else may have written."""
    line = text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text
    return {name for row in csv.reader(io.StringIO(line, newline="")) for name in row if name}
