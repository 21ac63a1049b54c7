"""The description of the API: complete, with examples that fit it, and that the server itself takes and gives."""

from __future__ import annotations

import html
import json
import math
import re
from collections import Counter
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from langrec.service.routes import (
    api_page,
    ask,
    browse,
    bulk,
    gorse_feedback,
    gorse_items,
    gorse_lists,
    gorse_users,
    openapi,
    operate,
    privacy,
)

MODULES = (operate, privacy, browse, ask, gorse_lists, gorse_users, gorse_items, gorse_feedback, bulk)
KINDS = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}
JSON = "application/json"


@pytest.fixture(scope="module")
def document(shared) -> dict[str, Any]:
    return shared.get("/openapi.json")


@pytest.fixture(scope="module")
def operations(document) -> list[tuple[str, str, dict[str, Any]]]:
    found = list(openapi.operations(document))
    assert len(found) > 50
    return found


def examples(document: dict[str, Any]):
    """(place, example, schema) of everything in a document."""
    for method, path, operation in openapi.operations(document):
        where = f"{method} {path}"
        for parameter in operation.get("parameters", []):
            yield f"{where}: {parameter['name']}", parameter["example"], parameter["schema"]
        bodies = {"body": operation["requestBody"]} if "requestBody" in operation else {}
        for name, one in {**bodies, **operation["responses"]}.items():
            for kind, content in one["content"].items():
                yield f"{where}: {name} {kind}", content["example"], content.get("schema", {"type": "string"})


def misfit(value: Any, schema: dict[str, Any], parts: dict[str, Any], where: str) -> str | None:
    """Why a value does not fit a JSON schema; None where it does. An unknown name in an object is a misfit."""
    if "$ref" in schema:
        return misfit(value, parts[schema["$ref"].rsplit("/", 1)[1]], parts, where)
    if "anyOf" in schema:
        tried = [misfit(value, one, parts, where) for one in schema["anyOf"]]
        return None if None in tried else "; ".join(map(str, tried))
    kind = schema.get("type")
    if kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int if kind == "integer" else (int, float)):
            return f"{where}: {value!r} is no {kind}"
        if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
            return f"{where}: {value!r} is out of range"
    elif kind is not None and not isinstance(value, KINDS[kind]):
        return f"{where}: {value!r} is no {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where}: {value!r} is none of {schema['enum']}"
    if kind == "string" and len(value) > schema.get("maxLength", math.inf):
        return f"{where}: {value!r} is too long"
    inside: list[tuple[Any, dict[str, Any], str]] = []
    if kind == "array":
        inside = [(one, schema["items"], f"{where}[]") for one in value]
    elif kind == "object":
        missing = set(schema.get("required", ())) - set(value)
        if missing:
            return f"{where} lacks {sorted(missing)}"
        others = schema.get("additionalProperties", "properties" not in schema)
        for name, one in value.items():
            known = schema.get("properties", {}).get(name, {} if others is True else others)
            if known is False:
                return f"{where} has an unknown {name}"
            inside.append((one, known, f"{where}.{name}"))
    return next((found for part in inside if (found := misfit(part[0], part[1], parts, part[2]))), None)


def test_every_operation_is_named_described_and_tagged(document, operations):
    tags = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations:
        where = f"{method} {path}"
        assert operation["summary"] and operation["tags"] and set(operation["tags"]) <= tags, where
        lines = operation["description"].split("\n\n")
        assert len(lines) == 2 and lines[1].startswith("Needs "), where
    counts = Counter(operation["operationId"] for _, _, operation in operations)
    assert counts.most_common(1)[0][1] == 1


def test_every_parameter_body_and_reply_has_an_example_that_fits_its_schema(document, operations):
    for method, path, operation in operations:
        for parameter in operation.get("parameters", []):
            assert parameter["description"], f"{method} {path}: {parameter['name']}"
        assert operation["responses"]["200"]["content"], f"{method} {path}"
    found = list(examples(document))
    wrong = [misfit(value, schema, document["components"]["schemas"], where) for where, value, schema in found]
    assert [one for one in wrong if one] == []


def test_the_check_of_examples_finds_what_does_not_fit():
    parts = {"Row": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
    row = {"$ref": "#/components/schemas/Row"}
    assert misfit({"n": 1}, row, parts, "") is None
    assert misfit([{"n": 1}], {"type": "array", "items": row}, parts, "") is None
    for bad in ({}, {"n": "1"}, {"n": 1, "m": 1}, {"n": True}, [], None):
        assert misfit(bad, row, parts, "row"), bad
    assert misfit(0, {"type": "number", "minimum": 1}, parts, "k")
    assert misfit("up", {"enum": ["asc"]}, parts, "order")
    assert misfit("x", {"anyOf": [{"type": "null"}, {"type": "array", "items": {}}]}, parts, "x")


def test_something_without_an_example_is_named():
    parts = {"schemas": {"Row": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
    with pytest.raises(LookupError, match=r"GET /rows: Row\.n has no example"):
        openapi.example_of({"type": "array", "items": {"$ref": "#/components/schemas/Row"}}, parts, "GET /rows")


def test_the_document_says_how_a_key_is_sent_and_which_role_it_needs(document, operations):
    schemes = document["components"]["securitySchemes"]
    assert {key: schemes["ApiKey"][key] for key in ("type", "in", "name")} == {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
    }
    assert (schemes["Bearer"]["type"], schemes["Bearer"]["scheme"]) == ("http", "bearer")
    open_to_all = {path for _, path, operation in operations if "security" not in operation}
    assert open_to_all == {"/api/health/live", "/api/health/ready"}


def test_the_role_in_the_document_is_the_one_that_the_server_asks_for(serve):
    live = serve(keys="read:reader-key,write:writer-key,admin:admin-key")
    admin = {"X-API-Key": "admin-key"}
    order = ["read", "write", "admin"]
    keys = dict(zip(order, ("reader-key", "writer-key", "admin-key"), strict=True))
    document = live.client.get("/openapi.json").json()
    assert document == live.client.get("/openapi.json", headers=admin).json()
    for method, path, operation in openapi.operations(document):
        if "security" not in operation:
            assert live.client.request(method, path).status_code == 200, path
            continue
        [[needed]] = {tuple(roles) for one in operation["security"] for roles in one.values()}
        assert f"role `{needed}`" in operation["description"]
        body = {} if "requestBody" in operation else None
        assert live.client.request(method, path, json=body).status_code == 401, (method, path)
        for role in order[: order.index(needed)]:
            low = live.client.request(method, path, json=body, headers={"X-API-Key": keys[role]})
            assert low.status_code == 403, (method, path, role)
        # No more than the role: what is asked may still be wrong, or not be there.
        enough = live.client.request(method, path, json=body, headers={"X-API-Key": keys[needed]})
        assert enough.status_code in (200, 400, 404), (method, path)


def test_the_server_takes_every_example_and_answers_in_the_shape_that_is_described(live):
    document = live.get("/openapi.json")
    shapes = {
        (method, route.path): route.response_model
        for module in MODULES
        for router in vars(module).values()
        if isinstance(router, APIRouter)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    # What is written first is asked for then, and deleted last: events and categories before users and items.
    turn = {"POST": 0, "PUT": 1, "PATCH": 2, "GET": 3, "DELETE": 4}
    asked = sorted(openapi.operations(document), key=lambda one: (turn[one[0]], -one[1].count("/")))
    # Beside the examples' own world: an item like theirs, and somebody who knows both.
    labels = {"description": "Two bakers on the moon.", "price": 10}
    other = {"ItemId": "m2", "Categories": ["Comedy"], "Labels": labels, "Comment": "Moon Bread"}
    live.send("POST", "/api/item", other | {"Timestamp": "2024-06-01"})
    clicks = [{"FeedbackType": "click", "UserId": "bob", "ItemId": item} for item in ("m1", "m2")]
    live.send("POST", "/api/feedback", clicks)
    gone = live.send("DELETE", "/api/user/gone")["Receipt"]["receipt"]
    stamps = {"release": live.new, "models": "ease,bm25", "receipt": gone}
    for method, path, operation in asked:
        query, headers, at = {}, {}, path
        for parameter in operation.get("parameters", []):
            name, value = parameter["name"], stamps.get(parameter["name"], parameter["example"])
            if parameter["in"] == "path":
                at = at.replace("{" + name + "}", value)
            else:
                {"query": query, "header": headers}[parameter["in"]][name] = value
        body = None
        if "requestBody" in operation:
            ((sent, content),) = operation["requestBody"]["content"].items()
            body = content["example"]
            if "stamp" in body:
                body = {"stamp": live.old}
            headers["Content-Type"] = sent
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        answer = live.client.request(method, at, params=query, headers=headers, content=data)
        where = f"{method} {at}: {answer.text[:300]}"
        assert answer.status_code == 200, where
        shape = shapes[method, path]
        if shape is None:
            assert path in (
                "/metrics",
                "/api/bulk/users",
                "/api/bulk/items",
                "/api/bulk/feedback",
            ) and not answer.headers["content-type"].startswith(JSON)
            assert answer.text, where
            continue
        adapter = TypeAdapter(shape)
        given = answer.json()
        assert adapter.dump_python(adapter.validate_python(given), mode="json", exclude_unset=True) == given, where
        # An empty list would say nothing of its shape.
        assert given and (isinstance(given, list) or given.get("items", True)), where


def test_the_page_for_people_names_every_route_and_loads_nothing_from_elsewhere(live, document):
    answer = live.client.get("/docs")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    for method, path, operation in openapi.operations(document):
        assert f"<b>{method}</b> {path}</span> {html.escape(operation['summary'])}" in answer.text
        assert f'<details id="{operation["operationId"]}">' in answer.text
    assert "<script" not in answer.text and "style=" not in answer.text
    loaded = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert loaded and all(re.fullmatch(r"/[^/].*|/", one) for one in loaded)
    for one in loaded:
        assert live.client.get(one).status_code == 200, one


def test_the_page_for_people_shows_marks_of_html_as_text():
    operation = {
        "tags": ["t"],
        "summary": "a < b",
        "description": "<i> `<s>`",
        "operationId": "x",
        "parameters": [{"name": "<n>", "in": "query", "description": "<b>", "example": "<u>"}],
        "responses": {"200": {"content": {JSON: {"example": {"<k>": "</pre>"}}}}},
    }
    info = {"title": "<t>", "version": "1", "description": "<d>"}
    shown = api_page.page(
        {
            "info": info,
            "tags": [{"name": "t", "description": "<g>"}],
            "paths": {"/x": {"get": operation}},
        }
    )
    for mark in ("<i>", "<n>", "<u>", "<k>", "<t>", "<d>", "<g>", "<s>", '"</pre>"'):
        assert mark not in shown and html.escape(mark) in shown
    assert "<code>&lt;s&gt;</code>" in shown
