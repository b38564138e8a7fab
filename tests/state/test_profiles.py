"""P1: profiles are a function of the facts, whatever the order and the number of their deliveries."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replaced
from sqlalchemy import Connection, select

from connectors.facts import (
    Consent,
    Fact,
    Fulfilment,
    Line,
    Money,
    Order,
    Person,
    Product,
    Refund,
    Source,
    Standing,
)
from state import facts, profiles, runs
from state.bookkeeping import SyncRow
from state.db import Database
from state.people import e164
from state.scope import Scope
from state.tables import table
from tests import oracle
from tests.oracle import Shop
from tests.state.makers import (
    ADA,
    BOB,
    EVE,
    PROFILES,
    RATES,
    SCOPE,
    START,
    at,
    checkout,
    columns,
    customer,
    eur,
    opt_out,
    order,
    product,
    profile,
    profile_id,
    refresh,
    save,
    shops,
    zones,
)

worlds = st.tuples(shops("shop", foreign=True), shops("outlet", refunds_apart=True))


def newest(shop: Shop) -> list[Fact]:
    return [fact for kind in facts.SAVERS for fact in latest(shop, kind)]


def latest(shop: Shop, kind: type[Any]) -> Sequence[Fact]:
    """Keep the newest version of each fact; refunds have one."""
    return [fact for fact in shop.facts if isinstance(fact, Refund)] if kind is Refund else shop.newest(kind)


def expected(
    world: Sequence[Shop], opted_out: dict[str, datetime], timezone: str
) -> dict[str, dict[str, Any]]:
    return oracle.profiles(world, SCOPE.currency, RATES, opted_out, timezone)


def deliver_at_random(connection: Connection, world: Sequence[Shop], chance: random.Random) -> None:
    """Send every version once or more, in any order, on pages of any size, with runs in between."""
    deliveries = [(shop.name, fact) for shop in world for fact in shop.facts] * chance.choice([1, 2])
    chance.shuffle(deliveries)
    while deliveries:
        store = deliveries[-1][0]
        page: list[Fact] = []
        longer = chance.choice([0.3, 0.95])
        while deliveries and deliveries[-1][0] == store and (not page or chance.random() < longer):
            page.append(deliveries.pop()[1])
        save(connection, *page, store=store)
        if chance.random() < 0.15:
            refresh(connection, chunk=chance.choice([1, 100]))
    for shop in world:
        save(connection, store=shop.name, gone=sorted(shop.gone))
        again = chance.sample(list(shop.facts), k=len(shop.facts) // 2)
        save(connection, *again, store=shop.name)


@settings(max_examples=settings().max_examples // 2)  # each delivers a world again and again
@given(worlds, st.randoms(use_true_random=False))
def test_P1_any_order_and_repetition_of_deliveries_gives_what_one_clean_delivery_gives(
    database: Database, world: tuple[Shop, Shop], chance: random.Random
) -> None:
    with database._engine.connect() as connection:
        deliver_at_random(connection, world, chance)
        refresh(connection)
        messy = columns(connection)
    with database._engine.connect() as connection:
        for shop in world:
            save(connection, *newest(shop), store=shop.name, gone=sorted(shop.gone))
        refresh(connection)
        clean = columns(connection)

    assert without_word(messy) == without_word(clean)
    for email, known in messy.items():
        if known["accepts_marketing"] is not False:  # P4: a no sticks, also where its record says nothing now
            assert known["accepts_marketing"] == clean[email]["accepts_marketing"]


def without_word(people: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    word = {"accepts_marketing", "consent_origin"}
    return {email: {k: v for k, v in known.items() if k not in word} for email, known in people.items()}


@given(worlds, st.dictionaries(st.sampled_from([ADA, BOB]), st.integers(0, 12).map(at)), zones)
def test_P1_profiles_equal_the_definitions_in_plain_python(
    database: Database, world: tuple[Shop, Shop], opted_out: dict[str, datetime], timezone: str
) -> None:
    scope = replace(SCOPE, timezone=timezone)
    with database._engine.connect() as connection:
        for shop in world:
            save(connection, *shop.facts, store=shop.name, gone=sorted(shop.gone))
        for email, moment in opted_out.items():
            opt_out(connection, email, when=moment)
        refresh(connection, scope)

        assert columns(connection, scope) == expected(world, opted_out, timezone)


@given(shops("shop"))
def test_P1_what_counts_is_never_negative_and_never_more_than_what_was_charged(
    database: Database, shop: Shop
) -> None:
    with database._engine.connect() as connection:
        save(connection, *shop.facts)
        refresh(connection)
        found = columns(connection)

    charged = sum(
        oracle.converted(sent.total.minor, sent.total.currency, SCOPE.currency, RATES) or 0
        for sent in shop.newest(Order)
        if sent.standing is Standing.PAID
    )
    assert all(row["total_spent"] >= 0 for row in found.values())
    assert sum(row["total_spent"] for row in found.values()) <= charged


# --- amounts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standing", [each for each in Standing if each is not Standing.PAID])
def test_P1_only_paid_orders_count(connection: Connection, standing: Standing) -> None:
    save(connection, order(1), order(2, total=700, standing=standing))

    found = profile(connection)

    assert (found["orders_count"], found["total_spent"], found["last_order_number"]) == (1, 1000, "N1")


def test_P1_of_orders_in_one_second_the_highest_number_is_the_last_and_tells_all(
    connection: Connection,
) -> None:
    tells: dict[str, tuple[str, Fulfilment]] = {
        "9": ("USD", Fulfilment.FULFILLED),
        "10": ("EUR", Fulfilment.OPEN),
        "8": ("KWD", Fulfilment.FULFILLED),
    }
    for number, (currency, fulfilment) in tells.items():
        one = order(number, total=Money(900, currency), created_at=at(0), fulfilment=fulfilment)
        save(connection, replaced(one, number=number))

    found = profile(connection)

    told = (found["last_order_number"], found["currency"], found["last_fulfilment"])
    assert told == ("10", "EUR", Fulfilment.OPEN)


def test_P1_a_part_refund_leaves_the_rest_a_full_one_leaves_nothing(connection: Connection) -> None:
    part = order(1, refunds=[Refund("a", "1", eur(300)), Refund("b", "1", eur(1))])
    full = order(2, refunds=[Refund("a", "2", eur(600)), Refund("b", "2", eur(400))])
    save(connection, part, full)

    found = profile(connection)

    assert (found["orders_count"], found["total_spent"], found["average_basket"]) == (1, 699, 699)


def test_P1_more_back_than_was_paid_does_not_make_a_total_negative(connection: Connection) -> None:
    save(connection, order(1, refunds=[Refund("a", "1", eur(5000))]))

    found = profile(connection)

    assert (found["orders_count"], found["total_spent"]) == (0, 0)
    assert found["first_order_at"] is None


def test_P1_a_paid_order_of_nothing_counts(connection: Connection) -> None:
    save(connection, order(1, total=0, refunds=[Refund("a", "1", eur(100))]))

    found = profile(connection)

    assert (found["orders_count"], found["total_spent"], found["average_basket"]) == (1, 0, 0)


def test_P1_refunds_that_come_before_their_order_are_taken_off(connection: Connection) -> None:
    save(connection, Refund("a", "1", eur(250)))
    save(connection, order(1))

    assert profile(connection)["total_spent"] == 750


def test_P1_currencies_are_converted_with_their_own_decimals(connection: Connection) -> None:
    foreign = [order(code, total=Money(1000, code)) for code in ("JPY", "KWD", "USD")]
    save(connection, *foreign, order(4))

    found = profile(connection)

    assert found["total_spent"] == 610 + 302 + 920 + 1000
    assert found["orders_count"] == 4


@pytest.mark.parametrize(("currency", "rate", "worth"), [("JPY", "163.5", 16350), ("KWD", "0.33", 33_000)])
def test_P1_totals_in_a_currency_without_or_with_more_decimals(
    connection: Connection, currency: str, rate: str, worth: int
) -> None:
    scope = Scope("crm", ("shop",), "news", currency, {"EUR": Decimal(rate)})
    save(connection, order(1, total=10_000))

    assert profile(connection, scope=scope)["total_spent"] == worth


def test_P1_the_average_rounds_half_a_cent_up(connection: Connection) -> None:
    save(connection, order(1, total=1), order(2, total=2))

    assert profile(connection)["average_basket"] == 2


def test_an_order_without_a_rate_makes_amounts_unknown_and_is_a_dead_letter_until_there_is_one(
    connection: Connection,
) -> None:
    pounds = order(7, total=Money(100, "GBP"))
    save(connection, order(1), pounds)

    found = profile(connection)
    letters = runs.list_dead_letters(connection, ["crm"])

    assert (found["orders_count"], found["total_spent"], found["average_basket"]) == (2, None, None)
    assert [(letter.record, letter.times) for letter in letters] == [("order shop/7", 1)]
    assert "rates.GBP" in letters[0].reason

    refresh(connection, replace(SCOPE, rates=RATES | {"GBP": Decimal("1.2")}))

    assert columns(connection)[ADA]["total_spent"] == 1120
    assert runs.list_dead_letters(connection, ["crm"]) == []


@pytest.mark.parametrize(
    "mended",
    [
        order(7, total=Money(100, "GBP"), updated_at=at(1), standing=Standing.CANCELLED),
        order(7, updated_at=at(1)),
    ],
    ids=["counts no more", "corrected"],
)
def test_an_order_that_needs_no_rate_any_more_is_no_dead_letter(
    connection: Connection, mended: Order
) -> None:
    save(connection, order(7, total=Money(100, "GBP")), order(8, total=Money(1, "GBP")))
    refresh(connection)
    save(connection, mended)
    refresh(connection)

    assert [letter.record for letter in runs.list_dead_letters(connection, ["crm"])] == ["order shop/8"]


# --- who somebody is -----------------------------------------------------------------------------------


def test_P1_a_guest_and_an_account_with_one_address_are_one_person(connection: Connection) -> None:
    save(connection, order(1), order(2, email="old@example.com", customer_id="5"))
    save(connection, customer(5, created_at=at(-500)), store="shop")
    save(connection, order(1), store="outlet")

    found = profile(connection)

    assert (found["orders_count"], found["stores"], found["customer_ids"]) == (3, "outlet,shop", "shop:5")
    assert found["signup_at"] == at(-500)
    assert list(columns(connection)) == [ADA]


def test_P1_orders_follow_the_account_to_a_new_address_and_the_profile_is_renamed(
    connection: Connection,
) -> None:
    save(connection, customer(5), order(1, customer_id="5"))
    refresh(connection)
    before = profile_id(connection)
    save(connection, customer(5, BOB, updated_at=at(1)))

    found = profile(connection, BOB)

    assert found["orders_count"] == 1
    assert profile_id(connection, BOB) == before
    assert list(columns(connection)) == [BOB]


def test_P1_a_renamed_account_leaves_the_profile_of_somebody_who_still_has_the_old_address(
    connection: Connection,
) -> None:
    save(connection, customer(5), order(1))
    refresh(connection)
    before = profile_id(connection)
    save(connection, customer(5, BOB, updated_at=at(1)))

    refresh(connection)

    assert profile_id(connection) == before
    assert set(columns(connection)) == {ADA, BOB}


def test_P1_a_renamed_account_joins_the_profile_that_has_the_new_address(connection: Connection) -> None:
    save(connection, customer(5), order(1, customer_id="5"), order(2, BOB))
    refresh(connection)
    before = profile_id(connection, BOB)
    save(connection, customer(5, BOB, updated_at=at(1)))

    found = profile(connection, BOB)

    assert (found["orders_count"], profile_id(connection, BOB)) == (2, before)
    assert list(columns(connection)) == [BOB]


def test_P1_an_account_that_moves_twice_before_anybody_looks_is_renamed_once(connection: Connection) -> None:
    save(connection, customer(5), order(1, customer_id="5"))
    refresh(connection)
    before = profile_id(connection)
    save(connection, customer(5, BOB, updated_at=at(1)))
    save(connection, customer(5, EVE, updated_at=at(2)))
    refresh(connection)

    assert (profile_id(connection, EVE), list(columns(connection))) == (before, [EVE])


def test_P1_a_profile_follows_its_own_account_through_addresses_that_others_leave_before_and_after(
    connection: Connection,
) -> None:
    save(connection, customer(5), customer(6, BOB), customer(7, EVE))
    refresh(connection)
    before = {email: profile_id(connection, email) for email in (ADA, BOB, EVE)}
    moves = [(6, "bob"), (5, BOB), (7, "eve"), (5, EVE), (5, "ada"), (8, BOB), (8, "last")]
    for minute, (number, to) in enumerate(moves, 1):
        email = to if "@" in to else f"{to}@new.example.com"
        save(connection, customer(number, email, updated_at=at(minute)))

    refresh(connection)

    assert before == {email: profile_id(connection, email.replace("@", "@new.")) for email in before}


def test_P4_who_came_to_an_address_after_somebody_went_on_does_not_get_their_contact(
    connection: Connection,
) -> None:
    save(connection, customer(5), customer(6, EVE))
    refresh(connection)
    before = {email: profile_id(connection, email) for email in (ADA, EVE)}
    for minute, (number, email) in enumerate([(5, BOB), (5, "ada@new.example.com"), (6, BOB)], 1):
        save(connection, customer(number, email, updated_at=at(minute)))

    refresh(connection)

    assert profile_id(connection, BOB) == before[EVE]
    assert set(columns(connection)) == {BOB, "ada@new.example.com"}


def test_a_rename_in_a_store_outside_the_sync_renames_nobody(connection: Connection) -> None:
    scope = replace(SCOPE, stores=("shop",))
    save(connection, order(1))
    refresh(connection, scope)
    save(connection, gone=["1"])
    save(connection, customer(5), store="outlet")
    save(connection, customer(5, BOB, updated_at=at(1)), store="outlet")

    refresh(connection, scope)

    assert connection.scalars(select(PROFILES.c.email)).all() == [ADA]


def test_P1_an_account_without_an_address_leaves_its_orders_to_the_address_they_were_placed_with(
    connection: Connection,
) -> None:
    save(connection, customer(5), order(1, BOB, customer_id="5", consent=Consent(given=True, at=at(0))))
    save(connection, customer(5, None, updated_at=at(1)))

    found = profile(connection, BOB)

    assert (found["orders_count"], found["accepts_marketing"]) == (1, True)
    assert ADA not in columns(connection)


def test_P1_a_word_on_an_order_without_an_address_waits_for_its_account(connection: Connection) -> None:
    save(connection, order(1, None, customer_id="5", consent=Consent(given=True, at=at(0))))
    save(connection, customer(5))

    assert profile(connection)["accepts_marketing"] is True


def test_P1_an_order_that_loses_its_address_takes_its_word_along(connection: Connection) -> None:
    save(connection, customer(1), order(1, consent=Consent(given=True, at=at(0))))
    save(connection, order(1, None, updated_at=at(1), consent=Consent(given=True, at=at(0))))

    assert profile(connection)["accepts_marketing"] is None


def test_P1_a_checkout_that_turns_out_to_be_an_accounts_leaves_nobody_behind(connection: Connection) -> None:
    save(connection, checkout(1, BOB, customer_id="5"))
    refresh(connection)
    save(connection, customer(5))

    assert profile(connection)["stores"] == "shop"
    assert BOB not in columns(connection)


def test_a_person_without_facts_becomes_a_blank_profile_and_stays_the_same_contact(
    connection: Connection,
) -> None:
    save(connection, order(1))
    refresh(connection)
    before = profile_id(connection)
    save(connection, gone=["1"])

    refresh(connection)

    row = connection.execute(select(PROFILES).where(PROFILES.c.id == before)).one()
    assert (row.email, row.orders_count, row.total_spent, row.stores) == (ADA, 0, 0, None)


def test_the_newest_record_that_tells_something_tells_it(connection: Connection) -> None:
    old = Person("Ada", "Byron", "Engines", "06 12 34 56 78", "75001", "Paris", "FR")
    new = Person(first_name="Augusta", city="London", country="GB")
    save(connection, order(1, person=new, created_at=at(5)), order(2, person=old, created_at=at(1)))

    found = profile(connection)

    assert (found["first_name"], found["last_name"], found["company"]) == ("Augusta", None, "Engines")
    assert (found["postal_code"], found["city"], found["country"]) == (None, "London", "GB")
    assert found["phone"] == "+33612345678"


def test_the_source_is_that_of_the_first_record_that_names_one(connection: Connection) -> None:
    save(
        connection,
        order(1, created_at=at(0)),
        order(2, created_at=at(1), source=Source("google", "cpc", "gclid=1")),
        order(3, created_at=at(2), source=Source("newsletter")),
    )

    found = profile(connection)

    assert (found["lead_source"], found["lead_source_evidence"]) == ("google", "gclid=1")


def test_the_channel_is_that_of_the_source(connection: Connection) -> None:
    save(connection, order(1, source=Source("l.facebook.com", "referral")), order(2, EVE))

    assert profile(connection)["acquisition_channel"] == "social"
    assert columns(connection)[EVE]["acquisition_channel"] is None


def test_a_birthday_is_that_of_the_newest_account_that_has_one(connection: Connection) -> None:
    save(
        connection, customer(1, birthday=date(1815, 12, 10), updated_at=at(1)), customer(2, updated_at=at(2))
    )
    save(connection, customer(1, birthday=date(1816, 12, 10)), order(1, created_at=at(9)), store="outlet")

    assert profile(connection)["birthday"] == date(1815, 12, 10)


@pytest.mark.parametrize(
    ("sign", "seen_at"),
    [
        (order(1, standing=Standing.UNPAID, created_at=at(5), updated_at=at(50)), at(5)),
        (order(1, standing=Standing.TEST, created_at=at(5)), at(0)),
        (checkout(1, created_at=at(5), updated_at=at(8)), at(8)),
        (checkout(1, created_at=at(5), updated_at=at(50), completed_at=at(6)), at(6)),
        (customer(1, updated_at=at(50)), at(0)),
    ],
    ids=[
        "order of any kind",
        "test",
        "checkout",
        "checkout that the shop changed once it was over",
        "account",
    ],
)
def test_the_last_activity_is_the_persons_own(connection: Connection, sign: Fact, seen_at: datetime) -> None:
    save(connection, customer(1), sign)

    assert profile(connection)["last_activity_at"] == seen_at


@pytest.mark.parametrize(
    ("typed", "country", "written"),
    [
        ("06 12 34 56 78", "FR", "+33612345678"),
        ("+44 20 7946 0958", "FR", "+442079460958"),
        ("0612", "FR", None),
        ("06 12 34 56 78", None, None),
        ("call me", "FR", None),
        ("06 12 34 56 78", "ZZ", None),
        ("٠٦١٢٣٤٥٦٧٨", "FR", "+33612345678"),
    ],
)
def test_phone_numbers_are_written_as_esps_want_them(
    typed: str, country: str | None, written: str | None
) -> None:
    assert e164(typed, country) == written


@given(st.text(max_size=30), st.none() | st.text(max_size=3))
def test_no_phone_number_is_a_crash(typed: str, country: str | None) -> None:
    assert e164(typed, country) is None or str(e164(typed, country)).startswith("+")


# --- categories ----------------------------------------------------------------------------------------


def bought(number: int, minute: int, *lines: tuple[str, int]) -> Order:
    made = [Line(thing, "Thing", 1, eur(total)) for thing, total in lines]
    return order(number, lines=made, created_at=at(minute))


def test_the_preferred_category_is_the_one_most_was_spent_on(connection: Connection) -> None:
    save(connection, product(1, "Tea"), product(2, "Shoes", "Sale"))
    save(connection, bought(1, 0, ("1", 300), ("2", 200)), bought(2, 1, ("1", 10)))

    assert profile(connection)["preferred_category"] == "Tea"


def test_between_equal_categories_the_one_bought_last_is_preferred_then_the_first_by_name(
    connection: Connection,
) -> None:
    save(connection, product(1, "Tea"), product(2, "Shoes"), product(3, "Hats"))
    save(connection, bought(1, 0, ("1", 100)), bought(2, 1, ("2", 100), ("3", 100)))

    assert profile(connection)["preferred_category"] == "Hats"


def test_the_top_categories_are_three_in_the_order_of_what_was_spent(connection: Connection) -> None:
    save(connection, product(1, "Tea"), product(2, "Shoes"), product(3, "Hats"), product(4, "Çay"))
    save(connection, bought(1, 0, ("4", 100), ("1", 100)), bought(2, 1, ("2", 100), ("3", 500)))

    found = profile(connection)

    assert (found["preferred_category"], found["top_categories"]) == ("Hats", "Hats, Shoes, Tea")


def test_categories_of_orders_that_came_back_are_nobody_s_favourites(connection: Connection) -> None:
    save(connection, product(1, "Tea"))
    save(connection, replaced(bought(1, 0, ("1", 100)), standing=Standing.REFUNDED))

    found = profile(connection)

    assert (found["preferred_category"], found["top_categories"]) == (None, None)


def test_a_category_named_twice_counts_once(connection: Connection) -> None:
    save(connection, product(1, "Shoes", "Shoes"), product(2, "Tea"))
    save(connection, bought(1, 0, ("1", 100), ("2", 150)))

    assert profile(connection)["preferred_category"] == "Tea"


def test_a_product_that_moves_to_another_category_changes_its_buyers(connection: Connection) -> None:
    save(connection, product(1, "Tea"))
    save(connection, bought(1, 0, ("1", 100)), order(2, EVE))
    refresh(connection)
    save(connection, product(1, "Coffee", updated_at=at(1)))

    assert refresh(connection) == 1
    assert columns(connection)[ADA]["preferred_category"] == "Coffee"


def test_a_product_that_was_only_sold_again_changes_nobody(connection: Connection) -> None:
    save(connection, product(1, "Tea"))
    save(connection, bought(1, 0, ("1", 100)))
    refresh(connection)

    save(connection, Product("1", "Thing 1", ("Tea",), at(1)))

    assert refresh(connection) == 0


# --- how far -------------------------------------------------------------------------------------------


def test_P6_only_people_whose_facts_changed_are_computed_again(connection: Connection) -> None:
    save(connection, *(order(number, f"p{number}@example.com") for number in range(20)))
    refresh(connection)

    save(connection, order(3, "p3@example.com", updated_at=at(1), total=1))

    assert refresh(connection) == 1
    assert refresh(connection) == 0


def test_P6_a_refresh_takes_about_as_many_people_as_it_is_told(connection: Connection) -> None:
    for number in range(6):
        save(connection, order(number, f"p{number}@example.com"))

    steps = []
    while done := profiles.refresh(connection, SCOPE, 2, START):
        steps.append(done)

    assert steps == [2, 2, 2]


def test_P6_a_category_of_everybodys_is_computed_in_parts(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "REVISION_SIZE", 2)
    save(connection, product(1, "Tea"))
    line = Line("1", "Tea", 1, eur(1))
    save(connection, *(order(number, f"p{number}@example.com", lines=[line]) for number in range(5)))
    refresh(connection)
    save(connection, product(1, "Coffee", updated_at=at(1)))

    steps = []
    while done := profiles.refresh(connection, SCOPE, 2, START):
        steps.append(done)

    assert steps == [2, 2, 1]


@pytest.mark.parametrize(
    "changed",
    [replace(SCOPE, rates={}), replace(SCOPE, stores=("shop",)), replace(SCOPE, currency="USD")],
    ids=["rates", "stores", "currency"],
)
def test_another_scope_computes_and_compares_everything_again_quietly(
    connection: Connection, changed: Scope
) -> None:
    syncs = table(SyncRow)
    save(connection, order(1), order(2, EVE))
    refresh(connection)
    connection.execute(syncs.update().values(evaluated_revision=1, evaluated_at=START, go_live_at=START))

    assert refresh(connection, changed) == 2

    row = connection.execute(select(syncs)).one()
    assert (row.evaluated_at, row.go_live_at) == (None, START)


def test_two_syncs_have_profiles_of_their_own(connection: Connection) -> None:
    save(connection, order(1))
    save(connection, order(1), store="outlet")

    first = profile(connection, scope=Scope("first", ("shop",), "news", "EUR", {}))
    second = profile(connection, scope=Scope("second", ("shop", "outlet"), "news", "EUR", {}))

    assert (first["orders_count"], second["orders_count"]) == (1, 2)
