"""What a file can express."""

from connectors.base import Traits
from connectors.esps.csv.table import OURS

TRAITS = Traits(
    place=frozenset({"path"}),
    batch_size=10_000,
    list_batch_size=10_000,
    name_pattern=rf"(?!({'|'.join(OURS)})$)[^\s'=+@-][^\r\n\t]*",
    name_rule=f"any text in one line, but not {', '.join(OURS)}, and no formula",
    can_ask=False,
)
