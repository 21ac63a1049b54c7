"""Voting neighbours against plain Python, and a world whose best items are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

import worlds
from langrec.data.fitting import FitData
from langrec.retrieval.userknn import UserKNN
from langrec.settings import RetrievalSettings


def slow_scores(matrix, history, neighbours, decay):
    """One query from the definition; neighbours that tie at the border all vote."""
    n_users, n_items = matrix.shape
    idf = [math.log1p(n_users / (1 + sum(matrix[u, i] > 0 for u in range(n_users)))) for i in range(n_items)]
    weights = [0.0] * n_items
    for back, item in enumerate(reversed(history)):
        weights[item] += math.exp(-decay * back)
    near = []
    for u in range(n_users):
        size = math.sqrt(sum(x * x for x in matrix[u]))
        near.append(sum(weights[i] * idf[i] * matrix[u, i] for i in range(n_items)) / size if size else 0.0)
    bar = sorted(near, reverse=True)[min(neighbours, n_users) - 1]
    return [sum(s * matrix[u, i] for u, s in enumerate(near) if s >= bar * (1 - 1e-6)) for i in range(n_items)]


@pytest.mark.parametrize("neighbours", [1, 5, 1000])
def test_scores_are_the_votes_of_the_nearest_users(neighbours):
    world = worlds.planted_topics(noise=0.3)
    data = FitData(world.dataset.events, world.n_users, world.n_items)
    fitted = UserKNN.fit(data, RetrievalSettings(userknn_neighbours=neighbours)).with_params(decay=0.3)
    matrix = data.matrix().toarray().astype(float)
    for history in ([3], [3, 7, 11], [5, 6, 5]):
        expected = slow_scores(matrix, history, neighbours, 0.3)
        got = fitted.score_block(worlds.queries([history]))[0]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_neighbours_find_the_checkerboards_missing_square():
    world = worlds.checkerboard()
    fitted = UserKNN.fit(FitData(world.dataset.events, world.n_users, world.n_items), RetrievalSettings())
    histories = world.histories()
    scores = fitted.score_block(worlds.queries(histories))
    for user, history in enumerate(histories):
        scores[user, history] = np.nan
    assert np.nanargmax(scores, axis=1).tolist() == world.held_out.tolist()


def test_a_user_without_events_votes_for_nothing():
    log = worlds.events([(0, 0, 1), (0, 1, 2)])
    scores = UserKNN.fit(FitData(log, 3, 2), RetrievalSettings()).score_block(worlds.queries([[0]]))
    assert np.isfinite(scores).all()
    assert scores[0, 1] > 0
