"""JSON as it really comes: with bytes and escapes in it that are no letters."""

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

_NUL = b"\\u0000"
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|(?P<nul>u0000)|.)"
)


@functools.cache
def _decoder(shape: Any) -> Callable[[bytes | str], Any]:
    return msgspec.json.Decoder(shape, float_hook=Decimal).decode


def read_json(body: bytes, shape: Any = Any) -> Any:
    """Read JSON; what is no letter (bad UTF-8, half a pair) becomes U+FFFD, so that a name costs no page.

    NUL, which says nothing and which PostgreSQL cannot hold, is left out.
    """
    decode = _decoder(shape)
    try:
        return decode(letters_of(body) if _NUL in body else body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return decode(letters_of(body))


def letters_of(body: bytes) -> str:
    """Decode the text of a JSON document, with U+FFFD for what is no letter: nothing could store half a pair."""
    return _ESCAPE.sub(_letter, body.decode("utf-8-sig", "replace"))


def _letter(escape: re.Match[str]) -> str:
    if escape["nul"]:
        return ""
    return r"\ufffd" if escape["half"] else escape[0]
