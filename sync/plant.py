"""Settings -> mappings compiled for their ESPs. Opens nothing, so that `check` need not load what would.

Every problem of every file is found in one reading (P7).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from config import yaml
from config.errors import ConfigError, Problem
from config.settings import MAIN_FILE, Loaded, Settings, load
from connectors import registry
from connectors.base import Traits
from connectors.files import FileSettings
from mappings import model
from mappings.compile import CompiledMapping, compile_mapping
from mappings.errors import MappingError, MappingProblem, did_you_mean
from mappings.naming import Fitted, fit
from mappings.traits import check_traits
from mappings.uses import names_of
from state.scope import Scope

PRESET = "preset:"
DEEPEST = 8

Chain = Sequence[yaml.Document]
"""A mapping's file, then what it extends, file by file."""


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
    warnings = (*loaded.warnings, *_limits(loaded), *_shared(loaded, compiled), *dict.fromkeys(notes))
    loaded = replace(loaded, warnings=warnings, documents={**loaded.documents, **_extended_files(loaded)})
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
    chain = _chain(document, settings.folder, problems)
    read = _read(chain, problems)
    fitted = fit(read.mapping, traits, esp) if read else None
    mapping = _compiled(chain, fitted, scope_of(settings, sync), problems)
    if read is None or fitted is None or mapping is None:
        return None, []
    found = [_as_written(each, fitted) for each in check_traits(mapping, traits, esp)]
    problems += [_problem(chain, problem) for problem in found]
    notes = [_problem(chain, note) for note in fitted.notes]
    for each in chain:
        notes += [_problem([each], note) for note in _unused(each, read.mapping)]
    return mapping, notes


def _traits(settings: Settings, esp: str) -> Traits:
    return registry.esp_traits(settings.esps[esp].type, settings.esps[esp].settings)


def _files(loaded: Loaded) -> Iterator[Problem]:
    """Find files that are read as a store's orders and would be written as an ESP's contacts."""
    read = {
        store.settings.file.resolve(): name
        for name, store in loaded.settings.stores.items()
        if isinstance(store.settings, FileSettings)
    }
    for name, esp in loaded.settings.esps.items():
        if isinstance(esp.settings, FileSettings) and (file := esp.settings.file.resolve()) in read:
            what = f"is the file that the store `{read[file]}` is read from"
            yield loaded.documents[MAIN_FILE].problem(("esps", name, "path"), what, "name another")


def _shared(loaded: Loaded, compiled: Mapping[str, CompiledMapping | None]) -> Iterator[Problem]:
    """Find syncs that write the same fields or lists into one ESP, where each would undo the other's."""
    syncs = loaded.settings.syncs
    for one, other in combinations(compiled, 2):
        first, second = compiled[one], compiled[other]
        if syncs[one].esp != syncs[other].esp or not first or not second:
            continue
        if both := sorted(_names(first) & _names(second)):
            some = ", ".join(both[:3]) + (", …" if len(both) > 3 else "")
            what = f"writes {some} into `{syncs[one].esp}`, and so does `{one}`: who is in both gets the figures of either"
            instead = "name all stores in one sync, or give each its own names"
            yield loaded.documents[MAIN_FILE].problem(("syncs", other, "mapping"), what, instead)


def _names(mapping: CompiledMapping) -> set[str]:
    return {each.name for each in mapping.fields} | {each.name for each in mapping.lists}


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
            chain = _chain(document, folder, problems)
            _compiled(chain, _read(chain, problems), Scope("", (), "", "EUR"), problems)
    return list(dict.fromkeys(problems))


def _read(chain: Chain, problems: list[Problem]) -> Fitted | None:
    """Read a mapping under the names that it is written with, on top of what it extends."""
    mapping: model.Mapping | None = None
    for document in reversed(chain):
        try:
            mapping = model.read_mapping(document.data, _preset(document) if mapping is None else mapping)
        except MappingError as error:
            problems += [_problem([document], problem) for problem in error.problems]
            return None
    return None if mapping is None else Fitted(mapping, {}, ())


def _compiled(
    chain: Chain, fitted: Fitted | None, scope: Scope, problems: list[Problem]
) -> CompiledMapping | None:
    if fitted is None:
        return None
    try:
        return compile_mapping(fitted.mapping, currency=scope.currency, scope=scope)
    except MappingError as error:
        problems += [_problem(chain, _as_written(problem, fitted)) for problem in error.problems]
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
    same = {store for other in settings.syncs.values() if other.esp == sync.esp for store in other.stores}
    others = {store for other in settings.syncs.values() for store in other.stores}
    return Scope(
        name,
        tuple(sync.stores),
        sync.esp,
        settings.currency,
        settings.rates,
        settings.timezone,
        tuple(sorted(others - same)),
    )


def _chain(document: yaml.Document, folder: Path, problems: list[Problem]) -> Chain:
    """Read the files that a mapping extends, one after the other; nothing where one of them cannot be read."""
    chain = [document]
    while (extends := _extended(chain[-1])) and not extends.startswith(PRESET):
        if len(chain) > DEEPEST:
            what = "extends itself, or more than eight files deep"
            problems.append(document.problem(("extends",), what, "let a mapping extend a preset"))
            return ()
        path = folder / Path(chain[-1].name).parent / extends
        if not path.exists():
            near = f"did you mean `{PRESET}{extends}`?" if extends in model.preset_names() else None
            what = f"the file `{extends}` does not exist"
            problems.append(
                chain[-1].problem(("extends",), what, near or f"name a file beside it, or `{PRESET}crm`")
            )
            return ()
        chain.append(yaml.read(path, os.path.relpath(path, folder)))
        if chain[-1].problems:
            problems += chain[-1].problems
            return ()
    return chain


def _extended_files(loaded: Loaded) -> dict[str, yaml.Document]:
    """Name the files that mappings extend: they are watched like those that cartwire.yaml names."""
    mappings = [loaded.documents[sync.mapping] for sync in loaded.settings.syncs.values()]
    return {each.name: each for document in mappings for each in _chain(document, loaded.settings.folder, [])}


def _extended(document: yaml.Document) -> str | None:
    extends = document.data.get("extends")
    return extends if isinstance(extends, str) else None


def _preset(document: yaml.Document) -> model.Mapping | None:
    """Read the preset that the last file of a chain extends, if it does."""
    extends = _extended(document)
    return model.read_mapping(model.preset(extends.removeprefix(PRESET))) if extends else None


def _unused(document: yaml.Document, mapping: model.Mapping) -> Iterator[MappingProblem]:
    """Warn of a file's own parameters and formulas that no expression names: a misspelt one changes nothing."""
    rules = [text for spec in mapping.list_specs().values() for text in (spec.when, spec.until) if text]
    values = [spec.value for spec in mapping.field_specs().values()]
    used = frozenset[str]().union(*map(names_of, (*rules, *values, *mapping.formulas.values())))
    for section in model.OWN_NAMES:
        for name in sorted((document.data.get(section) or {}).keys() - used):
            others = used & {*mapping.parameters, *mapping.formulas}
            yield MappingProblem((section, name), "no expression uses it", did_you_mean(name, others))


def _problem(chain: Chain, problem: MappingProblem) -> Problem:
    """Name the file in which it stands: the first that has such an entry, else the mapping's own."""
    what = problem.what if problem.offset is None else f"{problem.what} (character {problem.offset + 1})"
    document = next((each for each in chain if _has(each.data, problem.path[:2])), chain[0])
    return document.problem(problem.path, what, problem.instead)


def _has(data: Any, path: Sequence[Any]) -> bool:
    for part in path:
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
