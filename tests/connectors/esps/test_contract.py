"""The contract of `connectors.base.Esp`, held against every ESP through its simulator.

`Harness` hides what simulators call differently. Every request that goes out here is checked against the
vendor's own descriptions, where those are at hand.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import (
    Audited,
    Blame,
    Contact,
    Eraser,
    Esp,
    Field,
    FieldType,
    Held,
    Inspected,
    Member,
    Missing,
    Subscribe,
    Value,
)
from connectors.errors import ConnectorError, Refused, Retryable
from connectors.registry import esp_types
from connectors.simulation import Fault, Kind
from tests.connectors.esps.harness import FIELDS, LISTS, ROWS, Harness, anew, change_all, push_all, text, told

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
EMAILS = (ADA, BOB, EVE)
FULL: Mapping[str, Value] = {"NOTE": "gold", "ORDERS": 3, "SINCE": date(2024, 2, 29)}
FANS, OTHERS = LISTS
FEW = 3
VALUES: Sequence[Mapping[str, Value]] = (
    {"NOTE": "İstanbul'da ığüşöç"},
    {"NOTE": "👩‍👩‍👧‍👦 🇹🇷 ❤️"},
    {"NOTE": "שלום עולם مرحبا"},
    {"NOTE": '<b>"it\'s", a;b\\c & %7B</b>'},
    {"SINCE": date(1912, 3, 4)},
    {"SINCE": date(1969, 12, 31)},
    {"ORDERS": Decimal(1500)},  # yen: no decimals
    {"ORDERS": Decimal("1234567.89")},
    {"ORDERS": Decimal("1E+6")},
    {"ORDERS": Decimal("-0.5")},
    {"ORDERS": 0},
)
LONG = ("ü" * 10_000, "🎉" * 10_000, "one\ntwo\r\nthree\n")
HTTP = [type_ for type_ in ROWS if type_ != "csv"]
FAULTS = {
    "429": Fault(status=429),
    "429 with Retry-After": Fault(status=429, headers={"Retry-After": "7"}),
    "503": Fault(status=503),
    "500 after the work": Fault(Kind.AFTER, 500),
    "lost": Fault(Kind.DROP),
    "truncated": Fault(Kind.TRUNCATE),
}

HARD = ("429 with Retry-After", "500 after the work", "lost", "truncated")
"""Faults that leave more than one way to go wrong."""


@pytest.fixture
def type_(request: pytest.FixtureRequest) -> str:
    """Name the type when a test has not chosen its own."""
    named: str = request.param
    return named


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that has no types of its own with all of them."""
    marked = any("type_" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "type_" in metafunc.fixturenames and not marked:
        metafunc.parametrize("type_", sorted(ROWS), indirect=True)


@pytest.fixture(params=["few", "many"])
def count(request: pytest.FixtureRequest, type_: str) -> int:
    """Choose a number of contacts, below or above what an ESP writes one by one."""
    return FEW if request.param == "few" else ROWS[type_].many


@pytest.fixture
def unhurried(type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the connector's own pace away; its pauses are instant."""
    for name, value in ROWS[type_].unhurried.items():
        monkeypatch.setattr(f"connectors.esps.{type_}.connector.{name}", value)


@pytest.fixture
async def harness(type_: str, unhurried: None, tmp_path: Path, pauses: list[float]) -> AsyncIterator[Harness]:
    made = Harness(type_, tmp_path, pauses)
    async with made.life():
        yield made
    assert made.violations() == []


@pytest.fixture
async def esp(harness: Harness) -> Esp:
    return await harness.ready()


@pytest.fixture
def fresh(type_: str, unhurried: None, tmp_path: Path, pauses: list[float]) -> Callable[[], Harness]:
    """Make as many simulators as a test wants, one after the other."""

    def make(*, bare: bool = False) -> Harness:
        pauses.clear()
        return Harness(type_, tmp_path, pauses, bare=bare)

    return make


def people(count: int, subscribe: Subscribe = Subscribe.YES) -> list[Contact]:
    return [Contact(n, f"person-{n}@example.com", {"ORDERS": n}, subscribe) for n in range(1, count + 1)]


def members(contacts: Sequence[Contact]) -> list[Member]:
    return [Member(contact.profile, contact.email, contact.change) for contact in contacts]


def texts(**fields: Value) -> dict[str, str]:
    return {name: text(value) for name, value in fields.items() if value is not None}


def test_every_type_has_a_row() -> None:
    assert sorted(ROWS) == sorted(esp_types()), "a new ESP joins the contract by a row in harness.ROWS"


# Fields


async def test_contacts_are_created_then_updated_and_only_given_fields_change(
    esp: Esp, harness: Harness, count: int
) -> None:
    created = [replace(each, fields=FULL) for each in people(count)]
    assert await push_all(esp, created) == []

    updates = [replace(each, fields={"ORDERS": 4}, known=True) for each in created]
    assert await push_all(esp, updates) == []

    assert harness.everybody().keys() == {each.email for each in created}
    assert {tuple(each.fields.items()) for each in harness.everybody().values()} == {
        tuple(texts(**{**FULL, "ORDERS": 4}).items())
    }


async def test_none_clears_a_field_and_no_other(esp: Esp, harness: Harness, count: int) -> None:
    """A text, a number and a date, each at every third contact."""
    created = [replace(each, fields=FULL) for each in people(count)]
    await push_all(esp, created)
    clearings = [
        replace(each, fields={name: None}, known=True)
        for each, name in zip(created, itertools.cycle(FULL), strict=False)
    ]

    assert await push_all(esp, clearings) == []

    shown = harness.everybody()
    for each in clearings:
        assert shown[each.email].fields == texts(**{**FULL, **each.fields})


async def test_values_arrive_as_they_are(esp: Esp, harness: Harness, count: int) -> None:
    contacts = [
        replace(each, fields=fields)
        for each, fields in zip(people(max(count, len(VALUES))), itertools.cycle(VALUES), strict=False)
    ]

    assert await push_all(esp, contacts) == []

    shown = harness.everybody()
    assert {each.email: shown[each.email].fields for each in contacts} == {
        each.email: texts(**each.fields) for each in contacts
    }


async def test_long_and_many_lined_texts_lose_no_contact(esp: Esp, harness: Harness, count: int) -> None:
    notes = dict(enumerate(itertools.islice(itertools.cycle(LONG), count), 1))
    contacts = [replace(each, fields={**FULL, "NOTE": notes[each.profile]}) for each in people(count)]

    with structlog.testing.capture_logs() as logs:
        refusals = await push_all(esp, contacts)

    assert {refusal.blame for refusal in refusals} <= {Blame.FIELD}
    left_out = {refusal.profile for refusal in refusals}
    shown = harness.everybody()
    assert len(shown) == count
    for each in contacts:
        kept = shown[each.email].fields.get("NOTE", "")
        assert notes[each.profile].startswith(kept.rstrip("\n\r"))
        assert kept or each.profile in left_out
        assert shown[each.email].fields["ORDERS"] == "3"
    long = [each for each in contacts if len(notes[each.profile]) > 99 and each.profile not in left_out]
    cut = sum(shown[each.email].fields["NOTE"] != notes[each.profile] for each in long)
    assert sum(log["fields"]["NOTE"] for log in logs if log["event"] == "texts_cut") == cut


@pytest.mark.parametrize("huge", [Decimal("9" * 30), Decimal("1E+25")], ids=str)
async def test_a_number_beyond_all_bounds_costs_no_more_than_its_field(
    esp: Esp, harness: Harness, huge: Decimal
) -> None:
    refusals = await esp.push([Contact(1, ADA, {"ORDERS": huge, "NOTE": "x"})])

    assert {(each.blame, each.name) for each in refusals} <= {(Blame.FIELD, "ORDERS")}
    assert harness.shown(ADA).fields["NOTE"] == "x"
    assert refusals or "ORDERS" in harness.shown(ADA).fields


# Addresses


async def test_a_rename_keeps_lists_and_fields_and_retires_the_old_address(
    esp: Esp, harness: Harness
) -> None:
    await esp.push([Contact(1, ADA, FULL, Subscribe.YES)])
    await esp.change_list(FANS, [Member(1, ADA)], [])

    assert await esp.push([Contact(1, EVE, {"ORDERS": 4}, Subscribe.YES, known=True, was=ADA)]) == []

    assert harness.shown(EVE).fields == texts(**{**FULL, "ORDERS": 4})
    assert harness.shown(EVE).lists == {FANS}
    assert harness.mailable == {EVE}


async def test_a_rename_to_an_address_that_is_there_merges_and_retires(esp: Esp, harness: Harness) -> None:
    await esp.push([Contact(1, ADA, FULL, Subscribe.YES), Contact(2, EVE, {}, Subscribe.NO)])

    found = await esp.push([Contact(1, EVE, {"ORDERS": 4}, Subscribe.YES, known=True, was=ADA)])

    assert anew(found) == ({1} if isinstance(esp, Audited) else set())

    assert harness.shown(EVE).fields["ORDERS"] == "4"
    assert harness.mailable == set()


async def test_a_rename_and_a_newcomer_to_the_old_address_are_two_contacts(
    esp: Esp, harness: Harness
) -> None:
    await esp.push([Contact(1, ADA, {"ORDERS": 1}, Subscribe.YES)])

    batch = [
        Contact(2, ADA, {"ORDERS": 2}, Subscribe.YES),
        Contact(1, EVE, {"NOTE": "moved"}, Subscribe.YES, known=True, was=ADA),
    ]
    assert await esp.push(batch) == []

    assert harness.shown(ADA).fields == {"ORDERS": "2"}
    assert harness.shown(EVE).fields == {"ORDERS": "1", "NOTE": "moved"}


# Addresses that move on from one to the next


CHAIN = ((1, ADA, BOB), (2, BOB, EVE))
RING = ((1, ADA, BOB), (2, BOB, ADA))


async def stand(esp: Esp, moves: Sequence[tuple[int, str, str]]) -> None:
    """Put everybody where they are before they move, each with a note of their own."""
    await esp.push([Contact(n, old, {"NOTE": f"{n}"}, Subscribe.YES, change="c1") for n, old, _ in moves])


def moved(moves: Sequence[tuple[int, str, str]]) -> list[Contact]:
    return [
        Contact(n, new, {"ORDERS": n}, Subscribe.YES, known=True, was=old, change="c2")
        for n, old, new in moves
    ]


@pytest.mark.parametrize("moves", [CHAIN, CHAIN[::-1]], ids=["head first", "end first"])
async def test_a_chain_of_renames_that_is_sent_again_after_a_kill_loses_nobody(
    esp: Esp, harness: Harness, moves: Sequence[tuple[int, str, str]]
) -> None:
    await stand(esp, moves)

    for process in (esp, harness.connect(), harness.connect()):
        anew(await process.push(moved(moves)))

        assert harness.mailable == {BOB, EVE}
        assert harness.shown(BOB).fields == texts(NOTE="1", ORDERS=1)
        assert harness.shown(EVE).fields == texts(NOTE="2", ORDERS=2)


async def test_a_long_chain_with_a_newcomer_behind_it_may_be_sent_again(esp: Esp, harness: Harness) -> None:
    moves = (*CHAIN, (3, EVE, "dan@example.com"))
    await stand(esp, moves)
    newcomer = Contact(4, ADA, {"ORDERS": 4}, Subscribe.YES, change="c2")

    for process in (esp, harness.connect()):
        anew(await process.push([newcomer, *moved(moves)]))

        assert harness.mailable == {*EMAILS, "dan@example.com"}
        assert [harness.shown(email).fields.get("NOTE") for _, _, email in moves] == ["1", "2", "3"]
        assert harness.shown(ADA).fields == texts(ORDERS=4)


@pytest.mark.parametrize("type_", [type_ for type_ in ROWS if type_ != "webhook"], indirect=True)
async def test_a_ring_of_renames_may_be_sent_again(esp: Esp, harness: Harness) -> None:
    """A hook is told of each move by itself, and sees no ring."""
    await stand(esp, RING)

    for process in (esp, harness.connect()):
        anew(await process.push(moved(RING)))

        assert harness.mailable == {ADA, BOB}
        assert [harness.shown(email).fields["ORDERS"] for email in (BOB, ADA)] == ["1", "2"]


async def test_P4_who_leaves_before_a_chain_is_sent_again_does_not_come_back(
    fresh: Callable[[], Harness], type_: str
) -> None:
    """X at `b`, or Y at `c`, in every way in which somebody leaves."""
    for leave, left in itertools.product(ROWS[type_].departures.values(), (BOB, EVE)):
        harness = fresh()
        async with harness.life():
            esp = await harness.ready()
            await stand(esp, CHAIN)
            await esp.push(moved(CHAIN))
            leave(harness.state, left)

            await harness.connect().push(moved(CHAIN))

        assert harness.mailable == {BOB, EVE} - {left}


async def test_a_newcomer_to_the_address_of_somebody_who_is_merged_keeps_it(
    esp: Esp, harness: Harness
) -> None:
    await esp.push([Contact(1, ADA, {}, Subscribe.YES), Contact(2, EVE, {}, Subscribe.NO)])
    newcomer = Contact(3, ADA, {"ORDERS": 3}, Subscribe.YES, change="c2")

    for process in (esp, harness.connect()):
        anew(await process.push([newcomer, *moved([(1, ADA, EVE)])]))

        assert harness.mailable == {ADA}
        assert [harness.shown(email).fields for email in (ADA, EVE)] == [texts(ORDERS=3), texts(ORDERS=1)]


async def test_P4_a_newcomer_without_proof_inherits_no_subscription_at_an_old_address(
    esp: Esp, harness: Harness
) -> None:
    await esp.push([Contact(1, ADA, {}, Subscribe.YES), Contact(2, EVE, {}, Subscribe.NO)])
    newcomer = Contact(3, ADA, {"ORDERS": 3}, Subscribe.NO, change="c2")

    for process in (esp, harness.connect()):
        await process.push([newcomer, *moved([(1, ADA, EVE)])])

        assert harness.mailable == set()


@pytest.mark.parametrize("ends", ["at nobody", "at somebody"])
async def test_P4_who_left_before_a_chain_stays_away_however_often_it_is_sent(
    fresh: Callable[[], Harness], type_: str, ends: str
) -> None:
    """Erased ones apart, where the end is a contact of its own: they look as if they had moved on."""
    erased = {"forgotten"} if ends == "at somebody" else set()
    ways = [leave for way, leave in ROWS[type_].departures.items() if way not in erased]
    for leave, (_, left, to) in itertools.product(ways, CHAIN):
        harness = fresh()
        async with harness.life():
            esp = await harness.ready()
            await stand(esp, CHAIN)
            await esp.push([Contact(3, EVE, {}, Subscribe.NO)] if ends == "at somebody" else [])
            leave(harness.state, left)

            for process in (esp, harness.connect()):
                await process.push(moved(CHAIN))

                assert to not in harness.mailable


@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_a_chain_of_renames_may_break_off_anywhere(fresh: Callable[[], Harness]) -> None:
    """The ESP is cut off at each request in turn: not reached any more, or its answers are lost."""
    for fault in (FAULTS["503"], FAULTS["500 after the work"]):
        for place in itertools.count():
            harness = fresh()
            async with harness.life():
                esp = await harness.ready()
                await stand(esp, CHAIN)
                whole = await cut_off(harness, esp, moved(CHAIN), place, fault)
                anew(await harness.connect().push(moved(CHAIN)))

            assert harness.mailable == {BOB, EVE}, (fault, place)
            assert harness.shown(BOB).fields == texts(NOTE="1", ORDERS=1)
            assert harness.shown(EVE).fields == texts(NOTE="2", ORDERS=2)
            if whole:
                break


async def cut_off(harness: Harness, esp: Esp, contacts: Sequence[Contact], place: int, fault: Fault) -> bool:
    """Push while the ESP fails from one request on; return whether the push ended before."""
    assert harness.simulation
    last, down = harness.requests() + place, [True]
    simulation = harness.simulation
    simulation.fail(
        fault, times=1000, when=lambda _method, _path: down[0] and len(simulation.requests) >= last
    )
    try:
        await esp.push(contacts)
    except Retryable:
        return False
    finally:
        down[0] = False
    return harness.requests() <= last


# Preparing


async def test_preparing_makes_what_is_missing_and_again_nothing_twice(fresh: Callable[..., Harness]) -> None:
    harness = fresh(bare=True)
    async with harness.life():
        esp = await harness.ready()
        await esp.push([Contact(1, ADA, FULL)])
        await esp.change_list(FANS, [Member(1, ADA)], [])
        before = list(harness.row.made(harness.state))

        assert await esp.prepare(FIELDS, LISTS) == {}
        assert await harness.connect().prepare(FIELDS, LISTS) == {}

    after = harness.row.made(harness.state)
    assert sorted(after) == sorted(before)
    assert len({name.casefold() for name in after}) == len(after)
    assert harness.violations() == []


async def test_looking_says_what_preparing_would_make_and_makes_nothing(
    fresh: Callable[..., Harness],
) -> None:
    harness = fresh(bare=True)
    async with harness.life():
        esp = harness.connect()
        if not isinstance(esp, Inspected):
            pytest.skip("it cannot be asked what it has")
        assert await esp.prepare([], []) == {}
        before = list(harness.row.made(harness.state))

        missing = await esp.look(FIELDS, LISTS)

        assert list(harness.row.made(harness.state)) == before
        assert list(missing.fields) == [each.name for each in FIELDS]
        assert (list(missing.lists) in ([], list(LISTS)), missing.unfit) == (True, {})
        await (await harness.ready()).push([Contact(1, ADA, FULL)])
        assert await harness.connect().look(FIELDS, LISTS) == Missing([], [], {})
    assert harness.violations() == []


async def test_looking_names_a_field_that_exists_with_another_type(esp: Esp, harness: Harness) -> None:
    if not harness.row.typed or not isinstance(esp, Inspected):
        pytest.skip("its fields have no types, or it cannot be asked")
    await esp.push([Contact(1, ADA, FULL)])

    missing = await esp.look([Field("NOTE", FieldType.NUMBER, "Note"), FIELDS[1]], LISTS)

    assert (list(missing.fields), missing.unfit.keys()) == ([], {"NOTE"})


async def test_a_field_that_exists_with_another_type_is_named_with_a_reason(
    esp: Esp, harness: Harness
) -> None:
    if not harness.row.typed:
        pytest.skip("its fields have no types")
    await esp.push([Contact(1, ADA, FULL)])

    refused = await harness.connect().prepare([Field("NOTE", FieldType.NUMBER, "Note"), FIELDS[1]], [FANS])

    assert refused.keys() == {"NOTE"}
    assert "text" in refused["NOTE"] or "string" in refused["NOTE"]


async def test_impossible_names_are_returned_with_a_reason_and_the_others_are_made(harness: Harness) -> None:
    fields, lists = harness.row.impossible
    if not fields and not lists:
        pytest.skip("any name will do")
    strange = [Field(name, FieldType.TEXT, name) for name in fields]

    refused = await harness.connect().prepare([*strange, *FIELDS], [*lists, *LISTS])

    assert refused.keys() == {*fields, *lists}
    assert all(reason.strip() for reason in refused.values())
    assert await (await harness.ready()).push([Contact(1, ADA, FULL)]) == []


# Lists


async def test_members_join_and_leave_and_may_do_so_again(esp: Esp, harness: Harness) -> None:
    await esp.push(people(FEW))
    first, second, third = members(people(FEW))

    for _ in range(2):
        assert await esp.change_list(FANS, [first, second], []) == []
        assert await esp.change_list(OTHERS, [first], []) == []
        assert await esp.change_list(FANS, [third], [first]) == []

    shown = harness.everybody()
    assert [shown[each.email].lists for each in (first, second, third)] == [{OTHERS}, {FANS}, {FANS}]
    assert all(each.fields for each in shown.values())


async def test_a_thousand_join_and_leave_in_batches_of_the_size_that_is_told(
    esp: Esp, harness: Harness
) -> None:
    crowd = people(harness.row.crowd)
    assert await push_all(esp, crowd) == []

    assert await change_all(esp, FANS, members(crowd)) == []
    assert all(each.lists == {FANS} for each in harness.everybody().values())

    assert await change_all(esp, FANS, [], members(crowd[100:])) == []
    assert sum(each.lists == {FANS} for each in harness.everybody().values()) == 100


async def test_who_is_not_there_joins_nothing_and_costs_the_others_nothing(
    esp: Esp, harness: Harness
) -> None:
    crowd = people(FEW)
    await esp.push(crowd)

    refusals = await esp.change_list(FANS, [Member(9, "ghost@example.com"), *members(crowd)], [])

    assert all(harness.shown(each.email).lists == {FANS} for each in crowd)
    assert {each.profile for each in refusals} <= {9}
    assert "ghost@example.com" not in harness.mailable


async def test_leaving_a_list_as_nobody_it_knows_is_done_already(esp: Esp, harness: Harness) -> None:
    await esp.push(people(FEW))

    assert await esp.change_list(FANS, [], [Member(9, "ghost@example.com"), *members(people(FEW))]) == []

    assert not any(each.lists for each in harness.everybody().values())


# Bad records


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
async def test_bad_records_are_told_and_the_others_land(
    esp: Esp, harness: Harness, *, count: int, known: bool
) -> None:
    crowd = people(min(count, esp.traits.batch_size))
    bad = {crowd[place].profile for place in (0, len(crowd) // 2, -1)}
    if known:
        await esp.push(crowd)
    harness.refuse(each.email for each in crowd if each.profile in bad)

    refusals = await esp.push([replace(each, fields={"ORDERS": 99}, known=known) for each in crowd])

    assert sorted((each.profile, each.blame) for each in refusals) == sorted((n, Blame.CONTACT) for n in bad)
    assert all(each.reason and "@" not in each.reason for each in refusals)
    landed = {email for email, shown in harness.everybody().items() if shown.fields.get("ORDERS") == "99"}
    assert landed == {each.email for each in crowd if each.profile not in bad}


# Consent


async def test_a_new_contact_is_mailable_with_proof_only(esp: Esp, harness: Harness, count: int) -> None:
    crowd = {each: [replace(c, email=f"{each}-{c.email}") for c in people(count, each)] for each in Subscribe}
    if not esp.traits.can_ask:
        del crowd[Subscribe.ASK]
    numbered = [replace(c, profile=n) for n, c in enumerate(itertools.chain(*crowd.values()))]

    assert await push_all(esp, numbered) == []

    assert harness.mailable == {each.email for each in crowd[Subscribe.YES]}


async def test_stop_takes_the_subscription_away_and_nothing_brings_it_back(
    esp: Esp, harness: Harness, count: int
) -> None:
    """With a field to write beside it and without."""
    crowd = [replace(each, fields={"ORDERS": 5} if each.profile % 2 else {}) for each in people(count)]
    await push_all(esp, crowd)
    assert len(harness.mailable) == count

    for subscribe in (Subscribe.STOP, Subscribe.NO, Subscribe.YES):
        again = [replace(each, subscribe=subscribe, known=True) for each in crowd]
        assert {each.blame for each in await push_all(esp, again)} <= {Blame.OPTED_OUT}

        assert harness.mailable == set()


async def test_P4_whoever_the_esp_does_not_mail_stays_so(esp: Esp, harness: Harness, count: int) -> None:
    """However they left, whatever our proofs say, whether we know them or not."""
    ways = itertools.product(harness.row.departures, Subscribe, (False, True))
    gone = [
        Contact(n, f"{how}-{subscribe}-{known}@example.com".lower(), {"ORDERS": 1}, subscribe, known)
        for n, (how, subscribe, known) in enumerate(ways, 1000)
    ]
    for each in gone:
        harness.add(each.email)
        harness.depart(each.email.partition("-")[0], each.email)
    filler = people(count)

    await push_all(esp, [*filler, *gone])
    await change_all(esp, FANS, members(gone))

    assert harness.mailable == {each.email for each in filler}


@pytest.mark.parametrize("subscribe", [Subscribe.NO, Subscribe.STOP])
async def test_P4_who_came_by_themselves_is_not_touched_without_a_stop(
    esp: Esp, harness: Harness, subscribe: Subscribe
) -> None:
    harness.add(ADA)

    await esp.push([Contact(1, ADA, {"ORDERS": 1}, subscribe)])

    assert harness.mailable == ({ADA} if subscribe is Subscribe.NO else set())
    assert harness.shown(ADA).fields == {"ORDERS": "1"}


SAID = {
    "from_store": {"yes": Subscribe.YES, "never asked": Subscribe.NO, "taken back": Subscribe.STOP},
    "double_opt_in": {"yes": Subscribe.ASK, "never asked": Subscribe.NO, "taken back": Subscribe.STOP},
    "never_subscribe": {"yes": Subscribe.NO, "never asked": Subscribe.NO, "taken back": Subscribe.NO},
}
"""Consent setting -> the store's newest word -> what a push may do."""
pushes = st.builds(
    lambda email, setting, word, fields, was: Contact(
        1, email, fields, SAID[setting][word], was is not None, was
    ),
    st.sampled_from(EMAILS),
    st.sampled_from(sorted(SAID)),
    st.sampled_from(["yes", "never asked", "taken back"]),
    st.sampled_from([{}, {"ORDERS": 1}, {"NOTE": None}]),
    st.none() | st.sampled_from(EMAILS),
)
doings = st.tuples(st.sampled_from(["sign up", "depart", "join"]), st.sampled_from(EMAILS), st.integers(0, 9))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(pushes | doings, min_size=2, max_size=7))
async def test_P4_nobody_becomes_mailable_without_proof(
    steps: Sequence[Contact | tuple[str, str, int]], fresh: Callable[[], Harness]
) -> None:
    async with fresh().life() as harness:
        esp = await harness.ready()
        departed: set[str] = set()  # some may never come back
        for step in steps:
            before, there = harness.mailable, set(harness.everybody())
            if isinstance(step, Contact):
                await esp.push([step])
                assert harness.mailable <= before | may_become_mailable(step, before, there)
            elif step[0] == "join":
                await esp.change_list(FANS, [Member(1, step[1])], [])
                assert harness.mailable <= before
            elif step[0] == "sign up" and step[1] not in there | departed:
                harness.add(step[1])
            elif step[0] == "depart" and step[1] in there:
                ways = sorted(harness.row.departures)
                harness.depart(ways[step[2] % len(ways)], step[1])
                departed.add(step[1])


def may_become_mailable(contact: Contact, before: set[str], there: set[str]) -> set[str]:
    """Allow a new contact with proof, or one whose old address could be mailed."""
    moved = contact.was in there and contact.was != contact.email
    allowed = contact.was in before if moved else contact.subscribe is Subscribe.YES
    return {contact.email} if allowed and contact.email not in there else set()


async def test_opt_outs_tell_who_opted_out_and_nobody_whom_we_created_without_proof(
    esp: Esp, harness: Harness
) -> None:
    for how in harness.row.departures:
        harness.add(f"{how}@example.com")
        harness.depart(how, f"{how}@example.com")
    harness.add(BOB)
    await push_all(
        esp, [*people(harness.row.many, Subscribe.NO), Contact(999, EVE, {"ORDERS": 1}, Subscribe.YES)]
    )

    everybody = await told(harness.connect())
    lately = await told(esp, datetime.now(UTC) - timedelta(days=1))

    assert everybody == lately == {f"{how}@example.com" for how in harness.row.told}


# Erasing


async def test_somebody_is_erased_whatever_their_standing_and_nobody_else_is(
    esp: Esp, harness: Harness
) -> None:
    if not isinstance(esp, Eraser):
        pytest.skip("it cannot, and is no Eraser")
    departed = [f"{how}@example.com" for how in harness.row.departures if how != "forgotten"]
    for email in departed:
        harness.add(email)
        harness.depart(email.partition("@")[0], email)
    await push_all(esp, [Contact(1, ADA, FULL, Subscribe.YES), Contact(2, BOB, FULL)])
    await esp.change_list(FANS, [Member(1, ADA), Member(2, BOB)], [])

    for email in (ADA.upper(), *departed, "ghost@example.com", "o'hara+x/y@example.com"):
        await esp.erase(email)

    assert harness.everybody().keys() == {BOB}
    assert harness.shown(BOB).lists == {FANS}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_erasing_survives_any_fault_and_may_be_repeated(
    esp: Esp, harness: Harness, fault: Fault
) -> None:
    if not isinstance(esp, Eraser):
        pytest.skip("it cannot, and is no Eraser")
    for place in range(4):
        email = f"{place}@example.com"
        harness.add(email)
        fail_at(harness, place, fault)
        await esp.erase(email)

    await esp.erase("0@example.com")

    assert harness.everybody() == {}


@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_an_erasure_that_did_not_happen_is_raised_without_the_address(harness: Harness) -> None:
    setting, value = harness.row.wrong
    esp = harness.connect(**{setting: value})
    if not isinstance(esp, Eraser):
        pytest.skip("it cannot, and is no Eraser")
    harness.add(ADA)

    with pytest.raises(Refused) as raised:
        await esp.erase(ADA)

    assert "@" not in str(raised.value)
    assert harness.everybody().keys() == {ADA}


# Troubles


async def work(esp: Esp, count: int) -> None:
    """Create, update, and change lists; raise nothing."""
    crowd = people(count)
    assert await push_all(esp, crowd) == []
    updates = [replace(each, fields={"NOTE": "x", "ORDERS": None}, known=True) for each in crowd]
    assert await push_all(esp, updates) == []
    assert await change_all(esp, FANS, members(crowd)) == []
    assert await change_all(esp, FANS, [], members(crowd[:1])) == []


async def undisturbed(harness: Harness, count: int) -> tuple[object, int, int]:
    """Return what there is after the work, its extent, and the number of requests that it took."""
    async with harness.life():
        esp = await harness.ready()
        before = harness.requests()
        await work(esp, count)
        return harness.everybody(), harness.row.extent(harness.state), harness.requests() - before


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_a_fault_at_any_request_changes_nothing_in_the_end(
    fresh: Callable[[], Harness], fault: Fault
) -> None:
    everybody, extent, requests = await undisturbed(fresh(), 2)

    for place in places(requests, fault):
        harness = fresh()
        async with harness.life():
            esp = await harness.ready()
            fail_at(harness, place, fault)
            await work(esp, 2)

        assert (harness.everybody(), harness.row.extent(harness.state)) == (everybody, extent)
    assert harness.violations() == []


@pytest.mark.parametrize("fault", [FAULTS[name] for name in HARD], ids=HARD)
@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_a_fault_at_every_fourth_request_of_a_large_batch_changes_nothing(
    type_: str, fresh: Callable[[], Harness], fault: Fault
) -> None:
    many = ROWS[type_].many
    everybody, extent, requests = await undisturbed(fresh(), many)

    harness = fresh()
    async with harness.life():
        esp = await harness.ready()
        for place in range(0, requests, 4):
            fail_at(harness, place, fault)
        await work(esp, many)

    assert (harness.everybody(), harness.row.extent(harness.state)) == (everybody, extent)


def places(requests: int, fault: Fault) -> Sequence[int]:
    """Choose the requests to fail: each where the work is done, some where nothing is."""
    return range(0, requests, {Kind.ANSWER: 4, Kind.TRUNCATE: 3}.get(fault.kind, 1))


def fail_at(harness: Harness, place: int, fault: Fault) -> None:
    """Let one of the requests that come now fail."""
    assert harness.simulation
    first = harness.requests()
    simulation = harness.simulation
    simulation.fail(fault, when=lambda _method, _path: len(simulation.requests) >= first + place)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_a_fault_while_renaming_makes_no_second_contact(
    fresh: Callable[[], Harness], fault: Fault
) -> None:
    """A rename may give up with a Retryable; sent again, it is done once."""
    for place in places(6, fault):
        harness = fresh()
        async with harness.life():
            esp = await harness.ready()
            await esp.push([Contact(1, ADA, FULL, Subscribe.YES)])
            await esp.change_list(FANS, [Member(1, ADA)], [])
            fail_at(harness, place, fault)
            renamed = Contact(1, EVE, {"ORDERS": 4}, Subscribe.YES, known=True, was=ADA, change="c2")
            try:
                refusals = await esp.push([renamed])
            except Retryable:
                refusals = await esp.push([renamed])

        assert anew(refusals) <= {1}
        assert harness.everybody().keys() == {EVE}
        assert harness.shown(EVE).lists == {FANS}
        assert harness.shown(EVE).fields == texts(**{**FULL, "ORDERS": 4})


@pytest.mark.parametrize(
    ("type_", "trouble"),
    [(type_, trouble) for type_, row in ROWS.items() for trouble in row.jobs],
    indirect=["type_"],
)
async def test_contacts_land_whatever_becomes_of_a_background_job(
    esp: Esp, harness: Harness, trouble: str
) -> None:
    assert harness.simulation
    harness.row.jobs[trouble](harness.simulation)
    crowd = [
        replace(each, subscribe=Subscribe.YES if each.profile % 2 else Subscribe.NO)
        for each in people(harness.row.many)
    ]

    assert await push_all(esp, crowd) == []
    assert await push_all(esp, [replace(each, fields={"ORDERS": 99}, known=True) for each in crowd]) == []

    assert {email: shown.fields for email, shown in harness.everybody().items()} == {
        each.email: {"ORDERS": "99"} for each in crowd
    }
    assert harness.mailable == {each.email for each in crowd if each.subscribe is Subscribe.YES}


async def test_what_is_sent_again_after_a_kill_leaves_the_same_contacts(
    esp: Esp, harness: Harness, count: int
) -> None:
    crowd = [replace(each, change=f"c{each.profile}") for each in people(count)]
    crowd[1] = replace(crowd[1], subscribe=Subscribe.NO)
    await push_all(esp, crowd)
    await change_all(esp, FANS, members(crowd))
    once, extent = harness.everybody(), harness.row.extent(harness.state)

    restarted = harness.connect()
    assert await push_all(restarted, crowd) == []
    assert await change_all(restarted, FANS, members(crowd)) == []

    assert (harness.everybody(), harness.row.extent(harness.state)) == (once, extent)


@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_an_esp_that_stays_down_is_raised_and_nothing_is_refused(harness: Harness, esp: Esp) -> None:
    assert harness.simulation
    harness.simulation.fail(Fault(status=503), times=10_000)

    with pytest.raises(Retryable) as raised:
        await esp.push(people(FEW))

    assert "@" not in str(raised.value)


async def test_a_wrong_key_is_said_with_the_setting_and_without_the_key(harness: Harness) -> None:
    setting, value = harness.row.wrong
    if setting == "path":
        value = str(Path(harness.settings["path"]).parent / value)
    esp = harness.connect(**{setting: value})

    try:
        said = list(await esp.check())
    except Refused as refused:
        said = [str(refused)]

    assert any(f"`{setting}`" in sentence for sentence in said)
    assert not any("@" in each for each in said)
    assert setting == "path" or not any(value in sentence for sentence in said)


@pytest.mark.parametrize("type_", HTTP, indirect=True)
async def test_a_wrong_key_refuses_a_push_as_a_whole_and_says_no_address(harness: Harness) -> None:
    setting, value = harness.row.wrong
    esp = harness.connect(**{setting: value})

    with pytest.raises(ConnectorError) as raised:
        await esp.push(people(FEW))

    assert isinstance(raised.value, Refused)
    assert "@" not in str(raised.value)
    assert value not in str(raised.value)
    assert harness.everybody() == {}


async def test_a_right_key_has_nothing_to_say(harness: Harness) -> None:
    assert await harness.connect().check() == []


# Traits


@pytest.mark.parametrize("kind", list(FieldType))
async def test_every_field_type_that_is_told_can_be_made_written_and_cleared(
    esp: Esp, harness: Harness, kind: FieldType
) -> None:
    if kind not in esp.traits.field_types:
        pytest.skip("it has no such fields, and says so")
    values: dict[FieldType, Value] = {
        FieldType.TEXT: "x",
        FieldType.NUMBER: Decimal("1.5"),
        FieldType.DATE: date(2026, 1, 2),
        FieldType.BOOLEAN: True,
    }

    assert await esp.prepare([*FIELDS, Field("EXTRA", kind, "Extra")], LISTS) == {}
    assert await esp.push([Contact(1, ADA, {"EXTRA": values[kind], "NOTE": "x"})]) == []
    assert await esp.push([Contact(1, ADA, {"EXTRA": None}, known=True)]) == []

    assert harness.shown(ADA).fields == {"NOTE": "x"}


async def test_nothing_to_do_is_done(esp: Esp, harness: Harness) -> None:
    assert await esp.push([]) == []
    assert await esp.change_list(FANS, [], []) == []
    assert await told(esp) == set()

    assert harness.everybody() == {}


async def test_it_closes_twice(esp: Esp) -> None:
    await esp.aclose()
    await esp.aclose()


# Auditing


async def read_back(esp: Esp) -> dict[str, Held]:
    assert isinstance(esp, Audited)
    pages = [page async for page in esp.contacts(FIELDS, LISTS)]
    return {held.email: held for page in pages for held in page}


def as_held(esp: Esp, fields: Mapping[str, Value]) -> dict[str, str]:
    """Write fields as they are to come back."""
    assert isinstance(esp, Audited)
    named = {field.name: field for field in FIELDS}
    texts = {name: esp.as_held(named[name], value) for name, value in fields.items()}
    return {name: value for name, value in texts.items() if value}


async def test_everybody_is_read_back_as_they_were_accepted(esp: Esp, harness: Harness, count: int) -> None:
    if not isinstance(esp, Audited):
        pytest.skip("it cannot be read, and is no Audited")
    values = [*VALUES, *({"NOTE": long} for long in LONG), {"NOTE": "  spaces  "}, FULL]
    crowd = [
        replace(each, fields=dict(fields), subscribe=Subscribe.YES if each.profile % 2 else Subscribe.NO)
        for each, fields in zip(people(max(count, len(values))), itertools.cycle(values), strict=False)
    ]
    refused = {(refusal.profile, refusal.name) for refusal in await push_all(esp, crowd)}
    await change_all(esp, FANS, members(crowd[::3]))
    await change_all(esp, OTHERS, members(crowd[:1]))

    held = await read_back(harness.connect())

    assert held.keys() == {each.email for each in crowd}
    for each in crowd:
        kept = {name: value for name, value in each.fields.items() if (each.profile, name) not in refused}
        assert held[each.email].fields == as_held(esp, kept)
        assert held[each.email].mailable == (each.subscribe is Subscribe.YES)
    assert {email for email, each in held.items() if FANS in each.lists} == {
        each.email for each in crowd[::3]
    }
    assert held[crowd[0].email].lists == {FANS, OTHERS}


async def test_whoever_departed_is_read_back_as_unmailable_and_cleared_fields_are_not(
    esp: Esp, harness: Harness
) -> None:
    if not isinstance(esp, Audited):
        pytest.skip("it cannot be read, and is no Audited")
    ways = [how for how in harness.row.departures if how != "forgotten"]
    for how in ways:
        harness.add(f"{how}@example.com")
        harness.depart(how, f"{how}@example.com")
    await esp.push([Contact(1, ADA, FULL, Subscribe.YES)])
    await esp.push([Contact(1, ADA, dict.fromkeys(FULL), known=True)])

    held = await read_back(harness.connect())

    assert {email for email, each in held.items() if each.mailable} == {ADA}
    assert held.keys() == {ADA, *(f"{how}@example.com" for how in ways)}
    assert held[ADA].fields == {} == as_held(esp, dict.fromkeys(FULL))


async def test_reading_back_makes_nothing(fresh: Callable[..., Harness]) -> None:
    harness = fresh(bare=True)
    async with harness.life():
        esp = harness.connect()
        if not isinstance(esp, Audited):
            pytest.skip("it cannot be read, and is no Audited")
        harness.add(ADA)
        before = list(harness.row.made(harness.state))

        held = await read_back(esp)

    assert held[ADA].fields == {}
    assert list(harness.row.made(harness.state)) == before
    assert harness.violations() == []


@pytest.mark.parametrize("subscribe", Subscribe)
async def test_whom_it_makes_anew_it_tells_and_nobody_else(
    esp: Esp, harness: Harness, count: int, subscribe: Subscribe
) -> None:
    if harness.row.vanish is None or subscribe is Subscribe.ASK:
        pytest.skip("nobody is gone there without a trace, or whom we asked is not made again")
    crowd = people(count)
    await push_all(esp, crowd)
    lost = {each.profile: each for each in (crowd[0], crowd[-1])}
    for each in lost.values():
        harness.row.vanish(harness.state, each.email)

    known = [replace(each, subscribe=subscribe, known=True, fields={"NOTE": "x"}) for each in crowd]
    found = anew(await push_all(esp, known))
    again = anew(await push_all(esp, known))

    assert (found, again) == (set(lost), set())


async def test_P4_who_was_deleted_there_comes_back_unmailable_without_a_word(
    esp: Esp, harness: Harness, count: int
) -> None:
    if not isinstance(esp, Eraser):
        pytest.skip("nobody is deleted there")
    crowd = people(count)
    await push_all(esp, crowd)
    for each in crowd:
        await esp.erase(each.email)

    await push_all(esp, [replace(each, subscribe=Subscribe.NO, known=True) for each in crowd])

    assert harness.mailable == set()


async def test_P3_whose_addresses_were_exchanged_have_anothers_contacts(harness: Harness) -> None:
    esp = await harness.ready()
    ada, bob = "ada@example.com", "bob@example.com"
    await push_all(esp, [Contact(1, ada, {"NOTE": "a"}), Contact(2, bob, {"NOTE": "b"})])

    said = await push_all(
        esp, [Contact(1, bob, {}, known=True, was=ada), Contact(2, ada, {}, known=True, was=bob)]
    )

    assert anew(said) == ({1, 2} if isinstance(esp, Audited) else set())
