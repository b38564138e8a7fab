"""Time zones, as an owner names them in a store's settings."""

import functools
import pkgutil
from typing import Annotated

from pydantic import AfterValidator


@functools.cache
def _names() -> frozenset[str]:
    """Return the names of the IANA database: from one file, since `zoneinfo` opens hundreds for it."""
    return frozenset((pkgutil.get_data("tzdata", "zones") or b"").decode().split())


def _known(name: str) -> str:
    if name not in _names():
        raise ValueError(f"`{name}` is no timezone; write it as Europe/Paris")
    return name


TimeZone = Annotated[str, AfterValidator(_known)]
"""A name such as Europe/Paris."""
