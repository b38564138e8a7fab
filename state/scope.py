"""What a sync's profiles rest on: its stores, its ESP, its money and its clock."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True)
class Scope:
    """What a sync's profiles rest on.

    `rates` is the worth of one unit of a currency in `currency`; `timezone` (IANA) says what is night.
    `strangers` are stores that only syncs into other ESPs read, other brands' perhaps: what is refused in any other
    holds here too, also in one that has left the sync.
    """

    sync: str
    stores: Sequence[str]
    esp: str
    currency: str
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    timezone: str = "UTC"
    strangers: Sequence[str] = ()

    def __hash__(self) -> int:
        return hash((self.sync, self.digest))

    @property
    def digest(self) -> str:
        rates = sorted((code, str(rate)) for code, rate in self.rates.items())
        stores = (sorted(self.stores), sorted(self.strangers))
        content = repr((stores, self.esp, self.currency, rates, self.timezone))
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


ESP = "esp:"


def esp_origin(esp: str) -> str:
    """Name an ESP as the origin of a consent record, apart from a store of the same name."""
    return f"{ESP}{esp}"
