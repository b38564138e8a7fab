"""cartwire.yaml -> Settings: every mistake of every file at once, or everything checked (P7).

The connectors' own keys are checked by models of theirs, which the caller hands in: this package
knows no connector.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from config import checks
from config.errors import ConfigError, Problem, Wrong, suggestion
from config.model import EspConfig, Limits, Settings, StoreConfig, SyncConfig
from config.secrets import ENV_FILE, Filled, open_vault, refers
from config.sentences import Fault, check
from config.yaml import Document, Place, is_file, read

__all__ = ["MAIN_FILE", "EspConfig", "Limits", "Loaded", "Settings", "StoreConfig", "SyncConfig", "load"]

MAIN_FILE = "cartwire.yaml"
QUOTING = frozenset({"unknown type", "unknown store", "unknown ESP", "unknown time zone", "unknown currency"})
PLAIN = re.compile(r"[A-Za-z0-9_+./-]{1,40}")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration without a mistake. `documents` are the files read, by name as the owner wrote it.

    `secrets` are the values that no log may show.
    """

    settings: Settings
    warnings: tuple[Problem, ...]
    documents: Mapping[str, Document]
    secrets: frozenset[str] = field(repr=False)


def load(
    folder: Path,
    store_settings: Mapping[str, type[BaseModel]],
    esp_settings: Mapping[str, type[BaseModel]],
    environ: Mapping[str, str],
) -> Loaded:
    """Read cartwire.yaml, `.env` and the mapping files. Raises ConfigError with every problem of all of them.

    What stands in the mapping files is for `mappings` to judge; here they only have to be YAML.
    """
    file = folder / MAIN_FILE
    if not file.exists():
        what = f"does not exist in {folder.resolve()}"
        raise ConfigError([Problem(MAIN_FILE, None, "", what, "`cartwire init` writes one")])
    document = read(file, MAIN_FILE)
    filled = Filled(document, open_vault(folder, environ))
    if document.problems and not document.data:
        raise ConfigError([*document.problems, *filled.problems])
    loading = _Loading(folder, filled)
    settings = loading.settings(store_settings, esp_settings)
    documents = {MAIN_FILE: document, **loading.mappings()}
    problems = [*loading.problems, *(found for each in documents.values() for found in each.problems)]
    if settings is None or problems:
        raise ConfigError(problems, documents)
    warnings = (
        *_literals(settings, document),
        *_shared_names(settings, document),
        *_read_twice(settings, document),
    )
    return Loaded(settings, warnings, documents, frozenset(_secrets(settings)))


class _Loading:
    """From data to Settings, with the problems met on the way."""

    def __init__(self, folder: Path, filled: Filled) -> None:
        self.folder = folder
        self.data: dict[str, Any] = filled.data
        self.problems = list(filled.problems)
        self._document = filled.document
        self._unfilled = filled.unfilled

    def settings(
        self, store_settings: Mapping[str, type[BaseModel]], esp_settings: Mapping[str, type[BaseModel]]
    ) -> Settings | None:
        written = {
            **{key: value for key, value in self.data.items() if key != "folder"},
            "folder": self.folder,
            "stores": self._connectors("stores", store_settings, StoreConfig),
            "esps": self._connectors("esps", esp_settings, EspConfig),
        }
        if "folder" in self.data:
            self._say(("folder",), "unknown key", "call cartwire with --dir to name the folder")
        names = {"store": self._names("stores"), "ESP": self._names("esps"), "folder": self.folder}
        self._refuse_shared_names()
        settings, faults = check(Settings, written, names)
        self._say_all((), faults)
        return settings

    def mappings(self) -> dict[str, Document]:
        """Read the mapping files that there are; that one is missing has been said."""
        syncs = self.data.get("syncs")
        entries = syncs.values() if isinstance(syncs, dict) else ()
        named = [entry.get("mapping") for entry in entries if isinstance(entry, dict)]
        files = [file for file in named if isinstance(file, str) and is_file(self.folder / file)]
        return {file: read(self.folder / file, file) for file in files}

    def _connectors(
        self, section: str, types: Mapping[str, type[BaseModel]], config: type[StoreConfig | EspConfig]
    ) -> dict[str, StoreConfig | EspConfig]:
        entries = self.data.get(section)
        if not isinstance(entries, dict) or not entries:
            what = "is missing" if section not in self.data else "must be keys and values"
            self._say(
                (section,), what, "a name of your own, and indented below it `type:` and the type's keys"
            )
            return {}
        found = {name: self._connector((section, name), entry, types) for name, entry in entries.items()}
        return {name: config(type=made[0], settings=made[1]) for name, made in found.items() if made}

    def _connector(
        self, place: Place, entry: object, types: Mapping[str, type[BaseModel]]
    ) -> tuple[str, BaseModel] | None:
        self._check_name(place)
        if not isinstance(entry, dict):
            self._say(place, "must be keys and values", f"`type:` and its keys; {suggestion('', types)}")
            return None
        kind = entry.get("type")
        if kind is None:
            self._say((*place, "type"), "is missing", suggestion("", types))
            return None
        if not isinstance(kind, str) or kind not in types:
            self._say((*place, "type"), "unknown type", suggestion(str(kind), types))
            return None
        keys = {key: value for key, value in entry.items() if key != "type"}
        around = {"folder": self.folder, "timezone": self.data.get("timezone")}
        settings, faults = check(types[kind], keys, around)
        faults += _bad_addresses(keys, {fault.place for fault in faults})
        self._say_all(place, faults)
        return (kind, settings) if settings is not None and not faults else None

    def _check_name(self, place: Place) -> None:
        try:
            checks.name(str(place[-1]))
        except Wrong as wrong:
            self._say(place, wrong.what, wrong.instead)

    def _refuse_shared_names(self) -> None:
        """Let no store have the name of an ESP: of either's troubles the other would be kept waiting."""
        for name in set(self._names("stores")) & set(self._names("esps")):
            line = self._document.line_of(("stores", name))
            self._say(
                ("esps", name), f"the store on line {line} has this name too", "give each a name of its own"
            )

    def _names(self, section: str) -> Sequence[str]:
        entries = self.data.get(section)
        return list(entries) if isinstance(entries, dict) else []

    def _say_all(self, place: Place, faults: Sequence[Fault]) -> None:
        for fault in faults:
            self._say((*place, *fault.place), fault.what, fault.instead)

    def _say(self, place: Place, what: str, instead: str | None) -> None:
        """Note a problem, but for values that could not be filled in: that has been said.

        What is unknown is quoted as the file has it, if it can be a name and comes from nowhere else. Of a rate
        that is its key.
        """
        written = place[-1] if place[:1] == ("rates",) else _at(self._document.data, place)
        if what in QUOTING and isinstance(written, str) and PLAIN.fullmatch(written):
            what = f"{what} `{written}`"
        if place not in self._unfilled:
            self.problems.append(self._document.problem(place, what, instead))


def _bad_addresses(keys: Mapping[str, Any], known: set[Place]) -> list[Fault]:
    faults = []
    for key in ("url", "base_url"):
        if isinstance(keys.get(key), str) and (key,) not in known:
            try:
                checks.web_address(
                    keys[key], query=key == "url"
                )  # a hook has its token there; a shop refuses it
            except Wrong as wrong:
                faults.append(Fault((key,), wrong.what, wrong.instead))
    return faults


def _literals(settings: Settings, document: Document) -> Iterator[Problem]:
    """Warn of secrets that stand in the file itself."""
    for place, _ in _hidden(settings):
        written = _at(document.data, place)
        if isinstance(written, str) and not refers(written):
            instead = f"write `${{NAME}}` and set NAME in the environment or in {ENV_FILE}"
            yield document.problem(place, "a secret stands in the file", instead)


def _shared_names(settings: Settings, document: Document) -> Iterator[Problem]:
    """Warn of syncs that are named as a store or an ESP: their dead letters and alerts are told as one."""
    for name in settings.syncs:
        if name in settings.stores or name in settings.esps:
            what = "a store or an ESP has this name too: dead letters, alerts and metrics of both are told as one"
            yield document.problem(("syncs", name), what, "give each a name of its own")


def _read_twice(settings: Settings, document: Document) -> Iterator[Problem]:
    """Warn of a sync that reads one shop under two names."""
    for name, sync in settings.syncs.items():
        seen: dict[tuple[str, str], str] = {}
        for store in sync.stores:
            config = settings.stores[store]
            places = (getattr(config.settings, key, None) for key in ("url", "shop", "file"))
            first = seen.setdefault((config.type, str(next(filter(None, places), store))), store)
            if first != store:
                what = f"`{first}` and `{store}` are one shop: each of its orders would count twice"
                yield document.problem(("syncs", name, "stores"), what, "keep one of them")


def _at(data: Any, place: Place) -> Any:
    """Return what the file has at `place`, None for nothing; one value may stand for a list of one."""
    for part in place:
        if part == 0 and isinstance(data, str):
            return data
        inside = part in data if isinstance(data, dict) else isinstance(data, list)
        data = data[part] if inside else None
    return data


def _hidden(settings: Settings) -> Iterator[tuple[Place, str]]:
    """Find the values that are secret, with their places in cartwire.yaml."""
    password = urlsplit(settings.database).password
    if password:
        yield ("database",), unquote(password)
    for position, url in enumerate(settings.alerts):
        yield ("alerts", position), url.get_secret_value()
    for section, entries in (("stores", settings.stores), ("esps", settings.esps)):
        for name, config in entries.items():
            yield from _hidden_in(config.settings, (section, name))


def _hidden_in(model: BaseModel, place: Place) -> Iterator[tuple[Place, str]]:
    for key, info in type(model).model_fields.items():
        value = getattr(model, key)
        inner = (*place, info.alias or key)
        if isinstance(value, SecretStr) and value.get_secret_value():
            yield inner, value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _hidden_in(value, inner)
        elif isinstance(value, tuple):
            for position, one in enumerate(each for each in value if isinstance(each, SecretStr)):
                yield (*inner, position), one.get_secret_value()


def _secrets(settings: Settings) -> Iterator[str]:
    for _, secret in _hidden(settings):
        yield secret
    for url in settings.alerts:
        password = urlsplit(url.get_secret_value()).password
        if password:
            yield unquote(password)
