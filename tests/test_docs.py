"""The docs are tested: their samples load, their links lead somewhere, and they leave out no setting."""

import pkgutil
import re
from collections.abc import Iterator
from configparser import RawConfigParser
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.core import TyperGroup
from typer.main import get_command

import connectors.esps
import connectors.stores
from config.model import Keep, Limits, Settings, SyncConfig, Web
from config.secrets import REFERENCE
from config.settings import load
from config.yaml import parse
from connectors.registry import esp_settings, store_settings
from sync.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in [*DOCS.rglob("*.md"), ROOT / "README.md"] if path.exists())
BLOCK = re.compile(r"^( *)```yaml\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
TYPES = [
    (package.__name__.rpartition(".")[2], module.name)
    for package in (connectors.stores, connectors.esps)
    for module in pkgutil.iter_modules(package.__path__)
]
MISSING = {
    "timezone": "timezone: Europe/Paris\n",
    "currency": "currency: EUR\n",
    "stores": "stores: {s: {type: woocommerce, url: https://shop.example, key: '${KEY}', secret: '${SECRET}'}}\n",
    "esps": "esps: {e: {type: mailchimp, api_key: '${KEY}', audience: abc123def4}}\n",
}
"""What a sample may leave out because its page is about something else."""


def blocks() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, found in enumerate(BLOCK.finditer(page.read_text()), start=1):
            text = re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)
            yield f"{page.relative_to(ROOT)}#{number}", text


BLOCKS = dict(blocks())
CONFIGURATIONS = {
    name: text for name, text in BLOCKS.items() if re.search(r"^(stores|esps):", text, re.MULTILINE)
}


def completed(text: str) -> str:
    """Add what a sample leaves out, down to a sync over all its stores."""
    found = parse(text.encode(), "sample").data
    text += "".join(line for key, line in MISSING.items() if key not in found)
    if "syncs" in found:
        return text
    known = parse(text.encode(), "sample").data
    esp = next(iter(known["esps"]))
    return f"{text}syncs: {{x: {{stores: [{', '.join(known['stores'])}], esp: {esp}, mapping: m.yaml}}}}\n"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_sample_of_a_configuration_loads(name, tmp_path):
    text = completed(CONFIGURATIONS[name])
    for file in ["m.yaml", *re.findall(r"mapping:\s*([\w/.-]+)", text)]:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("extends: preset:crm\n")
    (tmp_path / "cartwire.yaml").write_text(text)
    environ = {found[2]: "abcdef0123456789abcdef0123456789-us21" for found in REFERENCE.finditer(text)}
    environ |= {name: "abc123def4" for name in environ if "AUDIENCE" in name}

    loaded = load(tmp_path, store_settings(), esp_settings(), environ)

    assert loaded.settings.syncs


@pytest.mark.parametrize("name", BLOCKS)
def test_a_sample_of_yaml_is_yaml(name):
    document = parse(BLOCKS[name].encode(), name)

    only_remarks = not re.search(r"^[^#\n]", BLOCKS[name], re.MULTILINE)
    assert only_remarks or document.problems == ()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text()) if "://" not in target]

    dead = [target for target in targets if target and not (page.parent / target).exists()]

    assert dead == []


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_a_connector_has_its_page_with_every_setting_and_its_row(kind, name):
    settings = {"stores": store_settings, "esps": esp_settings}[kind]()[name]
    page = DOCS / "connectors" / f"{name}.md"
    rows = (DOCS / "connectors" / "README.md").read_text()

    assert page.exists()
    assert [key for key in settings.model_fields if f"`{key}`" not in page.read_text()] == []
    assert [key for key, info in settings.model_fields.items() if not info.description] == []
    assert re.search(rf"^\| `{name}` \|.*\]\({name}\.md\) \|$", rows, re.MULTILINE)


def written(default: object) -> str:
    """Write a default as an owner would."""
    if isinstance(default, Limits):
        return "on"
    shown = f"{default:.0%}" if isinstance(default, Decimal) else default
    return f"`{shown}`" if shown else "none"


def table(model: type[BaseModel]) -> str:
    """Write a model's keys as a Markdown table."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, info in model.model_fields.items():
        if info.annotation is Path:
            continue
        default = info.get_default(call_default_factory=True)
        shown = "required" if default is PydanticUndefined else written(default)
        lines.append(f"| `{key}` | {shown} | {info.description} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("model", [Settings, SyncConfig, Limits, Keep, Web])
def test_the_tables_of_keys_are_those_of_the_models(model):
    text = (DOCS / "configuration.md").read_text()

    (found,) = re.findall(rf"<!-- keys: {model.__name__} -->\n(.*?)<!-- end -->", text, re.DOTALL)

    assert found == f"\n{table(model)}\n", "write this table into docs/configuration.md"


def commands(group: TyperGroup, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def usage(name: str, command: Any) -> str:
    """Write one command as a row of a Markdown table; what `--json` does is the same everywhere."""
    words = [name]
    options = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            written = parameter.metavar or parameter.name.upper()
            words.append(written if parameter.required else f"[{written}]")
        else:
            flags = ", ".join(parameter.opts) + ("" if parameter.is_flag else " …")
            said = "" if flags == "--json" else f" {lowered(parameter.help)}"
            options.append(f"`{flags}`{said}")
    return f"| `{' '.join(words)}` | {lowered(command.help)} | {'<br>'.join(options)} |\n"


def lowered(sentence: str) -> str:
    """Make a sentence a table's words."""
    first = sentence if sentence[:2].isupper() else sentence[0].lower() + sentence[1:]
    return first.rstrip(".")


def test_the_table_of_commands_holds_every_command_and_option():
    text = (DOCS / "operations.md").read_text()
    everything = get_command(app)
    rows = [("cartwire", everything), *commands(everything)]

    (found,) = re.findall(r"<!-- commands -->\n(.*?)<!-- end -->", text, re.DOTALL)

    expected = "| command | what it does | options |\n|---|---|---|\n"
    expected += "".join(usage(name, command) for name, command in rows)
    assert found == f"\n{expected}\n", "write this table into docs/operations.md"


def test_the_systemd_unit_starts_the_worker_and_lets_it_end_a_batch():
    unit = RawConfigParser(strict=False, allow_no_value=True)
    unit.optionxform = str
    unit.read_string((DOCS / "cartwire.service").read_text())

    assert unit["Unit"]["StartLimitIntervalSec"] == "0"  # an outage at boot may last
    assert unit["Service"]["ExecStart"].endswith("/cartwire run")
    assert int(unit["Service"]["TimeoutStopSec"]) >= 30
    assert unit["Service"]["Environment"].startswith("CARTWIRE_DIR=")
    assert unit["Service"]["NoNewPrivileges"] == unit["Service"]["PrivateTmp"] == "yes"


def test_the_container_runs_as_nobody_on_a_file_system_that_it_cannot_write():
    service = parse((ROOT / "compose.yaml").read_bytes(), "compose.yaml").data["services"]["cartwire"]
    recipe = (ROOT / "Dockerfile").read_text()

    assert (service["init"], service["read_only"], service["cap_drop"]) == (True, True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"stop_grace_period", "logging", "restart", "tmpfs"} <= service.keys()
    assert "\nUSER 10001:10001\n" in recipe
    assert "\nHEALTHCHECK " in recipe
    assert "--require-hashes -r requirements.lock" in recipe
