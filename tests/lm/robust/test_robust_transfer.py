"""The matrix of domain by order of training."""

from __future__ import annotations

import json

import numpy as np
import pytest

from langrec.errors import SettingsError
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.model import find_model
from langrec.lm.robust.transfer import Carried, Domain, Matrix, Step, carry, matrix


def domains(topics, tmp_path):
    rows = [
        {"anchor": f"the {a} cat", "positive": f"the {b} dog"}
        for a, b in zip(
            ("red", "green", "piano", "space", "film", "story"),
            ("blue", "river", "music", "robot", "summer", "war"),
            strict=True,
        )
    ]
    for name in ("pairs", "pairs-test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return (
        Domain("topics", "classify", Files(topics / "train.csv", None, topics / "test.csv")),
        Domain("pairs", "pairs", Files(tmp_path / "pairs.jsonl", None, tmp_path / "pairs-test.jsonl")),
    )


@pytest.mark.slow
def test_every_domain_is_measured_before_and_after_each_turn(tiny, topics, tmp_path):
    first, second = domains(topics, tmp_path)
    settings = AdaptSettings(kind="lora", epochs=1, batch=8, precision="fp32")
    found = matrix(str(tiny), settings, [first, second], tmp_path / "out")
    assert found.order == found.domains == ("topics", "pairs")
    assert found.metrics == ("accuracy", "mrr")
    assert [len(row) for row in found.scores] == [2, 2, 2]
    for scores, low, high in zip(found.scores, found.low, found.high, strict=True):
        assert all(0 <= a <= b <= c <= 1 for a, b, c in zip(low, scores, high, strict=True))
    # The second turn went on from what the first one gave.
    told = json.loads((tmp_path / "out/2-pairs/run.json").read_text("utf-8"))
    assert told["model"] == find_model(str(tmp_path / "out/1-topics/model"), 64).hash
    found.save(tmp_path / "matrix.json")
    told = json.loads((tmp_path / "matrix.json").read_text("utf-8"))
    assert set(told["forgotten"]) == set(told["ahead"]) == {"topics", "pairs"}


def test_what_was_forgotten_and_what_came_ahead_are_read_off_the_matrix():
    scores = ((0.5, 0.4, 0.1), (0.8, 0.6, 0.2), (0.7, 0.9, 0.3))
    found = Matrix(("a", "b"), ("a", "b", "c"), ("auc",) * 3, scores, scores, scores)
    assert found.forgotten() == pytest.approx({"a": 0.1, "b": 0.0})
    assert found.ahead() == pytest.approx({"a": 0.0, "b": 0.2, "c": 0.2})
    lines = found.table().splitlines()
    assert lines[2].startswith("| nothing | 0.500")
    assert lines[3].startswith("| a | 0.800")
    assert lines[4].startswith("| then b | 0.700")


def test_an_order_that_cannot_be_trained_is_refused_before_anything_is(tiny, topics, tmp_path):
    first, second = domains(topics, tmp_path)
    with pytest.raises(SettingsError, match="beside the weights"):
        matrix(str(tiny), AdaptSettings(kind="side"), [first, second], tmp_path / "out")
    with pytest.raises(SettingsError, match="each named once"):
        matrix(str(tiny), AdaptSettings(kind="lora"), [first, first], tmp_path / "out")
    with pytest.raises(SettingsError, match="has no place in the matrix"):
        Domain("texts", "pretrain", first.files)
    with pytest.raises(SettingsError, match="needs training rows and a test"):
        Domain("topics", "classify", Files(topics / "train.csv"))
    assert not (tmp_path / "out").exists()


def by_rule(folder, name, first, second, seed):
    """A domain of pairs: what belongs to a word is told by a rule that both domains share, in words of its own."""
    rng = np.random.default_rng(seed)
    for part, n in (("train", 240), ("test", 60)):
        rows = []
        for _ in range(n):
            i = rng.integers(len(RULE))
            rows.append({"anchor": f"{first} {RULE[i][0]}", "positive": f"{second} {RULE[i][1]}"})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}-{part}.jsonl").write_text(text, "utf-8")
    return Domain(name, "pairs", Files(folder / f"{name}-train.jsonl", None, folder / f"{name}-test.jsonl"))


RULE = (("cat", "winter"), ("dog", "summer"), ("bird", "music"), ("fish", "robot"), ("film", "river"), ("story", "war"))


@pytest.mark.slow
def test_what_two_domains_share_is_carried_over(tiny, tmp_path):
    source = by_rule(tmp_path, "shop", "the", "a", 0)
    target = by_rule(tmp_path, "films", "red", "blue", 1)
    settings = AdaptSettings(kind="full", epochs=8, batch=16, rate=5e-4, precision="fp32", width=16, dropout=0.0)
    found = carry(str(tiny), settings, source, target, tmp_path / "out", shares=(0.0, 0.1))
    assert [(step.start, step.rows) for step in found.steps] == [
        (str(tiny), 0),
        ("shop", 0),
        (str(tiny), 24),
        ("shop", 24),
    ]
    plain, carried, *_ = found.steps
    assert plain.gain == 0
    assert carried.gain == pytest.approx(carried.score - plain.score)
    assert carried.gain_low > 0
    assert len(found.table().splitlines()) == 6


def test_a_domain_is_not_its_own_target(tiny, topics, tmp_path):
    first, second = domains(topics, tmp_path)
    with pytest.raises(SettingsError, match="name two domains"):
        carry(str(tiny), AdaptSettings(kind="lora"), first, first, tmp_path / "out")
    with pytest.raises(SettingsError, match="beside the weights"):
        carry(str(tiny), AdaptSettings(kind="side"), first, second, tmp_path / "out")


def test_a_gain_stands_beside_the_carried_start_alone():
    steps = (Step("m", 0.0, 0, 0.1, 0.0, 0.2, 0.0, 0.0, 0.0), Step("a", 0.0, 0, 0.3, 0.2, 0.4, 0.2, 0.1, 0.3))
    lines = Carried("a", "b", "mrr", steps).table().splitlines()
    assert lines[2].endswith("|  |")
    assert lines[3] == "| a | 0% | 0 | 0.3000 (0.2000 to 0.4000) | +0.2000 (+0.1000 to +0.3000) |"
