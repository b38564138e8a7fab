"""What a sync's profiles rest on: its stores, its ESP, its money and its clock."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True)
class Scope:
    """What a sync's profiles rest on.

    `rates` is the worth of one unit of a currency in `currency`; `timezone` (IANA) says what is night.
    `beside` are stores of other syncs into the same ESP: what they refuse holds there for everybody.
    """

    sync: str
    stores: Sequence[str]
    esp: str
    currency: str
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    timezone: str = "UTC"
    beside: Sequence[str] = ()

    def __hash__(self) -> int:
        return hash((self.sync, self.digest))

    @property
    def digest(self) -> str:
        rates = sorted((code, str(rate)) for code, rate in self.rates.items())
        stores = (sorted(self.stores), sorted(self.beside))
        content = repr((stores, self.esp, self.currency, rates, self.timezone))
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


ESP = "esp:"


def esp_origin(esp: str) -> str:
    """Name an ESP as the origin of a consent record, apart from a store of the same name."""
    return f"{ESP}{esp}"
