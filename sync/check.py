"""`check`: is the configuration right. Loads nothing that opens a connection."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mappings.compile import Unknown
from sync.plant import Plant
from sync.show import as_json, say

REFUSED = 3


def show_checks(plant: Plant, problems: dict[str, list[str]], *, json: bool, offline: bool) -> int:
    """Print what was found; return the exit code."""
    warnings = [str(warning) for warning in plant.loaded.warnings]
    unknown = {name: list(mapping.unknown) for name, mapping in plant.mappings.items()}
    wrong = any(problems.values())
    if json:
        state = {"configuration": "good", "warnings": warnings, "unknown": unknown, "connections": problems}
        as_json(state)
        return REFUSED if wrong else 0
    for warning in warnings:
        say(f"warning: {warning}", err=True)
    say("configuration: good")
    for name, found in unknown.items():
        for line in unknown_lines(found):
            say(f"syncs.{name}: {line}")
    for name, said in problems.items():
        say(f"{name}: {'good' if not said else ''}".rstrip())
        for line in said:
            say(f"  {line}")
    if offline:
        say("connections: not tried")
    return REFUSED if wrong else 0


def unknown_lines(unknown: Sequence[Unknown]) -> Iterator[str]:
    """Say which fields and lists are unknown until something fills them, by what would (P12)."""
    waiting: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for each in unknown:
        waiting[each.section, " and ".join(dict.fromkeys(each.columns.values()))].append(each.name)
    for (section, provider), names in waiting.items():
        yield f"{section} unknown until there are {provider}: {', '.join(names)}"
