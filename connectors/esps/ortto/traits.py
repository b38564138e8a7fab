"""What Ortto can express."""

from connectors.base import Traits
from connectors.esps.ortto.fields import PRESET

TRAITS = Traits(
    place=frozenset({"region"}),
    batch_size=100,
    list_batch_size=100,
    pushes=4,
    max_fields=100,
    builtin_fields=frozenset(PRESET),
    can_ask=False,
)
