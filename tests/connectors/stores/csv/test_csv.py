"""Files of orders: the exports of three shop systems, the plain form, and whatever else comes as one."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.base import Page, Resource, Window
from connectors.errors import Refused
from connectors.facts import Fulfilment, Money, Order, Product, Standing
from connectors.stores.csv.connector import PAGE_SIZE, CsvStore
from connectors.stores.csv.payloads import read_amount, read_moment
from connectors.stores.csv.settings import CsvStoreSettings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAIN = """order_id,email,date,amount,currency,status,category,first_name,last_name
1,Ada@Example.com,2026-11-01,29.35,EUR,paid,Tea,Ada,Lovelace
2,gul@example.com,2026-11-02 14:30:00,1200,JPY,refunded,R&B,Gül,Öztürk 🎁
3,ada@example.com,2026-11-03T10:00:00+02:00,1.234,KWD,cancelled,Tea,Ada,Lovelace
"""
SHOPIFY = """Name,Email,Financial Status,Paid at,Accepts Marketing,Currency,Subtotal,Total,Discount Amount,\
Created at,Lineitem quantity,Lineitem name,Lineitem price,Billing Name,Billing Zip,Billing City,Billing Country,\
Billing Phone,Cancelled at,Refunded Amount,Id
#1001,ada@example.com,partially_refunded,2026-11-02 14:00:30 +0100,yes,EUR,40.00,45.00,5.00,\
2026-11-02 14:00:22 +0100,2,Green tea,10.00,Ada King Lovelace,'75011,Paris,FR,'+33199000000,,15.00,5001
#1001,ada@example.com,,,,,,,,2026-11-02 14:00:22 +0100,1,Cup,20.00,,,,,,,,
#1002,bob@example.com,paid,2026-11-03 09:00:00 +0100,no,EUR,10.00,10.00,0.00,2026-11-03 09:00:00 +0100,1,\
Green tea,10.00,Bob,,,,,2026-11-04 09:00:00 +0100,0.00,5002
"""
WOOCOMMERCE = """order_id,order_number,order_date,paid_date,status,order_total,order_currency,customer_email,\
billing_first_name,billing_last_name,billing_postcode,billing_city,billing_country,billing_phone
727,727,2026-11-02 14:00:22,2026-11-02 14:01:00,wc-completed,29.35,USD,ada@example.com,Ada,Lovelace,75011,Paris,FR,01
728,728,2026-11-03 14:00:22,,wc-on-hold,9.00,USD,bob@example.com,Bob,B,,,US,
"""
PRESTASHOP = """"ID";"Reference";"New client";"Delivery";"Customer";"Total";"Payment";"Status";"Date"
540;ICBAWXZEJ;1;France;"A. LOVELACE";"57,44 €";"Bank wire";"Paiement accepté";"2026-11-21 22:14:23"
541;ICBAWXZEJ;0;France;"A. LOVELACE";"1 057,44 €";"Bank wire";"Annulé";"2026-11-21 22:14:24"
"""


def store_of(folder: Path, content: str | bytes, **settings: Any) -> CsvStore:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "orders.csv").write_bytes(data)
    written = {"path": "orders.csv", **settings}
    return CsvStore(CsvStoreSettings.model_validate(written, context={"folder": folder}))


async def history(store: CsvStore, cursor: str | None = None, since: datetime | None = None) -> list[Page]:
    window = Window(Resource.ORDERS, since)
    return [page async for page in store.backfill(window, cursor, careful=False)]


async def changes(store: CsvStore, cursor: str | None = None) -> list[Page]:
    return [page async for page in store.changes(Resource.ORDERS, NOW, cursor)]


def orders_in(pages: list[Page]) -> list[Order]:
    return [fact for page in pages for fact in page.facts if isinstance(fact, Order)]


def letters_in(pages: list[Page]) -> dict[str, str]:
    return {letter.record: letter.reason for page in pages for letter in page.bad}


async def test_the_plain_form_is_read(tmp_path):
    store = store_of(tmp_path, PLAIN)

    pages = await history(store)

    one, two, three = orders_in(pages)
    assert (one.id, one.email, one.total.minor, one.total.currency) == ("1", "ada@example.com", 2935, "EUR")
    assert (one.standing, two.standing, three.standing) == (
        Standing.PAID,
        Standing.REFUNDED,
        Standing.CANCELLED,
    )
    assert (two.total.minor, three.total.minor) == (1200, 1234)
    assert (two.person.first_name, two.person.last_name) == ("Gül", "Öztürk 🎁")
    assert three.created_at == datetime(2026, 11, 3, 8, tzinfo=UTC)
    products = [fact for fact in pages[0].facts if isinstance(fact, Product)]
    assert {(product.id, *product.categories) for product in products} == {("/Tea", "Tea"), ("/R&B", "R&B")}
    assert [line.product_id for line in one.lines] == ["/Tea"]
    assert await store.check() == []


async def test_an_export_of_shopify_is_read_with_its_orders_of_several_lines(tmp_path):
    pages = await history(store_of(tmp_path, SHOPIFY))

    one, two = orders_in(pages)
    assert (one.id, one.number, one.total.minor) == ("5001", "#1001", 4500)
    assert one.standing is Standing.PAID
    assert one.created_at == datetime(2026, 11, 2, 13, 0, 22, tzinfo=UTC)
    assert [(line.title, line.quantity, line.total.minor) for line in one.lines] == [
        ("Green tea", 2, 2000),
        ("Cup", 1, 2000),
    ]
    assert [(refund.amount.minor, refund.order_id) for refund in one.refunds or ()] == [(1500, "5001")]
    assert (one.person.first_name, one.person.last_name) == ("Ada King", "Lovelace")
    assert (one.person.postal_code, one.person.phone, one.person.country) == ("75011", "+33199000000", "FR")
    assert one.consent is not None
    assert one.consent.given
    assert (two.standing, two.refunds) == (Standing.CANCELLED, [])


async def test_an_export_of_shopify_that_holds_an_order_twice_tells_it_twice(tmp_path):
    header, first, second, _ = SHOPIFY.splitlines()
    newer = first.replace("partially_refunded", "refunded")

    orders = orders_in(await history(store_of(tmp_path, f"{header}\n{first}\n{second}\n{newer}\n{second}")))

    assert [(order.standing, len(order.lines)) for order in orders] == [
        (Standing.PAID, 2),
        (Standing.REFUNDED, 2),
    ]


async def test_what_was_bought_twice_in_an_export_of_shopify_counts_twice(tmp_path):
    header, first, second, third = SHOPIFY.splitlines()

    one, _ = orders_in(await history(store_of(tmp_path, f"{header}\n{first}\n{second}\n{second}\n{third}")))

    assert [line.quantity for line in one.lines] == [2, 1, 1]


async def test_an_export_of_woocommerce_is_read(tmp_path):
    one, two = orders_in(await history(store_of(tmp_path, WOOCOMMERCE, timezone="Europe/Paris")))

    assert (one.id, one.standing, one.total.minor) == ("727", Standing.PAID, 2935)
    assert one.created_at == datetime(2026, 11, 2, 13, 0, 22, tzinfo=UTC)
    assert two.standing is Standing.UNPAID
    assert two.paid_at is None


@pytest.mark.parametrize(
    ("status", "shipping", "fulfilment"),
    [
        ("wc-processing", "", Fulfilment.OPEN),
        ("wc-completed", "", Fulfilment.FULFILLED),
        ("paid", "", None),
        ("paid", "unfulfilled", Fulfilment.OPEN),
        ("paid", "Partially_Fulfilled", Fulfilment.PARTIAL),
        ("paid", "fulfilled", Fulfilment.FULFILLED),
        ("paid", "restocked", None),
        ("Livré", "", Fulfilment.FULFILLED),
    ],
)
async def test_a_file_tells_how_far_an_order_has_come(tmp_path, status, shipping, fulfilment):
    content = f"Name,Financial Status,Fulfillment Status,Created at,Total,Currency\n1,{status},{shipping},2026-11-02,9.50,EUR\n"

    (one,) = orders_in(await history(store_of(tmp_path, content)))

    assert one.fulfilment is fulfilment


async def test_a_vat_number_is_read(tmp_path):
    content = "order_id,date,amount,currency,vat_number\n1,2026-11-02,9.50,EUR, FR40303265045 \n2,2026-11-02,9.50,EUR,\n"

    one, two = orders_in(await history(store_of(tmp_path, content)))

    assert (one.person.vat_number, two.person.vat_number) == ("FR40303265045", None)


async def test_an_export_with_the_titles_of_woocommerce_s_own_screens_is_read(tmp_path):
    content = (
        "Order Number,Order Status,Order Date,First Name (Billing),Last Name (Billing),Email (Billing),"
        "Postcode (Billing),City (Billing),Country Code (Billing),Phone (Billing),Order Total Amount,"
        "Order Currency,Order Refund Amount\n"
        "727,Completed,2026-11-02 14:00,Ada,Lovelace,ada@example.com,75011,Paris,FR,0199000000,29.35,EUR,5.00\n"
    )

    (one,) = orders_in(await history(store_of(tmp_path, content)))

    assert (one.id, one.number, one.email, one.standing) == ("727", "727", "ada@example.com", Standing.PAID)
    assert [refund.amount.minor for refund in one.refunds or ()] == [500]
    person = one.person
    assert (person.first_name, person.postal_code, person.country, person.phone) == (
        "Ada",
        "75011",
        "FR",
        "0199000000",
    )


async def test_an_export_of_prestashop_is_read_and_says_that_it_has_no_addresses(tmp_path):
    store = store_of(tmp_path, PRESTASHOP)

    one, two = orders_in(await history(store))

    assert (one.id, one.number, one.total.minor, one.total.currency) == ("540", "ICBAWXZEJ", 5744, "EUR")
    assert (two.id, two.total.minor, two.standing) == ("541", 105744, Standing.CANCELLED)
    assert one.email is None
    (missing,) = await store.check()
    assert "no column with e-mail" in missing


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
async def test_delimiter_and_encoding_are_found_out(tmp_path, delimiter, encoding):
    text = PLAIN.replace(",", delimiter).replace(" 🎁", "").replace("Ö", "ö")

    orders = orders_in(await history(store_of(tmp_path, text.encode(encoding))))

    assert [order.id for order in orders] == ["1", "2", "3"]
    assert orders[1].person.first_name == "Gül"


async def test_an_encoding_that_the_file_is_not_in_is_named(tmp_path):
    store = store_of(tmp_path, b"order_id,email,date,amount\n", encoding="utf-16")

    with pytest.raises(Refused, match=r"`encoding`: .* cannot be read as utf-16"):
        await store.check()


async def test_another_encoding_is_what_the_owner_says(tmp_path):
    content = PLAIN.replace(" 🎁", "").replace("Gül", "Şebnem").encode("cp1254")

    orders = orders_in(await history(store_of(tmp_path, content, encoding="cp1254")))

    assert orders[1].person.first_name == "Şebnem"


async def test_bad_lines_are_letters_with_their_number_and_show_no_value(tmp_path):
    lines = PLAIN.splitlines()
    bad = [
        "7,ada@example.com,yesterday,1.00,EUR,paid,,,",
        "8,ada@example.com,2026-11-01,much,EUR,paid,,,",
        "9,ada@example.com,2026-11-01,1.00,XXQ,paid,,,",
        "10,ada@example.com,2026-11-01,1.00,EUR,half-way,,,",
        ",ada@example.com,2026-11-01,1.00,EUR,paid,,,",
        "11,ada@example.com,2026-11-01",
        "",
        '12,"two\nlines@example.com",2026-11-01,1.00,EUR,paid,,,',
        "13,ada@example.com,11/01/2026,1.00,EUR,paid,,,",
    ]
    store = store_of(tmp_path, "\n".join([*lines, *bad, ""]))

    pages = await history(store)

    assert [order.id for order in orders_in(pages)] == ["1", "2", "3", "12"]
    assert letters_in(pages) == {
        "line 5": "`date` is not a date such as 2026-11-20 or 2026-11-20 14:30",
        "line 6": "`amount` is not an amount",
        "line 7": "`currency` is not a currency; set `currency` where the file has none",
        "line 8": "`status` is not a status that is known; say in `statuses` what it means",
        "line 9": "`order_id` is not there",
        "line 10": "`currency` is not a currency; set `currency` where the file has none",
        "line 14": "`date` is not a date such as 2026-11-20 or 2026-11-20 14:30",
    }
    page = await store.reread(["line 5", "order 2"])
    assert [letter.record for letter in page.bad] == ["line 5"]
    assert [fact.id for fact in page.facts if isinstance(fact, Order)] == ["2"]


async def test_a_field_larger_than_any_is_one_bad_line(tmp_path):
    broken = PLAIN + f'4,"{"x" * 200_000}",2026-11-01,1.00,EUR,paid,,,\n'

    pages = await history(store_of(tmp_path, broken + PLAIN.splitlines()[1].replace("1,", "5,", 1) + "\n"))

    assert [order.id for order in orders_in(pages)] == ["1", "2", "3", "5"]
    assert letters_in(pages) == {"line 5": "it is no line of a CSV file"}


async def test_words_of_an_own_shop_mean_what_the_owner_says(tmp_path):
    content = PLAIN.replace("paid", "Bezahlt").replace("refunded", "Probe")
    settings = {"statuses": {"bezahlt": "paid", " PROBE ": "test"}}

    orders = orders_in(await history(store_of(tmp_path, content, **settings)))

    assert [order.standing for order in orders] == [Standing.PAID, Standing.TEST, Standing.CANCELLED]


async def test_without_status_all_is_paid_and_without_currency_the_owner_says_it(tmp_path):
    content = "Order ID,E-Mail,Date,Amount\n1,a@example.com,2026-11-01,5\n2,b@example.com,2026-11-02,£6.50\n"

    orders = orders_in(await history(store_of(tmp_path, content, currency="chf")))

    assert [(order.total.minor, order.total.currency) for order in orders] == [(500, "CHF"), (650, "GBP")]
    assert {order.standing for order in orders} == {Standing.PAID}


BETWEEN = ["", "2,2026-11-01,5.00,paid,Tea,1,b\n"]


@pytest.mark.parametrize("between", BETWEEN, ids=["together", "apart"])
@pytest.mark.parametrize(
    "newer",
    [
        "1,2026-11-01,30.00,paid,Tea,1,a",
        "1,2026-11-01,31.00,unpaid,Tea,1,a",
        "1,2026-11-02,30.00,unpaid,Tea,1,a",
        "1,2026-11-01,45.00,paid,Tea,2,a",
    ],
)
async def test_a_later_row_of_an_order_replaces_the_one_before_wherever_it_stands(tmp_path, between, newer):
    header = "order_id,date,amount,status,category,quantity,sku\n"
    older = "1,2026-11-01,30.00,unpaid,Tea,1,a\n"
    (wanted,) = orders_in(await history(store_of(tmp_path, f"{header}{newer}", currency="EUR")))
    store = store_of(tmp_path, f"{header}{older}{between}{newer}", currency="EUR")

    orders = orders_in(await history(store))
    again = await store.reread(["line 2"])

    assert [order for order in orders if order.id == "1"][1:] == [wanted]
    assert orders_in([again])[-1] == wanted


async def test_rows_of_an_order_that_agree_are_its_lines_and_a_repeated_one_counts_once(tmp_path):
    content = (
        "order_id,date,amount,category,price,sku\n"
        "1,2026-11-01,30.00,Tea,10,a\n"
        "1,2026-11-01,30.00,Tea,10,b\n"
        "1,2026-11-01,30.00,Tea,10,a\n"
        "1,,,Cups,10,\n"
    )

    (one,) = orders_in(await history(store_of(tmp_path, content, currency="EUR")))

    assert [line.title for line in one.lines] == ["Tea", "Tea", "Cups"]


LINES = "order_id,date,amount,status,fulfilment,phone,product,price,sku\n"


@pytest.mark.parametrize(
    "rows",
    [
        ["30.00,paid,,,Tea,10,a", "0.00,paid,,,Cup,20,b"],
        ["30.00,paid,,,Tea,10,a", "0.00,paid,,,Cup,20,b", "0.00,paid,,,Tea,10,c"],
        ["30.00,paid,fulfilled,,Tea,10,a", "30.00,paid,open,,Cup,20,b"],
        ["30.00,paid,fulfilled,,Tea,10,a", "30.00,paid,open,,Cup,20,b", "30.00,paid,open,,Cup,20,c"],
        ["30.00,paid,,,Tea,10,a", "30.00,paid,,0199000000,Cup,20,b"],
        ["30.00,paid,,,Tea,10,a", "30.00,paid,open,,Cup,20,b", "30.00,paid,open,,Cup,20,b", ",,,,Pot,5,c"],
    ],
)
async def test_rows_that_tell_of_other_lines_are_one_order_and_the_first_tells_of_the_whole(tmp_path, rows):
    content = LINES + "".join(f"1,2026-11-01,{row}\n" for row in rows)

    (one,) = orders_in(await history(store_of(tmp_path, content, currency="EUR")))

    assert (one.total.minor, one.standing, len(one.lines)) == (3000, Standing.PAID, len(set(rows)))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["Tea,10,a"], [1, 1]),
        (["Tea,10,a", "Cup,20,b"], [2, 2]),
    ],
)
async def test_the_same_lines_below_with_another_status_are_a_newer_copy(tmp_path, rows, told):
    content = LINES + "".join(
        f"1,2026-11-01,30.00,{status},,,{row}\n" for status in ("unpaid", "paid") for row in rows
    )

    orders = orders_in(await history(store_of(tmp_path, content, currency="EUR")))

    assert [order.standing for order in orders] == [Standing.UNPAID, Standing.PAID]
    assert [len(order.lines) for order in orders] == told


@pytest.mark.parametrize(
    ("rows", "worths"),
    [
        (["30.00,Tea,,", "30.00,Coffee,,"], [1500, 1500]),
        (["30.00,Tea,2,", ",Coffee,1,"], [2000, 1000]),
        (["10.00,Tea,,", "10.00,Coffee,,", "10.00,Cups,,"], [334, 333, 333]),
        (["-10.00,Tea,,", "-10.00,Coffee,,", "-10.00,Cups,,"], [-334, -333, -333]),
        (["30.00,Tea,0.5,", "30.00,Coffee,1.5,"], [750, 2250]),
        (["30.00,Tea,0,", "30.00,Coffee,0,"], [3000, 0]),
        (["30.00,Tea,,20.00", "30.00,Coffee,,"], [2000, 0]),
        (["30.00,Tea,2.5,10.00"], [2500]),
        (["30.00,Tea,3,"], [3000]),
        (["30.00,Tea,2,15.00", "30.00,Tea,-1,15.00"], [3000, 0]),
        (["30.00,Tea,2,", "30.00,Coffee,(1),"], [3000, 0]),
    ],
)
async def test_an_order_without_prices_shares_its_total_out_by_pieces(tmp_path, rows, worths):
    content = "order_id,date,amount,category,quantity,price\n" + "".join(
        f"1,2026-11-01,{row}\n" for row in rows
    )

    (one,) = orders_in(await history(store_of(tmp_path, content, currency="EUR")))

    assert [line.total.minor for line in one.lines] == worths


async def test_pieces_are_counted_where_nothing_says_of_what(tmp_path):
    content = "order_id,date,amount,quantity\n1,2026-11-01,30.00,3\n2,2026-11-01,5.00,\n"

    pages = await history(store_of(tmp_path, content, currency="EUR"))

    one, two = orders_in(pages)
    assert [(line.product_id, line.title, line.quantity, line.total.minor) for line in one.lines] == [
        (None, "", 3, 3000)
    ]
    assert two.lines == []
    assert not [fact for fact in pages[0].facts if isinstance(fact, Product)]


async def test_a_discount_and_a_refund_below_zero_mean_the_same_as_above(tmp_path):
    content = "order_id,date,amount,discount,refunded\n1,2026-11-01,30.00,-5.00,-2.00\n"

    (one,) = orders_in(await history(store_of(tmp_path, content, currency="EUR")))

    assert one.discount == Money(500, "EUR")
    assert [refund.amount.minor for refund in one.refunds or ()] == [200]


@pytest.mark.parametrize(
    ("quantity", "pieces"),
    [("-1", 0), ("(2)", 0), ("-2 pcs", 0), ("2 pcs", 2), ("2 pcs.", 2), ("2x", 2), ("3 Stück", 3)],
)
async def test_pieces_are_counted_as_people_write_them_and_what_was_sent_back_is_none(
    tmp_path, quantity, pieces
):
    content = f"order_id,date,amount,category,quantity\n1,2026-11-01,30.00,Tea,{quantity}\n"

    (one,) = orders_in(await history(store_of(tmp_path, content, currency="EUR")))

    assert [line.quantity for line in one.lines] == [pieces]


@pytest.mark.parametrize(
    ("quantity", "wanted"),
    [
        ("99999999999", "a number of pieces"),
        ("many", "an amount"),
        ("about 5", "an amount"),
        ("1e2", "an amount"),
        ("2 x 3", "an amount"),
        ("5%", "an amount"),
    ],
)
async def test_a_quantity_that_cannot_be_is_a_dead_letter(tmp_path, quantity, wanted):
    content = f"order_id,date,amount,category,quantity\n1,2026-11-01,30.00,Tea,{quantity}\n"

    pages = await history(store_of(tmp_path, content, currency="EUR"))

    assert letters_in(pages) == {"line 2": f"`quantity` is not {wanted}"}


async def test_somebody_s_name_is_no_order_number(tmp_path):
    content = "order_id,name,email,date,amount,currency\n" + "".join(
        f"{number},Ada Lovelace,ada@example.com,2026-11-0{number},5,EUR\n" for number in (1, 2, 3)
    )

    orders = orders_in(await history(store_of(tmp_path, content)))

    assert [(order.id, order.number, order.person.last_name) for order in orders] == [
        ("1", "1", "Lovelace"),
        ("2", "2", "Lovelace"),
        ("3", "3", "Lovelace"),
    ]


def large(count: int) -> str:
    rows = (
        f"{number},b{number}@example.com,2026-01-01,1.00,EUR,paid,Tea,," for number in range(1, count + 1)
    )
    return "\n".join([PLAIN.splitlines()[0], *rows, ""])


async def test_a_large_file_is_read_in_pages_and_goes_on_after_any(tmp_path):
    store = store_of(tmp_path, large(2 * PAGE_SIZE + 7))
    pages = await history(store)

    assert [len(orders_in([page])) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 7, 0]
    for done in range(1, len(pages) + 1):
        rest = await history(store, pages[done - 1].cursor)
        ids = [order.id for order in orders_in([*pages[:done], *rest])]
        assert ids == [str(number) for number in range(1, 2 * PAGE_SIZE + 8)]


async def test_a_file_that_did_not_change_is_not_read_again_and_one_that_did_is(tmp_path):
    store = store_of(tmp_path, PLAIN)
    first = await changes(store)

    same = await changes(store, first[-1].cursor)
    (tmp_path / "orders.csv").write_text(PLAIN.replace("29.35", "30.00"))
    changed = await changes(store, same[-1].cursor)

    assert len(orders_in(first)) == 3
    assert orders_in(same) == []
    assert orders_in(changed)[0].total.minor == 3000


async def test_a_file_that_changes_half_way_is_read_from_its_beginning(tmp_path):
    store = store_of(tmp_path, large(PAGE_SIZE + 5))
    (first, *_) = await changes(store)
    (tmp_path / "orders.csv").write_text(large(PAGE_SIZE + 6))

    rest = await changes(store, first.cursor)

    assert len(orders_in(rest)) == PAGE_SIZE + 6
    assert json.loads(rest[-1].cursor)["orders"] is None


async def test_since_leaves_out_older_orders(tmp_path):
    since = datetime(2026, 11, 2, tzinfo=UTC) + timedelta(hours=1)

    assert [order.id for order in orders_in(await history(store_of(tmp_path, PLAIN), since=since))] == [
        "2",
        "3",
    ]


async def test_an_empty_export_has_no_orders(tmp_path):
    store = store_of(tmp_path, PLAIN.splitlines()[0])

    assert orders_in(await history(store)) == []
    assert await store.check() == []


@pytest.mark.parametrize("content", ["", "a,b,c\n1,2,3\n", "order_id,email\n", "\x00\x01\x02"])
async def test_a_file_that_is_none_of_orders_is_refused_with_what_it_lacks(tmp_path, content):
    store = store_of(tmp_path, content)

    with pytest.raises(Refused, match="does not name"):
        await store.check()
    with pytest.raises(Refused, match="does not name"):
        await store.plan_backfill(Resource.ORDERS, None)


async def test_a_file_that_is_not_there_is_refused(tmp_path):
    store = store_of(tmp_path, PLAIN)
    (tmp_path / "orders.csv").unlink()

    with pytest.raises(Refused, match=r"orders\.csv cannot be read"):
        await store.check()


@pytest.mark.parametrize(
    ("text", "digits", "expected"),
    [
        ("29.35", 2, "29.35"),
        ("29,35 €", 2, "29.35"),
        ("1.234,56", 2, "1234.56"),
        ("$1,234.56", 2, "1234.56"),
        ("1 234,50", 2, "1234.50"),
        ("1\u202f234,5", 2, "1234.5"),
        ("1'234.50 CHF", 2, "1234.50"),
        ("1.234.567", 0, "1234567"),
        ("57.440000", 2, "57.440000"),
        ("1.234", 3, "1.234"),
        ("-5", 2, "-5"),
        ("0", 2, "0"),
        (".50", 2, "0.50"),
        (",5", 2, "0.5"),
        ("$.99", 2, "0.99"),
        ("EUR .50", 2, "0.50"),
        ("(5.00)", 2, "-5.00"),
        ("(€5.00)", 2, "-5.00"),
        ("-€9.00", 2, "-9.00"),
        ("€-9.00", 2, "-9.00"),
        ("9.00- kr.", 2, "-9.00"),
        ("9.00 €-", 2, "-9.00"),
        ("\u22125", 2, "-5"),
        ("- 7", 2, "-7"),
        ("5-", 2, "-5"),
        ("+5", 2, "5"),
        ("US$ 5", 2, "5"),
        ("£5.00 GBP", 2, "5.00"),
        ("₹12,34,567.50", 2, "1234567.50"),
    ],
)
def test_amounts_are_read_as_people_and_machines_write_them(text, digits, expected):
    assert str(read_amount(text, "amount", digits)) == expected


UNCLEAR = ["1.234", "1,234", "0.500", "1 234.567", "Rs.50", "5,-"]
NO_AMOUNTS = [
    "much",
    "",
    ".",
    "€",
    "1e2",
    "5 k",
    "5%",
    "5€00",
    "about 5",
    "12.5.0",
    "1,2345.6",
    "1,23,456,00",
]
WRONG_SIGNS = ["--5", "-5-", "(-5)", "(5", "5)", "5 EUR XYZ", "2026-11-01"]


@pytest.mark.parametrize("text", [*UNCLEAR, *NO_AMOUNTS, *WRONG_SIGNS])
def test_an_amount_that_may_mean_two_things_is_not_guessed_at(text):
    with pytest.raises(ValueError, match="amount"):
        read_amount(text, "amount", 2)


@given(
    minor=st.integers(-(10**14), 10**14),
    separators=st.sampled_from([",.", ".,", " .", " ,", "\u00a0,", "\u202f.", "'.", "\u2019,", ".", ","]),
    sign=st.sampled_from(["-{}", "- {}", "\u2212{}", "{}-", "({})"]),
    mark=st.sampled_from(["{}", "€{}", "€ {}", "{} €", "{}€", "USD {}", "{} kr", "R$ {}"]),
    is_outside=st.booleans(),
)
def test_an_amount_in_any_form_that_is_documented_comes_back(minor, separators, sign, mark, is_outside):
    *group, point = separators
    text = f"{abs(minor) // 100:,}".replace(",", "".join(group)) + f"{point}{abs(minor) % 100:02}"
    signed = sign if minor < 0 else "{}"
    outer, inner = (signed, mark) if is_outside or "(" in signed else (mark, signed)
    text = outer.format(inner.format(text))

    assert read_amount(text, "amount", 2) == Decimal(minor).scaleb(-2)


async def test_an_amount_says_its_currency_where_no_column_does(tmp_path):
    content = "order_id,date,amount\n1,2026-11-01,5.00 usd\n2,2026-11-01,$5\n3,2026-11-01,EUR 5 or so\n"

    pages = await history(store_of(tmp_path, content, currency="chf"))

    assert [order.total.currency for order in orders_in(pages)] == ["USD", "CHF"]
    assert letters_in(pages) == {"line 4": "`amount` is not an amount"}


def test_moments_are_read_as_exports_write_them():
    zone = CsvStore(CsvStoreSettings(path="x", timezone="Europe/Paris"))._terms.zone
    expected = datetime(2026, 11, 2, 13, 0, tzinfo=UTC)

    for text in (
        "2026-11-02 14:00",
        "2026-11-02T14:00:00",
        "2026-11-02 14:00:00 +0100",
        "2026-11-02 13:00:00 UTC",
        "2026-11-02T13:00:00Z",
        "02.11.2026 14:00",
    ):
        assert read_moment(text, zone) == expected
    assert read_moment("02.11.2026", zone) == datetime(2026, 11, 1, 23, tzinfo=UTC)
    assert read_moment("", zone) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "x", "currency": "Euro"},
        {"path": "x", "timezone": "Paris"},
        {"path": "x", "encoding": "latin-99"},
        {"path": "x", "encoding": "rot13"},
        {"path": "x", "encoding": "undefined"},
        {"path": "x", "statuses": {"done": "yes"}},
        {"path": "x", "delimiter": ";"},
    ],
)
def test_settings_that_cannot_be_right_are_refused_at_the_door(wrong):
    with pytest.raises(ValidationError):
        CsvStoreSettings(**wrong)
