"""P11: nothing large happens unasked. Pure: what waits against what the owner allows."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from state.outbox import Pending


class Limits(Protocol):
    """What the owner allows in one run; None is no limit."""

    new_contacts: int | None
    list_changes: int | None
    list_share: Decimal | None


def exceeded(limits: Limits | None, waiting: Pending, sizes: Mapping[str, int]) -> list[str]:
    """Say which limits the waiting writes go beyond; `sizes` are the members of each list now.

    A list that is empty as yet has no share to exceed.
    """
    if limits is None:
        return []
    said = []
    if limits.new_contacts is not None and waiting.created > limits.new_contacts:
        said.append(f"{waiting.created} new contacts, limits.new_contacts is {limits.new_contacts}")
    changes = sum(waiting.lists.values())
    if limits.list_changes is not None and changes > limits.list_changes:
        said.append(f"{changes} list entries, limits.list_changes is {limits.list_changes}")
    for name, count in waiting.lists.items() if limits.list_share is not None else ():
        members = sizes.get(name, 0)
        if members and Decimal(count) / members > (limits.list_share or 0):
            said.append(f"list {name}: {count} of {members} members, limits.list_share")
    return said
