"""Texts of the tiny model's own words, in pairs that belong together."""

from __future__ import annotations

import random

import pytest

from tiny_lm import WORDS


def pairs(n=60, seed=0):
    """n short texts, and n longer ones that hold the words of theirs."""
    rng, words = random.Random(seed), WORDS.split()
    titles = [" ".join(rng.choice(words) for _ in range(4)) for _ in range(n)]
    return titles, [f"{title} {' '.join(rng.choice(words) for _ in range(8))}" for title in titles]


@pytest.fixture(scope="session")
def corpus():
    from langrec.lm.compress.corpus import Corpus

    return Corpus.of_pairs(*pairs(), source="made up for the test")


@pytest.fixture(scope="session")
def four_layers(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tiny_lm import tiny_lm

    return tiny_lm(tmp_path_factory.mktemp("four") / "four", layers=4)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """Where the tests of this room keep exports: a model that several of them begin with is traced once."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture
def work(four_layers, corpus, exports, tmp_path):
    from langrec.encoders import load_saved
    from langrec.lm.compress.work import Healing, Work
    from langrec.lm.model import find_model

    teacher = find_model(str(four_layers), 64)
    healing = Healing(epochs=3, rate=1e-3, batch=8, precision="fp32", patience=9)
    return Work(teacher, corpus, healing, tmp_path / "kept", load_saved, 1, lambda *_: None, exports=exports)
