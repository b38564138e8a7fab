"""From the lines of an order to facts. Pure: no clock, no I/O, no log."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from connectors.currencies import exponent
from connectors.errors import BadRecord
from connectors.facts import (
    Consent,
    Fact,
    Fulfilment,
    Line,
    Money,
    Order,
    Person,
    Product,
    Refund,
    Source,
    Standing,
    in_utc,
    money,
    normal_email,
    text_or_none,
)
from connectors.paging import UnreadableField, pieces
from connectors.stores.csv import reading
from connectors.stores.csv.columns import ABBREVIATIONS, FULFILMENTS, SIGNS, STATUSES, SYMBOLS, WORDS

Cells = Mapping[str, str]

UNDATED = datetime(1970, 1, 1, tzinfo=UTC)
"""When an order was changed: a file does not say. Of one moment a copy that differs replaces the one before."""

DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ ,]+(\d{1,2}:\d\d(?::\d\d)?))?")
ZONED = re.compile(r"(.*\d) ?(UTC|[+-]\d\d:?\d\d)")
MARK = rf"[^\W\d_]{{0,3}}[{SIGNS}]|[^\W\d_]{{1,3}}(?:\.(?!\d)|(?!\.))"
"""What says the currency: €, US$, EUR, kr. Not with a point before a digit: `Rs.50` may be fifty or a half."""
NUMBER = (
    r"\d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?"  # 12,34,567.50, as India writes it
    r"|(?:\d{1,3}(?:(?P<group>[.,' ])\d{3})(?:(?P=group)\d{3})*|\d+)(?:(?!(?P=group))[.,]\d+)?"
    r"|[.,]\d+"
)
AMOUNT = re.compile(
    rf"(?P<bracket>\()?(?P<first>[-+])? ?(?P<before>{MARK})? ?(?P<second>[-+])? ?(?P<number>{NUMBER})"
    rf" ?(?P<third>[-+])? ?(?P<after>{MARK})? ?(?P<last>[-+])?(?(bracket)\))"
)
PLACES = ("bracket", "first", "second", "third", "last")
"""Where the sign of an amount may stand; at one of them."""

COUNTED = re.compile(r"(.*\d)\s*[^\W\d_]+\.?")
"""A number of pieces with what they are called: 2 pcs, 2x, 3 Stück."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the owner says about a file: its zone, its currency and its own status words."""

    zone: ZoneInfo
    currency: str | None
    statuses: Mapping[str, Standing]


def read_group(group: Sequence[reading.Line], terms: Terms) -> tuple[list[Fact], BadRecord | None]:
    """Read an order with its products, or say what is wrong with it by the number of its first line."""
    name = f"line {group[0].number}"
    if group[0].trouble:
        return [], BadRecord(name, group[0].trouble)
    try:
        order = read_order([line.cells for line in group], terms)
        return [*_products([line.cells for line in group], order), order], None
    except UnreadableField as error:
        return [], BadRecord(name, str(error))
    except (ValueError, ArithmeticError):
        return [], BadRecord(name, "a field cannot be read")


def read_order(rows: Sequence[Cells], terms: Terms) -> Order:
    """Read an order of one or more lines; what is told once stands on the first."""
    first = rows[0]
    identity = first.get("order_id") or first.get("number")
    if not identity:
        raise UnreadableField("order_id", "there")
    currency = _currency(first, terms)
    created = read_moment(first.get("date", ""), terms.zone)
    if created is None:
        raise UnreadableField("date", "a date such as 2026-11-20 or 2026-11-20 14:30")
    paid_at = read_moment(first.get("paid_at", ""), terms.zone)
    total = _money(first, "amount", currency)
    return Order(
        id=identity,
        number=first.get("number") or identity,
        email=normal_email(first.get("email")),
        customer_id=None,
        standing=_standing(first, terms),
        status=first.get("status") or "paid",
        total=total,
        created_at=created,
        updated_at=UNDATED,
        paid_at=paid_at,
        discount=_unsigned(first, "discount", currency) if first.get("discount") else None,
        lines=_lines(rows, total),
        refunds=_refunds(first, identity, currency),
        person=_person(first),
        source=Source(first["source"]) if first.get("source") else None,
        consent=_consent(first, created),
        fulfilment=_fulfilment(first),
    )


def read_moment(text: str, zone: ZoneInfo) -> datetime | None:
    """Read a moment; None for nothing. Days before months with slashes are not guessed at."""
    if not text or text.startswith("0000-00-00"):
        return None
    if match := DOTTED.fullmatch(text):
        day, month, year, clock = match.groups()
        text = f"{year}-{month:0>2}-{day:0>2} {(clock or '00:00').rjust(5, '0')}"
    if match := ZONED.fullmatch(text):
        text = f"{match[1].rstrip()}{'+00:00' if match[2] == 'UTC' else match[2]}"
    try:
        return in_utc(datetime.fromisoformat(text), zone)
    except ValueError as error:
        raise UnreadableField("date", "a date such as 2026-11-20 or 2026-11-20 14:30") from error


def read_amount(text: str, name: str, digits: int) -> Decimal:
    """Read an amount as people and machines write it: 1234.50, 1.234,50 €, 1 234,50, (5.00).

    Raises UnreadableField for a cell that is anything beside, and where the only sign is followed by three
    digits, which may mean thousands, unless the currency has three `digits`.
    """
    found = _amount(text)
    if not found:
        raise UnreadableField(name, "an amount")
    number = re.sub("[ ']", "", found["number"])
    signs = [letter for letter in number if letter in ".,"]
    if len(signs) > 1:
        number = number.replace(signs[0], "")
    elif signs and len(number.rpartition(signs[0])[2]) == 3 and digits != 3:
        raise UnreadableField(name, "an amount whose decimal sign is clear")
    value = Decimal(number.replace(",", "."))
    return -value if any(found[place] in {"-", "("} for place in PLACES) else value


def _amount(text: str) -> re.Match[str] | None:
    """Take a cell apart; None where it holds anything beside one amount, one sign and currencies."""
    plain = " ".join(text.split()).replace("\u2212", "-").replace("\u2019", "'")
    found = AMOUNT.fullmatch(plain)
    if not found or sum(found[place] is not None for place in PLACES) > 1:
        return None
    return found if all(map(_is_mark, _marks(found))) else None


def _marks(found: re.Match[str]) -> list[str]:
    return [found[place] for place in ("before", "after") if found[place]]


def _is_mark(mark: str) -> bool:
    word = mark.rstrip(".").lower()
    return not word[-1].isalpha() or word in ABBREVIATIONS or _is_currency(word.upper())


def _is_currency(code: str) -> bool:
    try:
        exponent(code)
    except ValueError:
        return False
    return True


def _currency(first: Cells, terms: Terms) -> str:
    code = (first.get("currency") or _told(first.get("amount", "")) or terms.currency or "").strip().upper()
    if not _is_currency(code):
        raise UnreadableField("currency", "a currency; set `currency` where the file has none")
    return code


def _told(amount: str) -> str | None:
    """Find the currency beside an amount, where that is one alone: € or EUR, but not $."""
    if not amount:
        return None
    found = _amount(amount)
    if not found:
        raise UnreadableField("amount", "an amount")
    codes = (SYMBOLS.get(mark.lower(), mark.upper()) for mark in _marks(found))
    return next((code for code in codes if _is_currency(code)), None)


def _standing(first: Cells, terms: Terms) -> Standing:
    """Say what an order counts as; without a column for it, a file is one of paid orders."""
    if "status" not in first:
        return Standing.PAID
    word = first["status"].strip().lower().removeprefix("wc-")
    told = terms.statuses.get(word) or STATUSES.get(word)
    if told is None:
        raise UnreadableField("status", "a status that is known; say in `statuses` what it means")
    is_over = bool(first.get("cancelled_at")) and told in {Standing.PAID, Standing.UNPAID}
    return Standing.CANCELLED if is_over else told


def _fulfilment(first: Cells) -> Fulfilment | None:
    word = first.get("fulfilment") or first.get("status", "")
    return FULFILMENTS.get(word.strip().lower().removeprefix("wc-").replace("_", " "))


def _lines(rows: Sequence[Cells], whole: Money) -> list[Line]:
    """Read the lines; where none has a price, the order's total is shared out by their pieces.

    A row that tells of neither product nor category can still tell how many pieces there were.
    """
    told = [row for row in rows if any(row.get(name) for name in ("product", "category", "quantity"))]
    counts = [_quantity(row) for row in told]
    if any(row.get("price") for row in told):
        worths = [_worth(row, whole.currency, count) for row, count in zip(told, counts, strict=True)]
    else:
        worths = _shares(whole, counts)
    return [
        Line(_product_id(row), row.get("product") or row.get("category") or "", int(count), worth)
        for row, count, worth in zip(told, counts, worths, strict=True)
    ]


def _quantity(row: Cells) -> Decimal:
    """Read how many pieces there are; what was sent back, below zero, is none."""
    text = row.get("quantity") or "1"
    counted = COUNTED.fullmatch(text)
    count = read_amount(counted[1] if counted else text, "quantity", 3)
    pieces(count, "quantity")
    return max(count, Decimal())


def _worth(row: Cells, currency: str, count: Decimal) -> Money:
    """Multiply the price of one; what is weighed need not be whole."""
    each = read_amount(row["price"], "price", exponent(currency)) if row.get("price") else Decimal()
    return money(each * count, currency)


def _shares(whole: Money, counts: Sequence[Decimal]) -> list[Money]:
    """Share an amount out by pieces, what is left over on the first."""
    pieces = sum(counts) or 1
    shares = [int(whole.minor * count / pieces) for count in counts]
    left = whole.minor - sum(shares)
    return [Money(share + (0 if place else left), whole.currency) for place, share in enumerate(shares)]


def _product_id(row: Cells) -> str | None:
    """Make an id of product and category; a product without a category tells nothing that we keep."""
    return f"{row.get('product') or ''}/{row['category']}" if row.get("category") else None


def _products(rows: Sequence[Cells], order: Order) -> list[Product]:
    made = {}
    for row in rows:
        identity = _product_id(row)
        if identity:
            title = row.get("product") or row["category"]
            made[identity] = Product(identity, title, [row["category"]], order.created_at)
    return list(made.values())


def _refunds(first: Cells, order: str, currency: str) -> list[Refund]:
    if not first.get("refunded"):
        return []
    back = _unsigned(first, "refunded", currency)
    return [Refund(f"{order}/refunded", order, back)] if back.minor else []


def _money(first: Cells, name: str, currency: str) -> Money:
    if not first.get(name):
        raise UnreadableField(name, "an amount")
    return money(read_amount(first[name], name, exponent(currency)), currency)


def _unsigned(first: Cells, name: str, currency: str) -> Money:
    """Read what goes off an order: some files write it below zero."""
    return Money(abs(_money(first, name, currency).minor), currency)


def _person(first: Cells) -> Person:
    front, _, back = first.get("full_name", "").rpartition(" ")
    country = text_or_none(first.get("country"))
    return Person(
        first_name=text_or_none(first.get("first_name")) or text_or_none(front),
        last_name=text_or_none(first.get("last_name")) or text_or_none(back),
        company=text_or_none(first.get("company")),
        phone=text_or_none((first.get("phone") or "").lstrip("'")),
        postal_code=text_or_none((first.get("postal_code") or "").lstrip("'")),
        city=text_or_none(first.get("city")),
        country=country.upper() if country and len(country) == 2 else None,
        vat_number=text_or_none(first.get("vat_number")),
    )


def _consent(first: Cells, at: datetime) -> Consent | None:
    given = WORDS.get(first.get("consent", "").strip().lower())
    return Consent(given, at) if given is not None else None
