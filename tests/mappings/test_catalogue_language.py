"""Parameters, formulas, windows, days of the year, fifths, and staying in a list."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from mappings.catalogue import catalogue
from mappings.clock import Clock
from mappings.compile import compile_mapping
from mappings.errors import MappingError
from mappings.model import preset, read_mapping
from mappings.operators import COMPARISONS
from state.functions import is_anniversary, months_before, months_between, next_anniversary
from state.scope import Scope
from tests.mappings.base import NOW, PARIS, Base, compiled, problems

ADA = "ada@example.com"
DAY = timedelta(days=1)


# --- the owner's own names -----------------------------------------------------------------------------


def test_a_parameter_stands_for_its_value_and_money_is_scaled(base: Base) -> None:
    base.add(orders_count=2, total_spent=10_000, country="FR")
    mapping = compiled(
        parameters={"often": 2, "much": 99.5, "home": "FR", "strict": True},
        lists={"A": "orders_count >= often and total_spent > much and country = home and strict"},
    )

    assert base.run(mapping)[0].lists == {"A": True}


@pytest.mark.parametrize("written", [3, "3", "3.0", 3.0, "+3"])
def test_a_number_is_a_number_however_a_reader_of_files_keeps_it(base: Base, written: object) -> None:
    base.add(orders_count=3)

    assert base.run(compiled(parameters={"n": written}, lists={"A": "orders_count = n"}))[0].lists == {
        "A": True
    }


def test_a_formula_stands_wherever_its_name_is_written(base: Base) -> None:
    base.add(orders_count=2, total_spent=10_000)
    mapping = compiled(
        formulas={"basket": "total_spent / orders_count", "dear": "basket >= 50"},
        fields={"B": "basket * 2"},
        lists={"A": "dear and basket < 51"},
    )

    (ada,) = base.run(mapping)

    assert (ada.fields, ada.lists) == ({"B": Decimal("100.00")}, {"A": True})


def test_P7_mistakes_in_names_and_in_what_uses_them_are_told_together_and_once() -> None:
    told = problems(
        parameters={"x": 1e300, "y": 2},
        formulas={"a": "orders_cont", "b": "a + x"},
        fields={"A": "a", "B": "b + y", "C": "cty"},
        lists={"L": "a > 1", "M": "orders_count"},
    )

    assert [".".join(each.path) for each in told] == ["parameters.x", "formulas.a", "fields.C", "lists.M"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"formulas": {"a": "b + 1", "b": "a + 1"}}, "formulas.a: `b` contains itself; b -> a -> b"),
        (
            {"formulas": {"a": "orders_cont"}},
            "formulas.a: unknown column `orders_cont`; did you mean `orders_count`?",
        ),
        ({"formulas": {"city": "country"}}, "formulas.city: is the name of a column; choose another"),
        ({"parameters": {"now": 3}}, "parameters.now: is the name of a function; choose another"),
        (
            {"parameters": {"x": 1}, "formulas": {"x": "2"}},
            "formulas.x: is the name of a parameter; choose another",
        ),
        ({"parameters": {"x": 1e300}}, "parameters.x: this number is too large or too small"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_its_place(
    names: dict[str, dict[str, object]], said: str
) -> None:
    found = [str(each) for each in problems(fields={"X": "orders_count"}, **names)]

    assert [line for line in found if line.startswith(said)]


@pytest.mark.parametrize("name", ["Big", "2nd", "a-b", "", "ünal"])
def test_a_name_is_written_as_columns_are(name: str) -> None:
    with pytest.raises(MappingError, match="small letters"):
        read_mapping({"parameters": {name: 1}, "fields": {"X": "1"}})


def test_formulas_that_double_one_another_are_refused_before_they_explode() -> None:
    laughs = {f"a{n}": f"a{n + 1} + a{n + 1} + a{n + 1} + a{n + 1}" for n in range(40)}

    said = problems(fields={"X": "a0"}, formulas=laughs | {"a40": "orders_count"})

    assert any("nested too deeply" in str(each) or "too much" in str(each) for each in said)


def test_an_owner_s_mapping_changes_one_threshold_of_the_preset(base: Base) -> None:
    ada = base.add(orders_count=3, total_spent=1)
    raw = {"extends": "preset:crm", "parameters": {"loyal_orders": 4}}
    mapping = compile_mapping(read_mapping(raw, read_mapping(preset("crm"))), currency="EUR")

    (found,) = base.run(mapping)

    assert (found.profile, found.lists["Customers"], found.lists["Loyal Customers"]) == (ada, True, False)


# --- windows -------------------------------------------------------------------------------------------


def test_windows_look_at_the_counted_orders_of_their_time(base: Base) -> None:
    base.add(ADA, orders_count=3)
    base.add("bob@example.com", orders_count=0)
    base.order(1, ADA, NOW.now - 20 * DAY + timedelta(minutes=1), 1000)
    base.order(2, ADA, NOW.now - 20 * DAY - timedelta(minutes=1), 5000)
    base.order(3, ADA, NOW.now - 3 * DAY, 2001)
    base.order(4, ADA, NOW.now - 3 * DAY, 700, standing="unpaid")
    base.order(5, ADA, NOW.now - 3 * DAY, 700, store="elsewhere")
    mapping = compiled(
        fields={
            "O": "orders_in(days => 20)",
            "S": "spent_in(20)",
            "I": "items_in(months => 2)",
            "B": "basket_in(days => 20)",
            "H": "orders_in(hours => 1)",
        }
    )

    ada, bob = base.run(mapping)

    assert ada.fields == {"O": 2, "S": Decimal("30.01"), "I": 6, "B": Decimal("15.01"), "H": 0}
    assert bob.fields == {"O": 0, "S": Decimal("0.00"), "I": 0, "B": None, "H": 0}


@pytest.mark.parametrize(
    ("currency", "totals", "basket"),
    [("KWD", [1004], "1.004"), ("JPY", [100, 100, 101], "100"), ("EUR", [1000, 1000, 1001], "10.00")],
)
def test_a_window_s_basket_has_the_decimals_of_its_currency(
    base: Base, currency: str, totals: list[int], basket: str
) -> None:
    base.add(ADA, orders_count=len(totals))
    for number, total in enumerate(totals):
        base.order(number, ADA, NOW.now - DAY, total, currency=currency)
    rule = f"basket_in(days => 90) = {basket}"

    (ada,) = base.run(compiled(fields={"B": "basket_in(days => 90)"}, lists={"L": rule}, currency=currency))

    assert (ada.fields["B"], ada.lists["L"]) == (Decimal(basket), True)


@pytest.mark.parametrize("type_", ["number", "text"])
@pytest.mark.parametrize(("minor", "shown"), [(-4, "0.00"), (4, "0.00"), (-5, "-0.01"), (-10, "-0.01")])
def test_an_amount_that_rounds_to_nothing_has_no_sign(base: Base, type_: str, minor: int, shown: str) -> None:
    base.add(total_spent=minor)

    assert str(base.value("total_spent / 10", type_)) == shown


def test_a_window_moves_by_itself_and_concerns_whose_orders_leave_it(base: Base) -> None:
    ada = base.add(ADA)
    base.add("bob@example.com")
    base.order(1, ADA, NOW.now - 20 * DAY + timedelta(hours=2))
    base.order(2, "bob@example.com", NOW.now - 10 * DAY)
    mapping = compiled(lists={"A": "orders_in(days => 20) >= 1"})
    later = Clock(NOW.now + timedelta(hours=3), PARIS)

    assert [each.lists["A"] for each in base.run(mapping)] == [True, True]
    assert base.moved(mapping, NOW, later) == {ada}
    assert [each.lists["A"] for each in base.run(mapping, later)] == [False, True]
    assert not mapping.daily


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("orders_in() > 1", "a window has one length; write orders_in(days => 90)"),
        ("orders_in(days => 1, months => 1) > 1", "a window has one length"),
        ("orders_in(dais => 1) > 1", "orders_in() does not take `dais` here; did you mean `days`?"),
        ("orders_in(days => 1, days => 2) > 1", "orders_in() is given `days` twice"),
        ("orders_in(days => orders_count) > 1", "takes a whole number that is written out"),
        ("orders_in(days => 1.5) > 1", "takes a whole number that is written out"),
        ("spent_in(days => '3') > 1", "spent_in() takes number as days, not"),
        ("round(digits => 2) > 1", "round() lacks `amount`"),
    ],
)
def test_a_window_that_cannot_be_is_refused(rule: str, said: str) -> None:
    assert said in str(problems(lists={"A": rule})[0])


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("orders_in(days = 90) > 1", "`days` is the name of an argument; write `days => 90`"),
        ("last_order_at >= now() - 30", "did you mean `days_ago(30)`?"),
        ("last_order_at >= today() - 30", "did you mean `days_ago(30)`?"),
        ("total_spent >= 1.000", "`1.000` may be 1000; write 1000, or 1"),
        ("orders_count > 1,5", "write a decimal point: 1.5"),
        ("rfm_segment = 'champions'", "`rfm_segment` is never 'champions'; did you mean `Champions`?"),
        ("'SEO' = acquisition_channel", "`acquisition_channel` is never 'SEO'; did you mean `seo`?"),
        (
            "last_fulfilment not in ('open', 'shipped')",
            "is never 'shipped'; it is fulfilled or open or partial",
        ),
        (
            "case when orders_count > 1 then 'many' when orders_count = 1 then 'one' end = 'two'",
            "is never 'two'",
        ),
        ("country = 'FR' or 'BE'", "write `COLUMN in ('BE', …)` for one of several"),
        ("orders_count = 1 or 2", "write `COLUMN in (2, …)` for one of several"),
        ('"total_spent" >= 100', "write total_spent for the column, 'total_spent' for a text"),
    ],
)
def test_a_slip_is_answered_with_what_would_be_right(rule: str, said: str) -> None:
    assert said in str(problems(lists={"A": rule})[0])


@pytest.mark.parametrize(
    "rule",
    [
        "case when orders_count > 1 then 'many' else country end = 'FR'",
        "case when orders_count > 1 then 'many' end = 'many'",
        "rfm_segment in ('At Risk', 'New')",
        "coalesce(rfm_segment, 'none') = 'none'",
        "acquisition_channel <> 'ads'",
    ],
)
def test_a_word_that_can_be_is_looked_for(rule: str) -> None:
    assert problems(lists={"A": rule}) == []


def test_arguments_can_be_given_by_name(base: Base) -> None:
    base.add(total_spent=1234)

    assert base.value("round(digits => 1, amount => total_spent)") == Decimal("12.30")
    assert base.value("round(total_spent, digits => 0)") == Decimal("12.00")


# --- days ----------------------------------------------------------------------------------------------


def test_a_birthday_is_a_day_and_no_moment(base: Base) -> None:
    base.add(birthday=date(1990, 5, 1), signup_at=datetime(2026, 4, 30, 23, 30, tzinfo=UTC))

    assert base.value("birthday") == date(1990, 5, 1)
    assert base.value("birthday", "text") == "1990-05-01"
    assert base.value("date_of(signup_at)") == date(2026, 5, 1)
    assert base.value("today()") == date(2026, 5, 1)
    assert base.truth("birthday = '1990-05-01' and birthday < today() and birthday > '1989-12-31'")
    assert base.truth("is_anniversary(birthday)")
    assert base.truth("is_anniversary(date_of(signup_at))") is False
    assert base.value("next_anniversary(birthday)") == date(2026, 5, 1)
    assert base.value("next_anniversary(signup_at)") == date(2027, 5, 1)
    assert base.value("days_between(signup_at, now())") == 0


def test_days_and_moments_do_not_mix() -> None:
    (said,) = problems(lists={"A": "birthday = signup_at"})

    assert str(said) == (
        "lists.A: cannot compare `birthday` (date) with `signup_at` (moment); did you mean `date_of(signup_at)`?"
    )
    assert "is not a date" in str(problems(lists={"A": "birthday = '1990-02-30'"})[0])


days = st.dates(date(1900, 1, 1), date(2100, 12, 31))


@given(days, days)
def test_the_next_anniversary_is_the_first_day_on_which_it_is_one(day: date, today: date) -> None:
    coming = next_anniversary(day, today)

    assert coming >= today
    assert is_anniversary(day, coming)
    assert (coming - max(today, day)).days <= 366
    assert not any(is_anniversary(day, today + n * DAY) for n in range(min((coming - today).days, 400)))


@pytest.mark.parametrize(
    ("today", "is_it"),
    [
        (date(2024, 2, 29), False),
        (date(2025, 2, 28), True),
        (date(2025, 3, 1), False),
        (date(2028, 2, 28), False),
        (date(2028, 2, 29), True),
    ],
)
def test_who_was_born_on_29_february_celebrates_on_the_28th_where_there_is_none(
    today: date,
    is_it: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    assert is_anniversary(date(2024, 2, 29), today) is is_it


moments = st.datetimes(datetime(2020, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants them naive


@given(moments, moments, st.sampled_from(["Europe/Paris", "America/New_York", "Asia/Kolkata"]))
def test_months_since_is_the_largest_number_that_months_ago_reaches(
    moment: datetime, now: datetime, zone: str
) -> None:
    months = months_between(moment, now, ZoneInfo(zone))

    assert moment <= months_before(now, months, ZoneInfo(zone))
    assert moment > months_before(now, months + 1, ZoneInfo(zone))


def test_months_since_is_compared_as_a_moment(base: Base) -> None:
    base.add(last_order_at=datetime(2026, 1, 31, 12, tzinfo=UTC))
    mapping = compiled(lists={"A": "months_since(last_order_at) >= 3"})

    assert base.run(mapping)[0].lists == {"A": True}
    assert not mapping.daily
    assert mapping.moving


# --- fifths --------------------------------------------------------------------------------------------


def scores(base: Base, expression: str) -> list[object]:
    mapping = compiled(fields={"X": expression})
    base.refresh(mapping)
    return [each.fields["X"] for each in base.run(mapping)]


def test_fifths_of_ten_people(base: Base) -> None:
    for number in range(10):
        base.add(f"{number}@example.com", total_spent=number)

    assert scores(base, "quintile(total_spent)") == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_equal_values_share_the_lower_fifth(base: Base) -> None:
    for number, count in enumerate([1, 1, 1, 1, 1, 1, 2, 2, 3, 9]):
        base.add(f"{number}@example.com", orders_count=count)

    assert scores(base, "quintile(orders_count)") == [1, 1, 1, 1, 1, 1, 4, 4, 5, 5]


def test_who_has_no_value_has_no_fifth_and_without_figures_nobody_has(base: Base) -> None:
    base.add("a@example.com", last_order_at=NOW.now)
    base.add("b@example.com")

    assert [each.fields["X"] for each in base.run(compiled(fields={"X": "quintile(last_order_at)"}))] == [
        None,
        None,
    ]
    assert scores(base, "quintile(last_order_at)") == [5, None]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_fifths_are_those_of_plain_counting(values: list[int]) -> None:
    base = Base()
    for number, value in enumerate(values):
        base.add(f"{number}@example.com", total_spent=value)

    found = scores(base, "quintile(total_spent)")
    base.close()

    worst = [sum(other >= value for other in values) for value in values]
    assert found == [5 - (place - 1) * 5 // len(values) for place in worst]


@pytest.mark.parametrize("values", [[None, *range(10)], [1, 1, 1, 1, 1, 1, 2, 2, 3, 9], [5]])
def test_a_fifth_is_compared_like_the_number_that_it_is(base: Base, values: list[int | None]) -> None:
    for number, value in enumerate(values):
        base.add(
            f"{number}@example.com", **({} if value is None else {"last_order_at": NOW.now + value * DAY})
        )
    limits = [
        (sign, number)
        for sign, holds in COMPARISONS.items()
        for number in ("0", "1", "2.5", "3", "5", "6")
        if any(holds(fifth, float(number)) for fifth in range(1, 6))
    ]
    fifth = "quintile(last_order_at)"
    compared = compiled(lists={f"{sign} {number}": f"{fifth} {sign} {number}" for sign, number in limits})
    counted = compiled(lists={f"{sign} {number}": f"0 + {fifth} {sign} {number}" for sign, number in limits})

    before = base.run(compared)
    base.refresh(compared)

    assert {answer for each in before for answer in each.lists.values()} == {None}
    assert base.run(compared) == base.run(counted)


def test_every_pair_of_recency_and_frequency_has_a_name(base: Base) -> None:
    for number in range(25):
        base.add(
            f"{number}@example.com",
            orders_count=1 + number % 5 * 10,
            last_order_at=NOW.now - number * DAY,
            total_spent=number,
        )

    assert all(scores(base, "rfm_segment"))


# --- staying -------------------------------------------------------------------------------------------


def test_who_is_in_a_list_stays_until_the_other_rule_is_true(base: Base) -> None:
    inside = [base.add(f"{n}@example.com", orders_count=n) for n in (9, 6, 4)]
    base.add("x@example.com", orders_count=6)
    mapping = compiled(lists={"Fans": {"when": "orders_count >= 8", "until": "orders_count < 5"}})
    for profile in inside:
        base.enter(profile, "Fans")

    assert [each.lists["Fans"] for each in base.run(mapping)] == [True, True, False, False]


def test_an_until_that_is_empty_is_refused() -> None:
    (problem,) = problems(lists={"Fans": {"when": "orders_count >= 8", "until": ""}})

    assert str(problem) == "lists.Fans.until: nothing stands here; write an expression"


def test_P12_who_is_in_a_list_stays_where_both_rules_are_unknown(base: Base) -> None:
    inside = base.add("a@example.com")
    base.add("b@example.com")
    base.enter(inside, "Fans")
    mapping = compiled(lists={"Fans": {"when": "visits >= 8", "until": "visits < 5"}})

    assert [each.lists["Fans"] for each in base.run(mapping)] == [None, None]


# --- the catalogue -------------------------------------------------------------------------------------


def test_P12_what_nothing_fills_is_unknown_and_says_who_would_fill_it(base: Base) -> None:
    base.add(orders_count=1)
    mapping = compiled(
        fields={"V": "visits", "K": "orders_count"},
        lists={"A": "email_opens > 3 and orders_count >= 1", "B": "orders_count = 0 and visits > 1"},
    )

    (ada,) = base.run(mapping)

    assert (ada.fields, ada.lists) == ({"V": None, "K": 1}, {"A": None, "B": False})
    assert [(each.section, each.name, list(each.columns)) for each in mapping.unknown] == [
        ("fields", "V", ["visits"]),
        ("lists", "A", ["email_opens"]),
        ("lists", "B", ["visits"]),
    ]


def test_what_coalesce_replaces_is_known(base: Base) -> None:
    base.add(orders_count=1)
    mapping = compiled(
        lists={
            "A": "coalesce(visits, 0) = 0",
            "B": "coalesce(visits, email_opens) > 1",
            "C": "coalesce(visits, 0) = 0 and visits > 1",
        }
    )

    (ada,) = base.run(mapping)

    assert ada.lists == {"A": True, "B": None, "C": None}
    assert [(each.name, list(each.columns)) for each in mapping.unknown] == [
        ("B", ["email_opens"]),
        ("C", ["visits"]),
    ]


def test_shares_are_in_percent_and_unknown_without_orders(base: Base) -> None:
    none = dict.fromkeys(
        ("discounted_orders", "night_orders", "timed_orders", "paid_orders", "refunded_orders"), 0
    )
    base.add(
        orders_count=3, discounted_orders=1, night_orders=1, timed_orders=2, paid_orders=4, refunded_orders=1
    )
    base.add("b@example.com", orders_count=0, **none)
    base.add("c@example.com", orders_count=1, night_orders=None, timed_orders=0)
    mapping = compiled(fields={"D": "discounted_share", "N": "night_share", "R": "refund_rate"})

    ada, bob, eve = base.run(mapping)

    assert ada.fields == {"D": Decimal("33.33"), "N": 50, "R": 25}
    assert bob.fields == {"D": None, "N": None, "R": None}
    assert eve.fields["N"] is None


def test_days_between_orders_need_two(base: Base) -> None:
    base.add(orders_count=3, first_order_at=NOW.now - 21 * DAY, last_order_at=NOW.now)
    base.add("b@example.com", orders_count=1, first_order_at=NOW.now, last_order_at=NOW.now)

    found = [each.fields["X"] for each in base.run(compiled(fields={"X": "days_between_orders"}))]

    assert found == [Decimal("10.5"), None]


@pytest.mark.parametrize("name", [name for name, column in catalogue().items() if column.expression])
def test_every_computed_column_compiles_for_both_databases(name: str) -> None:
    mapping = compiled(fields={"X": name})

    query = mapping.select("crm", NOW, None)

    assert "SELECT" in str(query.compile(dialect=postgresql.dialect()))


def test_the_preset_compiles_with_windows_and_says_what_is_unknown() -> None:
    scope = Scope("crm", ("a", "b"), "news", "EUR", {"USD": Decimal("0.9")})
    mapping = compile_mapping(read_mapping(preset("crm")), currency="EUR", scope=scope)

    assert {each.name for each in mapping.lists if each.journey} == {
        "Welcome Journey",
        "Lost Checkout Journey",
        "Potential Re-Order",
        "Re-Engagement",
        "Milestone Today",
    }
    unknown = {each.name for each in mapping.unknown if each.section == "lists"}
    assert unknown == {
        "Fans",
        "High Potential Leads",
        "Potential Re-Order",
        "Re-Engagement",
        "Filled A Form",
    }
