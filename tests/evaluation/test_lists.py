"""Top lists and full ranks: ties by number, no history, nothing that was not scored, and no effect of blocks."""

from __future__ import annotations

import numpy as np
import pytest
import slow_oracle as oracle
from evaluation_worlds import questions
from hypothesis import given, settings
from hypothesis import strategies as st

from langrec.errors import DataError
from langrec.evaluation.lists import join_lists, top_lists
from langrec.evaluation.metrics import auc, judge

NAN = float("nan")


def f32(rows):
    return np.array(rows, dtype=np.float32)


def test_the_best_come_first_and_ties_go_by_number():
    lists = top_lists(f32([[1, 3, 1, 3, 2]]), questions([[0]]), 4)
    assert lists.nums.tolist() == [[1, 3, 4, 0]]
    assert lists.scores.tolist() == [[3, 3, 2, 1]]


def test_history_is_never_listed_and_does_not_push_a_target_down():
    lists = top_lists(f32([[5, 4, 3, 2]]), questions([[2]], [[0, 1]]), 3)
    assert lists.nums.tolist() == [[2, 3, -1]]
    assert lists.ranks.tolist() == [1]
    assert lists.candidates.tolist() == [2]


def test_what_cannot_be_scored_is_left_out_of_the_list():
    lists = top_lists(f32([[NAN, 1, -np.inf, 2]]), questions([[0]]), 4)
    assert lists.nums.tolist() == [[3, 1, -1, -1]]
    assert np.isnan(lists.scores[0, 2:]).all()


def test_a_target_without_a_score_ranks_behind_all_scored_items():
    lists = top_lists(f32([[1, NAN, NAN, 2, NAN]]), questions([[2]], [[4]]), 2)
    assert lists.ranks.tolist() == [4]
    assert lists.places.tolist() == [3.5]


def test_a_scorer_that_says_nothing_has_an_auc_of_one_half():
    targets = questions([[0], [3, 1]], [[], [2]])
    lists = top_lists(np.full((2, 5), np.nan, np.float32), targets, 3)
    judged = judge(lists.nums, targets.offsets, targets.items)
    assert (lists.nums == -1).all()
    assert auc(judged, lists.places, lists.candidates).tolist() == [0.5, 0.5]


def test_items_beyond_the_scorer_count_as_not_scored():
    targets = questions([[4]], [[5]])
    lists = top_lists(f32([[1, 2, 3]]), targets, 9, n_items=6)
    assert lists.nums[0].tolist() == [2, 1, 0, -1, -1, -1, -1, -1, -1]
    assert lists.candidates.tolist() == [5]
    assert lists.ranks.tolist() == [5]


def test_a_target_of_the_history_ranks_behind_every_candidate():
    lists = top_lists(f32([[9, 1, NAN]]), questions([[0]], [[0]]), 3)
    assert lists.ranks.tolist() == [3]


def test_scores_of_another_catalogue_are_refused():
    with pytest.raises(DataError, match="over 5 items"):
        top_lists(f32([[1, 2, 3]]), questions([[4]]), 2)


def test_arguments_stay_as_they_were():
    scores = f32([[1, NAN, 3]])
    before = scores.copy()
    top_lists(scores, questions([[1]], [[2]]), 2)
    np.testing.assert_array_equal(scores, before)


def test_no_questions_give_no_lists():
    lists = top_lists(np.zeros((0, 4), np.float32), questions([]), 3)
    assert lists.nums.shape == (0, 3) and lists.ranks.shape == (0,)


cells = st.sampled_from([NAN, -1.0, 0.0, 0.5, 1.0])
worlds = st.integers(1, 9).flatmap(
    lambda n: st.lists(
        st.tuples(
            st.lists(cells, min_size=n, max_size=n),
            st.permutations(range(n)).flatmap(
                lambda order: st.tuples(st.integers(0, len(order)), st.integers(0, len(order))).map(
                    lambda cut: (list(order[: min(cut)]), list(order[min(cut) : max(cut)]))
                )
            ),
        ),
        min_size=1,
        max_size=7,
    )
)


@settings(deadline=None)
@given(worlds, st.integers(1, 10))
def test_lists_ranks_and_auc_equal_the_slow_oracle(world, k):
    histories, goals = [w[1][0] for w in world], [w[1][1] for w in world]
    targets = questions(goals, histories)
    lists = top_lists(f32([w[0] for w in world]), targets, k)
    for (scores, (history, goal)), nums, lo in zip(world, lists.nums, targets.offsets, strict=False):
        full = oracle.ranking(scores, history)
        assert [num for num in nums if num >= 0] == full[:k]
        unscored = [item for item in range(len(scores)) if item not in full and item not in history]
        expected = [([*full, *unscored]).index(item) + 1 for item in goal]
        assert lists.ranks[lo : lo + len(goal)].tolist() == expected
    judged = judge(lists.nums, targets.offsets, targets.items)
    slow = [oracle.auc(scores, history, dict.fromkeys(goal, 1)) for scores, (history, goal) in world]
    assert auc(judged, lists.places, lists.candidates) == pytest.approx(slow, nan_ok=True)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_block_size_changes_nothing(block):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (50, 40)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = np.nan
    goals = [rng.permutation(40)[: rng.integers(0, 4)].tolist() for _ in range(50)]
    histories = [[i for i in rng.permutation(40)[:8].tolist() if i not in goal] for goal in goals]
    targets = questions(goals, histories)
    whole = top_lists(scores, targets, 10)
    parts = [
        top_lists(scores[start : start + block], targets.slice(start, start + block), 10)
        for start in range(0, 50, block)
    ]
    joined = join_lists(parts)
    for name in ("nums", "scores", "ranks", "places", "candidates"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([2, 5, 1000]))
def test_long_rows_with_many_ties_equal_a_full_sort(seed, k, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (4, 300)).astype(np.float32)
    scores[rng.random(scores.shape) < rng.random()] = np.nan
    lists = top_lists(scores, questions([[0]] * 4, [[7, 9]] * 4), k)
    for row, nums in zip(scores.tolist(), lists.nums, strict=True):
        assert [num for num in nums if num >= 0] == oracle.ranking(row, {7, 9})[:k]


def test_many_targets_are_compared_in_bounded_memory(monkeypatch):
    rng = np.random.default_rng(1)
    scores = rng.random((6, 30)).astype(np.float32)
    targets = questions([rng.permutation(30)[:7].tolist() for _ in range(6)])
    whole = top_lists(scores, targets, 5)
    monkeypatch.setattr("langrec.evaluation.lists._CELLS", 60)
    np.testing.assert_array_equal(top_lists(scores, targets, 5).ranks, whole.ranks)
