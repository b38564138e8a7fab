"""Rows in the orders in which somebody asks for them."""

import bisect
from collections.abc import Callable, Mapping, Sequence

Key = Callable[[int], tuple[int, int]]


class Shelf:
    """Ids sorted by several moments, oldest first; take one out while its moments change.

    `moments` say when something happened to an id, in seconds. A list is made when it is first asked for.
    """

    def __init__(self, moments: Mapping[str, Callable[[int], int]], ids: Callable[[], Sequence[int]]) -> None:
        self._moments = moments
        self._ids = ids
        self._sorted: dict[str, list[int]] = {}

    def key(self, by: str) -> Key:
        moment = self._moments.get(by)
        return (lambda number: (moment(number), number)) if moment else (lambda number: (number, number))

    def sorted_by(self, by: str) -> list[int]:
        """Return the ids by a moment, or by themselves. Not to be changed."""
        if by not in self._sorted:
            self._sorted[by] = sorted(self._ids(), key=self.key(by))
        return self._sorted[by]

    def put(self, number: int) -> None:
        for by, ids in self._sorted.items():
            bisect.insort(ids, number, key=self.key(by))

    def take(self, number: int) -> None:
        for by, ids in self._sorted.items():
            place = bisect.bisect_left(ids, self.key(by)(number), key=self.key(by))
            if place < len(ids) and ids[place] == number:
                del ids[place]
