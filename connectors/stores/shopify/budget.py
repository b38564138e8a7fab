"""What a query costs: Shopify gives points per second, and tells in each answer how many are left.

A query reserves what it may cost at most (`requestedQueryCost`) before it runs, and gets back what it did not
use. The numbers are the shop's own, by its plan; nothing here is assumed but that they refill evenly.
https://shopify.dev/docs/api/usage/limits
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEEMED_RATE = 50.0
"""Points per second of the smallest plan that ever was, until an answer tells better."""
MARGIN = 0.02
"""Seconds more than it takes: a hair too early would be refused."""


@dataclass(slots=True)
class Budget:
    """The points that are left, as far as we know. Moments are seconds of one clock, handed in."""

    left: float | None = None
    rate: float = DEEMED_RATE
    most: float | None = None
    at: float = 0.0
    costs: dict[str, float] = field(default_factory=dict)

    def cost_of(self, query: str) -> float:
        """Say what a query reserved when it was last sent; 0 for one never sent."""
        return self.costs.get(query, 0.0)

    def pause(self, query: str, now: float) -> float:
        """Seconds until the points suffice for this query; None are spent by asking."""
        lacking = 0.0 if self.left is None else self.cost_of(query) - self._have(now)
        return lacking / self.rate + MARGIN if lacking > 0 else 0.0

    def reserve(self, query: str, now: float) -> None:
        """Take a query's points, so that another one that is sent meanwhile does not count on them."""
        if self.left is not None:
            self.left, self.at = max(0.0, self._have(now) - self.cost_of(query)), now

    def learn(self, query: str, cost: Mapping[str, Any], now: float) -> None:
        """Read `extensions.cost` of an answer."""
        self.costs[query] = float(cost.get("requestedQueryCost") or 0)
        status = cost.get("throttleStatus") or {}
        if "currentlyAvailable" in status:
            self.left, self.at = float(status["currentlyAvailable"]), now
            self.rate = float(status.get("restoreRate") or self.rate)
            self.most = float(status["maximumAvailable"]) if "maximumAvailable" in status else self.most

    def never_suffices(self, query: str) -> bool:
        """Tell whether a query asks for more than the bucket ever holds."""
        return self.most is not None and self.cost_of(query) > self.most

    def _have(self, now: float) -> float:
        have = (self.left or 0.0) + (now - self.at) * self.rate
        return have if self.most is None else min(self.most, have)
