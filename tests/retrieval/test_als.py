"""Implicit ALS against a solve per user, and a world whose best items are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import worlds
from langrec.data.fitting import FitData
from langrec.retrieval import als as als_module
from langrec.retrieval.als import ALS, _half_step, _padded
from langrec.settings import RetrievalSettings


def slow_half_step(matrix, other, alpha, reg):
    """Row by row from the definition, in float64."""
    n, d = other.shape
    out = np.zeros((matrix.shape[0], d))
    for row in range(matrix.shape[0]):
        chosen = np.flatnonzero(matrix[row])
        if not len(chosen):
            continue
        left = alpha * other.T @ other + reg * (len(chosen) + alpha * n) * np.eye(d)
        right = np.zeros(d)
        for j in chosen:
            left += matrix[row, j] * np.outer(other[j], other[j])
            right += matrix[row, j] * other[j]
        out[row] = np.linalg.solve(left, right)
    return out


def random_matrix(rows, columns, share, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, columns)) < share, rng.random((rows, columns)) + 0.1, 0).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_a_half_step_solves_each_row(chunk, monkeypatch):
    monkeypatch.setattr(als_module, "CHUNK", chunk)
    matrix = random_matrix(40, 30, 0.2)
    matrix[5] = 0
    other = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    got = _half_step(sparse.csr_array(matrix), other, 0.3, 0.05)
    np.testing.assert_allclose(got, slow_half_step(matrix, other.astype(float), 0.3, 0.05), atol=2e-5)


def test_rows_of_very_different_lengths_are_all_solved():
    matrix = random_matrix(30, 200, 0.02)
    matrix[3] = random_matrix(1, 200, 1.0)[0]
    other = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    got = _half_step(sparse.csr_array(matrix), other, 0.1, 0.02)
    np.testing.assert_allclose(got, slow_half_step(matrix, other.astype(float), 0.1, 0.02), atol=2e-5)


@pytest.mark.parametrize("chunk", [3, 512])
def test_chunks_hold_each_row_once_with_its_entries(chunk, monkeypatch):
    monkeypatch.setattr(als_module, "CHUNK", chunk)
    matrix = random_matrix(25, 12, 0.3)
    matrix[[0, 24]] = 0
    rebuilt = np.zeros_like(matrix)
    seen = []
    for rows, columns, weights in _padded(sparse.csr_array(matrix)):
        seen.extend(rows.tolist())
        for row, places, values in zip(rows, columns, weights, strict=True):
            np.add.at(rebuilt[row], places, values)
    assert sorted(seen) == np.flatnonzero(matrix.any(axis=1)).tolist()
    np.testing.assert_array_equal(rebuilt, matrix)


def test_more_iterations_lower_the_loss():
    world = worlds.planted_topics()
    data = FitData(world.dataset.events, world.n_users, world.n_items)
    x = data.matrix().toarray().astype(float)
    alpha, reg = 0.1, 0.02

    def loss(iterations):
        items = ALS.fit(data, RetrievalSettings(), dim=4, alpha=alpha, reg=reg, iterations=iterations).factors
        users = _half_step(sparse.csr_array(data.matrix()), items, alpha, reg)
        products = users.astype(float) @ items.T.astype(float)
        users_ridge = reg * ((x > 0).sum(axis=1) + alpha * x.shape[1])
        items_ridge = reg * ((x > 0).sum(axis=0) + alpha * x.shape[0])
        fit = (x * (1 - products) ** 2).sum() + alpha * (products**2).sum()
        return fit + (users_ridge * (users**2).sum(axis=1)).sum() + (items_ridge * (items**2).sum(axis=1)).sum()

    losses = [loss(iterations) for iterations in (1, 3, 10)]
    assert losses[0] > losses[1] > losses[2]


def test_a_querys_scores_are_the_closed_form_of_its_decayed_history():
    world = worlds.planted_topics(noise=0.3)
    fitted = ALS.fit(FitData(world.dataset.events, world.n_users, world.n_items), RetrievalSettings(), dim=5)
    fitted = fitted.with_params(decay=0.4)
    history = [3, 8, 1]
    weights = np.zeros((1, world.n_items))
    weights[0, history] = np.exp([-0.8, -0.4, 0])
    factors = fitted.factors.astype(float)
    expected = slow_half_step(weights, factors, fitted.alpha, fitted.reg) @ factors.T
    for _ in range(2):
        np.testing.assert_allclose(fitted.score_block(worlds.queries([history])), expected, rtol=1e-3, atol=1e-5)


def test_als_finds_the_checkerboards_missing_square():
    world = worlds.checkerboard()
    data = FitData(world.dataset.events, world.n_users, world.n_items)
    fitted = ALS.fit(data, RetrievalSettings(), dim=4).with_params(decay=0.0)
    histories = world.histories()
    scores = fitted.score_block(worlds.queries(histories))
    for user, history in enumerate(histories):
        scores[user, history] = np.nan
    assert np.nanargmax(scores, axis=1).tolist() == world.held_out.tolist()


def test_another_seed_gives_other_factors_and_the_same_taste():
    world = worlds.planted_topics(noise=0.0)
    data = FitData(world.dataset.events, world.n_users, world.n_items)
    block = worlds.queries(world.histories())
    first, second = (ALS.fit(data, RetrievalSettings(), dim=4, seed=seed) for seed in (0, 1))
    assert not np.allclose(first.factors, second.factors)
    np.testing.assert_allclose(first.score_block(block), second.score_block(block), atol=0.05)
