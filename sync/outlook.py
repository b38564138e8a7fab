"""How a plan looks on a terminal. Addresses appear here, before the owner's eyes, and in no log."""

from collections.abc import Iterator, Sequence

from connectors.base import Value
from state.showing import Sample
from sync.compare import GONE, Comparison
from sync.preview import Preview
from sync.show import as_json, as_table, cell, say

Rows = Iterator[Sequence[object]]


def show_preview(found: Preview, *, json: bool) -> None:
    """Print a plan."""
    if json:
        as_json(found)
        return
    for name in found.unread:
        say(f"{name}: its history is not read to its end as yet: `cartwire backfill {found.sync}`")
    if found.comparison:
        _show_comparison(found.comparison)
    say(
        f"sync {found.sync} at {found.at:%Y-%m-%d %H:%M %Z}: {found.contacts} contacts to write "
        f"({found.created} of them new), {sum(change.count for change in found.lists)} list entries, "
        f"at least {found.writes} write requests"
    )
    if found.fields:
        header = ["field", "contacts", "first value", "another value", "cleared", "for example"]
        as_table("fields", header, _field_rows(found))
    if found.lists:
        as_table("lists", ["list", "", "contacts", "for example"], _list_rows(found))
    if found.unknown:
        unknown = [(each.section, each.name, each.profiles) for each in found.unknown]
        as_table(f"unknown, of {found.profiles} profiles", ["", "name", "profiles"], unknown)
    _show_missing(found)
    for line in found.held:
        say(f"would be held: {line}")


def _field_rows(found: Preview) -> Rows:
    for each in found.fields:
        yield each.name, each.count, each.sets, each.changes, each.clears, _samples(each.samples)


def _list_rows(found: Preview) -> Rows:
    for change in found.lists:
        yield change.name, "join" if change.joins else "leave", change.count, ", ".join(change.sample)


def _samples(samples: Sequence[Sample]) -> str:
    return "\n".join(f"{each.email}: {_value(each.before)} -> {_value(each.after)}" for each in samples)


def _value(value: Value) -> str:
    return "unknown" if value is None else cell(value)


def _show_missing(found: Preview) -> None:
    if found.unasked:
        say(f"what would be made at the ESP: {found.unasked}")
    for what, names in (("fields", found.missing.fields), ("lists", found.missing.lists)):
        if names:
            say(f"{what} that would be made at the ESP: {', '.join(names)}")
    for name, reason in found.missing.unfit.items():
        say(f"left out, {name}: {reason}")


def _show_comparison(found: Comparison) -> None:
    fields = ((each.name, each.what, each.count, each.type, _samples(each.samples)) for each in found.fields)
    title = f"the other mapping beside this one, over {found.profiles} profiles"
    as_table(title, ["field", "", "profiles", "type", "for example"], fields)
    lists = (
        (
            each.name,
            each.what,
            each.enters,
            each.leaves,
            ", ".join(["+" + who for who in each.enters_sample] + ["-" + who for who in each.leaves_sample]),
        )
        for each in found.lists
    )
    as_table("", ["list", "", "enter", "leave", "for example"], lists)
    kinds = {*(each.what for each in found.fields), *(each.what for each in found.lists)}
    if GONE in kinds:
        say("what is gone from the mapping stays at the ESP as it is; nothing changes it any more")
