"""What cannot be written, and what the owner is told about it."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from mappings.catalogue import catalogue
from mappings.errors import MappingProblem
from mappings.expressions import Translator
from mappings.functions import FUNCTIONS
from mappings.terms import MAX_LENGTH, Scale
from tests.mappings.base import NOW, SYNC, Base, compiled, problems

HOSTILE = [
    "orders_count > 1; drop table profiles",
    "orders_count > 1 -- and the rest",
    "orders_count > 1 /* hidden */",
    "orders_count > 1 # hidden",
    "(select count(*) from profiles) > 1",
    "orders_count in (select 1)",
    "exists (select 1 from secrets)",
    "orders_count > any (select 1)",
    "orders_count > all (array[1])",
    "select 1",
    "with x as (select 1) select 1",
    "drop table profiles",
    "pragma table_info(profiles)",
    "attach database 'x' as y",
    "vacuum",
    "load_extension('x.so')",
    "__import__('os').system('id')",
    "__import__('os')",
    "pg_sleep(10)",
    "pg_read_file('/etc/passwd')",
    "readfile('/etc/passwd')",
    "randomblob(1000000000) is null",
    "cartwire_round(orders_count, 1) > 1",
    "count(*) > 1",
    "sum(orders_count) over () > 1",
    "row_number() over (order by email) > 1",
    "x -> x + 1",
    "profiles.orders_count > 1",
    "secrets.value = 'x'",
    "email.__class__ = 'x'",
    "sync = 'other'",
    "id = 1",
    "*",
    "profiles.*",
    "orders_count > ?",
    "orders_count > :sync",
    "orders_count > $1",
    "orders_count > @x",
    "orders_count > %(sync)s",
    "{fn sleep(1)}",
    "{{ 7 * 7 }} > 1",
    "orders_count::text = '1'",
    "cast(orders_count as text) = '1'",
    "email collate nocase = 'x'",
    "interval '1 day' is null",
    "date '2026-01-01' < signup_at",
    "array[1] is null",
    "(1, 2) = (1, 2)",
    "orders_count[1] > 1",
    "email ~ '(a+)+$'",
    "email similar to 'x'",
    "email regexp 'x'",
    "orders_count is distinct from 1",
    "orders_count <=> 1",
    "orders_count between symmetric 1 and 2",
    "email like any ('a', 'b')",
    "email like 'a' escape '!'",
    "email like country",
    "orders_count in country",
    "orders_count as x",
    "orders_count x",
    "distinct orders_count > 1",
    "orders_count > 1 limit 1",
    "orders_count > 1 union select 1",
    "'a' 'b' = country",
    "`orders_count` > 1",
    '"orders_count" > 1',
    "orders_count > 1\x00",
    "country = 'a\x07'",
    "country = 'open",
    "orders_count > 0x10",
    "orders_count > 1e400",
    "orders_count > 1e-400",
    "orders_count > 1" + "0" * 400,
    "1000000000000000 * 1000000000000000 > 1",
    "orders_count > 1 / 0.0000000000001",
    "orders_count & 1 = 1",
    "orders_count ^ 2 > 1",
    "~orders_count > 1",
    "orders_count << 1 > 1",
    "orders_count ** 2 > 1",
    "orders_count div 2 > 1",
    "xor(true, false)",
    "true xor false",
    "lower(*) = 'x'",
    "lower(distinct country) = 'x'",
    "lower(country order by country) = 'x'",
    "lower(word => country) = 'x'",
    'lower("country") = country',
    "lower() = 'x'",
    "lower(country, country) = 'x'",
    "days_ago() < now()",
    "case end = 1",
    "case when true end = 1",
    "()",
    "(",
    ")",
    "",
    " ",
    "\n\t",
    "💥",
    "orders_count > ",
    "and",
    "not",
    "ELSE",
    "null",
    "orders_count is orders_count",
    "true is null is null is 1",
    "(" * 10_000 + "1" + ")" * 10_000,
    "(" * 900 + "true" + ")" * 900,
    "not " * 400 + "true",
    "-" * 1_900 + "1 > 1",
    "- " * 900 + "1 > 1",
    "case when " * 150 + "true" + " then true end" * 100,
    "abs(" * 200 + "1" + ")" * 200 + " > 1",
    "1" + "+1" * 900 + " > orders_count",
    "orders_count in (" + ",".join(["1"] * 100_000) + ")",
    "a" * 100_000,
    "days_since(" * 12 + "signup_at" + ") in (1,2)" * 12,
]


@pytest.mark.parametrize("expression", HOSTILE, ids=lambda expression: repr(expression[:40]))
def test_what_is_no_plain_rule_is_refused_with_its_place(expression: str) -> None:
    found = problems(lists={"X": expression})

    assert found
    for problem in found:
        assert problem.path == ("lists", "X")
        assert problem.offset is not None
        assert 0 <= problem.offset <= min(len(expression), MAX_LENGTH)
        assert len(problem.what) < 250


MESSAGES = {
    "order_count >= 1": (0, "unknown column `order_count`", "did you mean `orders_count`?"),
    "orders_count > 1 and xyz = 1": (
        21,
        "unknown column `xyz`",
        "docs/mapping.md lists the columns; a text is written 'xyz'",
    ),
    "days_sinc(last_order_at) > 3": (0, "unknown function `days_sinc`", "did you mean `days_since`?"),
    "now > signup_at": (0, "`now` is a function", "write now()"),
    'country = "FR"': (10, '"FR" in double quotes would be a column', "write 'FR' for a text"),
    "last_order_at >= 3": (
        0,
        "cannot compare `last_order_at` (moment) with `3` (number)",
        "did you mean `days_since(last_order_at)`?",
    ),
    "orders_count = '3'": (
        0,
        "cannot compare `orders_count` (number) with `'3'` (text)",
        "write numbers without quotes",
    ),
    "country = 3": (0, "cannot compare `country` (text) with `3` (number)", "write '3' for a text"),
    "true and country = orders_count": (
        9,
        "cannot compare `country` (text) with `orders_count` (number)",
        None,
    ),
    "accepts_marketing > false": (0, "`accepts_marketing` (boolean) has no order", "compare it by = or <>"),
    "country = null": (0, "a comparison with null is never true", "write `is null` or `is not null`"),
    "country in ('FR', null)": (
        0,
        "a comparison with null is never true",
        "write `is null` or `is not null`",
    ),
    "orders_count": (
        0,
        "a rule needs something true or false, not `orders_count` (number)",
        "did you mean `orders_count > 0`?",
    ),
    "country and true": (
        0,
        "and needs something true or false, not `country` (text)",
        "did you mean `country is not null`?",
    ),
    "not orders_count": (
        4,
        "not needs something true or false, not `orders_count` (number)",
        "did you mean `orders_count > 0`?",
    ),
    "total_spent * total_spent > 1": (
        0,
        "cannot compute `total_spent` (money) * `total_spent` (money)",
        None,
    ),
    "1 / total_spent > 1": (0, "cannot compute `1` (number) / `total_spent` (money)", None),
    "signup_at + 3 > now()": (
        0,
        "cannot + `signup_at` (moment) with `3` (number)",
        "did you mean `days_since(signup_at)`?",
    ),
    "now() - signup_at > 3": (
        0,
        "cannot compute `now()` (moment) - `signup_at` (moment)",
        "days are counted by days_since(…), and go back by days_ago(…)",
    ),
    "country + country = 'x'": (
        0,
        "cannot compute `country` (text) + `country` (text)",
        "texts are joined by ||",
    ),
    "country || 1 = 'x'": (0, "|| joins texts, not `1` (number)", None),
    "-country = 'x'": (1, "cannot negate `country` (text)", None),
    "lower(orders_count) = 'x'": (0, "lower() takes text as text, not `orders_count` (number)", None),
    "lower(null) = 'x'": (0, "lower() takes text as text, not null", None),
    "abs(1, 2) > 1": (0, "abs() does not take 2 arguments", "write abs(amount)"),
    "days_ago(orders_count) < signup_at": (
        0,
        "days_ago() takes a whole number that is written out, not `orders_count` (number)",
        None,
    ),
    "days_ago(1.5) < signup_at": (
        0,
        "days_ago() takes a whole number that is written out, not `1.5` (number)",
        None,
    ),
    "round(orders_count, 99) > 1": (0, "round() takes digits from -9 to 9", None),
    "signup_at > '2026-02-30'": (
        0,
        "`'2026-02-30'` is not a date",
        "write '2026-01-31' or '2026-01-31 14:30' (local time)",
    ),
    "signup_at > '31.1.2026'": (
        0,
        "`'31.1.2026'` is not a date",
        "write '2026-01-31' or '2026-01-31 14:30' (local time)",
    ),
    "orders_count like 'x'": (0, "like needs a text, not `orders_count` (number)", None),
    "country like currency": (
        0,
        "like needs a pattern that is written out, not `currency` (text)",
        "write 'Pa%'",
    ),
    "country like 'x\\'": (0, "a pattern cannot end in a single backslash", "write it twice"),
    "overall_avg(overall_avg(total_spent)) > 1": (
        0,
        "a number over the whole base cannot be computed from another",
        None,
    ),
    "overall_avg(1) > 1": (0, "this needs a column, not `1` (number)", None),
    "least(true, false)": (0, "least() takes numbers, moments or texts", None),
    "coalesce(country, 1) = 'x'": (
        0,
        "cannot choose between `country` (text) and `1` (number)",
        "write '1' for a text",
    ),
    "orders_count > 1 or; true": (19, "`;` cannot stand here", "a rule is one expression"),
    "orders_count >= 1 -- yes": (18, "a rule has no comments", "write YAML comments (#) above it"),
    "(orders_count > 1": (16, "expected `)`, found `1`", None),
    "orders_count >= >= 1": (16, "something is missing beside `>=`", None),
    "orders_count >": (13, "something is missing beside `>`", None),
    "last_order_at < 2026-01-31": (
        0,
        "cannot compare `last_order_at` (moment) with `2026-01-31` (number)",
        "write '2026-01-31' for a date",
    ),
    "accepts_marketing = 'yes'": (
        0,
        "cannot compare `accepts_marketing` (boolean) with `'yes'` (text)",
        "write true or false",
    ),
    "country = 'FR' || city = 'Paris'": (
        0,
        "cannot compare `country = 'FR' || city` (boolean) with `'Paris'` (text)",
        "|| joins texts; rules are joined by `or`",
    ),
    "country = 'FR' && true": (15, "did not expect `&&` here", "rules are joined by `and`"),
    "cast(orders_count as text) = '2'": (
        5,
        "a rule cannot hold this (alias)",
        "a rule has no casts and no `as`: a field's `type:` says what it is kept as",
    ),
    "country in 'FR'": (0, "`in` takes a list", "write in ('FR', 'BE')"),
    "country in ('FR' 'BE')": (
        12,
        "a rule cannot hold this (concat)",
        "between two texts there is a comma, or ||",
    ),
    "country contains 'F'": (8, "did not expect `contains` here", "write like '%…%'"),
    "orders_count => 2": (13, "did not expect `=>` here", "write >="),
    "orders_count =< 2": (16, "something is missing beside `2`", "write <="),
    "total_spent >= 1,000": (16, "did not expect `,` here", "write a plain number: 1000"),
    "total_spent >= 100€": (18, "did not expect `€` here", "write the number alone: 10"),
    "total_spent >= €100": (15, "unknown column `€100`", "write the number alone: 10"),
    "top_percent(total_spent) <= 10%": (
        30,
        "something is missing beside `%`",
        "write the number alone: 10",
    ),
    "total_spent >= 1'000": (
        16,
        "a quotation mark is not closed",
        "write a plain number: 1000",
    ),
    "orders_count ≥ 2": (13, "did not expect `≥` here", "write >="),
    "last_order_at > 31.01.2026": (21, "`.` cannot stand here", "write '2026-01-31' for a date"),
    "10 <= orders_count <= 20": (
        0,
        "cannot compare `10 <= orders_count` (boolean) with `20` (number)",
        "compare one at a time: `x >= 10 and x <= 20`, or `x between 10 and 20`",
    ),
    "year(signup_at) = 2026": (
        0,
        "unknown function `year`",
        "compare with days: between '2026-01-01' and '2026-12-31'",
    ),
    "signup_at < current_date": (12, "unknown column `current_date`", "write today()"),
    "orders_count between 3 and 1": (0, "nothing lies between 3 and 1", "write the lesser one first"),
    "orders_count between 1 and -1": (0, "nothing lies between 1 and -1", "write the lesser one first"),
    "signup_at between '2026-01-31' and '2026-01-01'": (
        0,
        "nothing lies between '2026-01-31' and '2026-01-01'",
        "write the lesser one first",
    ),
    "signup_at between days_ago(30) and days_ago(60)": (
        0,
        "nothing lies between days_ago(30) and days_ago(60)",
        "write the lesser one first",
    ),
    "quintile(total_spent) >= 6": (
        0,
        "`quintile(total_spent)` is 1, 2, 3, 4 or 5",
        "5 is the fifth with the largest",
    ),
    "top_percent(total_spent) <= 101": (
        0,
        "`top_percent(total_spent)` goes from 0.1 to 100",
        "write `<= 10` for the best tenth",
    ),
    "days_ago(30 days) < signup_at": (12, "expected `)`, found `days`", "write a plain number: days_ago(30)"),
    "days_ago('30') < signup_at": (
        0,
        "days_ago() takes number as days, not `'30'` (text)",
        "write numbers without quotes",
    ),
    "case when true then false": (20, "did not expect `false` here", "a `case` ends with `end`"),
    "email = ada@home": (11, "`@` cannot stand here", "a text stands in single quotes"),
    "country = \u2019FR\u2019": (
        10,
        "`\u2019FR\u2019` is not in quotation marks that are straight",
        "write 'FR' for a text",
    ),
    "country = \u2018FR'": (13, "a quotation mark is not closed", "quotation marks are straight: 'FR'"),
    "country = 'open": (10, "a quotation mark is not closed", "a quote inside a text is written twice"),
}


@pytest.mark.parametrize("expression", MESSAGES)
def test_a_message_says_where_what_and_what_instead(expression: str) -> None:
    found = problems(lists={"X": expression})

    assert [(one.offset, one.what, one.instead) for one in found] == [MESSAGES[expression]]


@pytest.mark.parametrize(
    ("expression", "offset"),
    [
        ("(" * 21 + "true" + ")" * 21, 20),
        ("not " * 21 + "true", 80),
        ("case when true then " * 21 + "1" + " end" * 21, 400),
    ],
    ids=["brackets", "words", "cases"],
)
def test_depth_has_a_limit(expression: str, offset: int) -> None:
    (problem,) = problems(lists={"X": expression})

    assert (problem.what, problem.instead, problem.offset) == (
        "nested too deeply",
        "20 levels are the limit",
        offset,
    )


def test_a_text_that_is_too_deep_for_the_stack_at_hand_is_refused() -> None:
    def descend(levels: int) -> list[MappingProblem]:
        return descend(levels - 1) if levels else problems(lists={"X": "(" * 20 + "true" + ")" * 20})

    (problem,) = descend(600)

    assert problem.what == "nested too deeply"


def test_what_would_explode_in_sql_is_refused() -> None:
    expression = "last_order_at"
    for _ in range(3):
        expression = f"case when days_since({expression}) in (1,2,3,4,5,6,7,8,9,10) then last_order_at end"

    (problem,) = problems(lists={"X": f"{expression} is null"})

    assert problem.what == "too much in one expression"


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        fields={"A": "order_count + foo(1) + lowr('x')", "B": "country"},
        lists={"C": "orders_count", "D": "true"},
    )

    assert [(one.path, one.offset) for one in found] == [
        (("fields", "A"), 0),
        (("fields", "A"), 14),
        (("fields", "A"), 23),
        (("lists", "C"), 0),
    ]


def test_text_never_becomes_sql() -> None:
    mapping = compiled(
        lists={"X": "country = 'x'' or 1=1 --' or first_name like '%;drop%'"},
        fields={"Y": "'%(a)s {0} :b ?'"},
    )

    for dialect in (sqlite.dialect(), postgresql.dialect()):
        text = str(mapping.select(SYNC, NOW, None).compile(dialect=dialect))
        assert "1=1" not in text
        assert "drop" not in text
        assert "{0}" not in text


def test_signs_in_texts_stay_what_they_are(base: Base) -> None:
    base.add(country="x' or 1=1 --")

    assert base.truth("country = 'x'' or 1=1 --'") is True
    assert base.value("'%(a)s {0} :b ?'") == "%(a)s {0} :b ?"


@pytest.mark.parametrize(
    "expression",
    [
        " or ".join(["orders_count = 1"] * 100),
        "orders_count" + " + 1" * 24 + " > 1",
        "orders_count" + " / 2" * 24 + " > 1",
        "abs(" * 10 + "orders_count" + ")" * 10 + " > 1",
        "coalesce(null, " * 10 + "total_spent" + ")" * 10 + " > 1",
        "case when orders_count > 1 then " * 7
        + "top_percent(total_spent / orders_count)"
        + " end" * 7
        + " > 1",
        "(" * 20 + "orders_count > 1" + ")" * 20,
        "not (" * 10 + "orders_count > 1" + ")" * 10,
        "orders_count in (" + ", ".join(["1"] * 600) + ")",
        "days_since(last_order_at) in (" + ", ".join(map(str, range(150))) + ")",
    ],
    ids=lambda expression: expression[:30],
)
def test_what_is_allowed_runs_even_from_deep_in_the_stack(base: Base, expression: str) -> None:
    base.add()

    def descend(levels: int) -> bool | None:
        return descend(levels - 1) if levels else base.truth(expression)

    assert sys.getrecursionlimit() == 1000
    assert descend(150) is None
    str(compiled(lists={"X": expression}).select(SYNC, NOW, None).compile(dialect=postgresql.dialect()))


SIGNS = [
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "=",
    "<>",
    "<",
    ">",
    ";",
    "--",
    '"',
    "?",
    "[",
    "{",
    "::",
]
WORDS = [
    "and",
    "or",
    "not",
    "case",
    "when",
    "then",
    "else",
    "end",
    "in",
    "is",
    "null",
    "true",
    "like",
    "between",
]
WORDS += [
    *catalogue(),
    *FUNCTIONS,
    *SIGNS,
    "'x'",
    "'2026-01-31'",
    "3",
    "1.5",
    "select",
    ":x",
    "\\",
    "🎈",
    ".",
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)))
def test_any_text_gives_a_term_or_problems_and_nothing_else(text: str) -> None:
    translator = Translator(text, Scale(2))

    term = translator.translate()

    assert (term is None) == bool(translator.problems)
