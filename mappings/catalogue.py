"""What mappings can speak of: the profile's columns, and some that are computed from them.

A stored column declares its kind and its description in `state.tables.ProfileRow`; nothing is repeated
here. A virtual column is an expression over others, which stands wherever its name is written.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from state.tables import Kind, ProfileRow, table

PROFILES = table(ProfileRow)


@dataclass(frozen=True, slots=True)
class ProfileColumn:
    """A column that expressions can name. `expression` says what a virtual one stands for."""

    name: str
    kind: Kind
    description: str
    expression: str | None = None


VIRTUAL = (
    ProfileColumn(
        "purchase_frequency",
        Kind.NUMBER,
        "Orders in 365 days, since the first one: orders_count * 365 / days since first_order_at.",
        "round(orders_count * 365 / greatest(days_since(first_order_at), 1), 2)",
    ),
)


@functools.cache
def catalogue() -> Mapping[str, ProfileColumn]:
    """List every column by its name, the stored ones first, in the order of the table."""
    described = ProfileRow.model_fields
    stored = (
        ProfileColumn(column.name, column.info["kind"], described[column.name].description or "")
        for column in PROFILES.columns
        if "kind" in column.info
    )
    return {column.name: column for column in (*stored, *VIRTUAL)}


def column_table() -> str:
    """Write the columns as a table for `docs/mapping.md`."""
    rows = (f"| `{name}` | {column.kind} | {column.description} |" for name, column in catalogue().items())
    return "\n".join(("| column | type | what it holds |", "| --- | --- | --- |", *rows))
