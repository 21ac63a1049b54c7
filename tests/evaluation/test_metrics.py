"""Metrics against hand-worked cases, a slow oracle, properties, and ranx."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import slow_oracle as oracle
from evaluation_worlds import flat, offsets, padded
from hypothesis import given, settings
from hypothesis import strategies as st

from langrec.evaluation import metrics

PER_QUERY = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "hit_rate": metrics.hit_rate,
    "precision": metrics.precision,
    "f1": metrics.f1,
    "mrr": metrics.mrr,
    "average_precision": metrics.average_precision,
}


def judged(lists, targets, gains=None, width=None):
    width = width or max([1, *map(len, lists)])
    return metrics.judge(
        padded(lists, width), offsets(targets), flat(targets), None if gains is None else flat(gains, np.float64)
    )


def test_ndcg_by_hand():
    """Targets at ranks 1 and 3 of two: (1 + 1/2) / (1 + 1/log2 3)."""
    value = metrics.ndcg(judged([[7, 1, 9]], [[9, 7]]), 3)
    assert value == pytest.approx((1 + 0.5) / (1 + 1 / math.log2(3)))


def test_graded_ndcg_by_hand():
    """A gain of 1 stands before a gain of 3: (1 + 3/log2 3) / (3 + 1/log2 3)."""
    value = metrics.ndcg(judged([[4, 5]], [[5, 4]], gains=[[3, 1]]), 2)
    assert value == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


def test_average_precision_by_hand():
    """Hits at ranks 1, 3 and 5 of four targets: (1/1 + 2/3 + 3/5) / 4."""
    value = metrics.average_precision(judged([[1, 0, 2, 0, 3]], [[1, 2, 3, 8]]), 5)
    assert value == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_the_other_metrics_by_hand():
    case = judged([[9, 3, 8, 5]], [[3, 5, 6]])
    assert metrics.recall(case, 4) == pytest.approx(2 / 3)
    assert metrics.precision(case, 4) == pytest.approx(2 / 4)
    assert metrics.f1(case, 4) == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    assert metrics.mrr(case, 4) == pytest.approx(1 / 2)
    assert metrics.hit_rate(case, 1) == 0 and metrics.hit_rate(case, 2) == 1


def test_ideal_takes_no_more_targets_than_the_list_holds():
    assert metrics.ndcg(judged([[1, 2]], [[1, 2, 3, 4, 5]]), 2) == 1.0
    assert metrics.average_precision(judged([[1, 2]], [[1, 2, 3, 4, 5]]), 2) == 1.0


def test_a_list_shorter_than_k_loses_precision_but_no_recall():
    case = judged([[1]], [[1]], width=10)
    assert metrics.precision(case, 10) == pytest.approx(0.1)
    assert metrics.recall(case, 10) == 1.0
    assert metrics.ndcg(judged([[1]], [[1]], width=1), 10) == 1.0


def test_an_empty_list_is_a_miss():
    case = judged([[]], [[1]], width=5)
    for name, metric in PER_QUERY.items():
        assert metric(case, 5)[0] == 0.0, name


def test_a_query_without_relevant_items_is_left_out():
    case = judged([[1, 2], [1, 2]], [[], [2]])
    for name, metric in PER_QUERY.items():
        values = metric(case, 2)
        assert np.isnan(values[0]) and not np.isnan(values[1]), name


def test_a_target_of_no_gain_is_not_relevant():
    case = judged([[1, 2]], [[1, 2]], gains=[[0, 1]])
    assert metrics.mrr(case, 2) == 0.5
    assert metrics.recall(case, 2) == 1.0
    assert case.relevant().tolist() == [1]


def test_a_repeated_item_counts_once():
    case = judged([[4, 4, 4]], [[4, 5]])
    assert metrics.recall(case, 3) == 0.5
    assert metrics.ndcg(case, 3) < 1


def test_targets_of_other_queries_do_not_count():
    assert metrics.recall(judged([[1], [2]], [[2], [1]]), 1).tolist() == [0.0, 0.0]


def test_only_masked_targets_count_in_a_slice():
    case = judged([[1, 2], [3, 4]], [[1, 2], [3]]).only(np.array([False, True, False]))
    assert metrics.mrr(case, 2)[0] == 0.5
    assert np.isnan(metrics.mrr(case, 2)[1])


def test_coverage_counts_each_item_once():
    nums = padded([[1, 2, 3], [2, 1], []], 3)
    assert metrics.coverage(nums, 3, 10) == pytest.approx(0.3)
    assert metrics.coverage(nums, 1, 10) == pytest.approx(0.2)


def test_novelty_by_hand():
    """Counts 3, 0, 1 over 3 items: shares 4/7, 1/7, 2/7."""
    value = metrics.novelty(padded([[0, 1], []], 2), [3, 0, 1], 2)
    assert value[0] == pytest.approx((-math.log2(4 / 7) - math.log2(1 / 7)) / 2)
    assert np.isnan(value[1])


def test_diversity_of_equal_items_is_none_and_of_orthogonal_ones_is_full():
    vectors = np.array([[1, 0], [2, 0], [0, 3], [0, 0]], dtype=np.float32)
    values = metrics.diversity(padded([[0, 1], [0, 2], [0], [0, 3, 2]], 3), vectors, 3)
    assert values[:2] == pytest.approx([0, 1])
    assert np.isnan(values[2])
    assert values[3] == pytest.approx(1)


def test_debiased_ndcg_weighs_rare_targets_more():
    """Popular target hit, rare one missed: 1 of 2 plain, 1 of (1 + 3) weighted."""
    case = judged([[0], [0]], [[0], [1]])
    values, weights = metrics.debiased_ndcg(case, [1.0, 3.0], 1)
    assert np.average(values, weights=weights) == pytest.approx(1 / 4)
    assert values.tolist() == metrics.ndcg(case, 1).tolist()


def test_equal_weights_leave_ndcg_of_single_targets_unchanged():
    case = judged([[0, 1], [1, 0], [2, 2]], [[1], [1], [1]])
    values, weights = metrics.debiased_ndcg(case, np.ones(3), 2)
    assert np.average(values, weights=weights) == pytest.approx(metrics.ndcg(case, 2).mean())


def test_inverse_popularity_falls_with_the_count():
    weights = metrics.inverse_popularity([0, 3, 8], beta=0.5)
    assert weights / weights[0] == pytest.approx([1, 1 / 2, 1 / 3])
    assert weights.mean() == pytest.approx(1)
    assert metrics.inverse_popularity([0, 100], beta=0).tolist() == [1, 1]


def test_auc_by_hand():
    """Places 1 and 4 of 5 candidates: the first wins against 3 others, the second against 1."""
    case = judged([[0]], [[0, 1]])
    assert metrics.auc(case, np.array([1.0, 4.0]), np.array([5])) == pytest.approx((3 + 1) / 6)


def test_auc_without_candidates_to_beat_is_undefined():
    assert np.isnan(metrics.auc(judged([[0]], [[0]]), np.array([1.0]), np.array([1]))[0])


def test_no_queries_and_no_targets_give_no_values():
    empty = metrics.judge(np.zeros((0, 5), np.int32), np.zeros(1, np.int64), np.zeros(0, np.int32))
    none = judged([[1]], [[]])
    for name, metric in PER_QUERY.items():
        assert metric(empty, 5).shape == (0,), name
        assert np.isnan(metric(none, 5)).all(), name
    assert np.isnan(metrics.auc(none, np.zeros(0), np.array([3]))).all()


queries = st.lists(
    st.tuples(
        st.lists(st.integers(0, 14), max_size=12, unique=True),
        st.dictionaries(st.integers(0, 14), st.integers(1, 4), max_size=8),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(queries, st.integers(1, 13))
def test_every_metric_equals_the_slow_oracle(world, k):
    lists, gains = [ranked for ranked, _ in world], [g for _, g in world]
    case = judged(lists, [list(g) for g in gains], [list(g.values()) for g in gains])
    for name, metric in PER_QUERY.items():
        slow = [getattr(oracle, name)(ranked, g, k) for ranked, g in world]
        assert metric(case, k) == pytest.approx(slow, nan_ok=True), name


@settings(deadline=None)
@given(queries, st.integers(1, 13))
def test_every_metric_stays_within_0_and_1(world, k):
    case = judged([r for r, _ in world], [list(g) for _, g in world], [list(g.values()) for _, g in world])
    for name, metric in PER_QUERY.items():
        values = metric(case, k)
        assert np.nanmax(values, initial=0) <= 1 + 1e-12 and np.nanmin(values, initial=1) >= 0, name


@settings(deadline=None)
@given(queries, st.integers(1, 12))
def test_recall_hits_and_reciprocal_rank_grow_with_k(world, k):
    case = judged([r for r, _ in world], [list(g) for _, g in world])
    for name in ("recall", "hit_rate", "mrr"):
        short, long = PER_QUERY[name](case, k), PER_QUERY[name](case, k + 1)
        assert (np.nan_to_num(long) >= np.nan_to_num(short)).all(), name


@settings(deadline=None)
@given(queries)
def test_moving_a_hit_up_never_lowers_ndcg(world):
    for ranked, gains in world:
        places = [place for place, item in enumerate(ranked) if item in gains and place]
        if not places or ranked[places[0] - 1] in gains:
            continue
        better = list(ranked)
        place = places[0]
        better[place - 1], better[place] = better[place], better[place - 1]
        before, after = metrics.ndcg(judged([ranked, better], [list(gains)] * 2, [list(gains.values())] * 2), 12)
        assert after > before


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=6, unique=True), min_size=1, max_size=5), st.integers(1, 6))
def test_list_metrics_equal_the_slow_oracle(lists, k):
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(10, 4)).astype(np.float32)
    vectors[4] = 0
    counts = [5, 0, 2, 9, 1, 1, 30, 0, 4, 2]
    nums = padded(lists, 6)
    slow = [oracle.diversity(items, vectors.tolist(), k) for items in lists]
    assert metrics.diversity(nums, vectors, k, block=2) == pytest.approx(slow, nan_ok=True, abs=1e-5)
    slow = [oracle.novelty(items, counts, k) for items in lists]
    assert metrics.novelty(nums, counts, k) == pytest.approx(slow, nan_ok=True)


# ranx compiles each of its metrics for minutes; without its compiler the same formulas run as plain Python.
RANX = """
import json, sys
import ranx

asked = json.load(sys.stdin)
run = ranx.Run(asked["run"])
json.dump([[ranx.evaluate(ranx.Qrels(truth), run, name, make_comparable=True) for name in names]
           for truth, names in asked["cases"]], sys.stdout)
"""


@pytest.mark.slow
def test_ranx_agrees():
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx is not installed")
    rng = np.random.default_rng(5)
    lists = [rng.permutation(60)[:20].tolist() for _ in range(40)]
    targets = [rng.permutation(60)[: rng.integers(1, 10)].tolist() for _ in lists]
    gains = [rng.integers(1, 4, len(row)).tolist() for row in targets]
    run = {f"q{i}": {f"d{item}": 20.0 - rank for rank, item in enumerate(row)} for i, row in enumerate(lists)}
    same = ("ndcg", "recall", "hit_rate", "precision", "f1", "mrr")
    # ranx divides by all relevant items; from 9 places on, that is what we divide by as well.
    wanted = [*((name, k) for k in (1, 5, 10, 20) for name in same), ("average_precision", 10)]
    names = [f"{name.replace('average_precision', 'map')}@{k}" for name, k in wanted]
    truths = [
        {
            f"q{i}": {f"d{item}": int(g) if graded else 1 for item, g in zip(row, row_gains, strict=True)}
            for i, (row, row_gains) in enumerate(zip(targets, gains, strict=True))
        }
        for graded in (False, True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps({"run": run, "cases": [[truth, names] for truth in truths]}),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for graded, expected in zip((False, True), json.loads(done.stdout), strict=True):
        case = judged(lists, targets, gains if graded else None)
        ours = [PER_QUERY[name](case, k).mean() for name, k in wanted]
        assert ours == pytest.approx(expected), f"graded: {graded}"
