"""Settings -> everything wired. The only place that knows how parts are made."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from config import logging as logs
from config import yaml
from config.errors import ConfigError, Problem
from config.settings import MAIN_FILE, EspConfig, Loaded, Settings, load
from connectors import registry
from connectors.base import Esp, Store, Traits
from mappings import model
from mappings.compile import CompiledMapping, compile_mapping
from mappings.errors import MappingError, MappingProblem, did_you_mean
from mappings.naming import Fitted, fit
from mappings.traits import check_traits
from mappings.uses import names_of
from state.db import Database
from state.outbox import Target
from state.scope import Scope
from sync.job import Job
from sync.pull import Source
from sync.run import Sync

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
            folder, registry.store_types(), registry.esp_types(), os.environ if environ is None else environ
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


class Cartwire:
    """Everything that a command needs, open: state store, stores, ESPs, syncs. An async context manager.

    A state store that is handed in stays open at the end.
    """

    def __init__(self, plant: Plant, db: Database | None = None) -> None:
        settings = plant.settings
        self.plant = plant
        self.folder = settings.folder
        self.db = db or Database(settings.database_url)
        self._own_db = db is None
        self.stores: dict[str, Store] = {
            name: registry.store_types()[store.type](store.settings)
            for name, store in settings.stores.items()
        }
        self.esps: dict[str, Esp] = {
            name: registry.esp_types()[esp.type](esp.settings) for name, esp in settings.esps.items()
        }
        self.syncs = {name: self._sync(name) for name in settings.syncs}
        self.read_stores = frozenset(source.name for sync in self.syncs.values() for source in sync.sources)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections, and the state store that was opened here."""
        async with AsyncExitStack() as stack:
            if self._own_db:
                stack.callback(self.db.close)
            for store in self.stores.values():
                stack.push_async_callback(store.aclose)
            for esp in self.esps.values():
                stack.push_async_callback(esp.aclose)

    def _sync(self, name: str) -> Sync:
        settings = self.plant.settings
        sync = settings.syncs[name]
        job = Job(
            Target(name, sync.esp, sync.consent, _place(settings.esps[sync.esp])),
            scope_of(settings, name),
            self.plant.mappings[name],
            ZoneInfo(settings.timezone),
            sync.refresh,
        )
        sources = [Source(store, self.stores[store]) for store in sync.stores]
        return Sync(job, sources, self.esps[sync.esp], sync.limits)


def set_up_logging(secrets: Iterable[str], *, json: bool, level: str) -> None:
    """Log to standard error, with these secrets cut out of everything (P8)."""
    logs.configure(json=json, level=level, secrets=secrets)


def _place(esp: EspConfig) -> str:
    """Tell one audience or account from another by what the owner wrote."""
    telling = registry.esp_types()[esp.type].traits.place
    return repr((esp.type, sorted((name, str(getattr(esp.settings, name))) for name in telling)))


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
