"""Texts to labels: from files to a folder with metrics, predictions, a page and a model that is found again."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from forked import Started, langrec
from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.classify import contrastive
from langrec.lm.adapt.examples import hold_out, read_texts, spelled
from langrec.lm.adapt.head import Head
from langrec.lm.adapt.heads import softened
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.export import load_torch
from langrec.lm.model import find_model
from langrec.lm.tokens import Tokens


def run(tiny, topics, out, *, files=None, resume=False, **changes):
    settings = AdaptSettings(**{"epochs": 2, "batch": 8, "precision": "fp32", **changes})
    files = files or Files(topics / "train.csv", topics / "valid.jsonl", topics / "test.csv")
    return adapt(str(tiny), settings, files, out, resume=resume)


def test_a_run_writes_metrics_predictions_a_page_and_a_model(tiny, topics, tmp_path):
    told = run(tiny, topics, tmp_path, kind="full")
    assert json.loads((tmp_path / "metrics.json").read_text("utf-8")) == told
    assert told["task"] == "classify"
    assert told["kind"] == "full"
    assert 0 < told["trainable_share"] < 1
    assert [row["epoch"] for row in told["epochs"]] == [0, 1, 2]
    assert told["test"]["accuracy"] > 0.9
    assert set(told["test"]["classes"]) == {"animals", "films", "seasons"}
    frame = pl.read_parquet(tmp_path / "predictions.parquet")
    assert frame.columns[:4] == ["row", "label", "predicted", "probability"]
    assert frame["row"].to_list() == list(range(30))
    assert (frame["label"] == frame["predicted"]).mean() == pytest.approx(told["test"]["accuracy"])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "animals" in page
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_the_saved_model_and_head_predict_what_was_measured(tiny, topics, tmp_path):
    run(tiny, topics, tmp_path, kind="lora")
    model, head = find_model(str(tmp_path / "model"), 64), Head.load(tmp_path / "model")
    module, tokens = load_torch(model), Tokens.of_model(model)
    frame = pl.read_parquet(tmp_path / "predictions.parquet")
    texts = pl.read_csv(topics / "test.csv")["text"].to_list()
    with torch.no_grad():
        rows = [module(torch.from_numpy(i[None].astype(np.int64)), torch.ones(1, len(i)).long()) for i in tokens(texts)]
    shares = head.probabilities(torch.cat(rows).numpy())
    assert [head.labels[i] for i in shares.argmax(1)] == frame["predicted"].to_list()
    assert np.allclose(shares.max(1), frame["probability"].to_numpy(), atol=1e-3)


@pytest.mark.parametrize("kind", ["head", "side", "last", "adapter", "adalora"])
def test_each_kind_learns_plain_topics(tiny, topics, tmp_path, kind):
    told = run(tiny, topics, tmp_path, kind=kind, layers=1)
    assert told["test"]["accuracy"] > 0.9


def test_the_best_epoch_on_validation_is_kept(tiny, topics, tmp_path):
    told = run(tiny, topics, tmp_path, kind="full", epochs=3, rate=0.5)  # a rate that ruins the model
    assert told["valid"]["accuracy"] == pytest.approx(max(row["accuracy"] for row in told["epochs"]))


def test_training_stops_when_validation_no_longer_gets_better(tiny, topics, tmp_path):
    told = run(tiny, topics, tmp_path, kind="full", epochs=50, rate=0.5, patience=2)
    assert len(told["epochs"]) < 20


def test_the_temperature_is_the_one_of_the_lowest_loss_and_makes_nothing_surer():
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.normal(0, 2, (4000, 3)))
    shares = torch.softmax(true, dim=1).numpy()
    targets = torch.from_numpy(np.array([rng.choice(3, p=row) for row in shares]))
    temperature, loss = softened(true * 4, targets)  # four times as sure as it is right
    assert temperature == pytest.approx(4, rel=0.1)
    assert loss < torch.nn.functional.cross_entropy(true * 4, targets) / 1.3
    assert softened(true * 0.25, targets)[0] == 1.0


def test_a_model_that_is_surer_than_right_is_softened_by_validation(tiny, topics, tmp_path, monkeypatch):
    monkeypatch.setattr("langrec.lm.adapt.heads.RIDGES", (1e-6,))  # which lets the regression be as sure as it likes
    valid = pl.read_ndjson(topics / "valid.jsonl").with_row_index()
    turned = pl.col("label").replace({"animals": "films", "films": "seasons", "seasons": "animals"})
    valid = valid.with_columns(pl.when(pl.col("index") % 3 == 0).then(turned).otherwise("label").alias("label"))
    valid.select("text", "label").write_csv(tmp_path / "valid.csv")
    files = Files(topics / "train.csv", tmp_path / "valid.csv")
    told = run(tiny, topics, tmp_path / "out", kind="head", files=files)
    assert any(note.startswith("Logits are divided by") for note in told["notes"])
    assert max(row["temperature"] for row in told["epochs"]) > 1.2
    assert min(row["valid_loss"] - row["calibrated_loss"] for row in told["epochs"]) >= 0
    said = pl.read_parquet(tmp_path / "out" / "predictions.parquet")["probability"].mean()
    assert said == pytest.approx(told["valid"]["accuracy"], abs=0.15)


def test_without_a_validation_file_a_share_of_each_label_is_held_out_and_said(tiny, topics, tmp_path):
    told = run(tiny, topics, tmp_path, kind="head", files=Files(topics / "train.csv"))
    assert told["rows"] == {"train": 54, "valid": 6}
    assert {name: one["support"] for name, one in told["valid"]["classes"].items()} == {
        "animals": 2,
        "films": 2,
        "seasons": 2,
    }
    assert any("held out" in note for note in told["notes"])
    assert told["predictions_of"] == "valid"


@pytest.mark.parametrize("kind", ["full", "side", "head"])
def test_a_few_rows_per_label_are_drawn_by_the_seed(tiny, topics, tmp_path, kind):
    files = Files(topics / "train.csv", None, topics / "test.csv")
    first = run(tiny, topics, tmp_path / "a", kind=kind, shots=4, files=files)
    again = run(tiny, topics, tmp_path / "b", kind=kind, shots=4, files=files)
    assert first["rows"]["train"] == 12
    assert first["test"] == again["test"]
    assert first["test"]["accuracy"] > 0.7


def test_predictions_of_no_row_have_their_columns(tiny, topics, tmp_path):
    told = run(tiny, topics, tmp_path, kind="head", shots=4, files=Files(topics / "train.csv"))
    assert told["valid"] == told["test"] == {}
    frame = pl.read_parquet(tmp_path / "predictions.parquet")
    chances = [f"probability_{label}" for label in ("animals", "films", "seasons")]
    assert frame.columns == ["row", "label", "predicted", "probability", *chances]
    assert frame.schema["label"] == frame.schema["predicted"] == pl.String and frame.height == 0


def test_a_labels_name_is_one_more_text_of_it(tiny, topics, tmp_path):
    files = Files(topics / "train.csv", None, topics / "test.csv")
    named = run(tiny, topics, tmp_path / "a", kind="head", shots=1, files=files)
    plain = run(tiny, topics, tmp_path / "b", kind="head", shots=1, files=files, label_names=False)
    assert "The names of 3 labels are one more text of each." in named["notes"]
    assert named["rows"] == plain["rows"] and named["rows"]["train"] == 3
    weights = [Head.load(tmp_path / name / "model").weight for name in "ab"]
    assert not np.allclose(*weights)


def test_names_are_spelled_out_and_left_out_where_they_say_nothing():
    found = spelled(["card_arrival", "Card linking?", "class 1", "class 2", "7", "a", "退款"])
    assert found.texts == ("card arrival", "card linking", "退款")
    assert found.labels == ("card_arrival", "Card linking?", "退款")


def test_more_shots_than_rows_are_refused(tiny, topics, tmp_path):
    with pytest.raises(DataError, match="label animals has only 20 rows"):
        run(tiny, topics, tmp_path, shots=21)


def test_the_contrastive_loss_falls_when_texts_of_one_label_come_together():
    targets = torch.tensor([0, 0, 1, 1])
    apart = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]]), dim=1)
    together = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), dim=1)
    assert contrastive(together, targets, 0.1) < contrastive(apart, targets, 0.1)
    assert contrastive(together, targets, 0.1) == pytest.approx(0.0, abs=1e-3)
    assert contrastive(together, torch.arange(4), 0.1) == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,label\na cat,\n", r"a\.csv: row 1: column label is blank"),
        ("b.csv", "text,label\na cat,x\n,y\n", r"b\.csv: row 2: column text is blank"),
        ("c.csv", "text,labels\na cat,x\n", r"c\.csv: has no column label \(did you mean labels\?\)"),
        ("d.jsonl", '{"text": "a", "label": "x"}\nnothing\n', r"d\.jsonl: row 2: not JSON"),
        ("e.csv", "text,label\n", r"e\.csv"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_column(tiny, tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=said):
        adapt(str(tiny), AdaptSettings(kind="head"), Files(path), tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "said"), [(("text", "text"), "column text is wanted twice"), (("text", "row"), "column row.*rename it")]
)
def test_a_column_that_cannot_be_both_is_refused(tiny, tmp_path, names, said):
    path = tmp_path / "rows.csv"
    path.write_text("text,row\na cat,x\n", "utf-8")
    with pytest.raises(DataError, match=said):
        adapt(str(tiny), AdaptSettings(kind="head"), Files(path, None, None, *names), tmp_path / "out")


def test_a_label_of_validation_that_training_lacks_is_named_with_its_file(tiny, topics, tmp_path):
    valid = tmp_path / "valid.csv"
    valid.write_text("text,label\na cat and a dog,animals\nthe piano,music\n", "utf-8")
    with pytest.raises(DataError, match=r"valid\.csv: row 2: label music is not among"):
        run(tiny, topics, tmp_path / "out", kind="head", files=Files(topics / "train.csv", valid))


def test_labels_of_one_row_each_leave_none_to_hold_out(tiny, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("text,label\na cat,animals\nthe piano,music\n", "utf-8")
    with pytest.raises(DataError, match=r"train\.csv: each label has one row.*--shots 1"):
        adapt(str(tiny), AdaptSettings(kind="head"), Files(path), tmp_path / "out")
    assert adapt(str(tiny), AdaptSettings(kind="head", shots=1), Files(path), tmp_path / "out")["rows"]["train"] == 2


def test_what_is_held_out_of_few_rows_is_of_a_label_that_keeps_others():
    labels = ["a", "b", "b", "c", "d", "e"]
    for seed in range(20):
        kept, held = hold_out(labels, 0.1, seed)
        assert [labels[i] for i in held] == ["b"]
        assert sorted([*kept, *held]) == list(range(6))


def test_a_tenth_is_held_out_of_many_labels_with_few_rows_each():
    labels = [label for label in range(50) for _ in range(4)] + ["often"] * 20 + ["once"]
    labels = [str(label) for label in labels]
    for seed in range(5):
        kept, held = hold_out(labels, 0.1, seed)
        few = [labels[i] for i in held if labels[i] != "often"]
        assert len(few) == 20 and len(set(few)) == 20
        assert [labels[i] for i in held].count("often") == 2
        assert {labels[i] for i in kept} == set(labels)


def test_a_label_that_training_did_not_have_counts_as_wrong_in_the_test(tiny, topics, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text("text,label\na cat and a dog,animals\nthe piano,music\n", "utf-8")
    told = run(tiny, topics, tmp_path / "out", kind="head", files=Files(topics / "train.csv", None, test))
    assert told["test"]["classes"]["music"]["recall"] == 0
    assert told["test"]["accuracy"] <= 0.5
    said = "1 of 2 test rows have labels that training lacks and count as wrong: music (1)."
    assert said in told["notes"] and said in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_gradients_summed_over_two_half_batches_train_like_the_whole_batch(tiny, topics, tmp_path):
    whole = run(tiny, topics, tmp_path / "a", kind="full", dropout=0.0, batch=60, epochs=1)
    halves = run(tiny, topics, tmp_path / "b", kind="full", dropout=0.0, batch=30, accumulate=2, epochs=1)
    assert halves["epochs"][1]["valid_loss"] == pytest.approx(whole["epochs"][1]["valid_loss"], rel=1e-3)


def numbers(told):
    return {name: told[name] for name in ("valid", "test", "trainable_share")} | {
        "epochs": [{name: value for name, value in row.items() if name != "seconds"} for row in told["epochs"]]
    }


def test_a_run_goes_on_only_with_the_same_settings(tiny, topics, tmp_path):
    run(tiny, topics, tmp_path, kind="head")
    with pytest.raises(SettingsError, match="other settings"):
        run(tiny, topics, tmp_path, kind="side", resume=True)


@pytest.mark.parametrize("task", ["classify", "joint"])
def test_rows_of_one_label_are_refused(tiny, tmp_path, task):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na cat,animals\na dog,animals\na bird,animals\n", "utf-8")
    files = Files(path) if task == "classify" else Files(None, more={"classify": path, "pretrain": path})
    with pytest.raises(DataError, match="every row has the label animals"):
        adapt(str(tiny), AdaptSettings(task=task, kind="head"), files, tmp_path / "out")


def test_blanks_around_a_label_make_no_other_label(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na cat, animals\na dog,animals \na bird,animals\n", "utf-8")
    assert read_texts(path).labels == ("animals",) * 3


@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64, pl.Decimal(9, 2)], ids=["int", "float", "decimal"])
def test_whole_numbers_are_the_same_labels_however_a_file_keeps_them(tmp_path, kind):
    rows = pl.DataFrame({"text": ["one", "two", "three"], "label": pl.Series([1, 20, -3]).cast(kind)})
    rows.write_parquet(tmp_path / "rows.parquet")
    assert read_texts(tmp_path / "rows.parquet").labels == ("1", "20", "-3")


def test_a_text_file_writes_the_labels_of_numbers_as_other_files_do(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\none,4.0\ntwo,4.5\nthree,-1.0\nfour,4\nfive,v4.0\n", "utf-8")
    assert read_texts(path).labels == ("4", "4.5", "-1", "4", "v4.0")


def test_a_slip_leaves_the_model_of_the_run_before(tiny, topics, tmp_path):
    files = Files(topics / "train.csv")
    run(tiny, topics, tmp_path, kind="head", files=files)
    before = Head.load(tmp_path / "model")
    with pytest.raises(DataError, match="has no column labels"):
        run(tiny, topics, tmp_path, kind="head", files=replace(files, label="labels"))
    assert (Head.load(tmp_path / "model").weight == before.weight).all()


@pytest.mark.parametrize("stopped", ["fit", "share", "page"])
def test_no_number_of_an_earlier_run_stands_beside_a_run_that_was_stopped(tiny, topics, tmp_path, monkeypatch, stopped):
    def stop(*_, **__):
        raise KeyboardInterrupt

    run(tiny, topics, tmp_path, kind="full")
    place = {"fit": "job.fit", "share": "job.Job.share", "page": "page.page"}[stopped]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"langrec.lm.adapt.{place}", stop)
        run(tiny, topics, tmp_path, kind="full", seed=1)
    assert not (tmp_path / "metrics.json").exists()
    assert (tmp_path / "model").exists() == (stopped == "page")
    assert run(tiny, topics, tmp_path, kind="full", seed=1, resume=True)["seed"] == 1
    assert json.loads((tmp_path / "metrics.json").read_text("utf-8"))["seed"] == 1


def test_a_run_goes_on_only_with_the_same_columns(tiny, topics, tmp_path):
    files = Files(topics / "train.csv")
    run(tiny, topics, tmp_path, kind="head", files=files)
    with pytest.raises(SettingsError, match="other columns"):
        run(tiny, topics, tmp_path, kind="head", files=replace(files, label="text"), resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "adalora", "side"])
def test_a_run_that_was_killed_goes_on_to_the_same_result(tiny, topics, tmp_path, kind):
    # Each run in a process of its own: sums depend on the number of threads, and other tests may have set that here.
    def command(out, *more):
        words = ["adapt", "--task", "classify", "--kind", kind, "--model", tiny]
        for name in ("train.csv", "valid.jsonl", "test.csv"):
            words += [f"--{name.partition('.')[0]}", topics / name]
        sets = ("epochs=24", "batch=8", "precision=fp32", "patience=24")
        return [*words, "--out", out, *(part for one in sets for part in ("--set", one)), *more]

    def told(out, *more):
        done = langrec(*command(out, *more))
        assert done.returncode == 0, done.stderr
        return json.loads((out / "metrics.json").read_text("utf-8"))

    out = tmp_path / "killed"
    whole = told(tmp_path / "whole")
    process = Started(command(out))
    deadline = time.monotonic() + 600
    while not (out / "checkpoint" / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait().returncode == -signal.SIGKILL
    assert (out / "checkpoint" / "checkpoint.safetensors").exists()
    assert not (out / "metrics.json").exists()
    assert numbers(told(out, "--resume")) == numbers(whole)
    first = pl.read_parquet(tmp_path / "whole" / "predictions.parquet")
    assert pl.read_parquet(out / "predictions.parquet").equals(first)
