"""Boosted trees: the same answer from every road, an exact account, and what a linear mix cannot learn."""

from __future__ import annotations

import builtins
import dataclasses
import sys

import numpy as np
import pytest

from langrec.errors import BundleError, DataError, LangrecError, MissingExtra
from langrec.ranking.boosting import mean_ndcg, train_trees
from langrec.ranking.calibration import Calibration
from langrec.ranking.rerank import holding
from langrec.ranking.trees import Trees, filled, joined, with_step

lightgbm = pytest.importorskip("lightgbm", reason="the extra lm is not installed", exc_type=ImportError)

NAMES = ("same", "left", "right", "noise")


def worth(x):
    """What a candidate is worth but for chance: `left` and `right` alone say nothing, their having one sign does."""
    return 3.0 * (x[:, 1] * x[:, 2] > 0) + x[:, 0]


def planted(questions=300, length=20, seed=0):
    """Candidates with one right one each, begun from the feature `same`; a third of `noise` is unknown."""
    rng = np.random.default_rng(seed)
    m = questions * length
    x = rng.normal(size=(m, 4)).astype(np.float32)
    groups = np.full(questions, length)
    right = (worth(x) + rng.gumbel(size=m)).reshape(questions, length).argmax(axis=1) + np.arange(questions) * length
    labels = np.zeros(m, dtype=np.int32)
    labels[right] = 1
    x[rng.random(m) < 0.3, 3] = np.nan
    return x, labels, groups, x[:, 0].copy()


TRAIN, VALID, TEST = planted(seed=0), planted(seed=1), planted(seed=2)
OPTIONS = {"rounds": 60, "rate": 0.2, "min_leaf": 20}
TREES, ROUNDS = train_trees(*TRAIN, VALID, NAMES, **OPTIONS, threads=1)


def booster(seed=0, rounds=40):
    """Regression trees of LightGBM on random data with NaN and repeated values, and that data as the trees read it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2000, 6)).astype(np.float32)
    x[:, 2] = np.round(x[:, 2])
    x[:, 3] *= 1e5
    x[rng.random(x.shape) < 0.2] = np.nan
    y = np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, 2]) + np.isnan(x[:, 1])
    params = {"use_missing": False, "verbosity": -1, "num_threads": 1, "num_leaves": 31, "min_data_in_leaf": 5}
    params["boost_from_average"] = False
    return lightgbm.train(params, lightgbm.Dataset(filled(x), y, params=params), rounds), x


def converted(grown):
    from langrec.ranking.boosting import _flat

    names = tuple(f"f{i}" for i in range(grown.num_feature()))
    return joined(names, [_flat(tree["tree_structure"]) for tree in grown.dump_model()["tree_info"]])


def test_both_roads_agree_with_lightgbm():
    grown, x = booster()
    trees = converted(grown)
    wanted = grown.predict(filled(x))
    assert trees.onnx
    assert np.ptp(wanted) > 1
    np.testing.assert_allclose(trees.predict(x), wanted, atol=1e-5)
    np.testing.assert_allclose(dataclasses.replace(trees, onnx=b"").predict(x), wanted, atol=1e-5)


def test_values_at_a_threshold_go_the_same_way():
    grown, _ = booster()
    trees = converted(grown)
    inner = np.isfinite(trees.threshold)
    # LightGBM takes what is nearer to zero than 1e-35 for zero.
    bars = np.unique(trees.threshold[inner & (np.abs(trees.threshold) > 1e-30)])
    around = np.concatenate([bars, np.nextafter(bars, np.float32(np.inf)), np.nextafter(bars, np.float32(-np.inf))])
    x = np.repeat(around[:, None], 6, axis=1)
    for road in (trees, dataclasses.replace(trees, onnx=b"")):
        np.testing.assert_allclose(road.predict(x), grown.predict(filled(x)), atol=1e-5)


def test_one_row_gets_the_same_score_as_in_a_batch():
    x = TEST[0][:50]
    for road in (TREES, dataclasses.replace(TREES, onnx=b"")):
        alone = [road.predict(x[i : i + 1])[0] for i in range(len(x))]
        np.testing.assert_array_equal(road.predict(x), alone)


def test_infinite_values_stay_beside_unknown_ones():
    assert filled(np.array([[np.inf, -np.inf, np.nan]])).tolist() == [
        [np.float32(1e29), np.float32(-1e29), np.float32(-1e30)]
    ]


def test_contributions_and_bias_sum_to_the_prediction():
    grown, x = booster()
    trees = converted(grown)
    parts = trees.contributions(x)
    assert parts.shape == x.shape
    np.testing.assert_allclose(parts.sum(axis=1) + trees.bias, trees.predict(x), atol=1e-4)
    assert trees.bias == pytest.approx(grown.predict(filled(x)).mean(), abs=1e-4)


def test_a_contribution_is_the_change_of_the_mean_along_the_path():
    # x0 <= 1 ? (x1 <= 2 ? 1 : 3) : 5, with two, one and one training rows in the leaves.
    stump = {
        "feature": np.array([0, 1, 0, 0, 0]),
        "threshold": np.array([1, 2, np.inf, np.inf, np.inf]),
        "left": np.array([1, 2, 2, 3, 4]),
        "right": np.array([4, 3, 2, 3, 4]),
        "value": np.array([2.5, 5 / 3, 1, 3, 5]),
    }
    trees = joined(("x0", "x1"), [stump])
    x = np.array([[0, 3], [1, 2], [9, 0], [np.nan, np.nan]], dtype=np.float32)
    assert trees.predict(x).tolist() == [3, 1, 5, 1]
    wanted = [[5 / 3 - 2.5, 3 - 5 / 3], [5 / 3 - 2.5, 1 - 5 / 3], [2.5, 0], [5 / 3 - 2.5, 1 - 5 / 3]]
    np.testing.assert_allclose(trees.contributions(x), wanted, atol=1e-6)


def test_a_feature_that_nothing_depends_on_contributes_nothing():
    constant = (np.concatenate([TRAIN[0][:, :3], np.ones_like(TRAIN[0][:, :1])], axis=1), *TRAIN[1:])
    trees, _ = train_trees(*constant, None, NAMES, rounds=10, threads=1)
    assert not trees.contributions(constant[0])[:, 3].any()


def test_what_a_linear_mix_cannot_say_is_learned():
    x, labels, groups, base = TEST
    before = mean_ndcg(base, labels, groups)
    after = mean_ndcg(base + TREES.predict(x), labels, groups)
    best = mean_ndcg(worth(x), labels, groups)
    assert best > before + 0.1
    assert after > before + 0.5 * (best - before)
    assert 0 < ROUNDS <= 60
    assert len(TREES) == ROUNDS


def test_a_mix_that_nothing_improves_is_left_as_it_is():
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(2):
        x = rng.normal(size=(2000, 4)).astype(np.float32)
        labels = np.zeros(2000, dtype=np.int32)
        labels[np.arange(100) * 20] = 1
        parts.append((x, labels, np.full(100, 20), labels.astype(np.float32)))
    trees, rounds = train_trees(*parts[0], parts[1], NAMES, rounds=20, threads=1)
    assert (len(trees), rounds) == (0, 0)
    assert not trees.predict(parts[0][0]).any()
    assert not trees.contributions(parts[0][0]).any()


def test_without_questions_to_judge_by_every_round_is_kept():
    trees, rounds = train_trees(*TRAIN, None, NAMES, rounds=7, threads=1)
    assert (len(trees), rounds) == (7, 7)


def test_equal_input_gives_equal_trees():
    again, _ = train_trees(*TRAIN, VALID, NAMES, **OPTIONS, threads=1)
    assert again.onnx == TREES.onnx
    np.testing.assert_array_equal(again.value, TREES.value)
    other, _ = train_trees(*TRAIN, VALID, NAMES, **OPTIONS, threads=1, seed=5)
    assert other.onnx != TREES.onnx


def test_questions_whose_right_answer_is_no_candidate_need_none():
    """They teach nothing, and their gain is 0 by any scores."""
    x, labels, groups, base = TRAIN
    found = holding(np.split(np.arange(60), 3), [True, False, True])
    assert [len(own) for own in found] == [20, 0, 20] and found[2][0] == 40
    missed = labels.copy()
    missed[20:40] = 0
    kept = np.ones(len(x), dtype=bool)
    kept[20:40] = False
    fewer = np.where(np.arange(len(groups)) == 1, 0, groups)
    whole, _ = train_trees(x, missed, groups, base, None, NAMES, rounds=5, threads=1)
    less, _ = train_trees(x[kept], labels[kept], fewer, base[kept], None, NAMES, rounds=5, threads=1)
    assert less.onnx == whole.onnx
    assert mean_ndcg(base[kept], labels[kept], fewer) == mean_ndcg(base, missed, groups)


def test_the_number_of_threads_changes_no_tree():
    # Few rounds: on busy cores LightGBM's threads wait for one another.
    one, two = (train_trees(*TRAIN, None, NAMES, rounds=3, threads=threads)[0] for threads in (1, 2))
    assert one.onnx == two.onnx


def test_a_monotone_feature_never_lowers_the_score_as_it_rises():
    trees, _ = train_trees(*TRAIN, VALID, NAMES, rounds=30, rate=0.1, threads=1, monotone={"left": 1})
    x = np.tile(TEST[0][0], (50, 1))
    x[:, 1] = np.linspace(-3, 3, 50)
    assert (np.diff(trees.predict(x)) >= -1e-6).all()
    assert (np.diff(TREES.predict(x)) < -1e-3).any() or TEST[0][0, 2] > 0


def test_questions_without_a_chosen_candidate_teach_nothing():
    x, labels, groups, base = TRAIN
    more = (np.concatenate([x, x[:20] + 100]), np.append(labels, np.zeros(20, int)), np.append(groups, 20))
    trees, _ = train_trees(*more, np.append(base, base[:20]), VALID, NAMES, **OPTIONS, threads=1)
    assert trees.onnx == TREES.onnx


def test_ndcg_is_worked_out_by_hand():
    scores = np.array([3, 2, 1, 5, 5, 0], dtype=np.float32)
    labels = np.array([0, 1, 0, 0, 1, 0])
    assert mean_ndcg(scores, labels, np.array([3, 3])) == pytest.approx(1 / np.log2(3))
    assert mean_ndcg(scores, labels, np.array([3, 3]), k=1) == 0
    assert np.isnan(mean_ndcg(scores, np.zeros(6), np.array([3, 3])))


@pytest.mark.parametrize("what", ["lengths", "labels"])
def test_candidates_that_teach_nothing_are_refused(what):
    x, labels, groups, base = TRAIN
    part = (x[:-1], labels, groups, base) if what == "lengths" else (x, np.zeros_like(labels), groups, base)
    with pytest.raises(DataError):
        train_trees(*part, None, NAMES)


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match="4 columns"):
        TREES.predict(np.zeros((2, 3), dtype=np.float32))


def test_trees_are_kept_in_a_folder(tmp_path):
    x = TEST[0]
    TREES.save(tmp_path / "trees")
    back = Trees.load(tmp_path / "trees", threads=2)
    assert (back.names, back.threads) == (NAMES, 2)
    # Threads add up the trees in another order.
    np.testing.assert_allclose(back.predict(x), TREES.predict(x), atol=1e-5)
    np.testing.assert_array_equal(back.contributions(x), TREES.contributions(x))
    dataclasses.replace(TREES, onnx=b"").save(tmp_path / "trees")
    bare = Trees.load(tmp_path / "trees")
    assert not bare.onnx
    np.testing.assert_allclose(bare.predict(x), TREES.predict(x), atol=1e-5)


@pytest.mark.parametrize("written", [True, False], ids=["onnx", "numpy"])
def test_a_step_adds_its_height_where_the_feature_is_set(written, tmp_path):
    x, *_ = TEST
    x = x.copy()
    x[:, 0] = np.arange(len(x)) % 4 == 0
    trees = TREES if written else dataclasses.replace(TREES, onnx=b"")
    raised = with_step(trees, "same", 1.5, 0.25)
    assert bool(raised.onnx) == bool(trees.onnx)
    expected = trees.predict(x) + np.where(x[:, 0] > 0, np.float32(1.5), 0)
    np.testing.assert_allclose(raised.predict(x), expected, atol=1e-5)
    np.testing.assert_allclose(raised._walked(x), expected, atol=1e-5)
    np.testing.assert_allclose(raised.contributions(x).sum(axis=1) + raised.bias, expected, atol=1e-4)
    assert raised.bias == pytest.approx(trees.bias + 1.5 * 0.25, abs=1e-5)
    raised.save(tmp_path)
    np.testing.assert_array_equal(Trees.load(tmp_path).predict(x), raised.predict(x))


@pytest.mark.parametrize("name", ["trees.npz", "trees.json", "trees.onnx"])
def test_damaged_trees_are_refused(tmp_path, name):
    TREES.save(tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[: 30 if name == "trees.json" else file.stat().st_size // 2])
    with pytest.raises(BundleError, match="cannot be read"):
        Trees.load(tmp_path)


@pytest.mark.parametrize("field", ["left", "feature", "roots", "value"])
def test_trees_that_lead_nowhere_are_refused(tmp_path, field):
    wrong = {
        "left": np.zeros_like(TREES.left),
        "feature": TREES.feature + 4,
        "roots": TREES.roots + len(TREES.feature),
        "value": TREES.value[:-1],
    }
    dataclasses.replace(TREES, **{field: wrong[field]}).save(tmp_path)
    with pytest.raises(BundleError, match="boosted trees"):
        Trees.load(tmp_path)


def test_without_lightgbm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtra, match=r"langrec\[lm\]"):
        train_trees(*TRAIN, None, NAMES)


def test_a_missing_openmp_is_taken_from_torch_or_named(monkeypatch):
    """The import fails as it does without libgomp, until something has been loaded in its place."""
    real, loaded = builtins.__import__, []

    def without(name, *args, **kwargs):
        if name == "lightgbm" and not loaded:
            raise OSError("libgomp.so.1: cannot open shared object file")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("langrec.ranking.boosting._bundled_openmp", list)
    with pytest.raises(LangrecError, match="libgomp1"):
        train_trees(*TRAIN, None, NAMES)
    monkeypatch.setattr("langrec.ranking.boosting._bundled_openmp", lambda: ["libgomp.so.1"])
    monkeypatch.setattr("ctypes.CDLL", lambda path, mode: loaded.append(path))
    trees, _ = train_trees(*TRAIN, None, NAMES, rounds=2, threads=1)
    assert (len(trees), loaded) == (2, ["libgomp.so.1"])


def test_a_planted_curve_is_found_again():
    rng = np.random.default_rng(0)
    scores = rng.normal(3, 2, size=20_000).astype(np.float32)
    acted = rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * scores - 6)))
    found = Calibration.fit(scores, acted)
    assert found.scale == pytest.approx(1.5, rel=0.1)
    assert found.offset == pytest.approx(-6, rel=0.1)
    chance = found.probability(scores)
    assert chance.mean() == pytest.approx(acted.mean(), abs=1e-3)
    assert (np.diff(found.probability(np.sort(scores))) >= 0).all()


def test_weights_stand_for_pairs_that_were_not_drawn():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=40_000).astype(np.float32)
    acted = rng.random(40_000) < 1 / (1 + np.exp(-(scores - 2)))
    kept = acted | (rng.random(40_000) < 0.2)
    weights = np.where(acted, 1.0, 5.0)[kept]
    found = Calibration.fit(scores[kept], acted[kept], weights)
    assert found.offset == pytest.approx(-2, abs=0.15)


def test_scores_that_part_cleanly_give_a_finite_curve():
    found = Calibration.fit(np.array([0.0, 1.0, np.nan], np.float32), np.array([0, 1, 1]))
    low, high, unknown = found.probability(np.array([0.0, 1.0, np.nan], np.float32))
    assert 0 < low < 0.5 < high < 1
    assert np.isnan(unknown)


def test_a_calibration_needs_both_kinds():
    with pytest.raises(DataError, match="with and without"):
        Calibration.fit(np.ones(3, np.float32), np.zeros(3))
