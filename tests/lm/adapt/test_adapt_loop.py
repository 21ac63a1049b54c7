"""The loop: schedules, batches, precision, checkpoints, and the command line around it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forked import langrec
from langrec.errors import DataError
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.loop import shuffled
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.schedule import Share


def run(tiny, topics, out, *, resume=False, **changes):
    settings = AdaptSettings(**{"kind": "lora", "epochs": 1, "batch": 8, "precision": "fp32", **changes})
    return adapt(str(tiny), settings, Files(topics / "train.csv", topics / "valid.jsonl"), out, resume=resume)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "plateau"])
def test_the_rate_rises_over_the_warm_up_and_never_above_its_whole(kind):
    share = Share(kind, 10, 100)
    values = [share(step) for step in range(100)]
    assert values[:10] == sorted(values[:10])
    assert max(values) == pytest.approx(1.0)
    if kind in ("linear", "cosine"):
        assert values[10:] == sorted(values[10:], reverse=True)
        assert values[-1] < 0.02


def test_a_plateau_halves_the_rate_after_each_epoch_that_was_no_better():
    share = Share("plateau", 0, 100)
    assert share(50, [0.5, 0.6]) == 1
    assert share(50, [0.5, 0.5]) == 0.5
    assert share(50, [0.5, 0.6, 0.6, 0.55]) == 0.25


def test_batches_hold_each_row_once_and_texts_of_like_length():
    lengths = np.random.default_rng(0).integers(3, 60, 500)
    found = shuffled(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(found)) == list(range(500))
    spread = np.mean([np.ptp(lengths[rows]) for rows in found])
    assert spread < np.ptp(lengths) / 4
    again = shuffled(lengths, 16, np.random.default_rng(1))
    assert all((a == b).all() for a, b in zip(found, again, strict=True))
    assert any(
        len(a) != len(b) or (a != b).any()
        for a, b in zip(found, shuffled(lengths, 16, np.random.default_rng(2)), strict=True)
    )


def test_the_precision_is_measured_said_and_kept(tiny, topics, tmp_path):
    told = run(tiny, topics, tmp_path, precision="auto")
    assert told["precision"] in ("fp32", "bf16")
    assert any(note.startswith(f"Trained in {told['precision']}") for note in told["notes"])
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["precision"] == told["precision"]


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"checkpointing": True}, {"schedule": "plateau"}, {"clip": 0.0}]
)
def test_every_way_of_training_learns(tiny, topics, tmp_path, changes):
    assert run(tiny, topics, tmp_path, **changes)["valid"]["accuracy"] > 0.85


def test_activations_computed_again_give_the_same_training(tiny, topics, tmp_path):
    kept = run(tiny, topics, tmp_path / "a", kind="full", dropout=0.0)
    again = run(tiny, topics, tmp_path / "b", kind="full", dropout=0.0, checkpointing=True)
    assert again["epochs"][1]["loss"] == pytest.approx(kept["epochs"][1]["loss"], rel=1e-4)


def test_a_damaged_checkpoint_is_named(tiny, topics, tmp_path):
    run(tiny, topics, tmp_path)
    file = tmp_path / "checkpoint" / "checkpoint.safetensors"
    for damaged in (file.read_bytes()[:-400] + bytes(400), b"nothing"):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="start again without --resume"):
            run(tiny, topics, tmp_path, resume=True)


def test_a_finished_run_that_is_resumed_gives_the_same(tiny, topics, tmp_path):
    first = run(tiny, topics, tmp_path)
    again = run(tiny, topics, tmp_path, resume=True)
    assert again["valid"] == first["valid"]


def command(*arguments):
    return langrec("adapt", *arguments)


def test_the_command_prints_one_json_value(tiny, topics, tmp_path):
    done = command(
        *("--task", "classify", "--kind", "head", "--model", tiny, "--train", topics / "train.csv"),
        *("--test", topics / "test.csv", "--out", tmp_path / "out", "--json"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"task", "kind", "seed", "trainable_share", "seconds", "epochs", "valid", "test"} <= set(told)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "classfy", "--train", "x.csv"), "did you mean classify?"),
        (("--task", "classify", "--kind", "loar", "--train", "x.csv"), "did you mean lora?"),
        (("--task", "classify", "--train", "x.csv", "--set", "rates=1"), "did you mean rate?"),
        (("--task", "classify"), "--train: is needed"),
        (("--task", "classify", "--train", "nowhere.csv"), "no such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(tiny, tmp_path, arguments, said):
    done = command(*arguments, "--model", tiny, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
