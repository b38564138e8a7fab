"""`reenter`: when somebody's last entry no longer stands in the way of another."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from mappings.clock import Clock
from mappings.compile import compile_mapping
from mappings.errors import MappingError
from mappings.model import read_mapping
from mappings.reentry import ALWAYS, EVER, NOT_YET, read_reentry

PARIS = Clock(datetime(2026, 6, 30, 12, tzinfo=UTC), ZoneInfo("Europe/Paris"))


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("never", EVER),
        ("always", NOT_YET),
        ("after 1 hour", datetime(2026, 6, 30, 11, tzinfo=UTC)),
        ("after 90 days", datetime(2026, 4, 1, 12, tzinfo=UTC)),
        ("after 4 months", datetime(2026, 2, 28, 13, tzinfo=UTC)),  # noon in Paris, in winter
    ],
)
def test_an_entry_bars_another_as_long_as_the_owner_says(text: str, since: datetime) -> None:
    assert read_reentry(text).bars_since(PARIS) == since


def test_the_moment_from_which_somebody_may_enter_again_is_known() -> None:
    entered = datetime(2026, 6, 29, 12, tzinfo=UTC)

    opens = read_reentry("after 2 days").opens_at(entered, PARIS)

    assert opens is not None
    assert opens.replace(microsecond=0) == datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert read_reentry("after 1 day").opens_at(entered, PARIS) is None
    assert read_reentry("never").opens_at(entered, PARIS) is None


@pytest.mark.parametrize(
    "text", ["", "sometimes", "after 0 days", "after 90", "after 1 year", "after  1 day"]
)
def test_a_time_that_is_none_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(MappingError) as caught:
        read_mapping({"lists": {"A": {"when": "true", "journey": True, "reenter": text}}})

    (problem,) = caught.value.problems
    assert (problem.path, problem.what) == (("lists", "A", "reenter"), "is not understood")
    assert "after 90 days" in str(problem.instead)
    with pytest.raises(ValueError, match="says no time"):
        read_reentry(text)


def test_a_list_that_is_no_journey_has_no_way_back() -> None:
    with pytest.raises(MappingError) as caught:
        read_mapping({"lists": {"A": {"when": "true", "reenter": "never"}}})

    (problem,) = caught.value.problems
    assert (problem.path, problem.what) == (("lists", "A", "reenter"), "only a journey begins again")


def test_a_journey_is_told_from_another_by_its_rule_and_not_by_who_may_begin_it_again() -> None:
    lists = {
        "A": {"when": "orders_count >= 1", "journey": True},
        "B": {"when": "(orders_count  >= 1)", "trigger": "7", "reenter": "never"},
        "C": {"when": "orders_count >= 1", "journey": True, "reenter": "never"},
        "D": {"when": "orders_count >= 2", "journey": True},
    }

    a, b, c, d = compile_mapping(read_mapping({"lists": lists}), currency="EUR").lists

    assert (a.reenter, b.reenter.text) == (ALWAYS, "never")
    assert a.digest == c.digest
    assert len({a.digest, b.digest, d.digest}) == 3
