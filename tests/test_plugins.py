"""Parts of other packages: an entry point is enough to train with one, to save it and to read it again."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest

from langrec.bundle import Bundle
from langrec.encoders import load_encoder, load_saved
from langrec.encoders.hashing import HashingEncoder
from langrec.errors import BundleError
from langrec.lm.exported import CONFIG
from langrec.retrieval.indexes.build import load_index
from langrec.settings import EncoderSettings


class Mine(HashingEncoder):
    """An encoder of another package; it is made from the settings, and its file bears the name of the entry point."""

    def __init__(self, settings=None):
        super().__init__(32)

    def save(self, folder):
        super().save(folder)
        values = json.loads((folder / CONFIG).read_text("utf-8"))
        (folder / CONFIG).write_text(json.dumps({**values, "kind": "mine"}), "utf-8")

    @classmethod
    def load(cls, folder, threads=0):
        return cls()


@pytest.fixture
def installed(monkeypatch):
    package = ModuleType("own_encoder")
    package.Mine = Mine
    monkeypatch.setitem(sys.modules, "own_encoder", package)
    points = EntryPoints([EntryPoint("mine", "own_encoder:Mine", "langrec.encoders")])
    monkeypatch.setattr("langrec.registry.entry_points", lambda group: points.select(group=group))
    return points


def test_an_encoder_of_a_plugin_is_read_again_where_it_was_saved(installed, tmp_path):
    encoder = load_encoder(EncoderSettings(name="mine"))
    encoder.save(tmp_path / "encoder")
    again = load_saved(tmp_path / "encoder")
    assert type(again) is Mine and again.identity == encoder.identity


def test_a_saved_encoder_whose_package_is_not_installed_is_named(tmp_path):
    Mine().save(tmp_path)
    with pytest.raises(BundleError, match=r"encoder\.json: unknown encoder mine .*; install the package"):
        load_saved(tmp_path)


def test_a_release_with_parts_of_a_package_that_is_not_installed_is_refused_as_a_release(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json: unknown scorer mine .*; install the package"):
        Bundle(tmp_path, {"models": {"mine": {"kind": "mine"}}}).recommender()
    (tmp_path / "index.json").write_text('{"kind": "mine"}')
    with pytest.raises(BundleError, match=r"index\.json: unknown index mine .*; install the package"):
        load_index(tmp_path)
