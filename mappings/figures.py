"""Numbers over the whole base, as SELECTs whose rows (rank, value) are kept in the table `figures`.

Amounts of money stay in minor units. Profiles of which the value is unknown count nowhere, and neither do those
that no store knows any more: a base that is read anew has none of them (P1).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from mappings.catalogue import PROFILES
from mappings.clock import Bound, Clock, clock_values
from mappings.portable import Portable, of_sync
from mappings.terms import Overall
from state.tables import Kind

PERMILLE, FIFTHS = 1000, 5


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its key in the table, what it is, and the SELECT that computes it for the sync `:sync`.

    Run what `at` gives: a figure of something that depends on the clock needs one.
    """

    key: str
    kind: str
    select: Select[Any]
    bounds: frozenset[Bound] = frozenset()

    def at(self, clock: Clock) -> Select[Any]:
        """Bind the clock; `:sync` stays open."""
        return self.select.params(clock_values(self.bounds, clock))


def make_figure(overall: Overall) -> Figure:
    amount = Portable("double", overall.value.sql, kind=Kind.NUMBER)
    return Figure(overall.key, overall.kind, SELECTS[overall.kind](amount), overall.value.needs.bounds)


def _known(*columns: ColumnElement[Any], amount: ColumnElement[Any]) -> Select[Any]:
    known = select(amount.label("value"), *columns)
    return known.where(of_sync(bindparam("sync")), PROFILES.c.stores.is_not(None), amount.is_not(None))


def _single(values: Any, *where: ColumnElement[bool]) -> Select[Any]:
    """Select the average at rank 0; no row at all when there is nothing to average."""
    average = func.avg(values.c.value).label("value")
    chosen = select(literal_column("0").label("rank"), average).where(*where)
    return chosen.having(func.count(values.c.value) > 0)


def _average(amount: ColumnElement[Any]) -> Select[Any]:
    return _single(_known(amount=amount).subquery())


def _median(amount: ColumnElement[Any]) -> Select[Any]:
    """Average the one or two values in the middle."""
    place = func.row_number().over(order_by=amount).label("place")
    total = func.count().over().label("total")
    ordered = _known(place, total, amount=amount).subquery()
    middle = ordered.c.place.between((ordered.c.total + 1) // 2, ordered.c.total // 2 + 1)
    return _single(ordered, middle)


def _percentiles(amount: ColumnElement[Any]) -> Select[Any]:
    """Select, for each tenth of a percent that somebody falls into, the smallest value in that top share.

    Equal values share the best place of theirs, so that no value stands at two ranks.
    """
    place = func.rank().over(order_by=amount.desc()).label("place")
    total = func.count().over().label("total")
    ordered = _known(place, total, amount=amount).subquery()
    rank = ((ordered.c.place * PERMILLE + ordered.c.total - 1) // ordered.c.total).label("rank")
    ranked = select(rank, ordered.c.value).subquery()
    return select(ranked.c.rank, func.min(ranked.c.value).label("value")).group_by(ranked.c.rank)


def _fifths(amount: ColumnElement[Any]) -> Select[Any]:
    """Select, for each fifth that somebody falls into (1 has the largest values), the smallest value in it.

    Equal values share the worst place of theirs: who does what most people do is in the lower fifth.
    """
    place = func.count().over(order_by=amount.desc()).label("place")
    total = func.count().over().label("total")
    ordered = _known(place, total, amount=amount).subquery()
    rank = ((ordered.c.place - 1) * FIFTHS // ordered.c.total + 1).label("rank")
    ranked = select(rank, ordered.c.value).subquery()
    return select(ranked.c.rank, func.min(ranked.c.value).label("value")).group_by(ranked.c.rank)


SELECTS: Mapping[str, Callable[[ColumnElement[Any]], Select[Any]]] = {
    "average": _average,
    "median": _median,
    "percentiles": _percentiles,
    "fifths": _fifths,
}
