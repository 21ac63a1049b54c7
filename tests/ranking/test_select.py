"""The best k, and the best k that differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langrec.ranking.select import diverse, top_k
from langrec.types import ItemList


def scores(*values):
    return np.array(values, dtype=np.float32)


def candidates(*values):
    return ItemList(
        np.arange(10, 10 + len(values), dtype=np.int32), scores(*values), {"why": np.arange(len(values), dtype=float)}
    )


def test_the_best_come_first_and_equal_scores_by_number():
    assert top_k(scores(1, 3, 2, 3, 1), 4).tolist() == [1, 3, 2, 0]
    assert top_k(scores(1, 3, 2, 3, 1), 4).dtype == np.int32


def test_what_cannot_be_scored_is_never_picked():
    assert top_k(scores(np.nan, 1, np.nan, 2), 4).tolist() == [3, 1]
    assert top_k(scores(np.nan, np.nan), 2).tolist() == []


def test_infinite_scores_have_their_order():
    assert top_k(scores(-np.inf, 0, np.inf), 3).tolist() == [2, 1, 0]
    assert top_k(scores(-np.inf, -np.inf, 0), 2).tolist() == [2, 0]


def test_a_list_of_none_and_an_empty_catalogue_are_empty():
    assert top_k(scores(1, 2), 0).tolist() == []
    assert top_k(scores(), 3).tolist() == []


@given(
    st.lists(st.one_of(st.just(float("nan")), st.integers(-3, 3).map(float)), max_size=30),
    st.integers(0, 35),
)
def test_the_best_k_are_those_of_a_full_sort(values, k):
    order = sorted((i for i, x in enumerate(values) if x == x), key=lambda i: (-values[i], i))
    assert top_k(scores(*values), k).tolist() == order[:k]


# Items 10 and 11 say the same, 12 is unlike them, 13 lies between.
VECTORS = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)


def test_no_diversity_keeps_the_order():
    assert diverse(candidates(4, 3, 2, 1), VECTORS, 3, 0.0).nums.tolist() == [10, 11, 12]


def test_marginal_relevance_by_hand():
    """Relevance 1, 2/3, 1/3, 0 at half and half. After 10: 11 loses 1, 12 loses 0, 13 loses 0.6.

    Values 11: 1/3 - 1/2; 12: 1/6; 13: -0.3. Then 12 is picked, 11 stays at -1/6, 13 falls to -0.4.
    """
    picked = diverse(candidates(4, 3, 2, 1), VECTORS, 4, 0.5)
    assert picked.nums.tolist() == [10, 12, 11, 13]
    assert picked.scores.tolist() == [4, 2, 3, 1]
    assert picked.columns["why"].tolist() == [0, 2, 1, 3]


def test_difference_alone_starts_with_the_best():
    assert diverse(candidates(4, 3, 2, 1), VECTORS, 4, 1.0).nums.tolist() == [10, 12, 13, 11]


def test_an_item_without_text_is_unlike_everything():
    vectors = np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32)
    assert diverse(candidates(3, 2.9, 1), vectors, 2, 0.9).nums.tolist() == [10, 12]


@pytest.mark.parametrize("amount", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("k", [0, 1, 4, 9])
def test_a_diverse_list_holds_each_candidate_at_most_once(amount, k):
    picked = diverse(candidates(4, 3, 2, 1), VECTORS, k, amount)
    assert len(picked) == len(set(picked.nums.tolist())) == min(k, 4)


def test_equal_scores_and_no_candidates_can_be_made_diverse():
    assert diverse(candidates(1, 1, 1, 1), VECTORS, 2, 0.5).nums.tolist() == [10, 12]
    assert len(diverse(candidates(), np.zeros((0, 2), np.float32), 5, 0.5)) == 0
