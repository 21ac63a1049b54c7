"""Pairs, pre-training and several tasks at once, on plain worlds."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch
from plain_topics import sentences

from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.pairs import PairsTask, read_pairs, widths
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.export import load_torch
from langrec.lm.model import find_model

FIRST = ["cat", "dog", "kitten", "bird", "fish", "film", "movie", "story", "comedy", "drama", "love", "river"]
SECOND = ["winter", "summer", "green", "blue", "red", "war", "space", "train", "robot", "music", "piano", "city"]


def write_pairs(path, n, seed):
    """The newest title of a history says what comes next, by a rule that no word tells."""
    rng, lines = np.random.default_rng(seed), []
    for i in range(n):
        old, new = rng.integers(len(FIRST), size=2)
        history = [f"the {FIRST[old]}", f"the {FIRST[new]} {FIRST[new]}"]
        row = {"user": f"u{i}", "history": history, "candidate": f"a {SECOND[new]}"}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def next_films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "train.jsonl", 240, 0)
    write_pairs(folder / "test.jsonl", 30, 1)
    return folder


def run(tiny, task, files, out, **changes):
    settings = AdaptSettings(task=task, **{"epochs": 3, "batch": 16, "precision": "fp32", "width": 8, **changes})
    return adapt(str(tiny), settings, files, out)


@pytest.mark.parametrize("kind", ["full", "side"])
def test_histories_come_to_what_followed_them(tiny, next_films, tmp_path, kind):
    told = run(
        tiny,
        "pairs",
        Files(next_films / "train.jsonl", None, next_films / "test.jsonl"),
        tmp_path,
        kind=kind,
        rate=3e-3,
        epochs=8,
    )
    assert told["valid"]["mrr"] > told["epochs"][0]["mrr"] + 0.1
    assert {"mrr", "mrr_16", "mrr_8"} <= set(told["test"])
    frame = pl.read_parquet(tmp_path / "predictions.parquet")
    assert {"row", "label", "predicted", "probability", "rank"} == set(frame.columns)
    assert (1 / frame["rank"]).mean() == pytest.approx(told["test"]["mrr"])
    assert find_model(str(tmp_path / "model"), 64).hash


def test_anchors_with_hard_negatives_are_read(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("anchor,positive,negative,user_id\na cat,a kitten,a train,u\na dog,a bird,,v\n", "utf-8")
    pairs = read_pairs(path)
    assert pairs.anchors == ("a cat", "a dog")
    assert pairs.negatives == ("a train", "")
    path.write_text("anchor,positive\na cat,\n", "utf-8")
    with pytest.raises(DataError, match="row 1: column positive is blank"):
        read_pairs(path)


def test_a_pair_without_a_history_is_named(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("history,candidate\na cat|a dog,a bird\n,a kitten\n", "utf-8")
    with pytest.raises(DataError, match="row 2: column history is blank"):
        read_pairs(path)


def test_other_rows_of_a_user_and_the_text_itself_are_no_negatives(tiny, tmp_path):
    path = tmp_path / "pairs.csv"
    rows = ["a cat,a dog,u", "a film,a movie,u", "a dog,a cat,v", "a bird,a fish,w"]
    path.write_text("anchor,positive,user\n" + "\n".join(rows) + "\n", "utf-8")
    pairs = read_pairs(path)
    task = PairsTask(Adapted(find_model(str(tiny), 64), AdaptSettings(task="pairs", kind="side")), pairs, pairs)
    rows = np.arange(4)
    wanted = np.unique(task.positive)
    wrong = task._false(rows, wanted)
    names = [task.texts[i] for i in wanted]
    left_out = {(pairs.anchors[i], names[j]) for i, j in zip(*np.nonzero(wrong), strict=True)}
    # The first two rows are one user's; a cat is another row's positive and this row's own text.
    assert left_out == {("a cat", "a movie"), ("a cat", "a cat"), ("a film", "a dog"), ("a dog", "a dog")}


def test_widths_are_halved_down_to_the_smallest():
    assert widths(384, 64) == [384, 192, 96, 64]
    assert widths(32, 8) == [32, 16, 8]
    assert widths(32, 64) == [32]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    path.write_text("text\n" + "\n".join(text for text, _ in sentences(90, 5)) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("kind", ["lora", "side"])
def test_a_sentence_encoder_learns_to_know_texts_again(tiny, texts, tmp_path, kind):
    told = run(tiny, "pretrain", Files(texts, texts, texts), tmp_path, kind=kind)
    assert min(row["valid_loss"] for row in told["epochs"][1:]) < told["epochs"][0]["valid_loss"]
    assert any("contrast" in note for note in told["notes"])
    assert told["test"]["loss"] == told["valid"]["valid_loss"] and told["rows"]["test"] == told["rows"]["valid"]
    assert (tmp_path / "model" / "config.json").exists()


@pytest.fixture(scope="module")
def masked(tiny, tmp_path_factory):
    """The tiny model with a head for masked tokens."""
    import shutil

    from transformers import AutoConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("masked") / "masked"
    shutil.copytree(tiny, folder)
    torch.manual_seed(0)
    BertForMaskedLM(AutoConfig.from_pretrained(str(tiny))).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_model_with_a_head_for_masked_tokens_learns_to_fill_them_in(masked, texts, tmp_path, kind):
    told = run(masked, "pretrain", Files(texts), tmp_path, kind=kind, epochs=6, head_rate=0.01)
    assert told["valid"]["valid_loss"] < 0.9 * told["epochs"][0]["valid_loss"]
    assert any("masked" in note for note in told["notes"])
    model = find_model(str(tmp_path / "model"), 64)
    assert load_torch(model)(torch.tensor([[1, 2]]), torch.ones(1, 2).long()).shape == (1, 32)
    assert json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))["architectures"] == ["BertForMaskedLM"]


@pytest.mark.parametrize(
    ("task", "content"),
    [
        ("classify", "text,label\na cat,animals\n"),
        ("pretrain", "text\na cat\n"),
        ("pairs", "anchor,positive\na cat,a kitten\n"),
        ("recommend", "history,candidate,label\na cat,a kitten,1\n"),
    ],
)
def test_one_row_is_too_few_to_hold_some_out(tiny, tmp_path, task, content):
    path = tmp_path / "rows.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=r"rows\.csv: 1 rows are too few to hold some out.*--valid"):
        run(tiny, task, Files(path), tmp_path / "out", kind="side", epochs=1)


def test_rows_that_were_drawn_for_pretraining_are_said(tiny, texts, tmp_path):
    told = run(tiny, "pretrain", Files(texts, texts), tmp_path, kind="side", epochs=1, shots=20)
    assert told["rows"]["train"] == 20 and "20 rows were drawn by seed 0." in told["notes"]


def test_the_head_alone_cannot_be_pretrained(tiny, texts, tmp_path):
    with pytest.raises(SettingsError, match="choose full"):
        run(tiny, "pretrain", Files(texts), tmp_path, kind="head")


@pytest.mark.parametrize("weigh", ["uncertainty", "equal"])
def test_several_tasks_share_one_encoder(tiny, topics, next_films, texts, tmp_path, weigh):
    more = {
        "classify": topics / "train.csv",
        "classify.again": topics / "test.csv",
        "pairs": next_films / "train.jsonl",
        "pretrain": texts,
    }
    told = run(tiny, "joint", Files(None, more=more), tmp_path, kind="full", weigh=weigh)
    assert told["valid"]["classify.accuracy"] > 0.8
    assert {"classify.again.accuracy", "pairs.mrr", "pretrain.valid_loss"} <= set(told["valid"])
    assert any("Weights learned" in note for note in told["notes"]) == (weigh == "uncertainty")
    assert (tmp_path / "report.html").exists()
    lines = pl.read_parquet(tmp_path / "predictions.parquet")
    assert lines.columns == ["task", "row", "label", "predicted", "probability"]
    own = lines.filter(pl.col("task") == "classify")
    assert (own["label"] == own["predicted"]).mean() == told["valid"]["classify.accuracy"]
    whole = pl.read_csv(topics / "train.csv").height
    assert told["rows"]["classify"] + own.height == whole and set(lines["task"]) == {
        "classify",
        "classify.again",
        "pairs",
    }


def test_labels_of_recommend_are_written_as_predictions_are(tiny, topics, tmp_path):
    labels = [0, 1, 0.7]
    rows = [
        {"history": [f"the {FIRST[i % 12]}"], "candidate": SECOND[i % 7], "label": labels[i % 3]} for i in range(60)
    ]
    (tmp_path / "liked.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    more = {"classify": topics / "train.csv", "recommend": tmp_path / "liked.jsonl"}
    run(tiny, "joint", Files(None, more=more), tmp_path / "out", kind="head", valid_share=0.5)
    lines = pl.read_parquet(tmp_path / "out" / "predictions.parquet").filter(pl.col("task") == "recommend")
    assert set(lines["label"]) == {"0", "1", "0.7"}
    assert set(lines["predicted"]) <= {"0", "1"}


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_joint_refuses_files_that_it_would_pass_over(tiny, topics, texts, tmp_path, name):
    more = {"classify": topics / "train.csv", "pretrain": texts}
    files = {"train": None, "more": more, name: topics / "test.csv"}
    with pytest.raises(SettingsError, match=f"takes no --{name}"):
        run(tiny, "joint", Files(**files), tmp_path)
    with pytest.raises(SettingsError, match="takes no --shots"):
        run(tiny, "joint", Files(None, more=more), tmp_path, shots=3)


def test_joint_needs_two_tasks(tiny, topics, tmp_path):
    with pytest.raises(SettingsError, match="two or more"):
        run(tiny, "joint", Files(None, more={"classify": topics / "train.csv"}), tmp_path)
