"""Every GraphQL operation that we send. They validate against the Admin schema of 2025-10 to 2026-10.

- Money in the shop's own currency only (`shopMoney`): one order may be paid in another.
- Fields are the same page by page and in bulk, so that one reader reads both.
- A bulk query takes no variables, ignores `first`, and must not sort: with `sortKey: UPDATED_AT` rows were
  seen to go missing (https://github.com/estuary/connectors/pull/4679). Objects of a connection become lines
  of their own, which name their parent.
"""

from collections.abc import Mapping
from typing import NamedTuple

from connectors.base import Resource

MONEY = "{ shopMoney { amount currencyCode } }"
ADDRESS = "{ firstName lastName company phone zip city countryCodeV2 }"
PAGE_INFO = "pageInfo { hasNextPage endCursor }"
LINES_ON_PAGE = 25
"""Lines of an order that come with it. Few orders have more; theirs are asked for again, many at once."""

ORDER = f"""
  __typename id name createdAt processedAt updatedAt cancelledAt test displayFinancialStatus
  displayFulfillmentStatus
  email phone customerAcceptsMarketing sourceName taxesIncluded
  totalPriceSet {MONEY} totalReceivedSet {MONEY} totalTaxSet {MONEY} totalDiscountsSet {MONEY}
  customer {{ id }}
  billingAddress {ADDRESS}
  shippingAddress {ADDRESS}
  customerJourneySummary {{
    firstVisit {{
      source sourceType referrerUrl landingPage
      utmParameters {{ source medium campaign content term }}
    }}
  }}
  refunds {{ id createdAt totalRefundedSet {MONEY} }}
"""
LINE = f"""
  id title quantity currentQuantity discountedTotalSet(withCodeDiscounts: true) {MONEY} product {{ id }}
"""
CUSTOMER = f"""
  __typename id firstName lastName createdAt updatedAt state tags
  defaultEmailAddress {{ emailAddress marketingState marketingOptInLevel marketingUpdatedAt }}
  defaultPhoneNumber {{ phoneNumber }}
  defaultAddress {ADDRESS}
"""
PRODUCT = "__typename id title productType updatedAt category { name }"
COLLECTION = "id handle title"
CHECKOUT = f"""
  __typename id abandonedCheckoutUrl createdAt updatedAt completedAt
  totalPriceSet {MONEY}
  customer {{ id defaultEmailAddress {{ emailAddress }} }}
"""


class Kind(NamedTuple):
    """How a resource is asked for: its root field, its type, its fields; `children` are its connection."""

    root: str
    type: str
    sort_keys: str
    fields: str
    children: str = ""
    child: str = ""
    children_on_page: int = 0

    @property
    def on_page(self) -> str:
        if not self.children:
            return self.fields
        nested = f"{self.children}(first: {self.children_on_page}) {{ nodes {{ {self.child} }} {PAGE_INFO} }}"
        return f"{self.fields} {nested}"


KINDS: Mapping[Resource, Kind] = {
    Resource.ORDERS: Kind(
        "orders", "Order", "OrderSortKeys", ORDER, "lineItems", LINE, children_on_page=LINES_ON_PAGE
    ),
    Resource.CUSTOMERS: Kind("customers", "Customer", "CustomerSortKeys", CUSTOMER),
    Resource.PRODUCTS: Kind(
        "products", "Product", "ProductSortKeys", PRODUCT, "collections", COLLECTION, children_on_page=20
    ),
    Resource.CHECKOUTS: Kind(
        "abandonedCheckouts", "AbandonedCheckout", "AbandonedCheckoutSortKeys", CHECKOUT
    ),
}


def _page(kind: Kind) -> str:
    return f"""query Page($first: Int!, $after: String, $query: String, $sort: {kind.sort_keys}!) {{
  {kind.root}(first: $first, after: $after, query: $query, sortKey: $sort) {{
    nodes {{ {kind.on_page} }}
    {PAGE_INFO}
  }}
}}"""


def _probe(kind: Kind) -> str:
    return f"query Probe($query: String) {{ {kind.root}(first: 1, query: $query) {{ nodes {{ id }} }} }}"


def _by_ids(kind: Kind) -> str:
    return f"query ByIds($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on {kind.type} {{ {kind.on_page} }} }} }}"


def bulk_query(kind: Kind, search: str | None) -> str:
    """Write the query that a bulk operation runs; `search` narrows it."""
    narrowed = f'(query: "{search}")' if search else ""
    nested = f"{kind.children} {{ edges {{ node {{ {kind.child} }} }} }}" if kind.children else ""
    return f"{{ {kind.root}{narrowed} {{ edges {{ node {{ {kind.fields} {nested} }} }} }} }}"


PAGES = {resource: _page(kind) for resource, kind in KINDS.items()}
PROBES = {resource: _probe(kind) for resource, kind in KINDS.items()}
BY_IDS = {resource: _by_ids(kind) for resource, kind in KINDS.items()}

COUNT_ORDERS = (
    "query CountOrders($query: String) { ordersCount(query: $query, limit: null) { count precision } }"
)
ORDER_LINES = f"""query OrderLines($ids: [ID!]!) {{
  nodes(ids: $ids) {{ ... on Order {{ id lineItems(first: 250) {{ nodes {{ {LINE} }} {PAGE_INFO} }} }} }}
}}"""
MORE_LINES = f"""query MoreLines($id: ID!, $after: String) {{
  order(id: $id) {{ id lineItems(first: 250, after: $after) {{ nodes {{ {LINE} }} {PAGE_INFO} }} }}
}}"""
SHOP = """query ShopInfo {
  shop { id name myshopifyDomain }
  currentAppInstallation { id accessScopes { handle } }
}"""
RUN_BULK = """mutation BulkRun($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: true) {
    bulkOperation { id status }
    userErrors { code field message }
  }
}"""
CANCEL_BULK = """mutation BulkCancel($id: ID!) {
  bulkOperationCancel(id: $id) { bulkOperation { id status } userErrors { field message } }
}"""
JOB = "id status errorCode objectCount rootObjectCount fileSize url"
BULK_STATUS = f"query BulkStatus($id: ID!) {{ bulkOperation(id: $id) {{ {JOB} }} }}"
BULK_STATUS_BEFORE_2026 = (
    f"query BulkStatus($id: ID!) {{ node(id: $id) {{ ... on BulkOperation {{ {JOB} }} }} }}"
)
WEBHOOKS = f"""query Webhooks($after: String) {{
  webhookSubscriptions(first: 50, after: $after) {{ nodes {{ id topic uri }} {PAGE_INFO} }}
}}"""
MAKE_WEBHOOK = """mutation WebhookCreate($topic: WebhookSubscriptionTopic!, $sub: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $sub) {
    webhookSubscription { id }
    userErrors { field message }
  }
}"""
DELETE_WEBHOOK = """mutation WebhookDelete($id: ID!) {
  webhookSubscriptionDelete(id: $id) { deletedWebhookSubscriptionId userErrors { field message } }
}"""

ALL: Mapping[str, str] = {
    **{f"page of {resource}": text for resource, text in PAGES.items()},
    **{f"probe of {resource}": text for resource, text in PROBES.items()},
    **{f"{resource} by their ids": text for resource, text in BY_IDS.items()},
    **{f"bulk query for {resource}": bulk_query(kind, None) for resource, kind in KINDS.items()},
    "bulk query for a part": bulk_query(KINDS[Resource.ORDERS], "created_at:>='2026-01-01T00:00:00Z'"),
    "count of orders": COUNT_ORDERS,
    "lines of orders": ORDER_LINES,
    "more lines of an order": MORE_LINES,
    "shop": SHOP,
    "run a bulk operation": RUN_BULK,
    "cancel a bulk operation": CANCEL_BULK,
    "status of a bulk operation": BULK_STATUS,
    "status of a bulk operation, older": BULK_STATUS_BEFORE_2026,
    "webhooks": WEBHOOKS,
    "make a webhook": MAKE_WEBHOOK,
    "delete a webhook": DELETE_WEBHOOK,
}
"""By what they are for: tests hold each to the vendor's schema."""
