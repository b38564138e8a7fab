"""What a query costs, and the bucket it is paid from.

Shopify does not tell its formula. An object costs a point and a connection grows with the root of its size:
invented, but like the real one it makes 250 orders with 25 lines each affordable. `linear` makes them not so.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
)

MUTATION = 10
MOST = 1000
"""Points that one query may cost."""


@dataclass(slots=True)
class Bucket:
    """Points that refill by the shop's clock."""

    most: float
    rate: float
    now: Callable[[], float]
    left: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.at = self.most, self.now()

    def take(self, points: float) -> bool:
        """Take points if there are as many."""
        now = self.now()
        self.left, self.at = min(self.most, self.left + (now - self.at) * self.rate), now
        if points > self.left:
            return False
        self.left -= points
        return True

    def give_back(self, points: float) -> None:
        self.left = min(self.most, self.left + max(0.0, points))

    def status(self) -> Mapping[str, Any]:
        return {
            "maximumAvailable": self.most,
            "currentlyAvailable": int(self.left),
            "restoreRate": self.rate,
        }


def requested(
    schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any], *, linear: bool
) -> int:
    """Say what a query may cost at most."""
    operation = next(each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    if operation.operation is OperationType.MUTATION:
        return MUTATION
    counting = _Counting(schema, document, variables, linear=linear)
    return math.ceil(counting.children(operation.selection_set, schema.query_type))


class _Counting:
    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any], *, linear: bool
    ) -> None:
        self._schema = schema
        self._fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._variables = variables
        self._linear = linear

    def children(self, selections: SelectionSetNode | None, parent: Any) -> float:
        return sum((self._one(node, parent) for node in selections.selections), 0.0) if selections else 0.0

    def _one(self, node: Any, parent: Any) -> float:
        if isinstance(node, InlineFragmentNode):
            kind = self._schema.type_map[node.type_condition.name.value] if node.type_condition else parent
            return self.children(node.selection_set, kind)
        if isinstance(node, FragmentSpreadNode):
            fragment = self._fragments[node.name.value]
            kind = self._schema.type_map[fragment.type_condition.name.value]
            return self.children(fragment.selection_set, kind)
        return self._field(node, parent)

    def _field(self, node: FieldNode, parent: Any) -> float:
        name = node.name.value
        if name.startswith("__"):
            return 0.0
        kind = parent.fields[name].type
        named = get_named_type(kind)
        if is_leaf_type(named):
            return 0.0
        inner = self.children(node.selection_set, named)
        if named.name.endswith("Connection"):
            return 1 + self._weight(self._size(node)) * inner
        if name == "nodes" and parent.name == "QueryRoot":
            return 1 + self._weight(self._count(node)) * (1 + inner)
        return inner if name == "edges" else 0.0 if name == "pageInfo" else 1 + inner

    def _weight(self, size: int) -> float:
        return size if self._linear else math.sqrt(size)

    def _size(self, node: FieldNode) -> int:
        sizes = [
            self._value(each.value) for each in node.arguments or () if each.name.value in {"first", "last"}
        ]
        return int(sizes[0]) if sizes and sizes[0] is not None else 0

    def _count(self, node: FieldNode) -> int:
        ids: Any = next(
            (self._value(each.value) for each in node.arguments or () if each.name.value == "ids"), []
        )
        return len(ids) if isinstance(ids, list | tuple) else 1

    def _value(self, value: Any) -> Any:
        if isinstance(value, VariableNode):
            return self._variables.get(value.name.value)
        return getattr(value, "value", None)
