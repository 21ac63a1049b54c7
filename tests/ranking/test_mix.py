"""The learned mix and rank fusion, against worlds with known weights, numeric gradients and plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from langrec.ranking import mix as mix_module
from langrec.ranking.mix import Mix, MixSamples, log_features, rank_features, rrf_mix

NAN = np.nan


def signals_of(rows):
    """(s, q, n) float32 from nested lists."""
    return np.array(rows, dtype=np.float32)


def slow_log_feature(row):
    positive = [0.0 if math.isnan(x) else max(x, 0.0) for x in row]
    mean = sum(positive) / len(positive)
    return [math.log(1 + x / mean) if mean else 0.0 for x in positive]


def planted(questions=400, n=40, strengths=(2.0, 0.0), seed=0):
    """Targets drawn from a softmax over the signals' features with known weights."""
    rng = np.random.default_rng(seed)
    signals = rng.exponential(size=(len(strengths), questions, n)).astype(np.float32)
    logits = np.tensordot(np.array(strengths), log_features(signals).astype(float), axes=1)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(n, p=row) for row in odds], dtype=np.int32)
    return signals, targets


def nothing_seen(questions):
    return [np.zeros(0, dtype=np.int32)] * questions


def learned(signals, targets, seed=0, **fit):
    samples = MixSamples([f"s{i}" for i in range(len(signals))], seed=seed)
    samples.add(signals, nothing_seen(len(targets)), targets)
    return samples.fit(**fit)


def test_the_log_feature_by_hand():
    signals = signals_of([[[1, 3, NAN, -2]], [[0, 0, 0, 0]]])
    expected = [[slow_log_feature([1, 3, NAN, -2])], [[0, 0, 0, 0]]]
    np.testing.assert_allclose(log_features(signals), expected, rtol=1e-6)


def test_features_do_not_depend_on_a_signals_scale():
    rng = np.random.default_rng(0)
    signals = rng.exponential(size=(2, 3, 50)).astype(np.float32)
    np.testing.assert_allclose(log_features(signals), log_features(signals * 1000), rtol=1e-4)


def test_the_rank_feature_by_hand():
    """Equal scores rank by number, what cannot be scored gets nothing."""
    signals = signals_of([[[5, NAN, 7, 5, -1]]])
    expected = [[[1 / 62, 0, 1 / 61, 1 / 63, 1 / 64]]]
    np.testing.assert_allclose(rank_features(signals, 60.0), expected, rtol=1e-6)


def test_reciprocal_rank_fusion_by_hand():
    signals = signals_of([[[3, 2, 1]], [[NAN, 9, 8]]])
    scores = rrf_mix(["a", "b"], 60.0).parts(signals).sum(axis=0)[0]
    np.testing.assert_allclose(scores, [1 / 61, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62], rtol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "rrf"])
def test_a_signal_that_cannot_score_adds_nothing(kind):
    mix = Mix(("a", "b"), kind, np.array([1.0, 2.0], dtype=np.float32))
    signals = signals_of([[[1, 2, 3]], [[NAN, NAN, NAN]]])
    parts = mix.parts(signals)
    assert not parts[1].any()
    assert not np.isnan(parts).any()


@pytest.mark.parametrize("kind", ["linear", "rrf"])
def test_mixing_leaves_the_signals_alone(kind):
    signals = signals_of([[[1, NAN, 3], [4, 5, -6]]])
    kept = signals.copy()
    signals.flags.writeable = False
    Mix(("a",), kind, np.array([3.0], dtype=np.float32)).parts(signals)
    np.testing.assert_array_equal(signals, kept)


def test_negative_weights_take_away():
    mix = Mix(("a", "b"), "linear", np.array([1.0, -1.0], dtype=np.float32))
    signals = signals_of([[[1, 2, 3]], [[1, 2, 3]]])
    np.testing.assert_allclose(mix.parts(signals).sum(axis=0), 0, atol=1e-7)


def test_the_mix_gives_its_weight_to_the_signal_that_knows():
    mix = learned(*planted(strengths=(2.0, 0.0)))
    assert mix.kind == "linear"
    assert mix.weights[0] == pytest.approx(2.0, abs=0.3)
    assert abs(mix.weights[1]) < 0.3


def test_the_mix_recovers_the_weights_of_two_signals():
    mix = learned(*planted(questions=1500, strengths=(1.5, 0.7)))
    np.testing.assert_allclose(mix.weights, [1.5, 0.7], atol=0.2)


@pytest.mark.parametrize("k", [1, 3], ids=["straight", "bent"])
def test_slope_and_curvature_are_those_of_the_loss(k):
    signals, targets = planted(questions=40, strengths=(1.0, 0.5, -0.5))
    samples = MixSamples(["a", "b", "c"])
    situations = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    samples.add(signals, nothing_seen(40), targets, situations)
    counted, step = np.linspace(0.0, 2, 40), 1e-2
    at = np.random.default_rng(1).normal(size=(k, 3))
    moves = step * np.eye(3 * k).reshape(-1, k, 3)
    there = [(samples._curve(at + move, counted), samples._curve(at - move, counted)) for move in moves]
    here = samples._curve(at, counted)
    slope = [(one.value - other.value) / (2 * step) for one, other in there]
    curvature = [(one.slope - other.slope).ravel() / (2 * step) for one, other in there]
    np.testing.assert_allclose(here.slope.ravel(), slope, atol=2e-4)
    np.testing.assert_allclose(here.curvature, curvature, atol=2e-4)


def test_the_loss_is_the_mean_negative_log_likelihood():
    signals, targets = planted(questions=20, n=10)
    samples = MixSamples(["a", "b"])
    samples.add(signals, nothing_seen(20), targets)
    weights = np.array([0.8, -0.3], dtype=np.float32)
    expected = 0.0
    for q, target in enumerate(targets):
        features = [slow_log_feature(signals[s, q].tolist()) for s in range(2)]
        logits = [sum(w * f[i] for w, f in zip(weights, features, strict=True)) for i in range(10)]
        expected += (math.log(sum(map(math.exp, logits))) - logits[target]) / len(targets)
    assert samples.losses(Mix(("a", "b"), "linear", weights)).mean() == pytest.approx(expected, rel=1e-5)


def test_a_step_that_overshoots_is_halved():
    """From far outside, the softmax is flat and a whole Newton step would leap away; the end is the same."""
    signals, targets = planted()
    far = Mix(("s0", "s1"), "linear", np.array([-40.0, 60.0], dtype=np.float32))
    np.testing.assert_allclose(
        learned(signals, targets, start=far).weights, learned(signals, targets).weights, atol=2e-3
    )


def test_the_learned_weights_are_where_the_loss_is_least():
    signals, targets = planted(questions=100)
    found = learned(signals, targets)
    features = log_features(signals).astype(float)

    def loss(weights):
        logits = np.tensordot(weights, features, axes=1)
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(100), targets]) + 1e-3 * weights @ weights

    best = loss(found.weights.astype(float))
    for move in ([0.05, 0], [-0.05, 0], [0, 0.05], [0, -0.05]):
        assert loss(found.weights + np.array(move)) > best


def test_a_heavy_ridge_takes_the_weights_to_zero():
    assert np.abs(learned(*planted(), l2=1000.0).weights).max() < 0.01


def test_only_the_rows_asked_for_are_learned_from():
    signals, targets = planted(questions=60)
    samples = MixSamples(["a", "b"])
    samples.add(signals, nothing_seen(60), targets)
    rows = np.arange(0, 60, 2)
    np.testing.assert_allclose(
        samples.fit(rows=rows).weights, learned(signals[:, rows], targets[rows]).weights, rtol=1e-4
    )


def test_blocks_add_up():
    signals, targets = planted(questions=60)
    samples = MixSamples(["a", "b"])
    for part in (slice(0, 25), slice(25, 60)):
        samples.add(signals[:, part], nothing_seen(60)[part], targets[part])
    assert len(samples) == 60
    np.testing.assert_allclose(samples.fit().weights, learned(signals, targets).weights, rtol=1e-4)


def test_seen_items_are_no_candidates_but_the_target_is():
    samples = MixSamples(["a"])
    nums, offset = samples._candidates(np.ones((1, 5), np.float32), np.array([1, 3, 99], dtype=np.int32), 3)
    assert nums.tolist() == [0, 2, 3, 4]
    assert not offset.any()


def test_a_sampled_softmax_learns_nearly_the_same_weights(monkeypatch):
    signals, targets = planted(questions=800, n=300, strengths=(1.5, 0.7))
    whole = learned(signals, targets)
    monkeypatch.setattr(mix_module, "WHOLE_CATALOGUE", 100)
    monkeypatch.setattr(mix_module, "BEST_OF_EACH", 20)
    monkeypatch.setattr(mix_module, "RANDOM_ITEMS", 60)
    sampled = learned(signals, targets)
    assert not np.array_equal(sampled.weights, whole.weights)
    np.testing.assert_allclose(sampled.weights, whole.weights, atol=0.12)
    np.testing.assert_array_equal(sampled.weights, learned(signals, targets).weights)  # under one seed


def test_a_sample_holds_the_target_once_the_best_and_raised_others(monkeypatch):
    monkeypatch.setattr(mix_module, "WHOLE_CATALOGUE", 10)
    monkeypatch.setattr(mix_module, "BEST_OF_EACH", 3)
    monkeypatch.setattr(mix_module, "RANDOM_ITEMS", 8)
    features = np.stack([np.arange(50), np.arange(50)[::-1]]).astype(np.float32)
    seen = np.array([49, 0, 77], dtype=np.int32)
    nums, offset = MixSamples(["a", "b"])._candidates(features, seen, 20)
    best = [1, 2, 3, 20, 46, 47, 48]
    assert nums[: len(best)].tolist() == best
    assert len(nums) == len(set(nums.tolist())) == len(best) + 8
    assert not set(nums.tolist()) & {0, 49}
    assert not offset[: len(best)].any()
    np.testing.assert_allclose(offset[len(best) :], np.log((50 - 2 - 7) / 8), rtol=1e-6)


def test_a_sample_of_a_catalogue_that_is_all_seen_is_the_target(monkeypatch):
    monkeypatch.setattr(mix_module, "WHOLE_CATALOGUE", 10)
    monkeypatch.setattr(mix_module, "BEST_OF_EACH", 3)
    nums, offset = MixSamples(["a"])._candidates(np.ones((1, 20), np.float32), np.arange(20, dtype=np.int32), 7)
    assert nums.tolist() == [7]
    assert offset.tolist() == [0]


def test_without_questions_all_signals_weigh_alike():
    assert MixSamples(["a", "b"]).fit().weights.tolist() == [1, 1]


def test_a_mix_is_written_as_plain_values():
    written = Mix(("a", "b"), "linear", np.array([0.5, 2.0], dtype=np.float32), 10.0).to_dict()
    assert written == {"names": ["a", "b"], "kind": "linear", "weights": [0.5, 2.0], "rrf_k": 10.0, "slopes": []}


def test_weights_bend_with_the_situation_where_the_questions_say_so():
    """The first signal speaks for people with a long history, the second for those with a short one."""
    rng = np.random.default_rng(3)
    long, short = (
        planted(questions=800, strengths=(2.0, 0.0), seed=1),
        planted(questions=800, strengths=(0.0, 2.0), seed=2),
    )
    samples = MixSamples(["a", "b"])
    for (signals, targets), situation in ((long, 1.0), (short, -1.0)):
        situations = np.stack([np.full(800, situation), rng.normal(size=800), *np.zeros((2, 800))], axis=1)
        samples.add(signals, nothing_seen(800), targets, situations.astype(np.float32))
    straight, bent = samples.fit(), samples.fit(bends=4)
    (a_long, a_short), (b_long, b_short) = bent.weights_in(np.array([[1, 0, 0, 0], [-1, 0, 0, 0]], dtype=np.float32))
    assert a_long > a_short + 1
    assert b_short > b_long + 1
    assert np.abs(bent.slopes[1]).max() < 0.2
    assert samples.losses(bent).mean() < samples.losses(straight).mean() - 0.05


def test_what_speaks_of_new_items_weighs_more_for_those_who_take_them():
    rng = np.random.default_rng(5)
    samples = MixSamples(["a", "a@new"])
    for fresh in (0.0, 1.0):
        signals, _ = planted(questions=600, strengths=(1.0, 1.0), seed=int(fresh))
        signals[1, :, :30] = np.nan
        # Who took new items takes the new item that fits best, the others the old one.
        lists = np.nan_to_num(signals[1] if fresh else np.where(np.arange(40) < 30, signals[0], 0))
        targets = lists.argmax(axis=1).astype(np.int32)
        situations = np.stack([*rng.normal(size=(2, 600)), np.full(600, fresh), rng.normal(size=600)], axis=1)
        samples.add(signals, nothing_seen(600), targets, situations.astype(np.float32))
    straight, bent = samples.fit(), samples.fit(bends=4)
    (_, _), (none, all_) = bent.weights_in(np.array([[0, 0, 0, 0], [0, 0, 1, 0]], dtype=np.float32))
    assert all_ > none + 1
    assert samples.losses(bent).mean() < samples.losses(straight).mean() - 0.1


def test_slopes_of_an_older_release_bend_with_what_they_know():
    mix = Mix(("a",), "linear", np.ones(1, np.float32), slopes=np.array([[2.0], [0.5]], dtype=np.float32))
    np.testing.assert_allclose(mix.weights_in(np.array([[1, 1, 7, 7], [0, 0, 7, 7]], dtype=np.float32)), [[3.5, 1.0]])
