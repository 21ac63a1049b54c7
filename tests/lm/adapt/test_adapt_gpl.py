"""Pre-training on a cross-encoder's margins: what is asked, who judges, and that the model comes to judge alike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from plain_topics import sentences

from langrec.errors import SettingsError
from langrec.lm.adapt import gpl
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.loop import fit
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.model import find_model
from tiny_cross import tiny_cross


@pytest.mark.parametrize(
    ("passage", "query"),
    [
        ("A cat in the house. It sleeps.", "A cat in the house"),
        ("Toy Story (1995): a film about toys", "Toy Story (1995)"),
        ("Go! The city never sleeps.", "Go! The city never sleeps"),
        ("one", "one"),
        (" ".join("abcdefghijklmnopqrst"), " ".join("abcdefghijklmnop")),
    ],
)
def test_a_query_is_the_title_or_the_first_sentence(passage, query):
    assert gpl.query_of(passage) == query


class ByTopic:
    """A passage answers a query if it holds the word that a rule, and no word of the query, tells."""

    topics = (("cat", "music"), ("river", "robot"), ("train", "dog"), ("piano", "winter"))
    asked = 0

    def score(self, asked, candidates):
        self.asked += len(asked)
        rule = dict(self.topics)
        return np.array(
            [4.0 * (rule[a.split()[1]] in b.split()) for a, b in zip(asked, candidates, strict=True)], dtype=np.float32
        )


def rows(n, seed):
    rng = np.random.default_rng(seed)
    picked = [ByTopic.topics[i] for i in rng.integers(len(ByTopic.topics), size=n)]
    fill = ["red", "blue", "green", "house", "mat", "island", "city", "love"]
    passages = [f"{last} {' '.join(rng.choice(fill, 3))}" for _, last in picked]
    return passages, [f"the {first}" for first, _ in picked]


def test_the_model_comes_to_judge_passages_as_its_teacher_does(tiny):
    settings = AdaptSettings(task="pretrain", kind="full", epochs=6, batch=32, rate=2e-3, precision="fp32", dropout=0.0)
    adapted = Adapted(find_model(str(tiny), 64), settings)
    train = gpl.judged(adapted, *rows(160, 0), ByTopic(), 0, None)
    valid = gpl.judged(adapted, *rows(60, 1), ByTopic(), 0, None)
    task = gpl.Gpl(adapted, train, valid)
    history = fit(adapted, task, precision="fp32")
    before, after = history[0].valid, task.judge("fp32")[1]
    assert after["valid_loss"] < 0.5 * before["valid_loss"]


def test_a_query_is_never_set_against_its_own_passage(tiny):
    adapted = Adapted(find_model(str(tiny), 64), AdaptSettings(task="pretrain", kind="side"))
    found = gpl.judged(adapted, *rows(40, 0), ByTopic(), 0, None)
    assert not (found.others == found.own[:, None]).any()
    assert found.margins.shape == found.others.shape


def test_the_teacher_is_asked_once(tiny, tmp_path):
    adapted, teacher = Adapted(find_model(str(tiny), 64), AdaptSettings(task="pretrain", kind="side")), ByTopic()
    first = gpl.judged(adapted, *rows(20, 0), teacher, 0, tmp_path / "teacher.npz")
    once = teacher.asked
    again = gpl.judged(adapted, *rows(20, 0), teacher, 0, tmp_path / "teacher.npz")
    assert teacher.asked == once > 0
    np.testing.assert_array_equal(first.margins, again.margins)
    gpl.judged(adapted, *rows(20, 1), teacher, 0, tmp_path / "teacher.npz")
    assert teacher.asked > once


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpl") / "texts.csv"
    path.write_text("text\n" + "\n".join(text for text, _ in sentences(40, 5)) + "\n", "utf-8")
    return path


def test_a_sequence_classifier_teaches(tiny, texts, tmp_path):
    cross = tiny_cross(tmp_path / "cross", tiny)
    changes = {"epochs": 2, "batch": 16, "precision": "fp32", "max_tokens": 64}
    settings = AdaptSettings(task="pretrain", kind="side", objective="gpl", gpl_cross=str(cross), **changes)
    told = adapt(str(tiny), settings, Files(texts), tmp_path / "out")
    assert {"valid_loss", "agreement"} <= set(told["valid"])
    assert any("titles and first sentences" in note for note in told["notes"])
    assert (tmp_path / "out" / "model" / "config.json").exists()


def test_a_model_of_recommend_that_reads_questions_teaches(tiny, texts, tmp_path):
    lines = [f"the {a} cat,the {b} dog,{i % 2}" for i, (a, b) in enumerate([("red", "blue"), ("green", "city")] * 12)]
    (tmp_path / "liked.csv").write_text("history,candidate,label\n" + "\n".join(lines) + "\n", "utf-8")
    asks = AdaptSettings(task="recommend", kind="full", reads="question", epochs=1, precision="fp32", batch=8)
    adapt(str(tiny), asks, Files(tmp_path / "liked.csv"), tmp_path / "liked")
    changes = {"epochs": 1, "batch": 16, "precision": "fp32", "max_tokens": 64}
    cross = str(tmp_path / "liked" / "model")
    settings = AdaptSettings(task="pretrain", kind="side", objective="gpl", gpl_cross=cross, **changes)
    assert "agreement" in adapt(str(tiny), settings, Files(texts), tmp_path / "out")["valid"]


def test_what_lacks_for_pseudo_labels_is_named(tiny, texts, tmp_path):
    settings = AdaptSettings(task="pretrain", kind="side", objective="gpl")
    with pytest.raises(SettingsError, match=r"--set gpl\.cross=FOLDER"):
        adapt(str(tiny), settings, Files(texts), tmp_path / "a")
    with pytest.raises(SettingsError, match="holds no sequence classifier"):
        adapt(str(tiny), dataclasses.replace(settings, gpl_cross=str(tmp_path)), Files(texts), tmp_path / "b")
    with pytest.raises(SettingsError, match="no encoder-decoder"):
        gpl.made_queries(str(tiny), ["a cat"], 0)


def test_an_encoder_decoder_makes_queries(tiny, tmp_path):
    from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(str(tiny))
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=300,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=3,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "maker")
    tokenizer.save_pretrained(tmp_path / "maker")
    passages = ["the cat sat on the mat", "music in winter"]
    first = gpl.made_queries(str(tmp_path / "maker"), passages, 0)
    assert len(first) == 2
    assert all(first)
    assert first == gpl.made_queries(str(tmp_path / "maker"), passages, 0)
