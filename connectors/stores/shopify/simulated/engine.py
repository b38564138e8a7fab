"""The GraphQL side: operations are validated and executed by graphql-core over a part of Shopify's schema."""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from connectors.stores.shopify.simulated.cost import MOST, Bucket, requested
from connectors.stores.shopify.simulated.jobs import RUNNING, Job, Jobs
from connectors.stores.shopify.simulated.nodes import CONNECTIONS, NODES, Node, iso, node_of
from connectors.stores.shopify.simulated.search import after, found, horizon, parse_search
from connectors.stores.shopify.simulated.shop import SimulatedShop

LARGEST_PAGE = 250
SORTS = {"UPDATED_AT": "updated", "CREATED_AT": "created", "PROCESSED_AT": "created", "ID": "id"}
RIGHTS = {
    "orders": "read_orders",
    "ordersCount": "read_orders",
    "abandonedCheckouts": "read_orders",
    "customers": "read_customers",
    "products": "read_products",
}
CODES = (
    ("Cannot query field", "undefinedField"),
    ("Unknown argument", "argumentNotAccepted"),
    ("Variable", "variableMismatch"),
    ("Syntax Error", "parseError"),
)


@lru_cache(maxsize=1)
def schema() -> GraphQLSchema:
    text = files("connectors.stores.shopify.simulated").joinpath("schema.graphql").read_text("utf-8")
    return build_schema(text)


@lru_cache(maxsize=64)
def _validated(query: str) -> DocumentNode | tuple[GraphQLError, ...]:
    try:
        document = parse(query)
    except GraphQLError as error:
        return (error,)
    return tuple(validate(schema(), document)) or document


class Engine:
    """Answers operations out of a shop."""

    def __init__(
        self,
        shop: SimulatedShop,
        bucket: Bucket,
        jobs: Jobs,
        *,
        linear: bool,
        most_jobs: int,
    ) -> None:
        self._shop = shop
        self._bucket = bucket
        self._jobs = jobs
        self._linear = linear
        self._most_jobs = most_jobs
        self._address = ""
        self._searches: list[dict[str, Any]] = []
        self._share = 1.0
        self._roots: Mapping[str, Callable[..., Any]] = {
            **{name: self._connection(name) for name in NODES},
            "ordersCount": self._orders_count,
            "order": lambda **asked: node_of(self._shop, asked["id"]),
            "customer": lambda **asked: node_of(self._shop, asked["id"]),
            "node": self._node,
            "nodes": lambda ids: [self._node(each) for each in ids],
            "shop": self._shop_row,
            "currentAppInstallation": self._installation,
            "bulkOperation": self._node,
            "bulkOperationRunQuery": self._run,
            "bulkOperationCancel": self._cancel,
            "webhookSubscriptions": self._hooks,
            "webhookSubscriptionCreate": self._make_hook,
            "webhookSubscriptionDelete": self._delete_hook,
        }

    def answer(self, query: str, variables: Mapping[str, Any], address: str) -> dict[str, Any]:
        """Validate, charge, execute; return the body of the answer."""
        document = _validated(query)
        if isinstance(document, tuple):
            return {"errors": [_shown(error) for error in document]}
        points = requested(schema(), document, variables, linear=self._linear)
        if points > MOST:
            return _too_expensive(points)
        if not self._bucket.take(points):
            return {"errors": [_throttled()], "extensions": {"cost": self._cost(points, None)}}
        self._address, self._searches, self._share = address, [], 1.0
        result = execute_sync(
            schema(),
            document,
            variable_values=dict(variables),
            field_resolver=self._resolve,
            type_resolver=_type_of,
        )
        actual = math.ceil(points * self._share)
        self._bucket.give_back(points - actual)
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = [_shown(error) for error in result.errors]
        extensions: dict[str, Any] = {"cost": self._cost(points, actual)}
        if self._searches:
            extensions["search"] = self._searches
        return body | {"extensions": extensions}

    # --- fields ----------------------------------------------------------------------------------------

    def _resolve(self, source: Any, info: GraphQLResolveInfo[Any], **asked: Any) -> Any:
        name = info.field_name
        if source is None:
            self._check_right(name)
            return self._roots[name](**asked)
        value = source.field(name) if isinstance(source, Node) else source[name]
        if name in CONNECTIONS and isinstance(value, list):
            return _nested(value, asked)
        return value[: asked["first"]] if asked.get("first") and isinstance(value, list) else value

    def _check_right(self, name: str) -> None:
        right = RIGHTS.get(name, "")
        granted = {right, right.replace("read_", "write_")} & self._shop.scopes
        if (right and not granted) or name in self._shop.denied:
            raise GraphQLError(
                f"Access denied for {name} field. Required access: `{right}` access scope.",
                path=[name],
                extensions={"code": "ACCESS_DENIED"},
            )

    def _connection(self, root: str) -> Callable[..., Any]:
        def resolve(**asked: Any) -> Any:
            first = asked.get("first") or 0
            if first > LARGEST_PAGE or first < 1:
                raise GraphQLError("first must be between 1 and 250", extensions={"code": "BAD_REQUEST"})
            sort = SORTS.get(asked.get("sortKey") or "ID", "id")
            ids = self._found(root, asked.get("query"), sort)
            if asked.get("after"):
                ids = after(self._shop, root, sort, ids, _place(asked["after"]))
            self._share = max(1, min(first, len(ids))) / first
            key = self._shop.shelves[root].key(sort)
            rows = [(NODES[root](self._shop, number), _cursor(key(number))) for number in ids[:first]]
            return _page(rows, more=len(ids) > first)

        return resolve

    def _found(self, root: str, query: str | None, sort: str) -> Sequence[int]:
        self._shop.let_search_catch_up()
        search = parse_search(query, root, self._shop.midnight)
        if search.warnings:
            self._searches.append({"path": [root], "query": query, "parsed": {}, "warnings": search.warnings})
        return found(self._shop, root, sort, [*search.filters, *horizon(self._shop, root)])

    def _orders_count(self, **asked: Any) -> Any:
        count, limit = len(self._found("orders", asked.get("query"), "id")), asked.get("limit", 10_000)
        cut = limit is not None and count > limit
        return {"count": limit if cut else count, "precision": "AT_LEAST" if cut else "EXACT"}

    def _node(self, id: str) -> Any:  # noqa: A002 - the argument's name in the schema
        if id.startswith("gid://shopify/BulkOperation/"):
            job = self._jobs.find(id)
            return self._job_row(job) if job else None
        return node_of(self._shop, id)

    def _shop_row(self) -> Any:
        return {
            "id": "gid://shopify/Shop/1",
            "name": "Simulated shop",
            "myshopifyDomain": "simulated-shop.myshopify.com",
            "currencyCode": "EUR",
            "ianaTimezone": "Europe/Paris",
            "taxesIncluded": True,
            "plan": {"publicDisplayName": "Basic", "partnerDevelopment": False, "shopifyPlus": False},
        }

    def _installation(self) -> Any:
        scopes = [{"handle": scope, "description": scope} for scope in sorted(self._shop.scopes)]
        return {"id": "gid://shopify/AppInstallation/1", "accessScopes": scopes}

    def _hooks(self, first: int, after: str | None = None, **_: Any) -> Any:
        rows, has_more = self._shop.hooks.list(first, after)
        return _page([(row, row["id"].rpartition("/")[2]) for row in rows], more=has_more)

    def _make_hook(self, topic: str, webhookSubscription: Mapping[str, Any]) -> Any:  # noqa: N803 - the name in the schema
        return self._shop.hooks.make(topic, webhookSubscription)

    def _delete_hook(self, id: str) -> Any:  # noqa: A002 - the argument's name in the schema
        return self._shop.hooks.delete(id)

    # --- bulk operations -------------------------------------------------------------------------------

    def _run(self, query: str, groupObjects: bool) -> Any:  # noqa: N803, FBT001 - the names in the schema
        document = _validated(query)
        if isinstance(document, tuple):
            return _refusal("INVALID", f"Invalid bulk query: {document[0].message}")
        for node in _root_fields(document):
            self._check_right(node)
        running = self._jobs.running()
        if len(running) >= self._most_jobs:
            code = "OPERATION_IN_PROGRESS" if self._most_jobs == 1 else "LIMIT_REACHED"
            already = "A bulk query operation for this app and shop is already in progress"
            return _refusal(code, f"{already}: {running[0].id}." if running else f"{already}.")
        job = self._jobs.start(query, grouped=groupObjects)
        return {"bulkOperation": self._job_row(job), "userErrors": []}

    def _cancel(self, id: str) -> Any:  # noqa: A002 - the argument's name in the schema
        job = self._jobs.find(id)
        if job is None:
            return {"bulkOperation": None, "userErrors": [{"field": ["id"], "message": "Not found"}]}
        self._jobs.cancel(job)
        return {"bulkOperation": self._job_row(job), "userErrors": []}

    def _job_row(self, job: Job) -> Mapping[str, Any]:
        url = f"{self._address}/bulk-results/{job.number}.jsonl?X-Goog-Signature=example"
        return {
            "__typename": "BulkOperation",
            "id": job.id,
            "status": job.status,
            "errorCode": job.error if job.status == "FAILED" else None,
            "type": "QUERY",
            "createdAt": iso(int(job.created)),
            "completedAt": iso(int(job.completed)) if job.completed else None,
            "objectCount": str(job.objects),
            "rootObjectCount": str(job.roots),
            "fileSize": str(job.file.size) if job.status not in RUNNING else None,
            "query": job.query,
            "url": url if job.status == "COMPLETED" and job.roots else None,
            "partialDataUrl": url if job.status == "FAILED" and job.roots else None,
        }

    def _cost(self, points: int, actual: int | None) -> Mapping[str, Any]:
        return {
            "requestedQueryCost": points,
            "actualQueryCost": actual,
            "throttleStatus": self._bucket.status(),
        }


def _type_of(value: Any, _info: Any, _type: Any) -> str:
    return value.type if isinstance(value, Node) else str(value["__typename"])


def _nested(rows: Sequence[Any], asked: Mapping[str, Any]) -> Any:
    """Page through a list that lies within a row: its cursors are positions."""
    start = int(_place(asked["after"])[0]) + 1 if asked.get("after") else 0
    first = asked.get("first") or 0
    page = [(row, _cursor((position, 0))) for position, row in enumerate(rows)][start : start + first]
    return _page(page, more=start + first < len(rows))


def _page(rows: Sequence[tuple[Any, str]], *, more: bool) -> Mapping[str, Any]:
    return {
        "nodes": [row for row, _ in rows],
        "edges": [{"node": row, "cursor": cursor} for row, cursor in rows],
        "pageInfo": {
            "hasNextPage": more,
            "hasPreviousPage": False,
            "startCursor": rows[0][1] if rows else None,
            "endCursor": rows[-1][1] if rows else None,
        },
    }


def _cursor(key: tuple[int, int]) -> str:
    return base64.b64encode(json.dumps({"last_value": key[0], "last_id": key[1]}).encode()).decode()


def _place(cursor: str) -> tuple[int, int]:
    told = json.loads(base64.b64decode(cursor))
    return told["last_value"], told["last_id"]


def _root_fields(document: DocumentNode) -> list[str]:
    operation = next(each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    return [node.name.value for node in operation.selection_set.selections if hasattr(node, "name")]


def _refusal(code: str, message: str) -> Any:
    return {"bulkOperation": None, "userErrors": [{"code": code, "field": None, "message": message}]}


def _shown(error: GraphQLError) -> dict[str, Any]:
    code = next(
        (code for words, code in CODES if error.message.startswith(words)), "argumentLiteralsIncompatible"
    )
    extensions = error.extensions or {"code": code}
    return {
        "message": error.message,
        "locations": [{"line": place.line, "column": place.column} for place in error.locations or ()],
        "path": list(error.path or ()),
        "extensions": extensions,
    }


def _throttled() -> dict[str, Any]:
    documentation = "https://shopify.dev/api/usage/rate-limits"
    return {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": documentation}}


def _too_expensive(points: int) -> dict[str, Any]:
    message = f"Query cost is {points}, which exceeds the single query max cost limit ({MOST})."
    return {
        "errors": [
            {"message": message, "extensions": {"code": "MAX_COST_EXCEEDED", "cost": points, "maxCost": MOST}}
        ]
    }
