"""Item-to-item models against plain NumPy and worlds with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import worlds
from langrec.data.candidates import population_of
from langrec.data.fitting import FitData
from langrec.errors import SettingsError
from langrec.ranking.select import top_k
from langrec.retrieval import ease as ease_module
from langrec.retrieval import item_item as item_item_module
from langrec.retrieval.ease import EASE, keep_largest_dense
from langrec.retrieval.item_item import ItemItem, keep_largest
from langrec.retrieval.itemknn import ItemKNN
from langrec.retrieval.transitions import Transitions
from langrec.settings import RetrievalSettings
from langrec.types import Candidates


def data_of(world):
    return FitData(world.dataset.events, world.n_users, world.n_items)


def ease_oracle(matrix, reg):
    """Equation 8 of Steck 2019, line by line in float64."""
    inverse = np.linalg.inv(matrix.T @ matrix + reg * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def test_ease_is_its_closed_form():
    data = data_of(worlds.planted_topics(noise=0.3))
    fitted = EASE.fit(data, RetrievalSettings(), reg=5.0)
    np.testing.assert_allclose(fitted.weights, ease_oracle(data.matrix().toarray().astype(float), 5.0), atol=1e-5)


def test_ease_of_items_without_events_is_that_of_the_others():
    world = worlds.planted_topics()
    wide = FitData(world.dataset.events, world.n_users, world.n_items + 3)
    fitted = EASE.fit(wide, RetrievalSettings(), reg=5.0)
    np.testing.assert_array_equal(fitted.trained, [True] * world.n_items + [False] * 3)
    np.testing.assert_allclose(
        fitted.weights[:-3, :-3], EASE.fit(data_of(world), RetrievalSettings(), reg=5.0).weights, atol=1e-6
    )
    assert not fitted.weights[-3:].any()
    assert not fitted.weights[:, -3:].any()


@pytest.mark.parametrize("growing", [False, True])
def test_ease_of_events_that_say_nothing_is_fitted_without_a_word(growing, capfd):
    world = worlds.planted_topics()
    events = replace(world.dataset.events, gains=np.zeros(len(world.dataset.events), dtype=np.float32))
    data = replace(FitData(events, world.n_users, world.n_items), growing=growing)
    fitted = EASE.fit(data, RetrievalSettings(), reg=5.0)
    assert not fitted.trained.any()
    assert not fitted.weights.any()
    EASE.fit(replace(data, n_items=0, events=events.take(slice(0, 0))), RetrievalSettings(), reg=5.0)
    assert capfd.readouterr() == ("", "")


def test_a_catalogue_wider_than_lapack_blocks_is_mirrored_right(monkeypatch):
    lower = np.tril(np.arange(49, dtype=np.float32).reshape(7, 7))
    full = lower + np.tril(lower, -1).T
    for step in (1, 3, 7, 100):
        part = np.asfortranarray(lower)
        ease_module._mirror(part, step)
        np.testing.assert_array_equal(part, full)


def test_ease_on_neighbourhoods_alone_equals_the_dense_one_where_items_fall_into_blocks():
    """Without noise no two topics share a user, so an item's neighbourhood is its whole topic."""
    data = data_of(worlds.planted_topics(users=400, items=48, noise=0.0))
    dense = EASE.fit(data, RetrievalSettings(), reg=20.0)
    near = EASE.fit(data, RetrievalSettings(ease_dense_limit=10), reg=20.0)
    assert sparse.issparse(near.weights)
    assert not sparse.issparse(dense.weights)
    np.testing.assert_allclose(near.weights.toarray(), dense.weights, atol=2e-4)


def test_ease_on_small_neighbourhoods_recommends_almost_alike(monkeypatch):
    world = worlds.planted_topics(users=300, items=60, noise=0.1)
    monkeypatch.setattr(ease_module, "NEIGHBOURHOOD", 14)
    near = EASE.fit(data_of(world), RetrievalSettings(ease_dense_limit=10), reg=20.0)
    assert np.diff(sparse.csc_array(near.weights).indptr).max() == 14
    block = worlds.queries(world.histories())
    picked = near.score_block(block)
    dense = EASE.fit(data_of(world), RetrievalSettings(), reg=20.0).score_block(block)
    agreement = [np.corrcoef(a, b)[0, 1] for a, b in zip(picked, dense, strict=True)]
    assert np.mean(agreement) > 0.9


def test_a_large_dense_ease_is_cut_to_its_largest_entries(monkeypatch):
    monkeypatch.setattr(ease_module, "DENSE_ITEMS", 10)
    monkeypatch.setattr(ease_module, "KEPT_PER_ITEM", 5)
    data = data_of(worlds.planted_topics())
    cut = EASE.fit(data, RetrievalSettings(), reg=5.0)
    whole = ease_oracle(data.matrix().toarray().astype(float), 5.0)
    assert sparse.issparse(cut.weights)
    for j, column in enumerate(cut.weights.toarray().T):
        kept = np.flatnonzero(column)
        assert len(kept) == 5
        np.testing.assert_allclose(column[kept], whole[kept, j], atol=1e-5)
        assert np.abs(column[kept]).min() >= np.sort(np.abs(whole[:, j]))[-5] - 1e-5


def test_ease_without_a_ridge_says_which_setting_to_change():
    twins = worlds.events([(0, 0, 1), (0, 1, 2)])
    with pytest.raises(SettingsError, match=r"retrieval\.ease_reg = 0: "):
        EASE.fit(FitData(twins, 1, 2), RetrievalSettings(), reg=0.0)


def test_itemknn_is_the_shrunk_cosine():
    data = data_of(worlds.planted_topics(noise=0.3))
    fitted = ItemKNN.fit(data, RetrievalSettings(), neighbours=1000, shrink=3.0)
    x = data.matrix().toarray().astype(float)
    norms = np.linalg.norm(x, axis=0)
    expected = x.T @ x / (np.outer(norms, norms) + 3.0)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(fitted.weights.toarray(), expected, atol=1e-6)


def test_itemknn_keeps_so_many_neighbours_of_each_item():
    fitted = ItemKNN.fit(data_of(worlds.planted_topics(noise=0.5)), RetrievalSettings(), neighbours=4)
    assert np.diff(sparse.csc_array(fitted.weights).indptr).max() == 4


def test_an_event_that_weighs_nothing_spoils_no_cosine():
    log = worlds.events([(0, 0, 1), (0, 1, 2), (1, 2, 3, 0.0)])
    scores = ItemKNN.fit(FitData(log, 2, 3), RetrievalSettings(), shrink=0.0).score_block(worlds.queries([[0]]))[0]
    assert scores[1] == pytest.approx(1.0)
    assert np.isnan(scores[2])


def test_transitions_by_hand():
    """One user goes 0, 1, 2: pairs at distance 1 count 1, at distance 2 a half, over (count + 5)^power."""
    log = worlds.events([(0, 0, 1), (0, 1, 2), (1, 2, 3), (0, 2, 4)])
    fitted = Transitions.fit(FitData(log, 2, 3), RetrievalSettings(), steps=2, power=1.0)
    expected = [[0, 1 / 6, 0.5 / 7], [0, 0, 1 / 7], [0, 0, 0]]
    np.testing.assert_allclose(fitted.weights.toarray(), expected, rtol=1e-6)


def test_events_of_one_time_lead_both_ways():
    log = worlds.events([(0, 0, 5), (0, 1, 5), (0, 2, 9)])
    ahead = Transitions.fit(FitData(log, 1, 3), RetrievalSettings(), steps=1, power=0.0).weights.toarray()
    both = Transitions.fit(FitData(log, 1, 3), RetrievalSettings(), steps=1, power=0.0, back=0.5).weights.toarray()
    assert ahead.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert both.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0.5, 0]]


def test_transitions_never_cross_from_one_user_to_the_next():
    log = worlds.events([(0, 0, 1), (1, 1, 2)])
    assert Transitions.fit(FitData(log, 2, 2), RetrievalSettings(), steps=5).weights.nnz == 0


def test_transitions_learn_what_comes_next():
    world = worlds.cycle()
    fitted = Transitions.fit(data_of(world), RetrievalSettings(), steps=3)
    block = worlds.queries([[item] for item in range(world.n_items)])
    best = np.nanargmax(fitted.score_block(block), axis=1)
    assert best.tolist() == [(item + 1) % world.n_items for item in range(world.n_items)]


def test_a_strong_decay_looks_at_the_newest_item_alone():
    world = worlds.cycle()
    fitted = Transitions.fit(data_of(world), RetrievalSettings(), steps=1)
    scores = fitted.with_params(decay=20.0).score_block(worlds.queries([[0, 4, 8], [8]]))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    even = fitted.with_params(decay=0.0).score_block(worlds.queries([[0, 4, 8], [8, 0, 4]]))
    np.testing.assert_allclose(even[0], even[1], atol=1e-6)
    assert fitted.decay == 0.0


@pytest.mark.parametrize("kind", [EASE, ItemKNN])
def test_the_checkerboards_missing_square_is_found(kind):
    world = worlds.checkerboard()
    fitted = kind.fit(data_of(world), RetrievalSettings())
    histories = world.histories()
    scores = fitted.score_block(worlds.queries(histories))
    for user, history in enumerate(histories):
        scores[user, history] = np.nan
    assert np.nanargmax(scores, axis=1).tolist() == world.held_out.tolist()


@pytest.mark.parametrize("kind", [EASE, ItemKNN])
def test_planted_topics_are_found_nearly_as_well_as_they_can_be(kind):
    world = worlds.planted_topics(users=400)
    histories = world.histories()
    scores = kind.fit(data_of(world), RetrievalSettings()).score_block(worlds.queries(histories))
    for user, history in enumerate(histories):
        scores[user, history] = -np.inf
    own = scores[np.arange(world.n_users), world.held_out]
    rank = 1 + (scores > own[:, None]).sum(axis=1)
    ndcg = np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean()
    assert 0.85 * world.ideal_ndcg(10) < ndcg < 1.1 * world.ideal_ndcg(10)


def test_neighbours_are_what_an_item_says_alone():
    fitted = ItemKNN.fit(data_of(worlds.planted_topics()), RetrievalSettings())
    np.testing.assert_allclose(fitted.neighbours(3), fitted.score_block(worlds.queries([[3]]))[0], rtol=1e-6)


def test_scoring_leaves_dense_and_sparse_weights_alone():
    weights = np.arange(9, dtype=np.float32).reshape(3, 3)
    for held in (weights, sparse.csr_array(weights)):
        scorer = ItemItem(weights=held, trained=np.array([True, True, False]))
        scorer.score_block(worlds.queries([[0], []]))
        dense = held.toarray() if sparse.issparse(held) else held
        np.testing.assert_array_equal(dense, np.arange(9).reshape(3, 3))


WEIGHTS = np.array([[1, -5, 0], [-3, 4, 0], [2, 1, 0], [2, 0, 7]], dtype=np.float32)


def test_the_largest_of_each_column_are_kept_by_size():
    kept = keep_largest(sparse.csr_array(WEIGHTS), 2).toarray()
    assert kept.tolist() == [[0, -5, 0], [-3, 4, 0], [2, 0, 0], [0, 0, 7]]  # of the two 2s the first row's


def test_keeping_the_largest_of_a_dense_matrix_is_the_same():
    np.testing.assert_array_equal(
        keep_largest_dense(WEIGHTS, 2).toarray(), keep_largest(sparse.csr_array(WEIGHTS), 2).toarray()
    )


def test_no_column_keeps_more_than_asked_even_if_all_entries_are_equal():
    kept = keep_largest(np.ones((50, 4), dtype=np.float32), 3)
    assert kept.toarray().sum(axis=0).tolist() == [3, 3, 3, 3]
    assert kept.toarray()[:3].all()


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array, np.array])
def test_keeping_the_largest_leaves_the_matrix_alone(kind):
    given = kind(WEIGHTS)
    keep_largest(given, 1)
    np.testing.assert_array_equal(given.toarray() if sparse.issparse(given) else given, WEIGHTS)


def test_fewer_entries_than_asked_are_all_kept():
    np.testing.assert_array_equal(keep_largest(sparse.csr_array(WEIGHTS), 10).toarray(), WEIGHTS)


def test_a_well_filled_matrix_is_served_dense_and_scores_the_same(tmp_path, monkeypatch):
    fitted = ItemKNN.fit(data_of(worlds.planted_topics()), RetrievalSettings(), neighbours=20)
    fitted.save(tmp_path)
    served = ItemKNN.load(tmp_path)
    assert sparse.issparse(fitted.weights)
    assert isinstance(served.weights, np.ndarray)
    block = worlds.queries([[3, 7, 11], [], [5]])
    np.testing.assert_array_equal(served.score_block(block), fitted.score_block(block))
    nums = np.array([1, 7], dtype=np.int32)
    np.testing.assert_allclose(served.contributions(block, nums), fitted.contributions(block, nums), rtol=1e-6)
    monkeypatch.setattr(item_item_module, "SMALL", 100)
    assert sparse.issparse(ItemKNN.load(tmp_path).weights)


@pytest.mark.parametrize("kind", [ItemKNN, EASE, Transitions])
def test_candidates_of_a_sparse_matrix_score_what_they_score_among_all(kind):
    world = worlds.planted_topics()
    fitted = kind.fit(FitData(world.dataset.events, world.n_users, world.n_items + 2), RetrievalSettings())
    thin = replace(fitted, weights=sparse.csr_array(fitted.weights), decay=0.1)
    histories = [*world.histories()[:6], [], [world.n_items + 5], [3, 3, world.n_items + 5, 4]]
    block = replace(worlds.queries(histories), kept={})
    rng = np.random.default_rng(0)
    asked = Candidates.of([np.sort(rng.choice(world.n_items + 4, 20, replace=False)) for _ in histories])
    for scorer in (thin, thin.with_params(decay=1.0)):
        scores = scorer.score_block(block)
        wide = np.concatenate([scores, np.full((len(scores), 2), np.nan, np.float32)], axis=1)
        np.testing.assert_allclose(
            scorer.score_items(block, asked), wide[asked.rows(), asked.nums], rtol=1e-4, atol=1e-6
        )
        positive = np.nan_to_num(np.maximum(scores, 0.0))
        np.testing.assert_allclose(
            scorer.mean_positive(block, population_of(world.n_items + 2)), positive.mean(axis=1), rtol=1e-4, atol=1e-7
        )
        found = scorer.retrieve(block, 7)
        for i, row in enumerate(positive):
            best = row[top_k(row, 7)]
            np.testing.assert_allclose(np.sort(row[found[i]])[::-1], best[best > 0], rtol=1e-4)
        one = block.slice(0, 1)
        np.testing.assert_allclose(
            thin.contributions(one, asked[0][asked[0] < world.n_items]),
            fitted.with_params(decay=0.1).contributions(one, asked[0][asked[0] < world.n_items]),
            rtol=1e-5,
        )
