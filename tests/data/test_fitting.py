"""The matrix that models are fitted from, and histories as weights."""

from __future__ import annotations

import numpy as np
import pytest

import worlds
from langrec.data.fitting import FitData, product
from langrec.retrieval.history import has_known_history, history_matrix, history_weights


def test_the_matrix_holds_the_greatest_gain_of_each_pair():
    log = worlds.events([(0, 1, 1, 0.3), (0, 1, 2, 1.0), (0, 1, 3, 0.5), (2, 0, 4, 0.5)])
    matrix = FitData(log, 3, 2).matrix()
    assert matrix.toarray().tolist() == [[0, 1.0], [0, 0], [0.5, 0]]
    assert matrix.dtype == np.float32


def test_an_event_that_weighs_nothing_is_no_entry():
    matrix = FitData(worlds.events([(0, 1, 1, 0.0), (1, 0, 2, 1.0)]), 2, 2).matrix()
    assert matrix.nnz == 1


def test_no_events_give_an_empty_matrix():
    assert FitData(worlds.events([]), 2, 3).matrix().toarray().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_product_combines_every_value():
    assert product(a=(1, 2), b=("x",)) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert product() == [{}]


def test_an_item_j_steps_back_weighs_exp_minus_decay_j():
    block = worlds.queries([[2, 0, 1], [0]])
    expected = [[np.exp(-0.5), 1, np.exp(-1.0)], [1, 0, 0]]
    np.testing.assert_allclose(history_matrix(block, 3, 0.5).toarray(), expected, rtol=1e-6)


def test_repeated_items_add_up():
    weights = history_matrix(worlds.queries([[1, 0, 1]]), 2, 1.0).toarray()[0]
    np.testing.assert_allclose(weights, [np.exp(-1), 1 + np.exp(-2)], rtol=1e-6)


def test_unknown_items_are_left_out_but_keep_their_step():
    weights = history_matrix(worlds.queries([[0, 7]]), 2, 1.0).toarray()[0]
    np.testing.assert_allclose(weights, [np.exp(-1), 0], rtol=1e-6)


def test_normalised_rows_sum_to_one_or_are_empty():
    block = worlds.queries([[0, 1, 1], [], [9]])
    np.testing.assert_allclose(history_matrix(block, 2, 0.3, normalise=True).sum(axis=1), [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("history", [[0, 1], [0, 7]], ids=["all known", "some unknown"])
def test_its_indices_are_as_narrow_as_those_of_the_models(history):
    # A product of a wide matrix with a narrow one copies the narrow one, all of a model for one query.
    matrix = history_matrix(worlds.queries([history]), 2, 1.0)
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32


@pytest.mark.parametrize("normalise", [False, True])
def test_weights_by_row_are_those_of_the_matrix(normalise):
    block = worlds.queries([[0, 1, 9, 1], [2], []])
    weights = history_weights(block, 3, 0.4, normalise=normalise)
    summed = np.zeros((3, 3))
    for row, item, weight in zip(block.rows(), block.items, weights, strict=True):
        if item < 3:
            summed[row, item] += weight
    np.testing.assert_allclose(history_matrix(block, 3, 0.4, normalise).toarray(), summed, rtol=1e-5)


def test_a_history_is_known_if_one_item_is():
    assert has_known_history(worlds.queries([[9, 1], [9], []]), 2).tolist() == [True, False, False]
