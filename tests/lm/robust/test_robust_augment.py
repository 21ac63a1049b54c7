"""Altered texts: what each way changes, where synonyms come from, and what training reads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from langrec.errors import DataError, LangrecError, SettingsError
from langrec.lm.robust.ways import parse

pytest.importorskip("torch")
from langrec.lm.adapt.settings import AdaptSettings, with_overrides
from langrec.lm.robust.augment import Varied, copies, delete, every, replace, swap
from langrec.lm.robust.wordnet import find_synonyms

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_ways_are_read_in_their_order_with_their_rates():
    assert list(parse(" synonyms:0.2, delete ,swap:1").items()) == [("synonyms", 0.2), ("delete", 0.1), ("swap", 1.0)]
    assert parse("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("synonym:0.1", "did you mean synonyms"),
        ("delete:0", "above 0"),
        ("delete:2", "above 0"),
        ("delete:much", "above 0"),
        ("delete:nan", "above 0"),
        ("swap:0.1,swap:0.2", "each once"),
    ],
)
def test_a_wrong_way_is_refused_where_it_is_set(text, said):
    with pytest.raises(SettingsError, match=said):
        AdaptSettings(augment=text)


def test_settings_with_a_dot_and_with_a_line_are_one():
    found = with_overrides(
        AdaptSettings(), ["keep.l2=0.5", "augment=delete:0.1", "adversarial=fgm", "augment_copies=3"]
    )
    assert (found.keep_l2, found.augment, found.adversarial, found.augment_copies) == (0.5, "delete:0.1", "fgm", 3)
    with pytest.raises(SettingsError, match="did you mean freelb"):
        with_overrides(AdaptSettings(), ["adversarial=freelbs"])


def test_deletion_leaves_words_out_and_never_all():
    words = " ".join(f"w{i}" for i in range(400))
    left = delete(words, 0.25, rng()).split()
    assert 260 < len(left) < 340
    assert [word for word in words.split() if word in set(left)] == left
    assert delete("only these words", 1.0, rng()) in ("only", "these", "words")


def test_a_swap_keeps_every_word_and_moves_some():
    text = "one two three four five six"
    moved = swap(text, 0.2, rng())
    assert sorted(moved.split()) == sorted(text.split())
    assert moved != text
    assert swap("alone", 0.5, rng()) == "alone"


def test_a_script_without_spaces_is_altered_by_its_characters():
    text = "這是一部很好的電影"
    assert len(delete(text, 0.5, rng())) < len(text)
    assert sorted(swap(text, 0.5, rng())) == sorted(text)


def test_synonyms_keep_case_marks_and_plurals(wordnet):
    synonyms = find_synonyms(str(wordnet))
    assert replace("Cat!", 1, rng(), synonyms) == "True cat!"
    assert replace("two cards, please", 1, rng(), synonyms) == "two menus, please"
    assert replace("MENU", 1, rng(), synonyms) == "CARD"


def test_a_word_of_grammar_is_never_replaced(wordnet):
    assert replace("i can do it", 1, rng(), find_synonyms(str(wordnet))) == "i can do it"


def test_a_synonym_of_more_meanings_comes_more_often(wordnet):
    synonyms = find_synonyms(str(wordnet))
    drawn = [replace("film", 1, rng(seed), synonyms) for seed in range(200)]
    assert set(drawn) == {"movie", "picture", "shoot"}
    assert drawn.count("movie") > 1.4 * drawn.count("picture")


def test_both_layouts_of_wordnet_give_the_same_synonyms(wordnet, dict_files):
    one, two = find_synonyms(str(wordnet)), find_synonyms(str(dict_files))
    for word in ("cat", "film", "movie", "cards", "menu", "nothing"):
        assert one.of(word) == two.of(word)
    assert len(one) == len(two)


def test_a_missing_wordnet_says_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="apt-get install wordnet-base"):
        find_synonyms(str(tmp_path))
    (tmp_path / "data.noun").write_text("00000001 03 n zz\n", "utf-8")
    with pytest.raises(DataError, match="line 1"):
        find_synonyms(str(tmp_path))


@pytest.mark.real_data
def test_the_whole_of_wordnet_knows_common_words():
    if not (DATA / "wordnet-synsets").is_dir():
        pytest.skip("wordnet-synsets is not there")
    synonyms = find_synonyms(str(DATA / "wordnet-synsets"))
    assert "automobile" in synonyms.of("car")
    assert "automobiles" in synonyms.of("cars")
    assert len(synonyms) > 50_000


def test_copies_of_a_text_depend_on_itself_and_the_seed_alone(wordnet):
    texts = ["the cat and the movie", "a film of one card", "river green blue red"]
    ways = parse("synonyms:0.3,swap:0.2,delete:0.2")
    found = copies(texts, ways, 2, 7, wordnet=str(wordnet))
    assert len(found) == 6
    alone = copies(texts[1:2], ways, 2, 7, wordnet=str(wordnet))
    assert alone == [found[1], found[4]]
    assert copies(texts, ways, 2, 7, wordnet=str(wordnet)) == found
    assert copies(texts, ways, 2, 8, wordnet=str(wordnet)) != found


class Numbered:
    """A feed that gives the row numbers back."""

    def __init__(self, n):
        self.lengths = np.ones(n, dtype=np.int64)

    def __call__(self, rows):
        return (rows,)


def test_training_reads_texts_and_copies_alike_often_and_measuring_the_texts_alone():
    import torch

    torch.manual_seed(0)
    training = True
    feed = Varied(Numbered(9), 3, lambda: training)
    rows = np.tile(np.arange(3), 200)
    drawn = feed(rows)[0]
    assert (drawn % 3 == rows).all()
    assert np.bincount(drawn // 3, minlength=3).min() > 150
    training = False
    assert (feed(rows)[0] == rows).all()
    assert len(feed.lengths) == 3
    whole, origin = every(feed)
    assert len(whole.lengths) == 9
    assert origin.tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize("kind", ["lora", "head"])
def test_an_augmented_run_learns_and_differs_from_a_plain_one(tiny, topics, tmp_path, kind):
    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt

    files = Files(topics / "train.csv", topics / "valid.jsonl")
    settings = AdaptSettings(kind=kind, epochs=1, batch=8, precision="fp32")
    plain = adapt(str(tiny), settings, files, tmp_path / "a")
    altered = with_overrides(settings, ["augment=delete:0.3,swap:0.2", "augment.copies=2"])
    told = adapt(str(tiny), altered, files, tmp_path / "b")
    assert told["valid"]["accuracy"] > 0.8
    assert told["epochs"][1]["loss"] != plain["epochs"][1]["loss"]
    assert told["rows"] == plain["rows"]


def test_a_resumed_augmented_run_is_the_run_that_went_through(tiny, topics, tmp_path):
    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt

    files = Files(topics / "train.csv", topics / "valid.jsonl")
    settings = AdaptSettings(
        kind="lora", epochs=2, batch=16, precision="fp32", augment="delete:0.3", adversarial="freelb", keep_l2=0.1
    )
    through = adapt(str(tiny), settings, files, tmp_path / "a")
    stopped = []

    def stop(what, i, n):
        if what == "epoch 2 of 2" and not stopped:
            stopped.append(True)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        adapt(str(tiny), settings, files, tmp_path / "b", told=stop)
    again = adapt(str(tiny), settings, files, tmp_path / "b", resume=True)
    assert [row["loss"] for row in again["epochs"]] == [row["loss"] for row in through["epochs"]]


def test_every_error_of_augmentation_is_one_that_a_caller_can_act_on(tmp_path):
    with pytest.raises(LangrecError, match=r"augment\.there"):
        copies(["a text"], {"translate": 1.0}, 1, 0)
