"""Reading money, addresses and moments: exactly, or not at all."""

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.checks import PAST
from config.checks import currency as check_currency
from connectors.currencies import RETIRED, UNLISTED, exponent
from connectors.facts import Money, money, normal_email, text_or_none, utc

DIGITS = {"EUR": 2, "JPY": 0, "KWD": 3, "TRY": 2, "CLF": 4, "XAU": 0}
currencies = st.sampled_from(sorted(DIGITS))
written = st.decimals(-(10**10), 10**10, allow_nan=False, allow_infinity=False)


def half_away_from_zero(number: Fraction) -> int:
    rounded = math.floor(abs(number) + Fraction(1, 2))
    return rounded if number >= 0 else -rounded


@pytest.mark.parametrize(("code", "digits"), DIGITS.items())
def test_every_currency_has_its_own_decimals(code: str, digits: int) -> None:
    assert exponent(code) == digits


@pytest.mark.parametrize(("code", "digits"), {**RETIRED, **UNLISTED}.items())
def test_a_currency_of_the_past_has_its_decimals_whatever_todays_list_says(code: str, digits: int) -> None:
    assert exponent(code) == digits
    assert money("1.5", code).minor == int(Decimal("1.5").quantize(Decimal(1).scaleb(-digits)).scaleb(digits))
    assert check_currency(code.lower()) == code


def test_what_the_configuration_takes_for_a_currency_of_the_past_is_what_stores_do() -> None:
    assert {*RETIRED, *UNLISTED} == PAST


@given(written, currencies)
def test_money_is_read_exactly_and_half_a_unit_rounds_away_from_zero(amount: Decimal, code: str) -> None:
    exact = Fraction(amount) * 10 ** DIGITS[code]

    assert money(str(amount), code) == Money(half_away_from_zero(exact), code)
    assert money(amount, f" {code.lower()} ") == money(str(amount), code)


@given(st.integers(-(10**15) + 1, 10**15 - 1), currencies)
def test_money_survives_being_written_in_major_units(minor: int, code: str) -> None:
    assert money(str(Decimal(minor).scaleb(-DIGITS[code])), code) == Money(minor, code)


@pytest.mark.parametrize(
    ("amount", "minor"),
    [
        ("29.35", 2935),
        (" 29.350 ", 2935),
        ("0.005", 1),
        ("-0.005", -1),
        ("0.00499999999999999999999999999999999", 0),
        ("1e2", 10_000),
        ("", 0),
        (7, 700),
        (Decimal("1.1"), 110),
    ],
)
def test_amounts_as_vendors_write_them(amount: str | int | Decimal, minor: int) -> None:
    assert money(amount, "EUR") == Money(minor, "EUR")


@pytest.mark.parametrize(
    "amount",
    [
        "free",
        "1,50",
        "NaN",
        "sNaN",
        "Infinity",
        "-inf",
        "1.2.3",
        "€5",
        "1e30",
        "9" * 40,
        str(2**63),
        str(10**13),
        "1e999999999",
    ],
)
def test_what_is_no_amount_is_a_value_error_that_quotes_nothing(amount: str) -> None:
    with pytest.raises(ValueError, match=r"an amount|state store|convert") as caught:
        money(amount, "EUR")

    assert amount not in str(caught.value) or amount == "NaN"


@pytest.mark.parametrize("code", ["", "EURO", "Bitcoin", "€", "978"])
def test_an_unknown_currency_is_a_value_error(code: str) -> None:
    with pytest.raises(ValueError, match="Currency"):
        money("1.00", code)


# --- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("  Ada.Lovelace@Example.COM\t", "ada.lovelace@example.com"),
        ("ada+news@example.com", "ada+news@example.com"),
        ("İPEK@ÖRNEK.com.tr", "i\u0307pek@xn--rnek-4qa.com.tr"),
        ("ada@XN--RNEK-4QA.com.tr", "ada@xn--rnek-4qa.com.tr"),
        ("ada@例え。テスト", "ada@xn--r8jz45g.xn--zckzah"),
        ("ada@straße.de", "ada@xn--strae-oqa.de"),
        ("çağla@example.com", "çağla@example.com"),
        ("ada@🎈.example", "ada@🎈.example"),
        ("ada@.é", "ada@.é"),
        ("a@b@exämple.com", "a@b@xn--exmple-cua.com"),
        ("nobody", "nobody"),
        ("@", "@"),
    ],
)
def test_addresses_are_written_in_one_way(typed: str, normal: str) -> None:
    assert normal_email(typed) == normal


@pytest.mark.parametrize("nothing", [None, "", "   ", "\n\u00a0\u3000"])
def test_blanks_are_no_address(nothing: str | None) -> None:
    assert normal_email(nothing) is None


@given(st.text(), st.text())
def test_an_address_written_normally_stays_as_it_is(local: str, domain: str) -> None:
    once = normal_email(f"{local}@{domain}")

    assert once is not None
    assert normal_email(once) == once
    assert normal_email(f" {once}\n") == once


# --- texts and moments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  Tea &amp; Coffee ", "Tea & Coffee"),
        ("&nbsp;", None),
        ("&#xD83D;", "\ufffd"),
        ("", None),
        (None, None),
        (0, "0"),
        ("Çay 🎈", "Çay 🎈"),
    ],
)
def test_texts_are_trimmed_and_decoded(value: object, text: str | None) -> None:
    assert text_or_none(value) == text


@given(st.datetimes(datetime(2, 1, 3), datetime(9998, 12, 29)), st.integers(-23 * 60, 23 * 60))  # noqa: DTZ001 - gets its zone below
def test_a_moment_is_the_same_in_utc(naive: datetime, offset: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset)))

    found = utc(moment.isoformat())

    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T09:00:00", datetime(2026, 1, 1, 9, tzinfo=UTC)),
        ("2026-01-01T09:00:00Z", datetime(2026, 1, 1, 9, tzinfo=UTC)),
        ("2026-01-01T09:00:00+02:00", datetime(2026, 1, 1, 7, tzinfo=UTC)),
        ("2026-01-01 09:00:00", datetime(2026, 1, 1, 9, tzinfo=UTC)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("0000-00-00 00:00:00", None),
        ("2026-11-22T12+01:00", datetime(2026, 11, 22, 11, tzinfo=UTC)),
        ("2026-11-22T12:04+01", datetime(2026, 11, 22, 11, 4, tzinfo=UTC)),
        ("2026-11-22T12:04:05", datetime(2026, 11, 22, 12, 4, 5, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_moments_as_vendors_write_them(text: str | None, moment: datetime | None) -> None:
    assert utc(text) == moment


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"]
)
def test_what_is_no_moment_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"moment|isoformat|day|month"):
        utc(text)
