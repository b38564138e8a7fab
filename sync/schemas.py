"""`schema`: what an editor needs to complete and check the owner's files, and the mapping language in words."""

from pathlib import Path
from typing import Any

import msgspec

from config import schema as schemas
from connectors import registry
from mappings.catalogue import column_table
from mappings.functions import function_table
from mappings.model import Mapping


def write_schemas(folder: Path) -> list[Path]:
    """Write the JSON Schemas beside cartwire.yaml, over older ones."""
    made: dict[str, dict[str, Any]] = schemas.json_schema(
        registry.store_settings(), registry.esp_settings(), Mapping.model_json_schema()
    )
    written = []
    for name, content in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(content), indent=2)
        path.write_bytes(text + b"\n")
        written.append(path)
    return written


def mapping_docs() -> str:
    """Return the mapping language's columns and functions, as in docs/mapping.md."""
    return f"{column_table()}\n\n{function_table()}"
