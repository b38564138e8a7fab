"""JSON as it really comes: with bytes and escapes in it that are no letters."""

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


@functools.cache
def _decoder(shape: Any) -> Callable[[bytes | str], Any]:
    return msgspec.json.Decoder(shape, float_hook=Decimal).decode


def read_json(body: bytes, shape: Any = Any) -> Any:
    """Read JSON; what is no letter (bad UTF-8, half a pair) becomes U+FFFD, so that a name costs no page."""
    decode = _decoder(shape)
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return decode(letters_of(body))


def letters_of(body: bytes) -> str:
    """Decode the text of a JSON document, with U+FFFD for what is no letter: nothing could store half a pair."""
    text = body.decode("utf-8-sig", "replace")
    return _ESCAPE.sub(lambda found: r"\ufffd" if found["half"] else found[0], text)
