"""docs/http.md names every route of the application, and no other."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "http.md"


def test_the_page_on_http_names_exactly_the_routes_there_are(shared):
    spec = shared.get("/openapi.json")
    there = {
        f"{method.upper()} {re.sub('{path_category}', '{category}', path)}"
        for path, methods in spec["paths"].items()
        for method in methods
    }
    named = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^` ?]*)`", DOCS.read_text("utf-8")))
    assert named == there


def test_the_page_on_http_names_the_settings_of_the_service_rightly():
    from dataclasses import fields

    from langrec.settings import ServeSettings

    named = set(re.findall(r"`serve\.(\w+)`", DOCS.read_text("utf-8")))
    assert named and named <= {field.name for field in fields(ServeSettings)}
