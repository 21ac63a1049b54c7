"""The page at /docs: the description of the API for people, without scripts and without anything from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from langrec.service.routes.openapi import operations

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> HTMLResponse:
    return HTMLResponse(page(request.app.openapi()))


def page(document: Mapping[str, Any]) -> str:
    """HTML of a document with examples, as `openapi.described` makes it: one part per tag, one fold per operation."""
    parts = []
    for tag in document["tags"]:
        own = [one for one in operations(document) if tag["name"] in one[2]["tags"]]
        folds = "\n".join(_operation(*one) for one in own)
        parts.append(f'<h2 id="{escape(tag["name"])}">{escape(tag["description"])}</h2>\n{folds}')
    info = document["info"]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])} API</title>
<link rel="icon" href="/console/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/console/css/base.css">
<link rel="stylesheet" href="/console/css/api.css">
</head>
<body class="api">
<main>
<h1>{escape(info["title"])} {escape(info["version"])} API</h1>
<p>{escape(info["description"])} For programs and other viewers: <a href="/openapi.json">openapi.json</a>.
The <a href="/">console</a> uses these routes.</p>
<p>Send a key in the header <code>X-API-Key</code>, or as a bearer token. A server on loopback without any keys needs
none.</p>
{"".join(parts)}
</main>
</body>
</html>
"""


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    found = [_paragraph(text) for text in operation["description"].split("\n\n")]
    if operation.get("parameters"):
        rows = "\n".join(_parameter(one) for one in operation["parameters"])
        found.append(
            '<div class="wide"><table><thead><tr><th scope="col">parameter</th><th scope="col">in</th>'
            f'<th scope="col">meaning</th><th scope="col">example</th></tr></thead><tbody>{rows}</tbody></table></div>'
        )
    if "requestBody" in operation:
        found.append(_example("Body", operation["requestBody"]))
    found.append(_example("Answer", operation["responses"]["200"]))
    head = f'<summary><span class="mono"><b>{method}</b> {escape(path)}</span> {escape(operation["summary"])}</summary>'
    return f'<details id="{escape(operation["operationId"])}">{head}\n{"".join(found)}\n</details>'


def _paragraph(text: str) -> str:
    """Plain text with `code`; no other Markdown."""
    return "<p>" + re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)) + "</p>"


def _parameter(one: Mapping[str, Any]) -> str:
    example = one["example"] if isinstance(one["example"], str) else json.dumps(one["example"], ensure_ascii=False)
    name = f"<code>{escape(one['name'])}</code>" + (", needed" if one.get("required") else "")
    place, meaning = escape(one["in"]), escape(one["description"])
    return f"<tr><td>{name}</td><td>{place}</td><td>{meaning}</td><td><code>{escape(example)}</code></td></tr>"


def _example(name: str, one: Mapping[str, Any]) -> str:
    shown = []
    for content in one["content"].values():
        example = content["example"]
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False, indent=2)
        shown.append(f'<h3>{name}</h3><pre tabindex="0">{escape(text)}</pre>')
    return "".join(shown)
