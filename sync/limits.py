"""P11: nothing large happens unasked. Pure: what waits against what the owner allows."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Protocol

from state.approvals import Amount


class Limits(Protocol):
    """What the owner allows in one run; None is no limit.

    Up to `list_floor` changes of a list are never too large a share of it.
    """

    new_contacts: int | None
    list_changes: int | None
    list_share: Decimal | None
    list_floor: int


def exceeded(limits: Limits | None, waiting: Amount, approved: Amount, sizes: Mapping[str, int]) -> list[str]:
    """Say which limits the waiting writes go beyond, those that were approved apart.

    `sizes` are the members of each list now. A list that is empty as yet has no share to exceed.
    """
    if limits is None:
        return []
    left = waiting.beyond(approved)
    return [*_too_many(limits, waiting, left), *_too_large_shares(limits, left, sizes)]


def _too_many(limits: Limits, waiting: Amount, left: Amount) -> Iterator[str]:
    if limits.new_contacts is not None and left.created > limits.new_contacts:
        said = _of(waiting.created, left.created, "new contacts")
        yield f"{said}, limits.new_contacts is {limits.new_contacts}"
    changes, unasked = sum(waiting.lists.values()), sum(left.lists.values())
    if limits.list_changes is not None and unasked > limits.list_changes:
        yield f"{_of(changes, unasked, 'list entries')}, limits.list_changes is {limits.list_changes}"


def _of(all_: int, unasked: int, what: str) -> str:
    return f"{all_} {what}" if all_ == unasked else f"{all_} {what}, {unasked} of them not approved"


def _too_large_shares(limits: Limits, left: Amount, sizes: Mapping[str, int]) -> Iterator[str]:
    if limits.list_share is None:
        return
    for name, count in left.lists.items():
        members = sizes.get(name, 0)
        if members and count > limits.list_floor and count > limits.list_share * members:
            said = f"list {name}: {count} changes, it has {members} members"
            yield f"{said}, limits.list_share is {limits.list_share * 100:.4g}%"
