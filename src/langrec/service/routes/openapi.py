"""The description of the API at /openapi.json: who may call what, and an example of everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from langrec.service.access.scopes import area_of

_SCHEMES = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key of this server. On loopback without any keys none is needed.",
    },
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The same key as a bearer token."},
}


def described(app: FastAPI, roles: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """FastAPI's own document with security schemes, roles and examples; made once and kept.

    Args:
        app: the application.
        roles: by method and path the role that a key needs; empty or absent where everyone may call.

    Raises:
        LookupError: something has neither an example nor a default to make one of.
    """
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = FastAPI.openapi(app)
    parts = document.setdefault("components", {})
    parts["securitySchemes"] = _SCHEMES
    for method, path, operation in operations(document):
        _name_role(operation, roles.get((method, path), ""), area_of(path))
        where = f"{method} {path}"
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            if "example" not in parameter:
                parameter["example"] = example_of(schema, parts, f"{where}: {parameter['name']}")
        body = [operation["requestBody"]] if "requestBody" in operation else []
        for one in [*body, *operation["responses"].values()]:
            for content in one.get("content", {}).values():
                if "example" not in content and "examples" not in content:
                    content["example"] = example_of(content["schema"], parts, where)
    return document


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method in capitals, path, operation) of a document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def example_of(schema: Mapping[str, Any], parts: Mapping[str, Any], where: str) -> Any:
    """An example of a schema: its own, else one put together of the examples of what it holds.

    Args:
        schema: as in the document.
        parts: the document's components.
        where: named in the error.

    Raises:
        LookupError: there is nothing to make one of.
    """
    if schema.get("examples"):
        return schema["examples"][0]
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return example_of(parts["schemas"][name], parts, f"{where}: {name}")
    if schema.get("type") == "object" and "properties" in schema:
        return {name: example_of(one, parts, f"{where}.{name}") for name, one in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"], parts, where)]
    for one in schema.get("anyOf", ()):
        if "$ref" in one or one.get("type") == "array" or "examples" in one:
            return example_of(one, parts, where)
    if schema.get("default") not in (None, ""):
        return schema["default"]
    raise LookupError(f"{where} has no example")


def _name_role(operation: dict[str, Any], role: str, area: str) -> None:
    """Says in words and for programs which role, or which scope, a key needs."""
    if role:
        # For schemes other than OAuth2 the list holds the roles that a caller needs.
        operation["security"] = [{scheme: [role]} for scheme in _SCHEMES]
    needed = f"Needs a key with the role `{role}` or the scope `{area}:{role}`." if role else "Needs no key."
    operation["description"] = f"{operation['description']}\n\n{needed}" if operation.get("description") else needed
