import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Blame, Contact, Refusal
from connectors.errors import RemoteFault
from connectors.writing import (
    folded,
    halves,
    is_renamed,
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
