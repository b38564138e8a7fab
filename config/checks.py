"""Checks of single values. Each returns the value in its normal form or raises Wrong, which never quotes it."""

import functools
import pkgutil
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from iso4217 import Currency
from pydantic import SecretStr

from config.errors import Wrong, suggestion

RATE_DIGITS = 8
"""More would not be exact in the state store's arithmetic."""
EVERY = re.compile(r"every (?P<number>\d{1,5}) (?P<unit>minute|hour)s?")
DAILY = re.compile(r"daily at (?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)")
CRON_PARTS = ("minute", "hour", "day of the month", "month", "day of the week")
FORMS = "`every 5 minutes`, `every 2 hours`, `daily at 03:00`, or a cron line such as `*/10 8-20 * * *`"
DRIVERS: Mapping[str, str | None] = {
    "sqlite": None,
    "postgresql+psycopg": None,
    "postgresql": "postgresql+psycopg://",
    "postgres": "postgresql+psycopg://",
    "postgresql+psycopg2": "postgresql+psycopg://",
    "postgresql+asyncpg": "postgresql+psycopg://",
    "sqlite3": "sqlite:///",
    "sqlite+aiosqlite": "sqlite:///",
}
"""What a database URL begins with, and what to write in place of what we do not take."""
PAST = frozenset(
    [
        "ANG",
        "AZM",
        "BGN",
        "BTC",
        "BYR",
        "CSD",
        "CUC",
        "CYP",
        "EEK",
        "GGP",
        "GHC",
        "HRK",
        "IMP",
        "IRT",
        "JEP",
        "KID",
        "LTL",
        "LVL",
        "MRO",
        "MTL",
        "MZM",
        "PRB",
        "ROL",
        "SDD",
        "SIT",
        "SKK",
        "SLL",
        "STD",
        "TMM",
        "TRL",
        "USDC",
        "VEB",
        "VEF",
        "ZMK",
        "ZWD",
        "ZWL",
        "ZWR",
    ]
)
"""Currencies that today's ISO 4217 does not list, and that orders of shops are in: they need rates, too."""
PIECE = r"(?:[^\s@:/?#\[\]%]|%[0-9A-Fa-f]{2})"
SERVER = re.compile(
    rf"(?:{PIECE}+(?::(?:{PIECE}|:)*)?@)?"
    rf"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])?(?::(?P<port>[^\s@:/?#]*))?(?:/(?P<name>{PIECE}*))?(?:\?(?P<query>[^\s@#]*))?"
)
"""user:password@host:port/name?query: with no `@` behind the first, nobody takes one part for another."""
WRITTEN = (
    "write `@` as `%40`, `:` as `%3A`, `/` as `%2F`, `%` as `%25`, `#` as `%23`, `?` as `%3F`, `[` as `%5B`"
)
NAME = re.compile(r"[A-Za-z0-9_-]+")
ALERT = re.compile(r"(?!https?:)[a-z0-9]+://\S+")


def time_zone(name: str) -> str:
    """Accept what the IANA time zone database has, in its own spelling: `Europe/Paris`."""
    if name not in _time_zones():
        near = suggestion(name, _time_zones())
        raise Wrong(
            "unknown time zone", near if near.startswith("did") else "a name such as `Europe/Paris` or `UTC`"
        )
    return name


@functools.cache
def _time_zones() -> frozenset[str]:
    """Read the names from one file: `zoneinfo` opens some hundred for it."""
    return frozenset((pkgutil.get_data("tzdata", "zones") or b"").decode().split())


def currency(code: str) -> str:
    """Accept an ISO 4217 code of money that has a minor unit, or had one; upper case comes back."""
    written = code.strip().upper()
    if written in PAST:
        return written
    try:
        known = Currency(written)
    except ValueError:
        raise Wrong("unknown currency", "an ISO 4217 code such as `EUR`") from None
    if known.exponent is None:
        raise Wrong("no currency that orders can be paid in", "an ISO 4217 code such as `EUR`")
    return str(known.code)


def rate(value: Decimal) -> Decimal:
    """Accept how much of the sync's currency one unit of another is worth."""
    if not value.is_finite() or value <= 0:
        raise Wrong("must be more than 0")
    if len(value.normalize().as_tuple().digits) > RATE_DIGITS:
        raise Wrong(f"has more than {RATE_DIGITS} significant digits", "round it")
    if abs(value.adjusted()) > RATE_DIGITS:
        raise Wrong("is no rate between two currencies")
    return value


def database(url: str) -> str:
    """Accept an SQLite file or PostgreSQL by psycopg."""
    driver, separator, rest = url.partition("://")
    if not separator or driver not in DRIVERS:
        raise Wrong("unknown kind of database", "`sqlite:///state.db` or `postgresql+psycopg://…`")
    instead = DRIVERS[driver]
    if instead:
        raise Wrong(f"the driver `{driver}` is not supported", f"begin with `{instead}`")
    if driver == "sqlite" and (not rest.startswith("/") or rest in {"/", "/:memory:"}):
        raise Wrong("names no file", "`sqlite:///state.db`: three slashes, then the file")
    if driver != "sqlite":
        _check_server(rest)
    return url


def _check_server(rest: str) -> None:
    """Refuse what one reader of URLs takes apart otherwise than another: a part of a password would be the host."""
    found = SERVER.fullmatch(rest)
    if not found or not _can_be_taken_apart(f"//{rest}"):
        instead = f"`postgresql+psycopg://user:${{PASSWORD}}@host/name`; inside a URL, {WRITTEN}"
        raise Wrong("is no address", instead)
    port = found["port"]
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536):
        raise Wrong("has no port between 1 and 65535", "leave out `:` and what follows for 5432")
    if not found["name"]:
        raise Wrong(
            "names no database", "`postgresql+psycopg://user:${PASSWORD}@host/name`: the name at its end"
        )
    if "password" in dict(parse_qsl(found["query"] or "")):
        raise Wrong("has a password behind `?`", "`postgresql+psycopg://user:${PASSWORD}@host/name`")


def _can_be_taken_apart(url: str) -> bool:
    """Tell whether a URL has a host that can be one; Python's own complaint would quote a password."""
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


def schedule(text: str) -> str:
    """Accept one of FORMS; single spaces, and lower case but in cron lines, come back."""
    words = " ".join(text.split())
    for form in (EVERY, DAILY):
        found = form.fullmatch(words.lower())
        if found:
            return _phrase(found)
    if len(words.split()) != len(CRON_PARTS):
        raise Wrong("is no schedule", FORMS)
    _check_cron(words)
    return words


def _phrase(found: re.Match[str]) -> str:
    parts: dict[str, Any] = found.groupdict()
    if "number" not in parts:
        return f"daily at {int(parts['hour']):02}:{parts['minute']}"
    number = int(parts["number"])
    if number == 0:
        raise Wrong("a schedule of no time at all", "`every 1 minute` is the shortest")
    return f"every {number} {parts['unit']}{'s' if number > 1 else ''}"


def _check_cron(line: str) -> None:
    """Hold a cron line to what APScheduler can do with it.

    Weekdays by number are refused: 0 is Sunday to cron and Monday to APScheduler
    (https://apscheduler.readthedocs.io/en/3.x/modules/triggers/cron.html), and both have users.
    """
    fields = line.split()
    if re.search(r"\d", fields[-1].partition("/")[0]):
        raise Wrong("a day of the week by its number", "write its name: `mon`, `tue-fri`, `sat,sun`")
    for position, part in enumerate(CRON_PARTS):
        alone = ["*"] * len(fields)
        alone[position] = fields[position]
        if _next_moment(" ".join(alone)) is None:
            raise Wrong(f"the {part} of this cron line cannot be", FORMS)
    if _next_moment(line) is None:
        raise Wrong("a moment that never comes", FORMS)


def _next_moment(line: str) -> datetime | None:
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - slow to load, and rarely needed

    try:
        trigger = CronTrigger.from_crontab(line, timezone="UTC")
    except (ValueError, TypeError):
        return None
    moment: datetime | None = trigger.get_next_fire_time(None, datetime(2024, 1, 1, tzinfo=UTC))
    return moment


def web_address(text: str, *, query: bool = False) -> str:
    """Accept http(s)://host…, without user or fragment, and without a `query` unless it may have one."""
    instead = "a web address such as `https://shop.example`"
    try:
        parts = urlsplit(text.strip())
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an impossible port or IPv6 address
        good = False
    if not good or re.search(r"\s", text.strip()) or text.strip().startswith(("http:///", "https:///")):
        raise Wrong("is not a web address", instead)
    if parts.username is not None:
        raise Wrong("holds a user's name", "leave out what stands before `@`")
    if parts.fragment or (parts.query and not query):
        raise Wrong("goes on behind the path", "leave out `?` and `#` and what follows")
    return text.strip()


def alert(url: SecretStr) -> SecretStr:
    """Accept what looks like an address of apprise's; whether it knows the service is found out later."""
    written = url.get_secret_value()
    if not ALERT.fullmatch(written) or not _can_be_taken_apart(written):
        instead = "`jsons://example.com/hook` for a webhook, `mailtos://user:password@example.com` for mail"
        raise Wrong("is no address for alerts", instead)
    return url


def folder_address(text: str) -> str:
    """Accept a web address to which paths are appended: without a slash at its end."""
    return web_address(text).rstrip("/")


def listen(text: str) -> str:
    """Accept host:port, `[::]:8080` among them; port 0 takes a free one."""
    host, colon, port = text.strip().rpartition(":")
    instead = "an address and a port, such as `127.0.0.1:8080` or `0.0.0.0:8080`"
    if not colon or not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+", host):
        raise Wrong("is no address to listen on", instead)
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise Wrong("has no port between 0 and 65535", instead)
    return f"{host}:{int(port)}"


def share(text: object) -> object:
    """Read `5%` as Decimal("0.05")."""
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,4})?)\s*%\s*", text) if isinstance(text, str) else None
    if isinstance(text, Decimal):
        return text
    if not found or Decimal(found[1]) > 100:
        raise Wrong("is no share", "a percentage between 0% and 100%, such as `5%`")
    return Decimal(found[1]) / 100


def name(text: str) -> str:
    """Accept what the owner calls a store, an ESP or a sync."""
    if not NAME.fullmatch(text):
        raise Wrong("no name for a store, an ESP or a sync", "letters without accents, digits, `_` and `-`")
    return text
