"""The contract of `connectors.base.Store`, held against every store through its simulator.

`Harness` hides what shops and their simulators call differently; `Book` keeps facts as the state store would.
"""

import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.base import Counting, Page, Resource, Store, Window
from connectors.errors import ConnectorError, Refused, RemoteFault, Throttled, Unreachable
from connectors.facts import Checkout, Customer, Order, Standing
from connectors.registry import store_types
from connectors.simulation import Fault, Kind
from tests.connectors.stores.harness import JUNK, ROWS, Book, Harness
from tests.connectors.stores.shops import OPENING, Clock, order, orders

TYPES = sorted(store_types())
HTTP = [type_ for type_ in TYPES if type_ != "csv"]
WITH_CHECKOUTS = [type_ for type_ in TYPES if ROWS[type_].harness.has_checkouts]
UNMOVED = [row for row in ROWS if row != "woocommerce"]
"""Ways of reading a history that no moving row escapes; the other finds out, and is repeated with care."""

every_reading = pytest.mark.parametrize("harness", sorted(ROWS), indirect=True)
every_type = pytest.mark.parametrize("harness", TYPES, indirect=True)
over_http = pytest.mark.parametrize("harness", HTTP, indirect=True)

STANDINGS = {
    "paid": Standing.PAID,
    "pending": Standing.UNPAID,
    "failed": Standing.UNPAID,
    "cancelled": Standing.CANCELLED,
    "refunded": Standing.REFUNDED,
}
AMOUNTS = {"JPY": ("1500", 1500), "EUR": ("29.35", 2935), "KWD": ("1.250", 1250), "TRY": ("0.00", 0)}
FAULTS = {
    "429": Fault(status=429),
    "429 with Retry-After": Fault(status=429, headers={"Retry-After": "7"}),
    "503": Fault(status=503),
    "500 after the work": Fault(Kind.AFTER, 500),
    "lost": Fault(Kind.DROP),
    "truncated": Fault(Kind.TRUNCATE),
}
SAID = f"<html><body>Sorry {JUNK}</body></html>".encode()
LASTING = {
    "429": (Fault(status=429, body=SAID), Throttled),
    "503": (Fault(status=503, body=SAID), RemoteFault),
    "500": (Fault(status=500, body=SAID), RemoteFault),
    "a web page": (Fault(status=200, body=SAID), RemoteFault),
    "lost": (Fault(Kind.DROP), Unreachable),
    "truncated": (Fault(Kind.TRUNCATE), Unreachable),
    "403": (Fault(status=403, body=SAID), Refused),
    "404": (Fault(status=404, body=SAID), Refused),
}
NIGHTS = {
    "an hour twice": datetime(2026, 10, 25, tzinfo=UTC),
    "an hour less": datetime(2026, 3, 29, tzinfo=UTC),
}
HOUR = timedelta(hours=1)


@pytest.fixture
async def harness(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> AsyncIterator[Harness]:
    """Make the harness of a row, whose shop's clock begins at ours."""
    row = ROWS[request.param]
    clock.now = datetime.now(UTC).replace(microsecond=0)
    made = row.harness(tmp_path, clock, careful=row.careful)
    for name, value in made.patches.items():
        monkeypatch.setattr(f"connectors.stores.{name}", value)
    async with made.life():
        yield made


def test_every_type_has_a_row() -> None:
    assert {row.harness.type_ for row in ROWS.values()} == set(store_types()), (
        "a new store joins by a row in ROWS"
    )


# What is read


@every_reading
async def test_what_an_order_counts_as(harness: Harness) -> None:
    history = [order(number, status=status) for number, status in enumerate(STANDINGS, start=1)]
    harness.open([*history, order(6, total="20.00", refunded="4.50")])

    book = await harness.history()

    assert [book.orders[str(number)].standing for number in range(1, 7)] == [
        *STANDINGS.values(),
        Standing.PAID,
    ]
    assert [book.refunded(str(number)) for number in range(1, 7)] == [0, 0, 0, 0, 1590, 450]
    assert [book.orders[number].total.minor for number in "56"] == [1590, 2000]
    assert book.bad == []


@every_type
async def test_what_happens_to_an_order_is_seen(harness: Harness) -> None:
    harness.open([*orders(4), order(5, status="pending")])
    book = await harness.history()
    await harness.changes(book)
    harness.clock.pass_by(60)
    harness.refund("1", "2.00")
    harness.refund("2", "12.90")
    harness.cancel("3")
    harness.update("5", status="paid")
    new = harness.add(email="new@example.com")

    await harness.changes(book)

    assert {number: each.standing for number, each in book.orders.items()} == {
        "1": Standing.PAID,
        "2": Standing.REFUNDED,
        "3": Standing.CANCELLED,
        "4": Standing.PAID,
        "5": Standing.PAID,
        new: Standing.PAID,
    }
    assert [book.refunded(number) for number in "12345"] == [200, 1290, 0, 0, 0]
    assert book.email(new) == "new@example.com"


@every_reading
async def test_a_test_order_is_told_apart(harness: Harness) -> None:
    if not harness.has_tests:
        pytest.skip("its shop has no mark for tests")
    harness.open(orders(3))
    harness.mark_as_test("2")

    book = await harness.history()

    assert [book.orders[number].standing for number in "123"] == [Standing.PAID, Standing.TEST, Standing.PAID]


@every_reading
async def test_an_order_says_what_was_bought_when_and_by_whom(harness: Harness) -> None:
    harness.open([order(7, total="29.35", quantity=2, category="R&B")])

    book = await harness.history()

    seventh = book.orders["7"]
    person = (book.of(Customer).get(seventh.customer_id or "") or seventh).person
    assert [(line.quantity, line.total.minor) for line in seventh.lines] == [(2, 2935)]
    assert book.categories("7") == {"R&B"}
    assert seventh.created_at == OPENING + 7 * HOUR
    assert (person.first_name, person.last_name) == ("Gül", "Öztürk 🎁")


@every_reading
async def test_amounts_keep_the_decimals_of_their_currency(harness: Harness) -> None:
    harness.open(
        order(number, currency=currency, total=total, refunded=total)
        for number, (currency, (total, _)) in enumerate(AMOUNTS.items(), start=1)
    )

    book = await harness.history()

    totals = [book.orders[str(number)].total for number in range(1, 5)]
    assert {each.currency: each.minor for each in totals} == {
        code: minor for code, (_, minor) in AMOUNTS.items()
    }
    assert [book.refunded(str(number)) for number in range(1, 5)] == [each.minor for each in totals]


@every_reading
async def test_guests_and_accounts_with_one_address_are_one_person(harness: Harness) -> None:
    known = {"account": 9, "email": "ada@example.com"}
    harness.open(
        [order(1, **known), order(2, account=None, email=" Ada@Example.com"), order(3, account=None)]
    )

    book = await harness.history()

    assert [book.email(number) for number in "123"] == ["ada@example.com"] * 2 + ["buyer-3@example.com"]
    assert harness.has_accounts == (book.orders["1"].customer_id == "9")
    guests = [book.of(Customer).get(book.orders[number].customer_id or "") for number in "23"]
    assert all(guest is None or guest.guest or guest.id == "9" for guest in guests)


@over_http
async def test_an_account_that_changes_its_address_keeps_its_orders(harness: Harness) -> None:
    harness.open([order(1, account=9), order(2, account=9), order(3, account=8, email="bob@example.com")])
    book = await harness.history()
    await harness.changes(book)
    harness.clock.pass_by(7200)
    harness.move(9, "new@example.com")

    await harness.changes(book)

    assert [book.email(number) for number in "123"] == ["new@example.com"] * 2 + ["bob@example.com"]


@over_http
async def test_an_address_that_goes_from_one_account_to_another_is_the_other_s(harness: Harness) -> None:
    harness.open([order(1, account=8, email="ada@example.com"), order(2, account=9, email="bob@example.com")])
    book = await harness.history()
    await harness.changes(book)
    harness.clock.pass_by(7200)
    harness.move(8, "eve@example.com")
    harness.move(9, "ada@example.com")

    await harness.changes(book)

    assert [book.email(number) for number in "12"] == ["eve@example.com", "ada@example.com"]


@pytest.mark.parametrize("harness", WITH_CHECKOUTS, indirect=True)
async def test_a_checkout_is_open_until_it_is_bought(harness: Harness) -> None:
    harness.open([order(1, account=8), order(2, account=9, email="ada@example.com")])
    left, bought = harness.begin_checkout(9), harness.begin_checkout(8)
    harness.clock.pass_by(7200)
    book = await harness.history()
    await harness.changes(book)
    before = {number: each.completed_at for number, each in book.of(Checkout).items()}
    harness.clock.pass_by(7200)
    harness.buy(bought, 8)
    harness.clock.pass_by(60)

    await harness.changes(book)

    after = {number: each.completed_at for number, each in book.of(Checkout).items()}
    assert (before[left], before[bought], after[left]) == (None, None, None)
    assert after[bought] == harness.clock.now - timedelta(seconds=60)
    assert book.owner(left) == "ada@example.com"


# Pages


@every_reading
@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_a_page_exactly_full_ends_like_any_other(harness: Harness, off: int) -> None:
    count = 2 * harness.page + off
    harness.open(orders(count))

    book = await harness.history(Resource.ORDERS)

    assert book.numbers == list(range(1, count + 1))
    assert harness.requests <= harness.most_requests(count)


@over_http
async def test_nothing_is_asked_for_order_by_order(harness: Harness) -> None:
    """All that belongs to orders, everybody with an address of their own: more of them, hardly more requests."""
    harness.open(order(n, email=f"{n}@example.com", account=n, category=f"c{n % 30}") for n in range(1, 301))

    book = await harness.history()

    assert len(book.of(Customer)) >= 300
    assert harness.requests <= 2 * harness.most_requests(300) + 12


@every_reading
async def test_an_empty_shop_has_no_facts_and_no_troubles(harness: Harness) -> None:
    harness.open()

    said = await harness.connect().check()
    book = await harness.history()
    await harness.changes(book)
    harness.clock.pass_by(60)
    harness.add()
    await harness.changes(book)

    assert said == []
    assert (book.numbers, book.bad) == ([1], [])


@over_http
async def test_an_empty_shop_has_no_windows(harness: Harness) -> None:
    harness.open()
    store = harness.connect()

    windows = [await store.plan_backfill(resource, None) for resource in store.resources]

    assert all(
        not each or resource is not Resource.ORDERS
        for each, resource in zip(windows, store.resources, strict=True)
    )


@every_reading
async def test_since_leaves_out_what_was_placed_before(harness: Harness) -> None:
    harness.open(orders(50))

    book = await harness.history(Resource.ORDERS, since=OPENING + 41 * HOUR)

    assert book.numbers == list(range(41, 51))


@every_reading
async def test_a_history_of_one_single_second_is_read_whole(harness: Harness) -> None:
    count = 2 * harness.page + 1
    harness.open(orders(count, at=OPENING))

    book = await harness.history(Resource.ORDERS)

    assert book.numbers == list(range(1, count + 1))


@every_type
@pytest.mark.parametrize("off", [0, 1])
async def test_changes_of_one_second_cross_the_border_of_a_page(harness: Harness, off: int) -> None:
    count = 2 * harness.page + off
    harness.open(orders(count + 1))
    book = Book()
    await harness.changes(book, Resource.ORDERS)
    harness.clock.pass_by(3600)
    for number in range(1, count + 1):
        harness.update(str(number), total="99.00")
    harness.clock.pass_by(1)
    harness.update(str(count + 1), total="99.00")

    await harness.changes(book, Resource.ORDERS)

    assert [number for number in book.numbers if book.orders[str(number)].total.minor == 9900] == list(
        range(1, count + 2)
    )


@every_type
async def test_a_change_is_found_once_and_a_quiet_shop_costs_next_to_nothing(harness: Harness) -> None:
    harness.open(orders(30))
    book = await harness.history()
    await harness.changes(book)
    harness.clock.pass_by(3600)
    harness.update("7", total="99.00")
    first = await harness.changes(book)
    harness.clock.pass_by(3600)
    await harness.changes(book)
    harness.clock.pass_by(3600)
    before = harness.requests

    last = await harness.changes(book)

    assert "7" in {fact.id for fact in first if isinstance(fact, Order)}
    assert [fact for fact in last if isinstance(fact, Order)] == []
    assert harness.requests - before <= harness.quiet


# Rows that move


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("harness", HTTP, indirect=True)
async def test_no_change_escapes_while_rows_move(harness: Harness, seed: int) -> None:
    """Orders change before each of many requests, some of them in the second that is being read."""
    chance, count = random.Random(seed), 2 * harness.page + 10
    harness.open(orders(count))
    book = Book()
    await harness.changes(book, Resource.ORDERS)
    harness.clock.pass_by(3600)
    totals = dict.fromkeys(range(1, count + 1), 100)
    for number in totals:
        harness.clock.pass_by(chance.choice([0, 0, 1]))
        harness.update(str(number), total="1.00")

    def stir(request: int) -> None:
        harness.clock.pass_by(chance.choice([0, 1]))
        for number in chance.sample(sorted(totals), 5 if request < 20 else 0):
            totals[number] = 100 + request
            harness.update(str(number), total=f"{totals[number] / 100:.2f}")

    harness.meddle = stir
    found = await harness.changes(book, Resource.ORDERS)
    harness.meddle = lambda _: None
    await harness.changes(book, Resource.ORDERS)

    assert {int(fact.id) for fact in found if isinstance(fact, Order)} == set(totals)
    assert {int(number): each.total.minor for number, each in book.orders.items()} == totals


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("harness", UNMOVED, indirect=True)
async def test_no_order_escapes_a_history_while_rows_move(harness: Harness, seed: int) -> None:
    chance, count = random.Random(seed), 3 * harness.page
    harness.open(orders(count))
    left = set(range(1, count + 1))

    def stir(request: int) -> None:
        harness.clock.pass_by(1)
        for number in chance.sample(sorted(left), 3):
            harness.update(str(number))
        if 2 < request < 12:
            gone = chance.choice(sorted(left))
            left.discard(gone)
            harness.delete(str(gone))

    harness.meddle = stir if harness.type_ != "csv" else lambda _: None

    book = await harness.history(Resource.ORDERS)

    assert left <= set(book.numbers)


# Kills


async def broken_off(make: Callable[[Store, str | None], AsyncIterator[Page]], harness: Harness) -> int:
    """Read, killed after each page in turn, and go on as another process would: nothing of the book is ever missing.

    There may be more: where accounts are read in a slow round, the next reading reads further.
    """
    whole: Book | None = None
    for lives in range(1000):
        book, cursor, told = Book(), None, 0
        reading = make(harness.connect(), None)
        while (whole is None or told < lives) and (page := await anext(reading, None)):
            book.take(page)
            cursor, told = page.cursor, told + 1
        await reading.aclose()  # type: ignore[attr-defined]
        if whole is None:
            whole = book
            continue
        if told < lives:
            return lives
        async for page in make(harness.connect(), cursor):
            book.take(page)
        assert whole.facts.items() <= book.facts.items()
    raise AssertionError("the reading has no end")


@every_reading
async def test_a_history_goes_on_after_a_kill_between_any_two_pages(harness: Harness) -> None:
    harness.open(orders(2 * harness.page + 5))
    (window,) = await harness.connect().plan_backfill(Resource.ORDERS, None)

    lives = await broken_off(
        lambda store, cursor: store.backfill(window, cursor, careful=harness.careful), harness
    )

    assert lives > 3


@every_type
@pytest.mark.parametrize("apart", [0, 1], ids=["in one second", "a second apart"])
async def test_changes_go_on_after_a_kill_between_any_two_pages(harness: Harness, apart: int) -> None:
    harness.open(orders(2 * harness.page + 5))
    since = harness.clock.now
    for number in range(1, 2 * harness.page + 6):
        harness.clock.pass_by(apart)
        harness.update(str(number), total="99.00") if harness.type_ != "csv" else None

    lives = await broken_off(lambda store, cursor: store.changes(Resource.ORDERS, since, cursor), harness)

    assert lives > 2


@over_http
async def test_changes_of_everything_go_on_after_a_kill_between_any_two_pages(harness: Harness) -> None:
    harness.open(order(n, email=f"{n}@example.com", account=n + 1) for n in range(1, 131))
    since = harness.clock.now
    for number in range(1, 131):
        harness.clock.pass_by(1)
        harness.move(number + 1, f"{number}@example.org")

    for resource in harness.connect().resources:
        await broken_off(lambda store, cursor, of=resource: store.changes(of, since, cursor), harness)  # type: ignore[misc]


# Clocks and zones


@over_http
@pytest.mark.parametrize("hours", [-23, -3, 3, 23])
async def test_a_shop_whose_clock_is_wrong_hides_no_change(harness: Harness, hours: int) -> None:
    ours = harness.clock.now
    harness.clock.pass_by(hours * 3600)
    harness.open(orders(5))
    book = Book()
    harness.clock.pass_by(1)
    harness.update("3", total="99.00")

    first = await harness.changes(book, Resource.ORDERS, since=ours)
    harness.clock.pass_by(3600)
    harness.update("4", total="99.00")
    second = await harness.changes(book, Resource.ORDERS, since=ours)

    assert "3" in {fact.id for fact in first}
    assert "4" in {fact.id for fact in second}


@every_type
@pytest.mark.parametrize("zone", ["America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
async def test_moments_and_changes_are_right_in_every_zone(harness: Harness, zone: str) -> None:
    harness.open(orders(30), timezone=zone)
    book = await harness.history(Resource.ORDERS)
    since = harness.clock.now
    harness.clock.pass_by(1)
    harness.update("7", total="99.00")

    await harness.changes(book, Resource.ORDERS, since=since)

    assert {number: each.created_at for number, each in book.orders.items()} == {
        str(number): OPENING + number * HOUR for number in range(1, 31)
    }
    assert book.orders["7"].total.minor == 9900


@every_type
@pytest.mark.parametrize("night", NIGHTS)
async def test_the_nights_on_which_clocks_are_changed_shift_no_order(harness: Harness, night: str) -> None:
    """Who shows the wall clock alone means two moments by one hour of autumn: the first is taken."""
    count, step = 20, timedelta(minutes=15)
    harness.open(orders(count, at=NIGHTS[night] - step, every=step), timezone="Europe/Paris")
    twice = NIGHTS[night] + HOUR if harness.by_wall_clock and night == "an hour twice" else None

    book = await harness.history(Resource.ORDERS)

    placed = [NIGHTS[night] + (number - 1) * step for number in range(1, count + 1)]
    expected = [at - HOUR if twice and twice <= at < twice + HOUR else at for at in placed]
    assert [book.orders[str(number)].created_at for number in range(1, count + 1)] == expected


@every_type
@pytest.mark.parametrize("night", NIGHTS)
async def test_the_nights_on_which_clocks_are_changed_hide_no_change(harness: Harness, night: str) -> None:
    """A change every twenty minutes from midnight to six, a reading after each: the newest word is the last."""
    harness.clock.now = NIGHTS[night] - HOUR
    harness.open(orders(6), timezone="Europe/Paris")
    book = Book()
    await harness.changes(book, Resource.ORDERS, since=datetime.now(UTC))

    for step in range(20):
        harness.clock.pass_by(1200)
        number = str(1 + step % 6)
        harness.update(number, total=f"{step}.00")
        await harness.changes(book, Resource.ORDERS)

        assert book.orders[number].total.minor == step * 100


# Troubles


@over_http
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_goes_wrong_once_costs_time_and_no_row(
    harness: Harness, fault: str, pauses: list[float]
) -> None:
    """Every request fails the first time."""
    harness.open(orders(harness.page + 5))

    def fail(request: int) -> None:
        if request % 2:
            harness.simulation.fail(FAULTS[fault])

    harness.meddle = fail

    book = await harness.history()
    await harness.changes(book)

    assert (book.numbers, book.bad) == (list(range(1, harness.page + 6)), [])
    assert fault != "429 with Retry-After" or {7.0} <= set(pauses)


@over_http
@pytest.mark.parametrize("fault", LASTING)
async def test_what_keeps_going_wrong_is_an_error_of_its_kind_and_loses_nothing(
    harness: Harness, fault: str
) -> None:
    harness.open(orders(3))
    store, (lasting, kind) = harness.connect(), LASTING[fault]
    harness.simulation.chances = {lasting: 1.0}

    errors = []
    for ask in (
        store.check,
        lambda: store.plan_backfill(Resource.ORDERS, None),
        lambda: harness.changes(Book()),
    ):
        with pytest.raises(ConnectorError) as raised:
            await ask()
        errors.append(raised.value)
    harness.simulation.chances = {}

    assert [type(error) for error in errors] == [kind] * 3
    assert not any(JUNK in str(error) for error in errors)
    assert (await harness.history()).numbers == [1, 2, 3]


@over_http
async def test_a_wrong_key_is_refused_and_not_shown(harness: Harness) -> None:
    harness.open(orders(3))
    store = harness.connect(**harness.wrong)

    with pytest.raises(Refused) as refused:
        await store.check()

    assert not any(secret in str(refused.value) for secret in harness.wrong.values())


@over_http
async def test_check_names_each_right_that_is_missing(harness: Harness) -> None:
    harness.open(orders(3))
    store = harness.connect()
    assert await store.check() == []

    for count, resource in enumerate([Resource.PRODUCTS, Resource.CUSTOMERS], start=1):
        harness.forbid(resource)
        said = await store.check()

        assert len(said) >= count
        assert any(resource.value in sentence for sentence in said)
        with pytest.raises(Refused):
            await harness.history(resource)
        with pytest.raises(Refused):
            await harness.changes(Book(), resource)
    assert (await harness.history(Resource.ORDERS)).numbers == [1, 2, 3]


@every_reading
async def test_an_order_that_cannot_be_read_is_a_letter_and_the_others_are_taken(harness: Harness) -> None:
    harness.open(orders(5))
    for number in "135":
        harness.spoil(number)

    book = await harness.history(Resource.ORDERS)

    assert book.numbers == [2, 4]
    assert len({letter.record for letter in book.bad}) == 3
    assert not any(JUNK in str(letter) for letter in book.bad)


@every_reading
async def test_P5_an_order_of_more_pieces_than_anybody_sells_costs_nobody_else(harness: Harness) -> None:
    harness.open([order(1), order(2, quantity=2 * 10**9), order(3)])

    book = await harness.history(Resource.ORDERS)

    assert book.numbers == [1, 3]
    assert len({letter.record for letter in book.bad}) == 1


@every_type
async def test_a_letter_is_read_again_once_its_order_is_mended(harness: Harness) -> None:
    harness.open(orders(5))
    since = harness.clock.now
    harness.spoil("3")
    book = Book()
    await harness.changes(book, Resource.ORDERS, since=since)
    (letter,) = {letter.record for letter in book.bad}
    store = harness.connect()

    still = await store.reread([letter])
    harness.mend("3")
    mended = await store.reread([letter])

    assert not [fact for fact in still.facts if isinstance(fact, Order)]
    assert [each.record for each in still.bad] == [letter]
    assert [(fact.id, fact.total.minor) for fact in mended.facts if isinstance(fact, Order)] == [("3", 700)]
    assert mended.bad == []


@every_type
async def test_records_that_are_gone_or_never_were_are_left_out_when_they_are_read_again(
    harness: Harness,
) -> None:
    harness.open(orders(5))
    store = harness.connect()

    page = await store.reread(["order 2", "order 99", "customer 999", "order without an id", "webhook x", ""])

    assert [fact.id for fact in page.facts if isinstance(fact, Order)] == ["2"]
    assert page.bad == []


@every_type
async def test_closing_twice_does_no_harm(harness: Harness) -> None:
    harness.open(orders(1))
    store = harness.connect()
    await store.check()

    await store.aclose()
    await store.aclose()


# Counting


@every_type
async def test_orders_are_counted_by_window_without_reading_them(harness: Harness) -> None:
    at = OPENING
    harness.open([order(number, at + number * timedelta(hours=12)) for number in range(8)])
    store = harness.connect()
    if not isinstance(store, Counting):
        pytest.skip("it cannot be asked, and is no Counting")
    await store.count_orders([])
    days = [
        Window(Resource.ORDERS, at + day * timedelta(days=1), at + (day + 1) * timedelta(days=1))
        for day in range(5)
    ]
    before = harness.requests

    counted = await store.count_orders(days)

    assert counted == [2, 2, 2, 2, 0]
    assert await store.count_orders([Window(Resource.ORDERS)]) == [8]
    assert await store.count_orders([Window(Resource.ORDERS, None, at + 25 * HOUR)]) == [3]
    assert harness.requests - before <= len(days) + 3 + 2
