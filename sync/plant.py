"""Settings -> mappings compiled for their ESPs. Opens nothing, so that `check` need not load what would.

Every problem of every file is found in one reading (P7).
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config import yaml
from config.errors import ConfigError, Problem
from config.settings import MAIN_FILE, Loaded, Settings, load
from connectors import registry
from connectors.base import Traits
from mappings import model
from mappings.compile import CompiledMapping, compile_mapping
from mappings.errors import MappingError, MappingProblem, did_you_mean
from mappings.naming import Fitted, fit
from mappings.traits import check_traits
from mappings.uses import names_of
from state.scope import Scope

PRESET = "preset:"


@dataclass(frozen=True)
class Plant:
    """A configuration that holds, with its mappings compiled; nothing is opened yet."""

    loaded: Loaded
    mappings: Mapping[str, CompiledMapping]

    @property
    def settings(self) -> Settings:
        return self.loaded.settings


def read_plant(folder: Path, environ: Mapping[str, str] | None = None) -> Plant:
    """Read a folder's configuration and compile its mappings. Raises ConfigError with every problem (P7)."""
    try:
        loaded = load(
            folder,
            registry.store_settings(),
            registry.esp_settings(),
            os.environ if environ is None else environ,
        )
    except ConfigError as error:
        raise ConfigError([*error.problems, *_judge_mappings(error.documents, folder)]) from None
    problems: list[Problem] = []
    notes: list[Problem] = []
    compiled: dict[str, CompiledMapping | None] = {}
    for name, sync in loaded.settings.syncs.items():
        traits = _traits(loaded.settings, sync.esp)
        document = loaded.documents[sync.mapping]
        compiled[name], said = _for_esp(document, loaded.settings, name, problems)
        notes += said
        if sync.consent == "double_opt_in" and not traits.can_ask:
            what = f"`{sync.esp}` cannot ask for a confirmation by mail"
            instead = "write `from_store`, which subscribes with proof from the store, or `never_subscribe`"
            if traits.ask_needs:
                instead = f"give it {traits.ask_needs}, or {instead}"
            problems.append(loaded.documents[MAIN_FILE].problem(("syncs", name, "consent"), what, instead))
    problems += _files(loaded)
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    loaded = replace(loaded, warnings=(*loaded.warnings, *_limits(loaded), *dict.fromkeys(notes)))
    return Plant(loaded, {name: mapping for name, mapping in compiled.items() if mapping})


def read_other_mapping(plant: Plant, sync: str, file: Path) -> CompiledMapping:
    """Compile a mapping that no sync uses as yet, for the ESP of this one. Raises ConfigError with every problem.

    `file` is relative to where one stands, or else to the configuration's folder.
    """
    folder = plant.settings.folder
    path = file if file.is_file() else folder / file
    document = yaml.read(path, os.path.relpath(path, folder))
    problems = list(document.problems)
    compiled = None if problems else _for_esp(document, plant.settings, sync, problems)[0]
    if problems or compiled is None:
        raise ConfigError(dict.fromkeys(problems))
    return compiled


def _for_esp(
    document: yaml.Document, settings: Settings, sync: str, problems: list[Problem]
) -> tuple[CompiledMapping | None, list[Problem]]:
    """Compile a mapping for a sync and hold it against its ESP; return what else is to be said of it."""
    esp = settings.syncs[sync].esp
    traits = _traits(settings, esp)
    read = _read(document, settings.folder, problems)
    fitted = fit(read.mapping, traits, esp) if read else None
    mapping = _compiled(document, fitted, scope_of(settings, sync), problems)
    if read is None or fitted is None or mapping is None:
        return None, []
    found = [_as_written(each, fitted) for each in check_traits(mapping, traits, esp)]
    problems += [_problem(document, problem) for problem in found]
    notes = (*fitted.notes, *_unused(document, read.mapping))
    return mapping, [_problem(document, note) for note in notes]


def _traits(settings: Settings, esp: str) -> Traits:
    return registry.esp_traits(settings.esps[esp].type, settings.esps[esp].settings)


def _files(loaded: Loaded) -> Iterator[Problem]:
    """Find files that are read as a store's orders and would be written as an ESP's contacts."""
    read = {
        file.resolve(): name
        for name, store in loaded.settings.stores.items()
        if (file := getattr(store.settings, "file", None))
    }
    for name, esp in loaded.settings.esps.items():
        file = getattr(esp.settings, "file", None)
        if file and file.resolve() in read:
            what = f"is the file that the store `{read[file.resolve()]}` is read from"
            yield loaded.documents[MAIN_FILE].problem(("esps", name, "path"), what, "name another")


def _limits(loaded: Loaded) -> Iterator[Problem]:
    """Warn of what an ESP cannot do though no setting asks for it: customers will."""
    for name, sync in loaded.settings.syncs.items():
        if not _traits(loaded.settings, sync.esp).can_rename:
            what = f"`{sync.esp}` cannot change a contact's address"
            instead = "whoever changes theirs becomes a new contact, and the old one is retired"
            yield loaded.documents[MAIN_FILE].problem(("syncs", name, "esp"), what, instead)


def _judge_mappings(documents: Mapping[str, yaml.Document], folder: Path) -> list[Problem]:
    """Find what is wrong in the mappings although cartwire.yaml cannot be used; any currency serves."""
    problems: list[Problem] = []
    for name, document in documents.items():
        if name != MAIN_FILE and not document.problems:
            _compiled(document, _read(document, folder, problems), Scope("", (), "", "EUR"), problems)
    return list(dict.fromkeys(problems))


def _read(document: yaml.Document, folder: Path, problems: list[Problem]) -> Fitted | None:
    """Read a mapping under the names that it is written with."""
    try:
        return Fitted(_mapping(document, folder), {}, ())
    except MappingError as error:
        problems += [_problem(document, problem) for problem in error.problems]
    except ConfigError as error:
        problems += error.problems
    return None


def _compiled(
    document: yaml.Document, fitted: Fitted | None, scope: Scope, problems: list[Problem]
) -> CompiledMapping | None:
    if fitted is None:
        return None
    try:
        return compile_mapping(fitted.mapping, currency=scope.currency, scope=scope)
    except MappingError as error:
        problems += [_problem(document, _as_written(problem, fitted)) for problem in error.problems]
    return None


def _as_written(problem: MappingProblem, fitted: Fitted) -> MappingProblem:
    """Lead a problem of a field or list back to the name that stands in the file."""
    section, *rest = problem.path
    if not rest:
        return problem
    written = fitted.written.get((section, rest[0]), rest[0])
    return replace(problem, path=(section, written, *rest[1:]))


def scope_of(settings: Settings, name: str) -> Scope:
    """Say what a sync's profiles rest on."""
    sync = settings.syncs[name]
    return Scope(name, tuple(sync.stores), sync.esp, settings.currency, settings.rates, settings.timezone)


def _mapping(document: yaml.Document, folder: Path, depth: int = 0) -> model.Mapping:
    """Read a mapping with what it extends."""
    raw: Any = document.data
    extends = raw.get("extends") if isinstance(raw, dict) else None
    if not isinstance(extends, str):
        return model.read_mapping(raw)
    if extends.startswith(PRESET):
        base = model.read_mapping(model.preset(extends.removeprefix(PRESET)))
        return model.read_mapping(raw, base)
    if depth > 8:
        what = "extends itself, or more than eight files deep"
        raise MappingError([MappingProblem(("extends",), what, "let a mapping extend a preset", None)])
    parent = folder / Path(document.name).parent / extends
    other = yaml.read(parent, os.path.relpath(parent, folder))
    if other.problems:
        raise ConfigError(other.problems)
    return model.read_mapping(raw, _mapping(other, folder, depth + 1))


def _unused(document: yaml.Document, mapping: model.Mapping) -> Iterator[MappingProblem]:
    """Warn of a file's own parameters and formulas that no expression names: a misspelt one changes nothing."""
    rules = [text for spec in mapping.list_specs().values() for text in (spec.when, spec.until) if text]
    values = [spec.value for spec in mapping.field_specs().values()]
    used = frozenset[str]().union(*map(names_of, (*rules, *values, *mapping.formulas.values())))
    for section in model.OWN_NAMES:
        for name in sorted((document.data.get(section) or {}).keys() - used):
            others = used & {*mapping.parameters, *mapping.formulas}
            yield MappingProblem((section, name), "no expression uses it", did_you_mean(name, others))


def _problem(document: yaml.Document, problem: MappingProblem) -> Problem:
    what = problem.what if problem.offset is None else f"{problem.what} (character {problem.offset + 1})"
    return document.problem(problem.path, what, problem.instead)
