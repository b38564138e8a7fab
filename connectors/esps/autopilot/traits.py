"""What Autopilot can express."""

from connectors.base import ListKind, Traits
from connectors.esps.autopilot.fields import NAME_PATTERN, NAME_RULE, PRESET, STANDARD

TRAITS = Traits(
    batch_size=5_000,  # to learn who is there takes a reading of everybody: seldom
    list_batch_size=5_000,
    name_pattern=NAME_PATTERN,
    name_rule=NAME_RULE,
    builtin_fields=STANDARD | PRESET.keys(),
    list_kinds=frozenset(ListKind),
    can_ask=False,
)
