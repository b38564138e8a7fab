"""The check against a vendor's description complains where it should."""

import json
from typing import Any

import pytest

from tests.connectors.esps.specs import Sent, Spec, missing_specs, violations

THING = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
MODERN = {
    "openapi": "3.1.0",
    "paths": {
        "/things": {
            "parameters": [{"name": "page[size]", "in": "query"}],
            "post": {
                "requestBody": {"required": True, "content": {"x/json": {"schema": {"$ref": "#/parts/both"}}}}
            },
            "get": {"parameters": [{"name": "count", "in": "query"}]},
        },
        "/things/{id}": {"delete": {}},
        "/things/all": {"put": {"requestBody": {"content": {"x/json": {"schema": {"items": THING}}}}}},
    },
    "parts": {
        "both": {
            "allOf": [THING, {"properties": {"next": {"$ref": "#/parts/both"}, "size": {"type": "integer"}}}]
        }
    },
}
SWAGGER = {
    "swagger": "2.0",
    "paths": {
        "/things": {"post": {"parameters": [{"in": "body", "name": "b", "required": True, "schema": THING}]}}
    },
}


def complaints(
    document: dict[str, Any], method: str, path: str, body: object = None, **query: str
) -> list[str]:
    text = b"" if body is None else json.dumps(body).encode()
    return violations([Sent(method, path, tuple(query.items()), text)], [Spec(document, "/v1/")])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/things", {"name": "a", "size": 1, "next": {"anything": 1}}),
        ("GET", "/v1/things", None),
        ("DELETE", "/v1/things/7", None),
        ("PUT", "/v1/things/all", [{"name": "a"}]),
    ],
)
def test_what_the_description_knows_is_fine(method: str, path: str, body: object) -> None:
    assert complaints(MODERN, method, path, body) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", "/v1/things", {"name": "a", "colour": 1}, "additionalProperties"),
        ("POST", "/v1/things", {"size": 1}, "required"),
        ("POST", "/v1/things", {"name": 1}, "$.name: type"),
        ("POST", "/v1/things", None, "a body is required"),
        ("PUT", "/v1/things/all", [{"name": "a", "x": 1}], "$[0]: additionalProperties"),
        ("DELETE", "/v1/things/7", {}, "a body where none is known"),
        ("PATCH", "/v1/things", None, "no such operation"),
        ("GET", "/things", None, "no such operation"),
    ],
)
def test_what_it_does_not_know_is_said(method: str, path: str, body: object, said: str) -> None:
    (complaint,) = complaints(MODERN, method, path, body)

    assert said in complaint


def test_an_unknown_query_parameter_is_said() -> None:
    assert complaints(MODERN, "GET", "/v1/things", count="1", page="2") == [
        "GET /v1/things: unknown query parameter page"
    ]


def test_swagger_is_read_too() -> None:
    assert complaints(SWAGGER, "POST", "/v1/things", {"name": "a"}) == []
    assert "additionalProperties" in complaints(SWAGGER, "POST", "/v1/things", {"name": "a", "x": 1})[0]


def test_requests_within_requests_are_seen_and_others_ignored() -> None:
    inner = Sent("GET", "/v1/nothing")

    found = violations(
        [Sent("GET", "/v1/things"), Sent("GET", "/elsewhere")],
        [Spec(MODERN, "/v1")],
        expand=lambda sent: [inner] if sent.path == "/v1/things" else [],
        ignore=lambda sent: sent.path == "/elsewhere",
    )

    assert found == ["GET /v1/nothing: no such operation"]


def test_missing_files_are_a_reason_to_skip() -> None:
    assert missing_specs() is None
    assert missing_specs("nobody.json") == "vendor descriptions are not here: nobody.json"
