import asyncio
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Blame, Contact, Refusal
from connectors.errors import RemoteFault
from connectors.writing import (
    claims_of,
    folded,
    halves,
    is_renamed,
    is_taken,
    landed,
    parts,
    rename_rounds,
    sift,
    together,
    without_values,
)

NAMES = "abcdef"
moves = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)),
    max_size=6,
    unique_by=(lambda move: move[0], lambda move: move[1]),
)


def test_addresses_that_differ_in_more_than_case_are_of_two_people() -> None:
    assert folded(" Zoe@Example.com") == "zoe@example.com"
    assert folded("straße@example.com") != folded("strasse@example.com")


@given(moves)
def test_no_rename_goes_to_an_address_that_is_still_to_be_left(steps: Sequence[tuple[str, str]]) -> None:
    contacts = [Contact(n, new, {}, was=old) for n, (old, new) in enumerate(steps)]
    held = {contact.was for contact in contacts if is_renamed(contact)}

    for several in rename_rounds(contacts):
        assert all(contact.email not in held for contact in several)
        held -= {contact.was for contact in several}


@given(moves)
def test_who_is_not_renamed_at_last_is_part_of_a_ring(steps: Sequence[tuple[str, str]]) -> None:
    contacts = [Contact(n, new, {}, was=old) for n, (old, new) in enumerate(steps)]
    rest = {contact.profile for contact in contacts if is_renamed(contact)}
    rest -= {contact.profile for several in rename_rounds(contacts) for contact in several}

    ring = [contact for contact in contacts if contact.profile in rest]
    assert {contact.email for contact in ring} <= {contact.was for contact in ring}


@given(moves, st.sets(st.sampled_from(NAMES)))
async def test_no_address_that_was_come_to_is_retired_when_renames_are_done_again(
    steps: Sequence[tuple[str, str]], there: set[str]
) -> None:
    contacts = [Contact(n, new, {}, was=old) for n, (old, new) in enumerate(steps)]
    records = {name: f"record of {name}" for name in there | {old for old, _ in steps}}

    once = await renamed(contacts, records)

    assert await renamed(contacts, once) == once


async def renamed(contacts: Sequence[Contact], records: Mapping[str, str]) -> Mapping[str, str]:
    """Rename as connectors do: who comes to an address that is there gives their own up, unless it is taken."""
    left = dict(records)

    async def is_there(email: str) -> bool:
        return email in left

    for contact in (contact for several in rename_rounds(contacts) for contact in several):
        old = contact.was or ""
        if old in left and contact.email not in left:
            left[contact.email] = left.pop(old)
        elif old in left and not await is_taken(old, claims_of(contacts), is_there):
            del left[old]
    return left


async def test_who_is_new_at_an_address_may_have_been_there_before_a_kill() -> None:
    async def is_there(email: str) -> bool:
        return email in {"a", "b", "c"}

    chain = [Contact(1, "b", {}, was="a"), Contact(2, "c", {}, was="b")]

    assert not await is_taken("b", claims_of(chain), is_there)
    assert await is_taken("b", claims_of([*chain, Contact(3, "a", {})]), is_there)
    assert not await is_taken("a", claims_of([*chain, Contact(3, "a", {}, was="c")]), is_there)


@given(st.sets(st.integers(0, 30)), st.integers(0, 30))
async def test_sifting_finds_exactly_the_bad_and_lands_the_rest(bad: set[int], count: int) -> None:
    names = [str(number) for number in range(count)]
    written: set[str] = set()

    async def try_out(some: Sequence[str]) -> str | None:
        if any(int(name) in bad for name in some):
            return "no"
        written.update(some)
        return None

    found = await sift(names, try_out)

    assert found == {name: "no" for name in names if int(name) in bad}
    assert written == set(names) - found.keys()


async def test_the_first_error_of_many_jobs_is_raised_and_ends_the_others() -> None:
    ended = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise RemoteFault("down")

    with pytest.raises(RemoteFault, match="down"):
        await together([wait(), fail()])
    assert ended == [True]


async def test_results_come_in_the_order_of_the_jobs() -> None:
    async def answer(number: int) -> int:
        await asyncio.sleep(0)
        return number

    assert await together([answer(number) for number in range(5)]) == [0, 1, 2, 3, 4]
    assert await together([]) == []


def test_a_sequence_is_cut() -> None:
    assert list(parts(range(5), 2)) == [range(2), range(2, 4), range(4, 5)]
    assert halves([1, 2, 3]) == ([1], [2, 3])


def test_who_was_refused_as_a_whole_is_left_out() -> None:
    contacts = [Contact(1, "a", {"X": 1, "Y": 2}), Contact(2, "b", {}), Contact(3, "c", {})]
    refusals = [
        Refusal(1, Blame.FIELD, "no", "X"),
        Refusal(2, Blame.CONTACT, "no"),
        Refusal(3, Blame.BLOCKED, "no"),
    ]

    assert landed(contacts, refusals) == contacts[:1]


def test_values_are_cut_out_of_words_the_longest_first() -> None:
    assert without_values("no Ada, no Ada King, no 3", {"A": "Ada", "B": "Ada King", "C": 3}) == (
        "no …, no …, no 3"
    )
