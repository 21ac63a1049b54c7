"""Texts to make a model cheaper for: pairs, what is held out, and what never reaches training."""

from __future__ import annotations

import polars as pl
import pytest

from langrec.data.catalogue import Catalogue
from langrec.errors import DataError
from langrec.lm.compress.corpus import HALVES, TITLES, Corpus


def frame(n=40):
    return pl.DataFrame(
        {"title": [f"film {i}" for i in range(n)], "text": [f"a story of number {i}" for i in range(n)]}
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_titles_and_texts_of_a_file_are_pairs(tmp_path, suffix):
    file = tmp_path / f"texts.{suffix}"
    {"csv": frame().write_csv, "jsonl": frame().write_ndjson, "parquet": frame().write_parquet}[suffix](file)
    found = Corpus.read(file)
    assert found.question == TITLES and len(found) == 40
    assert found.asked[3] == "film 3" and found.found[3] == "a story of number 3"


def test_texts_without_titles_are_halves_that_belong_together(tmp_path):
    file = tmp_path / "texts.csv"
    pl.DataFrame({"text": [f"one two three four five six seven {i}" for i in range(20)]}).write_csv(file)
    found = Corpus.read(file)
    assert found.question == HALVES
    assert (found.asked[2], found.found[2]) == ("one two three four", "five six seven 2")


def test_a_file_without_texts_is_refused_with_its_columns(tmp_path):
    file = tmp_path / "texts.csv"
    pl.DataFrame({"name": ["a"], "words": ["b"]}).write_csv(file)
    with pytest.raises(DataError, match="no column 'text'; it has name, words"):
        Corpus.read(file)


def test_a_catalogue_gives_titles_and_their_texts():
    items = pl.DataFrame(
        {"item_id": [str(i) for i in range(12)], "title": [f"t{i}" for i in range(12)], "plot": ["words"] * 11 + [""]}
    )
    found = Corpus.of_catalogue(Catalogue(items, ["plot"]))
    assert len(found) == 11 and found.more == ("t11",)


def test_held_out_texts_never_reach_training(corpus):
    held = {text for i, text in enumerate(corpus.found) if corpus.held[i]}
    assert held and not held & set(corpus.training())
    assert held <= set(corpus.held_out())


def test_the_same_text_is_always_held_out(corpus):
    again = Corpus.of_pairs(corpus.asked[::-1], corpus.found[::-1])
    assert again.held[::-1].tolist() == corpus.held.tolist()


def test_judged_pairs_hold_all_that_is_held_out_first(corpus):
    some = corpus.judged(20)
    assert len(some) == 20 and some.held.sum() == corpus.held.sum()
    assert corpus.judged(20).asked == some.asked
