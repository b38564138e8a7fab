"""JSON Schemas of cartwire.yaml and of the mapping files, for editors that complete and check while one types."""

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from config import checks
from config.model import Settings
from config.settings import MAIN_FILE

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAPPING_FILE = "mapping.schema.json"
REFERENCE = {"type": "string", "pattern": r"\$\{"}
"""`${NAME}` can stand for any scalar."""
TEXT = ["string", "number"]
"""What is text to us may look like a number to an editor: `0123456789`."""


def json_schema(
    store_settings: Mapping[str, type[BaseModel]],
    esp_settings: Mapping[str, type[BaseModel]],
    mapping_schema: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """Return file name -> schema. `type` decides which keys an entry below `stores` and `esps` takes."""
    schema = Settings.model_json_schema()
    del schema["properties"]["folder"]
    schema["required"].remove("folder")
    for section, types in (("stores", store_settings), ("esps", esp_settings)):
        schema["properties"][section]["additionalProperties"] = {"$ref": f"#/$defs/{section}"}
        schema["$defs"][section] = _entry(types)
    for unused in ("StoreConfig", "EspConfig"):
        del schema["$defs"][unused]
    for section in ("stores", "esps", "syncs"):
        schema["properties"][section]["propertyNames"] = {"pattern": f"^{checks.NAME.pattern}$"}
    name = MAIN_FILE.replace(".yaml", ".schema.json")
    return {
        name: {"$schema": DIALECT, "title": MAIN_FILE, **_loosened(schema)},
        MAPPING_FILE: {"$schema": DIALECT, **mapping_schema},
    }


def _entry(models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Describe an entry whose `type` selects the other keys."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": sorted(models)}},
        "allOf": [_branch(kind, model) for kind, model in sorted(models.items())],
    }


def _branch(kind: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = _inlined(model.model_json_schema())
    keys = {"type": {"const": kind, "description": schema.get("description", kind)}, **schema["properties"]}
    then = {"properties": keys, "required": schema.get("required", []), "additionalProperties": False}
    return {"if": {"properties": {"type": {"const": kind}}, "required": ["type"]}, "then": then}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the definitions where they are referred to: those of two connectors may share a name."""
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, list):
            return [inline(each) for each in part]
        if not isinstance(part, dict):
            return part
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        beside = {key: inline(value) for key, value in part.items() if key != "$ref"}
        return {**inline(copy.deepcopy(definitions[name])), **beside} if name else beside

    inlined: dict[str, Any] = inline(schema)
    return inlined


def _loosened(schema: Any) -> Any:
    """Let `${NAME}` stand where a number, a truth value or a choice is wanted, and numbers for text."""
    if isinstance(schema, list):
        return [_loosened(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _named(key, value) for key, value in schema.items() if key != "writeOnly"}
    if kept.get("type") == "string" and not {"enum", "const"} & kept.keys():
        return {**kept, "type": TEXT}
    if kept.get("type") in ("integer", "number", "boolean") or {"enum", "type"} <= kept.keys():
        about = {key: kept.pop(key) for key in ("title", "description", "default") if key in kept}
        return {**about, "anyOf": [kept, REFERENCE]}
    return kept


def _named(key: str, value: Any) -> Any:
    """Loosen what stands under a keyword; under some, keys are names of the owner's and no keywords."""
    if key in {"properties", "$defs"}:
        return {name: _loosened(part) for name, part in value.items()}
    return value if key in {"propertyNames", "default", "examples"} else _loosened(value)
