"""Web addresses, as an owner names them in settings."""

from typing import Annotated

from pydantic import AfterValidator


def _begun_well(address: str) -> str:
    if not address.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// or http://")
    return address


WebAddress = Annotated[str, AfterValidator(_begun_well)]
"""An address with its scheme; whether a host answers there, `check` finds out."""
