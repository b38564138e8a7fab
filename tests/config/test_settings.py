import contextlib
import json
import logging
import tempfile
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from config import checks
from config.errors import ConfigError, Problem, Wrong, suggestion
from config.secrets import Filled, Vault
from config.settings import Limits, load
from config.yaml import parse
from tests.config.conftest import ENVIRON

PLACE = (
    "is no address; `postgresql+psycopg://user:${PASSWORD}@host/name`; inside a URL, write `@` as `%40`, "
    "`:` as `%3A`, `/` as `%2F`, `%` as `%25`, `#` as `%23`, `?` as `%3F`, `[` as `%5B`"
)
PORT = "has no port between 1 and 65535; leave out `:` and what follows for 5432"
FORMS = "`every 5 minutes`, `every 2 hours`, `daily at 03:00`, or a cron line such as `*/10 8-20 * * *`"
ADDRESS = "is not a web address; a web address such as `https://shop.example`"
NAMES = "no name for a store, an ESP or a sync; letters without accents, digits, `_` and `-`"
END = 19
"""The line behind the good configuration."""


def test_a_good_configuration_is_read(loaded, folder):
    found = loaded()

    settings = found.settings
    assert (settings.folder, settings.timezone, settings.currency) == (folder, "Europe/Paris", "EUR")
    assert settings.stores["boutique"].type == "shop"
    assert settings.stores["boutique"].settings.page_size == 100
    assert settings.esps["news"].settings.audience == "abc123"
    crm = settings.syncs["crm"]
    assert (crm.stores, crm.esp, crm.mapping) == (["boutique"], "news", "mappings/crm.yaml")
    assert (crm.schedule, crm.refresh, crm.consent, crm.limits) == (
        "every 5 minutes",
        None,
        "from_store",
        Limits(),
    )
    assert settings.database == "sqlite:///state.db"
    assert settings.database_url == f"sqlite:///{folder}/state.db"
    assert found.warnings == ()
    assert found.secrets == {"ck_canary", "mk_canary"}
    assert sorted(found.documents) == ["cartwire.yaml", "mappings/crm.yaml"]
    assert found.documents["mappings/crm.yaml"].data == {"extends": "preset:crm"}


@pytest.mark.parametrize("name", ["boutique", "news"])
def test_a_sync_that_is_named_as_a_store_or_an_ESP_earns_a_warning(loaded, good, name):
    found = loaded(good.replace("  crm:", f"  {name}:"))

    (warning,) = found.warnings
    assert str(warning).startswith(f"cartwire.yaml:14: syncs.{name}: a store or an ESP has this name too")


def test_ids_that_look_like_numbers_keep_every_digit(loaded, good):
    text = good.replace("abc123", "0123456789").replace("    key:", "    ids: [12e4567890, 007]\n    key:")

    settings = loaded(text).settings

    assert settings.esps["news"].settings.audience == "0123456789"
    assert settings.stores["boutique"].settings.ids == ["12e4567890", "007"]


def test_rates_are_exact_and_currencies_upper_case(loaded, good):
    text = good.replace("EUR", "eur") + "rates: {usd: 0.92, JPY: 0.0061728395, EUR: 1, TRY: 12345678}\n"

    settings = loaded(text).settings

    assert settings.currency == "EUR"
    assert settings.rates == {
        "USD": Decimal("0.92"), "JPY": Decimal("0.0061728395"), "EUR": Decimal(1), "TRY": Decimal(12345678),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{new_contacts: 200, list_changes: 500, list_share: 5%}", Limits(
            new_contacts=200, list_changes=500, list_share=Decimal("0.05"))),
        ("{list_share: 12.5 %}", Limits(
            new_contacts=200, list_changes=500, list_share=Decimal("0.125"), list_floor=50)),
        ("{new_contacts: 0}", Limits(new_contacts=0)),
        ("{new_contacts: off, list_share: false}", Limits(new_contacts="off", list_share="off")),
        ("{}", Limits()),
        ("off", None),
        ("false", None),
        ("", Limits()),
    ],
)  # fmt: skip
def test_limits_are_read(loaded, good, text, expected):
    assert loaded(good + f"    limits: {text}\n").settings.syncs["crm"].limits == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("every 1 minutes", "every 1 minute"),
        ("Every 90  Minutes", "every 90 minutes"),
        ("every 2 hours", "every 2 hours"),
        ("daily at 3:05", "daily at 03:05"),
        ("daily at 23:59", "daily at 23:59"),
        ("*/10 8-20 * * mon-fri", "*/10 8-20 * * mon-fri"),
        ("0 0 29 2 *", "0 0 29 2 *"),
    ],
)
def test_schedules_come_back_in_one_form(loaded, good, text, expected):
    assert loaded(good.replace("every 5 minutes", f'"{text}"')).settings.syncs["crm"].schedule == expected


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////var/lib/state.db",
        "sqlite:///a b/ş.db",
        "postgresql+psycopg://me@db/cartwire",
        "postgresql+psycopg://me:p%40ss@[::1]:5432/cartwire?sslmode=require",
        "postgresql+psycopg:///cartwire?host=/run/postgresql",
    ],
)
def test_databases_are_accepted(loaded, good, url):
    assert loaded(good + f"database: {url}\n").settings.database == url


@given(st.text("ab1@:/?#%4[]\\ ", max_size=12))
def test_P8_a_database_is_taken_apart_by_everybody_in_one_way_or_is_refused(between):
    url = f"postgresql+psycopg://me:{between}@db.example/cartwire"

    with contextlib.suppress(Wrong):
        parsed = make_url(checks.database(url))
        assert (parsed.username, parsed.host, parsed.database) == ("me", "db.example", "cartwire")
        assert urlsplit(url).netloc == f"me:{between}@db.example"
        assert parsed.password == unquote(between)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_password_from_the_environment_may_hold_anything(password):
    document = parse(b"database: postgresql+psycopg://${WHO}:${PASSWORD}@db/cartwire", "cartwire.yaml")

    filled = Filled(document, Vault(Path(), {"WHO": "me@tenant", "PASSWORD": password}))

    parsed = make_url(checks.database(filled.data["database"]))
    assert (parsed.username, parsed.password, parsed.host) == ("me@tenant", password, "db")


@pytest.mark.parametrize(
    "written", ["${URL}", "postgresql+psycopg://${ACCOUNT}@db/x", "postgresql+psycopg://${HOST}/x"]
)
def test_what_is_more_than_a_password_is_taken_as_it_stands(loaded, good, written):
    values = {"URL": "postgresql+psycopg://me:p%40ss@db/x", "ACCOUNT": "me:p%40ss", "HOST": "me:p%40ss@db"}

    found = loaded(f"{good}database: {written}\n", {**ENVIRON, **values})

    assert found.settings.database == values["URL"]
    assert "p@ss" in found.secrets


def test_P8_a_password_that_cannot_be_a_part_of_an_address_is_not_quoted(refused, good):
    text = f"{good}database: ${{URL}}\n"
    values = {"URL": "postgresql+psycopg://me:ab@Hunter2Secret/x@db/cartwire"}

    assert refused(text, {**ENVIRON, **values}) == [f"cartwire.yaml:19: database: {PLACE}"]


def test_an_absolute_database_stays_where_it_is(loaded, good):
    settings = loaded(good + "database: sqlite:////var/lib/state.db\n").settings

    assert settings.database_url == "sqlite:////var/lib/state.db"


BAD = {
    "time zone": ("Europe/Paris", "Europe/Pari", ["1: timezone: unknown time zone `Europe/Pari`; did you mean `Europe/Paris`?"]),
    "time zone in lower case": ("Europe/Paris", "europe/paris", ["1: timezone: unknown time zone `europe/paris`; did you mean `Europe/Paris`?"]),
    "time zone as an offset": ("Europe/Paris", "+02:00", ["1: timezone: unknown time zone; a name such as `Europe/Paris` or `UTC`"]),
    "time zone that is a folder": ("Europe/Paris", "../etc", ["1: timezone: unknown time zone `../etc`; a name such as `Europe/Paris` or `UTC`"]),
    "no time zone": ("timezone: Europe/Paris\n", "", ["1: timezone: is missing; IANA time zone in which pushed dates and day counts are meant: `Europe/Paris`"]),
    "currency": ("EUR", "EURO", ["2: currency: unknown currency `EURO`; an ISO 4217 code such as `EUR`"]),
    "gold": ("EUR", "XAU", ["2: currency: no currency that orders can be paid in; an ISO 4217 code such as `EUR`"]),
    "misspelt key": ("currency:", "curency:", ["1: currency: is missing; ISO 4217 currency of all totals: `EUR`", "2: curency: unknown key; did you mean `currency`?"]),
    "the folder as a key": ("currency: EUR", "currency: EUR\nfolder: x", ["3: folder: unknown key; call cartwire with --dir to name the folder"]),
    "misspelt type": ("type: shop", "type: shp", ["5: stores.boutique.type: unknown type `shp`; did you mean `shop`?"]),
    "unknown type": ("type: mailer", "type: pigeon", ["10: esps.news.type: unknown type `pigeon`; known: mailchimp, mailer"]),
    "type that is a list": ("type: shop", "type: [shop]", ["5: stores.boutique.type: unknown type; known: shop, woocommerce"]),
    "no type": ("    type: shop\n", "", ["4: stores.boutique.type: is missing; known: shop, woocommerce"]),
    "missing key of a connector": ("    audience: abc123\n", "", ["9: esps.news.audience: is missing; the audience's id"]),
    "unknown key of a connector": ("    audience:", "    audiance: x\n    audience:", ["12: esps.news.audiance: unknown key; did you mean `audience`?"]),
    "empty key of a connector": ("audience: abc123", "audience:", ["12: esps.news.audience: is empty; the audience's id"]),
    "list for text": ("audience: abc123", "audience: [abc123]", ["12: esps.news.audience: must be text; the audience's id"]),
    "true for text": ("audience: abc123", "audience: true", ['12: esps.news.audience: must be text; put it in quotes: "…"']),
    "a connector's own check": ("audience: abc123", "audience: my audience", ["12: esps.news.audience: is not an id: that has no spaces"]),
    "text for a number": ("    key:", "    page_size: many\n    key:", ["7: stores.boutique.page_size: must be a whole number; rows a page"]),
    "number out of bounds": ("    key:", "    page_size: 251\n    key:", ["7: stores.boutique.page_size: must be 250 or less; rows a page"]),
    "fraction": ("    key:", "    page_size: 1.5\n    key:", ["7: stores.boutique.page_size: must be a whole number; rows a page"]),
    "choice": ("    key:", "    flavour: legaci\n    key:", ["7: stores.boutique.flavour: must be one of `new`, `legacy`; did you mean `legacy`?"]),
    "truth": ("    key:", "    verify: maybe\n    key:", ["7: stores.boutique.verify: must be `true` or `false`; check the certificate"]),
    "text for a list": ("    key:", "    ids: 12\n    key:", ["7: stores.boutique.ids: must be a list; `[one, two]`, or a line `- one` for each"]),
    "entry that is no text": ("    key:", "    ids:\n      - a\n      - {b: 1}\n    key:", ["9: stores.boutique.ids: must be text"]),
    "address without scheme": ("https://shop.example", "shop.example", [f"6: stores.boutique.url: {ADDRESS}"]),
    "address of another scheme": ("https://shop.example", "ftp://shop.example", [f"6: stores.boutique.url: {ADDRESS}"]),
    "address without host": ("https://shop.example", "https:///shop", [f"6: stores.boutique.url: {ADDRESS}"]),
    "address with a space": ("https://shop.example", "https://shop .example", [f"6: stores.boutique.url: {ADDRESS}"]),
    "address with an impossible port": ("https://shop.example", "https://shop.example:99999", [f"6: stores.boutique.url: {ADDRESS}"]),
    "address with half a bracket": ("https://shop.example", "'https://[::1'", [f"6: stores.boutique.url: {ADDRESS}"]),
    "address with a password": ("https://shop.example", "https://me:pw@shop.example", ["6: stores.boutique.url: holds a user's name; leave out what stands before `@`"]),
    "address with a fragment": ("https://shop.example", "https://shop.example/#a", ["6: stores.boutique.url: goes on behind the path; leave out `?` and `#` and what follows"]),
    "base address with a query": ("    key:", "    base_url: http://localhost/?a=1\n    key:", ["7: stores.boutique.base_url: goes on behind the path; leave out `?` and `#` and what follows"]),
    "base address": ("    key:", "    base_url: localhost:8080\n    key:", [f"7: stores.boutique.base_url: {ADDRESS}"]),
    "variable not set": ("${SHOP_KEY}", "${NOPE}", ["7: stores.boutique.key: `NOPE` is not set; set it in the environment or in .env, or name a file that holds it in NOPE_FILE"]),
    "variable not closed": ("${SHOP_KEY}", "${SHOP_KEY", ["7: stores.boutique.key: `${` is not closed; write `${NAME}`, or `$${` for the two characters themselves"]),
    "variable with an odd name": ("${SHOP_KEY}", "${shop key}", ["7: stores.boutique.key: inside `${…}` stands no name of a variable; letters, digits and `_` only, or `$${` for the two characters themselves"]),
    "variable not set, said once": ("https://shop.example", "${NOPE}", ["6: stores.boutique.url: `NOPE` is not set; set it in the environment or in .env, or name a file that holds it in NOPE_FILE"]),
    "store that is text": ("\n    type: shop\n    url: https://shop.example\n    key: ${SHOP_KEY}", " shop", ["4: stores.boutique: must be keys and values; `type:` and its keys; known: shop, woocommerce"]),
    "no stores": ("  boutique:\n    type: shop\n    url: https://shop.example\n    key: ${SHOP_KEY}\n", "", ["3: stores: must be keys and values; a name of your own, and indented below it `type:` and the type's keys", "11: syncs.crm.stores: unknown store `boutique`; there is none"]),
    "name with a space": ("  boutique:", "  my boutique:", [f"4: stores.my boutique: {NAMES}", "15: syncs.crm.stores: unknown store `boutique`; did you mean `my boutique`?"]),
    "name with an accent": ("  crm:", "  crèm:", [f"14: syncs.crèm: {NAMES}"]),
    "sync without stores": ("[boutique]", "[]", ["15: syncs.crm.stores: a sync without stores; name at least one"]),
    "stores as text": ("[boutique]", "boutique", ["15: syncs.crm.stores: must be a list; `[one, two]`, or a line `- one` for each"]),
    "the same store twice": ("[boutique]", "[boutique, boutique]", ["15: syncs.crm.stores: the store `boutique` is named twice; name it once"]),
    "unknown stores": ("[boutique]", "\n      - boutik\n      - x", ["16: syncs.crm.stores: unknown store `boutik`; did you mean `boutique`?", "17: syncs.crm.stores: unknown store `x`; known: boutique"]),
    "unknown ESP": ("esp: news", "esp: newss", ["16: syncs.crm.esp: unknown ESP `newss`; did you mean `news`?"]),
    "missing mapping": ("mappings/crm.yaml", "mappings/cmr.yaml", ["17: syncs.crm.mapping: the file does not exist; did you mean `mappings/crm.yaml`?"]),
    "mapping that is a folder": ("mappings/crm.yaml", "mappings", ["17: syncs.crm.mapping: the file does not exist; known: mappings/crm.yaml"]),
    "mapping with a NUL": ("mappings/crm.yaml", '"a\\0b"', ["17: syncs.crm.mapping: the file does not exist; known: mappings/crm.yaml"]),
    "mapping with an endless name": ("mappings/crm.yaml", "x" * 300, ["17: syncs.crm.mapping: the file does not exist; known: mappings/crm.yaml"]),
    "mapping that is a list": ("mappings/crm.yaml", "[a]", ["17: syncs.crm.mapping: must be text; the mapping file, relative to this folder"]),
    "no sync": ("  crm:\n    stores: [boutique]\n    esp: news\n    mapping: mappings/crm.yaml\n    schedule: every 5 minutes\n", "", ["13: syncs: is empty; the syncs, each under a name of your own"]),
    "every nothing": ("every 5 minutes", "every 0 minutes", ["18: syncs.crm.schedule: a schedule of no time at all; `every 1 minute` is the shortest"]),
    "schedule in words": ("every 5 minutes", "hourly", [f"18: syncs.crm.schedule: is no schedule; {FORMS}"]),
    "daily at 24:00": ("every 5 minutes", "daily at 24:00", [f"18: syncs.crm.schedule: is no schedule; {FORMS}"]),
    "cron line of four fields": ("every 5 minutes", '"* * * *"', [f"18: syncs.crm.schedule: is no schedule; {FORMS}"]),
    "cron minute": ("every 5 minutes", '"61 * * * *"', [f"18: syncs.crm.schedule: the minute of this cron line cannot be; {FORMS}"]),
    "cron weekday by number": ("every 5 minutes", '"0 8 * * 1"', ["18: syncs.crm.schedule: a day of the week by its number; write its name: `mon`, `tue-fri`, `sat,sun`"]),
    "cron line for 31 February": ("every 5 minutes", '"0 0 31 2 *"', [f"18: syncs.crm.schedule: a moment that never comes; {FORMS}"]),
    "refresh": ("every 5 minutes", "every 5 minutes\n    refresh: nightly", [f"19: syncs.crm.refresh: is no schedule; {FORMS}"]),
    "a store and an ESP of one name": ("  news:", "  boutique:", [
        "9: esps.boutique: the store on line 4 has this name too; give each a name of its own",
        "16: syncs.crm.esp: unknown ESP `news`; known: boutique",
    ]),
    "the same key twice": ("    esp: news\n", "    esp: news\n    esp: other\n", ["17: syncs.crm.esp: the key stands here twice, first on line 16; remove one of them"]),
}  # fmt: skip
APPENDED = {
    "consent": ("    consent: never_subscribed", ["19: syncs.crm.consent: must be one of `from_store`, `never_subscribe`, `double_opt_in`; did you mean `never_subscribe`?"]),
    "limits of another kind": ("    limits: 5", ["19: syncs.crm.limits: must be keys and values; write `off`, or keys such as `new_contacts: 200`"]),
    "limits that limit nothing": ("    limits: {new_contacts: off, list_changes: off, list_share: off}", ["19: syncs.crm.limits: limits nothing; leave one limit on, or write `limits: off`"]),
    "a limit that is empty": ("    limits: {new_contacts: }", ["19: syncs.crm.limits.new_contacts: is empty; leave it out for the default, or write `off`"]),
    "limits with mistakes": ("    limits: {new_contacts: -1, list_changs: 5, list_share: 5}", [
        "19: syncs.crm.limits.list_changs: unknown key; did you mean `list_changes`?",
        "19: syncs.crm.limits.list_share: is no share; a percentage between 0% and 100%, such as `5%`",
        "19: syncs.crm.limits.new_contacts: must be 0 or more; contacts that one run may create, or `off`",
    ]),
    "more than everything": ("    limits: {list_share: 101%}", ["19: syncs.crm.limits.list_share: is no share; a percentage between 0% and 100%, such as `5%`"]),
    "rates": ("rates: {USD: 0, JPY: 0.123456789, XXX: 1, GBP: abc, CHF: .inf, SEK: -1}", [
        "19: rates.CHF: must be a number; with a point, without spaces: `0.92`",
        "19: rates.GBP: must be a number; with a point, without spaces: `0.92`",
        "19: rates.JPY: has more than 8 significant digits; round it",
        "19: rates.SEK: must be more than 0",
        "19: rates.USD: must be more than 0",
        "19: rates.XXX: no currency that orders can be paid in; an ISO 4217 code such as `EUR`",
    ]),
    "rate of an unknown currency": ("rates: {XXQ: 1.1}", ["19: rates.XXQ: unknown currency `XXQ`; an ISO 4217 code such as `EUR`"]),
    "a key that is nearly ours": ("folders: x", ["19: folders: unknown key; known: alerts, currency, database, esps, keep, rates, stores, syncs, timezone, web"]),
    "own rate": ("rates:\n  EUR: 2", ["19: rates: one EUR is worth one EUR; leave it out"]),
    "rates as a list": ("rates: [1]", ["19: rates: must be keys and values; `key: value` lines, indented"]),
    "database": ("database: mysql://db/x", ["19: database: unknown kind of database; `sqlite:///state.db` or `postgresql+psycopg://…`"]),
    "driver": ("database: postgres://db/x", ["19: database: the driver `postgres` is not supported; begin with `postgresql+psycopg://`"]),
    "database with half a bracket": ("database: 'postgresql+psycopg://u:tops[ecret@db/x'", [f"19: database: {PLACE}"]),
    "database with a password of two parts": ("database: postgresql+psycopg://u:Spring@Hunter2Secret@db/x", [f"19: database: {PLACE}"]),
    "database with a password that could be a host": ("database: postgresql+psycopg://u:ab@Hunter2Secret/x@db/x", [f"19: database: {PLACE}"]),
    "database with a password that could be a port": ("database: postgresql+psycopg://u:ab@cd:Hunter2Secret/x@db/x", [f"19: database: {PLACE}"]),
    "database with a password that could be a query": ("database: postgresql+psycopg://u:12/Hunter2?Secret@db/x", [f"19: database: {PLACE}"]),
    "database with a bare percent sign": ("database: postgresql+psycopg://u:zz%zz@db/x", [f"19: database: {PLACE}"]),
    "database without a number as port": ("database: postgresql+psycopg://u:zz@db:abc/x", [f"19: database: {PORT}"]),
    "database with a port beyond all": ("database: postgresql+psycopg://u:zz@db:65536/x", [f"19: database: {PORT}"]),
    "database without a name": ("database: postgresql+psycopg://u:zz@db/", ["19: database: names no database; `postgresql+psycopg://user:${PASSWORD}@host/name`: the name at its end"]),
    "database with a password behind a question mark": ("database: postgresql+psycopg://u@db/x?password=zz", ["19: database: has a password behind `?`; `postgresql+psycopg://user:${PASSWORD}@host/name`"]),
    "alert with half a bracket": ("alerts: ['mailtos://u:tops[ecret@db/x']", ["19: alerts: is no address for alerts; `jsons://example.com/hook` for a webhook, `mailtos://user:password@example.com` for mail"]),
    "kept beyond the calendar": ("keep: {runs: 1000000}", ["19: keep.runs: must be 36500 or less; days for which runs are kept; the last one of each sync stays"]),
    "rate beyond reason": ("rates: {USD: 1e40}", ["19: rates.USD: is no rate between two currencies"]),
    "database in memory": ("database: 'sqlite:///:memory:'", ["19: database: names no file; `sqlite:///state.db`: three slashes, then the file"]),
    "database with two slashes": ("database: sqlite://state.db", ["19: database: names no file; `sqlite:///state.db`: three slashes, then the file"]),
    "a sync that is nothing": ("  other:", ["19: syncs.other: is empty"]),
    "an empty sync": ("  other: {}", [
        "19: syncs.other.esp: is missing; name of the ESP to push to",
        "19: syncs.other.mapping: is missing; the mapping file, relative to this folder",
        "19: syncs.other.stores: is missing; names of the stores to read, at least one",
    ]),
}  # fmt: skip


def placed(lines):
    return [f"cartwire.yaml:{line}" for line in lines]


@pytest.mark.parametrize("case", BAD)
def test_p7_a_mistake_is_refused_with_its_line(refused, good, case):
    old, new, expected = BAD[case]
    assert old in good

    problems = refused(good.replace(old, new))

    assert problems == placed(expected)


@pytest.mark.parametrize("case", APPENDED)
def test_p7_a_mistake_in_what_is_optional_is_refused_with_its_line(refused, good, case):
    text, expected = APPENDED[case]

    assert refused(good + text + "\n") == placed(expected)


def test_p7_the_problems_of_all_files_are_said_at_once(refused, folder, good):
    (folder / ".env").write_text("nonsense here\n")
    (folder / "mappings" / "crm.yaml").write_text("fields:\n  A: 1\n  A: 2\n")
    (folder / "mappings" / "vip.yaml").write_bytes(b"fields: \xff\n")
    text = good.replace("Europe/Paris", "Mars").replace("type: shop", "type: shp")
    text += "  vip:\n    stores: [boutique]\n    esp: newz\n    mapping: mappings/vip.yaml\n"

    problems = refused(text)

    assert problems == [
        '.env:1: this is not NAME=value; quote the value: NAME="…"',
        "cartwire.yaml:1: timezone: unknown time zone `Mars`; a name such as `Europe/Paris` or `UTC`",
        "cartwire.yaml:5: stores.boutique.type: unknown type `shp`; did you mean `shop`?",
        "cartwire.yaml:21: syncs.vip.esp: unknown ESP `newz`; did you mean `news`?",
        "mappings/crm.yaml:3: fields.A: the key stands here twice, first on line 2; remove one of them",
        "mappings/vip.yaml:1: is not UTF-8; save the file in the encoding UTF-8",
    ]


def test_p7_the_mappings_can_be_judged_although_the_configuration_is_wrong(loaded, good):
    with pytest.raises(ConfigError) as caught:
        loaded(good.replace("EUR", "EURO"))

    assert caught.value.documents["mappings/crm.yaml"].data == {"extends": "preset:crm"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cartwire.yaml: is empty; write `key: value` lines"),
        (b"\xff", "cartwire.yaml:1: is not UTF-8; save the file in the encoding UTF-8"),
        (b"a: [\n", "cartwire.yaml:2: a quote, a brace or a bracket is not closed"),
        (b"- a\n", "cartwire.yaml:1: must hold keys and values; write `key: value` lines"),
    ],
)
def test_p7_a_file_that_is_no_yaml_earns_no_further_complaints(refused, content, expected):
    assert refused(content) == [expected]


def test_p7_an_empty_object_names_everything_that_is_missing(refused):
    problems = refused("{}")

    assert [problem.split(": ")[1] for problem in problems] == [
        "currency",
        "esps",
        "stores",
        "syncs",
        "timezone",
    ]


def test_p7_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "nowhere", {}, {}, {})

    folder = tmp_path / "nowhere"
    assert str(caught.value) == f"cartwire.yaml: does not exist in {folder}; `cartwire init` writes one"


def test_problems_are_sorted_and_said_once():
    first = Problem("a.yaml", 2, "x", "is wrong", "make it right")
    second = Problem("a.yaml", 10, "", "is odd")
    third = Problem("b.yaml", None, "", "is empty")

    error = ConfigError([third, second, first, second])

    assert error.problems == (first, second, third)
    assert str(error) == "a.yaml:2: x: is wrong; make it right\na.yaml:10: is odd\nb.yaml: is empty"


def test_a_suggestion_is_the_nearest_name_or_all_of_them():
    assert suggestion("MailChmp", ["mailchimp", "brevo"]) == "did you mean `mailchimp`?"
    assert suggestion("x", ["mailchimp", "brevo"]) == "known: brevo, mailchimp"
    assert suggestion("x", []) == "there is none"


def test_reading_a_configuration_logs_nothing(loaded, caplog):
    with caplog.at_level(logging.DEBUG):
        loaded()

    assert caplog.records == []


KEYS = [
    "timezone", "currency", "rates", "database", "stores", "esps", "syncs", "type", "url", "key", "api_key",
    "esp", "mapping", "schedule", "limits", "list_share", "consent", "boutique", "crm", "folder",
]  # fmt: skip
SHAPES = st.recursive(
    st.none() | st.booleans() | st.text(alphabet="ab:/${}% *5", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def put(written, key, shape):
    """Replace every value of `key`, however deep it stands."""
    if not isinstance(written, dict):
        return written
    return {name: shape if name == key else put(inner, key, shape) for name, inner in written.items()}


@given(key=st.sampled_from(KEYS), shape=SHAPES)
def test_p7_no_shape_of_any_value_ends_in_a_traceback(types, good, key, shape):
    written = put(parse(good.encode(), "").data, key, shape)

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "cartwire.yaml").write_text(json.dumps(written))
        with pytest.raises(ConfigError) as caught:  # a mapping or a secret is missing in any case
            load(Path(name), *types, {})

    assert caught.value.problems
