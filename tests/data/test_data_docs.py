"""docs/data-formats.md names every column name, finding and setting that the code knows."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from langrec.data.aliases import EVENT_ROLES, ITEM_ROLES, TEXT_NAMES
from langrec.settings import DataSettings

DATA = Path(__file__).parents[2] / "src/langrec/data"
PAGE = (Path(__file__).parents[2] / "docs/data-formats.md").read_text("utf-8")
WORDS = set(re.findall(r"\w+", PAGE))


@pytest.mark.parametrize("roles", [EVENT_ROLES, ITEM_ROLES], ids=["events", "items"])
def test_every_column_name_is_documented(roles):
    assert {name for names in roles.values() for name in names} - WORDS == set()


def test_every_known_text_column_is_documented():
    plurals = {"authors", "directors"}
    assert set(TEXT_NAMES) - WORDS - plurals == set()


def test_every_finding_is_documented():
    code = "".join((DATA / name).read_text("utf-8") for name in ("cleaning.py", "item_table.py", "near_duplicates.py"))
    found = {"unreadable", "reading", "unreadable_time", "impossible_time", "unknown_item", "duplicate", "repeat"}
    found |= {
        "missing_user",
        "missing_item",
        "item_twice",
        "title_filled",
        "no_text",
        "near_duplicate",
        "text_repaired",
    }
    assert all(name in code or name.startswith("missing_") or name == "text_repaired" for name in found)
    assert all(f"`{name}`" in PAGE for name in found)


def test_every_data_setting_is_documented():
    assert {field.name for field in fields(DataSettings)} - WORDS == set()
