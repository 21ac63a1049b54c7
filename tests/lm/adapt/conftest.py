"""A tiny model and small labelled files for the tests of adaptation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]


@pytest.fixture(scope="session")
def topics(tmp_path_factory):
    """Folder with train.csv, valid.jsonl and test.csv."""
    from plain_topics import sentences, write_rows

    folder = tmp_path_factory.mktemp("topics")
    write_rows(folder / "train.csv", sentences(60, 0))
    write_rows(folder / "valid.jsonl", sentences(30, 1))
    write_rows(folder / "test.csv", sentences(30, 2))
    return folder
