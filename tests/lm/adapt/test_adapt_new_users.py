"""`--meta reptile`: a start of the head for users that training never met."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.robust.reptile import Start

pytestmark = pytest.mark.slow

HEAD = AdaptSettings(task="recommend", kind="head", meta="reptile", meta_rows=6, precision="fp32")
THINGS = ["cat", "dog", "bird", "fish", "film", "music", "piano", "train", "robot", "river", "city", "house"]


def write(path, users, seed, named=True):
    """Half of the users like the first six things, the others the rest."""
    rng, lines = np.random.default_rng(seed), []
    for user in users:
        for i in rng.permutation(len(THINGS)):
            likes = (i < 6) == (user % 2 == 0)
            row = {"history": [], "candidate": f"the {THINGS[i]}", "label": int(likes)}
            lines.append(json.dumps({**row, "user_id": f"u{user}"} if named else row))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_a_few_rows_of_a_new_user_tell_which_side_it_is_on(tiny, tmp_path):
    train, test = write(tmp_path / "train.jsonl", range(40), 0), write(tmp_path / "test.jsonl", range(40, 60), 1)
    told = adapt(str(tiny), HEAD, Files(train, None, test), tmp_path / "out")
    found = told["test"]
    assert found["units"] == 20
    assert found["reptile_auc_5"] > 0.8 > found["reptile_auc_0"]
    assert {"average_auc_5", "above_average_5", "above_average_5_interval"} <= set(found)
    assert Start.load(tmp_path / "out" / "model").rate > 0
    lines = pl.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert len(lines) == 20 * 6
    assert set(lines["row"]) <= set(range(240))


def test_users_of_the_test_that_training_knows_are_not_new(tiny, tmp_path):
    train, test = write(tmp_path / "train.jsonl", range(40), 0), write(tmp_path / "test.jsonl", range(30, 50), 1)
    told = adapt(str(tiny), HEAD, Files(train, None, test), tmp_path / "out")
    assert 10 <= told["test"]["units"] < 20


def test_what_cannot_be_learned_from_is_said(tiny, tmp_path):
    train = write(tmp_path / "train.jsonl", range(10), 0)
    with pytest.raises(SettingsError, match="use --kind head, not lora"):
        adapt(str(tiny), AdaptSettings(task="recommend", kind="lora", meta="reptile"), Files(train), tmp_path / "a")
    unnamed = write(tmp_path / "unnamed.jsonl", range(10), 0, named=False)
    with pytest.raises(DataError, match="needs a column user_id"):
        adapt(str(tiny), HEAD, Files(unnamed), tmp_path / "b")
    few = AdaptSettings(task="recommend", kind="head", meta="reptile", meta_rows=30)
    with pytest.raises(DataError, match=r"set meta\.rows lower"):
        adapt(str(tiny), few, Files(train), tmp_path / "c")
