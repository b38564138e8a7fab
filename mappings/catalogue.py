"""What mappings can speak of: the profile's columns, and some that are computed from them.

A stored column declares its kind and its description in `state.tables.ProfileRow`; nothing is repeated
here. A virtual column is an expression over others, which stands wherever its name is written.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from state.tables import Kind, ProfileRow, table

PROFILES = table(ProfileRow)


@dataclass(frozen=True, slots=True)
class ProfileColumn:
    """A column that expressions can name.

    `expression` says what a virtual one stands for. `provider` is what would fill a column that no store can:
    until then it is unknown. `words` are all that a text ever holds, where they are few.
    """

    name: str
    kind: Kind
    description: str
    expression: str | None = None
    provider: str | None = None
    words: Sequence[str] = ()


NOT_BUYERS = "case when orders_count >= 1 then {} end"

SEGMENTS = """case
when rfm_recency >= 5 and rfm_frequency >= 4 then 'Champions'
when rfm_recency >= 3 and rfm_frequency >= 4 then 'Loyal'
when rfm_recency >= 4 and rfm_frequency >= 2 then 'Potential Loyalists'
when rfm_recency = 5 then 'New'
when rfm_recency = 4 then 'Promising'
when rfm_recency = 3 and rfm_frequency = 3 then 'Need Attention'
when rfm_recency = 3 then 'About To Sleep'
when rfm_frequency = 5 then 'Cannot Lose'
when rfm_frequency >= 3 then 'At Risk'
when rfm_frequency >= 1 then 'Hibernating'
end"""

VIRTUAL = (
    ProfileColumn(
        "purchase_frequency",
        Kind.NUMBER,
        "Orders in 365 days, since the first one: orders_count * 365 / days since first_order_at, of which there is at "
        "least one: a first order has 365 on its first day.",
        "round(orders_count * 365 / greatest(days_since(first_order_at), 1), 2)",
    ),
    ProfileColumn(
        "tenure_days", Kind.NUMBER, "Whole days since first_order_at.", "days_since(first_order_at)"
    ),
    ProfileColumn(
        "days_between_orders",
        Kind.NUMBER,
        "Days from one order to the next, on average, with one digit; unknown with fewer than two.",
        "round(days_between(first_order_at, last_order_at) / (orders_count - 1), 1)",
    ),
    ProfileColumn(
        "discounted_share",
        Kind.NUMBER,
        "Percent of the counted orders that had a discount.",
        "round(100 * discounted_orders / orders_count, 2)",
    ),
    ProfileColumn(
        "night_share",
        Kind.NUMBER,
        "Percent of timed_orders that were placed at night.",
        "round(100 * night_orders / timed_orders, 2)",
    ),
    ProfileColumn(
        "refund_rate",
        Kind.NUMBER,
        "Percent of paid_orders of which something came back: refunded_orders / paid_orders.",
        "round(100 * refunded_orders / paid_orders, 2)",
    ),
    ProfileColumn(
        "rfm_recency",
        Kind.NUMBER,
        "1 to 5 among buyers, by the date of the last order: 5 is the fifth that bought last.",
        "quintile(last_order_at)",
    ),
    ProfileColumn(
        "rfm_frequency",
        Kind.NUMBER,
        "1 to 5 among buyers, by orders_count: 5 is the fifth that buys most often.",
        f"quintile({NOT_BUYERS.format('orders_count')})",
    ),
    ProfileColumn(
        "rfm_monetary",
        Kind.NUMBER,
        "1 to 5 among buyers, by total_spent: 5 is the fifth that spends most.",
        f"quintile({NOT_BUYERS.format('total_spent')})",
    ),
    ProfileColumn(
        "rfm_segment",
        Kind.TEXT,
        "The usual name for rfm_recency and rfm_frequency: Champions, Loyal, Potential Loyalists, New, "
        "Promising, Need Attention, About To Sleep, Cannot Lose, At Risk, Hibernating.",
        SEGMENTS,
    ),
)

VISITS, MAIL = "visits to the shop's pages", "the ESP's reports on mails"
SURVEYS, FORMS = "answers to surveys", "forms that were filled in"
ABSENT = (
    ProfileColumn(
        "last_visit_at", Kind.MOMENT, "When the person was last on the shop's pages.", None, VISITS
    ),
    ProfileColumn("visits", Kind.NUMBER, "Visits to the shop's pages.", None, VISITS),
    ProfileColumn("visits_30d", Kind.NUMBER, "Visits in the last 30 days.", None, VISITS),
    ProfileColumn("product_visits", Kind.NUMBER, "Visits to products' pages.", None, VISITS),
    ProfileColumn("product_visits_30d", Kind.NUMBER, "Visits to products' pages in 30 days.", None, VISITS),
    ProfileColumn("b2b_visits", Kind.NUMBER, "Visits to the page for business customers.", None, VISITS),
    ProfileColumn("email_sent", Kind.NUMBER, "Mails sent to the person.", None, MAIL),
    ProfileColumn("email_sent_30d", Kind.NUMBER, "Mails sent in the last 30 days.", None, MAIL),
    ProfileColumn("email_opens", Kind.NUMBER, "Mails opened.", None, MAIL),
    ProfileColumn("email_opens_30d", Kind.NUMBER, "Mails opened in the last 30 days.", None, MAIL),
    ProfileColumn("email_clicks", Kind.NUMBER, "Clicks in mails.", None, MAIL),
    ProfileColumn("email_clicks_30d", Kind.NUMBER, "Clicks in mails in the last 30 days.", None, MAIL),
    ProfileColumn(
        "nps", Kind.NUMBER, "The newest answer on a scale of 0 to 10 (net promoter score).", None, SURVEYS
    ),
    ProfileColumn("forms_filled", Kind.NUMBER, "Forms filled in on the shop's pages.", None, FORMS),
)
"""What stores cannot tell. Unknown until something fills them; a rule over them adds and removes nobody (P12)."""


@functools.cache
def catalogue() -> Mapping[str, ProfileColumn]:
    """List every column by its name, the stored ones first, in the order of the table."""
    described = ProfileRow.model_fields
    stored = (
        ProfileColumn(
            column.name,
            column.info["kind"],
            described[column.name].description or "",
            words=column.info.get("words", ()),
        )
        for column in PROFILES.columns
        if "kind" in column.info
    )
    return {column.name: column for column in (*stored, *VIRTUAL, *ABSENT)}


def column_table() -> str:
    """Write the columns as a table for `docs/mapping.md`."""
    rows = (f"| `{name}` | {column.kind} | {_described(column)} |" for name, column in catalogue().items())
    return "\n".join(("| column | type | what it holds |", "| --- | --- | --- |", *rows))


def _described(column: ProfileColumn) -> str:
    absent = f" Unknown as yet: {column.provider} would tell." if column.provider else ""
    return f"{column.description}{absent}"
