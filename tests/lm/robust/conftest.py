"""A tiny WordNet in both layouts and small labelled files for the tests of robustness."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "adapt"), str(Path(__file__).parents[2])]

SYNSETS = [
    ("n", ["cat", "true cat"]),
    ("n", ["card", "menu"]),
    ("n", ["movie", "film", "picture"]),
    ("v", ["film", "shoot"]),
]
SYNSETS += [("n", ["film", "movie"]), ("n", ["can", "tin"])]


@pytest.fixture(scope="session")
def wordnet(tmp_path_factory):
    """Folder with synsets.csv."""
    folder = tmp_path_factory.mktemp("wordnet")
    lines = [f"{pos},{i:08d},{'|'.join(words)},,said" for i, (pos, words) in enumerate(SYNSETS)]
    (folder / "synsets.csv").write_text("pos,offset,lemmas,hypernyms,gloss\n" + "\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def dict_files(tmp_path_factory):
    """Folder with dict/data.noun and dict/data.verb as Princeton, Debian and NLTK lay them out."""
    folder = tmp_path_factory.mktemp("princeton")
    (folder / "dict").mkdir()
    for pos, name in (("n", "noun"), ("v", "verb")):
        lines = ["  1 This software and database is being provided to you, the LICENSEE  "]
        for i, (own, words) in enumerate(SYNSETS):
            if own == pos:
                said = " ".join(f"{word.replace(' ', '_')} 0" for word in words)
                lines.append(f"{i:08d} 03 {pos} {len(words):02x} {said} 000 | said  ")
        (folder / "dict" / f"data.{name}").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Puts a program of that name and content before all others."""

    def put(name, text):
        place = tmp_path / "commands"
        place.mkdir(exist_ok=True)
        (place / name).write_text(text, "utf-8")
        (place / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
        return place

    return put


@pytest.fixture(scope="session")
def topics(tmp_path_factory):
    """Folder with train.csv, valid.jsonl and test.csv."""
    from plain_topics import sentences, write_rows

    folder = tmp_path_factory.mktemp("robust-topics")
    write_rows(folder / "train.csv", sentences(45, 0))
    write_rows(folder / "valid.jsonl", sentences(30, 1))
    write_rows(folder / "test.csv", sentences(30, 2))
    return folder
