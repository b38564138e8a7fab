"""Logs: one event a line to stderr, JSON or coloured, with secrets and addresses cut out of everything (P8)."""

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS = ("debug", "info", "warning", "error")
SHORTEST_SECRET = 4
"""Characters. Cutting out anything shorter would leave no text readable, and it protects nothing."""
ADDRESS = re.compile(r"[^\s<>\"'(),;:=/?&]+(?:@|%40)[^\s<>\"'(),;:=/?&]+", re.IGNORECASE)
PHONE = re.compile(r"(?<![\w.:-])\+\d[\d .()/-]{6,18}\d")
Plain = bool | int | float | None


class Redaction:
    """A structlog processor that leaves neither a secret nor what looks like an e-mail address or a phone number."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        found |= {quote(secret, safe="") for secret in found}
        longest_first = sorted(found, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {self.text(key): self._clean(value) for key, value in event.items()}

    def text(self, text: str) -> str:
        """Cut a text."""
        cut = self._secrets.sub("(secret)", text) if self._secrets else text
        return PHONE.sub("(number)", ADDRESS.sub("(address)", cut))

    def _clean(self, value: Any) -> Any:
        if isinstance(value, Plain):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(inner) for inner in value]
        return self.text(value if isinstance(value, str) else repr(value))


def configure(*, json: bool, level: str, secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Set up structlog, and the standard library's logging (httpx, uvicorn, alembic) from warnings up.

    May be called again, when the configuration was read anew. `level` is one of LEVELS.
    """
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        Redaction(secrets),
    ]
    last = _renderer(json=json, colors=out.isatty())
    structlog.configure(
        processors=[*before, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(out, before, last)


def _renderer(*, json: bool, colors: bool) -> Processor:
    if json:
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
    )


def _route_standard_logging(out: TextIO, before: list[Processor], last: Processor) -> None:
    """Send other libraries' records through the same processors; their own handlers go."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *before, last],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if (
            isinstance(old.formatter, structlog.stdlib.ProcessorFormatter)
            or type(old) is logging.StreamHandler
        ):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
