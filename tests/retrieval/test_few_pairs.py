"""What keeps the linear models of a large log in bounds: long histories shortened, the pairs looked at in parts."""

from __future__ import annotations

import numpy as np
import pytest

import worlds
from langrec.data.fitting import FitData, with_few_pairs
from langrec.retrieval import itemknn, sums
from langrec.retrieval.ease import EASE
from langrec.retrieval.itemknn import ItemKNN
from langrec.settings import RetrievalSettings

N = 40


@pytest.fixture(scope="module")
def log():
    """Thirty users of 3 items and one of all 40, the highest numbers last."""
    rng = np.random.default_rng(0)
    rows = [(user, int(item)) for user in range(30) for item in rng.choice(N, 3, replace=False)]
    rows += [(30, item) for item in range(N)]
    return worlds.events([(user, item, worlds.START + at) for at, (user, item) in enumerate(rows)])


def test_a_log_of_few_pairs_stays_as_it_is(log):
    matrix = FitData(log, 31, N).matrix()
    assert with_few_pairs(matrix, log, 30 * 9 + N * N) is matrix


def test_the_longest_history_keeps_its_newest_items(log):
    matrix = FitData(log, 31, N).matrix()
    short = with_few_pairs(matrix, log, 31 * 9)
    lengths = np.diff(short.indptr)
    assert (lengths[:30] == 3).all()
    assert (short[:30] != matrix[:30]).nnz == 0
    assert sorted(short[[30]].indices) == [N - 3, N - 2, N - 1]


def test_linear_models_are_fitted_within_the_pairs(log, monkeypatch):
    monkeypatch.setattr(sums, "PAIRS", 31 * 9)
    data = FitData(log, 31, N)
    fitted = ItemKNN.fit(data, RetrievalSettings(), neighbours=50, shrink=0.0)
    assert fitted.trained.all()  # who was left out of the pairs can be scored all the same
    assert data.made["gram"].matrix.nnz <= 31 * 9
    whole = FitData(log, 31, N, growing=True)
    ItemKNN.fit(whole, RetrievalSettings(), neighbours=50, shrink=0.0)
    assert whole.made["gram"].matrix.nnz == N * N


def test_neighbours_in_parts_are_those_of_all_at_once(log, monkeypatch):
    at_once = ItemKNN.fit(FitData(log, 31, N), RetrievalSettings(), neighbours=5, shrink=1.0).weights
    monkeypatch.setattr(itemknn, "STRETCH", 100)
    in_parts = ItemKNN.fit(FitData(log, 31, N), RetrievalSettings(), neighbours=5, shrink=1.0).weights
    assert at_once.nnz and abs(at_once - in_parts).max() == 0


def test_ease_on_neighbourhoods_that_hold_all_is_ease(log):
    data = FitData(log, 31, N)
    whole = EASE.fit(data, RetrievalSettings(), reg=5.0).weights
    local = EASE.fit(FitData(log, 31, N), RetrievalSettings(ease_dense_limit=10), reg=5.0).weights
    np.testing.assert_allclose(local.toarray(), whole, atol=1e-5)


def test_every_ridge_of_the_grid_is_solved_in_one_pass(log):
    settings = RetrievalSettings(ease_dense_limit=10, ease_reg=(1.0, 5.0))
    judged = FitData(log, 31, N, judge=lambda scorer, at_most: 0.0)
    both = [EASE.fit(judged, settings, reg=reg).weights for reg in (1.0, 5.0)]
    alone = [EASE.fit(FitData(log, 31, N), settings, reg=reg).weights for reg in (1.0, 5.0)]
    for one, other in zip(both, alone, strict=True):
        assert abs(one - other).max() == 0
    assert abs(both[0] - both[1]).max() > 0.01
