"""Reading rows: the recorded samples, and what other versions, imports and careless modules make of them."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import connectors.stores.prestashop
from connectors.facts import Customer, Fulfilment, Order, Standing
from connectors.paging import UnreadableField, read_rows
from connectors.stores.prestashop.clock import ShopClock
from connectors.stores.prestashop.markup import as_json, cut_junk
from connectors.stores.prestashop.payloads import (
    Category,
    State,
    Terms,
    read_checkout,
    read_customer,
    read_order,
    read_product,
    read_refund,
    read_state,
)
from connectors.stores.prestashop.webservice import rows_of

SAMPLES = Path(connectors.stores.prestashop.__file__).parent / "samples"
NOW = datetime(2026, 11, 21, 22, tzinfo=UTC)


def sample(name: str) -> list[dict[str, Any]]:
    return rows_of(msgspec.json.decode(as_json(cut_junk((SAMPLES / name).read_bytes()))))


STATES = {str(row["id"]): read_state(row, "1", {}) for row in sample("order_states.json")}
PAID = next(number for number, state in STATES.items() if state.paid and state.ends is None)
CATEGORIES = {
    "1": Category("Root", "0", 0),
    "2": Category("Home", "1", 1),
    "3": Category("Clothes", "2", 2),
    "4": Category("Men", "3", 3),
    "5": Category("Women", "3", 3),
    "9": Category("Art", "2", 2),
}
TERMS = Terms(
    ShopClock("Europe/Paris"),
    "https://shop.example",
    "1",
    states=STATES,
    currencies={"1": "EUR", "2": "GBP"},
    countries={"8": "FR"},
    categories=CATEGORIES,
)
(ORDER, *_) = sample("orders.json")


def order(**changed: Any) -> Order:
    return read_order(ORDER | changed, TERMS, NOW)


def customer(address: dict[str, Any] | None = None, **changed: Any) -> Customer:
    return read_customer(sample("customers.json")[0] | changed, address, TERMS, NOW)


def test_a_list_a_single_row_without_zeros_and_xml_read_the_same():
    whole, single, from_xml = (sample(name)[0] for name in ("orders.json", "order.json", "orders.xml"))

    read = [read_order(row, TERMS, NOW) for row in (whole, single, from_xml)]

    assert read[0] == read[1] == read[2]
    assert read[0].standing is Standing.CANCELLED
    assert (read[0].id, read[0].number, read[0].customer_id) == ("540", "ICBAWXZEJ", "104")
    assert [(line.product_id, line.quantity, line.total.minor) for line in read[0].lines] == [("2", 2, 5744)]
    assert read[0].created_at == datetime(2026, 11, 21, 21, 14, 23, tzinfo=UTC)


def test_numbers_and_text_mean_the_same():
    as_text = json.loads(json.dumps(ORDER), parse_int=str)

    assert read_order(as_text, TERMS, NOW) == order()


@pytest.mark.parametrize(
    ("changed", "minor"),
    [
        ({"total_paid_tax_incl": "12.345000"}, 1235),
        ({"total_paid_tax_incl": "0.000000", "total_paid": "9.990000"}, 999),
        ({"total_paid_tax_incl": None, "total_paid": 7}, 700),
        ({"total_paid_tax_incl": "", "total_paid": "0"}, 0),
    ],
)
def test_the_total_is_what_was_charged(changed, minor):
    assert order(**changed).total.minor == minor


def test_a_voucher_is_borne_by_every_line_and_never_makes_one_negative():
    rows = [
        {"product_id": "1", "product_quantity": "1", "product_name": "A", "unit_price_tax_incl": "30.000000"},
        {"product_id": "2", "product_quantity": "2", "product_name": "B", "unit_price_tax_incl": "5.000000"},
    ]

    part = order(associations={"order_rows": rows}, total_discounts_tax_incl="10.00")
    more = order(associations={"order_rows": rows}, total_discounts_tax_incl="99.00")

    assert [line.total.minor for line in part.lines] == [2250, 750]
    assert part.discount is not None
    assert part.discount.minor == 1000
    assert [line.total.minor for line in more.lines] == [0, 0]


@pytest.mark.parametrize("rows", [None, "", {}, {"order_rows": ""}])
def test_an_order_without_lines_is_an_order(rows):
    assert order(associations=rows).lines == []


def test_when_it_was_paid_is_when_the_invoice_was_written():
    invoiced = order(current_state=2, invoice_date="2026-11-21 23:00:00")
    no_invoice = order(current_state=2)

    assert invoiced.paid_at == datetime(2026, 11, 21, 22, tzinfo=UTC)
    assert no_invoice.paid_at == no_invoice.created_at
    assert order(invoice_date="2026-11-21 23:00:00").paid_at is None


def test_an_order_that_was_cancelled_was_paid_if_money_came():
    """Cash on delivery has an invoice before anybody paid."""
    written = datetime(2026, 11, 21, 22, tzinfo=UTC)

    paid = order(total_paid_real="57.440000", invoice_date="2026-11-21 23:00:00")
    without_invoice = order(total_paid_real="57.440000")

    assert (paid.standing, paid.paid_at) == (Standing.CANCELLED, written)
    assert without_invoice.paid_at == without_invoice.created_at
    assert order(invoice_date="2026-11-21 23:00:00").paid_at is None


@pytest.mark.parametrize(
    ("state", "fulfilment"),
    [(2, Fulfilment.OPEN), (4, Fulfilment.FULFILLED), (5, Fulfilment.FULFILLED), (6, None), (1, None)],
    ids=["payment accepted", "shipped", "delivered", "canceled", "awaiting cheque"],
)
def test_the_status_mark_shipped_tells_how_far_a_paid_order_has_come(state, fulfilment):
    assert order(current_state=state, total_paid_real="0.000000").fulfilment is fulfilment


def test_a_paid_order_whose_status_the_shop_deleted_tells_nothing_of_its_parcel():
    gone = order(current_state=77, total_paid_real="57.440000", valid="1")

    assert (gone.standing, gone.fulfilment) == (Standing.PAID, None)


def test_a_status_that_the_shop_deleted_is_told_by_valid():
    gone = {"current_state": 77, "total_paid_real": "57.440000"}

    assert order(**gone, valid="1").standing is Standing.PAID
    assert order(**gone, valid="0").standing is Standing.UNPAID
    assert order(**gone).status == "status 77"


def test_a_refunded_status_of_the_shop_s_own_settings_wins_over_its_paid_mark():
    row = {"id": 21, "paid": "1", "logable": "1", "name": "Given back", "template": "refund"}

    assert read_state(row, None, {"21": Standing.REFUNDED}).ends is Standing.REFUNDED
    assert read_state(row, None, {}) == State("Given back", paid=True, logable=True, shipped=False)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id_currency": 9}, "`id_currency` is not a currency of the shop"),
        ({"date_add": "0000-00-00 00:00:00", "date_upd": ""}, "`date_add` is not a moment"),
        ({"date_upd": "soon"}, "`date_upd` is not a moment"),
        ({"total_paid_tax_incl": "NaN"}, "`total_paid_tax_incl` is not a number"),
        ({"associations": {"order_rows": [1]}}, "a field does not have the type that the API promises"),
    ],
)
def test_what_cannot_be_read_says_which_field_and_shows_nothing_of_it(changed, reason):
    _, (letter,) = read_rows([ORDER | changed], lambda row: read_order(row, TERMS, NOW), "order")

    assert (letter.record, letter.reason) == ("order 540", reason)


@pytest.mark.parametrize("lost", ["-0001-11-30 00:00:00", "0000-00-00 00:00:00", "soon"])
def test_a_date_that_a_row_can_do_without_costs_nothing_else_of_it(lost):
    row = {"id": 1, "date_add": "2026-01-01 00:00:00", "newsletter": "1", "newsletter_date_add": lost}

    bought = order(current_state=PAID, invoice_date=lost)
    customer = read_customer(row, None, TERMS, NOW)

    assert bought.paid_at == bought.created_at
    assert customer.consent is not None
    assert customer.consent.at == customer.created_at


@pytest.mark.parametrize("lost", ["-0001-11-30 00:00:00", "0000-00-00 00:00:00"])
def test_who_has_no_date_of_their_own_is_as_old_as_their_last_change(lost):
    row = {"id": 1, "date_add": lost, "date_upd": "2026-01-01 00:00:00"}

    assert read_customer(row, None, TERMS, NOW).created_at == datetime(2025, 12, 31, 23, tzinfo=UTC)


def test_slips_before_amounts_with_tax_are_read_by_what_they_have():
    (row,) = sample("order_slips.json")
    old = row | {"total_products_tax_incl": "0.000000", "amount": "5.00", "shipping_cost_amount": "1.00"}

    assert read_refund(row, TERMS, {"31": "GBP"}).amount.currency == "GBP"
    assert read_refund(old, TERMS, {"31": "EUR"}).amount.minor == 600


def test_a_slip_of_an_order_that_is_gone_is_no_refund():
    (row,) = sample("order_slips.json")

    with pytest.raises(UnreadableField, match="`id_order`"):
        read_refund(row, TERMS, {})


@pytest.mark.parametrize(
    ("birthday", "expected"),
    [("1992-11-02", date(1992, 11, 2)), ("0000-00-00", None), ("1980-02-31", None), (None, None)],
)
def test_a_birthday_that_is_none_costs_nothing_else(birthday, expected):
    found = customer(birthday=birthday)

    assert (found.birthday, found.email) == (expected, "ps160@example.test")


def test_an_address_tells_where_and_the_mobile_phone_comes_first():
    address = {"id_country": "8", "postcode": "75011", "city": "Paris", "phone": "01", "company": "Ltd & Co"}

    person = customer(address, company="").person
    with_mobile = customer(address | {"phone_mobile": "06"}).person

    assert (person.country, person.postal_code, person.city, person.phone) == ("FR", "75011", "Paris", "01")
    assert person.company == "Ltd & Co"
    assert with_mobile.phone == "06"


@pytest.mark.parametrize(("typed", "read"), [(" FR40303265045 ", "FR40303265045"), ("", None), (None, None)])
def test_a_vat_number_stands_on_the_address(typed, read):
    assert customer({"vat_number": typed}).person.vat_number == read


def test_the_account_of_the_erased_is_nobody_s():
    assert customer(email="anonymous@psgdpr.com").email is None


def test_addresses_are_normalised():
    assert customer(email=" Zoë@EXÄMPLE.com ").email == "zoë@xn--exmple-cua.com"


@pytest.mark.parametrize(
    ("default", "linked", "names"),
    [
        ("5", ["2", "3", "5"], ["Women"]),
        ("3", ["2", "3", "4"], ["Clothes", "Men"]),
        ("9", ["9", "4"], ["Art", "Men"]),
        ("2", ["2"], []),
        ("77", ["2", "4"], ["Men"]),
    ],
)
def test_a_product_s_categories_are_the_main_one_and_those_that_say_more(default, linked, names):
    (row,) = sample("product.json")
    links = {"categories": [{"id": one} for one in linked]}

    product = read_product(row | {"id_category_default": default, "associations": links}, TERMS, NOW)

    assert product.categories == names


def test_categories_that_bite_their_tail_end():
    circle = {"4": Category("A", "5", 3), "5": Category("B", "4", 3)}
    terms = Terms(TERMS.clock, TERMS.url, categories=circle)
    row = {"id": 1, "id_category_default": 4, "date_add": "2026-01-01 00:00:00", "name": "X"}

    assert read_product(row, terms, NOW).categories == ["A"]


def test_texts_come_plain_or_by_language_and_the_shop_s_own_counts():
    (row,) = sample("product.json")
    in_french = Terms(TERMS.clock, TERMS.url, "2")
    unknown = Terms(TERMS.clock, TERMS.url, "7")

    titles = [read_product(row, terms, NOW).title for terms in (TERMS, in_french, unknown)]

    assert titles == [
        "Hummingbird printed sweater",
        "Pull imprimé colibri",
        "Hummingbird printed sweater",
    ]
    assert read_product(row | {"name": "R&amp;B 🎁"}, TERMS, NOW).title == "R&B 🎁"


def test_a_cart_that_was_emptied_is_over():
    row = {"id": 5, "id_customer": "0", "date_add": "2026-01-01 00:00:00", "date_upd": "2026-01-01 01:00:00"}
    full = row | {"associations": {"cart_rows": [{"id_product": 1}]}}

    assert read_checkout(row, {}, TERMS, NOW).completed_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert read_checkout(full, {}, TERMS, NOW).completed_at is None
    assert read_checkout(full, {}, TERMS, NOW).customer_id is None


def test_xml_may_hold_characters_that_xml_cannot():
    body = b'<?xml version="1.0"?><prestashop><orders><order><id>1</id><note>a\x0bb\xff</note></order></orders></prestashop>'

    assert json.loads(as_json(body)) == {"orders": [{"id": "1", "note": "ab�"}]}


def test_errors_in_xml_and_lists_of_ids_keep_their_form():
    ids = b'<?xml version="1.0"?><prestashop xmlns:xlink="x"><orders><order id="3" xlink:href="y"/></orders></prestashop>'

    assert rows_of(json.loads(as_json(ids))) == [{"id": "3"}]
    assert json.loads(as_json((SAMPLES / "errors.xml").read_bytes()))["errors"][0]["code"] == "41"
    assert rows_of(json.loads(as_json(b"<prestashop><orders></orders></prestashop>"))) == []
    assert rows_of([]) == []
