"""Holds what a connector sends against the vendor's own API description, unknown keys forbidden.

    recorder = Recorder(simulation)                  # an ASGI app that passes everything on
    ... let the connector talk to it ...
    assert violations(recorder.sent, [spec("mailchimp-marketing-3.0.55.openapi.json", base="/3.0")]) == []

Reads OpenAPI 3.0 and 3.1 and Swagger 2.0, as JSON or YAML, from the folder `specs` that is kept beside
the repository; `missing_specs` says whether it is there.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from openapi_schema_validator import OAS30Validator, OAS31Validator

from connectors.simulation import App, Message, Receive, Scope, Send

FOLDER = Path(__file__).parents[3] / ".." / "shared" / "specs"
METHODS = frozenset({"get", "put", "post", "patch", "delete"})
COMPOSED = frozenset({"allOf", "anyOf", "oneOf"})

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Sent:
    """A request as it went out; `path` as on the wire, `body` empty where there was none."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Recorder:
    """Passes requests on to `app` and remembers them."""

    def __init__(self, app: App) -> None:
        self.sent: list[Sent] = []
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        query = tuple(parse_qsl(scope.get("query_string", b"").decode(), keep_blank_values=True))
        path = scope.get("raw_path", b"").decode().partition("?")[0] or scope["path"]
        self.sent.append(Sent(scope["method"], path, query, body))
        await self._app(scope, _replay(body), send)


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _replay(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


@dataclass(frozen=True)
class Operation:
    """One method of one path; `validate` says what is wrong with a parsed body (None: no body is known)."""

    query_names: frozenset[str]
    body_required: bool
    validate: Callable[[Any], Iterable[str]] | None


class Spec:
    """One description; `base` is what the vendor's URLs have before the description's paths."""

    def __init__(self, document: Mapping[str, Any], base: str) -> None:
        self.base = base.rstrip("/")
        self._document = document
        self._templates = sorted(document["paths"], key=lambda path: (path.count("{"), -len(path)))
        self._patterns = {path: _pattern(path) for path in self._templates}
        self._operations: dict[tuple[str, str], Operation] = {}
        self._judged: dict[tuple[Sent, bytes], list[str]] = {}

    def problems(self, sent: Sent) -> list[str]:
        """Say what this description does not know about a request; many tests send the same ones."""
        key = (replace(sent, body=b""), hashlib.blake2b(sent.body, digest_size=16).digest())
        if key not in self._judged:
            self._judged[key] = self._judge(sent)
        return self._judged[key]

    def _judge(self, sent: Sent) -> list[str]:
        where = f"{sent.method} {sent.path}"
        template = self._template(sent)
        if template is None:
            return [f"{where}: no such operation"]
        operation = self._operation(template, sent.method.lower())
        unknown = sorted({name for name, _ in sent.query} - operation.query_names)
        found = [f"{where}: unknown query parameter {name}" for name in unknown]
        return found + [f"{where}: {text}" for text in _body_problems(operation, sent.body)]

    def _template(self, sent: Sent) -> str | None:
        if not sent.path.startswith(f"{self.base}/"):
            return None
        path = sent.path[len(self.base) :]
        for template in self._templates:
            operations = self._document["paths"][template]
            if sent.method.lower() in operations and self._patterns[template].fullmatch(path):
                return str(template)
        return None

    def _operation(self, template: str, method: str) -> Operation:
        key = (template, method)
        if key not in self._operations:
            self._operations[key] = self._read(self._document["paths"][template], method)
        return self._operations[key]

    def _read(self, path: Mapping[str, Any], method: str) -> Operation:
        both = [*path.get("parameters", ()), *path[method].get("parameters", ())]
        parameters = [self._resolved(parameter, ()) for parameter in both]
        names = frozenset(each["name"] for each in parameters if each.get("in") == "query")
        body = self._resolved(path[method].get("requestBody", {}), ())
        kinds: list[Any] = list(body.get("content", {}).values())
        content = kinds[0].get("schema") if kinds else None
        for parameter in parameters:
            if parameter.get("in") == "body":  # Swagger 2.0
                body, content = parameter, parameter["schema"]
        validate = self._validator(content) if content else None
        return Operation(names, bool(body.get("required")), validate)

    def _validator(self, schema: Schema) -> Callable[[Any], Iterable[str]]:
        modern = str(self._document.get("openapi", "")).startswith("3.1")
        validator = (OAS31Validator if modern else OAS30Validator)(_closed(self._resolved(schema, ())))
        return lambda body: (
            f"{error.json_path}: {error.validator} {_shortened(error.message)}"
            for error in validator.iter_errors(body)
        )

    def _resolved(self, value: Any, within: tuple[str, ...]) -> Any:
        """Put what a $ref points at in its place; a schema within itself allows anything."""
        if isinstance(value, list):
            return [self._resolved(each, within) for each in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str):
            return {} if reference in within else self._resolved(self._at(reference), (*within, reference))
        return {
            name: self._resolved(each, within)
            for name, each in value.items()
            if name not in {"discriminator", "example", "examples"}
        }

    def _at(self, reference: str) -> Any:
        found: Any = self._document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return found


def _pattern(template: str) -> re.Pattern[str]:
    literal = (re.escape(part) for part in re.split(r"\{[^}]+\}", template.rstrip("/")))
    return re.compile("[^/]+".join(literal) + "/?")


def _body_problems(operation: Operation, body: bytes) -> Iterable[str]:
    if not body:
        return ["a body is required"] if operation.body_required else []
    if operation.validate is None:
        return ["a body where none is known"]
    return operation.validate(msgspec.json.decode(body))


def _closed(schema: Any) -> Any:
    """Forbid unknown keys in every object whose keys are told; parts of an `allOf` become one object.

    An empty table of keys tells none: so Brevo writes an object that takes any.
    """
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    merged = _merged(schema) if "allOf" in schema else schema
    closed = {name: _closed_below(name, each) for name, each in merged.items()}
    if closed.get("properties") and not COMPOSED & closed.keys():
        closed.setdefault("additionalProperties", False)
    return closed


def _closed_below(name: str, value: Any) -> Any:
    """Go into schemas, and into the values of tables of schemas, whose names are anybody's."""
    if name in {"properties", "patternProperties"}:
        return {each: _closed(schema) for each, schema in value.items()}
    return _closed(value) if name in {*COMPOSED, "items", "additionalProperties", "not"} else value


def _merged(schema: Schema) -> dict[str, Any]:
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for part in (_merged(each) if "allOf" in each else each for each in schema["allOf"]):
        properties = {**part.get("properties", {}), **merged.get("properties", {})}
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged = {**part, **merged}
        merged |= {"properties": properties} if properties else {}
        merged |= {"required": required} if required else {}
    return merged


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def missing_specs(*names: str) -> str | None:
    """Give the reason to skip, None when all files are there."""
    missing = [name for name in names if not (FOLDER / name).exists()]
    return f"vendor descriptions are not here: {', '.join(missing)}" if missing else None


@functools.lru_cache(maxsize=16)
def spec(name: str, base: str = "") -> Spec:
    """Read a description once. Raises FileNotFoundError where it is missing."""
    path = FOLDER / name
    text = path.read_text(encoding="utf-8")
    read = msgspec.json.decode if path.suffix == ".json" else msgspec.yaml.decode
    return Spec(read(text), base)


def violations(
    sent: Sequence[Sent],
    specs: Sequence[Spec],
    *,
    expand: Callable[[Sent], Iterable[Sent]] = lambda _: (),
    ignore: Callable[[Sent], bool] = lambda _: False,
) -> list[str]:
    """Hold every request against every description; each complaint once.

    `expand` gives the requests that one carries (a batch's operations), `ignore` picks those that are not
    the API's (a download).
    """
    everything = (each for outer in sent for each in (outer, *expand(outer)) if not ignore(each))
    different = dict.fromkeys(everything)
    return list(dict.fromkeys(text for each in different for one in specs for text in one.problems(each)))
