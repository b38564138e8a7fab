import json
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.facts import Consent, Fulfilment, Money, Order, Person, Refund, Source, Standing
from connectors.paging import read_rows
from connectors.stores import woocommerce
from connectors.stores.woocommerce.payloads import (
    STAFF,
    Terms,
    as_rows,
    read_checkout,
    read_customer,
    read_order,
    read_product,
)

TERMS = Terms(frozenset({"processing", "completed"}), "mailchimp_woocommerce_is_subscribed")
RECORDINGS = Path(__file__).parents[4] / ".." / "shared" / "recordings" / "woocommerce"


def sample(name: str) -> dict[str, Any]:
    """Load what a real shop answered, cut to the fields that are read."""
    text = (resources.files(woocommerce) / "samples" / name).read_text("utf-8")
    return dict(json.loads(text))


ORDERS, CUSTOMERS = sample("orders.json"), sample("customers.json")


def recorded(name: str) -> list[tuple[str, Any]]:
    if not (RECORDINGS / name).exists():
        pytest.skip("the recordings of real shops are not beside this repository")
    exchanges = json.loads((RECORDINGS / name).read_text("utf-8"))["exchanges"]
    return [(exchange["name"], exchange["response"].get("body")) for exchange in exchanges]


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("pending", Standing.UNPAID),
        ("processing", Standing.PAID),
        ("on-hold", Standing.UNPAID),
        ("completed", Standing.PAID),
        ("cancelled", Standing.CANCELLED),
        ("refunded", Standing.REFUNDED),
        ("failed", Standing.UNPAID),
        ("checkout-draft", Standing.UNPAID),
        ("trash", Standing.DELETED),
        ("partially-refunded", Standing.PAID),
    ],
)
def test_each_status_of_a_real_shop_has_its_standing(name: str, standing: Standing) -> None:
    assert read_order(ORDERS[name], TERMS).standing is standing


@pytest.mark.parametrize(
    "erased",
    [
        {"billing": {"email": "deleted@site.invalid", "first_name": "[deleted]"}},
        {"meta_data": [{"key": "_anonymized", "value": "yes"}]},
    ],
)
def test_whom_the_shop_made_unknown_is_nobody(erased: dict[str, Any]) -> None:
    """Else all who were erased would be one contact with all their orders."""
    order = read_order(ORDERS["completed"] | erased, TERMS)

    assert (order.email, order.person, order.standing) == (None, Person(), Standing.PAID)
    assert read_checkout(ORDERS["pending"] | {"billing": {"email": "deleted@site.invalid"}}).email is None


def test_an_order_paid_with_no_real_money_is_a_test() -> None:
    tested = ORDERS["completed"] | {"meta_data": [{"key": "_wcpay_mode", "value": "test"}]}

    assert read_order(tested, TERMS).standing is Standing.TEST


@pytest.mark.parametrize("code", ["IRT", "GGP"])
def test_currencies_that_woocommerce_offers_beside_those_of_iso_are_read(code: str) -> None:
    assert read_order(ORDERS["completed"] | {"currency": code}, TERMS).total.currency == code


def test_cash_on_delivery_is_paid_although_no_date_of_payment_stands_there() -> None:
    order = read_order(ORDERS["processing"], TERMS)

    assert (order.standing, order.paid_at, order.customer_id) == (Standing.PAID, None, None)


@pytest.mark.parametrize(
    ("name", "fulfilment"),
    [
        ("processing", Fulfilment.OPEN),
        ("completed", Fulfilment.FULFILLED),
        ("partially-refunded", Fulfilment.FULFILLED),
        ("on-hold", None),
        ("cancelled", None),
    ],
)
def test_the_status_of_a_real_shop_tells_how_far_an_order_has_come(
    name: str, fulfilment: Fulfilment | None
) -> None:
    assert read_order(ORDERS[name], TERMS).fulfilment is fulfilment


@pytest.mark.parametrize("key", ["_billing_vat_number", "_vat_number", "_billing_vat", "billing_vat"])
def test_a_vat_number_stands_where_plugins_keep_it(key: str) -> None:
    entries = [{"id": 1, "key": key, "value": " FR40303265045 "}, {"id": 2, "key": "vat_number", "value": []}]
    told = {"meta_data": entries}

    order = read_order(ORDERS["completed"] | told, TERMS)
    account = read_customer(CUSTOMERS["account-and-billing-email-differ"] | told, TERMS)

    assert (order.person.vat_number, account.person.vat_number) == ("FR40303265045", "FR40303265045")
    assert read_order(ORDERS["completed"], TERMS).person.vat_number is None


def test_a_guest_keeps_the_address_under_billing_in_small_letters() -> None:
    order = read_order(ORDERS["processing"], TERMS)

    assert (order.email, order.person) == (
        "shopper@example.test",
        Person("Guest", "Müller", None, "+33600000001", "69001", "Lyon", "FR"),
    )


def test_two_part_refunds_are_positive_and_leave_the_order_paid_in_full() -> None:
    order = read_order(ORDERS["partially-refunded-twice"], TERMS)

    assert order.total == Money(13143, "EUR")
    assert order.refunds == [
        Refund("234", "233", Money(2179, "EUR")),
        Refund("235", "233", Money(1314, "EUR")),
    ]


def test_yen_with_two_decimals_become_whole_yen() -> None:
    order = read_order(ORDERS["in-jpy"], TERMS)

    assert order.total == Money(94, "JPY")


def test_a_coupon_is_a_discount_and_the_line_is_what_was_paid() -> None:
    order = read_order(ORDERS["with-coupon-and-variation"], TERMS)

    assert order.discount == Money(150, "USD")
    assert [(line.product_id, line.title, line.quantity, line.total) for line in order.lines] == [
        ("59", "Variable 1 - 100g", 3, Money(1350, "USD"))
    ]


def test_a_line_and_a_discount_include_their_tax() -> None:
    order = read_order(ORDERS["failed"], TERMS)
    completed = read_order(ORDERS["completed"], TERMS)

    assert order.discount == Money(2569, "EUR")
    assert [line.total for line in completed.lines] == [Money(4065, "EUR")]


def test_moments_are_those_of_the_gmt_fields() -> None:
    order = read_order(ORDERS["completed"], TERMS)

    assert order.created_at == datetime(2026, 11, 21, 20, 14, 59, tzinfo=UTC)
    assert order.updated_at == datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
    assert order.paid_at == datetime(2026, 11, 21, 20, 18, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "pending",
            Source("blog.example.test", "referral", "utm_source=blog.example.test; utm_medium=referral"),
        ),
        ("failed", Source("direct")),
        ("partially-refunded-twice", Source("admin")),
        ("trash", Source("mobile_app")),
        ("cancelled", None),
    ],
)
def test_the_order_attribution_tells_the_source(name: str, source: Source | None) -> None:
    assert read_order(ORDERS[name], TERMS).source == source


def test_the_evidence_holds_campaign_and_landing_page_but_nothing_empty() -> None:
    source = read_order(ORDERS["processing"], TERMS).source

    assert source is not None
    assert source.evidence == (
        "utm_source=newsletter; utm_medium=email; utm_campaign=spring_sale; "
        "session_entry=http://127.0.0.1:18080/"
    )


def test_every_recorded_order_can_be_read() -> None:
    rows = [body for _, body in recorded("orders-by-status.json")]
    rows += [
        row
        for name, body in recorded("orders-list.json")
        for row in body
        if "billing" in row and "total" in row
    ]

    facts, bad = read_rows(rows, lambda row: read_order(row, TERMS), "order")

    assert (bad, len(facts)) == ([], len(rows))


def test_every_recorded_customer_and_product_can_be_read() -> None:
    people = [
        row for _, body in recorded("customers.json") for row in (body if isinstance(body, list) else [body])
    ]
    products = next(body for name, body in recorded("catalogue.json") if name == "products")

    customers = read_rows(
        [row for row in people if "role" in row], lambda row: read_customer(row, TERMS), "customer"
    )
    goods = read_rows(products, read_product, "product")

    assert (customers[1], goods[1]) == ([], [])
    assert goods[0]


@pytest.mark.parametrize("status", ["shipped", "wc-shipped"])
@pytest.mark.parametrize(
    ("paid", "standing"), [("2026-11-01T10:00:00", Standing.PAID), (None, Standing.UNPAID)]
)
def test_a_status_of_a_plugin_counts_once_money_came(
    status: str, paid: str | None, standing: Standing
) -> None:
    order = read_order(ORDERS["completed"] | {"status": status, "date_paid_gmt": paid}, TERMS)

    assert (order.standing, order.status) == (standing, "shipped")


def test_the_owner_decides_which_statuses_are_paid() -> None:
    terms = Terms(frozenset({"shipped"}), "consent")

    shipped = read_order(ORDERS["pending"] | {"status": "shipped"}, terms)
    processing = read_order(ORDERS["processing"], terms)

    assert (shipped.standing, processing.standing) == (Standing.PAID, Standing.UNPAID)


@pytest.mark.parametrize(
    ("value", "given_"),
    [
        (1, True),
        ("1", True),
        (True, True),
        (" Yes ", True),
        ("on", True),
        ("subscribed", True),
        (0, False),
        ("0", False),
        (False, False),
        ("no", False),
        ("unsubscribed", False),
        ("", None),
        ("maybe", None),
        (None, None),
        (["1"], None),
        ({"value": "1"}, None),
    ],
)
def test_only_a_plain_word_is_consent(value: Any, given_: bool | None) -> None:  # noqa: FBT001 - a table's column
    meta = [{"id": 1, "key": "mailchimp_woocommerce_is_subscribed", "value": value}]

    order = read_order(ORDERS["completed"] | {"meta_data": meta}, TERMS)

    assert order.consent == (Consent(given_, order.created_at) if given_ is not None else None)


@pytest.mark.parametrize(("word", "given"), [("1", True), ("0", False)])
def test_P4_a_yes_of_an_account_is_as_old_as_the_account_and_a_no_as_new_as_its_last_change(
    word: str, *, given: bool
) -> None:
    meta = [{"id": 1, "key": "mailchimp_woocommerce_is_subscribed", "value": word}]

    customer = read_customer(CUSTOMERS["company"] | {"meta_data": meta}, TERMS)

    assert customer.created_at < customer.updated_at
    assert customer.consent == Consent(given, customer.created_at if given else customer.updated_at)


def test_an_account_has_its_own_address_not_the_one_under_billing() -> None:
    customer = read_customer(CUSTOMERS["account-and-billing-email-differ"], TERMS)

    assert customer.email == "customer127@example.test"


def test_an_account_that_never_ordered_has_a_name_and_an_address_in_small_letters() -> None:
    customer = read_customer(CUSTOMERS["without-billing"], TERMS)

    assert (customer.email, customer.person) == ("customer100@example.test", Person("Léa", "Kovač"))


@pytest.mark.parametrize("role", sorted(STAFF))
def test_staff_keep_no_address_so_that_nobody_mails_them(role: str) -> None:
    customer = read_customer(CUSTOMERS["company"] | {"role": role}, TERMS)

    assert (customer.email, customer.person, customer.consent) == (None, Person(), None)


def test_an_account_that_was_never_changed_counts_from_its_creation() -> None:
    admin = read_customer(CUSTOMERS["administrator"], TERMS)

    assert admin.updated_at == admin.created_at == datetime(2026, 11, 21, 21, 9, 9, tzinfo=UTC)


def test_names_of_categories_lose_their_entities() -> None:
    row = {
        "id": 5,
        "name": "Caf&eacute; set",
        "categories": [{"id": 28, "name": "Épicerie &amp; Co"}],
        "date_modified_gmt": "2026-11-21T21:12:49",
    }

    product = read_product(row)

    assert (product.title, product.categories) == ("Café set", ["Épicerie & Co"])


def test_empty_objects_come_as_lists_and_cut_lists_as_objects() -> None:
    row = ORDERS["completed"] | {
        "billing": [],
        "refunds": {"1": {"id": 9, "total": "-1.00"}},
        "meta_data": None,
    }

    order = read_order(row, TERMS)

    assert (order.email, order.person) == (None, Person())
    assert order.refunds == [Refund("9", order.id, Money(100, "EUR"))]


def test_a_draft_without_a_date_of_creation_counts_from_its_change() -> None:
    row = ORDERS["checkout-draft"] | {"date_created_gmt": None, "date_modified_gmt": "2026-11-01T00:00:00"}

    assert read_order(row, TERMS).created_at == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"total": "12,50 €"}, "`total` is not an amount"),
        ({"total": None}, "`total` is not an amount"),
        ({"total": "NaN"}, "`total` is not an amount"),
        ({"currency": "PTS"}, "`currency` is not a currency of ISO 4217"),
        ({"billing": None}, "`billing` is not an object"),
        ({"status": None}, "`status` is not a status"),
        ({"date_created_gmt": None, "date_modified_gmt": None}, "`date_created_gmt` is not a moment"),
        ({"date_created_gmt": "yesterday"}, "a field cannot be read"),
        ({"line_items": [None]}, "a field does not have the type that the API promises"),
    ],
)
def test_an_order_that_cannot_be_read_says_why_without_a_value(broken: dict[str, Any], reason: str) -> None:
    rows = [ORDERS["completed"] | broken, ORDERS["guest"]]

    facts, bad = read_rows(rows, lambda row: read_order(row, TERMS), "order")

    assert [str(letter) for letter in bad] == [f"order 1041: {reason}"]
    assert len(facts) == 1


def test_what_is_no_object_is_a_dead_letter() -> None:
    facts, bad = read_rows([None, "row", ["row"]], lambda row: read_order(row, TERMS), "order")  # type: ignore[list-item]

    assert (facts, len(bad)) == ([], 3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(ORDERS)), st.sampled_from(sorted(ORDERS["completed"])), json_values)
def test_whatever_a_plugin_puts_into_a_field_the_row_is_read_or_a_dead_letter(
    name: str, field: str, value: Any
) -> None:
    facts, bad = read_rows([ORDERS[name] | {field: value}], lambda row: read_order(row, TERMS), "order")

    assert len(facts) + len(bad) == 1
    assert all(isinstance(fact, Order) for fact in facts)


def test_an_empty_object_is_no_empty_list() -> None:
    assert (as_rows({}), as_rows([]), as_rows({"0": {"id": 1}})) == (None, [], [{"id": 1}])
