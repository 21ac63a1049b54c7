"""Against forgetting: the pull toward the start, weights between two models, and earlier rows played again."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from plain_topics import sentences, write_rows

from langrec.errors import BundleError, SettingsError
from langrec.lm.adapt.examples import Choices, Texts, read_texts
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.robust.keep import Pull, between, blend, joined, with_replay


def settings(**changes):
    return AdaptSettings(**{"kind": "full", "epochs": 1, "batch": 8, "precision": "fp32", "rate": 2e-3, **changes})


def run(model, topics, out, **changes):
    # Few rows and no validation: training goes its whole length, and the last epoch is the one that is kept.
    return adapt(str(model), settings(**{"shots": 6, **changes}), Files(topics / "train.csv"), out)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def apart(one, two):
    return math.sqrt(sum(float(((one[name] - two[name]) ** 2).sum()) for name in one))


def test_the_pull_has_the_gradient_of_the_squared_distance_and_takes_the_place_of_decay():
    value = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    group = {"params": [value], "weight_decay": 0.01}
    pull = Pull([group], 0.5)
    assert group["weight_decay"] == 0.0
    with torch.no_grad():
        value += torch.tensor([2.0, -1.0])
    value.grad = torch.tensor([0.1, 0.1])
    pull.add()
    assert torch.allclose(value.grad, torch.tensor([1.1, -0.4]))
    assert pull.distance() == pytest.approx(math.sqrt(5))


def test_no_pull_changes_nothing():
    value = torch.nn.Parameter(torch.ones(2))
    group = {"params": [value], "weight_decay": 0.01}
    pull = Pull([group], 0.0)
    value.grad = torch.ones(2)
    pull.add()
    assert group["weight_decay"] == 0.01
    assert value.grad.tolist() == [1, 1]


def test_a_stronger_pull_ends_nearer_to_the_start(tiny, topics, tmp_path):
    start, found = weights(tiny), []
    for l2 in (0.0, 100.0):
        run(tiny, topics, tmp_path / str(l2), keep_l2=l2, weight_decay=0.0)
        found.append(apart(start, weights(tmp_path / str(l2) / "model")))
    assert found[0] > found[1] > 0


def test_weights_lie_between_the_start_and_the_tuned_model(tiny, topics, tmp_path):
    start = weights(tiny)
    run(tiny, topics, tmp_path / "whole")
    told = run(tiny, topics, tmp_path / "part", keep_interpolate=0.25)
    whole, part = weights(tmp_path / "whole/model"), weights(tmp_path / "part/model")
    assert apart(start, whole) > 0
    for name, value in start.items():
        assert torch.allclose(part[name], torch.lerp(value, whole[name], 0.25), atol=1e-6), name
    assert any("0.25 of the way" in note for note in told["notes"])


@pytest.mark.parametrize("kind", ["lora", "adalora", "dora", "ia3", "adapter", "side"])
def test_no_share_of_the_way_is_the_model_before_training(tiny, topics, tmp_path, kind):
    from langrec.lm.adapt.kinds import Adapted
    from langrec.lm.model import find_model

    texts = ["the cat and the river", "a film of love and space"]
    before = Adapted(find_model(str(tiny), 64), AdaptSettings(kind="head"))
    wanted = before.vectors(before.feed(texts))
    after = Adapted(find_model(str(tiny), 64), AdaptSettings(kind=kind, dropout=0.0, cached=False))
    start = {name: value.detach().clone() for name, value in after.trained.named_parameters() if value.requires_grad}
    generator = torch.Generator().manual_seed(0)
    tuned = {name: value + 0.3 * torch.randn(value.shape, generator=generator) for name, value in start.items()}
    for share, same in ((0.0, True), (0.5, False)):
        mixed = between(start, tuned, share)
        with torch.no_grad():
            for name, value in after.trained.named_parameters():
                if name in mixed:
                    value.copy_(mixed[name])
        assert torch.allclose(after.vectors(after.feed(texts)), wanted, atol=1e-3) is same


def test_half_of_a_low_rank_change_is_half_of_it_in_the_merged_weights(tiny, topics, tmp_path):
    start = weights(tiny)
    run(tiny, topics, tmp_path / "whole", kind="lora")
    run(tiny, topics, tmp_path / "half", kind="lora", keep_interpolate=0.5)
    whole, half = weights(tmp_path / "whole/model"), weights(tmp_path / "half/model")
    assert apart(start, whole) > 0
    for name, value in start.items():
        assert torch.allclose(half[name], torch.lerp(value, whole[name], 0.5), atol=1e-6), name


def test_two_folders_are_blended_and_read_as_a_model(tiny, topics, tmp_path):
    from langrec.lm.model import find_model

    run(tiny, topics, tmp_path / "a")
    blend(tiny, tmp_path / "a/model", 0.5, tmp_path / "half")
    start, tuned, half = weights(tiny), weights(tmp_path / "a/model"), weights(tmp_path / "half")
    for name, value in start.items():
        assert torch.allclose(half[name], (value + tuned[name]) / 2, atol=1e-6)
    assert find_model(str(tmp_path / "half"), 64).hash != find_model(str(tiny), 64).hash
    assert (tmp_path / "half" / "head.safetensors").is_file()
    with pytest.raises(SettingsError, match="name another folder"):
        blend(tiny, tmp_path / "a/model", 0.5, tmp_path / "a/model")


def test_models_that_differ_are_not_blended(tiny, tmp_path):
    from tiny_lm import tiny_lm

    other = tiny_lm(tmp_path / "other", dim=16)
    with pytest.raises(BundleError, match="differ"):
        blend(other, tiny, 0.5, tmp_path / "out")
    shutil.copytree(tiny, tmp_path / "a/model")
    (tmp_path / "a/model/side.safetensors").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"keep\.interpolate"):
        blend(tiny, tmp_path / "a/model", 0.5, tmp_path / "out2")


def test_rows_are_joined_with_every_column():
    one = Texts(("a", "b"), ("x", "y"), np.array([0, 1]))
    both = joined(one, one.take(np.array([1])))
    assert both.texts == ("a", "b", "b")
    assert both.labels == ("x", "y", "y")
    assert both.rows.tolist() == [0, 1, 1]
    first = Choices((("a",),), ((),), ("b",), np.array([1.0]), np.array(["u"]), np.array([0]))
    second = Choices((("c",),), (("d",),), ("e",), np.array([0.0]), None, np.array([0]))
    assert joined(first, second).disliked == ((), ("d",))
    assert joined(first, second).users is None


def test_a_share_of_earlier_rows_is_trained_on_too(tiny, topics, tmp_path):
    old = write_rows(tmp_path / "old.csv", [(f"the piano {i % 7} of music", "music") for i in range(30)])
    told = run(tiny, topics, tmp_path / "a", kind="lora", keep_replay=0.2, keep_from=str(old))
    assert told["rows"]["train"] == 18 + 4
    assert any("4 of 30 rows of old.csv" in note for note in told["notes"])
    assert "music" in (tmp_path / "a/model/head.json").read_text("utf-8")


def test_a_replay_without_rows_or_without_a_share_says_what_it_lacks(tmp_path):
    train = Texts(("a",), ("x",), np.array([0]))
    for changes, lacks in (({"keep_replay": 0.1}, "keep.from=FILE"), ({"keep_from": "old.csv"}, "keep.replay=0.05")):
        with pytest.raises(SettingsError, match=lacks):
            with_replay(train, settings(**changes), read_texts, [])
    assert with_replay(train, settings(), read_texts, []) is train


def test_replayed_rows_follow_the_seed(tmp_path):
    old = write_rows(tmp_path / "old.csv", sentences(60, 3))
    train = read_texts(write_rows(tmp_path / "new.csv", sentences(30, 4)))
    texts = [
        with_replay(train, settings(keep_replay=0.5, keep_from=str(old), seed=seed), read_texts, []).texts
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]
