"""What a hook can be told."""

from connectors.base import Traits

TRAITS = Traits(batch_size=100, list_batch_size=100, tells_opt_outs=False, place=frozenset({"url"}))
